/*
 * Frames through a script. decode(bytes, ctx) gives a flat table (keys = points), a message
 * {kind=, time=, name=, params=, points=, ...}, or a list of those. encodeInp(msg, topic) gives
 * text, which goes on as the thingspanel codec reads it.
 */
#include "codec.h"

#include "base/error.h"
#include "codec/codec.h"
#include "codec/emit.h"
#include "convert.h"

#include <stdio.h>
#include <string.h>

enum {
    POINTS_HERE = 64, /* points of a message that need no arena */
    PAIRS_LEFT = 4    /* members of a table left on the stack, within the 20 slots of a function */
};

struct found {
    struct tpc_str key;
    struct tpc_value value;
};

/* One message as the script gave it. */
struct out {
    struct tpc_decoded head;
    const struct found *points;
    uint32_t count;
};

/* Reading one result. Errors are texts; `why` is NULL while all is well. */
struct reading {
    lua_State *L;
    struct slot *slot;
    const struct tpc_frame *frame;
    const struct tpc_decode_sink *sink;
    const char *why;
    char why_text[160];
    struct found here[POINTS_HERE];
};

enum shape { SHAPE_FLAT, SHAPE_MESSAGE, SHAPE_LIST, SHAPE_BAD };

static enum shape bad(struct reading *r, const char *why)
{
    r->why = why;
    return SHAPE_BAD;
}

static enum shape bad_at(struct reading *r, struct tpc_str key, const char *why)
{
    snprintf(r->why_text, sizeof(r->why_text), "%.*s: %s", (int) (key.len < 64 ? key.len : 64),
             key.ptr, why);
    return bad(r, r->why_text);
}

static void *take(struct reading *r, size_t n)
{
    void *p = tpc_arena_take(r->sink->arena, n);
    if (p == NULL) {
        convert_no_memory(r->L);
    }
    return p;
}

/* ---- points ---- */

static inline const char *read_value(struct reading *r, int index, struct tpc_value *ret)
{
    lua_State *L = r->L;
    ret->reserved = 0;
    ret->len = 0;
    if (lua_isinteger(L, index)) {
        ret->type = TPC_INT;
        ret->as.i = lua_tointeger(L, index);
        return NULL;
    }
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        ret->type = TPC_DOUBLE;
        ret->as.d = lua_tonumber(L, index);
        return NULL;
    case LUA_TBOOLEAN:
        ret->type = TPC_BOOL;
        ret->as.i = 0;
        ret->as.b = lua_toboolean(L, index) != 0;
        return NULL;
    default:
        return convert_value(L, index, r->sink->arena, 0, ret);
    }
}

static struct found *more_room(struct reading *r, const struct found *points, uint32_t count)
{
    struct found *bigger = take(r, r->slot->limits->points * sizeof(*bigger));
    memcpy(bigger, points, count * sizeof(*bigger));
    return bigger;
}

/* The entry of the key at -2 where it is not the one expected; NULL if it is no text. */
static const struct key_entry *find_key(struct reading *r, const void *object,
                                        const struct key_entry **guess, struct key_entry *room)
{
    const struct key_entry *entry = object != NULL ? slot_key_find(r->slot, object) : NULL;
    if (entry == NULL) {
        if (lua_type(r->L, -2) != LUA_TSTRING) {
            return NULL;
        }
        if (slot_key(r->L, r->slot, -2, r->sink->arena, room, &entry) != 0) {
            convert_no_memory(r->L);
        }
    }
    if (entry != room) {
        *guess = entry;
    }
    return entry;
}

/* The entry of the key at -2. Results of one script have their keys in the same order again and
 * again, so the one at this place last time is tried first. */
static inline const struct key_entry *read_key(struct reading *r, uint32_t place,
                                               struct key_entry *room)
{
    const void *object = lua_topointer(r->L, -2);
    const struct key_entry **guess = &r->slot->guess[place % KEY_GUESSES];
    if (*guess != NULL && (*guess)->object == object) {
        return *guess;
    }
    return find_key(r, object, guess, room);
}

/* Makes the member just read the one that lua_next() goes on from. Its pair is mostly left below:
 * that is cheaper than taking it off. */
