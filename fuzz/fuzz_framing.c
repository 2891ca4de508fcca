/*
 * Framing of a stream: input is a byte of type and switches, three bytes of numbers, then the stream. However
 * it is cut, the same frames come out; a body that is framed comes back.
 */
#include "fuzz.h"

#include "framing.h"

#include <stdlib.h>

enum { FRAME_MAX = 48, MEMORY = 4096 };

/* What a run gave, in few numbers. */
struct run {
    uint64_t hash;
    size_t frames;
    size_t garbage;
    size_t taken;
    int rc;
};

static void mix(struct run *r, const void *p, size_t n)
{
    const uint8_t *bytes = p;
    r->hash = (r->hash ^ n) * 1099511628211u;
    for (size_t i = 0; i < n; i++) {
        r->hash = (r->hash ^ bytes[i]) * 1099511628211u;
    }
}

/* All frames of what is there; the rest is moved to the front. */
static void drain(const struct net_framing *f, struct net_framing_state *s, uint8_t *p, size_t *len,
                  struct run *r)
{
    for (;;) {
        struct net_frame frame;
        r->rc = net_framing_next(f, s, (struct tpc_bytes){ p, *len }, &frame);
        if (r->rc != 0 && r->rc != TPC_EAGAIN) {
            return;
        }
        FUZZ_MUST(frame.take <= *len && frame.garbage <= frame.take);
        if (r->rc == 0) {
            FUZZ_MUST(frame.take > 0 && frame.whole.len <= f->frame_max);
            FUZZ_MUST(frame.whole.ptr + frame.whole.len == p + frame.take);
            FUZZ_MUST(frame.body.ptr >= frame.whole.ptr);
            FUZZ_MUST(frame.body.ptr + frame.body.len <= frame.whole.ptr + frame.whole.len);
            FUZZ_MUST(f->begin_len == 0 || memcmp(frame.whole.ptr, f->begin, f->begin_len) == 0);
            mix(r, frame.whole.ptr, frame.whole.len);
            mix(r, frame.body.ptr, frame.body.len);
            r->frames++;
        } else {
            /* What is kept never needs more room than a frame. */
            FUZZ_MUST(frame.want > *len - frame.take);
            FUZZ_MUST(*len - frame.take < f->frame_max + NET_FRAMING_MARK_MAX);
        }
        r->garbage += frame.garbage;
        r->taken += frame.take;
        *len -= frame.take;
        memmove(p, p + frame.take, *len);
        if (r->rc == TPC_EAGAIN) {
            r->rc = 0;
            return;
        }
    }
}

static struct run feed(const struct net_framing *f, const uint8_t *in, size_t len, size_t piece)
{
    static uint8_t kept[MEMORY];
    struct net_framing_state s = { 0, 0 };
    struct run r = { .hash = 1 };
    size_t have = 0;
    for (size_t at = 0; at < len && r.rc == 0; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        memcpy(kept + have, in + at, n);
        have += n;
        drain(f, &s, kept, &have, &r);
    }
    FUZZ_MUST(r.rc != 0 || r.taken + have == len);
    return r;
}

static struct net_framing framing_of(const uint8_t *d)
{
    struct net_framing f = { .frame_max = FRAME_MAX, .garbage_max = 24 };
    f.type = NET_FRAMING_LINE + d[0] % 4;
    f.little = (d[0] & 4) != 0;
    f.empty = (d[0] & 8) != 0;
    f.keep = (d[0] & 16) != 0;
    f.trim = f.keep;
    f.begin_len = d[0] >> 5 & 3;
    f.strip = d[1] & 7;
    f.offset = 2 + (d[1] >> 3 & 7);
    f.adjustment = (int32_t) (d[2] & 15) - 8;
    f.size = f.type == NET_FRAMING_LENGTH ? 1u << d[3] % 3 : 3 + d[3] % 40u;
    f.mark_len = f.type == NET_FRAMING_LINE ? 1 : (uint8_t) (1 + (d[3] & 3));
    memcpy(f.begin, "aab", 3);
    memcpy(f.mark, f.type == NET_FRAMING_LINE ? "\n\0\0" : (d[2] & 16) != 0 ? "abab" : "aaab", 4);
    if (f.begin_len == 3) {
        f.begin_len = f.type == NET_FRAMING_LENGTH ? 2 : 3;
    }
    return f;
}

/* What is written is read as one frame. */
static void check_encode(const struct net_framing *f, const uint8_t *in, size_t len)
{
    uint8_t room[FRAME_MAX];
    struct tpc_buf out = { room, sizeof(room), 0 };
    struct tpc_bytes body = { in, len };
    struct net_framing_state s = { 0, 0 };
    struct net_framing plain = *f;
    struct net_frame frame;
    plain.keep = plain.trim = false;
    plain.strip = f->type == NET_FRAMING_LENGTH ? f->offset + f->size : 0;
    if (f->type != NET_FRAMING_LENGTH) {
        plain.begin_len = 0;
    }
    if (net_framing_encode(&plain, body, &out) != 0) {
        return;
    }
    FUZZ_MUST(out.need >= len && out.need <= f->frame_max);
    int rc = net_framing_next(&plain, &s, (struct tpc_bytes){ room, out.need }, &frame);
    if (len == 0 || (f->type == NET_FRAMING_LINE && in[len - 1] == '\r')) {
        return; /* none, or one that ends otherwise */
    }
    FUZZ_MUST(rc == 0 && frame.take == out.need);
    FUZZ_MUST(frame.body.len >= len && memcmp(frame.body.ptr, in, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 5 || size > MEMORY) {
        return 0;
    }
    struct net_framing f = framing_of(data);
    const uint8_t *in = data + 4;
    size_t len = size - 4;
    struct run whole = feed(&f, in, len, len);
    for (size_t piece = 1; piece < 8; piece += 1 + piece / 3) {
        struct run r = feed(&f, in, len, piece);
        FUZZ_MUST(r.rc == whole.rc && r.frames == whole.frames && r.hash == whole.hash);
        FUZZ_MUST(r.rc != 0 || (r.garbage == whole.garbage && r.taken == whole.taken));
    }
    check_encode(&f, in, len < FRAME_MAX ? len : FRAME_MAX);
    return 0;
}
