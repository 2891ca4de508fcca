/*
 * The half of the module that speaks HTTP: calls to the platform, the directory of the service's devices,
 * the platform's callbacks, and whose a connection is.
 *
 * Threads. One thread of the half's own works off replies, due calls and devices to make: it alone
 * changes the directory and waits for the core's disk; all else is noted for it. A second one runs
 * discover(). `lock` is over everything that is not said to be one thread's; no call into the host, the
 * program or another module is made with it. The thread itself may read what it alone writes without.
 */
#ifndef THINGSPANEL_PLATFORM_H
#define THINGSPANEL_PLATFORM_H

#include "devices.h"
#include "forms.h"
#include "inside.h"
#include "reply.h"

#include <pthread.h>
#include <tpcore/ext/access.h>
#include <tpcore/ext/http.h>
#include <tpcore/ext/http_server.h>

enum {
    TP_REPLY_BYTES = 2 << 20, /* of an answer of the platform; a larger one is refused */
    TP_PAGE = 100,            /* devices of a page; fewer if an answer is too large */
    TP_ASKS_LIMIT = 10000,    /* vouchers and ids that are being asked for, or were just now */
    TP_ASKS_FEW = 256,        /* more are looked through at most each TP_ASKS_SCAN_MS */
    TP_ASKS_SCAN_MS = 5,
    TP_ASKS_AWAY = 8,        /* .. on their way at once */
    TP_LOGINS_LIMIT = 10000, /* connections that wait */
    TP_LOGIN_BYTES = 4096,   /* of a login's answer, and of its refusal */
    TP_ACCESS_LIMIT = 10000, /* access points */
    TP_NOTES_LIMIT = 10000,  /* what callbacks left for the thread */
    TP_DISCOVER_LIMIT = 64,  /* calls of discover() that wait */
    TP_UNKNOWN_TRIES = 3,    /* before a voucher is left alone */
    TP_MAKE_TRIES = 20,      /* before a device is left out of the core until it is told anew */
    TP_PAUSE_MIN_MS = 1000,  /* before a call that failed is made again; doubles */
    TP_PAUSE_MAX_MS = 60000,
    TP_SAVE_MS = 1000,      /* after a change, so that many make one file */
    TP_SAVE_REST = 20,      /* .. and so many times as long as the last one took */
    TP_WATCHERS_LIMIT = 16, /* adapters with connections */
    TP_ALLOW_LIMIT = 64
};

enum tp_request_kind {
    TP_REQUEST_HEARTBEAT,
    TP_REQUEST_CONFIG,
    TP_REQUEST_DEVICES,
    TP_REQUEST_POINTS,
    TP_REQUEST_POINT,
    TP_REQUESTS
};

/* A call on its way, or answered. */
struct tp_request {
    struct tp_request *next; /* of those answered */
    struct tp_request *next_away, *prev_away;
    struct tp_http *h;
    enum tp_request_kind kind;
    struct tp_ask *ask; /* of CONFIG */
    uint64_t id;        /* the client's */
    bool called_off;
    int failed;
    uint32_t status;
    struct tpi_buf body;
    size_t key_len;
    char key[]; /* of POINT: the id */
};

enum tp_login_end { TP_LOGIN_IN, TP_LOGIN_REFUSED, TP_LOGIN_LATER };

/* A connection that waits to hear whose it is. */
struct tp_login {
    struct tp_login *next; /* of its ask */
    struct tp_ask *ask;
    uint64_t id;
    uint64_t due_ms;
    tpc_access_done_fn *done;
    void *user;
    uint32_t flags;
    size_t answer_len, refusal_len;
    uint8_t bytes[]; /* answer, refusal */
};

/* A question for a device by voucher or id: one at a time, and not too often. */
struct tp_ask {
    struct tp_ask *next; /* of all */
    bool by_id;
    bool want;         /* to be called at due_ms */
    bool away;         /* .. is on its way */
    bool again;        /* something changed while it was */
    uint32_t failures; /* without an answer, one after the other */
    uint32_t unknown;  /* said to be none */
    uint64_t due_ms;
    uint64_t last_ms;    /* of the last call; 0 = none */
    uint64_t blocked_ms; /* not known until then */
    struct tp_login *logins;
    uint64_t login_due_ms; /* none of them has waited too long before */
    size_t key_len;
    char key[]; /* voucher or id, behind 'v' or 'i' */
};

/* An account at a third party, of the thread. */
struct tp_point {
    struct tp_point *next;
    struct tpc_str id, name, voucher;
    uint32_t seen;
    size_t bytes;
    char text[];
};

enum tp_note_kind { TP_NOTE_DEVICE, TP_NOTE_POINT, TP_NOTE_ALL, TP_NOTE_LINK };

struct tp_http_note {
    struct tp_http_note *next;
    enum tp_note_kind kind;
    size_t len;
    char text[];
};

