/*
 * What a rule decides, step by step, for people: of a rule that runs, or of one that is tried
 * (lib/core/rule_test.c). A worker tells steps under the lock that it holds during a batch; whoever
 * follows takes them, on another thread.
 *
 * Steps are kept until they are taken: TPI_TRACE_STEPS of them, then they are counted as lost. One for
 * which there is no memory is lost, too: a rule never fails because somebody watches it.
 */
#ifndef TPI_RULES_TRACE_H
#define TPI_RULES_TRACE_H

#include <stdbool.h>
#include <tpcore/msg.h>
#include <tpcore/rule.h>

#include "base/buf.h"
#include "base/env.h"
#include "expr/expr.h"

struct tpi_trace;
struct tpi_tally;

enum {
    TPI_TRACE_STEPS = 10000, /* that wait to be taken */
    TPI_TRACE_TEXT = 1 << 16 /* bytes of a step's text, and of its JSON */
};

/* Who is followed, and for how long. */
struct tpi_trace_options {
    uint64_t device; /* id; 0 = any */
    uint64_t looks;  /* 0 = no limit */
    uint64_t ms;     /* on the monotonic clock; 0 = no limit */
};

/* env outlives it. Returns 0 or TPC_ENOMEM; *ret is the caller's reference. */
int tpi_trace_create(const struct tpi_env *env, const struct tpi_trace_options *options,
                     struct tpi_trace **ret);
struct tpi_trace *tpi_trace_ref(struct tpi_trace *t); /* NULL is fine, as in the next */
void tpi_trace_unref(struct tpi_trace *t);

/* Whether it follows no more. Any thread. */
bool tpi_trace_over(struct tpi_trace *t);
void tpi_trace_end(struct tpi_trace *t);

/* Steps so far, the taken ones, too; and those that were lost. Any thread. */
uint64_t tpi_trace_count(struct tpi_trace *t);
uint64_t tpi_trace_lost(struct tpi_trace *t);

/* Calls fn, without a lock, for what waits. Returns 0 or what fn returned: the step before counts as
 * taken. One thread at a time. */
int tpi_trace_take(struct tpi_trace *t, tpc_rule_step_fn *fn, void *user);

/* ---- for those who tell: under the worker's lock ---- */

/* A look at a device begins (0 = at none): the trace that wants it, or NULL. One that is over leaves the
 * tally. */
struct tpi_trace *tpi_trace_look(struct tpi_tally *t, uint64_t device);
/* It ends. NULL is fine. */
void tpi_trace_told(struct tpi_trace *t);
/* The same for what may be part of another look, which goes on to be told to its own: place is the worker's.
 * Returns whether it began one, for leave. */
bool tpi_trace_enter(struct tpi_trace **place, struct tpi_tally *t, uint64_t device);
void tpi_trace_leave(struct tpi_trace **place, bool entered);

/* A step that is made: begin, any of the others, end. */
struct tpi_note {
    struct tpi_trace *trace;
    uint32_t what; /* enum tpc_rule_step_what */
    int32_t code;
    int64_t unix_ms;
    struct tpc_str device;
    struct tpi_buf text;
    struct tpi_buf json; /* members */
    int rc;
};

void tpi_note_begin(struct tpi_note *n, struct tpi_trace *trace, uint32_t what,
                    struct tpc_str device, int64_t unix_ms);
void tpi_note_text(struct tpi_note *n, const char *fmt, ...) TPC_PRINTF(2, 3);
/* A value as JSON behind the text. */
void tpi_note_say(struct tpi_note *n, const struct tpc_value *v);
/* Members of its JSON. */
void tpi_note_str(struct tpi_note *n, const char *key, struct tpc_str s);
void tpi_note_int(struct tpi_note *n, const char *key, int64_t i);
void tpi_note_value(struct tpi_note *n, const char *key, const struct tpc_value *v);
void tpi_note_end(struct tpi_note *n);

/* A decision: word is for machines. at_ms 0 = it is about no time. */
void tpi_trace_decide(struct tpi_trace *t, struct tpc_str device, int64_t unix_ms, const char *word,
                      int64_t at_ms, const char *fmt, ...) TPC_PRINTF(6, 7);

/* A message is looked at. */
void tpi_trace_message(struct tpi_trace *t, struct tpc_str device, const struct tpc_msg *msg);

/* What an action came to. target may be empty. */
struct tpi_trace_action {
    const char *type; /* "command" */
    struct tpc_str name;
    struct tpc_str target;
    const struct tpc_value *params;
    int code;         /* 0 = done, or TPC_EEXIST: before a start */
    const char *what; /* why it was refused; NULL = the code's name */
};
void tpi_trace_action(struct tpi_trace *t, struct tpc_str device, int64_t unix_ms,
                      const struct tpi_trace_action *a);

/* Name of what an expression loads. */
typedef struct tpc_str tpi_trace_name_fn(void *user, uint32_t index);

struct tpi_trace_test {
    struct tpi_trace *trace;
    struct tpc_str device;
    int64_t unix_ms;
    const char *part; /* "when.expr" */
    struct tpc_str text;
    tpi_trace_name_fn *name;
    void *name_user;
};
/* tpi_expr_test(), and tells the result with all values that it saw. */
int tpi_trace_test(const struct tpi_trace_test *x, const struct tpi_expr *e,
                   const struct tpi_expr_host *host, void *user, struct tpi_expr_scratch *scratch);

enum { TPI_TRACE_WHEN = 40 };
/* "2026-11-20T12:00:00Z", with milliseconds where there are some; "5m", "1h30m". */
void tpi_trace_time(int64_t unix_ms, char ret[TPI_TRACE_WHEN]);
void tpi_trace_span(int64_t ms, char ret[TPI_TRACE_WHEN]);

#endif
