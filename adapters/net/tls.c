#include "tls.h"

#include "inside.h"
#include "tls_compat.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/error.h>

#include "base/alloc.h"
#include "base/crypto.h"
#include "data/member.h"

/* What connections share; each holds a reference. */
struct set {
    const struct tpc_allocator *alloc;
    uint32_t refs;
    mbedtls_ssl_config conf;
    mbedtls_x509_crt ca, own;
    mbedtls_pk_context key;
};

struct net_tls {
    const struct tpc_allocator *alloc;
    const struct tpc_random *random;
    struct tls_files files;
    char *paths[TLS_ROLES];
    struct set *set;
    bool server, verify;
    bool stale; /* the files are newer than the set: it could not be made */
};

struct net_secure {
    const struct tpc_allocator *alloc;
    struct set *set;
    mbedtls_ssl_context ssl;
    const uint8_t *in; /* from the wire, not yet read by mbedtls */
    size_t in_len;
    uint8_t *later; /* the same while the stream is paused */
    size_t later_len;
    bool ready, failed;
};

const struct tpc_option net_tls_options[NET_TLS_OPTION_COUNT] = {
    { .name = "cert",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "PEM file of our certificate and its chain; listening needs one" },
    { .name = "key",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "PEM file of its key; absent = in the file of the certificate" },
    { .name = "ca",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "PEM file of authorities: who connects needs a certificate of theirs, and whom we "
              "connect to; absent = nobody, and the system's" },
    { .name = "verify",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "false: certificates of the other side are not checked" },
};

static int rng(void *user, unsigned char *out, size_t n)
{
    const struct tpc_random *random = user;
    return random->fill(random->user, out, n) == 0 ? 0 : MBEDTLS_ERR_PK_BAD_INPUT_DATA;
}

/* ---- certificates ---- */

static void unref_set(struct set *s)
{
    if (s != NULL && --s->refs == 0) {
        mbedtls_ssl_config_free(&s->conf);
        mbedtls_x509_crt_free(&s->ca);
        mbedtls_x509_crt_free(&s->own);
        mbedtls_pk_free(&s->key);
        tpi_free(s->alloc, s, sizeof(*s));
    }
}

static bool parse_system(mbedtls_x509_crt *ca)
{
    static const char *const files[] = { "/etc/ssl/certs/ca-certificates.crt",
                                         "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem" };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (mbedtls_x509_crt_parse_file(ca, files[i]) >= 0) {
            return true;
        }
    }
    return false;
}

/* A file's bytes with the NUL that PEM wants. */
static bool parse_all(struct net_tls *t, struct set *s)
{
    const struct tls_part *ca = &t->files.part[TLS_CA];
    const struct tls_part *own = &t->files.part[TLS_CERT];
    const struct tls_part *key = &t->files.part[TLS_KEY];
    const struct tls_part *k = key->text != NULL ? key : own;
    bool good = ca->text == NULL || mbedtls_x509_crt_parse(&s->ca, ca->text, ca->len + 1) >= 0;
    if (good && own->text != NULL) {
        good =
            mbedtls_x509_crt_parse(&s->own, own->text, own->len + 1) >= 0 &&
            NET_PK_PARSE(&s->key, k->text, k->len + 1, rng, (void *) (uintptr_t) t->random) == 0 &&
            mbedtls_ssl_conf_own_cert(&s->conf, &s->own, &s->key) == 0;
    }
    bool need_system = good && ca->text == NULL && !t->server && t->verify;
    return good && (!need_system || parse_system(&s->ca));
}

static struct set *make_set(struct net_tls *t)
{
    struct set *s = tpi_alloc_zero(t->alloc, sizeof(*s));
    if (s == NULL) {
        return NULL;
    }
    s->alloc = t->alloc;
    s->refs = 1;
    mbedtls_ssl_config_init(&s->conf);
    mbedtls_x509_crt_init(&s->ca);
    mbedtls_x509_crt_init(&s->own);
    mbedtls_pk_init(&s->key);
    bool authorities = t->files.path[TLS_CA] != NULL || !t->server;
    bool good = mbedtls_ssl_config_defaults(
                    &s->conf, t->server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
                    MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT) == 0;
    if (good) {
        NET_CONF_TLS12(&s->conf);
        mbedtls_ssl_conf_rng(&s->conf, rng, (void *) (uintptr_t) t->random);
        mbedtls_ssl_conf_authmode(&s->conf, !authorities ? MBEDTLS_SSL_VERIFY_NONE
                                            : t->verify  ? MBEDTLS_SSL_VERIFY_REQUIRED
                                            : t->server  ? MBEDTLS_SSL_VERIFY_OPTIONAL
                                                         : MBEDTLS_SSL_VERIFY_NONE);
        good = parse_all(t, s);
        mbedtls_ssl_conf_ca_chain(&s->conf, &s->ca, NULL);
    }
    if (!good) {
        unref_set(s);
        return NULL;
    }
    return s;
}

