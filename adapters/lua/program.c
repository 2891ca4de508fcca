/* From a product's codec member to functions in a state. */
#include "codec.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crypto.h"
#include "base/error.h"
#include "codec/codec.h"

#include <string.h>

struct text {
    const char *name; /* of the chunk: stands before the line in Lua's messages */
    struct tpc_str text;
    char *owned; /* file content, text.len bytes */
};

/* ---- configuration ---- */

static int read_file(struct codec *c, struct tpc_str path, struct tpc_error *err, struct text *ret)
{
    const struct tpc_files *files = c->host->files;
    char name[4096];
    void *file;
    int native = 0;
    if (path.len >= sizeof(name)) {
        return tpi_error_set(err, TPC_ETOOBIG, "lua", "the path of the script is too long");
    }
    memcpy(name, path.ptr, path.len);
    name[path.len] = '\0';
    int rc = files->open(files->user, name, TPC_FILE_READ, &file, &native);
    if (rc != 0) {
        return tpi_error_native(err, rc, native, "lua", "script \"%s\" cannot be opened", name);
    }
    int64_t len = files->length(files->user, file, &native);
    if (len < 0) {
        rc = (int) len;
    } else if ((uint64_t) len > c->limits.script_bytes) {
        rc = TPC_ETOOBIG;
    } else {
        ret->owned = len > 0 ? tpi_alloc(c->host->allocator, (size_t) len) : NULL;
        rc = len > 0 && ret->owned == NULL ? TPC_ENOMEM : 0;
    }
    if (rc == 0 && len > 0) {
        int64_t got = files->read_at(files->user, file, ret->owned, (size_t) len, 0, &native);
        rc = got == len ? 0 : got < 0 ? (int) got : TPC_EIO;
        ret->text = (struct tpc_str){ ret->owned, (size_t) len };
        if (rc != 0) {
            tpi_free(c->host->allocator, ret->owned, (size_t) len);
            ret->owned = NULL;
        }
    }
    files->close(files->user, file);
    return rc == 0 ? 0
                   : tpi_error_native(err, rc, native, "lua", "script \"%s\" cannot be read", name);
}

/* One script: its text stands in member `text`, or in the file that member `file` names. */
static int read_script(struct codec *c, const struct tpc_value *config, const char *text_key,
                       const char *file_key, struct tpc_error *err, struct text *ret)
{
    const struct tpc_value *text = tpc_value_get(config, tpc_str_from(text_key));
    const struct tpc_value *file = tpc_value_get(config, tpc_str_from(file_key));
    if (text != NULL && file != NULL) {
        return tpi_error_set(err, TPC_EINVAL, "lua", "\"%s\" and \"%s\" exclude each other",
                             text_key, file_key);
    }
    if (file != NULL && file->type == TPC_TEXT && file->len > 0) {
        return read_file(c, tpc_value_text(file), err, ret);
    }
    if (text == NULL && file == NULL) {
        return 0;
    }
    if (text == NULL || text->type != TPC_TEXT) {
        tpi_error_set(err, TPC_EINVAL, "lua", "must be a text");
        tpi_error_at(err, text == NULL ? file_key : text_key);
        return TPC_EINVAL;
    }
    if (text->len > c->limits.script_bytes) {
        return tpi_error_set(err, TPC_ETOOBIG, "lua", "the script is longer than %zu bytes",
                             c->limits.script_bytes);
    }
    ret->text = tpc_value_text(text);
    return 0;
}

static int check_members(const struct tpc_value *config, struct tpc_error *err)
{
    static const char *const known[] = { "type", "script", "file", "down", "down_file" };
    for (size_t i = 0; i < config->len; i++) {
        struct tpc_str key = config->as.members[i].key;
        size_t k = 0;
        while (k < sizeof(known) / sizeof(known[0]) &&
               !tpc_str_equal(key, tpc_str_from(known[k]))) {
            k++;
        }
        if (k == sizeof(known) / sizeof(known[0])) {
            return tpi_error_set(err, TPC_EINVAL, "lua", "codec \"lua\" has no option \"%.*s\"",
                                 (int) key.len, key.ptr);
        }
    }
    return 0;
}

