#include "state.h"

#include "base/alloc.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char slot_registry[REG_LAST];

static const char *const trip_texts[] = { "", "the script went over its limit of steps",
                                          "the script went over its deadline",
                                          "the script went over its limit of memory" };

/* ---- memory ---- */

static size_t pool_class(size_t n)
{
    return (n + POOL_STEP - 1) / POOL_STEP - 1;
}

/* A chunk cut into blocks of one class. */
static void *pool_grow(struct slot *s, size_t class)
{
    size_t block = (class + 1) * POOL_STEP;
    struct pool_chunk *chunk = tpi_alloc(s->alloc, POOL_CHUNK);
    if (chunk == NULL) {
        s->host_refused = true;
        return NULL;
    }
    chunk->next = s->chunks;
    s->chunks = chunk;
    char *p = (char *) (chunk + 1);
    char *end = (char *) chunk + POOL_CHUNK;
    void *list = NULL;
    for (; (size_t) (end - p) >= block; p += block) {
        *(void **) (void *) p = list;
        list = p;
    }
    return list;
}

static void *block_take(struct slot *s, size_t n)
{
    if (n > POOL_CLASSES * POOL_STEP) {
        void *p = tpi_alloc(s->alloc, n);
        s->host_refused |= p == NULL;
        return p;
    }
    size_t class = pool_class(n);
    void *p = s->free_blocks[class];
    if (p == NULL) {
        p = pool_grow(s, class);
        if (p == NULL) {
            return NULL;
        }
    }
    s->free_blocks[class] = *(void **) p;
    return p;
}

static void block_give(struct slot *s, void *p, size_t n)
{
    if (n > POOL_CLASSES * POOL_STEP) {
        tpi_free(s->alloc, p, n);
        return;
    }
    size_t class = pool_class(n);
    *(void **) p = s->free_blocks[class];
    s->free_blocks[class] = p;
}

static void *take(struct slot *s, size_t n)
{
    if (n > s->limits->memory_bytes - s->live_bytes) {
        return NULL;
    }
    void *p = block_take(s, n);
    if (p != NULL) {
        s->live_bytes += n;
    }
    return p;
}

/* lua_Alloc. Since 5.4 Lua takes it if a shrinking block fails too. */
static void *resize(void *user, void *p, size_t old, size_t n)
{
    struct slot *s = user;
    if (p == NULL) { /* old is then the type of the object */
        return n > 0 ? take(s, n) : NULL;
    }
    if (n == 0) {
        block_give(s, p, old);
        s->live_bytes -= old;
        return NULL;
    }
    if (n > old && n - old > s->limits->memory_bytes - s->live_bytes) {
        return NULL;
    }
    if (old <= POOL_CLASSES * POOL_STEP && n <= POOL_CLASSES * POOL_STEP &&
        pool_class(old) == pool_class(n)) {
        s->live_bytes += n - old;
        return p;
    }
    void *q = block_take(s, n);
    if (q == NULL) {
        return NULL;
    }
    memcpy(q, p, old < n ? old : n);
    block_give(s, p, old);
    s->live_bytes += n - old;
    return q;
}

/* ---- budget ---- */

static void hook(lua_State *L, lua_Debug *ar);

void slot_begin(struct slot *s, uint64_t limit_ns)
{
    s->steps = 0;
    s->debt = 0;
    s->begin_ns = 0;
    s->limit_ns = limit_ns;
    s->trip = TRIP_NONE;
    s->host_refused = false;
    if (s->tight) {
        lua_sethook(s->L, hook, LUA_MASKCOUNT, HOOK_STEPS);
        s->tight = false;
    }
}

int slot_spend(struct slot *s, uint64_t steps)
{
    s->steps += steps;
    if (s->trip != TRIP_NONE) {
        return 1;
    }
    /* The clock is first read here: a call of less than HOOK_STEPS never reads it. */
    uint64_t now = s->clock->mono_ns(s->clock->user);
    if (s->begin_ns == 0) {
        s->begin_ns = now;
    }
    if (s->steps > s->limits->steps) {
        s->trip = TRIP_STEPS;
    } else if (now - s->begin_ns > s->limit_ns) {
        s->trip = TRIP_DEADLINE;
    }
    return s->trip != TRIP_NONE;
}

static int raise_trip(lua_State *L, struct slot *s, int level)
{
    lua_sethook(L, hook, LUA_MASKCOUNT, 1);
    s->tight = true;
    luaL_where(L, level);
    lua_pushstring(L, trip_texts[s->trip]);
    lua_concat(L, 2);
    return lua_error(L);
}

