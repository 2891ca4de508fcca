/* Functions of texts. They count characters of UTF-8; upper and lower know the letters of ASCII. */
#include <stdio.h>
#include <string.h>

#include "expr/cell.h"
#include "expr/functions.h"
#include "expr/regexp.h"

static struct cell copied(struct eval *r, const char *text, size_t len)
{
    char *room = tpi_expr_take(r, len);
    if (room == NULL) {
        return cell_null();
    }
    memcpy(room, text, len);
    return cell_text((struct tpc_str){ room, len });
}

static struct cell fn_concat(struct eval *r, const struct cell *a, uint32_t n)
{
    char number[TPI_NUMBER_TEXT_BYTES];
    size_t len = 0;
    for (uint32_t i = 0; i < n; i++) {
        len += tpi_cell_print(&a[i], number).len;
    }
    char *room = tpi_expr_take(r, len);
    if (room == NULL) {
        return cell_null();
    }
    char *at = room;
    for (uint32_t i = 0; i < n; i++) {
        struct tpc_str s = tpi_cell_print(&a[i], number);
        if (s.len > 0) {
            memcpy(at, s.ptr, s.len);
        }
        at += s.len;
    }
    return cell_text((struct tpc_str){ room, len });
}

/* Letters between first and last change their case. */
static struct cell change_case(struct eval *r, const struct cell *a, char first, char last)
{
    struct tpc_str s = cell_str(a);
    size_t i = 0;
    while (i < s.len && (s.ptr[i] < first || s.ptr[i] > last)) {
        i++;
    }
    if (i == s.len) {
        return *a;
    }
    char *room = tpi_expr_take(r, s.len);
    if (room == NULL) {
        return cell_null();
    }
    memcpy(room, s.ptr, s.len);
    for (; i < s.len; i++) {
        if (room[i] >= first && room[i] <= last) {
            room[i] = (char) (room[i] ^ 0x20);
        }
    }
    return cell_text((struct tpc_str){ room, s.len });
}

static struct cell fn_upper(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) n;
    return change_case(r, a, 'a', 'z');
}

