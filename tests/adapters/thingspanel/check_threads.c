/* The HTTP half with its threads: connections come, go and are called off while callbacks, questions of the
 * other half and the platform's answers come from threads of their own. */
#include "http_fx.h"
#include "tp_suites.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { PENDING = 64, LOGINS = 400, SERIALS = 20 };

static struct fx f;
static struct {
    pthread_mutex_t lock;
    pthread_cond_t came;
    struct {
        tpc_http_done_fn *done;
        void *user;
        uint64_t id;
        char body[200];
        bool list;
    } calls[PENDING];
    uint64_t next;
    bool stop;
} platform = { .lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER };

static int submit(void *self, const struct tpc_http_request *q, struct tpc_error *err,
                  uint64_t *ret_id)
{
    (void) self;
    (void) err;
    int rc = TPC_EAGAIN;
    pthread_mutex_lock(&platform.lock);
    for (int i = 0; i < PENDING && rc != 0; i++) {
        if (platform.calls[i].done == NULL) {
            platform.calls[i].done = q->done;
            platform.calls[i].user = q->user_data;
            platform.calls[i].id = *ret_id = ++platform.next;
            platform.calls[i].list = memmem(q->url.ptr, q->url.len, "devices", 7) != NULL;
            snprintf(platform.calls[i].body, sizeof(platform.calls[i].body), "%.*s",
                     (int) q->body.len, (const char *) q->body.ptr);
            rc = 0;
        }
    }
    pthread_cond_signal(&platform.came);
    pthread_mutex_unlock(&platform.lock);
    return rc;
}

static void end(tpc_http_done_fn *done, void *user, const char *text, int code)
{
    struct tpc_error err = { .size = sizeof(err), .code = code };
    const struct tpc_http_reply r = { .size = sizeof(r),
                                      .status = 200,
                                      .body = { (const uint8_t *) text, strlen(text) },
                                      .err = code != 0 ? &err : NULL };
    done(user, &r);
}

/* Takes a call out: that with id, or with 0 any. */
static bool take(uint64_t id, tpc_http_done_fn **done, void **user, char *body, bool *list)
{
    for (int i = 0; i < PENDING; i++) {
        if (platform.calls[i].done != NULL && (id == 0 || platform.calls[i].id == id)) {
            *done = platform.calls[i].done;
            *user = platform.calls[i].user;
            *list = platform.calls[i].list;
            memcpy(body, platform.calls[i].body, sizeof(platform.calls[i].body));
            platform.calls[i].done = NULL;
            return true;
        }
    }
    return false;
}

static int cancel(void *self, uint64_t id)
{
    tpc_http_done_fn *done;
    void *user;
    char body[200];
    bool list;
    (void) self;
    pthread_mutex_lock(&platform.lock);
    bool found = take(id, &done, &user, body, &list);
    pthread_mutex_unlock(&platform.lock);
    if (found) {
        end(done, user, "", TPC_ECANCELED);
    }
    return found ? 0 : TPC_ENOENT;
}

static void answer(tpc_http_done_fn *done, void *user, const char *body, bool list)
{
    char text[400];
    const char *serial = strstr(body, "serial");
    const char *id = strstr(body, "device_id\":\"d");
    unsigned n = 0;
    if (list) {
        end(done, user, "{\"code\":200,\"data\":{\"total\":0,\"list\":null}}", 0);
    } else if (serial != NULL && sscanf(serial, "serial\\\":\\\"%u", &n) == 1 && n % 5 != 0) {
        snprintf(text, sizeof(text),
                 "{\"code\":200,\"data\":{\"id\":\"d%u\",\"device_number\":\"%u\"}}", n, n);
        end(done, user, text, 0);
    } else if (id != NULL && sscanf(id, "device_id\":\"d%u", &n) == 1 && n % 3 != 0) {
        snprintf(
            text, sizeof(text),
            "{\"code\":200,\"data\":{\"id\":\"d%u\",\"voucher\":\"{\\\"serial\\\":\\\"%u\\\"}\"}}",
            n, n);
        end(done, user, text, 0);
    } else {
        end(done, user, strstr(body, "identifier") != NULL ? "{\"code\":200}" : "{\"code\":101001}",
            0);
    }
}

static void *run_platform(void *user)
{
    tpc_http_done_fn *done;
    void *whose;
    char body[200];
    bool list;
    (void) user;
    pthread_mutex_lock(&platform.lock);
    while (!platform.stop) {
        if (!take(0, &done, &whose, body, &list)) {
            pthread_cond_wait(&platform.came, &platform.lock);
            continue;
        }
        pthread_mutex_unlock(&platform.lock);
        answer(done, whose, body, list);
        pthread_mutex_lock(&platform.lock);
    }
    pthread_mutex_unlock(&platform.lock);
    return NULL;
}

