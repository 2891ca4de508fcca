/*
 * Inside of the module: the platform's side of ThingsPanel's HTTP contract, for existing connectivity
 * services (contract thingspanel sections 3.2 and 3.3).
 *
 * Threads. A request is looked at on the server's thread and worked off on ours, for what it asks waits for
 * the store. Changes of entities come on the core's workers and become work, too. The client's thread only
 * notes how a call ended. `lock` is over everything that is not said to be the worker's; no call into the
 * host or another module is made with it, but host->count().
 */
#ifndef PANEL_INSIDE_H
#define PANEL_INSIDE_H

#include "allow.h"
#include "rate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <tpcore/arena.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/ext/api.h>
#include <tpcore/ext/http.h>
#include <tpcore/ext/http_server.h>
#include <tpcore/ext/panel.h>

#include "base/map.h"

enum {
    PANEL_BODY_BYTES = 64 << 10, /* of a request */
    PANEL_JOBS_MAX = 2000,       /* requests that wait */
    PANEL_CHANGES_MAX = 20000,   /* changes of entities that wait */
    PANEL_QUESTIONS_MAX = 1000,  /* questions to services that wait or are on their way */
    PANEL_ARENA_BYTES = 64 << 20,
    PANEL_KEY_BYTES = 128,
    PANEL_VOUCHER_BYTES = 4096,
    PANEL_PAGE_MAX = 1000,
    PANEL_ANSWER_BYTES = 4 << 20, /* of a service */
    PANEL_FLIGHT_MAX = 16,        /* calls to services at a time */
    PANEL_FLIGHT_EACH = 4         /* .. to one of them: another one may hang */
};

/* Codes of contract 3.1. */
enum panel_code {
    PANEL_OK = 200,
    PANEL_INTERNAL = 100000,
    PANEL_PARAMETER = 100002,
    PANEL_DATABASE = 101001, /* "not found", too */
    PANEL_THIRD_PARTY = 105001,
    PANEL_DENIED = 201001,
    PANEL_LIMITED = 201003,
    PANEL_NO_SERVICE_CONFIG = 200065,
    PANEL_NO_ADDRESS = 200067,
    PANEL_NOT_RUNNING = 200068,
    PANEL_CALL_FAILED = 200069,
    PANEL_BAD_ANSWER = 200070,
    PANEL_SECRET_UNKNOWN = 200080,
    PANEL_REGISTRATION_OFF = 200081,
    PANEL_DEVICE_THERE = 200082,
    PANEL_PRODUCT_UNKNOWN = 200083,
    PANEL_SUB_FIELDS = 200084,
    PANEL_PARENT_UNKNOWN = 200085,
    PANEL_ADDRESS_TAKEN = 200086
};

enum panel_kind { PANEL_DEVICE, PANEL_PRODUCT, PANEL_SERVICE, PANEL_POINT, PANEL_KINDS };

struct panel;
struct panel_job;

/* Answers a request: fills job->data, or job->code and job->why. The worker. */
typedef void panel_handler_fn(struct panel *p, struct panel_job *job);

/* A piece of work: a request (call != 0), a change of an entity, or a question of another module. */
struct panel_job {
    struct panel_job *next;
    panel_handler_fn *handler;
    uint64_t call;
    size_t bytes; /* of this block */
    /* A change. */
    uint64_t revision;
    uint8_t kind; /* enum panel_kind */
    bool gone;
    /* A question: struct tpc_panel_ops. */
    tpc_panel_done_fn *done;
    void *done_user;
    uint32_t page, page_size;
    struct tpc_str device_type, form_type;
    struct tpc_str
        text; /* body, key, or what is asked about; behind this struct, with the next two */
    struct tpc_str peer;
    /* While it is worked on. */
    struct tpc_arena *arena;
    struct tpc_value in; /* the body */
    uint32_t code;       /* enum panel_code */
    const char *why;     /* static text; NULL = the code's */
    struct tpc_value data;
    struct tpc_bytes plain; /* instead of the envelope: text for Prometheus */
};

