#include "registry/limit.h"

#include <tpcore/error.h>

#include "base/alloc.h"
#include "base/env.h"
#include "base/hash.h"

enum { ENTRIES = TPI_LIMIT_SETS * TPI_LIMIT_WAYS };

int tpi_limit_init(struct tpi_limit *l, const struct tpi_env *env)
{
    l->entries = NULL;
    if (tpi_random(env, &l->seed, sizeof(l->seed)) != 0 ||
        pthread_mutex_init(&l->lock, NULL) != 0) {
        return TPC_EIO;
    }
    return 0;
}

void tpi_limit_fini(struct tpi_limit *l, const struct tpi_env *env)
{
    tpi_free(env->alloc, l->entries, l->entries != NULL ? ENTRIES * sizeof(*l->entries) : 0);
    pthread_mutex_destroy(&l->lock);
}

static uint64_t key_of(const struct tpi_limit *l, struct tpc_str name, struct tpc_str peer)
{
    uint64_t key = tpi_hash(peer.ptr, peer.len, l->seed);
    if (name.ptr != NULL) {
        key = tpi_hash(name.ptr, name.len, key);
    }
    return key != 0 ? key : 1;
}

static bool fresh(const struct tpi_limit_entry *e, uint64_t now)
{
    return now - e->since_ms < TPI_LIMIT_WINDOW_MS;
}

static struct tpi_limit_entry *find(struct tpi_limit *l, uint64_t key, uint64_t now)
{
    struct tpi_limit_entry *set = &l->entries[(key % TPI_LIMIT_SETS) * TPI_LIMIT_WAYS];
    for (int i = 0; i < TPI_LIMIT_WAYS; i++) {
        if (set[i].key == key && fresh(&set[i], now)) {
            return &set[i];
        }
    }
    return NULL;
}

/* Whether another one made room. */
static bool count(struct tpi_limit *l, uint64_t key, uint64_t now)
{
    bool evicted = false;
    struct tpi_limit_entry *e = find(l, key, now);
    if (e == NULL) {
        struct tpi_limit_entry *set = &l->entries[(key % TPI_LIMIT_SETS) * TPI_LIMIT_WAYS];
        e = &set[0];
        for (int i = 0; i < TPI_LIMIT_WAYS; i++) {
            bool free_one = set[i].key == 0 || !fresh(&set[i], now);
            if (free_one || set[i].since_ms < e->since_ms) {
                e = &set[i];
            }
            if (free_one) {
                break;
            }
        }
        evicted = e->key != 0 && fresh(e, now);
        *e = (struct tpi_limit_entry){ .key = key, .since_ms = now };
    }
    e->failures++;
    return evicted;
}

static bool over(struct tpi_limit *l, uint64_t key, uint64_t now, uint32_t limit)
{
    const struct tpi_limit_entry *e = find(l, key, now);
    return e != NULL && e->failures >= limit;
}

static const struct tpc_str nobody = { NULL, 0 };

bool tpi_limit_allows(struct tpi_limit *l, const struct tpi_env *env, struct tpc_str name,
                      struct tpc_str peer)
{
    bool allowed = true;
    name.ptr = name.ptr == NULL ? "" : name.ptr;
    pthread_mutex_lock(&l->lock);
    if (l->entries != NULL) {
        uint64_t now = tpi_mono_ms(env);
        allowed = !over(l, key_of(l, name, peer), now, TPI_LIMIT_PAIR) &&
                  (peer.len == 0 || !over(l, key_of(l, nobody, peer), now, TPI_LIMIT_PEER));
    }
    pthread_mutex_unlock(&l->lock);
    return allowed;
}

uint32_t tpi_limit_failed(struct tpi_limit *l, const struct tpi_env *env, struct tpc_str name,
                          struct tpc_str peer)
{
    uint32_t evicted = 0;
    name.ptr = name.ptr == NULL ? "" : name.ptr;
    pthread_mutex_lock(&l->lock);
    if (l->entries == NULL) {
        l->entries = tpi_alloc_zero(env->alloc, ENTRIES * sizeof(*l->entries));
    }
    if (l->entries != NULL) {
        uint64_t now = tpi_mono_ms(env);
        evicted += count(l, key_of(l, name, peer), now);
        if (peer.len > 0) {
            evicted += count(l, key_of(l, nobody, peer), now);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return evicted;
}
