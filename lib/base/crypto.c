#include "base/crypto_compat.h"

#include "base/crypto.h"

#include <string.h>
#include <tpcore/error.h>

int tpi_sha256_parts(const struct tpc_bytes *parts, size_t count, uint8_t ret[32])
{
    mbedtls_sha256_context c;
    mbedtls_sha256_init(&c);
    int rc = TPI_SHA256_STARTS(&c);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (parts[i].len > 0) {
            rc = TPI_SHA256_UPDATE(&c, parts[i].ptr, parts[i].len);
        }
    }
    uint8_t digest[TPI_SHA256_BYTES];
    if (rc == 0) {
        rc = TPI_SHA256_FINISH(&c, digest);
    }
    mbedtls_sha256_free(&c);
    if (rc != 0) {
        return TPC_EIO;
    }
    memcpy(ret, digest, sizeof(digest));
    return 0;
}

int tpi_sha256(const void *p, size_t n, uint8_t ret[32])
{
    struct tpc_bytes part = { p, n };
    return tpi_sha256_parts(&part, 1, ret);
}

_Static_assert(sizeof(mbedtls_sha256_context) <= TPI_SHA256_STATE_BYTES, "room for a state");

/* A digest that has taken a block in, kept in `state`. */
static int begin_state(const uint8_t block[TPI_SHA256_BLOCK_BYTES], uint8_t *state)
{
    mbedtls_sha256_context c;
    mbedtls_sha256_init(&c);
    int rc = TPI_SHA256_STARTS(&c);
    rc = rc != 0 ? rc : TPI_SHA256_UPDATE(&c, block, TPI_SHA256_BLOCK_BYTES);
    if (rc == 0) {
        memcpy(state, &c, sizeof(c));
    }
    mbedtls_sha256_free(&c);
    return rc == 0 ? 0 : TPC_EIO;
}

/* Goes on from a kept state. */
static int end_state(const uint8_t *state, const struct tpc_bytes *parts, size_t count,
                     uint8_t ret[32])
{
    mbedtls_sha256_context kept, c;
    memcpy(&kept, state, sizeof(kept));
    mbedtls_sha256_init(&c);
    mbedtls_sha256_clone(&c, &kept);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (parts[i].len > 0) {
            rc = TPI_SHA256_UPDATE(&c, parts[i].ptr, parts[i].len);
        }
    }
    rc = rc != 0 ? rc : TPI_SHA256_FINISH(&c, ret);
    mbedtls_sha256_free(&c);
    tpi_wipe(&kept, sizeof(kept));
    return rc == 0 ? 0 : TPC_EIO;
}

int tpi_mac_key_init(struct tpi_mac_key *k, const void *key, size_t key_len)
{
    uint8_t inner[TPI_SHA256_BLOCK_BYTES] = { 0 };
    uint8_t outer[TPI_SHA256_BLOCK_BYTES];
    memset(k, 0, sizeof(*k));
    if (key_len > sizeof(inner)) {
        if (tpi_sha256(key, key_len, inner) != 0) {
            return TPC_EIO;
        }
    } else if (key_len > 0) {
        memcpy(inner, key, key_len);
    }
    for (size_t i = 0; i < sizeof(inner); i++) {
        outer[i] = inner[i] ^ 0x5c;
        inner[i] ^= 0x36;
    }
    int rc = begin_state(inner, k->inner);
    rc = rc != 0 ? rc : begin_state(outer, k->outer);
    tpi_wipe(inner, sizeof(inner));
    tpi_wipe(outer, sizeof(outer));
    return rc;
}

int tpi_mac(const struct tpi_mac_key *k, const struct tpc_bytes *parts, size_t count,
            uint8_t ret[32])
{
    uint8_t digest[TPI_SHA256_BYTES];
    const struct tpc_bytes part = { digest, sizeof(digest) };
    if (count > TPI_MAC_PARTS) {
        return TPC_EINVAL;
    }
    int rc = end_state(k->inner, parts, count, digest);
    if (rc == 0) {
        rc = end_state(k->outer, &part, 1, ret);
    }
    tpi_wipe(digest, sizeof(digest));
    return rc;
}

int tpi_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n, uint8_t ret[32])
{
    struct tpi_mac_key k;
    int rc = tpi_mac_key_init(&k, key, key_len);
    if (rc == 0) {
        rc = tpi_mac(&k, &(struct tpc_bytes){ p, n }, 1, ret);
    }
    tpi_wipe(&k, sizeof(k));
    return rc;
}

