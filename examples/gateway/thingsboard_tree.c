/* Trees read with their paths and notes, and trees made, for the import. */
#include "tb_tree.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

static void *take(struct tb *t, size_t n)
{
    void *p = t->no_memory ? NULL : tpc_arena_take(t->arena, n > 0 ? n : 1);
    t->no_memory |= p == NULL;
    return p;
}

char *tb_copy(struct tb *t, struct tpc_str s)
{
    char *to = take(t, s.len + 1);
    if (to == NULL) {
        return NULL;
    }
    if (s.len > 0) {
        memcpy(to, s.ptr, s.len);
    }
    to[s.len] = '\0';
    return to;
}

static char *format(struct tb *t, const char *fmt, va_list args)
{
    char text[1024];
    vsnprintf(text, sizeof(text), fmt, args);
    return tb_copy(t, tpc_str_from(text));
}

const char *tb_format(struct tb *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const char *text = format(t, fmt, args);
    va_end(args);
    return text != NULL ? text : "";
}

/* ---- notes ---- */

static void join(char out[TB_PATH], const char *path, const char *member)
{
    bool dot = path[0] != '\0' && member[0] != '\0';
    snprintf(out, TB_PATH, "%.100s%s%.58s", path, dot ? "." : "", member);
}

/* Paths that differ in indices alone. */
static bool alike(const char *a, const char *b)
{
    while (*a != '\0' || *b != '\0') {
        bool digits = *a >= '0' && *a <= '9' && *b >= '0' && *b <= '9';
        if (!digits && *a != *b) {
            return false;
        }
        if (!digits) {
            a++;
            b++;
            continue;
        }
        a += strspn(a, "0123456789");
        b += strspn(b, "0123456789");
    }
    return true;
}

/* One that says the same of a place like it. */
static struct tb_note *same_note(const struct tb *t, bool error, const char *path, const char *text)
{
    for (struct tb_note *n = t->notes; n != NULL && text != NULL; n = n->next) {
        if (n->error == error && n->file == t->file && strcmp(n->text, text) == 0 &&
            alike(n->path, path)) {
            return n;
        }
    }
    return NULL;
}

static void add_note(struct tb *t, bool error, const struct tb_obj *o, const char *member,
                     const char *text)
{
    char path[TB_PATH];
    join(path, o != NULL ? o->path : "", member != NULL ? member : "");
    struct tb_note *like = same_note(t, error, path, text);
    if (like != NULL) {
        like->more++;
        return;
    }
    if (t->note_count == TB_NOTES_MAX) {
        t->notes_lost++;
        return;
    }
    struct tb_note *n = take(t, sizeof(*n));
    if (n == NULL) {
        return;
    }
    *n = (struct tb_note){ .error = error, .file = t->file, .text = text };
    n->path = tb_copy(t, tpc_str_from(path));
    if (n->path == NULL || text == NULL) {
        return;
    }
    *t->notes_end = n;
    t->notes_end = &n->next;
    t->note_count++;
}

void tb_note(struct tb *t, const struct tb_obj *o, const char *member, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add_note(t, false, o, member, format(t, fmt, args));
    va_end(args);
}

void tb_error(struct tb *t, const struct tb_obj *o, const char *member, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    add_note(t, true, o, member, format(t, fmt, args));
    va_end(args);
    t->failed = true;
}

/* Whether an option that is lost was on. */
static bool is_on(const struct tpc_value *v)
{
    switch (v->type) {
    case TPC_NULL:
        return false;
    case TPC_BOOL:
        return v->as.b;
    case TPC_INT:
        return v->as.i != 0;
    case TPC_DOUBLE:
        return true;
    default:
        return v->len > 0;
    }
}

