/* Programs are scripts that the test writes: real processes, real pipes. */
#include "exec_suites.h"
#include "sink_suite.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <tpcore/modules.h>
#include <unistd.h>

enum { MESSAGES = 6, PATH_MAX_BYTES = 256, WAIT_MS = 10000 };

static struct tk_env env;
static struct fake_sink h;
static char folder[PATH_MAX_BYTES];
static char program[PATH_MAX_BYTES + 16];
static char out[PATH_MAX_BYTES + 16];

static void make_program(const char *body)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof(folder), "%s/tpc-exec-XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(program, sizeof(program), "%s/run", folder);
    snprintf(out, sizeof(out), "%s/out", folder);
    FILE *f = fopen(program, "w");
    ck_assert_ptr_nonnull(f);
    fprintf(f, "#!/bin/sh\nout=%s\n%s\n", out, body);
    fclose(f);
    ck_assert_int_eq(chmod(program, 0755), 0);
}

static void drop_program(void)
{
    unlink(out);
    unlink(program);
    rmdir(folder);
}

static void begin(const char *body, const char *more)
{
    char json[1024];
    make_program(body);
    snprintf(json, sizeof(json), "{\"allow\":[\"%s\"]%s}", program, more);
    tk_env_init(&env);
    int rc = fake_sink_init(&h, &env, tpc_module_exec(), json);
    ck_assert_msg(rc == 0, "%s", h.last_fail);
    tk_ok(fake_sink_start(&h));
}

static void end(void)
{
    if (!h.stopped) {
        fake_sink_stop(&h);
    }
    fake_sink_fini(&h);
    ck_assert_uint_eq(h.calls_after_stop, 0);
    tk_env_fini(&env);
    drop_program();
}

static void *target(const char *more)
{
    char json[1024];
    void *t = NULL;
    snprintf(json, sizeof(json), "{\"program\":\"%s\"%s}", program, more);
    int rc = fake_sink_open(&h, "main/handler/run", json, &t);
    ck_assert_msg(rc == 0, "%s", h.last_fail);
    return t;
}

static void close_target(void *t)
{
    h.ops->target_close(h.self, t);
}

static struct tpc_batch batch_of(uint32_t count, const char *device)
{
    static struct tpc_msg messages[MESSAGES];
    static struct tpc_point points[MESSAGES];
    struct tpc_batch b = { .size = sizeof(b), .count = count, .msg_size = sizeof(messages[0]) };
    for (uint32_t i = 0; i < MESSAGES; i++) {
        struct tpc_msg *m = &messages[i];
        *m = (struct tpc_msg){ .size = sizeof(*m), .kind = TPC_MSG_TELEMETRY };
        memset(&points[i], 0, sizeof(points[i]));
        points[i].key = TPC_STR("n");
        points[i].value = (struct tpc_value){ .type = TPC_INT, .as.i = (int64_t) i - 1 };
        m->unix_ms = 1795176000000;
        m->id.b[15] = (uint8_t) (i + 1);
        m->tenant = TPC_STR("main");
        m->device = tpc_str_from(device);
        m->point_count = 1;
        m->point_size = sizeof(points[i]);
        m->points = &points[i];
    }
    b.msgs = messages;
    return b;
}

/* What the program wrote to $out. */
static const char *written(void)
{
    static char text[8192];
    FILE *f = fopen(out, "r");
    size_t n = f != NULL ? fread(text, 1, sizeof(text) - 1, f) : 0;
    if (f != NULL) {
        fclose(f);
    }
    text[n] = '\0';
    return text;
}

static void pause_ms(int ms)
{
    struct timespec t = { ms / 1000, (long) (ms % 1000) * 1000000 };
    nanosleep(&t, NULL);
}

static bool wait_for_output(void)
{
    for (int i = 0; i < WAIT_MS / 10 && written()[0] == '\0'; i++) {
        pause_ms(10);
    }
    return written()[0] != '\0';
}

/* Whether the process whose number the program wrote is gone. */
static bool wait_for_death(void)
{
    pid_t pid = (pid_t) strtol(written(), NULL, 10);
    ck_assert_int_gt(pid, 1);
    for (int i = 0; i < WAIT_MS / 10; i++) {
        if (kill(pid, 0) != 0 && errno == ESRCH) {
            return true;
        }
        pause_ms(10);
    }
    return false;
}

static const struct tpc_error *last_error(void)
{
    return &h.sent[h.sent_count - 1].err;
}

