/* Frames of a stream: what comes out is the same however the stream is cut. */
#include "framing.h"
#include "net_suites.h"

#include "fake_host.h"
#include "tk.h"

#include "data/option.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>

enum { OUT = 4096, FRAME_MAX = 64 };

static char refused[FAKE_TEXT];

static int refuse(void *ctx, int code, const char *fmt, ...)
{
    va_list args;
    (void) ctx;
    va_start(args, fmt);
    vsnprintf(refused, sizeof(refused), fmt, args);
    va_end(args);
    return code;
}

/* The framing that a table in JSON means. */
static int read_in(const char *json, uint32_t frame_max, struct net_framing *ret)
{
    static const struct tpc_list table = NET_FRAMING_SUB;
    struct tpc_host host = { .fail = refuse };
    struct tpc_value written, checked;
    struct tpc_arena *arena;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpc_json_parse(arena, tpc_str_from(json), 0, NULL, &written));
    int rc = tpi_option_check(&table, &written, 0, arena, NULL, &checked);
    rc = rc != 0 ? rc : net_framing_read(&host, NULL, &checked, frame_max, ret);
    tpc_arena_destroy(arena);
    return rc;
}

static struct net_framing framing(const char *json)
{
    struct net_framing f;
    int rc = read_in(json, FRAME_MAX, &f);
    ck_assert_msg(rc == 0, "%s: %s", json, refused);
    return f;
}

struct log {
    char text[OUT]; /* "[body]" of each frame, NUL as ".", "!" at an error */
    size_t len;
    size_t garbage;
    int rc;
};

static void note(struct log *l, const char *text, size_t len)
{
    ck_assert_uint_lt(l->len + len, sizeof(l->text));
    for (size_t i = 0; i < len; i++) {
        l->text[l->len++] = text[i] != '\0' ? text[i] : '.';
    }
    l->text[l->len] = '\0';
}

static void note_frame(struct log *l, const struct net_frame *frame, const uint8_t *from,
                       size_t len)
{
    ck_assert(frame->whole.ptr >= from);
    ck_assert(frame->whole.ptr + frame->whole.len == from + frame->take);
    ck_assert_uint_le(frame->take, len);
    ck_assert(frame->body.ptr >= frame->whole.ptr);
    ck_assert_uint_le(frame->body.len, frame->whole.len);
    note(l, "[", 1);
    note(l, (const char *) frame->body.ptr, frame->body.len);
    note(l, "]", 1);
}

/* Feeds a stream in pieces as a connection does; each call has a buffer of its exact size. */
static void feed(const struct net_framing *f, const uint8_t *in, size_t len, size_t piece,
                 struct log *l)
{
    struct net_framing_state s = { 0, 0 };
    uint8_t *kept = NULL;
    size_t have = 0;
    memset(l, 0, sizeof(*l));
    for (size_t at = 0; at < len && l->rc == 0; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        kept = realloc(kept, have + n);
        memcpy(kept + have, in + at, n);
        have += n;
        struct net_frame frame;
        while ((l->rc = net_framing_next(f, &s, (struct tpc_bytes){ kept, have }, &frame)) == 0 ||
               l->rc == TPC_EAGAIN) {
            l->garbage += frame.garbage;
            if (l->rc == 0) {
                note_frame(l, &frame, kept, have);
            } else {
                ck_assert_uint_gt(frame.want, have - frame.take);
            }
            have -= frame.take;
            memmove(kept, kept + frame.take, have);
            if (l->rc == TPC_EAGAIN || have == 0) {
                break;
            }
            kept = realloc(kept, have);
        }
        l->rc = l->rc == TPC_EAGAIN ? 0 : l->rc;
    }
    if (l->rc != 0) {
        note(l, "!", 1);
    }
    free(kept);
}

