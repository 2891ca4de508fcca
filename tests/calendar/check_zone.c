#include "places.h"

#include "tk_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void offset_is(const struct tpi_zone *zone, const char *at, int32_t minutes, bool dst,
                      const char *abbr)
{
    struct tpi_zone_span span;
    tpi_zone_span(zone, utc(at), &span);
    ck_assert_msg(span.offset_s == minutes * 60, "%s: %d", at, span.offset_s / 60);
    ck_assert_msg(span.dst == dst, "%s", at);
    ck_assert_str_eq(span.abbr, abbr);
    ck_assert(span.from_s <= utc(at) && utc(at) < span.to_s);
}

START_TEST(offsets_of_known_places)
{
    struct tpi_zone *z = place("Europe/Berlin");
    struct tpi_zone_span span;
    tpi_zone_span(z, utc("1800-01-01T00:00:00"), &span);
    ck_assert_int_eq(span.offset_s, 53 * 60 + 28);
    ck_assert_str_eq(span.abbr, "LMT");
    tpi_zone_destroy(z);
    z = place("America/New_York");
    offset_is(z, "2026-03-08T06:59:59", -300, false, "EST");
    offset_is(z, "2026-03-08T07:00:00", -240, true, "EDT");
    offset_is(z, "2026-11-01T05:59:59", -240, true, "EDT");
    offset_is(z, "2026-11-01T06:00:00", -300, false, "EST");
    offset_is(z, "1970-07-01T00:00:00", -240, true, "EDT");
    tpi_zone_destroy(z);
    z = place("Asia/Shanghai");
    offset_is(z, "2026-07-01T00:00:00", 480, false, "CST");
    offset_is(z, "1988-07-01T00:00:00", 540, true, "CDT");
    tpi_zone_destroy(z);
    z = place("Australia/Lord_Howe");
    offset_is(z, "2026-04-04T14:59:59", 660, true, "+11");
    offset_is(z, "2026-04-04T15:00:00", 630, false, "+1030");
    offset_is(z, "2026-10-03T15:29:59", 630, false, "+1030");
    offset_is(z, "2026-10-03T15:30:00", 660, true, "+11");
    tpi_zone_destroy(z);
    z = place("Europe/Dublin");
    offset_is(z, "2026-07-01T00:00:00", 60, false, "IST");
    offset_is(z, "2026-12-01T00:00:00", 0, true, "GMT");
    tpi_zone_destroy(z);
}
END_TEST

START_TEST(the_rule_goes_on_where_the_file_ends)
{
    struct tpi_zone *slim = place("Europe/Berlin");
    struct tpi_zone *fat = place("fat/Berlin");
    /* Slim files leave to the rule what fat ones name. */
    for (int64_t t = utc("1893-01-01T00:00:00"); t < utc("2100-01-01T00:00:00"); t += 100003) {
        struct tpi_zone_span a;
        struct tpi_zone_span b;
        tpi_zone_span(slim, t, &a);
        tpi_zone_span(fat, t, &b);
        holds(a.offset_s == b.offset_s && a.dst == b.dst);
        holds(strcmp(a.abbr, b.abbr) == 0);
    }
    offset_is(fat, "2500-07-01T00:00:00", 120, true, "CEST");
    offset_is(slim, "2026-03-29T00:59:59", 60, false, "CET");
    offset_is(slim, "2026-03-29T01:00:00", 120, true, "CEST");
    offset_is(slim, "2199-10-27T00:59:59", 120, true, "CEST");
    offset_is(slim, "2199-10-27T01:00:00", 60, false, "CET");
    tpi_zone_destroy(slim);
    tpi_zone_destroy(fat);
}
END_TEST

static struct tpi_zone *posix(const char *text)
{
    struct tpc_error err = { 0 };
    struct tpi_zone *z = NULL;
    int rc = tpi_zone_posix(NULL, tpc_str_from(text), &err, &z);
    ck_assert_msg(rc == 0, "%s: column %u: %s", text, err.column, err.text);
    return z;
}

