/* Batches on their way to the server. */
#include "inside.h"

#include "../text/say.h"

#include <string.h>

#include "base/error.h"
#include "data/member.h"

/* MQTT 5 reasons that a server gives (contract of ThingsBoard, 1.1). */
enum {
    REASON_DENIED = 0x87,
    REASON_TOPIC = 0x90,
    REASON_TOO_LARGE = 0x95,
    REASON_RATE = 0x96,
    REASON_QUOTA = 0x97,
    REASON_FORMAT = 0x99,
    GIVEN_MAX = 1 << 20
};

/* A publish that is on its way. */
struct way {
    struct tb *s;
    struct tb_job *job;
    struct tb_device *device; /* of what is no data */
    enum tb_stream stream;
    uint32_t from, to; /* no message: both 0 */
    uint32_t epoch;
};

static void *take(struct tb *s, size_t n)
{
    const struct tpc_allocator *a = s->host->allocator;
    return a->resize(a->user, NULL, 0, n);
}

static void give(struct tb *s, void *p, size_t n)
{
    s->host->allocator->resize(s->host->allocator->user, p, n, 0);
}

/* ---- the end of a batch ---- */

static const struct tpc_id *id_of(const struct tb_job *job, uint32_t i)
{
    return &tpc_batch_msg(job->b.batch, i)->id;
}

/* Remembers what the server has of a batch that failed, until it comes again. Under the lock. */
static void remember(struct tb_job *job)
{
    struct tb_target *t = job->target;
    static char there;
    if (tpi_map_count(&t->given) + job->b.batch->count > GIVEN_MAX) {
        return;
    }
    for (uint32_t i = 0; i < job->b.batch->count; i++) {
        if (tb_batch_has(&job->b, i)) {
            /* Without memory it will come twice. */
            (void) tpi_map_put(&t->given, id_of(job, i)->b, sizeof(struct tpc_id), &there, NULL);
        }
    }
}

static void forget(struct tb_job *job)
{
    struct tb_target *t = job->target;
    for (uint32_t i = 0;
         (t->strikes > 0 || tpi_map_count(&t->given) > 0) && i < job->b.batch->count; i++) {
        if (memcmp(id_of(job, i), &t->suspect, sizeof(t->suspect)) == 0) {
            t->strikes = 0; /* others that are taken say nothing of it */
        }
        (void) tpi_map_remove(&t->given, id_of(job, i)->b, sizeof(struct tpc_id));
    }
}

/* A server of MQTT 3.1.1 can refuse a payload only by closing the connection: if that happens again and
 * again, at once, and nothing of the batch is taken, it is the batch. Under the lock. */
static void judge(struct tb *s, struct tb_job *job)
{
    struct tb_target *t = job->target;
    uint32_t first = 0;
    while (first + 1 < job->b.batch->count && (job->b.marks[first] & TB_MARK_GIVEN) != 0) {
        first++;
    }
    const struct tpc_id *id = id_of(job, first);
    if (memcmp(id, &t->suspect, sizeof(*id)) != 0) {
        if (t->strikes > 0 && s->epoch - t->strike_epoch <= 1) {
            return; /* another one is suspected now */
        }
        t->suspect = *id;
        t->strikes = 0;
    }
    if (t->strikes > 0 && t->strike_epoch == s->epoch) {
        return; /* one for each connection that ends */
    }
    t->strikes++;
    t->strike_epoch = s->epoch;
    s->alone_until_ms = tb_mono_ms() + TB_ALONE_MS;
    if (t->strikes >= (job->b.batch->count > 1 ? TB_STRIKES : TB_STRIKES_ONE)) {
        t->strikes = 0;
        tpi_error_set(&job->err, TPC_EDECODE, "thingsboard",
                      "the server closes the connection whenever this comes");
    }
}

static void count_end(struct tb *s, const struct tb_job *job)
{
    int code = job->err.code;
    if (code == 0) {
        s->host->count(s->ctx, "delivered", job->b.batch->count);
    } else {
        s->host->count(s->ctx,
                       code == TPC_ECANCELED                             ? "canceled"
                       : tpc_error_class(code) == TPC_CLASS_RETRY        ? "failed"
                       : code == TPC_EDENIED || code == TPC_EUNSUPPORTED ? "denied"
                                                                         : "refused",
                       1);
    }
}

