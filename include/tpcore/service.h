/*
 * A connectivity service: a program that connects devices of a protocol of its own to a platform
 * above. It writes the protocol - where a frame ends, who a device is, what its bytes mean - and
 * tpc_service_serve() does the rest: the sockets, the platform's callbacks and forms, heartbeat,
 * wrapping, status, commands and their answers, and the log in between, so that nothing is lost while
 * the platform is away. docs/guide/connectivity-service.md goes through one from an empty folder.
 */
#ifndef TPCORE_SERVICE_H
#define TPCORE_SERVICE_H

#include <tpcore/core.h>
#include <tpcore/ext/codec.h>

TPC_BEGIN

/* A form of the platform's user interface, as JSON: docs/guide/connectivity-service.md. */
struct tpc_service_form {
    const char *type; /* "CFG" settings of a template or device, "VCR" a device's voucher, "VCRT"
                              * kinds of vouchers, "SVCR" an access point's voucher */
    const char *device_type; /* "1" direct, "2" gateway, "3" behind one; NULL = all */
    const char *json;        /* an array of elements; of VCRT an object label -> key */
};

/* What login() makes of a first frame. */
struct tpc_service_login {
    uint32_t size;
    uint32_t flags;         /* enum tpc_access_flags of tpcore/ext/access.h */
    struct tpc_buf voucher; /* JSON object as text, as the form VCR makes it: {"reg_pkg":"M-17"} */
    struct tpc_buf answer;  /* bytes for the device once it is let in */
    struct tpc_buf refusal; /* .. once it is refused, before the connection is closed */
};

/* A device of the service as the platform has it. Views are valid during the call. */
struct tpc_service_device {
    uint32_t size;
    uint32_t flags;                   /* 0 */
    struct tpc_str device;            /* its key in the core: the platform's device_id */
    struct tpc_str number;            /* for people */
    struct tpc_str voucher;           /* JSON text */
    struct tpc_str parent;            /* key of its gateway; empty = none */
    struct tpc_str address;           /* behind it */
    const struct tpc_value *config;   /* by form CFG, of the device; TPC_NULL if none */
    const struct tpc_value *settings; /* .. of its template */
    struct tpc_str access_point;      /* of a third-party service; empty = none */
};

/* An account at a third party (service type 2). */
struct tpc_service_access {
    uint32_t size;
    uint32_t flags; /* 0 */
    struct tpc_str id;
    struct tpc_str name;
    struct tpc_str voucher; /* JSON text by form SVCR */
};

/* A device that discover() found at a third party. */
struct tpc_service_found {
    uint32_t size;
    uint32_t reserved;
    struct tpc_str number;
    struct tpc_str name;
    struct tpc_str description;
};
typedef int tpc_service_found_fn(void *user, const struct tpc_service_found *found);

/* What decode() fills. The first fault is the whole frame's, also if decode() does not look at what a call
 * returned. */
struct tpc_reading;

/*
 * What a program writes. All functions are optional but decode; user is that of tpc_service_serve().
 *
 * frame       Length of the frame that bytes begin with (there is one at least): 0 with *ret_bytes, 0 in
 *             it = more is needed; TPC_EDECODE = none can begin so: *ret_bytes of them are passed over,
 *             0 = the connection is closed. NULL: the framing of the adapter's options. Must have no
 *             effect besides. Any thread, several at once. Where it is there, login, answer and decode
 *             get whole frames and nothing else.
 * login       Whose connection it is, by a frame of it: 0 and a voucher; TPC_EAGAIN = ask again with
 *             the next frame, `answer` is written; else it is closed, after `refusal`. The adapter's
 *             thread.
 * answer      What a frame is answered: 0 = it is decoded, and `out` is written once its message is in
 *             the log; 1 = it holds nothing to decode, `out` is written at once. The adapter's thread.
 * decode      Puts what a frame means into r. An error makes all of it a dead letter. frame->device is the
 *             key of the device. The same frame may come twice; must have no effect besides. worker
 *             thread, several at once.
 * encode      A command as bytes for the device; TPC_EUNSUPPORTED: there is no such; TPC_ETOOBIG with
 *             out->need: it is called again with that much room. For one behind a gateway
 *             command->path[path_count - 1] is its address, and command->device the gateway.
 *             worker thread, several at once.
 * configured  A device is there, or is configured anew. gone = 1: it is not of this service any more.
 *             A thread of the platform's part; must not block for long.
 * discover    Devices of an access point, found at the third party: calls fn for those of the page
 *             (first = 1) and sets *ret_total. A thread of its own; may wait.
 * access      An access point is there or changed; gone = 1: it is not any more. As configured.
 */
