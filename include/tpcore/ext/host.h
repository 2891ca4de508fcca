/*
 * What the core gives a module: one table of functions, passed to init() with a context that every
 * call takes first. A module links nothing of the core; in a test a fake host stands in.
 */
#ifndef TPCORE_EXT_HOST_H
#define TPCORE_EXT_HOST_H

#include <tpcore/auth.h>
#include <tpcore/command.h>
#include <tpcore/error.h>
#include <tpcore/ext/iface.h>
#include <tpcore/msg.h>
#include <tpcore/platform.h>

TPC_BEGIN

struct tpc_why; /* tpcore/why.h */
struct tpc_api; /* tpcore/ext/api.h */

enum tpc_frame_flags {
    /* The protocol marked it (MQTT DUP): a packet_id and payload that the device had within the last
     * ten minutes are dropped as a duplicate. Without the flag only a message id inside the payload
     * (the codec's `correlation`), with the same payload, tells a duplicate. */
    TPC_FRAME_REDELIVERED = 1,
    TPC_FRAME_WRAPPED = 2,  /* payload is ThingsPanel's {"device_id","values"} */
    TPC_FRAME_RETAINED = 4, /* an old value that the broker kept: no rule fires for it */
    TPC_FRAME_GATEWAY = 8,  /* down, to a gateway: for itself, for one behind it, or its answer */
    TPC_FRAME_BEHIND = 16   /* down, to a gateway: for one behind it */
};

/* Bytes from or to a device, with what the transport knows about them. */
struct tpc_frame {
    uint32_t size;
    uint16_t kind;          /* enum tpc_kind; TPC_MSG_UNKNOWN = the codec tells */
    uint16_t flags;         /* enum tpc_frame_flags */
    uint32_t packet_id;     /* the protocol's, for the duplicate check; 0 = none */
    uint32_t code;          /* of a reply whose transport tells it; else 0 */
    int64_t unix_ms;        /* when the device says it happened; 0 = not said */
    struct tpc_str product; /* on a link session: key, or empty if the transport does not know */
    struct tpc_str device;  /* on a link session: key; empty with TPC_FRAME_WRAPPED = look inside */
    struct tpc_str topic;   /* the transport's address, for scripts and dead letters; down: what a
                             * ThingsPanel service hears its devices' topics under, else empty */
    struct tpc_str name;    /* command or event, where the transport knows it */
    struct tpc_str correlation; /* the protocol's message id, where it has one */
    struct tpc_bytes payload;
};

enum tpc_session_flags {
    TPC_SESSION_LINK = 1,    /* carries many devices: each frame names its own */
    TPC_SESSION_PRESENCE = 2 /* opening and closing mean online and offline */
};

struct tpc_session_options {
    uint32_t size;
    uint32_t flags;         /* enum tpc_session_flags */
    struct tpc_str tenant;  /* empty = "main" */
    struct tpc_str product; /* empty = whatever the device is of */
    struct tpc_str device;  /* key; empty on a link */
    struct tpc_str peer;    /* address, for people */
};

/* A command that comes from a platform above. */
struct tpc_host_command {
    uint32_t size;
    uint32_t reserved;
    struct tpc_str tenant;      /* empty = "main" */
    struct tpc_str device;      /* key */
    struct tpc_str service;     /* of the model, or "set", "get", "control" */
    struct tpc_str params_json; /* as tpc_command_options' */
    uint32_t timeout_ms;        /* 0 = the default of tpc_command_send(), both */
    uint32_t expire_ms;
    struct tpc_id id;     /* zero = a new one; a known one is TPC_EEXIST */
    struct tpc_str actor; /* for the audit: "thingsboard"; empty = the instance's name */
};

/* A device that shall be there. */
struct tpc_host_device {
    uint32_t size;
    uint32_t flags;                  /* 0 */
    struct tpc_str tenant;           /* empty = "main"; it must be there */
    struct tpc_str product;          /* key */
    struct tpc_str device;           /* key */
    struct tpc_str name;             /* for people; may be empty */
    struct tpc_str document;         /* JSON object of further members; may be empty */
    struct tpc_str product_document; /* of the product if it is not there, without key and tenant; a
                                      * model may be missing; empty = TPC_ENOENT then */
};

typedef void tpc_watch_fn(void *user, int fd, uint32_t events); /* EPOLLIN, EPOLLOUT ... */
typedef void tpc_timer_fn(void *user);

