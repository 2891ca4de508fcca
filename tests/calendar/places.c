#include "places.h"

#include <stdio.h>
#include <string.h>

struct tpi_zone *place(const char *name)
{
    struct tpi_env env;
    struct tpc_error err = { 0 };
    struct tpi_zone *zone = NULL;
    tpi_env_default(&env);
    int rc = tpi_zone_open(&env, ZONE_DIR, tpc_str_from(name), &err, &zone);
    ck_assert_msg(rc == 0, "%s: %s", name, err.text);
    return zone;
}

int64_t utc(const char *text)
{
    int64_t day = 0;
    int32_t s = 0;
    ck_assert_int_eq(strlen(text), 19);
    tk_ok(tpi_civil_parse((struct tpc_str){ text, 10 }, &day));
    tk_ok(tpi_civil_clock((struct tpc_str){ text + 11, 8 }, &s));
    return day * TPI_DAY_S + s;
}

const char *utc_text(int64_t unix_s)
{
    static char texts[4][40];
    static int at;
    char *text = texts[at++ % 4];
    struct tpi_civil c;
    tpi_civil_from_local(unix_s, &c);
    snprintf(text, sizeof(texts[0]), "%04d-%02d-%02dT%02d:%02d:%02d", c.year, c.month, c.day,
             c.hour, c.minute, c.second);
    return text;
}
