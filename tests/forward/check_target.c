/* Targets as entities: documents, filters, hot changes, secrets, no memory. */
#include "post.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(documents_are_checked)
{
    static const struct {
        const char *json;
        int code;
        const char *path;
    } cases[] = {
        { "{'key':'a'}", TPC_EINVAL, "sink" },
        { "{'key':'a','sink':'nobody'}", TPC_ENOENT, "sink" },
        { "{'key':'a','sink':'box','filter':['other/up/#']}", TPC_EINVAL, "filter[0]" },
        { "{'key':'a','sink':'box','filter':['main/up/#','main/#/x']}", TPC_EINVAL, "filter[1]" },
        { "{'key':'a','sink':'box','filter':['+/up/#']}", TPC_EINVAL, "filter[0]" },
        { "{'key':'a','sink':'box','filter':[]}", TPC_EINVAL, "filter" },
        { "{'key':'a','sink':'box','where':'n >'}", TPC_EINVAL, "where" },
        { "{'key':'a','sink':'box','where':'n + 1'}", TPC_EINVAL, "where" },
        { "{'key':'a','sink':'box','options':{'url':1}}", TPC_EINVAL, "options.url" },
        { "{'key':'a','sink':'box','options':{'what':'x'}}", TPC_EINVAL, "options.what" },
        { "{'key':'a','sink':'box','batch':{'count':0}}", TPC_EINVAL, "batch.count" },
        { "{'key':'a','sink':'box','retry':{'min':'soon'}}", TPC_EINVAL, "retry.min" },
        { "{'key':'a','sink':'box','limit':-1}", TPC_EINVAL, "limit" },
    };
    struct post *p = post_new(NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int rc = post_put(p, "forward", cases[i].json);
        ck_assert_msg(rc == cases[i].code, "%s: %s (%s)", cases[i].json, tpc_error_name(rc),
                      p->err.text);
        ck_assert_msg(strcmp(p->err.path, cases[i].path) == 0, "%s: %s", cases[i].json,
                      p->err.path);
    }
    ck_assert_uint_eq(TPI_METRIC_GET(tpi_forward_count(p->forward)->targets), 0);
    post_start(p);
    tk_fails(TPC_EINVAL,
             post_put(p, "forward", "{'key':'a','sink':'box','options':{'url':'bad'}}"));
    ck_assert_str_eq(p->err.text, "url: not a place");
    ck_assert_uint_eq(TPI_METRIC_GET(tpi_forward_count(p->forward)->targets), 0);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(filter_and_condition_choose_messages)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward",
                   "{'key':'two','sink':'box','filter':['main/up/thermo/t2/telemetry',"
                   "'main/up/+/t3/telemetry']}"));
    post_start(p);
    for (int i = 1; i <= 4; i++) {
        char key[4];
        snprintf(key, sizeof(key), "t%d", i);
        post_say(p, key, i);
    }
    post_run(p);
    ck_assert_uint_eq(box.count, 2);
    ck_assert_int_eq(box.items[0].n + box.items[1].n, 5);
    ck_assert_uint_eq(post_info(p, "two").behind, 0);
    tk_ok(post_put(p, "forward",
                   "{'key':'two','sink':'box','where':'n > 10 and _device like \\\"t1%\\\"'}"));
    post_count(p, 1, 20);
    post_say(p, "t2", 15);
    post_run(p);
    ck_assert_uint_eq(box.count, 12);
    for (uint32_t i = 2; i < 12; i++) {
        ck_assert_int_eq(box.items[i].n, 9 + i);
    }
    tk_ok(post_put(p, "forward", "{'key':'two','sink':'box','where':'missing = 1'}"));
    post_count(p, 21, 30);
    post_run(p);
    ck_assert_uint_eq(box.count, 12);
    ck_assert_uint_eq(post_info(p, "two").behind, 0);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(handler_gets_its_own_notifications)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "handler", "{'key':'mail','sink':'box'}"));
    tk_ok(post_put(p, "tenant", "{'key':'other'}"));
    tk_ok(post_put(p, "handler", "{'key':'mail','tenant':'other','sink':'box'}"));
    post_start(p);
    post_notify(p, "mail", "t1", 1);
    post_notify(p, "phone", "t1", 2);
    post_notify(p, "mail", "", 3);
    post_count(p, 100, 200);
    post_run(p);
    ck_assert_uint_eq(box.count, 2);
    ck_assert_uint_eq(box.items[0].kind, TPC_MSG_NOTIFY);
    ck_assert_str_eq(box.items[0].name, "mail");
    ck_assert_int_eq(box.items[0].n + box.items[1].n, 4);
    ck_assert_uint_eq(box.largest, 1);
    ck_assert_uint_eq(post_info(p, "mail").behind, 0);
    snprintf(p->notify_tenant, sizeof(p->notify_tenant), "other");
    box.last_name[0] = '\0';
    post_notify(p, "mail", "", 5);
    post_run(p);
    ck_assert_uint_eq(box.count, 3);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(target_begins_with_what_comes_or_with_all_that_is_kept)
{
    struct post *p = post_new(NULL);
    post_count(p, 1, 10);
    tk_ok(post_put(p, "forward", "{'key':'new','sink':'box'}"));
    post_count(p, 11, 20);
    post_start(p);
    post_run(p);
    ck_assert_uint_eq(box.count, 10);
    ck_assert_int_eq(box.items[0].n, 11);
    tk_ok(post_put(p, "forward", "{'key':'old','sink':'box','start':'oldest'}"));
    post_run(p);
    ck_assert_uint_eq(box.count, 30);
    ck_assert_int_eq(box.items[10].n, 1);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(disabled_target_holds_its_place)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box'}"));
    post_start(p);
    post_count(p, 1, 5);
    post_run(p);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','enabled':false}"));
    post_run(p);
    ck_assert_uint_eq(post_info(p, "out").state, TPC_FORWARD_DISABLED);
    ck_assert_uint_eq(box.open, 0);
    post_count(p, 6, 10);
    post_run(p);
    ck_assert_uint_eq(box.count, 5);
    ck_assert_uint_eq(post_info(p, "out").behind, 5);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box'}"));
    post_run(p);
    ck_assert_uint_eq(box.count, 10);
    ck_assert_int_eq(box.items[9].n, 10);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(change_while_a_batch_is_in_flight_waits_for_its_end)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','batch':{'count':5}}"));
    post_start(p);
    box.hold = true;
    post_count(p, 1, 10);
    post_run(p);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','batch':{'count':2}}"));
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','batch':{'count':3}}"));
    post_run(p);
    ck_assert_uint_eq(box.held_count, 1);
    ck_assert_uint_eq(box.open, 2);
    box.hold = false;
    (void) box_answer(0);
    post_run(p);
    ck_assert_uint_eq(box.count, 10);
    for (uint32_t i = 0; i < 10; i++) {
        ck_assert_int_eq(box.items[i].n, i + 1);
    }
    ck_assert_uint_eq(box.last_count, 2); /* 5, 3, 2 */
    ck_assert_uint_eq(box.open, 1);
    post_stop(p);
    post_free(p);
}
END_TEST

