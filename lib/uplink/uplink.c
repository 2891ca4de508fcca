#include "uplink/uplink.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "data/msg.h"
#include "registry/device.h"
#include "registry/why.h"
#include "uplink/private.h"

enum { FIRST_CAP = 64, AHEAD = 8 };

#define COUNTER(member, text)                                                                      \
    {                                                                                              \
        "uplink_" #member "_total", text, 1,                                                       \
            (uint32_t) offsetof(struct tpi_uplink_counters, member)                                \
    }

const struct tpi_metric_def tpi_uplink_metrics[] = {
    COUNTER(frames, "Frames received from devices"),
    COUNTER(bytes, "Payload bytes of frames"),
    COUNTER(messages, "Messages appended to the log"),
    COUNTER(points, "Values in these messages"),
    COUNTER(points_refused, "Values that the thing model refused"),
    COUNTER(points_clamped, "Values that were brought within the thing model's limits"),
    COUNTER(points_beyond, "Values beyond the thing model's limits that were kept and marked"),
    COUNTER(points_held, "Values that report strategies held"),
    COUNTER(points_repeated, "Values that report strategies sent with a period"),
    COUNTER(points_untracked, "Values that went on since no state of them could be kept"),
    COUNTER(messages_held, "Messages of which report strategies left nothing"),
    COUNTER(points_kept,
            "Values of keys that the thing model does not know, of products that keep them"),
    COUNTER(duplicates, "Frames that came a second time and were dropped"),
    COUNTER(dead_letters, "Frames that could not be used"),
    COUNTER(empty, "Frames without any content"),
    COUNTER(refused, "Frames answered with an error"),
    COUNTER(presence_ignored, "Status messages that came late or do not decide"),
    COUNTER(batches, "Batches worked on"),
    COUNTER(waits, "Batches that the log could not take at once"),
    COUNTER(parts_unknown, "Parts of gateways' messages of devices that are not behind them"),
    COUNTER(parts_handed, "Parts of gateways' messages of devices that another worker owns"),
    COUNTER(parts_lost, "Of these: lost for want of memory; what was waited for is sent again"),
};
const uint32_t tpi_uplink_metric_count = sizeof(tpi_uplink_metrics) / sizeof(tpi_uplink_metrics[0]);

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

int tpi_uplink_create(const struct tpi_env *env, const struct tpi_uplink_host *host,
                      struct tpc_error *err, struct tpi_uplink **ret)
{
    struct tpi_uplink *u = tpi_alloc_zero(env->alloc, sizeof(*u));
    if (u == NULL || tpc_arena_create(env->alloc, TPI_UPLINK_ARENA_BYTES, &u->arena) != 0) {
        tpi_free(env->alloc, u, sizeof(*u));
        return tpi_error_set(err, TPC_ENOMEM, "uplink", "out of memory");
    }
    u->env = env;
    u->host = *host;
    u->repeat_most = TPI_UPLINK_BATCH;
    tpi_buf_init(&u->bodies, env->alloc, TPI_UPLINK_BODY_BYTES);
    tpi_dedup_init(&u->dedup, env->alloc);
    tpi_reports_init(&u->reports, env->alloc, host->wheel);
    *ret = u;
    return 0;
}

void tpi_uplink_destroy(struct tpi_uplink *u)
{
    if (u == NULL) {
        return;
    }
    const struct tpc_allocator *a = u->env->alloc;
    tpi_free(a, u->msgs, u->msg_cap * sizeof(u->msgs[0]));
    tpi_free(a, u->parts, u->part_cap * sizeof(u->parts[0]));
    tpi_free(a, u->quiet, u->quiet_cap * sizeof(u->quiet[0]));
    tpi_free(a, u->requests, u->request_cap * sizeof(u->requests[0]));
    tpi_free(a, u->points, u->point_cap * sizeof(u->points[0]));
    tpi_free(a, u->indexes, u->point_cap * sizeof(u->indexes[0]));
    tpi_free(a, u->records, u->record_cap * sizeof(u->records[0]));
    up_derive_fini(u);
    tpi_buf_fini(&u->bodies);
    tpi_dedup_fini(&u->dedup);
    tpi_reports_fini(&u->reports);
    tpc_arena_destroy(u->arena);
    tpi_free(a, u, sizeof(*u));
}