static int read_config(struct codec *c, const struct tpc_value *config, struct tpc_error *err,
                       struct text texts[SCRIPTS])
{
    if (config->type != TPC_MAP) {
        return tpi_error_set(err, TPC_EINVAL, "lua", "the codec needs a map with a \"script\"");
    }
    int rc = check_members(config, err);
    if (rc == 0) {
        rc = read_script(c, config, "script", "file", err, &texts[SCRIPT_UP]);
    }
    if (rc == 0 && texts[SCRIPT_UP].text.ptr == NULL) {
        rc = tpi_error_set(err, TPC_EINVAL, "lua", "a \"script\" or a \"file\" is missing");
    }
    if (rc == 0) {
        rc = read_script(c, config, "down", "down_file", err, &texts[SCRIPT_DOWN]);
    }
    return rc;
}

/* ---- bytecode, once for each text ---- */

static struct chunk *chunk_find(struct codec *c, const uint8_t hash[32])
{
    pthread_mutex_lock(&c->lock);
    struct chunk *chunk = c->chunks;
    while (chunk != NULL && memcmp(chunk->hash, hash, 32) != 0) {
        chunk = chunk->next;
    }
    if (chunk != NULL) {
        chunk->refs++;
    }
    pthread_mutex_unlock(&c->lock);
    return chunk;
}

static void chunk_unref(struct codec *c, struct chunk *chunk)
{
    if (chunk == NULL) {
        return;
    }
    pthread_mutex_lock(&c->lock);
    bool last = --chunk->refs == 0;
    for (struct chunk **p = &c->chunks; last && *p != NULL; p = &(*p)->next) {
        if (*p == chunk) {
            *p = chunk->next;
            break;
        }
    }
    pthread_mutex_unlock(&c->lock);
    if (last) {
        tpi_free(c->host->allocator, chunk, sizeof(*chunk) + chunk->len);
    }
}

static int write_bytecode(lua_State *L, const void *p, size_t n, void *user)
{
    (void) L;
    return tpi_buf_put(user, p, n);
}

struct parse {
    const struct text *text;
    struct tpi_buf out;
};

static int parse_protected(lua_State *L)
{
    struct parse *parse = lua_touserdata(L, 1);
    const struct tpc_str text = parse->text->text;
    int status =
        luaL_loadbufferx(L, text.len > 0 ? text.ptr : "", text.len, parse->text->name, "t");
    if (status != LUA_OK) {
        slot_reraise(L, status);
        return lua_error(L);
    }
    if (lua_dump(L, write_bytecode, &parse->out, 0) != 0) {
        slot_of(L)->host_refused = true;
        slot_reraise(L, LUA_ERRMEM);
    }
    return 0;
}

/* The chunk of a text: the one that is there, or parsed in the spare slot. */
static int chunk_get(struct job *job, const struct text *text, struct chunk **ret)
{
    struct codec *c = job->codec;
    uint8_t hash[32];
    struct tpc_bytes parts[2] = { { (const uint8_t *) text->name, strlen(text->name) },
                                  { (const uint8_t *) text->text.ptr, text->text.len } };
    if (tpi_sha256_parts(parts, 2, hash) != 0) {
        return tpi_error_set(job->err, TPC_EIO, "lua", "the script's digest failed");
    }
    *ret = chunk_find(c, hash);
    if (*ret != NULL) {
        return 0;
    }
    struct parse parse = { .text = text };
    lua_State *L = job->slot->L;
    tpi_buf_init(&parse.out, c->host->allocator, 0);
    slot_begin(job->slot, c->limits.inp_ns);
    lua_pushcfunction(L, parse_protected);
    lua_pushlightuserdata(L, &parse);
    int status = lua_pcall(L, 1, 0, 0);
    int rc = 0;
    if (status != LUA_OK) {
        rc = call_failed(job, status, job->err);
    } else {
        struct chunk *chunk = tpi_alloc(c->host->allocator, sizeof(*chunk) + parse.out.len);
        rc = chunk == NULL ? tpi_error_set(job->err, TPC_ENOMEM, "lua", "no memory for the script")
                           : 0;
        if (chunk != NULL) {
            memcpy(chunk->hash, hash, 32);
            memcpy(chunk->bytes, parse.out.ptr, parse.out.len);
            chunk->len = parse.out.len;
            chunk->refs = 1;
            pthread_mutex_lock(&c->lock);
            chunk->next = c->chunks;
            c->chunks = chunk;
            pthread_mutex_unlock(&c->lock);
            *ret = chunk;
        }
    }
    tpi_buf_fini(&parse.out);
    return rc;
}