/* A service that is known: it was heard, or a device of ours is of it. */
struct panel_service {
    uint64_t beat_ms; /* monotonic; 0 = never heard */
    bool alive;
    char key[PANEL_KEY_BYTES + 1];
};

struct panel_device;
struct panel_call;

struct panel {
    const struct tpc_host *host;
    void *ctx;
    const struct tpc_api *api;
    struct tpc_core *core;
    const struct tpc_http_server_ops *server;
    void *server_self;
    const struct tpc_http_ops *client;
    void *client_self;
    struct tpc_arena *arena; /* of the texts of the options */
    struct tpc_str tenant;
    struct panel_allow allow;
    uint32_t alive_ms, call_timeout_ms, call_tries;
    uint8_t notification; /* enum panel_path */
    uint8_t gateways;     /* enum panel_gateways */
    bool made, runs;

    uint64_t routes; /* at the server; 0 = none */
    struct tpc_sub *changes;
    _Atomic uint64_t timer;
    pthread_t thread;

    /* The worker's. */
    struct panel_rate rate;
    bool reload;             /* reading what is followed failed: again with the next tick */
    struct tpi_map devices;  /* of services: key -> struct panel_device */
    struct tpi_map products; /* key -> its protocol, text */
    struct tpi_map points;   /* access points: key -> their service, text */

    pthread_mutex_t lock;
    pthread_cond_t came;
    bool stopping, tick, lost;
    struct panel_job *jobs, *last_job;
    uint32_t job_count, change_count;
    struct tpi_map services; /* key -> struct panel_service */
    struct panel_call *calls, *last_call;
    struct tpi_map call_keys; /* of those that wait, so that each stands there once */
    struct panel_call *flying[PANEL_FLIGHT_MAX];
    uint32_t call_count, question_count, in_flight;
};

enum panel_gateways { PANEL_GATEWAYS_OFF = 0, PANEL_GATEWAYS_NEW = 1, PANEL_GATEWAYS_REISSUE = 2 };
enum panel_path { PANEL_PATH_AUTO = 0, PANEL_PATH_PLUGIN = 1, PANEL_PATH_EVENT = 2 };

uint64_t panel_mono_ms(const struct panel *p);

/* ---- work.c ---- */
int panel_work_start(struct panel *p);
void panel_work_stop(struct panel *p);
/* Takes job. Returns 0, or TPC_EAGAIN or TPC_ESTATE: it is freed. Any thread. */
int panel_post(struct panel *p, struct panel_job *job);
/* A job with copies of texts; NULL when out of memory. */
struct panel_job *panel_job_make(struct panel *p, panel_handler_fn *handler,
                                 const struct tpc_str texts[3]);
void panel_job_free(struct panel *p, struct panel_job *job);

/* ---- routes.c ---- */
int panel_routes_add(struct panel *p);

/* ---- answer.c: values for answers, in the arena of a job ---- */
struct panel_map {
    struct tpc_arena *arena;
    struct tpc_member *members;
    size_t count, cap;
    bool failed; /* out of memory */
};
void panel_map_begin(struct panel_map *m, struct tpc_arena *arena, size_t cap);
void panel_map_put(struct panel_map *m, const char *key, struct tpc_value value);
struct tpc_value panel_map_end(struct panel_map *m);
struct tpc_value panel_text(struct tpc_str s);
struct tpc_value panel_int(int64_t i);
/* A value as JSON text; `otherwise` if it is NULL. */
struct tpc_value panel_json_text(struct tpc_arena *arena, const struct tpc_value *v,
                                 const char *otherwise);
struct tpc_str panel_copy(struct tpc_arena *arena, struct tpc_str s);
/* {"username"[,"password"]}, as a platform writes a voucher for MQTT (contract 1.1). ptr NULL = out of
 * memory. */
