/* Why a device is silent: what the program asks, and the failures' rows in the store. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/why.h>

#include "core/core.h"
#include "registry/auth.h"
#include "registry/why.h"

enum {
    SAVE_MS = 10000, /* between two saves of a started core */
    SAVE_ROWS = 64,  /* of one transaction */
    PAGE = 32,       /* rows read at a time */
    FOUND_MAX = 16,  /* rows of one device, of as many processes */
    ROW_KEY_BYTES = 64,
    READ_ARENA_BYTES = 4 << 20
};

static const char kind[] = "why";

const char *tpc_why_stage_name(uint32_t stage)
{
    static const char *const names[] = { "?",     "auth",  "acl",    "decode",
                                         "model", "store", "encode", "send" };
    return names[stage < sizeof(names) / sizeof(names[0]) ? stage : 0];
}

static int open_core(struct tpc_core *core)
{
    return tpi_fail_end(tpi_core_entities(core, tpi_fail_begin()));
}

int tpc_why_note(struct tpc_core *core, const struct tpc_why *given)
{
    if (core == NULL || given == NULL || given->size < sizeof(*given) || given->stage == 0 ||
        given->stage > TPC_WHY_SEND || given->device.len == 0) {
        return tpi_fail(TPC_EINVAL, "why", "a failure needs its size, a stage and a device");
    }
    int rc = open_core(core);
    if (rc != 0) {
        return rc;
    }
    struct tpc_why why = *given;
    tpi_registry_read_lock(core->registry);
    why.known = tpi_registry_find(core->registry, why.tenant, why.device) != NULL;
    tpi_registry_read_unlock(core->registry);
    rc = tpi_why_note(tpi_registry_why(core->registry), &why);
    return rc == 0 ? 0 : tpi_fail(rc, "why", "no memory");
}

int tpc_why_take(struct tpc_core *core, uint32_t max, tpc_why_fn *fn, void *user,
                 uint64_t *ret_missed)
{
    if (core == NULL || fn == NULL) {
        return tpi_fail(TPC_EINVAL, "why", "core or fn is missing");
    }
    int rc = open_core(core);
    if (rc != 0) {
        return rc;
    }
    struct tpi_why *y = tpi_registry_why(core->registry);
    struct tpi_why_slot slot;
    struct tpc_why why;
    uint32_t entry;
    uint32_t left = tpi_why_take_begin(y);
    for (uint32_t n = 0; rc == 0 && n < max && tpi_why_take(y, &left, &slot, &entry); n++) {
        tpi_why_view(&slot, entry, &why);
        rc = fn(user, &why);
    }
    if (ret_missed != NULL) {
        *ret_missed = TPI_METRIC_GET(y->missed);
    }
    return rc;
}

/* ---- who was refused ---- */

static struct tpc_str text_or(const char *text, const char *instead)
{
    return tpc_str_from(text[0] != '\0' ? text : instead);
}

static void note_refused(struct tpc_core *core, struct tpc_why *why, const struct tpc_error *err)
{
    why->size = sizeof(*why);
    why->code = err->code;
    why->reason = tpc_str_from(err->text);
    (void) tpi_why_note(tpi_registry_why(core->registry), why);
}

/* Which device a login was meant to be: the one whose user name it is, whatever its key. Else Alink's
 * user name is "device&product", with "|" in the client id; any other may be a secret. Under the read
 * lock. */
static struct tpc_str meant(struct tpc_core *core, const struct tpc_auth_request *q,
                            uint32_t *ret_known)
{
    bool alink = q->client_id.len > 0 && memchr(q->client_id.ptr, '|', q->client_id.len) != NULL;
    const char *amp =
        alink && q->username.len > 0 ? memchr(q->username.ptr, '&', q->username.len) : NULL;
    struct tpc_str names[] = {
        { q->username.ptr, amp != NULL ? (size_t) (amp - q->username.ptr) : q->username.len },
        q->client_id,
    };
    const struct tpc_device *d = tpi_auth_named(core->registry, q->tenant, q->username);
    if (d != NULL) {
        *ret_known = 1;
        return d->key;
    }
    for (size_t i = 0; i < 2; i++) {
        if (tpi_registry_find(core->registry, q->tenant, names[i]) != NULL) {
            *ret_known = 1;
            return names[i];
        }
    }
    *ret_known = 0;
    return amp != NULL ? names[0] : q->client_id.len > 0 ? q->client_id : TPC_STR("(unnamed)");
}

