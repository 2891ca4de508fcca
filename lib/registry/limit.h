/*
 * Failed logins, counted in fixed windows of a minute: of one user name from one address, and of one
 * address. Over the limit, more are refused unseen, so that guessing costs nothing here and is of no
 * use there. A name alone is never locked: else anybody could lock a device out from anywhere.
 *
 * The table has a fixed size: the entry whose window began first makes room. Any thread.
 */
#ifndef TPI_REGISTRY_LIMIT_H
#define TPI_REGISTRY_LIMIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <tpcore/bytes.h>

enum {
    TPI_LIMIT_WINDOW_MS = 60000,
    TPI_LIMIT_PAIR = 10,   /* failures of a name from an address */
    TPI_LIMIT_PEER = 100,  /* failures of an address */
    TPI_LIMIT_SETS = 1024, /* of TPI_LIMIT_WAYS entries */
    TPI_LIMIT_WAYS = 4
};

struct tpi_limit_entry {
    uint64_t key; /* 0 = free */
    uint64_t since_ms;
    uint32_t failures;
};

struct tpi_limit {
    pthread_mutex_t lock;
    uint64_t seed;
    struct tpi_limit_entry *entries; /* made by the first failure; NULL = none so far */
};

struct tpi_env;

int tpi_limit_init(struct tpi_limit *l, const struct tpi_env *env);
void tpi_limit_fini(struct tpi_limit *l, const struct tpi_env *env);

/* Whether one more try is to be looked at. peer may be empty: then only the name counts. */
bool tpi_limit_allows(struct tpi_limit *l, const struct tpi_env *env, struct tpc_str name,
                      struct tpc_str peer);

/* One more failed. Without memory for the table it is not counted. Returns how many entries whose window
 * was not over made room. */
uint32_t tpi_limit_failed(struct tpi_limit *l, const struct tpi_env *env, struct tpc_str name,
                          struct tpc_str peer);

#endif
