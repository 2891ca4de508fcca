/* Counts of one rule. */
#include "rules/ledger.h"

#include "base/alloc.h"
#include "rules/trace.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(struct tpi_tally) == (size_t) 2 * TPI_LEDGER_LINE, "whole cache lines");
_Static_assert(offsetof(struct tpi_tally, failed) == TPI_LEDGER_LINE, "a look touches one");

/* Room to begin with a line, where there is somebody to share one with. */
static size_t slack(uint32_t workers)
{
    return workers > 1 ? TPI_LEDGER_LINE : 0;
}

static size_t memory_bytes(uint32_t workers)
{
    return (size_t) workers * sizeof(struct tpi_tally) + slack(workers);
}

int tpi_ledger_init(struct tpi_ledger *l, const struct tpc_allocator *alloc, uint32_t workers)
{
    l->memory = tpi_alloc_zero(alloc, memory_bytes(workers));
    if (l->memory == NULL) {
        return TPC_ENOMEM;
    }
    size_t over = (uintptr_t) l->memory % TPI_LEDGER_LINE;
    size_t skip = over > 0 && slack(workers) > 0 ? TPI_LEDGER_LINE - over : 0;
    l->workers = (struct tpi_tally *) (void *) ((char *) l->memory + skip);
    l->count = workers;
    for (uint32_t i = 0; i < workers; i++) {
        l->workers[i].usual = TPI_LEDGER_SAMPLE - 1;
    }
    return 0;
}

void tpi_ledger_fini(struct tpi_ledger *l, const struct tpc_allocator *alloc)
{
    tpi_ledger_why(l, alloc, NULL);
    tpi_ledger_trace(l, NULL);
    if (l->memory != NULL) {
        tpi_free(alloc, l->memory, memory_bytes(l->count));
    }
    *l = (struct tpi_ledger){ .workers = NULL };
}

void tpi_ledger_move(struct tpi_ledger *to, struct tpi_ledger *from)
{
    to->workers = from->workers;
    to->memory = from->memory;
    to->count = from->count;
    from->workers = NULL;
    from->memory = NULL;
    for (uint32_t i = 0; i < to->count; i++) {
        to->workers[i].error_ms = 0;
        to->workers[i].error_code = 0;
    }
}

uint64_t tpi_tally_ns(const struct tpi_tally *t)
{
    double each = t->timed > 0 ? (double) t->timed_ns / (double) t->timed : 0;
    return t->due_ns + (uint64_t) (each * (double) t->evaluated);
}

void tpi_ledger_trace(struct tpi_ledger *l, struct tpi_trace *trace)
{
    for (uint32_t i = 0; l->workers != NULL && i < l->count; i++) {
        struct tpi_tally *t = &l->workers[i];
        tpi_trace_unref(t->trace);
        t->trace = tpi_trace_ref(trace);
        t->usual = trace != NULL ? 0 : TPI_LEDGER_SAMPLE - 1;
    }
}

void tpi_ledger_untrace(struct tpi_ledger *l, const struct tpi_trace *trace)
{
    for (uint32_t i = 0; i < l->count; i++) {
        struct tpi_tally *t = &l->workers[i];
        if (t->trace == trace) {
            tpi_trace_unref(t->trace);
            t->trace = NULL;
            t->usual = TPI_LEDGER_SAMPLE - 1;
        }
    }
}

void tpi_tally_failed(struct tpi_tally *t, int64_t unix_ms, uint32_t action, int code,
                      uint64_t device)
{
    t->failed++;
    t->error_ms = unix_ms;
    t->error_code = code;
    t->error_action = action;
    t->error_device = device;
}

void tpi_ledger_why(struct tpi_ledger *l, const struct tpc_allocator *alloc,
                    const struct tpc_error *err)
{
    char text[sizeof(err->text) + sizeof(err->path) + 64];
    int n = 0;
    if (l->why != NULL) {
        tpi_free(alloc, l->why, strlen(l->why) + 1);
        l->why = NULL;
    }
    if (err == NULL) {
        return;
    }
    if (err->line > 0) {
        n = snprintf(text, sizeof(text), "%s (%s, line %u, column %u)", err->text, err->path,
                     err->line, err->column);
    } else {
        n = snprintf(text, sizeof(text), err->path[0] != '\0' ? "%s (%s)" : "%s%s", err->text,
                     err->path);
    }
    l->why = tpi_str_dup(alloc, (struct tpc_str){ text, n > 0 ? (size_t) n : 0 });
}
