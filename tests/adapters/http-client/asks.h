/* A client on a fake host, and requests whose replies are kept. */
#ifndef ASKS_H
#define ASKS_H

#include "fake_host.h"

#include <tpcore/ext/http.h>

enum { ASK_BODY_MAX = 4096, ASK_ERROR_MAX = 256 };

struct ask {
    struct tpc_http_request q; /* the test fills in what it wants */
    uint64_t id;
    bool over;
    uint32_t times; /* how often done() was called */
    uint32_t status, header_count;
    size_t len; /* of the whole body */
    char body[ASK_BODY_MAX];
    char connection[32], hint[32], after[32]; /* headers */
    int code;
    char text[ASK_ERROR_MAX];
};

struct asks {
    struct tk_env env;
    struct fake_host host;
    const struct tpc_http_ops *ops;
    void *self;
};

/* Options of the client as JSON. */
void asks_begin(struct asks *a, const char *options);
void asks_end(struct asks *a);

/* Sets method, url "http://127.0.0.1:port<path>" (kept in static memory, the last 64) and a body. */
void ask_init(struct ask *k, const char *method, int port, const char *path, const char *body);
/* Submits; returns what submit() said. */
int ask_begin(struct asks *a, struct ask *k, struct tpc_error *err);
/* Waits for its end, at most 20 s. */
void ask_wait(struct ask *k);
/* Both. */
void ask_whole(struct asks *a, struct ask *k);

#endif