static void expect_bytes(const char *json, const void *in, size_t len, const char *frames,
                         size_t garbage)
{
    struct net_framing f = framing(json);
    struct log l;
    for (size_t piece = 1; piece <= len; piece++) {
        feed(&f, in, len, piece, &l);
        ck_assert_msg(strcmp(l.text, frames) == 0, "%s in pieces of %zu: %s, expected %s", json,
                      piece, l.text, frames);
        if (l.rc == 0) {
            ck_assert_uint_eq(l.garbage, garbage);
        }
    }
}

#define expect(json, in, frames, garbage) expect_bytes(json, in, sizeof(in) - 1, frames, garbage)

START_TEST(lines_end_with_lf_or_crlf_and_empty_ones_are_passed_over)
{
    expect("{}", "a\nbc\r\n\r\n\n{\"x\":1}\nrest", "[a][bc][{\"x\":1}]", 0);
    expect("{\"type\":\"line\",\"keep\":true}", "a\nb\r\n", "[a\n][b\r\n]", 0);
    expect("{\"type\":\"line\",\"strip\":1}", ":12\n:\n", "[12][]", 0);
}
END_TEST

START_TEST(delimiter_is_any_bytes_and_may_come_in_halves)
{
    expect("{\"type\":\"delimiter\",\"delimiter\":\"\\\\r\\\\n\"}", "a\rb\nc\r\r\nd\r\n",
           "[a\rb\nc\r][d]", 0);
    expect("{\"type\":\"delimiter\",\"delimiter\":\"\\\\x03\\\\xFf\\\\t\\\\\\\\\"}",
           "one\x03\xff\t\\two\x03\x03\xff\t\\", "[one][two\x03]", 0);
    expect("{\"type\":\"delimiter\",\"delimiter\":\"##\",\"keep\":true}", "a#b##c##",
           "[a#b##][c##]", 0);
}
END_TEST

START_TEST(delimiter_never_comes_and_the_limit_ends_it)
{
    char in[FRAME_MAX + 2];
    char out[FRAME_MAX + 8];
    memset(in, 'x', sizeof(in));
    in[FRAME_MAX - 1] = '\n';
    in[FRAME_MAX + 1] = '\n';
    snprintf(out, sizeof(out), "[%.*s][x]", FRAME_MAX - 1, in);
    expect_bytes("{}", in, sizeof(in), out, 0);
    in[FRAME_MAX - 1] = 'x';
    expect_bytes("{}", in, sizeof(in), "!", 0);
    in[FRAME_MAX] = '\n';
    expect_bytes("{}", in, sizeof(in), "!", 0);
}
END_TEST

START_TEST(fixed_frames_are_cut_and_their_zeros_taken_off_on_request)
{
    expect("{\"type\":\"fixed\",\"size\":3}", "abcdefgh", "[abc][def]", 0);
    expect("{\"type\":\"fixed\",\"size\":4,\"trim\":true}", "ab\0\0\0\0\0\0cdef", "[ab][][cdef]",
           0);
    expect("{\"type\":\"fixed\",\"size\":4,\"strip\":1,\"begin\":\"$\"}", "zz$abc$def$",
           "[abc][def]", 2);
}
END_TEST

START_TEST(length_field_of_each_size_and_order)
{
    expect("{\"type\":\"length\",\"size\":1,\"strip\":1}",
           "\x02"
           "ab\x01"
           "c\x05"
           "no",
           "[ab][c]", 0);
    expect("{\"type\":\"length\",\"size\":2,\"offset\":1,\"strip\":3}",
           "T\0\x02"
           "abT\0\x01"
           "c",
           "[ab][c]", 0);
    expect("{\"type\":\"length\",\"size\":2,\"endian\":\"little\",\"strip\":2}", "\x02\0ab\x01\0c",
           "[ab][c]", 0);
    expect("{\"type\":\"length\",\"size\":4,\"strip\":4}",
           "\0\0\0\x02"
           "ab\0\0\0\x01"
           "c",
           "[ab][c]", 0);
    expect("{\"type\":\"length\",\"size\":4,\"strip\":4,\"endian\":\"little\"}",
           "\x02\0\0\0ab\x01\0\0\0c", "[ab][c]", 0);
}
END_TEST

