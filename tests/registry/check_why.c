/* Failures of devices: what is kept, what makes room, what comes back from a document. */
#include "registry/why.h"

#include <stdio.h>
#include <string.h>

#include "registry_suites.h"
#include "tk_env.h"

static struct tk_env env;
static struct tpi_why why;

static void setup(void)
{
    tk_env_init(&env);
    tk_ok(tpi_why_init(&why, &env.env));
}

static void teardown(void)
{
    tpi_why_fini(&why);
    tk_env_fini(&env);
}

static int note(const char *device, bool known, uint32_t stage, const char *reason)
{
    struct tpc_why w = TPC_WHY_INIT;
    w.stage = stage;
    w.code = TPC_EDECODE;
    w.known = known;
    w.device = tpc_str_from(device);
    w.reason = tpc_str_from(reason);
    w.origin = TPC_STR("mqtt");
    w.payload = TPC_BYTES("\x01\x02");
    return tpi_why_note(&why, &w);
}

static struct tpi_why_slot slot(const char *device, bool known)
{
    struct tpi_why_slot s;
    ck_assert(tpi_why_find(&why, known, TPC_STR("main"), tpc_str_from(device), &s));
    return s;
}

static void expect(const struct tpi_why_slot *s, uint32_t i, const char *reason, uint32_t times)
{
    struct tpc_why w;
    ck_assert_uint_lt(i, s->count);
    tpi_why_view(s, i, &w);
    ck_assert_msg(tpc_str_equal(w.reason, tpc_str_from(reason)), "%.*s is not %s",
                  (int) w.reason.len, w.reason.ptr, reason);
    ck_assert_uint_eq(w.times, times);
}

START_TEST(the_last_failures_are_kept_newest_first)
{
    char text[20];
    for (int i = 0; i < 9; i++) {
        snprintf(text, sizeof(text), "reason %d", i);
        tk_ok(note("d1", true, TPC_WHY_DECODE, text));
    }
    struct tpi_why_slot s = slot("d1", true);
    ck_assert_uint_eq(s.count, TPI_WHY_ENTRIES);
    expect(&s, 0, "reason 8", 1);
    expect(&s, TPI_WHY_ENTRIES - 1, "reason 3", 1);
    ck_assert(!tpi_why_find(&why, false, TPC_STR("main"), TPC_STR("d1"), &s));
}
END_TEST

START_TEST(the_same_again_counts_up)
{
    for (int i = 0; i < 1000; i++) {
        tk_ok(note("d1", true, TPC_WHY_DECODE, "no json"));
    }
    tk_ok(note("d1", true, TPC_WHY_MODEL, "no json"));
    tk_ok(note("d1", true, TPC_WHY_DECODE, "no json"));
    struct tpi_why_slot s = slot("d1", true);
    ck_assert_uint_eq(s.count, 3);
    expect(&s, 2, "no json", 1000);
    expect(&s, 0, "no json", 1);
}
END_TEST

START_TEST(who_failed_longest_ago_makes_room)
{
    char key[20];
    struct tpi_why_slot s;
    for (int i = 0; i < TPI_WHY_DEVICES; i++) {
        snprintf(key, sizeof(key), "d%d", i);
        tk_ok(note(key, true, TPC_WHY_DECODE, "x"));
    }
    tk_ok(note("d0", true, TPC_WHY_DECODE, "again"));
    size_t live = env.alloc.live_bytes;
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "new%d", i);
        tk_ok(note(key, true, TPC_WHY_DECODE, "x"));
    }
    ck_assert_uint_le(env.alloc.live_bytes, live + 1000);
    ck_assert(tpi_why_find(&why, true, TPC_STR("main"), TPC_STR("d0"), &s));
    ck_assert(!tpi_why_find(&why, true, TPC_STR("main"), TPC_STR("d1"), &s));
    ck_assert(!tpi_why_find(&why, true, TPC_STR("main"), TPC_STR("d100"), &s));
    ck_assert(tpi_why_find(&why, true, TPC_STR("main"), TPC_STR("d101"), &s));
    ck_assert_uint_eq(atomic_load(&why.evicted), 100);
    /* A flood of strangers takes nobody's place but strangers'. */
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof(key), "flood%d", i);
        tk_ok(note(key, false, TPC_WHY_AUTH, "unknown"));
    }
    ck_assert(tpi_why_find(&why, true, TPC_STR("main"), TPC_STR("new99"), &s));
    ck_assert_uint_eq(why.strangers.count, TPI_WHY_STRANGERS);
    ck_assert(tpi_why_find(&why, false, TPC_STR("main"), TPC_STR("flood9999"), &s));
}
END_TEST

