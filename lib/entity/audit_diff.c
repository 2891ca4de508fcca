/* What changed between two documents, as the audit trail tells it. */
#include <string.h>
#include <tpcore/json.h>

#include "data/utf8.h"
#include "entity/audit.h"

static const struct tpc_value masked = { TPC_TEXT, 0, 3, { .text = "***" } };

struct diff {
    struct tpc_arena *arena;
    struct tpc_value items[TPI_AUDIT_DIFF];
    uint32_t count;
    uint32_t more;
    bool no_memory;
};

/* ---- values ---- */

static bool contains(struct tpc_str name, const char *part)
{
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= name.len; i++) {
        size_t k = 0;
        while (k < n && (name.ptr[i + k] | 0x20) == part[k]) {
            k++;
        }
        if (k == n) {
            return true;
        }
    }
    return false;
}

static bool names_secret(struct tpc_str name)
{
    static const char *const parts[] = { "password", "passwd",     "secret",
                                         "token",    "credential", "private" };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (contains(name, parts[i])) {
            return true;
        }
    }
    return false;
}

static int mask_all(const struct tpc_value *v, struct tpc_arena *arena, uint32_t depth,
                    struct tpc_value *ret)
{
    *ret = *v;
    if ((v->type != TPC_MAP && v->type != TPC_ARRAY) || v->len == 0) {
        return 0;
    }
    if (depth == TPC_JSON_MAX_DEPTH) {
        *ret = masked;
        return 0;
    }
    if (v->type == TPC_ARRAY) {
        struct tpc_value *items = tpc_arena_take(arena, v->len * sizeof(*items));
        int rc = items != NULL ? 0 : TPC_ENOMEM;
        for (size_t i = 0; rc == 0 && i < v->len; i++) {
            rc = mask_all(&v->as.items[i], arena, depth + 1, &items[i]);
        }
        ret->as.items = items;
        return rc;
    }
    struct tpc_member *members = tpc_arena_take(arena, v->len * sizeof(*members));
    int rc = members != NULL ? 0 : TPC_ENOMEM;
    for (size_t i = 0; rc == 0 && i < v->len; i++) {
        members[i].key = v->as.members[i].key;
        if (names_secret(members[i].key)) {
            members[i].value = masked;
        } else {
            rc = mask_all(&v->as.members[i].value, arena, depth + 1, &members[i].value);
        }
    }
    ret->as.members = members;
    return rc;
}

int tpi_audit_mask(const struct tpc_value *v, size_t bytes, struct tpc_arena *arena,
                   struct tpc_value *ret)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    struct tpc_value whole;
    int rc = mask_all(v, arena, 0, &whole);
    if (rc != 0) {
        return rc;
    }
    (void) tpc_json_write(&whole, 0, &buf);
    if (buf.need <= bytes) {
        *ret = whole;
        return 0;
    }
    size_t n = buf.need;
    buf = (struct tpc_buf){ tpc_arena_take(arena, n + 1), n + 1, 0 };
    if (buf.ptr == NULL || tpc_json_write(&whole, 0, &buf) != 0) {
        return TPC_ENOMEM;
    }
    char *text = (char *) buf.ptr;
    n = bytes - 2;
    while (n > 0 && !tpi_utf8_valid(text, n)) {
        n--; /* at most three: the text is valid */
    }
    memcpy(text + n, "..", 2);
    *ret = (struct tpc_value){ .type = TPC_TEXT, .len = n + 2, .as.text = text };
    return 0;
}

/* ---- differences ---- */

static void put(struct diff *d, struct tpc_str path, const struct tpc_value *old,
                const struct tpc_value *new)
{
    if (d->count == TPI_AUDIT_DIFF) {
        d->more++;
        return;
    }
    struct tpc_member *m = tpc_arena_take(d->arena, 3 * sizeof(*m));
    size_t n = 0;
    int rc = m != NULL ? 0 : TPC_ENOMEM;
    if (rc == 0) {
        m[n].key = TPC_STR("path");
        m[n++].value = (struct tpc_value){ .type = TPC_TEXT, .len = path.len, .as.text = path.ptr };
    }
    if (rc == 0 && old != NULL) {
        m[n].key = TPC_STR("old");
        rc = tpi_audit_mask(old, TPI_AUDIT_VALUE_BYTES, d->arena, &m[n++].value);
    }
    if (rc == 0 && new != NULL) {
        m[n].key = TPC_STR("new");
        rc = tpi_audit_mask(new, TPI_AUDIT_VALUE_BYTES, d->arena, &m[n++].value);
    }
    d->no_memory |= rc != 0;
    d->items[d->count++] = (struct tpc_value){ .type = TPC_MAP, .len = n, .as.members = m };
}