START_TEST(length_counts_what_the_adjustment_says)
{
    /* A check byte that is not counted; a length that counts its own head. */
    expect("{\"type\":\"length\",\"size\":2,\"offset\":2,\"adjustment\":1}",
           "h1\0\x02"
           "abSh2\0\0S",
           "[h1.\x02"
           "abS][h2..S]",
           0);
    expect("{\"type\":\"length\",\"size\":1,\"adjustment\":-1,\"strip\":1}",
           "\x03"
           "ab\x02"
           "c",
           "[ab][c]", 0);
}
END_TEST

START_TEST(length_that_cannot_be_ends_the_connection)
{
    expect("{\"type\":\"length\",\"size\":1,\"strip\":1}",
           "\x01"
           "a\0bc",
           "[a]!", 0);
    expect("{\"type\":\"length\",\"size\":1,\"strip\":1,\"empty\":true}",
           "\x01"
           "a\0\x01"
           "b",
           "[a][][b]", 0);
    expect("{\"type\":\"length\",\"size\":1,\"adjustment\":-3}",
           "\x02"
           "abc",
           "!", 0);
    expect("{\"type\":\"length\",\"size\":1,\"adjustment\":-3,\"empty\":true}",
           "\x02"
           "abc",
           "!", 0);
    expect("{\"type\":\"length\",\"size\":4}",
           "\xff\xff\xff\xff"
           "abc",
           "!", 0);
    expect("{\"type\":\"length\",\"size\":4,\"adjustment\":4096}",
           "\xff\xff\xff\xff"
           "abc",
           "!", 0);
    expect("{\"type\":\"length\",\"size\":1}",
           "\x40"
           "abc",
           "!", 0);
}
END_TEST

#define METER                                                                                      \
    "{\"type\":\"length\",\"size\":1,\"offset\":2,\"strip\":3,\"begin\":\"\\\\x68h\",\"garbage_"   \
    "max\":8}"

START_TEST(garbage_before_a_frame_is_passed_over_and_counted)
{
    expect(METER,
           "xhyhh\x02"
           "abh-hh\x01"
           "c",
           "[ab][c]", 5);
    expect(METER,
           "hhh\x02"
           "ab", /* the first h is none of it, the second begins a frame */
           "[ab]", 1);
    expect(METER,
           "12345678hh\x01"
           "a12345678hh\x01"
           "b",
           "[a][b]", 16);
    expect(METER,
           "hh\x01"
           "a123456789hh\x01"
           "b",
           "[a]!", 0);
}
END_TEST

START_TEST(frame_that_cannot_be_makes_the_search_go_on)
{
    expect(METER,
           "hh\0hh\x01"
           "b", /* length 0 */
           "[b]", 3);
    expect(METER,
           "hh\xffhh\x01"
           "b", /* over the limit */
           "[b]", 3);
    expect("{\"begin\":\"$\",\"strip\":1}", "x$a\n\ny$b\n$\n$c\n", "[a][b][c]", 3);
    expect("{\"type\":\"delimiter\",\"delimiter\":\"~\",\"begin\":\"~\",\"strip\":1}", "~ab~~cd~",
           "[ab][cd]", 0);
}
END_TEST

START_TEST(search_behind_a_frame_that_is_too_long_is_not_begun_anew)
{
    /* Bytes that all begin a frame: what is known of them stays known, so that each byte more costs
     * the search of one byte and not of the whole limit. */
    struct net_framing f = framing("{\"begin\":\"$\",\"garbage_max\":1000}");
    struct net_framing_state s = { 0, 0 };
    struct net_frame frame;
    uint8_t in[FRAME_MAX + 8];
    memset(in, '$', sizeof(in));
    tk_fails(TPC_EAGAIN, net_framing_next(&f, &s, (struct tpc_bytes){ in, sizeof(in) }, &frame));
    ck_assert_uint_eq(frame.take, 9);
    ck_assert_uint_eq(s.seen, sizeof(in) - frame.take);
    ck_assert_uint_eq(s.garbage, 9);
}
END_TEST

