/* Straight to points and by the general readers: generated messages, and what mutations make of
 * them, end alike; and what should go straight does. */
#include "../conform/twin.h"
#include "base/crypto.h"
#include "suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <tpcore/cbor.h>
#include <tpcore/json.h>

enum { ROUNDS = 60000, TEXT_BYTES = 4096, ENVELOPE_BYTES = 8192 };

static struct twin *twin;
static uint64_t seed;

static void setup(void)
{
    seed = 20261121;
    twin = twin_create();
}

static void teardown(void)
{
    twin_destroy(twin);
}

static uint32_t below(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t) (seed >> 33) % n;
}

static const char *const keys[] = {
    "t",
    "n7chars",
    "eight_ch",
    "nine_char",
    "sixteen_char_key",
    "seventeen_chars_k",
    "a_key_that_is_longer_than_twenty_four_bytes",
    "a_key_that_is_longer_than_twenty_four_bytez",
    "mode",
    "when",
    "pos",
    "list",
    "温度",
    "a\\\"b\\\\c",
    "T",
    "\\u0074",
    "MODE",
    "former_key",
    "tau",
    "TAU",
    "unknown",
    "x",
    "",
    "k0",
    "k64",
    "k128",
    "k1",
    "k2",
    "k3",
    "the_same7all_over",
    "the_same17all_over",
    "the_same27all_over",
    "the_same37all_over",
    "the_same47all_over",
};
static const char *const values[] = {
    "0",
    "-0",
    "-0.0",
    "0.0",
    "7",
    "-40",
    "125",
    "125.1",
    "-40.000001",
    "21.5",
    "1013.25",
    "99.99999",
    "0.1",
    "0.1234567",
    "12345678",
    "1234567.8",
    "123456789",
    "12345678.125",
    "100000",
    "100001",
    "01",
    "1.",
    ".5",
    "-",
    "1e2",
    "1E-2",
    "5e0",
    "1.5e1",
    "1e400",
    "-1e400",
    "1e-400",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551616",
    "1.7976931348623157e308",
    "4.9e-324",
    "3.4e38",
    "3.5e38",
    "123456789012345678901234567890",
    "0.30000000000000004",
    "9007199254740993",
    "true",
    "false",
    "null",
    "tru",
    "nul",
    "\"true\"",
    "\"NaN\"",
    "\"21.5\"",
    "\"2\"",
    "\"on\"",
    "\"\"",
    "\"plain text\"",
    "\"ein größerer Text ✓ 运行中\"",
    "\"\\u6b63\\ud83d\\ude00\\n\"",
    "\"\\ud83d\"",
    "\"a\\x\"",
    "\"forty-one bytes of text are one too many.\"",
    "\"2026-11-20T12:00:00.250+01:00\"",
    "\"2026-13-20\"",
    "1795176000000",
    "{}",
    "[]",
    "{\"lat\":1.5,\"lon\":2}",
    "{\"lat\":91}",
    "{\"lon\":1}",
    "{\"lat\":1,\"lat\":2}",
    "{\"value\":21.5,\"time\":1795176000000}",
    "[1,2,3]",
    "[1,2,3,4,5]",
    "[51]",
    "[1,[2,{\"a\":null}]]",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    "nan",
    "inf",
    "\"\xff\"",
    "\"\t\"",
};
static const char *const blanks[] = { "", "", "", "", " ", " ", "\n", "\t \r", "\v" };

enum { KEYS = sizeof(keys) / sizeof(keys[0]), VALUES = sizeof(values) / sizeof(values[0]) };

static const char *blank(void)
{
    return blanks[below(4) == 0 ? below(sizeof(blanks) / sizeof(blanks[0])) : 0];
}

/* A flat object; mostly in an order that comes again, mostly of values that are taken. */
static size_t flat(char *out)
{
    size_t at = (size_t) snprintf(out, TEXT_BYTES, "%s{%s", blank(), blank());
    uint32_t count = below(10);
    uint32_t key = below(4) == 0 ? below(KEYS) : 0;
    for (uint32_t i = 0; i < count; i++) {
        const char *value = values[below(5) == 0 ? below(VALUES) : below(16)];
        key = below(6) == 0 ? below(KEYS) : (key + 1) % KEYS;
        at += (size_t) snprintf(out + at, TEXT_BYTES - at, "%s%s\"%s\"%s:%s%s%s", i == 0 ? "" : ",",
                                blank(), keys[key], blank(), blank(), value, blank());
    }
    return at + (size_t) snprintf(out + at, TEXT_BYTES - at, "}%s%s", blank(),
                                  below(40) == 0 ? "x" : "");
}