/* Under the lock, which it leaves. The target may be gone when it returns. */
static void end_job(struct tb *s, struct tb_job *job)
{
    if (s->stopping && job->err.code == TPC_EOFFLINE) {
        tpi_error_set(&job->err, TPC_ECANCELED, "thingsboard", "the sink stops");
    }
    if (job->struck && !job->acked && job->err.code == TPC_EOFFLINE) {
        judge(s, job);
    }
    if (job->err.code == 0) {
        forget(job);
    } else {
        remember(job);
    }
    pthread_mutex_unlock(&s->lock);
    count_end(s, job);
    uint64_t ticket = job->ticket;
    struct tpc_error err = job->err;
    tb_batch_fini(&job->b, s->host->allocator);
    give(s, job, sizeof(*job));
    s->host->sent(s->ctx, ticket, err.code != 0 ? &err : NULL);
    pthread_mutex_lock(&s->lock);
}

/* A worse end stands: what is refused has to be found, whatever else happened. */
static void note_error(struct tb_job *job, const struct tpc_error *err)
{
    bool retry = tpc_error_class(err->code) == TPC_CLASS_RETRY;
    if (job->err.code == 0 || !retry) {
        job->err = *err;
    }
}

static void explain(struct tb *s, const struct tpc_error *err, struct tpc_error *ret)
{
    int code = err->code;
    if (err->native == REASON_FORMAT || err->native == REASON_TOPIC ||
        err->native == REASON_TOO_LARGE) {
        code = TPC_EDECODE;
    } else if (err->native == REASON_RATE || err->native == REASON_QUOTA) {
        tb_session_slow_down(s);
        code = TPC_EAGAIN;
    } else if (err->native == REASON_DENIED) {
        code = TPC_EDENIED;
    } else if (err->native != 0) {
        code = TPC_EAGAIN;
    }
    *ret = *err;
    if (err->native != 0) {
        tpi_error_set(ret, code, "thingsboard", "the server answers with reason 0x%02x",
                      (unsigned) err->native);
        ret->native = err->native;
    }
}

static void on_published(void *user, const struct tpc_error *err)
{
    struct way *w = user;
    struct tb *s = w->s;
    struct tb_job *job = w->job;
    pthread_mutex_lock(&s->lock);
    s->inflight--;
    job->away--;
    tb_batch_back(&job->b, w->stream, w->from, w->to, err == NULL);
    if (err == NULL) {
        job->acked = true;
    } else {
        struct tpc_error own;
        explain(s, err, &own);
        note_error(job, &own);
        if (w->device != NULL && w->device->epoch == w->epoch) {
            w->device->epoch = 0;
            w->device->about = false;
        }
        bool lost = err->native == 0 && err->code == TPC_EOFFLINE;
        uint64_t now_ms = tb_mono_ms();
        if (lost && w->epoch == s->epoch) {
            s->lost_epoch = w->epoch;
            s->lost_until_ms = now_ms + TB_STRIKE_MS;
        }
        job->struck =
            job->struck || (lost && s->facts.version == 4 && now_ms - job->sent_ms < TB_STRIKE_MS);
    }
    pthread_cond_signal(&s->changed);
    if (job->all_out && job->away == 0) {
        end_job(s, job);
    }
    pthread_mutex_unlock(&s->lock);
    give(s, w, sizeof(*w));
}

/* ---- one publish ---- */

static uint64_t until_allowed(struct tb *s, bool telemetry, uint32_t points, uint64_t now_ms)
{
    uint64_t wait = tb_bucket_wait(&s->messages, 1, now_ms);
    if (telemetry) {
        uint64_t other = tb_bucket_wait(&s->telemetry, 1, now_ms);
        wait = other > wait ? other : wait;
        other = tb_bucket_wait(&s->points, points, now_ms);
        wait = other > wait ? other : wait;
    }
    return s->inflight >= s->inflight_max ? UINT64_MAX : wait;
}

static void pay(struct tb *s, bool telemetry, uint32_t points)
{
    tb_bucket_take(&s->messages, 1);
    if (telemetry) {
        tb_bucket_take(&s->telemetry, 1);
        tb_bucket_take(&s->points, points);
    }
}