const char *net_tls_text(const struct net_tls *t)
{
    return t->files.text;
}

int net_tls_look(struct net_tls *t, int *ret_news)
{
    bool any = false;
    for (int i = 0; i < TLS_ROLES; i++) {
        any = any || t->files.path[i] != NULL;
    }
    int news = TLS_SAME;
    int rc = any ? tls_files_look(&t->files, &news) : 0;
    if (rc == 0 && (news == TLS_NEW || t->stale || (!any && t->set == NULL))) {
        struct set *set = make_set(t);
        t->stale = set == NULL;
        if (set == NULL) {
            snprintf(t->files.text, sizeof(t->files.text), "%s",
                     any ? "mbedtls does not take the certificates" : "no authorities are found");
            news = TLS_REFUSED;
        } else {
            unref_set(t->set);
            t->set = set;
            news = TLS_NEW;
        }
    }
    if (rc == 0 && t->set == NULL) {
        rc = TPC_EINVAL;
    }
    if (rc == 0) {
        *ret_news = news;
    }
    return rc;
}

static int take_path(struct net_tls *t, const struct tpc_value *table, const char *name, int role)
{
    struct tpc_str path = tpi_member_text(table, name);
    t->files.name[role] = name;
    if (path.len > 0) {
        t->paths[role] = tpi_str_dup(t->alloc, path);
        if (t->paths[role] == NULL) {
            return TPC_ENOMEM;
        }
        t->files.path[role] = t->paths[role];
    }
    return 0;
}

int net_tls_create(const struct tpc_host *host, void *ctx, const struct tpc_value *table,
                   bool server, struct net_tls **ret)
{
    struct net_tls *t = tpi_alloc_zero(host->allocator, sizeof(*t));
    if (t == NULL || NET_CRYPTO_BEGIN() != 0) {
        tpi_free(host->allocator, t, sizeof(*t));
        return host->fail(ctx, TPC_ENOMEM, "no memory for TLS");
    }
    t->alloc = t->files.alloc = host->allocator;
    t->random = t->files.random = host->random;
    t->files.clock = host->clock;
    t->server = server;
    t->verify = tpi_member_bool(table, "verify", true);
    int rc = take_path(t, table, "ca", TLS_CA);
    if (rc == 0) {
        rc = take_path(t, table, "cert", TLS_CERT);
    }
    if (rc == 0) {
        rc = take_path(t, table, "key", TLS_KEY);
    }
    tls_files_init(&t->files);
    if (rc != 0) {
        (void) net_tls_destroy(t);
        return host->fail(ctx, rc, "no memory for TLS");
    }
    if (server && t->files.path[TLS_CERT] == NULL) {
        (void) net_tls_destroy(t);
        return host->fail(ctx, TPC_EINVAL, "tls.cert: listening with TLS needs a certificate");
    }
    *ret = t;
    return 0;
}

struct net_tls *net_tls_destroy(struct net_tls *t)
{
    if (t == NULL) {
        return NULL;
    }
    tls_files_fini(&t->files);
    for (int i = 0; i < TLS_ROLES; i++) {
        if (t->paths[i] != NULL) {
            tpi_free(t->alloc, t->paths[i], strlen(t->paths[i]) + 1);
        }
    }
    unref_set(t->set);
    tpi_free(t->alloc, t, sizeof(*t));
    return NULL;
}

/* ---- a stream ---- */

static int bio_send(void *user, const unsigned char *p, size_t n)
{
    /* It takes any length: who writes asks for the limit before. */
    return net_stream_put(user, p, n) == 0 ? (int) n : MBEDTLS_ERR_SSL_ALLOC_FAILED;
}

static int bio_recv(void *user, unsigned char *p, size_t n)
{
    struct net_stream *s = user;
    struct net_secure *c = s->secure;
    size_t take = c->in_len < n ? c->in_len : n;
    if (take == 0) {
        return MBEDTLS_ERR_SSL_WANT_READ;
    }
    memcpy(p, c->in, take);
    c->in += take;
    c->in_len -= take;
    return (int) take;
}

int net_secure_create(struct net_tls *tls, struct net_stream *s, struct net_secure **ret)
{
    struct net_secure *c = tls->set != NULL ? tpi_alloc_zero(tls->alloc, sizeof(*c)) : NULL;
    if (c == NULL) {
        return TPC_ENOMEM;
    }
    c->alloc = tls->alloc;
    c->set = tls->set;
    c->set->refs++;
    mbedtls_ssl_init(&c->ssl);
    int rc = mbedtls_ssl_setup(&c->ssl, &c->set->conf);
    if (rc == 0 && s->dial != NULL) {
        rc = mbedtls_ssl_set_hostname(&c->ssl, net_dial_host(s->dial));
    }
    if (rc != 0) {
        (void) net_secure_destroy(c);
        return TPC_ENOMEM;
    }
    mbedtls_ssl_set_bio(&c->ssl, s, bio_send, bio_recv, NULL);
    *ret = c;
    return 0;
}