/* ---- programs ---- */

void program_unref(struct codec *c, struct program *p)
{
    if (p == NULL || atomic_fetch_sub(&p->refs, 1) != 1) {
        return;
    }
    for (int i = 0; i < SCRIPTS; i++) {
        chunk_unref(c, p->chunks[i]);
    }
    tpi_free(c->host->allocator, p, p->size);
}

static struct program *program_new(struct codec *c, struct tpc_str product)
{
    size_t loads = c->slot_count * sizeof(struct load);
    size_t size = sizeof(struct program) + loads + product.len + 1;
    struct program *p = tpi_alloc_zero(c->host->allocator, size);
    if (p == NULL) {
        return NULL;
    }
    char *text = (char *) p + sizeof(struct program) + loads;
    if (product.len > 0) {
        memcpy(text, product.ptr, product.len);
    }
    p->product = (struct tpc_str){ text, product.len };
    p->size = size;
    atomic_init(&p->refs, 1);
    return p;
}

int codec_compile(void *self, const struct tpc_codec_source *source, struct tpc_error *err,
                  void **ret_program)
{
    struct codec *c = self;
    struct tpc_error own;
    struct text texts[SCRIPTS] = { { "=script", { NULL, 0 }, NULL },
                                   { "=down", { NULL, 0 }, NULL } };
    struct job job = { .codec = c, .index = c->slot_count - 1, .err = err != NULL ? err : &own };
    int rc = read_config(c, &source->config, job.err, texts);
    if (rc == 0) {
        job.program = program_new(c, source->product);
        if (job.program == NULL) {
            rc = tpi_error_set(job.err, TPC_ENOMEM, "lua", "no memory for a program");
        }
    }
    if (rc == 0) {
        job.slot = codec_enter(c, job.index, job.err);
        rc = job.slot == NULL ? job.err->code : 0;
    }
    if (job.slot != NULL) {
        for (int i = 0; i < SCRIPTS && rc == 0; i++) {
            if (texts[i].text.ptr != NULL) {
                rc = chunk_get(&job, &texts[i], &job.program->chunks[i]);
            }
        }
        if (rc == 0) {
            rc = program_load(&job);
        }
        /* What a try leaves behind must not make the next product's memory scarce. */
        program_unload(job.slot, job.index, job.program);
        codec_leave(c, job.index);
    }
    for (int i = 0; i < SCRIPTS; i++) {
        tpi_free(c->host->allocator, texts[i].owned, texts[i].text.len);
    }
    if (rc != 0) {
        program_unref(c, job.program);
        return rc;
    }
    codec_count(c, "compiled", 1);
    *ret_program = job.program;
    return 0;
}

void codec_release(void *self, void *program)
{
    struct codec *c = self;
    struct program *p = program;
    if (p == NULL) {
        return;
    }
    for (uint32_t i = 0; i < c->slot_count; i++) {
        if (p->loads[i].epoch == 0) {
            continue;
        }
        atomic_fetch_add(&p->refs, 1);
        struct program *head = atomic_load(&c->slots[i].dead);
        do {
            p->loads[i].next_dead = head;
        } while (!atomic_compare_exchange_weak(&c->slots[i].dead, &head, p));
    }
    program_unref(c, p);
}

/* ---- loading into a state ---- */

