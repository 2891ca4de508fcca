/* The suites of tests/data and what they share. */
#ifndef DATA_SUITES_H
#define DATA_SUITES_H

#include "tk.h"

#include <stdint.h>
#include <tpcore/arena.h>
#include <tpcore/json.h>

Suite *value_suite(void);
Suite *number_suite(void);
Suite *json_suite(void);
Suite *json_text_suite(void);
Suite *cbor_suite(void);
Suite *csv_suite(void);
Suite *msg_suite(void);
Suite *option_suite(void);

/* An arena that ends the test if it cannot be made. */
struct tpc_arena *data_arena(void);

/* JSON text to a tree; ends the test if it does not parse. */
struct tpc_value data_json(struct tpc_arena *arena, const char *text);

/* A tree to JSON text in the arena, with NUL. */
const char *data_text(struct tpc_arena *arena, const struct tpc_value *v, uint32_t flags);

/* Hex digits, blanks allowed, to bytes in out; returns their number. */
size_t data_hex(const char *hex, uint8_t *out, size_t cap);

/* The next number of a seeded sequence (splitmix64). */
uint64_t data_random(uint64_t *state);

/* A random document of at most `depth` levels, without blobs; doubles finite. */
struct tpc_value data_random_tree(struct tpc_arena *arena, uint64_t *state, uint32_t depth);

#endif
