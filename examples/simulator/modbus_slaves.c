#include "modbus_slaves.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const fault_words[FAULT_KINDS] = { "none",      "late",        "silent",
                                                      "exception", "transaction", "unit",
                                                      "half",      "garbage",     "close" };

const char *fault_name(enum fault_kind kind)
{
    return fault_words[kind];
}

int slaves_init(struct slaves *s, uint32_t count, uint32_t registers, uint32_t change_ms,
                uint64_t now_ms)
{
    *s = (struct slaves){
        .count = count, .registers = registers, .change_ms = change_ms, .begin_ms = now_ms
    };
    s->all = calloc(count, sizeof(*s->all));
    return s->all != NULL ? 0 : -1;
}

void slaves_fini(struct slaves *s)
{
    for (uint32_t i = 0; s->all != NULL && i < s->count; i++) {
        free(s->all[i].written);
    }
    free(s->all);
    s->all = NULL;
}

static uint16_t get16(const uint8_t *in)
{
    return (uint16_t) (in[0] << 8 | in[1]);
}

static void put16(uint8_t *out, uint32_t n)
{
    out[0] = (uint8_t) (n >> 8);
    out[1] = (uint8_t) n;
}

/* ---- what was written ---- */

/* Registers as the wire has them, which of them, coils, and which of these. */
static uint8_t *registers_of(const struct slave *v)
{
    return v->written;
}

static uint8_t *register_marks(const struct slaves *s, const struct slave *v)
{
    return v->written + 2 * (size_t) s->registers;
}

static uint8_t *coils_of(const struct slaves *s, const struct slave *v)
{
    return register_marks(s, v) + s->registers / 8 + 1;
}

static uint8_t *coil_marks(const struct slaves *s, const struct slave *v)
{
    return coils_of(s, v) + s->registers / 8 + 1;
}

static bool has_bit(const uint8_t *bits, uint32_t at)
{
    return (bits[at / 8] >> at % 8 & 1) != 0;
}

static void put_bit(uint8_t *bits, uint32_t at, bool on)
{
    uint8_t bit = (uint8_t) (1 << at % 8);
    bits[at / 8] = on ? bits[at / 8] | bit : bits[at / 8] & (uint8_t) ~bit;
}

static bool make_room(const struct slaves *s, struct slave *v)
{
    if (v->written == NULL) {
        v->written = calloc(2 * (size_t) s->registers + 3 * ((size_t) s->registers / 8 + 1), 1);
    }
    return v->written != NULL;
}

/* ---- reading ---- */

static uint32_t moment(const struct slaves *s, uint64_t now_ms)
{
    return s->change_ms != 0 ? (uint32_t) ((now_ms - s->begin_ms) / s->change_ms) : 0;
}

static void read_registers(const struct slaves *s, struct slave *v, uint8_t function, uint32_t at,
                           uint32_t count, uint32_t t, uint8_t *out)
{
    uint32_t base = 256 * ((uint32_t) (v - s->all) + 1) + at + t;
    uint32_t flip = function == MB_READ_INPUT ? 0xffff : 0;
    for (uint32_t i = 0; i < count; i++) {
        put16(out + 2 * (size_t) i, (base + i) ^ flip);
    }
    if (function == MB_READ_INPUT) {
        return;
    }
    for (uint32_t i = 0; v->written != NULL && i < count; i++) {
        if (has_bit(register_marks(s, v), at + i)) {
            memcpy(out + 2 * (size_t) i, registers_of(v) + 2 * (size_t) (at + i), 2);
        }
    }
    if (at == 0) {
        bool spoilt = v->fault != FAULT_NONE && v->fault != FAULT_LATE;
        v->seq += spoilt ? 0 : 1;
        put16(out, v->seq >> 16);
    }
    if (at <= 1 && at + count > 1) {
        put16(out + 2 * (size_t) (1 - at), v->seq);
    }
}

