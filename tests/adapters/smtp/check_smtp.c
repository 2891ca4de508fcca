#include "sink_suite.h"
#include "smtp_suites.h"
#include "stand_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>
#include <tpcore/modules.h>

enum { MESSAGES = 4 };

static struct stand_in server;
static struct tk_env env;
static struct fake_sink h;
static struct tpc_arena *arena;

static void server_up(const char *const *more)
{
    memset(&server, 0, sizeof(server));
    ck_assert(stand_in_start(&server, "smtp_server", more));
}

/* more: further members of the options, with a comma before them. */
static void begin(const char *scheme, const char *more)
{
    char json[2048];
    snprintf(json, sizeof(json), "{\"url\":\"%s://127.0.0.1:%d\",\"from\":\"edge@example.org\"%s}",
             scheme, server.port, more);
    tk_env_init(&env);
    int rc = fake_sink_init(&h, &env, tpc_module_smtp(), json);
    ck_assert_msg(rc == 0, "%s", h.last_fail);
    tk_ok(fake_sink_start(&h));
    tk_ok(tpc_arena_create(NULL, 0, &arena));
}

static void end(void)
{
    fake_sink_stop(&h);
    fake_sink_fini(&h);
    ck_assert_uint_eq(h.calls_after_stop, 0);
    tk_env_fini(&env);
    arena = tpc_arena_destroy(arena);
}

static void *target(const char *json)
{
    void *t = NULL;
    int rc = fake_sink_open(&h, "main/handler/ops", json, &t);
    ck_assert_msg(rc == 0, "%s", h.last_fail);
    return t;
}

static void close_target(void *t)
{
    h.ops->target_close(h.self, t);
}

static struct tpc_batch batch_of(uint32_t count)
{
    static struct tpc_msg messages[MESSAGES];
    static const struct tpc_member text = { TPC_STR_INIT("text"),
                                            { .type = TPC_TEXT,
                                              .len = 24,
                                              .as.text = "21 \xc2\xb0"
                                                         "C\n.\n..dots, too\nend" } };
    struct tpc_batch b = { .size = sizeof(b), .count = count, .msg_size = sizeof(messages[0]) };
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct tpc_msg *m = &messages[i];
        *m = (struct tpc_msg){ .size = sizeof(*m), .kind = TPC_MSG_NOTIFY };
        m->unix_ms = 1795176000000;
        m->id.b[15] = (uint8_t) (i + 1);
        m->tenant = TPC_STR("main");
        m->device = TPC_STR("fan-1");
        m->name = TPC_STR("ops");
        m->params = (struct tpc_value){ .type = TPC_MAP, .len = 1, .as.members = &text };
    }
    b.msgs = messages;
    return b;
}

static struct tpc_value mail(unsigned n)
{
    struct tpc_value v;
    char *line = stand_in_line(&server, n);
    tk_ok(tpc_json_parse(arena, tpc_str_from(line), TPC_JSON_COPY, NULL, &v));
    free(line);
    return v;
}

static const char *data_of(unsigned n)
{
    static char text[8192];
    struct tpc_value v = mail(n);
    struct tpc_str s = tpc_value_text(tpc_value_get(&v, TPC_STR("data")));
    snprintf(text, sizeof(text), "%.*s", (int) s.len, s.ptr);
    return text;
}

START_TEST(notification_arrives_as_a_mail)
{
    server_up(NULL);
    begin("smtp", ",\"starttls\":\"off\",\"from_name\":\"K\xc3\xbc"
                  "che\"");
    struct tpc_batch b = batch_of(1);
    void *t =
        target("{\"to\":[\"a@example.org\",\"b@example.org\"],\"subject\":\"Zu hei\xc3\x9f\"}");
    tk_ok(fake_sink_whole(&h, t, &b));
    struct tpc_value v = mail(0);
    ck_assert(tpc_str_equal(tpc_value_text(tpc_value_get(&v, TPC_STR("from"))),
                            TPC_STR("edge@example.org")));
    ck_assert_uint_eq(tpc_value_get(&v, TPC_STR("to"))->len, 2);
    const char *data = data_of(0);
    ck_assert_ptr_nonnull(strstr(data, "From: =?utf-8?B?S8O8Y2hl?= <edge@example.org>\r\n"));
    ck_assert_ptr_nonnull(strstr(data, "Subject: =?utf-8?B?WnUgaGVpw58=?=\r\n"));
    ck_assert_ptr_nonnull(strstr(data, "To: <a@example.org>,\r\n <b@example.org>\r\n"));
    ck_assert_ptr_nonnull(strstr(data,
                                 "\r\n\r\n21 =C2=B0C\r\n.\r\n..dots, too\r\nend\r\n\r\n--=20\r\n"
                                 "2026-11-20T12:00:00.000Z main fan-1\r\n"));
    close_target(t);
    end();
    stand_in_stop(&server);
}
END_TEST

