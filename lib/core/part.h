/* Opened parts: made, started, in the core's list, closed. */
#ifndef TPI_CORE_PART_H
#define TPI_CORE_PART_H

#include "core/core.h"

int tpi_core_add(struct tpc_core *core, const struct tpc_module *module, void *object,
                 bool built_in, struct tpc_error *err);
struct tpi_module *tpi_core_module(struct tpc_core *core, const char *name);

/* Makes an instance: checks options, allocates, calls init. */
int tpi_part_open(struct tpc_core *core, const char *name, struct tpi_module *module, uint32_t kind,
                  const struct tpc_value *options, struct tpc_error *err, struct tpi_part **ret);
void tpi_part_close(struct tpi_part *part);
/* The instance ends, its name and place stay. */
void tpi_part_end(struct tpi_part *part);
struct tpi_part *tpi_part_find(struct tpc_core *core, const char *name);
/* Opens "memory" for the roles that have none. */
int tpi_part_log(struct tpc_core *core, struct tpc_error *err);
int tpi_part_entities(struct tpc_core *core, struct tpc_error *err);
int tpi_part_history(struct tpc_core *core, struct tpc_error *err);
int tpi_part_codec(void *core, struct tpc_str name, const struct tpc_codec_ops **ret_ops,
                   void **ret_self);
/* Whether it has start() and stop(): adapters and sinks. */
static inline bool tpi_part_runs(const struct tpi_part *part)
{
    return part->kind == TPC_KIND_ADAPTER || part->kind == TPC_KIND_SINK;
}
/* Puts adapters and sinks in the order of what they need. */
int tpi_part_order(struct tpc_core *core, struct tpc_error *err, struct tpi_part **ret,
                   uint32_t *ret_count);
/* The first service that a part needs and none of the started ones offers; NULL = it may start. */
const char *tpi_part_lacks(struct tpc_core *core, const struct tpi_part *part);
/* The started part that needs a service which this one offers; NULL = nobody. */
const struct tpi_part *tpi_part_needed(struct tpc_core *core, const struct tpi_part *part,
                                       const char **ret_service);
/* Another thread than a worker goes through the parts: none is freed meanwhile. */
static inline struct tpi_part *tpi_parts_enter(struct tpc_core *core)
{
    atomic_fetch_add(&core->part_readers, 1);
    return atomic_load(&core->parts);
}
static inline void tpi_parts_leave(struct tpc_core *core)
{
    atomic_fetch_sub(&core->part_readers, 1);
}
/* start.c: calls start(). */
int tpi_part_start(struct tpi_part *part);
void tpi_part_stop(struct tpi_part *part);
/* attach.c: a part of a core that runs joins it. On failure it is closed. */
int tpi_part_attach(struct tpi_part *part, struct tpc_error *err);

#endif
