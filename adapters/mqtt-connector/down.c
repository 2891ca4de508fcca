/*
 * What goes out: attributes that are set and services become publishes. A command is answered once the
 * broker has all of its publishes, or once the device has answered on the topic that its template makes.
 */
#include "../mqtt/dialect.h"
#include "connector.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/cbor.h>
#include <tpcore/json.h>

#include "data/member.h"
#include "data/utf8.h"

/* A command that is not done. */
struct cn_job {
    struct cn_job *next;
    struct connector *c;
    uint64_t ticket, session;
    uint32_t left;    /* publishes that have not ended, and one until all were given */
    int code;         /* of the first that failed */
    bool reply;       /* somebody waits for one */
    bool two_way;     /* by the device */
    bool answered;    /* `reply_text` is to be told */
    bool told;        /* it was, or nobody wants it */
    int64_t until_ms; /* of two_way; monotonic */
    uint32_t timeout_ms;
    size_t correlation_len;
    char correlation[CN_CORRELATION_MAX];
    struct tpi_buf topic; /* where the device answers */
    struct tpi_buf reply_text;
};

static int64_t now_ms(const struct connector *c)
{
    return (int64_t) (c->host->clock->mono_ns(c->host->clock->user) / 1000000);
}

static void free_job(struct connector *c, struct cn_job *j)
{
    const struct tpc_allocator *a = c->host->allocator;
    tpi_buf_fini(&j->topic);
    tpi_buf_fini(&j->reply_text);
    a->resize(a->user, j, sizeof(*j), 0);
}

static struct cn_job *new_job(struct connector *c, const struct tpc_peer *peer,
                              const struct tpc_frame *frame, uint64_t ticket)
{
    const struct tpc_allocator *a = c->host->allocator;
    struct cn_job *j = a->resize(a->user, NULL, 0, sizeof(*j));
    if (j == NULL) {
        return NULL;
    }
    memset(j, 0, sizeof(*j));
    j->c = c;
    j->ticket = ticket;
    j->session = peer->session;
    j->left = 1;
    j->reply = frame->kind != TPC_MSG_TELEMETRY_SET && frame->correlation.len > 0;
    j->correlation_len = frame->correlation.len;
    memcpy(j->correlation, frame->correlation.ptr, frame->correlation.len);
    tpi_buf_init(&j->topic, a, CN_TOPIC_MAX);
    tpi_buf_init(&j->reply_text, a, 0);
    return j;
}

/* ---- replies ---- */

static struct tpc_value text_value(struct tpc_str s)
{
    return (struct tpc_value){ .type = TPC_TEXT, .len = s.len, .as.text = s.len > 0 ? s.ptr : "" };
}

/* Writes what the core is told; under the lock. Without memory the command ends by its time-out. */
static void write_reply(struct cn_job *j, int code, const char *message,
                        const struct tpc_value *data)
{
    struct tpc_str id = { j->correlation, j->correlation_len };
    struct tpc_member members[4];
    struct tpc_value map = { .type = TPC_MAP, .as.members = members };
    members[map.len++] = (struct tpc_member){ TPC_STR("id"), text_value(id) };
    members[map.len++] = (struct tpc_member){ TPC_STR("code"), { .type = TPC_INT, .as.i = code } };
    members[map.len++] =
        (struct tpc_member){ TPC_STR("message"), text_value(tpc_str_from(message)) };
    if (data != NULL) {
        members[map.len++] = (struct tpc_member){ TPC_STR("data"), *data };
    }
    struct tpc_buf buf = { NULL, 0, 0 };
    for (int pass = 0; pass < 2; pass++) {
        int rc = j->c->config.cbor ? tpc_cbor_write(&map, &buf) : tpc_json_write(&map, 0, &buf);
        bool fits = rc == 0 || rc == TPC_ETOOBIG;
        if (!fits || (pass == 0 && tpi_buf_reserve(&j->reply_text, buf.need) != 0)) {
            j->told = true;
            return;
        }
        buf.ptr = j->reply_text.ptr;
        buf.cap = buf.need;
    }
    j->reply_text.len = buf.need;
    j->answered = true;
}

