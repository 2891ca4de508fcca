#include "exec_suites.h"

#include "../../../adapters/text/fill.h"
#include "tk_env.h"

#include <string.h>

static struct tk_env env;

static struct tpc_msg message(void)
{
    static struct tpc_point points[2];
    static const struct tpc_member members[] = {
        { TPC_STR_INIT("text"), { .type = TPC_TEXT, .len = 8, .as.text = "it's \"on" } },
        { TPC_STR_INIT("n"), { .type = TPC_INT, .as.i = 5 } },
    };
    struct tpc_msg m = { .size = sizeof(m), .kind = TPC_MSG_NOTIFY, .unix_ms = 1795176000000 };
    points[0].key = TPC_STR("temperature");
    points[0].value = (struct tpc_value){ .type = TPC_DOUBLE, .as.d = 21.25 };
    m.id.b[15] = 1;
    m.tenant = TPC_STR("main");
    m.device = TPC_STR("hall/1");
    m.name = TPC_STR("ops");
    m.params = (struct tpc_value){ .type = TPC_MAP, .len = 2, .as.members = members };
    m.point_count = 1;
    m.point_size = sizeof(points[0]);
    m.points = points;
    return m;
}

static int fill_it(const char *text, enum tpi_template_target target, struct tpi_buf *out)
{
    struct fill f = { 0 };
    struct tpc_arena *arena = NULL;
    struct tpc_error err;
    struct tpc_msg m = message();
    int rc = tpc_arena_create(&env.alloc.base, 0, &arena);
    rc = rc != 0 ? rc
                 : fill_init(&f, &env.alloc.base, arena, &env.clock.base, tpc_str_from(text),
                             target, &err);
    rc = rc != 0 ? rc : fill_text(&f, &m, out);
    fill_fini(&f);
    tpc_arena_destroy(arena);
    return rc;
}

START_TEST(values_params_and_names_of_the_message_are_filled_in)
{
    static const struct {
        const char *text, *want;
        enum tpi_template_target target;
    } cases[] = {
        { "plain", "plain", TPI_TEMPLATE_PLAIN },
        { "", "", TPI_TEMPLATE_PLAIN },
        { "{{ temperature | round(1) }}/{{ n }}", "21.3/5", TPI_TEMPLATE_PLAIN },
        { "{{ _device }} {{ _kind }} {{ _name }} {{ _tenant }}", "hall/1 notify ops main",
          TPI_TEMPLATE_PLAIN },
        { "{{ _id }} {{ _time }}", "00000000000000000000000000000001 2026-11-20T12:00:00.000Z",
          TPI_TEMPLATE_PLAIN },
        { "{{ _text }}", "it's \"on", TPI_TEMPLATE_PLAIN },
        { "a/{{ _device }}/b", "a/hall%2F1/b", TPI_TEMPLATE_URL },
        { "{\"t\":{{ text }},\"none\":{{ nothing }}}", "{\"t\":\"it's \\\"on\",\"none\":null}",
          TPI_TEMPLATE_JSON },
    };
    tk_env_init(&env);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tpi_buf out;
        tpi_buf_init(&out, &env.alloc.base, 0);
        tk_ok(fill_it(cases[i].text, cases[i].target, &out));
        ck_assert_msg(out.len == strlen(cases[i].want) &&
                          (out.len == 0 || memcmp(out.ptr, cases[i].want, out.len) == 0),
                      "%s gives %.*s", cases[i].text, (int) out.len, (const char *) out.ptr);
        tpi_buf_fini(&out);
    }
    tk_env_fini(&env);
}
END_TEST

START_TEST(json_of_the_whole_message_is_a_name)
{
    struct tpi_buf out;
    tk_env_init(&env);
    tpi_buf_init(&out, &env.alloc.base, 0);
    tk_ok(fill_it("{{ _json }}", TPI_TEMPLATE_PLAIN, &out));
    tk_ok(tpi_buf_u8(&out, 0));
    ck_assert_ptr_nonnull(strstr((const char *) out.ptr, "\"values\":{\"temperature\":21.25}"));
    tpi_buf_fini(&out);
    tk_env_fini(&env);
}
END_TEST

START_TEST(name_that_nobody_knows_is_refused_and_a_limit_is_kept)
{
    struct tpi_buf out;
    tk_env_init(&env);
    tpi_buf_init(&out, &env.alloc.base, 4);
    tk_fails(TPC_EINVAL, fill_it("{{ _devise }}", TPI_TEMPLATE_PLAIN, &out));
    tk_fails(TPC_EINVAL, fill_it("{{ 1 + }}", TPI_TEMPLATE_PLAIN, &out));
    tk_fails(TPC_ETOOBIG, fill_it("{{ _id }}", TPI_TEMPLATE_PLAIN, &out));
    tpi_buf_fini(&out);
    tk_env_fini(&env);
}
END_TEST

static int with_memory_of(const struct tpc_allocator *a, void *user)
{
    struct tpi_buf out;
    (void) user;
    tk_env_init(&env);
    env.alloc.base = *a;
    tpi_buf_init(&out, a, 0);
    int rc = fill_it("{{ _json }} {{ _text }} {{ n }}", TPI_TEMPLATE_PLAIN, &out);
    tpi_buf_fini(&out);
    tk_env_fini(&env);
    return rc;
}

START_TEST(template_without_memory_leaves_nothing_behind)
{
    tk_each_alloc_fails(with_memory_of, NULL);
}
END_TEST

Suite *fill_suite(void)
{
    Suite *s = suite_create("fill");
    TCase *c = tcase_create("fill");
    tcase_add_test(c, values_params_and_names_of_the_message_are_filled_in);
    tcase_add_test(c, json_of_the_whole_message_is_a_name);
    tcase_add_test(c, name_that_nobody_knows_is_refused_and_a_limit_is_kept);
    tcase_add_test(c, template_without_memory_leaves_nothing_behind);
    suite_add_tcase(s, c);
    return s;
}