START_TEST(nothing_is_no_frame)
{
    struct net_framing f = framing("{}");
    struct net_framing_state s = { 0, 0 };
    struct net_frame frame;
    tk_fails(TPC_EAGAIN, net_framing_next(&f, &s, (struct tpc_bytes){ NULL, 0 }, &frame));
    ck_assert_uint_eq(frame.take, 0);
    ck_assert_uint_eq(frame.want, 1);
    f = framing("{\"type\":\"service\"}");
    tk_fails(TPC_EUNSUPPORTED,
             net_framing_next(&f, &s, (struct tpc_bytes){ (const uint8_t *) "a", 1 }, &frame));
}
END_TEST

START_TEST(options_that_cannot_be_are_refused_by_name)
{
    static const struct {
        const char *json, *text;
    } bad[] = {
        { "{\"type\":\"fixed\"}", "framing.size: it is required" },
        { "{\"type\":\"length\"}", "framing.size: it is required" },
        { "{\"type\":\"length\",\"size\":3}", "framing.size: a field of 3 bytes" },
        { "{\"type\":\"length\",\"size\":2,\"begin\":\"a\"}",
          "framing.begin: longer than the off" },
        { "{\"type\":\"fixed\",\"size\":65}", "framing: a frame of 65 bytes is over" },
        { "{\"type\":\"fixed\",\"size\":1,\"begin\":\"ab\"}", "framing.begin: longer than the fr" },
        { "{\"type\":\"length\",\"size\":4,\"offset\":61}",
          "framing: a frame of 65 bytes is over" },
        { "{\"type\":\"delimiter\",\"delimiter\":\"\\\\q\"}", "framing.delimiter: '\\'" },
        { "{\"type\":\"delimiter\",\"delimiter\":\"a\\\\\"}", "framing.delimiter: '\\'" },
        { "{\"type\":\"delimiter\",\"delimiter\":\"\\\\x1\"}", "framing.delimiter: '\\'" },
        { "{\"type\":\"delimiter\",\"delimiter\":\"\\\\x1g\"}", "framing.delimiter: '\\'" },
        { "{\"begin\":\"12345678901234567\"}", "framing.begin: more than 16 bytes" },
    };
    struct net_framing f;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        tk_fails(TPC_EINVAL, read_in(bad[i].json, FRAME_MAX, &f));
        ck_assert_msg(strstr(refused, bad[i].text) == refused, "%s: %s", bad[i].json, refused);
    }
    tk_fails(TPC_EINVAL, read_in("{\"type\":\"delimiter\",\"delimiter\":\"\"}", FRAME_MAX, &f));
    tk_fails(TPC_EINVAL, read_in("{\"typ\":\"line\"}", FRAME_MAX, &f));
}
END_TEST

static void expect_encoded(const char *json, const char *body, size_t len, const char *frame,
                           size_t frame_len)
{
    struct net_framing f = framing(json);
    uint8_t room[FRAME_MAX];
    struct tpc_buf out = { room, sizeof(room), 0 };
    struct tpc_bytes in = { (const uint8_t *) body, len };
    int rc = net_framing_encode(&f, in, &out);
    ck_assert_msg(rc == 0, "%s: %s", json, tpc_error_name(rc));
    ck_assert_uint_eq(out.need, frame_len);
    ck_assert_mem_eq(room, frame, frame_len);
    struct tpc_buf measure = { NULL, 0, 0 };
    tk_fails(TPC_ETOOBIG, net_framing_encode(&f, in, &measure));
    ck_assert_uint_eq(measure.need, frame_len);
}

