/* Functions: what each gives, at its edges, and what their arguments have to be. */
#include "suites.h"

#include <stdio.h>
#include <string.h>

#include "expr/functions.h"
#include "base/env.h"
#include "names.h"

START_TEST(numbers)
{
    static const struct row rows[] = {
        { "abs(-3)", "3" },
        { "abs(-t)", "31.5" },
        { "abs(big)", "9.223372036854776e18" },
        { "-big", "9.223372036854776e18" },
        { "ceil(t)", "32" },
        { "ceiling(-t)", "-31" },
        { "floor(-t)", "-32" },
        { "ceil(1e300)", "1e300" },
        { "round(t)", "32" },
        { "round(-t)", "-32" },
        { "round(2.345, 2)", "2.35" },
        { "round(1234.5, -2)", "1200.0" },
        { "round(1250, -2)", "1300" },
        { "round(7, 2)", "7" },
        { "round(1e300, 5)", "1e300" },
        { "round(t, 23)", "null" },
        { "round(t, 0.5)", "null" },
        { "trunc(-2.99)", "-2" },
        { "trunc(2.999, 2)", "2.99" },
        { "sign(-t)", "-1" },
        { "sign(0)", "0" },
        { "mod(-7, 4)", "-3" },
        { "mod(7, 0)", "null" },
        { "mod(big, -1)", "0" },
        { "power(2, 10)", "1024.0" },
        { "pow(-8, 0.5)", "null" },
        { "power(10, 400)", "null" },
        { "sqrt(16)", "4.0" },
        { "sqrt(-1)", "null" },
        { "exp(0)", "1.0" },
        { "exp(1000)", "null" },
        { "ln(1)", "0.0" },
        { "ln(0)", "null" },
        { "log(1000)", "3.0" },
        { "log(2, 8)", "3.0" },
        { "log(1, 8)", "null" },
        { "round(sin(pi() / 2), 9)", "1.0" },
        { "round(cos(pi()), 9)", "-1.0" },
        { "round(tan(pi() / 4), 9)", "1.0" },
        { "asin(2)", "null" },
        { "acos(1)", "0.0" },
        { "atan(0)", "0.0" },
        { "round(degrees(atan2(1, -1)), 6)", "135.0" },
        { "radians(0)", "0.0" },
        { "least(3, 1.5, 2)", "1.5" },
        { "greatest(3, t, 2)", "31.5" },
        { "greatest('a', 'b')", "\"b\"" },
        { "greatest(1, gone)", "null" },
        { "bitand(12, 10)", "8" },
        { "bitor(12, 10)", "14" },
        { "bitxor(12, 10.0)", "6" },
        { "bitxor(12, 0.5)", "null" },
        { "bitand(1e300, 1)", "null" },
        { "bitnot(0)", "-1" },
        { "abs(gone)", "null" },
        { "abs(nan)", "null" },
        { "abs(any)", "null" },
        { "ABS(-1) + Abs(-1)", "2" },
    };
    NAMES_CHECK(rows);
}
END_TEST