static size_t alink(const char *params, char *out)
{
    static const char *const shapes[] = {
        "{\"requestId\":\"1\",\"method\":\"thing.property.post\",\"params\":%s}",
        "{\"id\": 5, \"method\": \"thing.property.post\", \"params\": %s }",
        "{\"params\":%s,\"method\":\"thing.property.post\"}",
        "{\"method\":\"thing.property.post\",\"params\":%s,\"code\":0}",
        "{\"method\":\"thing.property.post\",\"params\":%s,\"params\":{\"t\":1}}",
        "{\"method\":\"thing.property.post\",\"params\":%s,\"method\":\"thing.event.post\"}",
        "{\"method\":\"thing.property.post_reply\",\"data\":%s}",
        "{\"method\":\"thing.event.property.pack.post\",\"params\":{\"properties\":%s}}",
        "{\"method\":\"thing.event.post\",\"params\":{\"identifier\":\"alarm\",\"value\":%s}}",
        "{\"method\":\"thing.property.post\",\"params\":%s",
    };
    const char *shape = shapes[below(3) == 0 ? below(sizeof(shapes) / sizeof(shapes[0])) : 0];
    /* Part of the format is the text's own: no other directive is in it. */
    const char *hole = strstr(shape, "%s");
    return (size_t) snprintf(out, ENVELOPE_BYTES, "%.*s%s%s", (int) (hole - shape), shape, params,
                             hole + 2);
}

static size_t wrap(const char *values_text, size_t len, char *out)
{
    char base64[TPI_BASE64_BYTES(TEXT_BYTES)];
    if (below(3) == 0) {
        return (size_t) snprintf(out, ENVELOPE_BYTES, "{\"values\":%s,\"device_id\":\"d1\"}",
                                 values_text);
    }
    tpi_base64_encode(values_text, len, base64);
    return (size_t) snprintf(out, ENVELOPE_BYTES, "{\"device_id\":\"d1\",\"values\":\"%s\"}",
                             base64);
}

/* The object as CBOR, if it is one. */
static size_t as_cbor(const char *text, size_t len, uint8_t *out)
{
    struct tpc_arena *arena;
    struct tpc_value v;
    struct tpc_buf buf = { out, ENVELOPE_BYTES, 0 };
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    int rc =
        tpc_json_parse(arena, (struct tpc_str){ text, len }, TPC_JSON_ALLOW_DUPLICATES, NULL, &v);
    rc = rc != 0 ? rc : tpc_cbor_write(&v, &buf);
    tpc_arena_destroy(arena);
    return rc == 0 ? buf.need : 0;
}

static size_t mutate(uint8_t *p, size_t len)
{
    static const char odd[] = "\"\\{}[]:,.-eE019 \n\x80\xff";
    for (uint32_t n = below(3); n > 0 && len > 1; n--) {
        size_t at = below((uint32_t) len);
        switch (below(5)) {
        case 0:
            p[at] = (uint8_t) below(256);
            break;
        case 1:
            p[at] = (uint8_t) odd[below(sizeof(odd) - 1)];
            break;
        case 2:
            memmove(p + at, p + at + 1, len - at - 1);
            len--;
            break;
        case 3:
            len = at + 1;
            break;
        default:
            p[at] ^= (uint8_t) (1 << below(8));
        }
    }
    return len;
}

static void check(const struct twin_frame *f)
{
    /* A block of its own size, so that a sanitizer sees what is read behind it. */
    uint8_t *exact = malloc(f->payload.len + 1);
    struct twin_frame copy = *f;
    ck_assert_ptr_nonnull(exact);
    if (f->payload.len > 0) {
        memcpy(exact, f->payload.ptr, f->payload.len);
    }
    exact = realloc(exact, f->payload.len > 0 ? f->payload.len : 1);
    ck_assert_ptr_nonnull(exact);
    copy.payload.ptr = exact;
    const char *why = twin_compare(twin, &copy, NULL);
    ck_assert_msg(why == NULL, "%s: codec %u kind %u flags %u: %.*s", why, f->codec, f->kind,
                  f->flags, (int) f->payload.len, (const char *) f->payload.ptr);
    free(exact);
}

