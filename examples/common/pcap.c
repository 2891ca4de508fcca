/* File formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng; link types: tcpdump.org/linktypes. */
#include "pcap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINK_NULL = 0,
    LINK_ETHERNET = 1,
    LINK_RAW_BSD = 12,
    LINK_RAW = 101,
    LINK_COOKED = 113,
    LINK_IPV4 = 228,
    LINK_IPV6 = 229,
    LINK_COOKED2 = 276,
    INTERFACES_MAX = 64,
    HEADERS_MAX = 8 /* tags of VLANs, extension headers of IPv6 */
};

/* One direction that was seen. */
struct flow {
    uint8_t from[16], to[16];
    struct pcap_stream stream;
    uint32_t next; /* sequence number of the byte that comes next */
};

struct reader {
    pcap_fn *fn;
    void *user;
    unsigned int port;
    bool swapped; /* numbers of the file have the lowest byte first */
    struct pcap_count count;
    unsigned int flow_count;
    struct flow flows[PCAP_STREAMS];
};

/* A view that gets shorter. */
struct view {
    const uint8_t *p;
    size_t n;
};

/* ---- numbers ---- */

static uint32_t be(const uint8_t *p, int bytes)
{
    uint32_t n = 0;
    for (int i = 0; i < bytes; i++) {
        n = n << 8 | p[i];
    }
    return n;
}

static uint32_t own(const struct reader *r, const uint8_t *p, int bytes)
{
    uint32_t n = 0;
    for (int i = 0; i < bytes; i++) {
        n |= (uint32_t) p[r->swapped ? i : bytes - 1 - i] << (8 * i);
    }
    return n;
}

static bool skip(struct view *v, size_t n)
{
    if (n > v->n) {
        return false;
    }
    v->p += n;
    v->n -= n;
    return true;
}

/* ---- TCP ---- */

static void name_flow(struct flow *f, int version)
{
    char text[2][46];
    const uint8_t *addresses[2] = { f->from, f->to };
    for (int k = 0; k < 2; k++) {
        const uint8_t *a = addresses[k];
        size_t at = 0;
        if (version == 4) {
            snprintf(text[k], sizeof(text[k]), "%u.%u.%u.%u", a[0], a[1], a[2], a[3]);
            continue;
        }
        for (int i = 0; i < 16; i += 2) {
            at += (size_t) snprintf(text[k] + at, sizeof(text[k]) - at, "%s%x", i > 0 ? ":" : "",
                                    (unsigned) be(a + i, 2));
        }
    }
    snprintf(f->stream.name, sizeof(f->stream.name), "%s:%u > %s:%u", text[0], f->stream.from_port,
             text[1], f->stream.to_port);
}

static struct flow *find_flow(struct reader *r, const struct flow *like, bool begins, bool *ret_new)
{
    *ret_new = false;
    for (unsigned int i = r->flow_count; i > 0; i--) { /* the newest first: ports are used again */
        struct flow *f = &r->flows[i - 1];
        if (f->stream.from_port == like->stream.from_port &&
            f->stream.to_port == like->stream.to_port &&
            memcmp(f->from, like->from, sizeof(f->from)) == 0 &&
            memcmp(f->to, like->to, sizeof(f->to)) == 0) {
            if (!begins || like->next == f->next) {
                return f;
            }
            break; /* another connection of the same ends */
        }
    }
    if (r->flow_count == PCAP_STREAMS) {
        return NULL;
    }
    struct flow *f = &r->flows[r->flow_count];
    *f = *like;
    f->stream.number = r->flow_count++;
    *ret_new = true;
    return f;
}