START_TEST(texts)
{
    static const struct row rows[] = {
        { "concat('a', 1, t, true, 2.0)", "\"a131.5true2\"" },
        { "concat(mode, gone)", "null" },
        { "concat('')", "\"\"" },
        { "upper(mode)", "\"AUTO\"" },
        { "upper('\xc3\xa4z')", "\"\xc3\xa4Z\"" },
        { "lower('ABC')", "\"abc\"" },
        { "lower('')", "\"\"" },
        { "trim('  a b\t\n')", "\"a b\"" },
        { "ltrim(' a ')", "\"a \"" },
        { "rtrim(' a ')", "\" a\"" },
        { "trim('   ')", "\"\"" },
        { "length(text)", "10" },
        { "numbytes(text)", "13" },
        { "length('')", "0" },
        { "substring('h\xc3\xa4llo', 1, 3)", "\"\xc3\xa4l\"" },
        { "substring(mode, 2)", "\"to\"" },
        { "substring(mode, 9)", "\"\"" },
        { "substring(mode, 1, 99)", "\"uto\"" },
        { "substring(mode, -1)", "null" },
        { "substring(mode, 2, 1)", "null" },
        { "substring(mode, 0, 1e300)", "\"auto\"" },
        { "indexof('h\xc3\xa4llo', 'l')", "2" },
        { "indexof(mode, 'x')", "-1" },
        { "indexof(mode, '')", "0" },
        { "indexof('', 'a')", "-1" },
        { "indexof('aab', 'ab')", "1" },
        { "contains(mode, 'ut')", "true" },
        { "contains(mode, 'ta')", "false" },
        { "startswith(mode, 'au')", "true" },
        { "startswith('a', 'ab')", "false" },
        { "endswith(mode, 'to')", "true" },
        { "endswith(mode, 'auto ')", "false" },
        { "endswith('', '')", "true" },
        { "replace('a-b-c', '-', '')", "\"abc\"" },
        { "replace('aaa', 'aa', 'b')", "\"ba\"" },
        { "replace('a', '', 'b')", "\"a\"" },
        { "replace('abc', 'abc', 'x')", "\"x\"" },
        { "split_value('a,b,,c', ',', 1)", "\"b\"" },
        { "split_value('a,b,,c', ',', 2)", "\"\"" },
        { "split_value('a,b,,c', ',', 3)", "\"c\"" },
        { "split_value('a,b', ',', 2)", "null" },
        { "split_value('a,b', '', 0)", "null" },
        { "split_value('a,b', ',', -1)", "null" },
        { "lpad('a', 2)", "\"  a\"" },
        { "rpad('a', 2)", "\"a  \"" },
        { "rpad('a', -2)", "\"a\"" },
        { "reverse('a\xc3\xa4\xe2\x82\xac')", "\"\xe2\x82\xac\xc3\xa4"
                                              "a\"" },
        { "format(t, 2)", "\"31.50\"" },
        { "format_number(-1234567, 0)", "\"-1234567\"" },
        { "format(0.5, 21)", "null" },
        { "upper(any)", "\"42\"" },
    };
    NAMES_CHECK(rows);
}
END_TEST

START_TEST(patterns)
{
    static const struct row rows[] = {
        { "regexp_matches(mode, 'ut')", "true" },
        { "regexp_matches(mode, '^ut')", "false" },
        { "regexp_matches(mode, '^a.*o$')", "true" },
        { "regexp_matches(mode, '')", "true" },
        { "regexp_matches('', '')", "true" },
        { "regexp_matches('', '^$')", "true" },
        { "regexp_matches('', 'a')", "false" },
        { "regexp_matches('a', '$a')", "false" },
        { "regexp_matches('abab', '^(ab)+$')", "true" },
        { "regexp_matches('aba', '^(ab)+$')", "false" },
        { "regexp_matches('ab', '^(?:a|b|cd){2}$')", "true" },
        { "regexp_matches('acd', '^(a|b|cd){2}$')", "true" },
        { "regexp_matches('a', '^(a|b|cd){2}$')", "false" },
        { "regexp_matches('aaa', '^a{2,3}$')", "true" },
        { "regexp_matches('aaaa', '^a{2,3}$')", "false" },
        { "regexp_matches('a', '^a{2,}$')", "false" },
        { "regexp_matches('aaaa', '^a{2,}?$')", "true" },
        { "regexp_matches('', '^a{0}$')", "true" },
        { "regexp_matches('a', '^a{0}$')", "false" },
        { "regexp_matches('', '^(a*)*$')", "true" },
        { "regexp_matches('aab', '^(a*|b)*$')", "true" },
        { "regexp_matches('ac', '^ab?c$')", "true" },
        { "regexp_matches('a1_', '^\\\\w+$')", "true" },
        { "regexp_matches('a-', '^\\\\w+$')", "false" },
        { "regexp_matches('10.5', '^\\\\d+\\\\.\\\\d$')", "true" },
        { "regexp_matches('1045', '^\\\\d+\\\\.\\\\d$')", "false" },
        { "regexp_matches('a b', '\\\\S\\\\s\\\\D')", "true" },
        { "regexp_matches('x', '[a-cx-z]')", "true" },
        { "regexp_matches('d', '[^a-cx-z]')", "true" },
        { "regexp_matches('b', '[^a-cx-z]')", "false" },
        { "regexp_matches(']', '[]]') and regexp_matches('-', '[a-]')", "true" },
        { "regexp_matches('7', '[\\\\d_]') and regexp_matches('_', '[\\\\d_]')", "true" },
        { "regexp_matches('h\xc3\xa4', '^h.$') and regexp_matches('\xc3\xa4', "
          "'[\xc3\xa0-\xc3\xbf]')",
          "true" },
        { "regexp_matches('\n', '.')", "false" },
        { "regexp_matches('ab|cd', '^a|d$') and regexp_matches('x', '|y')", "true" },
        { "regexp_matches('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaab', '^(a|a|aa)*$')", "false" },
        { "regexp_matches(device('m-2').mode, 'a')", "null" },
    };
    NAMES_CHECK(rows);
    static const struct refused refused[] = {
        { "regexp_matches(mode, mode)", 22, "a pattern in quotes expected, not 'mode'" },
        { "regexp_matches(t, 'a')", 16, "a text expected in regexp_matches(), 't' is a number" },
        { "regexp_matches(mode)", 20, "',' expected, not ')'" },
        { "regexp_matches(mode, 'a(b')", 26, "no closing ) in a pattern" },
        { "regexp_matches(mode, 'ab)')", 25, "an unmatched ) in a pattern" },
        { "regexp_matches(mode, '[a')", 25, "no closing ] in a pattern" },
        { "regexp_matches(mode, '[b-a]')", 27, "a range in [] that goes backwards" },
        { "regexp_matches(mode, '*a')", 23, "nothing to repeat in a pattern" },
        { "regexp_matches(mode, 'a{2,1}')", 29, "a malformed {} in a pattern" },
        { "regexp_matches(mode, 'a{x')", 25, "a malformed {} in a pattern" },
        { "regexp_matches(mode, '\\\\1')", 24, "unknown escape in a pattern" },
        { "regexp_matches(mode, '\\\\')", 24, "nothing stands behind \\" },
    };
    NAMES_REFUSE(refused);
    static const char *const huge[] = { "(((((((((((((((((a)))))))))))))))))", "(a{255}){255}",
                                        "((((){255}){255}){255}){255}",
                                        "(((a{0}){255}){255}){255}" };
    for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
        char text[100];
        struct tpi_expr *e = NULL;
        snprintf(text, sizeof(text), "regexp_matches(mode, '%s')", huge[i]);
        int rc = tpi_expr_compile(NULL, tpc_str_from(text), &names_scope, TPI_EXPR_ANY, NULL, &e);
        ck_assert_msg(rc != 0, "%s", huge[i]);
    }
}
END_TEST

