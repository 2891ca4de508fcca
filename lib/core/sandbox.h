/*
 * A small house of its own, in which a rule is tried: a clock, a registry in memory with copies of the
 * devices that the trial names, and rules and alerts whose actions are only told. Nothing of the core
 * changes by it. One thread.
 */
#ifndef TPI_CORE_SANDBOX_H
#define TPI_CORE_SANDBOX_H

#include "core/core.h"
#include "rules/follow.h"

enum {
    TPI_SANDBOX_COPIES = 1000, /* devices and products */
    TPI_SANDBOX_BYTES = 64 << 20
};

struct tpi_sandbox {
    struct tpc_core *core;
    struct tpi_env env;
    struct tpc_clock clock;
    struct tpi_id_state ids;
    struct tpc_host host; /* of the store */
    int64_t unix_ms;      /* its time */
    int64_t begin_ms;
    void *store;
    struct tpi_registry *registry;
    struct tpi_entities *entities;
    struct tpi_rules *rules;
    struct tpi_alerts *alerts;
    struct tpi_trace *trace;
    struct tpc_str tenant;
    uint64_t number;                  /* of messages */
    struct tpi_sandbox_input *inputs; /* of windows over several devices, the last one first */
    uint32_t copies;
    struct tpi_sandbox_scene *scenes; /* that are copied, or are not to be */
    struct tpi_sandbox_fan *fans;     /* actions about many devices, to be done after the batch */
    bool empty;                       /* devices come without their latest values */
    struct tpc_arena *arena;          /* of the whole trial */
    struct tpc_arena *room;           /* of one step */
};

/* What a message gives to the owner of a window; its bytes follow. */
struct tpi_sandbox_input {
    struct tpi_sandbox_input *next;
    int64_t unix_ms;
    size_t len;
};

/* *s is zero but for core, tenant, unix_ms and empty. fini in both cases. Returns 0 or TPC_ENOMEM. */
int tpi_sandbox_init(struct tpi_sandbox *s, struct tpc_error *err);
void tpi_sandbox_fini(struct tpi_sandbox *s);

/* A device with its product and, unless empty, its latest values and presence; it may be there already, or
 * nowhere. Returns 0, TPC_ETOOBIG (TPI_SANDBOX_COPIES) or another error. */
int tpi_sandbox_device(struct tpi_sandbox *s, struct tpc_str key, struct tpc_error *err);

/* Scenes run each other, in rings, too. */
struct tpi_sandbox_scene {
    struct tpi_sandbox_scene *next;
    struct tpc_str key;
};

/* Takes down that a scene needs no copy. The key lives as long as the arena. *ret_new: it was not taken down
 * before. Returns 0 or TPC_ENOMEM. */
int tpi_sandbox_scene(struct tpi_sandbox *s, struct tpc_str key, bool *ret_new);

/* Devices and products whose keys stand in the texts of a document. */
int tpi_sandbox_named(struct tpi_sandbox *s, const struct tpc_value *doc, struct tpc_error *err);

/* The rules' host. */
int tpi_sandbox_fan(void *user, uint32_t worker, struct tpi_fan *fan);
void tpi_sandbox_fans_drop(struct tpi_sandbox *s);

/* Actions about many devices are done for those that the core's store finds. No batch is open. Returns whether
 * there were any. */
bool tpi_sandbox_fans(struct tpi_sandbox *s);

/* A message comes now, and is told. Returns 0 or TPC_ENOMEM. */
int tpi_sandbox_message(struct tpi_sandbox *s, const struct tpc_rule_test_message *m,
                        struct tpc_str alert);

/* When something is due, INT64_MAX = never; and it is done. Returns whether something was. */
int64_t tpi_sandbox_next_ms(struct tpi_sandbox *s);
bool tpi_sandbox_turn(struct tpi_sandbox *s);

#endif
