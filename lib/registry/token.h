/*
 * Device tokens: JSON Web Tokens (RFC 7519) signed with HS256 (RFC 7515), as of contract
 * iot-module.md section 3: claims productKey, deviceName, exp (s); tenant if it is not "main".
 */
#ifndef TPI_REGISTRY_TOKEN_H
#define TPI_REGISTRY_TOKEN_H

#include <stdbool.h>
#include <tpcore/arena.h>
#include <tpcore/bytes.h>
#include <tpcore/error.h>

struct tpi_claims {
    struct tpc_str tenant; /* empty = "main" */
    struct tpc_str product;
    struct tpc_str device;
    int64_t until_unix_s;
};

/* Whether a text looks like one, so that it is not taken for a password. */
bool tpi_token_like(struct tpc_bytes text);

/* The signature first, then what it says. Returns 0, TPC_EDENIED (signature, another algorithm, over,
 * not yet: err says which), TPC_EDECODE (no token, or claims are missing) or TPC_ENOMEM. Views live
 * in the arena. */
int tpi_token_read(struct tpc_bytes key, struct tpc_bytes text, int64_t now_unix_s,
                   struct tpc_arena *arena, struct tpc_error *err, struct tpi_claims *ret);

/* Writes a token. Returns 0 or TPC_ETOOBIG with buf->need set. */
int tpi_token_write(struct tpc_bytes key, const struct tpi_claims *claims, struct tpc_arena *arena,
                    struct tpc_buf *buf);

#endif