START_TEST(program_gets_arguments_input_and_a_clean_environment)
{
    setenv("EXEC_TEST_LEAK", "1", 1);
    begin("{ echo \"$# $1 $2 $3\"; cat; env | grep -c LEAK; echo \"$ROOM $PWD\"; } > $out",
          ",\"env\":{\"ROOM\":\"hall\"},\"dir\":\"/\"");
    void *t = target(",\"args\":[\"{{ _device }}\",\"n={{ n }} $(id)\",\"{{ n }}\"]");
    struct tpc_batch b = batch_of(1, "t 1;`id`");
    tk_ok(fake_sink_whole(&h, t, &b));
    ck_assert_str_eq(written(), "3 t 1;`id` n=-1 $(id) -1\n"
                                "{\"id\":\"00000000000000000000000000000001\",\"tenant\":\"main\","
                                "\"device\":\"t 1;`id`\",\"kind\":\"telemetry\","
                                "\"time\":\"2026-11-20T12:00:00.000Z\",\"values\":{\"n\":-1}}\n"
                                "0\nhall /\n");
    ck_assert_uint_eq(fake_sink_metric(&h, "delivered"), 1);
    close_target(t);
    end();
    unsetenv("EXEC_TEST_LEAK");
}
END_TEST

START_TEST(messages_of_a_batch_run_in_order_or_in_one_run)
{
    begin("{ wc -l; } >> $out", "");
    void *each = target("");
    void *one = target(",\"batch\":true,\"args\":[\"-x\"]");
    struct tpc_batch b = batch_of(MESSAGES, "t1");
    tk_ok(fake_sink_whole(&h, each, &b));
    ck_assert_str_eq(written(), "1\n1\n1\n1\n1\n1\n");
    tk_ok(fake_sink_whole(&h, one, &b));
    ck_assert_str_eq(written(), "1\n1\n1\n1\n1\n1\n6\n");
    close_target(each);
    close_target(one);
    end();
}
END_TEST

START_TEST(exit_status_says_what_becomes_of_the_message)
{
    static const struct {
        int status, code;
    } cases[] = {
        { 1, TPC_EINVAL }, { 75, TPC_EAGAIN }, { 77, TPC_EDENIED }, { 78, TPC_EUNSUPPORTED }
    };
    begin("echo one; echo 'bad thing' >&2; exit $1", "");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char more[64];
        snprintf(more, sizeof(more), ",\"args\":[\"%d\"]", cases[i].status);
        void *t = target(more);
        struct tpc_batch b = batch_of(1, "t1");
        ck_assert_int_eq(fake_sink_whole(&h, t, &b), cases[i].code);
        ck_assert_int_eq(last_error()->native, cases[i].status);
        ck_assert_ptr_nonnull(strstr(last_error()->text, "one bad thing"));
        close_target(t);
    }
    end();
}
END_TEST

START_TEST(program_that_hangs_is_killed_with_all_it_started)
{
    begin("trap '' TERM\nsleep 1000 &\necho $! > $out\nwait\nsleep 1000", "");
    void *t = target(",\"timeout\":\"300ms\"");
    struct tpc_batch b = batch_of(1, "t1");
    ck_assert_int_eq(fake_sink_whole(&h, t, &b), TPC_ETIMEOUT);
    ck_assert_ptr_nonnull(strstr(last_error()->text, "killed after 300 ms"));
    ck_assert(wait_for_death());
    ck_assert_uint_eq(fake_sink_metric(&h, "killed_late"), 1);
    close_target(t);
    end();
}
END_TEST

START_TEST(child_left_behind_by_a_program_that_ended_is_killed)
{
    begin("sleep 1000 &\necho $! > $out", "");
    void *t = target("");
    struct tpc_batch b = batch_of(1, "t1");
    tk_ok(fake_sink_whole(&h, t, &b));
    ck_assert(wait_for_death());
    close_target(t);
    end();
}
END_TEST

START_TEST(flood_of_output_is_read_and_its_end_is_told)
{
    begin("head -c 5000000 /dev/zero | tr '\\0' x\necho; printf 'the \\001end\\377'; exit 3", "");
    void *t = target("");
    struct tpc_batch b = batch_of(1, "t1");
    ck_assert_int_eq(fake_sink_whole(&h, t, &b), TPC_EINVAL);
    ck_assert_ptr_nonnull(strstr(last_error()->text, "xxx the  end."));
    close_target(t);
    end();
}
END_TEST

START_TEST(endless_output_ends_with_the_time)
{
    begin("exec yes", "");
    void *t = target(",\"timeout\":\"200ms\"");
    struct tpc_batch b = batch_of(1, "t1");
    ck_assert_int_eq(fake_sink_whole(&h, t, &b), TPC_ETIMEOUT);
    close_target(t);
    end();
}
END_TEST

