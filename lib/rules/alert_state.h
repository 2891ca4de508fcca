/* What the files of the alerts share. */
#ifndef TPI_RULES_ALERT_STATE_H
#define TPI_RULES_ALERT_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "base/wheel.h"
#include "calendar/zone.h"
#include "entity/entity.h"
#include "rules/alert.h"

/* ---- configurations: alert_config.c ---- */

struct tpi_alert_window {
    int32_t from_min, to_min; /* of the day; from > to: over midnight; equal: the whole day */
    struct tpi_zone *zone;    /* its own; NULL = UTC */
    uint32_t weekdays;        /* bit n: ISO day n, 1 = Monday; of the day on which it begins */
};

struct tpi_alert_handlers {
    struct tpc_str keys[TPI_ALERT_HANDLERS];
    uint32_t count;
};

enum { TPI_ALERT_ON_RAISE = 1, TPI_ALERT_ON_CLEAR = 2, TPI_ALERT_ON_ESCALATE = 4 };

/* Never changes; counted. */
/* What one configuration did, as struct tpc_rule_info tells it. */
struct tpi_alert_tally {
    _Atomic uint64_t wished;
    _Atomic uint64_t raises; /* .. of which wanted it raised */
    _Atomic uint64_t fired;  /* .. and did */
    _Atomic uint64_t failed;
    _Atomic uint64_t timed; /* wishes that were timed */
    _Atomic uint64_t timed_ns;
    _Atomic int64_t fired_ms;
    _Atomic int64_t error_ms;
    _Atomic int error_code; /* of the last wish that failed */
};

struct tpi_alert_config {
    atomic_uint refs;
    const struct tpc_allocator *alloc;
    struct tpc_arena *arena;
    uint64_t id;
    uint64_t tenant_id;
    uint64_t revision;
    struct tpi_alert_tally tally;
    struct tpc_str tenant, key, name, text;
    bool enabled;
    uint32_t severity; /* 0 = as it is raised */
    uint32_t on;
    struct tpi_alert_handlers handlers;
    int64_t escalate_after_ms; /* 0 = never */
    uint32_t escalate_severity;
    struct tpi_alert_handlers escalate_handlers;
    uint32_t flap_changes; /* 0 = it does not care */
    int64_t flap_within_ms;
    struct tpi_alert_window windows[TPI_ALERT_WINDOWS];
    uint32_t window_count;
    struct tpc_str offline_product; /* empty = none */
    int64_t offline_after_ms;
};

/* Counted; NULL = there is none. */
struct tpi_alert_config *tpi_alert_config_get(struct tpi_alerts *a, uint64_t tenant_id,
                                              struct tpc_str key);
void tpi_alert_config_unref(struct tpi_alert_config *c); /* NULL is fine */

/* A wish begins: what to give to the end, 0 = it is not timed. c NULL is fine, as below. */
uint64_t tpi_alert_tally_begin(const struct tpi_env *env, struct tpi_alert_config *c, bool raise);
/* .. and ends. fired: an alert was raised by it. */
void tpi_alert_tally_end(const struct tpi_env *env, struct tpi_alert_config *c, uint64_t from_ns,
                         int code, bool fired);
/* A changed configuration goes on counting; failures were the old one's. */
void tpi_alert_tally_move(struct tpi_alert_tally *to, const struct tpi_alert_tally *from);

/* When the windows end in which a time lies; 0 = it lies in none. */
int64_t tpi_alert_windows_end(const struct tpi_alert_config *c, int64_t unix_ms);

int tpi_alert_prepare(void *user, struct tpi_change *change, struct tpc_error *err);
void tpi_alert_apply(void *user, struct tpi_change *change);
void tpi_alert_discard(void *user, struct tpi_change *change);
extern const struct tpc_list tpi_alert_schema;

/* ---- alerts ---- */

enum tpi_alert_flags {
    /* the first three as enum tpc_alert_flags */
    TPI_ALERT_HELD = 8,       /* nobody was told of it: it was muted, or flapping */
    TPI_ALERT_WANT_CLEAR = 16 /* flapping, and cleared at last */
};