struct tpc_str panel_pair(struct tpc_arena *arena, struct tpc_str name, struct tpc_str password);
void panel_fail(struct panel_job *job, uint32_t code, const char *why);
void panel_reply(struct panel *p, struct panel_job *job);
/* The contract's words for a code. */
const char *panel_message(uint32_t code);

/* ---- entities.c: reading what is configured; the worker ---- */
struct panel_doc {
    struct tpc_str key;
    struct tpc_value doc;
    uint64_t revision;
    int64_t created_unix_ms, modified_unix_ms;
};
/* Copies into the arena. Returns 0, TPC_ENOENT, TPC_ENOMEM or what the store says. */
int panel_get(struct panel *p, struct tpc_arena *arena, const char *kind, struct tpc_str key,
              struct panel_doc *ret);
/* Calls fn for each entity of a kind, or those with that field; the document is parsed into the arena, which
 * the caller may reset meanwhile. Returns 0, what fn returned, or what the store says. */
typedef int panel_each_fn(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                          struct tpc_str json);
int panel_each(struct panel *p, const char *kind, const char *field, struct tpc_str value,
               panel_each_fn *fn, void *user);
int panel_parse(struct tpc_arena *arena, struct tpc_str key, struct tpc_str json,
                const struct tpc_entity_info *info, struct panel_doc *ret);
/* A secret, copied into the arena; empty if there is none; ptr NULL if it cannot be read. */
struct tpc_str panel_secret(struct panel *p, struct tpc_arena *arena, const char *kind,
                            struct tpc_str key, const char *path);
/* A device's voucher: its own, or made of its user name and password. Empty if it has none; ptr NULL if it
 * cannot be read. */
struct tpc_str panel_voucher(struct panel *p, struct tpc_arena *arena, const struct panel_doc *d);
/* Who changes entities for whom asked. */
struct tpc_actor panel_actor(struct panel *p, const struct panel_job *job);
/* n bytes of randomness as 2 * n hexadecimal digits with a NUL. Returns 0 or TPC_EIO. */
int panel_random(struct panel *p, size_t n, char *ret);
/* "1", "2" or "3" by a product's type; where that says nothing (device may be NULL) one behind a gateway is
 * "3". */
const char *panel_device_type(const struct tpc_value *product, const struct tpc_value *device);

/* ---- handlers ---- */
panel_handler_fn panel_heartbeat, panel_config, panel_devices, panel_points, panel_point,
    panel_register, panel_gateway, panel_subs, panel_metrics, panel_diagnostics, panel_health,
    panel_systime, panel_change, panel_load, panel_ask_form, panel_ask_list;

/* ---- services.c ---- */
/* Says who fell silent. The worker. */
void panel_services_check(struct panel *p);
void panel_services_tell(struct panel *p, tpc_tell_fn *fn, void *user);
void panel_services_fini(struct panel *p);
extern const struct tpc_panel_ops panel_ops; /* self is struct panel */

/* ---- follow.c ---- */
int panel_follow_start(struct panel *p);
void panel_follow_stop(struct panel *p);
void panel_follow_fini(struct panel *p);

/* ---- calls.c ---- */
enum panel_say { PANEL_DISCONNECT = 1, PANEL_NOTIFY = 2 };
/* Notes that a service is to be told of a device, or of an access point. */
void panel_say(struct panel *p, enum panel_say what, struct tpc_str service, struct tpc_str key);
/* Sends what is due. The worker. */
void panel_calls_step(struct panel *p);
/* Ends all and waits for what is on its way. */
void panel_calls_stop(struct panel *p);
/* http_address of a service, copied; code as PANEL_OK, PANEL_DATABASE, PANEL_NO_ADDRESS. */
uint32_t panel_address(struct panel *p, struct tpc_arena *arena, struct tpc_str service,
                       struct tpc_str *ret);

#endif