START_TEST(batch_is_a_mail_for_each_or_one_with_a_line_for_each)
{
    server_up(NULL);
    begin("smtp", ",\"starttls\":\"off\"");
    struct tpc_batch b = batch_of(MESSAGES);
    void *each = target("{\"to\":[\"a@b.c\"]}");
    void *one = target("{\"to\":[\"a@b.c\"],\"batch\":true}");
    tk_ok(fake_sink_whole(&h, each, &b));
    ck_assert_uint_eq(stand_in_count(&server), MESSAGES);
    ck_assert_ptr_nonnull(strstr(data_of(3), "Message-ID: <00000000000000000000000000000004@"));
    ck_assert_ptr_nonnull(strstr(data_of(0), "Subject: fan-1: notify ops\r\n"));
    tk_ok(fake_sink_whole(&h, one, &b));
    ck_assert_uint_eq(stand_in_count(&server), MESSAGES + 1);
    unsigned lines = 0;
    for (const char *p = data_of(MESSAGES); (p = strstr(p, "2026-11-20T12:00:00.000Z 21")) != NULL;
         p++) {
        lines++;
    }
    ck_assert_uint_eq(lines, MESSAGES);
    close_target(each);
    close_target(one);
    end();
    stand_in_stop(&server);
}
END_TEST

START_TEST(refusal_says_whether_it_is_for_now_or_for_good)
{
    static const struct {
        const char *to;
        int code;
        const char *text;
    } cases[] = { { "r450@b.c", TPC_EAGAIN, "450 no such box for you" },
                  { "r421@b.c", TPC_EAGAIN, "421" },
                  { "r550@b.c", TPC_EINVAL, "550 no such box for you" },
                  { "d451@b.c", TPC_EAGAIN, "451 not with that content" },
                  { "d554@b.c", TPC_EINVAL, "554 not with that content" },
                  { "d552@b.c", TPC_ETOOBIG, "552" },
                  { "drop@b.c", TPC_EOFFLINE, "" },
                  { "hang@b.c", TPC_ETIMEOUT, "" } };
    server_up(NULL);
    struct tpc_batch b = batch_of(1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char json[64];
        bool silent = cases[i].code == TPC_ETIMEOUT;
        begin("smtp",
              silent ? ",\"starttls\":\"off\",\"timeout\":\"500ms\"" : ",\"starttls\":\"off\"");
        snprintf(json, sizeof(json), "{\"to\":[\"%s\"]}", cases[i].to);
        void *t = target(json);
        int rc = fake_sink_whole(&h, t, &b);
        const char *text = h.sent[h.sent_count - 1].err.text;
        ck_assert_msg(rc == cases[i].code, "%s: %s %s", cases[i].to, tpc_error_name(rc), text);
        ck_assert_msg(strstr(text, cases[i].text) != NULL, "%s: %s", cases[i].to, text);
        close_target(t);
        end();
    }
    begin("smtp", ",\"starttls\":\"off\"");
    /* One of two recipients that is refused: nobody gets it. */
    void *two = target("{\"to\":[\"a@b.c\",\"r550@b.c\"]}");
    tk_fails(TPC_EINVAL, fake_sink_whole(&h, two, &b));
    ck_assert_uint_eq(stand_in_count(&server), 0);
    close_target(two);
    end();
    stand_in_stop(&server);
}
END_TEST

START_TEST(what_was_taken_of_a_batch_is_not_sent_again)
{
    server_up(NULL);
    begin("smtp", ",\"starttls\":\"off\"");
    struct tpc_batch b = batch_of(3);
    void *t = target("{\"to\":[\"once@b.c\"]}");
    tk_fails(TPC_EAGAIN, fake_sink_whole(&h, t, &b));
    tk_ok(fake_sink_whole(&h, t, &b));
    ck_assert_uint_eq(stand_in_count(&server), 3);
    close_target(t);
    end();
    stand_in_stop(&server);
}
END_TEST