/*
 * The services. Thread: any-thread unless said otherwise; none of them blocks but enroll.
 *
 * session_open   Resolves the device once. 0; TPC_ENOENT unknown device; TPC_EDENIED other product;
 *                TPC_ENOMEM too many sessions; TPC_ESTATE before the start.
 * session_close  Ends it; frames received before are still worked on.
 * receive        Copies the frame into the owner's ring. 0; TPC_EAGAIN ring or log full, or memory
 *                short: keep the frame, stop reading, wait for resume(session); TPC_ETOOBIG over
 *                the frame limit: count it and acknowledge; TPC_ESTATE stopping.
 *                ticket (not 0): settled() is told once the frame's message is in the log, or why
 *                not.
 * sent           Ends a send() that returned 0: err NULL = out (or acknowledged by the peer).
 * fail           Fills tpc_error_last() of this thread; returns code.
 * log            One line at enum tpc_log_level with the instance's name as subject.
 * watch          Calls fn on a worker when fd is ready (events: EPOLL*); events 0 ends it. Modules
 *                without threads live on this. TPC_ESTATE after stop(). control or worker thread.
 * timer_set      Calls fn once on a worker after delay_ms; *ret_timer for timer_clear. TPC_ESTATE
 *                after stop(). control or worker thread.
 * offer, need    Publish or find a service ("mqtt.link") by name; both are declared in the module's
 *                descriptor. control thread, in init (offer) and start (need).
 * name           The name the instance was opened under.
 * count          Adds n to a metric of this instance: tpc_<module>_<metric>_total{instance=..}.
 *                The text `metric` is static.
 * why            As tpc_why_note(): of a device, what the core does not see itself.
 * enroll         As tpc_auth_register(): a thread of the module's own, for it waits for the disk.
 * command        As tpc_command_send(), on a thread of the module's own, for it waits for the log: 0
 *                once the command is durable. done (may be NULL) is called once with the closed
 *                record, on a worker, unless the instance stops before. TPC_ENOENT device or
 *                service, TPC_EMODEL the model says no.
 * make_device    Makes a device, and its product, if they are not there; on a thread of the module's
 *                own, for it waits for the disk. 0 it is there; TPC_EDENIED it is of another
 *                product, and stays; TPC_ENOENT tenant or product; TPC_ETOOBIG the instance has made
 *                made_devices_max (an option of the core); as tpc_entity_put().
 * api            The library's public functions, and the core for them. A module that keeps a
 *                subscription or a device ends it in stop().
 * gauge          Sets a metric of this instance: tpc_<module>_<metric>{instance=..}. The text `metric`
 *                is static, and not one that is counted.
 */
struct tpc_host {
    struct tpc_iface iface; /* major 1 */
    const struct tpc_allocator *allocator;
    const struct tpc_clock *clock;
    const struct tpc_random *random;
    const struct tpc_files *files;
    int (*session_open)(void *ctx, const struct tpc_session_options *o, uint64_t *ret_session);
    void (*session_close)(void *ctx, uint64_t session);
    int (*receive)(void *ctx, uint64_t session, const struct tpc_frame *frame, uint64_t ticket);
    void (*sent)(void *ctx, uint64_t ticket, const struct tpc_error *err);
    int (*fail)(void *ctx, int code, const char *fmt, ...) TPC_PRINTF(3, 4);
    void (*log)(void *ctx, int level, const char *fmt, ...) TPC_PRINTF(3, 4);
    int (*watch)(void *ctx, int fd, uint32_t events, tpc_watch_fn *fn, void *user);
    int (*timer_set)(void *ctx, uint64_t delay_ms, tpc_timer_fn *fn, void *user,
                     uint64_t *ret_timer);
    void (*timer_clear)(void *ctx, uint64_t timer);
    int (*offer)(void *ctx, const char *service, const void *ops, void *self);
    int (*need)(void *ctx, const char *service, const void **ret_ops, void **ret_self);
    const char *(*name)(void *ctx);
    void (*count)(void *ctx, const char *metric, uint64_t n);
    int (*enroll)(void *ctx, const struct tpc_register_request *request,
                  struct tpc_registration *ret);
    int (*why)(void *ctx, const struct tpc_why *why);
    void (*gauge)(void *ctx, const char *metric, int64_t value);
    int (*command)(void *ctx, const struct tpc_host_command *c, tpc_command_fn *done, void *user,
                   struct tpc_id *ret);
    int (*make_device)(void *ctx, const struct tpc_host_device *d);
    const struct tpc_api *(*api)(void *ctx, struct tpc_core **ret_core);
};

TPC_END

#endif