void tpi_why_login(struct tpc_core *core, const struct tpc_auth_request *q,
                   const struct tpc_error *err)
{
    struct tpc_why why = { .stage = TPC_WHY_AUTH, .tenant = q->tenant, .origin = q->peer };
    tpi_registry_read_lock(core->registry); /* the table of failures is below it */
    why.device = meant(core, q, &why.known);
    note_refused(core, &why, err);
    tpi_registry_read_unlock(core->registry);
}

void tpi_why_topic(struct tpc_core *core, const struct tpc_identity *who, struct tpc_str topic,
                   const struct tpc_error *err)
{
    struct tpc_device *d;
    tpi_registry_read_lock(core->registry);
    d = who->role == TPC_ROLE_DEVICE ? tpi_registry_by_id(core->registry, who->id) : NULL;
    d = d != NULL ? tpi_device_ref(d) : NULL;
    tpi_registry_read_unlock(core->registry);
    struct tpc_why why = { .stage = TPC_WHY_ACL,
                           .known = d != NULL,
                           .tenant = d != NULL ? tpi_device_tenant(d) : TPC_STR("main"),
                           .device = text_or(who->key, "(unnamed)"),
                           .payload = { (const uint8_t *) topic.ptr, topic.len } };
    note_refused(core, &why, err);
    tpi_device_unref(d);
}

void tpi_why_registration(struct tpc_core *core, const struct tpc_register_request *q,
                          const struct tpc_error *err)
{
    struct tpc_why why = {
        .stage = TPC_WHY_AUTH, .tenant = q->tenant, .device = q->device, .origin = q->peer
    };
    note_refused(core, &why, err);
}

/* ---- storing ---- */

struct save {
    struct tpc_store_op ops[SAVE_ROWS];
    struct tpc_field fields[SAVE_ROWS];
    char keys[SAVE_ROWS][ROW_KEY_BYTES];
    struct tpi_why_slot slots[SAVE_ROWS];
    uint8_t docs[SAVE_ROWS][TPI_WHY_DOC_BYTES];
};

static bool add_row(struct save *s, uint32_t at, int64_t now)
{
    const struct tpi_why_slot *slot = &s->slots[at];
    struct tpc_buf doc = { s->docs[at], TPI_WHY_DOC_BYTES, 0 };
    int len = snprintf(s->keys[at], ROW_KEY_BYTES, "%c%u", slot->known ? 'd' : 's',
                       (unsigned) slot->number);
    if (tpi_why_write(slot, &doc) != 0) {
        return false; /* escapes made it too long: it stays in memory */
    }
    s->fields[at] = (struct tpc_field){ TPC_STR("device"), { slot->device, slot->device_len } };
    s->ops[at] = (struct tpc_store_op){ .size = sizeof(s->ops[at]),
                                        .type = TPC_STORE_PUT,
                                        .expect = TPC_ANY_REV };
    s->ops[at].row = (struct tpc_row){ .size = sizeof(s->ops[at].row),
                                       .space = TPC_SPACE_RECORD,
                                       .kind = tpc_str_from(kind),
                                       .key = { s->keys[at], (size_t) len },
                                       .revision = 1,
                                       .created_unix_ms = now,
                                       .modified_unix_ms = now,
                                       .doc = { s->docs[at], doc.need },
                                       .fields = &s->fields[at],
                                       .field_count = 1,
                                       .field_size = sizeof(struct tpc_field) };
    return true;
}

static int save_table(struct tpc_core *core, struct save *s, bool known)
{
    struct tpi_why *y = tpi_registry_why(core->registry);
    struct tpi_part *store = core->entities_part;
    int64_t now = tpi_unix_ms(&core->env);
    uint32_t number = 0;
    int rc = 0;
    for (bool more = true; rc == 0 && more;) {
        uint32_t n = 0;
        while (n < SAVE_ROWS && (more = tpi_why_dirty(y, known, &number, &s->slots[n]))) {
            n += add_row(s, n, now);
        }
        struct tpc_error err;
        rc = n == 0 ? 0
                    : store->ops->store.transact(store->self, s->ops, n, sizeof(s->ops[0]), &err);
        for (uint32_t i = 0; rc != 0 && i < n; i++) {
            tpi_why_again(y, &s->slots[i]);
        }
        if (rc != 0) {
            (void) tpi_fail(rc, "why", "failures are not stored: %s", tpc_error_name(rc));
        }
    }
    return rc;
}

static int save(struct tpc_core *core)
{
    struct save *s = tpi_alloc(core->env.alloc, sizeof(*s));
    if (s == NULL) {
        return tpi_fail(TPC_ENOMEM, "why", "no memory");
    }
    int rc = save_table(core, s, true);
    rc = rc != 0 ? rc : save_table(core, s, false);
    tpi_free(core->env.alloc, s, sizeof(*s));
    return rc;
}