/* A call of discover(), which may wait. */
struct tp_discover {
    struct tp_discover *next;
    uint64_t call; /* of the server */
    uint32_t page, page_size;
    size_t len;
    char voucher[];
};

enum tp_list_state { TP_LIST_NONE, TP_LIST_DUE, TP_LIST_AWAY };

/* Reading a list of the platform's from its beginning. */
struct tp_list {
    enum tp_list_state state;
    bool again; /* something may have changed since it was begun */
    uint64_t due_ms;
    uint64_t done_ms; /* when it was read to its end; 0 = never */
    uint32_t failures;
    uint32_t seen; /* number of this reading */
    char type;     /* '1', '2': type of device that is asked for */
    uint32_t page, page_size;
};

/* Somebody with connections. */
struct tp_watcher {
    tpc_access_drop_fn *fn;
    void *user;
};

struct tp_range {
    uint8_t address[16]; /* IPv4 in the form of IPv6 */
    uint32_t bits;
};

struct tp_http {
    const struct tpc_host *host;
    void *ctx;
    const struct tp_config *config;
    const struct tpc_http_ops *client;
    void *client_self;
    const struct tpc_http_server_ops *server;
    void *server_self;
    uint64_t routes;
    bool routed;
    struct tpc_access_ops access; /* as the program has it */
    struct tp_range allow[TP_ALLOW_LIMIT];
    uint32_t allow_count;

    /* Set by serve(). */
    const struct tpc_service_ops *ops; /* NULL = none */
    void *ops_user;
    char identifier[TP_KEY_BYTES + 1]; /* at the platform; "" = there is nothing to do */
    char product[TP_KEY_BYTES + 1];    /* of the devices */
    struct tp_forms forms;

    pthread_t thread, finder;
    bool thread_runs, finder_runs;
    pthread_mutex_t lock;
    pthread_cond_t came;  /* for the thread */
    pthread_cond_t found; /* for the finder */
    pthread_cond_t quiet; /* calling, dropping or away changed */
    bool started, stopping, poked;

    struct tp_devices devices;
    struct tpi_map gone;                /* ids that were of the service */
    struct tp_device *work, *last_work; /* the thread's */
    uint64_t work_ms;                   /* those that failed are not tried before */
    struct tpi_map asks;
    struct tp_ask *all_asks, *last_ask;
    uint32_t ask_count, asks_away;
    uint64_t scan_ms; /* when they were looked through; the thread's */
    struct tpi_map64 logins;
    uint64_t next_login, calling; /* the one whose done() runs; 0 = none */
    struct tp_watcher watchers[TP_WATCHERS_LIMIT];
    uint32_t watcher_count;
    uint32_t dropping; /* calls of them that run */

    struct tp_request *away, *answered, *last_answered;
    uint32_t away_count;
    struct tp_http_note *notes, *last_note;
    uint32_t note_count;
    struct tp_discover *searches, *last_search;
    uint32_t search_count;

    /* The thread's. */
    uint64_t beat_ms; /* next heartbeat */
    bool beat_away;
    bool alive, said; /* the platform answers; whether that was told */
    int said_code;
    int wrong_code[TP_REQUESTS]; /* that was said of a call; 0 = none */
    uint32_t mark;               /* of the last answer with several devices */
    struct tp_list list, points_list;
    struct tp_point *points;
    uint32_t point_count;
    bool dirty;
    uint64_t save_ms;
    uint64_t save_took_ms;
    struct tpc_arena *arena; /* of one reply */
};

/* ---- platform.c: life ---- */

int tp_http_create(const struct tpc_host *host, void *ctx, const struct tp_config *config,
                   struct tp_http **ret);
struct tp_http *tp_http_destroy(struct tp_http *h);
/* Before the start: as struct tpc_service_platform_ops has it. */
int tp_http_serve(struct tp_http *h, const struct tpc_service_ops *ops, void *user,
                  struct tpc_error *err);
/* Codes that the host has been told of. Without a service there is nothing to do. */
int tp_http_start(struct tp_http *h);
void tp_http_stop(struct tp_http *h);
/* What start() does before there are threads, and stop() after them: for tests. */
int tp_http_begin(struct tp_http *h);
void tp_http_end(struct tp_http *h);
/* Does what is due; returns the ms until there is more. The thread's. */
uint64_t tp_http_step(struct tp_http *h);
/* Whether it was started and has something to do. */
bool tp_http_runs(const struct tp_http *h);
/* Of the service device.access, self = struct tp_http. */
const struct tpc_access_ops *tp_http_access(const struct tp_http *h);
/* As struct tp_directory_ops has it, self = struct tp_http. */
extern const struct tp_directory_ops tp_http_directory;
uint64_t tp_http_now(const struct tp_http *h);
/* Wakes the thread. Under the lock. */
void tp_http_wake(struct tp_http *h);
/* A pause after `failures` ones in a row, with jitter. */
uint64_t tp_http_pause(struct tp_http *h, uint32_t failures, uint64_t least_ms);
/* Leaves something for the thread. 0, TPC_EAGAIN or TPC_ENOMEM. Any thread. */
int tp_http_note(struct tp_http *h, enum tp_note_kind kind, struct tpc_str text);
void tp_http_changed(struct tp_http *h);