START_TEST(times)
{
    static const struct row rows[] = {
        { "now()", "1795251907250" },
        { "tstamp() - event_time()", "1000" },
        { "year(now())", "2026" },
        { "month(now())", "11" },
        { "day_of_month(now())", "21" },
        { "day(now())", "21" },
        { "hour(now())", "9" },
        { "minute(now())", "5" },
        { "second(now())", "7" },
        { "day_of_week(now())", "7" },
        { "day_of_year(now())", "325" },
        { "day_name(now())", "\"Saturday\"" },
        { "month_name(now())", "\"November\"" },
        { "year(-1)", "1969" },
        { "hour(-1)", "23" },
        { "day_of_week(-86400000)", "4" },
        { "day_of_month(951782400000)", "29" },
        { "day_of_year(978220800000)", "366" },
        { "year(8.64e15)", "275760" },
        { "year(8.64e15 + 1000)", "null" },
        { "year(1e300)", "null" },
        { "hour(gone)", "null" },
        { "format_time(now(), 'YYYY-MM-dd HH:mm:ss.SSS')", "\"2026-11-21 09:05:07.250\"" },
        { "format_time(now(), 'YYYY-MM-dd HH:mm:ssSSS XXX')", "\"2026-11-21 09:05:07.250 Z\"" },
        { "format_time(now(), 'EEE, d MMM yy h:m:s a Z')", "\"Sat, 21 Nov 26 9:5:7 AM +0000\"" },
        { "format_time(now(), 'EEEE MMMM hh z')", "\"Saturday November 09 UTC\"" },
        { "format_time(43200000, 'h a')", "\"12 PM\"" },
        { "format_time(0, '\\'day\\' d')", "\"day 1\"" },
        { "format_time(now(), '')", "\"\"" },
        { "hour(now(), '+08:00')", "17" },
        { "day_name(now(), '+15:00')", "\"Sunday\"" },
        { "minute(now(), '-03:30')", "35" },
        { "hour(now(), 'UTC')", "9" },
        { "format_time(now(), 'HH:mm Z X', '-03:30')", "\"05:35 -0330 -03:30\"" },
        { "hour(null, 'UTC')", "null" },
        { "age(t)", "1500" },
        { "age(gone)", "null" },
    };
    NAMES_CHECK(rows);
}
END_TEST

