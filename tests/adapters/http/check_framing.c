/* Where two readers could see two requests in the same bytes, and what is over a limit. */
#include "server.h"
#include "web.h"
#include "web_suites.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct web w;
static char got[WEB_ROOM];

#define POST "POST /echo HTTP/1.1\r\nHost: a\r\n"
#define NEXT "GET /things/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

/* Sends, and the connection ends with an answer of 400 or without one; no route saw anything. */
static void refused(const char *text, size_t len)
{
    uint32_t before = w.calls;
    bool closed = false;
    int fd = web_connect(&w);
    web_send(fd, text, len);
    int status = web_read(fd, got, &closed);
    close(fd);
    ck_assert_msg((status == 400 || status == 0 || status == 413 || status == 505) && closed &&
                      w.calls == before,
                  "%s\n-> %d closed=%d calls=%u: %s (%s)", text, status, closed, w.calls - before,
                  got, w.seen);
}

#define REFUSED(text) refused((text), sizeof(text) - 1)

START_TEST(length_that_is_said_twice_is_refused)
{
    web_begin(&w, "");
    REFUSED(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" NEXT);
    REFUSED(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" NEXT);
    REFUSED(POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef" NEXT);
    REFUSED(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde" NEXT);
    REFUSED(POST "Content-Length: 5, 5\r\n\r\nabcde" NEXT);
    REFUSED(POST "Content-Length: +5\r\n\r\nabcde" NEXT);
    REFUSED(POST "Content-Length: -5\r\n\r\nabcde" NEXT);
    REFUSED(POST "Content-Length: 0x5\r\n\r\nabcde" NEXT);
    REFUSED(POST "Content-Length: 5 \t6\r\n\r\nabcde" NEXT);
    REFUSED(POST "Content-Length:\r\n\r\n" NEXT);
    REFUSED(POST "Content-Length: 99999999999999999999\r\n\r\nabcde" NEXT);
    REFUSED(POST "Content-Length : 5\r\n\r\nabcde" NEXT);
    REFUSED(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" NEXT);
    REFUSED(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" NEXT);
    REFUSED(POST "Transfer-Encoding: identity\r\n\r\n" NEXT);
    REFUSED(POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" NEXT);
    REFUSED(POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" NEXT);
    REFUSED("POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" NEXT);
    web_end(&w);
}
END_TEST

START_TEST(chunks_that_are_no_chunks_are_refused)
{
    web_begin(&w, "");
    ck_assert_int_eq(web_ask(&w,
                             POST "Transfer-Encoding: chunked\r\n\r\n"
                                  "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n",
                             got),
                     200);
    ck_assert_ptr_nonnull(strstr(w.seen, "|abcde"));
    REFUSED(POST "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n");
    REFUSED(POST "Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n");
    REFUSED(POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n");
    REFUSED(POST "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n");
    REFUSED(POST "Transfer-Encoding: chunked\r\n\r\n11111111111111111\r\nabc\r\n0\r\n\r\n");
    REFUSED(POST "Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n");
    web_end(&w);
}
END_TEST

START_TEST(headers_that_are_malformed_are_refused)
{
    web_begin(&w, "");
    REFUSED("GET /echo HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n folded\r\n\r\n");
    REFUSED("GET /echo HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\tfolded\r\nX-B: 2\r\n\r\n");
    REFUSED("GET /echo HTTP/1.1\r\nHost:\r\n a\r\n\r\n");
    REFUSED(POST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n");
    REFUSED("GET /echo HTTP/1.1\r\n Host: a\r\n\r\n");
    REFUSED("GET /echo HTTP/1.1\r\nHost: a\r\nX-A: 1\0z\r\n\r\n");
    REFUSED("GET /echo HTTP/1.1\r\nHost: a\r\nX\0A: 1\r\n\r\n");
    REFUSED("GET /ec\0ho HTTP/1.1\r\nHost: a\r\n\r\n");
    REFUSED("GET /echo HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n");
    REFUSED("GET /echo HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n");
    REFUSED("GET /echo HTTP/1.1\r\nHost: a\r\nX-A: a\rb\r\n\r\n");
    REFUSED("GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    REFUSED("GET /echo HTTP/1.1\r\n\r\n");
    REFUSED("GET /echo HTTP/9.9\r\nHost: a\r\n\r\n");
    REFUSED("GET /echo\r\nHost: a\r\n\r\n");
    REFUSED("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n");
    web_end(&w);
}
END_TEST

START_TEST(newer_libraries_refuse_folded_lines_themselves)
{
    ck_assert(hs_joins_lines("0.9.75"));
    ck_assert(hs_joins_lines("0.9.76"));
    ck_assert(hs_joins_lines("0.9.8"));
    ck_assert(!hs_joins_lines("0.9.77"));
    ck_assert(!hs_joins_lines("1.0.1"));
    ck_assert(!hs_joins_lines("0.10.0"));
    ck_assert(!hs_joins_lines("unknown"));
}
END_TEST

START_TEST(headers_that_are_unusual_are_taken)
{
    static const char *const good[] = {
        "GET /echo HTTP/1.1\r\nHost:a\r\nX-A:1\r\nX-B:   2\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: a\r\nX-A:\r\nX-B: 2\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: a\r\nX-A: 1  \r\nX-B: \t2\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: a\r\nCookie: a=1; b=\"2\"\r\nX-B: 2\r\n\r\n",
        "\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/echo HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    web_begin(&w, "");
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(web_ask(&w, good[i], got) == 200, "%s-> %s", good[i], got);
    }
    web_end(&w);
}
END_TEST

/* A request of `before`, n times 'a', `after`. */
static int long_one(const char *before, size_t n, const char *after, bool *ret_closed)
{
    static char text[200000];
    size_t at = strlen(before);
    memcpy(text, before, at);
    memset(text + at, 'a', n);
    memcpy(text + at + n, after, strlen(after));
    int fd = web_connect(&w);
    web_send(fd, text, at + n + strlen(after));
    int status = web_read(fd, got, ret_closed);
    close(fd);
    return status;
}

START_TEST(path_and_headers_have_a_limit)
{
    static const char end[] = " HTTP/1.1\r\nHost: a\r\n\r\n";
    bool closed;
    web_begin(&w, "\"path_max\":1000,\"query_max\":2000,\"header_max\":4096");
    ck_assert_int_eq(long_one("GET /things/", 1000 - 8, end, NULL), 200);
    ck_assert_int_eq(long_one("GET /things/", 1001 - 8, end, &closed), 414);
    ck_assert(closed);
    ck_assert_int_eq(long_one("GET /echo?", 2001, end, &closed), 414);
    ck_assert_int_eq(fake_metric(&w.host, "too_long"), 2);
    ck_assert_int_eq(long_one("GET /echo?", 100000, end, &closed), 414); /* the library's */
    ck_assert_int_eq(long_one("GET /echo HTTP/1.1\r\nHost: a\r\nX: ", 4000, "\r\n\r\n", NULL), 200);
    ck_assert_int_eq(long_one("GET /echo HTTP/1.1\r\nHost: a\r\nX: ", 4097, "\r\n\r\n", &closed),
                     431);
    ck_assert(closed);
    ck_assert_int_eq(long_one("GET /echo HTTP/1.1\r\nHost: a\r\nX: ", 100000, "\r\n\r\n", &closed),
                     431);
    char many[4000] = "GET /echo HTTP/1.1\r\nHost: a\r\n";
    for (int i = 0; i < 70; i++) {
        strncat(many, "X: 1\r\n", sizeof(many) - strlen(many) - 1);
    }
    strncat(many, "\r\n", sizeof(many) - strlen(many) - 1);
    ck_assert_int_eq(web_ask(&w, many, got), 431);
    ck_assert_uint_eq(w.calls, 2);
    web_end(&w);
}
END_TEST

START_TEST(longest_head_leaves_room_for_the_longest_answer)
{
    enum { HEAD = 8192, HEADERS = 63 };
    static char text[HEAD + 100000];
    static const char end[] = "Content-Length: 90000\r\n\r\n";
    web_begin(&w, "");
    size_t at = (size_t) snprintf(text, sizeof(text), "POST /heads?a HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < HEADERS - 2; i++) {
        int more = i == HEADERS - 3 ? (int) (HEAD - at - sizeof(end) - 8) : 100;
        at += (size_t) snprintf(text + at, sizeof(text) - at, "X%03d: %0*d\r\n", i, more, 1);
    }
    at += (size_t) snprintf(text + at, sizeof(text) - at, "%s", end);
    ck_assert_uint_le(at, HEAD);
    ck_assert_uint_ge(at, HEAD - 4);
    memset(text + at, 'b', 90000);
    ck_assert_int_eq(web_ask_bytes(&w, text, at + 90000, got), 200);
    ck_assert_ptr_nonnull(strstr(got, "X-Long: hhh"));
    web_end(&w);
}
END_TEST

START_TEST(body_has_a_limit_of_its_route)
{
    bool closed;
    web_begin(&w, "\"body_max\":1000");
    ck_assert_int_eq(long_one(POST "Content-Length: 1000\r\n\r\n", 1000, "", NULL), 200);
    ck_assert_int_eq(long_one(POST "Content-Length: 1001\r\n\r\n", 1001, "", NULL), 413);
    ck_assert_int_eq(
        long_one("PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", 101, "", NULL),
        413);
    ck_assert_int_eq(
        long_one(POST "Transfer-Encoding: chunked\r\n\r\n3e9\r\n", 1001, "\r\n0\r\n\r\n", NULL),
        413);
    ck_assert_int_eq(long_one(POST "Content-Length: 100000\r\n\r\n", 100000, "", NULL), 413);
    ck_assert_int_eq(long_one(POST "Content-Length: 100000000\r\n\r\n", 1, "", &closed), 413);
    ck_assert(closed);
    ck_assert_int_eq(
        long_one(POST "Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n", 0, "", &closed),
        413);
    ck_assert(closed);
    ck_assert_int_eq(long_one(POST "Expect: magic\r\nContent-Length: 1\r\n\r\n", 1, "", NULL), 417);
    ck_assert_uint_eq(w.calls, 1);
    ck_assert_int_eq(fake_metric(&w.host, "too_big"), 6);
    web_end(&w);
}
END_TEST

START_TEST(all_bodies_together_have_a_limit)
{
    web_begin(&w, "\"bodies_max\":2000");
    int fd = web_connect(&w);
    web_send(fd, POST "Content-Length: 1500\r\n\r\n", strlen(POST "Content-Length: 1500\r\n\r\n"));
    char part[1000];
    memset(part, 'a', sizeof(part));
    web_send(fd, part, sizeof(part));
    ck_assert(web_wait_metric(&w, "bytes_in", 1000));
    ck_assert_int_eq(long_one(POST "Content-Length: 1500\r\n\r\n", 1500, "", NULL), 503);
    web_send(fd, part, 500);
    ck_assert_int_eq(web_read(fd, got, NULL), 200);
    close(fd);
    ck_assert_int_eq(long_one(POST "Content-Length: 1500\r\n\r\n", 1500, "", NULL), 200);
    ck_assert_int_eq(fake_metric(&w.host, "refused_bodies"), 1);
    web_end(&w);
}
END_TEST

/* xorshift64 */
static uint32_t chance(uint64_t *state, uint32_t below)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t) (*state >> 33) % below;
}

static size_t damage(uint64_t *state, char *text, size_t len)
{
    static const char bytes[] = "\0\r\n :\t%{}\"0a/\xff\x80;,";
    for (uint32_t i = chance(state, 4) + 1; i > 0; i--) {
        size_t at = chance(state, (uint32_t) len);
        char c = bytes[chance(state, sizeof(bytes) - 1)];
        switch (chance(state, 3)) {
        case 0:
            text[at] = c;
            break;
        case 1:
            memmove(text + at + 1, text + at, len - at);
            text[at] = c;
            len++;
            break;
        default:
            memmove(text + at, text + at + 1, len - at - 1);
            len--;
        }
    }
    return len;
}

START_TEST(damaged_requests_harm_nobody_else)
{
    static const char *const good[] = {
        "GET /things/a%20b?x=1&voucher={\"k\":1} HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nCookie: "
        "a=b\r\n\r\n",
        "POST /json HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    };
    uint64_t state = 20261121;
    web_begin(&w, "");
    for (uint32_t i = 0; i < 400; i++) {
        char text[300];
        size_t len = strlen(good[i % 3]);
        memcpy(text, good[i % 3], len);
        len = damage(&state, text, len);
        int fd = web_connect(&w);
        web_send(fd, text, len);
        struct pollfd p = { .fd = fd, .events = POLLIN };
        (void) poll(&p, 1, 3); /* one that is not whole is not answered */
        close(fd);
    }
    ck_assert_int_eq(web_ask(&w, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n", got), 200);
    ck_assert_int_eq(fake_metric(&w.host, "no_memory"), 0);
    tk_clock_advance(&w.env.clock, 100000); /* whoever seems to be in the middle is cut */
    web_end(&w);
}
END_TEST

Suite *framing_suite(void)
{
    Suite *s = suite_create("framing");
    TCase *t = tcase_create("framing");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, length_that_is_said_twice_is_refused);
    tcase_add_test(t, chunks_that_are_no_chunks_are_refused);
    tcase_add_test(t, headers_that_are_malformed_are_refused);
    tcase_add_test(t, newer_libraries_refuse_folded_lines_themselves);
    tcase_add_test(t, headers_that_are_unusual_are_taken);
    tcase_add_test(t, path_and_headers_have_a_limit);
    tcase_add_test(t, longest_head_leaves_room_for_the_longest_answer);
    tcase_add_test(t, body_has_a_limit_of_its_route);
    tcase_add_test(t, all_bodies_together_have_a_limit);
    tcase_add_test(t, damaged_requests_harm_nobody_else);
    suite_add_tcase(s, t);
    return s;
}
