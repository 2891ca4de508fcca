#include "rules/later.h"

#include "base/alloc.h"
#include "rules/action_type.h"
#include "rules/rules_state.h"
#include "rules/schedule.h"

#include <string.h>

#include "data/member.h"

enum { FIRST_CAP = 16 };

void tpi_laters_init(struct tpi_laters *l, const struct tpc_allocator *alloc)
{
    *l = (struct tpi_laters){ .alloc = alloc };
}

void tpi_laters_fini(struct tpi_laters *l)
{
    tpi_free(l->alloc, l->items, l->cap * sizeof(*l->items));
    *l = (struct tpi_laters){ .alloc = l->alloc };
}

/* ---- the heap ---- */

static bool is_before(const struct tpi_later *a, const struct tpi_later *b)
{
    return a->at_unix_ms != b->at_unix_ms ? a->at_unix_ms < b->at_unix_ms : a->number < b->number;
}

static void swap(struct tpi_later *a, struct tpi_later *b)
{
    struct tpi_later c = *a;
    *a = *b;
    *b = c;
}

static int add(struct tpi_laters *l, const struct tpi_later *item)
{
    if (l->count == TPI_RULES_MAX_LATERS) {
        return TPC_ETOOBIG;
    }
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? FIRST_CAP : l->cap * 2;
        struct tpi_later *items =
            tpi_resize(l->alloc, l->items, l->cap * sizeof(*items), cap * sizeof(*items));
        if (items == NULL) {
            return TPC_ENOMEM;
        }
        l->items = items;
        l->cap = cap;
    }
    size_t i = l->count++;
    l->items[i] = *item;
    l->items[i].number = l->next_number++;
    while (i > 0 && is_before(&l->items[i], &l->items[(i - 1) / 2])) {
        swap(&l->items[i], &l->items[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    return 0;
}

static void pop(struct tpi_laters *l)
{
    size_t i = 0;
    l->items[0] = l->items[--l->count];
    for (;;) {
        size_t least = i;
        for (size_t c = 2 * i + 1; c <= 2 * i + 2 && c < l->count; c++) {
            least = is_before(&l->items[c], &l->items[least]) ? c : least;
        }
        if (least == i) {
            break;
        }
        swap(&l->items[i], &l->items[least]);
        i = least;
    }
    if (l->count == 0) {
        tpi_laters_fini(l); /* of many that waited once, no room is kept */
    }
}

/* ---- adding ---- */

/* Under the worker's lock. */
static void set_next(struct tpi_rules *r, uint32_t worker)
{
    int64_t next = INT64_MAX;
    for (uint32_t p = worker; p < r->host.partitions; p += r->host.workers) {
        const struct tpi_laters *l = &r->partitions[p].laters;
        next = l->count > 0 && l->items[0].at_unix_ms < next ? l->items[0].at_unix_ms : next;
    }
    atomic_store(&r->workers[worker].later_next_ms, next);
}

int tpi_later_add(const struct tpi_act *act, uint32_t action, int64_t delay_ms)
{
    struct tpi_rules *r = act->rules;
    struct tpi_act then = *act;
    int64_t from = act->unix_ms != 0 ? act->unix_ms : tpi_unix_ms(r->env);
    then.unix_ms = from > INT64_MAX - delay_ms ? INT64_MAX : from + delay_ms;
    struct tpi_later item = { .at_unix_ms = then.unix_ms };
    tpi_act_keep(&then, action + 1, &item.kept);
    int rc = add(&r->partitions[act->partition].laters, &item);
    if (rc == 0) {
        set_next(r, act->worker);
        TPI_METRIC_ADD(r->counters.delays, 1);
    } else {
        TPI_METRIC_ADD(r->counters.delays_full, 1);
    }
    return rc;
}

/* ---- doing ---- */

int64_t tpi_laters_next_ms(const struct tpi_rules *r, uint32_t worker)
{
    return atomic_load(&r->workers[worker].later_next_ms);
}

static void go_on(struct tpi_rules *r, uint32_t worker, const struct tpi_act_kept *kept)
{
    struct tpi_act act;
    if (tpi_act_find(r, worker, kept, &act) == NULL) {
        TPI_METRIC_ADD(r->counters.delays_dropped, 1);
        return;
    }
    struct tpi_scene *s = tpi_map64_get(&r->scenes, kept->rule);
    if (s != NULL) {
        (void) tpi_scene_act(&act, s, false);
    } else {
        tpi_schedule_act(&act, tpi_map64_get(&r->schedules, kept->rule));
    }
}

/* The clock was set back: what waits goes on from where it was. Under the worker's lock. */
static void set_back(struct tpi_rules *r, uint32_t worker, int64_t by_ms)
{
    for (uint32_t p = worker; p < r->host.partitions; p += r->host.workers) {
        struct tpi_laters *l = &r->partitions[p].laters;
        for (size_t i = 0; i < l->count; i++) { /* their order stays */
            l->items[i].at_unix_ms -= by_ms;
        }
    }
}

uint32_t tpi_laters_turn(struct tpi_rules *r, uint32_t worker, int64_t seen_ms, int64_t now_ms)
{
    uint32_t done = 0;
    int64_t next = tpi_laters_next_ms(r, worker);
    bool back = next != INT64_MAX && seen_ms > now_ms;
    if (next > now_ms && !back) {
        return 0;
    }
    tpi_registry_read_lock(r->host.registry);
    tpi_rules_begin(r, worker);
    if (back) {
        set_back(r, worker, seen_ms - now_ms);
    }
    for (uint32_t p = worker; p < r->host.partitions; p += r->host.workers) {
        struct tpi_laters *l = &r->partitions[p].laters;
        while (l->count > 0 && l->items[0].at_unix_ms <= now_ms) {
            struct tpi_act_kept kept = l->items[0].kept;
            pop(l);
            go_on(r, worker, &kept);
            done++;
        }
    }
    set_next(r, worker);
    tpi_rules_end(r, worker);
    tpi_registry_read_unlock(r->host.registry);
    return done;
}

/* ---- state ---- */

static int save_one(const struct tpi_later *x, struct tpi_buf *out)
{
    const struct tpi_act_kept *k = &x->kept;
    int rc = tpi_buf_zigzag(out, x->at_unix_ms);
    rc = rc != 0 ? rc : tpi_buf_varint(out, k->rule);
    rc = rc != 0 ? rc : tpi_buf_varint(out, k->revision);
    rc = rc != 0 ? rc : tpi_buf_u64(out, k->document);
    rc = rc != 0 ? rc : tpi_buf_varint(out, k->device);
    rc = rc != 0 ? rc : tpi_buf_varint(out, k->offset);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, k->unix_ms);
    rc = rc != 0 ? rc : tpi_buf_varint(out, k->hops);
    rc = rc != 0 ? rc : tpi_buf_varint(out, k->action);
    return rc != 0 ? rc : tpi_buf_put(out, k->cause.b, sizeof(k->cause.b));
}

int tpi_laters_save(const struct tpi_laters *l, struct tpi_buf *out)
{
    int rc = tpi_buf_varint(out, l->count);
    for (size_t i = 0; rc == 0 && i < l->count; i++) {
        rc = save_one(&l->items[i], out);
    }
    return rc;
}

int tpi_laters_read(struct tpi_reader *in, uint32_t partition, struct tpi_laters *ret)
{
    uint64_t count = tpi_read_varint(in);
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < count && !in->bad; i++) {
        struct tpi_later x = { .at_unix_ms = tpi_read_zigzag(in) };
        x.kept.partition = partition;
        x.kept.again = true;
        x.kept.rule = tpi_read_varint(in);
        x.kept.revision = tpi_read_varint(in);
        x.kept.document = tpi_read_u64(in);
        x.kept.device = tpi_read_varint(in);
        x.kept.offset = tpi_read_varint(in);
        x.kept.unix_ms = tpi_read_zigzag(in);
        x.kept.hops = (uint32_t) tpi_read_varint(in);
        x.kept.action = (uint32_t) tpi_read_varint(in);
        const uint8_t *cause = tpi_read_bytes(in, sizeof(x.kept.cause.b));
        if (cause != NULL) {
            memcpy(x.kept.cause.b, cause, sizeof(x.kept.cause.b));
        }
        rc = in->bad ? 0 : add(ret, &x);
    }
    return rc == 0 && in->bad ? TPC_ECORRUPT : rc;
}

void tpi_laters_take(struct tpi_rules *r, uint32_t partition, struct tpi_laters *l)
{
    tpi_laters_fini(&r->partitions[partition].laters);
    r->partitions[partition].laters = *l;
    tpi_laters_init(l, l->alloc);
    set_next(r, partition % r->host.workers);
}

/* ---- the action ---- */

static int read(struct tpi_action *a, struct tpc_arena *arena, const struct tpc_value *doc,
                struct tpc_error *err)
{
    (void) arena;
    (void) err;
    a->number = 0;
    return tpc_value_int(doc, &a->number);
}

const struct tpi_action_type tpi_action_delay = {
    .name = "delay", .device_optional = true, .waits = true, .read = read
};
