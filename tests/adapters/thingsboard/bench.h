/* A session between a host without a core and the stand-in for the server. */
#ifndef TB_BENCH_H
#define TB_BENCH_H

#include "fake_sink.h"
#include "tb_stub.h"

#include <tpcore/command.h>

enum { BENCH_MESSAGES = 400, BENCH_WAIT_MS = 10000, BENCH_COMMANDS = 16 };

struct bench_command {
    char device[64], service[64], params[256];
    uint32_t timeout_ms;
    tpc_command_fn *done;
    void *user;
};

struct bench {
    struct tk_env env;
    struct fake_sink h;
    struct tb_stub *stub;
    uint16_t port; /* of another server; 0 = the stub */
    void *target;
    struct tpc_msg msgs[BENCH_MESSAGES];
    struct tpc_point points[BENCH_MESSAGES];
    struct tpc_batch batch;
    struct bench_command commands[BENCH_COMMANDS];
    uint32_t command_count;
    int command_code; /* what the next command() is answered; it counts down to 0 afterwards */
};

/* Starts a session with more options (",..." or ""); the stub may be made before. */
void bench_begin(struct bench *b, const char *more, const char *target);
/* A new instance on the same files and the same server. */
void bench_again(struct bench *b, const char *more, const char *target);
void bench_end(struct bench *b);

/* A batch of n messages with numbered samples `seq`, spread over devices d0, d1 .. */
const struct tpc_batch *bench_batch(struct bench *b, uint32_t first, uint32_t n, uint32_t devices);
/* Sends until it is delivered, as the core does. */
void bench_deliver(struct bench *b, const struct tpc_batch *batch);
/* Sends as the core does with halves for what is refused. Returns how many messages were buried. */
uint32_t bench_deliver_or_bury(struct bench *b, const struct tpc_batch *batch);

/* Waits for a publish of the session after mark. */
void bench_hears(struct bench *b, uint64_t mark, const char *topic, const char *text);
/* The whole of that publish. */
const char *bench_heard(struct bench *b, uint64_t mark, const char *topic, const char *text);

/* Waits until n commands were given. */
const struct bench_command *bench_wait_command(struct bench *b, uint32_t n);
/* Ends the n-th one. */
void bench_end_command(struct bench *b, uint32_t n, uint32_t state, const char *reply,
                       const char *reason);

#endif
