#include "tables.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 500, DEPTH_MAX = 16, NAME_MAX_BYTES = 128, SLAVE_BYTES_MAX = 256 * 1024 };

/* ---- equations ---- */

struct linear {
    double a, b;
};

struct equation {
    const char *at;
    int depth;
    bool bad;
};

static struct linear sum(struct equation *e);

static bool takes(struct equation *e, char c)
{
    while (*e->at == ' ') {
        e->at++;
    }
    bool there = *e->at == c;
    e->at += there;
    return there;
}

static struct linear factor(struct equation *e)
{
    struct linear l = { 0, 0 };
    char *end = NULL;
    bool minus = takes(e, '-');
    if (++e->depth > DEPTH_MAX) {
        e->bad = true;
    } else if (minus) {
        l = factor(e);
        l = (struct linear){ -l.a, -l.b };
    } else if (takes(e, '(')) {
        l = sum(e);
        e->bad = !takes(e, ')') || e->bad;
    } else if (isdigit((unsigned char) *e->at) || *e->at == '.') {
        l.b = strtod(e->at, &end);
        e->bad = end == e->at || e->bad;
        e->at = end;
    } else {
        const char *name = e->at;
        while (isalnum((unsigned char) *e->at) || *e->at == '_' || (*e->at & 0x80) != 0) {
            e->at++;
        }
        e->bad = e->at == name || e->bad;
        l.a = 1;
    }
    e->depth--;
    return l;
}

static struct linear product(struct equation *e)
{
    struct linear l = factor(e);
    while (!e->bad) {
        bool times = takes(e, '*');
        if (!times && !takes(e, '/')) {
            break;
        }
        struct linear r = factor(e);
        e->bad = e->bad || (times ? l.a != 0 && r.a != 0 : r.a != 0 || r.b == 0);
        if (!e->bad && times) {
            l = (struct linear){ l.a * r.b + l.b * r.a, l.b * r.b };
        } else if (!e->bad) {
            l = (struct linear){ l.a / r.b, l.b / r.b };
        }
    }
    return l;
}

static struct linear sum(struct equation *e)
{
    struct linear l = product(e);
    while (!e->bad) {
        bool plus = takes(e, '+');
        if (!plus && !takes(e, '-')) {
            break;
        }
        struct linear r = product(e);
        l = plus ? (struct linear){ l.a + r.a, l.b + r.b }
                 : (struct linear){ l.a - r.a, l.b - r.b };
    }
    return l;
}

bool tables_linear(struct tpc_str equation, double *ret_a, double *ret_b)
{
    char text[128];
    struct equation e = { text, 0, equation.len >= sizeof(text) };
    if (e.bad) {
        return false;
    }
    snprintf(text, sizeof(text), "%.*s", (int) equation.len, equation.len > 0 ? equation.ptr : "");
    struct linear l = sum(&e);
    if (e.bad || takes(&e, '\0') == 0 || l.a == 0 || !isfinite(l.a) || !isfinite(l.b)) {
        return false;
    }
    *ret_a = l.a;
    *ret_b = l.b;
    return true;
}

/* ---- members and lists ---- */

/* A whole number from least to most, which may stand as text. */
static bool number(const struct tpc_value *map, const char *key, long least, long most, long *ret)
{
    const struct tpc_value *v = tpc_value_get(map, tpc_str_from(key));
    struct tpc_str s = tpc_value_text(v);
    char text[24], *end = text;
    int64_t n = 0;
    if (s.len > 0 && s.len < sizeof(text)) {
        snprintf(text, sizeof(text), "%.*s", (int) s.len, s.ptr);
        n = strtol(text, &end, 10);
    }
    bool good = tpc_value_int(v, &n) == 0 || (end != text && *end == '\0');
    *ret = good ? (long) n : 0;
    return good && n >= least && n <= most;
}

/* The next one between commas, without blanks around it. False: there are no more. */
static bool next(struct tpc_str *list, struct tpc_str *ret)
{
    if (list->ptr == NULL) {
        return false;
    }
    const char *comma = memchr(list->ptr, ',', list->len);
    size_t n = comma != NULL ? (size_t) (comma - list->ptr) : list->len;
    struct tpc_str item = { list->ptr, n };
    list->ptr = comma != NULL ? comma + 1 : NULL;
    list->len -= comma != NULL ? n + 1 : n;
    while (item.len > 0 && isspace((unsigned char) item.ptr[0])) {
        item.ptr++;
        item.len--;
    }
    while (item.len > 0 && isspace((unsigned char) item.ptr[item.len - 1])) {
        item.len--;
    }
    *ret = item;
    return true;
}

