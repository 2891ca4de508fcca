#include "bus/clock.h"

#include <string.h>

#include "base/buf.h"
#include "base/error.h"

enum {
    JUMP_MS = 2000,   /* a clock that is set, not one that is slewed */
    SLACK_MS = 10000, /* a clock that was set back by so little is no clock that was lost */
    LATE_MS = 60000,  /* what was received before the clock was set is appended within it */
    PACK_VERSION = 1
};

/* No clock is right that shows a time before 2025-01-01T00:00:00Z: this release is later. */
#define RELEASE_MS INT64_C(1735689600000)

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* Of times that may be anything: no overflow. */
static int64_t sum(int64_t a, int64_t b)
{
    return (int64_t) ((uint64_t) a + (uint64_t) b);
}

static int64_t minus(int64_t a, int64_t b)
{
    return (int64_t) ((uint64_t) a - (uint64_t) b);
}

void tpi_clock_init(struct tpi_clock *c, const struct tpi_env *env)
{
    memset(c, 0, sizeof(*c));
    c->env = env;
    c->o.hold_ms = TPI_CLOCK_HOLD_MS;
    pthread_mutex_init(&c->lock, NULL);
}

void tpi_clock_fini(struct tpi_clock *c)
{
    pthread_mutex_destroy(&c->lock);
}

static bool is_zero(const struct tpc_id *id)
{
    static const struct tpc_id none;
    return memcmp(id, &none, sizeof(none)) == 0;
}

