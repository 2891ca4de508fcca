/* Trees in the making, notes and names. */
#include "migrate/panel.h"

#include "data/member.h"
#include "data/msg.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

enum { FORMAT_BYTES = 512, FIRST_CAP = 8 };

struct tpc_value tpi_panel_text(struct panel *p, struct tpc_str text)
{
    char *room = tpc_arena_take(p->arena, text.len + 1);
    if (room == NULL) {
        p->rc = TPC_ENOMEM;
        return (struct tpc_value){ .type = TPC_NULL };
    }
    if (text.len > 0) {
        memcpy(room, text.ptr, text.len);
    }
    room[text.len] = '\0';
    return (struct tpc_value){ .type = TPC_TEXT, .len = text.len, .as.text = room };
}

static struct tpc_value format(struct panel *p, const char *fmt, va_list list)
{
    char text[FORMAT_BYTES];
    int n = vsnprintf(text, sizeof(text), fmt, list);
    size_t len = n < 0 ? 0 : (size_t) n < sizeof(text) ? (size_t) n : sizeof(text) - 1;
    return tpi_panel_text(p, (struct tpc_str){ text, len });
}

struct tpc_value tpi_panel_format(struct panel *p, const char *fmt, ...)
{
    va_list list;
    va_start(list, fmt);
    struct tpc_value v = format(p, fmt, list);
    va_end(list);
    return v;
}

void tpi_panel_add(struct panel *p, struct panel_list *list, struct tpc_value v)
{
    if (list->count == TPI_PANEL_DOCS) {
        p->rc = p->rc != 0 ? p->rc : TPC_ETOOBIG;
        return;
    }
    if (list->count == list->cap) {
        uint32_t cap = list->cap == 0 ? FIRST_CAP : list->cap * 2;
        struct tpc_value *items = tpc_arena_take(p->arena, cap * sizeof(*items));
        if (items == NULL) {
            p->rc = TPC_ENOMEM;
            return;
        }
        if (list->count > 0) {
            memcpy(items, list->items, list->count * sizeof(*items));
        }
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = v;
}

void tpi_panel_set(struct panel_map *m, const char *key, struct tpc_value v)
{
    if (v.type != TPC_NULL && m->count < TPI_PANEL_MEMBERS) {
        m->members[m->count++] = (struct tpc_member){ tpc_str_from(key), v };
    }
}

struct tpc_value tpi_panel_map(struct panel *p, const struct panel_map *m)
{
    size_t bytes = m->count * sizeof(m->members[0]);
    struct tpc_member *members = tpc_arena_take(p->arena, bytes + 1);
    if (members == NULL) {
        p->rc = TPC_ENOMEM;
        return (struct tpc_value){ .type = TPC_NULL };
    }
    memcpy(members, m->members, bytes);
    return (struct tpc_value){ .type = TPC_MAP, .len = m->count, .as.members = members };
}

struct tpc_value tpi_panel_array(const struct panel_list *list)
{
    return (struct tpc_value){ .type = TPC_ARRAY, .len = list->count, .as.items = list->items };
}

void tpi_panel_note(struct panel *p, const char *member, const char *fmt, ...)
{
    struct panel_map m = { .count = 0 };
    va_list list;
    va_start(list, fmt);
    tpi_panel_set(&m, "path",
                  tpi_panel_format(p, "%s%s%s", p->path, member != NULL ? "." : "",
                                   member != NULL ? member : ""));
    tpi_panel_set(&m, "text", format(p, fmt, list));
    va_end(list);
    tpi_panel_add(p, &p->notes, tpi_panel_map(p, &m));
}

const struct tpc_value *tpi_panel_name(const struct panel *p, const char *kind, struct tpc_str id)
{
    const struct tpc_value *all = tpi_member(p->names, kind);
    return all != NULL && all->type == TPC_MAP ? tpc_value_get(all, id) : NULL;
}

struct tpc_str tpi_panel_key(const struct panel *p, const char *kind, struct tpc_str id)
{
    const struct tpc_value *v = tpi_panel_name(p, kind, id);
    struct tpc_str key = v == NULL            ? id
                         : v->type == TPC_MAP ? tpi_member_text(v, "key")
                                              : tpc_value_text(v);
    return key.len > 0 ? key : id;
}

struct tpc_str tpi_panel_scalar(struct panel *p, const struct tpc_value *v)
{
    struct tpc_buf size = { NULL, 0, 0 };
    if (v == NULL || v->type == TPC_NULL || v->type > TPC_TEXT) {
        return TPC_STR("");
    }
    if (v->type == TPC_TEXT) {
        return tpc_value_text(v);
    }
    (void) tpc_json_write(v, 0, &size);
    size.cap = size.need + 1;
    size.ptr = tpc_arena_take(p->arena, size.cap);
    if (size.ptr == NULL || tpc_json_write(v, 0, &size) != 0) {
        p->rc = size.ptr == NULL ? TPC_ENOMEM : p->rc;
        return TPC_STR("");
    }
    return (struct tpc_str){ (const char *) size.ptr, size.need };
}
