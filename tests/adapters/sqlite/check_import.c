/* A disk that fills up while devices are imported. */
#include <stdio.h>
#include <string.h>
#include <tpcore/import.h>
#include <tpcore/modules.h>
#include <tpcore/tpcore.h>

#include "faulty_vfs.h"
#include "sqlite_suites.h"
#include "tk.h"

enum { ROWS = 60, BATCH = 10 };

static char csv[ROWS * 40 + 40];
static uint64_t told_good;
static uint64_t told_full;

static struct tpc_core *open_core(const char *dir)
{
    struct tpc_core *core;
    char text[400];
    tk_ok(tpc_core_create(NULL, &core));
    tk_ok(tpc_core_add_module(core, tpc_module_sqlite()));
    snprintf(text, sizeof(text), "{\"dir\":\"%s\",\"vfs\":\"%s\"}", dir, FAULTY_VFS_NAME);
    tk_ok(tpc_core_open(core, "store", "sqlite", tpc_str_from(text)));
    return core;
}

static int64_t read_csv(void *user, void *ptr, size_t len)
{
    size_t *at = user;
    size_t left = strlen(csv) - *at;
    size_t n = left < len ? left : len;
    memcpy(ptr, csv + *at, n);
    *at += n;
    return (int64_t) n;
}

static int on_row(void *user, const struct tpc_import_row *row)
{
    (void) user;
    told_good += row->code == 0;
    told_full += row->code == TPC_ENOSPC;
    ck_assert(row->code == 0 || row->code == TPC_ENOSPC);
    return 0;
}

static int import(struct tpc_core *core, struct tpc_import_result *ret)
{
    struct tpc_import_options o = TPC_IMPORT_OPTIONS_INIT;
    size_t at = 0;
    o.on_row = on_row;
    o.batch_rows = BATCH;
    told_good = 0;
    told_full = 0;
    return tpc_import_csv_from(core, NULL, read_csv, &at, &o, ret);
}

static int count_one(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                     struct tpc_str json)
{
    (void) info;
    (void) key;
    (void) json;
    ++*(uint64_t *) user;
    return 0;
}

/* Devices that a listing by label finds: they stand in the table and in the index. */
static uint64_t count(struct tpc_core *core)
{
    struct tpc_entity_query q = TPC_ENTITY_QUERY_INIT;
    uint64_t n = 0;
    q.kind = TPC_STR("device");
    q.select = TPC_STR("has n");
    tk_ok(tpc_entity_list(core, &q, count_one, &n));
    return n;
}

START_TEST(a_full_disk_ends_an_import_between_two_batches)
{
    struct tpc_import_result r;
    size_t len = (size_t) snprintf(csv, sizeof(csv), "key,product,labels.n,secret,serial\n");
    for (int i = 0; i < ROWS; i++) {
        len += (size_t) snprintf(csv + len, sizeof(csv) - len, "d%d,p,%d,hush,S%d\n", i, i, i);
    }
    int ended = 0;
    for (size_t after = 0; after < 60; after += 7) {
        char dir[400];
        snprintf(dir, sizeof(dir), "%s/full-%u", tk_tmpdir(), (unsigned) after);
        faulty_vfs_reset();
        struct tpc_core *core = open_core(dir);
        tk_ok(tpc_entity_put(core, NULL, "product",
                             TPC_STR("{\"key\":\"p\",\"model\":{\"properties\":[]}}"), TPC_NO_REV,
                             NULL));
        faulty_vfs_full(after);
        int rc = import(core, &r);
        faulty_vfs_reset();
        ck_assert_msg(rc == 0 || rc == TPC_ENOSPC, "%s", tpc_error_name(rc));
        ended += rc != 0;
        ck_assert_uint_eq(r.created, told_good);
        ck_assert_uint_eq(r.failed, told_full);
        ck_assert_uint_eq(told_full, rc != 0 ? BATCH : 0);
        ck_assert_uint_eq(count(core), r.created);
        uint64_t before = r.created;
        tk_ok(import(core, &r));
        ck_assert_uint_eq(r.created, ROWS - before);
        ck_assert_uint_eq(r.updated, before);
        tk_ok(tpc_core_destroy(core));
        core = open_core(dir);
        ck_assert_uint_eq(count(core), ROWS);
        tk_ok(tpc_core_destroy(core));
    }
    ck_assert_int_gt(ended, 2);
}
END_TEST

Suite *import_suite(void)
{
    Suite *s = suite_create("import");
    TCase *tc = tcase_create("disk");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_full_disk_ends_an_import_between_two_batches);
    suite_add_tcase(s, tc);
    return s;
}
