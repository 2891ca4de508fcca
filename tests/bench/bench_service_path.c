/*
 * service_path: frames of 1,000 devices over TCP through a service of two readings each: framed,
 * received, decoded, in the log, answered. CPU time of this process against an echo server on the same
 * loop that is sent the same frames. Each device waits for an answer before it says more, so that a
 * read finds one frame, as it does with devices.
 */
#include "bench.h"
#include "bench_util.h"
#include "tcp_clients.h"
#include "tcp_rig.h"

enum { DEVICES = 1000, FRAMES = 200, ROUNDS = 3 };

int main(void)
{
    static struct clients service, echo;
    uint32_t frames = (uint32_t) util_number("BENCH_FRAMES", FRAMES);
    uint16_t port = clients_free_port();
    char dir[UTIL_PATH_BYTES];
    double ours = 1e18, theirs = 1e18;
    clients_begin(&service);
    clients_begin(&echo);
    util_folder(NULL, dir);
    struct tpc_core *core = tcp_rig_start(dir, port, DEVICES, 1);
    clients_connect(&service, port, 0, DEVICES, TCP_LOGIN_ANSWER);
    uint16_t echo_port = clients_free_port();
    struct echo *e = echo_start(echo_port);
    clients_connect(&echo, echo_port, 0, DEVICES, CLIENTS_LOGIN_BYTES);
    for (int i = 0; i < ROUNDS; i++) {
        double begin = bench_cpu_ns();
        clients_run(&service, frames, TCP_FRAME_ANSWER);
        double middle = bench_cpu_ns();
        clients_run(&echo, frames, CLIENTS_FRAME_BYTES);
        double end = bench_cpu_ns();
        double n = (double) frames * DEVICES;
        ours = (middle - begin) / n < ours ? (middle - begin) / n : ours;
        theirs = (end - middle) / n < theirs ? (end - middle) / n : theirs;
    }
    clients_end(&service);
    clients_end(&echo);
    echo_stop(e);
    tcp_rig_stop(core);
    util_remove(dir);
    bench_line("service_path", ours, "ns/frame", "echo", ours / theirs);
    bench_line("service_path_rate", 1e9 / ours, "frames/s per core", "60000", 1e9 / ours / 60000);
    bench_line("service_path_echo", theirs, "ns/frame", "", 0);
    return 0;
}