START_TEST(null_and_types)
{
    static const struct row rows[] = {
        { "coalesce(gone, nan, 5)", "5" },
        { "ifnull(gone, h)", "40" },
        { "latest(t, 0)", "31.5" },
        { "coalesce(gone, null)", "null" },
        { "nullif(h, 40.0)", "null" },
        { "nullif(h, 41)", "40" },
        { "nullif(gone, gone)", "null" },
        { "isnull(gone)", "true" },
        { "isnull(list)", "false" },
        { "cast(t, 'bigint')", "31" },
        { "cast('12', 'bigint') + 1", "13" },
        { "cast(' -1.5e2 ', 'float')", "-150.0" },
        { "cast(h, 'float')", "40.0" },
        { "cast(t, 'string')", "\"31.5\"" },
        { "cast(2.0, 'string')", "\"2\"" },
        { "cast(true, 'string')", "\"true\"" },
        { "cast('1', 'boolean')", "true" },
        { "cast('yes', 'boolean')", "null" },
        { "cast(0, 'boolean')", "false" },
        { "cast(1e300, 'bigint')", "null" },
        { "to_number('12')", "12" },
        { "to_number('12.0')", "12.0" },
        { "tonumber('1e999')", "null" },
        { "to_number('99999999999999999999')", "1e20" },
        { "to_number('')", "null" },
        { "to_number('-')", "null" },
        { "to_number('1.')", "null" },
        { "to_number('1e')", "null" },
        { "to_number('0x10')", "null" },
        { "to_number(on)", "1" },
        { "to_int(any)", "42" },
        { "to_json(list)", "\"[5,2.5,null,7]\"" },
        { "to_json(gone)", "\"null\"" },
        { "to_json(mode)", "\"\\\"auto\\\"\"" },
    };
    NAMES_CHECK(rows);
}
END_TEST

START_TEST(lists_and_maps)
{
    static const struct row rows[] = {
        { "list[0]", "5" },
        { "list[-1]", "7" },
        { "list[4]", "null" },
        { "list[-5]", "null" },
        { "list[1.9]", "2.5" },
        { "list[h - 40] + 1", "6" },
        { "list[1e300]", "null" },
        { "pos.lat", "52.5" },
        { "pos.way[0]", "5" },
        { "pos.way[3] > 5 and pos.lat > 50", "true" },
        { "pos.in.x", "\"in\"" },
        { "pos.in . x", "\"in\"" },
        { "pos['in']['x']", "\"in\"" },
        { "pos.`in`.x", "\"in\"" },
        { "pos.no.such.thing", "null" },
        { "pos", "{\"lat\":52.5,\"way\":[5,2.5,null,7],\"in\":{\"x\":\"in\"}}" },
        { "any.x", "null" },
        { "any[0]", "null" },
        { "a.b", "12" },
        { "`a.b` + 1", "13" },
        { "blob", "null" },
        { "blob is null", "false" },
        { "blob.x", "null" },
        { "cardinality(list) + array_length(pos)", "7" },
        { "element_at(list, -1)", "7" },
        { "element_at(pos, 'lat')", "52.5" },
        { "array_contains(list, 5.0)", "true" },
        { "array_contains(list, 'x')", "false" },
        { "array_position(list, 7)", "3" },
        { "array_position(list, 8)", "-1" },
        { "array_max(list)", "7" },
        { "array_min(list)", "2.5" },
        { "array_sum(list)", "14.5" },
        { "round(array_avg(list), 3)", "4.833" },
        { "json_path_query_first(pos, '$.way[-1]')", "7" },
        { "json_path_query(pos, '$[\\'in\\'].x')", "\"in\"" },
        { "json_path_query(pos, '$')[\"lat\"]", "52.5" },
        { "json_path_query(pos, '$.way[x]')", "null" },
        { "json_path_query(pos, '$.')", "null" },
        { "json_path_query(pos, '$[')", "null" },
        { "json_path_query(pos, 'lat')", "null" },
        { "json_path_exists(pos, '$.in.x')", "true" },
        { "json_path_exists(pos, '$.in.y')", "false" },
    };
    NAMES_CHECK(rows);
}
END_TEST

