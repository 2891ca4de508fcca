/*
 * What the modules on libcurl share: one thread with a multi handle, a bounded queue in front of it
 * and a limit of transfers to one peer. Each module links a copy and runs a thread of its own.
 *
 * A transfer belongs to the loop from xfer_submit() until its done(), which is called exactly once
 * on the loop's thread.
 */
#ifndef XFER_H
#define XFER_H

#include <curl/curl.h>
#include <stdbool.h>
#include <tpcore/alloc.h>
#include <tpcore/error.h>

struct xfer_loop;
struct xfer_peer;

struct xfer_limits {
    uint32_t total;    /* transfers that run */
    uint32_t per_peer; /* of them to one peer */
    uint32_t queue;    /* transfers that wait */
};

struct xfer {
    /* The owner's, before xfer_submit(). */
    const char *origin;    /* of errors: the module's name */
    const char *peer_name; /* what per_peer counts by; lives as long as the transfer */
    /* Says what to do. Returns 0, or a code with *err filled. */
    int (*setup)(struct xfer *x, CURL *easy, struct tpc_error *err);
    /* err NULL = libcurl is content. easy NULL = it never began. Frees the transfer. */
    void (*done)(struct xfer *x, CURL *easy, const struct tpc_error *err);
    /* Optional, before done(): whether it is to run again, after *ret_delay_ms. */
    bool (*again)(struct xfer *x, CURL *easy, const struct tpc_error *err, uint64_t *ret_delay_ms);

    /* The loop's. */
    struct xfer *prev, *next; /* of all */
    struct xfer *after;       /* in the peer's queue */
    struct xfer_peer *peer;
    CURL *easy; /* while it runs */
    uint64_t id;
    uint64_t at_ms; /* not before; 0 = at once */
    bool canceled;
    char text[CURL_ERROR_SIZE];
};

/* Makes a loop without a thread; *l is the caller's memory, see xfer_loop_destroy(). Returns 0 or
 * TPC_ENOMEM. */
int xfer_loop_create(const struct tpc_allocator *alloc, const struct xfer_limits *limits,
                     struct xfer_loop **ret);
/* Stops it first if it runs. Returns NULL. */
struct xfer_loop *xfer_loop_destroy(struct xfer_loop *l);

/* Begins; may follow xfer_loop_stop(). Returns 0 or TPC_ENOMEM. */
int xfer_loop_start(struct xfer_loop *l);
/* Ends every transfer with TPC_ECANCELED and the thread. Not from done(). */
void xfer_loop_stop(struct xfer_loop *l);

/* Hands a transfer over; *ret_id (may be NULL) is set before it can end. Any thread. Returns 0,
 * TPC_EAGAIN (the queue is full), TPC_ENOMEM or TPC_ESTATE (it does not run). */
int xfer_submit(struct xfer_loop *l, struct xfer *x, uint64_t *ret_id);

/* Ends a transfer with TPC_ECANCELED unless it is over. Any thread, done() too. Returns 0, or
 * TPC_ENOENT if it is over. */
int xfer_cancel(struct xfer_loop *l, uint64_t id);

/* ---- settings ---- */

struct xfer_settings {
    const char *url;
    const char *schemes;           /* "http,https" */
    const char *proxy;             /* NULL or "" = none, whatever the environment says */
    const char *ca, *cert, *key;   /* PEM files; NULL = the system's, none */
    const char *user, *password;   /* NULL = none */
    uint32_t connect_ms, whole_ms; /* > 0 */
    bool insecure;                 /* no look at the peer's certificate */
};

/* Sets what every transfer has. Returns 0 or TPC_ENOMEM, TPC_EINVAL. */
int xfer_set(CURL *easy, const struct xfer_settings *s);

/* What a result of libcurl means; text: the transfer's own words. */
int xfer_code(CURLcode code);
int xfer_error(CURLcode code, const char *origin, const char *text, struct tpc_error *ret);

#endif
