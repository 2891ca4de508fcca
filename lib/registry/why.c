#include "registry/why.h"

#include <string.h>

#include "base/alloc.h"
#include "data/utf8.h"
#include "registry/inside.h"

enum { NAME_BYTES = 2 * TPC_WHY_KEY_BYTES + 1 };

/* ---- life ---- */

static void init_table(struct tpi_why_table *t, const struct tpi_env *env, uint32_t cap)
{
    tpi_map_init(&t->by_name, env->alloc);
    (void) tpi_random(env, &t->by_name.seed, sizeof(t->by_name.seed)); /* names from outside */
    t->cap = cap;
}

int tpi_why_init(struct tpi_why *y, const struct tpi_env *env)
{
    memset(y, 0, sizeof(*y));
    y->env = env;
    if (pthread_mutex_init(&y->lock, NULL) != 0) {
        return TPC_ENOMEM;
    }
    init_table(&y->devices, env, TPI_WHY_DEVICES);
    init_table(&y->strangers, env, TPI_WHY_STRANGERS);
    return 0;
}

static void fini_table(struct tpi_why_table *t, const struct tpc_allocator *alloc)
{
    for (uint32_t i = 0; i < t->cap; i++) {
        tpi_free(alloc, t->slots[i], sizeof(*t->slots[i]));
    }
    tpi_map_fini(&t->by_name);
}

void tpi_why_fini(struct tpi_why *y)
{
    fini_table(&y->devices, y->env->alloc);
    fini_table(&y->strangers, y->env->alloc);
    pthread_mutex_destroy(&y->lock);
}

struct tpi_why *tpi_registry_why(struct tpi_registry *r)
{
    return &r->why;
}

static struct tpi_why_table *table_of(struct tpi_why *y, bool known)
{
    return known ? &y->devices : &y->strangers;
}

/* ---- texts ---- */

/* What fits, as text that any terminal and JSON take. */
static uint8_t keep_text(char *out, size_t cap, struct tpc_str s)
{
    size_t n = s.len < cap ? s.len : cap;
    if (n > 0) {
        memcpy(out, s.ptr, n);
    }
    bool valid = tpi_utf8_valid(out, n);
    for (size_t cut = 1; !valid && n < s.len && cut <= 3 && cut <= n; cut++) {
        if (tpi_utf8_valid(out, n - cut)) { /* only the end was cut in two */
            n -= cut;
            valid = true;
        }
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t) out[i];
        out[i] = (char) (c < 0x20 || c == 0x7f || (c >= 0x80 && !valid) ? '?' : c);
    }
    return (uint8_t) n;
}

static size_t name_of(const char *tenant, size_t tenant_len, const char *device, size_t device_len,
                      char out[NAME_BYTES])
{
    memcpy(out, tenant, tenant_len);
    out[tenant_len] = '\0';
    memcpy(out + tenant_len + 1, device, device_len);
    return tenant_len + 1 + device_len;
}

static struct tpi_why_slot *find(const struct tpi_why_table *t, const struct tpi_why_slot *like)
{
    char name[NAME_BYTES];
    size_t n = name_of(like->tenant, like->tenant_len, like->device, like->device_len, name);
    return tpi_map_get(&t->by_name, name, n);
}

static void name_slot(struct tpi_why_slot *s, struct tpc_str tenant, struct tpc_str device)
{
    s->tenant_len =
        keep_text(s->tenant, sizeof(s->tenant), tenant.len > 0 ? tenant : TPC_STR("main"));
    s->device_len = keep_text(s->device, sizeof(s->device), device);
}

/* ---- the order of failing ---- */

static void unlink_slot(struct tpi_why_table *t, struct tpi_why_slot *s)
{
    *(s->older != NULL ? &s->older->newer : &t->oldest) = s->newer;
    *(s->newer != NULL ? &s->newer->older : &t->newest) = s->older;
    s->older = NULL;
    s->newer = NULL;
}

static void link_newest(struct tpi_why_table *t, struct tpi_why_slot *s)
{
    s->older = t->newest;
    s->newer = NULL;
    *(t->newest != NULL ? &t->newest->newer : &t->oldest) = s;
    t->newest = s;
}

static void link_oldest(struct tpi_why_table *t, struct tpi_why_slot *s)
{
    s->newer = t->oldest;
    s->older = NULL;
    *(t->oldest != NULL ? &t->oldest->older : &t->newest) = s;
    t->oldest = s;
}

static uint32_t free_number(const struct tpi_why_table *t)
{
    uint32_t i = 0;
    while (t->slots[i] != NULL) {
        i++;
    }
    return i;
}

/* Failures of it that nobody took, if somebody takes them at all. */
static void count_missed(struct tpi_why *y, const struct tpi_why_slot *s, uint32_t from)
{
    for (uint32_t i = from; y->taking && i < s->count; i++) {
        TPI_METRIC_ADD(y->missed, s->entries[i].times - s->entries[i].taken);
    }
}

