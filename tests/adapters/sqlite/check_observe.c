/* A process that reads the entities of another one: as the plugin in a broker does. */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <tpcore/modules.h>
#include <tpcore/tpcore.h>

#include "sqlite_suites.h"
#include "tk.h"

#define MODEL "\"model\":{\"properties\":[{\"id\":\"x\",\"type\":\"int\"}]}"

static struct tpc_core *owner;
static struct tpc_core *observer;
static char dir[300];
static const struct tpc_str none = { NULL, 0 };
static uint8_t key[32] = "the key of the embedding program";

static int open_core(bool observes, bool sealed, struct tpc_core **ret)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    char text[400];
    o.flags = observes ? TPC_CORE_OBSERVE : 0;
    o.secret_key = (struct tpc_bytes){ key, sealed ? sizeof(key) : 0 };
    tk_ok(tpc_core_create(&o, ret));
    tk_ok(tpc_core_add_module(*ret, tpc_module_sqlite()));
    snprintf(text, sizeof(text), "{\"dir\":\"%s\"%s}", dir, observes ? ",\"read_only\":true" : "");
    return tpc_core_open(*ret, "entities", "sqlite", tpc_str_from(text));
}

static void put(const char *kind, const char *json)
{
    int rc = tpc_entity_put(owner, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s", json, tpc_error_last()->text);
}

static void delete_device(const char *name)
{
    tk_ok(tpc_entity_delete(owner, NULL, none, "device", tpc_str_from(name), TPC_ANY_REV));
}

/* The device that a pair logs in as, at the observer; "" = refused. */
static const char *login(const char *username, const char *password)
{
    static struct tpc_identity who;
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    q.username = tpc_str_from(username);
    q.password = (struct tpc_bytes){ (const uint8_t *) password, strlen(password) };
    int rc = tpc_auth_check(observer, &q, &who);
    ck_assert_msg(rc == 0 || rc == TPC_EDENIED, "%s", tpc_error_last()->text);
    return rc == 0 ? who.key : "";
}

static uint32_t refresh(void)
{
    uint32_t n = 99;
    int rc = tpc_entity_refresh(observer, &n);
    ck_assert_msg(rc == 0, "%s", tpc_error_last()->text);
    return n;
}

static void put_device(const char *name, const char *password)
{
    char json[300];
    snprintf(json, sizeof(json),
             "{\"key\":\"%s\",\"product\":\"p\",\"credentials\":{\"username\":\"u\",\"password\":"
             "\"%s\"}}",
             name, password);
    put("device", json);
}

static void setup(void)
{
    snprintf(dir, sizeof(dir), "%s", tk_tmpdir());
    tk_ok(open_core(false, true, &owner));
    put("product", "{\"key\":\"p\"," MODEL "}");
    put_device("a", "pa");
    tk_ok(open_core(true, true, &observer));
    ck_assert_str_eq(login("u", "pa"), "a"); /* loads */
}

static void teardown(void)
{
    tpc_core_destroy(observer);
    tpc_core_destroy(owner);
    observer = NULL;
    owner = NULL;
}

START_TEST(what_the_owner_changes_is_seen_with_the_next_refresh)
{
    ck_assert_str_eq(login("u", "pa"), "a");
    ck_assert_uint_eq(refresh(), 0);
    put_device("b", "pb");
    ck_assert_str_eq(login("u", "pb"), "");
    ck_assert_uint_eq(refresh(), 1);
    ck_assert_str_eq(login("u", "pb"), "b");
    put("device",
        "{\"key\":\"b\",\"product\":\"p\",\"enabled\":false,\"credentials\":{\"username\":"
        "\"u\"}}");
    delete_device("a");
    ck_assert_uint_eq(refresh(), 2);
    ck_assert_str_eq(login("u", "pb"), "");
    ck_assert_str_eq(login("u", "pa"), "");
    put("service_user", "{\"key\":\"plugin\",\"password\":\"pw\"}");
    ck_assert_uint_eq(refresh(), 1);
    ck_assert_str_eq(login("plugin", "pw"), "plugin");
    tk_ok(tpc_entity_delete(owner, NULL, none, "service_user", TPC_STR("plugin"), TPC_ANY_REV));
    ck_assert_uint_eq(refresh(), 1);
    ck_assert_str_eq(login("plugin", "pw"), "");
    ck_assert_uint_eq(refresh(), 0);
}
END_TEST

/* Rows are read as they are at the end, not as they were when they changed. */
START_TEST(many_changes_in_between_come_to_the_same_end)
{
    put_device("b", "pb");
    (void) refresh();
    /* The password moves from one to the other and back again. */
    put_device("b", "x");
    put_device("a", "pb");
    put_device("b", "pa");
    ck_assert_uint_gt(refresh(), 0);
    ck_assert_str_eq(login("u", "pb"), "a");
    ck_assert_str_eq(login("u", "pa"), "b");
    /* Gone and made anew: another device of the same key. */
    delete_device("a");
    put_device("a", "new");
    (void) refresh();
    ck_assert_str_eq(login("u", "new"), "a");
    struct tpc_device *d;
    struct tpc_device_info mine, theirs;
    tk_ok(tpc_device_open(owner, TPC_STR("a"), &d));
    tk_ok(tpc_device_info(d, &mine));
    tpc_device_unref(d);
    tk_ok(tpc_device_open(observer, TPC_STR("a"), &d));
    tk_ok(tpc_device_info(d, &theirs));
    tpc_device_unref(d);
    ck_assert_uint_eq(mine.id, theirs.id);
    /* To a product that came later, and the old product goes. */
    put("device", "{\"key\":\"a\",\"product\":\"p\"}");
    put("product", "{\"key\":\"q\"," MODEL "}");
    put("device", "{\"key\":\"a\",\"product\":\"q\",\"credentials\":{\"username\":\"u\","
                  "\"password\":\"q\"}}");
    delete_device("b");
    tk_ok(tpc_entity_delete(owner, NULL, none, "product", TPC_STR("p"), TPC_ANY_REV));
    (void) refresh();
    ck_assert_str_eq(login("u", "q"), "a");
    tk_ok(tpc_device_open(observer, TPC_STR("a"), &d));
    tk_ok(tpc_device_info(d, &theirs));
    ck_assert(tpc_str_equal(theirs.product, TPC_STR("q")));
    tpc_device_unref(d);
}
END_TEST

START_TEST(tenants_come_and_go_with_what_they_have)
{
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    struct tpc_identity who;
    put("tenant", "{\"key\":\"t\"}");
    put("product", "{\"key\":\"p\",\"tenant\":\"t\"," MODEL "}");
    put("device", "{\"key\":\"d\",\"tenant\":\"t\",\"product\":\"p\",\"credentials\":{\"token\":"
                  "\"tok\"}}");
    ck_assert_uint_eq(refresh(), 3);
    q.tenant = TPC_STR("t");
    q.username = TPC_STR("tok");
    tk_ok(tpc_auth_check(observer, &q, &who));
    tk_ok(tpc_entity_delete(owner, NULL, TPC_STR("t"), "device", TPC_STR("d"), TPC_ANY_REV));
    tk_ok(tpc_entity_delete(owner, NULL, TPC_STR("t"), "product", TPC_STR("p"), TPC_ANY_REV));
    tk_ok(tpc_entity_delete(owner, NULL, none, "tenant", TPC_STR("t"), TPC_ANY_REV));
    (void) refresh();
    tk_fails(TPC_EINVAL, tpc_auth_check(observer, &q, &who));
}
END_TEST

START_TEST(an_observer_changes_nothing_and_is_not_started)
{
    tk_fails(TPC_EDENIED,
             tpc_entity_put(observer, NULL, "device", TPC_STR("{\"key\":\"z\",\"product\":\"p\"}"),
                            TPC_ANY_REV, NULL));
    tk_fails(TPC_EDENIED,
             tpc_entity_delete(observer, NULL, none, "device", TPC_STR("a"), TPC_ANY_REV));
    ck_assert_str_eq(login("u", "pa"), "a");
    tk_fails(TPC_ESTATE, tpc_core_start(observer));
    tk_fails(TPC_ESTATE, tpc_entity_refresh(owner, NULL));
    put_device("z", "pz");
    (void) refresh();
    ck_assert_str_eq(login("u", "pz"), "z");
}
END_TEST

static void sql(const char *text)
{
    sqlite3 *db;
    char path[400];
    snprintf(path, sizeof(path), "%s/entities.db", dir);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

START_TEST(more_changes_than_the_store_remembers_are_a_gap)
{
    put_device("b", "pb");
    put_device("c", "pc");
    sql("DELETE FROM change WHERE seq < (SELECT max(seq) FROM change)");
    tk_fails(TPC_EGAP, tpc_entity_refresh(observer, NULL));
    tpc_core_destroy(observer);
    tk_ok(open_core(true, true, &observer));
    ck_assert_str_eq(login("u", "pb"), "b");
    ck_assert_uint_eq(refresh(), 0);
    /* The store keeps a bounded number of them. */
    sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 70000)"
        " INSERT INTO change(kind, tenant, key, gone) SELECT 'other', 1, 'x', 0 FROM n");
    put_device("b", "pb");
    sql("CREATE TEMP TABLE t(n CHECK(n <= 65536)); INSERT INTO t SELECT count(*) FROM change");
}
END_TEST

