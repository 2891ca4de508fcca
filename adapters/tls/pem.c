#include "pem.h"

#include <mbedtls/version.h>

#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>

#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* Since 3.0 computations with a key take a source of randomness. */
#if MBEDTLS_VERSION_NUMBER < 0x03000000
#define PARSE_KEY(pk, text, len, random) mbedtls_pk_parse_key((pk), (text), (len), NULL, 0)
#define CHECK_PAIR(pub, key, random) mbedtls_pk_check_pair((pub), (key))
#else
static int fill(void *user, unsigned char *ptr, size_t len)
{
    const struct tpc_random *r = user;
    return r->fill(r->user, ptr, len) == 0 ? 0 : -1;
}
#define RANDOM(r) ((void *) (uintptr_t) (r))
#define PARSE_KEY(pk, text, len, r)                                                                \
    mbedtls_pk_parse_key((pk), (text), (len), NULL, 0, fill, RANDOM(r))
#define CHECK_PAIR(pub, key, r) mbedtls_pk_check_pair((pub), (key), fill, RANDOM(r))
#endif

enum { LABEL_BYTES = 64 };

/* A piece of PEM (RFC 7468). */
struct block {
    char *begin; /* of the BEGIN line */
    char *end;   /* behind the END line's dashes; NULL = there is none */
    char label[LABEL_BYTES];
    uint32_t line; /* of its begin, from 1 */
};

struct checking {
    const struct tls_part *parts;
    const struct tpc_random *random;
    enum tls_role role; /* that is being looked at */
    char *why;
    struct tls_summary sum;
    mbedtls_x509_crt own; /* the first certificate of the chain */
    bool own_there;       /* and mbedtls knows its algorithm */
};

static int wrong(struct checking *c, uint32_t line, const char *text)
{
    if (line > 0) {
        snprintf(c->why, TLS_TEXT_BYTES, "line %u: %s", line, text);
    } else {
        snprintf(c->why, TLS_TEXT_BYTES, "%s", text);
    }
    return TPC_EINVAL;
}

/* The next block of a text from at on. false = none. */
static bool next_block(const struct tls_part *part, char *at, struct block *ret)
{
    static const char begin[] = "-----BEGIN ";
    char *text = (char *) part->text;
    char *p = strstr(at, begin);
    while (p != NULL && p != text && p[-1] != '\n') { /* only at the begin of a line */
        p = strstr(p + 1, begin);
    }
    if (p == NULL) {
        return false;
    }
    char last[LABEL_BYTES + 16];
    const char *label = p + sizeof(begin) - 1;
    size_t len = strcspn(label, "-\r\n");
    len = len < LABEL_BYTES ? len : LABEL_BYTES - 1;
    *ret = (struct block){ .begin = p, .line = 1 };
    memcpy(ret->label, label, len);
    snprintf(last, sizeof(last), "-----END %s-----", ret->label);
    for (const char *q = text; q < p; q++) {
        ret->line += *q == '\n';
    }
    char *end = strstr(p, last);
    ret->end = end != NULL ? end + strlen(last) : NULL;
    return true;
}

/* Whether a code of mbedtls says "I do not know this" and not "this is broken". */
static bool is_unknown(int rc)
{
    static const int unknown[] = {
        MBEDTLS_ERR_X509_UNKNOWN_SIG_ALG,     MBEDTLS_ERR_PK_UNKNOWN_PK_ALG,
        MBEDTLS_ERR_PK_UNKNOWN_NAMED_CURVE,   MBEDTLS_ERR_X509_INVALID_EXTENSIONS,
        MBEDTLS_ERR_X509_FEATURE_UNAVAILABLE, MBEDTLS_ERR_PK_FEATURE_UNAVAILABLE,
    };
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        /* Codes are sums: the low seven bits are of the layer below. */
        if ((-rc & ~0x7f) == -unknown[i]) {
            return true;
        }
    }
    return false;
}

static bool is_memory(int rc)
{
    return rc == MBEDTLS_ERR_X509_ALLOC_FAILED || rc == MBEDTLS_ERR_PK_ALLOC_FAILED;
}

/* Seconds since 1970 of a time of a certificate (days from civil date, Gregorian for ever). */
static int64_t seconds(const mbedtls_x509_time *t)
{
    int64_t year = t->mon <= 2 ? t->year - 1 : t->year;
    int64_t month = t->mon <= 2 ? t->mon + 9 : t->mon - 3; /* from March */
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t day = (153 * month + 2) / 5 + t->day - 1;
    int64_t days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + day - 719468;
    return days * 86400 + t->hour * 3600 + t->min * 60 + t->sec;
}

static void note_end(const mbedtls_x509_crt *crt, int64_t *end_s, char *subject)
{
    char name[TLS_SUBJECT_BYTES * 2];
    int64_t end = seconds(&crt->valid_to);
    if (*end_s == 0 || end < *end_s) {
        *end_s = end != 0 ? end : 1;
        int n = mbedtls_x509_dn_gets(name, sizeof(name), &crt->subject);
        tpi_text_copy(subject, TLS_SUBJECT_BYTES, n > 0 ? name : "?");
    }
}