void tb_scan(struct tb *t, const struct tb_obj *o, const struct tb_known *known, size_t n)
{
    for (size_t i = 0; o->map != NULL && i < o->map->len; i++) {
        const struct tpc_member *m = &o->map->as.members[i];
        char name[64];
        size_t k = 0;
        while (k < n && !tpc_str_equal(m->key, tpc_str_from(known[k].name))) {
            k++;
        }
        snprintf(name, sizeof(name), "%.*s", (int) (m->key.len < 60 ? m->key.len : 60), m->key.ptr);
        if (k == n) {
            tb_note(t, o, name, "is not known here: it has no effect");
        } else if (known[k].lost != NULL && known[k].lost[0] != '\0' && is_on(&m->value)) {
            tb_note(t, o, name, "%s", known[k].lost);
        }
    }
}

void tb_note_text(const struct tb_note *n, char *text, size_t cap)
{
    char more[40] = "";
    if (n->more > 0) {
        snprintf(more, sizeof(more), " (and %u more)", n->more);
    }
    snprintf(text, cap, "%s: %s%s%s%s", n->file, n->path, n->path[0] != '\0' ? ": " : "", n->text,
             more);
}

/* ---- reading ---- */

const struct tpc_value *tb_find(const struct tb_obj *o, const char *name)
{
    const struct tpc_value *maps[] = { o->map, o->base };
    for (size_t i = 0; i < 2; i++) {
        const struct tpc_value *v =
            maps[i] != NULL ? tpc_value_get(maps[i], tpc_str_from(name)) : NULL;
        if (v != NULL && v->type != TPC_NULL) {
            return v;
        }
    }
    return NULL;
}

struct tpc_str tb_text(struct tb *t, const struct tb_obj *o, const char *name)
{
    const struct tpc_value *v = tb_find(o, name);
    if (v != NULL && v->type != TPC_TEXT) {
        tb_error(t, o, name, "a text is expected");
        v = NULL;
    }
    return v != NULL ? tpc_value_text(v) : (struct tpc_str){ "", 0 };
}

bool tb_int(struct tb *t, const struct tb_obj *o, const char *name, int64_t min, int64_t max,
            int64_t *ret)
{
    const struct tpc_value *v = tb_find(o, name);
    int64_t i;
    if (v == NULL) {
        return false;
    }
    bool good = v->type == TPC_INT;
    i = good ? v->as.i : 0;
    if (v->type == TPC_DOUBLE && v->as.d > -9e15 && v->as.d < 9e15) {
        i = (int64_t) v->as.d;
        good = (double) i == v->as.d;
    }
    if (!good || i < min || i > max) {
        tb_error(t, o, name, "a number from %" PRId64 " to %" PRId64 " is expected", min, max);
        return false;
    }
    *ret = i;
    return true;
}

bool tb_double(struct tb *t, const struct tb_obj *o, const char *name, double *ret)
{
    const struct tpc_value *v = tb_find(o, name);
    if (v == NULL) {
        return false;
    }
    if (v->type != TPC_INT && v->type != TPC_DOUBLE) {
        tb_error(t, o, name, "a number is expected");
        return false;
    }
    *ret = v->type == TPC_INT ? (double) v->as.i : v->as.d;
    return true;
}

bool tb_bool(struct tb *t, const struct tb_obj *o, const char *name, bool absent)
{
    const struct tpc_value *v = tb_find(o, name);
    if (v != NULL && v->type != TPC_BOOL) {
        tb_error(t, o, name, "true or false is expected");
        v = NULL;
    }
    return v != NULL ? v->as.b : absent;
}

struct tb_obj tb_map(struct tb *t, const struct tb_obj *o, const char *name)
{
    struct tb_obj in = { .map = tb_find(o, name) };
    join(in.path, o->path, name);
    if (in.map != NULL && in.map->type != TPC_MAP) {
        tb_error(t, o, name, "an object is expected");
        in.map = NULL;
    }
    return in;
}

size_t tb_list(struct tb *t, const struct tb_obj *o, const char *name)
{
    const struct tpc_value *v = tb_find(o, name);
    if (v != NULL && v->type != TPC_ARRAY) {
        tb_error(t, o, name, "a list is expected");
        return 0;
    }
    return v != NULL ? v->len : 0;
}

