/* Zones at work: spans of time, local times, windows of the day, names and files. */
#include "calendar/zone.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "calendar/zone_state.h"

#include <string.h>

/* More than any offset: 26 h in files, 25:59:59 in rules. */
enum { OFFSET_SCOPE_S = 27 * TPI_HOUR_S };

void tpi_zone_destroy(struct tpi_zone *zone)
{
    if (zone != NULL) {
        tpi_free(zone->alloc, zone, zone->size);
    }
}

static int64_t bound(int64_t s)
{
    if (s < TPI_TIME_MIN_S) {
        return TPI_TIME_MIN_S;
    }
    return s > TPI_TIME_MAX_S ? TPI_TIME_MAX_S : s;
}

/* How many changes are not after a moment. */
static uint32_t changes_until(const struct tpi_zone *zone, int64_t unix_s)
{
    uint32_t low = 0;
    uint32_t high = zone->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (zone->at[mid] <= unix_s) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

void tpi_zone_span(const struct tpi_zone *zone, int64_t unix_s, struct tpi_zone_span *ret)
{
    if (zone == NULL) {
        *ret = (struct tpi_zone_span){ INT64_MIN, INT64_MAX, 0, false, "UTC" };
        return;
    }
    int64_t t = bound(unix_s);
    uint32_t n = changes_until(zone, t);
    if (n == zone->count && zone->has_rule) {
        tpi_rule_span(&zone->rule, t, ret);
        if (n > 0 && ret->from_s < zone->at[n - 1]) {
            ret->from_s = zone->at[n - 1];
        }
        return;
    }
    const struct tpi_zone_type *type = &zone->types[n == 0 ? 0 : zone->type_of[n - 1]];
    ret->from_s = n > 0 ? zone->at[n - 1] : INT64_MIN;
    ret->to_s = n < zone->count ? zone->at[n] : INT64_MAX;
    ret->offset_s = type->offset_s;
    ret->dst = type->dst;
    ret->abbr = type->abbr;
}

int64_t tpi_zone_local(const struct tpi_zone *zone, int64_t unix_s)
{
    struct tpi_zone_span span;
    tpi_zone_span(zone, unix_s, &span);
    return bound(unix_s) + span.offset_s;
}

void tpi_zone_unix(const struct tpi_zone *zone, int64_t local_s, struct tpi_local_unix *ret)
{
    int64_t local = bound(local_s);
    int64_t gap_end = INT64_MAX;
    int hits = 0;
    struct tpi_zone_span span;
    struct tpi_local_unix found = { TPI_LOCAL_NONE, local, local };
    for (int64_t t = local - OFFSET_SCOPE_S; t <= local + OFFSET_SCOPE_S; t = span.to_s) {
        tpi_zone_span(zone, t, &span);
        int64_t u = local - span.offset_s;
        if (u >= span.from_s && u < span.to_s) {
            found.first_s = hits == 0 ? u : found.first_s;
            found.second_s = u;
            hits++;
        }
        if (gap_end == INT64_MAX && t == span.from_s && t + span.offset_s > local) {
            gap_end = t;
        }
        if (span.to_s <= t) {
            break;
        }
    }
    if (hits == 0) {
        found.first_s = gap_end != INT64_MAX ? gap_end : local;
        found.second_s = found.first_s;
    }
    found.kind = hits == 0 ? TPI_LOCAL_NONE : hits == 1 ? TPI_LOCAL_ONCE : TPI_LOCAL_TWICE;
    *ret = found;
}

bool tpi_window_contains(const struct tpi_zone *zone, int32_t from_s, int32_t to_s,
                         uint32_t weekdays, int64_t unix_s)
{
    int64_t local = tpi_zone_local(zone, unix_s);
    int64_t day = tpi_floor_div(local, TPI_DAY_S);
    int32_t s = tpi_time_of_day(local);
    bool today = (weekdays >> tpi_weekday(day) & 1) != 0;
    bool yesterday = (weekdays >> tpi_weekday(day - 1) & 1) != 0;
    if (from_s <= to_s) {
        return today && s >= from_s && s <= to_s;
    }
    return (today && s >= from_s) || (yesterday && s <= to_s);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "+08:00", "-0330", "+08". */
static bool read_fixed(struct tpc_str name, int32_t *ret_s)
{
    if (name.len < 3 || (name.ptr[0] != '+' && name.ptr[0] != '-')) {
        return false;
    }
    char d[4] = { '0', '0', '0', '0' };
    size_t n = 0;
    for (size_t i = 1; i < name.len; i++) {
        if (i == 3 && name.ptr[i] == ':' && name.len == 6) {
            continue;
        }
        if (!is_digit(name.ptr[i]) || n == sizeof(d)) {
            return false;
        }
        d[n++] = name.ptr[i];
    }
    int32_t h = (d[0] - '0') * 10 + (d[1] - '0');
    int32_t m = (d[2] - '0') * 10 + (d[3] - '0');
    if ((n != 2 && n != 4) || h > 23 || m > 59) {
        return false;
    }
    *ret_s = (h * TPI_HOUR_S + m * TPI_MINUTE_S) * (name.ptr[0] == '-' ? -1 : 1);
    return true;
}

static int make_fixed(const struct tpc_allocator *alloc, struct tpc_str name, int32_t offset_s,
                      struct tpc_error *err, struct tpi_zone **ret)
{
    struct tpi_zone *zone = tpi_alloc_zero(alloc, sizeof(*zone));
    if (zone == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "zone", "out of memory");
    }
    zone->alloc = alloc;
    zone->size = sizeof(*zone);
    zone->has_rule = true;
    zone->rule.std_offset_s = offset_s;
    size_t n = name.len < TPI_ZONE_MAX_ABBR ? name.len : TPI_ZONE_MAX_ABBR - 1;
    memcpy(zone->rule.std_abbr, name.ptr, n);
    *ret = zone;
    return 0;
}

int tpi_zone_posix(const struct tpc_allocator *alloc, struct tpc_str text, struct tpc_error *err,
                   struct tpi_zone **ret)
{
    struct tpi_rule rule;
    struct tpi_zone *zone = NULL;
    int rc = tpi_rule_parse(text, err, &rule);
    rc = rc != 0 ? rc : make_fixed(alloc, TPC_STR(""), 0, err, &zone);
    if (rc != 0) {
        return rc;
    }
    zone->rule = rule;
    *ret = zone;
    return 0;
}

/* A path under the folder of zones and nothing else. */
static bool name_valid(struct tpc_str name)
{
    if (name.len == 0 || name.len > TPI_ZONE_MAX_NAME || name.ptr[0] == '/' ||
        name.ptr[name.len - 1] == '/') {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!letter && !is_digit(c) && c != '_' && c != '-' && c != '+' && c != '/') {
            return false;
        }
    }
    return true;
}