void tpi_why_turn(struct tpc_core *core, bool all)
{
    uint64_t notes = TPI_METRIC_GET(tpi_registry_why(core->registry)->notes);
    uint64_t now = tpi_mono_ms(&core->env);
    if (notes == core->why_saved || (!all && now < core->why_next_ms)) {
        return;
    }
    core->why_next_ms = now + SAVE_MS;
    if (save(core) == 0) {
        core->why_saved = notes;
    }
}

uint64_t tpi_why_due_ms(struct tpc_core *core)
{
    uint64_t now = tpi_mono_ms(&core->env);
    if (TPI_METRIC_GET(tpi_registry_why(core->registry)->notes) == core->why_saved) {
        /* Whoever notes something wakes nobody, for it may hold a lock: the pump's thread looks. */
        return core->threads ? SAVE_MS : UINT64_MAX;
    }
    return core->why_next_ms > now ? core->why_next_ms - now : 0;
}

/* ---- reading ---- */

struct page {
    struct tpc_core *core;
    struct tpc_arena *arena;
    struct tpi_why_slot *slots;
    uint32_t count, cap;
    uint32_t seen; /* rows of this page */
    char last[ROW_KEY_BYTES];
    size_t last_len;
};

/* Damaged rows are passed over: the next save of their slot replaces them. */
static int take_row(void *user, const struct tpc_row *row)
{
    struct page *p = user;
    if (row->key.len < sizeof(p->last)) {
        memcpy(p->last, row->key.ptr, row->key.len);
        p->last_len = row->key.len;
    }
    p->seen++;
    tpc_arena_reset(p->arena);
    struct tpi_why_slot *s = &p->slots[p->count];
    int rc = tpi_why_read(p->arena, row->doc, s);
    if (rc == 0) {
        char digits[16];
        snprintf(digits, sizeof(digits), "%.*s", (int) row->key.len, row->key.ptr);
        s->number = (uint32_t) strtoul(digits + 1, NULL, 10); /* "d12" */
        p->count++;
    }
    return rc == TPC_ENOMEM ? rc : 0;
}

static int open_page(struct tpc_core *core, uint32_t cap, struct page *p)
{
    *p = (struct page){ .core = core, .cap = cap };
    p->slots = tpi_alloc_array(core->env.alloc, cap, sizeof(p->slots[0]));
    int rc = p->slots != NULL ? tpc_arena_create(core->env.alloc, READ_ARENA_BYTES, &p->arena)
                              : TPC_ENOMEM;
    if (rc != 0) {
        tpi_free(core->env.alloc, p->slots, cap * sizeof(p->slots[0]));
        return tpi_fail(rc, "why", "no memory");
    }
    return 0;
}

static void close_page(struct page *p)
{
    tpc_arena_destroy(p->arena);
    tpi_free(p->core->env.alloc, p->slots, p->cap * sizeof(p->slots[0]));
}

/* The next rows after the last ones; *ret_more = there may be more after these. */
static int read_page(struct page *p, struct tpc_str device, bool *ret_more)
{
    struct tpi_part *store = p->core->entities_part;
    struct tpc_store_query q = { .size = sizeof(q),
                                 .space = TPC_SPACE_RECORD,
                                 .kind = tpc_str_from(kind),
                                 .after_key = { p->last, p->last_len },
                                 .limit = p->cap };
    if (device.len > 0) {
        q.field = (struct tpc_field){ TPC_STR("device"), device };
    }
    p->count = 0;
    p->seen = 0;
    int rc = store->ops->store.query(store->self, &q, take_row, p);
    *ret_more = rc == 0 && p->seen == p->cap;
    return rc == 0 ? 0 : tpi_fail(rc, "why", "failures cannot be read from the store");
}

int tpi_why_load(struct tpc_core *core)
{
    struct page p;
    bool more = true;
    int rc = core->why_loaded ? 0 : open_page(core, PAGE, &p);
    if (core->why_loaded || rc != 0) {
        return rc;
    }
    while (rc == 0 && more) {
        rc = read_page(&p, (struct tpc_str){ NULL, 0 }, &more);
        for (uint32_t i = 0; rc == 0 && i < p.count; i++) {
            rc = tpi_why_restore(tpi_registry_why(core->registry), &p.slots[i]);
        }
    }
    close_page(&p);
    core->why_loaded = rc == 0;
    return rc;
}

/* ---- asking ---- */

struct found {
    const struct tpi_why_slot *slot;
    uint32_t entry;
};

static int newer_first(const void *a, const void *b)
{
    const struct found *x = a;
    const struct found *y = b;
    int64_t p = x->slot->entries[x->entry].unix_ms;
    int64_t q = y->slot->entries[y->entry].unix_ms;
    return p < q ? 1 : p > q ? -1 : 0;
}

