/*
 * Whether the bytes of an authority file, a certificate chain and a private key may be used together.
 * Pure: no file, no clock.
 */
#ifndef TLS_PEM_H
#define TLS_PEM_H

#include <stdbool.h>
#include <tpcore/bytes.h>
#include <tpcore/error.h>
#include <tpcore/platform.h>

enum { TLS_TEXT_BYTES = 400, TLS_SUBJECT_BYTES = 128 };

enum tls_role { TLS_CA, TLS_CERT, TLS_KEY, TLS_ROLES };

/* A file of the set. text NULL = it is not part of the set. */
struct tls_part {
    uint8_t
        *text; /* len bytes and a NUL behind them; changed while they are looked at, and restored */
    size_t len;
};

/* Times are in seconds since 1970, UTC. */
struct tls_summary {
    int64_t chain_end_s; /* the earliest of our certificates; 0 = none that could be read */
    int64_t ca_end_s;    /* the earliest of the authorities' */
    int64_t own_begin_s; /* of the first certificate of the chain: ours */
    int64_t own_end_s;
    char chain_subject[TLS_SUBJECT_BYTES]; /* whose end that is */
    char ca_subject[TLS_SUBJECT_BYTES];
    uint32_t unchecked; /* certificates and keys that mbedtls knows no algorithm or extension of */
};

/*
 * A key without a certificate is an error; a certificate without a key file has its key in its own
 * file. Returns 0, TPC_ENOMEM, or TPC_EINVAL with *ret_role (the file) and a text (which may begin with
 * a line). random is for blinding computations with the key.
 */
int tls_check(const struct tls_part parts[TLS_ROLES], const struct tpc_random *random,
              enum tls_role *ret_role, char ret_why[TLS_TEXT_BYTES], struct tls_summary *ret);

#endif
