/*
 * The one place of sockets that knows mbedtls' versions, 2.28 and 3.x. mbedtls/version.h brings the
 * configuration under either name.
 */
#ifndef NET_TLS_COMPAT_H
#define NET_TLS_COMPAT_H

#include <mbedtls/version.h>

#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

#if MBEDTLS_VERSION_NUMBER < 0x03000000
#define NET_PK_PARSE(pk, p, n, rng, user) mbedtls_pk_parse_key((pk), (p), (n), NULL, 0)
#define NET_CONF_TLS12(conf)                                                                       \
    mbedtls_ssl_conf_min_version((conf), MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3)
#define NET_CRYPTO_BEGIN() 0
#else
#include <psa/crypto.h>
#define NET_PK_PARSE(pk, p, n, rng, user)                                                          \
    mbedtls_pk_parse_key((pk), (p), (n), NULL, 0, (rng), (user))
#define NET_CONF_TLS12(conf) mbedtls_ssl_conf_min_tls_version((conf), MBEDTLS_SSL_VERSION_TLS1_2)
#define NET_CRYPTO_BEGIN() ((int) psa_crypto_init())
#endif

/* TLS 1.3: a ticket came instead of data. */
#ifdef MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET
#define NET_TLS_TICKET MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET
#else
#define NET_TLS_TICKET MBEDTLS_ERR_SSL_WANT_READ
#endif

#endif
