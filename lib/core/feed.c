/* Received things on their way into the ring of the worker that owns their device. */
#include "core/core.h"

#include <string.h>
#include <tpcore/device.h>

#include "data/msg.h"

enum {
    FEED_TEXT_BYTES = 4096,
    POINTS_BYTES = 32, /* of points and of each: nearly always enough */
    POINT_BYTES = 32
};

static bool memory_over(struct tpc_core *core, unsigned int percent)
{
    size_t limit = tpi_meter_limit(&core->meter);
    return limit != 0 && tpi_meter_used(&core->meter) > limit / 100 * percent;
}

bool tpi_core_memory_tight(struct tpc_core *core)
{
    return memory_over(core, TPI_MEMORY_TIGHT_PCT);
}

bool tpi_core_memory_high(struct tpc_core *core)
{
    return memory_over(core, TPI_MEMORY_HIGH_PCT);
}

static char *put(char *at, struct tpc_str s)
{
    if (s.len > 0) {
        memcpy(at, s.ptr, s.len);
    }
    return at + s.len;
}

static bool too_long(const struct tpc_frame *f, struct tpc_str tenant)
{
    return f->topic.len > FEED_TEXT_BYTES || f->name.len > FEED_TEXT_BYTES ||
           f->correlation.len > FEED_TEXT_BYTES || f->product.len > FEED_TEXT_BYTES ||
           f->device.len > FEED_TEXT_BYTES || tenant.len > FEED_TEXT_BYTES;
}

/* One look at the clock a turn while the worker is awake, one a frame while it is not. */
static int64_t now_ms(struct tpi_worker *w)
{
    int64_t now = atomic_load_explicit(&w->unix_ms, memory_order_relaxed);
    return now != 0 ? now : tpi_unix_ms(&w->core->env);
}

int tpi_feed_put(struct tpc_core *core, const struct tpi_feed *feed, const struct tpc_frame *f)
{
    struct tpi_worker *w = tpi_worker_of(core, feed->partition);
    struct tpc_str tenant = feed->device == NULL ? feed->tenant : (struct tpc_str){ NULL, 0 };
    struct tpc_str device = feed->device == NULL ? f->device : (struct tpc_str){ NULL, 0 };
    if (too_long(f, tenant)) {
        tpi_count(&core->counters.receive_too_big, 1);
        return TPC_ETOOBIG;
    }
    if (tpi_core_memory_tight(core)) {
        tpi_count(&core->counters.memory_tight, 1);
        tpi_count(&core->counters.receive_later, 1);
        return TPC_EAGAIN;
    }
    size_t len = sizeof(struct tpi_up_item) + tenant.len + f->product.len + device.len +
                 f->topic.len + f->name.len + f->correlation.len + f->payload.len;
    size_t ticket;
    bool full = feed->type != TPI_UP_PART && tpi_hand_full(core);
    struct tpi_up_item *item = full ? NULL : tpi_ring_reserve(&w->ring, len, &ticket);
    if (item == NULL) {
        tpi_count(&core->counters.receive_later, 1);
        return TPC_EAGAIN;
    }
    *item = (struct tpi_up_item){
        .device =
            feed->device != NULL && !feed->borrowed ? tpi_device_ref(feed->device) : feed->device,
        .part = feed->part,
        .report = feed->report != NULL || feed->part == NULL ? feed->report : feed->part->report,
        .session = feed->session,
        .ticket = feed->ticket,
        .done = feed->done,
        .user = feed->user,
        .unix_ms = f->unix_ms,
        .received_unix_ms = now_ms(w),
        .packet_id = f->packet_id,
        .code = f->code,
        .partition = feed->partition,
        .payload_len = (uint32_t) f->payload.len,
        .kind = f->kind,
        .flags = f->flags,
        .type = feed->type,
        .borrowed = feed->borrowed,
        .tenant_len = (uint16_t) tenant.len,
        .product_len = (uint16_t) f->product.len,
        .device_len = (uint16_t) device.len,
        .topic_len = (uint16_t) f->topic.len,
        .name_len = (uint16_t) f->name.len,
        .correlation_len = (uint16_t) f->correlation.len,
    };
    char *at = (char *) (item + 1);
    at = put(at, tenant);
    at = put(at, f->product);
    at = put(at, device);
    at = put(at, f->topic);
    at = put(at, f->name);
    at = put(at, f->correlation);
    if (f->payload.len > 0) {
        memcpy(at, f->payload.ptr, f->payload.len);
    }
    tpi_ring_publish(&w->ring, ticket);
    tpi_worker_wake(w);
    return 0;
}

static struct tpc_str take(const char **at, size_t len)
{
    struct tpc_str s = { *at, len };
    *at += len;
    return s;
}

void tpi_feed_input(const struct tpi_up_item *item, struct tpi_up_input *ret)
{
    const char *at = (const char *) (item + 1);
    ret->device = item->device;
    ret->tenant = take(&at, item->tenant_len);
    ret->origin = item->part != NULL ? tpc_str_from(item->part->name) : (struct tpc_str){ NULL, 0 };
    ret->received_unix_ms = item->received_unix_ms;
    ret->partition = item->partition;
    ret->type = item->type;
    ret->report = item->report;
    struct tpc_frame *f = &ret->frame;
    f->size = sizeof(*f);
    f->kind = item->kind;
    f->flags = item->flags;
    f->packet_id = item->packet_id;
    f->code = item->code;
    f->unix_ms = item->unix_ms;
    f->product = take(&at, item->product_len);
    f->device = take(&at, item->device_len);
    f->topic = take(&at, item->topic_len);
    f->name = take(&at, item->name_len);
    f->correlation = take(&at, item->correlation_len);
    f->payload = (struct tpc_bytes){ (const uint8_t *) at, item->payload_len };
}

