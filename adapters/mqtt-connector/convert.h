/* Messages to what the core is told: pure, without sockets. */
#ifndef CONNECTOR_CONVERT_H
#define CONNECTOR_CONVERT_H

#include "config.h"

enum { CN_POINTS_MAX = 1024 /* values in a frame; more become another frame */ };

/* What is told of a device. Views are valid until the arena is reset. */
struct cn_frame {
    struct tpc_str device, type;
    uint16_t kind;   /* enum tpc_kind; TPC_MSG_UNKNOWN = raw */
    int64_t unix_ms; /* 0 = the message says none */
    struct tpc_bytes payload;
};

/*
 * Where it goes.
 * frame    one frame.
 * refused  a message, or an item of an array, that says nothing: device may be empty.
 * count    adds n to a metric.
 * The first two return 0, or what ends the conversion.
 */
struct cn_out {
    void *user;
    int (*frame)(void *user, const struct cn_frame *f);
    int (*refused)(void *user, struct tpc_str device, struct tpc_bytes payload, int code,
                   const char *why);
    void (*count)(void *user, const char *metric, uint64_t n);
};

/* Converts one payload. Returns 0, TPC_ENOMEM, or what the functions of `out` said. */
int cn_convert(const struct cn_mapping *m, bool cbor, struct tpc_str topic,
               struct tpc_bytes payload, struct tpc_arena *arena, const struct cn_out *out);

/* Device and type (may be NULL) of a request. Returns 0; TPC_EDECODE with *ret_why; TPC_ENOMEM. */
int cn_who(const struct cn_from *f, const struct expr_message *m, struct tpc_arena *arena,
           struct tpc_str *ret_device, struct tpc_str *ret_type, const char **ret_why);

/* Parses a payload for expressions that look into JSON. False: it is none. */
bool cn_json(struct tpc_bytes payload, struct tpc_arena *arena, struct tpc_value *ret);

#endif