static struct cell fn_lower(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) n;
    return change_case(r, a, 'A', 'Z');
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct cell trimmed(const struct cell *a, bool left, bool right)
{
    struct tpc_str s = cell_str(a);
    while (left && s.len > 0 && is_blank(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (right && s.len > 0 && is_blank(s.ptr[s.len - 1])) {
        s.len--;
    }
    return cell_text(s);
}

static struct cell fn_trim(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return trimmed(a, true, true);
}

static struct cell fn_ltrim(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return trimmed(a, true, false);
}

static struct cell fn_rtrim(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return trimmed(a, false, true);
}

static int64_t count_chars(const char *p, const char *end)
{
    int64_t count = 0;
    while (p < end) {
        p = cell_next_char(p, end);
        count++;
    }
    return count;
}

static struct cell fn_length(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    struct tpc_str s = cell_str(a);
    return cell_int(count_chars(s.ptr, s.ptr + s.len));
}

static struct cell fn_numbytes(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_int(a->len);
}

/* An index argument: the int below or equal; what lies beyond int64 is as good as its end. */
static int64_t index_of(const struct cell *c)
{
    if (c->type == TPC_INT) {
        return c->as.i;
    }
    struct cell w = cell_whole(floor(c->as.d));
    return w.type == TPC_INT ? w.as.i : c->as.d < 0 ? INT64_MIN : INT64_MAX;
}

static struct cell fn_substring(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    struct tpc_str s = cell_str(&a[0]);
    int64_t first = index_of(&a[1]);
    int64_t last = n > 2 ? index_of(&a[2]) : INT64_MAX;
    if (first < 0 || last < first) {
        return cell_null();
    }
    const char *end = s.ptr + s.len;
    const char *from = s.ptr;
    int64_t at = 0;
    for (; at < first && from < end; at++) {
        from = cell_next_char(from, end);
    }
    const char *to = from;
    for (; at < last && to < end; at++) {
        to = cell_next_char(to, end);
    }
    return cell_text((struct tpc_str){ from, (size_t) (to - from) });
}

/* Where the part stands first in s; NULL if nowhere. At most len(s) * len(part) steps. */
static const char *find(struct tpc_str s, struct tpc_str part)
{
    while (s.len >= part.len) {
        if (part.len == 0 || memcmp(s.ptr, part.ptr, part.len) == 0) {
            return s.ptr;
        }
        const char *next = memchr(s.ptr + 1, part.ptr[0], s.len - 1);
        if (next == NULL) {
            return NULL;
        }
        s.len -= (size_t) (next - s.ptr);
        s.ptr = next;
    }
    return NULL;
}

static struct cell fn_indexof(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    struct tpc_str s = cell_str(&a[0]);
    const char *at = find(s, cell_str(&a[1]));
    return cell_int(at == NULL ? -1 : count_chars(s.ptr, at));
}

static struct cell fn_contains(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_bool(find(cell_str(&a[0]), cell_str(&a[1])) != NULL);
}

static struct cell fn_startswith(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    struct tpc_str s = cell_str(&a[0]);
    struct tpc_str part = cell_str(&a[1]);
    return cell_bool(s.len >= part.len && memcmp(s.ptr, part.ptr, part.len) == 0);
}

static struct cell fn_endswith(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    struct tpc_str s = cell_str(&a[0]);
    struct tpc_str part = cell_str(&a[1]);
    return cell_bool(s.len >= part.len &&
                     memcmp(s.ptr + s.len - part.len, part.ptr, part.len) == 0);
}

static struct cell fn_replace(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) n;
    struct tpc_str s = cell_str(&a[0]);
    struct tpc_str from = cell_str(&a[1]);
    struct tpc_str to = cell_str(&a[2]);
    const char *end = s.ptr + s.len;
    size_t count = 0;
    for (const char *at = s.ptr; from.len > 0; count++) {
        at = find((struct tpc_str){ at, (size_t) (end - at) }, from);
        if (at == NULL) {
            break;
        }
        at += from.len;
    }
    if (count == 0) {
        return a[0];
    }
    /* No overflow: texts in memory are far shorter than what their product could reach. */
    char *room = NULL;
    if (to.len <= (size_t) UINT32_MAX / count) {
        room = tpi_expr_take(r, s.len - count * from.len + count * to.len);
    }
    if (room == NULL) {
        return cell_null();
    }
    char *out = room;
    const char *rest = s.ptr;
    for (; count > 0; count--) {
        const char *at = find((struct tpc_str){ rest, (size_t) (end - rest) }, from);
        memcpy(out, rest, (size_t) (at - rest));
        out += at - rest;
        memcpy(out, to.ptr, to.len);
        out += to.len;
        rest = at + from.len;
    }
    memcpy(out, rest, (size_t) (end - rest));
    out += end - rest;
    return cell_text((struct tpc_str){ room, (size_t) (out - room) });
}

static struct cell fn_split_value(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    struct tpc_str s = cell_str(&a[0]);
    struct tpc_str by = cell_str(&a[1]);
    int64_t index = index_of(&a[2]);
    const char *end = s.ptr + s.len;
    if (by.len == 0 || index < 0) {
        return cell_null();
    }
    for (;; index--) {
        const char *at = find(s, by);
        if (index == 0) {
            return cell_text((struct tpc_str){ s.ptr, (size_t) ((at != NULL ? at : end) - s.ptr) });
        }
        if (at == NULL) {
            return cell_null();
        }
        s.ptr = at + by.len;
        s.len = (size_t) (end - s.ptr);
    }
}

static struct cell padded(struct eval *r, const struct cell *a, bool left)
{
    struct tpc_str s = cell_str(&a[0]);
    int64_t count = index_of(&a[1]);
    if (count <= 0) {
        return a[0];
    }
    char *room = count > UINT32_MAX ? NULL : tpi_expr_take(r, s.len + (size_t) count);
    if (room == NULL) {
        return cell_null();
    }
    memset(left ? room : room + s.len, ' ', (size_t) count);
    memcpy(left ? room + count : room, s.ptr, s.len);
    return cell_text((struct tpc_str){ room, s.len + (size_t) count });
}

static struct cell fn_lpad(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) n;
    return padded(r, a, true);
}

static struct cell fn_rpad(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) n;
    return padded(r, a, false);
}

static struct cell fn_reverse(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) n;
    struct tpc_str s = cell_str(a);
    const char *end = s.ptr + s.len;
    char *room = tpi_expr_take(r, s.len);
    if (room == NULL) {
        return cell_null();
    }
    char *out = room + s.len;
    for (const char *p = s.ptr; p < end;) {
        const char *next = cell_next_char(p, end);
        out -= next - p;
        memcpy(out, p, (size_t) (next - p));
        p = next;
    }
    return cell_text((struct tpc_str){ room, s.len });
}

/* With a point whatever the locale says. */
static struct cell fn_format(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) n;
    char text[384]; /* 309 digits, 20 behind the point */
    double d = 0;
    int64_t digits = index_of(&a[1]);
    cell_number(&a[0], &d);
    if (digits < 0 || digits > 20) {
        return cell_null();
    }
    int printed = snprintf(text, sizeof(text), "%.*f", (int) digits, d);
    size_t len = 0;
    for (int i = 0; i < printed; i++) {
        bool plain = text[i] == '-' || (text[i] >= '0' && text[i] <= '9');
        if (plain) {
            text[len++] = text[i];
        } else if (len > 0 && text[len - 1] != '.') {
            text[len++] = '.';
        }
    }
    return copied(r, text, len);
}

