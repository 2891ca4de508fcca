#include "rules/during.h"

#include "base/error.h"
#include "base/hash.h"
#include "data/member.h"

enum { EVERY_DAY = 0x7F, DAYS_AHEAD = 15 /* a window that begins in a gap may be passed over */ };

static const struct tpc_option time_options[] = {
    { .name = "from",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .since = "0.1",
      .help = "HH:MM or HH:MM:SS" },
    { .name = "to",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .since = "0.1",
      .help = "the end, not in it any more; before from = past midnight" },
};

static const struct tpc_option day = { .name = "day", .type = TPC_OPT_TEXT };

const struct tpc_option tpi_during_options[4] = {
    { .name = "time",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(time_options),
      .since = "0.1",
      .help = "absent = the whole day" },
    { .name = "days",
      .type = TPC_OPT_LIST,
      .min = 1,
      .max = 7,
      .elem = &day,
      .since = "0.1",
      .help = "mon .. sun, on which it begins; absent = every day" },
    { .name = "zone",
      .type = TPC_OPT_TEXT,
      .since = "0.1",
      .help = "as Europe/Berlin or +08:00; absent = UTC" },
    { .name = "at_start",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "it also fires for what is true already when the window opens" },
};

static int fail(struct tpc_error *err, const char *path, const char *expected)
{
    tpi_error_set(err, TPC_EINVAL, "rules", "expected %s", expected);
    tpi_error_at(err, path);
    tpi_error_at(err, "during");
    return TPC_EINVAL;
}

static int read_days(struct tpi_during *d, const struct tpc_value *days, struct tpc_error *err)
{
    d->days = days == NULL ? EVERY_DAY : 0;
    for (size_t i = 0; days != NULL && i < days->len; i++) {
        int n = tpi_weekday_parse(tpc_value_text(&days->as.items[i]));
        if (n < 0) {
            return fail(err, "days", "days, as [\"mon\", \"thu\"]");
        }
        d->days = (uint8_t) (d->days | 1U << n);
    }
    return 0;
}

int tpi_during_read(struct tpi_during *d, const struct tpc_value *doc, struct tpc_error *err)
{
    *d = (struct tpi_during){ .set = doc != NULL };
    if (doc == NULL) {
        return 0;
    }
    const struct tpc_value *time = tpi_member(doc, "time");
    int32_t to_s = 0;
    if (time != NULL && tpi_civil_clock(tpi_member_text(time, "from"), &d->from_s) != 0) {
        return fail(err, "time.from", "a time HH:MM or HH:MM:SS");
    }
    if (time != NULL && tpi_civil_clock(tpi_member_text(time, "to"), &to_s) != 0) {
        return fail(err, "time.to", "a time HH:MM or HH:MM:SS");
    }
    d->to_s = (to_s + TPI_DAY_S - 1) % TPI_DAY_S;
    d->at_start = tpi_member_bool(doc, "at_start", false);
    d->zone_name = tpi_member_text(doc, "zone");
    return read_days(d, tpi_member(doc, "days"), err);
}

int tpi_during_open(struct tpi_during *d, const struct tpi_env *env, const char *zone_dir,
                    struct tpc_error *err)
{
    if (d->zone != NULL || d->zone_name.len == 0) {
        return 0;
    }
    int rc = tpi_zone_open(env, zone_dir, d->zone_name, err, &d->zone);
    if (rc != 0) {
        tpi_error_at(err, "zone");
        tpi_error_at(err, "during");
    }
    return rc;
}

void tpi_during_fini(struct tpi_during *d)
{
    tpi_zone_destroy(d->zone);
    d->zone = NULL;
}

static bool is_open(const struct tpi_during *d, int64_t unix_s)
{
    return tpi_window_contains(d->zone, d->from_s, d->to_s, d->days, unix_s);
}

bool tpi_during_contains(const struct tpi_during *d, int64_t unix_ms)
{
    return !d->set || is_open(d, tpi_floor_div(unix_ms, 1000));
}

int64_t tpi_during_next(const struct tpi_during *d, int64_t unix_ms)
{
    int64_t now_s = tpi_floor_div(unix_ms, 1000);
    int64_t today = tpi_floor_div(tpi_zone_local(d->zone, now_s), TPI_DAY_S);
    for (int64_t i = 0; d->set && i < DAYS_AHEAD; i++) {
        struct tpi_local_unix at;
        tpi_zone_unix(d->zone, (today + i) * TPI_DAY_S + d->from_s, &at);
        if (at.first_s > now_s && is_open(d, at.first_s) && !is_open(d, at.first_s - 1)) {
            return at.first_s * 1000;
        }
    }
    return INT64_MAX;
}

uint64_t tpi_during_hash(const struct tpi_during *d, uint64_t h)
{
    if (!d->set) {
        return h;
    }
    h = tpi_hash(d->zone_name.ptr, d->zone_name.len, h);
    h = tpi_hash64(h ^ ((uint64_t) d->from_s << 32 | (uint64_t) d->to_s));
    return tpi_hash64(h ^ ((uint64_t) d->days << 1 | (d->at_start ? 1U : 0U)));
}