START_TEST(all_forms_of_posix_rules)
{
    struct tpi_zone *z = posix("AAA3BBB,J60/0,J300/1:30:15");
    offset_is(z, "2023-03-01T02:59:59", -180, false, "AAA");
    offset_is(z, "2023-03-01T03:00:00", -120, true, "BBB");
    offset_is(z, "2024-03-01T02:59:59", -180, false, "AAA"); /* Jn counts no 29 February */
    offset_is(z, "2024-03-01T03:00:00", -120, true, "BBB");
    offset_is(z, "2024-10-27T03:30:14", -120, true, "BBB");
    offset_is(z, "2024-10-27T03:30:15", -180, false, "AAA");
    tpi_zone_destroy(z);
    z = posix("AAA0BBB-2,59,299/-1");
    offset_is(z, "2024-02-29T02:00:00", 120, true, "BBB"); /* n counts it, from 0 */
    offset_is(z, "2023-03-01T01:59:59", 0, false, "AAA");
    offset_is(z, "2023-10-26T20:59:59", 120, true, "BBB"); /* 27 October minus 1 h */
    offset_is(z, "2023-10-26T21:00:00", 0, false, "AAA");
    tpi_zone_destroy(z);
    /* Over 24 h: Greenland's "last Sunday of March at -1 h" and Israel's "Thursday plus 26 h". */
    z = posix("<-02>2<-01>,M3.5.0/-1,M10.5.0/0");
    offset_is(z, "2026-03-29T00:59:59", -120, false, "-02");
    offset_is(z, "2026-03-29T01:00:00", -60, true, "-01");
    tpi_zone_destroy(z);
    z = posix("IST-2IDT,M3.4.4/26,M10.5.0");
    offset_is(z, "2026-03-26T23:59:59", 120, false, "IST");
    offset_is(z, "2026-03-27T00:00:00", 180, true, "IDT");
    tpi_zone_destroy(z);
    /* Summer time all year: RFC 9636 3.3.2. */
    z = posix("XXX3EDT4,0/0,J365/23");
    offset_is(z, "2025-12-31T23:59:59", -240, true, "EDT");
    offset_is(z, "2026-01-01T04:00:00", -240, true, "EDT");
    offset_is(z, "2026-07-01T00:00:00", -240, true, "EDT");
    tpi_zone_destroy(z);
    z = posix("EST5EDT"); /* rules of libc */
    offset_is(z, "2026-03-08T07:00:00", -240, true, "EDT");
    offset_is(z, "2026-11-01T06:00:00", -300, false, "EST");
    tpi_zone_destroy(z);
}
END_TEST

START_TEST(posix_texts_that_are_none_say_where)
{
    static const struct {
        const char *text;
        uint32_t column;
    } bad[] = { { "", 1 },
                { "AB3", 1 },
                { "AAA", 4 },
                { "AAA25", 4 },
                { "<AAA3", 6 },
                { "AAA3BB", 5 },
                { "AAA3BBB,", 9 },
                { "AAA3BBB,M3.2.0", 15 },
                { "AAA3BBB,M13.2.0,0", 10 },
                { "AAA3BBB,M1.6.0,0", 12 },
                { "AAA3BBB,M1.1.7,0", 14 },
                { "AAA3BBB,J0,0", 10 },
                { "AAA3BBB,366,0", 9 },
                { "AAA3BBB,0/168,0", 11 },
                { "AAA3BBB,0,0x", 12 },
                { "AAA3:60", 6 } };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tpc_error err = { 0 };
        struct tpi_zone *z = NULL;
        tk_fails(TPC_EDECODE, tpi_zone_posix(NULL, tpc_str_from(bad[i].text), &err, &z));
        ck_assert_msg(err.column == bad[i].column, "%s: column %u: %s", bad[i].text, err.column,
                      err.text);
    }
}
END_TEST

