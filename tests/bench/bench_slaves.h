/* Modbus slaves in a process of their own (tp-sim modbus), for benchmarks and process tests. */
#ifndef BENCH_SLAVES_H
#define BENCH_SLAVES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum { UTIL_SLAVES_PORTS = 16, UTIL_SLAVES_ARGUMENTS = 30 };

struct util_slaves {
    pid_t pid;
    FILE *to, *from; /* its standard input and output */
    uint32_t port_count;
    uint16_t ports[UTIL_SLAVES_PORTS]; /* 247 slaves each */
};

/* Starts them on free ports of the loopback; they die with this process. more: further arguments of tp-sim
 * modbus, "--slaves", "100" .., NULL ends them. False: tp-sim is not built, or did not come up. */
bool util_slaves_start(struct util_slaves *s, const char *const *more);

/* Says a line ("fault 3 silent", "seq 1", "stats") and reads the answer's, without its end. */
bool util_slaves_say(struct util_slaves *s, const char *line, char *answer, size_t cap);

/* Ends them; the last line has their numbers, as JSON. */
bool util_slaves_stop(struct util_slaves *s, char *last, size_t cap);

#endif
