#include "data_suites.h"

#include "data/number.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse_double(const char *text, size_t len, double *ret)
{
    struct tpc_arena *arena = data_arena();
    struct tpc_value v;
    int rc = tpc_json_parse(arena, (struct tpc_str){ text, len }, 0, NULL, &v);
    if (rc == 0) {
        rc = tpc_value_double(&v, ret);
    }
    tpc_arena_destroy(arena);
    return rc;
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

static void is_what_strtod_says(const char *text)
{
    double d;
    double expected = strtod(text, NULL);
    int rc = parse_double(text, strlen(text), &d);
    ck_assert_msg(rc == 0, "%s", text);
    ck_assert_msg(same_bits(d, expected), "%s: %.17g, expected %.17g", text, d, expected);
}

START_TEST(hard_decimals_round_to_the_nearest_double)
{
    static const char *const table[] = {
        "0.1",
        "0.3",
        "-0.0",
        "1e0",
        "1E+2",
        "123456789012345678901234567890.0",
        "9007199254740993.0",
        "9007199254740991.0",
        "9007199254740992.5",
        "9007199254740993.000000000000000000000000000001",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "4.9406564584124654e-324",
        "2.4703282292062328e-324",
        "2.4703282292062327e-324",
        "2.2250738585072011e-308",
        "2.2250738585072014e-308",
        "1e-400",
        "0e9999999999",
        "0.000000000000000000000000000000000000000000000000001e51",
        "6.62607015e-34",
        "8.5e22",
        "1e23",
        "9.5367431640625e-7",
        "1.00000000000000011102230246251565404236316680908203125",
        "1.00000000000000011102230246251565404236316680908203124",
        "1.00000000000000011102230246251565404236316680908203126",
        "18446744073709551615.0",
        "18446744073709551616.0",
        "1844674407370955161.5e-20",
        "72057594037927945.0e-27",
        "179769313486231580793728971405301e276",
        "100000000000000016777215.0",
        "100000000000000016777216.0",
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        is_what_strtod_says(table[i]);
    }
}
END_TEST

START_TEST(decimals_beyond_double_are_refused)
{
    double d;
    static const char *const table[] = { "1e309", "-1e309", "1.7976931348623159e308",
                                         "1e99999999999" };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        tk_fails(TPC_EDECODE, parse_double(table[i], strlen(table[i]), &d));
    }
}
END_TEST

/* Digits so many that the slow path cuts them: what is cut off still breaks a tie. */
START_TEST(a_thousand_digits_still_break_a_tie)
{
    char text[1200];
    const char *half = "1.00000000000000011102230246251565404236316680908203125";
    size_t n = strlen(half);
    memcpy(text, half, n);
    memset(text + n, '0', 1000);
    text[n + 1000] = '\0';
    is_what_strtod_says(text);
    text[n + 999] = '1';
    is_what_strtod_says(text);
    memset(text, '7', 1000);
    memcpy(text + 1000, "e-900", 6);
    is_what_strtod_says(text);
}
END_TEST

START_TEST(integers_are_exact_to_the_borders_of_int64)
{
    static const struct {
        const char *text;
        uint32_t type;
        int64_t i;
    } table[] = {
        { "0", TPC_INT, 0 },
        { "-0", TPC_INT, 0 },
        { "12345678", TPC_INT, 12345678 },
        { "123456789", TPC_INT, 123456789 },
        { "-1234567890123456", TPC_INT, -1234567890123456 },
        { "9223372036854775807", TPC_INT, INT64_MAX },
        { "-9223372036854775808", TPC_INT, INT64_MIN },
        { "9223372036854775808", TPC_DOUBLE, 0 },
        { "-9223372036854775809", TPC_DOUBLE, 0 },
        { "9999999999999999999", TPC_DOUBLE, 0 },
        { "18446744073709551616", TPC_DOUBLE, 0 },
        { "1e2", TPC_DOUBLE, 0 },
    };
    struct tpc_arena *arena = data_arena();
    for (size_t n = 0; n < sizeof(table) / sizeof(table[0]); n++) {
        struct tpc_value v = data_json(arena, table[n].text);
        ck_assert_msg(v.type == table[n].type, "%s", table[n].text);
        if (v.type == TPC_INT) {
            ck_assert_int_eq(v.as.i, table[n].i);
        } else {
            ck_assert(same_bits(v.as.d, strtod(table[n].text, NULL)));
        }
    }
    tpc_arena_destroy(arena);
}
END_TEST