/* One certificate. first: of its file. */
static int take_certificate(struct checking *c, struct block *b, bool first)
{
    mbedtls_x509_crt crt;
    char after = *b->end;
    mbedtls_x509_crt_init(&crt);
    *b->end = '\0';
    int rc =
        mbedtls_x509_crt_parse(&crt, (unsigned char *) b->begin, (size_t) (b->end - b->begin) + 1);
    *b->end = after;
    if (rc == 0 && c->role == TLS_CA) {
        note_end(&crt, &c->sum.ca_end_s, c->sum.ca_subject);
    } else if (rc == 0) {
        note_end(&crt, &c->sum.chain_end_s, c->sum.chain_subject);
    }
    if (rc == 0 && c->role == TLS_CERT && first) {
        c->sum.own_begin_s = seconds(&crt.valid_from);
        c->sum.own_end_s = seconds(&crt.valid_to);
        c->own = crt; /* ours now */
        c->own_there = true;
        return 0;
    }
    mbedtls_x509_crt_free(&crt);
    if (rc != 0 && is_unknown(rc)) {
        c->sum.unchecked++;
        return 0;
    }
    return rc == 0         ? 0
           : is_memory(rc) ? TPC_ENOMEM
                           : wrong(c, b->line, "this certificate cannot be read");
}

/* Every certificate of a file, which has at least one. Other blocks (a key) are no matter here. */
static int take_certificates(struct checking *c)
{
    const struct tls_part *part = &c->parts[c->role];
    struct block b;
    uint32_t count = 0;
    for (char *at = (char *) part->text; next_block(part, at, &b); at = b.end) {
        if (b.end == NULL) {
            return wrong(c, b.line, "its END line is missing: the file is cut off");
        }
        if (strcmp(b.label, "CERTIFICATE") == 0) {
            int rc = take_certificate(c, &b, count == 0);
            if (rc != 0) {
                return rc;
            }
            count++;
        }
    }
    return count > 0 ? 0 : wrong(c, 0, "there is no certificate in it");
}

static bool is_key(const struct block *b)
{
    static const char tail[] = "PRIVATE KEY";
    size_t len = strlen(b->label);
    return len >= sizeof(tail) - 1 && strcmp(b->label + len - (sizeof(tail) - 1), tail) == 0;
}

static int parse_key(struct checking *c, struct block *b, mbedtls_pk_context *pk)
{
    char after = *b->end;
    *b->end = '\0';
    bool locked = strncmp(b->label, "ENCRYPTED", 9) == 0 || strstr(b->begin, "ENCRYPTED") != NULL;
    int rc = locked ? 0
                    : PARSE_KEY(pk, (unsigned char *) b->begin, (size_t) (b->end - b->begin) + 1,
                                c->random);
    *b->end = after;
    if (locked) {
        return wrong(c, b->line, "this key is locked with a password");
    }
    if (rc != 0 && is_unknown(rc)) {
        c->sum.unchecked++;
        return 0;
    }
    return rc == 0 ? 0 : is_memory(rc) ? TPC_ENOMEM : wrong(c, b->line, "this key cannot be read");
}

/* The key, and that it belongs to the certificate. */
static int take_key(struct checking *c)
{
    mbedtls_pk_context pk;
    struct block b;
    bool found = false;
    const struct tls_part *part = &c->parts[c->role];
    for (char *at = (char *) part->text; !found && next_block(part, at, &b); at = b.end) {
        if (b.end == NULL) {
            return wrong(c, b.line, "its END line is missing: the file is cut off");
        }
        found = is_key(&b);
    }
    if (!found) {
        return wrong(c, 0, "there is no private key in it");
    }
    mbedtls_pk_init(&pk);
    int rc = parse_key(c, &b, &pk);
    if (rc == 0 && c->own_there) {
        /* One side that mbedtls knows and one that it does not cannot be a pair. */
        int pair = mbedtls_pk_get_type(&pk) != MBEDTLS_PK_NONE
                       ? CHECK_PAIR(&c->own.pk, &pk, c->random)
                       : -1;
        rc = pair == 0         ? 0
             : is_memory(pair) ? TPC_ENOMEM
                               : wrong(c, 0, "this key does not belong to the certificate");
    }
    mbedtls_pk_free(&pk);
    return rc;
}

int tls_check(const struct tls_part parts[TLS_ROLES], const struct tpc_random *random,
              enum tls_role *ret_role, char ret_why[TLS_TEXT_BYTES], struct tls_summary *ret)
{
    struct checking c = { .parts = parts, .random = random, .why = ret_why };
    int rc = 0;
    for (int role = TLS_CA; rc == 0 && role < TLS_ROLES; role++) {
        c.role = (enum tls_role) role;
        const struct tls_part *part = &parts[role];
        if (part->text != NULL && memchr(part->text, '\0', part->len) != NULL) {
            rc = wrong(&c, 0, "this is no PEM file: there are zero bytes in it");
        } else if (role != TLS_KEY && part->text != NULL) {
            rc = take_certificates(&c);
        }
    }
    if (rc == 0 && parts[TLS_KEY].text != NULL && parts[TLS_CERT].text == NULL) {
        rc = wrong(&c, 0, "a key alone is of no use: the certificate is missing");
    } else if (rc == 0 && parts[TLS_CERT].text != NULL) {
        c.role = parts[TLS_KEY].text != NULL ? TLS_KEY : TLS_CERT;
        rc = take_key(&c);
    }
    if (c.own_there) {
        mbedtls_x509_crt_free(&c.own);
    }
    if (rc == 0) {
        *ret = c.sum;
    } else if (rc == TPC_EINVAL) {
        *ret_role = c.role;
    }
    return rc;
}
