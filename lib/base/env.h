/*
 * What a part needs from outside: memory, time, randomness, files, log. A part keeps a pointer to
 * its core's env; the env does not change while anybody uses it. Any thread.
 */
#ifndef TPI_BASE_ENV_H
#define TPI_BASE_ENV_H

#include <stdatomic.h>
#include <stdint.h>
#include <tpcore/alloc.h>
#include <tpcore/bytes.h>
#include <tpcore/platform.h>

/* Last time-ordered id given out: 48 bits unix_ms, 12 bits counter. All zero at first. */
struct tpi_id_state {
    atomic_uint_fast64_t last;
};

struct tpi_env {
    const struct tpc_allocator *alloc;
    const struct tpc_allocator *reserve; /* what empties memory also gets; NULL = alloc */
    const struct tpc_clock *clock;
    const struct tpc_random *random;
    const struct tpc_files *files;
    tpc_log_fn *log; /* NULL = no log */
    void *log_user;
    int log_level;            /* enum tpc_log_level; lines above it are not formatted */
    struct tpi_id_state *ids; /* the owner's; NULL = ids of one millisecond are not in order */
};

/* Default allocator, the system's clock, randomness and files, no log, no id state. */
void tpi_env_default(struct tpi_env *env);

const struct tpc_clock *tpi_clock_system(void);
const struct tpc_random *tpi_random_system(void);
const struct tpc_files *tpi_files_system(void);

/* The allocator for work whose end gives memory back. */
const struct tpc_allocator *tpi_env_reserve(const struct tpi_env *env);

int64_t tpi_unix_ms(const struct tpi_env *env);
uint64_t tpi_mono_ns(const struct tpi_env *env);
uint64_t tpi_mono_ms(const struct tpi_env *env);

/* One line of at most 500 bytes, cut at a character's border. */
void tpi_log(const struct tpi_env *env, int level, const char *subject, const char *fmt, ...)
    TPC_PRINTF(4, 5);

/* Fills n bytes with randomness fit for keys. Returns 0 or TPC_EIO. */
int tpi_random(const struct tpi_env *env, void *p, size_t n);

/* UUIDv7 (RFC 9562 section 5.7). With env->ids each id is greater than every one made before from
 * the same state, also if the clock goes back. Returns 0 or TPC_EIO. */
int tpi_id_make(const struct tpi_env *env, struct tpc_id *ret);

#endif