static int take_tcp(struct reader *r, struct view v, struct flow *like, int version)
{
    bool is_new;
    if (v.n < 20 || (size_t) (v.p[12] >> 4) * 4 < 20 || (size_t) (v.p[12] >> 4) * 4 > v.n) {
        r->count.passed_over++;
        return 0;
    }
    uint32_t sequence = be(v.p + 4, 4);
    bool begins = (v.p[13] & 2) != 0; /* SYN counts as a byte */
    like->stream.from_port = be(v.p, 2);
    like->stream.to_port = be(v.p + 2, 2);
    like->next = sequence + begins;
    if (r->port != 0 && r->port != like->stream.from_port && r->port != like->stream.to_port) {
        return 0;
    }
    (void) skip(&v, (size_t) (v.p[12] >> 4) * 4);
    struct flow *f = find_flow(r, like, begins, &is_new);
    if (f == NULL) {
        r->count.passed_over++;
        return 0;
    }
    if (is_new) {
        name_flow(f, version);
    }
    int32_t ahead = (int32_t) (sequence + begins - f->next);
    if (ahead < 0 && !skip(&v, (size_t) - (int64_t) ahead)) {
        return 0; /* all of it was there before */
    }
    if (v.n == 0) {
        return 0;
    }
    f->next += (uint32_t) (ahead > 0 ? ahead : 0) + (uint32_t) v.n;
    r->count.segments++;
    return r->fn(r->user, &f->stream, v.p, v.n, ahead > 0);
}

/* ---- IP ---- */

static int take_ipv4(struct reader *r, struct view v)
{
    struct flow like;
    size_t head = v.n > 0 ? (size_t) (v.p[0] & 15) * 4 : 0;
    size_t total = v.n >= 20 ? be(v.p + 2, 2) : 0;
    memset(&like, 0, sizeof(like));
    /* A card that cuts packets itself leaves the total empty. */
    total = total == 0 ? v.n : total;
    if (v.n < 20 || head < 20 || head > v.n || total < head || v.p[9] != 6 ||
        (be(v.p + 6, 2) & 0x3FFF) != 0) {
        r->count.passed_over++;
        return 0;
    }
    memcpy(like.from, v.p + 12, 4);
    memcpy(like.to, v.p + 16, 4);
    v.n = total < v.n ? total : v.n; /* frames are padded */
    (void) skip(&v, head);
    return take_tcp(r, v, &like, 4);
}

static int take_ipv6(struct reader *r, struct view v)
{
    struct flow like;
    memset(&like, 0, sizeof(like));
    if (v.n < 40) {
        r->count.passed_over++;
        return 0;
    }
    size_t length = be(v.p + 4, 2);
    uint8_t next = v.p[6];
    memcpy(like.from, v.p + 8, 16);
    memcpy(like.to, v.p + 24, 16);
    (void) skip(&v, 40);
    v.n = length != 0 && length < v.n ? length : v.n;
    for (int i = 0; i < HEADERS_MAX && (next == 0 || next == 43 || next == 60); i++) {
        uint8_t after = v.n >= 8 ? v.p[0] : 0;
        if (v.n < 8 || !skip(&v, ((size_t) v.p[1] + 1) * 8)) {
            break; /* cut: what follows is not there */
        }
        next = after;
    }
    if (next != 6) {
        r->count.passed_over++;
        return 0;
    }
    return take_tcp(r, v, &like, 6);
}

static int take_ip(struct reader *r, struct view v)
{
    int version = v.n > 0 ? v.p[0] >> 4 : 0;
    if (version == 4 || version == 6) {
        return version == 4 ? take_ipv4(r, v) : take_ipv6(r, v);
    }
    r->count.passed_over++;
    return 0;
}

static int take_ether_type(struct reader *r, struct view v, size_t at, size_t head)
{
    for (int i = 0; i < HEADERS_MAX && v.n >= head; i++) {
        uint32_t type = be(v.p + at, 2);
        if (type == 0x0800 || type == 0x86DD) {
            (void) skip(&v, head);
            return take_ip(r, v);
        }
        if ((type != 0x8100 && type != 0x88A8) || !skip(&v, head)) {
            break;
        }
        at = 2; /* of the tag that follows */
        head = 4;
    }
    r->count.passed_over++;
    return 0;
}

