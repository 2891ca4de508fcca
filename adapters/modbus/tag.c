#include "tag.h"

#include "base/text.h"
#include "data/member.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 96 };

struct reading {
    const struct tpc_host *host;
    void *ctx;
    struct tpc_arena *arena;
    const struct tpc_value *cfg;
    char path[PATH_BYTES];
};

static int no_memory(struct reading *r)
{
    return r->host->fail(r->ctx, TPC_ENOMEM, "no memory for the tags");
}

/* ---- types ---- */

struct type_word {
    const char *name;
    uint8_t type, width;
};

static const struct type_word type_words[] = {
    { "bool", MB_BOOL, 16 },     { "int8", MB_INT, 8 },       { "uint8", MB_UINT, 8 },
    { "int16", MB_INT, 16 },     { "uint16", MB_UINT, 16 },   { "int32", MB_INT, 32 },
    { "uint32", MB_UINT, 32 },   { "int64", MB_INT, 64 },     { "uint64", MB_UINT, 64 },
    { "float16", MB_FLOAT, 16 }, { "float32", MB_FLOAT, 32 }, { "float64", MB_FLOAT, 64 },
    { "bcd16", MB_BCD, 16 },     { "bcd32", MB_BCD, 32 },     { "bcd64", MB_BCD, 64 },
    { "string", MB_STRING, 0 },  { "hex", MB_HEX, 0 },        { "bits", MB_BITS, 0 },
};

static bool is(struct tpc_str s, const char *text)
{
    return tpc_str_equal(s, tpc_str_from(text));
}

static void read_type(const struct tpc_value *doc, bool of_bits, struct mb_shape *s)
{
    struct tpc_str name = tpi_member_text(doc, "type");
    struct type_word found = { NULL, of_bits ? MB_BOOL : MB_UINT, 16 };
    for (size_t i = 0; i < sizeof(type_words) / sizeof(type_words[0]); i++) {
        if (is(name, type_words[i].name)) {
            found = type_words[i];
        }
    }
    s->type = found.type;
    s->width = found.width;
    s->bit = (int8_t) tpi_member_int(doc, "bit", -1);
    if (s->bit >= 0 && name.len == 0) {
        s->type = MB_BOOL;
    }
    s->count = (uint16_t) (found.width > 16 && !of_bits ? found.width / 16
                                                        : tpi_member_int(doc, "count", 1));
    s->decimals =
        (int8_t) tpi_member_int(doc, "round", s->type == MB_FLOAT && s->width < 64 ? 6 : -1);
}

static bool little(const struct tpc_value *doc, const struct tpc_value *bus, const char *member)
{
    struct tpc_str order = tpi_member_text(doc, member);
    return is(order.len > 0 ? order : tpi_member_text(bus, member), "little");
}

static double read_double(const struct tpc_value *doc, const char *member, double otherwise)
{
    double d = otherwise;
    const struct tpc_value *v = tpi_member(doc, member);
    return v != NULL && tpc_value_double(v, &d) == 0 ? d : otherwise;
}

/* ---- names of numbers ---- */

static bool whole_number(struct tpc_str s, int64_t *ret)
{
    char text[24];
    char *end;
    if (s.len == 0 || s.len >= sizeof(text)) {
        return false;
    }
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    *ret = strtoll(text, &end, 10);
    return *end == '\0';
}

static int read_names(struct reading *r, const struct tpc_value *doc, struct mb_shape *s)
{
    const struct tpc_value *names = tpi_member(doc, "names");
    if (names == NULL) {
        return 0;
    }
    if (names->type != TPC_MAP || names->len == 0 || names->len > MB_NAMES_MAX) {
        return r->host->fail(r->ctx, TPC_EINVAL,
                             "%s.names: a map of at most %d numbers was expected", r->path,
                             MB_NAMES_MAX);
    }
    struct mb_name *all = tpc_arena_take(r->arena, names->len * sizeof(*all));
    if (all == NULL) {
        return no_memory(r);
    }
    for (size_t i = 0; i < names->len; i++) {
        const struct tpc_member *m = &names->as.members[i];
        if (!whole_number(m->key, &all[i].raw) || m->value.type != TPC_TEXT) {
            return r->host->fail(r->ctx, TPC_EINVAL,
                                 "%s.names: '%.*s' is no number, or has no text", r->path,
                                 (int) (m->key.len < 40 ? m->key.len : 40), m->key.ptr);
        }
        all[i].text = tpc_value_text(&m->value);
    }
    s->names = all;
    s->name_count = (uint32_t) names->len;
    return 0;
}

/* ---- tags ---- */

static uint8_t function_of(struct tpc_str area)
{
    static const char *const areas[] = { "coil", "discrete", "holding", "input" };
    for (uint8_t i = 0; i < 4; i++) {
        if (is(area, areas[i])) {
            return (uint8_t) (MB_READ_COILS + i);
        }
    }
    return MB_READ_HOLDING;
}