START_TEST(long_and_odd_bytes_become_short_plain_text)
{
    struct tpc_why w = TPC_WHY_INIT;
    char name[5000];
    char reason[400];
    memset(name, 'n', sizeof(name));
    memset(reason, 'r', sizeof(reason));
    memcpy(reason, "a\x1b[31m\nb", 8);
    memcpy(reason + TPC_WHY_REASON_BYTES - 1, "\xc3\xa9", 2); /* cut in two */
    w.stage = TPC_WHY_AUTH;
    w.device = (struct tpc_str){ name, sizeof(name) };
    w.reason = (struct tpc_str){ reason, sizeof(reason) };
    w.origin = TPC_STR("\xff\xfe x");
    w.payload = (struct tpc_bytes){ (const uint8_t *) name, sizeof(name) };
    tk_ok(tpi_why_note(&why, &w));
    struct tpi_why_slot s;
    ck_assert(tpi_why_at(&why, false, 0, &s));
    tpi_why_view(&s, 0, &w);
    ck_assert_uint_eq(w.device.len, TPC_WHY_KEY_BYTES);
    ck_assert_uint_eq(w.reason.len, TPC_WHY_REASON_BYTES - 1);
    ck_assert_mem_eq(w.reason.ptr, "a?[31m?b", 8);
    ck_assert(tpc_str_equal(w.origin, TPC_STR("?? x")));
    ck_assert_uint_eq(w.payload.len, TPC_WHY_PAYLOAD_BYTES);
    ck_assert_uint_eq(w.payload_bytes, sizeof(name));
}
END_TEST

