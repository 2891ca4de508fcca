#include "uplink/report.h"

#include <math.h>
#include <string.h>
#include <tpcore/cbor.h>

#include "base/alloc.h"
#include "base/hash.h"

enum { FIRST_ENTRIES = 4, LINEAR = 8, FIRST_TOUCHED = 64 };

/* ---- life ---- */

void tpi_reports_init(struct tpi_reports *r, const struct tpc_allocator *alloc,
                      struct tpi_wheel *wheel)
{
    memset(r, 0, sizeof(*r));
    r->alloc = alloc;
    r->wheel = wheel;
    tpi_map64_init(&r->devices, alloc);
    tpi_buf_init(&r->scratch, alloc, 0);
}

static void free_bytes(struct tpi_reports *r, struct tpi_report_entry *e)
{
    tpi_free(r->alloc, e->bytes, e->cap);
    r->bytes -= e->cap;
    e->bytes = NULL;
    e->cap = 0;
    e->len = 0;
}

static void free_entry(struct tpi_reports *r, struct tpi_report_entry *e)
{
    free_bytes(r, e);
    tpi_free(r->alloc, e->key, e->key_len);
    r->bytes -= e->key_len;
    r->values--;
}

static void clear_entries(struct tpi_reports *r, struct tpi_report_device *d)
{
    for (uint32_t i = 0; i < d->count; i++) {
        free_entry(r, &d->entries[i]);
    }
    tpi_free(r->alloc, d->entries, d->cap * sizeof(d->entries[0]));
    tpi_free(r->alloc, d->hash, d->hash_cap * sizeof(d->hash[0]));
    d->entries = NULL;
    d->hash = NULL;
    d->count = d->cap = d->hash_cap = d->hint = 0;
}

static void free_device(struct tpi_reports *r, struct tpi_report_device *d)
{
    tpi_wheel_cancel(r->wheel, &d->timer);
    clear_entries(r, d);
    tpi_free(r->alloc, d, sizeof(*d));
}

void tpi_reports_fini(struct tpi_reports *r)
{
    size_t iter = 0;
    uint64_t id;
    void *d;
    while (tpi_map64_next(&r->devices, &iter, &id, &d)) {
        free_device(r, d);
    }
    tpi_map64_fini(&r->devices);
    tpi_free(r->alloc, r->touched, r->touched_cap * sizeof(r->touched[0]));
    tpi_buf_fini(&r->scratch);
}

void tpi_reports_drop(struct tpi_reports *r, struct tpi_report_device *d)
{
    struct tpi_report_device **at = &r->due;
    while (d->queued && *at != NULL && *at != d) {
        at = &(*at)->next;
    }
    if (d->queued && *at == d) {
        *at = d->next;
    }
    (void) tpi_map64_remove(&r->devices, d->id);
    free_device(r, d);
}

/* ---- time ---- */

static void time_has_come(void *user, uint64_t now_ms)
{
    struct tpi_report_device *d = user;
    (void) now_ms;
    if (!d->queued) {
        d->queued = true;
        d->next = d->all->due;
        d->all->due = d;
    }
}

struct tpi_report_device *tpi_reports_next(struct tpi_reports *r)
{
    struct tpi_report_device *d = r->due;
    if (d != NULL) {
        r->due = d->next;
        d->next = NULL;
        d->queued = false;
    }
    return d;
}

void tpi_reports_shift_times(struct tpi_reports *r, int64_t from_ms, int64_t to_ms, int64_t by_ms)
{
    size_t iter = 0;
    uint64_t id;
    void *p;
    while (tpi_map64_next(&r->devices, &iter, &id, &p)) {
        const struct tpi_report_device *d = p;
        for (uint32_t i = 0; i < d->count; i++) {
            int64_t *at = &d->entries[i].sample_ms;
            *at += *at >= from_ms && *at <= to_ms ? by_ms : 0;
        }
    }
}

static void set_timer(struct tpi_report_device *d, uint64_t at_ms)
{
    d->next_ms = at_ms;
    tpi_wheel_add(d->all->wheel, &d->timer, at_ms);
}

void tpi_report_arm(struct tpi_report_device *d, uint64_t now_ms, uint64_t not_before_ms)
{
    uint64_t at = now_ms + TPI_REPORT_LOOK_MS;
    for (uint32_t i = 0; i < d->count; i++) {
        const struct tpi_report_entry *e = &d->entries[i];
        at = e->known && e->due_ms != 0 && e->due_ms < at ? e->due_ms : at;
    }
    set_timer(d, at > not_before_ms ? at : not_before_ms);
}