START_TEST(state_other_devices_and_constants)
{
    static const struct row rows[] = {
        { "last(t)", "30" },
        { "lag(mode)", "\"auto\"" },
        { "last(on)", "null" },
        { "delta(t)", "1.5" },
        { "delta(gone)", "null" },
        { "changed(t)", "true" },
        { "changed(h)", "false" },
        { "changed(on)", "true" },
        { "changed(list)", "false" },
        { "changed(gone)", "true" },
        { "had_changed(true, gone)", "false" },
        { "had_changed(false, gone)", "true" },
        { "changed_col(true, t)", "31.5" },
        { "changed_col(true, h)", "null" },
        { "changed(t) and delta(t) > 1 and last(`t`) == 30", "true" },
        { "device('m-1').t + 1", "32.5" },
        { "device(concat('m-', 1)).mode", "\"auto\"" },
        { "upper(device('m-1').mode)", "\"AUTO\"" },
        { "device('m-2').t", "null" },
        { "device('m-1').gone", "null" },
        { "device('m-1').pos.way[0]", "5" },
        { "device('m-1').`a.b`", "12" },
        { "device('m-1').t > product.limit", "true" },
        { "product.key like 'th%'", "true" },
        { "t > product.limit", "true" },
        { "product.limit", "30" },
    };
    NAMES_CHECK(rows);
}
END_TEST

START_TEST(case_picks_the_first_true_branch)
{
    static const struct row rows[] = {
        { "case when t > 30 then 'hot' when t > 20 then 'warm' else 'cold' end", "\"hot\"" },
        { "case when t > 40 then 'hot' when t > 20 then 'warm' else 'cold' end", "\"warm\"" },
        { "case when t > 40 then 'hot' when gone > 1 then 'warm' else 'cold' end", "\"cold\"" },
        { "case when t > 40 then 'hot' end", "null" },
        { "case mode when 'eco' then 1 when 'auto' then 2 else 3 end + 10", "12" },
        { "case h when 1 then 'a' when 40.0 then 'b' end", "\"b\"" },
        { "case gone when null then 1 else 2 end", "2" },
        { "case h when 41 then 1 end", "null" },
        { "case when case when on then true else false end then case h when 40 then 1 end end",
          "1" },
        { "1 + case h when 40 then case mode when 'auto' then 5 end else 2 end * 2", "11" },
        { "CASE WHEN on THEN 1 ELSE 2 END > 1 or on", "true" },
        { "on and case when on then h > 3 end", "true" },
        { "concat('a', case h when 40 then 'b' else 'c' end, 'd')", "\"abd\"" },
        { "case when on then gone else 1 end", "null" },
    };
    NAMES_CHECK(rows);
}
END_TEST

