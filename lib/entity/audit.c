#include "entity/audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/error.h"
#include "data/member.h"

enum { KEY_BYTES = 21, MEMBERS = 12, PAGE = 64, SHORTEN = 256, SHED = 8 };

static const char kind[] = "audit";
static const char *const actor_types[] = { "embedder", "user",      "token",
                                           "rule",     "connector", "import" };

static struct tpc_row make_row(uint64_t sequence, char *key, struct tpc_str doc, int64_t unix_ms)
{
    int len = snprintf(key, KEY_BYTES, "%020" PRIu64, sequence);
    return (struct tpc_row){ .size = sizeof(struct tpc_row),
                             .space = TPC_SPACE_RECORD,
                             .kind = tpc_str_from(kind),
                             .key = { key, (size_t) len },
                             .id = sequence,
                             .revision = 1,
                             .created_unix_ms = unix_ms,
                             .modified_unix_ms = unix_ms,
                             .doc = { (const uint8_t *) doc.ptr, doc.len },
                             .field_size = sizeof(struct tpc_field) };
}

static struct tpc_store_op make_op(uint32_t type, struct tpc_row row)
{
    return (struct tpc_store_op){
        .size = sizeof(struct tpc_store_op), .type = type, .expect = TPC_ANY_REV, .row = row
    };
}

/* ---- where it ends ---- */

static int first_row(void *user, const struct tpc_row *row)
{
    *(uint64_t *) user = row->id;
    return 0;
}

static int find_ends(struct tpi_entities *e, struct tpc_error *err)
{
    struct tpc_store_query q = {
        .size = sizeof(q), .space = TPC_SPACE_RECORD, .kind = tpc_str_from(kind), .limit = 1
    };
    uint64_t first = 1;
    uint64_t count = 0;
    int rc = e->ops->query(e->store, &q, first_row, &first);
    rc = rc != 0 ? rc : e->ops->count(e->store, TPC_SPACE_RECORD, tpc_str_from(kind), &count);
    if (rc != 0) {
        return tpi_entity_store_failed(err, rc, "read the audit trail");
    }
    e->audit_first = first;
    e->audit_next = first + count;
    return 0;
}

/* Throws out the oldest, at most `most` of them (up to SHORTEN), down to `left`. Returns 0 or as the store. */
static int shorten(struct tpi_entities *e, uint64_t left, uint32_t most, struct tpc_error *err)
{
    struct tpc_store_op ops[SHORTEN];
    char keys[SHORTEN][KEY_BYTES];
    struct tpc_str none = { NULL, 0 };
    uint32_t n = 0;
    while (n < most && e->audit_next - e->audit_first - n > left) {
        ops[n] = make_op(TPC_STORE_DELETE, make_row(e->audit_first + n, keys[n], none, 0));
        n++;
    }
    int rc = n > 0 ? tpi_entity_transact(e, ops, n, err) : 0;
    e->audit_first += rc == 0 ? n : 0;
    return rc;
}

int tpi_audit_load(struct tpi_entities *e, struct tpc_error *err)
{
    int rc = find_ends(e, err);
    e->audit_max = e->audit_max == 0 ? TPI_AUDIT_ROWS : e->audit_max;
    while (rc == 0 && e->audit_next - e->audit_first > e->audit_max) {
        rc = shorten(e, e->audit_max, SHORTEN, err);
    }
    return rc;
}

bool tpi_audit_shed(struct tpi_entities *e)
{
    uint64_t before = e->audit_first;
    if (shorten(e, 0, SHED, NULL) != 0) {
        (void) shorten(e, 0, 1, NULL); /* a transaction needs memory, too: the smallest there is */
    }
    return e->audit_first > before;
}

/* ---- writing ---- */

