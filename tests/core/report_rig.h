/* A core with one device and what its subscriber sees, as text. */
#ifndef CHECK_REPORT_RIG_H
#define CHECK_REPORT_RIG_H

#include "flow.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

struct seen {
    pthread_mutex_t lock; /* of text */
    char text[4096];
    size_t len; /* of text */
    atomic_uint messages;
    bool mute; /* many: they are only counted */
};

/* "n=1 x=2@-500 | ": values, with what their time is away from the clock's, messages. */
static inline int see(void *user, const struct tpc_batch *batch)
{
    struct seen *s = user;
    pthread_mutex_lock(&s->lock);
    size_t n = s->len;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        atomic_fetch_add(&s->messages, 1);
        for (uint32_t k = 0; k < m->point_count && !s->mute; k++) {
            const struct tpc_point *p = tpc_msg_point(m, k);
            char value[64] = "";
            struct tpc_buf buf = { (uint8_t *) value, sizeof(value) - 1, 0 };
            (void) tpc_json_write(&p->value, 0, &buf);
            n += (size_t) snprintf(s->text + n, sizeof(s->text) - n, "%.*s=%.*s", (int) p->key.len,
                                   p->key.ptr, (int) buf.need, value);
            if (p->unix_ms != 0 && p->unix_ms != m->unix_ms) {
                n += (size_t) snprintf(s->text + n, sizeof(s->text) - n, "@%lld",
                                       (long long) (p->unix_ms - m->unix_ms));
            }
            n += (size_t) snprintf(s->text + n, sizeof(s->text) - n, " ");
        }
        if (s->mute) {
            continue;
        }
        n += (size_t) snprintf(s->text + n, sizeof(s->text) - n,
                               m->kind == TPC_MSG_ATTRIBUTES ? "a| " : "| ");
    }
    s->len = n < sizeof(s->text) ? n : sizeof(s->text) - 1;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

struct rep {
    struct flow f;
    struct seen seen;
    struct tpc_sub *sub;
    struct tpc_device *d;
    uint32_t wanted;
};

static inline void put(struct rep *r, const char *kind, const char *json)
{
    char text[1024];
    size_t len = strlen(json);
    ck_assert_uint_lt(len, sizeof(text));
    for (size_t i = 0; i <= len; i++) {
        text[i] = json[i] == '\'' ? '"' : json[i];
    }
    int rc =
        tpc_entity_put(r->f.core, NULL, kind, (struct tpc_str){ text, len }, TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s", json, tpc_error_last()->text);
}

static inline void begin_with(struct rep *r, uint32_t workers, const char *core,
                              const char *product, const char *device)
{
    struct tpc_subscribe_options so = TPC_SUBSCRIBE_OPTIONS_INIT;
    memset(r, 0, sizeof(*r));
    pthread_mutex_init(&r->seen.lock, NULL);
    flow_init(&r->f, workers);
    r->f.o.report = tpc_str_from(core);
    flow_create(&r->f);
    put(r, "product", product);
    put(r, "device", device);
    flow_start(&r->f);
    so.filter = TPC_STR("main/up/#");
    tk_ok(tpc_subscribe(r->f.core, &so, see, &r->seen, &r->sub));
    r->d = flow_device(&r->f, "d");
}

static inline void begin(struct rep *r, const char *product)
{
    begin_with(r, 0, "", product, "{'key':'d','product':'p'}");
}

static inline void end(struct rep *r)
{
    tpc_device_unref(r->d);
    tpc_unsubscribe(r->sub);
    flow_fini(&r->f);
}

static inline void say(struct rep *r, const char *json)
{
    char text[512];
    size_t len = strlen(json);
    for (size_t i = 0; i <= len; i++) {
        text[i] = json[i] == '\'' ? '"' : json[i];
    }
    tk_ok(flow_feed(r->d, text));
    flow_settle(&r->f);
}

static inline void wait_ms(struct rep *r, uint32_t ms)
{
    tk_clock_advance(&r->f.e.clock, ms);
    flow_settle(&r->f);
}

static inline void saw(struct rep *r, const char *text)
{
    char seen[sizeof(r->seen.text)];
    pthread_mutex_lock(&r->seen.lock);
    memcpy(seen, r->seen.text, sizeof(seen));
    r->seen.text[0] = '\0';
    r->seen.len = 0;
    pthread_mutex_unlock(&r->seen.lock);
    ck_assert_str_eq(seen, text);
}

#define PRODUCT(more, properties) "{'key':'p'," more "'model':{'properties':[" properties "]}}"
#define N "{'id':'n','type':'double'}"

#endif
