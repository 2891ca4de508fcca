#include "ask.h"

#include "../thingsboard/attributes.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { NAMES_MAX = 4096, OPEN_MAX = 1024 };

struct cn_asks {
    pthread_mutex_t lock;
    const struct tpc_allocator *alloc;
    const struct tpc_host *host;
    void *ctx;
    struct mqtt_client *client;
    bool running, told;
    uint32_t open;                       /* that are not answered, and one for the connector */
    const struct tb_attributes_ops *ops; /* NULL = nobody offers it */
    void *self;
};

/* A question on its way. */
struct ask {
    struct cn_asks *all;
    const struct cn_request *request;
    size_t device_len;
    char device[CN_DEVICE_MAX];
};

int cn_asks_create(const struct tpc_host *host, void *ctx, struct mqtt_client *client,
                   struct cn_asks **ret)
{
    struct cn_asks *a = tpi_alloc_zero(host->allocator, sizeof(*a));
    if (a == NULL || pthread_mutex_init(&a->lock, NULL) != 0) {
        tpi_free(host->allocator, a, sizeof(*a));
        return TPC_ENOMEM;
    }
    a->alloc = host->allocator;
    a->host = host;
    a->ctx = ctx;
    a->client = client;
    a->open = 1;
    *ret = a;
    return 0;
}

void cn_asks_start(struct cn_asks *a)
{
    const void *ops = NULL;
    void *self = NULL;
    bool there = a->host->need(a->ctx, TB_ATTRIBUTES_SERVICE, &ops, &self) == 0;
    pthread_mutex_lock(&a->lock);
    a->ops = there ? ops : NULL;
    a->self = self;
    a->running = true;
    pthread_mutex_unlock(&a->lock);
}

void cn_asks_stop(struct cn_asks *a)
{
    pthread_mutex_lock(&a->lock);
    a->running = false;
    pthread_mutex_unlock(&a->lock);
}

/* One of its holders lets go. */
static void release(struct cn_asks *a)
{
    pthread_mutex_lock(&a->lock);
    bool last = --a->open == 0;
    pthread_mutex_unlock(&a->lock);
    if (last) {
        pthread_mutex_destroy(&a->lock);
        tpi_free(a->alloc, a, sizeof(*a));
    }
}

struct cn_asks *cn_asks_destroy(struct cn_asks *a)
{
    if (a != NULL) {
        release(a);
    }
    return NULL;
}

/* ---- answers ---- */

/* Publishes one attribute. Under the lock: the client is there. */
static int answer(const struct ask *q, struct tpc_str key, const struct tpc_value *value,
                  struct tpc_arena *arena)
{
    struct cn_asks *a = q->all;
    struct say_values v = { .device = { q->device, q->device_len }, .key = key, .value = value };
    struct tpi_buf topic, text;
    tpi_buf_init(&topic, a->alloc, CN_TOPIC_MAX);
    tpi_buf_init(&text, a->alloc, CN_PAYLOAD_MAX);
    int rc = say_fill(&q->request->topic, &v, arena, &topic);
    rc = rc != 0 ? rc : say_fill(&q->request->answer, &v, arena, &text);
    if (rc == 0) {
        rc = mqtt_client_publish(a->client, (struct tpc_str){ (const char *) topic.ptr, topic.len },
                                 (struct tpc_bytes){ text.ptr, text.len }, 1, q->request->retain,
                                 NULL, NULL);
    }
    tpi_buf_fini(&topic);
    tpi_buf_fini(&text);
    return rc;
}

/* How many of a map were published. */
static uint32_t answer_all(const struct ask *q, const struct tpc_value *map)
{
    struct tpc_arena *arena = NULL;
    uint32_t n = 0;
    if (map == NULL || map->type != TPC_MAP || tpc_arena_create(q->all->alloc, 0, &arena) != 0) {
        return 0;
    }
    for (size_t i = 0; i < map->len; i++) {
        const struct tpc_member *m = &map->as.members[i];
        n += answer(q, m->key, &m->value, arena) == 0;
    }
    tpc_arena_destroy(arena);
    return n;
}

static void on_answer(void *user, const struct tpc_error *err, const struct tpc_value *client,
                      const struct tpc_value *shared)
{
    struct ask *q = user;
    struct cn_asks *a = q->all;
    pthread_mutex_lock(&a->lock);
    if (a->running) {
        uint32_t n = err == NULL ? answer_all(q, q->request->client ? client : shared) : 0;
        a->host->count(a->ctx, n > 0 ? "attributes_answered" : "attributes_unanswered",
                       n > 0 ? n : 1);
    }
    pthread_mutex_unlock(&a->lock);
    tpi_free(a->alloc, q, sizeof(*q));
    release(a);
}

/* ---- questions ---- */

/* What a device asks for, with commas between: a text, or an array of texts. */
static int names_of(const struct cn_request *q, const struct expr_message *m,
                    struct tpc_arena *arena, struct tpc_str *ret)
{
    struct tpc_value v;
    int rc = expr_value(&q->name, m, arena, &v);
    if (rc != 0) {
        return rc == TPC_ENOMEM ? rc : TPC_EDECODE;
    }
    if (v.type != TPC_ARRAY) {
        rc = cast_text(&v, arena, ret);
        return rc != 0 || (ret->len > 0 && ret->len <= NAMES_MAX) ? rc : TPC_EDECODE;
    }
    char *text = tpc_arena_take(arena, NAMES_MAX);
    size_t n = 0;
    if (text == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < v.len; i++) {
        struct tpc_str one = tpc_value_text(&v.as.items[i]);
        if (one.len == 0 || n + 1 + one.len > NAMES_MAX) {
            return TPC_EDECODE;
        }
        if (n > 0) {
            text[n++] = ',';
        }
        memcpy(text + n, one.ptr, one.len);
        n += one.len;
    }
    *ret = (struct tpc_str){ text, n };
    return n > 0 ? 0 : TPC_EDECODE;
}

/* Whether there is somebody to ask, and room; the question then holds `a`. */
static bool may_ask(struct cn_asks *a)
{
    pthread_mutex_lock(&a->lock);
    bool may = a->running && a->ops != NULL && a->open < OPEN_MAX;
    bool tell = a->ops == NULL && !a->told;
    a->told |= tell;
    a->open += may;
    pthread_mutex_unlock(&a->lock);
    if (tell) {
        a->host->log(a->ctx, TPC_LOG_WARN, "nobody answers for attributes: no adapter offers %s",
                     TB_ATTRIBUTES_SERVICE);
    }
    return may;
}

int cn_ask(struct cn_asks *a, const struct cn_request *q, const struct expr_message *m,
           struct tpc_str device, struct tpc_arena *arena)
{
    static const struct tpc_str none = { NULL, 0 };
    struct tpc_str names = none;
    int rc = names_of(q, m, arena, &names);
    if (rc != 0) {
        return rc;
    }
    bool may = may_ask(a);
    struct ask *one = may ? tpi_alloc_zero(a->alloc, sizeof(*one)) : NULL;
    if (one != NULL) {
        one->all = a;
        one->request = q;
        one->device_len = device.len;
        memcpy(one->device, device.ptr, device.len);
        rc = a->ops->ask(a->self, device, q->client ? names : none, q->client ? none : names,
                         on_answer, one);
        if (rc == 0) {
            return 0;
        }
        tpi_free(a->alloc, one, sizeof(*one));
    }
    a->host->count(a->ctx, "attributes_unanswered", 1);
    if (may) {
        release(a);
    }
    return 0; /* the device asks again */
}