static void put_text(struct tpc_value *map, struct tpc_member *m, const char *key,
                     struct tpc_str text)
{
    if (text.len > 0) {
        m[map->len++] =
            (struct tpc_member){ tpc_str_from(key),
                                 { .type = TPC_TEXT, .len = text.len, .as.text = text.ptr } };
    }
}

static void put_int(struct tpc_value *map, struct tpc_member *m, const char *key, int64_t i)
{
    m[map->len++] = (struct tpc_member){ tpc_str_from(key), { .type = TPC_INT, .as.i = i } };
}

/* An entry's row, and the deletion that keeps the trail bounded. */
static int stage_doc(struct tpi_entities *e, const struct tpc_value *doc, int64_t unix_ms,
                     struct tpc_arena *arena, struct tpc_store_op *ops, uint32_t *ret_count)
{
    struct tpc_str json;
    char *keys = tpc_arena_take(arena, TPI_AUDIT_OPS * KEY_BYTES);
    if (keys == NULL || tpi_entity_json(doc, arena, &json) != 0) {
        return TPC_ENOMEM;
    }
    uint32_t n = 0;
    ops[n++] = make_op(TPC_STORE_PUT, make_row(e->audit_next, keys, json, unix_ms));
    if (e->audit_next - e->audit_first >= e->audit_max) {
        ops[n++] = make_op(TPC_STORE_DELETE, make_row(e->audit_first, keys + KEY_BYTES,
                                                      (struct tpc_str){ NULL, 0 }, 0));
        e->audit_first++;
    }
    e->audit_next++;
    *ret_count = n;
    return 0;
}

void tpi_audit_undo(struct tpi_entities *e, uint32_t count)
{
    e->audit_next -= count > 0;
    e->audit_first -= count > 1;
}

/* What of a change is told: of one that is new or goes its document, else the differences. */
static int put_what(struct tpc_value *doc, struct tpc_member *m, const struct tpi_change *change,
                    const struct tpi_audit_change *what)
{
    struct tpi_audit_change differs = *what;
    struct tpc_value whole;
    struct tpc_value diff;
    uint32_t more = 0;
    int rc = 0;
    if (change->deleted || change->old_revision == 0) {
        const struct tpc_value *it = change->deleted ? what->old_doc : what->new_doc;
        rc = tpi_audit_mask(it, TPI_AUDIT_DOC_BYTES, change->arena, &whole);
        m[doc->len++] = (struct tpc_member){ TPC_STR("doc"), whole };
        differs.old_doc = NULL;
        differs.new_doc = NULL;
    }
    rc = rc != 0 ? rc : tpi_audit_diff(&differs, change->arena, &diff, &more);
    if (rc == 0 && (diff.len > 0 || differs.new_doc != NULL)) {
        m[doc->len++] = (struct tpc_member){ TPC_STR("diff"), diff };
    }
    if (rc == 0 && more > 0) {
        put_int(doc, m, "more", more);
    }
    return rc;
}

int tpi_audit_stage(struct tpi_entities *e, const struct tpi_change *change,
                    const struct tpi_audit_change *what, struct tpc_store_op *ops,
                    uint32_t *ret_count, struct tpc_error *err)
{
    static const struct tpc_actor embedder = { .type = TPC_ACTOR_EMBEDDER };
    const struct tpc_actor *actor = change->actor != NULL ? change->actor : &embedder;
    struct tpc_member members[MEMBERS];
    struct tpc_value doc = { .type = TPC_MAP, .as.members = members };
    put_int(&doc, members, "time", change->modified_unix_ms);
    put_text(&doc, members, "actor_type",
             tpc_str_from(actor_types[actor->type < 6 ? actor->type : 0]));
    put_text(&doc, members, "actor", actor->name);
    put_text(&doc, members, "origin", actor->origin);
    put_text(&doc, members, "action",
             change->deleted             ? TPC_STR("delete")
             : change->old_revision == 0 ? TPC_STR("create")
                                         : TPC_STR("update"));
    put_text(&doc, members, "tenant", change->tenant_key);
    put_text(&doc, members, "kind", tpc_str_from(change->kind->name));
    put_text(&doc, members, "key", change->key);
    put_int(&doc, members, "revision", (int64_t) change->revision);
    int rc = put_what(&doc, members, change, what);
    rc = rc != 0 ? rc : stage_doc(e, &doc, change->modified_unix_ms, change->arena, ops, ret_count);
    return rc == 0 ? 0 : tpi_error_set(err, rc, tpi_entity_origin, "out of memory");
}

