#include "mail.h"
#include "smtp_suites.h"

#include <string.h>

static void expect(struct tpi_buf *b, int rc, const char *want)
{
    ck_assert_msg(rc == 0, "%s", tpc_error_name(rc));
    bool same = b->len == strlen(want) && (b->len == 0 || memcmp(b->ptr, want, b->len) == 0);
    ck_assert_msg(same, "%.*s", (int) b->len, b->len > 0 ? (const char *) b->ptr : "");
    tpi_buf_fini(b);
}

START_TEST(addresses_are_those_without_surprises)
{
    static const char *const good[] = { "a@b", "first.last+tag@example.org", "x_1@h-2.lan" };
    static const char *const bad[] = { "",      "a",           "@b",    "a@",         "a@b@c",
                                       "a b@c", "a@b\r\nX: y", "<a@b>", "\"a\"@b",    "a,b@c",
                                       "a@b>",  "a@-b",        "-a@b",  "\xc3\xa4@b", "a@b\n",
                                       "a@.b",  "a;b@c",       "a@b c", "a@[1.2.3.4]" };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(mail_address_valid(tpc_str_from(good[i])), "%s", good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(!mail_address_valid(tpc_str_from(bad[i])), "%s", bad[i]);
    }
    ck_assert(!mail_address_valid(TPC_STR("a\0b@c")));
}
END_TEST

START_TEST(urls_get_their_port_and_name)
{
    static const char *const good[][2] = { { "smtp://h", "smtp://h:587/" },
                                           { "smtps://mail.example.org",
                                             "smtps://mail.example.org:465/" },
                                           { "smtp://127.0.0.1:2525", "smtp://127.0.0.1:2525/" },
                                           { "smtp://[::1]:25", "smtp://[::1]:25/" } };
    static const char *const bad[] = { "",
                                       "h",
                                       "http://h",
                                       "smtp://",
                                       "smtp://h/",
                                       "smtp://h:",
                                       "smtp://h:0",
                                       "smtp://h:99999",
                                       "smtp://u:p@h",
                                       "smtp://h?x",
                                       "smtp://h:1x",
                                       "smtp://h\r\n",
                                       "smtp://[",
                                       "smtp://[g]",
                                       "smtp://-h" };
    char url[MAIL_URL_MAX];
    struct tpc_error err;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        tk_ok(mail_url(tpc_str_from(good[i][0]), TPC_STR(""), &err, url));
        ck_assert_str_eq(url, good[i][1]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int rc = mail_url(tpc_str_from(bad[i]), TPC_STR(""), &err, url);
        ck_assert_msg(rc == TPC_EINVAL, "%s", bad[i]);
    }
    tk_ok(mail_url(TPC_STR("smtp://h"), TPC_STR("edge-1.lan"), &err, url));
    ck_assert_str_eq(url, "smtp://h:587/edge-1.lan");
    tk_fails(TPC_EINVAL, mail_url(TPC_STR("smtp://h"), TPC_STR("a b"), &err, url));
}
END_TEST

