/* ThingsBoard's payloads by topic: parts are entered and left in turn, and what is refused is refused
 * once. */
#include "fuzz.h"

#include <string.h>

#include "codec/codec.h"

enum { DEEPEST = 1 /* devices behind a gateway, and no more */ };

struct watch {
    uint32_t level;
    bool open;
    bool refused;
    bool stopped;
    uint32_t calls;
    uint32_t stop_at;
};

static void need(bool truth)
{
    if (!truth) {
        abort();
    }
}

static int stop(struct watch *w)
{
    need(!w->stopped && !w->refused);
    w->stopped = ++w->calls == w->stop_at;
    return w->stopped ? TPC_ENOMEM : 0;
}

static int on_begin(void *user, uint32_t frame, const struct tpc_decoded *head)
{
    struct watch *w = user;
    need(frame == 0 && !w->open && head->unix_ms >= 0 &&
         (w->level > 0 || (head->flags & TPC_DECODED_PART) == 0));
    int rc = stop(w);
    w->open = rc == 0;
    return rc;
}

static int on_point(void *user, struct tpc_str key, const struct tpc_value *v, int64_t unix_ms)
{
    struct watch *w = user;
    (void) key;
    (void) v;
    need(w->open && unix_ms == 0);
    return stop(w);
}

static int on_end(void *user)
{
    struct watch *w = user;
    need(w->open);
    w->open = false;
    return stop(w);
}

static void on_refuse(void *user, uint32_t frame, const struct tpc_error *err)
{
    struct watch *w = user;
    need(frame == 0 && !w->refused && !w->stopped && err->code < 0 && err->text[0] != '\0');
    w->refused = true;
    w->open = false;
}

static int on_enter(void *user, uint32_t frame, struct tpc_str product, struct tpc_str device)
{
    struct watch *w = user;
    need(frame == 0 && !w->open && !w->refused && !w->stopped && product.len == 0);
    if (device.len > 0 && device.ptr[0] == '?') {
        return TPC_ENOENT;
    }
    need(++w->level <= DEEPEST);
    return 0;
}

static void on_leave(void *user)
{
    struct watch *w = user;
    need(w->level > 0);
    w->level--;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const topics[] = {
        "v1/gateway/telemetry",     "v1/gateway/attributes",
        "v1/gateway/connect",       "v1/gateway/disconnect",
        "v1/gateway/rpc",           "v1/devices/me/telemetry",
        "v1/devices/me/attributes", "v1/devices/me/rpc/response/7",
        "v1/gateway/claim"
    };
    enum { TOPICS = sizeof(topics) / sizeof(topics[0]) };
    struct watch w;
    memset(&w, 0, sizeof(w));
    struct tpc_decode_sink sink = { .size = sizeof(sink),
                                    .user = &w,
                                    .begin = on_begin,
                                    .point = on_point,
                                    .end = on_end,
                                    .refuse = on_refuse,
                                    .enter = on_enter,
                                    .leave = on_leave };
    if (size == 0 || tpc_arena_create(NULL, 0, &sink.arena) != 0) {
        return 0;
    }
    uint8_t pick = (uint8_t) (data[0] - 'a');
    w.stop_at = pick / TOPICS;
    struct tpc_frame frame = { .size = sizeof(frame),
                               .topic = tpc_str_from(topics[pick % TOPICS]),
                               .payload = { data + 1, size - 1 } };
    need(tpi_codec_thingsboard.decode(NULL, 0, NULL, &frame, 1, sizeof(frame), &sink) == 0);
    need(w.level == 0 && (!w.open || w.stopped));
    tpc_arena_destroy(sink.arena);
    return 0;
}
