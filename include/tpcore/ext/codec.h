/*
 * Codec: bytes of a device to messages and points, commands to bytes. Decoding has no side effects:
 * the same frame may be decoded again.
 */
#ifndef TPCORE_EXT_CODEC_H
#define TPCORE_EXT_CODEC_H

#include <tpcore/arena.h>
#include <tpcore/ext/module.h>

TPC_BEGIN

/* What a product says about its codec. `config` is the product's "codec" member (text or map). */
struct tpc_codec_source {
    uint32_t size;
    uint32_t reserved;
    struct tpc_str product;
    struct tpc_value config;
};

enum tpc_decoded_flags {
    TPC_DECODED_ANSWER = 1,   /* the dialect wants an answer once the message is appended */
    TPC_DECODED_ANY_CASE = 2, /* a key that is no property is tried again without regard to case */
    TPC_DECODED_GOT = 4, /* values that answer a "get" under way, where the dialect has no reply */
    TPC_DECODED_PART =
        8 /* one of several in a gateway's message: if it is unusable, the others stay;
                          * one answer for all */
};

/* Head of a decoded message. */
struct tpc_decoded {
    uint32_t size;
    uint16_t kind;       /* enum tpc_kind, never TPC_MSG_UNKNOWN */
    uint16_t flags;      /* enum tpc_decoded_flags */
    int32_t code;        /* of a reply: 0 = done */
    int64_t unix_ms;     /* 0 = the frame's time, else the receipt time */
    struct tpc_str name; /* event or service; with ANSWER: the method to answer */
    struct tpc_str
        correlation;        /* the dialect's message id; of a reply: of the command it answers */
    struct tpc_str message; /* of a reply: its text */
    struct tpc_value
        params;            /* TPC_NULL if none; trees must live in the sink's arena or the frame */
    struct tpc_str answer; /* with ANSWER: the method to answer, where that is not `name` */
};

/*
 * Where a decoder puts what it finds: begin, points, end; or refuse. All on the caller's thread,
 * none blocks. A non-zero return must end the decoding of this frame.
 */
struct tpc_decode_sink {
    uint32_t size;
    uint32_t reserved;
    void *user;
    struct tpc_arena *arena; /* lives until the batch is done */
    int (*begin)(void *user, uint32_t frame, const struct tpc_decoded *head);
    int (*point)(void *user, struct tpc_str key, const struct tpc_value *value, int64_t unix_ms);
    int (*end)(void *user);
    void (*refuse)(void *user, uint32_t frame, const struct tpc_error *err);
    void *direct; /* for the codecs inside the library alone; modules leave it */
    /*
     * Of a gateway's message: what begins between enter() and leave() is of a device straight behind
     * the one that it would be of: that with the address `device`, or, with a product, that of this
     * product and key. They nest. enter: 0, or TPC_ENOENT: there is none (which is counted and told):
     * the part is passed over, there is nothing to leave. NULL (or not there, by size): the sink knows
     * no gateways, and parts of other devices are passed over.
     */
    int (*enter)(void *user, uint32_t frame, struct tpc_str product, struct tpc_str device);
    void (*leave)(void *user);
    /* What a device asks the platform for: name is the method, params its argument, correlation goes
     * into the answer. It is no message: it is not logged, for it may hold proofs of identity. NULL, or
     * not there: nobody answers. */
    int (*request)(void *user, uint32_t frame, const struct tpc_decoded *head);
};

enum tpc_encode_flags {
    TPC_ENCODE_GATEWAY = 1,   /* over the codec of the top gateway: `path` counts */
    TPC_ENCODE_TO_GATEWAY = 2 /* .. and it is for a gateway, not for a device behind one */
};

/* What to encode: a command, a set, a get, or the answer to an uplink message (kind reply). */
struct tpc_encode {
    uint32_t size;
    uint16_t kind;
    uint16_t reserved;
    int32_t code; /* of an answer */
    uint32_t reserved2;
    struct tpc_id id; /* the command's */
    struct tpc_str product;
    struct tpc_str device;
    struct tpc_str name;        /* service, or the method answered */
    struct tpc_str correlation; /* text that the device shall echo */
    struct tpc_value params;
    int64_t unix_ms; /* now, by the core's clock; 0 = not known */
    uint32_t flags;  /* enum tpc_encode_flags */
    uint32_t path_count;
    const struct tpc_str *path; /* addresses from the top gateway down; none = it is for that one */
    void *numbers;              /* of tpc_encode_number(), tpcore/service.h; NULL = none */
};

/*
 * init, fini  Optional, for a codec with an instance. decode and encode are called with worker 0 ..
 *             workers; the last one is for trials, under a lock of the core. control thread.
 * compile     Makes a program of a product's codec member: parsed once, shared by all workers, never
 *             changed. TPC_EINVAL or TPC_ESCRIPT with line and column. Any thread.
 * release     Frees it. No decode runs on it any more.
 * decode      Decodes frames of one product. worker: one thread each. Faults of a frame go to
 *             sink->refuse(frame); the return value is for faults of the codec itself.
 * encode      One message to bytes, which live in `arena` or in static storage.
 * nests       Optional. Whether a gateway whose product has this program gets what is for the devices
 *             behind it from its own program, with TPC_ENCODE_GATEWAY. Else each device's program
 *             encodes, and the gateway only carries. Any thread.
 */
struct tpc_codec_ops {
    struct tpc_iface iface; /* major 1 */
    const char *name;
    size_t instance_size;
    struct tpc_list options;
    int (*init)(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                uint32_t workers);
    void (*fini)(void *self);
    int (*compile)(void *self, const struct tpc_codec_source *source, struct tpc_error *err,
                   void **ret_program);
    void (*release)(void *self, void *program);
    int (*decode)(void *self, uint32_t worker, void *program, const struct tpc_frame *frames,
                  uint32_t count, size_t frame_size, const struct tpc_decode_sink *sink);
    int (*encode)(void *self, uint32_t worker, void *program, const struct tpc_encode *what,
                  struct tpc_arena *arena, struct tpc_error *err, struct tpc_bytes *ret_payload);
    bool (*nests)(void *self, void *program);
};

TPC_END

#endif
