/*
 * What stands between a condition and what a rule does: dampening, and switching itself off.
 *
 *     "dampen": {"type": "evaluation", "occurrences": 3, "evaluation": 5},
 *     "auto_disable": true, "re_enable": "5m"
 *
 * dampen.type: none; consecutive: the newest `occurrences` runs were true; evaluation: `occurrences` of the
 * newest `evaluation` runs were true; active_duration: true in every run for that long. A run whose condition
 * is null is none.
 */
#ifndef TPI_RULES_GATE_H
#define TPI_RULES_GATE_H

#include <tpcore/error.h>
#include <tpcore/ext/option.h>
#include <tpcore/value.h>

#include "calendar/dampen.h"

enum { TPI_GATE_DAMPEN_OPTIONS = 4 };

#define TPI_GATE_MAX_MS INT64_C(2592000000)
#define TPI_GATE_NEVER INT64_MAX /* off until it is put again */

struct tpi_gate {
    struct tpi_dampen dampen;
    bool auto_disable;    /* off after it fired */
    int64_t re_enable_ms; /* on again after so long; 0 = never */
};

extern const struct tpc_option tpi_gate_dampen_options[TPI_GATE_DAMPEN_OPTIONS];

#define TPI_GATE_DAMPEN_OPTION                                                                     \
    {                                                                                              \
        .name = "dampen", .type = TPC_OPT_TABLE, .sub = TPC_OPTIONS(tpi_gate_dampen_options),      \
        .since = "0.1", .help = "how often, or how long, it has to be true to be believed"         \
    }
#define TPI_GATE_AUTO_DISABLE_OPTION                                                               \
    {                                                                                              \
        .name = "auto_disable", .type = TPC_OPT_BOOL, .since = "0.1",                              \
        .help = "it switches itself off when it has fired"                                         \
    }
#define TPI_GATE_RE_ENABLE_OPTION                                                                  \
    {                                                                                              \
        .name = "re_enable", .type = TPC_OPT_DURATION, .min = 1, .max = TPI_GATE_MAX_MS,           \
        .since = "0.1", .help = "auto_disable: on again after so long; absent = when it is put"    \
    }

/* doc has auto_disable and re_enable; dampen may be NULL. Returns 0 or TPC_EINVAL, with a path from "dampen" or
 * "re_enable". */
int tpi_gate_read(struct tpi_gate *g, const struct tpc_value *doc, const struct tpc_value *dampen,
                  struct tpc_error *err);

/* Until when it is off that fired now. */
int64_t tpi_gate_off_until(const struct tpi_gate *g, int64_t fired_unix_ms);

#endif
