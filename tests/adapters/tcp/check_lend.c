/* Connections that another part speaks over. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <tpcore/ext/handover.h>
#include <unistd.h>

#include "rig.h"
#include "tcp_suites.h"

static struct rig r;
static const char options[] = "{\"listen\":[\"tcp://127.0.0.1:%d\"],\"handover\":true}";

struct taken {
    atomic_int fd;
    atomic_uint_fast64_t connection, ended;
    atomic_uint count;
};

static struct taken taken;
static const struct tpc_handover_ops *ops;
static uint64_t id;

static void on_handed(void *user, int fd, uint64_t connection)
{
    struct taken *t = user;
    if (fd < 0) {
        atomic_store(&t->ended, connection);
        return;
    }
    atomic_store(&t->fd, fd);
    atomic_store(&t->connection, connection);
    atomic_fetch_add(&t->count, 1);
}

static bool wait_taken(uint32_t count)
{
    for (int i = 0; i < 5000 && atomic_load(&taken.count) < count; i++) {
        poll(NULL, 0, 1);
    }
    return atomic_load(&taken.count) == count;
}

static bool wait_ended(uint64_t connection)
{
    for (int i = 0; i < 5000 && atomic_load(&taken.ended) != connection; i++) {
        poll(NULL, 0, 1);
    }
    return atomic_load(&taken.ended) == connection;
}

static int log_in(const char *name)
{
    char text[64];
    int fd = dev_connect(r.port);
    snprintf(text, sizeof(text), "id:%s\n", name);
    dev_say(fd, text);
    ck_assert(dev_hears(fd, "hi\n"));
    return fd;
}

static void take(const char *device)
{
    tk_ok(
        ops->take(r.h.offered_self, TPC_STR("main"), tpc_str_from(device), on_handed, &taken, &id));
}

static void begin(void)
{
    atomic_store(&taken.fd, -1);
    atomic_store(&taken.count, 0);
    atomic_store(&taken.ended, 0);
    rig_up(&r, options);
    ops = r.h.offered;
    ck_assert_ptr_nonnull(ops);
}

static void check_talk(int dev)
{
    char text[8] = "";
    int fd = atomic_load(&taken.fd);
    ck_assert_int_eq(write(fd, "ask\n", 4), 4);
    ck_assert(dev_hears(dev, "ask\n"));
    uint32_t frames = rig_frames(&r);
    dev_say(dev, "told\n");
    struct pollfd p = { .fd = fd, .events = POLLIN };
    ck_assert_int_eq(poll(&p, 1, 5000), 1);
    ck_assert_int_eq(read(fd, text, sizeof(text)), 5);
    ck_assert_str_eq(text, "told\n");
    ck_assert_uint_eq(rig_frames(&r), frames);
}

START_TEST(connection_is_handed_over_once_somebody_asks_or_once_the_device_is_in)
{
    begin();
    int other = log_in("m2");
    int dev = log_in("m1");
    take("m1");
    ck_assert(wait_taken(1));
    check_talk(dev);
    ck_assert_uint_eq(rig_open_sessions(&r), 2); /* the adapter says that it is online */
    dev_say(other, "one\n");
    ck_assert(fake_wait_frames(&r.h, 1));
    close(atomic_load(&taken.fd));
    ops->over(r.h.offered_self, id, atomic_load(&taken.connection));
    ck_assert(dev_gone(dev));
    close(dev);
    ck_assert(rig_wait_sessions(&r, 1));
    dev = log_in("m1");
    ck_assert(wait_taken(2));
    check_talk(dev);
    uint64_t second;
    ck_assert_int_eq(
        ops->take(r.h.offered_self, TPC_STR(""), TPC_STR("m1"), on_handed, &taken, &second),
        TPC_EEXIST);
    close(atomic_load(&taken.fd));
    ops->end(r.h.offered_self, id);
    close(dev);
    close(other);
    rig_down(&r);
}
END_TEST

START_TEST(who_speaks_hears_that_the_device_came_again_or_shall_go)
{
    begin();
    take("m1");
    int dev = log_in("m1");
    ck_assert(wait_taken(1));
    int old = atomic_load(&taken.fd);
    uint64_t first = atomic_load(&taken.connection);
    int again = log_in("m1");
    ck_assert(wait_taken(2) && wait_ended(first));
    close(old);
    ck_assert(dev_gone(dev));
    close(dev);
    check_talk(again);
    ck_assert_uint_eq(rig_open_sessions(&r), 1);
    r.drop(r.drop_user, TPC_STR("main"), TPC_STR("m1"));
    ck_assert(wait_ended(atomic_load(&taken.connection)));
    close(atomic_load(&taken.fd));
    ck_assert(dev_gone(again));
    close(again);
    ck_assert(rig_wait_sessions(&r, 0));
    ops->over(r.h.offered_self, id, atomic_load(&taken.connection)); /* it is known */
    ops->end(r.h.offered_self, id);
    rig_down(&r);
}
END_TEST

