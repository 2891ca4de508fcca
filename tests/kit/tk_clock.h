/*
 * A clock that stands still until the test moves it. Threads of the code under test may read it.
 */
#ifndef TK_CLOCK_H
#define TK_CLOCK_H

#include <stdatomic.h>
#include <tpcore/platform.h>

struct tk_clock {
    struct tpc_clock base; /* pass &c->base */
    atomic_int_fast64_t unix_ms;
    atomic_uint_fast64_t mono_ns;
    struct tpc_id boot; /* zero = it tells none */
};

/* The monotonic clock starts at 1,000 s. */
void tk_clock_init(struct tk_clock *c, int64_t unix_ms);
/* Both clocks go on. */
void tk_clock_advance(struct tk_clock *c, uint64_t ms);
/* The wall clock jumps, the monotonic one does not. */
void tk_clock_set_unix(struct tk_clock *c, int64_t unix_ms);

#endif
