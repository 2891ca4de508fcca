/* More of a gateway as a process: a serial line that is cut, a ThingsBoard folder with connectors that
 * cannot be. */
#include "gateway_suites.h"
#include "rig.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <tk.h>
#include <unistd.h>

#ifdef SOCAT
/* A serial line: a pty whose other end is the simulator's port. */
static pid_t plug(struct rig *r, const char *tty)
{
    char pty[RIG_PATH_BYTES + 64], tcp[64];
    snprintf(pty, sizeof(pty), "PTY,link=%s,raw,echo=0", tty);
    snprintf(tcp, sizeof(tcp), "TCP:127.0.0.1:%" PRIu16, r->ports[0]);
    pid_t pid = rig_spawn(r, (const char *const[]){ SOCAT, pty, tcp, NULL });
    for (int i = 0; i < 100 && access(tty, F_OK) != 0; i++) {
        rig_run(r, 20);
    }
    ck_assert_int_eq(access(tty, F_OK), 0);
    return pid;
}

static void unplug(pid_t pid)
{
    kill(pid, SIGTERM); /* it takes its link away */
    waitpid(pid, NULL, 0);
}

START_TEST(a_serial_line_that_is_cut_comes_back)
{
    struct rig r;
    struct samples_total t;
    char tty[128], url[160];
    const char *top = tk_tmpdir();
    snprintf(tty, sizeof(tty), "%s.tty", top);
    snprintf(url, sizeof(url), "rtu://%s", tty);
    struct rig_setup s = { .slaves = 3,
                           .tags = 5,
                           .poll_ms = 200,
                           .model = true,
                           .rtu = true,
                           .url = url,
                           .bus_more = "timeout: 300ms\n    retry_max: 500ms",
                           .sink_more = ", retry_min: 100ms" };
    rig_init(&r, &s);
    pid_t line = plug(&r, tty);
    rig_start(&r);
    bool came = tb_stub_wait_samples(r.stub, 9, 10000);
    for (int i = 0; came && i < 2; i++) {
        unplug(line);
        rig_run(&r, 700);
        tb_stub_total(r.stub, &t);
        line = plug(&r, tty);
        came = tb_stub_wait_samples(r.stub, t.distinct + 9, 10000);
    }
    rig_slaves(&r, "fault all silent", NULL, 0);
    rig_run(&r, 400);
    tb_stub_total(r.stub, &t);
    if (!came || t.lost > 2) {
        rig_show_log(&r);
    }
    unplug(line);
    ck_assert_msg(came, "it does not come back");
    ck_assert_uint_le(t.lost, 2); /* an answer that was on the line when it was cut */
    ck_assert_uint_eq(t.doubled + t.out_of_order + t.malformed, 0);
    rig_stop(&r);
    rig_fini(&r);
}
END_TEST
#endif

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[RIG_PATH_BYTES + 64];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert(fputs(text, f) >= 0 && fclose(f) == 0);
}

START_TEST(connectors_that_cannot_be_do_not_keep_the_others_from_starting)
{
    struct rig r;
    struct rig_setup s = { .slaves = 1, .tags = 2, .poll_ms = 100 };
    struct samples_total t;
    char dir[RIG_PATH_BYTES + 8], text[2048];
    rig_init(&r, &s);
    snprintf(dir, sizeof(dir), "%s/tb", r.dir);
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    snprintf(text, sizeof(text),
             "{\"thingsboard\":{\"host\":\"127.0.0.1\",\"port\":%" PRIu16 ",\"remoteShell\":false,"
             "\"security\":{\"type\":\"accessToken\",\"accessToken\":\"bench\"},\"qos\":1},"
             "\"storage\":{\"type\":\"memory\",\"read_records_count\":100,"
             "\"max_records_count\":100000},\"grpc\":{\"enabled\":false},\"connectors\":["
             "{\"type\":\"opcua\",\"name\":\"plc\",\"configuration\":\"opcua.json\"},"
             "{\"type\":\"abacus\",\"name\":\"beads\",\"configuration\":\"absent.json\"},"
             "{\"type\":\"modbus\",\"name\":\"bad\",\"configuration\":\"bad.json\"},"
             "{\"type\":\"modbus\",\"name\":\"hall\",\"configuration\":\"modbus.json\"}]}",
             tb_stub_port(r.stub));
    write_file(dir, "tb_gateway.json", text);
    write_file(dir, "opcua.json", "{\"server\":{\"url\":\"localhost:4840\"},\"mapping\":[]}");
    write_file(dir, "bad.json", "{\"master\":{\"slaves\":\"none\"}}");
    snprintf(text, sizeof(text),
             "{\"name\":\"hall\",\"master\":{\"slaves\":[{\"host\":\"127.0.0.1\",\"port\":%" PRIu16
             ",\"type\":\"tcp\",\"method\":\"socket\",\"unitId\":1,\"deviceName\":\"dev_1\","
             "\"deviceType\":\"meter\",\"timeout\":5,\"byteOrder\":\"BIG\",\"wordOrder\":\"BIG\","
             "\"retries\":3,\"pollPeriod\":100,\"attributes\":[],\"timeseries\":["
             "{\"tag\":\"seq\",\"type\":\"32uint\",\"functionCode\":3,\"objectsCount\":2,"
             "\"address\":0},{\"tag\":\"a\",\"type\":\"16uint\",\"functionCode\":3,"
             "\"objectsCount\":1,\"address\":2}],\"attributeUpdates\":[],\"rpc\":[]}]}}",
             r.ports[0]);
    write_file(dir, "modbus.json", text);
    ck_assert_int_eq(chdir(r.dir), 0); /* where a log of its own would be */
    rig_start_with(&r, (const char *const[]){ "--quiet", "--thingsboard", dir, NULL });
    bool came = tb_stub_wait_samples(r.stub, 10, 10000);
    tb_stub_total(r.stub, &t);
    if (!came || t.lost > 0) {
        rig_show_log(&r);
    }
    ck_assert(came);
    ck_assert_uint_eq(t.lost, 0);
    ck_assert_uint_gt(tb_stub_key(r.stub, "dev_1", "a"), 0);
    char type[64];
    tb_stub_type(r.stub, "dev_1", type, sizeof(type));
    ck_assert_str_eq(type, "meter");
    ck_assert_int_eq(rig_stop(&r), 0);
    ck_assert_int_eq(chdir("/"), 0);
    rig_fini(&r);
}
END_TEST

Suite *gateway_more_suite(void)
{
    Suite *s = suite_create("gateway_more");
    TCase *c = tcase_create("more");
#ifdef SOCAT
    tcase_add_test(c, a_serial_line_that_is_cut_comes_back);
#else
    tk_skip("serial lines", "socat is not installed");
#endif
    tcase_add_test(c, connectors_that_cannot_be_do_not_keep_the_others_from_starting);
    tcase_set_timeout(c, 120);
    suite_add_tcase(s, c);
    return s;
}
