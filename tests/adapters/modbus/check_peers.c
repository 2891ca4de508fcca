/* Against peers that others wrote: pymodbus' server over TCP, RTU frames over TCP, and a serial line. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <tpcore/modules.h>
#include <unistd.h>

#include "fake_host.h"
#include "modbus_suites.h"
#include "stand_in.h"

static struct tk_env env;
static struct fake_host h;

/* What modbus_server.py has from address `at` on, in that order. */
static int put_tags(char *out, size_t cap, int at, const char *order, const char *prefix)
{
    static const struct {
        const char *name, *type;
        int place;
    } tags[] = { { "i16", "int16", 0 },
                 { "i32", "int32", 1 },
                 { "f32", "float32", 3 },
                 { "f64", "float64", 5 },
                 { "u64", "uint64", 9 } };
    int n = 0;
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
        n += snprintf(out + n, cap - (size_t) n,
                      "%s{\"name\":\"%s%s\",\"address\":%d,\"type\":\"%s\",\"round\":%d%s}",
                      i > 0 ? "," : "", prefix, tags[i].name, at + tags[i].place, tags[i].type,
                      tags[i].type[0] == 'f' && tags[i].type[5] == '3' ? 5 : 9, order);
    }
    return n;
}

static char options[8000];

static void make_options(const char *url, const char *more)
{
    int n = snprintf(options, sizeof(options),
                     "{\"url\":\"%s\",\"slaves\":[{\"device\":\"d\",\"tags\":[", url);
    n += put_tags(options + n, sizeof(options) - (size_t) n, 0, "", "");
    n += snprintf(options + n, sizeof(options) - (size_t) n, ",");
    n +=
        put_tags(options + n, sizeof(options) - (size_t) n, 100, ",\"word_order\":\"little\"", "w");
    n += snprintf(options + n, sizeof(options) - (size_t) n, ",");
    n +=
        put_tags(options + n, sizeof(options) - (size_t) n, 200, ",\"byte_order\":\"little\"", "b");
    snprintf(
        options + n, sizeof(options) - (size_t) n,
        ",{\"name\":\"text\",\"address\":13,\"type\":\"string\",\"count\":4}"
        ",{\"name\":\"coil\",\"area\":\"coil\",\"address\":3}"
        ",{\"name\":\"bits\",\"area\":\"discrete\",\"address\":3,\"type\":\"bits\",\"count\":4}"
        ",{\"name\":\"set1\",\"address\":300},{\"name\":\"set4\",\"address\":310,\"type\":"
        "\"float64\",\"read_back\":true}"
        ",{\"name\":\"none\",\"address\":1200}],\"poll\":\"50ms\"}]%s}",
        more);
}

static bool said(const char *text)
{
    bool there = false;
    for (int i = 0; i < 5000 && !there; i++) {
        fake_run(&h, 1, 1);
        poll(NULL, 0, 1);
        pthread_mutex_lock(&h.lock);
        for (uint32_t k = 0; k < h.frame_count; k++) {
            there = there || strstr(h.frames[k].payload, text) != NULL;
        }
        pthread_mutex_unlock(&h.lock);
    }
    return there;
}

static void write_and_read_back(void)
{
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_COMMAND };
    f.name = TPC_STR("set");
    f.correlation = TPC_STR("c9");
    f.payload = TPC_BYTES("{\"set1\":4711,\"set4\":-0.125,\"coil\":false}");
    tk_ok(fake_send(&h, 1, "p", "d", &f, 1));
    ck_assert(said("{\"id\":\"c9\",\"code\":0,\"message\":\"success\"}"));
    ck_assert(said("{\"set4\":-0.125}"));
    ck_assert(said("\"set1\":4711"));
    ck_assert(said("\"coil\":false"));
}

