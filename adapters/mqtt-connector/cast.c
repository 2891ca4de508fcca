#include "cast.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <tpcore/error.h>
#include <tpcore/json.h>

#include "data/json_read.h"
#include "data/number.h"

enum { JSON_FIRST = 256, WORD_MAX = 8 };

enum cast cast_of(struct tpc_str name)
{
    switch (name.len > 0 ? name.ptr[0] : '\0') {
    case 's':
        return CAST_STRING;
    case 'i':
    case 'l':
        return CAST_INTEGER;
    case 'd':
    case 'f':
        return CAST_DOUBLE;
    case 'b':
        return CAST_BOOLEAN;
    default:
        return CAST_RAW;
    }
}

int cast_json(const struct tpc_value *in, struct tpc_arena *arena, struct tpc_str *ret)
{
    struct tpc_buf buf = { .cap = JSON_FIRST };
    int rc = TPC_ETOOBIG;
    for (int pass = 0; pass < 2 && rc == TPC_ETOOBIG; pass++) {
        buf.ptr = tpc_arena_take(arena, buf.cap);
        if (buf.ptr == NULL) {
            return TPC_ENOMEM;
        }
        rc = tpc_json_write(in, 0, &buf);
        buf.cap = rc == TPC_ETOOBIG ? buf.need : buf.cap;
    }
    if (rc != 0) {
        return TPC_EDECODE;
    }
    *ret = (struct tpc_str){ (const char *) buf.ptr, buf.need };
    return 0;
}

int cast_text(const struct tpc_value *in, struct tpc_arena *arena, struct tpc_str *ret)
{
    if (in->type == TPC_TEXT) {
        *ret = tpc_value_text(in);
        return 0;
    }
    return cast_json(in, arena, ret);
}

static struct tpc_str trim(struct tpc_str s)
{
    while (s.len > 0 && (unsigned char) s.ptr[0] <= ' ') {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && (unsigned char) s.ptr[s.len - 1] <= ' ') {
        s.len--;
    }
    return s;
}

/* The number that a text is, also with + or zeros in front; Python takes these, too. */
static int text_number(struct tpc_str text, struct tpc_value *ret)
{
    struct tpi_json r;
    struct tpc_str s = trim(text);
    bool minus = s.len > 0 && s.ptr[0] == '-';
    if (s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+')) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 1 && s.ptr[0] == '0' && s.ptr[1] >= '0' && s.ptr[1] <= '9') {
        s.ptr++;
        s.len--;
    }
    if (s.len == 0 || s.ptr[0] < '0' || s.ptr[0] > '9') {
        return TPC_EDECODE;
    }
    tpi_json_begin(&r, s);
    int event = tpi_json_next(&r);
    double d = r.d;
    int64_t i = r.i;
    if (tpi_json_next(&r) != TPI_JSON_END) {
        return TPC_EDECODE;
    }
    if (event == TPI_JSON_INT) {
        *ret = (struct tpc_value){ .type = TPC_INT, .as.i = minus ? -i : i };
    } else if (event == TPI_JSON_DOUBLE) {
        *ret = (struct tpc_value){ .type = TPC_DOUBLE, .as.d = minus ? -d : d };
    } else {
        return TPC_EDECODE;
    }
    return 0;
}

static int number_of(const struct tpc_value *in, struct tpc_value *ret)
{
    switch (in->type) {
    case TPC_BOOL:
        *ret = (struct tpc_value){ .type = TPC_INT, .as.i = in->as.b };
        return 0;
    case TPC_INT:
    case TPC_DOUBLE:
        *ret = *in;
        return 0;
    case TPC_TEXT:
        return text_number(tpc_value_text(in), ret);
    default:
        return TPC_EDECODE;
    }
}

static int to_integer(const struct tpc_value *in, struct tpc_value *ret)
{
    struct tpc_value n;
    int rc = number_of(in, &n);
    if (rc == 0 && n.type == TPC_DOUBLE) {
        double d = trunc(n.as.d);
        if (!(d >= -9223372036854775808.0 && d < 9223372036854775808.0)) {
            return TPC_EDECODE;
        }
        n = (struct tpc_value){ .type = TPC_INT, .as.i = (int64_t) d };
    }
    if (rc == 0) {
        *ret = n;
    }
    return rc;
}

static int to_double(const struct tpc_value *in, struct tpc_value *ret)
{
    struct tpc_value n;
    int rc = number_of(in, &n);
    if (rc == 0) {
        double d = n.type == TPC_INT ? (double) n.as.i : n.as.d;
        if (!isfinite(d)) {
            return TPC_EDECODE;
        }
        *ret = (struct tpc_value){ .type = TPC_DOUBLE, .as.d = d };
    }
    return rc;
}

static int word_truth(struct tpc_str text)
{
    static const struct {
        const char *word;
        int truth;
    } words[] = { { "", 0 },    { "0", 0 },  { "1", 1 },  { "false", 0 }, { "true", 1 },
                  { "off", 0 }, { "on", 1 }, { "no", 0 }, { "yes", 1 } };
    char low[WORD_MAX];
    struct tpc_str s = trim(text);
    if (s.len >= sizeof(low)) {
        return -1;
    }
    for (size_t i = 0; i < s.len; i++) {
        low[i] = (char) (s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' ? s.ptr[i] | 0x20 : s.ptr[i]);
    }
    low[s.len] = '\0';
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(low, words[i].word) == 0) {
            return words[i].truth;
        }
    }
    return -1;
}

static int to_boolean(const struct tpc_value *in, struct tpc_value *ret)
{
    int truth = -1;
    struct tpc_value n;
    if (in->type == TPC_TEXT) {
        truth = word_truth(tpc_value_text(in));
    }
    if (truth < 0 && number_of(in, &n) == 0) {
        truth = n.type == TPC_INT ? n.as.i != 0 : n.as.d < 0 || n.as.d > 0;
    }
    if (truth < 0) {
        return TPC_EDECODE;
    }
    *ret = (struct tpc_value){ .type = TPC_BOOL, .as.b = truth != 0 };
    return 0;
}

int cast_value(enum cast type, const struct tpc_value *in, struct tpc_arena *arena,
               struct tpc_value *ret)
{
    struct tpc_str text;
    int rc;
    switch (type) {
    case CAST_STRING:
        rc = cast_text(in, arena, &text);
        if (rc == 0) {
            *ret = (struct tpc_value){ .type = TPC_TEXT, .len = text.len, .as.text = text.ptr };
        }
        return rc;
    case CAST_INTEGER:
        return to_integer(in, ret);
    case CAST_DOUBLE:
        return to_double(in, ret);
    case CAST_BOOLEAN:
        return to_boolean(in, ret);
    case CAST_RAW:
    default:
        *ret = *in;
        return 0;
    }
}
