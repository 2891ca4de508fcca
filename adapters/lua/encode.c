/*
 * Messages through a script: encode(command, ctx), or the second script's encodeInp(msg, topic) on
 * the JSON that the thingspanel codec writes. A ThingsPanel product without such a script passes
 * that JSON on.
 */
#include "codec.h"

#include "base/error.h"
#include "codec/codec.h"
#include "convert.h"

#include <string.h>

/* ---- ctx, the second argument of decode and encode ---- */

static void push_text(lua_State *L, struct tpc_str s)
{
    if (s.len == 0) {
        lua_pushnil(L);
    } else {
        lua_pushlstring(L, s.ptr, s.len);
    }
}

/* Members are made when a script asks for one. After the call there are none. */
static int context_index(lua_State *L)
{
    const struct slot *s = slot_of(L);
    const struct tpc_frame *f = s->frame;
    const char *name = luaL_checkstring(L, 2);
    if (f == NULL) {
        lua_pushnil(L);
    } else if (strcmp(name, "product") == 0) {
        push_text(L, f->product.len > 0 ? f->product : s->running->product);
    } else if (strcmp(name, "device") == 0) {
        push_text(L, f->device);
    } else if (strcmp(name, "topic") == 0) {
        push_text(L, f->topic);
    } else if (strcmp(name, "name") == 0) {
        push_text(L, f->name);
    } else if (strcmp(name, "correlation") == 0) {
        push_text(L, f->correlation);
    } else if (strcmp(name, "kind") == 0) {
        lua_pushstring(L, tpc_kind_name(f->kind));
    } else if (strcmp(name, "time") == 0 && f->unix_ms != 0) {
        lua_pushinteger(L, f->unix_ms);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

void context_push(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &slot_registry[REG_CTX]) == LUA_TUSERDATA) {
        return;
    }
    lua_pop(L, 1);
    lua_newuserdatauv(L, 0, 0);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, context_index);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &slot_registry[REG_CTX]);
}

/* ---- encode ---- */

static void set_text(lua_State *L, const char *name, struct tpc_str s)
{
    push_text(L, s);
    lua_setfield(L, -2, name);
}

static void push_command(lua_State *L, const struct tpc_encode *what)
{
    static const struct tpc_id none;
    char id[TPC_ID_TEXT_BYTES + 1];
    lua_createtable(L, 0, 8);
    lua_pushstring(L, tpc_kind_name(what->kind));
    lua_setfield(L, -2, "kind");
    set_text(L, "name", what->name);
    set_text(L, "product", what->product);
    set_text(L, "device", what->device);
    set_text(L, "correlation", what->correlation);
    lua_pushinteger(L, what->code);
    lua_setfield(L, -2, "code");
    if (memcmp(&what->id, &none, sizeof(none)) != 0 && tpc_id_format(&what->id, id) == 0) {
        lua_pushstring(L, id);
        lua_setfield(L, -2, "id");
    }
    convert_push(L, &what->params);
    lua_setfield(L, -2, "params");
}

/* The function and its two arguments; false: the JSON is what is sent. */
static bool push_call(lua_State *L, struct job *job, const struct load *load)
{
    if (load->encode != 0) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, load->encode);
        push_command(L, job->what);
        context_push(L);
        return true;
    }
    if (load->down_inp == 0 && load->decode != 0) {
        job->rc =
            tpi_error_set(job->err, TPC_EUNSUPPORTED, "lua", "the script defines no encode()");
        return false;
    }
    job->rc =
        tpi_codec_thingspanel.encode(NULL, 0, NULL, job->what, job->arena, job->err, &job->out);
    if (job->rc != 0 || load->down_inp == 0 || job->what->kind == TPC_MSG_REPLY) {
        return false; /* ThingsPanel has no scripts for answers (contract thingspanel 5) */
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, load->down_inp);
    lua_pushlstring(L, (const char *) job->out.ptr, job->out.len);
    lua_pushliteral(L, "");
    return true;
}

static int run(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);
    struct slot *s = job->slot;
    const struct load *load = &job->program->loads[job->index];
    struct tpc_frame frame = { .size = sizeof(frame), .kind = job->what->kind };
    frame.device = job->what->device;
    frame.product = job->what->product;
    frame.name = job->what->name;
    frame.correlation = job->what->correlation;
    slot_begin(s, load->encode != 0 ? s->limits->decode_ns : s->limits->inp_ns);
    if (!push_call(L, job, load)) {
        return 0;
    }
    s->frame = &frame;
    s->running = job->program;
    int status = lua_pcall(L, 2, 1, 0);
    s->frame = NULL;
    if (status != LUA_OK) {
        job->rc = call_failed(job, status, job->err);
        return 0;
    }
    size_t len;
    if (lua_type(L, -1) != LUA_TSTRING) {
        job->rc = tpi_error_set(job->err, TPC_ESCRIPT, "lua",
                                "the script returned a %s, not a string", luaL_typename(L, -1));
        return 0;
    }
    const char *p = lua_tolstring(L, -1, &len);
    uint8_t *copy = tpc_arena_take(job->arena, len + 1);
    if (copy == NULL) {
        job->rc = tpi_error_set(job->err, TPC_ENOMEM, "lua", "no memory for the payload");
        return 0;
    }
    memcpy(copy, p, len + 1);
    job->out = (struct tpc_bytes){ copy, len };
    job->rc = 0;
    return 0;
}

int codec_encode(void *self, uint32_t worker, void *program, const struct tpc_encode *what,
                 struct tpc_arena *arena, struct tpc_error *err, struct tpc_bytes *ret_payload)
{
    struct codec *c = self;
    struct tpc_error own;
    struct job job = { .codec = c,
                       .index = worker,
                       .program = program,
                       .err = err != NULL ? err : &own,
                       .what = what,
                       .arena = arena };
    job.slot = codec_enter(c, worker, job.err);
    if (job.slot == NULL) {
        return job.err->code;
    }
    int rc = program_load(&job);
    if (rc == 0) {
        lua_pushcfunction(job.slot->L, run);
        lua_pushlightuserdata(job.slot->L, &job);
        int status = lua_pcall(job.slot->L, 1, 0, 0);
        job.slot->frame = NULL;
        rc = status == LUA_OK ? job.rc : call_failed(&job, status, job.err);
    }
    codec_leave(c, worker);
    codec_count(c, "encodes", 1);
    if (rc != 0) {
        codec_count(c, "encode_errors", 1);
        return rc;
    }
    *ret_payload = job.out;
    return 0;
}
