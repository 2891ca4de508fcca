#include "data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUND_MS = 1000, JITTER_MS = 51, NAMES = 8, UNITS_MIN = 1000, UNITS_RANGE = 59000 };

static const char *const names[NAMES] = { "temperature",     "relative_humidity", "barometer",
                                          "battery_voltage", "flow_rate_lpm",     "voltage_phase_a",
                                          "current_phase_a", "power_factor" };
static const int32_t powers[4] = { 1, 10, 100, 1000 };

/* splitmix64 */
static uint64_t next_random(struct data *d)
{
    uint64_t z = d->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void data_init(struct data *d, uint64_t seed, uint32_t devices, uint32_t keys, bool noisy)
{
    memset(d, 0, sizeof(*d));
    d->random = seed;
    d->devices = devices;
    d->keys = keys;
    d->noisy = noisy;
    d->walk = malloc((size_t) devices * keys * sizeof(d->walk[0]));
    if (d->walk == NULL || devices == 0 || keys == 0 || keys > DATA_KEYS_MAX) {
        fprintf(stderr, "bench: no data of %u devices and %u keys\n", devices, keys);
        exit(1);
    }
    for (size_t i = 0; i < (size_t) devices * keys; i++) {
        d->walk[i] = UNITS_MIN + (int32_t) (next_random(d) % UNITS_RANGE);
    }
}

void data_fini(struct data *d)
{
    free(d->walk);
    d->walk = NULL;
}

/* Which device is next; a new order for each block. */
static uint32_t next_device(struct data *d)
{
    uint32_t block = d->at / DATA_BLOCK * DATA_BLOCK;
    uint32_t place = d->at % DATA_BLOCK;
    if (place == 0) {
        uint32_t size = d->devices - block < DATA_BLOCK ? d->devices - block : DATA_BLOCK;
        for (uint32_t i = 0; i < size; i++) {
            uint32_t other = (uint32_t) (next_random(d) % (i + 1));
            d->order[i] = d->order[other];
            d->order[other] = (uint8_t) i;
        }
    }
    return block + d->order[place];
}

/* Of 256 numbers a quarter is no step, the others are -8 to 8. */
static int32_t step_of(uint8_t r)
{
    return (r & 3) == 0 ? 0 : (int32_t) (((uint32_t) (r >> 2) * 17) >> 6) - 8;
}

void data_next(struct data *d, struct data_message *ret)
{
    uint32_t device = next_device(d);
    int32_t *walk = d->walk + (size_t) device * d->keys;
    ret->device = device;
    ret->keys = d->keys;
    ret->noisy = d->noisy;
    ret->unix_ms = DATA_BEGIN_MS + (int64_t) d->round * ROUND_MS +
                   (int64_t) ((next_random(d) >> 32) % JITTER_MS);
    uint64_t r = 0;
    for (uint32_t k = 0; k < d->keys; k++) {
        r = k % 8 == 0 ? next_random(d) : r >> 8;
        walk[k] += step_of((uint8_t) r);
        ret->units[k] = walk[k];
        ret->decimals[k] = (uint8_t) (k % 4);
        ret->values[k] = (double) walk[k] / powers[k % 4];
        if (d->noisy) {
            double part = (double) (next_random(d) >> 11) / 9007199254740992.0;
            ret->values[k] *= 1.0 + part / 1000;
        }
    }
    if (++d->at == d->devices) {
        d->at = 0;
        d->round++;
    }
}

const char *data_key(uint32_t key)
{
    static const char more[DATA_KEYS_MAX - NAMES][12] = {
        "channel_08", "channel_09", "channel_10", "channel_11", "channel_12", "channel_13",
        "channel_14", "channel_15", "channel_16", "channel_17", "channel_18", "channel_19",
        "channel_20", "channel_21", "channel_22", "channel_23", "channel_24", "channel_25",
        "channel_26", "channel_27", "channel_28", "channel_29", "channel_30", "channel_31",
        "channel_32", "channel_33", "channel_34", "channel_35", "channel_36", "channel_37",
        "channel_38", "channel_39", "channel_40", "channel_41", "channel_42", "channel_43",
        "channel_44", "channel_45", "channel_46", "channel_47", "channel_48", "channel_49",
        "channel_50", "channel_51", "channel_52", "channel_53", "channel_54", "channel_55",
        "channel_56", "channel_57", "channel_58", "channel_59", "channel_60", "channel_61",
        "channel_62", "channel_63",
    };
    return key < NAMES ? names[key] : more[key - NAMES];
}

const char *data_device(uint32_t device, char *out)
{
    snprintf(out, DATA_KEY_BYTES, "d%06u", device);
    return out;
}

const char *data_product(const char *codec, uint32_t keys, bool noisy, char *out)
{
    int at = snprintf(out, DATA_PRODUCT_BYTES,
                      "{\"key\":\"meter\",\"codec\":\"%s\",\"model\":{\"properties\":[", codec);
    for (uint32_t k = 0; k < keys; k++) {
        at += snprintf(out + at, DATA_PRODUCT_BYTES - (size_t) at,
                       "%s{\"id\":\"%s\",\"type\":\"%s\",\"min\":-1000000,\"max\":1000000%s}",
                       k == 0 ? "" : ",", data_key(k), k % 4 == 0 && !noisy ? "int" : "double",
                       k == 0 ? ",\"access\":\"rw\"" : "");
    }
    snprintf(out + at, DATA_PRODUCT_BYTES - (size_t) at, "]}}");
    return out;
}

/* ---- texts ---- */

/* A decimal number without the cost of printf. Returns the end. */
static char *put_units(char *at, int32_t units, uint8_t decimals)
{
    char digits[12];
    uint32_t n = units < 0 ? 0 - (uint32_t) units : (uint32_t) units;
    int count = 0;
    if (units < 0) {
        *at++ = '-';
    }
    while (n > 0 || count <= decimals) {
        digits[count++] = (char) ('0' + n % 10);
        n /= 10;
    }
    while (count > 0) {
        *at++ = digits[--count];
        if (count == decimals && decimals > 0) {
            *at++ = '.';
        }
    }
    return at;
}

size_t data_json(const struct data_message *m, char *out, size_t cap)
{
    char *at = out;
    if (cap < (size_t) m->keys * (DATA_JSON_BYTES / DATA_KEYS_MAX)) {
        return 0;
    }
    for (uint32_t k = 0; k < m->keys; k++) {
        const char *name = data_key(k);
        size_t len = strlen(name);
        *at++ = k == 0 ? '{' : ',';
        *at++ = '"';
        memcpy(at, name, len);
        at += len;
        *at++ = '"';
        *at++ = ':';
        if (m->noisy) {
            at += snprintf(at, 32, "%.17g", m->values[k]);
        } else {
            at = put_units(at, m->units[k], m->decimals[k]);
        }
    }
    *at++ = '}';
    return (size_t) (at - out);
}

static uint8_t *put_big(uint8_t *at, uint64_t n, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--) {
        *at++ = (uint8_t) (n >> (8 * i));
    }
    return at;
}

