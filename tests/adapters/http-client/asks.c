#include "asks.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <tpcore/modules.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static const struct tpc_http_ops *the_ops;

void asks_begin(struct asks *a, const char *options)
{
    const struct tpc_adapter_ops *ops = fake_adapter_of(tpc_module_http_client());
    memset(a, 0, sizeof(*a));
    tk_env_init(&a->env);
    int rc = fake_init(&a->host, &a->env, ops, options);
    ck_assert_msg(rc == 0, "%s", a->host.last_fail);
    tk_ok(fake_start(&a->host));
    the_ops = a->ops = a->host.offered;
    a->self = a->host.offered_self;
    ck_assert_ptr_nonnull(a->ops);
}

void asks_end(struct asks *a)
{
    fake_stop(&a->host);
    fake_fini(&a->host);
    ck_assert_uint_eq(a->host.calls_after_stop, 0);
    tk_env_fini(&a->env);
}

void ask_init(struct ask *k, const char *method, int port, const char *path, const char *body)
{
    static char urls[64][256];
    static unsigned next;
    char *url = urls[next++ % 64];
    memset(k, 0, sizeof(*k));
    snprintf(url, 256, "http://127.0.0.1:%d%s", port, path);
    k->q.size = sizeof(k->q);
    k->q.method = tpc_str_from(method);
    k->q.url = tpc_str_from(url);
    if (body != NULL) {
        k->q.body = (struct tpc_bytes){ (const uint8_t *) body, strlen(body) };
    }
}

static void keep(char *to, size_t cap, const struct tpc_http_reply *reply, const char *name)
{
    struct tpc_str s = the_ops->header(reply, tpc_str_from(name));
    snprintf(to, cap, "%.*s", (int) s.len, s.len > 0 ? s.ptr : "");
}

static void on_done(void *user, const struct tpc_http_reply *reply)
{
    struct ask *k = user;
    pthread_mutex_lock(&lock);
    k->times++;
    k->status = reply->status;
    k->header_count = reply->headers.count;
    k->len = reply->body.len;
    size_t n = k->len < ASK_BODY_MAX - 1 ? k->len : ASK_BODY_MAX - 1;
    if (n > 0) {
        memcpy(k->body, reply->body.ptr, n);
    }
    k->body[n] = '\0';
    keep(k->connection, sizeof(k->connection), reply, "x-connection");
    keep(k->hint, sizeof(k->hint), reply, "X-Hint");
    keep(k->after, sizeof(k->after), reply, "RETRY-AFTER");
    k->code = reply->err != NULL ? reply->err->code : 0;
    snprintf(k->text, sizeof(k->text), "%s", reply->err != NULL ? reply->err->text : "");
    k->over = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

int ask_begin(struct asks *a, struct ask *k, struct tpc_error *err)
{
    k->q.done = on_done;
    k->q.user_data = k;
    return a->ops->submit(a->self, &k->q, err, &k->id);
}

void ask_wait(struct ask *k)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    int rc = 0;
    pthread_mutex_lock(&lock);
    while (!k->over && rc == 0) {
        rc = pthread_cond_timedwait(&changed, &lock, &until);
    }
    pthread_mutex_unlock(&lock);
    ck_assert_msg(k->over, "no reply within 20 s to %.*s", (int) k->q.url.len, k->q.url.ptr);
    ck_assert_uint_eq(k->times, 1);
}

void ask_whole(struct asks *a, struct ask *k)
{
    struct tpc_error err;
    int rc = ask_begin(a, k, &err);
    ck_assert_msg(rc == 0, "submit: %s", rc == 0 ? "" : err.text);
    ask_wait(k);
}
