/* A module that stands in for web server and client: the test asks and answers. */
#ifndef WEB_H
#define WEB_H

#include <pthread.h>
#include <tpcore/ext/http.h>
#include <tpcore/ext/http_server.h>
#include <tpcore/ext/module.h>
#include <tpcore/ext/panel.h>

enum { WEB_CALLS = 64, WEB_TEXT = 2 << 20 };

struct web_call {
    char url[600];
    char body[300];
    tpc_http_done_fn *done;
    void *user;
    bool open;
};

struct web {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const struct tpc_http_route *routes;
    uint32_t route_count;
    void *route_user;
    uint64_t next_id;
    /* The answer that came last. */
    uint64_t answered;
    uint32_t status;
    char answer[WEB_TEXT];
    /* Requests of the client. */
    struct web_call calls[WEB_CALLS];
    uint32_t call_count;
    /* How they are answered: within submit() unless `later`. */
    bool later;
    int error; /* TPC_EOFFLINE ...; 0 = status and reply */
    uint32_t reply_status;
    const char *reply;
    /* The service that is tried. */
    const struct tpc_panel_ops *panel;
    void *panel_self;
};
extern struct web web;

const struct tpc_module *web_module(void);
const struct tpc_module *web_user(void); /* finds web.panel */
void web_reset(void);
/* Asks and waits for the answer, which is left in web.answer. Returns the HTTP status; 0 = none came. */
uint32_t web_ask(const char *method, const char *path, const char *body, const char *peer);
/* Requests of the client so far. */
uint32_t web_calls(void);
/* Ends the nth one with what is said above. */
void web_end(uint32_t n);

#endif
