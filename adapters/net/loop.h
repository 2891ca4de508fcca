/*
 * A thread with an event loop (libuv, whose types stay in this folder), for the adapters that have
 * sockets. Whatever a socket does happens on the loop's thread; other threads post jobs to it.
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/alloc.h>
#include <tpcore/platform.h>

#include "base/wheel.h"

struct net_loop;

typedef void net_job_fn(void *user);

/* Embedded in what is posted; fn may free it. */
struct net_job {
    net_job_fn *fn;
    void *user;
    struct net_job *next;
};

/* Control thread. Returns 0 or TPC_ENOMEM. */
int net_loop_create(const struct tpc_allocator *alloc, const struct tpc_clock *clock,
                    struct net_loop **ret);
/* Stopped or never started. Returns NULL. */
struct net_loop *net_loop_destroy(struct net_loop *l);

/* Starts the thread. Returns 0, TPC_ENOMEM or TPC_EIO. */
int net_loop_start(struct net_loop *l);

/* Runs the jobs that were posted, waits until every socket is closed (its owner has closed it before)
 * and ends the thread. Without a start, or a second time, it does nothing. */
void net_loop_stop(struct net_loop *l);

/* Any thread: fn runs on the loop's thread, in the order of posting. false: the loop does not run, fn
 * will not be called. */
bool net_loop_post(struct net_loop *l, struct net_job *job);

/* Not the loop's thread: runs fn there and waits for it. false: the loop does not run. */
bool net_loop_call(struct net_loop *l, net_job_fn *fn, void *user);

/* Monotonic time as the host's clock tells it. */
uint64_t net_loop_now_ms(const struct net_loop *l);

/* Loop's thread: calls t->fn after that time; again moves it. A clock that stands still in tests and
 * jumps is looked at once a second. */
void net_loop_timer(struct net_loop *l, struct tpi_timer *t, uint64_t after_ms);
void net_loop_timer_end(struct net_loop *l, struct tpi_timer *t);

#endif