/* A slot with that name, not linked; the oldest one's if all are in use. NULL: out of memory. */
static struct tpi_why_slot *make(struct tpi_why *y, struct tpi_why_table *t,
                                 const struct tpi_why_slot *like)
{
    char name[NAME_BYTES];
    struct tpi_why_slot *s = NULL;
    uint32_t number;
    if (t->count == t->cap) {
        s = t->oldest;
        number = s->number;
        size_t n = name_of(s->tenant, s->tenant_len, s->device, s->device_len, name);
        (void) tpi_map_remove(&t->by_name, name, n);
        unlink_slot(t, s);
        t->slots[number] = NULL;
        t->count--;
        TPI_METRIC_ADD(y->evicted, 1);
        count_missed(y, s, 0);
    } else {
        number = free_number(t);
        s = tpi_alloc(y->env->alloc, sizeof(*s));
    }
    size_t n = name_of(like->tenant, like->tenant_len, like->device, like->device_len, name);
    if (s == NULL || tpi_map_put(&t->by_name, name, n, s, NULL) != 0) {
        tpi_free(y->env->alloc, s, sizeof(*s));
        return NULL;
    }
    *s = *like;
    s->older = NULL;
    s->newer = NULL;
    s->number = number;
    t->slots[number] = s;
    t->count++;
    return s;
}

/* ---- noting ---- */

static void fill_entry(struct tpi_why_entry *e, const struct tpc_why *why, int64_t unix_ms)
{
    size_t n = why->payload.len < sizeof(e->payload) ? why->payload.len : sizeof(e->payload);
    e->unix_ms = unix_ms;
    e->code = why->code;
    e->times = why->times > 0 ? why->times : 1;
    e->taken = 0;
    e->stage = (uint8_t) why->stage;
    e->reason_len = keep_text(e->reason, sizeof(e->reason), why->reason);
    e->origin_len = keep_text(e->origin, sizeof(e->origin), why->origin);
    e->payload_len = (uint8_t) n;
    e->payload_bytes = why->payload_bytes > n ? why->payload_bytes : why->payload.len;
    if (n > 0) {
        memcpy(e->payload, why->payload.ptr, n);
    }
}

static bool same_failure(const struct tpi_why_entry *a, const struct tpi_why_entry *b)
{
    return a->stage == b->stage && a->code == b->code && a->reason_len == b->reason_len &&
           memcmp(a->reason, b->reason, a->reason_len) == 0;
}

static void put_entry(struct tpi_why *y, struct tpi_why_slot *s, struct tpi_why_entry *e)
{
    if (s->count > 0 && same_failure(&s->entries[0], e)) {
        uint32_t times = s->entries[0].times;
        e->times = times < UINT32_MAX - e->times ? times + e->times : UINT32_MAX;
        e->taken = s->entries[0].taken;
    } else {
        count_missed(y, s, TPI_WHY_ENTRIES - 1);
        uint8_t kept = s->count < TPI_WHY_ENTRIES ? s->count : TPI_WHY_ENTRIES - 1;
        memmove(&s->entries[1], &s->entries[0], kept * sizeof(s->entries[0]));
        s->count = (uint8_t) (kept + 1);
    }
    s->entries[0] = *e;
    s->dirty = true;
}

int tpi_why_note(struct tpi_why *y, const struct tpc_why *why)
{
    struct tpi_why_slot like;
    struct tpi_why_entry e;
    bool known = why->known != 0;
    struct tpi_why_table *t = table_of(y, known);
    like.known = known;
    like.count = 0;
    name_slot(&like, why->tenant, why->device);
    fill_entry(&e, why, why->unix_ms != 0 ? why->unix_ms : tpi_unix_ms(y->env));
    TPI_METRIC_ADD(y->notes, 1);
    pthread_mutex_lock(&y->lock);
    struct tpi_why_slot *s = find(t, &like);
    if (s != NULL) {
        unlink_slot(t, s);
    } else {
        s = make(y, t, &like);
    }
    if (s != NULL) {
        link_newest(t, s);
        put_entry(y, s, &e);
    }
    pthread_mutex_unlock(&y->lock);
    if (s == NULL) {
        TPI_METRIC_ADD(y->lost, 1);
        return TPC_ENOMEM;
    }
    return 0;
}

void tpi_why_device(struct tpc_device *d, uint32_t stage, int code, struct tpc_str reason,
                    struct tpc_str origin, struct tpc_bytes payload)
{
    struct tpc_why why = { .size = sizeof(why),
                           .stage = stage,
                           .code = code,
                           .known = 1,
                           .tenant = tpi_device_tenant(d),
                           .device = d->key,
                           .origin = origin,
                           .reason = reason,
                           .payload = payload };
    (void) tpi_why_note(tpi_registry_why(d->tenant->registry), &why);
}

/* ---- looking ---- */

static bool copy_out(struct tpi_why *y, struct tpi_why_slot *s, struct tpi_why_slot *ret)
{
    if (s != NULL) {
        *ret = *s;
        ret->older = NULL;
        ret->newer = NULL;
    }
    pthread_mutex_unlock(&y->lock);
    return s != NULL;
}

