/* The wall clock of a core: its option, this boot's record, its place in the store; see clock.c and
 * bus/clock.h. */
#ifndef TPI_CORE_CLOCK_H
#define TPI_CORE_CLOCK_H

#include "core/core.h"

void tpi_core_clock_init(struct tpc_core *core);
/* The option clock_policy. Returns 0, TPC_EINVAL or TPC_ENOMEM. */
int tpi_core_clock_take(struct tpc_core *core, const struct tpc_value *v, struct tpc_arena *arena,
                        struct tpc_error *err);
/* At start, before the replay. */
int tpi_core_clock_begin(struct tpc_core *core, struct tpc_error *err);
/* A worker: appends this boot's record when it is wanted, tells all who wait when it is in the log,
 * and moves the times that its devices have. Returns whether it did something. */
bool tpi_core_clock_turn(struct tpi_worker *w);
uint64_t tpi_core_clock_next_ms(struct tpc_core *core);
/* Until a reader that waits looks again; UINT64_MAX = none waits. */
uint64_t tpi_core_clock_held_ms(struct tpc_core *core);
/* The pump, after the log was synced. */
int tpi_core_clock_store(struct tpc_core *core, struct tpc_error *err);

#endif