bool up_grow(struct tpi_uplink *u, void **array, uint32_t *cap, size_t item)
{
    uint32_t wanted = *cap == 0 ? FIRST_CAP : *cap * 2;
    void *p = tpi_resize(u->env->alloc, *array, *cap * item, wanted * item);
    if (p == NULL) {
        u->no_memory = true;
        return false;
    }
    *array = p;
    *cap = wanted;
    return true;
}

bool up_room_msg(struct tpi_uplink *u)
{
    if (u->msg_count < u->msg_cap) {
        return true;
    }
    void *p = u->msgs;
    bool ok = up_grow(u, &p, &u->msg_cap, sizeof(u->msgs[0]));
    u->msgs = p;
    return ok;
}

bool up_room_point(struct tpi_uplink *u)
{
    if (u->point_count < u->point_cap) {
        return true;
    }
    uint32_t cap = u->point_cap;
    void *p = u->indexes;
    if (!up_grow(u, &p, &cap, sizeof(u->indexes[0]))) {
        return false;
    }
    u->indexes = p;
    p = u->points;
    cap = u->point_cap;
    if (!up_grow(u, &p, &cap, sizeof(u->points[0]))) {
        /* Back to the common size: making smaller does not fail in any allocator we know, and if
         * it does the block is still freed with the size it was asked for. */
        uint32_t bigger = u->point_cap == 0 ? FIRST_CAP : u->point_cap * 2;
        uint32_t *old = NULL;
        if (u->point_cap > 0) {
            old = tpi_resize(u->env->alloc, u->indexes, bigger * sizeof(*old),
                             u->point_cap * sizeof(*old));
        }
        if (old == NULL) {
            tpi_free(u->env->alloc, u->indexes, bigger * sizeof(*old));
            tpi_free(u->env->alloc, u->points, u->point_cap * sizeof(u->points[0]));
            u->points = NULL;
            u->point_cap = 0;
        }
        u->indexes = old;
        return false;
    }
    u->points = p;
    u->point_cap = cap;
    return true;
}

int up_encode(struct tpi_uplink *u, struct tpi_up_msg *um)
{
    um->msg.points = um->msg.point_count > 0 ? u->points + um->first_point : NULL;
    um->body_at = u->bodies.len;
    int rc = tpi_msg_encode(&um->msg, &u->bodies);
    if (rc == TPC_ENOMEM) {
        u->no_memory = true;
    }
    if (rc == 0) {
        um->body_len = u->bodies.len - um->body_at;
        u->msg_count++;
    }
    return rc;
}

bool tpi_uplink_add(struct tpi_uplink *u, const struct tpi_up_input *input)
{
    if (u->input_count == TPI_UPLINK_BATCH) {
        return false;
    }
    u->inputs[u->input_count++] = *input;
    return true;
}

/* What needs no decoder: unknown devices, second deliveries, ThingsPanel's envelope. True: the
 * input is done. */
