/*
 * Adapter "probe": devices in the hands of the test. It opens a session for each device that its
 * options name (and a link session), keeps what is sent, and answers as told. One instance at a
 * time in a process.
 */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <tpcore/ext/adapter.h>

enum { PROBE_DEVICES = 32, PROBE_SENT = 4096, PROBE_TICKETS = 8192 };

struct probe_sent {
    char device[32];
    char name[32];
    char correlation[64];
    char payload[256];
    uint64_t ticket;
    uint64_t ns; /* CLOCK_MONOTONIC */
};

const struct tpc_module *tpc_module_probe(void);

/* How send() behaves, from now on. */
enum probe_mode {
    PROBE_TAKE = 0,   /* out at once, nobody answers */
    PROBE_REPLY = 1,  /* out at once, answered at once with code 0 */
    PROBE_REFUSE = 2, /* TPC_EOFFLINE */
    PROBE_LATER = 3,  /* TPC_EAGAIN */
    PROBE_KEEP = 4    /* taken, host->sent() not told */
};
void probe_mode(enum probe_mode mode);

/* A frame over the session of a device, NULL = over the link. What receive() said. */
int probe_receive(const char *device, const struct tpc_frame *frame, uint64_t ticket);

/* A reply to the i-th command that was sent. */
int probe_reply(size_t i, int code);

size_t probe_sent_count(void);
struct probe_sent probe_sent(size_t i);

/* Waits until n were sent; false after 20 s. */
bool probe_wait_sent(size_t n);

size_t probe_settled_count(void);
bool probe_wait_settled(size_t n);
int probe_settled_error(uint64_t ticket); /* 1 = not settled */
size_t probe_resumed_count(void);

/* Forgets all that was sent and settled. */
void probe_forget(void);

const struct tpc_host *probe_host(void **ret_ctx);

#endif