START_TEST(both_ways_end_alike)
{
    static char text[TEXT_BYTES];
    static uint8_t bytes[ENVELOPE_BYTES];
    for (int i = 0; i < ROUNDS; i++) {
        struct twin_frame f = { .codec = below(TWIN_CODECS) };
        size_t len = flat(text);
        f.kind = below(3) == 0 ? TPC_MSG_ATTRIBUTES : TPC_MSG_UNKNOWN;
        f.flags = (uint16_t) (below(2 * TWIN_OPEN) & ~(uint32_t) TWIN_WRAPPED);
        if (f.codec == TWIN_CBOR) {
            len = as_cbor(text, len, bytes);
        } else if (f.codec == TWIN_ALINK) {
            len = alink(text, (char *) bytes);
        } else if (f.codec == TWIN_THINGSPANEL && below(2) == 0) {
            f.flags |= TWIN_WRAPPED;
            len = wrap(text, len, (char *) bytes);
        } else {
            memcpy(bytes, text, len);
        }
        f.payload = (struct tpc_bytes){ bytes, len };
        check(&f);
        f.payload.len = mutate(bytes, len);
        check(&f);
    }
}
END_TEST

static int goes_straight(uint32_t codec, uint16_t flags, struct tpc_bytes payload)
{
    struct twin_frame f = { .codec = codec, .flags = flags, .payload = payload };
    int straight = 0;
    const char *why = twin_compare(twin, &f, &straight);
    ck_assert_msg(why == NULL, "%s", why);
    return straight;
}

START_TEST(ordinary_messages_go_straight)
{
    static const char *const texts[] = {
        "{\"t\":21.5,\"n7chars\":-7,\"mode\":1}",
        "{ \"mode\" : \"on\", \"t\" : 21.5 , \"x\" : [ 1 ] }\n",
        "{\"seventeen_chars_k\":\"运行\\n\",\"\\u0074\":1e1,\"pos\":{\"lat\":1}}",
        "{\"t\":999,\"n7chars\":null}",
        "{}",
    };
    uint8_t bytes[512];
    char wrapped[512];
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        size_t len = strlen(texts[i]);
        for (uint16_t portable = 0; portable <= TWIN_PORTABLE; portable += TWIN_PORTABLE) {
            ck_assert_int_eq(goes_straight(TWIN_JSON, portable, bytes_of(texts[i])), 1);
            ck_assert_int_eq(
                goes_straight(TWIN_THINGSPANEL, portable | TWIN_ANSWERED, bytes_of(texts[i])), 1);
            (void) snprintf(wrapped, sizeof(wrapped),
                            "{\"id\":\"1\",\"method\":\"thing.property.post\",\"params\":%s}",
                            texts[i]);
            ck_assert_int_eq(goes_straight(TWIN_ALINK, portable, bytes_of(wrapped)), 1);
            if (len > 2) { /* an empty object has no values */
                (void) wrap(texts[i], len, wrapped);
                ck_assert_int_eq(
                    goes_straight(TWIN_THINGSPANEL, portable | TWIN_WRAPPED, bytes_of(wrapped)), 1);
            }
        }
    }
    size_t len = as_cbor(texts[0], strlen(texts[0]), bytes);
    ck_assert_int_eq(goes_straight(TWIN_CBOR, 0, (struct tpc_bytes){ bytes, len }), 1);
    ck_assert_int_eq(goes_straight(TWIN_CBOR, TWIN_PORTABLE, (struct tpc_bytes){ bytes, len }), 1);
}
END_TEST

START_TEST(what_is_doubtful_does_not)
{
    static const char *const texts[] = { "{\"t\":1} x", "{\"t\":1e400}", "{\"t\":1,}", "[1]",
                                         "{\"x\":{\"a\":1,\"a\":2}}" };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        ck_assert_int_eq(goes_straight(TWIN_JSON, 0, bytes_of(texts[i])), 0);
    }
    ck_assert_int_eq(goes_straight(TWIN_JSON, 0, bytes_of("{\"t\":1,\"t\":2}")), 1);
    ck_assert_int_eq(goes_straight(TWIN_THINGSPANEL, TWIN_ANSWERED, bytes_of("{\"t\":1,\"t\":2}")),
                     0);
}
END_TEST

Suite *points_suite(void)
{
    Suite *s = suite_create("points");
    TCase *c = tcase_create("straight");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, both_ways_end_alike);
    tcase_add_test(c, ordinary_messages_go_straight);
    tcase_add_test(c, what_is_doubtful_does_not);
    suite_add_tcase(s, c);
    return s;
}
