/*
 * A host without a core for testing sinks, as fake_host is for adapters. What is sent ends in `sent`.
 */
#ifndef FAKE_SINK_H
#define FAKE_SINK_H

#include "tk_env.h"

#include <pthread.h>
#include <tpcore/ext/sink.h>

enum { FAKE_SENT_MAX = 1024, FAKE_SINK_METRICS = 32 };

struct fake_sent {
    uint64_t ticket;
    struct tpc_error err; /* code 0 = the other side has it */
};

struct fake_sink {
    struct tpc_host base;
    struct tk_env *env;
    const struct tpc_sink_ops *ops;
    void *self;
    struct tpc_arena *arena; /* the options' */
    /* The service that need() finds. */
    const void *service;
    void *service_self;
    /* The service that it offers. */
    const void *offered;
    void *offered_self;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct fake_sent sent[FAKE_SENT_MAX];
    uint32_t sent_count;
    struct {
        const char *name;
        uint64_t value;
    } metrics[FAKE_SINK_METRICS];
    char last_fail[256];
    uint32_t calls_after_stop;
    bool stopped;
};

/* Makes an instance of the module's first sink; options as JSON. Returns what init said. End it with
 * fake_sink_fini() in any case. */
int fake_sink_init(struct fake_sink *h, struct tk_env *env, const struct tpc_module *module,
                   const char *options_json);
void fake_sink_fini(struct fake_sink *h);
int fake_sink_start(struct fake_sink *h);
void fake_sink_stop(struct fake_sink *h);

/* Opens a target; options as JSON, checked against the target's table. */
int fake_sink_open(struct fake_sink *h, const char *name, const char *options_json, void **ret);

/* Waits until count sends have ended, at most 20 s. */
bool fake_sink_wait(struct fake_sink *h, uint32_t count);

/* Sends and waits for the end. Returns the code, of send() or of the end. */
int fake_sink_whole(struct fake_sink *h, void *target, const struct tpc_batch *batch);

uint64_t fake_sink_metric(struct fake_sink *h, const char *name);

#endif
