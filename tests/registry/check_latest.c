/* Latest values as bytes, and back into a registry that may have changed meanwhile. */
#include "registry_suites.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <tpcore/json.h>

#include "base/buf.h"
#include "registry/device.h"
#include "store/memory.h"
#include "store_suite.h"
#include "tk_env.h"

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

static const char mixed[] =
    TPC_JSON({ "key" : "mixed",
               "model" : { "properties" : [
                   { "id" : "d", "type" : "double" }, { "id" : "i", "type" : "int" },
                   { "id" : "b", "type" : "bool" }, { "id" : "t", "type" : "text", "length" : 9000 },
                   { "id" : "m",
                     "type" : "struct",
                     "fields" : [ { "id" : "x", "type" : "int" }, { "id" : "s", "type" : "text" } ] },
                   { "id" : "l", "type" : "array", "items" : { "type" : "text" } }
               ] } });

/* d and m are gone, i is a text now, n is new, the others stand elsewhere. */
static const char other[] =
    TPC_JSON({ "key" : "mixed",
               "model" : { "properties" : [
                   { "id" : "n", "type" : "int" }, { "id" : "t", "type" : "text", "length" : 9000 },
                   { "id" : "b", "type" : "bool" }, { "id" : "i", "type" : "text" },
                   { "id" : "l", "type" : "array", "items" : { "type" : "text" } }
               ] } });

enum { D, I, B, T, M, L, PROPERTIES };
static const struct tpc_str none = { "", 0 };
static const struct tpc_value no_options = { .type = TPC_MAP };

/* A registry with device t1 of product mixed. */
struct world {
    struct tk_env env;
    struct tpi_env used;
    void *store;
    struct tpi_registry *registry;
    struct tpi_entities *entities;
    struct tpc_device *device;
    struct tpc_arena *arena;
};

static int put(struct world *w, const char *kind, const char *json)
{
    struct tpc_error err = { .size = sizeof(err) };
    return tpi_entities_put(w->entities, NULL, kind, tpc_str_from(json), TPC_ANY_REV, &err, NULL);
}

static void begin(struct world *w)
{
    struct tpi_registry_host host = { .partitions = 4, .codec_find = codec_find };
    tk_env_init(&w->env);
    w->used = w->env.env;
    w->store = store_open(&tpi_store_memory, &no_options);
    tk_ok(tpi_registry_create(&w->used, &host, NULL, &w->registry));
    tk_ok(tpi_entities_create(&w->env.env, &tpi_store_memory, w->store, NULL, &w->entities));
    for (uint32_t i = 0; i < TPI_REGISTRY_KINDS; i++) {
        tk_ok(tpi_entities_add_kind(w->entities, &tpi_registry_kinds(w->registry)[i], NULL));
    }
    tk_ok(tpi_entities_load(w->entities, NULL));
    tk_ok(put(w, "product", mixed));
    tk_ok(put(w, "device", "{\"key\":\"t1\",\"product\":\"mixed\"}"));
    w->device = tpi_registry_find(w->registry, none, TPC_STR("t1"));
    tk_ok(tpc_arena_create(NULL, 0, &w->arena));
}

static void end(struct world *w)
{
    w->used = w->env.env;
    tpc_arena_destroy(w->arena);
    tpi_entities_destroy(w->entities);
    tpi_registry_destroy(w->registry);
    store_close(&tpi_store_memory, w->store);
    tk_env_fini(&w->env);
}

static int set(struct world *w, uint32_t index, const char *json, int64_t unix_ms)
{
    struct tpc_value v;
    tk_ok(tpc_json_parse(w->arena, tpc_str_from(json), 0, NULL, &v));
    if (index == D && v.type == TPC_INT) {
        v = (struct tpc_value){ TPC_DOUBLE, 0, 0, { .d = (double) v.as.i } };
    }
    return tpi_device_latest_set(w->device, index, &v, unix_ms);
}

