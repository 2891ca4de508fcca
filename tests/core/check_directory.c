/* Products, devices, groups: their fields, labels and selectors; and that tenants do not see one
 * another. */
#include <stdio.h>
#include <string.h>

#include "flow.h"

static char seen[4000];
static const struct tpc_str none = { NULL, 0 };

/* A device d with one more member. */
#define DEVICE(member) "{\"key\":\"d\",\"product\":\"thermo\"," member "}"

static int put(struct flow *f, const char *kind, const char *json)
{
    return tpc_entity_put(f->core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
}

static void must_put(struct flow *f, const char *kind, const char *json)
{
    int rc = put(f, kind, json);
    ck_assert_msg(rc == 0, "%s: %s at %s", json, tpc_error_last()->text, tpc_error_last()->path);
}

/* The code, and where the error stands. */
static void refused(struct flow *f, int code, const char *path, const char *kind, const char *json)
{
    int rc = put(f, kind, json);
    ck_assert_msg(rc == code, "%s: %s, %s", json, tpc_error_name(rc), tpc_error_last()->text);
    ck_assert_str_eq(tpc_error_last()->path, path);
}

static void setup(struct flow *f)
{
    flow_init(f, 0);
    flow_create(f);
    flow_devices(f, 0);
    tk_ok(tpc_entity_delete(f->core, NULL, none, "device", TPC_STR("fan-1"), TPC_ANY_REV));
    must_put(f, "tenant", "{\"key\":\"b\"}");
    must_put(f, "product",
             "{\"key\":\"thermo\",\"tenant\":\"b\",\"model\":{\"properties\":[{\"id\":\"x\","
             "\"type\":\"int\"}],\"services\":[{\"id\":\"go\"}]}}");
}

static int add_key(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                   struct tpc_str json)
{
    (void) user;
    (void) info;
    (void) json;
    strncat(seen, key.ptr, key.len);
    strncat(seen, " ", 2);
    return 0;
}

static struct tpc_entity_query query(const char *tenant, const char *select)
{
    struct tpc_entity_query q = TPC_ENTITY_QUERY_INIT;
    q.kind = TPC_STR("device");
    q.tenant = tpc_str_from(tenant);
    q.select = tpc_str_from(select);
    return q;
}

static const char *list(struct flow *f, const struct tpc_entity_query *q)
{
    seen[0] = 0;
    int rc = tpc_entity_list(f->core, q, add_key, NULL);
    return rc == 0 ? seen : tpc_error_name(rc);
}

static const char *selected(struct flow *f, const char *select)
{
    struct tpc_entity_query q = query("main", select);
    return list(f, &q);
}

static int add_json(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                    struct tpc_str json)
{
    (void) user;
    (void) info;
    (void) key;
    snprintf(seen, sizeof(seen), "%.*s", (int) json.len, json.ptr);
    return 0;
}

START_TEST(fields_of_both_contracts_come_back_as_they_were_put)
{
    struct flow f;
    static const char product[] =
        "{\"key\":\"p\",\"name\":\"P\",\"description\":\"d\",\"category\":\"c\",\"icon\":\"i\","
        "\"picture\":\"u\",\"type\":\"gateway\",\"network\":\"cellular\",\"status\":\"published\","
        "\"protocol\":\"MODBUS_TCP\",\"voucher_type\":\"REG_PKG\",\"protocol_config\":{\"SlaveID\":"
        "1},\"auto_register\":true,\"labels\":{\"a\":\"b\"},\"config\":{\"x\":[1,{}]},\"more\":5,"
        "\"model\":{\"properties\":[]}}";
    static const char device[] =
        "{\"key\":\"d\",\"product\":\"p\",\"name\":\"D\",\"description\":\"t\",\"serial\":\"S\","
        "\"picture\":\"u\",\"enabled\":false,\"groups\":[\"g\"],\"labels\":{\"k/v\":\"\"},"
        "\"location\":{\"lat\":-90,\"lon\":180,\"altitude\":12.5,\"address\":\"1, Road\"},"
        "\"protocol_config\":{\"SlaveID\":2},\"config\":{\"deep\":{\"er\":null}},\"mine\":[1]}";
    setup(&f);
    must_put(&f, "product", product);
    must_put(&f, "group", "{\"key\":\"g\"}");
    must_put(&f, "device", device);
    tk_ok(tpc_entity_get(f.core, none, "product", TPC_STR("p"), add_json, NULL));
    ck_assert_str_eq(seen, product);
    tk_ok(tpc_entity_get(f.core, none, "device", TPC_STR("d"), add_json, NULL));
    ck_assert_str_eq(seen, device);
    flow_fini(&f);
}
END_TEST

START_TEST(a_field_that_cannot_be_is_named)
{
    struct flow f;
    char json[4000];
    setup(&f);
    refused(&f, TPC_EINVAL, "location.lat", "device",
            DEVICE("\"location\":{\"lat\":90.1,\"lon\":0}"));
    refused(&f, TPC_EINVAL, "location.lon", "device",
            DEVICE("\"location\":{\"lat\":0,\"lon\":-181}"));
    refused(&f, TPC_EINVAL, "location.lon", "device", DEVICE("\"location\":{\"lat\":0}"));
    refused(&f, TPC_EINVAL, "location.altitude", "device",
            DEVICE("\"location\":{\"lat\":0,\"lon\":0,\"altitude\":-20000}"));
    refused(&f, TPC_EINVAL, "location.up", "device",
            DEVICE("\"location\":{\"lat\":0,\"lon\":0,\"up\":1}"));
    refused(&f, TPC_EINVAL, "labels.a", "device", DEVICE("\"labels\":{\"a\":1}"));
    refused(&f, TPC_EINVAL, "labels", "device", DEVICE("\"labels\":{\"a b\":\"1\"}"));
    refused(&f, TPC_EINVAL, "labels", "device", DEVICE("\"labels\":[\"a\"]"));
    refused(&f, TPC_EINVAL, "labels.a", "device", DEVICE("\"labels\":{\"a\":\"\\u0000\"}"));
    refused(&f, TPC_EINVAL, "config", "device", DEVICE("\"config\":7"));
    refused(&f, TPC_EINVAL, "protocol_config", "device", DEVICE("\"protocol_config\":\"x\""));
    refused(&f, TPC_EINVAL, "enabled", "device", DEVICE("\"enabled\":\"yes\""));
    must_put(&f, "group", "{\"key\":\"g\"}");
    refused(&f, TPC_ENOENT, "groups[1]", "device", DEVICE("\"groups\":[\"g\",\"h\"]"));
    refused(&f, TPC_EINVAL, "type", "product", "{\"key\":\"p\",\"type\":\"x\",\"model\":{}}");
    refused(&f, TPC_EINVAL, "config", "product", "{\"key\":\"p\",\"config\":[],\"model\":{}}");
    size_t n = (size_t) snprintf(json, sizeof(json),
                                 "{\"key\":\"d\",\"product\":\"thermo\","
                                 "\"labels\":{\"x0\":\"\"");
    for (int i = 1; i < 33; i++) {
        n += (size_t) snprintf(json + n, sizeof(json) - n, ",\"x%d\":\"\"", i);
    }
    snprintf(json + n, sizeof(json) - n, "}}");
    refused(&f, TPC_EINVAL, "labels", "device", json);
    flow_fini(&f);
}
END_TEST

START_TEST(a_selector_finds_what_its_terms_say)
{
    struct flow f;
    setup(&f);
    must_put(&f, "device", DEVICE("\"labels\":{\"site\":\"paris\",\"floor\":\"2\"}"));
    must_put(&f, "device",
             "{\"key\":\"a\",\"product\":\"thermo\",\"labels\":{\"site\":\"paris\",\"room\":\"a, "
             "\\\"b\\\"\"}}");
    must_put(&f, "device",
             "{\"key\":\"c\",\"product\":\"fan\",\"labels\":{\"site\":\"lyon\",\"has\":\"1\"}}");
    must_put(&f, "device", "{\"key\":\"e\",\"product\":\"fan\"}");
    must_put(&f, "device",
             "{\"key\":\"z\",\"tenant\":\"b\",\"product\":\"thermo\",\"labels\":{"
             "\"site\":\"paris\"}}");
    ck_assert_str_eq(selected(&f, "site=paris"), "a d ");
    ck_assert_str_eq(selected(&f, " site == paris , floor != 2 "), "a ");
    ck_assert_str_eq(selected(&f, "site!=paris"), "c e ");
    ck_assert_str_eq(selected(&f, "has floor"), "d ");
    ck_assert_str_eq(selected(&f, "has site,!has floor"), "a c ");
    ck_assert_str_eq(selected(&f, "!site"), "e ");
    ck_assert_str_eq(selected(&f, "has=1"), "c ");
    ck_assert_str_eq(selected(&f, "room=\"a, \"\"b\"\"\""), "a ");
    ck_assert_str_eq(selected(&f, "room=\"a, \"\"b\"\"\",site=paris"), "a ");
    ck_assert_str_eq(selected(&f, "site=pari"), "");
    static const char *const bad[] = { "site",          "=x",   "site=a,,b=c", "site!a", "a=\"x",
                                       "a=\"x\" y,b=1", "has ", "site=a,",     "a!",     "!",
                                       "a=\"x\"y" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(strcmp(selected(&f, bad[i]), "TPC_EINVAL") == 0, "%s", bad[i]);
    }
    ck_assert_str_eq(selected(&f, "a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1,j=1,k=1,l=1,m=1,n=1,o=1,"
                                  "p=1,q=1"),
                     "TPC_ETOOBIG");
    struct tpc_entity_query q = query("main", "site=paris");
    q.limit = 1;
    ck_assert_str_eq(list(&f, &q), "a ");
    q.after_key = TPC_STR("a");
    ck_assert_str_eq(list(&f, &q), "d ");
    q = query("main", "has site");
    q.field = TPC_STR("product");
    q.value = TPC_STR("thermo");
    ck_assert_str_eq(list(&f, &q), "a d ");
    must_put(&f, "device", DEVICE("\"labels\":{\"site\":\"lyon\"}"));
    ck_assert_str_eq(selected(&f, "site=lyon"), "c d ");
    ck_assert_str_eq(selected(&f, "has floor"), "");
    tk_ok(tpc_entity_delete(f.core, NULL, none, "device", TPC_STR("d"), TPC_ANY_REV));
    ck_assert_str_eq(selected(&f, "site=lyon"), "c ");
    flow_fini(&f);
}
END_TEST

START_TEST(groups_stand_in_groups_but_never_in_themselves)
{
    struct flow f;
    char json[100];
    setup(&f);
    must_put(&f, "group", "{\"key\":\"house\",\"select\":\"site=paris\"}");
    must_put(&f, "group", "{\"key\":\"attic\",\"parent\":\"house\"}");
    refused(&f, TPC_EINVAL, "parent", "group", "{\"key\":\"house\",\"parent\":\"attic\"}");
    refused(&f, TPC_EINVAL, "parent", "group", "{\"key\":\"x\",\"parent\":\"x\"}");
    refused(&f, TPC_ENOENT, "parent", "group", "{\"key\":\"x\",\"parent\":\"y\"}");
    refused(&f, TPC_ENOENT, "parent", "group",
            "{\"key\":\"x\",\"tenant\":\"b\",\"parent\":\"house\"}");
    refused(&f, TPC_EINVAL, "select", "group", "{\"key\":\"x\",\"select\":\"site\"}");
    for (int i = 0; i < 8; i++) {
        snprintf(json, sizeof(json), "{\"key\":\"n%d\"%s%d%s}", i,
                 i > 0 ? ",\"parent\":\"n" : ",\"x", i > 0 ? i - 1 : 0, i > 0 ? "\"" : "\":0");
        must_put(&f, "group", json);
    }
    refused(&f, TPC_ETOOBIG, "parent", "group", "{\"key\":\"x\",\"parent\":\"n7\"}");
    refused(&f, TPC_ETOOBIG, "parent", "group", "{\"key\":\"n0\",\"parent\":\"attic\"}");
    must_put(&f, "device", DEVICE("\"groups\":[\"attic\",\"attic\"]"));
    struct tpc_entity_query q = query("main", "");
    q.field = TPC_STR("groups");
    q.value = TPC_STR("attic");
    ck_assert_str_eq(list(&f, &q), "d ");
    tk_fails(TPC_ESTATE,
             tpc_entity_delete(f.core, NULL, none, "group", TPC_STR("house"), TPC_ANY_REV));
    tk_fails(TPC_ESTATE,
             tpc_entity_delete(f.core, NULL, none, "group", TPC_STR("attic"), TPC_ANY_REV));
    must_put(&f, "device", DEVICE("\"groups\":[]"));
    ck_assert_str_eq(list(&f, &q), "");
    tk_ok(tpc_entity_delete(f.core, NULL, none, "group", TPC_STR("attic"), TPC_ANY_REV));
    tk_ok(tpc_entity_delete(f.core, NULL, none, "group", TPC_STR("house"), TPC_ANY_REV));
    flow_fini(&f);
}
END_TEST

static const char *members(struct flow *f, const char *tenant, const char *group, const char *after,
                           uint32_t limit)
{
    seen[0] = 0;
    int rc = tpc_group_list(f->core, tpc_str_from(tenant), tpc_str_from(group), tpc_str_from(after),
                            limit, add_key, NULL);
    return rc == 0 ? seen : tpc_error_name(rc);
}

START_TEST(a_group_has_its_own_devices_those_of_its_groups_and_those_it_selects)
{
    struct flow f;
    setup(&f);
    must_put(&f, "group", "{\"key\":\"house\",\"select\":\"site=paris, !spare\"}");
    must_put(&f, "group", "{\"key\":\"attic\",\"parent\":\"house\"}");
    must_put(&f, "group", "{\"key\":\"box\",\"parent\":\"attic\",\"select\":\"has box\"}");
    must_put(&f, "group", "{\"key\":\"house\",\"tenant\":\"b\"}");
    static const char *const devices[] = {
        "\"a\",\"groups\":[\"house\"],\"labels\":{\"site\":\"paris\"}",
        "\"b\",\"groups\":[\"attic\"]",
        "\"c\",\"labels\":{\"box\":\"\"}",
        "\"d\",\"labels\":{\"site\":\"paris\"}",
        "\"e\",\"labels\":{\"site\":\"paris\",\"spare\":\"1\"}",
        "\"f\"",
        "\"g\",\"groups\":[\"box\",\"attic\"]",
        "\"z\",\"tenant\":\"b\",\"labels\":{\"site\":\"paris\"}",
    };
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
        char json[200];
        snprintf(json, sizeof(json), "{\"product\":\"thermo\",\"key\":%s}", devices[i]);
        must_put(&f, "device", json);
    }
    ck_assert_str_eq(members(&f, "", "house", "", 0), "a b c d g ");
    ck_assert_str_eq(members(&f, "", "attic", "", 0), "b c g ");
    ck_assert_str_eq(members(&f, "", "box", "", 0), "c g ");
    ck_assert_str_eq(members(&f, "", "house", "", 2), "a b ");
    ck_assert_str_eq(members(&f, "", "house", "b", 2), "c d ");
    ck_assert_str_eq(members(&f, "", "house", "d", 2), "g ");
    ck_assert_str_eq(members(&f, "b", "house", "", 0), "");
    ck_assert_str_eq(members(&f, "b", "attic", "", 0), "TPC_ENOENT");
    flow_fini(&f);
}
END_TEST

