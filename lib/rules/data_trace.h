/* What a data rule decides, for who follows it: rules/trace.h. */
#ifndef TPI_RULES_DATA_TRACE_H
#define TPI_RULES_DATA_TRACE_H

#include "rules/data_rule.h"
#include "rules/trace.h"

struct tpi_data_trace {
    struct tpi_trace *trace;
    const struct tpi_data_rule *rule;
    const struct tpc_device *device; /* NULL = several */
    int64_t unix_ms;
};

/* Key of the device; empty = several. */
struct tpc_str tpi_data_trace_key(const struct tpi_data_trace *at);

/* tpi_trace_test() of a part (enum tpi_program_part). */
int tpi_data_trace_test(const struct tpi_data_trace *at, uint32_t part,
                        const struct tpi_expr_host *host, void *user,
                        struct tpi_expr_scratch *scratch);

enum tpi_window_step { TPI_WINDOW_OPENS, TPI_WINDOW_TAKES, TPI_WINDOW_ENDS };

/* end_ms INT64_MAX = no time ends it. */
void tpi_data_trace_window(const struct tpi_data_trace *at, enum tpi_window_step step,
                           const struct tpi_pane *pane, int64_t start_ms, int64_t end_ms);

void tpi_data_trace_row(const struct tpi_data_trace *at, const struct tpc_value *row);

#endif