static void set_all(struct world *w)
{
    tk_ok(set(w, D, "20.5", 1000));
    tk_ok(set(w, I, "-9223372036854775808", INT64_MIN + 5));
    tk_ok(set(w, B, "true", 2000));
    tk_ok(set(w, T, "\"\"", INT64_MAX));
    tk_ok(set(w, M, "{\"x\":5,\"s\":\"abc\"}", -1));
    tk_ok(set(w, L, "[\"a\",\"\",\"bcd\"]", 0));
    tpi_device_seen(w->device, 12345);
}

/* "20.5@1000 ..." of all properties. */
static const char *show(struct world *w)
{
    static char out[600];
    static uint8_t room[20000];
    uint32_t count = tpi_model_property_count(w->device->product->model);
    out[0] = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct tpc_buf buf = { room, sizeof(room), 0 };
        struct tpc_value v;
        int64_t ms;
        size_t len = strlen(out);
        if (tpi_device_latest_copy(w->device, i, &buf, &v, &ms) != 0) {
            snprintf(out + len, sizeof(out) - len, "- ");
            continue;
        }
        struct tpc_buf to = { (uint8_t *) out + len, 200, 0 };
        int rc = tpc_json_write(&v, 0, &to);
        len += rc == 0 ? to.need : 0;
        snprintf(out + len, sizeof(out) - len, "@%lld ", (long long) ms);
    }
    return out;
}

static struct tpi_buf pack(struct world *w)
{
    struct tpi_buf b;
    tpi_buf_init(&b, NULL, 0);
    tk_ok(tpi_device_latest_pack(w->device, &b));
    return b;
}

struct missing {
    int count;
    uint16_t property;
    int64_t unix_ms;
};

static int on_missing(void *user, struct tpc_device *d, uint16_t property, int64_t unix_ms)
{
    struct missing *m = user;
    (void) d;
    *m = (struct missing){ m->count + 1, property, unix_ms };
    return 0;
}

static int unpack(struct world *w, const struct tpi_buf *b, int64_t before, struct missing *m)
{
    return tpi_device_latest_unpack(w->device, (struct tpc_bytes){ b->ptr, b->len }, before,
                                    w->arena, m != NULL ? on_missing : NULL, m);
}

#define ALL                                                                                        \
    "20.5@1000 -9223372036854775808@-9223372036854775803 true@2000 \"\"@9223372036854775807 "      \
    "{\"x\":5,\"s\":\"abc\"}@-1 [\"a\",\"\",\"bcd\"]@0 "

START_TEST(values_of_every_type_and_time_come_back)
{
    struct world a, b;
    begin(&a);
    begin(&b);
    struct tpi_buf bytes = pack(&a);
    ck_assert_uint_eq(bytes.len, 0); /* nothing to tell */
    set_all(&a);
    ck_assert_str_eq(show(&a), ALL);
    bytes = pack(&a);
    struct missing m = { 0 };
    tk_ok(unpack(&b, &bytes, INT64_MAX, &m));
    ck_assert_str_eq(show(&b), ALL);
    ck_assert_int_eq(m.count, 0);
    ck_assert_int_eq(atomic_load(&b.device->last_seen_unix_ms), 12345);
    tpi_buf_fini(&bytes);
    end(&a);
    end(&b);
}
END_TEST

START_TEST(what_is_there_and_not_older_stays)
{
    struct world a, b;
    begin(&a);
    begin(&b);
    set_all(&a);
    struct tpi_buf bytes = pack(&a);
    tk_ok(set(&b, D, "1.5", 1000));
    tk_ok(set(&b, B, "false", 1999));
    tk_ok(set(&b, M, "{\"x\":6}", 0));
    tk_ok(unpack(&b, &bytes, INT64_MAX, NULL));
    ck_assert_ptr_nonnull(strstr(show(&b), "1.5@1000 "));
    ck_assert_ptr_nonnull(strstr(show(&b), " true@2000 "));
    ck_assert_ptr_nonnull(strstr(show(&b), " {\"x\":6}@0 "));
    tpi_buf_fini(&bytes);
    end(&a);
    end(&b);
}
END_TEST