/* Tells a reply; false = later. Without the lock. */
static bool tell_reply(struct connector *c, const struct cn_job *j)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_REPLY };
    f.correlation = (struct tpc_str){ j->correlation, j->correlation_len };
    f.payload = (struct tpc_bytes){ j->reply_text.ptr, j->reply_text.len };
    int rc = c->host->receive(c->ctx, j->session, &f, 0);
    if (rc != 0 && tpc_error_class(rc) == TPC_CLASS_RETRY) {
        return false;
    }
    c->host->count(c->ctx, rc == 0 ? "replies" : "dropped", 1);
    return true;
}

/* ---- the list ---- */

static bool over(const struct cn_job *j)
{
    bool done = j->told || !j->reply || j->code != 0;
    return j->left == 0 && done;
}

static void on_sweep(void *user);

/* Sets the timer if there is something to look at. Under the lock, which it leaves; a worker's. */
static void set_sweep(struct connector *c)
{
    if (c->sweeping || c->stopping || c->jobs == NULL) {
        return;
    }
    uint64_t timer = 0;
    uint32_t turn = c->sweep_turn;
    c->sweeping = true;
    pthread_mutex_unlock(&c->lock);
    int rc = c->host->timer_set(c->ctx, CN_SWEEP_MS, on_sweep, c, &timer);
    pthread_mutex_lock(&c->lock);
    if (c->sweep_turn == turn) {
        c->sweeping = rc == 0;
        c->timer = timer;
    }
}

/* Takes the first job off the list that is over or that has something to tell. */
static struct cn_job *take_ready(struct connector *c)
{
    for (struct cn_job **at = &c->jobs; *at != NULL; at = &(*at)->next) {
        struct cn_job *j = *at;
        if (over(j) || (j->answered && !j->told && j->left == 0)) {
            *at = j->next;
            c->job_count--;
            return j;
        }
    }
    return NULL;
}

static void put_back(struct connector *c, struct cn_job *j)
{
    j->next = c->jobs;
    c->jobs = j;
    c->job_count++;
}

/* Tells what can be told and frees what is over. Under the lock, which it leaves. */
static void work_off(struct connector *c)
{
    struct cn_job *j;
    bool later = false;
    while (!c->stopping && !later && (j = take_ready(c)) != NULL) {
        pthread_mutex_unlock(&c->lock);
        bool told = over(j) || tell_reply(c, j);
        if (told) {
            free_job(c, j);
        }
        pthread_mutex_lock(&c->lock);
        if (!told) {
            put_back(c, j);
            later = true; /* the next sweep tries again */
        }
    }
}

static void time_out(struct connector *c)
{
    int64_t now = now_ms(c);
    for (struct cn_job *j = c->jobs; j != NULL; j = j->next) {
        char text[64];
        if (j->two_way && !j->answered && !j->told && now >= j->until_ms) {
            snprintf(text, sizeof(text), "no answer within %u ms", (unsigned) j->timeout_ms);
            write_reply(j, 1, text, NULL);
            c->host->count(c->ctx, "rpc_timeouts", 1);
        }
    }
}

static void on_sweep(void *user)
{
    struct connector *c = user;
    pthread_mutex_lock(&c->lock);
    c->sweeping = false;
    c->sweep_turn++;
    c->in_sweep = true;
    time_out(c);
    work_off(c);
    set_sweep(c);
    c->in_sweep = false;
    pthread_cond_broadcast(&c->changed); /* stop() waits for it */
    pthread_mutex_unlock(&c->lock);
}

void cn_end_sweeps(struct connector *c)
{
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    bool set = c->sweeping;
    uint64_t timer = c->timer;
    pthread_mutex_unlock(&c->lock);
    if (set) {
        c->host->timer_clear(c->ctx, timer);
    }
    pthread_mutex_lock(&c->lock);
    while (c->in_sweep) {
        pthread_cond_wait(&c->changed, &c->lock);
    }
    pthread_mutex_unlock(&c->lock);
}

void cn_drop_jobs(struct connector *c)
{
    pthread_mutex_lock(&c->lock);
    struct cn_job *list = c->jobs;
    c->jobs = NULL;
    c->job_count = 0;
    pthread_mutex_unlock(&c->lock);
    while (list != NULL) {
        struct cn_job *j = list;
        list = j->next;
        free_job(c, j);
    }
}

/* ---- publishes ---- */