static long count_of(struct tpc_str list)
{
    struct tpc_str item;
    long n = 0;
    while (list.len + (size_t) n > 0 && next(&list, &item)) {
        n++;
    }
    return n;
}

/* Fits between quotation marks of a JSON text as it is. */
static bool plain(struct tpc_str s, size_t most)
{
    bool good = s.len > 0 && s.len <= most;
    for (size_t i = 0; good && i < s.len; i++) {
        good = (unsigned char) s.ptr[i] >= ' ' && s.ptr[i] != '"' && s.ptr[i] != '\\';
    }
    return good;
}

/* ---- rows ---- */

struct text {
    char *ptr;
    size_t len, cap;
    bool bad;
};

static void put(struct text *t, const char *fmt, ...) TPC_PRINTF(2, 3);
static void put(struct text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t->ptr + t->len, t->cap - t->len, fmt, args);
    va_end(args);
    t->bad = t->bad || n < 0 || (size_t) n >= t->cap - t->len;
    t->len += t->bad ? 0 : (size_t) n;
}

struct row {
    long function, seconds, address, quantity, width;
    const char *type, *orders;
    struct tpc_str names, equations, decimals;
};

static const char *read_types(const struct tpc_value *v, struct row *r)
{
    static const struct {
        const char *name, *type;
        long width;
    } types[] = { { "coil", "bool", 1 },       { "int16", "int16", 1 },
                  { "uint16", "uint16", 1 },   { "int32", "int32", 2 },
                  { "uint32", "uint32", 2 },   { "int64", "int64", 4 },
                  { "float32", "float32", 2 }, { "float64", "float64", 4 } };
    static const struct {
        const char *name, *orders;
    } orders[] = { { "", "" },
                   { "BIG", "" },
                   { "LITTLE", ",\"byte_order\":\"little\",\"word_order\":\"little\"" },
                   { "BADC", ",\"byte_order\":\"little\"" },
                   { "CDAB", ",\"word_order\":\"little\"" } };
    struct tpc_str type = tpc_value_text(tpc_value_get(v, TPC_STR("DataType")));
    struct tpc_str order = tpc_value_text(tpc_value_get(v, TPC_STR("Endianess")));
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (tpc_str_equal(type, tpc_str_from(types[i].name))) {
            r->type = types[i].type;
            r->width = types[i].width;
        }
    }
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        if (tpc_str_equal(order, tpc_str_from(orders[i].name))) {
            r->orders = orders[i].orders;
        }
    }
    bool bits = r->function <= 2;
    return r->type == NULL                          ? "DataType is not known"
           : bits != (strcmp(r->type, "bool") == 0) ? "FunctionCode and DataType do not go together"
           : r->orders == NULL                      ? "Endianess is not known"
                                                    : NULL;
}

static const char *read_row(const struct tpc_value *v, struct row *r)
{
    memset(r, 0, sizeof(*r));
    if (!number(v, "FunctionCode", 1, 4, &r->function)) {
        return "FunctionCode is not 1 to 4";
    }
    if (!number(v, "Interval", 1, 86400, &r->seconds)) {
        return "Interval is not 1 to 86400 s";
    }
    if (!number(v, "StartingAddress", 0, 65535, &r->address)) {
        return "StartingAddress is not 0 to 65535";
    }
    if (!number(v, "Quantity", 1, r->function <= 2 ? 2000 : 125, &r->quantity)) {
        return r->function <= 2 ? "Quantity is not 1 to 2000" : "Quantity is not 1 to 125";
    }
    const char *why = read_types(v, r);
    if (why != NULL) {
        return why;
    }
    r->names = tpc_value_text(tpc_value_get(v, TPC_STR("DataIdentifierListStr")));
    r->equations = tpc_value_text(tpc_value_get(v, TPC_STR("EquationListStr")));
    r->decimals = tpc_value_text(tpc_value_get(v, TPC_STR("DecimalPlacesListStr")));
    long n = count_of(r->names), equations = count_of(r->equations),
         decimals = count_of(r->decimals);
    return n == 0                              ? "DataIdentifierListStr is empty"
           : n * r->width > r->quantity        ? "Quantity is less than the identifiers need"
           : r->address + n * r->width > 65536 ? "it goes behind address 65535"
           : equations != 0 && equations != n
               ? "EquationListStr has another length than the identifiers"
           : decimals != 0 && decimals != n
               ? "DecimalPlacesListStr has another length than the identifiers"
               : NULL;
}

