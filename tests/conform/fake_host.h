/*
 * A host without a core, for testing modules: it keeps what they say and answers as it is told. A
 * module's functions are called by the test's thread; host calls may come from any thread.
 */
#ifndef FAKE_HOST_H
#define FAKE_HOST_H

#include "tk_env.h"

#include <pthread.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/ext/api.h>

enum {
    FAKE_FRAMES_MAX = 1024,
    FAKE_SESSIONS_MAX = 1024,
    FAKE_TIMERS_MAX = 64,
    FAKE_METRICS_MAX = 32,
    FAKE_COMMANDS_MAX = 256,
    FAKE_DEVICES_MAX = 256,
    FAKE_TEXT = 160
};

/* A frame as it came, copied. */
struct fake_frame {
    uint64_t session, ticket;
    uint16_t kind, flags;
    uint32_t packet_id;
    char product[FAKE_TEXT], device[FAKE_TEXT], topic[FAKE_TEXT], name[FAKE_TEXT];
    char correlation[FAKE_TEXT];
    size_t len;
    char *payload; /* with a NUL behind it */
};

struct fake_session {
    bool open;
    uint32_t flags;
    char product[FAKE_TEXT], device[FAKE_TEXT];
};

struct fake_timer {
    uint64_t id, at_ms;
    tpc_timer_fn *fn;
    void *user;
};

/* A command that the module gave; its end is the test's: fake_command_end(). */
struct fake_command {
    char device[FAKE_TEXT], service[FAKE_TEXT], actor[FAKE_TEXT];
    char params[1024];
    uint32_t timeout_ms, expire_ms;
    struct tpc_id id; /* begins with its number, from 1, unless the module gave one */
    tpc_command_fn *done;
    void *user;
};

/* A device that the module had made. */
struct fake_device {
    char product[FAKE_TEXT], device[FAKE_TEXT], name[FAKE_TEXT];
    char document[1024], product_document[1024];
};

enum fake_settle {
    FAKE_SETTLE_BY_TEST, /* fake_settle() */
    FAKE_SETTLE_INSIDE   /* before receive() has returned, as a fast worker may */
};

struct fake_host {
    struct tpc_host base; /* pass &h->base, h */
    struct tk_env *env;
    const struct tpc_adapter_ops *ops;
    void *self;
    size_t self_bytes;
    struct tpc_arena *arena; /* the options' */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct fake_frame frames[FAKE_FRAMES_MAX];
    uint32_t frame_count;
    struct fake_session sessions[FAKE_SESSIONS_MAX]; /* session id = index + 1 */
    uint32_t session_count;
    struct fake_timer timers[FAKE_TIMERS_MAX];
    uint64_t next_timer;
    uint64_t sent[FAKE_FRAMES_MAX]; /* tickets of send() that ended */
    int sent_codes[FAKE_FRAMES_MAX];
    uint32_t sent_count;
    char whys[FAKE_TEXT]; /* of the last why(): "device stage code xTIMES reason [payload]" */
    uint32_t why_count;
    struct {
        const char *name;
        int64_t value;
    } metrics[FAKE_METRICS_MAX]; /* counted, or set */
    struct fake_command commands[FAKE_COMMANDS_MAX];
    uint32_t command_count;
    struct fake_device devices[FAKE_DEVICES_MAX]; /* one each */
    uint32_t device_count;
    uint32_t later_count; /* how many receive() were answered with "later" */
    char last_fail[FAKE_TEXT];
    uint32_t calls_after_stop;

    const char
        *unknown;     /* session_open() of a device that begins so: TPC_ENOENT until it is made */
    int command_code; /* what command() answers; not 0: it is not kept */
    int make_code;    /* what make_device() answers; not 0: it is not kept */
    int receive_code; /* what receive() answers; 0 = takes the frame */
    enum fake_settle settle;
    const void *offered;
    void *offered_self;
    const char *service_name; /* what need() finds; NULL = nothing */
    const void *service;
    void *service_self;
    const struct tpc_api *api; /* what api() returns: a test's own, or that of a core */
    struct tpc_core *core;
    bool stopped; /* no host call may come any more */
};

/* Makes a host and an instance of ops on it; options as JSON. Returns what init said (TPC_EINVAL if
 * the options are refused). End it with fake_fini() in any case. */
int fake_init(struct fake_host *h, struct tk_env *env, const struct tpc_adapter_ops *ops,
              const char *options_json);
void fake_fini(struct fake_host *h);

int fake_start(struct fake_host *h);
void fake_stop(struct fake_host *h);

/* What was counted, or set last; 0 = nothing yet. */
int64_t fake_metric(struct fake_host *h, const char *name);

/* The first adapter interface of a module. */
const struct tpc_adapter_ops *fake_adapter_of(const struct tpc_module *module);

/* Moves the clock ms on in steps of step_ms and calls the timers that are due. */
void fake_run(struct fake_host *h, uint64_t ms, uint64_t step_ms);

/* Waits until count frames (or sends) have come, at most 10 s. */
bool fake_wait_frames(struct fake_host *h, uint32_t count);
bool fake_wait_sent(struct fake_host *h, uint32_t count);
bool fake_wait_whys(struct fake_host *h, uint32_t count);
bool fake_wait_later(struct fake_host *h, uint32_t count);
bool fake_wait_commands(struct fake_host *h, uint32_t count);
bool fake_wait_devices(struct fake_host *h, uint32_t count);

/* Ends command i as a worker would; reply_json may be NULL. */
void fake_command_end(struct fake_host *h, uint32_t i, uint32_t state, int code,
                      const char *reply_json, const char *reason);

/* Settles the tickets of frames [from, count) with error. */
void fake_settle(struct fake_host *h, uint32_t from, int error);

/* What receive() answers from now on; with 0 the sessions that heard "later" are resumed. */
void fake_answer(struct fake_host *h, int receive_code);

/* Sends to a device over a session, as a worker would. */
int fake_send(struct fake_host *h, uint64_t session, const char *product, const char *device,
              const struct tpc_frame *frame, uint64_t ticket);

#endif