void tpi_feed_done(const struct tpi_up_item *item)
{
    if (!item->borrowed) {
        tpi_device_unref(item->device);
    }
}

/* ---- the program as an edge ---- */

static int feed(struct tpc_device *device, const struct tpc_frame *frame, uint8_t type,
                tpc_done_fn *done, void *user)
{
    struct tpc_core *core = tpi_device_owner(device);
    if (!tpi_core_running(core)) {
        return tpi_fail(TPC_ESTATE, "core", "the core is not started");
    }
    if (atomic_load(&device->deleted)) {
        return tpi_fail(TPC_ENOENT, "core", "device \"%s\" is deleted", device->key.ptr);
    }
    if (frame->payload.len > core->options.frame_max_bytes) {
        tpi_count(&core->counters.receive_too_big, 1);
        return tpi_fail(TPC_ETOOBIG, "core", "%zu bytes are over the limit of %u",
                        frame->payload.len, (unsigned) core->options.frame_max_bytes);
    }
    struct tpi_feed f = {
        .device = device, .done = done, .user = user, .partition = device->partition, .type = type
    };
    int rc = tpi_core_enter(core);
    if (rc != 0) {
        return tpi_fail(rc, "core", "the core is not started");
    }
    rc = tpi_feed_put(core, &f, frame);
    tpi_core_leave(core);
    if (rc == TPC_EAGAIN) {
        return tpi_fail(rc, "core", "the worker has no room now");
    }
    return rc == 0 ? 0 : tpi_fail(rc, "core", "a text of the frame is too long");
}

int tpc_feed(struct tpc_device *device, struct tpc_bytes raw, tpc_done_fn *done, void *user)
{
    struct tpc_frame frame;
    if (device == NULL || (raw.ptr == NULL && raw.len > 0)) {
        return tpi_fail(TPC_EINVAL, "core", "device or raw is NULL");
    }
    memset(&frame, 0, sizeof(frame));
    frame.size = sizeof(frame);
    frame.payload = raw;
    return feed(device, &frame, TPI_UP_FRAME, done, user);
}

int tpc_feed_frame(struct tpc_device *device, const struct tpc_frame *given, tpc_done_fn *done,
                   void *user)
{
    struct tpc_frame frame;
    if (device == NULL || given == NULL || given->size < offsetof(struct tpc_frame, product)) {
        return tpi_fail(TPC_EINVAL, "core", "device is NULL or the frame has no size");
    }
    memset(&frame, 0, sizeof(frame));
    memcpy(&frame, given, given->size < sizeof(frame) ? given->size : sizeof(frame));
    frame.product = (struct tpc_str){ NULL, 0 };
    frame.device = (struct tpc_str){ NULL, 0 };
    return feed(device, &frame, TPI_UP_FRAME, done, user);
}

/* Points travel as a record body: the same compact form as in the log. */
static int encode_points(const struct tpc_points *points, int64_t now, struct tpi_buf *out)
{
    struct tpc_msg m;
    memset(&m, 0, sizeof(m));
    m.size = sizeof(m);
    m.unix_ms = now;
    m.point_size = points->point_size;
    m.points = points->points;
    m.point_count = points->count;
    return tpi_msg_encode(&m, out);
}

int tpc_feed_points(struct tpc_device *device, const struct tpc_points *points, tpc_done_fn *done,
                    void *user)
{
    if (device == NULL || points == NULL || points->size < offsetof(struct tpc_points, kind) ||
        (points->count > 0 && points->points == NULL) ||
        points->point_size < sizeof(struct tpc_point)) {
        return tpi_fail(TPC_EINVAL, "core", "device is NULL or the points are not filled in");
    }
    uint16_t kind =
        points->size >= sizeof(*points) && points->kind != 0 ? points->kind : TPC_MSG_TELEMETRY;
    if (kind != TPC_MSG_TELEMETRY && kind != TPC_MSG_ATTRIBUTES) {
        return tpi_fail(TPC_EINVAL, "core", "points are telemetry or attributes");
    }
    struct tpc_core *core = tpi_device_owner(device);
    struct tpi_buf body;
    tpi_buf_init(&body, core->env.alloc, core->options.frame_max_bytes);
    int rc = tpi_buf_reserve(&body, POINTS_BYTES + points->count * (size_t) POINT_BYTES);
    rc = rc == TPC_ENOMEM ? rc : encode_points(points, 0, &body);
    if (rc != 0) {
        tpi_buf_fini(&body);
        return tpi_fail(rc, "core", "the points cannot be taken");
    }
    struct tpc_frame frame;
    memset(&frame, 0, sizeof(frame));
    frame.size = sizeof(frame);
    frame.kind = kind;
    frame.payload = (struct tpc_bytes){ body.ptr, body.len };
    rc = feed(device, &frame, TPI_UP_POINTS, done, user);
    tpi_buf_fini(&body);
    return rc;
}