/* A value of the row, behind those that are there. Returns NULL or what is wrong. */
static const char *put_tag(struct text *t, const struct row *r, long address, struct tpc_str name,
                           struct tpc_str equation, struct tpc_str decimals)
{
    static const char *const areas[] = { "coil", "discrete", "holding", "input" };
    char key[NAME_MAX_BYTES + 12];
    double a = 1, b = 0;
    if (!plain(name, NAME_MAX_BYTES)) {
        return "an identifier is empty, too long, or has quotation marks";
    }
    snprintf(key, sizeof(key), "\"name\":\"%.*s\"", (int) name.len, name.ptr);
    if (strstr(t->ptr, key) != NULL) {
        return "an identifier is there twice";
    }
    if (equation.len > 0 && (r->function <= 2 || !tables_linear(equation, &a, &b))) {
        return "an equation is not linear, or is of coils";
    }
    if (decimals.len > 1 || (decimals.len == 1 && !isdigit((unsigned char) decimals.ptr[0]))) {
        return "DecimalPlacesListStr has more than 0 to 9 decimals";
    }
    put(t, "%s{%s,\"area\":\"%s\",\"address\":%ld,\"poll\":\"%lds\"",
        t->ptr[t->len - 1] == '[' ? "" : ",", key, areas[r->function - 1], address, r->seconds);
    if (r->function > 2) {
        put(t, ",\"type\":\"%s\"%s", r->type, r->orders);
    }
    if (equation.len > 0) {
        put(t, ",\"multiplier\":%.15g,\"offset\":%.15g", a, b);
    }
    if (decimals.len > 0 && r->function > 2) {
        put(t, ",\"round\":%c", decimals.ptr[0]);
    }
    put(t, "}");
    return t->bad ? "the tables are too long" : NULL;
}

static const char *put_row(struct text *t, const struct tpc_value *v)
{
    struct row r;
    struct text before = *t;
    const char *why = read_row(v, &r);
    struct tpc_str name, equation = { NULL, 0 }, decimals = { NULL, 0 };
    for (long at = r.address; why == NULL && next(&r.names, &name); at += r.width) {
        (void) next(&r.equations, &equation);
        (void) next(&r.decimals, &decimals);
        why = put_tag(t, &r, at, name, equation, decimals);
    }
    if (why != NULL) { /* all of the row or nothing */
        *t = before;
        t->ptr[t->len] = '\0';
    }
    return why;
}

static bool unit_of(const struct tpc_service_device *d, long *ret)
{
    const struct tpc_value address = { TPC_TEXT, 0, d->address.len, { .text = d->address.ptr } };
    const struct tpc_member m = { TPC_STR("address"), address };
    const struct tpc_value map = { TPC_MAP, 0, 1, { .members = &m } };
    return number(d->settings, "SlaveID", 1, 255, ret) ||
           number(d->config, "SlaveID", 1, 255, ret) || number(&map, "address", 1, 255, ret);
}

char *tables_slave(const struct tpc_service_device *d, tables_say_fn *say)
{
    const struct tpc_value *rows = tpc_value_get(d->config, TPC_STR("CommandRawList"));
    struct text t = { malloc(SLAVE_BYTES_MAX), 0, SLAVE_BYTES_MAX - 8, false };
    char device[NAME_MAX_BYTES], line[160];
    long unit;
    snprintf(device, sizeof(device), "%.*s", (int) d->number.len,
             d->number.len > 0 ? d->number.ptr : "");
    if (rows == NULL || rows->type != TPC_ARRAY || rows->len == 0) {
        rows = tpc_value_get(d->settings, TPC_STR("CommandRawList"));
    }
    const char *why = t.ptr == NULL                       ? "out of memory"
                      : !plain(d->device, NAME_MAX_BYTES) ? "its id cannot be"
                      : !unit_of(d, &unit) ? "neither SlaveID nor address is 1 to 255"
                      : rows == NULL || rows->type != TPC_ARRAY ? "there is no table CommandRawList"
                      : rows->len > ROWS_MAX                    ? "CommandRawList is too long"
                                                                : NULL;
    if (why != NULL) {
        say(device, why);
        free(t.ptr);
        return NULL;
    }
    put(&t, "{\"device\":\"%.*s\",\"unit\":%ld,\"tags\":[", (int) d->device.len, d->device.ptr,
        unit);
    size_t empty = t.len;
    for (size_t i = 0; i < rows->len; i++) {
        why = put_row(&t, &rows->as.items[i]);
        if (why != NULL) {
            snprintf(line, sizeof(line), "CommandRawList[%zu]: %s", i, why);
            say(device, line);
        }
    }
    bool any = t.len > empty;
    t.cap = SLAVE_BYTES_MAX;
    put(&t, "]}");
    char *ret = any && !t.bad ? strdup(t.ptr) : NULL;
    free(t.ptr);
    return ret;
}
