/*
 * Accepted connections, by service "stream.handover": another adapter takes them, and the bus speaks over
 * the newest. fn of the service comes on that adapter's thread, the rest on that of the bus.
 */
#ifndef MB_HANDED_H
#define MB_HANDED_H

#include <pthread.h>
#include <tpcore/ext/handover.h>
#include <tpcore/ext/host.h>

#include "line.h"

struct mb_handed {
    const char *device; /* whose connections */
    const struct tpc_handover_ops *ops;
    void *self;
    uint64_t id;
    int wake; /* eventfd of the bus */
    bool made, keeping;

    pthread_mutex_t lock;
    int fd; /* that has come; -1 = none */
    bool ended;
    uint64_t coming, present; /* numbers of connections: of fd, of the line */
};

/* 0 or TPC_ENOMEM. */
int mb_handed_init(struct mb_handed *h, const char *device, int wake);
void mb_handed_fini(struct mb_handed *h);

/* Asks for the connections. 0 or what host->fail() returned. */
int mb_handed_start(struct mb_handed *h, const struct tpc_host *host, void *ctx);
/* From now on a line that goes is left to the other adapter. */
void mb_handed_keep(struct mb_handed *h);
void mb_handed_stop(struct mb_handed *h);

/* user: struct mb_handed. */
extern const struct mb_source mb_handed_source;

#endif