/* The second argument is the program that the parser made of the pattern. */
static struct cell fn_regexp_matches(struct eval *r, const struct cell *a, uint32_t n)
{
    (void) r;
    (void) n;
    return cell_bool(tpi_regexp_found(cell_str(&a[1]), cell_str(&a[0])));
}

#define TEXT(NAME, ARGS, MIN, MAX, RESULT, USAGE, HELP)                                            \
    {                                                                                              \
        .name = #NAME, .args = ARGS, .min = MIN, .max = MAX, .result = RESULT, .fn = fn_##NAME,    \
        .usage = USAGE, .help = HELP, .since = "0.1"                                               \
    }

static const struct function items[] = {
    TEXT(concat, "s", 1, FUNCTION_MAX_ARGS, TPI_EXPR_TEXT, "concat(a, b, ..)",
         "The texts behind one another; numbers and bools as text."),
    TEXT(upper, "t", 1, 1, TPI_EXPR_TEXT, "upper(text)", "Capital letters (of ASCII)."),
    TEXT(lower, "t", 1, 1, TPI_EXPR_TEXT, "lower(text)", "Small letters (of ASCII)."),
    TEXT(trim, "t", 1, 1, TPI_EXPR_TEXT, "trim(text)",
         "Without blanks, tabs and line ends at both ends."),
    TEXT(ltrim, "t", 1, 1, TPI_EXPR_TEXT, "ltrim(text)", "The same at the beginning."),
    TEXT(rtrim, "t", 1, 1, TPI_EXPR_TEXT, "rtrim(text)", "The same at the end."),
    TEXT(length, "t", 1, 1, TPI_EXPR_NUMBER, "length(text)", "Characters."),
    TEXT(numbytes, "t", 1, 1, TPI_EXPR_NUMBER, "numbytes(text)", "Bytes of its UTF-8."),
    TEXT(
        substring, "tnn", 2, 3, TPI_EXPR_TEXT, "substring(text, start[, end])",
        "Characters from start (0 is the first) to before end, or to the text's end; null if start "
        "is below 0 or end below start."),
    TEXT(indexof, "tt", 2, 2, TPI_EXPR_NUMBER, "indexof(text, part)",
         "Where the part stands first, from 0; -1 if nowhere."),
    TEXT(contains, "tt", 2, 2, TPI_EXPR_BOOL, "contains(text, part)",
         "Whether the part stands in the text."),
    TEXT(startswith, "tt", 2, 2, TPI_EXPR_BOOL, "startswith(text, part)",
         "Whether the text begins with the part."),
    TEXT(endswith, "tt", 2, 2, TPI_EXPR_BOOL, "endswith(text, part)",
         "Whether the text ends with the part."),
    { .name = "regexp_matches",
      .args = "tt",
      .min = 2,
      .max = 2,
      .result = TPI_EXPR_BOOL,
      .special = SPECIAL_REGEXP,
      .fn = fn_regexp_matches,
      .usage = "regexp_matches(text, 'pattern')",
      .help =
          "Whether the pattern, a constant, is found anywhere in the text: `. [a-z] [^a-z] \\d \\w "
          "\\s ^ $ ( ) | * + ? {m,n}`. Its time grows with the length of the text, whatever the "
          "pattern.",
      .since = "0.1" },
    TEXT(replace, "ttt", 3, 3, TPI_EXPR_TEXT, "replace(text, part, with)",
         "Every such part replaced, from the left."),
    TEXT(split_value, "ttn", 3, 3, TPI_EXPR_TEXT, "split_value(text, separator, index)",
         "A part of a text with separators, from 0; null if there are fewer."),
    TEXT(lpad, "tn", 2, 2, TPI_EXPR_TEXT, "lpad(text, count)", "With so many blanks before it."),
    TEXT(rpad, "tn", 2, 2, TPI_EXPR_TEXT, "rpad(text, count)", "With so many blanks behind it."),
    TEXT(reverse, "t", 1, 1, TPI_EXPR_TEXT, "reverse(text)", "Its characters from the end."),
    { .name = "format",
      .aliases = "format_number",
      .args = "nn",
      .min = 2,
      .max = 2,
      .result = TPI_EXPR_TEXT,
      .fn = fn_format,
      .usage = "format(x, digits)",
      .help = "A number with so many digits behind the point, 0 to 20, as text.",
      .since = "0.1" },
};

const struct function_group tpi_expr_text_functions = { "Texts", items,
                                                        sizeof(items) / sizeof(items[0]) };
