/* Transforms: what is changed of a message before it goes. */
#include "post.h"

#include <stdio.h>
#include <string.h>

static void put_transform(struct post *p, const char *transform)
{
    char json[1024];
    snprintf(json, sizeof(json), "{'key':'out','sink':'box','transform':%s}", transform);
    tk_ok(post_put(p, "forward", json));
}

START_TEST(values_are_set_chosen_and_renamed)
{
    static const struct {
        const char *transform;
        const char *key; /* of the first value; NULL = the message does not go */
        uint32_t points;
        double number; /* of the last */
        const char *text;
    } cases[] = {
        { "{}", "n", 1, 7, "" },
        { "{'set':{'n':'n * 2'}}", "n", 1, 14, "" },
        { "{'set':{'half':'n / 2'}}", "n", 2, 3.5, "" },
        { "{'set':{'who':'upper(_device)'}}", "n", 2, 0, "T1" },
        { "{'set':{'a':'n','n':'n + 1'}}", "n", 2, 7, "" }, /* from the message as it came */
        { "{'set':{'gone':'missing'}}", "n", 1, 7, "" },    /* null is no value */
        { "{'select':['n']}", "n", 1, 7, "" },
        { "{'select':['x']}", NULL, 0, 0, "" },
        { "{'set':{'x':'1'},'select':['x']}", "x", 1, 1, "" },
        { "{'drop':['n']}", NULL, 0, 0, "" },
        { "{'set':{'x':'1'},'drop':['n']}", "x", 1, 1, "" },
        { "{'rename':{'n':'number'}}", "number", 1, 7, "" },
        { "{'rename':{'n':'number'},'select':['n']}", "number", 1, 7, "" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct post *p = post_new(NULL);
        put_transform(p, cases[i].transform);
        post_start(p);
        post_say(p, "t1", 7);
        post_run(p);
        if (cases[i].key == NULL) {
            ck_assert_msg(box.count == 0, "%s", cases[i].transform);
        } else {
            ck_assert_msg(box.count == 1, "%s", cases[i].transform);
            ck_assert_str_eq(box.items[0].key, cases[i].key);
            ck_assert_uint_eq(box.items[0].points, cases[i].points);
            ck_assert_str_eq(box.items[0].value, cases[i].text);
            ck_assert_msg(box.items[0].number == cases[i].number, "%s", cases[i].transform);
        }
        ck_assert_uint_eq(post_info(p, "out").behind, 0);
        post_stop(p);
        post_free(p);
    }
}
END_TEST

START_TEST(members_of_an_events_params_are_changed_in_the_same_way)
{
    struct post *p = post_new(NULL);
    put_transform(p, "{'set':{'n':'n + 1'},'drop':['other']}");
    post_start(p);
    post_event(p, "t1", 5);
    post_run(p);
    ck_assert_uint_eq(box.count, 1);
    ck_assert_int_eq(box.items[0].n, 6);
    ck_assert_str_eq(box.items[0].name, "alarm");
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(faults_are_found_at_the_put_with_their_place)
{
    static const struct {
        const char *transform;
        int code;
        const char *path;
    } cases[] = {
        { "{'set':{'a':'n +'}}", TPC_EINVAL, "transform.set.a" },
        { "{'set':{'a':5}}", TPC_EINVAL, "transform.set.a" },
        { "{'rename':{'a':''}}", TPC_EINVAL, "transform.rename.a" },
        { "{'select':[]}", TPC_EINVAL, "transform.select" },
        { "{'nonsense':1}", TPC_EINVAL, "transform.nonsense" },
        { "{'lua':'x','drop':['n']}", TPC_EINVAL, "transform.lua" },
    };
    struct post *p = post_new(NULL);
    char json[256];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(json, sizeof(json), "{'key':'out','sink':'box','transform':%s}",
                 cases[i].transform);
        tk_fails(cases[i].code, post_put(p, "forward", json));
        ck_assert_str_eq(p->err.path, cases[i].path);
    }
    post_free(p);
}
END_TEST

START_TEST(transform_allocates_nothing_for_a_message)
{
    struct post *p = post_new(NULL);
    put_transform(p, "{'set':{'x':'n * 2'},'rename':{'n':'m'},'drop':['temperature']}");
    post_start(p);
    post_count(p, 1, 2000);
    post_run(p);
    size_t before = p->env.alloc.count;
    post_count(p, 2001, 6000);
    post_run(p);
    ck_assert_uint_eq(box.count, 6000);
    ck_assert_uint_eq(p->env.alloc.count, before);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(refused_message_of_a_transform_is_found_and_the_rest_goes)
{
    struct post *p = post_new(NULL);
    put_transform(p, "{'set':{'x':'n * 2'}}");
    post_start(p);
    box.poison[0] = 33;
    post_count(p, 1, 300);
    post_run(p);
    ck_assert_uint_eq(p->letters, 1);
    ck_assert_uint_eq(box.count, 299);
    ck_assert_ptr_nonnull(strstr(p->letter, "\"x\":66"));
    for (uint32_t i = 1; i < box.count; i++) {
        ck_assert_int_gt(box.items[i].n, box.items[i - 1].n);
    }
    ck_assert_uint_eq(post_info(p, "out").behind, 0);
    post_stop(p);
    post_free(p);
}
END_TEST

/* ---- code ---- */

static struct post *post_with(const char *code)
{
    struct post *p = post_new(NULL);
    char json[1024];
    snprintf(json, sizeof(json), "{'lua':'%s'}", code);
    put_transform(p, json);
    post_start(p);
    return p;
}

START_TEST(code_makes_one_message_several_or_none)
{
    if (!post_has_lua()) {
        tk_skip("code", "the module lua is not built");
        return;
    }
    struct post *p = post_with("function transform(m) m.values.n = m.values.n * 2 "
                               "m.values.who = m.device .. m.product return m end");
    post_say(p, "t3", 21);
    post_run(p);
    ck_assert_uint_eq(box.count, 1);
    ck_assert_uint_eq(box.items[0].points, 2);
    ck_assert_str_eq(box.items[0].device, "t3");
    post_stop(p);
    post_free(p);
    p = post_with("function transform(m) local l = {} for i = 1, m.values.n do "
                  "l[i] = {values = {n = i * 10}, unix_ms = i} end return l end");
    post_say(p, "t1", 3);
    post_say(p, "t1", 0);
    post_say(p, "t1", 2);
    post_run(p);
    ck_assert_uint_eq(box.count, 5);
    ck_assert_int_eq(box.items[2].n, 30);
    ck_assert_int_eq(box.items[4].n, 20);
    for (int i = 0; i < 16; i++) {
        post_say(p, "t1", 64);
    }
    post_run(p);
    ck_assert_uint_eq(box.count, 5 + 16 * 64);
    uint32_t same = 0;
    for (uint32_t i = 1; i < box.count; i++) { /* each has an id of its own */
        for (uint32_t k = 0; k < i; k++) {
            same += memcmp(&box.items[i].id, &box.items[k].id, sizeof(struct tpc_id)) == 0;
        }
    }
    ck_assert_uint_eq(same, 0);
    ck_assert_uint_eq(post_info(p, "out").behind, 0);
    post_stop(p);
    post_free(p);
    p = post_with("function transform(m) if m.kind == \\\"event\\\" then "
                  "return {kind = \\\"telemetry\\\", values = {n = m.params.n}} end end");
    post_count(p, 1, 100);
    post_event(p, "t1", 7);
    post_run(p);
    ck_assert_uint_eq(box.count, 1);
    ck_assert_uint_eq(box.items[0].kind, TPC_MSG_TELEMETRY);
    ck_assert_int_eq(box.items[0].n, 7);
    ck_assert_uint_eq(post_info(p, "out").behind, 0);
    post_stop(p);
    post_free(p);
}
END_TEST

START_TEST(message_on_which_code_fails_is_a_dead_letter_and_the_rest_goes)
{
    static const char *const codes[] = {
        "function transform(m) if m.values.n == 5 then error(\"not five\") end return m end",
        "function transform(m) if m.values.n == 5 then return 7 end return m end",
        "function transform(m) if m.values.n == 5 then return {values = 3} end return m end",
        "function transform(m) if m.values.n == 5 then while true do end end return m end",
        "function transform(m) if m.values.n == 5 then return {kind=\"x\"} end return m end",
    };
    if (!post_has_lua()) {
        tk_skip("code", "the module lua is not built");
        return;
    }
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        char code[256];
        char *out = code;
        for (const char *c = codes[i]; *c != '\0'; c++) {
            if (*c == '"') {
                *out++ = '\\';
            }
            *out++ = *c;
        }
        *out = '\0';
        struct post *p = post_with(code);
        p->letter_code = TPC_EAGAIN; /* first nobody takes the letter: nothing may be lost */
        post_count(p, 1, 10);
        post_run(p);
        ck_assert_uint_le(box.count, 4);
        ck_assert_uint_ge(post_info(p, "out").behind, 6);
        p->letter_code = 0;
        post_wait(p, 1000);
        ck_assert_uint_eq(p->letters, 1);
        ck_assert_uint_eq(box.count, 9);
        ck_assert_int_eq(box.items[4].n, 6);
        ck_assert_ptr_nonnull(strstr(p->letter, "\"n\":5"));
        ck_assert_uint_eq(post_info(p, "out").dead, 1);
        post_run(p);
        ck_assert_uint_eq(post_info(p, "out").behind, 0);
        post_stop(p);
        post_free(p);
    }
}
END_TEST

START_TEST(code_that_cannot_be_is_refused_at_the_put)
{
    struct post *p = post_new(NULL);
    int code = post_put(p, "forward", "{'key':'out','sink':'box','transform':{'lua':'x ='}}");
    ck_assert_int_eq(code, post_has_lua() ? TPC_ESCRIPT : TPC_EUNSUPPORTED);
    ck_assert_str_eq(p->err.path, "transform.lua");
    post_free(p);
}
END_TEST

static bool run_without(struct post *p, size_t fail_at)
{
    box.count = 0;
    p->env.alloc.count = 0;
    p->env.alloc.failed = 0;
    p->env.alloc.fail_at = fail_at;
    int rc = post_put(p, "forward",
                      "{'key':'oom','sink':'box','start':'oldest','window':4,"
                      "'keep':{'records':1000,'drop':'thin'},"
                      "'transform':{'set':{'who':'upper(_device)'},'rename':{'n':'m'}}}");
    if (rc == 0) {
        post_run(p);
    }
    p->env.alloc.fail_at = 0;
    if (rc != 0) {
        ck_assert_int_eq(rc, TPC_ENOMEM);
        ck_assert_uint_eq(box.open, 0);
        return true;
    }
    for (int i = 0; i < 5; i++) {
        post_wait(p, 60000);
    }
    ck_assert_uint_eq(box.count, 10);
    ck_assert_uint_eq(post_info(p, "oom").behind, 0);
    tk_ok(post_delete(p, "forward", "oom"));
    post_run(p);
    return p->env.alloc.failed > 0;
}

START_TEST(no_memory_loses_nothing_of_a_transform)
{
    struct post *p = post_new(NULL);
    post_count(p, 1, 10);
    post_start(p);
    size_t n = 1;
    while (run_without(p, n)) {
        n++;
    }
    ck_assert_uint_gt(n, 30);
    post_stop(p);
    post_free(p);
}
END_TEST

Suite *shape_suite(void)
{
    Suite *s = suite_create("shape");
    TCase *c = tcase_create("shape");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, values_are_set_chosen_and_renamed);
    tcase_add_test(c, members_of_an_events_params_are_changed_in_the_same_way);
    tcase_add_test(c, faults_are_found_at_the_put_with_their_place);
    tcase_add_test(c, transform_allocates_nothing_for_a_message);
    tcase_add_test(c, refused_message_of_a_transform_is_found_and_the_rest_goes);
    tcase_add_test(c, code_makes_one_message_several_or_none);
    tcase_add_test(c, message_on_which_code_fails_is_a_dead_letter_and_the_rest_goes);
    tcase_add_test(c, code_that_cannot_be_is_refused_at_the_put);
    tcase_add_test(c, no_memory_loses_nothing_of_a_transform);
    suite_add_tcase(s, c);
    return s;
}