START_TEST(input_that_is_not_read_harms_nobody)
{
    static char text[300000];
    static const struct tpc_member big[] = {
        { TPC_STR_INIT("text"), { .type = TPC_TEXT, .len = sizeof(text), .as.text = text } }
    };
    begin("exec true", "");
    void *t = target("");
    struct tpc_batch b = batch_of(1, "t1");
    struct tpc_msg m = *tpc_batch_msg(&b, 0);
    memset(text, 'x', sizeof(text));
    m.params = (struct tpc_value){ .type = TPC_MAP, .len = 1, .as.members = big };
    b.msgs = &m;
    tk_ok(fake_sink_whole(&h, t, &b));
    void *small = target(",\"stdin_max\":1000");
    ck_assert_int_eq(fake_sink_whole(&h, small, &b), TPC_ETOOBIG);
    close_target(small);
    close_target(t);
    end();
}
END_TEST

START_TEST(signal_from_elsewhere_is_tried_again_and_a_crash_is_not)
{
    begin("kill -$1 $$", "");
    void *killed = target(",\"args\":[\"KILL\"]");
    void *crashed = target(",\"args\":[\"SEGV\"]");
    struct tpc_batch b = batch_of(1, "t1");
    ck_assert_int_eq(fake_sink_whole(&h, killed, &b), TPC_EAGAIN);
    ck_assert_int_eq(fake_sink_whole(&h, crashed, &b), TPC_EINVAL);
    ck_assert_ptr_nonnull(strstr(last_error()->text, "killed by signal 11"));
    close_target(killed);
    close_target(crashed);
    end();
}
END_TEST

START_TEST(program_that_is_missing_or_not_executable_waits_for_somebody)
{
    begin("exit 0", "");
    void *t = target("");
    struct tpc_batch b = batch_of(1, "t1");
    ck_assert_int_eq(chmod(program, 0644), 0);
    int rc = fake_sink_whole(&h, t, &b);
    ck_assert_msg(rc == TPC_EDENIED || rc == TPC_EUNSUPPORTED, "%d", rc);
    ck_assert_int_eq(unlink(program), 0);
    ck_assert_int_eq(fake_sink_whole(&h, t, &b), TPC_EUNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(last_error()->text, "it is not there"));
    ck_assert_uint_eq(fake_sink_metric(&h, "denied"), 2);
    close_target(t);
    end();
}
END_TEST

START_TEST(value_that_would_be_an_option_is_refused)
{
    begin("echo \"$@\" > $out", "");
    void *bare = target(",\"args\":[\"{{ _device }}\"]");
    void *after = target(",\"args\":[\"-v\",\"--\",\"{{ _device }}\"]");
    struct tpc_batch b = batch_of(1, "--delete");
    ck_assert_int_eq(fake_sink_whole(&h, bare, &b), TPC_EINVAL);
    tk_ok(fake_sink_whole(&h, after, &b));
    ck_assert_str_eq(written(), "-v -- --delete\n");
    close_target(bare);
    close_target(after);
    end();
}
END_TEST

/* "-e" is an option of many programs, "--" what an option before it may take. */
START_TEST(only_what_is_a_number_may_begin_with_a_minus)
{
    static const char *const options[] = { "-e", "-E", "--", "---", "-.", "-+1", "-1e", "-1-1" };
    static const char *const numbers[] = { "-", "-1", "-1.5", "-.5", "-1e3", "-1.5E-3" };
    begin("echo \"$@\" > $out", "");
    void *t = target(",\"args\":[\"-o\",\"{{ _device }}\"]");
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        struct tpc_batch b = batch_of(1, options[i]);
        ck_assert_msg(fake_sink_whole(&h, t, &b) == TPC_EINVAL, "%s", options[i]);
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct tpc_batch b = batch_of(1, numbers[i]);
        tk_ok(fake_sink_whole(&h, t, &b));
    }
    ck_assert_str_eq(written(), "-o -1.5E-3\n");
    close_target(t);
    end();
}
END_TEST

START_TEST(only_so_many_run_at_once)
{
    void *targets[4];
    begin("echo + >> $out; sleep 0.2; echo - >> $out", ",\"max_running\":2");
    struct tpc_batch b = batch_of(1, "t1");
    for (int i = 0; i < 4; i++) {
        targets[i] = target("");
        tk_ok(h.ops->send(h.self, targets[i], &b, (uint64_t) i + 1));
    }
    ck_assert(fake_sink_wait(&h, 4));
    int now = 0, most = 0, all = 0;
    for (const char *p = written(); *p != '\0'; p++) {
        now += *p == '+' ? 1 : *p == '-' ? -1 : 0;
        all += *p == '+';
        most = now > most ? now : most;
    }
    ck_assert_int_eq(all, 4);
    ck_assert_int_eq(most, 2);
    for (int i = 0; i < 4; i++) {
        close_target(targets[i]);
    }
    end();
}
END_TEST