struct tpc_service_ops {
    struct tpc_iface iface; /* major 1 */
    const char *identifier; /* at the platform; also the key of the product of its devices */
    uint32_t type;          /* 0 or 1 = protocol, 2 = third party */
    uint32_t reserved;
    const char
        *product_json;     /* members of the product: model, report ...; NULL = every key is kept */
    struct tpc_list forms; /* TPC_LIST of struct tpc_service_form */
    int (*frame)(void *user, struct tpc_bytes bytes, size_t *ret_bytes);
    int (*login)(void *user, struct tpc_bytes frame, struct tpc_service_login *ret);
    int (*answer)(void *user, struct tpc_bytes frame, struct tpc_buf *out);
    int (*decode)(void *user, const struct tpc_frame *frame, struct tpc_reading *r);
    int (*encode)(void *user, const struct tpc_encode *command, struct tpc_buf *out);
    void (*configured)(void *user, const struct tpc_service_device *device, int gone);
    int (*discover)(void *user, struct tpc_str voucher, uint32_t page, uint32_t page_size,
                    tpc_service_found_fn *fn, void *fn_user, uint32_t *ret_total);
    void (*access)(void *user, const struct tpc_service_access *access, int gone);
};

/*
 * Serves: a codec of the service's identifier is made of decode and encode, its product and the forward
 * target "platform" are put if they are not there, and the part that offers "service.platform" (module
 * thingspanel) is told. Call it between tpc_core_open() of that part and the first entity (a store of an
 * earlier run holds the product, which needs the codec), once for each core. What is changed on product
 * and target by hand stays. After a failure it may be called again.
 *
 * The product keeps keys that no model names (`unknown: keep`) unless product_json says otherwise; a codec
 * there, for devices of another adapter than of bytes, replaces decode and encode. The
 * target gets main/up/# ; it is there only where the part is a sink.
 *
 * Returns 0; TPC_ENOENT (no part offers it); TPC_EINVAL (ops; a form, with its path in the error);
 * TPC_EVERSION (ops of another major); TPC_EEXIST (one is served, or a codec of that name is there);
 * TPC_ESTATE (the core was started); TPC_EDECODE (product_json); and as tpc_entity_put().
 * Ownership: ops and user are the caller's and outlive the core.
 * Thread: control.
 * Since: 0.1
 */
TPC_API int tpc_service_serve(struct tpc_core *core, const struct tpc_service_ops *ops, void *user);

/*
 * Puts a value into the message that decode() is making: of the device itself, or of the one behind
 * it that tpc_reading_device() named last.
 *
 * Returns 0, or what ends the decoding: decode returns it.
 * Ownership: key and value are copied.
 * Thread: that of decode.
 * Since: 0.1
 */
TPC_API int tpc_reading_value(struct tpc_reading *r, const char *key,
                              const struct tpc_value *value);

/* The same for values that are no trees. */
static inline int tpc_reading_double(struct tpc_reading *r, const char *key, double value)
{
    struct tpc_value v = { TPC_DOUBLE, 0, 0, { 0 } };
    v.as.d = value;
    return tpc_reading_value(r, key, &v);
}

static inline int tpc_reading_int(struct tpc_reading *r, const char *key, int64_t value)
{
    struct tpc_value v = { TPC_INT, 0, 0, { 0 } };
    v.as.i = value;
    return tpc_reading_value(r, key, &v);
}

static inline int tpc_reading_bool(struct tpc_reading *r, const char *key, int value)
{
    struct tpc_value v = { TPC_BOOL, 0, 0, { 0 } };
    v.as.b = value != 0;
    return tpc_reading_value(r, key, &v);
}

static inline int tpc_reading_text(struct tpc_reading *r, const char *key, struct tpc_str value)
{
    struct tpc_value v = { TPC_TEXT, 0, value.len, { 0 } };
    v.as.text = value.ptr;
    return tpc_reading_value(r, key, &v);
}

