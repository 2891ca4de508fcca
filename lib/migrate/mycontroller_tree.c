/* Trees of documents that are made, notes, durations. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "data/member.h"
#include "data/number.h"
#include "migrate/mycontroller.h"

struct tpc_value tpi_mc_text(struct tpc_str text)
{
    return (struct tpc_value){ .type = TPC_TEXT,
                               .len = text.len,
                               .as.text = text.len > 0 ? text.ptr : "" };
}

struct tpc_value tpi_mc_int(int64_t i)
{
    return (struct tpc_value){ .type = TPC_INT, .as.i = i };
}

struct tpc_value tpi_mc_bool(bool b)
{
    return (struct tpc_value){ .type = TPC_BOOL, .as.b = b };
}

void tpi_mc_add(struct tpi_mc *m, struct tpi_mc_list *list, const struct tpc_value *v)
{
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 8 : list->cap * 2;
        struct tpc_value *items = tpc_arena_take(m->arena, cap * sizeof(*items));
        if (items == NULL) {
            m->rc = m->rc != 0 ? m->rc : TPC_ENOMEM;
            return;
        }
        if (list->count > 0) {
            memcpy(items, list->items, list->count * sizeof(*items));
        }
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = *v;
}

void tpi_mc_put(struct tpi_mc_map *map, const char *key, struct tpc_value v)
{
    if (map->count < TPI_MC_MEMBERS) {
        map->members[map->count++] = (struct tpc_member){ tpc_str_from(key), v };
    }
}

void tpi_mc_put_text(struct tpi_mc_map *map, const char *key, struct tpc_str text)
{
    if (text.len > 0) {
        tpi_mc_put(map, key, tpi_mc_text(text));
    }
}

struct tpc_value tpi_mc_map_value(struct tpi_mc *m, const struct tpi_mc_map *map)
{
    struct tpc_value v = { .type = TPC_MAP, .len = map->count };
    struct tpc_member *members = tpc_arena_take(m->arena, (map->count + 1) * sizeof(*members));
    if (members == NULL) {
        m->rc = m->rc != 0 ? m->rc : TPC_ENOMEM;
        return (struct tpc_value){ .type = TPC_NULL };
    }
    memcpy(members, map->members, map->count * sizeof(*members));
    v.as.members = members;
    return v;
}

struct tpc_value tpi_mc_list_value(const struct tpi_mc_list *list)
{
    return (struct tpc_value){ .type = TPC_ARRAY, .len = list->count, .as.items = list->items };
}

void tpi_mc_buf(struct tpi_buf *b)
{
    tpi_buf_init(b, NULL, 0);
}

void tpi_mc_write(struct tpi_mc *m, struct tpi_buf *b, struct tpc_str text)
{
    if (text.len > 0 && tpi_buf_text(b, text) != 0) {
        m->rc = m->rc != 0 ? m->rc : TPC_ENOMEM;
    }
}

struct tpc_str tpi_mc_take(struct tpi_mc *m, struct tpi_buf *b)
{
    struct tpc_str s = { "", 0 };
    char *p = tpc_arena_take(m->arena, b->len + 1);
    if (p == NULL) {
        m->rc = m->rc != 0 ? m->rc : TPC_ENOMEM;
    } else {
        if (b->len > 0) {
            memcpy(p, b->ptr, b->len);
        }
        p[b->len] = '\0';
        s = (struct tpc_str){ p, b->len };
    }
    tpi_buf_fini(b);
    return s;
}

static struct tpc_value copy(struct tpi_mc *m, const char *text)
{
    struct tpi_buf b;
    tpi_mc_buf(&b);
    tpi_mc_write(m, &b, tpc_str_from(text));
    return tpi_mc_text(tpi_mc_take(m, &b));
}

static void note(struct tpi_mc *m, const char *at, const char *fmt, va_list args)
{
    char text[400];
    struct tpi_mc_map map = { .count = 0 };
    snprintf(text, sizeof(text), "%s %.*s", m->what, (int) (m->id.len < 128 ? m->id.len : 128),
             m->id.len > 0 ? m->id.ptr : "");
    tpi_mc_put(&map, "of", copy(m, text));
    tpi_mc_put(&map, "at", copy(m, at));
    vsnprintf(text, sizeof(text), fmt, args);
    tpi_mc_put(&map, "text", copy(m, text));
    struct tpc_value v = tpi_mc_map_value(m, &map);
    tpi_mc_add(m, &m->notes, &v);
}

void tpi_mc_note(struct tpi_mc *m, const char *at, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    note(m, at, fmt, args);
    va_end(args);
}

void tpi_mc_lame(struct tpi_mc *m, const char *at, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    note(m, at, fmt, args);
    va_end(args);
    m->lame = true;
}

/* ---- values ---- */