static void local_is(const struct tpi_zone *zone, const char *local, enum tpi_local_kind kind,
                     const char *first, const char *second)
{
    struct tpi_local_unix u;
    tpi_zone_unix(zone, utc(local), &u);
    ck_assert_msg(u.kind == kind, "%s: %d", local, (int) u.kind);
    utc_is(u.first_s, first);
    utc_is(u.second_s, second);
}

START_TEST(local_times_exist_never_once_or_twice)
{
    struct tpi_zone *z = place("Europe/Berlin");
    local_is(z, "2026-03-29T01:59:59", TPI_LOCAL_ONCE, "2026-03-29T00:59:59",
             "2026-03-29T00:59:59");
    local_is(z, "2026-03-29T02:00:00", TPI_LOCAL_NONE, "2026-03-29T01:00:00",
             "2026-03-29T01:00:00");
    local_is(z, "2026-03-29T02:59:59", TPI_LOCAL_NONE, "2026-03-29T01:00:00",
             "2026-03-29T01:00:00");
    local_is(z, "2026-03-29T03:00:00", TPI_LOCAL_ONCE, "2026-03-29T01:00:00",
             "2026-03-29T01:00:00");
    local_is(z, "2026-10-25T02:00:00", TPI_LOCAL_TWICE, "2026-10-25T00:00:00",
             "2026-10-25T01:00:00");
    local_is(z, "2026-10-25T02:59:59", TPI_LOCAL_TWICE, "2026-10-25T00:59:59",
             "2026-10-25T01:59:59");
    local_is(z, "2026-10-25T03:00:00", TPI_LOCAL_ONCE, "2026-10-25T02:00:00",
             "2026-10-25T02:00:00");
    tpi_zone_destroy(z);
    z = place("Australia/Lord_Howe");
    local_is(z, "2026-10-04T02:15:00", TPI_LOCAL_NONE, "2026-10-03T15:30:00",
             "2026-10-03T15:30:00");
    local_is(z, "2026-04-05T01:45:00", TPI_LOCAL_TWICE, "2026-04-04T14:45:00",
             "2026-04-04T15:15:00");
    tpi_zone_destroy(z);
    z = place("Pacific/Apia");
    local_is(z, "2011-12-30T12:00:00", TPI_LOCAL_NONE, "2011-12-30T10:00:00",
             "2011-12-30T10:00:00");
    local_is(z, "2011-12-31T00:00:00", TPI_LOCAL_ONCE, "2011-12-30T10:00:00",
             "2011-12-30T10:00:00");
    tpi_zone_destroy(z);
    local_is(NULL, "2026-03-29T02:30:00", TPI_LOCAL_ONCE, "2026-03-29T02:30:00",
             "2026-03-29T02:30:00");
}
END_TEST

START_TEST(every_moment_is_among_those_of_its_local_time)
{
    static const char *const names[] = { "Europe/Berlin", "America/New_York", "Pacific/Apia",
                                         "Australia/Lord_Howe" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct tpi_zone *z = place(names[i]);
        for (int64_t t = utc("2005-01-01T00:00:00"); t < utc("2045-01-01T00:00:00"); t += 9007) {
            struct tpi_local_unix u;
            tpi_zone_unix(z, tpi_zone_local(z, t), &u);
            holds(u.kind != TPI_LOCAL_NONE);
            holds(u.first_s == t || u.second_s == t);
        }
        tpi_zone_destroy(z);
    }
}
END_TEST

