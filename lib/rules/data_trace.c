#include "rules/data_trace.h"

#include "base/alloc.h"
#include "registry/device.h"

#include <string.h>

/* The statement is read again: its parts are not kept. sql NULL: no memory for it. */
struct names {
    const struct tpi_data_trace *at;
    const struct tpi_sql *sql;
};

static struct tpc_str span_text(const struct tpi_sql *sql, struct tpi_sql_span span)
{
    struct tpc_str s = { sql->text.ptr + span.from, span.to - span.from };
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\n')) {
        s.len--;
    }
    return s;
}

struct tpc_str tpi_data_trace_key(const struct tpi_data_trace *at)
{
    return at->device != NULL ? at->device->key : TPC_STR("");
}

static struct tpc_str name_of(void *user, uint32_t index)
{
    const struct names *n = user;
    if (index == TPI_NAME_DEVICE) {
        return TPC_STR("device.key");
    }
    if (index >= TPI_NAME_GROUP) {
        uint32_t group = index - TPI_NAME_GROUP;
        return group < n->at->rule->group_count ? n->at->rule->groups[group] : TPC_STR("?");
    }
    if (index >= TPI_NAME_CALL) {
        uint32_t call = index - TPI_NAME_CALL;
        bool known = n->sql != NULL && call < n->sql->call_count;
        return known ? span_text(n->sql, n->sql->calls[call].all) : TPC_STR("?");
    }
    return tpi_model_key_of(n->at->device->product->model, (uint16_t) index);
}

static struct tpc_str part_text(const struct tpi_sql *sql, uint32_t part)
{
    switch (part) {
    case TPI_PART_HAVING:
        return span_text(sql, sql->having);
    case TPI_PART_WHERE:
        return span_text(sql, sql->where);
    case TPI_PART_FILTER:
        return span_text(sql, sql->window.filter);
    case TPI_PART_BEGIN:
        return span_text(sql, sql->window.begin);
    default:
        return span_text(sql, sql->window.emit);
    }
}

int tpi_data_trace_test(const struct tpi_data_trace *at, uint32_t part,
                        const struct tpi_expr_host *host, void *user,
                        struct tpi_expr_scratch *scratch)
{
    static const char *const parts[] = { "HAVING", "WHERE", "FILTER", "begin", "end" };
    const struct tpc_allocator *alloc = at->rule->alloc;
    struct tpi_sql *sql = tpi_alloc(alloc, sizeof(*sql));
    bool parsed = sql != NULL && tpi_sql_parse(alloc, at->rule->text, NULL, sql) == 0;
    struct names names = { at, parsed ? sql : NULL };
    struct tpi_trace_test x = { .trace = at->trace,
                                .device = tpi_data_trace_key(at),
                                .unix_ms = at->unix_ms,
                                .part = parts[part],
                                .text = parsed ? part_text(sql, part) : TPC_STR("?"),
                                .name = name_of,
                                .name_user = &names };
    int result = tpi_trace_test(&x, at->rule->program.exprs[part], host, user, scratch);
    tpi_free(alloc, sql, sizeof(*sql));
    return result;
}

void tpi_data_trace_window(const struct tpi_data_trace *at, enum tpi_window_step step,
                           const struct tpi_pane *pane, int64_t start_ms, int64_t end_ms)
{
    static const char *const words[] = { "opens", "takes", "ends" };
    static const char *const texts[] = { "opens and takes the message", "takes the message",
                                         "ends" };
    struct tpi_note n;
    char from[TPI_TRACE_WHEN];
    char to[TPI_TRACE_WHEN];
    tpi_trace_time(start_ms, from);
    tpi_note_begin(&n, at->trace, TPC_STEP_WINDOW, tpi_data_trace_key(at), at->unix_ms);
    tpi_note_text(&n, "window of %s from %s",
                  at->device != NULL ? at->device->key.ptr : "several devices", from);
    if (end_ms != INT64_MAX) {
        tpi_trace_time(end_ms, to);
        tpi_note_text(&n, " to %s", to);
    }
    tpi_note_text(&n, " %s: %u in it", texts[step], (unsigned) pane->count);
    tpi_note_str(&n, "window", tpc_str_from(words[step]));
    tpi_note_int(&n, "from", start_ms);
    if (end_ms != INT64_MAX) {
        tpi_note_int(&n, "to", end_ms);
    }
    tpi_note_int(&n, "count", pane->count);
    tpi_note_end(&n);
}

void tpi_data_trace_row(const struct tpi_data_trace *at, const struct tpc_value *row)
{
    struct tpi_note n;
    tpi_note_begin(&n, at->trace, TPC_STEP_ROW, tpi_data_trace_key(at), at->unix_ms);
    tpi_note_text(&n, "row ");
    tpi_note_say(&n, row);
    tpi_note_value(&n, "row", row);
    tpi_note_end(&n);
}
