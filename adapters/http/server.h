/*
 * The server: one thread that runs a libmicrohttpd daemon for each listener by its epoll descriptor, and
 * keeps all time-outs itself, for the library's restart with each byte.
 *
 * A request (struct hs_request) is its connection's until it is dispatched; then also the route's, until
 * reply(). Whoever of the two is last gives it back. What both touch is under hs_server.lock.
 */
#ifndef HS_SERVER_H
#define HS_SERVER_H

#include "base/buf.h"
#include "base/map.h"
#include "base/wheel.h"
#include "rate.h"
#include "route.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <tpcore/arena.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/ext/http_server.h>

enum {
    HS_LISTENERS_MAX = 8,
    HS_HEADERS_MAX = 64,       /* of a request */
    HS_ANSWER_HEAD_MAX = 2048, /* bytes of headers that an answer brings */
    HS_FREE_MAX = 64,          /* requests kept for the next ones */
    HS_BODY_KEEP = 64 * 1024,  /* of a body's buffer that is kept with them */
    HS_JSON_SMALL = 16 * 1024, /* bodies that are parsed in the request's own arena */
    HS_DISCARD_MAX = 1 << 20,  /* of a refused body that is read, so that the answer arrives */
    HS_LINGER_MS = 1000        /* how long a stop lets the last answers go out */
};

struct hs_limits {
    uint64_t header_max, path_max, query_max, body_max, bodies_max, answers_max, json_max;
    uint32_t connections_max, per_address_max, addresses_max, pending_max;
    uint32_t rate_per_s;
    uint32_t header_ms, body_ms, answer_ms, send_ms, idle_ms, drain_ms;
};

struct hs_listener {
    bool tls;
    struct sockaddr_storage address;
    socklen_t address_len;
    int fd; /* -1 = the daemon's, or not open */
    uint16_t port;
    struct MHD_Daemon *daemon;
    struct hs_server *server;
};

/* A route as it was added. Under the lock; counted by requests that are dispatched to it. */
struct hs_served {
    uint64_t set; /* what add() gave */
    uint64_t id;
    const struct tpc_http_route *route;
    void *user;
    uint32_t refs;
    bool gone;
    struct hs_pattern pattern;
    uint64_t requests, failed; /* for tell(); failed: status 5xx */
};

enum hs_stage {
    HS_HEAD, /* a request's head is awaited, or comes */
    HS_IDLE, /* the same on a connection that was answered */
    HS_BODY,
    HS_WAIT, /* for reply() */
    HS_SEND
};

struct hs_conn {
    struct hs_server *server;
    struct hs_listener *listener;
    struct hs_conn *next, *prev;
    struct MHD_Connection *mhd;
    struct hs_request *request;
    struct tpi_timer timer;
    enum hs_stage stage;
    uint64_t end_ms; /* of the stage; the timer may come before */
    int fd;
    bool counted; /* in the address's connections */
    struct hs_address address;
    char peer[HS_PEER_TEXT];
};

struct hs_request {
    struct hs_request *next; /* free, or answered by another thread */
    struct hs_server *server;
    struct hs_conn *conn; /* NULL = the connection is done with it. Under the lock */
    struct hs_served *served;
    struct tpc_arena *arena, *json_arena;
    struct tpi_buf body;
    uint64_t charged;        /* of bodies_max */
    uint64_t answer_charged; /* of answers_max */
    uint64_t body_max;
    uint64_t begun_ns;
    size_t target_len;
    char *target;
    const char *method;
    bool seen;    /* the library called for it */
    bool queued;  /* an answer was given to the library */
    bool close;   /* its connection ends with it */
    bool dropped; /* its body is not kept: refuse_* says why */
    const char *refuse_text;
    const char *refuse_name, *refuse_value; /* a header more, or NULL */
    uint64_t discarded;
    uint32_t status;
    size_t answer_bytes;
    struct tpc_http_call call;
    struct tpc_value json;

    /* Under the lock. */
    uint64_t id;   /* 0 = not dispatched, or the route is done with it */
    bool running;  /* the route's function is */
    bool claimed;  /* reply() builds an answer */
    bool answered; /* response is set (NULL = the connection is closed) */
    bool over;     /* answered without reply() */
    bool suspended;
    struct MHD_Response *response;
};

struct hs_server {
    const struct tpc_host *host;
    void *ctx;
    struct hs_limits limits;
    uint32_t listener_count;
    struct hs_listener listeners[HS_LISTENERS_MAX];
    char *tls_cert, *tls_key; /* PEM texts with a NUL */
    size_t tls_cert_size, tls_key_size;
    bool running, locked_init;
    bool joins_lines; /* the library does: see check.c */

    pthread_mutex_t lock;
    pthread_cond_t quiet; /* no function of a route runs */
    pthread_t thread;
    int wake_fd, epoll_fd;
    atomic_bool stopping;