static bool prepare(struct tpi_uplink *u, uint32_t i)
{
    struct tpi_up_input *in = &u->inputs[i];
    struct up_state *s = &u->states[i];
    struct tpc_error err;
    memset(s, 0, sizeof(*s));
    s->payload = in->frame.payload;
    s->first = u->msg_count;
    s->points = u->point_count;
    s->parts = u->part_count;
    s->quiet = u->quiet_count;
    s->touched = u->reports.touched_count;
    s->bodies = u->bodies.len;
    if (in->type == TPI_UP_REPEAT) {
        return atomic_load_explicit(&in->device->deleted, memory_order_relaxed);
    }
    if (in->device == NULL || atomic_load_explicit(&in->device->deleted, memory_order_relaxed)) {
        struct tpc_str key = in->device != NULL ? in->device->key : in->frame.device;
        tpi_error_set(&err, TPC_ENOENT, "uplink", "no device \"%.*s\"", (int) key.len,
                      key.len > 0 ? key.ptr : "");
        up_refuse(u, i, &err);
        return true;
    }
    if (in->frame.packet_id != 0) {
        uint64_t key = tpi_hash(s->payload.ptr, s->payload.len,
                                in->device->id ^ tpi_hash64(in->frame.packet_id));
        bool seen = tpi_dedup_seen(&u->dedup, key, u->now_ms);
        if (seen && (in->frame.flags & TPC_FRAME_REDELIVERED) != 0) {
            s->duplicate = true;
            return true;
        }
        s->packet_key = key;
        if (!seen && tpi_dedup_add(&u->dedup, key, u->now_ms)) {
            u->keys_added++;
        }
    }
    if ((in->frame.flags & TPC_FRAME_WRAPPED) != 0) {
        struct tpc_str device;
        int rc = u->host.unwrap(s->payload, u->arena, &err, &device, &s->payload);
        if (rc == TPC_ENOMEM) {
            u->no_memory = true;
        } else if (rc != 0) {
            up_refuse(u, i, &err);
        }
        return rc != 0;
    }
    return false;
}

/* A frame that the decoder left without a word, after it failed as a whole. */
static void refuse_rest(struct tpi_uplink *u, int rc)
{
    struct tpc_error err;
    tpi_error_set(&err, rc, "codec", "the codec failed: %s", tpc_error_name(rc));
    for (uint32_t i = u->base; i < u->base + u->count; i++) {
        if (!u->states[i].any) {
            u->states[i].first = u->msg_count;
            u->states[i].points = u->point_count;
            u->states[i].parts = u->part_count;
            u->states[i].quiet = u->quiet_count;
            u->states[i].touched = u->reports.touched_count;
            u->states[i].bodies = u->bodies.len;
            up_refuse(u, i, &err);
        }
    }
}

static void decode_one(struct tpi_uplink *u, uint32_t i, const struct tpc_decode_sink *sink)
{
    struct tpi_up_input *in = &u->inputs[i];
    struct tpc_error err;
    u->base = i;
    u->count = 1;
    u->open = false;
    up_scope_begin(u, in->device);
    if (in->frame.product.len > 0 && !tpc_str_equal(in->frame.product, u->product->key)) {
        tpi_error_set(&err, TPC_EDENIED, "uplink", "device \"%s\" is of product \"%s\"",
                      in->device->key.ptr, u->product->key.ptr);
        up_refuse(u, i, &err);
        return;
    }
    if (in->type == TPI_UP_REPEAT) {
        (void) up_take_repeat(u, i);
        return;
    }
    if (in->type != TPI_UP_FRAME) {
        int rc = in->type == TPI_UP_PART ? up_take_part(u, i, &err) : up_take_points(u, i, &err);
        if (rc != 0 && rc != TPC_ENOMEM) {
            up_refuse(u, i, &err);
        }
        return;
    }
    u->frame = in->frame;
    u->frame.payload = u->states[i].payload;
    u->frame.product = u->product->key;
    u->frame.device = in->device->key;
    int rc = u->product->codec->decode(u->product->codec_self, u->host.worker, u->product->program,
                                       &u->frame, 1, sizeof(u->frame), sink);
    if (rc == TPC_ENOMEM) {
        u->no_memory = true;
    } else if (rc != 0) {
        refuse_rest(u, rc);
    } else if (u->open) {
        tpi_error_set(&err, TPC_EDECODE, "codec", "the codec left a message unfinished");
        up_refuse(u, i, &err);
    } else {
        up_scope_end(u, i);
    }
}