static void set_due(struct tpi_report_device *d, struct tpi_report_entry *e, uint64_t due_ms)
{
    e->due_ms = due_ms;
    if (due_ms != 0 && due_ms < d->next_ms) {
        set_timer(d, due_ms);
    }
}

/* The next point of the period's grid that is still to come. */
static uint64_t next_due(uint64_t due_ms, uint32_t period_ms, uint64_t now_ms)
{
    return due_ms > now_ms ? due_ms : due_ms + ((now_ms - due_ms) / period_ms + 1) * period_ms;
}

/* When an entry is due; the period may have become a shorter one since that was set. */
static uint64_t due_of(const struct tpi_report_entry *e, const struct tpi_report *rule,
                       uint64_t now_ms)
{
    uint64_t last = now_ms + rule->period_ms;
    return tpi_report_periodic(rule) && e->due_ms > last ? last : e->due_ms;
}

/* ---- devices and entries ---- */

struct tpi_report_device *tpi_reports_device(struct tpi_reports *r, uint64_t id,
                                             uint64_t product_id, uint64_t now_ms)
{
    struct tpi_report_device *d = tpi_map64_get(&r->devices, id);
    if (d != NULL) {
        if (d->product_id != product_id) { /* ids of properties mean something else now */
            d->product_id = product_id;
            clear_entries(r, d);
        }
        return d;
    }
    d = tpi_alloc_zero(r->alloc, sizeof(*d));
    if (d == NULL) {
        return NULL;
    }
    d->timer.fn = time_has_come;
    d->timer.user = d;
    d->all = r;
    d->id = id;
    d->product_id = product_id;
    if (tpi_map64_put(&r->devices, id, d, NULL) != 0) {
        tpi_free(r->alloc, d, sizeof(*d));
        return NULL;
    }
    set_timer(d, now_ms + TPI_REPORT_LOOK_MS);
    return d;
}

static uint64_t hash_of(uint16_t property, const char *key, size_t len)
{
    return property != 0 ? tpi_hash64(property) : tpi_hash(key, len, 1);
}

/* A key that no model knows may be an attribute and telemetry at once: that is two things. */
static bool is_entry(const struct tpi_report_entry *e, const struct tpi_report_point *p)
{
    const struct tpc_point *point = p->point;
    if (point->property != TPC_PROPERTY_NONE) {
        return e->property == point->property;
    }
    return e->property == TPC_PROPERTY_NONE && e->attributes == p->attributes &&
           e->key_len == point->key.len && memcmp(e->key, point->key.ptr, point->key.len) == 0;
}

static void hash_put(struct tpi_report_device *d, uint32_t at)
{
    const struct tpi_report_entry *e = &d->entries[at];
    uint32_t last = d->hash_cap - 1;
    uint32_t i = (uint32_t) hash_of(e->property, e->key, e->key_len) & last;
    while (d->hash[i] != 0) {
        i = (i + 1) & last;
    }
    d->hash[i] = at + 1;
}

/* Room for one more in the table. False: no memory. */
static bool hash_room(struct tpi_reports *r, struct tpi_report_device *d)
{
    if (d->count < LINEAR || 2 * (d->count + 1) <= d->hash_cap) {
        return true;
    }
    uint32_t cap = d->hash_cap == 0 ? 4 * LINEAR : 2 * d->hash_cap;
    uint32_t *hash = tpi_alloc_zero(r->alloc, cap * sizeof(*hash));
    if (hash == NULL) {
        return false;
    }
    tpi_free(r->alloc, d->hash, d->hash_cap * sizeof(d->hash[0]));
    d->hash = hash;
    d->hash_cap = cap;
    for (uint32_t i = 0; i < d->count; i++) {
        hash_put(d, i);
    }
    return true;
}

void tpi_reports_tidy(struct tpi_reports *r, struct tpi_report_device *d)
{
    uint32_t known = 0;
    for (uint32_t i = 0; i < d->count; i++) {
        known += d->entries[i].known;
    }
    if (d->count < LINEAR || 4 * known > 3 * d->count) {
        return;
    }
    uint32_t count = d->count;
    d->count = 0;
    d->hint = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (d->entries[i].known) {
            d->entries[d->count++] = d->entries[i];
        } else {
            free_entry(r, &d->entries[i]);
        }
    }
    if (d->hash != NULL) {
        memset(d->hash, 0, d->hash_cap * sizeof(d->hash[0]));
    }
    for (uint32_t i = 0; d->hash != NULL && i < d->count; i++) {
        hash_put(d, i);
    }
}