START_TEST(header_text_is_plain_or_encoded_and_never_a_line_of_its_own)
{
    struct tpi_buf b;
    tpi_buf_init(&b, NULL, 0);
    expect(&b, mail_words(&b, TPC_STR("Fan is on")), "Fan is on");
    expect(&b, mail_words(&b, TPC_STR("")), "");
    /* RFC 2047 section 2: B encoding of UTF-8. */
    expect(&b,
           mail_words(&b, TPC_STR("K\xc3\xbc"
                                  "che")),
           "=?utf-8?B?S8O8Y2hl?=");
    expect(&b, mail_words(&b, TPC_STR("a\r\nBcc: x@y")), "=?utf-8?B?YSAgQmNjOiB4QHk=?=");
    expect(&b, mail_words(&b, TPC_STR("=?utf-8?Q?x?=")), "=?utf-8?B?PT91dGYtOD9RP3g/PQ==?=");
    /* 38 bytes and a character that would not fit the word. */
    expect(&b, mail_words(&b, TPC_STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xc3\xa4z")),
           "=?utf-8?B?YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=?=\r\n "
           "=?utf-8?B?w6R6?=");
}
END_TEST

/* RFC 2045 section 6.7. */
START_TEST(body_is_quoted_printable)
{
    struct tpi_buf b;
    char line[200];
    tpi_buf_init(&b, NULL, 0);
    expect(&b,
           mail_quoted(&b, TPC_STR("21 \xc2\xb0"
                                   "C = warm \n.\n\r\nend\t")),
           "21 =C2=B0C =3D warm=20\r\n.\r\n\r\nend=09\r\n");
    expect(&b, mail_quoted(&b, TPC_STR("a\rb")), "a=0Db\r\n");
    expect(&b, mail_quoted(&b, TPC_STR("")), "");
    memset(line, 'x', sizeof(line));
    tk_ok(mail_quoted(&b, (struct tpc_str){ line, sizeof(line) }));
    size_t column = 0;
    for (size_t i = 0; i < b.len; i++) {
        column = b.ptr[i] == '\n' ? 0 : column + 1;
        ck_assert_uint_le(column, MAIL_LINE_MAX + 1); /* CR counts here, not in the standard */
    }
    ck_assert_uint_eq(b.len, 200 + 2 * 3 + 2);
    tpi_buf_fini(&b);
}
END_TEST

static struct mail sample(void)
{
    static const struct tpc_str to[] = { TPC_STR_INIT("a@b.c"), TPC_STR_INIT("d@e.f") };
    struct mail m = { .to = to, .to_count = 2, .unix_ms = 1795176000123 };
    m.from = TPC_STR("edge@example.org");
    m.from_name = TPC_STR("Edge");
    m.subject = TPC_STR("Hot");
    m.body = TPC_STR("It is hot\n");
    m.id.b[0] = 0xab;
    return m;
}

START_TEST(mail_has_the_headers_that_it_needs)
{
    struct mail m = sample();
    struct tpi_buf b;
    tpi_buf_init(&b, NULL, 0);
    expect(&b, mail_write(&b, &m),
           "Date: Fri, 20 Nov 2026 12:00:00 +0000\r\nFrom: Edge <edge@example.org>\r\n"
           "To: <a@b.c>,\r\n <d@e.f>\r\nSubject: Hot\r\n"
           "Message-ID: <ab000000000000000000000000000000@example.org>\r\nMIME-Version: 1.0\r\n"
           "Content-Type: text/plain; charset=utf-8\r\n"
           "Content-Transfer-Encoding: quoted-printable\r\nAuto-Submitted: auto-generated\r\n\r\n"
           "It is hot\r\n");
    m.from_name = TPC_STR("Edge, Inc. <x>");
    tk_ok(mail_write(&b, &m));
    ck_assert_ptr_nonnull(memmem(b.ptr, b.len, "From: =?utf-8?B?RWRnZSwgSW5jLiA8eD4=?= <", 40));
    tpi_buf_fini(&b);
}
END_TEST

START_TEST(replies_say_what_is_to_be_done)
{
    ck_assert_int_eq(mail_code(421), TPC_EAGAIN);
    ck_assert_int_eq(mail_code(450), TPC_EAGAIN);
    ck_assert_int_eq(mail_code(454), TPC_EAGAIN);
    ck_assert_int_eq(mail_code(550), TPC_EINVAL);
    ck_assert_int_eq(mail_code(554), TPC_EINVAL);
    ck_assert_int_eq(mail_code(552), TPC_ETOOBIG);
    ck_assert_int_eq(mail_code(535), TPC_EDENIED);
    ck_assert_int_eq(mail_code(530), TPC_EDENIED);
}
END_TEST

static int mail_once(const struct tpc_allocator *alloc, void *user)
{
    struct mail m = sample();
    struct tpi_buf b;
    (void) user;
    tpi_buf_init(&b, alloc, 0);
    int rc = mail_write(&b, &m);
    tpi_buf_fini(&b);
    return rc;
}

START_TEST(mail_without_memory_fails_and_leaves_nothing)
{
    tk_each_alloc_fails(mail_once, NULL);
}
END_TEST

Suite *mail_suite(void)
{
    Suite *s = suite_create("smtp mail");
    TCase *t = tcase_create("mail");
    tcase_add_test(t, addresses_are_those_without_surprises);
    tcase_add_test(t, urls_get_their_port_and_name);
    tcase_add_test(t, header_text_is_plain_or_encoded_and_never_a_line_of_its_own);
    tcase_add_test(t, body_is_quoted_printable);
    tcase_add_test(t, mail_has_the_headers_that_it_needs);
    tcase_add_test(t, replies_say_what_is_to_be_done);
    tcase_add_test(t, mail_without_memory_fails_and_leaves_nothing);
    suite_add_tcase(s, t);
    return s;
}