/* ---- request.c ---- */

/* Sends body (JSON) to a call of the platform. 0, or why it was not sent. The thread's. */
int tp_request_send(struct tp_http *h, enum tp_request_kind kind, struct tp_ask *ask,
                    struct tpc_str key, const struct tpi_buf *body);
/* Works off what was answered. The thread's. */
void tp_requests_read(struct tp_http *h);
/* Ends all; returns when none is on its way. */
void tp_requests_end(struct tp_http *h);
/* What the platform said last: one line when that changes. Whether it lives is what the heartbeat says. The
 * thread's. */
void tp_platform_said(struct tp_http *h, enum tp_request_kind kind, const struct tp_reply *r);

/* ---- asks.c: device/config ---- */

/* Finds or makes one. NULL: TPC_EAGAIN or TPC_ENOMEM. Under the lock. */
struct tp_ask *tp_ask_get(struct tp_http *h, bool by_id, struct tpc_str text);
/* Asks now, or as soon as it may. Under the lock. */
void tp_ask_want(struct tp_http *h, struct tp_ask *a);
/* Calls that are due, logins that waited too long. Returns the ms until there is more. The thread's. */
uint64_t tp_asks_step(struct tp_http *h, uint64_t now);
void tp_ask_reply(struct tp_http *h, struct tp_ask *a, const struct tp_reply *r);
/* Whether who waits for it can be let in now. The thread's. */
void tp_ask_resolve(struct tp_http *h, struct tp_ask *a);
/* The platform is back: what failed is not waited for any longer. The thread's. */
void tp_asks_hurry(struct tp_http *h);
void tp_asks_fini(struct tp_http *h);
/* A known device may be let in again, whether the platform could be asked for it or not. The thread's. */
void tp_check_over(struct tp_http *h, struct tpc_str id);

/* ---- lists.c: devices and access points ---- */

/* They are to be read; one that is being read, once more behind that. The thread's. */
void tp_lists_due(struct tp_http *h);
void tp_lists_hurry(struct tp_http *h);
uint64_t tp_lists_step(struct tp_http *h, uint64_t now);
void tp_list_reply(struct tp_http *h, const struct tp_reply *r);
void tp_points_reply(struct tp_http *h, const struct tp_reply *r);
void tp_point_reply(struct tp_http *h, struct tpc_str id, const struct tp_reply *r);
int tp_point_ask(struct tp_http *h, struct tpc_str id);
int tp_points_save(struct tp_http *h, struct tpi_buf *b);
void tp_points_load(struct tp_http *h, const struct tpc_value *list);
void tp_points_fini(struct tp_http *h);

/* ---- apply.c: into the directory, the core and the program ---- */

/* Takes over a device and those behind it; voucher (may be empty): what it was asked by. */
int tp_apply_device(struct tp_http *h, const struct tpc_value *v, struct tpc_str voucher,
                    uint32_t seen, struct tpc_str point);
/* It is not of the service any more: closed, forgotten, told. */
void tp_apply_gone(struct tp_http *h, struct tp_device *device);
void tp_apply_work(struct tp_http *h, struct tp_device *device);
/* Whether it and all behind it are looked after. The thread's. */
bool tp_apply_ready(const struct tp_device *device);
/* Makes up to some devices. Returns the ms until there is more. The thread's. */
uint64_t tp_apply_step(struct tp_http *h, uint64_t now);
/* Closes the connections of a device. Any thread. */
void tp_apply_drop(struct tp_http *h, struct tpc_str id);

/* ---- access.c: service device.access ---- */

void tp_access_init(struct tp_http *h);
/* As the program has it. */
void tp_access_serve(struct tp_http *h);
/* Ends a login that was taken out of its ask. The thread's. */
void tp_login_end(struct tp_http *h, struct tp_login *l, enum tp_login_end how, struct tpc_str id);

/* ---- keep.c: the state file ---- */

int tp_keep_load(struct tp_http *h);
void tp_keep_save(struct tp_http *h);

/* ---- callbacks.c ---- */

int tp_callbacks_start(struct tp_http *h);
void tp_callbacks_stop(struct tp_http *h);
/* The routes, for tests without a server. */
extern const struct tpc_list tp_callback_routes;
void *tp_finder(void *user);
/* Does one search. Returns false if none waits. */
bool tp_finder_step(struct tp_http *h);
int tp_allow_read(struct tp_http *h);
bool tp_allowed(const struct tp_http *h, struct tpc_str peer);

#endif
