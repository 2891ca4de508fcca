/* The built-in codecs on any bytes: the first byte picks codec and kind. A frame is either taken or
 * refused, and messages are begun and ended in order. */
#include "fuzz.h"

#include "codec/codec.h"

#include <stdbool.h>

struct watch {
    bool open;
    bool refused;
    uint32_t ended;
    size_t bytes;
};

/* Touches every byte of a value, so that a sanitizer sees what is not there. */
static void touch(struct watch *w, const struct tpc_value *v)
{
    switch (v->type) {
    case TPC_TEXT:
    case TPC_BLOB:
        for (size_t i = 0; i < v->len; i++) {
            w->bytes += v->as.blob[i];
        }
        break;
    case TPC_ARRAY:
        for (size_t i = 0; i < v->len; i++) {
            touch(w, &v->as.items[i]);
        }
        break;
    case TPC_MAP:
        for (size_t i = 0; i < v->len; i++) {
            w->bytes += v->as.members[i].key.len;
            touch(w, &v->as.members[i].value);
        }
        break;
    default:
        w->bytes++;
    }
}

static void need(bool ok)
{
    if (!ok) {
        abort();
    }
}

static int on_begin(void *user, uint32_t frame, const struct tpc_decoded *head)
{
    struct watch *w = user;
    need(frame == 0 && !w->open && head->kind != TPC_MSG_UNKNOWN);
    need(head->kind != TPC_MSG_EVENT || head->name.len > 0);
    touch(w, &head->params);
    w->open = true;
    return 0;
}

static int on_point(void *user, struct tpc_str key, const struct tpc_value *v, int64_t unix_ms)
{
    struct watch *w = user;
    need(w->open && unix_ms >= 0);
    w->bytes += key.len;
    touch(w, v);
    return 0;
}

static int on_end(void *user)
{
    struct watch *w = user;
    need(w->open);
    w->open = false;
    w->ended++;
    return 0;
}

static void on_refuse(void *user, uint32_t frame, const struct tpc_error *err)
{
    struct watch *w = user;
    need(frame == 0 && !w->refused && w->ended == 0 && err->code < 0 && err->text[0] != '\0');
    w->refused = true;
    w->open = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tpc_codec_ops *const codecs[] = { &tpi_codec_alink, &tpi_codec_json,
                                                          &tpi_codec_thingspanel, &tpi_codec_cbor };
    static const uint16_t kinds[] = { TPC_MSG_UNKNOWN, TPC_MSG_ATTRIBUTES, TPC_MSG_EVENT,
                                      TPC_MSG_REPLY,   TPC_MSG_PRESENCE,   TPC_MSG_RAW };
    struct watch w;
    memset(&w, 0, sizeof(w));
    struct tpc_decode_sink sink = { .size = sizeof(sink),
                                    .user = &w,
                                    .begin = on_begin,
                                    .point = on_point,
                                    .end = on_end,
                                    .refuse = on_refuse };
    if (size == 0 || tpc_arena_create(NULL, 0, &sink.arena) != 0) {
        return 0;
    }
    uint8_t pick = (uint8_t) (data[0] - 'a');
    struct tpc_frame frame = { .size = sizeof(frame),
                               .kind = kinds[pick / 4 % 6],
                               .payload = { data + 1, size - 1 } };
    need(codecs[pick % 4]->decode(NULL, 0, NULL, &frame, 1, sizeof(frame), &sink) == 0);
    need(!w.open && w.refused == (w.ended == 0));
    tpc_arena_destroy(sink.arena);
    return 0;
}