START_TEST(a_serial_number_is_one_device_of_a_tenant)
{
    struct flow f;
    setup(&f);
    must_put(&f, "device", DEVICE("\"serial\":\"S1\""));
    must_put(&f, "device", DEVICE("\"serial\":\"S1\",\"name\":\"same\""));
    refused(&f, TPC_EEXIST, "serial", "device",
            "{\"key\":\"e\",\"product\":\"thermo\",\"serial\":\"S1\"}");
    must_put(&f, "device",
             "{\"key\":\"e\",\"tenant\":\"b\",\"product\":\"thermo\",\"serial\":\"S1\"}");
    must_put(&f, "device", DEVICE("\"serial\":\"S2\""));
    must_put(&f, "device", "{\"key\":\"e\",\"product\":\"thermo\",\"serial\":\"S1\"}");
    refused(&f, TPC_EEXIST, "serial", "device", DEVICE("\"serial\":\"S1\""));
    tk_ok(tpc_entity_delete(f.core, NULL, none, "device", TPC_STR("e"), TPC_ANY_REV));
    must_put(&f, "device", DEVICE("\"serial\":\"S1\""));
    flow_fini(&f);
}
END_TEST

START_TEST(a_published_product_is_not_deleted)
{
    struct flow f;
    setup(&f);
    must_put(&f, "product",
             "{\"key\":\"p\",\"status\":\"published\",\"model\":{\"properties\":[]}}");
    tk_fails(TPC_ESTATE,
             tpc_entity_delete(f.core, NULL, none, "product", TPC_STR("p"), TPC_ANY_REV));
    must_put(&f, "product", "{\"key\":\"p\",\"model\":{\"properties\":[]}}");
    tk_ok(tpc_entity_delete(f.core, NULL, none, "product", TPC_STR("p"), TPC_ANY_REV));
    flow_fini(&f);
}
END_TEST