static void run_against(const char *url, const char *more)
{
    make_options(url, more);
    tk_env_init(&env);
    int rc = fake_init(&h, &env, fake_adapter_of(tpc_module_modbus()), options);
    ck_assert_msg(rc == 0, "%s", h.last_fail);
    tk_ok(fake_start(&h));
    ck_assert(said("\"i16\":-1234"));
    static const char *const values[] = { "i32\":-123456789", "f32\":3.14159", "f64\":2.718281828",
                                          "u64\":12345678901234567" };
    for (size_t i = 0; i < 4; i++) {
        static const char *const prefixes[] = { "\"", "\"w", "\"b" };
        for (size_t p = 0; p < 3; p++) {
            char text[80];
            snprintf(text, sizeof(text), "%s%s", prefixes[p], values[i]);
            ck_assert_msg(said(text), "%s", text);
        }
    }
    ck_assert(said("\"text\":\"hello wo\""));
    ck_assert(said("\"coil\":true"));
    ck_assert(said("\"bits\":[true,false,false,true]"));
    write_and_read_back();
    fake_stop(&h);
    fake_fini(&h);
    tk_env_fini(&env);
}

static void over_tcp(const char *kind, const char *scheme)
{
    static struct stand_in server;
    const char *const more[] = { kind, NULL };
    char url[64];
    server = (struct stand_in){ 0 };
    if (!stand_in_start(&server, "modbus_server", more)) {
        tk_skip(kind, "pymodbus is not installed");
        return;
    }
    snprintf(url, sizeof(url), "%s://127.0.0.1:%d", scheme, server.port);
    run_against(url, "");
    stand_in_stop(&server);
}

START_TEST(pymodbus_over_tcp_means_the_same)
{
    over_tcp("tcp", "tcp");
}
END_TEST

START_TEST(pymodbus_with_rtu_frames_over_tcp_means_the_same)
{
    over_tcp("rtutcp", "rtutcp");
}
END_TEST

#ifdef SOCAT
static pid_t start_socat(const char *ours, const char *theirs)
{
    char a[300], b[300];
    struct stat s;
    snprintf(a, sizeof(a), "pty,raw,echo=0,link=%s", ours);
    snprintf(b, sizeof(b), "pty,raw,echo=0,link=%s", theirs);
    pid_t pid = fork();
    if (pid == 0) {
        execl(SOCAT, SOCAT, a, b, (char *) NULL);
        _exit(127);
    }
    for (int i = 0; i < 2000 && (stat(ours, &s) != 0 || stat(theirs, &s) != 0); i++) {
        poll(NULL, 0, 1);
    }
    return pid;
}
#endif

START_TEST(pymodbus_on_a_serial_line_means_the_same)
{
#ifdef SOCAT
    static struct stand_in server;
    char ours[256], theirs[256], url[300];
    const char *const more[] = { theirs, NULL };
    snprintf(ours, sizeof(ours), "%s.a", tk_tmpdir());
    snprintf(theirs, sizeof(theirs), "%s.b", tk_tmpdir());
    pid_t socat = start_socat(ours, theirs);
    server = (struct stand_in){ 0 };
    if (!stand_in_start(&server, "modbus_server", more)) {
        tk_skip("serial", "pymodbus is not installed");
    } else {
        snprintf(url, sizeof(url), "rtu://%s", ours);
        run_against(url, ",\"parity\":\"none\",\"timeout\":\"500ms\"");
        stand_in_stop(&server);
    }
    kill(socat, SIGTERM);
    waitpid(socat, NULL, 0);
#else
    tk_skip("serial", "socat is not installed");
#endif
}
END_TEST

Suite *peers_suite(void)
{
    Suite *s = suite_create("peers");
    TCase *t = tcase_create("peers");
    tcase_add_test(t, pymodbus_over_tcp_means_the_same);
    tcase_add_test(t, pymodbus_with_rtu_frames_over_tcp_means_the_same);
    tcase_add_test(t, pymodbus_on_a_serial_line_means_the_same);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    return s;
}
