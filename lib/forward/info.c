/* What is told of targets. */
#include <string.h>

#include "base/error.h"
#include "forward/inside.h"

struct told {
    struct tpc_forward_info info;
    char tenant[129];
    char key[129];
    char sink[129];
    char error[256];
    uint64_t keep_bytes, keep_age_ms, keep_records;
};

static struct tpc_str keep_text(char *out, size_t cap, struct tpc_str text)
{
    size_t len = text.len < cap ? text.len : cap - 1;
    memcpy(out, text.ptr, len);
    out[len] = '\0';
    return (struct tpc_str){ out, len };
}

static bool is_or_any(struct tpc_str want, struct tpc_str have)
{
    return want.len == 0 || tpc_str_equal(want, have);
}

static uint64_t behind(const struct fwd_target *t)
{
    struct tpi_forward *f = t->f;
    uint64_t n = 0;
    for (uint32_t i = 0; i < f->host.partitions; i++) {
        uint64_t end = f->host.end(f->host.user, i);
        uint64_t at = fwd_committed(t, i);
        n += end > at ? end - at : 0;
    }
    return n;
}

static uint32_t flights(const struct fwd_target *t)
{
    uint32_t n = 0;
    for (uint32_t i = 0; t->config != NULL && i < t->config->lane_count; i++) {
        n += t->config->lanes[i].in_flight;
    }
    return n;
}

/* When the oldest came of what it holds to send. What it has not read yet came later. Nobody reads the
 * log for this: who asks for numbers does not wait for a disk. */
static int64_t oldest(const struct fwd_target *t)
{
    int64_t first = 0;
    for (uint32_t i = 0; t->config != NULL && i < t->config->lane_count; i++) {
        int64_t ms = atomic_load_explicit(&t->config->lanes[i].oldest_ms, memory_order_relaxed);
        first = ms != 0 && (first == 0 || ms < first) ? ms : first;
    }
    return first;
}

/* ---- how long it may go on ---- */

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return b > 0 && b < a ? b : a;
}

/* Seconds until a bound bites, if what comes goes on coming and nothing goes. */
static uint64_t buffer_seconds(const struct tpi_forward *f, const struct told *c,
                               const struct tpc_forward_info *i)
{
    const struct fwd_sample *s = &f->sample;
    uint64_t rate = atomic_load_explicit(&s->milli_rate, memory_order_relaxed);
    uint64_t mean = atomic_load_explicit(&s->mean_bytes, memory_order_relaxed);
    uint64_t bytes = lesser(UINT64_MAX, c->keep_bytes);
    uint64_t age = lesser(UINT64_MAX, c->keep_age_ms);
    bytes = lesser(bytes, atomic_load_explicit(&s->log_bytes, memory_order_relaxed));
    age = lesser(age, atomic_load_explicit(&s->log_age_ms, memory_order_relaxed));
    uint64_t records = lesser(UINT64_MAX, c->keep_records);
    records = mean > 0 && bytes < UINT64_MAX ? lesser(records, bytes / mean + 1) : records;
    uint64_t seconds = UINT64_MAX;
    if (rate > 0 && records < UINT64_MAX) {
        uint64_t room = records > i->behind ? records - i->behind : 0;
        seconds = (uint64_t) ((double) room * 1000 / (double) rate);
    }
    if (age < UINT64_MAX) {
        int64_t waited = i->oldest_unix_ms != 0 ? tpi_unix_ms(f->env) - i->oldest_unix_ms : 0;
        uint64_t old = waited > 0 ? (uint64_t) waited : 0;
        uint64_t left = old < age ? (age - old) / 1000 : 0;
        seconds = left < seconds ? left : seconds;
    }
    return seconds;
}

/* Under the lock. */
static void tell(struct fwd_target *t, const struct fwd_config *c, struct told *out)
{
    struct tpc_forward_info *i = &out->info;
    memset(i, 0, sizeof(*i));
    out->keep_bytes = c->keep_bytes;
    out->keep_age_ms = c->keep_age_ms;
    out->keep_records = c->keep_records;
    i->size = sizeof(*i);
    i->state = (uint32_t) atomic_load(&t->state);
    i->tenant = keep_text(out->tenant, sizeof(out->tenant), c->tenant);
    i->kind = tpc_str_from(fwd_kind_names[t->kind]);
    i->key = keep_text(out->key, sizeof(out->key), c->key);
    i->sink = keep_text(out->sink, sizeof(out->sink), c->sink);
    i->sent = TPI_METRIC_GET(t->counts.sent);
    i->retried = TPI_METRIC_GET(t->counts.retried);
    i->refused = TPI_METRIC_GET(t->counts.refused);
    i->dead = TPI_METRIC_GET(t->counts.dead);
    i->gap_records = TPI_METRIC_GET(t->counts.gap_records);
    i->behind = behind(t);
    i->behind_bytes =
        i->behind * atomic_load_explicit(&t->f->sample.mean_bytes, memory_order_relaxed);
    i->newest_records = TPI_METRIC_GET(t->counts.newest_records);
    i->thinned = TPI_METRIC_GET(t->counts.thinned);
    i->held_bytes = TPI_METRIC_GET(t->counts.held_bytes);
    i->in_flight = flights(t);
    i->oldest_unix_ms = i->behind > 0 ? oldest(t) : 0;
    i->error_code = t->last.code;
    i->error_unix_ms = t->last_unix_ms;
    i->error = keep_text(out->error, sizeof(out->error), tpc_str_from(t->last.text));
}

int tpi_forward_info(struct tpi_forward *f, struct tpc_str tenant, struct tpc_str kind,
                     struct tpc_str key, tpc_forward_info_fn *fn, void *user)
{
    struct told out;
    bool any = false;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < TPI_FORWARD_TARGETS; i++) {
        pthread_mutex_lock(&f->lock);
        struct fwd_target *t = i < f->count ? f->targets[i] : NULL;
        const struct fwd_config *c = t == NULL ? NULL : t->pending != NULL ? t->pending : t->config;
        bool told = c != NULL && !t->gone && is_or_any(tenant, c->tenant) &&
                    is_or_any(key, c->key) &&
                    is_or_any(kind, tpc_str_from(fwd_kind_names[t->kind]));
        if (told) {
            tell(t, c, &out);
        }
        pthread_mutex_unlock(&f->lock);
        if (told) {
            any = true;
            out.info.buffer_seconds = buffer_seconds(f, &out, &out.info);
            rc = fn(user, &out.info);
        }
    }
    return rc == 0 && key.len > 0 && !any ? TPC_ENOENT : rc;
}