static int decode_all(struct tpi_uplink *u)
{
    struct tpc_decode_sink sink;
    up_sink(u, &sink);
    for (uint32_t i = 0; i < u->input_count && !u->no_memory; i++) {
        if (!prepare(u, i) && !u->no_memory) {
            decode_one(u, i, &sink);
        }
    }
    return u->no_memory ? TPC_ENOMEM : 0;
}

static void fill_record(const struct tpi_uplink *u, const struct tpi_up_msg *um,
                        struct tpc_record *r)
{
    const struct tpc_msg *m = &um->msg;
    *r = (struct tpc_record){
        .size = sizeof(*r),
        .kind = m->kind,
        .flags = m->flags,
        .partition = m->partition,
        .model_revision = m->model_revision,
        .device_id = m->device_id,
        .unix_ms = m->unix_ms,
        .received_unix_ms = m->received_unix_ms,
        .trace = m->trace,
        .body = { u->bodies.ptr + um->body_at, um->body_len },
    };
}

static void note_lost(const struct tpi_uplink *u, const struct tpi_up_msg *um, int rc)
{
    const struct tpi_up_input *in = &u->inputs[um->input];
    char text[100];
    snprintf(text, sizeof(text), "the log refuses a message of %zu bytes: %s", um->body_len,
             tpc_error_name(rc));
    if (um->device != NULL) {
        tpi_why_device(um->device, TPC_WHY_STORE, rc, tpc_str_from(text), in->origin,
                       in->frame.payload);
    }
}

/* The log refused the batch for what is in it: each record alone. What it takes counts, the rest
 * becomes the result of its input. */
static void append_singly(struct tpi_uplink *u)
{
    uint32_t kept = 0;
    int failed = 0;
    for (uint32_t i = 0; i < u->msg_count; i++) {
        struct tpc_record r = u->records[i];
        int rc = u->host.append(u->host.user, &r, 1, NULL);
        if (rc != 0) {
            struct up_state *s = &u->states[u->msgs[i].input];
            s->result = rc;
            note_lost(u, &u->msgs[i], rc);
            /* Not taken: when it comes again it is no duplicate. */
            tpi_dedup_forget(&u->dedup, s->packet_key);
            tpi_dedup_forget(&u->dedup, s->dialect_key);
            failed = rc;
            continue;
        }
        u->msgs[kept] = u->msgs[i];
        u->records[kept++] = r;
    }
    u->msg_count = kept;
    if (failed != 0) {
        tpi_reports_forget(&u->reports, 0);
    }
    for (uint32_t i = 0; failed != 0 && i < u->input_count; i++) {
        if (u->states[i].duplicate && u->states[i].result == 0) {
            u->states[i].result = failed; /* perhaps of one that was not taken */
        }
    }
}

static int append_all(struct tpi_uplink *u, struct tpc_error *err)
{
    while (u->record_cap < u->msg_count) {
        void *p = u->records;
        bool ok = up_grow(u, &p, &u->record_cap, sizeof(u->records[0]));
        u->records = p;
        if (!ok) {
            return TPC_ENOMEM;
        }
    }
    for (uint32_t i = 0; i < u->msg_count; i++) {
        fill_record(u, &u->msgs[i], &u->records[i]);
    }
    int rc = u->msg_count > 0 ? u->host.append(u->host.user, u->records, u->msg_count, err) : 0;
    if (rc == TPC_ETOOBIG || rc == TPC_EINVAL) {
        append_singly(u);
        rc = 0;
    }
    return rc;
}