START_TEST(zones_open_by_name_and_nothing_else)
{
    static const char *const bad[] = {
        "",
        "/etc/passwd",
        "../zones/Asia/Shanghai",
        "Europe/..",
        "Europe/",
        "Europe/Ber lin",
        "a.b",
        "+8",
        "+24:00",
        "+08:60",
        "+08:0",
        "+080:0",
        "-8:00",
        "+08:00:00",
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaa")
    };
    struct tk_env e;
    struct tpc_error err = { 0 };
    struct tpi_zone *z = NULL;
    tk_env_init(&e);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int rc = tpi_zone_open(&e.env, ZONE_DIR, tpc_str_from(bad[i]), &err, &z);
        bool file = bad[i][0] == '+' && strchr(bad[i], ':') == NULL;
        ck_assert_msg(rc == TPC_EINVAL || (file && rc == TPC_ENOENT), "%s: %d", bad[i], rc);
    }
    tk_fails(TPC_ENOENT, tpi_zone_open(&e.env, ZONE_DIR, TPC_STR("Mars/Olympus"), &err, &z));
    ck_assert_ptr_nonnull(strstr(err.text, "Mars/Olympus"));
    static const struct {
        const char *name;
        int32_t minutes;
    } good[] = { { "UTC", 0 },      { "Z", 0 },        { "GMT", 0 },   { "Etc/UTC", 0 },
                 { "+08:00", 480 }, { "-0330", -210 }, { "+14", 840 }, { "Asia/Shanghai", 480 } };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        tk_ok(tpi_zone_open(&e.env, ZONE_DIR, tpc_str_from(good[i].name), &err, &z));
        ck_assert_int_eq(tpi_zone_local(z, 1800000000) - 1800000000, good[i].minutes * 60);
        tpi_zone_destroy(z);
    }
    e.files.fault[TK_FILE_READ].fail_at = e.files.fault[TK_FILE_READ].count + 1;
    e.files.fault[TK_FILE_READ].code = TPC_EIO;
    tk_fails(TPC_EIO, tpi_zone_open(&e.env, ZONE_DIR, TPC_STR("Asia/Shanghai"), &err, &z));
    tk_env_fini(&e);
}
END_TEST

static size_t load(const char *name, uint8_t *bytes, size_t cap)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", ZONE_DIR, name);
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    size_t n = fread(bytes, 1, cap, f);
    fclose(f);
    return n;
}

START_TEST(files_that_are_cut_or_changed_are_refused_or_harmless)
{
    static uint8_t bytes[4096];
    struct tpi_zone *z = NULL;
    size_t n = load("Europe/Berlin", bytes, sizeof(bytes));
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *exact = malloc(cut > 0 ? cut : 1);
        memcpy(exact, bytes, cut);
        int rc = tpi_zone_decode(NULL, (struct tpc_bytes){ exact, cut }, NULL, &z);
        ck_assert_int_eq(rc, TPC_EDECODE);
        free(exact);
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t was = bytes[i];
        for (int x = 0; x < 3; x++) {
            static const uint8_t masks[3] = { 0xFF, 0x80, 0x01 };
            bytes[i] = was ^ masks[x];
            if (tpi_zone_decode(NULL, (struct tpc_bytes){ bytes, n }, NULL, &z) == 0) {
                struct tpi_local_unix u;
                tpi_zone_unix(z, 1800000000, &u);
                tpi_zone_destroy(z);
            }
        }
        bytes[i] = was;
    }
    struct tpc_error err = { 0 };
    uint8_t big[1] = { 0 };
    tk_fails(TPC_ETOOBIG, tpi_zone_decode(NULL, (struct tpc_bytes){ big, 1 << 20 }, &err, &z));
}
END_TEST

