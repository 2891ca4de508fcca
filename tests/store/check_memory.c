#include "store/memory.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "store_suite.h"
#include "tk_env.h"

Suite *memory_suite(void);

static struct tk_env env;
static struct tpc_host host;
static struct tpc_arena *arena;
static char dir[400];

static void setup(void)
{
    static int number;
    tk_env_init(&env);
    host = *store_host();
    host.allocator = &env.alloc.base;
    host.clock = &env.clock.base;
    host.files = &env.files.base;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    snprintf(dir, sizeof(dir), "%s/dump%d", tk_tmpdir(), number++);
}

static void teardown(void)
{
    tpc_arena_destroy(arena);
    tk_env_fini(&env);
}

/* As the core would pass it: checked, defaults filled in. */
static int try_open(const char *more, void **ret)
{
    char text[600];
    struct tpc_value cfg;
    snprintf(text, sizeof(text), "{\"dump_dir\":\"%s\",\"dump_interval\":60000%s}", dir, more);
    tk_ok(tpc_json_parse(arena, tpc_str_from(text), TPC_JSON_COPY, NULL, &cfg));
    return store_try_open(&tpi_store_memory, &host, &cfg, ret);
}

static void *open_store(const char *more)
{
    void *store = NULL;
    tk_ok(try_open(more, &store));
    return store;
}

static void close_store(void *store)
{
    store_close(&tpi_store_memory, store);
}

static int transact(void *store, const struct tpc_store_op *ops, uint32_t n)
{
    return tpi_store_memory.transact(store, ops, n, sizeof(*ops), NULL);
}

static void put_many(void *store, const char *kind, int count)
{
    for (int i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%04d", i);
        struct tpc_store_op op = store_put_op(kind, 1, key, TPC_ANY_REV, 1, "{}");
        tk_ok(transact(store, &op, 1));
    }
}

static uint64_t count_of(void *store, uint32_t space, const char *kind)
{
    uint64_t n = 0;
    tk_ok(tpi_store_memory.count(store, space, tpc_str_from(kind), &n));
    return n;
}

static int files_named(const char *part)
{
    int n = 0;
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d != NULL && (e = readdir(d)) != NULL) {
        n += strstr(e->d_name, part) != NULL ? 1 : 0;
    }
    if (d != NULL) {
        closedir(d);
    }
    return n;
}

START_TEST(a_clean_stop_dumps_fifty_rows_a_file_and_a_start_reads_them)
{
    void *store = open_store("");
    put_many(store, "device", 101);
    put_many(store, "product", 1);
    ck_assert_int_eq(files_named("json"), 0);
    close_store(store);
    ck_assert_int_eq(files_named("entity-device__"), 3);
    ck_assert_int_eq(files_named("entity-product__"), 1);
    ck_assert_int_eq(files_named("dump.json"), 1);
    store = open_store("");
    ck_assert_uint_eq(count_of(store, TPC_SPACE_ENTITY, "device"), 101);
    ck_assert_uint_eq(count_of(store, TPC_SPACE_ENTITY, "product"), 1);
    close_store(store);
}
END_TEST

START_TEST(files_of_deleted_rows_are_removed)
{
    void *store = open_store("");
    put_many(store, "device", 60);
    put_many(store, "product", 1);
    close_store(store);
    store = open_store("");
    struct tpc_store_op del = store_delete_op("product", 1, "k0000", TPC_ANY_REV);
    tk_ok(transact(store, &del, 1));
    for (int i = 0; i < 20; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%04d", i);
        del = store_delete_op("device", 1, key, TPC_ANY_REV);
        tk_ok(transact(store, &del, 1));
    }
    close_store(store);
    ck_assert_int_eq(files_named("entity-product__"), 0);
    ck_assert_int_eq(files_named("entity-device__"), 1);
    store = open_store("");
    ck_assert_uint_eq(count_of(store, TPC_SPACE_ENTITY, "device"), 40);
    ck_assert_uint_eq(count_of(store, TPC_SPACE_ENTITY, "product"), 0);
    close_store(store);
}
END_TEST