/* Through tpi_number_print() and back, for the bits of any double. */
static void goes_round(double d)
{
    char text[TPI_NUMBER_TEXT_BYTES + 1];
    size_t n = tpi_number_print(d, text);
    text[n] = '\0';
    char *end;
    double back = strtod(text, &end);
    /* check writes at each assertion: millions of them take a minute. */
    if (n >= TPI_NUMBER_TEXT_BYTES || *end != '\0' || !same_bits(back, d)) {
        ck_abort_msg("%.17g was written %s", d, text);
    }
    if (strpbrk(text, ".e") == NULL) {
        ck_abort_msg("%s reads back as an integer", text);
    }
}

START_TEST(a_million_doubles_go_round)
{
    uint64_t state = 42;
    struct tpc_arena *arena = data_arena();
    for (int i = 0; i < 1000000; i++) {
        uint64_t bits = data_random(&state);
        double d;
        memcpy(&d, &bits, 8);
        if (i % 4 != 0 || !isfinite(d)) {
            /* Sizes that devices send: few digits, or a mean of such. */
            static const double scale[] = { 1, 10, 100, 1000, 3, 7, 1e6, 1e15 };
            d = (double) ((int64_t) bits >> (data_random(&state) % 50)) / scale[bits % 8];
        }
        char text[40];
        struct tpc_value v;
        goes_round(d);
        size_t n = (size_t) snprintf(text, sizeof(text), "%.17g", d);
        tpc_arena_reset(arena);
        double back;
        if (tpc_json_parse(arena, (struct tpc_str){ text, n }, 0, NULL, &v) != 0 ||
            tpc_value_double(&v, &back) != 0 || back != d) {
            ck_abort_msg("%s", text);
        }
    }
    tpc_arena_destroy(arena);
}
END_TEST

/* The path through 128-bit integers, against the C library. */
START_TEST(long_mantissas_round_as_the_c_library_does)
{
    uint64_t state = 7;
    for (int i = 0; i < 300000; i++) {
        char text[64];
        double d;
        uint64_t mantissa = data_random(&state) >> (data_random(&state) % 20);
        int32_t exp10 = (int32_t) (data_random(&state) % 55) - 27;
        snprintf(text, sizeof(text), "%llue%d", (unsigned long long) mantissa, exp10);
        double slow = tpi_number_slow(text, text + strlen(text));
        double expected = strtod(text, NULL);
        bool right = !tpi_number_fast(mantissa, exp10, &d) || same_bits(d, expected);
        if (!right || !same_bits(slow, expected)) {
            ck_abort_msg("%s", text);
        }
    }
}
END_TEST

/* The digits of a number without sign, point, exponent and the zeros at both ends; NUL at the end.
 */
static void significant(const char *text, char *out)
{
    size_t n = 0;
    for (; *text != '\0' && *text != 'e'; text++) {
        if (*text != '.' && (n != 0 || *text != '0')) {
            out[n++] = *text;
        }
    }
    while (n > 1 && out[n - 1] == '0') {
        n--;
    }
    out[n] = '\0';
}

/* The digits are those of the first of %.15g, %.16g, %.17g that reads back the same. */
START_TEST(long_decimals_have_the_digits_of_the_c_library)
{
    uint64_t state = 99;
    for (int i = 0; i < 300000; i++) {
        char text[64];
        char ours[64];
        char theirs[64];
        double d = (double) ((data_random(&state) >> 11) + 1) * 0x1p-53;
        d = ldexp(d, (int) (data_random(&state) % 100) - 45);
        text[tpi_number_print(d, text)] = '\0';
        significant(text, ours);
        for (int precision = 15; precision <= 17; precision++) {
            snprintf(text, sizeof(text), "%.*e", precision - 1, d);
            if (strtod(text, NULL) == d) {
                break;
            }
        }
        significant(text, theirs);
        if (strcmp(ours, theirs) != 0) {
            ck_abort_msg("%.17g: %s, expected %s", d, ours, theirs);
        }
    }
}
END_TEST

