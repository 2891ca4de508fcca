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
    suite_add_tcase(s, c);
    return s;
}
