/*
 * Commands in the store, all by the pump. A row of kind "command" for each, its key the id; and for each
 * one of kind "command_of", whose key is the device's number and the id's complement: a device's commands
 * stand together, the newest first. An ended command is stored with the next commit, an open one when it
 * has been open for a second, so that most are written once.
 */
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/hash.h"
#include "core/command_rows.h"
#include "data/msg.h"
#include "downlink/command.h"

enum {
    ROWS_MAX = 4096,  /* in memory: then a commit comes first */
    TRANSACTION = 64, /* commands of one */
    OPEN_MS = 1000,   /* from a command to the row of its state */
    TRIM_MAX = 256,   /* rows that make room in one go */
    TRIM_PAGE = 1000  /* rows of one query for them */
};

/* A record on its way to the store; its JSON follows. */
struct row {
    struct tpi_node node;
    struct tpc_id id;
    uint64_t device_id;
    int64_t unix_ms;
    size_t len;
};

/* A command whose state is to be stored if it is still open then. */
struct tpi_fresh {
    struct tpi_fresh *next;
    struct tpi_fresh *prev;
    struct tpc_id id;
    uint64_t device_id;
    uint64_t due_ms;
    uint32_t partition;
};

static void free_row(struct tpc_core *core, struct row *r)
{
    tpi_free(core->env.alloc, r, sizeof(*r) + r->len);
}

/* ---- keys ---- */

void tpi_command_of_key(uint64_t device_id, const struct tpc_id *id, char key[TPI_COMMAND_OF_BYTES])
{
    snprintf(key, TPI_COMMAND_OF_BYTES, "%016llx", (unsigned long long) device_id);
    for (size_t i = 0; id != NULL && i < sizeof(id->b); i++) {
        snprintf(key + 16 + 2 * i, 3, "%02x", (unsigned) (uint8_t) ~id->b[i]);
    }
}

int tpi_command_of_id(struct tpc_str key, struct tpc_id *ret)
{
    if (key.len != 16 + TPC_ID_TEXT_BYTES) {
        return TPC_ECORRUPT;
    }
    int rc = tpc_id_parse((struct tpc_str){ key.ptr + 16, TPC_ID_TEXT_BYTES }, ret);
    for (size_t i = 0; rc == 0 && i < sizeof(ret->b); i++) {
        ret->b[i] = (uint8_t) ~ret->b[i];
    }
    return rc;
}

/* ---- what comes out of the log ---- */

static int keep_doc(struct tpc_core *core, const struct tpc_id *id, uint64_t device_id,
                    int64_t unix_ms, const struct tpc_value *doc)
{
    struct tpi_pump *p = &core->pump;
    struct tpc_buf size = { NULL, 0, 0 };
    (void) tpc_json_write(doc, 0, &size);
    struct row *r = tpi_alloc(core->env.alloc, sizeof(*r) + size.need);
    if (r == NULL) {
        return TPC_ENOMEM;
    }
    struct tpc_buf text = { (uint8_t *) (r + 1), size.need, 0 };
    (void) tpc_json_write(doc, 0, &text);
    *r = (struct row){ .id = *id, .device_id = device_id, .unix_ms = unix_ms, .len = size.need };
    *(p->rows_last != NULL ? &p->rows_last->next : &p->rows_first) = &r->node;
    p->rows_last = &r->node;
    p->row_count++;
    return 0;
}

/* {"id","tenant","device", then the record's own members}. */
static int closed_doc(const struct tpc_msg *m, struct tpc_arena *arena, const char *id,
                      struct tpc_value *ret)
{
    size_t n = m->params.type == TPC_MAP ? m->params.len : 0;
    struct tpc_member *members = tpc_arena_take(arena, (n + 3) * sizeof(*members));
    if (members == NULL) {
        return TPC_ENOMEM;
    }
    members[0] = (struct tpc_member){ TPC_STR("id"), tpi_command_text(tpc_str_from(id)) };
    members[1] = (struct tpc_member){ TPC_STR("tenant"), tpi_command_text(m->tenant) };
    members[2] = (struct tpc_member){ TPC_STR("device"), tpi_command_text(m->device) };
    if (n > 0) {
        memcpy(members + 3, m->params.as.members, n * sizeof(*members));
    }
    *ret = (struct tpc_value){ .type = TPC_MAP, .len = n + 3, .as.members = members };
    return 0;
}

