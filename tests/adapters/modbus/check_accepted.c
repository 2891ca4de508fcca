/* Buses over connections that another adapter has accepted. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <tpcore/ext/handover.h>
#include <tpcore/modules.h>
#include <unistd.h>

#include "adapter_suite.h"
#include "modbus_suites.h"
#include "slave.h"

static struct tk_env env;
static struct fake_host h;
static struct slave slave;

/* The service, as a test plays it. */
static struct {
    tpc_handover_fn *fn;
    void *user;
    char device[64];
    atomic_uint_fast64_t over;
    uint64_t connection;
} service;

static int take(void *self, struct tpc_str tenant, struct tpc_str device, tpc_handover_fn *fn,
                void *user, uint64_t *ret_id)
{
    (void) self;
    ck_assert_uint_eq(tenant.len, 0);
    snprintf(service.device, sizeof(service.device), "%.*s", (int) device.len, device.ptr);
    service.fn = fn;
    service.user = user;
    *ret_id = 7;
    return 0;
}

static void over(void *self, uint64_t id, uint64_t connection)
{
    (void) self;
    ck_assert_uint_eq(id, 7);
    atomic_store(&service.over, connection);
}

static void end_taking(void *self, uint64_t id)
{
    (void) self;
    ck_assert_uint_eq(id, 7);
    service.fn = NULL;
}

static const struct tpc_handover_ops ops = { TPC_IFACE(struct tpc_handover_ops, 1), take, over,
                                             end_taking };

static char options[600];

static int begin(const char *scheme, bool offered)
{
    snprintf(options, sizeof(options),
             "{\"url\":\"%s://dtu-1\",\"slaves\":[{\"device\":\"d1\",\"unit\":1,\"poll\":\"40ms\","
             "\"tags\":[{\"name\":\"a\",\"address\":1}]},{\"device\":\"d2\",\"unit\":2,"
             "\"poll\":\"40ms\",\"tags\":[{\"name\":\"a\",\"address\":1}]}],\"timeout\":\"200ms\","
             "\"retries\":0,\"retry_min\":\"20ms\",\"retry_max\":\"200ms\"}",
             scheme);
    memset(&service, 0, sizeof(service));
    tk_env_init(&env);
    tk_ok(fake_init(&h, &env, fake_adapter_of(tpc_module_modbus()), options));
    h.service_name = offered ? "stream.handover" : NULL;
    h.service = &ops;
    return fake_start(&h);
}

static void end(void)
{
    fake_stop(&h);
    ck_assert(service.fn == NULL);
    fake_fini(&h);
    tk_env_fini(&env);
    slave_stop(&slave);
}

/* A connection whose other end is a slave. */
static void hand_over(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(slave.port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *) &to, sizeof(to)), 0);
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    service.fn(service.user, fd, ++service.connection);
}

static uint32_t said(const char *text)
{
    uint32_t n = 0;
    pthread_mutex_lock(&h.lock);
    for (uint32_t i = 0; i < h.frame_count; i++) {
        n += strstr(h.frames[i].payload, text) != NULL;
    }
    pthread_mutex_unlock(&h.lock);
    return n;
}

static bool until_said(const char *text, uint32_t n)
{
    for (int i = 0; i < 5000 && said(text) < n; i++) {
        fake_run(&h, 4, 4);
        poll(NULL, 0, 1);
    }
    return said(text) >= n;
}

static bool until_metric(const char *name, int64_t n)
{
    for (int i = 0; i < 5000 && fake_metric(&h, name) < n; i++) {
        fake_run(&h, 4, 4);
        poll(NULL, 0, 1);
    }
    return fake_metric(&h, name) >= n;
}

static void check_values(uint32_t more)
{
    uint32_t one = said("{\"a\":1001}"), two = said("{\"a\":2001}");
    ck_assert(until_said("{\"a\":1001}", one + more) && until_said("{\"a\":2001}", two + more));
}

START_TEST(bus_asks_over_the_connections_of_a_device_as_they_come_and_go)
{
    static const char *const schemes[] = { "accepted+rtu", "accepted+tcp" };
    for (int i = 0; i < 2; i++) {
        slave.port = 0;
        ck_assert(slave_start(&slave, i == 0));
        tk_ok(begin(schemes[i], true));
        ck_assert_str_eq(service.device, "dtu-1");
        hand_over();
        check_values(2);
        uint16_t port = slave.port;
        slave_stop(&slave); /* the other side closes it: its slaves are away */
        ck_assert(until_metric("went_offline", 2));
        ck_assert_uint_eq(atomic_load(&service.over), 1);
        slave.port = port;
        ck_assert(slave_start(&slave, i == 0));
        hand_over();
        check_values(2);
        end();
        ck_assert_uint_eq(atomic_load(&service.over), 1); /* the last one is given back */
    }
}
END_TEST

START_TEST(newer_connection_takes_the_place_of_the_older_one_and_nobody_is_away)
{
    slave.port = 0;
    ck_assert(slave_start(&slave, true));
    tk_ok(begin("accepted+rtu", true));
    hand_over();
    check_values(1);
    hand_over();
    service.fn(service.user, -1, 1);
    ck_assert(until_metric("connects", 2));
    check_values(2);
    ck_assert_int_eq(fake_metric(&h, "went_offline"), 0);
    service.fn(service.user, -1, 2); /* the device shall go */
    ck_assert(until_metric("went_offline", 2));
    hand_over();
    hand_over(); /* the first of them is not even looked at, maybe */
    check_values(1);
    end();
}
END_TEST

START_TEST(without_a_part_that_hands_over_it_does_not_start)
{
    slave.port = 0;
    ck_assert(slave_start(&slave, true));
    ck_assert_int_eq(begin("accepted+rtu", false), TPC_ENOENT);
    ck_assert_ptr_nonnull(strstr(h.last_fail, "handover"));
    end();
}
END_TEST

Suite *accepted_suite(void)
{
    Suite *s = suite_create("accepted");
    TCase *c = tcase_create("handover");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, bus_asks_over_the_connections_of_a_device_as_they_come_and_go);
    tcase_add_test(c, newer_connection_takes_the_place_of_the_older_one_and_nobody_is_away);
    tcase_add_test(c, without_a_part_that_hands_over_it_does_not_start);
    suite_add_tcase(s, c);
    return s;
}