static int64_t unit_us(struct tpc_str *text)
{
    static const struct {
        const char *name;
        int64_t us;
    } units[] = { { "ms", 1000 },      { "us", 1 },       { "ns", 0 },
                  { "h", 3600000000 }, { "m", 60000000 }, { "s", 1000000 } };
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t n = strlen(units[i].name);
        if (text->len >= n && memcmp(text->ptr, units[i].name, n) == 0) {
            *text = (struct tpc_str){ text->ptr + n, text->len - n };
            return units[i].us;
        }
    }
    return -1;
}

bool tpi_mc_duration(struct tpc_str text, int64_t *ret_ms)
{
    double us = 0;
    bool minus = text.len > 0 && text.ptr[0] == '-';
    if (text.len > 0 && (minus || text.ptr[0] == '+')) {
        text = (struct tpc_str){ text.ptr + 1, text.len - 1 };
    }
    if (text.len == 0 || text.len > 64) {
        return false;
    }
    while (text.len > 0) {
        double number = 0;
        double part = 1;
        bool point = false;
        size_t n = 0;
        for (; n < text.len &&
               ((text.ptr[n] >= '0' && text.ptr[n] <= '9') || (text.ptr[n] == '.' && !point));
             n++) {
            point = point || text.ptr[n] == '.';
            number = text.ptr[n] == '.' ? number : number * 10 + (text.ptr[n] - '0');
            part *= point && text.ptr[n] != '.' ? 10 : 1;
        }
        text = (struct tpc_str){ text.ptr + n, text.len - n };
        int64_t unit = n > 0 ? unit_us(&text) : -1;
        if (unit < 0) {
            return false;
        }
        us += number / part * (double) unit;
    }
    if (us > 1e15) {
        return false;
    }
    *ret_ms = (int64_t) (us / 1000 + 0.5) * (minus ? -1 : 1);
    return true;
}

bool tpi_mc_truthy(const struct tpc_value *v)
{
    int64_t i = 0;
    struct tpc_str text = v != NULL ? tpc_value_text(v) : TPC_STR("");
    if (v == NULL || v->type != TPC_TEXT) {
        return v != NULL && tpc_value_int(v, &i) == 0 && i != 0;
    }
    static const char *const yes[] = { "true", "1", "on", "yes", "enable", "enabled" };
    for (size_t k = 0; k < sizeof(yes) / sizeof(yes[0]); k++) {
        if (tpc_str_equal(text, tpc_str_from(yes[k]))) {
            return true;
        }
    }
    return false;
}

int64_t tpi_mc_number(const struct tpc_value *map, const char *key, int64_t otherwise)
{
    struct tpc_str text = tpi_member_text(map, key);
    int64_t i = 0;
    if (text.len == 0) {
        return tpi_member_int(map, key, otherwise);
    }
    for (size_t n = 0; n < text.len; n++) {
        if (text.ptr[n] < '0' || text.ptr[n] > '9' || text.len > 15) {
            return otherwise;
        }
        i = i * 10 + (text.ptr[n] - '0');
    }
    return i;
}
