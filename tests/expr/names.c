#include "names.h"

#include <math.h>
#include <string.h>
#include <tpcore/json.h>

#include "tk.h"

enum { T, H, GONE, ON, MODE, TEXT, LIST, POS, ANY, NANS, BIG, SAME, BLOB };

static const struct name {
    const char *name;
    uint8_t type;
} names[] = {
    [T] = { "t", TPI_EXPR_NUMBER },       [H] = { "h", TPI_EXPR_NUMBER },
    [GONE] = { "gone", TPI_EXPR_NUMBER }, [ON] = { "on", TPI_EXPR_BOOL },
    [MODE] = { "mode", TPI_EXPR_TEXT },   [TEXT] = { "text", TPI_EXPR_TEXT },
    [LIST] = { "list", TPI_EXPR_LIST },   [POS] = { "pos", TPI_EXPR_MAP },
    [ANY] = { "any", TPI_EXPR_ANY },      [NANS] = { "nan", TPI_EXPR_NUMBER },
    [BIG] = { "big", TPI_EXPR_NUMBER },   [SAME] = { "a.b", TPI_EXPR_NUMBER },
    [BLOB] = { "blob", TPI_EXPR_ANY },
};
enum { NAMES = sizeof(names) / sizeof(names[0]) };

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    (void) user;
    for (uint32_t i = 0; i < NAMES; i++) {
        if (tpc_str_equal(name, tpc_str_from(names[i].name))) {
            *ret_index = i;
            *ret_type = names[i].type;
            return 0;
        }
    }
    return TPC_ENOENT;
}

static int constant(void *user, struct tpc_str name, struct tpc_value *ret)
{
    (void) user;
    if (tpc_str_equal(name, TPC_STR("product.key"))) {
        *ret = (struct tpc_value){ .type = TPC_TEXT, .len = 6, .as.text = "thermo" };
        return 0;
    }
    if (tpc_str_equal(name, TPC_STR("product.limit"))) {
        *ret = (struct tpc_value){ .type = TPC_INT, .as.i = 30 };
        return 0;
    }
    return TPC_ENOENT;
}

static const struct tpc_value items[4] = {
    { .type = TPC_INT, .as.i = 5 },
    { .type = TPC_DOUBLE, .as.d = 2.5 },
    { .type = TPC_NULL },
    { .type = TPC_INT, .as.i = 7 },
};

static const struct tpc_member inner[1] = {
    { { "x", 1 }, { .type = TPC_TEXT, .len = 2, .as.text = "in" } },
};

static const struct tpc_member members[3] = {
    { { "lat", 3 }, { .type = TPC_DOUBLE, .as.d = 52.5 } },
    { { "way", 3 }, { .type = TPC_ARRAY, .len = 4, .as.items = items } },
    { { "in", 2 }, { .type = TPC_MAP, .len = 1, .as.members = inner } },
};

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    static const struct tpc_value values[NAMES] = {
        [T] = { .type = TPC_DOUBLE, .as.d = 31.5 },
        [H] = { .type = TPC_INT, .as.i = 40 },
        [ON] = { .type = TPC_BOOL, .as.b = true },
        [MODE] = { .type = TPC_TEXT, .len = 4, .as.text = "auto" },
        [TEXT] = { .type = TPC_TEXT, .len = 13, .as.text = " a,\xc3\xa4,B\",\xe2\x82\xac " },
        [LIST] = { .type = TPC_ARRAY, .len = 4, .as.items = items },
        [POS] = { .type = TPC_MAP, .len = 3, .as.members = members },
        [ANY] = { .type = TPC_TEXT, .len = 2, .as.text = "42" },
        [NANS] = { .type = TPC_DOUBLE, .as.d = NAN },
        [BIG] = { .type = TPC_INT, .as.i = INT64_MIN },
        [SAME] = { .type = TPC_INT, .as.i = 12 },
        [BLOB] = { .type = TPC_BLOB, .len = 1, .as.blob = (const uint8_t *) "b" },
    };
    (void) user;
    *ret = values[index];
    return index != GONE;
}