static void sign_of_life(const struct tpi_uplink *u, struct tpi_up_msg *um)
{
    struct tpc_device *d = um->device;
    const struct tpc_msg *m = &um->msg;
    if (um->said) {
        return;
    }
    tpi_device_seen(d, m->received_unix_ms);
    bool reported = (um->part && d != um->asked) || u->inputs[um->input].type == TPI_UP_PART;
    bool online = atomic_load_explicit(&d->online, memory_order_relaxed);
    um->wakes = (d->product->silence_ms != 0 || (reported && !online)) &&
                m->kind != TPC_MSG_PRESENCE && (m->flags & TPC_MSG_RETAINED) == 0 &&
                (!online || !tpi_device_has(d, TPI_DEVICE_TIMED));
}

static void apply_one(struct tpi_uplink *u, struct tpi_up_msg *um)
{
    struct tpc_device *d = um->device;
    struct tpc_msg *m = &um->msg;
    m->points = u->points + um->first_point;
    if (d == NULL || m->kind == TPC_MSG_DEAD_LETTER) {
        return;
    }
    m->tenant = tpi_device_tenant(d);
    m->product = tpi_device_product_key(d);
    m->device = d->key;
    sign_of_life(u, um);
    if (m->kind == TPC_MSG_TELEMETRY || m->kind == TPC_MSG_ATTRIBUTES) {
        if (u->host.before != NULL && (m->flags & TPC_MSG_RETAINED) == 0) {
            u->host.before(u->host.user, d, m);
        }
        tpi_device_latest_begin(d);
        for (uint32_t i = 0; i < m->point_count; i++) {
            const struct tpc_point *p = &m->points[i];
            uint32_t index = u->indexes[um->first_point + i];
            if (index == TPI_MODEL_NO_INDEX) {
                continue; /* by key: not among them */
            }
            /* Out of memory for a long text: the value is in the log and the history. */
            if (p->unix_ms == 0 && (m->flags & TPC_MSG_ESTIMATED_TIME) != 0) {
                (void) tpi_device_latest_arrive(d, index, &p->value, m->unix_ms);
            } else {
                (void) tpi_device_latest_put(d, index, &p->value,
                                             p->unix_ms != 0 ? p->unix_ms : m->unix_ms);
            }
        }
        tpi_device_latest_end(d);
    }
    if ((m->flags & TPC_MSG_RETAINED) == 0) {
        u->host.message(u->host.user, d, m);
    }
}

static void apply_all(struct tpi_uplink *u)
{
    uint64_t points = 0;
    uint64_t dead = 0;
    u->host.begin(u->host.user);
    for (uint32_t i = 0; i < u->msg_count; i++) {
        u->msgs[i].msg.offset = u->records[i].offset;
        points += u->msgs[i].msg.point_count;
        dead += u->msgs[i].msg.kind == TPC_MSG_DEAD_LETTER;
        if (i + AHEAD < u->msg_count && u->msgs[i + AHEAD].device != NULL) {
            tpi_device_latest_ahead(u->msgs[i + AHEAD].device);
        }
        apply_one(u, &u->msgs[i]);
    }
    u->host.end(u->host.user);
    struct tpi_uplink_counters *c = u->host.counters;
    add(&c->messages, u->msg_count - dead);
    add(&c->points, points);
    add(&c->dead_letters, dead);
    for (uint32_t i = 0; i < u->quiet_count; i++) {
        sign_of_life(u, &u->quiet[i]);
    }
    up_repeats_sent(u);
    if ((u->points_held | u->points_repeated | u->reports.untracked) != 0) {
        add(&c->points_held, u->points_held);
        add(&c->points_repeated, u->points_repeated);
        add(&c->points_untracked, u->reports.untracked);
        add(&c->messages_held, u->quiet_count);
    }
}