START_TEST(a_store_that_cannot_be_read_is_named)
{
    tpc_core_destroy(observer);
    observer = NULL;
    struct tpc_core *c;
    tk_ok(open_core(true, false, &c)); /* secrets are sealed */
    tk_fails(TPC_EDENIED, tpc_entity_refresh(c, NULL));
    ck_assert_ptr_nonnull(strstr(tpc_error_last()->text, "secret_key"));
    tpc_core_destroy(c);
    tpc_core_destroy(owner);
    owner = NULL;
    sql("PRAGMA user_version=2");
    tk_fails(TPC_EVERSION, open_core(true, true, &c));
    tpc_core_destroy(c);
    sql("PRAGMA user_version=9");
    tk_fails(TPC_EVERSION, open_core(true, true, &c));
    tpc_core_destroy(c);
    size_t len = strlen(dir);
    snprintf(dir + len, sizeof(dir) - len, "/nowhere");
    tk_fails(TPC_ENOENT, open_core(true, true, &c));
    tpc_core_destroy(c);
    ck_assert_int_eq(mkdir(dir, 0755), 0);
    char path[400];
    snprintf(path, sizeof(path), "%s/entities.db", dir);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 5000; i++) {
        fputc('x', f);
    }
    fclose(f);
    tk_fails(TPC_ECORRUPT, open_core(true, true, &c));
    tpc_core_destroy(c);
}
END_TEST

Suite *observe_suite(void)
{
    Suite *s = suite_create("observe");
    TCase *c = tcase_create("observe");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, what_the_owner_changes_is_seen_with_the_next_refresh);
    tcase_add_test(c, many_changes_in_between_come_to_the_same_end);
    tcase_add_test(c, tenants_come_and_go_with_what_they_have);
    tcase_add_test(c, an_observer_changes_nothing_and_is_not_started);
    tcase_add_test(c, more_changes_than_the_store_remembers_are_a_gap);
    tcase_add_test(c, a_store_that_cannot_be_read_is_named);
    suite_add_tcase(s, c);
    return s;
}