START_TEST(server_that_is_gone_gets_its_mails_later)
{
    server_up(NULL);
    begin("smtp", ",\"starttls\":\"off\"");
    struct tpc_batch b = batch_of(2);
    void *t = target("{\"to\":[\"a@b.c\"]}");
    stand_in_stop(&server);
    tk_fails(TPC_EOFFLINE, fake_sink_whole(&h, t, &b));
    ck_assert(stand_in_start(&server, "smtp_server", NULL));
    tk_ok(fake_sink_whole(&h, t, &b));
    ck_assert_uint_eq(stand_in_count(&server), 2);
    close_target(t);
    end();
    stand_in_stop(&server);
}
END_TEST

START_TEST(connection_without_tls_or_with_an_unknown_certificate_sends_nothing)
{
    char cert[512], key[512], more[1200];
    struct tpc_batch b = batch_of(1);
    void *t;
    server_up(NULL);
    begin("smtp", ",\"user\":\"u\",\"password\":\"p\"");
    t = target("{\"to\":[\"a@b.c\"]}");
    tk_fails(TPC_EDENIED, fake_sink_whole(&h, t, &b));
    close_target(t);
    end();
    stand_in_stop(&server);
    if (!stand_in_certificate(cert, key)) {
        tk_skip("smtp over TLS", "openssl is not installed");
        return;
    }
    for (int implicit = 0; implicit < 2; implicit++) {
        const char *const words[] = { "--tls", cert, key, implicit ? "--smtps" : NULL, NULL };
        server_up(words);
        begin(implicit ? "smtps" : "smtp", "");
        t = target("{\"to\":[\"a@b.c\"]}");
        tk_fails(TPC_EDENIED, fake_sink_whole(&h, t, &b));
        close_target(t);
        end();
        snprintf(more, sizeof(more), ",\"tls\":{\"ca\":\"%s\"}", cert);
        begin(implicit ? "smtps" : "smtp", more);
        t = target("{\"to\":[\"a@b.c\"]}");
        tk_ok(fake_sink_whole(&h, t, &b));
        struct tpc_value v = mail(0);
        ck_assert(tpc_value_get(&v, TPC_STR("tls"))->as.b);
        close_target(t);
        end();
        stand_in_stop(&server);
    }
}
END_TEST

START_TEST(login_is_needed_where_the_server_wants_one)
{
    static const char *const words[] = { "--auth", "joe:s3cret", NULL };
    static const struct {
        const char *more;
        int code;
    } cases[] = { { "", TPC_EDENIED },
                  { ",\"user\":\"joe\",\"password\":\"wrong\"", TPC_EDENIED },
                  { ",\"user\":\"joe\",\"password\":\"s3cret\"", 0 } };
    server_up(words);
    struct tpc_batch b = batch_of(1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char more[128];
        snprintf(more, sizeof(more), ",\"starttls\":\"off\"%s", cases[i].more);
        begin("smtp", more);
        void *t = target("{\"to\":[\"a@b.c\"]}");
        int rc = fake_sink_whole(&h, t, &b);
        ck_assert_msg(rc == cases[i].code, "%zu: %s %s", i, tpc_error_name(rc), h.sent[0].err.text);
        close_target(t);
        end();
    }
    stand_in_stop(&server);
}
END_TEST

START_TEST(stop_ends_a_mail_that_hangs)
{
    server_up(NULL);
    begin("smtp", ",\"starttls\":\"off\"");
    struct tpc_batch b = batch_of(1);
    void *t = target("{\"to\":[\"hang@b.c\"]}");
    tk_ok(h.ops->send(h.self, t, &b, 5));
    h.ops->stop(h.self);
    ck_assert_uint_eq(h.sent_count, 1);
    ck_assert_int_eq(h.sent[0].err.code, TPC_ECANCELED);
    tk_ok(h.ops->start(h.self));
    close_target(t);
    t = target("{\"to\":[\"a@b.c\"]}");
    tk_ok(fake_sink_whole(&h, t, &b));
    close_target(t);
    end();
    stand_in_stop(&server);
}
END_TEST

static int opened(const char *options, const char *target_options)
{
    void *t = NULL;
    tk_env_init(&env);
    int rc = fake_sink_init(&h, &env, tpc_module_smtp(), options);
    if (rc == 0 && target_options != NULL) {
        rc = fake_sink_open(&h, "x", target_options, &t);
    }
    if (t != NULL) {
        close_target(t);
    }
    fake_sink_fini(&h);
    tk_env_fini(&env);
    return rc;
}

