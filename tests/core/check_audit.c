/* The audit trail: who changed what. */
#include <stdio.h>
#include <string.h>

#include "flow.h"

struct trail {
    uint32_t count;
    uint64_t last; /* number of the last one told */
    char text[8192];
};

/* "#n action kind key rN by type:actor@origin json;" each, the newest first. */
static int on_entry(void *user, const struct tpc_audit_entry *a)
{
    static const char *const types[] = {
        "embedder", "user", "token", "rule", "connector", "import"
    };
    struct trail *t = user;
    size_t at = strlen(t->text);
    ck_assert(t->last == 0 || a->sequence < t->last);
    t->last = a->sequence;
    t->count++;
    snprintf(t->text + at, sizeof(t->text) - at, "#%u %.*s %.*s %.*s r%u by %s:%.*s@%.*s %.*s;",
             (unsigned) a->sequence, (int) a->action.len, a->action.ptr, (int) a->kind.len,
             a->kind.ptr, (int) a->key.len, a->key.ptr, (unsigned) a->revision,
             types[a->actor_type], (int) a->actor.len, a->actor.ptr, (int) a->origin.len,
             a->origin.len > 0 ? a->origin.ptr : "", (int) a->json.len, a->json.ptr);
    return 0;
}

static struct trail ask(struct flow *f, const char *kind, const char *key)
{
    struct trail t;
    struct tpc_audit_query q = TPC_AUDIT_QUERY_INIT;
    memset(&t, 0, sizeof(t));
    q.kind = tpc_str_from(kind);
    q.key = tpc_str_from(key);
    tk_ok(tpc_audit(f->core, &q, on_entry, &t));
    return t;
}

static void expect(const struct trail *t, const char *part)
{
    ck_assert_msg(strstr(t->text, part) != NULL, "\"%s\" is not in \"%s\"", part, t->text);
}

static void put_as(struct flow *f, const char *who, const char *kind, const char *json)
{
    struct tpc_actor actor = { .size = sizeof(actor),
                               .type = TPC_ACTOR_USER,
                               .name = tpc_str_from(who),
                               .origin = TPC_STR("10.1.1.1") };
    tk_ok(tpc_entity_put(f->core, &actor, kind, tpc_str_from(json), TPC_ANY_REV, NULL));
}

static void begin(struct flow *f)
{
    flow_init(f, 0);
    flow_create(f);
    flow_devices(f, 1);
}

START_TEST(changes_are_told_with_actor_and_difference)
{
    struct flow f;
    begin(&f);
    put_as(&f, "alice", "device",
           "{\"key\":\"t9\",\"product\":\"thermo\",\"name\":\"old\",\"labels\":{\"site\":\"a\"},"
           "\"config\":{\"x\":1,\"y\":[1,2]}}");
    put_as(&f, "bob", "device",
           "{\"key\":\"t9\",\"product\":\"thermo\",\"name\":\"new\",\"labels\":{\"site\":\"b\"},"
           "\"config\":{\"x\":1,\"z\":true}}");
    tk_ok(tpc_entity_delete(f.core, NULL, TPC_STR(""), "device", TPC_STR("t9"), TPC_ANY_REV));
    struct trail t = ask(&f, "device", "t9");
    ck_assert_uint_eq(t.count, 3);
    expect(&t, "delete device t9 r2 by embedder:@ ");
    expect(&t, "update device t9 r2 by user:bob@10.1.1.1 ");
    expect(&t, "{\"path\":\"name\",\"old\":\"old\",\"new\":\"new\"}");
    expect(&t, "{\"path\":\"labels.site\",\"old\":\"a\",\"new\":\"b\"}");
    expect(&t, "{\"path\":\"config.y\",\"old\":[1,2]}");
    expect(&t, "{\"path\":\"config.z\",\"new\":true}");
    ck_assert_ptr_null(strstr(t.text, "config.x"));
    expect(&t, "create device t9 r1 by user:alice@10.1.1.1 ");
    expect(&t, "\"doc\":{");
    flow_fini(&f);
}
END_TEST

