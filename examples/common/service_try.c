/* Frames of a service without a device: from digits, or from a capture. */
#include "pcap.h"
#include "program.h"
#include "service.h"

#include <errno.h>
#include <stdlib.h>
#include <tpcore/ext/access.h>

enum { INPUT_MAX = 64 << 20, HELD_MAX = 1 << 20, SHOWN_BYTES = 32, ARENA_BYTES = 16 << 20 };

struct attempt {
    const struct tpc_service_ops *ops;
    struct tpc_arena *arena;
    char device[128]; /* what follows is of the one behind with that address */
    int depth;
    int bad;
    size_t frames;
};

/* ---- a sink that prints ---- */

static int on_begin(void *user, uint32_t frame, const struct tpc_decoded *head)
{
    const struct attempt *a = user;
    (void) frame;
    printf("    %s", tpc_kind_name(head->kind));
    if (a->depth > 0) {
        printf(" of %s", a->device);
    }
    if (head->name.len > 0) {
        printf(" %.*s", (int) head->name.len, head->name.ptr);
    }
    if (head->kind == TPC_MSG_REPLY) {
        printf(" to %.*s, code %d", (int) head->correlation.len,
               head->correlation.len > 0 ? head->correlation.ptr : "", head->code);
    }
    if (head->unix_ms != 0) {
        printf(" at %lld", (long long) head->unix_ms);
    }
    if (head->params.type != TPC_NULL) {
        putchar(' ');
        program_print_value(&head->params);
    }
    putchar(':');
    return 0;
}

static int on_point(void *user, struct tpc_str key, const struct tpc_value *value, int64_t unix_ms)
{
    (void) user;
    (void) unix_ms;
    printf(" %.*s=", (int) key.len, key.ptr);
    program_print_value(value);
    return 0;
}

static int on_end(void *user)
{
    (void) user;
    putchar('\n');
    return 0;
}

static void on_refuse(void *user, uint32_t frame, const struct tpc_error *err)
{
    struct attempt *a = user;
    (void) frame;
    a->bad = 1;
    printf("    refused: %s: %s\n", tpc_error_name(err->code), err->text);
}

static int on_enter(void *user, uint32_t frame, struct tpc_str product, struct tpc_str device)
{
    struct attempt *a = user;
    (void) frame;
    (void) product;
    a->depth++;
    snprintf(a->device, sizeof(a->device), "%.*s", (int) device.len, device.ptr);
    return 0;
}

static void on_leave(void *user)
{
    struct attempt *a = user;
    a->depth--;
}

/* ---- frames ---- */

static void print_bytes(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n && i < SHOWN_BYTES; i++) {
        printf("%02x%s", p[i], i % 4 == 3 ? " " : "");
    }
    printf("%s\n", n > SHOWN_BYTES ? "..." : "");
}

/* Who it says that it is, and what it gets back. True: that is all, the frame is not decoded. */
static bool show_login(const struct attempt *a, struct tpc_bytes frame)
{
    uint8_t room[3][1024];
    struct tpc_service_login l = { .size = sizeof(l),
                                   .voucher = { room[0], sizeof(room[0]), 0 },
                                   .answer = { room[1], sizeof(room[1]), 0 },
                                   .refusal = { room[2], sizeof(room[2]), 0 } };
    if (a->ops->login == NULL || a->ops->login(NULL, frame, &l) != 0) {
        return false;
    }
    if (l.voucher.need <= l.voucher.cap) {
        printf("    voucher %.*s\n", (int) l.voucher.need, (const char *) room[0]);
    }
    if (l.answer.need > 0 && l.answer.need <= l.answer.cap) {
        printf("    answer ");
        print_bytes(room[1], l.answer.need);
    }
    return (l.flags & TPC_ACCESS_FEED) == 0;
}

static void show_frame(struct attempt *a, struct tpc_bytes bytes)
{
    uint8_t room[2048];
    struct tpc_buf out = { room, sizeof(room), 0 };
    struct tpc_frame f = { .size = sizeof(f), .payload = bytes };
    struct tpc_decode_sink sink = { .size = sizeof(sink),
                                    .user = a,
                                    .arena = a->arena,
                                    .begin = on_begin,
                                    .point = on_point,
                                    .end = on_end,
                                    .refuse = on_refuse,
                                    .enter = on_enter,
                                    .leave = on_leave };
    a->frames++;
    printf("frame of %zu bytes: ", bytes.len);
    print_bytes(bytes.ptr, bytes.len);
    if (show_login(a, bytes)) {
        return;
    }
    int rc = a->ops->answer != NULL ? a->ops->answer(NULL, bytes, &out) : 0;
    if (rc == 0) {
        (void) tpc_service_decode(a->ops, NULL, &f, &sink);
        tpc_arena_reset(a->arena);
    }
    if (rc >= 0 && out.need > 0 && out.need <= out.cap) {
        printf("    answer ");
        print_bytes(room, out.need);
    }
}