/*
 * What follows is of the device with that address behind this one; empty = of this one again.
 *
 * Returns 0; TPC_ENOENT: there is none, which is counted: what follows for it is passed over.
 * Ownership: none.
 * Thread: that of decode.
 * Since: 0.1
 */
TPC_API int tpc_reading_device(struct tpc_reading *r, struct tpc_str address);

/*
 * Values that follow are attributes (what a device is: serial number, version), or with on = 0 telemetry
 * again.
 *
 * Returns 0 or what ends the decoding.
 * Ownership: none.
 * Thread: that of decode.
 * Since: 0.1
 */
TPC_API int tpc_reading_attributes(struct tpc_reading *r, int on);

/*
 * What follows was measured then (Unix time in ms); 0 = when the frame came.
 *
 * Returns 0 or what ends the decoding.
 * Ownership: none.
 * Thread: that of decode.
 * Since: 0.1
 */
TPC_API int tpc_reading_time(struct tpc_reading *r, int64_t unix_ms);

/*
 * An event; params may be NULL.
 *
 * Returns 0 or what ends the decoding.
 * Ownership: copied.
 * Thread: that of decode.
 * Since: 0.1
 */
TPC_API int tpc_reading_event(struct tpc_reading *r, const char *name,
                              const struct tpc_value *params);

/*
 * The answer to a command: correlation as encode() was given it, or empty: of the one that waits.
 * code 0 = done; else text says why not.
 *
 * Returns 0 or what ends the decoding.
 * Ownership: copied.
 * Thread: that of decode.
 * Since: 0.1
 */
TPC_API int tpc_reading_reply(struct tpc_reading *r, struct tpc_str correlation, int32_t code,
                              struct tpc_str text);

/*
 * The same where the device echoes a number that tpc_encode_number() gave: of the newest command with it
 * that this device was sent. An answer to none is counted (tpc_downlink_unmatched_replies_total).
 *
 * Returns 0 or what ends the decoding.
 * Ownership: copied.
 * Thread: that of decode.
 * Since: 0.1
 */
TPC_API int tpc_reading_reply_number(struct tpc_reading *r, uint32_t number, int32_t code,
                                     struct tpc_str text);

/*
 * For decode() to return: why the frame cannot be decoded, for people, who find it with the dead letter.
 *
 * Returns code, or TPC_EDECODE if code is no error.
 * Ownership: text is copied, up to 255 bytes.
 * Thread: that of decode.
 * Since: 0.1
 */
TPC_API int tpc_reading_fail(struct tpc_reading *r, int code, const char *text);

/*
 * A number, 1 to most, that stands for a command where its own id does not fit into a frame; the same for
 * the same command if it is sent again. The newest 8,192 of all devices are remembered for tpc_reading_reply_number(),
 * until the process ends. command: that of encode(). Without a core, 1.
 *
 * Returns the number; 1 if most is 0.
 * Ownership: none.
 * Thread: that of encode.
 * Since: 0.1
 */
TPC_API uint32_t tpc_encode_number(const struct tpc_encode *command, uint32_t most);

/*
 * Decodes one frame of a service into a sink: for a program's tests, and to try frames. With a sink
 * without enter() what belongs to devices behind is passed over. A frame that cannot be decoded is told
 * by sink->refuse(), frame number 0.
 *
 * Returns 0 or TPC_EINVAL (ops without decode, sink without a function or arena).
 * Ownership: none; what the sink is given lives in its arena or in the frame.
 * Thread: any-thread, as far as decode() is.
 * Since: 0.1
 */
TPC_API int tpc_service_decode(const struct tpc_service_ops *ops, void *user,
                               const struct tpc_frame *frame, const struct tpc_decode_sink *sink);

/*
 * Service "service.platform": what tpc_service_serve() hands a service to. forms are checked.
 *
 * serve  0; TPC_EINVAL with the path in *err; TPC_EEXIST. control thread, before the start.
 */
struct tpc_service_platform_ops {
    struct tpc_iface iface; /* major 1 */
    int (*serve)(void *self, const struct tpc_service_ops *ops, void *user, struct tpc_error *err);
};

TPC_END

#endif
