#include "verify.h"

#ifdef MQTT_OPENSSL
#include <netdb.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { HOST_MAX = 256, PORT_MAX = 8 };

/* ssl://host:port, or ssl://[address]:port. */
static int split(const char *url, char host[HOST_MAX], char port[PORT_MAX])
{
    const char *from = strstr(url, "://");
    const char *colon = strrchr(url, ':');
    if (from == NULL || colon <= from + 2) {
        return -1;
    }
    from += 3;
    size_t len = (size_t) (colon - from);
    if (len > 2 && from[0] == '[' && from[len - 1] == ']') {
        from++;
        len -= 2;
    }
    if (len >= HOST_MAX || strlen(colon + 1) >= PORT_MAX) {
        return -1;
    }
    memcpy(host, from, len);
    host[len] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return 0;
}

static int dial(const char *host, const char *port)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *all = NULL;
    struct timeval limit = { .tv_sec = MQTT_VERIFY_MS / 2000,
                             .tv_usec = (MQTT_VERIFY_MS / 2 % 1000) * 1000 };
    int fd = -1;
    if (getaddrinfo(host, port, &hints, &all) != 0) {
        return -1;
    }
    for (struct addrinfo *a = all; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0) {
            continue;
        }
        /* The time for sending is that for connecting, too. */
        (void) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
        (void) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(all);
    return fd;
}

/* What OpenSSL says of the certificate; X509_V_OK also where there was none. Without SSL_VERIFY_PEER
 * it is looked at and the handshake goes on. */
static long shake_hands(int fd, const char *host, const char *ca)
{
    long result = X509_V_OK;
    char name[256]; /* the macro that takes it drops a const */
    snprintf(name, sizeof(name), "%s", host);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = ctx != NULL ? SSL_new(ctx) : NULL;
    bool ready = ctx != NULL && (ca != NULL ? SSL_CTX_load_verify_locations(ctx, ca, NULL)
                                            : SSL_CTX_set_default_verify_paths(ctx)) == 1;
    if (ready && ssl != NULL && SSL_set_fd(ssl, fd) == 1 &&
        SSL_set_tlsext_host_name(ssl, name) == 1) {
        (void) SSL_connect(ssl); /* it may end early: a broker can ask for our certificate */
        result = SSL_get_verify_result(ssl);
    }
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return result;
}

enum mqtt_verdict mqtt_verify(const char *url, const char *ca, char text[MQTT_VERIFY_TEXT])
{
    char host[HOST_MAX], port[PORT_MAX];
    int fd = split(url, host, port) == 0 ? dial(host, port) : -1;
    if (fd < 0) {
        return MQTT_VERIFY_UNKNOWN;
    }
    long result = shake_hands(fd, host, ca);
    close(fd);
    if (result == X509_V_OK) {
        return MQTT_VERIFY_UNKNOWN;
    }
    snprintf(text, MQTT_VERIFY_TEXT, "%s", X509_verify_cert_error_string(result));
    return result == X509_V_ERR_CERT_NOT_YET_VALID || result == X509_V_ERR_CRL_NOT_YET_VALID
               ? MQTT_VERIFY_EARLY
               : MQTT_VERIFY_BAD;
}
#else
enum mqtt_verdict mqtt_verify(const char *url, const char *ca, char text[MQTT_VERIFY_TEXT])
{
    (void) url;
    (void) ca;
    (void) text;
    return MQTT_VERIFY_UNKNOWN;
}
#endif