static uint32_t find(const struct tpi_report_device *d, const struct tpi_report_point *p)
{
    if (d->hint < d->count && is_entry(&d->entries[d->hint], p)) {
        return d->hint;
    }
    if (d->hash == NULL) {
        uint32_t i = 0;
        while (i < d->count && !is_entry(&d->entries[i], p)) {
            i++;
        }
        return i;
    }
    uint32_t last = d->hash_cap - 1;
    uint32_t i =
        (uint32_t) hash_of(p->point->property, p->point->key.ptr, p->point->key.len) & last;
    for (; d->hash[i] != 0; i = (i + 1) & last) {
        if (is_entry(&d->entries[d->hash[i] - 1], p)) {
            return d->hash[i] - 1;
        }
    }
    return d->count;
}

static bool entry_room(struct tpi_reports *r, struct tpi_report_device *d)
{
    if (r->values >= TPI_REPORT_VALUES || d->count >= TPI_REPORT_DEVICE_VALUES) {
        return false;
    }
    if (d->count < d->cap) {
        return hash_room(r, d);
    }
    uint32_t cap = d->cap == 0 ? FIRST_ENTRIES : 2 * d->cap;
    void *p = tpi_resize(r->alloc, d->entries, d->cap * sizeof(d->entries[0]),
                         cap * sizeof(d->entries[0]));
    if (p == NULL) {
        return false;
    }
    d->entries = p;
    d->cap = cap;
    return hash_room(r, d);
}

/* A new entry, or UINT32_MAX. */
static uint32_t add_entry(struct tpi_reports *r, struct tpi_report_device *d,
                          const struct tpi_report_point *given)
{
    const struct tpc_point *p = given->point;
    bool by_key = p->property == TPC_PROPERTY_NONE;
    char *key = NULL;
    if (!entry_room(r, d) || (by_key && (p->key.len == 0 || p->key.len > UINT16_MAX ||
                                         r->bytes + p->key.len > TPI_REPORT_BYTES))) {
        return UINT32_MAX;
    }
    if (by_key) {
        key = tpi_alloc_array(r->alloc, p->key.len, 1);
        if (key == NULL) {
            return UINT32_MAX;
        }
        memcpy(key, p->key.ptr, p->key.len);
        r->bytes += p->key.len;
    }
    uint32_t at = d->count++;
    d->entries[at] = (struct tpi_report_entry){ .key = key,
                                                .key_len = by_key ? (uint16_t) p->key.len : 0,
                                                .property = p->property,
                                                .attributes = given->attributes };
    r->values++;
    if (d->hash != NULL) {
        hash_put(d, at);
    }
    return at;
}

static bool touch(struct tpi_reports *r, struct tpi_report_device *d, uint32_t at)
{
    if (r->touched_count == r->touched_cap) {
        uint32_t cap = r->touched_cap == 0 ? FIRST_TOUCHED : 2 * r->touched_cap;
        void *p = tpi_resize(r->alloc, r->touched, r->touched_cap * sizeof(r->touched[0]),
                             cap * sizeof(r->touched[0]));
        if (p == NULL) {
            return false;
        }
        r->touched = p;
        r->touched_cap = cap;
    }
    r->touched[r->touched_count++] = (struct tpi_report_touched){ d, at };
    return true;
}

static void forget(struct tpi_report_entry *e)
{
    e->known = 0;
    e->fresh = 0;
    e->due_ms = 0;
}

void tpi_reports_forget(struct tpi_reports *r, uint32_t first)
{
    for (uint32_t i = first; i < r->touched_count; i++) {
        const struct tpi_report_touched *t = &r->touched[i];
        if (t->at < t->device->count) {
            forget(&t->device->entries[t->at]);
        }
    }
    r->touched_count = first < r->touched_count ? first : r->touched_count;
}

/* ---- values ---- */

static bool is_number(uint32_t type)
{
    return type == TPC_INT || type == TPC_DOUBLE;
}

static uint64_t bits_of(const struct tpc_value *v)
{
    uint64_t bits = 0;
    switch (v->type) {
    case TPC_BOOL:
        return v->as.b;
    case TPC_DOUBLE:
        memcpy(&bits, &v->as.d, sizeof(bits));
        return bits;
    default:
        return (uint64_t) v->as.i;
    }
}