START_TEST(doubles_take_the_fewest_digits)
{
    static const struct {
        double d;
        const char *text;
    } table[] = {
        { 0.0, "0.0" },
        { -0.0, "-0.0" },
        { 21.0, "21.0" },
        { 21.5, "21.5" },
        { -40.125, "-40.125" },
        { 0.1, "0.1" },
        { 0.1 + 0.2, "0.30000000000000004" },
        { 1.0 / 3, "0.3333333333333333" },
        { 2.0 / 3, "0.6666666666666666" },
        { 1e15, "1000000000000000.0" },
        { 123456789012345680.0, "1.2345678901234568e17" },
        { 1e16, "10000000000000000.0" },
        { 1e22, "1e22" },
        { 1e-7, "0.0000001" },
        { 1.5e-9, "0.0000000015" },
        { 1.7976931348623157e308, "1.7976931348623157e308" },
        { 5e-324, "4.94065645841247e-324" },
        { 1e300, "1e300" },
        { 9007199254740993.0, "9007199254740992.0" },
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char text[TPI_NUMBER_TEXT_BYTES + 1];
        text[tpi_number_print(table[i].d, text)] = '\0';
        ck_assert_str_eq(text, table[i].text);
    }
}
END_TEST

static void number_table_in_this_locale(void)
{
    char text[TPI_NUMBER_TEXT_BYTES + 1];
    double d;
    tk_ok(parse_double("2.2250738585072011e-308", 23, &d));
    ck_assert(same_bits(d, 0x0.fffffffffffffp-1022));
    tk_ok(parse_double("9007199254740992.50000000000000000001", 37, &d));
    ck_assert(d == 9007199254740992.0);
    text[tpi_number_print(0.1 + 0.2, text)] = '\0';
    ck_assert_str_eq(text, "0.30000000000000004");
    text[tpi_number_print(1.2345678901234567e-200, text)] = '\0';
    ck_assert_str_eq(text, "1.2345678901234567e-200");
}

/* glibc 2.36 loses 34 bytes in newlocale() where LOCPATH is set: not ours to report. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define ignore_leaks(on) ((on) ? __lsan_disable() : __lsan_enable())
#else
#define ignore_leaks(on) ((void) (on))
#endif

/* Locales are files, and few machines have one with a decimal comma: one is made with localedef
 * where that is installed. */
static locale_t comma_locale(void)
{
    static const char *const names[] = { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE" };
    locale_t got = (locale_t) 0;
    for (size_t i = 0; got == (locale_t) 0 && i < sizeof(names) / sizeof(names[0]); i++) {
        got = newlocale(LC_ALL_MASK, names[i], (locale_t) 0);
    }
    if (got == (locale_t) 0) {
        char command[1024];
        const char *dir = tk_tmpdir();
        snprintf(command, sizeof(command),
                 "mkdir -p %s && localedef -i de_DE -f UTF-8 --no-archive %s/de_DE.UTF-8 "
                 ">/dev/null 2>&1",
                 dir, dir);
        if (system(command) == 0) {
            ignore_leaks(true);
            setenv("LOCPATH", dir, 1);
            got = newlocale(LC_ALL_MASK, "de_DE.UTF-8", (locale_t) 0);
            unsetenv("LOCPATH");
            ignore_leaks(false);
        }
    }
    return got;
}

START_TEST(a_locale_with_a_decimal_comma_changes_nothing)
{
    char text[16];
    locale_t comma = comma_locale();
    if (comma == (locale_t) 0) {
        tk_skip("data/locale", "no locale with a decimal comma on this machine");
    } else {
        locale_t before = uselocale(comma);
        snprintf(text, sizeof(text), "%.1f", 0.5);
        number_table_in_this_locale();
        uselocale(before);
        freelocale(comma);
        ck_assert_str_eq(text, "0,5");
    }
    number_table_in_this_locale();
}
END_TEST

Suite *number_suite(void)
{
    Suite *s = suite_create("number");
    TCase *t = tcase_create("number");
    tcase_set_timeout(t, 100);
    tcase_add_test(t, hard_decimals_round_to_the_nearest_double);
    tcase_add_test(t, decimals_beyond_double_are_refused);
    tcase_add_test(t, a_thousand_digits_still_break_a_tie);
    tcase_add_test(t, integers_are_exact_to_the_borders_of_int64);
    tcase_add_test(t, a_million_doubles_go_round);
    tcase_add_test(t, long_mantissas_round_as_the_c_library_does);
    tcase_add_test(t, long_decimals_have_the_digits_of_the_c_library);
    tcase_add_test(t, doubles_take_the_fewest_digits);
    tcase_add_test(t, a_locale_with_a_decimal_comma_changes_nothing);
    suite_add_tcase(s, t);
    return s;
}
