/*
 * Reading the log for one follower: a subscription, a durable consumer, a target of lib/forward.
 * Records become messages with their texts filled in; a filter is matched once for each device, and
 * the body of a record that is not wanted is not looked at. One thread at a time.
 */
#ifndef TPI_REGISTRY_FOLLOW_H
#define TPI_REGISTRY_FOLLOW_H

#include <tpcore/ext/bus.h>

#include "base/map.h"
#include "bus/clock.h"
#include "registry/device.h"

enum {
    TPI_FOLLOW_FILTERS = 16,            /* of one follower */
    TPI_FOLLOW_ARENA_BYTES = 512 << 20, /* of the messages that it holds */
    TPI_FOLLOW_BODY_COST = 64           /* a message counts as its record's body and this */
};

struct tpi_follow_options {
    const struct tpi_env *env;
    struct tpi_registry *registry;
    const struct tpc_str *filters; /* checked; copied */
    uint32_t filter_count;
    struct tpc_str notify_tenant; /* with notify_name: only notifications for that handler */
    struct tpc_str notify_name;   /* empty = filters say it */
    uint64_t no_kinds;            /* bit k: kind k is passed over */
    uint32_t batch;               /* messages it holds at most */
    uint32_t chunk;               /* records of one read */
    size_t bytes;                 /* of bodies it holds at most, one message always; 0 = no limit */
    bool (*wanted)(void *user, const struct tpc_msg *m); /* looks at one last; NULL = all */
    void *wanted_user;
    struct tpi_clock *clock;      /* gives unsure records the right times; may be NULL */
    bool hold;                    /* waits for it */
    _Atomic uint64_t *unreadable; /* counts records that cannot be read; may be NULL */
};

struct tpi_follow;

/* Returns 0 or TPC_ENOMEM. What the options point to but filters and names outlives it. */
int tpi_follow_create(const struct tpi_follow_options *o, struct tpi_follow **ret);
void tpi_follow_destroy(struct tpi_follow *f); /* NULL is fine */

/*
 * Reads one chunk of a partition and adds what is wanted to the messages it holds. flags: enum
 * tpc_read_flags.
 *
 * Returns 0: *ret_next is where to go on, behind the last record that was taken or passed over;
 * TPC_EGAP: nothing was read, *ret_next is the first record kept; TPC_ENOMEM (what it holds is a
 * part: clear it, or go on from *ret_next), or what read() said.
 */
int tpi_follow_read(struct tpi_follow *f, const struct tpc_bus_ops *bus, void *bus_self,
                    uint32_t partition, uint64_t from, uint32_t flags, uint64_t *ret_next);

/* Reads end before that offset, until it is set anew; UINT64_MAX = nowhere, as at first. */
void tpi_follow_bound(struct tpi_follow *f, uint64_t to);

/* Bytes of the bodies of what it holds, TPI_FOLLOW_BODY_COST with each. */
size_t tpi_follow_bytes(const struct tpi_follow *f);

/* Whether a further message may not fit. */
bool tpi_follow_full(const struct tpi_follow *f);

/* What it holds: valid until the next read or clear. */
struct tpc_msg *tpi_follow_msgs(struct tpi_follow *f, uint32_t *ret_count);

/* Gives the messages back. */
void tpi_follow_clear(struct tpi_follow *f);

/* A record's header as message; the body is for tpi_msg_decode(). */
void tpi_follow_head(const struct tpc_record *r, struct tpc_msg *ret);

#endif
