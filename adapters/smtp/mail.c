#include "mail.h"

#include <stdio.h>
#include <string.h>

#include "../text/utc.h"
#include "base/crypto.h"
#include "base/error.h"
#include "base/text.h"

enum { WORD_BYTES = 39 }; /* of text in one encoded word: 52 of base64 and 12 around it */

static bool is_atom(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+/=?^_`{|}~-.", c) != NULL);
}

static bool is_host(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.';
}

bool mail_address_valid(struct tpc_str a)
{
    const char *at = a.len > 0 ? memchr(a.ptr, '@', a.len) : NULL;
    if (at == NULL || at == a.ptr || at == a.ptr + a.len - 1 || a.len > MAIL_ADDRESS_MAX) {
        return false;
    }
    for (const char *p = a.ptr; p < at; p++) {
        if (!is_atom(*p)) {
            return false;
        }
    }
    for (const char *p = at + 1; p < a.ptr + a.len; p++) {
        if (!is_host(*p)) {
            return false;
        }
    }
    return a.ptr[0] != '-' && at[1] != '-' && at[1] != '.';
}

/* Length of the host at the begin of s: a name, or an address in brackets; 0 if it is none. */
static size_t host_length(struct tpc_str s)
{
    size_t n = 0;
    if (s.len > 0 && s.ptr[0] == '[') {
        const char *end = memchr(s.ptr, ']', s.len);
        for (n = 1; end != NULL && s.ptr + n < end; n++) {
            if (strchr("0123456789abcdefABCDEF:.", s.ptr[n]) == NULL || s.ptr[n] == '\0') {
                return 0;
            }
        }
        return end != NULL && n > 2 ? n + 1 : 0;
    }
    while (n < s.len && is_host(s.ptr[n])) {
        n++;
    }
    return n > 0 && s.ptr[0] != '-' && s.ptr[0] != '.' ? n : 0;
}

int mail_url(struct tpc_str url, struct tpc_str helo, struct tpc_error *err, char ret[MAIL_URL_MAX])
{
    bool tls = url.len >= 8 && memcmp(url.ptr, "smtps://", 8) == 0;
    if (!tls && (url.len < 7 || memcmp(url.ptr, "smtp://", 7) != 0)) {
        return tpi_error_set(err, TPC_EINVAL, "smtp",
                             "url: begins with smtp:// (STARTTLS) or smtps://");
    }
    size_t begin = tls ? 8 : 7;
    struct tpc_str rest = { url.ptr + begin, url.len - begin };
    size_t n = host_length(rest);
    int port = tls ? 465 : 587;
    if (n == 0 || n > 253) {
        return tpi_error_set(err, TPC_EINVAL, "smtp", "url: has no host");
    }
    if (n < rest.len) {
        port = 0;
        for (size_t i = n + 1; i < rest.len && port <= 65535; i++) {
            bool digit = rest.ptr[i] >= '0' && rest.ptr[i] <= '9';
            port = digit ? port * 10 + (rest.ptr[i] - '0') : 65536;
        }
        if (rest.ptr[n] != ':' || port < 1 || port > 65535) {
            return tpi_error_set(err, TPC_EINVAL, "smtp", "url: what follows the host is no port");
        }
    }
    if (helo.len > 0 && (helo.len > 40 || host_length(helo) != helo.len)) {
        return tpi_error_set(err, TPC_EINVAL, "smtp", "helo: is no name of a host");
    }
    snprintf(ret, MAIL_URL_MAX, "%s%.*s:%d/%.*s", tls ? "smtps://" : "smtp://", (int) n, rest.ptr,
             port, (int) helo.len, helo.len > 0 ? helo.ptr : "");
    return 0;
}

/* ---- headers ---- */

/* Whether a header may have it as it is: it is short, visible ASCII, and looks like no encoded word. */
static bool is_plain(struct tpc_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < 0x20 || s.ptr[i] > 0x7e ||
            (s.ptr[i] == '=' && i + 1 < s.len && s.ptr[i + 1] == '?')) {
            return false;
        }
    }
    return s.len <= 60 && (s.len == 0 || (s.ptr[0] != ' ' && s.ptr[s.len - 1] != ' '));
}

int mail_words(struct tpi_buf *b, struct tpc_str text)
{
    if (is_plain(text)) {
        return tpi_buf_text(b, text);
    }
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < text.len;) {
        char part[WORD_BYTES], word[TPI_BASE64_BYTES(WORD_BYTES)];
        size_t n = text.len - at < WORD_BYTES ? text.len - at : WORD_BYTES;
        /* No character is cut; bytes that are none go as they are. */
        size_t whole = tpi_text_whole(text.ptr + at, n);
        n = whole > 0 ? whole : n;
        for (size_t i = 0; i < n; i++) {
            unsigned char c = (unsigned char) text.ptr[at + i];
            part[i] = c < 0x20 || c == 0x7f ? ' ' : (char) c;
        }
        tpi_base64_encode(part, n, word);
        rc = tpi_buf_printf(b, "%s=?utf-8?B?%s?=", at > 0 ? "\r\n " : "", word);
        at += n;
    }
    return rc;
}

static int put_from(struct tpi_buf *b, const struct mail *m)
{
    int rc = tpi_buf_text(b, TPC_STR("From: "));
    if (rc == 0 && m->from_name.len > 0) {
        /* A name among specials of RFC 5322 is always encoded: no quoting to get wrong. */
        bool atoms = is_plain(m->from_name);
        for (size_t i = 0; i < m->from_name.len && atoms; i++) {
            atoms = m->from_name.ptr[i] == ' ' ||
                    (is_atom(m->from_name.ptr[i]) && m->from_name.ptr[i] != '.');
        }
        if (atoms) {
            rc = tpi_buf_text(b, m->from_name);
        } else {
            char word[TPI_BASE64_BYTES(WORD_BYTES)];
            size_t n = m->from_name.len < WORD_BYTES ? m->from_name.len : WORD_BYTES;
            tpi_base64_encode(m->from_name.ptr, tpi_text_whole(m->from_name.ptr, n), word);
            rc = tpi_buf_printf(b, "=?utf-8?B?%s?=", word);
        }
        if (rc == 0) {
            rc = tpi_buf_text(b, TPC_STR(" "));
        }
    }
    return rc != 0 ? rc : tpi_buf_printf(b, "<%.*s>\r\n", (int) m->from.len, m->from.ptr);
}

static int put_head(struct tpi_buf *b, const struct mail *m)
{
    char date[UTC_RFC5322_BYTES], id[TPC_ID_TEXT_BYTES + 1];
    const char *at = memchr(m->from.ptr, '@', m->from.len);
    int domain = (int) (m->from.ptr + m->from.len - at);
    struct tpc_str subject = m->subject;
    utc_rfc5322(m->unix_ms, date);
    tpc_id_format(&m->id, id);
    if (subject.len > MAIL_SUBJECT_MAX) {
        subject.len = tpi_text_whole(subject.ptr, MAIL_SUBJECT_MAX);
    }
    int rc = tpi_buf_printf(b, "Date: %s\r\n", date);
    if (rc == 0) {
        rc = put_from(b, m);
    }
    for (size_t i = 0; rc == 0 && i < m->to_count; i++) {
        rc = tpi_buf_printf(b, "%s<%.*s>%s", i == 0 ? "To: " : " ", (int) m->to[i].len,
                            m->to[i].ptr, i + 1 < m->to_count ? ",\r\n" : "\r\n");
    }
    if (rc == 0) {
        rc = tpi_buf_text(b, TPC_STR("Subject: "));
    }
    if (rc == 0) {
        rc = mail_words(b, subject);
    }
    return rc != 0 ? rc
                   : tpi_buf_printf(b,
                                    "\r\nMessage-ID: <%s%.*s>\r\nMIME-Version: 1.0\r\n"
                                    "Content-Type: text/plain; charset=utf-8\r\n"
                                    "Content-Transfer-Encoding: quoted-printable\r\n"
                                    "Auto-Submitted: auto-generated\r\n\r\n",
                                    id, domain, at);
}

/* ---- the body ---- */

int mail_quoted(struct tpi_buf *b, struct tpc_str text)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t column = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < text.len; i++) {
        unsigned char c = (unsigned char) text.ptr[i];
        bool ends = c == '\n' || (c == '\r' && i + 1 < text.len && text.ptr[i + 1] == '\n');
        if (ends) {
            i += c == '\r';
            rc = tpi_buf_put(b, "\r\n", 2);
            column = 0;
            continue;
        }
        bool last = i + 1 == text.len || text.ptr[i + 1] == '\n' || text.ptr[i + 1] == '\r';
        bool plain = (c > 0x20 && c < 0x7f && c != '=') || ((c == ' ' || c == '\t') && !last);
        char out[3] = { '=', hex[c >> 4], hex[c & 15] };
        size_t n = plain ? 1 : 3;
        if (column + n > MAIL_LINE_MAX - 1) {
            rc = tpi_buf_put(b, "=\r\n", 3);
            column = 0;
        }
        if (rc == 0) {
            rc = tpi_buf_put(b, plain ? (const char *) &c : out, n);
            column += n;
        }
    }
    return rc == 0 && column > 0 ? tpi_buf_put(b, "\r\n", 2) : rc;
}

int mail_write(struct tpi_buf *b, const struct mail *m)
{
    int rc = put_head(b, m);
    return rc != 0 ? rc : mail_quoted(b, m->body);
}

int mail_code(int reply)
{
    switch (reply) {
    case 454: /* authentication is not working just now */
    case 421:
        return TPC_EAGAIN;
    case 530:
    case 534:
    case 535:
    case 538:
        return TPC_EDENIED;
    case 552:
        return TPC_ETOOBIG;
    default:
        return reply >= 500 ? TPC_EINVAL : TPC_EAGAIN;
    }
}