/* Block `index` (1..) of the derived key. */
static int pbkdf2_block(const struct tpi_mac_key *k, struct tpc_bytes salt, uint32_t rounds,
                        uint32_t index, uint8_t ret[32])
{
    const uint8_t number[4] = { (uint8_t) (index >> 24), (uint8_t) (index >> 16),
                                (uint8_t) (index >> 8), (uint8_t) index };
    uint8_t u[TPI_SHA256_BYTES];
    const struct tpc_bytes first[2] = { salt, { number, sizeof(number) } };
    const struct tpc_bytes next = { u, sizeof(u) };
    int rc = tpi_mac(k, first, 2, u);
    memcpy(ret, u, sizeof(u));
    for (uint32_t i = 1; rc == 0 && i < rounds; i++) {
        rc = tpi_mac(k, &next, 1, u);
        for (size_t j = 0; j < sizeof(u); j++) {
            ret[j] ^= u[j];
        }
    }
    tpi_wipe(u, sizeof(u));
    return rc;
}

int tpi_pbkdf2_sha256(const void *password, size_t password_len, const void *salt, size_t salt_len,
                      uint32_t rounds, uint8_t *ret, size_t len)
{
    struct tpi_mac_key k;
    uint8_t block[TPI_SHA256_BYTES];
    int rc = tpi_mac_key_init(&k, password, password_len);
    for (uint32_t index = 1; rc == 0 && len > 0; index++) {
        rc = pbkdf2_block(&k, (struct tpc_bytes){ salt, salt_len }, rounds, index, block);
        size_t n = len < sizeof(block) ? len : sizeof(block);
        if (rc == 0) {
            memcpy(ret, block, n);
        }
        ret += n;
        len -= n;
    }
    tpi_wipe(block, sizeof(block));
    tpi_wipe(&k, sizeof(k));
    return rc;
}

static int gcm_start(mbedtls_gcm_context *c, const uint8_t key[32])
{
    mbedtls_gcm_init(c);
    return mbedtls_gcm_setkey(c, MBEDTLS_CIPHER_ID_AES, key, TPI_SEAL_KEY_BYTES * 8) == 0 ? 0
                                                                                          : TPC_EIO;
}

int tpi_seal(const uint8_t key[32], const uint8_t nonce[12], struct tpc_bytes about, const void *p,
             size_t n, uint8_t *ret)
{
    mbedtls_gcm_context c;
    int rc = gcm_start(&c, key);
    if (rc == 0 &&
        mbedtls_gcm_crypt_and_tag(&c, MBEDTLS_GCM_ENCRYPT, n, nonce, TPI_SEAL_NONCE_BYTES,
                                  about.ptr, about.len, p, ret, TPI_SEAL_TAG_BYTES, ret + n) != 0) {
        rc = TPC_EIO;
    }
    mbedtls_gcm_free(&c);
    return rc;
}

int tpi_unseal(const uint8_t key[32], const uint8_t nonce[12], struct tpc_bytes about,
               const void *p, size_t n, uint8_t *ret)
{
    mbedtls_gcm_context c;
    const uint8_t *in = p;
    if (n < TPI_SEAL_TAG_BYTES) {
        return TPC_EDENIED;
    }
    n -= TPI_SEAL_TAG_BYTES;
    int rc = gcm_start(&c, key);
    if (rc == 0) {
        int native = mbedtls_gcm_auth_decrypt(&c, n, nonce, TPI_SEAL_NONCE_BYTES, about.ptr,
                                              about.len, in + n, TPI_SEAL_TAG_BYTES, in, ret);
        rc = native == 0 ? 0 : native == MBEDTLS_ERR_GCM_AUTH_FAILED ? TPC_EDENIED : TPC_EIO;
    }
    mbedtls_gcm_free(&c);
    return rc;
}

bool tpi_equal_const(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *p = a;
    const volatile uint8_t *q = b;
    uint8_t differs = 0;
    for (size_t i = 0; i < n; i++) {
        differs |= p[i] ^ q[i];
    }
    return differs == 0;
}

void tpi_wipe(void *p, size_t n)
{
    volatile uint8_t *q = p;
    while (n-- > 0) {
        *q++ = 0;
    }
}
