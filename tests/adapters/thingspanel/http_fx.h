/*
 * The HTTP half of the module without a thread, on a fake host: the platform's answers, callbacks and
 * connections are the test's. Steps are taken by fx_step() on a clock that the test moves.
 */
#ifndef HTTP_FX_H
#define HTTP_FX_H

#include "fake_host.h"
#include "platform.h"

enum { FX_CALLS = 1024, FX_REPLIES = 512, FX_ENDS = 64, FX_LINES = 256 };

/* A call of ours to the platform. */
struct fx_call {
    char url[200];
    char body[4600];
    uint64_t response_max;
    tpc_http_done_fn *done;
    void *user;
    bool open;
};

/* How a login ended. */
struct fx_end {
    bool told;
    int code; /* 0 = in */
    uint32_t verdict, flags;
    char device[TP_KEY_BYTES + 1], product[64], answer[64];
};

struct fx {
    struct tk_env env;
    struct fake_host host;
    struct tp_config config;
    struct tp_http *h;
    struct tpc_service_ops ops;
    struct tpc_http_ops client;
    struct tpc_http_server_ops server;

    struct fx_call calls[FX_CALLS];
    uint32_t call_count;
    int submit_code;
    struct {
        uint64_t call;
        uint32_t status;
        char text[2048];
    } replies[FX_REPLIES];
    uint32_t reply_count;
    uint64_t next_call;
    bool routed;
    struct fx_end ends[FX_ENDS];
    char lines[FX_LINES][160]; /* what the program heard, in order */
    uint32_t line_count;
    char dropped[FX_LINES][64];
    uint32_t drop_count;
    int discover_code;
};

/* The clock stands still; the service is "meter" of type `type` with forms, or none is served (0). The state
 * is kept in a file if `state` is a path. */
void fx_init(struct fx *f, uint32_t type, const char *state);
/* .. with another pass of the same test: stop and start anew, all forgotten but the state file. */
void fx_restart(struct fx *f);
void fx_fini(struct fx *f);

void fx_step(struct fx *f);
/* Moves the clock ms on and takes a step. */
void fx_pass(struct fx *f, uint64_t ms);

/* The oldest open call whose URL ends so and whose body has `body` in it; NULL if there is none. */
struct fx_call *fx_open(struct fx *f, const char *path, const char *body);
/* Answers it (it must be there) and takes a step. */
void fx_answer(struct fx *f, const char *path, const char *body, const char *json);
void fx_answer_raw(struct fx *f, struct fx_call *c, uint32_t status, const char *text, size_t len);
void fx_fail(struct fx *f, const char *path, const char *body, int code);
/* All calls that a start makes, answered with nothing to tell. */
void fx_quiet_start(struct fx *f);
uint32_t fx_calls(struct fx *f, const char *path);

/* A callback; NULL if no route is there or it is not answered yet. */
const char *fx_request(struct fx *f, const char *method, const char *path, const char *query,
                       const char *body, const char *peer);
uint32_t fx_status(struct fx *f); /* of the last reply */

/* A first frame: "V<serial>" a voucher, "MORE", "BAD". Login i. Returns what login() said. */
int fx_login(struct fx *f, uint32_t i, const char *frame, uint64_t *ret_id);

/* Whether the program heard a line with that beginning; it is forgotten. */
bool fx_heard(struct fx *f, const char *line);
bool fx_dropped(struct fx *f, const char *device);

#endif