START_TEST(a_dump_comes_once_the_interval_is_over)
{
    void *store = open_store("");
    put_many(store, "device", 1);
    ck_assert_int_eq(files_named("entity"), 0);
    tk_clock_advance(&env.clock, 59000);
    put_many(store, "device", 2);
    ck_assert_int_eq(files_named("entity"), 0);
    tk_clock_advance(&env.clock, 1000);
    put_many(store, "device", 3);
    ck_assert_int_eq(files_named("entity"), 1);
    close_store(store);
}
END_TEST

/* A host with one timer, which the test fires. */
static tpc_timer_fn *timer_fn;
static void *timer_user;

static int host_timer_set(void *ctx, uint64_t delay_ms, tpc_timer_fn *fn, void *user,
                          uint64_t *ret_timer)
{
    (void) ctx;
    ck_assert_uint_eq(delay_ms, 60000);
    timer_fn = fn;
    timer_user = user;
    *ret_timer = 1;
    return 0;
}

static void host_timer_clear(void *ctx, uint64_t timer)
{
    (void) ctx;
    ck_assert_uint_eq(timer, 1);
    timer_fn = NULL;
}

START_TEST(a_quiet_store_is_dumped_by_the_hosts_timer)
{
    host.timer_set = host_timer_set;
    host.timer_clear = host_timer_clear;
    void *store = open_store("");
    put_many(store, "device", 1);
    tk_clock_advance(&env.clock, 60000);
    timer_fn(timer_user);
    ck_assert_int_eq(files_named("entity-device__0.1.json"), 1);
    tk_clock_advance(&env.clock, 60000);
    timer_fn(timer_user);
    ck_assert_int_eq(files_named("entity-device__0.1.json"), 1); /* nothing new, no new dump */
    close_store(store);
    ck_assert(timer_fn == NULL);
}
END_TEST

static void put_secret(void *store)
{
    struct tpc_store_op op = store_put_op("device", 1, "k", TPC_ANY_REV, 1, "hush");
    op.row.space = TPC_SPACE_SECRET;
    tk_ok(transact(store, &op, 1));
}

START_TEST(secrets_are_dumped_only_when_asked_for)
{
    void *store = open_store("");
    put_secret(store);
    put_many(store, "device", 1);
    close_store(store);
    ck_assert_int_eq(files_named("secret"), 0);
    store = open_store(",\"dump_secrets\":true");
    ck_assert_uint_eq(count_of(store, TPC_SPACE_SECRET, "device"), 0);
    put_secret(store);
    close_store(store);
    ck_assert_int_eq(files_named("secret-device__"), 1);
    store = open_store(",\"dump_secrets\":true");
    ck_assert_uint_eq(count_of(store, TPC_SPACE_SECRET, "device"), 1);
    close_store(store);
}
END_TEST

START_TEST(a_dump_that_fails_leaves_the_one_before)
{
    for (size_t nth = 1; nth <= 3; nth++) {
        void *store = open_store("");
        put_many(store, "device", 60);
        close_store(store);
        store = open_store("");
        put_many(store, "device", 200);
        tk_files_fail(&env.files, TK_FILE_SYNC, nth, TPC_EIO, true);
        close_store(store);
        tk_files_heal(&env.files);
        store = open_store("");
        ck_assert_uint_eq(count_of(store, TPC_SPACE_ENTITY, "device"), 60);
        close_store(store);
        snprintf(dir, sizeof(dir), "%s/fails%zu", tk_tmpdir(), nth);
    }
}
END_TEST

START_TEST(a_power_cut_in_a_dump_leaves_a_whole_one)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        snprintf(dir, sizeof(dir), "%s/cut%llu", tk_tmpdir(), (unsigned long long) seed);
        void *store = open_store("");
        put_many(store, "device", 60);
        close_store(store);
        tk_files_track(&env.files, true);
        store = open_store("");
        put_many(store, "device", 120);
        tk_files_fail(&env.files, TK_FILE_SYNC_DIR, 1 + seed % 2, TPC_EIO, true);
        close_store(store);
        tk_files_heal(&env.files);
        tk_files_crash(&env.files, seed);
        tk_files_track(&env.files, false);
        store = open_store("");
        uint64_t n = count_of(store, TPC_SPACE_ENTITY, "device");
        ck_assert_msg(n == 60 || n == 120, "seed %llu: %llu rows", (unsigned long long) seed,
                      (unsigned long long) n);
        close_store(store);
    }
}
END_TEST