static int read_file(const struct tpi_env *env, void *file, struct tpc_error *err,
                     struct tpi_zone **ret)
{
    int native = 0;
    const struct tpc_files *files = env->files;
    int64_t len = files->length(files->user, file, &native);
    if (len < 0) {
        return tpi_error_native(err, (int) len, native, "zone", "cannot read the file");
    }
    if (len == 0 || len > TPI_ZONE_MAX_BYTES) {
        return tpi_error_set(err, len == 0 ? TPC_EDECODE : TPC_ETOOBIG, "zone",
                             "a file of %lld bytes, expected 1 to %d", (long long) len,
                             TPI_ZONE_MAX_BYTES);
    }
    uint8_t *bytes = tpi_alloc(env->alloc, (size_t) len);
    if (bytes == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "zone", "out of memory");
    }
    int64_t got = files->read_at(files->user, file, bytes, (size_t) len, 0, &native);
    int rc;
    if (got < 0) {
        rc = tpi_error_native(err, (int) got, native, "zone", "cannot read the file");
    } else {
        rc = tpi_zone_decode(env->alloc, (struct tpc_bytes){ bytes, (size_t) got }, err, ret);
    }
    tpi_free(env->alloc, bytes, (size_t) len);
    return rc;
}

static int open_file(const struct tpi_env *env, const char *dir, struct tpc_str name,
                     struct tpc_error *err, struct tpi_zone **ret)
{
    struct tpi_buf path;
    tpi_buf_init(&path, env->alloc, 0);
    int rc = tpi_buf_printf(&path, "%s/%.*s", dir != NULL ? dir : TPI_ZONE_DIR, (int) name.len,
                            name.ptr);
    rc = rc != 0 ? rc : tpi_buf_u8(&path, 0);
    if (rc != 0) {
        tpi_buf_fini(&path);
        return tpi_error_set(err, rc, "zone", "out of memory");
    }
    int native = 0;
    void *file = NULL;
    rc = env->files->open(env->files->user, (const char *) path.ptr, TPC_FILE_READ, &file, &native);
    tpi_buf_fini(&path);
    if (rc != 0) {
        return tpi_error_native(err, rc, native, "zone", "no file of the time zone '%.*s'",
                                (int) name.len, name.ptr);
    }
    rc = read_file(env, file, err, ret);
    env->files->close(env->files->user, file);
    return rc;
}

int tpi_zone_open(const struct tpi_env *env, const char *dir, struct tpc_str name,
                  struct tpc_error *err, struct tpi_zone **ret)
{
    static const struct tpc_str utc[] = { TPC_STR_INIT("UTC"), TPC_STR_INIT("GMT"),
                                          TPC_STR_INIT("Etc/UTC"), TPC_STR_INIT("Z") };
    int32_t offset_s = 0;
    for (size_t i = 0; i < sizeof(utc) / sizeof(utc[0]); i++) {
        if (tpc_str_equal(name, utc[i])) {
            return make_fixed(env->alloc, TPC_STR("UTC"), 0, err, ret);
        }
    }
    if (read_fixed(name, &offset_s)) {
        return make_fixed(env->alloc, name, offset_s, err, ret);
    }
    if (!name_valid(name)) {
        return tpi_error_set(err, TPC_EINVAL, "zone",
                             "'%.*s' is no time zone: expected a name as Europe/Berlin, UTC or an "
                             "offset as +08:00",
                             name.len < 64 ? (int) name.len : 64, name.ptr != NULL ? name.ptr : "");
    }
    if (env->files == NULL) {
        return tpi_error_set(err, TPC_EUNSUPPORTED, "zone", "no files to read a time zone from");
    }
    return open_file(env, dir, name, err, ret);
}