static double number_of(uint32_t type, uint64_t bits)
{
    double d;
    if (type == TPC_INT) {
        return (double) (int64_t) bits;
    }
    memcpy(&d, &bits, sizeof(d));
    return d;
}

/* Bytes of a text or tree: views of the value or of scratch. False: too long, or no memory. */
static bool bytes_of(struct tpi_reports *r, const struct tpc_value *v, struct tpc_bytes *ret)
{
    if (v->type == TPC_TEXT) {
        *ret = (struct tpc_bytes){ (const uint8_t *) v->as.text, v->len };
        return v->len <= TPI_REPORT_VALUE_BYTES;
    }
    struct tpc_buf buf = { NULL, 0, 0 };
    if (tpc_cbor_write(v, &buf) != TPC_ETOOBIG || buf.need > TPI_REPORT_VALUE_BYTES) {
        return false;
    }
    tpi_buf_clear(&r->scratch);
    if (tpi_buf_reserve(&r->scratch, buf.need) != 0) {
        return false;
    }
    buf = (struct tpc_buf){ r->scratch.ptr, buf.need, 0 };
    *ret = (struct tpc_bytes){ r->scratch.ptr, buf.cap };
    return tpc_cbor_write(v, &buf) == 0;
}

static bool is_scalar(uint32_t type)
{
    return type == TPC_BOOL || is_number(type);
}

static bool store_bytes(struct tpi_reports *r, struct tpi_report_entry *e, struct tpc_bytes b)
{
    if (b.len > e->cap) {
        uint32_t cap = (uint32_t) b.len;
        if (r->bytes - e->cap + cap > TPI_REPORT_BYTES) {
            return false;
        }
        uint8_t *p = tpi_alloc_array(r->alloc, cap, 1);
        if (p == NULL) {
            return false;
        }
        free_bytes(r, e);
        e->bytes = p;
        e->cap = cap;
        r->bytes += cap;
    }
    if (b.len > 0) {
        memcpy(e->bytes, b.ptr, b.len);
    }
    e->len = (uint32_t) b.len;
    return true;
}

/* The value becomes the last one. bytes: of a text or tree. */
static bool store(struct tpi_reports *r, struct tpi_report_entry *e, const struct tpc_value *v,
                  struct tpc_bytes bytes)
{
    if (!is_scalar(v->type) && !store_bytes(r, e, bytes)) {
        return false;
    }
    e->last_type = (uint8_t) v->type;
    e->last = is_scalar(v->type) ? bits_of(v) : 0;
    return true;
}

/* Numbers against the one that went last, all else against the one that came last: it went, too. */
static bool changed(const struct tpi_report_entry *e, const struct tpi_report *rule,
                    const struct tpc_value *v, struct tpc_bytes bytes)
{
    if (is_number(v->type) && is_number(e->sent_type)) {
        uint64_t bits = bits_of(v);
        if (v->type == TPC_INT && e->sent_type == TPC_INT && bits == e->sent) {
            return false;
        }
        double before = number_of(e->sent_type, e->sent);
        double apart = fabs(number_of(v->type, bits) - before);
        double band = fabs(before) * rule->deadband_percent / 100;
        band = band > rule->deadband ? band : rule->deadband;
        bool exact = band == 0 && v->type == TPC_INT && e->sent_type == TPC_INT;
        return exact || !(apart <= band);
    }
    if (v->type != e->last_type) {
        return true;
    }
    return v->type == TPC_BOOL
               ? bits_of(v) != e->last
               : bytes.len != e->len || (e->len > 0 && memcmp(bytes.ptr, e->bytes, e->len) != 0);
}

int tpi_report_value(const struct tpi_report_entry *e, struct tpc_arena *arena,
                     struct tpc_value *ret)
{
    *ret = (struct tpc_value){ .type = e->last_type };
    switch (e->last_type) {
    case TPC_BOOL:
        ret->as.b = e->last != 0;
        return 0;
    case TPC_INT:
        ret->as.i = (int64_t) e->last;
        return 0;
    case TPC_DOUBLE:
        ret->as.d = number_of(TPC_DOUBLE, e->last);
        return 0;
    case TPC_TEXT:
        ret->len = e->len;
        ret->as.text = e->len > 0 ? (const char *) e->bytes : "";
        return 0;
    default:
        return tpc_cbor_parse(arena, (struct tpc_bytes){ e->bytes, e->len }, NULL, ret);
    }
}

