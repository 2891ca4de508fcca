/* A target: where to, what is said, how it is signed. */
#ifndef WEBHOOK_TARGET_H
#define WEBHOOK_TARGET_H

#include "body.h"

#include <stdbool.h>
#include <tpcore/arena.h>
#include <tpcore/ext/http.h>
#include <tpcore/ext/sink.h>

enum {
    WEBHOOK_HEADERS_MAX = 32, /* of the user */
    WEBHOOK_OWN_HEADERS = 4,  /* type, token, key, signature */
    WEBHOOK_KEY_BYTES = 48,   /* id, dash, count, NUL */
    WEBHOOK_TARGET_OPTIONS = 13
};

extern const struct tpc_option webhook_target_options[WEBHOOK_TARGET_OPTIONS];

struct webhook_target {
    struct tpc_arena *arena;
    const char *name;
    struct tpc_http_request request; /* without body; its headers lie in `headers` */
    struct tpc_http_header headers[WEBHOOK_HEADERS_MAX + WEBHOOK_OWN_HEADERS];
    uint32_t fixed_headers; /* the others are set for each request */
    struct tpi_mac_key mac;
    bool sign, batch;
    enum webhook_format format;
    struct tpc_str chat_id;

    /* The request that is being made. */
    struct tpi_buf body;
    char key[WEBHOOK_KEY_BYTES];
    char signature[WEBHOOK_SIGNATURE_BYTES];
};

/* Reads checked options into *t, whose memory is zero. On failure *err says why, and
 * webhook_target_fini() is still to be called. Returns 0, TPC_EINVAL or TPC_ENOMEM. */
int webhook_target_init(struct webhook_target *t, const struct tpc_allocator *alloc,
                        struct tpc_str name, const struct tpc_value *cfg, struct tpc_error *err);
void webhook_target_fini(struct webhook_target *t);

/* Makes body and headers for messages [first, first + count) of a batch; t->request is then ready to
 * be submitted. Returns 0, or a code with *err filled. */
int webhook_target_make(struct webhook_target *t, const struct tpc_batch *batch, uint32_t first,
                        uint32_t count, struct tpc_error *err);

#endif