static struct tpc_str join(struct diff *d, struct tpc_str path, struct tpc_str key)
{
    size_t dot = path.len > 0 ? 1 : 0;
    char *text = tpc_arena_take(d->arena, path.len + dot + key.len + 1);
    if (text == NULL) {
        d->no_memory = true;
        return key;
    }
    if (dot > 0) {
        memcpy(text, path.ptr, path.len);
        text[path.len] = '.';
    }
    memcpy(text + path.len + dot, key.ptr, key.len);
    return (struct tpc_str){ text, path.len + dot + key.len };
}

static void compare(struct diff *d, const struct tpc_value *old, const struct tpc_value *new,
                    struct tpc_str path, uint32_t depth);

static void compare_member(struct diff *d, const struct tpc_member *m, const struct tpc_value *old,
                           const struct tpc_value *new, struct tpc_str path, uint32_t depth)
{
    bool secret = names_secret(m->key);
    if (old != NULL && new != NULL && tpc_value_equal(old, new)) {
        return;
    }
    struct tpc_str here = join(d, path, m->key);
    if (!secret && old != NULL && new != NULL &&
        old->type == TPC_MAP &&new->type == TPC_MAP &&depth < TPI_AUDIT_DEPTH) {
        compare(d, old, new, here, depth + 1);
        return;
    }
    put(d, here, secret && old != NULL ? &masked : old, secret && new != NULL ? &masked : new);
}

/* The key is that of the entry. */
static bool is_head(struct tpc_str key, uint32_t depth)
{
    return depth == 0 &&
           (tpc_str_equal(key, TPC_STR("key")) || tpc_str_equal(key, TPC_STR("tenant")) ||
            tpc_str_equal(key, TPC_STR("kind")));
}

static void compare(struct diff *d, const struct tpc_value *old, const struct tpc_value *new,
                    struct tpc_str path, uint32_t depth)
{
    for (size_t i = 0; old != NULL && i < old->len; i++) {
        const struct tpc_member *m = &old->as.members[i];
        const struct tpc_value *other = new != NULL ? tpc_value_get(new, m->key) : NULL;
        if (!is_head(m->key, depth)) {
            compare_member(d, m, &m->value, other, path, depth);
        }
    }
    for (size_t i = 0; new != NULL &&i < new->len; i++) {
        const struct tpc_member *m = &new->as.members[i];
        if (!is_head(m->key, depth) && (old == NULL || tpc_value_get(old, m->key) == NULL)) {
            compare_member(d, m, NULL, &m->value, path, depth);
        }
    }
}

static const struct tpc_value *map_or_null(const struct tpc_value *v)
{
    return v != NULL && v->type == TPC_MAP ? v : NULL;
}

/* Which of them, not what they are. */
static void compare_secrets(struct diff *d, const struct tpc_value *old,
                            const struct tpc_value *new)
{
    for (size_t i = 0; old != NULL && i < old->len; i++) {
        const struct tpc_member *m = &old->as.members[i];
        const struct tpc_value *now = new != NULL ? tpc_value_get(new, m->key) : NULL;
        if (now == NULL || !tpc_value_equal(now, &m->value)) {
            put(d, m->key, &masked, now != NULL ? &masked : NULL);
        }
    }
    for (size_t i = 0; new != NULL &&i < new->len; i++) {
        const struct tpc_member *m = &new->as.members[i];
        if (old == NULL || tpc_value_get(old, m->key) == NULL) {
            put(d, m->key, NULL, &masked);
        }
    }
}

int tpi_audit_diff(const struct tpi_audit_change *what, struct tpc_arena *arena,
                   struct tpc_value *ret, uint32_t *ret_more)
{
    struct diff d = { .arena = arena };
    compare(&d, map_or_null(what->old_doc), map_or_null(what->new_doc), (struct tpc_str){ NULL, 0 },
            0);
    compare_secrets(&d, map_or_null(what->old_secrets), map_or_null(what->new_secrets));
    struct tpc_value *items = tpc_arena_take(arena, (d.count + 1) * sizeof(*items));
    if (items == NULL || d.no_memory) {
        return TPC_ENOMEM;
    }
    memcpy(items, d.items, d.count * sizeof(*items));
    *ret = (struct tpc_value){ .type = TPC_ARRAY, .len = d.count, .as.items = items };
    *ret_more = d.more;
    return 0;
}