static inline void go_on(lua_State *L, int index, uint32_t count)
{
    if (count % PAIRS_LEFT != 0) {
        lua_pushvalue(L, -2);
        return;
    }
    lua_pop(L, 1);
    lua_replace(L, index);
    lua_settop(L, index);
}

/* The members of the table at index as points. Ends early with another shape where the table is no
 * flat one; `top` says whether it may be. Leaves values on the stack. */
static enum shape read_points(struct reading *r, int index, bool top, struct out *out)
{
    lua_State *L = r->L;
    struct found *points = r->here;
    struct key_entry room;
    uint32_t limit = r->slot->limits->points;
    uint32_t count = 0;
    int first = lua_gettop(L) + 1;
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        const struct key_entry *key = read_key(r, count, &room);
        if (key == NULL) {
            bool list = top && count == 0 && lua_isinteger(L, -2) && lua_istable(L, -1);
            return list ? SHAPE_LIST : bad(r, "a key of the result is no text");
        }
        if (key->word != WORD_NONE && top) {
            return SHAPE_MESSAGE;
        }
        if (count >= limit) {
            return bad(r, "a message has too many points");
        }
        if (count == POINTS_HERE) {
            points = more_room(r, points, count);
        }
        const char *why = read_value(r, -1, &points[count].value);
        if (why != NULL) {
            return bad_at(r, key->text, why);
        }
        points[count++].key = key->text;
        go_on(L, first, count);
    }
    out->points = points;
    out->count = count;
    return SHAPE_FLAT;
}

/* ---- messages ---- */

static int kind_by_name(struct tpc_str name)
{
    static const uint16_t kinds[] = { TPC_MSG_TELEMETRY, TPC_MSG_ATTRIBUTES, TPC_MSG_EVENT,
                                      TPC_MSG_PRESENCE,  TPC_MSG_REPLY,      TPC_MSG_RAW };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (tpc_str_equal(name, tpc_str_from(tpc_kind_name(kinds[i])))) {
            return kinds[i];
        }
    }
    return -1;
}

/* Pushes member `name` of the table at index; its type. */
static int member(struct reading *r, int index, const char *name)
{
    lua_pushstring(r->L, name);
    return lua_rawget(r->L, index);
}

static void read_text(struct reading *r, int index, const char *name, struct tpc_str *ret)
{
    int type = member(r, index, name);
    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        size_t len;
        const char *p = lua_tolstring(r->L, -1, &len);
        char *copy = take(r, len + 1);
        memcpy(copy, p, len + 1);
        *ret = (struct tpc_str){ copy, len };
    } else if (type != LUA_TNIL) {
        bad_at(r, tpc_str_from(name), "must be a text");
    }
    lua_pop(r->L, 1);
}

static void read_int(struct reading *r, int index, const char *name, int64_t min, int64_t max,
                     int64_t *ret)
{
    int type = member(r, index, name);
    int ok;
    double d = lua_tonumber(r->L, -1);
    lua_Integer i = lua_tointegerx(r->L, -1, &ok);
    if (type == LUA_TNUMBER && !ok && d > -9e15 && d < 9e15) {
        i = (lua_Integer) d; /* a time that was divided */
        ok = 1;
    }
    if (type != LUA_TNIL && (type != LUA_TNUMBER || !ok || i < min || i > max)) {
        bad_at(r, tpc_str_from(name), "must be a number in range");
    } else if (type != LUA_TNIL) {
        *ret = i;
    }
    lua_pop(r->L, 1);
}

static void read_head(struct reading *r, int index, struct out *out)
{
    struct tpc_str kind = { NULL, 0 };
    int64_t code = out->head.code;
    read_text(r, index, "kind", &kind);
    if (kind.len > 0) {
        int number = kind_by_name(kind);
        if (number < 0) {
            bad_at(r, TPC_STR("kind"), "is no kind that a device sends");
            return;
        }
        out->head.kind = (uint16_t) number;
    }
    read_text(r, index, "name", &out->head.name);
    read_text(r, index, "correlation", &out->head.correlation);
    read_text(r, index, "message", &out->head.message);
    read_int(r, index, "time", 0, INT64_MAX, &out->head.unix_ms);
    read_int(r, index, "code", INT32_MIN, INT32_MAX, &code);
    out->head.code = (int32_t) code;
    (void) member(r, index, "answer");
    out->head.flags = lua_toboolean(r->L, -1) ? TPC_DECODED_ANSWER : 0;
    lua_pop(r->L, 1);
    (void) member(r, index, "params");
    const char *why = read_value(r, -1, &out->head.params);
    if (why != NULL) {
        bad_at(r, TPC_STR("params"), why);
    }
    lua_pop(r->L, 1);
    if (r->why == NULL && out->head.kind == TPC_MSG_EVENT && out->head.name.len == 0) {
        bad_at(r, TPC_STR("name"), "is missing: an event needs one");
    }
}