int tpi_entities_audit(struct tpi_entities *e, const struct tpi_audit_command *commands,
                       uint32_t count, struct tpc_error *err)
{
    struct tpc_store_op ops[TPI_AUDIT_OPS * TPI_AUDIT_COMMANDS];
    uint8_t taken[TPI_AUDIT_COMMANDS];
    struct tpc_arena *arena;
    uint32_t n = 0;
    uint32_t done = 0;
    if (count == 0) {
        return 0;
    }
    if (count > TPI_AUDIT_COMMANDS || tpc_arena_create(e->env->alloc, 0, &arena) != 0) {
        return tpi_error_set(err, TPC_ENOMEM, tpi_entity_origin, "too many, or out of memory");
    }
    int rc = 0;
    pthread_mutex_lock(&e->lock);
    for (; rc == 0 && done < count; done++) {
        uint32_t more = 0;
        struct tpc_value doc;
        struct tpc_str json = { commands[done].json, commands[done].len };
        rc = tpc_json_parse(arena, json, 0, NULL, &doc);
        rc = rc != 0 ? rc : stage_doc(e, &doc, commands[done].unix_ms, arena, &ops[n], &more);
        taken[done] = (uint8_t) more;
        n += more;
    }
    rc = rc != 0 ? tpi_error_set(err, rc, tpi_entity_origin, "an audit record cannot be made")
                 : tpi_entity_transact(e, ops, n, err);
    while (rc != 0 && done > 0) {
        tpi_audit_undo(e, taken[--done]);
    }
    pthread_mutex_unlock(&e->lock);
    tpc_arena_destroy(arena);
    return rc;
}

void tpi_entities_audit_max(struct tpi_entities *e, uint32_t rows)
{
    e->audit_max = rows;
}

void tpi_entities_audit_range(struct tpi_entities *e, uint64_t *ret_first, uint64_t *ret_next)
{
    *ret_first = e->audit_first;
    *ret_next = e->audit_next;
}

/* ---- reading ---- */

struct page {
    struct tpc_arena *arena;
    struct {
        uint64_t sequence;
        struct tpc_str json;
    } rows[PAGE];
    uint32_t count;
    int rc;
};

static int take_row(void *user, const struct tpc_row *row)
{
    struct page *p = user;
    char *copy = tpc_arena_take(p->arena, row->doc.len + 1);
    if (copy == NULL) {
        p->rc = TPC_ENOMEM;
        return TPC_ENOMEM;
    }
    memcpy(copy, row->doc.ptr, row->doc.len);
    copy[row->doc.len] = '\0';
    p->rows[p->count].sequence = row->id;
    p->rows[p->count++].json = (struct tpc_str){ copy, row->doc.len };
    return 0;
}

static uint32_t actor_type(struct tpc_str name)
{
    for (uint32_t i = 0; i < sizeof(actor_types) / sizeof(actor_types[0]); i++) {
        if (tpc_str_equal(name, tpc_str_from(actor_types[i]))) {
            return i;
        }
    }
    return TPC_ACTOR_EMBEDDER;
}

