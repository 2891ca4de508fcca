#include "sink_suite.h"

#include <string.h>
#include <tpcore/modules.h>

static struct tk_env env;
static struct fake_sink h;

static struct tpc_batch batch_of(const char *text)
{
    static struct tpc_msg m;
    static struct tpc_member member;
    struct tpc_batch b = { .size = sizeof(b), .count = 1, .msg_size = sizeof(m), .msgs = &m };
    member.key = TPC_STR("text");
    member.value = (struct tpc_value){ .type = TPC_TEXT, .len = strlen(text), .as.text = text };
    m = (struct tpc_msg){ .size = sizeof(m), .kind = TPC_MSG_NOTIFY };
    m.id.b[15] = 1;
    m.device = TPC_STR("t1");
    m.params = (struct tpc_value){ .type = TPC_MAP, .len = 1, .as.members = &member };
    return b;
}

/* Sends over a target with these options; returns the last line of the log. */
static const char *line_of(const char *options, const char *text, int level)
{
    void *t;
    struct tpc_batch b = batch_of(text);
    tk_ok(fake_sink_open(&h, "main/handler/log", options, &t));
    tk_ok(fake_sink_whole(&h, t, &b));
    h.ops->target_close(h.self, t);
    size_t at = (env.log_count - 1) % TK_LOG_LINES;
    ck_assert_int_eq(env.log_levels[at], level);
    return env.log_lines[at];
}

START_TEST(message_is_a_line_of_the_log_at_its_level)
{
    tk_env_init(&env);
    tk_ok(fake_sink_init(&h, &env, tpc_module_log(), "{}"));
    tk_ok(fake_sink_start(&h));
    ck_assert_str_eq(line_of("{}", "it is hot", TPC_LOG_INFO), "log: it is hot");
    ck_assert_str_eq(line_of("{\"level\":\"error\",\"text\":\"{{ _device | upper }}: {{ text }}\"}",
                             "a\nb\x1b[2J", TPC_LOG_ERROR),
                     "log: T1: a b [2J");
    ck_assert_uint_eq(fake_sink_metric(&h, "delivered"), 2);
    fake_sink_stop(&h);
    fake_sink_fini(&h);
    tk_env_fini(&env);
}
END_TEST

START_TEST(long_line_is_cut_at_the_border_of_a_character)
{
    char text[2100];
    for (size_t i = 0; i < sizeof(text) - 1; i += 2) {
        memcpy(text + i, "\xc3\xbc", 2);
    }
    text[2098] = '\0';
    tk_env_init(&env);
    tk_ok(fake_sink_init(&h, &env, tpc_module_log(), "{}"));
    tk_ok(fake_sink_start(&h));
    const char *line = line_of("{\"text\":\"x{{ text }}\"}", text, TPC_LOG_INFO);
    size_t len = strlen(line);
    ck_assert_uint_lt(len, 1020);
    fake_sink_stop(&h);
    fake_sink_fini(&h);
    tk_env_fini(&env);
}
END_TEST

static const struct sink_subject subject = {
    .module = tpc_module_log,
    .options = "{}",
    .target = "{\"text\":\"{{ n }}\"}",
    .bad_target = "{\"text\":\"{{ 1 + }}\"}",
};

static Suite *log_suite(void)
{
    Suite *s = suite_create("log");
    TCase *c = tcase_create("log");
    tcase_add_test(c, message_is_a_line_of_the_log_at_its_level);
    tcase_add_test(c, long_line_is_cut_at_the_border_of_a_character);
    suite_add_tcase(s, c);
    suite_add_tcase(s, sink_suite(&subject));
    return s;
}

int main(void)
{
    static tk_suite_fn *const all[] = { log_suite, NULL };
    return tk_main("adapter_log", all);
}