/* {kind=, points=, ...} at index. */
static void read_message(struct reading *r, int index, struct out *out)
{
    read_head(r, index, out);
    int type = member(r, index, "points");
    if (r->why == NULL && type == LUA_TTABLE) {
        (void) read_points(r, lua_gettop(r->L), false, out);
    } else if (r->why == NULL && type != LUA_TNIL) {
        bad_at(r, TPC_STR("points"), "must be a table");
    }
}

static uint16_t points_kind(const struct tpc_frame *frame)
{
    return frame->kind == TPC_MSG_ATTRIBUTES ? TPC_MSG_ATTRIBUTES : TPC_MSG_TELEMETRY;
}

/* Points in r->here move to where the next message does not overwrite them. */
static void keep_points(struct reading *r, struct out *out)
{
    if (out->points == r->here && out->count > 0) {
        struct found *copy = take(r, out->count * sizeof(*copy));
        memcpy(copy, r->here, out->count * sizeof(*copy));
        out->points = copy;
    }
}

/* ---- results ---- */

static void emit(uint32_t index, const struct tpc_decode_sink *sink, const struct out *out)
{
    if (sink->begin(sink->user, index, &out->head) != 0) {
        return;
    }
    for (uint32_t i = 0; i < out->count; i++) {
        if (sink->point(sink->user, out->points[i].key, &out->points[i].value, 0) != 0) {
            return;
        }
    }
    (void) sink->end(sink->user);
}

static struct out fresh(const struct reading *r)
{
    struct out out = { .head = tpi_codec_head(r->frame, points_kind(r->frame)) };
    return out;
}

/* A flat table on a topic that is not for points: its members are those of the event or reply. */
static int emit_shaped(struct reading *r, uint32_t index, int table, struct tpc_error *err)
{
    struct tpc_value map;
    const char *why = convert_value(r->L, table, r->sink->arena, 0, &map);
    if (why != NULL) {
        return tpi_error_set(err, TPC_ESCRIPT, "lua", "%s", why);
    }
    switch (r->frame->kind) {
    case TPC_MSG_EVENT:
        return tpi_codec_event(r->frame, index, &map, r->sink, 0, err);
    case TPC_MSG_REPLY:
        return tpi_codec_reply(r->frame, index, &map, r->sink, err);
    default:
        return tpi_codec_presence_value(r->frame, index, &map, r->sink, err);
    }
}

static void emit_list(struct reading *r, uint32_t index, int table)
{
    size_t n = (size_t) lua_rawlen(r->L, table);
    if (n > r->slot->limits->msgs) {
        bad(r, "the result has too many messages");
        return;
    }
    struct out *outs = take(r, (n > 0 ? n : 1) * sizeof(*outs));
    for (size_t i = 0; i < n; i++) {
        int top = lua_gettop(r->L);
        outs[i] = fresh(r);
        if (lua_rawgeti(r->L, table, (lua_Integer) i + 1) != LUA_TTABLE) {
            bad(r, "a message of the list is no table");
            return;
        }
        enum shape shape = read_points(r, top + 1, true, &outs[i]);
        lua_settop(r->L, top + 1);
        if (shape == SHAPE_MESSAGE) {
            read_message(r, top + 1, &outs[i]);
        } else if (shape == SHAPE_LIST) {
            bad(r, "a list of messages holds a list");
        }
        if (r->why != NULL) {
            return;
        }
        keep_points(r, &outs[i]);
        lua_settop(r->L, top);
    }
    for (size_t i = 0; i < n; i++) {
        emit(index, r->sink, &outs[i]);
    }
}

static bool for_points(const struct tpc_frame *frame)
{
    return frame->kind != TPC_MSG_EVENT && frame->kind != TPC_MSG_REPLY &&
           frame->kind != TPC_MSG_PRESENCE;
}