static void free_fresh(struct tpc_core *core, struct tpi_fresh *f)
{
    struct tpi_pump *p = &core->pump;
    if (f != NULL) {
        *(f->prev != NULL ? &f->prev->next : &p->fresh_first) = f->next;
        *(f->next != NULL ? &f->next->prev : &p->fresh_last) = f->prev;
        (void) tpi_map_remove(&p->fresh, f->id.b, sizeof(f->id.b));
        tpi_free(core->env.alloc, f, sizeof(*f));
    }
}

static int closed(struct tpc_core *core, struct tpc_msg *m)
{
    struct tpi_pump *p = &core->pump;
    struct tpc_value doc;
    char id[TPC_ID_TEXT_BYTES + 1];
    if (p->row_count >= ROWS_MAX) {
        return TPC_EAGAIN;
    }
    tpi_registry_read_lock(core->registry);
    struct tpc_device *d = tpi_registry_by_id(core->registry, m->device_id);
    d = d != NULL ? tpi_device_ref(d) : NULL;
    tpi_registry_read_unlock(core->registry);
    if (d != NULL) {
        m->tenant = tpi_device_tenant(d);
        m->device = d->key;
    }
    tpc_id_format(&m->id, id);
    int rc = closed_doc(m, p->arena, id, &doc);
    rc = rc != 0 ? rc : keep_doc(core, &m->id, m->device_id, m->unix_ms, &doc);
    tpi_device_unref(d);
    if (rc == 0) {
        free_fresh(core, tpi_map_get(&core->pump.fresh, m->id.b, sizeof(m->id.b)));
    }
    return rc;
}

static int changed(struct tpc_core *core, const struct tpc_msg *m)
{
    struct tpi_pump *p = &core->pump;
    if (tpi_map_get(&p->fresh, m->id.b, sizeof(m->id.b)) != NULL) {
        return 0;
    }
    struct tpi_fresh *f = tpi_alloc(core->env.alloc, sizeof(*f));
    if (f == NULL) {
        return TPC_ENOMEM;
    }
    *f = (struct tpi_fresh){ .prev = p->fresh_last,
                             .id = m->id,
                             .device_id = m->device_id,
                             .due_ms = tpi_mono_ms(&core->env) + OPEN_MS,
                             .partition = m->partition };
    if (tpi_map_put(&p->fresh, f->id.b, sizeof(f->id.b), f, NULL) != 0) {
        tpi_free(core->env.alloc, f, sizeof(*f));
        return TPC_ENOMEM;
    }
    *(f->prev != NULL ? &f->prev->next : &p->fresh_first) = f;
    p->fresh_last = f;
    return 0;
}

int tpi_command_rows_take(struct tpc_core *core, struct tpc_msg *m)
{
    if (m->kind == TPC_MSG_COMMAND_CLOSED) {
        return closed(core, m);
    }
    bool begun = m->kind == TPC_MSG_COMMAND && (m->flags & TPC_MSG_REDELIVERED) == 0;
    return begun || m->kind == TPC_MSG_COMMAND_STATE ? changed(core, m) : 0;
}

/* ---- open ones ---- */

struct look {
    struct tpc_core *core;
    const struct tpi_fresh *fresh;
    int rc;
};

static void keep_open(void *user, const struct tpc_command *c)
{
    struct look *l = user;
    struct tpc_value doc;
    if (c->state >= TPC_COMMAND_SUCCEEDED) {
        return; /* its end is about to be logged */
    }
    tpc_arena_reset(l->core->pump.arena);
    l->rc = tpi_command_write(c, l->core->pump.arena, &doc);
    l->rc = l->rc != 0
                ? l->rc
                : keep_doc(l->core, &c->id, l->fresh->device_id, tpi_unix_ms(&l->core->env), &doc);
}