static void hook(lua_State *L, lua_Debug *ar)
{
    (void) ar;
    struct slot *s = slot_of(L);
    int run = lua_gethookcount(L);
    if (slot_spend(s, (uint64_t) run) != 0) {
        raise_trip(L, s, 0);
    }
    if (run != HOOK_STEPS) { /* a coroutine that was tripped in an earlier call */
        lua_sethook(L, hook, LUA_MASKCOUNT, HOOK_STEPS);
    }
}

void slot_charge(lua_State *L, struct slot *s, uint64_t steps)
{
    if (slot_spend(s, steps) != 0) {
        raise_trip(L, s, 1);
    }
}

void slot_reraise(lua_State *L, int status)
{
    struct slot *s = slot_of(L);
    if (status == LUA_ERRMEM && s->trip == TRIP_NONE) {
        s->trip = TRIP_MEMORY;
    }
    if (s->trip != TRIP_NONE) {
        raise_trip(L, s, 1);
    }
}

/* ---- errors ---- */

/* "script:12: text" is line 12 and "text". */
static const char *split_line(const char *text, uint32_t *ret_line)
{
    static const char *const names[] = { "script:", "down:" };
    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(names[i]);
        if (strncmp(text, names[i], n) == 0 && text[n] >= '0' && text[n] <= '9') {
            char *end;
            unsigned long line = strtoul(text + n, &end, 10);
            if (end[0] == ':' && end[1] == ' ') {
                *ret_line = (uint32_t) line;
                return end + 2;
            }
        }
    }
    return text;
}

int slot_error(struct slot *s, int status, struct tpc_str product, struct tpc_error *err)
{
    char path[sizeof(err->path)];
    const char *text = "the error is no text";
    uint32_t line = 0;
    int code = TPC_ESCRIPT;
    if (status == LUA_ERRMEM || s->trip == TRIP_MEMORY) {
        s->trip = TRIP_MEMORY;
        text = trip_texts[TRIP_MEMORY];
        s->reset_soon = true;
        if (s->host_refused) {
            code = TPC_ENOMEM;
            text = "out of memory";
        }
    } else if (lua_type(s->L, -1) == LUA_TSTRING) {
        text = split_line(lua_tostring(s->L, -1), &line);
    }
    snprintf(path, sizeof(path), "%.*s", (int) product.len, product.ptr);
    tpi_error_set(err, code, "lua", "%s", text);
    tpi_error_at(err, path);
    if (err != NULL) {
        err->line = line;
    }
    lua_pop(s->L, 1);
    return code;
}

/* ---- keys ---- */

/* A copy of the text that lives until the slot ends; NULL when out of memory. */
static const struct tpc_str *key_text(struct slot *s, struct tpc_str key)
{
    struct tpc_str *text = tpi_map_get(&s->key_texts, key.ptr, key.len);
    if (text != NULL) {
        return text;
    }
    text = tpi_alloc(s->alloc, sizeof(*text) + KEY_MAX + 1);
    if (text == NULL) {
        return NULL;
    }
    memcpy(text + 1, key.ptr, key.len);
    *text = (struct tpc_str){ (const char *) (text + 1), key.len };
    if (tpi_map_put(&s->key_texts, key.ptr, key.len, text, NULL) != 0) {
        tpi_free(s->alloc, text, sizeof(*text) + KEY_MAX + 1);
        return NULL;
    }
    return text;
}