/* Publishes for the job. Under the lock, which it leaves. Codes of mqtt_client_publish(). */
static int publish(struct tb *s, struct tb_job *job, struct tpc_str topic, struct tpc_bytes payload,
                   const struct tb_part *part, struct tb_device *device)
{
    struct way *w = take(s, sizeof(*w));
    if (w == NULL) {
        return TPC_EAGAIN;
    }
    *w = (struct way){ .s = s, .job = job, .device = device, .epoch = s->epoch };
    if (part != NULL) {
        w->stream = part->stream;
        w->from = part->from;
        w->to = part->to;
        tb_batch_out(&job->b, part);
    }
    job->away++;
    job->sent_ms = tb_mono_ms();
    s->inflight++;
    uint32_t qos = job->target->config.qos;
    pthread_mutex_unlock(&s->lock);
    int rc = mqtt_client_publish(s->client, topic, payload, qos, false, on_published, w);
    pthread_mutex_lock(&s->lock);
    if (rc != 0) {
        job->away--;
        s->inflight--;
        tb_batch_back(&job->b, w->stream, w->from, w->to, true);
        give(s, w, sizeof(*w));
    } else {
        s->totals.messages++;
    }
    return rc;
}

/* ---- devices ---- */

void tb_wait_device(struct tb *s, struct tb_device *device)
{
    if (!device->waiting) {
        device->waiting = true;
        device->next_waiting = NULL;
        *(s->last_waiting != NULL ? &s->last_waiting->next_waiting : &s->waiting) = device;
        s->last_waiting = device;
    }
}

/* {"device":name,"type":type} */
static int say_device(struct tpi_buf *b, const struct tb_device *device, bool with_type)
{
    tpi_buf_clear(b);
    int rc = tpi_buf_printf(b, "{\"device\":");
    rc = rc != 0 ? rc : say_quoted(b, device->name);
    if (with_type && device->type.len > 0) {
        rc = rc != 0 ? rc : tpi_buf_printf(b, ",\"type\":");
        rc = rc != 0 ? rc : say_quoted(b, device->type);
    }
    return rc != 0 ? rc : tpi_buf_put(b, "}", 1);
}

static void keep_type(struct tb *s, struct tb_device *device, struct tpc_str type)
{
    if (tpc_str_equal(device->type, type) != 0 || type.len == 0) {
        return;
    }
    char *copy = take(s, type.len + 1);
    if (copy != NULL) {
        memcpy(copy, type.ptr, type.len);
        copy[type.len] = '\0';
        if (device->type.ptr != NULL) {
            give(s, (void *) (uintptr_t) device->type.ptr, device->type.len + 1);
        }
        device->type = (struct tpc_str){ copy, type.len };
    }
}

/* Tells of a device without a batch. Under the lock, which it leaves. */
static bool tell_waiting(struct tb *s, uint64_t now_ms, uint64_t *wait_ms)
{
    struct tb_device *device = s->waiting;
    bool connect = device->online && device->epoch != s->epoch;
    bool sync = device->online && s->config.sync != NULL && !device->synced;
    if (connect || sync) {
        uint64_t wait = until_allowed(s, false, 0, now_ms);
        if (wait > 0) {
            *wait_ms = wait < *wait_ms ? wait : *wait_ms;
            return false;
        }
    }
    if (connect) {
        struct tpi_buf b;
        tpi_buf_init(&b, s->host->allocator, 0);
        int rc = say_device(&b, device, true);
        device->epoch = rc == 0 ? s->epoch : 0;
        device->synced = false;
        pthread_mutex_unlock(&s->lock);
        rc = rc != 0 ? rc : tb_publish(s, TB_GATEWAY "connect", &b);
        tpi_buf_fini(&b);
        pthread_mutex_lock(&s->lock);
        if (rc != 0) {
            device->epoch = 0;
            if (rc == TPC_EAGAIN) {
                *wait_ms = *wait_ms < 20 ? *wait_ms : 20;
                return false;
            }
        } else if (s->config.sync != NULL) {
            return true; /* it waits for its attributes */
        }
    } else if (sync) {
        device->synced = true;
        pthread_mutex_unlock(&s->lock);
        tb_ask_sync(s, device);
        pthread_mutex_lock(&s->lock);
    }
    if (s->waiting == device) {
        s->waiting = device->next_waiting;
        s->last_waiting = s->waiting != NULL ? s->last_waiting : NULL;
        device->waiting = false;
    }
    return true;
}