START_TEST(values_find_their_property_in_a_changed_model)
{
    struct world a, b;
    begin(&a);
    begin(&b);
    set_all(&a);
    struct tpi_buf bytes = pack(&a);
    tk_ok(put(&b, "product", other));
    tk_ok(unpack(&b, &bytes, INT64_MAX, NULL));
    ck_assert_str_eq(show(&b), "- \"\"@9223372036854775807 true@2000 - [\"a\",\"\",\"bcd\"]@0 ");
    tk_ok(put(&b, "product",
              "{\"key\":\"second\",\"model\":{\"properties\":[{\"id\":\"x\","
              "\"type\":\"double\"}]}}"));
    tk_ok(put(&b, "device", "{\"key\":\"t1\",\"product\":\"second\"}"));
    tk_ok(unpack(&b, &bytes, INT64_MAX, NULL));
    ck_assert_str_eq(show(&b), "- ");
    tpi_buf_fini(&bytes);
    end(&a);
    end(&b);
}
END_TEST

START_TEST(what_does_not_fit_is_told_by_its_time)
{
    struct world a, b;
    char text[8200];
    begin(&a);
    begin(&b);
    set_all(&a);
    memset(text, 'x', sizeof(text));
    text[0] = '"';
    memcpy(text + sizeof(text) - 2, "\"", 2);
    tk_ok(set(&a, T, text, INT64_MAX));
    struct tpi_buf bytes = pack(&a);
    ck_assert_uint_lt(bytes.len, 200);
    struct missing m = { 0 };
    tk_ok(unpack(&b, &bytes, INT64_MAX, &m));
    ck_assert_int_eq(m.count, 1);
    ck_assert_uint_eq(m.property, 4);
    ck_assert_int_eq(m.unix_ms, INT64_MAX);
    ck_assert_ptr_nonnull(strstr(show(&b), "true@2000 - {"));
    tpi_buf_fini(&bytes);
    end(&a);
    end(&b);
}
END_TEST

/* The device's clock is a day behind ours; its newest value came when it was last seen. */
START_TEST(only_what_came_before_a_time_is_taken)
{
    struct world a, b;
    int64_t now = 1795176000000, day = 86400000, hour = 3600000;
    begin(&a);
    begin(&b);
    tk_ok(set(&a, D, "1.5", now - day));
    tk_ok(set(&a, I, "2", now - day - hour));
    tk_ok(set(&a, B, "true", now - day - hour / 2));
    tpi_device_seen(a.device, now);
    struct tpi_buf bytes = pack(&a);
    tk_ok(unpack(&b, &bytes, now - hour / 2, NULL));
    ck_assert_str_eq(show(&b), "- 2@1795086000000 - - - - ");
    tk_ok(unpack(&b, &bytes, now + 1, NULL));
    ck_assert_str_eq(show(&b), "1.5@1795089600000 2@1795086000000 true@1795087800000 - - - ");
    tpi_buf_fini(&bytes);
    end(&a);
    end(&b);
}
END_TEST

START_TEST(damaged_bytes_are_an_error_or_values_but_never_a_crash)
{
    struct world a;
    begin(&a);
    set_all(&a);
    struct tpi_buf bytes = pack(&a);
    int errors = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            struct world b;
            struct missing m = { 0 };
            bytes.ptr[i] ^= (uint8_t) (1 << bit);
            begin(&b);
            int rc = unpack(&b, &bytes, INT64_MAX, &m);
            ck_assert(rc == 0 || rc == TPC_ECORRUPT || rc == TPC_EVERSION);
            errors += rc != 0;
            (void) show(&b);
            end(&b);
            bytes.ptr[i] ^= (uint8_t) (1 << bit);
        }
    }
    ck_assert_int_gt(errors, 8);
    for (size_t len = 0; len < bytes.len; len++) {
        struct world b;
        struct tpi_buf part = bytes;
        part.len = len;
        begin(&b);
        (void) unpack(&b, &part, INT64_MAX, NULL);
        end(&b);
    }
    tpi_buf_fini(&bytes);
    end(&a);
}
END_TEST