static int key_copy(struct tpc_str key, struct tpc_arena *arena, struct tpc_str *ret)
{
    char *p = tpc_arena_take(arena, key.len > 0 ? key.len : 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(p, key.ptr, key.len);
    *ret = (struct tpc_str){ p, key.len };
    return 0;
}

/* Places of the cache are found by the address of the string's object. */
static size_t key_place(const void *object)
{
    return ((uintptr_t) object >> 4) * 0x9E3779B9u >> 7 & (KEY_CACHE - 1);
}

const struct key_entry *slot_key_find(const struct slot *s, const void *object)
{
    size_t at = key_place(object);
    while (s->keys[at].object != NULL) {
        if (s->keys[at].object == object) {
            return &s->keys[at];
        }
        at = (at + 1) & (KEY_CACHE - 1);
    }
    return NULL;
}

/* Keeps the string at index alive, so that no other object gets its address. */
static void anchor(lua_State *L, int index)
{
    lua_pushvalue(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &slot_registry[REG_ANCHORS]);
    lua_insert(L, -2);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static const struct key_entry *key_enter(lua_State *L, struct slot *s, int index,
                                         struct tpc_str text, enum word word)
{
    const void *object = lua_topointer(L, index);
    anchor(L, index);
    size_t at = key_place(object);
    while (s->keys[at].object != NULL) {
        at = (at + 1) & (KEY_CACHE - 1);
    }
    s->keys[at] = (struct key_entry){ object, text, word };
    s->key_count++;
    return &s->keys[at];
}

int slot_key(lua_State *L, struct slot *s, int index, struct tpc_arena *arena,
             struct key_entry *room, const struct key_entry **ret)
{
    struct tpc_str key;
    key.ptr = lua_tolstring(L, index, &key.len);
    if (key.len > KEY_MAX || s->key_count >= KEY_CACHE / 2 ||
        tpi_map_count(&s->key_texts) >= KEY_CACHE * 4) {
        *room = (struct key_entry){ NULL, { NULL, 0 }, WORD_NONE };
        *ret = room;
        return key_copy(key, arena, &room->text);
    }
    const struct tpc_str *text = key_text(s, key);
    if (text == NULL) {
        return TPC_ENOMEM;
    }
    *ret = key_enter(L, s, index, *text, WORD_NONE);
    return 0;
}

/* ---- life ---- */

void slot_init(struct slot *s, const struct tpc_host *host, const struct limits *limits)
{
    memset(s, 0, sizeof(*s));
    s->alloc = host->allocator;
    s->clock = host->clock;
    s->limits = limits;
    tpi_map_init(&s->key_texts, host->allocator);
}

void slot_close(struct slot *s)
{
    if (s->L != NULL) {
        lua_close(s->L);
        s->L = NULL;
    }
    while (s->chunks != NULL) {
        struct pool_chunk *chunk = s->chunks;
        s->chunks = chunk->next;
        tpi_free(s->alloc, chunk, POOL_CHUNK);
    }
    memset(s->free_blocks, 0, sizeof(s->free_blocks));
    memset(s->keys, 0, sizeof(s->keys));
    memset(s->guess, 0, sizeof(s->guess));
    s->key_count = 0;
    s->live_bytes = 0;
    s->current = NULL;
    s->reset_soon = false;
    s->tight = false;
}

void slot_fini(struct slot *s)
{
    struct tpc_bytes key;
    void *text;
    slot_close(s);
    for (size_t i = 0; tpi_map_next(&s->key_texts, &i, &key, &text);) {
        tpi_free(s->alloc, text, sizeof(struct tpc_str) + KEY_MAX + 1);
    }
    tpi_map_fini(&s->key_texts);
    s->scratch = tpc_arena_destroy(s->scratch);
}

static int open_libraries(lua_State *L)
{
    static const struct tpc_str words[] = { TPC_STR_INIT("points"), TPC_STR_INIT("kind") };
    struct slot *s = slot_of(L);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &slot_registry[REG_ANCHORS]);
    for (int i = 0; i < 2; i++) {
        lua_pushlstring(L, words[i].ptr, words[i].len);
        (void) key_enter(L, s, -1, words[i], i == 0 ? WORD_POINTS : WORD_KIND);
        lua_pop(L, 1);
    }
    sandbox_open(L);
    return 0;
}

int slot_open(struct slot *s, struct tpc_error *err)
{
    if (s->reset_soon) {
        slot_close(s);
    }
    if (s->L != NULL) {
        return 0;
    }
    s->L = lua_newstate(resize, s);
    if (s->L == NULL) {
        slot_close(s);
        return tpi_error_set(err, TPC_ENOMEM, "lua", "no memory for a Lua state");
    }
    *(struct slot **) lua_getextraspace(s->L) = s;
    slot_begin(s, UINT64_MAX);
    lua_pushcfunction(s->L, open_libraries);
    int status = lua_pcall(s->L, 0, 0, 0);
    if (status != LUA_OK) {
        int rc = slot_error(s, status, TPC_STR(""), err);
        slot_close(s);
        return rc;
    }
    s->epoch++;
    lua_gc(s->L, LUA_GCINC, GC_PAUSE, 0, 0);
    lua_sethook(s->L, hook, LUA_MASKCOUNT, HOOK_STEPS);
    return 0;
}
