/* TLS: between two instances, one that listens and one that connects, and against openssl. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/ext/handover.h>
#include <unistd.h>

#include "rig.h"
#include "tcp_suites.h"

#define CA "\"ca\":\"" PEM_DIR "/ca.pem\""
#define SERVER "\"cert\":\"" PEM_DIR "/server.pem\",\"key\":\"" PEM_DIR "/server.key\""
#define CLIENT "\"cert\":\"" PEM_DIR "/a.pem\",\"key\":\"" PEM_DIR "/a.key\""

static struct rig server, client;

static void server_up(const char *tls, const char *more)
{
    char options[800];
    snprintf(options, sizeof(options), "{\"listen\":[\"tls://127.0.0.1:%%d\"],\"tls\":{%s}%s}", tls,
             more);
    rig_up(&server, options);
}

static void client_up(const char *tls)
{
    char options[800];
    snprintf(options, sizeof(options),
             "{\"connect\":[{\"url\":\"tls://localhost:%d\",\"device\":\"up\"}],"
             "\"retry\":\"100ms\",\"tls\":{%s}}",
             server.port, tls);
    rig_up(&client, options);
}

static void say(const char *text, uint64_t ticket)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    f.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    tk_ok(fake_send(&client.h, 1, "p", "up", &f, ticket));
}

START_TEST(device_with_a_certificate_logs_in_and_its_fingerprint_is_told)
{
    server_up(CA "," SERVER, "");
    client_up(CA "," CLIENT);
    ck_assert(rig_wait_sessions(&client, 1));
    say("id:m1\n", 1);
    ck_assert(fake_wait_frames(&client.h, 1));
    ck_assert_str_eq(client.h.frames[0].payload, "hi");
    ck_assert_uint_eq(strlen(server.fingerprint), 64);
    say("one\nhb\n", 2);
    ck_assert(fake_wait_frames(&server.h, 1));
    ck_assert(fake_wait_frames(&client.h, 2));
    ck_assert_str_eq(client.h.frames[1].payload, "ok");
    rig_down(&client); /* says good-bye */
    ck_assert(rig_wait_sessions(&server, 0));
    rig_down(&server);
}
END_TEST

static void on_handed(void *user, int fd, uint64_t connection)
{
    (void) user;
    (void) connection;
    ck_assert_int_lt(fd, 0); /* a descriptor is of no use without its keys */
}

START_TEST(connection_with_tls_is_not_handed_over_and_goes_on)
{
    uint64_t id;
    server_up(CA "," SERVER, ",\"handover\":true");
    const struct tpc_handover_ops *ops = server.h.offered;
    client_up(CA "," CLIENT);
    ck_assert(rig_wait_sessions(&client, 1));
    say("id:m1\n", 1);
    ck_assert(rig_wait_sessions(&server, 1));
    tk_ok(ops->take(server.h.offered_self, TPC_STR(""), TPC_STR("m1"), on_handed, NULL, &id));
    say("one\n", 2);
    ck_assert(fake_wait_frames(&server.h, 1));
    ck_assert_int_eq(fake_metric(&server.h, "handed_over"), 0);
    ops->end(server.h.offered_self, id);
    rig_down(&client);
    rig_down(&server);
}
END_TEST

START_TEST(much_goes_through_while_the_core_is_full_now_and_then)
{
    enum { COUNT = 900, EACH = 1000 };
    static char text[EACH + 2];
    memset(text, 'x', EACH);
    text[EACH] = '\n';
    server_up(SERVER, "");
    client_up(CA);
    ck_assert(rig_wait_sessions(&client, 1));
    say("id:m1\n", 1);
    ck_assert(fake_wait_frames(&client.h, 1));
    fake_answer(&server.h, TPC_EAGAIN);
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, 10, "%08d", i);
        text[8] = 'x';
        say(text, (uint64_t) i + 2);
        if (i == 100) {
            ck_assert(fake_wait_later(&server.h, 1));
            fake_answer(&server.h, 0);
            server.h.ops->resume(server.h.self, 1);
        }
        if (i % 100 == 99) { /* write_max */
            ck_assert(i <= 100 || fake_wait_frames(&server.h, (uint32_t) i));
        }
    }
    ck_assert(fake_wait_frames(&server.h, COUNT));
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_eq(strtol(server.h.frames[i].payload, NULL, 10), i);
        ck_assert_uint_eq(server.h.frames[i].len, EACH);
    }
    rig_down(&client);
    rig_down(&server);
}
END_TEST

START_TEST(who_shows_no_certificate_or_one_of_others_is_not_let_in)
{
    server_up(CA "," SERVER, "");
    client_up(CA); /* it has none */
    ck_assert(rig_wait(&server, "tls_failed", 1));
    ck_assert(rig_wait_sessions(&client, 0));
    rig_down(&client);
    client_up("\"ca\":\"" PEM_DIR "/ca2.pem\"," CLIENT); /* it does not trust us */
    ck_assert(rig_wait(&client, "tls_failed", 1));
    rig_down(&client);
    ck_assert_int_eq(fake_metric(&server.h, "opened"), 0);
    client_up("\"verify\":false," CLIENT); /* it trusts anybody */
    ck_assert(rig_wait(&server, "opened", 1));
    rig_down(&client);
    rig_down(&server);
}
END_TEST