/* ---- connections ---- */

struct conn {
    pthread_mutex_t lock;
    uint32_t told;
    bool gone, late; /* it heard something after it was called off */
};
static struct conn conns[LOGINS];

static void on_login(void *user, const struct tpc_error *err, const struct tpc_access_grant *g)
{
    struct conn *c = user;
    (void) err;
    (void) g;
    pthread_mutex_lock(&c->lock);
    c->told++;
    c->late = c->late || c->gone;
    pthread_mutex_unlock(&c->lock);
}

static void on_drop(void *user, struct tpc_str tenant, struct tpc_str device)
{
    (void) user;
    (void) tenant;
    (void) device;
}

static void rest(void)
{
    const struct timespec t = { 0, 200000 };
    nanosleep(&t, NULL);
}

static void *run_connections(void *user)
{
    const struct tpc_access_ops *access = tp_http_access(f.h);
    (void) user;
    for (uint32_t i = 0; i < LOGINS; i++) {
        char frame[16];
        uint64_t id = 0;
        snprintf(frame, sizeof(frame), "V%u", (unsigned) (i % SERIALS));
        const struct tpc_access_request r = { .size = sizeof(r),
                                              .frame = { (const uint8_t *) frame, strlen(frame) } };
        if (access->login(f.h, &r, on_login, &conns[i], &id) != 0) {
            continue;
        }
        if (i % 3 == 0) {
            access->cancel(f.h, id);
            pthread_mutex_lock(&conns[i].lock);
            conns[i].gone = true;
            pthread_mutex_unlock(&conns[i].lock);
        }
        rest();
    }
    return NULL;
}

static void *run_callbacks(void *user)
{
    (void) user;
    for (uint32_t i = 0; i < 100; i++) {
        char body[64];
        snprintf(body, sizeof(body), "{\"device_id\":\"d%u\"}", (unsigned) (i % SERIALS));
        (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", body, "");
        (void) fx_request(&f, "GET", "/api/v1/plugin/device/info", "key=d1", "", "");
        rest();
    }
    return NULL;
}

static void *run_other_half(void *user)
{
    struct tp_found found;
    (void) user;
    for (uint32_t i = 0; i < 400; i++) {
        (void) tp_http_directory.know(f.h, TPC_STR("d1"));
        (void) tp_http_directory.find(f.h, TPC_STR("2"), &found);
        (void) tp_http_directory.child(f.h, TPC_STR("d1"), TPC_STR("7"), &found);
        if (i % 50 == 0) {
            tp_http_directory.link(f.h, true);
            tk_clock_advance(&f.env.clock, 4000);
        }
        rest();
    }
    return NULL;
}

START_TEST(every_connection_is_told_once_whatever_happens_at_the_same_time)
{
    void *(*const runs[4])(void *) = { run_platform, run_connections, run_callbacks,
                                       run_other_half };
    pthread_t threads[4];
    fx_init(&f, 1, NULL);
    fake_stop(&f.host);
    f.host.stopped = false;
    f.client.submit = submit;
    f.client.cancel = cancel;
    tk_ok(f.h->access.watch(f.h, NULL, &f));
    tk_ok(f.h->access.watch(f.h, on_drop, NULL));
    for (uint32_t i = 0; i < LOGINS; i++) {
        pthread_mutex_init(&conns[i].lock, NULL);
    }
    tk_ok(tp_http_start(f.h));
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, runs[i], NULL), 0);
    }
    for (int i = 1; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    tp_http_stop(f.h); /* those that wait are told */
    pthread_mutex_lock(&platform.lock);
    platform.stop = true;
    pthread_cond_signal(&platform.came);
    pthread_mutex_unlock(&platform.lock);
    pthread_join(threads[0], NULL);
    for (uint32_t i = 0; i < LOGINS; i++) {
        ck_assert_msg(conns[i].told == 1 || (i % 3 == 0 && conns[i].told == 0), "%u: told %u times",
                      (unsigned) i, (unsigned) conns[i].told);
        ck_assert(!conns[i].late);
        pthread_mutex_destroy(&conns[i].lock);
    }
    ck_assert_uint_gt(tp_devices_count(&f.h->devices), 0);
    tk_ok(fake_start(&f.host));
    fx_fini(&f);
}
END_TEST

Suite *threads_suite(void)
{
    Suite *s = suite_create("threads");
    TCase *t = tcase_create("threads");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, every_connection_is_told_once_whatever_happens_at_the_same_time);
    suite_add_tcase(s, t);
    return s;
}
