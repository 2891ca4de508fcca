/* Commands in the store: command_rows.c and command_sweep.c. */
#ifndef TPI_CORE_COMMAND_ROWS_H
#define TPI_CORE_COMMAND_ROWS_H

#include "core/core.h"

enum { TPI_COMMAND_OF_BYTES = 49 };
/* Key of kind "command_of"; id NULL: its first half, which all of the device's begin with. */
void tpi_command_of_key(uint64_t device_id, const struct tpc_id *id,
                        char key[TPI_COMMAND_OF_BYTES]);
/* Returns 0 or TPC_ECORRUPT. */
int tpi_command_of_id(struct tpc_str key, struct tpc_id *ret);
/* A record of the log; fills in the keys of an ended one's device. Returns 0, TPC_EAGAIN (store first)
 * or TPC_ENOMEM: it comes again. */
int tpi_command_rows_take(struct tpc_core *core, struct tpc_msg *m);
/* all: also what could wait for a moment. */
int tpi_command_rows_store(struct tpc_core *core, bool all, struct tpc_error *err);
/* Deletes a device's rows but for the newest, some of them. Returns how many, or an error. */
int tpi_command_rows_trim(struct tpc_core *core, uint64_t device_id, uint32_t keep);
uint64_t tpi_command_rows_due_ms(struct tpc_core *core);
void tpi_command_rows_drop(struct tpc_core *core);

/* ---- command_sweep.c: those of devices that are gone ---- */
void tpi_command_sweep_open(struct tpc_core *core);
void tpi_command_sweep(struct tpc_core *core);
uint64_t tpi_command_sweep_due_ms(struct tpc_core *core);

#endif