static void read_bits(const struct slaves *s, const struct slave *v, uint8_t function, uint32_t at,
                      uint32_t count, uint32_t t, uint8_t *out)
{
    uint32_t odd = function == MB_READ_INPUTS ? 1 : 0;
    memset(out, (at + t + odd) % 2 == 0 ? 0x55 : 0xaa, (count + 7) / 8);
    for (uint32_t i = 0; v->written != NULL && odd == 0 && i < count; i++) {
        if (has_bit(coil_marks(s, v), at + i)) {
            put_bit(out, i, has_bit(coils_of(s, v), at + i));
        }
    }
    if (count % 8 != 0) { /* those behind the last are 0 */
        out[count / 8] &= (uint8_t) ((1 << count % 8) - 1);
    }
}

/* ---- writing ---- */

/* seq is not written. */
static int write_register(const struct slaves *s, struct slave *v, uint32_t at, const uint8_t *wire)
{
    if (!make_room(s, v)) {
        return MB_DEVICE_FAILURE;
    }
    memcpy(registers_of(v) + 2 * (size_t) at, wire, 2);
    put_bit(register_marks(s, v), at, true);
    return 0;
}

static int write_coil(const struct slaves *s, struct slave *v, uint32_t at, bool on)
{
    if (!make_room(s, v)) {
        return MB_DEVICE_FAILURE;
    }
    put_bit(coils_of(s, v), at, on);
    put_bit(coil_marks(s, v), at, true);
    return 0;
}

static int write_all(const struct slaves *s, struct slave *v, const uint8_t *pdu, uint32_t at,
                     uint32_t count)
{
    int rc = 0;
    if (pdu[0] == MB_WRITE_COIL) {
        return write_coil(s, v, at, pdu[3] != 0);
    }
    if (pdu[0] == MB_WRITE_REGISTER) {
        return write_register(s, v, at, pdu + 3);
    }
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        rc = pdu[0] == MB_WRITE_COILS ? write_coil(s, v, at + i, has_bit(pdu + 6, i))
                                      : write_register(s, v, at + i, pdu + 6 + 2 * (size_t) i);
    }
    return rc;
}

/* ---- requests ---- */

/* An exception's code, or 0 and how many registers or bits it is about (V1.1b3, the state diagrams of 6.1
 * to 6.12). */
static int check(const struct slaves *s, const struct slave *v, const uint8_t *pdu, size_t len,
                 uint32_t *ret_count)
{
    static const uint16_t most[] = { [MB_READ_COILS] = MB_READ_BITS_MAX,
                                     [MB_READ_INPUTS] = MB_READ_BITS_MAX,
                                     [MB_READ_HOLDING] = MB_READ_REGISTERS_MAX,
                                     [MB_READ_INPUT] = MB_READ_REGISTERS_MAX,
                                     [MB_WRITE_COIL] = 1,
                                     [MB_WRITE_REGISTER] = 1,
                                     [MB_WRITE_COILS] = MB_WRITE_BITS_MAX,
                                     [MB_WRITE_REGISTERS] = MB_WRITE_REGISTERS_MAX };
    uint8_t function = pdu[0];
    if (function >= sizeof(most) / sizeof(most[0]) || most[function] == 0) {
        return MB_ILLEGAL_FUNCTION;
    }
    if (len < 5) {
        return MB_ILLEGAL_VALUE;
    }
    uint32_t at = get16(pdu + 1), count = most[function] == 1 ? 1 : get16(pdu + 3);
    bool several = function >= MB_WRITE_COILS;
    if (count == 0 || count > most[function] || (several ? len < 6 : len != 5)) {
        return MB_ILLEGAL_VALUE;
    }
    size_t bytes = mb_data_bytes(function, (uint16_t) count);
    bool coil_wrong = function == MB_WRITE_COIL && get16(pdu + 3) != 0 && get16(pdu + 3) != 0xff00;
    if (coil_wrong || (several && (pdu[5] != bytes || len != 6 + bytes))) {
        return MB_ILLEGAL_VALUE;
    }
    bool seq = (function == MB_WRITE_REGISTER || function == MB_WRITE_REGISTERS) && at <= 1;
    if (at + count > s->registers || seq) {
        return MB_ILLEGAL_ADDRESS;
    }
    for (uint32_t i = 0; i < v->hole_count; i++) {
        if (at <= v->holes[i].last && at + count > v->holes[i].first) {
            return MB_ILLEGAL_ADDRESS;
        }
    }
    *ret_count = count;
    return 0;
}