/* What decode() returned: its result at top - 1, a second value at top. */
static int read_result(struct reading *r, uint32_t index, struct tpc_error *err)
{
    lua_State *L = r->L;
    int table = lua_gettop(L) - 1;
    if (lua_type(L, table) != LUA_TTABLE) {
        const char *text =
            lua_type(L, table + 1) == LUA_TSTRING ? lua_tostring(L, table + 1) : NULL;
        if (lua_isnil(L, table) && text != NULL) {
            return tpi_error_set(err, TPC_ESCRIPT, "lua", "%s", text);
        }
        return tpi_error_set(err, TPC_ESCRIPT, "lua", "decode() returned a %s, not a table",
                             luaL_typename(L, table));
    }
    struct out out = fresh(r);
    enum shape shape = read_points(r, table, true, &out);
    if (shape == SHAPE_FLAT && for_points(r->frame)) {
        emit(index, r->sink, &out);
        return 0;
    }
    lua_settop(L, table + 1);
    switch (shape) {
    case SHAPE_FLAT:
        return emit_shaped(r, index, table, err);
    case SHAPE_MESSAGE:
        read_message(r, table, &out);
        if (r->why == NULL) {
            emit(index, r->sink, &out);
        }
        break;
    case SHAPE_LIST:
        emit_list(r, index, table);
        break;
    default:
        break;
    }
    return r->why == NULL ? 0 : tpi_error_set(err, TPC_ESCRIPT, "lua", "%s", r->why);
}

/* ---- encodeInp ---- */

/* The sink of the one frame that the thingspanel codec is given. */
struct relay {
    const struct tpc_decode_sink *sink;
    uint32_t index;
};

static int relay_begin(void *user, uint32_t frame, const struct tpc_decoded *head)
{
    struct relay *r = user;
    (void) frame;
    return r->sink->begin(r->sink->user, r->index, head);
}

static int relay_point(void *user, struct tpc_str key, const struct tpc_value *v, int64_t unix_ms)
{
    struct relay *r = user;
    return r->sink->point(r->sink->user, key, v, unix_ms);
}

static int relay_end(void *user)
{
    struct relay *r = user;
    return r->sink->end(r->sink->user);
}

static void relay_refuse(void *user, uint32_t frame, const struct tpc_error *err)
{
    struct relay *r = user;
    (void) frame;
    r->sink->refuse(r->sink->user, r->index, err);
}

static int relay_enter(void *user, uint32_t frame, struct tpc_str product, struct tpc_str device)
{
    struct relay *r = user;
    (void) frame;
    return r->sink->enter(r->sink->user, r->index, product, device);
}

static void relay_leave(void *user)
{
    struct relay *r = user;
    r->sink->leave(r->sink->user);
}

static int relay_frame(const struct tpc_frame *frame, uint32_t index,
                       const struct tpc_decode_sink *to)
{
    struct relay relay = { to, index };
    struct tpc_decode_sink sink = { .size = sizeof(sink),
                                    .user = &relay,
                                    .arena = to->arena,
                                    .begin = relay_begin,
                                    .point = relay_point,
                                    .end = relay_end,
                                    .refuse = relay_refuse };
    if (to->size > offsetof(struct tpc_decode_sink, leave) && to->enter != NULL) {
        sink.enter = relay_enter;
        sink.leave = relay_leave;
    }
    return tpi_codec_thingspanel.decode(NULL, 0, NULL, frame, 1, sizeof(*frame), &sink);
}

static int read_text_result(struct reading *r, uint32_t index, struct tpc_error *err)
{
    int top = lua_gettop(r->L);
    size_t len;
    if (lua_type(r->L, top - 1) != LUA_TSTRING) {
        return tpi_error_set(err, TPC_ESCRIPT, "lua", "encodeInp() returned a %s, not a string",
                             luaL_typename(r->L, top - 1));
    }
    const char *p = lua_tolstring(r->L, top - 1, &len);
    uint8_t *copy = take(r, len + 1);
    memcpy(copy, p, len + 1);
    struct tpc_frame frame = *r->frame;
    frame.payload = (struct tpc_bytes){ copy, len };
    return relay_frame(&frame, index, r->sink);
}