/* t was 30, h the same, on not there, gone 3. */
static bool previous(void *user, uint32_t index, struct tpc_value *ret)
{
    switch (index) {
    case T:
        *ret = (struct tpc_value){ .type = TPC_INT, .as.i = 30 };
        return true;
    case GONE:
        *ret = (struct tpc_value){ .type = TPC_INT, .as.i = 3 };
        return true;
    case ON:
        return false;
    default:
        return load(user, index, ret);
    }
}

/* Device "m-1" has all of these names; its texts are copied. */
static bool other(void *user, struct tpc_str device, struct tpc_str name,
                  struct tpi_expr_scratch *scratch, struct tpc_value *ret)
{
    uint32_t index;
    uint8_t type;
    if (!tpc_str_equal(device, TPC_STR("m-1")) || resolve(NULL, name, &index, &type) != 0 ||
        !load(user, index, ret)) {
        return false;
    }
    if (ret->type == TPC_TEXT) {
        if (scratch->cap - scratch->used < ret->len) {
            scratch->overflows++;
            return false;
        }
        memcpy(scratch->buf + scratch->used, ret->as.text, ret->len);
        ret->as.text = scratch->buf + scratch->used;
        scratch->used += ret->len;
    }
    return true;
}

/* Saturday, 21 November 2026, 09:05:07.250 UTC */
static int64_t now(void *user)
{
    (void) user;
    return INT64_C(1795251907250);
}

static int64_t event_time(void *user)
{
    return now(user) - 1000;
}

const struct tpi_expr_scope names_scope = { .resolve = resolve,
                                            .constant = constant,
                                            .features = TPI_EXPR_AGE | TPI_EXPR_PREVIOUS |
                                                        TPI_EXPR_OTHER | TPI_EXPR_NOW |
                                                        TPI_EXPR_EVENT };
static bool age(void *user, uint32_t index, int64_t *ret_ms)
{
    struct tpc_value v;
    *ret_ms = 1500;
    return load(user, index, &v);
}

const struct tpi_expr_host names_host = { .load = load,
                                          .previous = previous,
                                          .other = other,
                                          .now = now,
                                          .event_time = event_time,
                                          .age = age };

void names_check(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct tpc_error err = { 0 };
        struct tpi_expr *e = NULL;
        int rc = tpi_expr_compile(NULL, tpc_str_from(rows[i].text), &names_scope, TPI_EXPR_ANY,
                                  &err, &e);
        ck_assert_msg(rc == 0, "%s: %u:%u %s", rows[i].text, err.line, err.column, err.text);
        char room[256];
        struct tpi_expr_scratch scratch = { room, sizeof(room), 0, 0 };
        struct tpc_value v = tpi_expr_eval(e, &names_host, NULL, &scratch);
        uint8_t out[300];
        struct tpc_buf buf = { out, sizeof(out), 0 };
        tk_ok(tpc_json_write(&v, 0, &buf));
        ck_assert_msg(
            buf.need == strlen(rows[i].result) && memcmp(out, rows[i].result, buf.need) == 0,
            "%s = %.*s, not %s", rows[i].text, (int) buf.need, (char *) out, rows[i].result);
        ck_assert_msg(scratch.overflows == 0, "%s: no room", rows[i].text);
        tpi_expr_destroy(e);
    }
}

void names_refuse(const struct refused *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct tpc_error err = { 0 };
        struct tpi_expr *e = NULL;
        int rc = tpi_expr_compile(NULL, tpc_str_from(rows[i].text), &names_scope, TPI_EXPR_ANY,
                                  &err, &e);
        ck_assert_msg(rc == TPC_EINVAL, "%s: %d", rows[i].text, rc);
        ck_assert_str_eq(err.text, rows[i].reason);
        ck_assert_msg(err.line == 1 && err.column == rows[i].column, "%s: %u:%u", rows[i].text,
                      err.line, err.column);
    }
}
