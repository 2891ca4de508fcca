/* A server on a fake host with routes that answer in known ways, and raw connections to it. */
#ifndef WEB_H
#define WEB_H

#include "fake_host.h"

#include <tpcore/ext/http_server.h>

enum { WEB_ROOM = 8192, WEB_HELD_MAX = 64 };

struct web {
    struct tk_env env;
    struct fake_host host;
    const struct tpc_http_server_ops *ops;
    void *self;
    uint16_t port;
    bool six; /* the listener's address is one of IPv6 */
    uint64_t set;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t held[WEB_HELD_MAX]; /* calls of /wait */
    uint32_t held_count;
    char peer[64];       /* of the last call */
    uint32_t calls;      /* of all routes */
    char seen[WEB_ROOM]; /* the last call: "METHOD path?raw_query|params|query|headers|body" */
};

/* Options as members of a JSON object after "listen", or "". Routes of web_routes are added. */
void web_begin(struct web *w, const char *options);
void web_begin_at(struct web *w, const char *listen, const char *options);
void web_end(struct web *w);

/* Waits until count calls of /wait are held. */
bool web_wait_held(struct web *w, uint32_t count);
/* Waits until a metric of the host is at least value, at most 10 s. */
bool web_wait_metric(struct web *w, const char *name, int64_t value);

int web_connect(struct web *w);
void web_send(int fd, const char *text, size_t len);
/* Reads an answer with Content-Length, or until the end: returns its status, 0 = none came. ret has the
 * whole text. *ret_closed (may be NULL): the connection ended with it. */
int web_read(int fd, char ret[WEB_ROOM], bool *ret_closed);
/* Whether the peer has closed, or closes within 5 s, without a byte more. */
bool web_closed(int fd);
/* Whether the peer has closed; reads what came, waits 10 ms at most. */
bool web_closed_now(int fd);
/* Connect, send, read until the answer is whole, close. */
int web_ask(struct web *w, const char *text, char ret[WEB_ROOM]);
/* The same for bytes with a NUL in them. */
int web_ask_bytes(struct web *w, const char *text, size_t len, char ret[WEB_ROOM]);

#endif