static int pack_poorly(const struct tpc_allocator *alloc, void *user)
{
    struct world *w = user;
    struct tpi_buf b;
    w->used.alloc = alloc;
    tpi_buf_init(&b, alloc, 0);
    int rc = tpi_device_latest_pack(w->device, &b);
    ck_assert(rc == 0 || b.len == 0);
    tpi_buf_fini(&b);
    w->used.alloc = w->env.env.alloc;
    return rc;
}

START_TEST(running_out_of_memory_packs_nothing)
{
    struct world a;
    begin(&a);
    set_all(&a);
    ck_assert_uint_gt(tk_each_alloc_fails(pack_poorly, &a), 2);
    end(&a);
}
END_TEST

/* ---- packing beside the owner ---- */

enum { WRITES = 20000 };
static atomic_bool writing;

static void *packer(void *user)
{
    struct world *w = user;
    struct world b;
    begin(&b);
    while (atomic_load(&writing)) {
        struct missing m = { 0 };
        struct tpi_buf bytes;
        struct tpc_value v;
        int64_t ms;
        tpi_buf_init(&bytes, NULL, 0);
        tpi_registry_read_lock(w->registry);
        tk_ok(tpi_device_latest_pack(w->device, &bytes));
        tpi_registry_read_unlock(w->registry);
        tk_ok(bytes.len == 0 ? 0 : unpack(&b, &bytes, INT64_MAX, &m));
        if (tpi_device_latest_peek(b.device, D, &v, &ms) == 0) {
            ck_assert_int_eq((int64_t) v.as.d, ms);
        }
        if (tpi_device_latest_peek(b.device, T, &v, &ms) == 0) {
            ck_assert_uint_eq(v.len, (size_t) (ms % 100));
        }
        tpi_buf_fini(&bytes);
    }
    end(&b);
    return NULL;
}

START_TEST(packing_beside_the_owner_sees_whole_values)
{
    struct world a;
    pthread_t thread;
    char text[100];
    begin(&a);
    memset(text, 'x', sizeof(text));
    atomic_store(&writing, true);
    ck_assert_int_eq(pthread_create(&thread, NULL, packer, &a), 0);
    for (int i = 1; i <= WRITES; i++) {
        struct tpc_value d = { TPC_DOUBLE, 0, 0, { .d = i } };
        struct tpc_value t = { TPC_TEXT, 0, (size_t) (i % 100), { .text = text } };
        tpi_registry_read_lock(a.registry);
        tpi_device_latest_begin(a.device);
        tk_ok(tpi_device_latest_put(a.device, D, &d, i));
        tk_ok(tpi_device_latest_put(a.device, T, &t, i));
        tpi_device_latest_end(a.device);
        tpi_device_seen(a.device, i);
        tpi_registry_read_unlock(a.registry);
    }
    atomic_store(&writing, false);
    pthread_join(thread, NULL);
    end(&a);
}
END_TEST

Suite *latest_suite(void)
{
    Suite *s = suite_create("latest bytes");
    TCase *tc = tcase_create("latest bytes");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, values_of_every_type_and_time_come_back);
    tcase_add_test(tc, what_is_there_and_not_older_stays);
    tcase_add_test(tc, values_find_their_property_in_a_changed_model);
    tcase_add_test(tc, what_does_not_fit_is_told_by_its_time);
    tcase_add_test(tc, only_what_came_before_a_time_is_taken);
    tcase_add_test(tc, damaged_bytes_are_an_error_or_values_but_never_a_crash);
    tcase_add_test(tc, running_out_of_memory_packs_nothing);
    tcase_add_test(tc, packing_beside_the_owner_sees_whole_values);
    suite_add_tcase(s, tc);
    return s;
}
