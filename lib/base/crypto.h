/*
 * Digests, encodings and comparison of secrets. Randomness is tpi_random() in base/env.h.
 * The digest comes from mbedcrypto; base/crypto_compat.h alone knows its versions.
 */
#ifndef TPI_BASE_CRYPTO_H
#define TPI_BASE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tpcore/bytes.h>

enum {
    TPI_SHA256_BYTES = 32,
    TPI_SHA256_BLOCK_BYTES = 64,
    TPI_SHA256_STATE_BYTES = 192, /* room for the state of a digest that has begun */
    TPI_MAC_PARTS = 8,            /* pieces of one message */
    TPI_SEAL_KEY_BYTES = 32,
    TPI_SEAL_NONCE_BYTES = 12,
    TPI_SEAL_TAG_BYTES = 16
};

/* Returns 0 or TPC_EIO (the library refused). */
int tpi_sha256(const void *p, size_t n, uint8_t ret[32]);

/* SHA-256 over several pieces in order. */
int tpi_sha256_parts(const struct tpc_bytes *parts, size_t count, uint8_t ret[32]);

/* HMAC-SHA-256 (RFC 2104). Returns 0 or TPC_EIO. */
int tpi_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n, uint8_t ret[32]);

/* A key of HMAC-SHA-256: the digests of RFC 2104 with the pads taken in, ready for any number of
 * messages. May be copied. A secret: wipe it. */
struct tpi_mac_key {
    _Alignas(16) uint8_t inner[TPI_SHA256_STATE_BYTES];
    _Alignas(16) uint8_t outer[TPI_SHA256_STATE_BYTES];
};

/* Returns 0 or TPC_EIO. */
int tpi_mac_key_init(struct tpi_mac_key *k, const void *key, size_t key_len);

/* HMAC of up to TPI_MAC_PARTS pieces in order; ret may be one of them. Returns 0, TPC_EINVAL (too many)
 * or TPC_EIO. */
int tpi_mac(const struct tpi_mac_key *k, const struct tpc_bytes *parts, size_t count,
            uint8_t ret[32]);

/*
 * AES-256-GCM (NIST SP 800-38D) of n bytes: ret gets n bytes and the tag, TPI_SEAL_TAG_BYTES, behind
 * them. A nonce is used once with a key: random ones do up to 2^32 messages. Returns 0 or TPC_EIO.
 */
int tpi_seal(const uint8_t key[32], const uint8_t nonce[12], struct tpc_bytes about, const void *p,
             size_t n, uint8_t *ret);

/* The other way: n bytes with the tag behind them to n - TPI_SEAL_TAG_BYTES. Returns 0, TPC_EDENIED
 * (another key, or not what was sealed) or TPC_EIO. */
int tpi_unseal(const uint8_t key[32], const uint8_t nonce[12], struct tpc_bytes about,
               const void *p, size_t n, uint8_t *ret);

/* PBKDF2 with HMAC-SHA-256 (RFC 8018 section 5.2). rounds and len > 0. Returns 0 or TPC_EIO. */
int tpi_pbkdf2_sha256(const void *password, size_t password_len, const void *salt, size_t salt_len,
                      uint32_t rounds, uint8_t *ret, size_t len);

/* Bytes of n bytes as base64, with the NUL. */
#define TPI_BASE64_BYTES(n) ((((n) + 2) / 3) * 4 + 1)

/* RFC 4648 section 4, with padding and a NUL; ret has TPI_BASE64_BYTES(n) bytes. Returns the length
 * without the NUL. */
size_t tpi_base64_encode(const void *p, size_t n, char *ret);

/* Strict: padding there, no white space, unused bits zero. Returns 0, TPC_EDECODE or TPC_ETOOBIG
 * (over cap; a cap of len / 4 * 3 is always enough). */
int tpi_base64_decode(const char *text, size_t len, uint8_t *ret, size_t cap, size_t *ret_len);

/* RFC 4648 section 5 without padding, as JSON Web Tokens have it. ret has TPI_BASE64_BYTES(n) bytes. */
size_t tpi_base64url_encode(const void *p, size_t n, char *ret);
int tpi_base64url_decode(const char *text, size_t len, uint8_t *ret, size_t cap, size_t *ret_len);

/* Lower case, with a NUL: ret has 2 * n + 1 bytes. */
void tpi_hex(const void *p, size_t n, char *ret);

/* 2 * n digits of either case to n bytes. Returns 0 or TPC_EDECODE. */
int tpi_unhex(const char *text, size_t len, uint8_t *ret);

/* Whether n bytes are the same, in a time that depends on n alone. */
bool tpi_equal_const(const void *a, const void *b, size_t n);

/* Clears memory that held a secret; the compiler does not drop it. */
void tpi_wipe(void *p, size_t n);

#endif