START_TEST(stop_kills_what_runs_and_what_waits)
{
    begin("echo $$ > $out; exec sleep 1000", ",\"max_running\":1");
    void *a = target(",\"timeout\":\"1h\"");
    void *b = target(",\"timeout\":\"1h\"");
    struct tpc_batch batch = batch_of(MESSAGES, "t1");
    tk_ok(h.ops->send(h.self, a, &batch, 1));
    ck_assert(wait_for_output());
    tk_ok(h.ops->send(h.self, b, &batch, 2));
    fake_sink_stop(&h);
    ck_assert_uint_eq(h.sent_count, 2);
    ck_assert_int_eq(h.sent[0].err.code, TPC_ECANCELED);
    ck_assert_int_eq(h.sent[1].err.code, TPC_ECANCELED);
    ck_assert(wait_for_death());
    close_target(a);
    close_target(b);
    end();
}
END_TEST

static int init_with(const char *json)
{
    struct tk_env e;
    struct fake_sink s;
    tk_env_init(&e);
    int rc = fake_sink_init(&s, &e, tpc_module_exec(), json);
    fake_sink_fini(&s);
    tk_env_fini(&e);
    return rc;
}

START_TEST(list_of_programs_is_needed_and_has_no_shell_in_it)
{
    tk_fails(TPC_EINVAL, init_with("{}"));
    tk_fails(TPC_EINVAL, init_with("{\"allow\":[]}"));
    tk_fails(TPC_EINVAL, init_with("{\"allow\":[\"notify-send\"]}"));
    tk_fails(TPC_EINVAL, init_with("{\"allow\":[\"/bin/sh\"]}"));
    tk_fails(TPC_EINVAL, init_with("{\"allow\":[\"/usr/local/bin/bash\"]}"));
    tk_fails(TPC_EINVAL, init_with("{\"allow\":[\"/a\"],\"env\":{\"A=B\":\"1\"}}"));
    tk_fails(TPC_EINVAL, init_with("{\"allow\":[\"/a\"],\"env\":{\"A\":1}}"));
    tk_fails(TPC_EINVAL, init_with("{\"allow\":[\"/a\"],\"dir\":\"tmp\"}"));
    tk_ok(init_with("{\"allow\":[\"/a/sh-like\"]}"));
}
END_TEST

START_TEST(target_outside_the_list_or_with_a_bad_template_is_refused)
{
    void *t;
    begin("exit 0", "");
    tk_fails(TPC_EINVAL, fake_sink_open(&h, "main/handler/x", "{\"program\":\"/bin/cat\"}", &t));
    ck_assert_ptr_nonnull(strstr(h.last_fail, "allow"));
    char json[512];
    snprintf(json, sizeof(json), "{\"program\":\"%s\",\"args\":[\"{{ 1 + }}\"]}", program);
    tk_fails(TPC_EINVAL, fake_sink_open(&h, "main/handler/x", json, &t));
    ck_assert_ptr_nonnull(strstr(h.last_fail, "args[0]"));
    snprintf(json, sizeof(json), "{\"program\":\"%s\",\"batch\":true,\"args\":[\"{{ n }}\"]}",
             program);
    tk_fails(TPC_EINVAL, fake_sink_open(&h, "main/handler/x", json, &t));
    end();
}
END_TEST

static const struct sink_subject subject = {
    .module = tpc_module_exec,
    .options = "{\"allow\":[\"/bin/cat\"]}",
    .target = "{\"program\":\"/bin/cat\",\"args\":[\"-\"]}",
    .bad_target = "{\"program\":\"/bin/true\"}",
};

Suite *exec_suite(void)
{
    Suite *s = suite_create("exec");
    TCase *c = tcase_create("exec");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, program_gets_arguments_input_and_a_clean_environment);
    tcase_add_test(c, messages_of_a_batch_run_in_order_or_in_one_run);
    tcase_add_test(c, exit_status_says_what_becomes_of_the_message);
    tcase_add_test(c, program_that_hangs_is_killed_with_all_it_started);
    tcase_add_test(c, child_left_behind_by_a_program_that_ended_is_killed);
    tcase_add_test(c, flood_of_output_is_read_and_its_end_is_told);
    tcase_add_test(c, endless_output_ends_with_the_time);
    tcase_add_test(c, input_that_is_not_read_harms_nobody);
    tcase_add_test(c, signal_from_elsewhere_is_tried_again_and_a_crash_is_not);
    tcase_add_test(c, program_that_is_missing_or_not_executable_waits_for_somebody);
    tcase_add_test(c, value_that_would_be_an_option_is_refused);
    tcase_add_test(c, only_what_is_a_number_may_begin_with_a_minus);
    tcase_add_test(c, only_so_many_run_at_once);
    tcase_add_test(c, stop_kills_what_runs_and_what_waits);
    tcase_add_test(c, list_of_programs_is_needed_and_has_no_shell_in_it);
    tcase_add_test(c, target_outside_the_list_or_with_a_bad_template_is_refused);
    suite_add_tcase(s, c);
    suite_add_tcase(s, sink_suite(&subject));
    return s;
}