START_TEST(what_does_not_fit_is_refused_where_it_stands)
{
    static const struct refused rows[] = {
        { "t > 1 && abs(mode)", 14, "a number expected in abs(), 'mode' is text" },
        { "abs('a')", 5, "a number expected in abs(), not a text" },
        { "upper(t + 1)", 7, "a text expected in upper(), not a number" },
        { "array_max(t)", 11, "a list expected in array_max(), 't' is a number" },
        { "concat(list)", 8, "a number, text or bool expected in concat(), 'list' is a list" },
        { "greatest(t, mode)", 13, "a number expected as in the other arguments, 'mode' is text" },
        { "coalesce('a', 1)", 15, "a text expected as in the other arguments, not a number" },
        { "abs()", 5, "abs() takes 1 argument, not 0" },
        { "abs(1, 2)", 8, "abs() takes 1 argument, not 2 or more" },
        { "round(1, 2, 3)", 13, "round() takes 1 to 2 arguments, not 3 or more" },
        { "now(1)", 5, "now() takes 0 arguments, not 1 or more" },
        { "abs(1,)", 7, "a value expected, not ')'" },
        { "abs(1 2)", 7, "',' or ')' expected, not '2'" },
        { "abs(1", 6, "',' or ')' expected at the end" },
        { "abz(1)", 1, "no function 'abz'" },
        { "rand()", 1, "no function 'rand'" },
        { "last(t + 1)", 6, "last() needs a property by its name" },
        { "last(3)", 6, "last() needs a property by its name" },
        { "delta(mode)", 7, "a number expected in delta(), 'mode' is text" },
        { "changed(t, h)", 10, "')' expected, not ','" },
        { "had_changed(t, h)", 13, "true or false expected, not 't'" },
        { "had_changed(true)", 17, "',' expected, not ')'" },
        { "cast(t, 'date')", 9, "'bigint', 'float', 'string' or 'boolean' expected, not ''date''" },
        { "cast(t, '')", 9, "'bigint', 'float', 'string' or 'boolean' expected, not ''''" },
        { "cast(t)", 7, "',' expected, not ')'" },
        { "cast(pos, 'string')", 6, "a number, text or bool expected in cast(), 'pos' is a map" },
        { "cast(t, 'string') + 1", 1, "a text stands here, arithmetic needs numbers" },
        { "device('m-1')", 14, "'.' and the name of a property expected at the end" },
        { "device('m-1').3", 15, "the name of a property expected, not '3'" },
        { "device(3).t", 8, "a text expected in device(), not a number" },
        { "t.x", 1, "no property 't.x'" },
        { "pos..x", 1, "the name of a member is empty" },
        { "pos.`a`.3", 9, "the name of a member expected, not '3'" },
        { "pos.a..b", 1, "the name of a member is empty" },
        { "nope.x", 1, "no property 'nope.x'" },
        { "t[0]", 1, "'t' is a number, a list or map is needed" },
        { "list['x']", 6, "a text stands here, an index is a number" },
        { "list[0", 7, "']' expected at the end" },
        { "list[]", 6, "a value expected, not ']'" },
        { "case when t then 1 end", 11, "'t' is a number, when needs a condition" },
        { "case mode when 3 then 1 end", 6, "'mode' is text, compared with a number" },
        { "case when on then 1 else mode end", 26,
          "a number expected as in the other branches, 'mode' is text" },
        { "case when on then 1 else 'a' end", 26,
          "a number expected as in the other branches, not a text" },
        { "case on end", 9, "'when' expected, not 'end'" },
        { "case when on 1 end", 14, "'then' expected, not '1'" },
        { "case when on then 1", 20, "'end' expected at the end" },
        { "t | round", 3, "an operator expected, not '|'" },
        { "t }}", 3, "an operator expected, not '}}'" },
        { "product.none", 1, "no property 'product.none'" },
    };
    NAMES_REFUSE(rows);
}
END_TEST

START_TEST(times_are_told_in_a_zone)
{
    static const struct {
        const char *text, *result;
    } rows[] = {
        { "format_time(now(), 'HH:mm Z z X', 'Europe/Berlin')", "10:05 +0100 CET +01:00" },
        { "to_text(hour(1782000000000, 'Europe/Berlin'))", "2" }, /* summer */
        { "to_text(hour(now(), 'Australia/Lord_Howe') * 100 + minute(now(), "
          "'Australia/Lord_Howe'))",
          "2005" },
        { "day_name(now(), 'Pacific/Apia')", "Saturday" },
    };
    static const struct refused bad[] = {
        { "hour(now(), 'No/Where')", 13, "no time zone 'No/Where'" },
        { "hour(now(), '../passwd')", 13, "no time zone '../passwd'" },
        { "hour(now(), mode)", 13, "a time zone in quotes expected, not 'mode'" },
        { "hour(now(), 'UTC' + 1)", 19, "',' or ')' expected, not '+'" },
        { "hour(now(), 'UTC', 1)", 20, "hour() takes 1 to 2 arguments, not 3 or more" },
    };
    struct tpi_env env;
    struct tpi_expr_scope scope = names_scope;
    char room[64];
    tpi_env_default(&env);
    scope.env = &env;
    scope.zone_dir = ZONE_DIR;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tpi_expr *e = NULL;
        struct tpi_expr_scratch scratch = { room, sizeof(room), 0, 0 };
        tk_ok(tpi_expr_compile(NULL, tpc_str_from(rows[i].text), &scope, TPI_EXPR_ANY, NULL, &e));
        struct tpc_value v = tpi_expr_eval(e, &names_host, NULL, &scratch);
        struct tpc_str text = tpc_value_text(&v);
        ck_assert_msg(tpc_str_equal(text, tpc_str_from(rows[i].result)), "%s: %.*s", rows[i].text,
                      (int) text.len, text.ptr);
        tpi_expr_destroy(e);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tpc_error err = { 0 };
        struct tpi_expr *e = NULL;
        tk_fails(TPC_EINVAL,
                 tpi_expr_compile(NULL, tpc_str_from(bad[i].text), &scope, TPI_EXPR_ANY, &err, &e));
        ck_assert_str_eq(err.text, bad[i].reason);
        ck_assert_uint_eq(err.column, bad[i].column);
    }
    struct tpc_error err = { 0 };
    struct tpi_expr *e = NULL;
    tk_fails(TPC_EINVAL, tpi_expr_compile(NULL, TPC_STR("hour(now(), 'Europe/Berlin')"),
                                          &names_scope, TPI_EXPR_ANY, &err, &e));
    ck_assert_str_eq(err.text, "time zone 'Europe/Berlin' cannot be used here");
}
END_TEST