/* ---- the batch at work ---- */

static bool wants_connect(const struct tb *s, const struct tb_group *g)
{
    return !g->own && g->device != NULL && !g->device->deleted && g->device->epoch != s->epoch &&
           (g->data || g->presence == TB_PRESENCE_ONLINE);
}

static bool wants_disconnect(const struct tb *s, const struct tb_group *g)
{
    return !g->own && g->device != NULL && g->device->epoch == s->epoch &&
           g->presence == TB_PRESENCE_OFFLINE && s->work.job->target->config.presence;
}

static int begin_job(struct tb *s, struct tb_job *job)
{
    struct tb_target *t = job->target;
    struct tb_pack_options o = {
        .payload_max = s->payload_max,
        .points_max = tb_bucket_most(&s->points),
        .device_mode = s->config.device_mode,
        .metadata = s->config.metadata,
        .alerts = t->config.alerts,
        .own = s->config.own,
        .now_unix_ms = s->host->clock->unix_ms(s->host->clock->user),
    };
    for (uint32_t i = 0; tpi_map_count(&t->given) > 0 && i < job->b.batch->count; i++) {
        if (tpi_map_get(&t->given, id_of(job, i)->b, sizeof(struct tpc_id)) != NULL) {
            job->b.marks[i] |= TB_MARK_GIVEN;
        }
    }
    s->work = (struct tb_work){ .job = job, .phase = TB_PHASE_CONNECT, .epoch = s->epoch };
    return tb_pack_begin(&s->pack, &job->b, &s->devices, &o);
}

/* The connector of an adapter; NULL = it shall not be told of. */
static const struct tpc_value *connector_of(const struct tb *s, struct tpc_str adapter)
{
    const struct tpc_value *all = s->config.connectors;
    for (size_t i = 0; all != NULL && i < all->len; i++) {
        if (tpc_str_equal(tpi_member_text(&all->as.items[i], "adapter"), adapter) != 0) {
            return &all->as.items[i];
        }
    }
    return NULL;
}

static bool wants_about(const struct tb *s, const struct tb_group *g)
{
    return !g->own && g->device != NULL && !g->device->deleted && !g->device->about && g->data &&
           connector_of(s, g->origin) != NULL;
}

/* {"device":{"connectorType":type,"connectorName":name}} */
static int say_about(struct tb *s, const struct tb_group *g)
{
    struct tpi_buf *b = &s->pack.out;
    const struct tpc_value *c = connector_of(s, g->origin);
    struct tpc_str name = tpi_member_text(c, "name");
    tpi_buf_clear(b);
    int rc = tpi_buf_put(b, "{", 1);
    rc = rc != 0 ? rc : say_quoted(b, g->device->name);
    rc = rc != 0 ? rc : tpi_buf_printf(b, ":{\"connectorType\":");
    rc = rc != 0 ? rc : say_quoted(b, tpi_member_text(c, "type"));
    rc = rc != 0 ? rc : tpi_buf_printf(b, ",\"connectorName\":");
    rc = rc != 0 ? rc : say_quoted(b, name.len > 0 ? name : g->origin);
    return rc != 0 ? rc : tpi_buf_put(b, "}}", 2);
}

/* Finds what has to be published next. Under the lock, which it leaves while it packs. Returns 1, 0 =
 * nothing more, or a code. */