/* ---- tenants ---- */

static int count_batch(void *user, const struct tpc_batch *batch)
{
    *(uint32_t *) user += batch->count;
    return 0;
}

static struct tpc_sub *subscribe(struct flow *f, const char *filter, uint32_t *count)
{
    struct tpc_subscribe_options o = TPC_SUBSCRIBE_OPTIONS_INIT;
    struct tpc_sub *sub;
    o.filter = tpc_str_from(filter);
    *count = 0;
    tk_ok(tpc_subscribe(f->core, &o, count_batch, count, &sub));
    return sub;
}

START_TEST(nothing_of_a_tenant_reaches_another)
{
    struct flow f;
    struct tpc_device *ours, *theirs, *d;
    uint32_t heard_a, heard_b;
    setup(&f);
    must_put(&f, "device", DEVICE("\"labels\":{\"site\":\"paris\"}"));
    must_put(&f, "device",
             "{\"key\":\"d\",\"tenant\":\"b\",\"product\":\"thermo\",\"name\":\"their\","
             "\"labels\":{\"site\":\"paris\"}}");
    must_put(&f, "device", "{\"key\":\"only-b\",\"tenant\":\"b\",\"product\":\"thermo\"}");
    must_put(&f, "group", "{\"key\":\"g\",\"tenant\":\"b\"}");
    flow_start(&f);
    flow_settle(&f);
    /* seen, listed, matched */
    tk_fails(TPC_ENOENT, tpc_entity_get(f.core, none, "device", TPC_STR("only-b"), add_json, NULL));
    tk_fails(TPC_ENOENT, tpc_device_open(f.core, TPC_STR("only-b"), &d));
    struct tpc_entity_query q = query("main", "site=paris");
    ck_assert_str_eq(list(&f, &q), "d ");
    q = query("b", "");
    ck_assert_str_eq(list(&f, &q), "d only-b ");
    q = query("main", "");
    q.field = TPC_STR("product");
    q.value = TPC_STR("thermo");
    ck_assert_str_eq(list(&f, &q), "d ");
    /* referred to */
    refused(&f, TPC_ENOENT, "groups[0]", "device", DEVICE("\"groups\":[\"g\"]"));
    refused(&f, TPC_ENOENT, "gateway", "device",
            "{\"key\":\"s\",\"product\":\"thermo\",\"gateway\":\"only-b\"}");
    tk_fails(TPC_ENOENT,
             tpc_entity_delete(f.core, NULL, none, "device", TPC_STR("only-b"), TPC_ANY_REV));
    /* subscribed: the same key in both */
    struct tpc_sub *a = subscribe(&f, "main/#", &heard_a);
    struct tpc_sub *b = subscribe(&f, "b/#", &heard_b);
    tk_ok(tpc_device_open(f.core, TPC_STR("d"), &ours));
    tk_ok(tpc_device_open_in(f.core, TPC_STR("b"), TPC_STR("d"), &theirs));
    ck_assert_ptr_ne(ours, theirs);
    tk_ok(flow_feed(theirs, "{\"x\":5}"));
    flow_settle(&f);
    ck_assert_uint_eq(heard_a, 0);
    ck_assert_uint_ge(heard_b, 1);
    struct tpc_value v;
    int64_t ms;
    tk_ok(tpc_latest_get(theirs, TPC_STR("x"), NULL, &v, &ms));
    ck_assert_int_ne(tpc_latest_get(ours, TPC_STR("x"), NULL, &v, &ms), 0);
    /* commanded: the command of one is not on the other's topics */
    heard_b = 0;
    struct tpc_command_options c = TPC_COMMAND_OPTIONS_INIT;
    c.device = theirs;
    c.service = TPC_STR("go");
    tk_ok(tpc_command_send(f.core, NULL, &c, NULL, NULL, NULL));
    must_put(&f, "device",
             "{\"key\":\"only-b\",\"tenant\":\"b\",\"product\":\"thermo\",\"name\":\"n\"}");
    flow_settle(&f);
    ck_assert_uint_eq(heard_a, 0);
    ck_assert_uint_ge(heard_b, 2);
    a = tpc_unsubscribe(a);
    b = tpc_unsubscribe(b);
    tpc_device_unref(ours);
    tpc_device_unref(theirs);
    flow_fini(&f);
}
END_TEST

