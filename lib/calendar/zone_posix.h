/* The rule of a POSIX TZ text: what holds after the last change that a TZif file names. */
#ifndef TPI_CALENDAR_ZONE_POSIX_H
#define TPI_CALENDAR_ZONE_POSIX_H

#include "calendar/zone.h"

enum tpi_rule_day { TPI_RULE_JULIAN, TPI_RULE_DAY, TPI_RULE_MONTH };

/* A day of the year and the time of its change. */
struct tpi_rule_date {
    uint8_t form;   /* enum tpi_rule_day: Jn, n, Mm.w.d */
    uint8_t month;  /* 1..12 */
    uint8_t week;   /* 1..5, 5 = last */
    uint8_t wday;   /* 0..6 */
    uint16_t day;   /* of Jn 1..365 (no 29 February), of n 0..365 */
    int32_t time_s; /* of the day, before the change; -167h..167h */
};

struct tpi_rule {
    int32_t std_offset_s; /* east of Greenwich */
    int32_t dst_offset_s;
    bool has_dst;
    char std_abbr[TPI_ZONE_MAX_ABBR];
    char dst_abbr[TPI_ZONE_MAX_ABBR];
    struct tpi_rule_date start; /* of summer time */
    struct tpi_rule_date end;
};

/* Returns 0 or TPC_EDECODE with the column. */
int tpi_rule_parse(struct tpc_str text, struct tpc_error *err, struct tpi_rule *ret);

/* The span around a moment by the rule alone. */
void tpi_rule_span(const struct tpi_rule *rule, int64_t unix_s, struct tpi_zone_span *ret);

#endif