    /* Under the lock. */
    struct hs_served **served; /* by hs_pattern_order() */
    uint32_t served_count, served_cap;
    uint64_t next_set, next_route, next_call;
    uint64_t running_set;     /* whose function runs, 0 = none */
    struct tpi_map64 calls;   /* struct hs_request by id */
    struct hs_request *ready; /* to resume */
    struct hs_request *free;
    uint32_t free_count;

    atomic_uint_fast64_t bodies;  /* bytes of bodies that are held */
    atomic_uint_fast64_t answers; /* bytes of answers' bodies that their peers have not taken yet */

    /* The thread's. */
    struct tpi_wheel wheel;
    struct tpi_timer sweep;
    struct hs_askers askers;
    struct hs_conn *conns;
    uint32_t conn_count, waiting;
    uint64_t drain_end_ms; /* 0 = not stopping */
    bool cut;              /* the drain is over */
};

/* server.c */
int hs_server_init(struct hs_server *s);
int hs_server_start(struct hs_server *s);
void hs_server_stop(struct hs_server *s);
void hs_server_fini(struct hs_server *s);
void hs_wake(struct hs_server *s);
uint64_t hs_now_ms(const struct hs_server *s);
/* The stage's time begins. */
void hs_stage_set(struct hs_conn *c, enum hs_stage stage, uint64_t ms);
/* Closes what its peer has ended: the library does not see an end that came with the last bytes before. */
void hs_look(struct hs_conn *c);
void hs_count(const struct hs_server *s, const char *metric, uint64_t n);

/* listen.c: "http://host:port" or "https://..."; texts by host->fail. */
int hs_listener_read(struct hs_server *s, struct tpc_str url, struct hs_listener *ret);
int hs_listener_open(struct hs_listener *l);
int hs_listener_daemon(struct hs_listener *l);
int hs_tls_read(struct hs_server *s, const char *option, struct tpc_str path, char **ret,
                size_t *ret_size);

/* request.c: the library's callbacks. */
enum MHD_Result hs_accept_policy(void *cls, const struct sockaddr *sa, socklen_t len);
void hs_connection(void *cls, struct MHD_Connection *mhd, void **io_context,
                   enum MHD_ConnectionNotificationCode code);
void *hs_begin(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result hs_access(void *cls, struct MHD_Connection *mhd, const char *url,
                          const char *method, const char *version, const char *data,
                          size_t *data_size, void **io_context);
void hs_completed(void *cls, struct MHD_Connection *mhd, void **io_context,
                  enum MHD_RequestTerminationCode code);
void hs_request_free(struct hs_request *r);
/* Whether the route has it still. With the lock held. */
bool hs_is_held(const struct hs_request *r);
/* Nobody has it any more. With the lock held. */
void hs_recycle(struct hs_request *r);

/* check.c: what the library lets pass. 0, or a status with *ret_text. Sets r->close where the end of the
 * request is in doubt. */
struct hs_head {
    uint32_t count;
    struct tpc_http_header headers[HS_HEADERS_MAX]; /* views of the library's */
    uint64_t length;                                /* of the body; UINT64_MAX = in chunks */
    bool waits;                                     /* Expect: 100-continue */
    struct tpc_str type;                            /* Content-Type */
};

uint32_t hs_check_head(struct hs_request *r, struct MHD_Connection *mhd, const char *version,
                       struct hs_head *ret, const char **ret_text);
/* Whether the library of that version joins folded lines. */
bool hs_joins_lines(const char *version);
/* Whether a name may stand before a colon (RFC 9110 section 5.6.2), a value behind it. */
bool hs_name_good(struct tpc_str name);
bool hs_value_good(struct tpc_str value);

/* answer.c */
int hs_reply(void *self, uint64_t call, const struct tpc_http_answer *answer);
/* {"status":..,"error":".."} with at most one header more; NULL without memory. */
struct MHD_Response *hs_plain(uint32_t status, const char *text, const char *name,
                              const char *value);
enum MHD_Result hs_queue(struct hs_request *r, struct MHD_Connection *mhd,
                         struct MHD_Response *response);
/* The server answers instead of the route; with the lock held. */
void hs_give_up(struct hs_request *r, uint32_t status, const char *text);

/* table.c */
int hs_add(void *self, const struct tpc_list *routes, void *user, struct tpc_error *err,
           uint64_t *ret_id);
void hs_remove(void *self, uint64_t id);
/* The route of method and path, counted, or NULL: then *ret_allow (room for 128) is what the path allows,
 * empty = nothing is there. */
struct hs_served *hs_served_find(struct hs_server *s, struct tpc_str method,
                                 const struct hs_path *path, struct tpc_http_header *params,
                                 char ret_allow[128]);
/* With the lock held. */
void hs_served_unref(struct hs_server *s, struct hs_served *v);
void hs_table_tell(struct hs_server *s, tpc_tell_fn *fn, void *user);
void hs_table_fini(struct hs_server *s);

#endif