START_TEST(a_damaged_dump_is_refused_and_not_written_over)
{
    void *store = open_store("");
    char path[600];
    put_many(store, "device", 1);
    close_store(store);
    snprintf(path, sizeof(path), "%s/entity-device__0.1.json", dir);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs("[{\"kind\":\"device\"", f);
    fclose(f);
    tk_fails(TPC_ECORRUPT, try_open("", &store));
    ck_assert_ptr_nonnull(strstr(store_host_error()->text, "entity-device__0.1.json"));
    tk_fails(TPC_ECORRUPT, try_open("", &store));
}
END_TEST

START_TEST(bytes_that_are_no_text_survive_a_dump)
{
    static const uint8_t bytes[] = { 0xff, 0x00, 0x80 };
    struct tpc_store_op op = store_put_op("state", 0, "rules/7", TPC_NO_REV, 1, "");
    op.row.space = TPC_SPACE_RECORD;
    op.row.id = UINT64_MAX;
    op.row.doc = (struct tpc_bytes){ bytes, sizeof(bytes) };
    void *store = open_store("");
    tk_ok(transact(store, &op, 1));
    close_store(store);
    store = open_store("");
    op.expect = 1;
    op.row.revision = 2;
    tk_ok(transact(store, &op, 1));
    struct tpc_store_query q = {
        .size = sizeof(q), .space = TPC_SPACE_RECORD, .kind = TPC_STR("state"), .id = UINT64_MAX
    };
    uint64_t n;
    tk_ok(tpi_store_memory.count(store, q.space, q.kind, &n));
    ck_assert_uint_eq(n, 1);
    close_store(store);
}
END_TEST

static int write_without_memory(const struct tpc_allocator *a, void *user)
{
    void *store;
    struct tpc_value none = { .type = TPC_MAP };
    struct tpc_host h = *store_host();
    (void) user;
    h.allocator = a;
    int rc = store_try_open(&tpi_store_memory, &h, &none, &store);
    if (rc != 0) {
        return rc;
    }
    struct tpc_store_op ops[3] = { store_put_op("d", 1, "a", TPC_NO_REV, 1, "A"),
                                   store_put_op("d", 1, "b", TPC_NO_REV, 1, "B"),
                                   store_delete_op("d", 1, "a", 1) };
    rc = transact(store, ops, 3);
    ck_assert_uint_eq(count_of(store, TPC_SPACE_ENTITY, "d"), rc == 0 ? 1 : 0);
    close_store(store);
    return rc;
}

START_TEST(running_out_of_memory_changes_nothing)
{
    ck_assert_uint_gt(tk_each_alloc_fails(write_without_memory, NULL), 2);
}
END_TEST

Suite *memory_suite(void)
{
    Suite *s = suite_create("memory_store");
    TCase *dump = tcase_create("dump");
    tcase_add_checked_fixture(dump, setup, teardown);
    tcase_add_test(dump, a_clean_stop_dumps_fifty_rows_a_file_and_a_start_reads_them);
    tcase_add_test(dump, files_of_deleted_rows_are_removed);
    tcase_add_test(dump, a_dump_comes_once_the_interval_is_over);
    tcase_add_test(dump, a_quiet_store_is_dumped_by_the_hosts_timer);
    tcase_add_test(dump, secrets_are_dumped_only_when_asked_for);
    tcase_add_test(dump, a_dump_that_fails_leaves_the_one_before);
    tcase_add_test(dump, a_power_cut_in_a_dump_leaves_a_whole_one);
    tcase_add_test(dump, a_damaged_dump_is_refused_and_not_written_over);
    tcase_add_test(dump, bytes_that_are_no_text_survive_a_dump);
    suite_add_tcase(s, dump);
    TCase *memory = tcase_create("memory");
    tcase_add_test(memory, running_out_of_memory_changes_nothing);
    suite_add_tcase(s, memory);
    return s;
}