/* The function `name` of the environment at index as a reference; 0 = there is none. */
static int function_ref(lua_State *L, int env, const char *name)
{
    if (lua_getfield(L, env, name) != LUA_TFUNCTION) {
        lua_pop(L, 1);
        return 0;
    }
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* Runs a chunk in the environment at index. */
static void run_chunk(lua_State *L, const struct chunk *chunk, const char *name, int env)
{
    int status = luaL_loadbufferx(L, (const char *) chunk->bytes, chunk->len, name, "b");
    if (status != LUA_OK) {
        slot_reraise(L, status);
        lua_error(L);
    }
    lua_pushvalue(L, env);
    if (lua_setupvalue(L, -2, 1) == NULL) {
        lua_pop(L, 1);
    }
    lua_call(L, 0, 0);
}

/* Methods of strings are those of the program's own string table. */
static void use_strings(lua_State *L, int string_table)
{
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, string_table);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 2);
}

static int switch_protected(lua_State *L)
{
    use_strings(L, (int) lua_tointeger(L, 1));
    return 0;
}

static int load_protected(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);
    struct program *p = job->program;
    struct load *load = &p->loads[job->index];
    load->epoch = job->slot->epoch;
    sandbox_env(L);
    int env = lua_gettop(L);
    lua_pushvalue(L, env);
    load->env = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_getfield(L, env, "string");
    load->string_table = luaL_ref(L, LUA_REGISTRYINDEX);
    job->slot->current = NULL;
    use_strings(L, load->string_table); /* the chunk calls methods, too: not those of another */
    run_chunk(L, p->chunks[SCRIPT_UP], "=script", env);
    load->decode = function_ref(L, env, "decode");
    load->encode = function_ref(L, env, "encode");
    load->inp = function_ref(L, env, "encodeInp");
    if (load->decode == 0 && load->inp == 0) {
        return luaL_error(L, "the script defines neither decode() nor encodeInp()");
    }
    if (p->chunks[SCRIPT_DOWN] != NULL) {
        sandbox_env(L);
        int down = lua_gettop(L);
        lua_rawgeti(L, LUA_REGISTRYINDEX, load->string_table);
        lua_setfield(L, down, "string");
        run_chunk(L, p->chunks[SCRIPT_DOWN], "=down", down);
        load->down_inp = function_ref(L, down, "encodeInp");
        if (load->down_inp == 0) {
            return luaL_error(L, "the script for the way down defines no encodeInp()");
        }
    }
    atomic_store(&p->panel, load->decode == 0 && load->encode == 0);
    return 0;
}

int program_load(struct job *job)
{
    struct slot *s = job->slot;
    struct load *load = &job->program->loads[job->index];
    int status = LUA_OK;
    if (load->epoch != s->epoch) {
        memset(load, 0, sizeof(*load));
        slot_begin(s, job->codec->limits.inp_ns);
        lua_pushcfunction(s->L, load_protected);
        lua_pushlightuserdata(s->L, job);
        status = lua_pcall(s->L, 1, 0, 0);
        if (status != LUA_OK) {
            int rc = call_failed(job, status, job->err);
            program_unload(s, job->index, job->program);
            return rc;
        }
    }
    if (s->current != job->program) {
        slot_begin(s, UINT64_MAX);
        lua_pushcfunction(s->L, switch_protected);
        lua_pushinteger(s->L, load->string_table);
        status = lua_pcall(s->L, 1, 0, 0);
        if (status != LUA_OK) {
            return call_failed(job, status, job->err);
        }
        s->current = job->program;
    }
    return 0;
}

void program_unload(struct slot *s, uint32_t index, struct program *p)
{
    struct load *load = &p->loads[index];
    if (s->L != NULL && load->epoch == s->epoch) {
        const int refs[] = { load->env,    load->string_table, load->decode,
                             load->encode, load->inp,          load->down_inp };
        for (size_t i = 0; i < sizeof(refs) / sizeof(refs[0]); i++) {
            if (refs[i] != 0) {
                luaL_unref(s->L, LUA_REGISTRYINDEX, refs[i]);
            }
        }
    }
    if (s->current == p) {
        s->current = NULL;
    }
    memset(load, 0, sizeof(*load));
}

int call_failed(struct job *job, int status, struct tpc_error *err)
{
    struct slot *s = job->slot;
    int rc = slot_error(s, status, job->program->product, err);
    codec_count_error(job->codec, s);
    if (s->trip == TRIP_MEMORY || status == LUA_ERRMEM) {
        program_unload(s, job->index, job->program);
        lua_gc(s->L, LUA_GCCOLLECT);
    }
    return rc;
}