START_TEST(connection_that_is_given_back_is_read_as_before_and_may_be_asked_for_anew)
{
    begin();
    int dev = log_in("m1");
    for (uint32_t i = 1; i <= 3; i++) {
        take("m1");
        ck_assert(wait_taken(i));
        check_talk(dev);
        close(atomic_load(&taken.fd));
        ops->end(r.h.offered_self, id);
        dev_say(dev, "one\n");
        ck_assert(fake_wait_frames(&r.h, i));
    }
    ck_assert_int_eq(fake_metric(&r.h, "handed_over"), 3);
    close(dev);
    ck_assert(rig_wait_sessions(&r, 0));
    rig_down(&r);
}
END_TEST

START_TEST(connection_goes_to_who_asks_for_it_right_after_another_has_ended)
{
    begin();
    take("m1");
    int dev = log_in("m1");
    ck_assert(wait_taken(1));
    for (uint32_t i = 2; i <= 20; i++) {
        close(atomic_load(&taken.fd));
        ops->end(r.h.offered_self, id);
        take("m1");
        ck_assert(wait_taken(i));
    }
    check_talk(dev);
    close(atomic_load(&taken.fd));
    ops->end(r.h.offered_self, id);
    close(dev);
    rig_down(&r);
}
END_TEST

START_TEST(who_ends_before_his_asking_was_heard_cuts_nobody_off)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    f.payload = TPC_BYTES("go\n");
    begin();
    int dev = log_in("m1");
    int other = dev_connect(r.port);
    pthread_mutex_lock(&r.lock); /* the loop waits in login() */
    dev_say(other, "id:m2\n");
    poll(NULL, 0, 50);
    take("m3");
    tk_ok(fake_send(&r.h, 1, "p", "m1", &f, 1));
    ops->end(r.h.offered_self, id);
    pthread_mutex_unlock(&r.lock);
    ck_assert(fake_wait_sent(&r.h, 1));
    ck_assert(dev_hears(dev, "go\n"));
    close(dev);
    close(other);
    rig_down(&r);
}
END_TEST

START_TEST(stop_ends_what_is_handed_over_and_forgets_who_asked)
{
    begin();
    take("m1");
    int dev = log_in("m1");
    ck_assert(wait_taken(1));
    rig_down(&r); /* without end() */
    ck_assert(wait_ended(atomic_load(&taken.connection)));
    close(atomic_load(&taken.fd));
    ck_assert(dev_gone(dev));
    close(dev);
}
END_TEST

/* Whoever asks gets the connection, or hears that there is no memory; whatever fails, nothing is left. */
START_TEST(memory_that_runs_out_costs_the_connection_at_most)
{
    for (size_t i = 1; i <= 20; i++) {
        begin();
        int dev = log_in("m1");
        tk_alloc_fail(&r.env.alloc, i);
        int rc = ops->take(r.h.offered_self, TPC_STR(""), TPC_STR("m1"), on_handed, &taken, &id);
        ck_assert(rc == 0 || rc == TPC_ENOMEM);
        if (rc == 0) {
            (void) wait_taken(1);
            close(atomic_load(&taken.fd));
            ops->end(r.h.offered_self, id);
        }
        r.drop(r.drop_user, TPC_STR(""), TPC_STR("m1"));
        ck_assert(dev_gone(dev));
        tk_alloc_fail(&r.env.alloc, 0);
        close(dev);
        rig_down(&r);
    }
}
END_TEST

Suite *tcp_lend_suite(void)
{
    Suite *s = suite_create("tcp_lend");
    TCase *c = tcase_create("handover");
    tcase_add_test(c, connection_is_handed_over_once_somebody_asks_or_once_the_device_is_in);
    tcase_add_test(c, who_speaks_hears_that_the_device_came_again_or_shall_go);
    tcase_add_test(c, connection_that_is_given_back_is_read_as_before_and_may_be_asked_for_anew);
    tcase_add_test(c, connection_goes_to_who_asks_for_it_right_after_another_has_ended);
    tcase_add_test(c, who_ends_before_his_asking_was_heard_cuts_nobody_off);
    tcase_add_test(c, stop_ends_what_is_handed_over_and_forgets_who_asked);
    tcase_add_test(c, memory_that_runs_out_costs_the_connection_at_most);
    suite_add_tcase(s, c);
    return s;
}
