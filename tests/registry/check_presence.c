/* The wheel of time-outs: what a memory that is short and times far away do to it. */
#include "registry/presence.h"

#include <stdio.h>
#include <string.h>

#include <tpcore/ext/codec.h>

#include "registry_suites.h"
#include "store/memory.h"
#include "store_suite.h"
#include "tk_env.h"

enum { DEVICES = 300, TIMEOUT_S = 7200, START_S = 1000 };
static const int64_t wall_ms = 1795176000000;

static const struct tpc_codec_ops json_codec = { .iface = TPC_IFACE(struct tpc_codec_ops, 1),
                                                 .name = "json" };

static int codec_find(void *user, struct tpc_str name, const struct tpc_codec_ops **ret_ops,
                      void **ret_self)
{
    (void) user;
    (void) name;
    *ret_ops = &json_codec;
    *ret_self = NULL;
    return 0;
}

struct place {
    struct tk_env e;
    void *store;
    struct tpi_registry *r;
    struct tpi_entities *entities;
};

static void put(struct place *p, const char *kind, const char *json)
{
    struct tpc_error err;
    int rc = tpi_entities_put(p->entities, NULL, kind, tpc_str_from(json), TPC_ANY_REV, &err, NULL);
    ck_assert_msg(rc == 0, "%s: %s", json, err.text);
}

static void setup(struct place *p)
{
    struct tpi_registry_host host = { .partitions = 1, .codec_find = codec_find };
    static const struct tpc_value none = { .type = TPC_MAP };
    char json[200];
    memset(p, 0, sizeof(*p));
    tk_env_init(&p->e);
    p->store = store_open(&tpi_store_memory, &none);
    tk_ok(tpi_registry_create(&p->e.env, &host, NULL, &p->r));
    tk_ok(tpi_entities_create(&p->e.env, &tpi_store_memory, p->store, NULL, &p->entities));
    for (uint32_t i = 0; i < TPI_REGISTRY_KINDS; i++) {
        tk_ok(tpi_entities_add_kind(p->entities, &tpi_registry_kinds(p->r)[i], NULL));
    }
    tk_ok(tpi_entities_load(p->entities, NULL));
    snprintf(json, sizeof(json),
             "{\"key\":\"p\",\"model\":{},\"presence\":{\"mode\":\"idle\",\"timeout\":\"%ds\"}}",
             TIMEOUT_S);
    put(p, "product", json);
    for (int i = 0; i < DEVICES; i++) {
        snprintf(json, sizeof(json), "{\"key\":\"d%d\",\"product\":\"p\"}", i);
        put(p, "device", json);
    }
}

static void teardown(struct place *p)
{
    tpi_entities_destroy(p->entities);
    tpi_registry_destroy(p->r);
    store_close(&tpi_store_memory, p->store);
    tk_env_fini(&p->e);
}

static struct tpc_device *device(struct place *p, int i)
{
    char key[16];
    snprintf(key, sizeof(key), "d%d", i);
    return tpi_registry_find(p->r, (struct tpc_str){ NULL, 0 }, tpc_str_from(key));
}

static int64_t wall(uint64_t mono_ms)
{
    return wall_ms + (int64_t) mono_ms - START_S * 1000LL;
}

/* Takes those that a time brings offline; how many. */
static uint32_t pass(struct tpi_presence *p, uint64_t mono_ms)
{
    struct tpc_device *gone[TPI_PRESENCE_BATCH];
    uint32_t sum = 0;
    while (tpi_presence_due(p, mono_ms)) {
        uint32_t n = tpi_presence_pass(p, mono_ms, wall(mono_ms), gone);
        for (uint32_t i = 0; i < n; i++) {
            (void) tpi_device_presence(gone[i], false, false, wall(mono_ms));
            tpi_device_unref(gone[i]);
        }
        sum += n;
    }
    return sum;
}

