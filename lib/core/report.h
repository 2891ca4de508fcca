/* Report strategies in the core; see report.c. */
#ifndef TPI_CORE_REPORT_H
#define TPI_CORE_REPORT_H

#include "core/core.h"

/* The option `report` of the core. Returns 0, TPC_EINVAL or TPC_ENOMEM. */
int tpi_report_take(struct tpc_core *core, const struct tpc_value *v, struct tpc_arena *arena,
                    struct tpc_error *err);

/* Takes the common option `report` out of those of an instance. Returns as above. */
int tpi_report_take_option(struct tpi_part *p, struct tpc_value *options, struct tpc_error *err);

/* Of all instances, at the end of the core. */
void tpi_report_free_kept(struct tpc_core *core);

/* Sends what a period wants sent. Returns whether it did something. */
bool tpi_report_turn(struct tpi_worker *w);

#endif
