/*
 * Framing: where in a stream of bytes a message begins and ends (contract iot-module section 8). Pure:
 * no sockets, no memory, no state but what the caller keeps with its connection.
 *
 *   line       up to LF or CRLF
 *   delimiter  up to a sequence of bytes
 *   fixed      every frame has the same length
 *   length     a field of the frame says how long it is
 *   service    the callback `frame` of the service "device.access" says (not read here)
 */
#ifndef NET_FRAMING_H
#define NET_FRAMING_H

#include <stdbool.h>
#include <tpcore/bytes.h>
#include <tpcore/ext/host.h>
#include <tpcore/ext/option.h>

enum net_framing_type {
    NET_FRAMING_LINE = 1,
    NET_FRAMING_DELIMITER = 2,
    NET_FRAMING_FIXED = 3,
    NET_FRAMING_LENGTH = 4,
    NET_FRAMING_SERVICE = 5
};

enum {
    NET_FRAMING_MARK_MAX = 16, /* bytes of a delimiter, and of `begin` */
    NET_FRAMING_OPTION_COUNT = 12,
    NET_FRAME_LIMIT = 16 * 1024 * 1024 /* that frame_max cannot pass */
};

struct net_framing {
    uint32_t type;        /* enum net_framing_type */
    uint32_t frame_max;   /* bytes of a frame as it is on the wire; > 0 */
    uint32_t garbage_max; /* bytes passed over between two frames before it is given up */
    uint32_t strip;       /* bytes at the frame's front that are not of its body */
    uint32_t size;        /* FIXED: of a frame. LENGTH: of the field, 1, 2 or 4 */
    uint32_t offset;      /* LENGTH: where the field lies */
    int32_t adjustment;   /* LENGTH: body = the field's number + adjustment */
    bool little;          /* LENGTH: the field's lowest byte comes first */
    bool empty;           /* LENGTH: a body of 0 bytes is a frame, and not the end */
    bool keep;            /* LINE, DELIMITER: the mark at the end is of the body, too */
    bool automatic;       /* LINE, unless there is a callback */
    bool trim;            /* FIXED: zero bytes at the end are not of the body */
    uint8_t begin_len; /* 0 = none. With it what stands before a frame is passed over, and a frame
                           * that cannot be makes the search go on behind its first byte */
    uint8_t mark_len;
    uint8_t begin[NET_FRAMING_MARK_MAX];
    uint8_t mark[NET_FRAMING_MARK_MAX];
};

/* Of a connection; all zero at first. */
struct net_framing_state {
    uint32_t seen;    /* bytes at the front that are known to hold no end */
    uint32_t garbage; /* since the last frame */
};

struct net_frame {
    size_t take;    /* bytes of the input to drop before the next call; with a frame, it is in
                            * them, and its views are into them */
    size_t garbage; /* of them, what was no frame: to be counted */
    size_t want;    /* TPC_EAGAIN: bytes that are needed in all, `take` not counted: a hint */
    struct tpc_bytes whole; /* as on the wire */
    struct tpc_bytes body;  /* for the codec */
};

/* The table "framing" of an adapter's options: as sub of a TPC_OPT_TABLE with .def = "{}". */
extern const struct tpc_option net_framing_options[NET_FRAMING_OPTION_COUNT];
#define NET_FRAMING_SUB                                                                            \
    {                                                                                              \
        net_framing_options, NET_FRAMING_OPTION_COUNT, sizeof(struct tpc_option)                   \
    }

/* Reads the table as it was checked, with defaults. Returns 0, or what host->fail() returned. */
int net_framing_read(const struct tpc_host *host, void *ctx, const struct tpc_value *table,
                     uint32_t frame_max, struct net_framing *ret);

/*
 * The next frame of what came and was not taken yet. in.ptr may be another one in every call. Splitting
 * the input anywhere gives the same frames.
 *
 * Returns 0 with a frame; TPC_EAGAIN = none yet: drop ret->take bytes, keep the rest; TPC_ETOOBIG (a
 * frame over frame_max) or TPC_EDECODE (a length that cannot be, more than garbage_max) = close.
 */
int net_framing_next(const struct net_framing *f, struct net_framing_state *s, struct tpc_bytes in,
                     struct net_frame *ret);

/*
 * Body as a frame: LENGTH puts the field, after `offset` bytes that are `begin` and zeros, in front;
 * LINE and DELIMITER the mark behind; FIXED zeros behind. NULL out->ptr with cap 0 measures.
 *
 * Returns 0 with out->need; TPC_ETOOBIG (no room, over frame_max, or more than the field can say),
 * TPC_EINVAL (the mark is inside the body; LENGTH: its number would be negative), TPC_EUNSUPPORTED
 * (SERVICE).
 */
int net_framing_encode(const struct net_framing *f, struct tpc_bytes body, struct tpc_buf *out);

#endif
