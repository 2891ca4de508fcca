/*
 * The data of all benchmarks: a seeded random walk for each (device, key), in the order in which
 * messages of many devices arrive. The same seed gives the same messages on every machine.
 *
 * Each round brings one message of every device: devices stand in blocks of 64, shuffled anew in
 * each round; times are 1,000 ms apart and jitter by 0 to 50 ms. Keys have 0 to 3 decimals (key % 4);
 * a step is -8 to 8 units of the last decimal, and none in a quarter of all cases. Noisy data are
 * doubles with random mantissas around the same walk. No two messages are alike.
 */
#ifndef BENCH_DATA_H
#define BENCH_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DATA_KEYS_MAX = 64,
    DATA_BLOCK = 64,
    DATA_KEY_BYTES = 32,                          /* of a name of data_key() or data_device() */
    DATA_JSON_BYTES = 64 * DATA_KEYS_MAX,         /* no message is longer */
    DATA_PRODUCT_BYTES = 256 + DATA_KEYS_MAX * 96 /* of data_product() */
};

/* unix_ms of round 0. */
#define DATA_BEGIN_MS INT64_C(1795176000000)

struct data {
    uint64_t random;
    uint32_t devices, keys;
    uint32_t at; /* messages of this round so far */
    uint32_t round;
    bool noisy;
    uint8_t order[DATA_BLOCK]; /* of the devices of the present block */
    int32_t *walk;             /* devices * keys, in units of the last decimal */
};

struct data_message {
    uint32_t device;
    uint32_t keys;
    int64_t unix_ms;
    bool noisy;
    int32_t units[DATA_KEYS_MAX]; /* value * 10^decimals, without noise */
    double values[DATA_KEYS_MAX];
    uint8_t decimals[DATA_KEYS_MAX]; /* 0 = an integer, unless noisy */
};

/* devices * keys * 4 bytes are allocated; the program ends if there are not so many. */
void data_init(struct data *d, uint64_t seed, uint32_t devices, uint32_t keys, bool noisy);
void data_fini(struct data *d);
void data_next(struct data *d, struct data_message *ret);

/* A flat object, {"temperature":21.4,...}; about 185 bytes for 8 keys. Returns its length, 0 if cap
 * is too small. */
size_t data_json(const struct data_message *m, char *out, size_t cap);
/* The same as CBOR map: integers and doubles. */
size_t data_cbor(const struct data_message *m, uint8_t *out, size_t cap);

/* Names; the same pointer each time. */
const char *data_key(uint32_t key);
/* out has DATA_KEY_BYTES. */
const char *data_device(uint32_t device, char *out);
/* A product "meter" with these keys; limits that no value breaks; the first
 * can be written. out has DATA_PRODUCT_BYTES. */
const char *data_product(const char *codec, uint32_t keys, bool noisy, char *out);

/* What was generated, and what was read back: count and a sum that does not depend on the order. */
struct data_sum {
    uint64_t points;
    uint64_t sum;
};

void data_sum_point(struct data_sum *s, uint32_t device, uint32_t key, int64_t unix_ms,
                    double value);
void data_sum_message(struct data_sum *s, const struct data_message *m);
bool data_sum_same(const struct data_sum *a, const struct data_sum *b);

#endif