static int count_cursor(void *user, const struct tpc_cursor_info *info)
{
    *(uint32_t *) user += info->name.len > 8 && memcmp(info->name.ptr, "forward:", 8) == 0;
    return 0;
}

static uint32_t cursors(struct post *p)
{
    uint32_t n = 0;
    (void) tpi_bus_memory.cursors(p->log, count_cursor, &n);
    return n;
}

START_TEST(deleted_target_leaves_no_cursor)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'Out / Ä','sink':'box'}"));
    tk_ok(post_put(p, "handler", "{'key':'h','sink':'box'}"));
    ck_assert_uint_eq(cursors(p), 2);
    post_start(p);
    box.hold = true;
    post_count(p, 1, 3);
    post_run(p);
    tk_ok(post_delete(p, "forward", "Out / Ä"));
    post_run(p);
    ck_assert_uint_eq(box.held_count, 1); /* its batch ends first */
    (void) box_answer(0);
    post_run(p);
    ck_assert_uint_eq(cursors(p), 1);
    ck_assert_uint_eq(box.open, 1);
    post_stop(p);
    tk_ok(post_delete(p, "handler", "h"));
    ck_assert_uint_eq(cursors(p), 0);
    /* One that a dead process left is found at the next start. */
    struct tpc_cursor_options o = { .size = sizeof(o),
                                    .cursor_class = TPC_CURSOR_LOSSY,
                                    .name = TPC_STR("forward:main.x-00000000000003e7") };
    uint32_t cursor;
    tk_ok(tpi_bus_memory.cursor_open(p->log, &o, NULL, &cursor));
    post_start(p);
    ck_assert_uint_eq(cursors(p), 0);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(target_without_its_sink_waits_and_goes_on_when_it_is_open)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box','options':{'token':'s3cret'}}"));
    post_start(p);
    post_count(p, 1, 3);
    post_run(p);
    ck_assert_str_eq(box.last_token, "s3cret");
    post_stop(p);
    p->sink_open = false;
    tk_ok(post_restart(p));
    post_start(p);
    post_count(p, 4, 6);
    post_run(p);
    ck_assert_uint_eq(post_info(p, "out").state, TPC_FORWARD_WAITING);
    ck_assert_uint_eq(TPI_METRIC_GET(tpi_forward_count(p->forward)->waiting), 1);
    ck_assert_uint_eq(tk_env_logged(&p->env, "no sink \"box\" is open"), 1);
    tk_fails(TPC_ENOENT, post_put(p, "forward", "{'key':'out','sink':'box'}"));
    post_stop(p);
    p->sink_open = true;
    box.last_token[0] = '\0';
    tk_ok(tpi_entities_reload(p->entities, TPC_STR("main"), "forward", TPC_STR("out"), &p->err));
    post_start(p);
    post_run(p);
    ck_assert_uint_eq(box.count, 6);
    ck_assert_str_eq(box.last_token, "s3cret");
    ck_assert_uint_eq(TPI_METRIC_GET(tpi_forward_count(p->forward)->waiting), 0);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(sink_that_does_not_take_a_target_yet_is_asked_again)
{
    struct post *p = post_new(NULL);
    tk_ok(post_put(p, "forward", "{'key':'out','sink':'box'}"));
    box.open_code = TPC_EOFFLINE;
    post_start(p);
    post_count(p, 1, 3);
    post_run(p);
    ck_assert_uint_eq(post_info(p, "out").state, TPC_FORWARD_WAITING);
    ck_assert_int_eq(post_info(p, "out").error_code, TPC_EOFFLINE);
    box.open_code = 0;
    post_wait(p, 60000);
    ck_assert_uint_eq(box.count, 3);
    post_stop(p);
    post_free(p);
}
END_TEST

