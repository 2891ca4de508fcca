/*
 * Forward: targets that data or notifications go to. A target is an entity of kind `forward` or
 * `handler`; it reads the log with a cursor of its own, so what is not delivered yet is in the log
 * and nowhere else, and hands batches to an instance of a sink (tpcore/ext/sink.h).
 *
 * Up to `window` batches of a target are on their way at a time, never two with messages of one
 * partition: the order of a device's messages is kept. The cursor goes on only over what the sink
 * said to have arrived, or what became a dead letter.
 *
 * Threads: prepare and apply run on whoever puts an entity; turns on one thread at a time, with
 * workers that of the core's forwarder, without them within step(). Locks: `changes` (a change of an
 * entity from prepare to apply or discard, start and stop), then `lock` (the list of targets, their
 * pending changes, answers); no function of a module runs under `lock`.
 */
#ifndef TPI_FORWARD_FORWARD_H
#define TPI_FORWARD_FORWARD_H

#include <tpcore/ext/bus.h>
#include <tpcore/ext/sink.h>
#include <tpcore/forward.h>

#include "base/env.h"
#include "base/metric.h"
#include "entity/entity.h"

struct tpi_clock;
struct tpi_forward;
struct tpi_registry;

enum {
    TPI_FORWARD_TARGETS = 192,    /* each has a cursor; a log has room for 256 */
    TPI_FORWARD_FILTERS = 16,     /* of a target */
    TPI_FORWARD_BATCH = 4096,     /* messages of a batch */
    TPI_FORWARD_KINDS = 2,        /* forward, handler */
    TPI_FORWARD_CURSOR_BYTES = 64 /* name of a cursor, without the NUL */
};

/*
 * sink   The sink that is open under a name; false = none.
 * bus    The log; NULL = not open yet.
 * end    Offset after the last record of a partition.
 * dead   Appends a dead letter; waits for the partition's worker. TPC_EAGAIN and so on: later.
 * fail   Empties this thread's last error and returns it.
 * wake   A turn is due. Any thread; cheap.
 */
struct tpi_forward_host {
    void *user;
    struct tpi_registry *registry;
    uint32_t partitions;
    struct tpi_clock *clock; /* targets wait for it, if they shall; NULL = none */
    uint32_t script_place;   /* of a script's state that threads share which are no worker */
    bool (*sink)(void *user, struct tpc_str name, const struct tpc_sink_ops **ret_ops,
                 void **ret_self);
    const struct tpc_bus_ops *(*bus)(void *user, void **ret_self);
    uint64_t (*end)(void *user, uint32_t partition);
    int (*dead)(void *user, const struct tpc_msg *letter, struct tpc_error *err);
    const struct tpc_error *(*fail)(void *user);
    void (*wake)(void *user);
};

struct tpi_forward_counters {
    _Atomic uint64_t targets;
    _Atomic uint64_t waiting; /* enabled and without a sink that takes them */
    _Atomic uint64_t sent;
    _Atomic uint64_t batches;
    _Atomic uint64_t retried;
    _Atomic uint64_t refused;
    _Atomic uint64_t dead;
    _Atomic uint64_t gap_records;
    _Atomic uint64_t newest_records;
    _Atomic uint64_t thinned;
    _Atomic uint64_t held_bytes;
    _Atomic uint64_t unreadable;
};
extern const struct tpi_metric_def tpi_forward_metrics[];
extern const uint32_t tpi_forward_metric_count;

/* Returns 0 or TPC_ENOMEM. */
int tpi_forward_create(const struct tpi_env *env, const struct tpi_forward_host *host,
                       struct tpc_error *err, struct tpi_forward **ret);
/* After a finish, while the log and the sinks are there. NULL is fine. */
void tpi_forward_destroy(struct tpi_forward *f);

/* TPI_FORWARD_KINDS kinds. */
const struct tpi_kind *tpi_forward_kinds(struct tpi_forward *f);
const struct tpi_forward_counters *tpi_forward_count(const struct tpi_forward *f);

/* Life. open: the log is there, nothing is appended yet: cursors are opened, those of targets that
 * are gone are forgotten. start: sinks are started, turns may send. halt: nothing is sent any more;
 * what is in flight is. finish: sinks have stopped and told all: answers count, targets close.
 * control thread. */
int tpi_forward_open(struct tpi_forward *f, struct tpc_error *err);
void tpi_forward_start(struct tpi_forward *f);
void tpi_forward_halt(struct tpi_forward *f);
void tpi_forward_finish(struct tpi_forward *f);
/* Whether a batch is on its way whose sink has not answered. Any thread. */
bool tpi_forward_in_flight(struct tpi_forward *f);

/* Calls fn for every target that was loaded before its sink was open and whose sink is now: it is to
 * be loaded again (tpi_entities_reload). Returns what fn returned. */
typedef int tpi_forward_stale_fn(void *user, const char *kind, struct tpc_str tenant,
                                 struct tpc_str key);
int tpi_forward_stale(struct tpi_forward *f, tpi_forward_stale_fn *fn, void *user);

/* A sink stopped, has told all and goes: its targets wait until one of that name is open again. From
 * before its stop on host.sink does not find it, and between a halt and a start. */
void tpi_forward_leave(struct tpi_forward *f, struct tpc_str sink);

/* Does what can be done now; true: something was. One thread at a time. */
bool tpi_forward_turn(struct tpi_forward *f);
/* Until a turn is due, in ms; UINT64_MAX = when something happens. */
uint64_t tpi_forward_next_ms(struct tpi_forward *f);
/* The sink's answer. Any thread. */
void tpi_forward_sent(struct tpi_forward *f, uint64_t ticket, const struct tpc_error *err);

/* As tpc_forward_info(). Any thread. */
int tpi_forward_info(struct tpi_forward *f, struct tpc_str tenant, struct tpc_str kind,
                     struct tpc_str key, tpc_forward_info_fn *fn, void *user);

/* Id of a message that has none: made of the log's id, the partition and the offset, marked as
 * UUIDv8 (RFC 9562 5.8). base: SHA-256 of the log's id, its first 16 bytes. */
struct tpc_id tpi_forward_msg_id(const struct tpc_id *base, uint32_t partition, uint64_t offset);

#endif
