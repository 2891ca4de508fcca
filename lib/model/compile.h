/*
 * The compiler of models: reading of definitions, and of types. Private to lib/model.
 *
 * All functions that return int return 0 or what tpi_model_compile() returns, with the error set
 * and its path begun at the faulty member.
 */
#ifndef TPI_MODEL_COMPILE_H
#define TPI_MODEL_COMPILE_H

#include "model/spec.h"

struct tpi_map;

struct tpi_compiler {
    const struct tpc_allocator *alloc;
    struct tpc_arena *arena; /* of the model */
    struct tpc_error *err;
    uint8_t enforce; /* enum tpi_enforce */
};

/* 0 = none of this name. */
int tpi_type_from_name(struct tpc_str name);

/* NULL for a member that is absent or null. */
const struct tpc_value *tpi_def_member(const struct tpc_value *map, const char *key);

/* A fault of member `key`; returns code. */
int tpi_def_bad(struct tpi_compiler *c, const char *key, int code, const char *text);
int tpi_def_no_memory(struct tpi_compiler *c);

/* Adds key[index] to the path of the error; returns rc. */
int tpi_def_in_list(struct tpi_compiler *c, const char *key, size_t index, int rc);

/* Zeroed memory of the model, at least one byte; NULL if there is none. */
void *tpi_def_take(struct tpi_compiler *c, size_t count, size_t size);
int tpi_def_text(struct tpi_compiler *c, struct tpc_str in, struct tpc_str *ret);

/* Member "id" of a definition. */
int tpi_def_key(struct tpi_compiler *c, const struct tpc_value *def, struct tpc_str *ret);
int tpi_def_flag(struct tpi_compiler *c, const struct tpc_value *def, const char *key, bool *ret);

/* Members for people: texts if they are there. */
int tpi_def_people(struct tpi_compiler *c, const struct tpc_value *def);

/* One of `count` words; *ret is untouched if the member is absent. */
int tpi_def_word(struct tpi_compiler *c, const struct tpc_value *def, const char *key,
                 const char *const *words, size_t count, size_t *ret);

/* An array of at most `most` entries; NULL if absent. */
int tpi_def_list(struct tpi_compiler *c, const struct tpc_value *def, const char *key,
                 uint32_t most, const struct tpc_value **ret);

/* Type with its limits. depth: structs and arrays around it. */
int tpi_def_spec(struct tpi_compiler *c, const struct tpc_value *def, int depth,
                 struct tpi_spec *s);

/* Member "default", which the type must allow; NULL if there is none. */
int tpi_def_default(struct tpi_compiler *c, const struct tpc_value *def, const struct tpi_spec *s,
                    const struct tpc_value **ret);

/* A list of fields or parameters. */
int tpi_def_fields(struct tpi_compiler *c, const struct tpc_value *def, const char *key, int depth,
                   const struct tpi_field **ret, uint32_t *ret_count, bool *ret_absent);

#endif