START_TEST(secrets_never_stand_in_it)
{
    struct flow f;
    begin(&f);
    put_as(&f, "alice", "device",
           "{\"key\":\"t9\",\"product\":\"thermo\",\"secret\":\"hush-1\","
           "\"config\":{\"wifi_password\":\"hush-2\",\"deep\":[{\"apiToken\":\"hush-3\"}]}}");
    put_as(&f, "alice", "device",
           "{\"key\":\"t9\",\"product\":\"thermo\",\"secret\":\"hush-4\","
           "\"config\":{\"wifi_password\":\"hush-5\",\"deep\":[{\"apiToken\":\"hush-6\"}]}}");
    put_as(&f, "alice", "device", "{\"key\":\"t9\",\"product\":\"thermo\",\"secret\":null}");
    struct trail t = ask(&f, "device", "t9");
    ck_assert_uint_eq(t.count, 3);
    ck_assert_ptr_null(strstr(t.text, "hush"));
    expect(&t, "{\"path\":\"secret\",\"new\":\"***\"}");
    expect(&t, "{\"path\":\"secret\",\"old\":\"***\",\"new\":\"***\"}");
    expect(&t, "{\"path\":\"secret\",\"old\":\"***\"}");
    expect(&t, "{\"path\":\"config.wifi_password\",\"old\":\"***\",\"new\":\"***\"}");
    flow_fini(&f);
}
END_TEST

START_TEST(what_did_not_happen_is_not_told)
{
    struct flow f;
    begin(&f);
    uint32_t before = ask(&f, "", "").count;
    tk_fails(TPC_ENOENT,
             tpc_entity_put(f.core, NULL, "device", TPC_STR("{\"key\":\"x\",\"product\":\"none\"}"),
                            TPC_ANY_REV, NULL));
    tk_fails(TPC_ECONFLICT,
             tpc_entity_put(f.core, NULL, "device",
                            TPC_STR("{\"key\":\"t1\",\"product\":\"thermo\"}"), 77, NULL));
    tk_fails(TPC_ESTATE, tpc_entity_delete(f.core, NULL, TPC_STR(""), "product", TPC_STR("thermo"),
                                           TPC_ANY_REV));
    ck_assert_uint_eq(ask(&f, "", "").count, before);
    put_as(&f, "a", "device", "{\"key\":\"y\",\"product\":\"thermo\"}");
    struct trail t = ask(&f, "", "");
    ck_assert_uint_eq(t.count, before + 1);
    ck_assert_uint_eq(t.last, 1); /* no gap */
    flow_fini(&f);
}
END_TEST

START_TEST(the_trail_is_bounded_and_counts_what_went)
{
    struct flow f;
    char json[80];
    flow_init(&f, 0);
    f.o.audit_max_rows = 10;
    flow_create(&f);
    flow_devices(&f, 1);
    for (int i = 0; i < 300; i++) {
        snprintf(json, sizeof(json), "{\"key\":\"t1\",\"product\":\"thermo\",\"name\":\"n%d\"}", i);
        put_as(&f, "a", "device", json);
    }
    struct trail t = ask(&f, "", "");
    ck_assert_uint_eq(t.count, 10);
    expect(&t, "\"new\":\"n299\"");
    ck_assert_ptr_null(strstr(t.text, "\"new\":\"n289\""));
    ck_assert(flow_metric(&f, "tpc_audit_rows") == 10);
    ck_assert(flow_metric(&f, "tpc_audit_dropped_total") >= 293);
    ck_assert(flow_metric(&f, "tpc_audit_written_total") ==
              flow_metric(&f, "tpc_audit_dropped_total") + 10);
    flow_fini(&f);
}
END_TEST