static int keep_json(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                     struct tpc_str json)
{
    (void) info;
    (void) key;
    snprintf(user, 512, "%.*s", (int) json.len, json.ptr);
    return 0;
}

START_TEST(secrets_of_a_target_are_in_no_document)
{
    struct post *p = post_new(NULL);
    char json[512];
    tk_ok(post_put(p, "handler",
                   "{'key':'mail','sink':'box','options':{'url':'there','token':'s3cret',"
                   "'login':{'user':'u','password':'pa55'}}}"));
    tk_ok(tpi_entities_get(p->entities, TPC_STR("main"), "handler", TPC_STR("mail"), &p->err,
                           keep_json, json));
    ck_assert_ptr_null(strstr(json, "s3cret"));
    ck_assert_ptr_null(strstr(json, "pa55"));
    ck_assert_ptr_nonnull(strstr(json, "there"));
    /* A put without it keeps it. */
    tk_ok(post_put(p, "handler", "{'key':'mail','sink':'box','options':{'url':'here'}}"));
    post_start(p);
    post_run(p);
    ck_assert_str_eq(box.last_token, "s3cret");
    ck_assert_str_eq(box.last_name, "main/handler/mail");
    ck_assert_uint_eq(tk_env_logged(&p->env, "s3cret"), 0);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(there_are_bounds_to_the_number_of_targets)
{
    struct post *p = post_new(NULL);
    char json[64];
    for (int i = 0; i < TPI_FORWARD_TARGETS; i++) {
        snprintf(json, sizeof(json), "{'key':'t%d','sink':'box'}", i);
        tk_ok(post_put(p, "forward", json));
    }
    tk_fails(TPC_ETOOBIG, post_put(p, "forward", "{'key':'more','sink':'box'}"));
    ck_assert_uint_eq(cursors(p), TPI_FORWARD_TARGETS);
    tk_ok(post_delete(p, "forward", "t7"));
    tk_ok(post_put(p, "forward", "{'key':'more','sink':'box'}"));
    post_free(p);
}
END_TEST

/* One failing allocation anywhere from the put to the last message. Returns whether one failed. */
static bool run_without(struct post *p, size_t fail_at)
{
    p->env.alloc.count = 0;
    p->env.alloc.failed = 0;
    p->env.alloc.fail_at = fail_at;
    box.count = 0;
    p->letters = 0;
    int rc = post_put(p, "forward",
                      "{'key':'oom','sink':'box','where':'n > 0','start':'oldest',"
                      "'filter':['main/up/+/+/telemetry'],'options':{'token':'x'}}");
    if (rc == 0) {
        post_run(p);
    }
    p->env.alloc.fail_at = 0;
    if (rc != 0) {
        ck_assert_int_eq(rc, TPC_ENOMEM);
        ck_assert_uint_eq(cursors(p), 0);
        ck_assert_uint_eq(box.open, 0);
        return true;
    }
    for (int i = 0; i < 5; i++) {
        post_wait(p, 60000);
    }
    ck_assert_uint_eq(box.count, 9);
    ck_assert_uint_eq(p->letters, 1);
    ck_assert_uint_eq(post_info(p, "oom").behind, 0);
    tk_ok(post_delete(p, "forward", "oom"));
    post_run(p);
    return p->env.alloc.failed > 0;
}

START_TEST(no_memory_loses_nothing)
{
    struct post *p = post_new(NULL);
    post_count(p, 1, 10);
    post_start(p);
    box.poison[0] = 5;
    size_t n = 1;
    while (run_without(p, n)) {
        n++;
    }
    ck_assert_uint_gt(n, 20);
    post_stop(p);
    post_free(p);
}
END_TEST

Suite *target_suite(void)
{
    Suite *s = suite_create("target");
    TCase *c = tcase_create("target");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, documents_are_checked);
    tcase_add_test(c, filter_and_condition_choose_messages);
    tcase_add_test(c, handler_gets_its_own_notifications);
    tcase_add_test(c, target_begins_with_what_comes_or_with_all_that_is_kept);
    tcase_add_test(c, disabled_target_holds_its_place);
    tcase_add_test(c, change_while_a_batch_is_in_flight_waits_for_its_end);
    tcase_add_test(c, deleted_target_leaves_no_cursor);
    tcase_add_test(c, target_without_its_sink_waits_and_goes_on_when_it_is_open);
    tcase_add_test(c, sink_that_does_not_take_a_target_yet_is_asked_again);
    tcase_add_test(c, secrets_of_a_target_are_in_no_document);
    tcase_add_test(c, there_are_bounds_to_the_number_of_targets);
    tcase_add_test(c, no_memory_loses_nothing);
    suite_add_tcase(s, c);
    return s;
}
