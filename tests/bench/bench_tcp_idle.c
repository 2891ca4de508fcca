/*
 * tcp_idle: resident memory of a connection whose device is logged in and says nothing, its session in
 * the core with it: as many as descriptors allow, up to 50,000. And what its connecting and login cost.
 */
#include "bench.h"
#include "bench_util.h"
#include "tcp_clients.h"
#include "tcp_rig.h"

#include <sys/resource.h>

enum { WANTED = 50000, SPARE = 100 };

int main(void)
{
    static struct clients c;
    struct rlimit files;
    char dir[UTIL_PATH_BYTES];
    uint16_t port = clients_free_port();
    clients_begin(&c);
    (void) getrlimit(RLIMIT_NOFILE, &files);
    uint32_t n = (uint32_t) util_number("BENCH_DEVICES", WANTED);
    if (files.rlim_cur < n + SPARE) {
        n = (uint32_t) files.rlim_cur - SPARE;
    }
    util_folder(NULL, dir);
    struct tpc_core *core = tcp_rig_start(dir, port, n, 1);
    clients_connect(&c, port, 0, 1, TCP_LOGIN_ANSWER); /* what is made once */
    double before = util_rss_bytes(), begin = bench_cpu_ns();
    clients_connect(&c, port, 1, n - 1, TCP_LOGIN_ANSWER);
    double login = (bench_cpu_ns() - begin) / (n - 1);
    double each = (util_rss_bytes() - before) / (n - 1);
    clients_end(&c);
    tcp_rig_stop(core);
    util_remove(dir);
    bench_line("tcp_idle", each, "B/connection", "5000", each / 5000);
    bench_line("tcp_idle_count", n, "connections", "50000", n / 50000.0);
    bench_line("tcp_idle_50k", each * WANTED / 1e6, "MB", "250", each * WANTED / 250e6);
    bench_line("tcp_login", login, "ns/login", "10,000 in a second", login / 1e5);
    return 0;
}