START_TEST(options_that_could_forge_a_header_are_refused)
{
    static const char good[] = "{\"url\":\"smtp://h\",\"from\":\"a@b\"}";
    static const char *const bad[] = {
        "{}",
        "{\"url\":\"smtp://h\"}",
        "{\"url\":\"http://h\",\"from\":\"a@b\"}",
        "{\"url\":\"smtp://u@h\",\"from\":\"a@b\"}",
        "{\"url\":\"smtp://h\",\"from\":\"a@b\\r\\nBcc: c@d\"}",
        "{\"url\":\"smtp://h\",\"from\":\"nobody\"}",
        "{\"url\":\"smtp://h\",\"from\":\"a@b\",\"from_name\":\"x\\ny\"}",
        "{\"url\":\"smtp://h\",\"from\":\"a@b\",\"user\":\"x\\ny\"}",
        "{\"url\":\"smtp://h\",\"from\":\"a@b\",\"helo\":\"x y\"}",
        "{\"url\":\"smtp://h\",\"from\":\"a@b\",\"starttls\":\"maybe\"}",
    };
    static const char *const bad_targets[] = {
        "{}",
        "{\"to\":[]}",
        "{\"to\":[\"a@b\",\"c\"]}",
        "{\"to\":[\"a@b>\\r\\nDATA\"]}",
        "{\"to\":[\"a@b\"],\"subject\":\"x\\r\\nBcc: c@d\"}",
        "{\"to\":[\"a@b\"],\"no_such_option\":1}",
    };
    tk_ok(opened(good, "{\"to\":[\"a@b\"]}"));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int rc = opened(bad[i], NULL);
        ck_assert_msg(rc == TPC_EINVAL, "%s: %s", bad[i], tpc_error_name(rc));
    }
    for (size_t i = 0; i < sizeof(bad_targets) / sizeof(bad_targets[0]); i++) {
        int rc = opened(good, bad_targets[i]);
        ck_assert_msg(rc == TPC_EINVAL, "%s: %s", bad_targets[i], tpc_error_name(rc));
    }
}
END_TEST

static int whole_once(const struct tpc_allocator *alloc, void *user)
{
    struct tk_env mine;
    struct fake_sink s;
    struct tpc_batch b = batch_of(2);
    char json[160];
    void *t = NULL;
    (void) user;
    tk_env_init(&mine);
    mine.alloc.base = *alloc;
    snprintf(json, sizeof(json),
             "{\"url\":\"smtp://127.0.0.1:%d\",\"from\":\"a@b\",\"starttls\":\"off\"}",
             server.port);
    int rc = fake_sink_init(&s, &mine, tpc_module_smtp(), json);
    if (rc == 0 && (rc = fake_sink_start(&s)) == 0) {
        rc = fake_sink_open(&s, "x", "{\"to\":[\"a@b\"]}", &t);
        if (rc == 0) {
            rc = fake_sink_whole(&s, t, &b);
            s.ops->target_close(s.self, t);
        }
        fake_sink_stop(&s);
    }
    fake_sink_fini(&s);
    tk_env_fini(&mine);
    return rc;
}

START_TEST(each_allocation_may_fail)
{
    server_up(NULL);
    tk_each_alloc_fails(whole_once, NULL);
    stand_in_stop(&server);
}
END_TEST

static const struct sink_subject subject = {
    .module = tpc_module_smtp,
    .options = "{\"url\":\"smtp://127.0.0.1:9\",\"from\":\"a@b\"}",
    .target = "{\"to\":[\"a@b\"]}",
    .bad_target = "{\"to\":[\"nobody\"]}",
};

Suite *smtp_suite(void)
{
    Suite *s = suite_create("smtp");
    TCase *t = tcase_create("smtp");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, notification_arrives_as_a_mail);
    tcase_add_test(t, batch_is_a_mail_for_each_or_one_with_a_line_for_each);
    tcase_add_test(t, refusal_says_whether_it_is_for_now_or_for_good);
    tcase_add_test(t, what_was_taken_of_a_batch_is_not_sent_again);
    tcase_add_test(t, server_that_is_gone_gets_its_mails_later);
    tcase_add_test(t, connection_without_tls_or_with_an_unknown_certificate_sends_nothing);
    tcase_add_test(t, login_is_needed_where_the_server_wants_one);
    tcase_add_test(t, stop_ends_a_mail_that_hangs);
    tcase_add_test(t, options_that_could_forge_a_header_are_refused);
    tcase_add_test(t, each_allocation_may_fail);
    suite_add_tcase(s, t);
    suite_add_tcase(s, sink_suite(&subject));
    return s;
}
