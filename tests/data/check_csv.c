#include "data/csv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data_suites.h"
#include "tk.h"

static char seen[4096];

/* Records as "a|b;", bad ones as "!line;". Bytes come `step` at a time, as from a file. */
static const char *read_all(const char *text, size_t len, size_t step)
{
    struct tpi_csv c;
    char *bytes = malloc(len + 1);
    size_t begin = 0;
    size_t end = step < len ? step : len;
    ck_assert_ptr_nonnull(bytes);
    memcpy(bytes, text, len);
    seen[0] = 0;
    tpi_csv_init(&c);
    for (;;) {
        size_t used;
        char line[40];
        enum tpi_csv_result r = tpi_csv_next(&c, bytes + begin, end - begin, end == len, &used);
        begin += used;
        if (r == TPI_CSV_MORE) {
            ck_assert_uint_lt(end, len);
            end = end + step < len ? end + step : len;
        } else if (r == TPI_CSV_END) {
            break;
        } else if (r == TPI_CSV_BAD) {
            snprintf(line, sizeof(line), "!%u;", (unsigned) c.line);
            strncat(seen, line, sizeof(seen) - strlen(seen) - 1);
        }
        for (uint32_t i = 0; r == TPI_CSV_RECORD && i < c.count; i++) {
            size_t n = c.fields[i].len < 100 ? c.fields[i].len : 100;
            strncat(seen, c.fields[i].ptr, n);
            strncat(seen, i + 1 < c.count ? "|" : ";", 2);
        }
    }
    free(bytes);
    return seen;
}

static void same(const char *text, const char *expected)
{
    for (size_t step = 1; step < 40; step += 3) {
        ck_assert_str_eq(read_all(text, strlen(text), step), expected);
    }
    ck_assert_str_eq(read_all(text, strlen(text), 1 << 20), expected);
}

START_TEST(records_are_read_as_rfc_4180_says)
{
    same("", "");
    same("a,b\nc,d", "a|b;c|d;");
    same("a,b\r\nc,d\r\n", "a|b;c|d;");
    same("\n\r\na,,\n\n", "a||;");
    same("\xEF\xBB\xBFkey,b\n", "key|b;");
    same("\"a\"\"b\",\"c,d\ne\",\"\"\n", "a\"b|c,d\ne|;");
    same("\"last\"", "last;");
}
END_TEST

START_TEST(a_bad_record_costs_its_line_and_no_other)
{
    same("a\"b,c\nd,e\n", "!1;d|e;");
    same("\"a\"b,c\nd,e\n", "!1;d|e;");
    same("a,\"b\nd,e\nf", "!1;d|e;f;");
    same("a,\xFF\nd,e\n", "!1;d|e;");
    same("a,\"x\ny\"z\nd,e\n\"q\n", "!1;d|e;!4;");
    ck_assert_str_eq(read_all("a,\0b\nc\n", 7, 7), "!1;c;");
}
END_TEST

START_TEST(a_field_has_up_to_64_kib_and_a_record_up_to_its_limit)
{
    size_t cap = 2 * TPI_CSV_RECORD_BYTES;
    char *text = malloc(cap);
    ck_assert_ptr_nonnull(text);
    memset(text, 'x', cap);
    text[65536] = '\n';
    text[65537] = 'b';
    ck_assert_int_eq(strncmp(read_all(text, 65538, 4096), "xxx", 3), 0);
    text[65536] = 'x';
    memcpy(text + 65537, "\nb\n", 3);
    ck_assert_str_eq(read_all(text, 65540, 4096), "!1;b;");
    text[0] = '"';
    memset(text + 65537, 'x', 3);
    memcpy(text + cap - 3, "\nb\n", 3);
    ck_assert_str_eq(read_all(text, cap, TPI_CSV_RECORD_BYTES), "!1;b;");
    free(text);
}
END_TEST

Suite *csv_suite(void)
{
    Suite *s = suite_create("csv");
    TCase *tc = tcase_create("csv");
    tcase_add_test(tc, records_are_read_as_rfc_4180_says);
    tcase_add_test(tc, a_bad_record_costs_its_line_and_no_other);
    tcase_add_test(tc, a_field_has_up_to_64_kib_and_a_record_up_to_its_limit);
    suite_add_tcase(s, tc);
    return s;
}