/* Initial byte and argument (RFC 8949, 3). */
static uint8_t *put_head(uint8_t *at, uint8_t major, uint32_t n)
{
    uint8_t top = (uint8_t) (major << 5);
    if (n < 24) {
        *at++ = (uint8_t) (top | n);
        return at;
    }
    int bytes = n < 256 ? 1 : n < 65536 ? 2 : 4;
    *at++ = (uint8_t) (top | (bytes == 1 ? 24 : bytes == 2 ? 25 : 26));
    return put_big(at, n, bytes);
}

size_t data_cbor(const struct data_message *m, uint8_t *out, size_t cap)
{
    uint8_t *at = out;
    if (cap < (size_t) m->keys * (DATA_JSON_BYTES / DATA_KEYS_MAX)) {
        return 0;
    }
    at = put_head(at, 5, m->keys);
    for (uint32_t k = 0; k < m->keys; k++) {
        const char *name = data_key(k);
        uint32_t len = (uint32_t) strlen(name);
        at = put_head(at, 3, len);
        memcpy(at, name, len);
        at += len;
        if (m->decimals[k] == 0 && !m->noisy) {
            bool minus = m->units[k] < 0;
            at = put_head(at, minus ? 1 : 0, (uint32_t) (minus ? -1 - m->units[k] : m->units[k]));
        } else {
            uint64_t bits;
            memcpy(&bits, &m->values[k], sizeof(bits));
            *at++ = 0xfb;
            at = put_big(at, bits, 8);
        }
    }
    return (size_t) (at - out);
}

/* ---- sums ---- */

void data_sum_point(struct data_sum *s, uint32_t device, uint32_t key, int64_t unix_ms,
                    double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    uint64_t h = ((uint64_t) device << 32 | key) * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ (h >> 32) ^ (uint64_t) unix_ms) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ (h >> 29) ^ bits) * UINT64_C(0x94d049bb133111eb);
    s->points++;
    s->sum += h ^ (h >> 32);
}

void data_sum_message(struct data_sum *s, const struct data_message *m)
{
    for (uint32_t k = 0; k < m->keys; k++) {
        data_sum_point(s, m->device, k, m->unix_ms, m->values[k]);
    }
}

bool data_sum_same(const struct data_sum *a, const struct data_sum *b)
{
    return a->points == b->points && a->sum == b->sum;
}