/* One of a job's publishes, or the giving of them, has ended. */
static void end_one(struct cn_job *j, int code)
{
    struct connector *c = j->c;
    struct tpc_error err = { .size = sizeof(err), .origin = "mqtt" };
    pthread_mutex_lock(&c->lock);
    j->code = j->code == 0 ? code : j->code;
    err.code = j->code;
    bool last = j->left == 1;
    j->left -= !last; /* the last one keeps the job alive until all is told */
    pthread_mutex_unlock(&c->lock);
    if (!last) {
        return;
    }
    snprintf(err.text, sizeof(err.text), "the broker did not take it");
    c->host->sent(c->ctx, j->ticket, err.code != 0 ? &err : NULL);
    pthread_mutex_lock(&c->lock);
    j->left = 0;
    if (j->code == 0 && j->reply && !j->two_way) {
        static const struct tpc_member success = { TPC_STR_INIT("success"),
                                                   { .type = TPC_BOOL, .as.b = true } };
        struct tpc_value data = { .type = TPC_MAP, .len = 1, .as.members = &success };
        write_reply(j, 0, "", &data);
    }
    work_off(c);
    pthread_mutex_unlock(&c->lock);
}

static void on_published(void *user, const struct tpc_error *err)
{
    struct cn_job *j = user;
    if (err == NULL) {
        j->c->host->count(j->c->ctx, "published", 1);
    }
    end_one(j, err != NULL ? err->code : 0);
}

static bool topic_valid(const struct tpi_buf *topic)
{
    bool ok = topic->len > 0;
    for (size_t i = 0; ok && i < topic->len; i++) {
        uint8_t ch = topic->ptr[i];
        ok = ch != 0 && ch != '+' && ch != '#';
    }
    return ok;
}

static int fill(struct connector *c, const struct say *say, const struct say_values *v,
                struct tpc_arena *arena, struct tpi_buf *out, const char *what)
{
    tpi_buf_clear(out);
    int rc = say_fill(say, v, arena, out);
    if (rc == TPC_ENOMEM) {
        return TPC_EAGAIN;
    }
    return rc == 0 ? 0 : c->host->fail(c->ctx, TPC_EUNSUPPORTED, "%s: cannot be filled", what);
}

/* One publish of a job. Returns 0, TPC_EAGAIN, TPC_EOFFLINE or what makes it impossible. */
static int publish(struct cn_job *j, const struct say *topic, const struct say *value,
                   const struct say_values *v, uint32_t qos, bool retain, struct tpc_arena *arena)
{
    struct connector *c = j->c;
    struct say_values plain = *v; /* a topic has no quotes in it */
    struct tpi_buf topic_text, text;
    plain.quote = false;
    tpi_buf_init(&topic_text, c->host->allocator, CN_TOPIC_MAX);
    tpi_buf_init(&text, c->host->allocator, CN_PAYLOAD_MAX);
    int rc = fill(c, topic, &plain, arena, &topic_text, "topic");
    rc = rc != 0 ? rc : fill(c, value, v, arena, &text, "value");
    if (rc == 0 && !topic_valid(&topic_text)) {
        rc = c->host->fail(c->ctx, TPC_EUNSUPPORTED, "topic: \"%.*s\" is none to publish to",
                           (int) (topic_text.len < 100 ? topic_text.len : 100),
                           (const char *) topic_text.ptr);
    }
    if (rc == 0) {
        struct tpc_str t = { (const char *) topic_text.ptr, topic_text.len };
        struct tpc_bytes b = { text.ptr, text.len };
        pthread_mutex_lock(&c->lock);
        j->left++;
        pthread_mutex_unlock(&c->lock);
        rc = mqtt_client_publish(c->client, t, b, qos, retain, on_published, j);
        if (rc != 0) {
            pthread_mutex_lock(&c->lock);
            j->left--;
            pthread_mutex_unlock(&c->lock);
        }
    }
    tpi_buf_fini(&topic_text);
    tpi_buf_fini(&text);
    return rc;
}

/* ---- commands ---- */

static bool matches(const struct pick *p, struct tpc_str text, bool begin, struct tpc_arena *arena)
{
    struct tpc_str found;
    return pick_find(p, text, begin, arena, &found) == 0;
}