enum tpi_alert_what {
    TPI_ALERT_RAISE = 1,
    TPI_ALERT_WORSE = 2,
    TPI_ALERT_CLEAR = 3,
    TPI_ALERT_ACK = 4,
    TPI_ALERT_COMMENT = 5,
    TPI_ALERT_ESCALATE = 6,
    TPI_ALERT_FLAP = 7,
    TPI_ALERT_CALM = 8,
    TPI_ALERT_UNMUTE = 9
};

struct tpi_alert_note {
    struct tpi_alert_note *next;
    int64_t unix_ms;
    struct tpc_str by, text; /* behind this struct */
};

/* Times at which it was raised or cleared, the newest last. */
struct tpi_alert_toggles {
    uint32_t count;
    int64_t unix_ms[TPI_ALERT_TOGGLES];
};

struct tpi_alert_owner;

struct tpi_alert {
    struct tpi_alert_owner *owner;
    struct tpi_alert *next; /* of the same device */
    struct tpi_alert *next_dirty;
    struct tpi_timer timer;
    struct tpc_id id;
    uint64_t tenant_id;
    uint64_t device_id;
    uint64_t count;
    uint64_t source_offset;
    int64_t raised_ms, last_ms, acked_ms, cleared_ms; /* cleared 0 = open */
    uint32_t partition;
    uint32_t source_partition;
    uint32_t change; /* number of the last one; 0 = it is not there yet */
    uint32_t note_count;
    uint32_t nth; /* of its device and key: 1, 2, .. as long as one of them is kept */
    uint8_t severity;
    uint8_t flags;
    bool has_source;
    bool dirty;                        /* in the list */
    bool dead;                         /* not in the maps any more */
    bool latest;                       /* of its key: in the chain of the device */
    struct tpi_alert_toggles *toggles; /* NULL = none */
    struct tpi_alert_note *notes, *last_note;
    struct tpc_str key, tenant, device; /* behind this struct */
    struct tpc_str text, by, acked_by;  /* of their own, NUL ends them; may be empty */
};

/* A row that is to be deleted. */
struct tpi_alert_row {
    struct tpi_alert_row *next;
    struct tpc_id id;
};

/* Devices of one product that are offline, in the order in which that began. */
struct tpi_alert_absent {
    uint64_t device_id;
    int64_t since_ms; /* what counts: not later than the clock says */
    int64_t said_ms;  /* as the device has it */
};
struct tpi_alert_watch {
    struct tpi_alert_config *config; /* counted */
    uint64_t product_id;
    struct tpi_alert_absent *items;
    size_t first, count, cap; /* from items[first] on; no ring */
};

/* Of one worker. */
struct tpi_alert_owner {
    struct tpi_alerts *alerts;
    uint32_t index;
    /* Held for changes of the maps and of alerts; the owner reads without it. */
    pthread_mutex_t lock;
    struct tpi_map64 devices; /* first of a device's alerts, the latest of each key */
    struct tpi_map ids;
    struct tpi_alert *dirty;
    struct tpi_alert_row *gone;
    uint64_t open, closed;
    struct tpc_arena *arena;
    struct tpi_wheel wheel;
    struct tpi_alert_watch *watches;
    uint32_t watch_count;
    uint64_t *back; /* devices that are online again, or gone */
    size_t back_count, back_cap;
    uint32_t generation; /* of what it watches */
    uint64_t retry_ms;   /* the log said later; 0 = it did not */
    uint64_t trim_ms;
};

struct tpi_alerts {
    const struct tpi_env *env;
    struct tpi_alerts_host host;
    struct tpi_kind kind;
    struct tpi_alerts_counters counters;
    struct tpi_alert_owner *owners;
    pthread_mutex_t config_lock;
    struct tpi_map configs; /* tenant's number and key; a value that is the alerts: a place kept */
    atomic_uint generation;
    atomic_uint offline; /* configurations that watch presence */
    atomic_uint changes; /* that are not stored yet */
    atomic_bool full_said;
};

static inline bool tpi_alert_open(const struct tpi_alert *x)
{
    return x->cleared_ms == 0;
}

/* ---- the table: alert_table.c ---- */

/* The latest of a key, or NULL. */
struct tpi_alert *tpi_alert_find(struct tpi_alert_owner *o, uint64_t device_id, struct tpc_str key);
/* A new one in the maps with change 0: nobody sees it before that is another. NULL = out of memory. */
struct tpi_alert *tpi_alert_enter(struct tpi_alert_owner *o, const struct tpc_id *id,
                                  const struct tpi_alert *like);