static uint8_t writing_of(const struct tpc_value *doc, uint8_t function)
{
    static const char *const ways[] = { "no", "single", "multiple" };
    struct tpc_str way = tpi_member_text(doc, "write");
    if (function == MB_READ_INPUTS || function == MB_READ_INPUT) {
        return MB_WRITE_NO;
    }
    for (uint8_t i = 0; i < 3; i++) {
        if (is(way, ways[i])) {
            return i;
        }
    }
    return MB_WRITE_AUTO;
}

static const char *wrong_with(const struct mb_tag *t)
{
    const struct mb_shape *s = &t->shape;
    bool bits = mb_is_bits(t->function);
    if ((uint32_t) t->address + s->count > 65536) {
        return "lies behind address 65535";
    }
    if (bits && s->type != MB_BOOL && s->type != MB_BITS) {
        return "bits are of the type bool or bits";
    }
    if (s->bit >= 0 && (bits || s->count != 1 || s->type != MB_BOOL)) {
        return "bit is of one register, as bool";
    }
    if (s->type == MB_BITS && s->count > (bits ? MB_BITS_AS_LIST : MB_BITS_AS_LIST / 16)) {
        return "a list has at most 128 bits";
    }
    if (s->type != MB_STRING && s->type != MB_HEX && s->type != MB_BITS && s->width <= 16 &&
        s->count != 1) {
        return "count is of string, hex and bits";
    }
    if (s->multiplier == 0 || s->divider == 0) {
        return "multiplier and divider cannot be 0";
    }
    return t->writing == MB_WRITE_SINGLE && s->count != 1 ? "one function writes one register"
                                                          : NULL;
}

bool mb_type_known(struct tpc_str name)
{
    for (size_t i = 0; i < sizeof(type_words) / sizeof(type_words[0]); i++) {
        if (is(name, type_words[i].name)) {
            return true;
        }
    }
    return false;
}

const char *mb_tag_read(const struct tpc_value *doc, const struct tpc_value *bus, uint32_t poll_ms,
                        uint8_t function, struct mb_tag *t)
{
    *t = (struct mb_tag){ .name = tpi_member_text(doc, "name"),
                          .address = (uint16_t) tpi_member_int(doc, "address", 0),
                          .attribute = is(tpi_member_text(doc, "kind"), "attributes"),
                          .read_back = tpi_member_bool(doc, "read_back", false),
                          .poll_ms = (uint32_t) tpi_member_int(doc, "poll", poll_ms) };
    t->function = function != 0 ? function : function_of(tpi_member_text(doc, "area"));
    t->writing = writing_of(doc, t->function);
    t->shape.high_byte = is(tpi_member_text(doc, "byte"), "high");
    t->shape.swap_bytes = little(doc, bus, "byte_order");
    t->shape.swap_words = little(doc, bus, "word_order");
    t->shape.multiplier = read_double(doc, "multiplier", 1);
    t->shape.divider = read_double(doc, "divider", 1);
    t->shape.offset = read_double(doc, "offset", 0);
    read_type(doc, mb_is_bits(t->function), &t->shape);
    return wrong_with(t);
}

static int read_tag(struct reading *r, const struct tpc_value *doc, uint32_t poll_ms,
                    struct mb_tag *t)
{
    const char *wrong = mb_tag_read(doc, r->cfg, poll_ms, 0, t);
    if (wrong != NULL) {
        return r->host->fail(r->ctx, TPC_EINVAL, "%s: %s", r->path, wrong);
    }
    return read_names(r, doc, &t->shape);
}

static int by_name(const void *a, const void *b)
{
    const struct mb_tag *x = a, *y = b;
    return tpi_text_order(x->name, y->name);
}

/* Sorted by name. */
static int read_tags(struct reading *r, const struct tpc_value *list, const char *where, size_t n,
                     uint32_t poll_ms, const struct mb_tag **ret, uint32_t *ret_count)
{
    struct mb_tag *tags = tpc_arena_take(r->arena, list->len * sizeof(*tags));
    if (tags == NULL) {
        return no_memory(r);
    }
    for (size_t i = 0; i < list->len; i++) {
        snprintf(r->path, sizeof(r->path), "%s[%zu].tags[%zu]", where, n, i);
        int rc = read_tag(r, &list->as.items[i], poll_ms, &tags[i]);
        if (rc != 0) {
            return rc;
        }
    }
    qsort(tags, list->len, sizeof(*tags), by_name);
    for (size_t i = 1; i < list->len; i++) {
        if (by_name(&tags[i - 1], &tags[i]) == 0) {
            return r->host->fail(r->ctx, TPC_EEXIST, "%s[%zu].tags: there are two '%.*s'", where, n,
                                 (int) tags[i].name.len, tags[i].name.ptr);
        }
    }
    *ret = tags;
    *ret_count = (uint32_t) list->len;
    return 0;
}

const struct mb_tag *mb_tag_find(const struct mb_slave_config *s, struct tpc_str name)
{
    struct mb_tag asked = { .name = name };
    return bsearch(&asked, s->tags, s->count, sizeof(*s->tags), by_name);
}

/* ---- maps and slaves ---- */