/* Attributes that are set: each to every update that fits. Returns how many publishes there were. */
static int set_attributes(struct cn_job *j, const struct say_values *base,
                          const struct tpc_value *doc, struct tpc_arena *arena, uint32_t *ret_count)
{
    struct connector *c = j->c;
    int rc = 0;
    for (size_t i = 0; i < doc->len && rc == 0; i++) {
        struct say_values v = *base;
        v.key = doc->as.members[i].key;
        v.value = &doc->as.members[i].value;
        for (uint32_t k = 0; k < c->config.update_count && rc == 0; k++) {
            const struct cn_update *u = &c->config.updates[k];
            if (matches(&u->devices, v.device, true, arena) &&
                matches(&u->attributes, v.key, true, arena)) {
                rc = publish(j, &u->topic, &u->value, &v, u->qos, u->retain, arena);
                *ret_count += rc == 0;
            }
        }
    }
    return rc;
}

static const struct cn_rpc *rpc_for(const struct connector *c, const struct say_values *v,
                                    struct tpc_arena *arena)
{
    for (uint32_t i = 0; i < c->config.rpc_count; i++) {
        const struct cn_rpc *p = &c->config.rpcs[i];
        if (matches(&p->devices, v->device, false, arena) &&
            matches(&p->methods, v->method, false, arena)) {
            return p;
        }
    }
    return NULL;
}

static int call(struct cn_job *j, const struct cn_rpc *p, const struct say_values *v,
                struct tpc_arena *arena, uint32_t *ret_count)
{
    struct connector *c = j->c;
    if (p->two_way) {
        struct say_values plain = *v;
        plain.quote = false;
        int rc = fill(c, &p->answer, &plain, arena, &j->topic, "answer_topic");
        struct tpc_str topic = { (const char *) j->topic.ptr, j->topic.len };
        if (rc == 0 && !mqtt_filter_match(p->filter, topic)) {
            rc = c->host->fail(c->ctx, TPC_EUNSUPPORTED,
                               "answer_topic: a value with / in it makes it another one");
        }
        if (rc != 0) {
            return rc;
        }
        j->timeout_ms = p->timeout_ms;
        pthread_mutex_lock(&c->lock);
        j->until_ms = now_ms(c) + p->timeout_ms;
        j->two_way = true;
        pthread_mutex_unlock(&c->lock);
    }
    int rc = publish(j, &p->topic, &p->value, v, p->qos, p->retain, arena);
    *ret_count += rc == 0;
    return rc;
}

static int parse(const struct tpc_frame *frame, struct tpc_arena *arena, struct tpc_value *ret)
{
    struct tpc_str text = { (const char *) frame->payload.ptr, frame->payload.len };
    /* A map in CBOR begins with 0xA0 and above, one in JSON with a brace or a blank. */
    return frame->payload.len > 0 && frame->payload.ptr[0] >= 0x80
               ? tpc_cbor_parse(arena, frame->payload, NULL, ret)
               : tpc_json_parse(arena, text, 0, NULL, ret);
}

/* Publishes what a command becomes. The job is on the list. */
static int run(struct cn_job *j, const struct tpc_peer *peer, const struct tpc_frame *frame,
               struct tpc_arena *arena, uint32_t *ret_count)
{
    struct connector *c = j->c;
    struct tpc_value doc;
    char request[16];
    bool map = parse(frame, arena, &doc) == 0 && doc.type == TPC_MAP;
    if (!map) { /* of a codec with a form of its own: it goes out as it is */
        doc = text_value((struct tpc_str){ (const char *) frame->payload.ptr, frame->payload.len });
    }
    pthread_mutex_lock(&c->lock);
    int n = snprintf(request, sizeof(request), "%u", (unsigned) ++c->next_request);
    pthread_mutex_unlock(&c->lock);
    bool set = frame->kind == TPC_MSG_ATTRIBUTES_SET || frame->kind == TPC_MSG_TELEMETRY_SET ||
               tpc_str_equal(frame->name, TPC_STR("set")) ||
               tpc_str_equal(frame->name, TPC_STR("control"));
    bool get = frame->kind == TPC_MSG_ATTRIBUTES_GET || tpc_str_equal(frame->name, TPC_STR("get"));
    struct say_values v = { .device = peer->device, .type = peer->product };
    v.request = (struct tpc_str){ request, (size_t) n };
    v.method = frame->name.len > 0 ? frame->name : set ? TPC_STR("set") : TPC_STR("get");
    v.params = set || get || !map ? &doc : tpc_value_get(&doc, TPC_STR("params"));
    if (set && map) {
        int rc = set_attributes(j, &v, &doc, arena, ret_count);
        if (rc != 0 || *ret_count > 0) {
            return rc;
        }
    }
    v.quote = map; /* what a script made goes out as it is */
    const struct cn_rpc *p = rpc_for(c, &v, arena);
    return p != NULL
               ? call(j, p, &v, arena, ret_count)
               : c->host->fail(c->ctx, TPC_EUNSUPPORTED, "no %s of the configuration is for it",
                               set ? "attribute_updates" : "rpc");
}