START_TEST(writing_is_as_the_contract_says)
{
    expect_encoded("{}", "a", 1, "a\n", 2);
    expect_encoded("{\"type\":\"delimiter\",\"delimiter\":\"\\\\r\\\\n\"}", "a\r", 2, "a\r\r\n", 4);
    expect_encoded("{\"type\":\"fixed\",\"size\":4}", "ab", 2, "ab\0\0", 4);
    expect_encoded("{\"type\":\"fixed\",\"size\":2}", "ab", 2, "ab", 2);
    expect_encoded("{\"type\":\"length\",\"size\":2,\"offset\":2,\"adjustment\":1}", "abS", 3,
                   "\0\0\0\x02"
                   "abS",
                   7);
    expect_encoded("{\"type\":\"length\",\"size\":1,\"offset\":2,\"begin\":\"h\"}", "a", 1,
                   "h\0\x01"
                   "a",
                   4);
    expect_encoded("{\"type\":\"length\",\"size\":4,\"endian\":\"little\"}", "a", 1, "\x01\0\0\0a",
                   5);
    expect_encoded("{\"type\":\"length\",\"size\":2,\"adjustment\":-2}", "", 0, "\0\x02", 2);
}
END_TEST

static int encode(const char *json, const char *body, size_t len)
{
    struct net_framing f = framing(json);
    uint8_t room[5000];
    struct tpc_buf out = { room, sizeof(room), 0 };
    return net_framing_encode(&f, (struct tpc_bytes){ (const uint8_t *) body, len }, &out);
}

START_TEST(body_that_no_frame_can_carry_is_refused)
{
    static const char big[FRAME_MAX + 1];
    tk_fails(TPC_EINVAL, encode("{}", "a\nb", 3));
    tk_fails(TPC_EINVAL, encode("{\"type\":\"delimiter\",\"delimiter\":\"##\"}", "a#", 2));
    tk_fails(TPC_ETOOBIG, encode("{\"type\":\"fixed\",\"size\":2}", "abc", 3));
    tk_fails(TPC_ETOOBIG, encode("{}", big, FRAME_MAX));
    tk_ok(encode("{}", big, FRAME_MAX - 1));
    tk_fails(TPC_ETOOBIG, encode("{\"type\":\"length\",\"size\":1}", big, FRAME_MAX));
    tk_fails(TPC_EINVAL, encode("{\"type\":\"length\",\"size\":1,\"adjustment\":2}", "a", 1));
    tk_fails(TPC_ETOOBIG, encode("{\"type\":\"length\",\"size\":1,\"adjustment\":-250}", big, 6));
    tk_fails(TPC_EUNSUPPORTED, encode("{\"type\":\"service\"}", "a", 1));
}
END_TEST

Suite *framing_suite(void)
{
    Suite *s = suite_create("framing");
    TCase *t = tcase_create("framing");
    tcase_add_test(t, lines_end_with_lf_or_crlf_and_empty_ones_are_passed_over);
    tcase_add_test(t, delimiter_is_any_bytes_and_may_come_in_halves);
    tcase_add_test(t, delimiter_never_comes_and_the_limit_ends_it);
    tcase_add_test(t, fixed_frames_are_cut_and_their_zeros_taken_off_on_request);
    tcase_add_test(t, length_field_of_each_size_and_order);
    tcase_add_test(t, length_counts_what_the_adjustment_says);
    tcase_add_test(t, length_that_cannot_be_ends_the_connection);
    tcase_add_test(t, garbage_before_a_frame_is_passed_over_and_counted);
    tcase_add_test(t, frame_that_cannot_be_makes_the_search_go_on);
    tcase_add_test(t, search_behind_a_frame_that_is_too_long_is_not_begun_anew);
    tcase_add_test(t, nothing_is_no_frame);
    tcase_add_test(t, options_that_cannot_be_are_refused_by_name);
    tcase_add_test(t, writing_is_as_the_contract_says);
    tcase_add_test(t, body_that_no_frame_can_carry_is_refused);
    suite_add_tcase(s, t);
    return s;
}