static int prepare(struct tb *s, struct tpc_error *err)
{
    struct tb_work *w = &s->work;
    w->device = NULL;
    while (w->phase != TB_PHASE_DATA) {
        if (w->group == tb_pack_groups(&s->pack)) {
            if (w->phase == TB_PHASE_DISCONNECT) {
                return 0;
            }
            w->phase++; /* what there is to say of them, then data */
            w->group = 0;
            continue;
        }
        const struct tb_group *g = tb_pack_group(&s->pack, w->group++);
        if (w->phase == TB_PHASE_ABOUT && wants_about(s, g)) {
            w->device = g->device;
            return say_about(s, g) == 0 ? 1 : TPC_ENOMEM;
        }
        bool connect = w->phase == TB_PHASE_CONNECT && wants_connect(s, g);
        if (connect || (w->phase == TB_PHASE_DISCONNECT && wants_disconnect(s, g))) {
            w->device = g->device;
            if (connect) {
                keep_type(s, g->device, g->product);
            }
            return say_device(&s->pack.out, g->device, connect) == 0 ? 1 : TPC_ENOMEM;
        }
    }
    pthread_mutex_unlock(&s->lock);
    int rc = tb_pack_next(&s->pack, err, &w->part);
    pthread_mutex_lock(&s->lock);
    if (rc == 0) {
        w->phase = TB_PHASE_DISCONNECT;
        w->group = 0;
        return prepare(s, err);
    }
    return rc;
}

/* Nothing more of it will be published. Under the lock, which it may leave. */
static void leave_job(struct tb *s, const struct tpc_error *err)
{
    struct tb_job *job = s->work.job;
    if (s->work.ready && s->work.phase == TB_PHASE_DATA) {
        /* It was packed, and nobody gets it. */
        const struct tb_part *part = &s->work.part;
        tb_batch_out(&job->b, part);
        tb_batch_back(&job->b, part->stream, part->from, part->to, false);
    }
    s->work = (struct tb_work){ .job = NULL };
    job->all_out = true;
    if (err != NULL) {
        note_error(job, err);
    }
    if (job->away == 0) {
        end_job(s, job);
    }
}

static void was_published(struct tb *s)
{
    struct tb_work *w = &s->work;
    w->ready = false;
    if (w->phase == TB_PHASE_DATA) {
        bool telemetry = w->part.stream == TB_TELEMETRY;
        pay(s, telemetry, w->part.points);
        *(telemetry ? &s->totals.telemetry : &s->totals.attributes) += w->part.points;
        return;
    }
    pay(s, false, 0);
    if (w->phase == TB_PHASE_ABOUT) {
        w->device->about = true;
        return;
    }
    w->device->online = w->phase == TB_PHASE_CONNECT;
    w->device->epoch = w->device->online ? w->epoch : 0; /* s->epoch may be a later one */
    w->device->synced = false;
    if (w->device->online && s->config.sync != NULL) {
        tb_wait_device(s, w->device);
    }
}

static bool step_job(struct tb *s, uint64_t now_ms, uint64_t *wait_ms)
{
    struct tb_work *w = &s->work;
    struct tpc_error err = { .size = sizeof(err) };
    int rc = w->ready ? 1 : prepare(s, &err);
    if (rc <= 0) {
        if (rc < 0 && err.code == 0) {
            tpi_error_set(&err, rc, "thingsboard", "no memory for a payload");
        }
        leave_job(s, rc < 0 ? &err : NULL);
        return true;
    }
    w->ready = true;
    bool data = w->phase == TB_PHASE_DATA;
    bool telemetry = data && w->part.stream == TB_TELEMETRY;
    uint64_t wait = until_allowed(s, telemetry, data ? w->part.points : 0, now_ms);
    if (wait > 0) {
        *wait_ms = wait < *wait_ms ? wait : *wait_ms;
        return false;
    }
    struct tpc_bytes payload = { s->pack.out.ptr, s->pack.out.len };
    struct tpc_str topic = data                           ? w->part.topic
                           : w->phase == TB_PHASE_CONNECT ? tpc_str_from(TB_GATEWAY "connect")
                           : w->phase == TB_PHASE_ABOUT   ? tpc_str_from(TB_GATEWAY "attributes")
                                                          : tpc_str_from(TB_GATEWAY "disconnect");
    rc = publish(s, w->job, topic, payload, data ? &w->part : NULL, w->device);
    if (rc == 0) {
        was_published(s);
    } else if (rc == TPC_EAGAIN) {
        *wait_ms = *wait_ms < 20 ? *wait_ms : 20; /* the queue is full, or memory short */
        return false;
    } else {
        tpi_error_set(&err, rc, "thingsboard", "no connection to the server");
        leave_job(s, &err);
    }
    return true;
}

