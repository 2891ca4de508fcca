/*
 * The one place that knows mbedcrypto's versions: up to 2.28 the functions that return a code end
 * in _ret; since 3.0 they have the plain names. mbedtls/version.h brings the configuration under
 * either name. Only SHA-256 and AES-GCM are used.
 */
#ifndef TPI_BASE_CRYPTO_COMPAT_H
#define TPI_BASE_CRYPTO_COMPAT_H

#include <mbedtls/version.h>

#include <mbedtls/gcm.h>
#include <mbedtls/sha256.h>

#if MBEDTLS_VERSION_NUMBER < 0x03000000
#define TPI_SHA256_STARTS(c) mbedtls_sha256_starts_ret((c), 0)
#define TPI_SHA256_UPDATE(c, p, n) mbedtls_sha256_update_ret((c), (p), (n))
#define TPI_SHA256_FINISH(c, out) mbedtls_sha256_finish_ret((c), (out))
#else
#define TPI_SHA256_STARTS(c) mbedtls_sha256_starts((c), 0)
#define TPI_SHA256_UPDATE(c, p, n) mbedtls_sha256_update((c), (p), (n))
#define TPI_SHA256_FINISH(c, out) mbedtls_sha256_finish((c), (out))
#endif

#endif