START_TEST(filters_and_pages_go_back_in_time)
{
    struct flow f;
    struct trail t;
    struct tpc_audit_query q = TPC_AUDIT_QUERY_INIT;
    char json[80];
    begin(&f);
    for (int i = 0; i < 200; i++) {
        snprintf(json, sizeof(json), "{\"key\":\"d%d\",\"product\":\"thermo\"}", i);
        put_as(&f, i % 2 == 0 ? "even" : "odd", "device", json);
        tk_clock_advance(&f.e.clock, 1000);
    }
    q.actor = TPC_STR("odd");
    q.limit = 30;
    memset(&t, 0, sizeof(t));
    tk_ok(tpc_audit(f.core, &q, on_entry, &t));
    ck_assert_uint_eq(t.count, 30);
    q.before = t.last;
    q.limit = 1000;
    memset(&t, 0, sizeof(t));
    tk_ok(tpc_audit(f.core, &q, on_entry, &t));
    ck_assert_uint_eq(t.count, 70);
    q = (struct tpc_audit_query) TPC_AUDIT_QUERY_INIT;
    q.to_unix_ms = atomic_load(&f.e.clock.unix_ms) - 100000;
    q.from_unix_ms = q.to_unix_ms - 5000;
    memset(&t, 0, sizeof(t));
    tk_ok(tpc_audit(f.core, &q, on_entry, &t));
    ck_assert_uint_eq(t.count, 5);
    memset(&t, 0, sizeof(t));
    tk_ok(tpc_audit(f.core, NULL, on_entry, &t));
    ck_assert_uint_eq(t.count, 100);
    q.size = 4;
    tk_fails(TPC_EINVAL, tpc_audit(f.core, &q, on_entry, &t));
    flow_fini(&f);
}
END_TEST

START_TEST(commands_are_told_once_with_their_sender)
{
    struct flow f;
    struct tpc_actor actor = { .size = sizeof(actor),
                               .type = TPC_ACTOR_USER,
                               .name = TPC_STR("carol"),
                               .origin = TPC_STR("10.2.2.2") };
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    begin(&f);
    flow_probe_open(&f);
    flow_start(&f);
    o.device = flow_device(&f, "fan-1");
    o.service = TPC_STR("spin");
    o.params_json = TPC_STR("{\"speed\":3}");
    tk_ok(tpc_command_send(f.core, &actor, &o, NULL, NULL, NULL));
    flow_settle(&f);
    tk_ok(tpc_core_stop(f.core, 1000));
    struct trail t = ask(&f, "command", "");
    ck_assert_uint_eq(t.count, 1);
    expect(&t, "command command fan-1 r0 by user:carol@10.2.2.2 ");
    expect(&t, "\"service\":\"spin\",\"params\":{\"speed\":3}");
    flow_start(&f);
    flow_settle(&f);
    tk_ok(tpc_command_send(f.core, NULL, &o, NULL, NULL, NULL));
    flow_settle(&f);
    tk_ok(tpc_core_stop(f.core, 1000));
    t = ask(&f, "command", "fan-1");
    ck_assert_uint_eq(t.count, 2);
    tpc_device_unref(o.device);
    flow_fini(&f);
}
END_TEST

START_TEST(long_values_are_cut_and_many_counted)
{
    struct flow f;
    static char json[20000];
    begin(&f);
    put_as(&f, "a", "device", "{\"key\":\"t1\",\"product\":\"thermo\",\"config\":{}}");
    int n = snprintf(json, sizeof(json), "{\"key\":\"t1\",\"product\":\"thermo\",\"config\":{");
    for (int i = 0; i < 60; i++) {
        n += snprintf(json + n, sizeof(json) - (size_t) n, "%s\"m%d\":\"", i == 0 ? "" : ",", i);
        memset(json + n, 'v', 290);
        n += 290;
        json[n++] = '"';
    }
    snprintf(json + n, sizeof(json) - (size_t) n, "}}");
    put_as(&f, "a", "device", json);
    struct tpc_audit_query q = TPC_AUDIT_QUERY_INIT;
    struct trail t;
    memset(&t, 0, sizeof(t));
    q.limit = 1;
    tk_ok(tpc_audit(f.core, &q, on_entry, &t));
    expect(&t, "{\"path\":\"config.m0\",\"new\":\"\\\"vvv");
    expect(&t, "vvv..\"}");
    flow_fini(&f);
}
END_TEST

Suite *audit_flow_suite(void)
{
    Suite *s = suite_create("audit");
    TCase *t = tcase_create("audit");
    tcase_add_test(t, changes_are_told_with_actor_and_difference);
    tcase_add_test(t, secrets_never_stand_in_it);
    tcase_add_test(t, what_did_not_happen_is_not_told);
    tcase_add_test(t, the_trail_is_bounded_and_counts_what_went);
    tcase_add_test(t, filters_and_pages_go_back_in_time);
    tcase_add_test(t, commands_are_told_once_with_their_sender);
    tcase_add_test(t, long_values_are_cut_and_many_counted);
    suite_add_tcase(s, t);
    return s;
}