bool tpi_why_find(struct tpi_why *y, bool known, struct tpc_str tenant, struct tpc_str device,
                  struct tpi_why_slot *ret)
{
    struct tpi_why_slot like;
    name_slot(&like, tenant, device);
    pthread_mutex_lock(&y->lock);
    return copy_out(y, find(table_of(y, known), &like), ret);
}

bool tpi_why_at(struct tpi_why *y, bool known, uint32_t number, struct tpi_why_slot *ret)
{
    struct tpi_why_table *t = table_of(y, known);
    pthread_mutex_lock(&y->lock);
    return copy_out(y, number < t->cap ? t->slots[number] : NULL, ret);
}

bool tpi_why_dirty(struct tpi_why *y, bool known, uint32_t *number, struct tpi_why_slot *ret)
{
    struct tpi_why_table *t = table_of(y, known);
    struct tpi_why_slot *s = NULL;
    pthread_mutex_lock(&y->lock);
    for (; *number < t->cap && s == NULL; ++*number) {
        s = t->slots[*number];
        s = s != NULL && s->dirty ? s : NULL;
    }
    if (s != NULL) {
        s->dirty = false;
    }
    return copy_out(y, s, ret);
}

/* The oldest entry with something new; TPI_WHY_ENTRIES = none. */
static uint32_t untaken(const struct tpi_why_slot *s)
{
    for (uint32_t i = s != NULL ? s->count : 0; i > 0; i--) {
        if (s->entries[i - 1].taken != s->entries[i - 1].times) {
            return i - 1;
        }
    }
    return TPI_WHY_ENTRIES;
}

uint32_t tpi_why_take_begin(struct tpi_why *y)
{
    pthread_mutex_lock(&y->lock);
    y->taking = true;
    pthread_mutex_unlock(&y->lock);
    return TPI_WHY_DEVICES + TPI_WHY_STRANGERS;
}

bool tpi_why_take(struct tpi_why *y, uint32_t *left, struct tpi_why_slot *ret, uint32_t *ret_entry)
{
    struct tpi_why_slot *s = NULL;
    uint32_t entry = TPI_WHY_ENTRIES;
    uint32_t times = 0;
    pthread_mutex_lock(&y->lock);
    while (*left > 0 && entry == TPI_WHY_ENTRIES) {
        uint32_t at = y->take_at;
        s = at < TPI_WHY_DEVICES ? y->devices.slots[at] : y->strangers.slots[at - TPI_WHY_DEVICES];
        entry = untaken(s);
        if (entry == TPI_WHY_ENTRIES || entry == 0) { /* the newest one comes last */
            y->take_at = (at + 1) % (TPI_WHY_DEVICES + TPI_WHY_STRANGERS);
            --*left;
        }
    }
    s = entry < TPI_WHY_ENTRIES ? s : NULL;
    if (s != NULL) {
        times = s->entries[entry].times - s->entries[entry].taken;
        s->entries[entry].taken = s->entries[entry].times;
    }
    bool found = copy_out(y, s, ret);
    if (found) {
        ret->entries[entry].times = times;
        *ret_entry = entry;
    }
    return found;
}

void tpi_why_again(struct tpi_why *y, const struct tpi_why_slot *slot)
{
    struct tpi_why_table *t = table_of(y, slot->known);
    pthread_mutex_lock(&y->lock);
    if (t->slots[slot->number] != NULL) {
        t->slots[slot->number]->dirty = true;
    }
    pthread_mutex_unlock(&y->lock);
}

int tpi_why_restore(struct tpi_why *y, const struct tpi_why_slot *slot)
{
    struct tpi_why_table *t = table_of(y, slot->known);
    int rc = 0;
    pthread_mutex_lock(&y->lock);
    if (t->count < t->cap && find(t, slot) == NULL) {
        struct tpi_why_slot *s = make(y, t, slot);
        rc = s != NULL ? 0 : TPC_ENOMEM;
        if (s != NULL) {
            link_oldest(t, s);
            /* Its row may be of another number: both are right after the next save. */
            s->dirty = s->number != slot->number;
        }
    }
    pthread_mutex_unlock(&y->lock);
    return rc;
}

void tpi_why_view(const struct tpi_why_slot *s, uint32_t entry, struct tpc_why *ret)
{
    const struct tpi_why_entry *e = &s->entries[entry];
    *ret = (struct tpc_why){ .size = sizeof(*ret),
                             .stage = e->stage,
                             .code = e->code,
                             .times = e->times,
                             .unix_ms = e->unix_ms,
                             .known = s->known,
                             .tenant = { s->tenant, s->tenant_len },
                             .device = { s->device, s->device_len },
                             .origin = { e->origin, e->origin_len },
                             .reason = { e->reason, e->reason_len },
                             .payload = { e->payload, e->payload_len },
                             .payload_bytes = e->payload_bytes };
}