START_TEST(times_beyond_the_wheel_are_met_to_the_second)
{
    struct place p;
    struct tpi_presence w;
    setup(&p);
    uint64_t now = START_S * 1000;
    tpi_presence_init(&w, p.r, 0, 1, now, wall(now));
    ck_assert_uint_eq(pass(&w, now), 0);
    for (int i = 0; i < DEVICES; i++) {
        uint64_t at = now + (uint64_t) i * 100;
        (void) tpi_device_presence(device(&p, i), true, false, wall(at));
        tpi_presence_arm(&w, device(&p, i), wall(at));
    }
    uint64_t end = now + TIMEOUT_S * 1000;
    uint32_t gone = 0;
    for (uint64_t t = now; t < end + 32000; t += 1000) {
        uint32_t n = pass(&w, t);
        gone += n;
        ck_assert(t > end || n == 0);
        ck_assert(t <= end || t > end + 30000 || n == 10); /* ten a second, as they came */
    }
    ck_assert_uint_eq(gone, DEVICES);
    ck_assert_uint_eq(w.count, 0);
    ck_assert_uint_eq(tpi_presence_next_ms(&w, end + 40000), UINT64_MAX);
    tpi_presence_fini(&w);
    teardown(&p);
}
END_TEST

START_TEST(a_jump_over_the_whole_wheel_misses_nobody)
{
    struct place p;
    struct tpi_presence w;
    setup(&p);
    uint64_t now = START_S * 1000;
    tpi_presence_init(&w, p.r, 0, 1, now, wall(now));
    for (int i = 0; i < DEVICES; i++) {
        (void) tpi_device_presence(device(&p, i), true, false, wall(now));
    }
    ck_assert_uint_eq(pass(&w, now), 0);
    ck_assert_uint_eq(w.count, DEVICES);
    ck_assert_uint_gt(tpi_presence_next_ms(&w, now), 1000000);
    ck_assert_uint_eq(pass(&w, now + 40 * 86400000ull), DEVICES);
    tpi_presence_fini(&w);
    teardown(&p);
}
END_TEST

/* Whatever of its memory fails: nobody is lost, only later. */
START_TEST(a_lack_of_memory_delays_and_loses_nobody)
{
    struct place p;
    setup(&p);
    for (size_t fail = 1; fail < 8; fail++) {
        struct tpi_presence w;
        uint64_t now = START_S * 1000;
        tpi_presence_init(&w, p.r, 0, 1, now, wall(now));
        for (int i = 0; i < DEVICES; i++) {
            (void) tpi_device_presence(device(&p, i), true, false, wall(now));
        }
        p.e.alloc.fail_at = p.e.alloc.count + fail;
        ck_assert_uint_eq(pass(&w, now), 0);
        (void) tpi_presence_late(&w, device(&p, 0), 7);
        p.e.alloc.fail_at = 0;
        ck_assert_uint_eq(pass(&w, now + 1000), 0);
        ck_assert_uint_eq(w.count, DEVICES);
        uint32_t gone = pass(&w, now + (TIMEOUT_S + 2) * 1000);
        ck_assert_uint_eq(gone, DEVICES);
        tpi_presence_fini(&w);
    }
    teardown(&p);
}
END_TEST

START_TEST(moves_of_those_who_are_not_watched_keep_the_times_of_others)
{
    struct place p;
    struct tpi_presence w;
    setup(&p);
    put(&p, "product", "{\"key\":\"plain\",\"model\":{}}");
    uint64_t now = START_S * 1000;
    tpi_presence_init(&w, p.r, 0, 1, now, wall(now));
    ck_assert_uint_eq(pass(&w, now), 0);
    (void) tpi_device_presence(device(&p, 0), true, false, wall(now));
    tpi_presence_arm(&w, device(&p, 0), wall(now));
    ck_assert_uint_eq(pass(&w, now + TIMEOUT_S * 500), 0);
    put(&p, "device", "{\"key\":\"d1\",\"product\":\"plain\"}");
    put(&p, "device", "{\"key\":\"d1\",\"product\":\"p\"}");
    ck_assert_uint_eq(pass(&w, now + TIMEOUT_S * 600), 0);
    ck_assert_uint_eq(pass(&w, now + (TIMEOUT_S + 1) * 1000), 1);
    tpi_presence_fini(&w);
    teardown(&p);
}
END_TEST

Suite *presence_suite(void)
{
    Suite *s = suite_create("presence");
    TCase *t = tcase_create("wheel");
    tcase_add_test(t, times_beyond_the_wheel_are_met_to_the_second);
    tcase_add_test(t, a_jump_over_the_whole_wheel_misses_nobody);
    tcase_add_test(t, a_lack_of_memory_delays_and_loses_nobody);
    tcase_add_test(t, moves_of_those_who_are_not_watched_keep_the_times_of_others);
    suite_add_tcase(s, t);
    return s;
}