static int put_without_memory(const struct tpc_allocator *alloc, void *user)
{
    struct flow *f = user;
    struct tpc_core *core = NULL;
    struct tpc_core_options o = f->o;
    static const char *const docs[][2] = {
        { "product", "{\"key\":\"p\",\"labels\":{\"a\":\"1\"},\"model\":{\"properties\":[]}}" },
        { "group", "{\"key\":\"g\",\"labels\":{\"a\":\"1\"},\"select\":\"a=1\"}" },
        { "group", "{\"key\":\"h\",\"parent\":\"g\"}" },
        { "device", "{\"key\":\"d\",\"product\":\"p\",\"serial\":\"1\",\"groups\":[\"h\"],"
                    "\"labels\":{\"a\":\"1\"}}" },
        { "device", "{\"key\":\"d\",\"product\":\"p\",\"serial\":\"2\"}" },
    };
    o.allocator = alloc;
    int rc = tpc_core_create(&o, &core);
    for (size_t i = 0; rc == 0 && i < sizeof(docs) / sizeof(docs[0]); i++) {
        rc = tpc_entity_put(core, NULL, docs[i][0], tpc_str_from(docs[i][1]), TPC_ANY_REV, NULL);
    }
    if (rc == 0) {
        struct tpc_entity_query q = query("main", "!a, b!=\"x\"");
        seen[0] = 0;
        rc = tpc_entity_list(core, &q, add_key, NULL);
        ck_assert_str_eq(seen, rc == 0 ? "d " : "");
    }
    if (rc == 0) {
        seen[0] = 0;
        rc = tpc_group_list(core, none, TPC_STR("g"), none, 0, add_key, NULL);
    }
    (void) tpc_core_destroy(core);
    return rc;
}

START_TEST(without_memory_the_directory_stays_whole)
{
    struct flow f;
    flow_init(&f, 0);
    ck_assert_uint_gt(tk_each_alloc_fails(put_without_memory, &f), 50);
    tk_env_fini(&f.e);
}
END_TEST

Suite *directory_flow_suite(void)
{
    Suite *s = suite_create("directory");
    TCase *tc = tcase_create("directory");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, fields_of_both_contracts_come_back_as_they_were_put);
    tcase_add_test(tc, a_field_that_cannot_be_is_named);
    tcase_add_test(tc, a_selector_finds_what_its_terms_say);
    tcase_add_test(tc, groups_stand_in_groups_but_never_in_themselves);
    tcase_add_test(tc, a_group_has_its_own_devices_those_of_its_groups_and_those_it_selects);
    tcase_add_test(tc, a_serial_number_is_one_device_of_a_tenant);
    tcase_add_test(tc, a_published_product_is_not_deleted);
    tcase_add_test(tc, nothing_of_a_tenant_reaches_another);
    tcase_add_test(tc, without_memory_the_directory_stays_whole);
    suite_add_tcase(s, tc);
    return s;
}