static int compile_zones(const struct tpc_allocator *a, void *user)
{
    struct tpi_expr *e = NULL;
    (void) user;
    int rc = tpi_expr_compile(a, TPC_STR("hour(now(), '+01:00') + hour(now(), '-01:00') > 3"),
                              &names_scope, TPI_EXPR_BOOL, NULL, &e);
    tpi_expr_destroy(e);
    return rc;
}

START_TEST(zones_are_closed_when_memory_ends)
{
    ck_assert_uint_gt(tk_each_alloc_fails(compile_zones, NULL), 3);
}
END_TEST

START_TEST(what_the_host_has_not_is_refused)
{
    static const struct {
        const char *text, *reason;
    } rows[] = { { "changed(t)", "changed() cannot be used here" },
                 { "t > last(t)", "last() cannot be used here" },
                 { "device('a').t", "device() cannot be used here" },
                 { "now() > 0", "now() cannot be used here" },
                 { "hour(event_time())", "event_time() cannot be used here" } };
    struct tpi_expr_scope scope = names_scope;
    scope.features = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tpc_error err = { 0 };
        struct tpi_expr *e = NULL;
        tk_fails(TPC_EINVAL, tpi_expr_compile(NULL, tpc_str_from(rows[i].text), &scope,
                                              TPI_EXPR_ANY, &err, &e));
        ck_assert_str_eq(err.text, rows[i].reason);
    }
}
END_TEST

/* Every text function, in a scratch that is one byte too small, then in none. */
START_TEST(a_text_without_room_is_null_and_counted)
{
    static const struct {
        const char *text;
        size_t need;
    } rows[] = { { "concat(mode, 1)", 5 },
                 { "upper(mode)", 4 },
                 { "replace(mode, 'u', 'xx')", 5 },
                 { "lpad(mode, 3)", 7 },
                 { "rpad(mode, 3e12)", 7 },
                 { "reverse(mode)", 4 },
                 { "format(t, 1)", 4 },
                 { "to_text(t)", 4 },
                 { "to_json(list)", 14 },
                 { "format_time(0, 'YYYY')", 4 },
                 { "device('m-1').mode", 4 },
                 { "concat(upper(mode), upper(mode))", 16 } };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tpi_expr *e = NULL;
        tk_ok(tpi_expr_compile(NULL, tpc_str_from(rows[i].text), &names_scope, TPI_EXPR_ANY, NULL,
                               &e));
        char room[32];
        struct tpi_expr_scratch scratch = { room, rows[i].need - 1, 0, 0 };
        struct tpc_value v = tpi_expr_eval(e, &names_host, NULL, &scratch);
        ck_assert_msg(v.type == TPC_NULL, "%s", rows[i].text);
        bool counted = scratch.overflows == 1 || strstr(rows[i].text, "e12") != NULL;
        ck_assert_msg(counted, "%s: %d", rows[i].text, (int) scratch.overflows);
        v = tpi_expr_eval(e, &names_host, NULL, NULL);
        ck_assert_msg(v.type == TPC_NULL, "%s", rows[i].text);
        scratch.cap = rows[i].need;
        v = tpi_expr_eval(e, &names_host, NULL, &scratch);
        ck_assert_msg(v.type == TPC_TEXT || strstr(rows[i].text, "e12") != NULL, "%s",
                      rows[i].text);
        tpi_expr_destroy(e);
    }
}
END_TEST

