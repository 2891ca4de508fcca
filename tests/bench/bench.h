/*
 * What benchmarks share: CPU time of this process, the best of several rounds, one JSON line a
 * result. Both sides of a ratio run in the same process, turn by turn, so that a noisy machine
 * disturbs both alike.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef void bench_fn(void *user, uint32_t times);

static inline double bench_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}

/* Nanoseconds of one call of what fn does `times` times. */
static inline double bench_round(bench_fn *fn, void *user, uint32_t times)
{
    double begin = bench_cpu_ns();
    fn(user, times);
    return (bench_cpu_ns() - begin) / times;
}

struct bench_pair {
    double ours;
    double theirs;
};

/* The best of `rounds` for both sides. */
static inline struct bench_pair bench_compare(bench_fn *ours, bench_fn *theirs, void *user,
                                              uint32_t times, int rounds)
{
    struct bench_pair best = { 1e18, 1e18 };
    for (int i = 0; i < rounds; i++) {
        double a = bench_round(ours, user, times);
        double b = bench_round(theirs, user, times);
        best.ours = a < best.ours ? a : best.ours;
        best.theirs = b < best.theirs ? b : best.theirs;
    }
    return best;
}

static inline void bench_line(const char *name, double value, const char *unit, const char *vs,
                              double ratio)
{
    printf("{\"bench\":\"%s\",\"value\":%.2f,\"unit\":\"%s\",\"vs\":\"%s\",\"ratio\":%.2f}\n", name,
           value, unit, vs, ratio);
    fflush(stdout);
}

/* Stops a benchmark whose setup went wrong: its numbers would mean nothing. */
static inline void bench_must(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench: %s failed\n", what);
        exit(1);
    }
}

#endif