static int view(struct tpc_arena *arena, uint64_t sequence, struct tpc_str json,
                struct tpc_audit_entry *ret)
{
    struct tpc_value v;
    int rc = tpc_json_parse(arena, json, 0, NULL, &v);
    if (rc != 0) {
        return rc;
    }
    *ret = (struct tpc_audit_entry){ .size = sizeof(*ret),
                                     .actor_type = actor_type(tpi_member_text(&v, "actor_type")),
                                     .sequence = sequence,
                                     .unix_ms = tpi_member_int(&v, "time", 0),
                                     .revision = (uint64_t) tpi_member_int(&v, "revision", 0),
                                     .tenant = tpi_member_text(&v, "tenant"),
                                     .kind = tpi_member_text(&v, "kind"),
                                     .key = tpi_member_text(&v, "key"),
                                     .action = tpi_member_text(&v, "action"),
                                     .actor = tpi_member_text(&v, "actor"),
                                     .origin = tpi_member_text(&v, "origin"),
                                     .json = json };
    return 0;
}

static bool is(struct tpc_str wanted, struct tpc_str text)
{
    return wanted.len == 0 || tpc_str_equal(wanted, text);
}

static bool wanted(const struct tpc_audit_query *q, const struct tpc_audit_entry *a)
{
    return is(q->tenant, a->tenant) && is(q->kind, a->kind) && is(q->key, a->key) &&
           is(q->actor, a->actor) && a->unix_ms >= q->from_unix_ms &&
           (q->to_unix_ms == 0 || a->unix_ms < q->to_unix_ms);
}

/* The rows from `from` to before `to`. */
static int read_page(struct tpi_entities *e, struct page *p, uint64_t from, uint64_t to,
                     struct tpc_error *err)
{
    char after[KEY_BYTES];
    int len = snprintf(after, sizeof(after), "%020" PRIu64, from - 1);
    struct tpc_store_query q = { .size = sizeof(q),
                                 .space = TPC_SPACE_RECORD,
                                 .kind = tpc_str_from(kind),
                                 .after_key = { after, (size_t) len },
                                 .limit = (uint32_t) (to - from) };
    tpc_arena_reset(p->arena);
    p->count = 0;
    int rc = e->ops->query(e->store, &q, take_row, p);
    return rc == 0 ? 0 : tpi_entity_store_failed(err, rc, "read the audit trail");
}

static int read_back(struct tpi_entities *e, const struct tpc_audit_query *q, struct page *p,
                     struct tpc_error *err, tpc_audit_fn *fn, void *user)
{
    uint64_t first;
    uint64_t to;
    uint32_t left = q->limit != 0 ? q->limit : 100;
    tpi_entities_audit_range(e, &first, &to);
    to = q->before != 0 && q->before < to ? q->before : to;
    int rc = 0;
    while (rc == 0 && left > 0 && to > first) {
        uint64_t from = to - first > PAGE ? to - PAGE : first;
        rc = read_page(e, p, from, to, err);
        for (uint32_t i = p->count; rc == 0 && left > 0 && i > 0; i--) {
            struct tpc_audit_entry a;
            int bad = view(p->arena, p->rows[i - 1].sequence, p->rows[i - 1].json, &a);
            if (bad == 0 && p->rows[i - 1].sequence < to && wanted(q, &a)) {
                left--;
                rc = fn(user, &a);
            }
        }
        to = from;
    }
    return rc;
}

int tpi_entities_audit_read(struct tpi_entities *e, const struct tpc_audit_query *q,
                            struct tpc_error *err, tpc_audit_fn *fn, void *user)
{
    struct page p = { .count = 0 };
    if (tpc_arena_create(e->env->alloc, 0, &p.arena) != 0) {
        return tpi_error_set(err, TPC_ENOMEM, tpi_entity_origin, "out of memory");
    }
    int rc = 0;
    if (e->observing) { /* somebody else writes: where it ends now */
        pthread_mutex_lock(&e->lock);
        rc = find_ends(e, err);
        pthread_mutex_unlock(&e->lock);
    }
    rc = rc != 0 ? rc : read_back(e, q, &p, err, fn, user);
    tpc_arena_destroy(p.arena);
    return rc;
}