START_TEST(bytes_that_are_no_tls_and_a_handshake_that_does_not_end_are_closed)
{
    server_up(SERVER, ",\"login_timeout\":\"150ms\"");
    int noise = dev_connect(server.port);
    dev_say(noise, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    ck_assert(dev_gone(noise));
    ck_assert(rig_wait(&server, "tls_failed", 1));
    int slow = dev_connect(server.port);
    dev_put(slow, "\x16\x03\x01\x01", 4); /* the beginning of a hello */
    ck_assert(dev_gone(slow));
    ck_assert(rig_wait(&server, "tls_failed", 2));
    ck_assert_int_eq(fake_metric(&server.h, "opened"), 0);
    int stays = dev_connect(server.port); /* in the middle of it when we stop */
    rig_down(&server);
    close(noise);
    close(slow);
    close(stays);
}
END_TEST

START_TEST(openssl_means_the_same)
{
    char command[400], got[16] = "";
    server_up(SERVER, "");
    snprintf(command, sizeof(command),
             "printf 'who\\n' | openssl s_client -connect 127.0.0.1:%d -quiet -ign_eof "
             "-verify_return_error -CAfile " PEM_DIR "/ca.pem 2>/dev/null",
             server.port);
    if (system("openssl version >/dev/null 2>&1") != 0) {
        tk_skip("openssl_means_the_same", "openssl is not installed");
    } else {
        FILE *f = popen(command, "r");
        ck_assert_ptr_nonnull(f);
        ck_assert_ptr_nonnull(fgets(got, sizeof(got), f));
        ck_assert_str_eq(got, "no\n");
        pclose(f);
    }
    rig_down(&server);
}
END_TEST

static void copy_file(const char *from, const char *dir, const char *name)
{
    char command[600];
    snprintf(command, sizeof(command), "cp " PEM_DIR "/%s %s/%s.new && mv %s/%s.new %s/%s", from,
             dir, name, dir, name, dir, name);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(certificates_that_change_are_for_connections_from_then_on)
{
    char dir[200], tls[600];
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof(dir), "%s/tp-tcp-XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    copy_file("server.pem", dir, "cert");
    copy_file("server.key", dir, "key");
    snprintf(tls, sizeof(tls), "\"cert\":\"%s/cert\",\"key\":\"%s/key\"", dir, dir);
    server_up(tls, "");
    client_up(CA);
    ck_assert(rig_wait_sessions(&client, 1));
    say("id:m1\n", 1);
    ck_assert(fake_wait_frames(&client.h, 1));
    copy_file("a.pem", dir, "cert"); /* half of it: the key is another's */
    atomic_fetch_add(&server.ahead_ms, 31000);
    ck_assert(rig_wait(&server, "certificates_refused", 1));
    copy_file("a.key", dir, "key");
    atomic_fetch_add(&server.ahead_ms, 31000);
    ck_assert(rig_wait(&server, "certificates_new", 1));
    say("hb\n", 2); /* the connection that was there stays */
    ck_assert(fake_wait_frames(&client.h, 2));
    rig_down(&client);
    client_up(CA); /* nobody is called localhost now */
    ck_assert(rig_wait(&client, "tls_failed", 1));
    rig_down(&client);
    rig_down(&server);
    snprintf(tls, sizeof(tls), "rm -r '%s'", dir);
    ck_assert_int_eq(system(tls), 0);
}
END_TEST

START_TEST(certificates_that_cannot_be_read_keep_it_from_starting)
{
    static const char *const bad[] = {
        "\"cert\":\"" PEM_DIR "/nothing.pem\"",
        "\"cert\":\"" PEM_DIR "/server.pem\",\"key\":\"" PEM_DIR "/a.key\"",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char options[800];
        snprintf(options, sizeof(options), "{\"listen\":[\"tls://127.0.0.1:%%d\"],\"tls\":{%s}}",
                 bad[i]);
        tk_ok(rig_init(&server, options, true));
        ck_assert_int_ne(fake_start(&server.h), 0);
        ck_assert_ptr_nonnull(strstr(server.h.last_fail, "tls"));
        rig_down(&server);
    }
}
END_TEST

Suite *tcp_tls_suite(void)
{
    Suite *s = suite_create("tcp tls");
    TCase *c = tcase_create("tls");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, device_with_a_certificate_logs_in_and_its_fingerprint_is_told);
    tcase_add_test(c, connection_with_tls_is_not_handed_over_and_goes_on);
    tcase_add_test(c, much_goes_through_while_the_core_is_full_now_and_then);
    tcase_add_test(c, who_shows_no_certificate_or_one_of_others_is_not_let_in);
    tcase_add_test(c, bytes_that_are_no_tls_and_a_handshake_that_does_not_end_are_closed);
    tcase_add_test(c, openssl_means_the_same);
    tcase_add_test(c, certificates_that_change_are_for_connections_from_then_on);
    tcase_add_test(c, certificates_that_cannot_be_read_keep_it_from_starting);
    suite_add_tcase(s, c);
    return s;
}