struct tb_obj tb_item(struct tb *t, const struct tb_obj *o, const char *name, size_t i)
{
    struct tb_obj in = { .map = &tb_find(o, name)->as.items[i] };
    char member[60];
    snprintf(member, sizeof(member), "%.40s[%zu]", name, i);
    join(in.path, o->path, member);
    if (in.map->type != TPC_MAP) {
        tb_error(t, &in, "", "an object is expected");
        in.map = NULL;
    }
    return in;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char) (c + ('a' - 'A')) : c;
}

bool tb_is(struct tpc_str text, const char *word)
{
    size_t i = 0;
    while (i < text.len && word[i] != '\0' && lower(text.ptr[i]) == lower(word[i])) {
        i++;
    }
    return i == text.len && word[i] == '\0';
}

/* ---- making ---- */

struct tpc_value tb_of_str(struct tpc_str s)
{
    return (struct tpc_value){ .type = TPC_TEXT, .len = s.len, .as.text = s.ptr };
}

struct tpc_value tb_of_text(const char *s)
{
    return tb_of_str(tpc_str_from(s != NULL ? s : ""));
}

struct tpc_value tb_of_int(int64_t i)
{
    return (struct tpc_value){ .type = TPC_INT, .as.i = i };
}

struct tpc_value tb_of_double(double d)
{
    bool whole = d > -1e15 && d < 1e15 && (double) (int64_t) d == d;
    return whole ? tb_of_int((int64_t) d) : (struct tpc_value){ .type = TPC_DOUBLE, .as.d = d };
}

struct tpc_value tb_of_bool(bool b)
{
    return (struct tpc_value){ .type = TPC_BOOL, .as.b = b };
}

struct tpc_value tb_of_ms(struct tb *t, int64_t ms)
{
    return tb_of_text(ms % 1000 == 0 ? tb_format(t, "%" PRId64 "s", ms / 1000)
                                     : tb_format(t, "%" PRId64 "ms", ms));
}

struct tpc_value tb_of_map(const struct tb_map *m)
{
    return (struct tpc_value){ .type = TPC_MAP, .len = m->count, .as.members = m->items };
}

struct tpc_value tb_of_list(const struct tb_list *l)
{
    return (struct tpc_value){ .type = TPC_ARRAY, .len = l->count, .as.items = l->items };
}

void tb_put(struct tb *t, struct tb_map *m, const char *key, struct tpc_value v)
{
    if (m->count == m->cap) {
        size_t cap = m->cap == 0 ? 8 : m->cap * 2;
        struct tpc_member *grown = take(t, cap * sizeof(*grown));
        if (grown == NULL) {
            return;
        }
        if (m->count > 0) {
            memcpy(grown, m->items, m->count * sizeof(*grown));
        }
        m->items = grown;
        m->cap = cap;
    }
    m->items[m->count++] = (struct tpc_member){ tpc_str_from(key != NULL ? key : ""), v };
}

void tb_put_str(struct tb *t, struct tb_map *m, const char *key, struct tpc_str s)
{
    if (s.len > 0) {
        tb_put(t, m, key, tb_of_str(s));
    }
}

void tb_add(struct tb *t, struct tb_list *l, struct tpc_value v)
{
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 8 : l->cap * 2;
        struct tpc_value *grown = take(t, cap * sizeof(*grown));
        if (grown == NULL) {
            return;
        }
        if (l->count > 0) {
            memcpy(grown, l->items, l->count * sizeof(*grown));
        }
        l->items = grown;
        l->cap = cap;
    }
    l->items[l->count++] = v;
}

