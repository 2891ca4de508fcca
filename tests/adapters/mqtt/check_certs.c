/* Certificates that change while the adapter runs, at a broker that asks for them and logs their names. */
#include "fake_host.h"
#include "mqtt_suites.h"
#include "real_broker.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <tpcore/ext/link.h>
#include <tpcore/modules.h>
#include <unistd.h>

enum { WAIT_MS = 10000, QUIET_MS = 300, RELOAD_MS = 20, LOAD = 300 };

static struct tk_env env;
static struct fake_host h;
static struct real_broker broker, tls; /* tls: the other port of the same broker */
static struct broker device;
static char dir[256];
static bool begun;

static void put(const char *name, const char *fixture)
{
    static char bytes[8192];
    char from[400], fresh[300], to[300];
    snprintf(from, sizeof(from), "%s/%s", PEM_DIR, fixture);
    snprintf(to, sizeof(to), "%.200s/%s", dir, name);
    snprintf(fresh, sizeof(fresh), "%.200s/%s.new", dir, name);
    FILE *f = fopen(from, "rb");
    ck_assert_msg(f != NULL, "%s", from);
    size_t len = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    f = fopen(fresh, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
    fclose(f);
    ck_assert_int_eq(rename(fresh, to), 0);
}

static void put_pair(const char *name)
{
    char cert[40], key[40];
    snprintf(cert, sizeof(cert), "%s.pem", name);
    snprintf(key, sizeof(key), "%s.key", name);
    put("cert", cert);
    put("key", key);
}

/* How often the broker's log has a text. */
static size_t broker_said(const char *text)
{
    static char log[262144];
    size_t found = 0;
    FILE *f = fopen(broker.log, "rb");
    if (f == NULL) {
        return 0;
    }
    log[fread(log, 1, sizeof(log) - 1, f)] = '\0';
    fclose(f);
    for (const char *p = log; (p = strstr(p, text)) != NULL; p++) {
        found++;
    }
    return found;
}

static bool wait_broker(const char *text, size_t least)
{
    for (int i = 0; i < WAIT_MS / 10 && broker_said(text) < least; i++) {
        poll(NULL, 0, 10);
    }
    return broker_said(text) >= least;
}

static bool wait_logged(const char *text, size_t least)
{
    for (int i = 0; i < WAIT_MS / 10 && tk_env_logged(&env, text) < least; i++) {
        poll(NULL, 0, 10);
    }
    return tk_env_logged(&env, text) >= least;
}

static void setup(void)
{
    snprintf(dir, sizeof(dir), "%.250s", tk_tmpdir());
    (void) mkdir(dir, 0700);
    real_broker_init(&broker);
    real_broker_init(&tls);
    snprintf(broker.log, sizeof(broker.log), "%.240s/log", dir);
    unlink(broker.log);
    snprintf(broker.more, sizeof(broker.more),
             "log_type all\nlistener %u 127.0.0.1\ncafile %s/ca.pem\ncertfile %s/server.pem\n"
             "keyfile %s/server.key\nrequire_certificate true\nuse_identity_as_username true\n",
             tls.port, PEM_DIR, PEM_DIR, PEM_DIR);
    real_broker_start(&broker);
    put("ca", "ca.pem");
    put_pair("a");
}

static int try_begin(const char *more, int reload_ms)
{
    char options[2000];
    const char *retry = strstr(more, "retry_") != NULL ? "" : ",\"retry_min\":20,\"retry_max\":100";
    snprintf(options, sizeof(options),
             "{\"url\":\"mqtts://localhost:%u\"%s%s,\"tls\":"
             "{\"ca\":\"%s/ca\",\"cert\":\"%s/cert\",\"key\":\"%s/key\",\"reload\":%d}}",
             tls.port, retry, more, dir, dir, dir, reload_ms);
    tk_env_init(&env);
    return fake_init(&h, &env, fake_adapter_of(tpc_module_mqtt()), options);
}

static void begin(const char *more)
{
    tk_ok(try_begin(more, RELOAD_MS));
    begun = true;
    h.settle = FAKE_SETTLE_INSIDE;
    tk_ok(fake_start(&h));
}

static void end(void)
{
    begun = false;
    fake_stop(&h);
    fake_fini(&h);
    ck_assert_uint_eq(h.calls_after_stop, 0);
    tk_env_fini(&env);
}

static void teardown(void)
{
    if (begun) {
        begun = false;
        fake_stop(&h);
        fake_fini(&h);
    }
    real_broker_kill(&broker);
}

/* The broker has let this certificate in, and the adapter knows: paho loses the memory of an answer that
 * comes while it is stopped. */
static bool wait_in(const char *who, size_t times, size_t connected)
{
    return wait_broker(who, times) && wait_logged("connected to", connected);
}

/* The timer looks at the files. */
static void look(void)
{
    fake_run(&h, RELOAD_MS, RELOAD_MS);
}

static const char *const versions[] = { ",\"version\":4", ",\"version\":5" };

START_TEST(new_certificate_is_used_at_once)
{
    begin(versions[_i]);
    ck_assert(wait_broker("u'client-a'", 1));
    ck_assert(wait_logged("connected to", 1));
    look();
    look();
    ck_assert_int_eq(fake_metric(&h, "tls_reloaded"), 0);
    put_pair("b");
    look();
    ck_assert(wait_broker("u'client-b'", 1));
    ck_assert(wait_logged("connected to", 2));
    ck_assert_uint_eq(tk_env_logged(&env, "new files for TLS, CN=client-b ends in "), 1);
    ck_assert_int_eq(fake_metric(&h, "tls_reloaded"), 1);
    ck_assert_int_eq(fake_metric(&h, "connection_lost"), 0);
    look();
    poll(NULL, 0, QUIET_MS);
    ck_assert_uint_eq(tk_env_logged(&env, "connected to"), 2);
    /* The broker saw a client that says farewell. */
    ck_assert(wait_broker("disconnected.", 1));
    ck_assert_uint_eq(broker_said("Socket error"), 0);
    end();
}
END_TEST

START_TEST(bad_file_keeps_the_connection_and_is_told_once)
{
    begin(versions[_i]);
    ck_assert(wait_broker("u'client-a'", 1));
    put("key", "b.key");
    look();
    look();
    look();
    ck_assert_int_eq(fake_metric(&h, "tls_reload_refused"), 1);
    ck_assert_uint_eq(tk_env_logged(&env, "tls.key"), 1);
    ck_assert_uint_eq(tk_env_logged(&env, "does not belong"), 1);
    poll(NULL, 0, QUIET_MS);
    ck_assert_uint_eq(tk_env_logged(&env, "connected to"), 1);
    /* A new connection still has the old pair, though the files are bad. */
    real_broker_kill(&broker);
    ck_assert(wait_logged("lost", 1));
    real_broker_start(&broker);
    ck_assert(wait_broker("u'client-a'", 2));
    put("cert", "b.pem");
    look();
    ck_assert(wait_in("client-b'", 1, 3));
    ck_assert_int_eq(fake_metric(&h, "tls_reloaded"), 1);
    ck_assert_int_eq(fake_metric(&h, "tls_reload_refused"), 1);
    end();
}
END_TEST

START_TEST(bad_file_at_start_is_an_error_with_option_and_file)
{
    char path[300];
    put("key", "b.key");
    tk_fails(TPC_EINVAL, try_begin("", RELOAD_MS));
    snprintf(path, sizeof(path), "tls.key %.60s", dir);
    ck_assert_msg(strstr(h.last_fail, path) != NULL, "%s", h.last_fail);
    fake_fini(&h);
    tk_env_fini(&env);
    snprintf(path, sizeof(path), "%.200s/ca", dir);
    unlink(path);
    put("key", "a.key");
    tk_fails(TPC_EINVAL, try_begin("", RELOAD_MS));
    ck_assert_msg(strstr(h.last_fail, "tls.ca ") != NULL, "%s", h.last_fail);
    fake_fini(&h);
    tk_env_fini(&env);
}
END_TEST

START_TEST(files_are_not_looked_at_without_a_period)
{
    tk_ok(try_begin("", 0));
    begun = true;
    tk_ok(fake_start(&h));
    ck_assert(wait_in("client-a'", 1, 1));
    put_pair("b");
    fake_run(&h, 7200000, 600000);
    poll(NULL, 0, QUIET_MS);
    ck_assert_uint_eq(broker_said("u'client-b'"), 0);
    ck_assert_int_gt(fake_metric(&h, "tls_expires_days"), 0);
    end();
}
END_TEST

START_TEST(end_that_is_near_is_a_gauge_and_is_said_once_a_day)
{
    const int64_t end_ms = INT64_C(4733510400000); /* 2120-01-01 */
    const int64_t day_ms = 86400000;
    tk_ok(try_begin("", RELOAD_MS));
    begun = true;
    tk_clock_set_unix(&env.clock, end_ms - 31 * day_ms);
    tk_ok(fake_start(&h));
    ck_assert_int_eq(fake_metric(&h, "tls_expires_days"), 31);
    ck_assert_int_eq(fake_metric(&h, "tls_ca_expires_days"), 31);
    ck_assert_uint_eq(tk_env_logged(&env, "ends in"), 0);
    tk_clock_set_unix(&env.clock, end_ms - 29 * day_ms);
    look();
    look();
    ck_assert_int_eq(fake_metric(&h, "tls_expires_days"), 29);
    ck_assert_uint_eq(tk_env_logged(&env, "the certificate CN=client-a ends in 29 days"), 1);
    ck_assert_uint_eq(tk_env_logged(&env, "the authority CN=test authority ends in 29 days"), 1);
    fake_run(&h, (uint64_t) day_ms, 3600000);
    ck_assert_uint_eq(tk_env_logged(&env, "the certificate CN=client-a ends in"), 2);
    tk_clock_set_unix(&env.clock, end_ms + 1000);
    fake_run(&h, (uint64_t) day_ms, 3600000);
    ck_assert_uint_eq(tk_env_logged(&env, "the certificate CN=client-a ended 1 days ago"), 1);
    ck_assert_int_lt(fake_metric(&h, "tls_expires_days"), 0);
    ck_assert(wait_in("client-a'", 1, 1));
    end();
}
END_TEST

START_TEST(new_certificate_ends_the_pause_between_two_tries)
{
    put_pair("old"); /* the broker refuses it: it is over */
    begin(",\"retry_min\":60000,\"retry_max\":60000");
    ck_assert(wait_logged("cannot connect to", 1));
    put_pair("b");
    look();
    ck_assert(wait_in("client-b'", 1, 1));
    end();
}
END_TEST

/* ---- nothing is lost ---- */

static uint64_t heard, done, failed, downs;
static bool got[LOAD], told[LOAD];

static void on_heard(void *user, struct tpc_str topic, struct tpc_bytes payload)
{
    char text[40];
    int number = -1;
    (void) user;
    (void) topic;
    snprintf(text, sizeof(text), "%.*s", (int) payload.len, (const char *) payload.ptr);
    if (sscanf(text, "{\"a\":%d}", &number) == 1 && number >= 0 && number < LOAD && !told[number]) {
        told[number] = true; /* a second one is what QoS 1 allows */
        heard++;
    }
}

static void on_done(void *user, const struct tpc_error *err)
{
    (void) user;
    __atomic_add_fetch(err == NULL ? &done : &failed, 1, __ATOMIC_SEQ_CST);
}

static void on_state(void *user, int up)
{
    (void) user;
    __atomic_add_fetch(&downs, up == 0, __ATOMIC_SEQ_CST);
}

/* Frames of the load that are here, each counted once. */
static uint32_t arrived(void)
{
    uint32_t n = 0;
    pthread_mutex_lock(&h.lock);
    memset(got, 0, sizeof(got));
    for (uint32_t i = 0; i < h.frame_count; i++) {
        int number = -1;
        if (sscanf(h.frames[i].payload, "{\"a\":%d}", &number) == 1 && number >= 0 &&
            number < LOAD && !got[number]) {
            got[number] = true;
            n++;
        }
    }
    pthread_mutex_unlock(&h.lock);
    return n;
}

START_TEST(messages_of_both_ways_survive_changes_of_the_certificate)
{
    static const char *const options[] = {
        ",\"version\":4,\"client_id\":\"p\",\"clean_start\":false",
        ",\"version\":5,\"client_id\":\"p\",\"clean_start\":false"
    };
    char text[40];
    heard = done = failed = 0;
    memset(told, 0, sizeof(told));
    begin(options[_i]);
    const struct tpc_link_ops *link = h.offered;
    ck_assert(wait_logged("connected to", 1));
    poll(NULL, 0, 100);
    tk_ok(link->watch(h.offered_self, on_state, NULL));
    __atomic_store_n(&downs, 0, __ATOMIC_SEQ_CST);
    device_connect(&device, &broker, "device", "down/x", on_heard, NULL);
    for (int i = 0; i < LOAD; i++) {
        int len = snprintf(text, sizeof(text), "{\"a\":%d}", i);
        ck_assert(broker_publish(&device, "/sys/pk/dn/thing/property/post", text, (size_t) len, 0));
        tk_ok(link->publish(h.offered_self, TPC_STR("down/x"),
                            (struct tpc_bytes){ (const uint8_t *) text, (size_t) len }, 1, 0,
                            on_done, NULL));
        if (i % 100 == 50) {
            put_pair(i == 150 ? "a" : "b");
            look();
        }
        devices_run(&device, 1, 5, NULL, 0);
        ck_assert_uint_lt(device.inflight_count, BROKER_INFLIGHT_MAX);
    }
    devices_run(&device, 1, WAIT_MS, &heard, LOAD);
    for (int i = 0;
         i < WAIT_MS / 10 && (arrived() < LOAD || __atomic_load_n(&done, __ATOMIC_SEQ_CST) < LOAD);
         i++) {
        poll(NULL, 0, 10);
    }
    ck_assert_uint_eq(arrived(), LOAD);
    ck_assert_uint_eq(done, LOAD);
    ck_assert_uint_eq(failed, 0);
    ck_assert_uint_eq(heard, LOAD);
    ck_assert_int_eq(fake_metric(&h, "tls_reloaded"), 3);
    ck_assert(wait_broker("u'client-b'", 2));
    ck_assert_uint_eq(downs, 0); /* nobody was told of it */
    ck_assert_int_eq(fake_metric(&h, "connection_lost"), 0);
    broker_fini(&device);
    end();
}
END_TEST

START_TEST(broker_that_is_gone_during_a_change_is_a_lost_connection)
{
    begin("");
    const struct tpc_link_ops *link = h.offered;
    ck_assert(wait_broker("u'client-a'", 1));
    ck_assert(wait_logged("connected to", 1));
    tk_ok(link->watch(h.offered_self, on_state, NULL));
    __atomic_store_n(&downs, 0, __ATOMIC_SEQ_CST);
    real_broker_freeze(&broker, true);
    put_pair("b");
    look();
    poll(NULL, 0, QUIET_MS);
    real_broker_kill(&broker);
    ck_assert(wait_logged("lost", 1));
    for (int i = 0; i < WAIT_MS / 10 && __atomic_load_n(&downs, __ATOMIC_SEQ_CST) == 0; i++) {
        poll(NULL, 0, 10);
    }
    ck_assert_uint_eq(__atomic_load_n(&downs, __ATOMIC_SEQ_CST), 1);
    tk_fails(TPC_EOFFLINE,
             link->publish(h.offered_self, TPC_STR("x"), TPC_BYTES("y"), 1, 0, NULL, NULL));
    real_broker_start(&broker);
    ck_assert(wait_in("client-b'", 1, 2));
    end();
}
END_TEST

START_TEST(stop_during_a_change_ends_at_once)
{
    for (int i = 0; i < 5; i++) {
        put_pair(i % 2 != 0 ? "b" : "a");
        begin(versions[i % 2]);
        ck_assert(wait_logged("connected to", 1));
        put_pair(i % 2 != 0 ? "a" : "b");
        look();
        poll(NULL, 0, i * 3);
        end();
    }
}
END_TEST

Suite *certs_suite(void)
{
    Suite *s = suite_create("certs");
    TCase *c = tcase_create("certs");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, new_certificate_is_used_at_once, 0, 2);
    tcase_add_loop_test(c, bad_file_keeps_the_connection_and_is_told_once, 0, 2);
    tcase_add_test(c, bad_file_at_start_is_an_error_with_option_and_file);
    tcase_add_test(c, files_are_not_looked_at_without_a_period);
    tcase_add_test(c, end_that_is_near_is_a_gauge_and_is_said_once_a_day);
    tcase_add_test(c, new_certificate_ends_the_pause_between_two_tries);
    tcase_add_test(c, broker_that_is_gone_during_a_change_is_a_lost_connection);
    tcase_add_test(c, stop_during_a_change_ends_at_once);
    suite_add_tcase(s, c);
    TCase *load = tcase_create("load");
    tcase_set_timeout(load, 60);
    tcase_add_checked_fixture(load, setup, teardown);
    tcase_add_loop_test(load, messages_of_both_ways_survive_changes_of_the_certificate, 0, 2);
    suite_add_tcase(s, load);
    return s;
}