/* ---- deciding ---- */

static void note_sent(struct tpi_report_entry *e)
{
    e->sent = e->last;
    e->sent_type = e->last_type;
    e->fresh = 0;
}

static bool goes_first(struct tpi_report_device *d, struct tpi_report_entry *e,
                       const struct tpi_report_point *p)
{
    e->known = 1;
    e->mode = p->rule->mode;
    note_sent(e);
    set_due(d, e, tpi_report_periodic(p->rule) ? p->now_ms + p->rule->period_ms : 0);
    return true;
}

static bool goes_again(struct tpi_report_device *d, struct tpi_report_entry *e,
                       const struct tpi_report_point *p, bool differs)
{
    const struct tpi_report *rule = p->rule;
    uint64_t due_ms = due_of(e, rule, p->now_ms);
    if (due_ms != e->due_ms) {
        set_due(d, e, due_ms);
    }
    bool due = e->due_ms != 0 && e->due_ms <= p->now_ms;
    bool change = rule->mode != TPI_REPORT_PERIOD && differs;
    e->fresh = 1;
    if (!change && !due) {
        return false;
    }
    note_sent(e);
    if (change && rule->reset && tpi_report_periodic(rule)) {
        set_due(d, e, p->now_ms + rule->period_ms);
    } else if (due) {
        set_due(d, e, next_due(e->due_ms, rule->period_ms, p->now_ms));
    }
    return true;
}

static bool too_old(const struct tpi_report_entry *e, const struct tpi_report *rule,
                    uint64_t now_ms)
{
    return rule->ttl_ms != 0 && now_ms - e->seen_ms >= rule->ttl_ms;
}

bool tpi_report_goes(struct tpi_reports *r, struct tpi_report_device *d,
                     const struct tpi_report_point *p)
{
    const struct tpc_value *v = &p->point->value;
    struct tpc_bytes bytes = { NULL, 0 };
    uint32_t at = find(d, p);
    at = at < d->count ? at : add_entry(r, d, p);
    if (at == UINT32_MAX || !touch(r, d, at)) {
        r->untracked++;
        return true;
    }
    d->hint = at + 1;
    struct tpi_report_entry *e = &d->entries[at];
    int64_t sample_ms = p->unix_ms < p->received_unix_ms ? p->unix_ms : p->received_unix_ms;
    bool known = e->known && e->mode == p->rule->mode && !too_old(e, p->rule, p->now_ms);
    /* Received before the newest one was taken: the host's clock was set back. */
    if (known && sample_ms < e->sample_ms && p->received_unix_ms >= e->sample_ms) {
        return true; /* late: it belongs before what went, and says nothing of what comes */
    }
    bool readable = is_scalar(v->type) || bytes_of(r, v, &bytes);
    bool differs = readable && known && changed(e, p->rule, v, bytes);
    if (!readable || !store(r, e, v, bytes)) {
        forget(e);
        r->untracked++;
        return true;
    }
    e->seen_ms = p->now_ms;
    e->sample_ms = sample_ms;
    e->attributes = p->attributes;
    e->point_flags = p->point->flags;
    return known ? goes_again(d, e, p, differs) : goes_first(d, e, p);
}

void tpi_report_passed(struct tpi_report_device *d, const struct tpi_report_point *p)
{
    uint32_t at = find(d, p);
    d->hint = at + 1;
    if (at < d->count && d->entries[at].mode == TPI_REPORT_CHANGE) {
        forget(&d->entries[at]);
    }
}

bool tpi_report_is_due(struct tpi_reports *r, struct tpi_report_entry *e,
                       const struct tpi_report *rule, uint64_t now_ms)
{
    if (!e->known) {
        return false;
    }
    bool other = rule == NULL || rule->mode != e->mode;
    if (other || too_old(e, rule, now_ms)) {
        forget(e);
        free_bytes(r, e);
        return false;
    }
    e->due_ms = due_of(e, rule, now_ms);
    return e->due_ms != 0 && e->due_ms <= now_ms;
}

void tpi_report_sent(struct tpi_report_entry *e, const struct tpi_report *rule, uint64_t now_ms)
{
    note_sent(e);
    e->due_ms = next_due(e->due_ms, rule->period_ms, now_ms);
}