/* Rows of the commands that are still open, if it is time. One that is not has its end in the log already. */
static int take_fresh(struct tpc_core *core, bool all)
{
    struct tpi_pump *p = &core->pump;
    uint64_t now = tpi_mono_ms(&core->env);
    int rc = 0;
    while (rc == 0 && p->fresh_first != NULL && p->row_count < ROWS_MAX &&
           (all || p->fresh_first->due_ms <= now)) {
        struct tpi_fresh *f = p->fresh_first;
        struct look l = { core, f, 0 };
        struct tpi_worker *w = tpi_worker_of(core, f->partition);
        rc = w->downlink != NULL ? tpi_downlink_find(w->downlink, &f->id, keep_open, &l)
                                 : TPC_ENOENT;
        rc = rc == 0 ? l.rc : rc == TPC_ENOENT ? 0 : rc;
        if (rc == 0) {
            free_fresh(core, f);
        }
    }
    return rc;
}

uint64_t tpi_command_rows_due_ms(struct tpc_core *core)
{
    const struct tpi_pump *p = &core->pump;
    uint64_t now = tpi_mono_ms(&core->env);
    if (p->row_count > 0) {
        return 0;
    }
    if (p->fresh_first == NULL) {
        return UINT64_MAX;
    }
    return p->fresh_first->due_ms > now ? p->fresh_first->due_ms - now : 0;
}

/* ---- storing ---- */

static void fill_op(struct tpc_store_op *op, uint32_t type, const char *kind, const char *key,
                    uint64_t device_id)
{
    *op = (struct tpc_store_op){ .size = sizeof(*op), .type = type, .expect = TPC_ANY_REV };
    op->row = (struct tpc_row){ .size = sizeof(op->row),
                                .space = TPC_SPACE_RECORD,
                                .kind = tpc_str_from(kind),
                                .key = tpc_str_from(key),
                                .id = device_id,
                                .revision = 1,
                                .field_size = sizeof(struct tpc_field) };
}

static int transact(struct tpc_core *core, const struct tpc_store_op *ops, uint32_t count,
                    struct tpc_error *err)
{
    struct tpi_part *part = core->entities_part;
    return count == 0 ? 0 : part->ops->store.transact(part->self, ops, count, sizeof(ops[0]), err);
}

struct keys {
    char id[TRANSACTION][TPC_ID_TEXT_BYTES + 1];
    char of[TRANSACTION][TPI_COMMAND_OF_BYTES];
};

static void fill_ops(struct tpc_store_op *ops, struct keys *keys, uint32_t i, const struct row *r)
{
    static const struct tpc_str none = TPC_STR_INIT("{}");
    tpc_id_format(&r->id, keys->id[i]);
    tpi_command_of_key(r->device_id, &r->id, keys->of[i]);
    fill_op(&ops[0], TPC_STORE_PUT, "command", keys->id[i], r->device_id);
    fill_op(&ops[1], TPC_STORE_PUT, "command_of", keys->of[i], r->device_id);
    ops[0].row.doc = (struct tpc_bytes){ (const uint8_t *) (r + 1), r->len };
    ops[1].row.doc = (struct tpc_bytes){ (const uint8_t *) none.ptr, none.len };
    for (int k = 0; k < 2; k++) {
        ops[k].row.created_unix_ms = r->unix_ms;
        ops[k].row.modified_unix_ms = r->unix_ms;
    }
}

/* ---- making room ---- */

struct trim {
    char prefix[TPI_COMMAND_OF_BYTES];
    uint32_t keep;
    uint32_t seen;
    uint32_t count;
    uint32_t page;                    /* rows of this one query */
    bool more;                        /* the device may have rows behind the page */
    char after[TPI_COMMAND_OF_BYTES]; /* the page's last key */
    struct tpc_id old[TRIM_MAX];
};

static int past(void *user, const struct tpc_row *row)
{
    struct trim *t = user;
    if (row->key.len < 16 || memcmp(row->key.ptr, t->prefix, 16) != 0 || t->count == TRIM_MAX) {
        t->more = false;
        return TPC_ECANCELED; /* the next device */
    }
    size_t len = row->key.len < sizeof(t->after) ? row->key.len : sizeof(t->after) - 1;
    memcpy(t->after, row->key.ptr, len);
    t->after[len] = '\0';
    t->page++;
    if (t->seen++ >= t->keep && tpi_command_of_id(row->key, &t->old[t->count]) == 0) {
        t->count++;
    }
    return 0;
}