static void count_inputs(struct tpi_uplink *u)
{
    struct tpi_uplink_counters *c = u->host.counters;
    uint64_t bytes = 0;
    uint64_t duplicates = 0;
    uint64_t empty = 0;
    uint64_t refused = 0;
    for (uint32_t i = 0; i < u->input_count; i++) {
        const struct up_state *s = &u->states[i];
        bytes += u->inputs[i].frame.payload.len;
        duplicates += s->duplicate;
        refused += s->result != 0;
        empty += !s->any && !s->duplicate;
    }
    add(&c->frames, u->input_count - u->repeat_count);
    add(&c->bytes, bytes);
    add(&c->batches, 1);
    if (duplicates + empty + refused > 0) {
        add(&c->duplicates, duplicates);
        add(&c->empty, empty);
        add(&c->refused, refused);
    }
}

static void reset(struct tpi_uplink *u)
{
    u->msg_count = 0;
    u->part_count = 0;
    u->quiet_count = 0;
    u->reports.touched_count = 0;
    u->reports.untracked = 0;
    u->points_held = 0;
    u->points_repeated = 0;
    u->request_count = 0;
    u->new_count = 0;
    u->point_count = 0;
    u->keys_added = 0;
    u->no_memory = false;
    u->scoped = false;
    u->open = false;
    u->product = NULL;
    tpi_buf_clear(&u->bodies);
    tpc_arena_reset(u->arena);
}

/* Whether a message is of a device that no input counts. */
static bool is_behind(const struct tpi_uplink *u, const struct tpi_up_msg *um)
{
    return um->device != NULL && um->device != u->inputs[um->input].device;
}

/* Devices behind a gateway: one may be deleted while its message is acted on. Read lock. */
static void hold_subs(struct tpi_uplink *u)
{
    if (!u->scoped) {
        return;
    }
    u->held = true;
    for (uint32_t i = 0; i < u->msg_count; i++) {
        if (is_behind(u, &u->msgs[i])) {
            (void) tpi_device_ref(u->msgs[i].device);
        }
    }
    for (uint32_t i = 0; i < u->quiet_count; i++) {
        if (is_behind(u, &u->quiet[i])) {
            (void) tpi_device_ref(u->quiet[i].device);
        }
    }
    for (uint32_t i = 0; i < u->part_count; i++) {
        (void) tpi_device_ref(u->parts[i].device);
    }
    for (uint32_t i = 0; i < u->new_count; i++) {
        (void) tpi_device_ref(u->news[i].gateway);
    }
}

static void release_subs(struct tpi_uplink *u)
{
    for (uint32_t i = 0; u->held && i < u->msg_count; i++) {
        if (is_behind(u, &u->msgs[i])) {
            tpi_device_unref(u->msgs[i].device);
        }
    }
    for (uint32_t i = 0; u->held && i < u->quiet_count; i++) {
        if (is_behind(u, &u->quiet[i])) {
            tpi_device_unref(u->quiet[i].device);
        }
    }
    for (uint32_t i = 0; u->held && i < u->part_count; i++) {
        tpi_device_unref(u->parts[i].device);
    }
    for (uint32_t i = 0; u->held && i < u->new_count; i++) {
        tpi_device_unref(u->news[i].gateway);
    }
    u->held = false;
}

static void undo_times(const struct tpi_up_msg *msgs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (msgs[i].device != NULL && (msgs[i].msg.flags & TPC_MSG_ESTIMATED_TIME) != 0) {
            tpi_device_estimate_undo(msgs[i].device, msgs[i].msg.unix_ms);
        }
    }
}

int tpi_uplink_run(struct tpi_uplink *u, struct tpc_error *err)
{
    reset(u);
    u->now_ms = tpi_mono_ms(u->env);
    tpi_registry_read_lock(u->host.registry);
    int rc = decode_all(u);
    if (rc == 0) {
        rc = append_all(u, err);
    } else {
        tpi_error_set(err, rc, "uplink", "out of memory");
    }
    if (rc == 0) {
        apply_all(u);
        hold_subs(u);
    } else {
        /* Else each try would move them on, until all that waits has one time. */
        undo_times(u->msgs, u->msg_count);
        undo_times(u->quiet, u->quiet_count);
    }
    tpi_registry_read_unlock(u->host.registry);
    up_tell_parts(u);
    if (rc != 0) {
        tpi_reports_forget(&u->reports, 0);
        tpi_dedup_undo(&u->dedup, u->keys_added);
        add(&u->host.counters->waits, 1);
        u->msg_count = 0;
        u->part_count = 0;
        u->quiet_count = 0;
        u->request_count = 0;
        u->new_count = 0;
        return rc;
    }
    count_inputs(u);
    up_tell_dead(u);
    return 0;
}