START_TEST(a_document_brings_it_all_back)
{
    static uint8_t doc[TPI_WHY_DOC_BYTES];
    struct tpc_buf buf = { doc, sizeof(doc), 0 };
    struct tpi_why_slot back;
    struct tpi_why_slot s;
    struct tpc_arena *arena;
    uint32_t number = 0;
    tk_ok(note("d1", true, TPC_WHY_DECODE, "no \"json\" \\ here"));
    tk_ok(note("d1", true, TPC_WHY_SEND, "no answer"));
    ck_assert(tpi_why_dirty(&why, true, &number, &s));
    ck_assert(!tpi_why_dirty(&why, true, &number, &back));
    tpi_why_again(&why, &s);
    number = 0;
    ck_assert(tpi_why_dirty(&why, true, &number, &back));
    tk_ok(tpi_why_write(&s, &buf));
    tpi_why_fini(&why);
    tk_ok(tpi_why_init(&why, &env.env));
    tk_ok(tpc_arena_create(&env.alloc.base, 0, &arena));
    tk_ok(tpi_why_read(arena, (struct tpc_bytes){ doc, buf.need }, &back));
    back.number = s.number;
    tk_ok(tpi_why_restore(&why, &back));
    tk_ok(tpi_why_restore(&why, &back)); /* once is enough */
    ck_assert_uint_eq(why.devices.count, 1);
    back = slot("d1", true);
    expect(&back, 0, "no answer", 1);
    expect(&back, 1, "no \"json\" \\ here", 1);
    ck_assert_uint_eq(back.entries[1].payload_len, 2);
    ck_assert_uint_eq(back.entries[1].payload[1], 2);
    ck_assert_uint_eq(back.entries[1].stage, TPC_WHY_DECODE);
    ck_assert_int_eq(back.entries[1].unix_ms, s.entries[1].unix_ms);
    static const char *const bad[] = { "",
                                       "{",
                                       "[]",
                                       "{}",
                                       "{\"tenant\":\"m\",\"device\":\"d\"}",
                                       "{\"tenant\":1,\"device\":2,\"failures\":3}" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tpc_str text = tpc_str_from(bad[i]);
        tk_fails(
            TPC_ECORRUPT,
            tpi_why_read(arena, (struct tpc_bytes){ (const uint8_t *) text.ptr, text.len }, &back));
    }
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(a_lack_of_memory_is_counted)
{
    for (size_t i = 1; i < 4; i++) {
        env.alloc.fail_at = env.alloc.count + i;
        int rc = note("d1", true, TPC_WHY_DECODE, "x");
        env.alloc.fail_at = 0;
        ck_assert(rc == 0 || rc == TPC_ENOMEM);
        ck_assert_uint_eq(atomic_load(&why.lost), rc == 0 ? i - 1 : i);
        if (rc == 0) {
            break;
        }
    }
    tk_ok(note("d1", true, TPC_WHY_DECODE, "x"));
}
END_TEST

/* Takes at most max; the sum of their times, "device:reason " each into text. */
static uint32_t take(uint32_t max, char text[256])
{
    struct tpi_why_slot s;
    struct tpc_why w;
    uint32_t entry, sum = 0, left = tpi_why_take_begin(&why);
    text[0] = '\0';
    for (uint32_t n = 0; n < max && tpi_why_take(&why, &left, &s, &entry); n++) {
        size_t at = strlen(text);
        tpi_why_view(&s, entry, &w);
        sum += w.times;
        snprintf(text + at, 256 - at, "%.*s:%.*s ", (int) w.device.len, w.device.ptr,
                 (int) w.reason.len, w.reason.ptr);
    }
    return sum;
}

START_TEST(what_was_taken_comes_again_only_with_what_is_new)
{
    char text[256];
    ck_assert_uint_eq(take(99, text), 0);
    tk_ok(note("d1", true, TPC_WHY_ACL, "a"));
    tk_ok(note("d1", true, TPC_WHY_ACL, "b"));
    tk_ok(note("d1", true, TPC_WHY_ACL, "b"));
    tk_ok(note("who", false, TPC_WHY_AUTH, "c"));
    ck_assert_uint_eq(take(99, text), 4);
    ck_assert_str_eq(text, "d1:a d1:b who:c ");
    ck_assert_uint_eq(take(99, text), 0);
    tk_ok(note("d1", true, TPC_WHY_ACL, "b"));
    ck_assert_uint_eq(take(99, text), 1);
    ck_assert_str_eq(text, "d1:b ");
    struct tpi_why_slot s = slot("d1", true);
    expect(&s, 0, "b", 3); /* what is kept counts on */
    ck_assert_uint_eq(atomic_load(&why.missed), 0);
}
END_TEST

START_TEST(who_comes_late_in_the_table_is_taken_although_the_first_ones_fail_on)
{
    char text[256];
    tk_ok(note("d1", true, TPC_WHY_ACL, "a"));
    tk_ok(note("d2", true, TPC_WHY_ACL, "a"));
    tk_ok(note("d3", true, TPC_WHY_ACL, "a"));
    for (int i = 1; i <= 3; i++) {
        char expected[16];
        snprintf(expected, sizeof(expected), "d%d:a ", i);
        (void) take(1, text);
        ck_assert_str_eq(text, expected);
        tk_ok(note("d1", true, TPC_WHY_ACL, "a"));
    }
    ck_assert_uint_eq(take(99, text), 3);
    ck_assert_str_eq(text, "d1:a ");
}
END_TEST

START_TEST(what_makes_room_before_it_was_taken_is_counted)
{
    char text[256], name[16];
    tk_ok(note("s0", false, TPC_WHY_AUTH, "before anybody takes"));
    for (uint32_t i = 1; i <= TPI_WHY_STRANGERS; i++) {
        snprintf(name, sizeof(name), "s%u", (unsigned) i);
        tk_ok(note(name, false, TPC_WHY_AUTH, "x"));
    }
    ck_assert_uint_eq(atomic_load(&why.missed), 0);
    (void) take(0, text); /* nothing yet, but somebody will */
    tk_ok(note("s129", false, TPC_WHY_AUTH, "x"));
    ck_assert_uint_eq(atomic_load(&why.missed), 1); /* s1 */
    (void) take(1, text);                           /* s128 is where s0 was */
    ck_assert_str_eq(text, "s128:x ");
    tk_ok(note("more", false, TPC_WHY_AUTH, "x"));
    ck_assert_uint_eq(atomic_load(&why.missed), 2); /* s2 */
    for (int i = 0; i < 4 * TPI_WHY_ENTRIES; i++) {
        tk_ok(note("d1", true, i % 2 == 0 ? TPC_WHY_AUTH : TPC_WHY_ACL, "in turn"));
    }
    ck_assert_uint_eq(atomic_load(&why.missed), 2 + 3 * TPI_WHY_ENTRIES);
}
END_TEST

START_TEST(a_front_says_how_often_it_came)
{
    struct tpc_why w = TPC_WHY_INIT;
    w.stage = TPC_WHY_AUTH;
    w.device = TPC_STR("d1");
    w.known = 1;
    w.times = 7;
    tk_ok(tpi_why_note(&why, &w));
    tk_ok(tpi_why_note(&why, &w));
    struct tpi_why_slot s = slot("d1", true);
    expect(&s, 0, "", 14);
    w.times = UINT32_MAX;
    tk_ok(tpi_why_note(&why, &w));
    s = slot("d1", true);
    expect(&s, 0, "", UINT32_MAX);
}
END_TEST

Suite *why_suite(void)
{
    Suite *s = suite_create("why");
    TCase *t = tcase_create("table");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_last_failures_are_kept_newest_first);
    tcase_add_test(t, the_same_again_counts_up);
    tcase_add_test(t, who_failed_longest_ago_makes_room);
    tcase_add_test(t, long_and_odd_bytes_become_short_plain_text);
    tcase_add_test(t, a_document_brings_it_all_back);
    tcase_add_test(t, a_lack_of_memory_is_counted);
    tcase_add_test(t, what_was_taken_comes_again_only_with_what_is_new);
    tcase_add_test(t, who_comes_late_in_the_table_is_taken_although_the_first_ones_fail_on);
    tcase_add_test(t, what_makes_room_before_it_was_taken_is_counted);
    tcase_add_test(t, a_front_says_how_often_it_came);
    suite_add_tcase(s, t);
    return s;
}
