/* What the files of this folder share: libuv's types. */
#ifndef NET_INSIDE_H
#define NET_INSIDE_H

#include "loop.h"

#include <pthread.h>
#include <uv.h>

enum { NET_READ_BYTES = 65536 };

/* Called before the loop waits: what was written since the last time leaves in one piece. */
struct net_flush {
    void (*fn)(struct net_flush *f);
    struct net_flush *next;
    bool queued;
};

struct net_loop {
    const struct tpc_allocator *alloc;
    const struct tpc_clock *clock;
    uv_loop_t uv;
    uv_async_t wake;
    uv_prepare_t before_wait;
    uv_timer_t tick;
    struct tpi_wheel wheel;
    uint64_t tick_at_ms; /* when the tick comes, by the host's clock; 0 = it is not set */
    struct net_flush *flush_first;
    uint8_t *read_buf; /* NET_READ_BYTES: one for all sockets */
    uint8_t *open_buf; /* NET_READ_BYTES: what TLS made of it */

    pthread_mutex_t lock;
    pthread_cond_t done;
    pthread_t thread;
    struct net_job *first, *last;
    bool made, running, ending;
};

void net_flush_later(struct net_loop *l, struct net_flush *f);
void net_flush_drop(struct net_loop *l, struct net_flush *f);

#endif