struct tpc_str tb_json(struct tb *t, const struct tpc_value *v)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    (void) tpc_json_write(v, 0, &buf);
    size_t need = buf.need;
    buf.ptr = take(t, need);
    buf.cap = need;
    if (buf.ptr == NULL || tpc_json_write(v, 0, &buf) != 0) {
        return (struct tpc_str){ "", 0 };
    }
    return (struct tpc_str){ (const char *) buf.ptr, buf.need };
}

/* ---- products ---- */

struct tb_product *tb_product_of(struct tb *t, struct tpc_str key)
{
    struct tb_product **at = &t->products;
    while (*at != NULL) {
        if (tpc_str_equal((*at)->key, key)) {
            return *at;
        }
        at = &(*at)->next;
    }
    struct tb_product *p = tpc_arena_take(t->arena, sizeof(*p));
    if (p == NULL) {
        t->no_memory = true;
        return NULL;
    }
    *p = (struct tb_product){ .key = key };
    *at = p;
    return p;
}

static bool in_list(const struct tb_list *l, struct tpc_str text)
{
    for (size_t i = 0; i < l->count; i++) {
        if (tpc_str_equal(tpc_value_text(&l->items[i]), text)) {
            return true;
        }
    }
    return false;
}

static struct tpc_value make_property(struct tb *t, struct tpc_str id, struct tpc_str type,
                                      bool attribute, bool writable, const struct tpc_value *report)
{
    struct tb_map m = { NULL, 0, 0 };
    tb_put(t, &m, "id", tb_of_str(id));
    tb_put(t, &m, "type", tb_of_str(type));
    if (attribute) {
        tb_put(t, &m, "role", tb_of_text("attribute"));
    }
    if (writable) {
        tb_put(t, &m, "access", tb_of_text("rw"));
    }
    if (report != NULL) {
        tb_put(t, &m, "report", *report);
    }
    return tb_of_map(&m);
}

/* Devices of one type may have tags of one name that differ: the property takes the values of all. false: no
 * type does; they go by key, as `unknown: keep` says. */
static bool join_property(struct tb *t, struct tpc_value *have, struct tpc_str id, const char *type,
                          bool attribute, bool writable)
{
    struct tpc_str is = tpc_value_text(tpc_value_get(have, TPC_STR("type")));
    bool old_attribute = tpc_value_get(have, TPC_STR("role")) != NULL;
    bool old_writable = tpc_value_get(have, TPC_STR("access")) != NULL;
    if (type == NULL) {
        return false;
    }
    struct tpc_str joint = tpc_str_from(type);
    if (!tpc_str_equal(is, joint)) {
        bool numbers = (tb_is(is, "int") || tb_is(is, "double")) &&
                       (tb_is(joint, "int") || tb_is(joint, "double"));
        if (!numbers) {
            return false;
        }
        joint = TPC_STR("double");
    }
    if (!tpc_str_equal(is, joint) || (old_attribute && !attribute) || (!old_writable && writable)) {
        *have = make_property(t, id, joint, old_attribute && attribute, old_writable || writable,
                              tpc_value_get(have, TPC_STR("report")));
    }
    return true;
}

void tb_property(struct tb *t, struct tb_product *p, struct tpc_str id, const char *type,
                 bool attribute, bool writable, const struct tpc_value *report)
{
    if (p == NULL || in_list(&p->by_key, id)) {
        return;
    }
    for (size_t i = 0; i < p->properties.count; i++) {
        struct tpc_value *have = &p->properties.items[i];
        if (!tpc_str_equal(tpc_value_text(tpc_value_get(have, TPC_STR("id"))), id)) {
            continue;
        }
        if (!join_property(t, have, id, type, attribute, writable)) {
            memmove(have, have + 1, (--p->properties.count - i) * sizeof(*have));
            tb_add(t, &p->by_key, tb_of_str(id));
        }
        return;
    }
    if (type == NULL) {
        tb_add(t, &p->by_key, tb_of_str(id));
        return;
    }
    struct tpc_value made = make_property(t, id, tpc_str_from(type), attribute, writable, report);
    tb_add(t, &p->properties, made);
}