size_t slaves_answer(struct slaves *s, struct slave *v, const uint8_t *pdu, size_t len,
                     uint64_t now_ms, uint8_t out[MB_PDU_MAX])
{
    uint32_t count = 0;
    if (len == 0) {
        return 0;
    }
    s->requests++;
    int wrong = v->fault == FAULT_EXCEPTION ? (int) v->fault_arg : check(s, v, pdu, len, &count);
    bool writes = pdu[0] > MB_READ_INPUT;
    if (wrong == 0 && writes) {
        wrong = write_all(s, v, pdu, get16(pdu + 1), count);
    }
    if (wrong != 0) {
        s->refused++;
        out[0] = pdu[0] | 0x80;
        out[1] = (uint8_t) wrong;
        return 2;
    }
    out[0] = pdu[0];
    if (writes) {
        s->writes += count;
        memcpy(out + 1, pdu + 1, 4);
        return 5;
    }
    size_t bytes = mb_data_bytes(pdu[0], (uint16_t) count);
    s->values += count;
    out[1] = (uint8_t) bytes;
    if (mb_is_bits(pdu[0])) {
        read_bits(s, v, pdu[0], get16(pdu + 1), count, moment(s, now_ms), out + 2);
    } else {
        read_registers(s, v, pdu[0], get16(pdu + 1), count, moment(s, now_ms), out + 2);
    }
    return 2 + bytes;
}

/* ---- faults by text ---- */

static bool set_hole(struct slave *v, uint32_t first, uint32_t last)
{
    if (v->hole_count == SLAVES_HOLES_MAX) {
        return false;
    }
    v->holes[v->hole_count++] = (struct slave_hole){ first, last };
    return true;
}

static bool set_fault(struct slave *v, const char *word, const char *arg)
{
    char *end;
    unsigned long n = strtoul(arg, &end, 10);
    if (strcmp(word, "hole") == 0) {
        unsigned long last = *end == '-' ? strtoul(end + 1, &end, 10) : n;
        return *end == '\0' && *arg != '\0' && n <= last && last <= 65535 &&
               set_hole(v, (uint32_t) n, (uint32_t) last);
    }
    uint8_t kind = 0;
    while (kind < FAULT_KINDS && strcmp(word, fault_words[kind]) != 0) {
        kind++;
    }
    bool needs = kind == FAULT_LATE || kind == FAULT_EXCEPTION;
    if (kind == FAULT_KINDS || *end != '\0' || needs != (*arg != '\0') ||
        (kind == FAULT_LATE && n > 3600000) || (kind == FAULT_EXCEPTION && (n < 1 || n > 255))) {
        return false;
    }
    v->fault = kind;
    v->fault_arg = (uint32_t) n;
    v->hole_count = kind == FAULT_NONE ? 0 : v->hole_count;
    return true;
}

bool slaves_fault(struct slaves *s, const char *text)
{
    char who[12], word[16], arg[24] = "", more[2];
    int n = sscanf(text, "%11s %15s %23s %1s", who, word, arg, more);
    if (n < 2 || n > 3) {
        return false;
    }
    uint32_t first = 0, last = s->count;
    if (strcmp(who, "all") != 0) {
        char *end;
        unsigned long number = strtoul(who, &end, 10);
        if (*end != '\0' || number < 1 || number > s->count) {
            return false;
        }
        first = (uint32_t) number - 1;
        last = first + 1;
    }
    bool good = true;
    for (uint32_t i = first; i < last; i++) {
        good = set_fault(&s->all[i], word, arg) && good;
    }
    return good;
}