/* ThingsPanel has no scripts for responses and status: those are as the codec thingspanel reads
 * them (contract thingspanel 5). */
static bool passes_script(const struct tpc_frame *frame)
{
    return frame->kind == TPC_MSG_REPLY || frame->kind == TPC_MSG_PRESENCE;
}

/* A status as a broker tells it, "1" or "0": the transport's word, for no script. */
static bool is_status(const struct tpc_frame *frame)
{
    return frame->kind == TPC_MSG_PRESENCE && frame->payload.len == 1 &&
           (frame->payload.ptr[0] == '0' || frame->payload.ptr[0] == '1');
}

/* ---- the batch ---- */

/* Error with the product as path. */
static void refuse(struct job *job, struct tpc_error *err)
{
    char path[sizeof(err->path)];
    if (err->path[0] == '\0') {
        size_t n = job->program->product.len;
        n = n < sizeof(path) - 1 ? n : sizeof(path) - 1;
        memcpy(path, job->program->product.ptr, n);
        path[n] = '\0';
        tpi_error_at(err, path);
    }
    job->sink->refuse(job->sink->user, job->i, err);
}

/* Stack: job, ctx. */
static void run_frame(lua_State *L, struct job *job, const struct tpc_frame *frame)
{
    struct slot *s = job->slot;
    const struct load *load = &job->program->loads[job->index];
    struct tpc_error err;
    bool inp = load->decode == 0;
    job->err = &err;
    if ((load->epoch != s->epoch || s->current != job->program) && program_load(job) != 0) {
        refuse(job, &err);
        return;
    }
    inp = load->decode == 0;
    if (is_status(frame) || (inp && passes_script(frame))) {
        (void) relay_frame(frame, job->i, job->sink);
        return;
    }
    s->frame = frame;
    s->running = job->program;
    slot_begin(s, inp ? s->limits->inp_ns : s->limits->decode_ns);
    lua_rawgeti(L, LUA_REGISTRYINDEX, inp ? load->inp : load->decode);
    lua_pushlstring(L, (const char *) frame->payload.ptr, frame->payload.len);
    if (inp) {
        lua_pushlstring(L, frame->topic.ptr, frame->topic.len);
    } else {
        lua_pushvalue(L, 2);
    }
    lua_call(L, 2, 2); /* an error ends this run of the batch: see codec_decode() */
    s->frame = NULL;
    struct reading r;
    r.L = L;
    r.slot = s;
    r.frame = frame;
    r.sink = job->sink;
    r.why = NULL;
    if ((inp ? read_text_result(&r, job->i, &err) : read_result(&r, job->i, &err)) < 0) {
        codec_count(job->codec, "errors", 1);
        refuse(job, &err);
    }
}

static int batch(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);
    context_push(L);
    while (job->i < job->count) {
        const char *p = job->frames + (size_t) job->i * job->frame_size;
        run_frame(L, job, (const struct tpc_frame *) (const void *) p);
        lua_settop(L, 2);
        job->i++;
    }
    return 0;
}

int codec_decode(void *self, uint32_t worker, void *program, const struct tpc_frame *frames,
                 uint32_t count, size_t frame_size, const struct tpc_decode_sink *sink)
{
    struct codec *c = self;
    struct tpc_error err;
    struct job job = { .codec = c,
                       .index = worker,
                       .program = program,
                       .frames = (const char *) frames,
                       .frame_size = frame_size,
                       .count = count,
                       .sink = sink };
    job.slot = codec_enter(c, worker, &err);
    if (job.slot == NULL) {
        for (; job.i < count; job.i++) {
            sink->refuse(sink->user, job.i, &err);
        }
        return err.code == TPC_EINVAL ? TPC_EINVAL : 0;
    }
    /* One protected call for all frames: an error costs its frame and starts the next run. */
    while (job.i < count) {
        lua_State *L = job.slot->L;
        lua_pushcfunction(L, batch);
        lua_pushlightuserdata(L, &job);
        int status = lua_pcall(L, 1, 0, 0);
        job.slot->frame = NULL;
        if (status != LUA_OK) {
            (void) call_failed(&job, status, &err);
            job.err = &err;
            refuse(&job, &err);
            job.i++;
        }
    }
    codec_leave(c, worker);
    codec_count(c, "frames", count);
    return 0;
}
