/*
 * Inside of the module: one instance, which is one connectivity service at one platform.
 *
 * Two halves that know little of each other. One speaks MQTT: session.c, send.c, status.c, work.c, calls.c.
 * The other speaks HTTP and knows the service's devices; it is reached through struct tp_directory_ops.
 *
 * Threads. The worker works off what came down over MQTT, for it may wait for the log, tells status again
 * and publishes answers. paho's callbacks and the client's thread only note what happened. `lock` is over
 * everything that is not said to be one thread's; no call into the host that may wait, and none into the
 * directory, is made with it.
 */
#ifndef THINGSPANEL_INSIDE_H
#define THINGSPANEL_INSIDE_H

#include "../mqtt/notes.h"
#include "options.h"

#include <pthread.h>
#include <stdbool.h>
#include <tpcore/ext/sink.h>
#include <tpcore/service.h>

#include "base/map.h"

enum {
    TP_KEY_BYTES = 255,        /* of a device: id, number, address */
    TP_IN_FLIGHT = 16,         /* batches of a target at a time */
    TP_DOWN_BYTES = 1 << 20,   /* of messages that wait to be worked on */
    TP_ANSWER_BYTES = 4 << 20, /* of answers that wait for the connection */
    TP_CALLS_MAX = 10000,      /* open commands */
    TP_DONE_MAX = 10000,       /* ended ones that are remembered */
    TP_HEADER_BYTES = 128,     /* of a publish with its topic; one of a status is short besides */
    TP_AWAY = 64               /* answers, and status told again, without acknowledgement */
};

enum tp_known {
    TP_UNKNOWN = 0,
    TP_KNOWN = 1,
    TP_GONE = 2 /* it was of the service: nothing more is said of it */
};

/* A device as the directory has it: copies, each with a NUL. */
struct tp_found {
    char id[TP_KEY_BYTES + 1];      /* the platform's device_id = its key in the core */
    char parent[TP_KEY_BYTES + 1];  /* id of the gateway; "" = none */
    char address[TP_KEY_BYTES + 1]; /* behind it */
};

/*
 * The directory of the service's devices. Any thread, several at once; must not block for long; must not
 * take the lock of struct tp.
 *
 * know   Whether a device of that id is of the service: asked for each message that goes up.
 * find   Of that id, or else of that number.
 * child  The device behind another one.
 * link   MQTT is connected (up) or lost. The client's thread.
 */
struct tp_directory_ops {
    enum tp_known (*know)(void *self, struct tpc_str id);
    bool (*find)(void *self, struct tpc_str id_or_number, struct tp_found *ret);
    bool (*child)(void *self, struct tpc_str parent_id, struct tpc_str address,
                  struct tp_found *ret);
    void (*link)(void *self, bool up);
};

struct tp_call;   /* calls.c: a command that is open or ended */
struct tp_answer; /* calls.c: waits for the connection */
struct tp_status; /* status.c: what was told last of a device */

struct tp {
    const struct tpc_host *host;
    void *ctx;
    struct tpc_arena *arena;
    struct tp_config config;

    /* The service that is served; set by serve() before the start, NULL = none. */
    const struct tpc_service_ops *ops;
    void *ops_user;
    /* Of the service, for messages of no device that the directory knows; before the start. */
    char identifier[TP_KEY_BYTES + 1];
    char prefix[TP_KEY_BYTES + 16];
    /* NULL = there is none: a device's id at the platform is its key, all of the product `identifier`
     * are of the service. Set in init or start. */
    const struct tp_directory_ops *directory;
    void *directory_self;
    struct tp_http *http; /* the other half's */

    struct mqtt_client *client;
    pthread_t worker;
    bool made, worker_runs;

    pthread_mutex_t lock;
    pthread_cond_t came; /* for the worker */
    pthread_cond_t idle; /* for stop(): busy fell to 0 */
    bool stopping, up;
    size_t payload_max; /* the option, or what the broker takes if that is less */
    uint32_t busy;      /* batches whose end is not told */

    struct mqtt_notes down;
    uint64_t refused; /* messages that were not understood; the worker's */

    struct tpi_map calls; /* by topic and payload, open ones and ended ones */
    struct tp_call *open; /* commands whose end is not known */
    uint32_t call_count;
    struct tp_call *done, *last_done; /* the oldest first */
    uint32_t done_count;
    struct tp_answer *answers, *last_answer;
    uint32_t answer_count;
    uint32_t answers_away;
    size_t answer_bytes;

    struct tpi_map status; /* by device */
    struct tp_status *statuses, *last_status;
    struct tp_status *again; /* next one to tell again */
    uint32_t status_away;
};

/* serve.c: the other half, and the services that the module offers. */
int tp_serve_init(struct tp *s);
int tp_serve_start(struct tp *s);
void tp_serve_stop(struct tp *s);
void tp_serve_fini(struct tp *s);

/* session.c */
int tp_session_start(struct tp *s);
void tp_session_stop(struct tp *s);
static inline uint64_t tp_mono_ms(const struct tp *s)
{
    return s->host->clock->mono_ns(s->host->clock->user) / 1000000;
}

/* send.c */
struct tp_target;
int tp_target_make(struct tp *s, const struct tpc_value *cfg, struct tp_target **ret);
void tp_target_free(struct tp_target *t);
int tp_send(struct tp_target *t, const struct tpc_batch *batch, uint64_t ticket);

/* status.c: all under the lock. */
/* Notes what a device is. False: there is no memory for it, it is not told again. */
bool tp_status_note(struct tp *s, struct tpc_str device, bool online);
/* A connection came: all are told again. */
void tp_status_begin(struct tp *s);
/* Tells of one, and leaves the lock on the way. Returns false if there is nothing to do now. */
bool tp_status_step(struct tp *s);
void tp_status_fini(struct tp *s);

/* work.c */
void tp_on_message(void *user, const struct mqtt_incoming *m);
void *tp_worker(void *user);

/* calls.c */
struct tp_down;
/* Carries out what came; the worker's thread. */
void tp_call(struct tp *s, const struct tp_down *d, struct tpc_str topic, struct tpc_bytes payload);
/* It cannot be carried out: answered, if it is of a kind that is. */
void tp_call_refuse(struct tp *s, const struct tp_down *d, const char *code, struct tpc_str text);
/* Publishes answers that wait. Under the lock. Returns false if there is nothing to do now. */
bool tp_answers_step(struct tp *s);
/* Forgets all. No thread runs, no publish is on its way. */
void tp_calls_fini(struct tp *s);

#endif
