/*
 * What scenes remember beside their pairs: the newest runs of dampened conditions, and that one switched itself
 * off. Calls for one partition come from its owner, under the worker's lock.
 */
#ifndef TPI_RULES_DAMP_H
#define TPI_RULES_DAMP_H

#include "rules/rules_state.h"

/* A run of a dampened condition for a device. Returns what it is worth: 1, 0, or -1 = no memory. */
int tpi_rules_damp(struct tpi_rules *r, uint32_t partition, const struct tpi_scene *s,
                   uint64_t device, bool result);
void tpi_rules_damp_forget(struct tpi_rules *r, uint32_t partition, const struct tpi_scene *s,
                           uint64_t device);

/* Whether a scene is off at this time. */
bool tpi_scene_is_off(const struct tpi_scene *s, int64_t unix_ms);

/* Whether it may fire now. One that switches itself off does so: of several workers one may. */
bool tpi_scene_take_turn(struct tpi_scene *s, uint32_t partition, int64_t unix_ms);

/* State: count of runs, then scene, device, when and runs of each; then of each scene that is off 1, id, revision
 * and until, and 0. Under the owner's lock. */
int tpi_rules_damp_save(struct tpi_rules *r, uint32_t partition, struct tpi_buf *out);

/* Runs into an empty table; those of scenes that are gone or changed are dropped. Returns 0, TPC_ECORRUPT,
 * TPC_ENOMEM or TPC_ETOOBIG. */
int tpi_rules_damp_read(struct tpi_rules *r, struct tpi_reader *in, struct tpi_edges *ret);

/* Whether what follows is right; with apply scenes are switched off, too. Returns 0 or TPC_ECORRUPT. */
int tpi_rules_off_read(struct tpi_rules *r, struct tpi_reader *in, uint32_t partition, bool apply);

/* Runs of devices that are gone. Under the registry's read lock. */
void tpi_rules_damp_expire(struct tpi_rules *r, uint32_t partition);

#endif