static bool same(const struct tpc_id *a, const struct tpc_id *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* Which run of the monotonic clock this is. One that tells nothing begins with each core. */
static int find_boot(struct tpi_clock *c)
{
    const struct tpc_clock *clock = c->env->clock;
    bool has = clock->size >= offsetof(struct tpc_clock, boot) + sizeof(clock->boot) &&
               clock->boot != NULL;
    if (has && clock->boot(clock->user, &c->boot) == 0 && !is_zero(&c->boot)) {
        return 0;
    }
    return tpi_random(c->env, c->boot.b, sizeof(c->boot.b));
}

static void take_offset(struct tpi_clock *c)
{
    int64_t now = minus(tpi_unix_ms(c->env), (int64_t) tpi_mono_ms(c->env));
    int64_t d = minus(now, c->offset_ms);
    if (d > JUMP_MS || d < -JUMP_MS) {
        c->before_ms = c->offset_ms;
    }
    c->offset_ms = now;
}

static void look_busy(struct tpi_clock *c)
{
    atomic_store(&c->busy, atomic_load(&c->unsure) || c->step != TPI_CLOCK_QUIET);
}

static void ask(struct tpi_clock *c)
{
    if (c->step == TPI_CLOCK_QUIET) {
        c->step = TPI_CLOCK_ASKED;
        look_busy(c);
    }
}

static void become_sure(struct tpi_clock *c)
{
    c->sure_ms = c->offset_ms;
    c->sure_mono_ms = tpi_mono_ms(c->env);
    atomic_store(&c->unsure, false);
    if (atomic_load(&c->stamped) > 0) {
        ask(c);
    }
    look_busy(c);
    tpi_log(c->env, TPC_LOG_INFO, "clock", "the clock is valid, it moved by %lld s",
            (long long) (minus(c->offset_ms, c->before_ms) / 1000));
}

int tpi_clock_begin(struct tpi_clock *c, int64_t newest_ms)
{
    pthread_mutex_lock(&c->lock);
    int rc = c->begun ? 0 : find_boot(c);
    if (rc == 0 && !c->begun) {
        int64_t unix_ms = tpi_unix_ms(c->env);
        int64_t floor =
            minus(newest_ms, SLACK_MS) > RELEASE_MS ? minus(newest_ms, SLACK_MS) : RELEASE_MS;
        c->o.floor_ms = c->o.floor_ms != 0 ? c->o.floor_ms : floor;
        c->offset_ms = minus(unix_ms, (int64_t) tpi_mono_ms(c->env));
        c->before_ms = c->offset_ms;
        c->sure_ms = c->offset_ms;
        bool unsure = (c->o.trust == TPI_CLOCK_AUTO && unix_ms < c->o.floor_ms) ||
                      (c->o.trust == TPI_CLOCK_PROGRAM && !c->said);
        atomic_store(&c->unsure, unsure);
        atomic_store(&c->stamping, unsure);
        look_busy(c);
        c->begun = true;
        if (unsure) {
            tpi_log(c->env, TPC_LOG_WARN, "clock",
                    "the clock is not trusted (%lld s before the floor): records are marked",
                    (long long) (minus(c->o.floor_ms, unix_ms) / 1000));
        }
    }
    c->let_go = false;
    pthread_mutex_unlock(&c->lock);
    return rc;
}

/* With the lock. */
static bool look(struct tpi_clock *c)
{
    int64_t was = c->offset_ms;
    take_offset(c);
    int64_t d = minus(c->offset_ms, was);
    bool jumped = d > JUMP_MS || d < -JUMP_MS;
    /* A clock that only goes on past the floor was not set. */
    if (atomic_load(&c->unsure) && c->o.trust == TPI_CLOCK_AUTO && jumped &&
        sum(c->offset_ms, (int64_t) tpi_mono_ms(c->env)) >= c->o.floor_ms) {
        become_sure(c);
        return true;
    }
    if (!atomic_load(&c->unsure) && tpi_mono_ms(c->env) - c->sure_mono_ms > LATE_MS) {
        atomic_store(&c->stamping, false);
    }
    return false;
}

bool tpi_clock_look(struct tpi_clock *c)
{
    if (!atomic_load_explicit(&c->unsure, memory_order_relaxed)) {
        return false;
    }
    pthread_mutex_lock(&c->lock);
    bool yes = look(c);
    pthread_mutex_unlock(&c->lock);
    return yes;
}

void tpi_clock_valid(struct tpi_clock *c)
{
    pthread_mutex_lock(&c->lock);
    c->said = true;
    if (c->begun && !look(c) && atomic_load(&c->unsure)) {
        become_sure(c);
    }
    pthread_mutex_unlock(&c->lock);
}

/* Whether a receipt of a moment ago has this time by a wall clock of that offset. */
static bool near(const struct tpi_clock *c, int64_t received_ms, int64_t offset_ms)
{
    int64_t ago = minus((int64_t) tpi_mono_ms(c->env), minus(received_ms, offset_ms));
    return ago >= -TPI_CLOCK_AHEAD_MS && ago <= LATE_MS;
}

void tpi_clock_stamp(struct tpi_clock *c, struct tpc_record *r)
{
    if (!atomic_load_explicit(&c->stamping, memory_order_relaxed) || r->kind == TPI_MSG_CLOCK ||
        r->kind == TPC_MSG_ENTITY) {
        return;
    }
    pthread_mutex_lock(&c->lock);
    bool woke = look(c);
    bool before = near(c, r->received_unix_ms, c->before_ms);
    bool now = near(c, r->received_unix_ms, c->offset_ms);
    if (atomic_load(&c->unsure) || (!now && before)) {
        int64_t by = now || !before ? c->offset_ms : c->before_ms;
        r->flags |= TPC_MSG_CLOCK_UNSURE;
        r->boot = c->boot;
        r->mono_ms =
            now || before ? (uint64_t) minus(r->received_unix_ms, by) : tpi_mono_ms(c->env);
        count(&c->stamped);
        if (!atomic_load(&c->unsure)) {
            ask(c);
        }
    }
    pthread_mutex_unlock(&c->lock);
    if (woke && c->wake != NULL) {
        c->wake(c->wake_user);
    }
}

/* ---- this boot's record ---- */

bool tpi_clock_take(struct tpi_clock *c, int64_t *ret_ms)
{
    pthread_mutex_lock(&c->lock);
    bool yes = c->step == TPI_CLOCK_ASKED && !atomic_load(&c->unsure);
    *ret_ms = c->sure_ms;
    pthread_mutex_unlock(&c->lock);
    return yes;
}

void tpi_clock_appended(struct tpi_clock *c, uint64_t sequence)
{
    pthread_mutex_lock(&c->lock);
    c->step = TPI_CLOCK_APPENDED;
    c->sequence = sequence;
    pthread_mutex_unlock(&c->lock);
}

static struct tpi_clock_boot *find(struct tpi_clock *c, const struct tpc_id *boot)
{
    for (uint32_t i = 0; i < c->boot_count; i++) {
        if (same(&c->boots[i].id, boot)) {
            return &c->boots[i];
        }
    }
    return NULL;
}

/* With the lock. */
static void know(struct tpi_clock *c, const struct tpc_id *boot, int64_t offset_ms)
{
    struct tpi_clock_boot *b = find(c, boot);
    if (b == NULL && c->boot_count == TPI_CLOCK_BOOTS) {
        c->boot_count--;
        memmove(c->boots, c->boots + 1, c->boot_count * sizeof(c->boots[0]));
    }
    b = b != NULL ? b : &c->boots[c->boot_count++];
    *b = (struct tpi_clock_boot){ *boot, offset_ms };
    c->dirty = true;
}

bool tpi_clock_published(struct tpi_clock *c, uint64_t flushed)
{
    pthread_mutex_lock(&c->lock);
    bool yes = c->step == TPI_CLOCK_APPENDED && flushed >= c->sequence;
    if (yes) {
        know(c, &c->boot, c->sure_ms);
        c->step = TPI_CLOCK_QUIET;
        atomic_store(&c->held, false);
        look_busy(c);
    }
    pthread_mutex_unlock(&c->lock);
    return yes;
}

int64_t tpi_clock_moved(struct tpi_clock *c, int64_t *ret_from, int64_t *ret_to)
{
    pthread_mutex_lock(&c->lock);
    *ret_from = c->before_ms;
    *ret_to = sum(c->before_ms, (int64_t) tpi_mono_ms(c->env));
    int64_t shift = minus(c->sure_ms, c->before_ms);
    pthread_mutex_unlock(&c->lock);
    return shift;
}

void tpi_clock_know(struct tpi_clock *c, const struct tpc_id *boot, int64_t offset_ms)
{
    pthread_mutex_lock(&c->lock);
    know(c, boot, offset_ms);
    pthread_mutex_unlock(&c->lock);
}

size_t tpi_clock_pack(struct tpi_clock *c, uint8_t *ret)
{
    size_t n = 0;
    pthread_mutex_lock(&c->lock);
    if (c->dirty) {
        ret[n++] = PACK_VERSION;
        for (uint32_t i = 0; i < c->boot_count; i++, n += TPI_CLOCK_BOOT_BYTES) {
            memcpy(ret + n, c->boots[i].id.b, sizeof(c->boots[i].id.b));
            tpi_put_u64(ret + n + 16, (uint64_t) c->boots[i].offset_ms);
        }
        c->dirty = false; /* what comes meanwhile is for the next one */
    }
    pthread_mutex_unlock(&c->lock);
    return n;
}

void tpi_clock_unpacked(struct tpi_clock *c)
{
    pthread_mutex_lock(&c->lock);
    c->dirty = true;
    pthread_mutex_unlock(&c->lock);
}

int tpi_clock_unpack(struct tpi_clock *c, struct tpc_bytes data)
{
    if (data.len == 0 || data.ptr[0] != PACK_VERSION ||
        (data.len - 1) % TPI_CLOCK_BOOT_BYTES != 0 || data.len > TPI_CLOCK_PACK_BYTES) {
        return data.len == 0 ? 0 : TPC_ECORRUPT;
    }
    pthread_mutex_lock(&c->lock);
    for (size_t at = 1; at < data.len; at += TPI_CLOCK_BOOT_BYTES) {
        struct tpc_id id;
        memcpy(id.b, data.ptr + at, sizeof(id.b));
        know(c, &id, (int64_t) tpi_get_u64(data.ptr + at + 16));
    }
    c->dirty = false;
    pthread_mutex_unlock(&c->lock);
    return 0;
}

/* ---- readers ---- */

static bool is_marked(const struct tpc_record *r)
{
    return (r->flags & TPC_MSG_CLOCK_UNSURE) != 0;
}

/* Of this boot, whose clock is valid, and the log does not say so yet. Who holds waits for that, so
 * that it gives the same times after a kill. */
static bool is_on_its_way(struct tpi_clock *c, const struct tpc_record *r)
{
    if (!same(&r->boot, &c->boot) || atomic_load(&c->unsure) || find(c, &c->boot) != NULL) {
        return false;
    }
    ask(c);
    return true;
}

static bool waits(struct tpi_clock *c, const struct tpc_record *r)
{
    bool own = same(&r->boot, &c->boot) && find(c, &c->boot) == NULL;
    uint64_t now = tpi_mono_ms(c->env);
    if (!own || c->o.policy != TPI_CLOCK_HOLD || c->let_go) {
        return false;
    }
    return !atomic_load(&c->unsure) || now < r->mono_ms || now - r->mono_ms < c->o.hold_ms;
}

bool tpi_clock_holds(struct tpi_clock *c, const struct tpc_record *r)
{
    if (!is_marked(r)) {
        return false;
    }
    pthread_mutex_lock(&c->lock);
    bool woke = is_on_its_way(c, r);
    bool yes = waits(c, r);
    if (yes) {
        atomic_store(&c->held, true);
    }
    pthread_mutex_unlock(&c->lock);
    if (woke && c->wake != NULL) {
        c->wake(c->wake_user);
    }
    return yes;
}

void tpi_clock_let_go(struct tpi_clock *c)
{
    pthread_mutex_lock(&c->lock);
    bool was = c->let_go;
    c->let_go = true;
    atomic_store(&c->held, false);
    pthread_mutex_unlock(&c->lock);
    if (!was) {
        tpi_log(c->env, TPC_LOG_WARN, "clock", "the log is full: records go on with their marks");
    }
}

/* Whether a time is of our clock: it was taken at the receipt, or a little before it. */
static bool is_ours(int64_t t, int64_t received_ms)
{
    int64_t ago = minus(received_ms, t);
    return ago >= -TPI_CLOCK_AHEAD_MS && ago <= TPI_CLOCK_OURS_MS;
}

void tpi_clock_retime(struct tpi_clock *c, struct tpc_record *r, struct tpi_retimed *ret)
{
    *ret = (struct tpi_retimed){ .received_ms = r->received_unix_ms };
    if (c == NULL || !is_marked(r)) {
        return;
    }
    pthread_mutex_lock(&c->lock);
    bool woke = is_on_its_way(c, r);
    const struct tpi_clock_boot present = { c->boot, c->sure_ms };
    const struct tpi_clock_boot *b = is_zero(&r->boot) ? NULL : woke ? &present : find(c, &r->boot);
    if (b == NULL) {
        if (c->o.policy == TPI_CLOCK_SEND) {
            r->flags &= (uint16_t) ~TPC_MSG_CLOCK_UNSURE;
        }
        count(&c->marked);
    } else {
        ret->shift_ms = minus(sum((int64_t) r->mono_ms, b->offset_ms), r->received_unix_ms);
        ret->moved =
            (r->flags & TPC_MSG_ESTIMATED_TIME) != 0 || is_ours(r->unix_ms, r->received_unix_ms);
        r->unix_ms = ret->moved ? sum(r->unix_ms, ret->shift_ms) : r->unix_ms;
        r->received_unix_ms = sum(r->received_unix_ms, ret->shift_ms);
        r->flags &= (uint16_t) ~TPC_MSG_CLOCK_UNSURE;
        count(&c->retimed);
    }
    pthread_mutex_unlock(&c->lock);
    if (woke && c->wake != NULL) {
        c->wake(c->wake_user);
    }
}

/* A point's time stands in the record as the distance from the message's: it went along with it. */
int tpi_clock_points(const struct tpi_retimed *t, struct tpc_arena *arena, struct tpc_msg *m)
{
    struct tpc_point *own = NULL;
    for (uint32_t i = 0; t->shift_ms != 0 && i < m->point_count; i++) {
        const struct tpc_point *p = tpc_msg_point(m, i);
        if (p->unix_ms == 0) {
            continue;
        }
        int64_t said = t->moved ? minus(p->unix_ms, t->shift_ms) : p->unix_ms;
        int64_t is = is_ours(said, t->received_ms) ? sum(said, t->shift_ms) : said;
        if (is != p->unix_ms && own == NULL) {
            own = tpc_arena_take(arena, m->point_count * sizeof(*own));
            if (own == NULL) {
                return TPC_ENOMEM;
            }
            for (uint32_t k = 0; k < m->point_count; k++) {
                own[k] = *tpc_msg_point(m, k);
            }
            m->points = own;
            m->point_size = sizeof(*own);
        }
        if (own != NULL) {
            own[i].unix_ms = is;
        }
    }
    return 0;
}