START_TEST(files_of_version_1_and_with_leap_seconds)
{
    static uint8_t bytes[4096];
    struct tpi_zone *z = NULL;
    struct tpc_error err = { 0 };
    size_t n = load("fat/Berlin", bytes, sizeof(bytes));
    bytes[4] = 0;
    tk_ok(tpi_zone_decode(NULL, (struct tpc_bytes){ bytes, n }, &err, &z));
    offset_is(z, "2026-07-01T00:00:00", 120, true, "CEST");
    offset_is(z, "2050-07-01T00:00:00", 60, false, "CET"); /* no rule */
    tpi_zone_destroy(z);
    /* One leap second in a file without changes. */
    static const uint8_t right[] = "TZif\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                   "\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\4"
                                   "\0\0\0\0\0\0UTC\0\x04\xb2\x58\0\0\0\0\1";
    tk_fails(TPC_EUNSUPPORTED,
             tpi_zone_decode(NULL, (struct tpc_bytes){ right, sizeof(right) - 1 }, &err, &z));
}
END_TEST

START_TEST(windows_pass_midnight_with_the_day_they_began_on)
{
    const uint32_t mon = 1U << 1;
    struct tpi_zone *z = place("Europe/Berlin");
    /* Monday 2026-11-23 in Berlin is UTC + 1. */
    int32_t at22 = 22 * 3600;
    int32_t at6 = 6 * 3600;
    ck_assert(!tpi_window_contains(z, at22, at6, mon, utc("2026-11-23T20:59:59")));
    ck_assert(tpi_window_contains(z, at22, at6, mon, utc("2026-11-23T21:00:00")));
    ck_assert(tpi_window_contains(z, at22, at6, mon, utc("2026-11-24T05:00:00")));
    ck_assert(!tpi_window_contains(z, at22, at6, mon, utc("2026-11-24T05:00:01")));
    ck_assert(!tpi_window_contains(z, at22, at6, mon, utc("2026-11-24T22:00:00")));
    ck_assert(!tpi_window_contains(z, at22, at6, mon, utc("2026-11-23T02:00:00"))); /* Sunday's */
    ck_assert(tpi_window_contains(z, at6, at22, mon, utc("2026-11-23T05:00:00")));
    ck_assert(!tpi_window_contains(z, at6, at22, mon, utc("2026-11-24T05:00:00")));
    ck_assert(tpi_window_contains(z, 0, 86399, 0x7F, utc("2026-11-24T22:59:59")));
    ck_assert(!tpi_window_contains(z, 0, 86399, 0, utc("2026-11-24T22:59:59")));
    tpi_zone_destroy(z);
}
END_TEST

static int open_with(const struct tpc_allocator *a, void *user)
{
    struct tpi_env env;
    struct tpi_zone *z = NULL;
    tpi_env_default(&env);
    env.alloc = a;
    int rc = tpi_zone_open(&env, ZONE_DIR, tpc_str_from(user), NULL, &z);
    if (rc == 0) {
        tpi_zone_destroy(z);
    }
    return rc;
}

START_TEST(zones_without_memory)
{
    char name[] = "Europe/Berlin";
    char fixed[] = "+08:00";
    ck_assert_uint_gt(tk_each_alloc_fails(open_with, name), 2);
    ck_assert_uint_eq(tk_each_alloc_fails(open_with, fixed), 1);
}
END_TEST

Suite *zone_suite(void)
{
    Suite *s = suite_create("zone");
    TCase *t = tcase_create("zone");
    tcase_add_test(t, offsets_of_known_places);
    tcase_add_test(t, the_rule_goes_on_where_the_file_ends);
    tcase_add_test(t, all_forms_of_posix_rules);
    tcase_add_test(t, posix_texts_that_are_none_say_where);
    tcase_add_test(t, local_times_exist_never_once_or_twice);
    tcase_add_test(t, every_moment_is_among_those_of_its_local_time);
    tcase_add_test(t, zones_open_by_name_and_nothing_else);
    tcase_add_test(t, files_that_are_cut_or_changed_are_refused_or_harmless);
    tcase_add_test(t, files_of_version_1_and_with_leap_seconds);
    tcase_add_test(t, windows_pass_midnight_with_the_day_they_began_on);
    tcase_add_test(t, zones_without_memory);
    suite_add_tcase(s, t);
    return s;
}