void tpi_alert_leave(struct tpi_alert *x);
/* Under the lock. hard: a change, else counts. */
void tpi_alert_mark(struct tpi_alert *x, bool hard);
/* Under the lock: an older one of the key is only history from now on. */
void tpi_alert_supersede(struct tpi_alert *x);
void tpi_alert_toggle(struct tpi_alert_toggles *t, int64_t unix_ms);
/* Throws out what is closed for too long, or too much. */
void tpi_alert_trim(struct tpi_alert_owner *o);
bool tpi_alert_overfull(const struct tpi_alert_owner *o);
struct tpi_alert_owner *tpi_alert_owner_of(struct tpi_alerts *a, uint32_t partition);

/* ---- documents: alert_doc.c ---- */

/* What a message says beyond the alert. */
struct tpi_alert_said {
    enum tpi_alert_what what; /* 0 = it is a row: notes and toggles are written */
    struct tpc_str actor;
    struct tpc_str comment;
};
int tpi_alert_write(const struct tpi_alert *x, const struct tpi_alert_said *said,
                    struct tpc_arena *arena, struct tpc_value *ret);
/* What a handler is told. */
int tpi_alert_tell(const struct tpi_alert *x, const struct tpi_alert_config *c,
                   enum tpi_alert_what what, int64_t unix_ms, struct tpc_arena *arena,
                   struct tpc_value *ret);
/* Texts are views; notes and toggles are not read. Returns 0 or TPC_ECORRUPT. */
int tpi_alert_parse(const struct tpc_value *doc, struct tpi_alert *ret);
int tpi_alert_parse_note(const struct tpc_value *doc, struct tpi_alert_note *ret);

/* ---- changes: alert_change.c ---- */

struct tpi_alert_step {
    struct tpi_alert_owner *o;
    struct tpi_alert *alert;
    const struct tpi_alert_config *config; /* may be NULL */
    enum tpi_alert_what what;
    struct tpi_alert next; /* what it becomes; texts are borrowed */
    struct tpc_id id;      /* of the message; zero = made of the alert's and its number */
    int64_t unix_ms;
    struct tpc_str by; /* origin */
    struct tpc_str actor;
    struct tpc_str comment;
    const struct tpi_alert_handlers *handlers; /* NULL = nobody is told */
    bool toggles;                              /* it counts for flapping */
};

void tpi_alert_step_init(struct tpi_alert_step *s, struct tpi_alert *alert,
                         enum tpi_alert_what what, const struct tpi_alert_config *config,
                         int64_t unix_ms);
/* Appends it, then it is so. Returns 0, TPC_ENOMEM or what append() said. */
int tpi_alert_commit(struct tpi_alert_step *s);
/* Tells with this step, if the configuration names handlers for it. */
void tpi_alert_step_tell(struct tpi_alert_step *s, uint32_t on);
/* Sets the timer to what is due next. */
void tpi_alert_arm(struct tpi_alert *x);
tpi_timer_fn tpi_alert_due;
/* Puts one that was stored or logged into the table, with the lists of its document. Returns 0 or
 * TPC_ENOMEM. */
int tpi_alert_restore(struct tpi_alert_owner *o, const struct tpc_value *doc,
                      const struct tpi_alert *as);
int tpi_alert_add_note(struct tpi_alert *x, struct tpc_str by, struct tpc_str text,
                       int64_t unix_ms);
/* Whatever it is: flapping, muted. id: of the message, or NULL. */
int tpi_alert_clear_now(struct tpi_alert *x, struct tpc_str by, struct tpc_str actor,
                        struct tpc_str comment, const struct tpc_id *id, int64_t unix_ms);

/* ---- offline devices: alert_watch.c ---- */
void tpi_alert_watch_fini(struct tpi_alert_owner *o);
/* What is watched as configurations are now, and all open alerts are looked at. */
bool tpi_alert_rescan(struct tpi_alert_owner *o);
bool tpi_alert_watch_turn(struct tpi_alert_owner *o);
uint64_t tpi_alert_watch_next_ms(struct tpi_alert_owner *o);

#endif