static int tell(const struct tpi_why_slot *slots, uint32_t count, tpc_why_fn *fn, void *user)
{
    struct found all[(FOUND_MAX + 2) * TPI_WHY_ENTRIES];
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < slots[i].count; k++) {
            all[n++] = (struct found){ &slots[i], k };
        }
    }
    qsort(all, n, sizeof(all[0]), newer_first);
    int rc = n > 0 ? 0 : tpi_fail(TPC_ENOENT, "why", "no failure is known");
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        struct tpc_why why;
        tpi_why_view(all[i].slot, all[i].entry, &why);
        rc = fn(user, &why);
    }
    return rc;
}

/* What is in memory, and until it was loaded what the store has, into p. */
static int gather(struct page *p, struct tpc_str tenant, struct tpc_str device)
{
    struct tpi_why *y = tpi_registry_why(p->core->registry);
    bool more;
    struct tpi_why_slot here[2];
    uint32_t n = 0;
    uint32_t kept = 0;
    n += tpi_why_find(y, true, tenant, device, &here[n]);
    n += tpi_why_find(y, false, tenant, device, &here[n]);
    p->cap = FOUND_MAX;
    int rc = p->core->why_loaded ? 0 : read_page(p, device, &more);
    p->cap = FOUND_MAX + 2;
    struct tpc_str wanted = tenant.len > 0 ? tenant : TPC_STR("main");
    for (uint32_t i = 0; rc == 0 && i < p->count; i++) {
        struct tpc_str name = { p->slots[i].tenant, p->slots[i].tenant_len };
        if (tpc_str_equal(name, wanted)) {
            p->slots[kept++] = p->slots[i];
        }
    }
    p->count = kept;
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        p->slots[p->count++] = here[i];
    }
    return rc;
}

int tpc_why(struct tpc_core *core, struct tpc_str tenant, struct tpc_str device, tpc_why_fn *fn,
            void *user)
{
    struct page p;
    if (core == NULL || fn == NULL || device.len == 0) {
        return tpi_fail(TPC_EINVAL, "why", "core, device or fn is missing");
    }
    int rc = open_core(core);
    rc = rc != 0 ? rc : open_page(core, FOUND_MAX + 2, &p);
    if (rc != 0) {
        return rc;
    }
    device.len = device.len < TPC_WHY_KEY_BYTES ? device.len : TPC_WHY_KEY_BYTES;
    rc = gather(&p, tenant, device);
    rc = rc != 0 ? rc : tell(p.slots, p.count, fn, user);
    close_page(&p);
    return rc;
}

static int list_here(struct tpc_core *core, bool known, tpc_why_fn *fn, void *user)
{
    struct tpi_why_slot slot;
    struct tpc_why why;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < (known ? TPI_WHY_DEVICES : TPI_WHY_STRANGERS); i++) {
        if (tpi_why_at(tpi_registry_why(core->registry), known, i, &slot)) {
            tpi_why_view(&slot, 0, &why);
            rc = fn(user, &why);
        }
    }
    return rc;
}

static int list_stored(struct page *p, uint32_t flags, tpc_why_fn *fn, void *user)
{
    struct tpc_why why;
    bool more = true;
    int rc = 0;
    while (rc == 0 && more) {
        rc = read_page(p, (struct tpc_str){ NULL, 0 }, &more);
        for (uint32_t i = 0; rc == 0 && i < p->count; i++) {
            uint32_t is = p->slots[i].known ? TPC_WHY_DEVICES : TPC_WHY_STRANGERS;
            if ((flags & is) != 0) {
                tpi_why_view(&p->slots[i], 0, &why);
                rc = fn(user, &why);
            }
        }
    }
    return rc;
}

int tpc_why_list(struct tpc_core *core, uint32_t flags, tpc_why_fn *fn, void *user)
{
    struct page p;
    if (core == NULL || fn == NULL || (flags & (TPC_WHY_DEVICES | TPC_WHY_STRANGERS)) == 0) {
        return tpi_fail(TPC_EINVAL, "why", "core, flags or fn is missing");
    }
    int rc = open_core(core);
    rc = rc != 0 ? rc : open_page(core, PAGE, &p);
    if (rc != 0) {
        return rc;
    }
    rc = (flags & TPC_WHY_DEVICES) != 0 ? list_here(core, true, fn, user) : 0;
    rc = rc == 0 && (flags & TPC_WHY_STRANGERS) != 0 ? list_here(core, false, fn, user) : rc;
    rc = rc != 0 || core->why_loaded ? rc : list_stored(&p, flags, fn, user);
    close_page(&p);
    return rc;
}