/* The comparisons of a name with a number have code of their own. */
START_TEST(chains_of_comparisons_keep_the_logic_of_null)
{
    static const struct {
        const char *text;
        int result;
    } rows[] = {
        { "t > 30", 1 },
        { "t > 31.5", 0 },
        { "t >= 31.5 and h <= 40 and h < 41 and h != 39", 1 },
        { "t = 31.5 and h = 40.0", 1 },
        { "t > 30 and gone > 1", -1 },
        { "gone > 1 and t > 30", -1 },
        { "gone > 1 and t > 40", 0 },
        { "t > 40 and gone > 1", 0 },
        { "nan > 1 and t > 30", -1 },
        { "any > 1 and t > 30", -1 },
        { "big < -9007199254740991", 1 },
        { "big < -9007199254740993", 1 },
        { "big = -9223372036854775807", 0 },
        { "t > 30 or t > 40 and h > 1", 1 },
        { "(t > 40 or t > 30) and h > 1 and h > 2", 1 },
        { "t > 30 and (h > 41 or h > 1)", 1 },
        { "t > 30 and not h > 1", 0 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tpi_expr *e = NULL;
        tk_ok(tpi_expr_compile(NULL, tpc_str_from(rows[i].text), &names_scope, TPI_EXPR_BOOL, NULL,
                               &e));
        int result = tpi_expr_test(e, &names_host, NULL, NULL);
        struct tpc_value v = tpi_expr_eval(e, &names_host, NULL, NULL);
        ck_assert_msg(result == rows[i].result, "%s: %d", rows[i].text, result);
        ck_assert_msg((v.type == TPC_BOOL ? v.as.b : -1) == result, "%s", rows[i].text);
        ck_assert_uint_lt(tpi_expr_bytes(e), 512);
        tpi_expr_destroy(e);
    }
}
END_TEST

START_TEST(the_table_is_sound)
{
    for (int g = 0; g < TPI_EXPR_GROUPS; g++) {
        ck_assert_uint_lt(tpi_expr_groups[g]->count, 256);
        for (uint32_t i = 0; i < tpi_expr_groups[g]->count; i++) {
            const struct function *f = &tpi_expr_groups[g]->items[i];
            bool runs = f->special == SPECIAL_NONE || f->special == SPECIAL_REGEXP ||
                        f->special == SPECIAL_SCRIPT;
            ck_assert_msg((f->fn != NULL) == runs, "%s", f->name);
            ck_assert_msg(f->min <= f->max && f->max <= FUNCTION_MAX_ARGS, "%s", f->name);
            ck_assert_msg(f->max == 0 || f->args[0] != 0, "%s", f->name);
            ck_assert_msg(f->usage != NULL && f->help != NULL && f->since != NULL, "%s", f->name);
            ck_assert_int_eq(tpi_expr_function_find(tpc_str_from(f->name)), g << 8 | (int) i);
        }
    }
}
END_TEST

static int compile_on(const struct tpc_allocator *a, void *user)
{
    static const char text[] = "case when changed(t) then concat(mode, product.key, "
                               "device('x').t, pos.lat) else upper('a') end"
                               " = 'x' and regexp_matches(mode, '(a|b)+[c-d]{2}')";
    struct tpi_expr *e = NULL;
    (void) user;
    int rc = tpi_expr_compile(a, TPC_STR(text), &names_scope, TPI_EXPR_ANY, NULL, &e);
    tpi_expr_destroy(e);
    return rc;
}

START_TEST(no_memory_is_an_error_and_leaks_nothing)
{
    ck_assert_uint_gt(tk_each_alloc_fails(compile_on, NULL), 3);
}
END_TEST

Suite *functions_suite(void)
{
    Suite *s = suite_create("functions");
    TCase *c = tcase_create("functions");
    tcase_add_test(c, numbers);
    tcase_add_test(c, texts);
    tcase_add_test(c, patterns);
    tcase_add_test(c, times);
    tcase_add_test(c, null_and_types);
    tcase_add_test(c, lists_and_maps);
    tcase_add_test(c, state_other_devices_and_constants);
    tcase_add_test(c, case_picks_the_first_true_branch);
    tcase_add_test(c, what_does_not_fit_is_refused_where_it_stands);
    tcase_add_test(c, times_are_told_in_a_zone);
    tcase_add_test(c, zones_are_closed_when_memory_ends);
    tcase_add_test(c, what_the_host_has_not_is_refused);
    tcase_add_test(c, a_text_without_room_is_null_and_counted);
    tcase_add_test(c, chains_of_comparisons_keep_the_logic_of_null);
    tcase_add_test(c, the_table_is_sound);
    tcase_add_test(c, no_memory_is_an_error_and_leaks_nothing);
    suite_add_tcase(s, c);
    return s;
}