static int take_packet(struct reader *r, uint32_t link, struct view v)
{
    r->count.packets++;
    switch (link) {
    case LINK_ETHERNET:
        return take_ether_type(r, v, 12, 14);
    case LINK_COOKED:
        return take_ether_type(r, v, 14, 16);
    case LINK_COOKED2:
        return take_ether_type(r, v, 0, 20);
    case LINK_NULL:
        return skip(&v, 4) ? take_ip(r, v) : 0;
    case LINK_RAW:
    case LINK_RAW_BSD:
    case LINK_IPV4:
    case LINK_IPV6:
        return take_ip(r, v);
    default:
        r->count.passed_over++;
        return 0;
    }
}

/* ---- files ---- */

static int read_classic(struct reader *r, struct view v, const char **error)
{
    uint32_t link = own(r, v.p + 20, 4) & 0xFFFF;
    int rc = 0;
    (void) skip(&v, 24);
    while (rc == 0 && v.n > 0) {
        uint32_t captured = v.n >= 16 ? own(r, v.p + 8, 4) : 0;
        if (v.n < 16 || captured > v.n - 16) {
            *error = "the last packet is cut off";
            return -1;
        }
        rc = take_packet(r, link, (struct view){ v.p + 16, captured });
        (void) skip(&v, 16 + (size_t) captured);
    }
    return rc;
}

struct interfaces {
    uint32_t links[INTERFACES_MAX];
    unsigned int count;
};

/* The body of a block. */
static int take_block(struct reader *r, uint32_t type, struct view b, struct interfaces *in)
{
    if (type == 1 && b.n >= 2) {
        if (in->count < INTERFACES_MAX) {
            in->links[in->count++] = own(r, b.p, 2);
        }
    } else if (type == 6 && b.n >= 20) {
        uint32_t interface = own(r, b.p, 4);
        uint32_t captured = own(r, b.p + 12, 4);
        if (interface < in->count && captured <= b.n - 20) {
            return take_packet(r, in->links[interface], (struct view){ b.p + 20, captured });
        }
        r->count.passed_over++;
    } else if (type == 3 && b.n >= 4 && in->count > 0) {
        uint32_t length = own(r, b.p, 4);
        length = length < b.n - 4 ? length : (uint32_t) (b.n - 4);
        return take_packet(r, in->links[0], (struct view){ b.p + 4, length });
    }
    return 0;
}

static int read_ng(struct reader *r, struct view v, const char **error)
{
    struct interfaces in = { .count = 0 };
    int rc = 0;
    while (rc == 0 && v.n > 0) {
        uint32_t type = v.n >= 12 ? be(v.p, 4) : 0;
        bool section = type == 0x0A0D0D0A;
        if (section) { /* which says how the numbers behind it are written */
            r->swapped = be(v.p + 8, 4) == 0x4D3C2B1A;
            in.count = 0;
        }
        uint32_t length = v.n >= 12 ? own(r, v.p + 4, 4) : 0;
        if (length < 12 || length % 4 != 0 || length > v.n) {
            *error = "a block has a length that cannot be";
            return -1;
        }
        if (!section) {
            rc = take_block(r, own(r, v.p, 4), (struct view){ v.p + 8, length - 12 }, &in);
        }
        (void) skip(&v, length);
    }
    return rc;
}

int pcap_read(const uint8_t *file, size_t len, unsigned int port, pcap_fn *fn, void *user,
              struct pcap_count *ret, const char **ret_error)
{
    struct view v = { file, len };
    struct reader *r = calloc(1, sizeof(*r));
    uint32_t magic = len >= 4 ? be(file, 4) : 0;
    int rc = -1;
    memset(ret, 0, sizeof(*ret));
    *ret_error = r == NULL ? "out of memory" : "no capture of packets (pcap or pcapng)";
    if (r == NULL) {
        return -1;
    }
    r->fn = fn;
    r->user = user;
    r->port = port;
    r->swapped = magic == 0xD4C3B2A1 || magic == 0x4D3CB2A1;
    if (magic == 0x0A0D0D0A) {
        rc = read_ng(r, v, ret_error);
    } else if (len >= 24 && (r->swapped || magic == 0xA1B2C3D4 || magic == 0xA1B23C4D)) {
        rc = read_classic(r, v, ret_error);
    }
    *ret = r->count;
    free(r);
    return rc;
}
