/* Mails as text (RFC 5322, 2045, 2047) and what may stand in them. Pure functions. */
#ifndef SMTP_MAIL_H
#define SMTP_MAIL_H

#include "base/buf.h"

#include <stdbool.h>
#include <tpcore/error.h>
#include <tpcore/msg.h>

enum {
    MAIL_ADDRESS_MAX = 254, /* RFC 5321 section 4.5.3.1.3, without < > */
    MAIL_LINE_MAX = 76,     /* of an encoded line, RFC 2045 section 6.7 */
    MAIL_SUBJECT_MAX = 200, /* bytes of a subject before it is encoded; the rest is cut */
    MAIL_URL_MAX = 320,
    MAIL_TO_MAX = 50
};

/* local@domain of visible ASCII without what has a meaning in headers and in SMTP. */
bool mail_address_valid(struct tpc_str address);

/*
 * smtp://host[:port] or smtps://host[:port]; without a port 587 and 465. ret gets a URL for libcurl
 * with the port and, behind a slash, the name for EHLO (empty = none). Returns 0 or TPC_EINVAL.
 */
int mail_url(struct tpc_str url, struct tpc_str helo, struct tpc_error *err,
             char ret[MAIL_URL_MAX]);

/* Appends text as it may stand in a header: as it is if it is short and plain, else in encoded words
 * (RFC 2047) on folded lines. Control bytes become spaces. Codes of tpi_buf_put(). */
int mail_words(struct tpi_buf *b, struct tpc_str text);

/* Appends text as quoted-printable, lines ended by CR LF. */
int mail_quoted(struct tpi_buf *b, struct tpc_str text);

/* A mail. Texts may hold anything but the addresses, which are valid ones. */
struct mail {
    struct tpc_str from, from_name;
    const struct tpc_str *to;
    size_t to_count;
    struct tpc_str subject;
    struct tpc_str body;
    struct tpc_id id; /* the same when the mail is sent again */
    int64_t unix_ms;
};

/* Headers, an empty line and the body, ready for DATA (libcurl doubles leading dots). */
int mail_write(struct tpi_buf *b, const struct mail *m);

/* What a reply of a server (250..599) to a mail that was not taken means. */
int mail_code(int reply);

#endif
