/* Frames of a stream of bytes, or of the TCP streams of a capture, as the adapter tcp finds them. */
#include "../common/pcap.h"
#include "tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_TCP
#include "../../adapters/net/framing.h"
#include "data/option.h"
#endif

enum { HELD_MAX = 1 << 20 };

/* What came of one direction and is no whole frame yet. */
struct held {
    uint8_t *p;
    size_t len;
    bool closed;
#ifdef HAVE_TCP
    struct net_framing_state state;
#endif
};

struct splitter {
    bool framed;
#ifdef HAVE_TCP
    struct net_framing framing;
#endif
    unsigned int port;
    unsigned int last; /* stream whose name was printed, + 1 */
    int bad;
    tool_frame_fn *fn;
    void *user;
    struct held held[PCAP_STREAMS];
};

/* ---- framing ---- */

#ifdef HAVE_TCP
static int said(void *ctx, int code, const char *fmt, ...)
{
    va_list args;
    (void) ctx;
    va_start(args, fmt);
    fputs("tp-tool: --framing: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return code;
}

/* The same table of options as the adapter's. */
static int read_framing(struct splitter *s, const char *json)
{
    static const struct tpc_list options = NET_FRAMING_SUB;
    const struct tpc_host host = { .fail = said };
    struct tpc_value given;
    struct tpc_value table;
    struct tpc_arena *arena;
    struct tpc_error err = { .size = sizeof(err) };
    if (tpc_arena_create(tpc_allocator_default(), HELD_MAX, &arena) != 0) {
        return -1;
    }
    int rc = tpc_json_parse(arena, tpc_str_from(json), 0, &err, &given);
    rc = rc != 0 ? rc : tpi_option_check(&options, &given, 0, arena, &err, &table);
    if (rc != 0) {
        said(NULL, rc, "%s%s%s", err.path, err.path[0] != '\0' ? ": " : "", err.text);
    } else {
        rc = net_framing_read(&host, NULL, &table, HELD_MAX, &s->framing);
    }
    if (rc == 0 && s->framing.type == NET_FRAMING_SERVICE) {
        rc = said(NULL, TPC_EINVAL, "service: the program itself knows, with --hex or --pcap");
    }
    tpc_arena_destroy(arena);
    return rc == 0 ? 0 : -1;
}

static void take_frames(struct splitter *s, struct held *h)
{
    size_t at = 0;
    int rc = 0;
    while (at < h->len && rc == 0) {
        struct net_frame f = { .take = 0 };
        rc = net_framing_next(&s->framing, &h->state, (struct tpc_bytes){ h->p + at, h->len - at },
                              &f);
        if (f.garbage > 0) {
            printf("%zu bytes that are no frame\n", f.garbage);
            s->bad = 1;
        }
        if (rc == 0) {
            s->bad |= s->fn(s->user, f.body);
        }
        at += f.take;
    }
    h->len -= at;
    memmove(h->p, h->p + at, h->len);
    if (rc != 0 && rc != TPC_EAGAIN) {
        printf("%s: the connection would be closed\n", tpc_error_name(rc));
        s->bad = 1;
        h->closed = true;
    }
}
#endif

/* ---- bytes ---- */

static int take_bytes(struct splitter *s, struct held *h, const uint8_t *bytes, size_t len)
{
    if (!s->framed) { /* each piece is one */
        s->bad |= s->fn(s->user, (struct tpc_bytes){ bytes, len });
        return 0;
    }
    while (len > 0 && !h->closed) {
        size_t n = len <= HELD_MAX - h->len ? len : HELD_MAX - h->len;
        uint8_t *p = n > 0 ? realloc(h->p, h->len + n) : NULL;
        if (p == NULL) {
            printf("a frame of more than %d bytes: the stream is given up\n", HELD_MAX);
            s->bad = 1;
            h->closed = true;
            break;
        }
        memcpy(p + h->len, bytes, n);
        h->p = p;
        h->len += n;
        bytes += n;
        len -= n;
#ifdef HAVE_TCP
        take_frames(s, h);
#endif
    }
    return 0;
}

static int on_bytes(void *user, const struct pcap_stream *stream, const uint8_t *bytes, size_t len,
                    bool gap)
{
    struct splitter *s = user;
    struct held *h = &s->held[stream->number];
    if (s->port != 0 && stream->to_port != s->port) {
        return 0; /* what devices were sent */
    }
    if (s->last != stream->number + 1) {
        printf("%s\n", stream->name);
        s->last = stream->number + 1;
    }
    if (gap && h->len > 0) {
        printf("bytes are missing: %zu are given up\n", h->len);
        h->len = 0;
    }
    return take_bytes(s, h, bytes, len);
}

static int take_capture(struct splitter *s, struct tpc_bytes input)
{
    struct pcap_count count;
    const char *error;
    int rc = pcap_read(input.ptr, input.len, s->port, on_bytes, s, &count, &error);
    if (rc != 0) {
        fprintf(stderr, "tp-tool: --pcap: %s\n", error);
    }
    printf("%zu packets, %zu with data, %zu passed over\n", count.packets, count.segments,
           count.passed_over);
    return rc != 0 ? 1 : s->bad;
}

int tool_frames(struct tpc_bytes input, bool capture, unsigned int port, const char *framing_json,
                tool_frame_fn *fn, void *user)
{
    struct splitter *s = calloc(1, sizeof(*s));
    int rc = s != NULL ? 0 : 1;
    if (rc == 0) {
        s->port = port;
        s->fn = fn;
        s->user = user;
        s->framed = framing_json != NULL;
    }
    if (rc == 0 && s->framed) {
#ifdef HAVE_TCP
        rc = read_framing(s, framing_json) != 0 ? 1 : 0;
#else
        fputs("tp-tool: --framing needs the module tcp, which is not built\n", stderr);
        rc = 1;
#endif
    }
    if (rc == 0 && capture) {
        rc = take_capture(s, input);
    } else if (rc == 0) {
        (void) take_bytes(s, &s->held[0], input.ptr, input.len);
        if (s->held[0].len > 0 && !s->held[0].closed) {
            printf("%zu bytes more begin a frame that is not whole\n", s->held[0].len);
            s->bad = 1;
        }
        rc = s->bad;
    }
    for (unsigned int i = 0; s != NULL && i < PCAP_STREAMS; i++) {
        free(s->held[i].p);
    }
    free(s);
    return rc;
}
