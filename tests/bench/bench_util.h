/* Folders, processes and numbers of the environment, for benchmarks that need them. */
#ifndef BENCH_UTIL_H
#define BENCH_UTIL_H

#include <stdint.h>
#include <sys/types.h>

enum { UTIL_PATH_BYTES = 256 };

/* A number that the environment may set, else the one given. */
uint64_t util_number(const char *name, uint64_t fallback);

/* A new folder below TMPDIR (or below `top`, unless NULL); out has UTIL_PATH_BYTES. */
const char *util_folder(const char *top, char *out);
void util_remove(const char *dir);

/* This process and the threads that it starts from now on run on the first n cores alone. */
void util_pin(int cores);

double util_wall_ns(void);
double util_rss_bytes(void);
double util_file_bytes(const char *dir, const char *name);
uint64_t util_disk_bytes(void); /* write_bytes of /proc/self/io */

/* A mosquitto on a free port of the loopback, without persistence; it dies with this process. */
struct util_broker {
    pid_t pid;
    uint16_t port;
};

/* 0, or -1: it is not installed. */
int util_broker_start(struct util_broker *b, const char *dir);
/* With other lines than "allow_anonymous true". */
int util_broker_start_with(struct util_broker *b, const char *dir, const char *more);
void util_broker_stop(struct util_broker *b);
/* User and system time so far. */
double util_broker_cpu_ns(const struct util_broker *b);

#endif