static int remove_old(struct tpc_core *core, uint64_t device_id, const struct trim *t)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_store_op ops[2 * TRANSACTION];
    struct keys keys;
    int rc = 0;
    for (uint32_t at = 0; rc == 0 && at < t->count; at += TRANSACTION) {
        uint32_t n = t->count - at < TRANSACTION ? t->count - at : TRANSACTION;
        for (uint32_t i = 0; i < n; i++) {
            tpc_id_format(&t->old[at + i], keys.id[i]);
            tpi_command_of_key(device_id, &t->old[at + i], keys.of[i]);
            fill_op(&ops[2 * i], TPC_STORE_DELETE, "command", keys.id[i], device_id);
            fill_op(&ops[2 * i + 1], TPC_STORE_DELETE, "command_of", keys.of[i], device_id);
        }
        rc = transact(core, ops, 2 * n, &err);
        tpi_count(&core->counters.command_rows_dropped, rc == 0 ? n : 0);
    }
    return rc;
}

int tpi_command_rows_trim(struct tpc_core *core, uint64_t device_id, uint32_t keep)
{
    struct tpi_part *part = core->entities_part;
    struct trim *t = tpi_alloc_zero(core->env.alloc, sizeof(*t));
    if (t == NULL) {
        return TPC_ENOMEM;
    }
    tpi_command_of_key(device_id, NULL, t->prefix);
    t->keep = keep;
    memcpy(t->after, t->prefix, sizeof(t->after));
    int rc = 0;
    t->more = true;
    while (rc == 0 && t->more) {
        struct tpc_store_query q = { .size = sizeof(q),
                                     .space = TPC_SPACE_RECORD,
                                     .kind = TPC_STR("command_of"),
                                     .after_key = tpc_str_from(t->after),
                                     .limit = TRIM_PAGE };
        t->page = 0;
        rc = part->ops->store.query(part->self, &q, past, t);
        rc = rc == TPC_ECANCELED ? 0 : rc;
        t->more = t->more && t->page == TRIM_PAGE;
    }
    rc = rc == 0 && t->count > 0 ? remove_old(core, device_id, t) : rc;
    rc = rc == 0 ? (int) t->count : rc;
    tpi_free(core->env.alloc, t, sizeof(*t));
    return rc;
}

/* A device's rows above the limit go. It is looked at with about eight of the limit's commands, which the
 * id's hash picks: nothing is counted that a restart could forget. More often if that limit is high: more
 * must go in one go than comes between two. What fails is done at another time. */
static void trim(struct tpc_core *core, const struct row *r)
{
    uint32_t keep = core->command_rows_max;
    uint64_t every = keep / 8 < TRIM_MAX / 2 ? keep / 8 : TRIM_MAX / 2;
    every = every > 0 ? every : 1;
    if (tpi_hash(r->id.b, sizeof(r->id.b), 0) % every == 0) {
        (void) tpi_command_rows_trim(core, r->device_id, keep);
    }
}

int tpi_command_rows_store(struct tpc_core *core, bool all, struct tpc_error *err)
{
    struct tpi_pump *p = &core->pump;
    (void) take_fresh(core, all); /* those that are left come with the next commit */
    while (p->rows_first != NULL) {
        struct tpc_store_op ops[2 * TRANSACTION];
        struct keys keys;
        uint32_t n = 0;
        for (struct tpi_node *at = p->rows_first; at != NULL && n < TRANSACTION; at = at->next) {
            fill_ops(&ops[2 * n], &keys, n, (struct row *) (void *) at);
            n++;
        }
        int rc = transact(core, ops, 2 * n, err);
        if (rc != 0) {
            return rc;
        }
        for (uint32_t i = 0; i < n; i++) {
            struct row *r = (struct row *) (void *) p->rows_first;
            p->rows_first = r->node.next;
            p->rows_last = p->rows_first != NULL ? p->rows_last : NULL;
            p->row_count--;
            trim(core, r);
            free_row(core, r);
        }
    }
    return 0;
}

void tpi_command_rows_drop(struct tpc_core *core)
{
    struct tpi_pump *p = &core->pump;
    while (p->rows_first != NULL) {
        struct row *r = (struct row *) (void *) p->rows_first;
        p->rows_first = r->node.next;
        free_row(core, r);
    }
    p->rows_last = NULL;
    p->row_count = 0;
    while (p->fresh_first != NULL) {
        free_fresh(core, p->fresh_first);
    }
}
