/* What the compiler makes of a type, for the checker. Private to lib/model. */
#ifndef TPI_MODEL_SPEC_H
#define TPI_MODEL_SPEC_H

#include <stdatomic.h>

#include "model/model.h"

struct tpi_enum_item {
    struct tpc_str name;
    int64_t value;
};

struct tpi_field;

struct tpi_spec {
    uint8_t data_type;  /* enum tpi_data_type */
    uint8_t value_type; /* enum tpc_type */
    bool stepped;       /* step is enforced */
    uint8_t reserved;
    uint32_t length; /* most bytes of a text, most items of an array */
    double min;      /* of float and double; never infinite, so that one comparison finds NaN too */
    double max;
    int64_t int_min; /* of int */
    int64_t int_max;
    union {
        double d;
        int64_t i;
    } step;         /* > 0 if stepped */
    uint32_t count; /* of items or fields */
    union {
        const struct tpi_enum_item *items;
        const struct tpi_field *fields;
        const struct tpi_spec *elem;
    } of;
};

/* Member of a struct, or parameter of a service or event. */
struct tpi_field {
    struct tpc_str key;
    bool required;
    const struct tpc_value *normal; /* default, NULL = none */
    struct tpi_spec spec;
};

struct tpi_function {
    struct tpc_str key;
    bool idempotent;
    bool open; /* parameters are not checked */
    uint32_t count;
    const struct tpi_field *fields;
};

/* A key that a property had in revisions before. */
struct tpi_alias {
    struct tpc_str key;
    uint32_t index; /* of the property */
};

/* An id that was given: for good. A property that was renamed has one row for each of its keys. */
struct tpi_given_id {
    struct tpc_str key;
    uint16_t data_type;
    uint16_t id;
};

struct tpi_key;

/* The key table of keys.h. */
struct tpi_keys {
    struct tpi_key *at; /* by property index; behind them one for each alias, just to be found */
    uint16_t *hash;     /* index + 1, 0 = free; NULL = look up with tpi_model_find() */
    uint32_t count;
    uint32_t shift; /* 64 - log2 of hash's size */
    uint64_t seed;  /* of the hash: chosen so that keys stand at their places */
};

struct tpi_model {
    atomic_uint refs;
    uint32_t revision;
    uint8_t enforce; /* enum tpi_enforce */
    bool open;       /* devices know more than it says */
    const struct tpc_allocator *alloc;
    struct tpc_arena *arena; /* all below */
    struct tpi_property *properties;
    uint32_t count;
    uint32_t alias_count;
    uint32_t derived_count;
    uint32_t report_count;
    struct tpi_alias *aliases;
    uint32_t mask;    /* of hash; its size is a power of two >= 2 * (count + alias_count) */
    uint32_t *hash;   /* index + 1, 0 = free; from count + 1 on aliases */
    uint16_t *by_id;  /* index + 1 by id; next_id entries */
    uint32_t next_id; /* 1..65,536 */
    uint32_t given_count;
    struct tpi_given_id *given;
    uint32_t service_count;
    uint32_t event_count;
    struct tpi_function *services;
    struct tpi_function *events;
    struct tpi_keys keys;
};

/* A step's value next to d, which is within the spec's range: counted from min, or from 0 where
 * there is no min. False: d stands on a step. */
bool tpi_step_double(const struct tpi_spec *s, double d, double *ret);
bool tpi_step_int(const struct tpi_spec *s, int64_t i, int64_t *ret);

/* As tpi_model_check(), strictly, with a spec alone. */
int tpi_spec_check(const struct tpi_spec *s, const struct tpc_value *in, struct tpc_arena *arena,
                   struct tpc_error *err, struct tpc_value *ret);

/* Unix ms of "2026-11-20T12:00:00.250+01:00", "2026-11-20 12:00:00" (UTC) and the like. Returns 0
 * or TPC_EDECODE. */
int tpi_date_parse(struct tpc_str text, int64_t *ret_unix_ms);

/* A number that somebody wrote as text, by JSON's grammar: TPC_INT or TPC_DOUBLE. */
bool tpi_number_from_text(struct tpc_str text, struct tpc_value *ret);

#endif