static struct tb_job *take_first(struct tb *s)
{
    struct tb_job *job = s->first;
    s->first = job->next;
    s->last = s->first != NULL ? s->last : NULL;
    job->next = NULL;
    return job;
}

static void end_waiting(struct tb *s, int code, const char *text)
{
    struct tb_job *job = take_first(s);
    tpi_error_set(&job->err, code, "thingsboard", "%s", text);
    end_job(s, job);
}

/* Batches wait a while for a connection that is not there. */
static bool hold(struct tb *s, uint64_t now_ms, uint64_t *wait_ms)
{
    if (s->first == NULL) {
        return false;
    }
    uint64_t due = s->first->since_ms + s->config.hold_ms;
    if (now_ms >= due) {
        end_waiting(s, TPC_EOFFLINE, "no connection to the server");
        return true;
    }
    *wait_ms = due - now_ms < *wait_ms ? due - now_ms : *wait_ms;
    return false;
}

bool tb_send_step(struct tb *s, uint64_t now_ms, uint64_t *wait_ms)
{
    if (s->work.job != NULL && (s->state != TB_READY || s->work.epoch != s->epoch)) {
        struct tpc_error err;
        tpi_error_set(&err, TPC_EOFFLINE, "thingsboard", "the connection was lost");
        leave_job(s, &err);
        return true;
    }
    if (s->state != TB_READY) {
        return hold(s, now_ms, wait_ms);
    }
    if (s->waiting != NULL && tell_waiting(s, now_ms, wait_ms)) {
        now_ms = tb_mono_ms();
        if (s->state != TB_READY || s->stopping || (s->work.job == NULL && s->first == NULL)) {
            return true;
        }
    }
    if (s->work.job == NULL) {
        if (s->first == NULL || (s->inflight > 0 && now_ms < s->alone_until_ms)) {
            return false;
        }
        if (s->lost_epoch == s->epoch && now_ms < s->lost_until_ms) {
            /* on_down() is about to come: what goes now would be taken for the one that is refused. */
            *wait_ms = *wait_ms < 20 ? *wait_ms : 20;
            return false;
        }
        struct tb_job *job = take_first(s);
        int rc = begin_job(s, job);
        if (rc != 0) {
            struct tpc_error err;
            tpi_error_set(&err, rc, "thingsboard", "no memory for a batch");
            leave_job(s, &err);
            return true;
        }
    }
    return step_job(s, now_ms, wait_ms);
}

void tb_send_end(struct tb *s, int code, const char *text)
{
    if (s->work.job != NULL) {
        struct tpc_error err;
        tpi_error_set(&err, code, "thingsboard", "%s", text);
        leave_job(s, &err);
    }
    while (s->first != NULL) {
        end_waiting(s, code, text);
    }
}

int tb_send(struct tb_target *t, const struct tpc_batch *batch, uint64_t ticket)
{
    struct tb *s = t->s;
    if (batch->gap_to > batch->gap_from) {
        s->host->count(s->ctx, "passed_over", batch->gap_to - batch->gap_from);
    }
    if (batch->count == 0) {
        s->host->sent(s->ctx, ticket, NULL);
        return 0;
    }
    struct tb_job *job = take(s, sizeof(*job));
    if (job == NULL) {
        return s->host->fail(s->ctx, TPC_ENOMEM, "no memory for a batch");
    }
    memset(job, 0, sizeof(*job));
    job->target = t;
    job->ticket = ticket;
    job->err.size = sizeof(job->err);
    job->since_ms = tb_mono_ms();
    if (tb_batch_init(&job->b, s->host->allocator, batch) != 0) {
        give(s, job, sizeof(*job));
        return s->host->fail(s->ctx, TPC_ENOMEM, "no memory for a batch");
    }
    pthread_mutex_lock(&s->lock);
    bool stopping = s->stopping;
    if (!stopping) {
        *(s->last != NULL ? &s->last->next : &s->first) = job;
        s->last = job;
        pthread_cond_signal(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    if (stopping) {
        tb_batch_fini(&job->b, s->host->allocator);
        give(s, job, sizeof(*job));
        return s->host->fail(s->ctx, TPC_ECANCELED, "the sink does not run");
    }
    return 0;
}
