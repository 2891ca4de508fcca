#include "data/csv.h"

#include <string.h>

#include "data/utf8.h"

void tpi_csv_init(struct tpi_csv *c)
{
    memset(c, 0, sizeof(*c));
    c->line = 1;
    c->next_line = 1;
}

static enum tpi_csv_result bad(struct tpi_csv *c, uint32_t field, const char *why)
{
    c->fault = why;
    c->fault_field = field;
    return TPI_CSV_BAD;
}

/* Bytes up to the record's end, its line end with them; 0 = it does not end here. A quote counts only
 * where a field begins. */
static size_t record_len(const char *p, size_t len, uint64_t *ret_lines, bool *ret_open)
{
    enum { BEGIN, PLAIN, QUOTED, AFTER } at = BEGIN;
    *ret_lines = 0;
    for (size_t i = 0; i < len; i++) {
        bool quoted = at == QUOTED;
        if (p[i] == '\n') {
            ++*ret_lines;
            if (!quoted) {
                return i + 1;
            }
        } else if (p[i] == '"') {
            at = at == BEGIN || at == AFTER ? QUOTED : quoted ? AFTER : PLAIN;
        } else if (!quoted) {
            at = p[i] == ',' ? BEGIN : PLAIN;
        }
    }
    *ret_open = at == QUOTED;
    return 0;
}

static size_t line_len(const char *p, size_t len)
{
    const char *end = memchr(p, '\n', len);
    return end == NULL ? len : (size_t) (end - p) + 1;
}

/* A quoted field from its first quote on: unquoted in place. Returns what follows, or NULL. */
static char *quoted_field(char *p, char *end, struct tpc_str *ret)
{
    char *to = p;
    char *text = p;
    for (p++; p < end; p++) {
        if (*p == '"' && (p + 1 == end || p[1] != '"')) {
            *ret = (struct tpc_str){ text, (size_t) (to - text) };
            return p + 1;
        }
        p += *p == '"';
        *to++ = *p;
    }
    return NULL;
}

static char *plain_field(char *p, char *end, struct tpc_str *ret)
{
    char *text = p;
    while (p < end && *p != ',') {
        p++;
    }
    *ret = (struct tpc_str){ text, (size_t) (p - text) };
    return p;
}

static const char *field_fault(struct tpc_str f, bool quoted)
{
    return f.len > TPI_CSV_FIELD_BYTES             ? "a field of over 65536 bytes"
           : memchr(f.ptr, 0, f.len) != NULL       ? "a NUL byte"
           : !tpi_utf8_valid(f.ptr, f.len)         ? "not UTF-8"
           : !quoted && memchr(f.ptr, '"', f.len)  ? "a quote inside a field without quotes"
           : !quoted && memchr(f.ptr, '\r', f.len) ? "a carriage return that ends no line"
                                                   : NULL;
}

/* Fields of one record without its line end. */
static enum tpi_csv_result split(struct tpi_csv *c, char *p, char *end)
{
    for (;;) {
        if (c->count == TPI_CSV_FIELDS) {
            return bad(c, c->count, "over 256 fields");
        }
        struct tpc_str *f = &c->fields[c->count];
        bool quoted = p < end && *p == '"';
        p = quoted ? quoted_field(p, end, f) : plain_field(p, end, f);
        if (p == NULL) {
            return bad(c, c->count, "a quote that does not end");
        }
        if (p < end && *p != ',') {
            return bad(c, c->count, "text after the closing quote");
        }
        const char *fault = field_fault(*f, quoted);
        if (fault != NULL) {
            return bad(c, c->count, fault);
        }
        c->count++;
        if (p == end) {
            return TPI_CSV_RECORD;
        }
        p++;
    }
}

/* A record that ends nowhere: its first line is passed over. */
static enum tpi_csv_result endless(struct tpi_csv *c, const char *p, size_t len, size_t *ret_used)
{
    size_t n = line_len(p, len);
    *ret_used += n;
    c->skipping = p[n - 1] != '\n';
    c->next_line += !c->skipping;
    return bad(c, 0,
               len > TPI_CSV_RECORD_BYTES ? "a record of over 262144 bytes, or a quote that does "
                                            "not end"
                                          : "a quote that does not end");
}

static enum tpi_csv_result record(struct tpi_csv *c, char *p, size_t len, bool last,
                                  size_t *ret_used)
{
    uint64_t lines;
    bool cut = len > TPI_CSV_RECORD_BYTES;
    size_t seen = cut ? TPI_CSV_RECORD_BYTES : len;
    bool open = false;
    size_t n = record_len(p, seen, &lines, &open);
    c->line = c->next_line;
    if (n == 0 && !last && !cut && len < TPI_CSV_RECORD_BYTES) {
        return TPI_CSV_MORE;
    }
    if (n == 0) {
        if (!last || cut || open) {
            return endless(c, p, len, ret_used);
        }
        n = len;
        lines = 1;
    }
    c->next_line += lines;
    *ret_used += n;
    size_t bare = n;
    bare -= bare > 0 && p[bare - 1] == '\n';
    bare -= bare > 0 && p[bare - 1] == '\r';
    return split(c, p, p + bare);
}

enum tpi_csv_result tpi_csv_next(struct tpi_csv *c, char *bytes, size_t len, bool last,
                                 size_t *ret_used)
{
    size_t used = 0;
    c->count = 0;
    c->fault = NULL;
    *ret_used = 0;
    if (!c->started) {
        if (len < 3 && !last) {
            return TPI_CSV_MORE;
        }
        used = len >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
        c->started = true;
    }
    if (c->skipping) {
        used += line_len(bytes + used, len - used);
        c->skipping = used == 0 || bytes[used - 1] != '\n';
        c->next_line += !c->skipping;
    }
    /* Empty lines. */
    while (used < len && (bytes[used] == '\n' ||
                          (bytes[used] == '\r' && used + 1 < len && bytes[used + 1] == '\n'))) {
        used += bytes[used] == '\r' ? 2 : 1;
        c->next_line++;
    }
    *ret_used = used;
    if (used == len) {
        return last ? TPI_CSV_END : TPI_CSV_MORE;
    }
    return record(c, bytes + used, len - used, last, ret_used);
}
