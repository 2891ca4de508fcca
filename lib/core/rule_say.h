/* What data rules append besides messages: for windows over several devices, and values. */
#ifndef TPI_CORE_RULE_SAY_H
#define TPI_CORE_RULE_SAY_H

#include "core/core.h"

/* ---- rule_input.c ---- */
/* Queues a message for a window over several devices. */
int tpi_input_say(struct tpc_core *core, uint32_t worker, const struct tpi_rule_message *message);
/* One that is in the log comes into its windows. Returns 0, TPC_ECORRUPT, TPC_EVERSION or TPC_ENOMEM. */
int tpi_input_apply(struct tpi_worker *w, const struct tpc_record *record);

/* ---- rule_values.c ---- */
/* Queues values of a device that a rule made: params are its points. */
int tpi_values_say(struct tpc_core *core, uint32_t worker, const struct tpi_rule_message *message);

#endif
