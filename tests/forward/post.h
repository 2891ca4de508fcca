/*
 * A registry, entities and a log in memory with the stage forward on top, one turn at a time: the
 * sink is box.h, the clock the test's.
 */
#ifndef FORWARD_POST_H
#define FORWARD_POST_H

#include "box.h"
#include "bus/bus.h"
#include "entity/entity.h"
#include "forward/forward.h"
#include "registry/device.h"
#include "tk_env.h"

enum { POST_PARTITIONS = 16 };

struct post {
    struct tk_env env;
    struct tpc_host host; /* of log and store */
    void *store;
    void *log;
    void *sink;
    bool sink_open;
    struct tpi_registry *registry;
    struct tpi_entities *entities;
    struct tpi_forward *forward;
    struct tpc_error err;
    struct tpc_error last;
    uint64_t ends[POST_PARTITIONS];
    uint32_t letters; /* dead letters that were appended */
    int letter_code;  /* what the log says to one */
    char letter[512]; /* reason, target and raw of the last one */
    uint32_t wakes;
    void *lua;              /* the codec, if it is built */
    bool unflushed;         /* the log says that nothing more survives */
    uint64_t bad_offset;    /* > 0: the log cannot read that record of any partition */
    char notify_tenant[16]; /* of notifications about no device */
};

/* Whether the module lua is built. */
bool post_has_lua(void);
/* Product thermo (n int, temperature double), devices t1 .. t8; log options as JSON or NULL; nothing
 * runs yet. */
struct post *post_new(const char *log_options);
void post_free(struct post *p);
/* What the entities' load says, with stage, registry and entities anew; log and store stay. */
int post_restart(struct post *p);
/* open + start, and halt + stop of the sink + finish. */
void post_start(struct post *p);
void post_stop(struct post *p);

/* Quotes may be written as '. */
int post_put(struct post *p, const char *kind, const char *json);
int post_delete(struct post *p, const char *kind, const char *key);

/* Appends telemetry {n} of a device. */
void post_say(struct post *p, const char *device, int64_t n);
/* Appends an event {n} of a device. */
void post_event(struct post *p, const char *device, int64_t n);
/* n of t1 from .. to. */
void post_count(struct post *p, int64_t from, int64_t to);
/* A notification for a handler, about a device or "". */
void post_notify(struct post *p, const char *handler, const char *device, int64_t n);

/* Turns until there is nothing to do. */
void post_run(struct post *p);
/* Moves the clock and runs. */
void post_wait(struct post *p, uint64_t ms);
struct tpc_forward_info post_info(struct post *p, const char *key);

Suite *send_suite(void);
Suite *target_suite(void);
Suite *window_suite(void);
Suite *keep_suite(void);
Suite *shape_suite(void);

#endif