/* What begins with p; returns what was taken of it: the rest is no whole frame. */
static size_t take_frames(struct attempt *a, const uint8_t *p, size_t len)
{
    size_t at = 0;
    size_t garbage = 0;
    bool whole = a->ops->frame == NULL;
    while (at < len) {
        size_t n = len - at;
        int rc = whole ? 0 : a->ops->frame(NULL, (struct tpc_bytes){ p + at, len - at }, &n);
        if (rc == 0 && n == 0) {
            break;
        }
        if (rc == 0) {
            show_frame(a, (struct tpc_bytes){ p + at, n });
        } else {
            a->bad = 1;
            n = n > 0 && n <= len - at ? n : len - at; /* all: the connection would be closed */
            garbage += n;
        }
        at += n;
    }
    if (garbage > 0) {
        printf("    %zu bytes that are no frame\n", garbage);
    }
    return at;
}

static int begin(struct attempt *a, const struct tpc_service_ops *ops)
{
    memset(a, 0, sizeof(*a));
    a->ops = ops;
    return tpc_arena_create(tpc_allocator_default(), ARENA_BYTES, &a->arena);
}

static uint8_t *read_file(const char *name, size_t *ret)
{
    FILE *f = fopen(name, "rb");
    uint8_t *p = f != NULL ? malloc(INPUT_MAX) : NULL;
    if (p == NULL) {
        fprintf(stderr, "%s: %s\n", name, strerror(errno));
    } else {
        *ret = fread(p, 1, INPUT_MAX, f);
    }
    if (f != NULL) {
        fclose(f);
    }
    return p;
}

/* ---- digits ---- */

int service_try_hex(const struct tpc_service_ops *ops, const char *text_or_file)
{
    struct attempt a;
    size_t len = strlen(text_or_file);
    bool is_text = strspn(text_or_file, "0123456789abcdefABCDEF: ") == len;
    uint8_t *p = is_text ? (uint8_t *) strdup(text_or_file) : read_file(text_or_file, &len);
    if (p == NULL || begin(&a, ops) != 0) {
        free(p);
        return 2;
    }
    long n = program_from_hex("--hex", (const char *) p, len, p);
    size_t taken = n > 0 ? take_frames(&a, p, (size_t) n) : 0;
    if (n > 0 && taken < (size_t) n) {
        printf("%zu bytes more begin a frame that is not whole\n", (size_t) n - taken);
        a.bad = 1;
    }
    tpc_arena_destroy(a.arena);
    free(p);
    return n < 0 ? 2 : a.bad;
}

/* ---- captures ---- */

struct held {
    uint8_t *p;
    size_t len;
};

struct capture {
    struct attempt attempt;
    unsigned int port;
    unsigned int last; /* stream whose name was printed */
    struct held held[PCAP_STREAMS];
};

static int on_bytes(void *user, const struct pcap_stream *s, const uint8_t *bytes, size_t len,
                    bool gap)
{
    struct capture *c = user;
    struct held *h = &c->held[s->number];
    if (c->port != 0 && s->to_port != c->port) {
        return 0; /* what devices were sent */
    }
    if (c->last != s->number + 1) {
        printf("%s\n", s->name);
        c->last = s->number + 1;
    }
    if (gap && h->len > 0) {
        printf("    bytes are missing: %zu are given up\n", h->len);
        h->len = 0;
    }
    uint8_t *p = len <= HELD_MAX - h->len ? realloc(h->p, h->len + len) : NULL;
    if (p == NULL) {
        printf("    a frame of more than %d bytes: the stream is given up\n", HELD_MAX);
        h->len = 0;
        return 0;
    }
    memcpy(p + h->len, bytes, len);
    h->p = p;
    h->len += len;
    size_t taken = take_frames(&c->attempt, h->p, h->len);
    h->len -= taken;
    memmove(h->p, h->p + taken, h->len);
    return 0;
}

int service_try_pcap(const struct tpc_service_ops *ops, const char *file, unsigned int port)
{
    struct pcap_count count;
    const char *error;
    size_t len = 0;
    uint8_t *p = read_file(file, &len);
    struct capture *c = p != NULL ? calloc(1, sizeof(*c)) : NULL;
    if (c == NULL || begin(&c->attempt, ops) != 0) {
        free(c);
        free(p);
        return 2;
    }
    c->port = port;
    int rc = pcap_read(p, len, port, on_bytes, c, &count, &error);
    if (rc != 0) {
        fprintf(stderr, "%s: %s\n", file, error);
    }
    printf("%zu packets, %zu with data, %zu passed over, %zu frames\n", count.packets,
           count.segments, count.passed_over, c->attempt.frames);
    rc = rc != 0 ? 2 : c->attempt.bad;
    for (unsigned int i = 0; i < PCAP_STREAMS; i++) {
        free(c->held[i].p);
    }
    tpc_arena_destroy(c->attempt.arena);
    free(c);
    free(p);
    return rc;
}
