#include "data/report.h"

#include <string.h>

#include "base/error.h"
#include "data/option.h"

const struct tpc_option tpi_report_schema[TPI_REPORT_OPTIONS] = {
    { .name = "mode",
      .type = TPC_OPT_ENUM,
      .def = "received",
      .values = "received|change|period|change_or_period",
      .since = "0.1",
      .help =
          "Which values go on: all; those that differ from the last one that went; the last one "
          "each period; both." },
    { .name = "period",
      .type = TPC_OPT_DURATION,
      .def = "10s",
      .min = TPI_REPORT_MIN_PERIOD_MS,
      .max = TPI_REPORT_MAX_PERIOD_S * 1000LL,
      .since = "0.1",
      .help = "Of period and change_or_period." },
    { .name = "deadband",
      .type = TPC_OPT_DOUBLE,
      .def = "0",
      .min = 0,
      .max = INT64_MAX,
      .since = "0.1",
      .help = "A number that differs by no more than that is no change." },
    { .name = "deadband_percent",
      .type = TPC_OPT_DOUBLE,
      .def = "0",
      .min = 0,
      .max = 1000000,
      .since = "0.1",
      .help = "The same in percent of the value that went last; of both the wider one counts." },
    { .name = "reset",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "change_or_period: whether a change restarts the period." },
    { .name = "stamp",
      .type = TPC_OPT_ENUM,
      .def = "sample",
      .values = "sample|send",
      .since = "0.1",
      .help = "Time of what the period sends: sample = the value's own if it came since the last "
              "time, else that of sending; send = always that of sending." },
    { .name = "ttl",
      .type = TPC_OPT_DURATION,
      .def = "1d",
      .max = TPI_REPORT_MAX_TTL_S * 1000LL,
      .since = "0.1",
      .help = "A value that the device has not said for so long is forgotten: it is not repeated, "
              "and the next one goes; 0 = never." },
};

static double number(const struct tpc_value *map, struct tpc_str key)
{
    double d = 0;
    (void) tpc_value_double(tpc_value_get(map, key), &d);
    return d;
}

static int64_t whole(const struct tpc_value *map, struct tpc_str key)
{
    int64_t i = 0;
    (void) tpc_value_int(tpc_value_get(map, key), &i);
    return i;
}

static bool is(const struct tpc_value *map, struct tpc_str key, struct tpc_str word)
{
    return tpc_str_equal(tpc_value_text(tpc_value_get(map, key)), word) != 0;
}

void tpi_report_read(const struct tpc_value *v, struct tpi_report *ret)
{
    static const char *const modes[] = { "received", "change", "period", "change_or_period" };
    memset(ret, 0, sizeof(*ret));
    if (v == NULL || v->type != TPC_MAP) {
        return;
    }
    for (int i = 0; i < 4; i++) {
        if (is(v, TPC_STR("mode"), tpc_str_from(modes[i]))) {
            ret->mode = (uint8_t) (TPI_REPORT_RECEIVED + i);
        }
    }
    const struct tpc_value *reset = tpc_value_get(v, TPC_STR("reset"));
    ret->period_ms = (uint32_t) whole(v, TPC_STR("period"));
    ret->deadband = number(v, TPC_STR("deadband"));
    ret->deadband_percent = number(v, TPC_STR("deadband_percent"));
    ret->reset = reset != NULL && reset->type == TPC_BOOL && reset->as.b;
    ret->stamp_send = is(v, TPC_STR("stamp"), TPC_STR("send"));
    ret->ttl_ms = (uint64_t) whole(v, TPC_STR("ttl"));
}

int tpi_report_parse(const struct tpc_value *v, struct tpc_arena *arena, struct tpc_error *err,
                     struct tpi_report *ret)
{
    static const struct tpc_list table = TPC_OPTIONS(tpi_report_schema);
    struct tpc_value checked;
    if (v == NULL || v->type == TPC_NULL) {
        tpi_report_read(NULL, ret);
        return 0;
    }
    if (v->type != TPC_MAP) {
        return tpi_error_set(err, TPC_EINVAL, "report",
                             "a report strategy is an object with \"mode\"");
    }
    int rc = tpi_option_check(&table, v, 0, arena, err, &checked);
    if (rc == 0) {
        tpi_report_read(&checked, ret);
    }
    return rc;
}