/* Takes a job off the list again; nothing of it is on its way. */
static void drop_job(struct connector *c, struct cn_job *j)
{
    pthread_mutex_lock(&c->lock);
    struct cn_job **at = &c->jobs;
    while (*at != NULL && *at != j) {
        at = &(*at)->next;
    }
    if (*at == j) {
        *at = j->next;
        c->job_count--;
    }
    pthread_mutex_unlock(&c->lock);
    free_job(c, j);
}

int cn_send(struct connector *c, const struct tpc_peer *peer, const struct tpc_frame *frame,
            uint64_t ticket)
{
    struct tpc_arena *arena = NULL;
    uint32_t count = 0;
    if (peer->session == 0) {
        return TPC_EOFFLINE;
    }
    if (frame->correlation.len > CN_CORRELATION_MAX) {
        return c->host->fail(c->ctx, TPC_EUNSUPPORTED, "a command's id of more than %d bytes",
                             CN_CORRELATION_MAX);
    }
    struct cn_job *j = new_job(c, peer, frame, ticket);
    if (j == NULL || tpc_arena_create(c->host->allocator, 0, &arena) != 0) {
        if (j != NULL) {
            free_job(c, j);
        }
        return TPC_EAGAIN;
    }
    pthread_mutex_lock(&c->lock);
    bool room = c->job_count < CN_JOBS_MAX && !c->stopping;
    if (room) {
        put_back(c, j); /* before the publish: the answer may be fast */
    }
    pthread_mutex_unlock(&c->lock);
    if (!room) {
        tpc_arena_destroy(arena);
        free_job(c, j);
        c->host->count(c->ctx, "commands_later", 1);
        return TPC_EAGAIN;
    }
    int rc = run(j, peer, frame, arena, &count);
    tpc_arena_destroy(arena);
    if (rc != 0 && count == 0) {
        drop_job(c, j);
        return rc;
    }
    end_one(j, rc); /* some publishes are out: what is missing fails the command */
    pthread_mutex_lock(&c->lock);
    set_sweep(c);
    pthread_mutex_unlock(&c->lock);
    return 0;
}

/* ---- answers ---- */

/* What a device answered, as a value: JSON, a text, or hexadecimal digits. */
static void answer_value(struct connector *c, struct tpc_bytes payload, struct tpc_value *ret)
{
    static const struct slice all = { false, false, false, 0, 0 };
    struct expr_message m = { .bytes = payload };
    struct expr_part part = { .kind = EXPR_BYTES, .slice = all };
    struct expr e = { .kind = EXPR_BYTES, .parts = &part, .part_count = 1 };
    *ret = text_value((struct tpc_str){ NULL, 0 });
    if (!cn_json(payload, c->arena, ret) && expr_value(&e, &m, c->arena, ret) != 0) {
        m.hex = true;
        (void) expr_value(&e, &m, c->arena, ret);
    }
}

bool cn_answered(struct connector *c, const struct mqtt_incoming *in)
{
    struct cn_job *first = NULL; /* the oldest of that topic: devices answer in order */
    pthread_mutex_lock(&c->lock);
    for (struct cn_job *j = c->jobs; j != NULL; j = j->next) {
        struct tpc_str topic = { (const char *) j->topic.ptr, j->topic.len };
        if (j->two_way && !j->answered && !j->told && tpc_str_equal(topic, in->topic)) {
            first = j;
        }
    }
    if (first != NULL) {
        struct tpc_value data;
        answer_value(c, in->payload, &data);
        write_reply(first, 0, "", &data);
        work_off(c);
    }
    pthread_mutex_unlock(&c->lock);
    if (first != NULL) {
        tpc_arena_reset(c->arena);
    }
    return first != NULL;
}
