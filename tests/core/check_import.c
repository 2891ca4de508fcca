/* Import of devices from CSV. */
#include <stdio.h>
#include <string.h>
#include <tpcore/import.h>

#include "flow.h"

static char told[8000];
static uint64_t progress_rows;
static const struct tpc_str none = { NULL, 0 };

static void put(struct flow *f, const char *kind, const char *json)
{
    int rc = tpc_entity_put(f->core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s", json, tpc_error_last()->text);
}

static void setup(struct flow *f)
{
    flow_init(f, 0);
    flow_create(f);
    flow_devices(f, 1);
    put(f, "tenant", "{\"key\":\"acme\"}");
    put(f, "group", "{\"key\":\"attic\"}");
}

static int on_row(void *user, const struct tpc_import_row *row)
{
    char line[600];
    (void) user;
    if (row->code == 0) {
        snprintf(line, sizeof(line), "%d %.*s %s\n", (int) row->row, (int) row->key.len,
                 row->key.ptr, row->state == TPC_IMPORT_CREATED ? "created" : "updated");
    } else {
        snprintf(line, sizeof(line), "%d@%d %.*s %s %s: %s\n", (int) row->row, (int) row->line,
                 (int) row->key.len, row->key.len > 0 ? row->key.ptr : "",
                 tpc_error_name(row->code), row->path, row->text);
    }
    strncat(told, line, sizeof(told) - strlen(told) - 1);
    return 0;
}

static int on_progress(void *user, uint64_t rows, uint64_t bytes, uint64_t total)
{
    (void) user;
    (void) total;
    ck_assert_uint_gt(rows, progress_rows);
    ck_assert_uint_gt(bytes, 0);
    progress_rows = rows;
    return 0;
}

/* A file in memory, a few bytes at a time. */
struct text {
    const char *at;
    size_t left;
    size_t step;
};

static int64_t read_text(void *user, void *ptr, size_t len)
{
    struct text *t = user;
    size_t n = t->left < t->step ? t->left : t->step;
    n = n < len ? n : len;
    memcpy(ptr, t->at, n);
    t->at += n;
    t->left -= n;
    return (int64_t) n;
}

static struct tpc_import_result result;

static int import_with(struct flow *f, const char *csv, struct tpc_import_options o)
{
    struct text t = { csv, strlen(csv), 37 };
    told[0] = 0;
    progress_rows = 0;
    o.on_row = on_row;
    o.on_progress = on_progress;
    memset(&result, 0, sizeof(result));
    return tpc_import_csv_from(f->core, NULL, read_text, &t, &o, &result);
}

static int import(struct flow *f, const char *csv)
{
    struct tpc_import_options o = TPC_IMPORT_OPTIONS_INIT;
    o.batch_rows = 3;
    return import_with(f, csv, o);
}

static void expect(uint64_t created, uint64_t updated, uint64_t failed)
{
    ck_assert_uint_eq(result.created, created);
    ck_assert_uint_eq(result.updated, updated);
    ck_assert_uint_eq(result.failed, failed);
    ck_assert_uint_eq(result.rows, created + updated + failed);
}

static char doc[2000];

static int keep(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                struct tpc_str json)
{
    (void) user;
    (void) info;
    (void) key;
    snprintf(doc, sizeof(doc), "%.*s", (int) json.len, json.ptr);
    return 0;
}

static const char *document(struct flow *f, const char *key)
{
    tk_ok(tpc_entity_get(f->core, none, "device", tpc_str_from(key), keep, NULL));
    return doc;
}

START_TEST(every_member_comes_from_its_column)
{
    struct flow f;
    setup(&f);
    tk_ok(import(&f, "\xEF\xBB\xBFkey,product,name,labels.site,labels.floor,lat,lon,groups,enabled,"
                     "config,secret,serial,gateway\r\n"
                     "g1,thermo,\"Gate, \"\"1\"\"\",paris,2,48.85,2.35,attic,true,"
                     "\"{\"\"a\"\":[1,2]}\",hush,S-1,\r\n"
                     "s1,thermo,,lyon,,,,,0,,,,g1\r\n"));
    ck_assert_str_eq(told, "1 g1 created\n2 s1 created\n");
    expect(2, 0, 0);
    ck_assert_str_eq(document(&f, "g1"),
                     "{\"key\":\"g1\",\"product\":\"thermo\",\"name\":\"Gate, \\\"1\\\"\","
                     "\"labels\":{\"site\":\"paris\",\"floor\":\"2\"},"
                     "\"location\":{\"lat\":48.85,\"lon\":2.35},\"groups\":[\"attic\"],"
                     "\"enabled\":true,\"config\":{\"a\":[1,2]},\"serial\":\"S-1\"}");
    ck_assert_str_eq(document(&f, "s1"), "{\"key\":\"s1\",\"product\":\"thermo\",\"labels\":{"
                                         "\"site\":\"lyon\"},\"enabled\":false,"
                                         "\"gateway\":\"g1\"}");
    flow_fini(&f);
}
END_TEST

START_TEST(a_bad_row_says_where_and_why_and_stops_no_other)
{
    struct flow f;
    setup(&f);
    tk_ok(import(&f, "key,product,labels.a,lat,lon,groups,config,enabled\n"
                     "a,thermo,1,,,,,\n"
                     ",thermo,1,,,,,\n"
                     "b,nothing,,,,,,\n"
                     "c,thermo,,91,0,,,\n"
                     "d,thermo,,,,cellar,,\n"
                     "e,thermo,,,,,{1,\n"
                     "a,thermo,,,,,,\n"
                     "f,thermo\n"
                     "g,thermo,x\"y,,,,,\n"
                     "h,thermo,,,,,[1],\n"
                     "i,thermo,,,,,,maybe\n"
                     "j,thermo,\xFF,,,,,\n"
                     "k,thermo,\"two\nlines\",,,,,\n"
                     "l,thermo,,5,,,,\n"
                     "m,thermo,,,,,,\n"));
    static const char *const lines[] = {
        "1 a created\n",
        "2@3  TPC_EINVAL key: a key has",
        "3@4 b TPC_ENOENT product: there is no product",
        "4@5 c TPC_EINVAL location.lat: 91 is above 90\n",
        "5@6 d TPC_ENOENT groups[0]: there is no group",
        "6@7 e TPC_EDECODE config",
        "7@8 a TPC_EEXIST key: the key stands in row 1 already\n",
        "8@9  TPC_EDECODE : 2 fields, the header has 8\n",
        "9@10  TPC_EDECODE : a quote inside",
        "10@11 h TPC_EINVAL config: is not an object\n",
        "11@12 i TPC_EINVAL enabled: is none of",
        "12@13  TPC_EDECODE : not UTF-8\n",
        "13 k created\n",
        "14@16 l TPC_EINVAL location.lon: it is required\n",
        "15 m created\n",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        ck_assert_msg(strstr(told, lines[i]) != NULL, "%s is not in\n%s", lines[i], told);
    }
    expect(3, 0, 12);
    ck_assert_uint_eq(progress_rows, 15);
    flow_fini(&f);
}
END_TEST

START_TEST(a_row_changes_only_what_it_names)
{
    struct flow f;
    setup(&f);
    put(&f, "device",
        "{\"key\":\"t1\",\"product\":\"thermo\",\"name\":\"old\",\"extra\":[1],"
        "\"labels\":{\"a\":\"1\",\"b\":\"2\"}}");
    tk_ok(import(&f, "key,name,labels.b,config\nt1,,3,\nnew,x,,\n"));
    ck_assert_msg(strstr(told, "1 t1 updated\n2@3 new TPC_EINVAL product: it is required\n"), "%s",
                  told);
    expect(0, 1, 1);
    ck_assert_str_eq(document(&f, "t1"),
                     "{\"key\":\"t1\",\"product\":\"thermo\",\"name\":\"old\",\"extra\":[1],"
                     "\"labels\":{\"a\":\"1\",\"b\":\"3\"}}");
    struct tpc_import_options o = TPC_IMPORT_OPTIONS_INIT;
    o.policy = TPC_IMPORT_CREATE;
    o.product = TPC_STR("fan");
    tk_ok(import_with(&f, "key\nt1\nt9\n", o));
    ck_assert_str_eq(told, "1@2 t1 TPC_EEXIST : it is there already\n2 t9 created\n");
    o.policy = TPC_IMPORT_UPDATE;
    tk_ok(import_with(&f, "key,name\nt9,nine\nt10,ten\n", o));
    ck_assert_str_eq(told, "1 t9 updated\n2@3 t10 TPC_ENOENT : it is not there\n");
    flow_fini(&f);
}
END_TEST

START_TEST(a_dry_run_finds_the_same_faults_and_changes_nothing)
{
    struct flow f;
    setup(&f);
    struct tpc_import_options o = TPC_IMPORT_OPTIONS_INIT;
    o.flags = TPC_IMPORT_DRY_RUN;
    o.batch_rows = 2;
    static const char csv[] = "key,product,gateway,serial\ng1,thermo,,A\nx,none,,\nt1,thermo,,\n"
                              "s1,thermo,g1,\ns2,thermo,g9,\n";
    static const char text[] = "1 g1 created\n2@3 x TPC_ENOENT product: there is no product "
                               "\"none\"\n3 t1 updated\n4 s1 created\n5@6 s2 TPC_ENOENT gateway: "
                               "there is no gateway \"g9\"\n";
    double before = flow_metric(&f, "tpc_registry_devices");
    tk_ok(import_with(&f, csv, o));
    ck_assert_str_eq(told, text);
    expect(2, 1, 2);
    ck_assert_double_eq(flow_metric(&f, "tpc_registry_devices"), before);
    tk_fails(TPC_ENOENT, tpc_entity_get(f.core, none, "device", TPC_STR("g1"), keep, NULL));
    o.flags = 0;
    tk_ok(import_with(&f, csv, o));
    ck_assert_str_eq(told, text);
    ck_assert_double_eq(flow_metric(&f, "tpc_registry_devices"), before + 2);
    flow_fini(&f);
}
END_TEST

START_TEST(a_header_that_cannot_be_imports_nothing)
{
    struct flow f;
    setup(&f);
    tk_fails(TPC_EDECODE, import(&f, ""));
    tk_fails(TPC_EINVAL, import(&f, "product,name\n"));
    ck_assert_str_eq(tpc_error_last()->path, "key");
    tk_fails(TPC_EINVAL, import(&f, "key,colour\n"));
    ck_assert_str_eq(tpc_error_last()->path, "colour");
    tk_fails(TPC_EINVAL, import(&f, "key,lat,location.lat\n"));
    tk_fails(TPC_EINVAL, import(&f, "key,labels.a b\n"));
    struct tpc_import_options o = TPC_IMPORT_OPTIONS_INIT;
    o.tenant = TPC_STR("nobody");
    tk_fails(TPC_ENOENT, import_with(&f, "key\n", o));
    tk_fails(TPC_ENOENT, tpc_import_csv(f.core, NULL, "/nowhere/x.csv", NULL, NULL));
    flow_fini(&f);
}
END_TEST

START_TEST(a_row_is_of_the_tenant_that_the_import_is_for)
{
    struct flow f;
    setup(&f);
    struct tpc_import_options o = TPC_IMPORT_OPTIONS_INIT;
    o.tenant = TPC_STR("acme");
    o.product = TPC_STR("thermo");
    tk_ok(import_with(&f, "key,gateway\na,\nb,t1\n", o));
    ck_assert_msg(strstr(told, "1@2 a TPC_ENOENT product: there is no product \"thermo\"\n"), "%s",
                  told);
    expect(0, 0, 2);
    put(&f, "product", "{\"key\":\"thermo\",\"tenant\":\"acme\",\"model\":{\"properties\":[]}}");
    tk_ok(import_with(&f, "key,gateway\na,\nb,t1\n", o));
    ck_assert_str_eq(told, "1 a created\n2@3 b TPC_ENOENT gateway: there is no gateway \"t1\"\n");
    tk_fails(TPC_ENOENT, tpc_entity_get(f.core, none, "device", TPC_STR("a"), keep, NULL));
    flow_fini(&f);
}
END_TEST

static int stop_early(void *user, const struct tpc_import_row *row)
{
    (void) user;
    return row->row == 2 ? 42 : 0;
}

START_TEST(a_callback_ends_the_import)
{
    struct flow f;
    setup(&f);
    struct tpc_import_options o = TPC_IMPORT_OPTIONS_INIT;
    static const char csv[] = "key,product\na,thermo\nb,thermo\nc,thermo\n";
    struct text t = { csv, sizeof(csv) - 1, 4096 };
    o.on_row = stop_early;
    o.batch_rows = 2;
    ck_assert_int_eq(tpc_import_csv_from(f.core, NULL, read_text, &t, &o, &result), 42);
    tk_ok(tpc_entity_get(f.core, none, "device", TPC_STR("b"), keep, NULL));
    tk_fails(TPC_ENOENT, tpc_entity_get(f.core, none, "device", TPC_STR("c"), keep, NULL));
    flow_fini(&f);
}
END_TEST

START_TEST(without_memory_an_import_ends_and_leaves_whole_rows)
{
    static const char csv[] = "key,product,labels.site,secret,serial,groups,gateway\n"
                              "a,thermo,paris,x,S1,attic,\nb,thermo,lyon,y,S2,,a\n"
                              "c,none,,,,,\nd,thermo,,,S3,,\n";
    size_t failures = 0;
    for (size_t n = 1;; n++) {
        struct flow f;
        setup(&f);
        struct tk_alloc *a = &f.e.alloc;
        a->fail_at = a->count + n;
        int rc = import(&f, csv);
        bool hit = a->failed > 0;
        a->fail_at = 0;
        ck_assert_msg(rc == TPC_ENOMEM || rc == 0, "%s", tpc_error_name(rc));
        failures += rc != 0;
        tk_ok(import(&f, csv));
        expect(result.created, 3 - result.created, 1);
        flow_start(&f);
        flow_fini(&f);
        if (!hit) {
            break;
        }
    }
    ck_assert_uint_gt(failures, 10);
}
END_TEST

Suite *import_flow_suite(void)
{
    Suite *s = suite_create("import");
    TCase *tc = tcase_create("import");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, every_member_comes_from_its_column);
    tcase_add_test(tc, a_bad_row_says_where_and_why_and_stops_no_other);
    tcase_add_test(tc, a_row_changes_only_what_it_names);
    tcase_add_test(tc, a_dry_run_finds_the_same_faults_and_changes_nothing);
    tcase_add_test(tc, a_header_that_cannot_be_imports_nothing);
    tcase_add_test(tc, a_row_is_of_the_tenant_that_the_import_is_for);
    tcase_add_test(tc, a_callback_ends_the_import);
    tcase_add_test(tc, without_memory_an_import_ends_and_leaves_whole_rows);
    suite_add_tcase(s, tc);
    return s;
}