static int read_maps(struct reading *r, const struct tpc_value *list, struct mb_map *maps)
{
    for (size_t i = 0; list != NULL && i < list->len; i++) {
        const struct tpc_value *doc = &list->as.items[i];
        struct mb_map *m = &maps[i];
        m->name = tpi_member_text(doc, "name");
        for (size_t k = 0; k < i; k++) {
            if (tpc_str_equal(maps[k].name, m->name)) {
                return r->host->fail(r->ctx, TPC_EEXIST, "maps[%zu]: there are two '%.*s'", i,
                                     (int) m->name.len, m->name.ptr);
            }
        }
        int rc = read_tags(r, tpi_member(doc, "tags"), "maps", i,
                           (uint32_t) tpi_member_int(doc, "poll", 1000), &m->tags, &m->count);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static void read_limits(const struct tpc_value *bus, const struct tpc_value *doc,
                        struct mb_limits *l)
{
    l->registers =
        (uint16_t) tpi_member_int(doc, "max_registers", tpi_member_int(bus, "max_registers", 125));
    l->bits = (uint16_t) tpi_member_int(doc, "max_bits", tpi_member_int(bus, "max_bits", 2000));
    l->gap_registers =
        (uint16_t) tpi_member_int(doc, "max_gap", tpi_member_int(bus, "max_gap", 16));
    l->gap_bits = (uint16_t) (l->gap_registers * 16);
}

static int read_slave(struct reading *r, const struct tpc_value *doc, size_t n,
                      const struct mb_map *maps, size_t map_count, struct mb_slave_config *s)
{
    struct tpc_str map = tpi_member_text(doc, "map");
    const struct tpc_value *tags = tpi_member(doc, "tags");
    *s = (struct mb_slave_config){ .device = tpi_member_text(doc, "device"),
                                   .product = tpi_member_text(doc, "product"),
                                   .unit = (uint8_t) tpi_member_int(doc, "unit", 1) };
    read_limits(r->cfg, doc, &s->limits);
    bool own = tags != NULL && tags->len > 0;
    if (own == (map.len > 0)) {
        return r->host->fail(r->ctx, TPC_EINVAL, "slaves[%zu]: either map or tags", n);
    }
    if (own) {
        return read_tags(r, tags, "slaves", n, (uint32_t) tpi_member_int(doc, "poll", 1000),
                         &s->tags, &s->count);
    }
    for (size_t i = 0; i < map_count; i++) {
        if (tpc_str_equal(maps[i].name, map)) {
            s->tags = maps[i].tags;
            s->count = maps[i].count;
            return 0;
        }
    }
    return r->host->fail(r->ctx, TPC_EINVAL, "slaves[%zu].map: there is no '%.*s'", n,
                         (int) map.len, map.ptr);
}

static int read_slaves(struct reading *r, const struct tpc_value *cfg, struct mb_config *c)
{
    const struct tpc_value *list = tpi_member(cfg, "slaves");
    const struct tpc_value *map_list = tpi_member(cfg, "maps");
    size_t map_count = map_list != NULL ? map_list->len : 0;
    struct mb_map *maps = tpc_arena_take(r->arena, (map_count + 1) * sizeof(*maps));
    c->slaves = tpc_arena_take(r->arena, list->len * sizeof(*c->slaves));
    if (maps == NULL || c->slaves == NULL) {
        return no_memory(r);
    }
    int rc = read_maps(r, map_list, maps);
    for (size_t i = 0; rc == 0 && i < list->len; i++) {
        rc = read_slave(r, &list->as.items[i], i, maps, map_count, &c->slaves[i]);
    }
    c->slave_count = (uint32_t) list->len;
    return rc;
}

int mb_config_read(const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                   struct tpc_arena *arena, struct mb_config *ret)
{
    struct reading r = { .host = host, .ctx = ctx, .arena = arena, .cfg = cfg };
    struct tpc_str parity = tpi_member_text(cfg, "parity");
    *ret = (struct mb_config){
        .url = tpi_member_text(cfg, "url"),
        .json = is(tpi_member_text(cfg, "format"), "json"),
        .timeout_ms = (uint32_t) tpi_member_int(cfg, "timeout", 1000),
        .retries = (uint32_t) tpi_member_int(cfg, "retries", 1),
        .delay_ms = (uint32_t) tpi_member_int(cfg, "delay", 0),
        .connect_ms = (uint32_t) tpi_member_int(cfg, "connect_timeout", 5000),
        .pipeline = (uint32_t) tpi_member_int(cfg, "pipeline", 1),
        .degraded_after = (uint32_t) tpi_member_int(cfg, "degraded_after", 3),
        .back_off_min_ms = (uint32_t) tpi_member_int(cfg, "retry_min", 1000),
        .back_off_max_ms = (uint32_t) tpi_member_int(cfg, "retry_max", 60000),
        .baud = (uint32_t) tpi_member_int(cfg, "baud", 19200),
        .parity = is(parity, "none")  ? 'N'
                  : is(parity, "odd") ? 'O'
                                      : 'E',
        .data_bits = (int) tpi_member_int(cfg, "data_bits", 8),
        .stop_bits = (int) tpi_member_int(cfg, "stop_bits", 1),
    };
    return read_slaves(&r, cfg, ret);
}
