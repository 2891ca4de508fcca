/* FROM 'main/up/thermo/+/telemetry': a topic filter of the bus that names one product. */
#include "base/error.h"
#include "bus/topic.h"
#include "rules/sql.h"

#include <string.h>
#include <tpcore/msg.h>

enum { LEVELS = 6 /* tenant, up, product, device, kind; a # may stand behind it */ };

/* Messages that a rule can look at: those with values. */
static const uint64_t value_kinds =
    (UINT64_C(1) << TPC_MSG_TELEMETRY) | (UINT64_C(1) << TPC_MSG_ATTRIBUTES);

static bool has_wildcard(struct tpc_str level)
{
    return level.len > 0 &&
           (memchr(level.ptr, '+', level.len) != NULL || memchr(level.ptr, '#', level.len) != NULL);
}

static bool is_rest(struct tpc_str level)
{
    return level.len == 1 && level.ptr[0] == '#';
}

/* %XX stands for each byte that is no part of a level. */
static bool has_good_escapes(struct tpc_str level)
{
    static const char digits[] = "0123456789ABCDEFabcdef";
    for (size_t i = 0; i < level.len; i++) {
        if (level.ptr[i] != '%') {
            continue;
        }
        if (level.len - i < 3 || memchr(digits, level.ptr[i + 1], sizeof(digits) - 1) == NULL ||
            memchr(digits, level.ptr[i + 2], sizeof(digits) - 1) == NULL) {
            return false;
        }
    }
    return true;
}

/* What is wrong with a level, by its place; NULL = nothing. */
static const char *wrong(struct tpc_str level, uint32_t number, bool last)
{
    static const char *const no_wildcard[] = {
        "the first level is the rule's tenant",
        "'up' has to follow the tenant: what devices send",
        "the product has to be named: types come from its model",
    };
    if (has_wildcard(level) && number < 3) {
        return no_wildcard[number];
    }
    if (has_wildcard(level) && level.len != 1) {
        return "a wildcard stands alone in its level";
    }
    if (is_rest(level) && !last) {
        return "# is the last level";
    }
    if (level.len == 0) {
        return "a level is empty";
    }
    if (number == 1 && !tpc_str_equal(level, TPC_STR("up"))) {
        return no_wildcard[1];
    }
    return has_good_escapes(level) ? NULL : "after % two digits of 0-9, A-F have to follow";
}

/* The filter has only some of its levels. */
static const char *missing(uint32_t count)
{
    static const char *const levels[] = {
        "",
        "'up' is missing",
        "the product's level is missing",
        "a device's level is missing: its key, + or #",
        "the last level is missing: telemetry, attributes, + or #",
    };
    return levels[count];
}

int tpi_sql_topic(struct tpi_sql *s, struct tpc_error *err)
{
    struct tpc_str filter = s->topic.filter;
    struct tpc_str levels[LEVELS];
    size_t at = (size_t) (filter.ptr - s->text.ptr);
    size_t end = at + filter.len;
    uint32_t count = 0;
    for (size_t i = at; i <= end && count < LEVELS; count++) {
        const char *from = s->text.ptr + i;
        const char *slash = i < end ? memchr(from, '/', end - i) : NULL;
        levels[count] = (struct tpc_str){ from, slash != NULL ? (size_t) (slash - from) : end - i };
        const char *text = wrong(levels[count], count, slash == NULL);
        if (text != NULL) {
            return tpi_sql_error(s, err, TPC_EINVAL, i, text);
        }
        i += levels[count].len + 1;
    }
    if (count < 4 || (count == 4 && !is_rest(levels[3]))) {
        return tpi_sql_error(s, err, TPC_EINVAL, end, missing(count));
    }
    struct tpc_error why = { .size = sizeof(why) };
    if (tpi_filter_check(filter, 0, &why) != 0) {
        return tpi_sql_error(s, err, TPC_EINVAL, at, why.text);
    }
    struct tpc_str prefix = { filter.ptr, 0 };
    prefix.len = count > 4 ? (size_t) (levels[4].ptr - filter.ptr) : 0;
    s->topic.kinds = count > 4 ? tpi_filter_kinds(filter, prefix) & value_kinds : value_kinds;
    if (s->topic.kinds == 0) {
        return tpi_sql_error(s, err, TPC_EINVAL, (size_t) (levels[4].ptr - s->text.ptr),
                             "rules look at values: telemetry, attributes, + or #");
    }
    bool any = has_wildcard(levels[3]);
    s->topic.tenant = levels[0];
    s->topic.device = any ? (struct tpc_str){ NULL, 0 } : levels[3];
    s->topic.narrow = !any || s->topic.kinds != value_kinds;
    s->product = levels[2];
    return 0;
}
