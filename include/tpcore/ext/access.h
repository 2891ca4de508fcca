/*
 * Service "device.access": whose a connection is. An adapter that accepts connections (tcp) asks the
 * part that offers it; where nobody does it follows its own rules. The module thingspanel offers it,
 * from the program's tpc_service_ops and the platform above.
 */
#ifndef TPCORE_EXT_ACCESS_H
#define TPCORE_EXT_ACCESS_H

#include <tpcore/bytes.h>
#include <tpcore/error.h>
#include <tpcore/ext/iface.h>

TPC_BEGIN

/* What a connection said first. Views are valid during the call. */
struct tpc_access_request {
    uint32_t size;
    uint32_t reserved;
    struct tpc_bytes frame;     /* its first frame, or the next one after TPC_ACCESS_MORE */
    struct tpc_str peer;        /* address and port */
    struct tpc_str fingerprint; /* SHA-256 of its TLS certificate as hex; empty = none */
};

enum tpc_access_verdict {
    TPC_ACCESS_IN = 0,   /* it is that device */
    TPC_ACCESS_MORE = 1, /* ask again with the next frame; `answer` is written */
};

enum tpc_access_flags {
    TPC_ACCESS_FEED = 1 /* the frame that logged in holds data, too: it is received */
};

/* Views are valid during the call. */
struct tpc_access_grant {
    uint32_t size;
    uint32_t flags;   /* enum tpc_access_flags */
    uint32_t verdict; /* enum tpc_access_verdict */
    uint32_t reserved;
    struct tpc_str tenant; /* empty = "main" */
    struct tpc_str product;
    struct tpc_str device;   /* key: it is there, session_open() finds it */
    struct tpc_bytes answer; /* written before anything else; may be empty */
};

/* err NULL = *grant holds. Else the connection is closed after `answer` of *grant (which may be NULL)
 * was written; class retry: the device will come again, it is no failure of its credentials. Thread:
 * any; must not block. */
typedef void tpc_access_done_fn(void *user, const struct tpc_error *err,
                                const struct tpc_access_grant *grant);

/* Connections of that device shall be closed: it is gone, disabled, or its credentials changed.
 * Thread: any; must not block. */
typedef void tpc_access_drop_fn(void *user, struct tpc_str tenant, struct tpc_str device);

/* What a frame of a device that is logged in wants at once. */
enum tpc_access_frame {
    TPC_ACCESS_DATA = 0, /* it is received; `out` is written once its message is in the log */
    TPC_ACCESS_DONE = 1  /* it held nothing to receive, a heartbeat: `out` is written now */
};

/*
 * frame   Optional (NULL: the adapter's own framing). Length of the frame that bytes begin with: 0 with
 *         *ret_bytes, 0 in it = more is needed; TPC_EDECODE = no frame can begin so: *ret_bytes of
 *         them are passed over, 0 in it = the connection is closed. Must have no effect besides. The
 *         adapter's thread.
 * login   Optional (NULL: there is nobody to ask, the adapter goes by its own rules). done follows
 *         exactly once, maybe before login() returns, if it is 0. Else TPC_EAGAIN (too many wait),
 *         TPC_ESTATE, TPC_ENOMEM. The adapter's thread; must not block.
 * cancel  The connection is gone: done is not called any more once it returns. The adapter's thread.
 * answer  Optional. enum tpc_access_frame, or an error: the frame is a dead letter. out->need says how
 *         many bytes were written there; over its room TPC_ETOOBIG. The adapter's thread.
 * watch   user hears of connections to close from now on; with fn NULL no more, and it is not being told
 *         when that returns. 0, TPC_EAGAIN (too many hear). control thread.
 */
struct tpc_access_ops {
    struct tpc_iface iface; /* major 1 */
    int (*frame)(void *self, struct tpc_bytes bytes, size_t *ret_bytes);
    int (*login)(void *self, const struct tpc_access_request *request, tpc_access_done_fn *done,
                 void *user, uint64_t *ret_id);
    void (*cancel)(void *self, uint64_t id);
    int (*answer)(void *self, struct tpc_str device, struct tpc_bytes frame, struct tpc_buf *out);
    int (*watch)(void *self, tpc_access_drop_fn *fn, void *user);
};

TPC_END

#endif
