#include "rules/gate.h"

#include "base/error.h"
#include "data/member.h"

const struct tpc_option tpi_gate_dampen_options[TPI_GATE_DAMPEN_OPTIONS] = {
    { .name = "type",
      .type = TPC_OPT_ENUM,
      .flags = TPC_OPT_REQUIRED,
      .values = "none|consecutive|evaluation|active_duration",
      .since = "0.1",
      .help = "what is asked of the newest runs" },
    { .name = "occurrences",
      .type = TPC_OPT_UINT,
      .min = 1,
      .max = TPI_DAMPEN_MAX_RUNS,
      .since = "0.1",
      .help = "consecutive, evaluation: runs that were true" },
    { .name = "evaluation",
      .type = TPC_OPT_UINT,
      .min = 1,
      .max = TPI_DAMPEN_MAX_RUNS,
      .since = "0.1",
      .help = "evaluation: of so many" },
    { .name = "active_duration",
      .type = TPC_OPT_DURATION,
      .min = 1,
      .max = TPI_GATE_MAX_MS,
      .since = "0.1",
      .help = "active_duration: how long" },
};

static int dampen_error(struct tpc_error *err, const char *name, const char *text)
{
    tpi_error_set(err, TPC_EINVAL, "rules", "%s", text);
    tpi_error_at(err, name);
    tpi_error_at(err, "dampen");
    return TPC_EINVAL;
}

static int read_runs(struct tpi_dampen *d, const struct tpc_value *doc, struct tpc_error *err)
{
    d->count = (uint32_t) tpi_member_int(doc, "occurrences", 0);
    d->window = (uint32_t) tpi_member_int(doc, "evaluation", 0);
    if (d->count == 0) {
        return dampen_error(err, "occurrences", "missing");
    }
    if (d->type == TPI_DAMPEN_CONSECUTIVE) {
        d->window = d->count;
    }
    if (d->window < d->count) {
        return dampen_error(err, "evaluation", d->window == 0 ? "missing" : "below occurrences");
    }
    return 0;
}

static int read_dampen(struct tpi_dampen *d, const struct tpc_value *doc, struct tpc_error *err)
{
    struct tpc_str type = tpi_member_text(doc, "type");
    if (tpc_str_equal(type, TPC_STR("active_duration"))) {
        d->type = TPI_DAMPEN_ACTIVE;
        d->active_ms = tpi_member_int(doc, "active_duration", 0);
        return d->active_ms > 0 ? 0 : dampen_error(err, "active_duration", "missing");
    }
    if (tpc_str_equal(type, TPC_STR("consecutive"))) {
        d->type = TPI_DAMPEN_CONSECUTIVE;
        return read_runs(d, doc, err);
    }
    if (tpc_str_equal(type, TPC_STR("evaluation"))) {
        d->type = TPI_DAMPEN_EVALUATION;
        return read_runs(d, doc, err);
    }
    return 0;
}

int tpi_gate_read(struct tpi_gate *g, const struct tpc_value *doc, const struct tpc_value *dampen,
                  struct tpc_error *err)
{
    *g = (struct tpi_gate){ .auto_disable = tpi_member_bool(doc, "auto_disable", false),
                            .re_enable_ms = tpi_member_int(doc, "re_enable", 0) };
    if (g->re_enable_ms > 0 && !g->auto_disable) {
        tpi_error_set(err, TPC_EINVAL, "rules", "only with auto_disable");
        tpi_error_at(err, "re_enable");
        return TPC_EINVAL;
    }
    return read_dampen(&g->dampen, dampen, err);
}

int64_t tpi_gate_off_until(const struct tpi_gate *g, int64_t fired_unix_ms)
{
    if (g->re_enable_ms == 0 || fired_unix_ms > TPI_GATE_NEVER - g->re_enable_ms) {
        return TPI_GATE_NEVER;
    }
    return fired_unix_ms + g->re_enable_ms;
}