int tpi_uplink_result(const struct tpi_uplink *u, uint32_t input)
{
    return u->states[input].result;
}

uint32_t tpi_uplink_count(const struct tpi_uplink *u)
{
    return u->msg_count;
}

const struct tpi_up_msg *tpi_uplink_msg(const struct tpi_uplink *u, uint32_t i)
{
    return &u->msgs[i];
}

uint32_t tpi_uplink_part_count(const struct tpi_uplink *u)
{
    return u->part_count;
}

const struct tpi_up_msg *tpi_uplink_part(const struct tpi_uplink *u, uint32_t i)
{
    return &u->parts[i];
}

uint32_t tpi_uplink_quiet_count(const struct tpi_uplink *u)
{
    return u->quiet_count;
}

const struct tpi_up_msg *tpi_uplink_quiet(const struct tpi_uplink *u, uint32_t i)
{
    return &u->quiet[i];
}

uint32_t tpi_uplink_new_count(const struct tpi_uplink *u)
{
    return u->new_count;
}

const struct tpi_up_new *tpi_uplink_new(const struct tpi_uplink *u, uint32_t i)
{
    return &u->news[i];
}

uint32_t tpi_uplink_request_count(const struct tpi_uplink *u)
{
    return u->request_count;
}

const struct tpi_up_request *tpi_uplink_request(const struct tpi_uplink *u, uint32_t i)
{
    return &u->requests[i];
}

struct tpc_bytes tpi_uplink_body(const struct tpi_uplink *u, const struct tpi_up_msg *part)
{
    return (struct tpc_bytes){ u->bodies.ptr + part->body_at, part->body_len };
}

bool tpi_uplink_again(const struct tpi_uplink *u, uint32_t input, struct tpc_str *ret_name,
                      struct tpc_str *ret_correlation, bool *ret_part)
{
    const struct up_state *s = &u->states[input];
    if (!s->again || s->refused || s->result != 0) {
        return false;
    }
    *ret_name = s->again_name;
    *ret_correlation = s->again_correlation;
    *ret_part = s->again_part;
    return true;
}

void tpi_uplink_forget(struct tpi_uplink *u, uint32_t input)
{
    tpi_dedup_forget(&u->dedup, u->states[input].packet_key);
    tpi_dedup_forget(&u->dedup, u->states[input].dialect_key);
}

void tpi_uplink_clear(struct tpi_uplink *u)
{
    release_subs(u);
    for (uint32_t i = 0; i < u->repeat_count; i++) {
        tpi_device_unref(u->inputs[i].device);
    }
    u->repeat_count = 0;
    u->input_count = 0;
    u->msg_count = 0;
    u->part_count = 0;
    u->quiet_count = 0;
    u->request_count = 0;
    u->new_count = 0;
}

void tpi_uplink_remember(struct tpi_uplink *u, const struct tpc_msg *msg)
{
    if (msg->kind == 0 || msg->kind > TPC_MSG_PRESENCE) {
        return;
    }
    uint64_t now = tpi_mono_ms(u->env);
    for (int half = 0; half < 2; half++) {
        uint64_t key = tpi_get_u64(msg->id.b + 8 * half);
        if (key != 0 && !tpi_dedup_seen(&u->dedup, key, now)) {
            (void) tpi_dedup_add(&u->dedup, key, now);
        }
    }
}