struct net_secure *net_secure_destroy(struct net_secure *c)
{
    if (c != NULL) {
        mbedtls_ssl_free(&c->ssl);
        unref_set(c->set);
        tpi_free(c->alloc, c->later, c->later_len);
        tpi_free(c->alloc, c, sizeof(*c));
    }
    return NULL;
}

static bool wants_more(int rc)
{
    return rc == MBEDTLS_ERR_SSL_WANT_READ || rc == MBEDTLS_ERR_SSL_WANT_WRITE;
}

/* What answers to the handshake messages of a peer that reads nothing may take, besides write_max. */
enum { ANSWERS_MAX = 65536 };

/* After mbedtls wanted more: whether there is more that it has not looked at. */
static bool go_on(struct net_stream *s)
{
    if (net_stream_waiting(s) > (size_t) s->group->limits.write_max + ANSWERS_MAX) {
        net_stream_close(s, NET_END_SLOW);
        return false;
    }
    return s->secure->in_len > 0;
}

/* One step. false: nothing more can be done with what is there. */
static bool step(struct net_stream *s)
{
    struct net_secure *c = s->secure;
    struct net_loop *l = s->group->loop;
    if (!c->ready) {
        int rc = mbedtls_ssl_handshake(&c->ssl);
        if (rc == 0) {
            c->ready = true;
            net_stream_opened(s);
            return true;
        }
        if (!wants_more(rc)) {
            c->failed = true;
            net_stream_end(s, NET_END_TLS); /* the alert leaves before */
            return false;
        }
        return go_on(s);
    }
    int n = mbedtls_ssl_read(&c->ssl, l->open_buf, NET_READ_BYTES);
    if (n > 0) {
        net_stream_deliver(s, l->open_buf, (size_t) n);
        return true;
    }
    if (n == NET_TLS_TICKET && !wants_more(n)) {
        return true;
    }
    if (n == 0 || n == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
        net_stream_end(s, NET_END_PEER);
    } else if (!wants_more(n)) {
        c->failed = true;
        net_stream_end(s, NET_END_TLS);
    } else {
        return go_on(s);
    }
    return false;
}

void net_secure_read(struct net_stream *s, const uint8_t *p, size_t n)
{
    struct net_secure *c = s->secure;
    uint8_t *kept = c->later;
    size_t kept_len = c->later_len;
    c->later = NULL;
    c->later_len = 0;
    /* The two never come together: nothing is read while something is kept. */
    c->in = kept != NULL ? kept : p;
    c->in_len = kept != NULL ? kept_len : n;
    (void) net_stream_ref(s);
    while (s->state <= NET_OPEN && !s->paused && step(s)) {
    }
    if (s->state == NET_OPEN && c->in_len > 0) {
        c->later = tpi_mem_dup(c->alloc, c->in, c->in_len);
        c->later_len = c->later != NULL ? c->in_len : 0;
        if (c->later == NULL) {
            net_stream_close(s, NET_END_MEMORY);
        }
    }
    if (s->secure != NULL) {
        c->in = NULL;
        c->in_len = 0;
    }
    tpi_free(s->group->loop->alloc, kept, kept_len);
    net_stream_unref(s);
}

int net_secure_write(struct net_stream *s, const uint8_t *p, size_t n)
{
    while (n > 0) {
        int rc = mbedtls_ssl_write(&s->secure->ssl, p, n);
        if (rc <= 0) {
            net_stream_close(s, NET_END_MEMORY); /* half a record cannot be taken back */
            return TPC_ENOMEM;
        }
        p += rc;
        n -= (size_t) rc;
    }
    return 0;
}

void net_secure_bye(struct net_stream *s)
{
    if (s->secure->ready && !s->secure->failed) {
        (void) mbedtls_ssl_close_notify(&s->secure->ssl);
    }
}

void net_stream_fingerprint(const struct net_stream *s, char ret[65])
{
    uint8_t digest[TPI_SHA256_BYTES];
    const mbedtls_x509_crt *cert =
        s->secure != NULL ? mbedtls_ssl_get_peer_cert(&s->secure->ssl) : NULL;
    ret[0] = '\0';
    if (cert != NULL && tpi_sha256(cert->raw.p, cert->raw.len, digest) == 0) {
        tpi_hex(digest, sizeof(digest), ret);
    }
}
