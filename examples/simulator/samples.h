/*
 * What a ThingsBoard server would see of a gateway: counts samples by device and key, and finds
 * from the numbers of the key `seq` which are missing, doubled or out of order. One thread at a
 * time.
 */
#ifndef SIM_SAMPLES_H
#define SIM_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    SAMPLES_DEVICES_MAX = 100000,
    SAMPLES_KEYS_MAX = 4096,         /* of a device; further ones count as points only */
    SAMPLES_SEQ_MAX = 1 << 26,       /* numbers above are malformed */
    SAMPLES_LATENCY_BUCKETS = 60001, /* one a ms, the last holds what is above */
};

struct samples;

struct samples_total {
    uint64_t messages;     /* telemetry publishes */
    uint64_t entries;      /* {ts, values} in them */
    uint64_t points;       /* keys of the entries */
    uint64_t attributes;   /* client attributes */
    uint64_t connects;     /* v1/gateway/connect */
    uint64_t disconnects;  /* v1/gateway/disconnect */
    uint64_t malformed;    /* publishes that are not in the platform's form */
    uint64_t numbered;     /* entries with `seq`, doubled ones too */
    uint64_t distinct;     /* different numbers */
    uint64_t lost;         /* numbers missing between first and last of a device */
    uint64_t doubled;      /* entries with a number that had come before */
    uint64_t out_of_order; /* first arrivals below a number that had come before */
    uint32_t devices;
    uint32_t p50_ms, p95_ms, max_ms; /* arrival minus ts */
};

/* NULL without memory. */
struct samples *samples_create(void);
void samples_destroy(struct samples *s);

/* Counts one publish of a gateway or device; other topics are ignored. Returns false where the
 * payload is not in the platform's form; what was read before the fault is counted. */
bool samples_add(struct samples *s, const char *topic, size_t topic_len, const char *payload,
                 size_t len, int64_t now_ms);

/* Two of the totals, quickly. */
uint64_t samples_points(const struct samples *s);
uint64_t samples_distinct(const struct samples *s);

/* Everything, or one device's part (false: it has not been heard of). */
void samples_total(const struct samples *s, struct samples_total *ret);
bool samples_device(const struct samples *s, const char *name, struct samples_total *ret);
/* How many entries of a device held this key. */
uint64_t samples_key(const struct samples *s, const char *device, const char *key);
/* The device's type of its last v1/gateway/connect; "" if none. */
const char *samples_type(const struct samples *s, const char *device);
/* The i-th device's name, NULL at the end. */
const char *samples_name(const struct samples *s, size_t i);

/* Forgets latencies, to measure a time anew. */
void samples_forget_latency(struct samples *s);

/* One line of JSON with the totals and up to eight devices that miss numbers. */
void samples_print(const struct samples *s, FILE *out);

#endif
