/*
 * Report strategies: what of a device's values goes on, and what a period sends again. One worker's.
 *
 * A state is kept of each (device, property) that has a strategy other than "received": the value
 * that went last and, for periods, the last one that came. A device has one timer, for the first of
 * its values that is due; nothing is ever looked through for all devices. What no state can be kept
 * of (limits below, no memory) goes on: a value too many, never one too few.
 *
 * States change while a batch is decoded. If it comes to nothing they are forgotten, and the values
 * that come next go on as first ones.
 */
#ifndef TPI_UPLINK_REPORT_H
#define TPI_UPLINK_REPORT_H

#include <stdatomic.h>
#include <tpcore/msg.h>

#include "base/buf.h"
#include "base/env.h"
#include "base/map.h"
#include "base/wheel.h"
#include "data/report.h"

enum {
    TPI_REPORT_VALUES = 1 << 20,        /* states of a worker */
    TPI_REPORT_DEVICE_VALUES = 8192,    /* .. of a device */
    TPI_REPORT_BYTES = 64 << 20,        /* texts and trees of a worker's states */
    TPI_REPORT_VALUE_BYTES = 4096,      /* of one; a longer one always goes on */
    TPI_REPORT_LOOK_MS = 10 * 60 * 1000 /* a device is looked at that often: is it still there? */
};

/* What is known of one property of a device. */
struct tpi_report_entry {
    uint64_t due_ms;   /* monotonic; 0 = no period */
    uint64_t seen_ms;  /* monotonic: when its last value came */
    int64_t sample_ms; /* time of the newest value, no later than its receipt */
    uint64_t sent;     /* number that went last, as bits; of the other types `last` went */
    uint64_t last;     /* number or bool that came last */
    uint8_t *bytes;    /* text, or tree as CBOR, that came last */
    char *key;         /* of one by key */
    uint32_t len, cap; /* of bytes */
    uint16_t key_len;
    uint16_t property;
    uint16_t point_flags;
    uint8_t sent_type, last_type; /* enum tpc_type */
    uint8_t mode;                 /* enum tpi_report_mode that it was kept for */
    uint8_t known;                /* 0: nothing above counts */
    uint8_t fresh;                /* last did not go yet */
    uint8_t attributes;           /* the kind of its message; of one by key part of what it is */
};

struct tpi_reports;

struct tpi_report_device {
    struct tpi_timer timer;
    struct tpi_reports *all;
    struct tpi_report_device *next; /* of all->due */
    const struct tpi_report *part;  /* strategy of the instance that it came by; NULL = none */
    uint64_t id, product_id;
    uint64_t next_ms; /* the timer's */
    struct tpi_report_entry *entries;
    uint32_t *hash; /* index + 1; NULL up to a few entries */
    uint32_t count, cap, hash_cap;
    uint32_t hint; /* entry that should come next */
    bool queued;
};

struct tpi_report_touched {
    struct tpi_report_device *device;
    uint32_t at;
};

struct tpi_reports {
    const struct tpc_allocator *alloc;
    struct tpi_wheel *wheel;
    struct tpi_map64 devices;
    struct tpi_report_device *due; /* whose time has come */
    struct tpi_report_touched *touched;
    uint32_t touched_count, touched_cap;
    uint32_t values;
    size_t bytes;
    struct tpi_buf scratch;
    uint64_t untracked; /* values that no state could be kept of */
};

/* A value on its way. */
struct tpi_report_point {
    const struct tpc_point *point;
    const struct tpi_report *rule;
    int64_t unix_ms;          /* its time */
    int64_t received_unix_ms; /* no sample counts as later */
    uint64_t now_ms;          /* monotonic */
    bool attributes;
};

void tpi_reports_init(struct tpi_reports *r, const struct tpc_allocator *alloc,
                      struct tpi_wheel *wheel);
void tpi_reports_fini(struct tpi_reports *r);

/* State of a device, made if need be; of another product than before: all anew. NULL: no memory. */
struct tpi_report_device *tpi_reports_device(struct tpi_reports *r, uint64_t id,
                                             uint64_t product_id, uint64_t now_ms);
/* The same if it is there; NULL = none. */
static inline struct tpi_report_device *tpi_reports_find(const struct tpi_reports *r, uint64_t id,
                                                         uint64_t product_id)
{
    struct tpi_report_device *d =
        tpi_map64_count(&r->devices) > 0 ? tpi_map64_get(&r->devices, id) : NULL;
    return d != NULL && d->product_id == product_id ? d : NULL;
}
void tpi_reports_drop(struct tpi_reports *r, struct tpi_report_device *d);

/* Whether a value goes on; rule's mode is beyond "received". */
bool tpi_report_goes(struct tpi_reports *r, struct tpi_report_device *d,
                     const struct tpi_report_point *p);

/* A value goes on that no strategy was asked about: what went last is not what its state says, so that
 * the next one goes, too. A period says the newest one in any case. p's rule is not looked at. */
void tpi_report_passed(struct tpi_report_device *d, const struct tpi_report_point *p);

/* States that were touched from `first` on are forgotten; the list ends there. */
void tpi_reports_forget(struct tpi_reports *r, uint32_t first);

/* Frees what is forgotten, if that is a quarter. No batch is open. */
void tpi_reports_tidy(struct tpi_reports *r, struct tpi_report_device *d);

/* Times from..to of values that were received move along with the clock. */
void tpi_reports_shift_times(struct tpi_reports *r, int64_t from_ms, int64_t to_ms, int64_t by_ms);

/* The next device whose time has come, taken from the list; NULL = none. */
struct tpi_report_device *tpi_reports_next(struct tpi_reports *r);

/* Arms the timer for what is due next, or later: not before `not_before_ms`. */
void tpi_report_arm(struct tpi_report_device *d, uint64_t now_ms, uint64_t not_before_ms);

/* Whether an entry is due, by the strategy that it has now: forgets what is too old or has no
 * period any more. */
bool tpi_report_is_due(struct tpi_reports *r, struct tpi_report_entry *e,
                       const struct tpi_report *rule, uint64_t now_ms);

/* The value that came last. A tree lives in the arena, a text in the state. Returns 0 or
 * TPC_ENOMEM. */
int tpi_report_value(const struct tpi_report_entry *e, struct tpc_arena *arena,
                     struct tpc_value *ret);

/* It went with a period. */
void tpi_report_sent(struct tpi_report_entry *e, const struct tpi_report *rule, uint64_t now_ms);

#endif
