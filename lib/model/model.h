/*
 * Thing model: what a product's devices can say and be told, compiled once per revision and never
 * changed afterwards. Counted; any thread may use one at once.
 *
 * A property has an index (its place in this revision) and an id (given once, never given to
 * another key or type of the product, but kept by a property that is renamed: "was"). Logs and stores
 * know ids, code works with indexes.
 *
 * Conversions on the way in (the value that fails is dropped singly by the caller):
 *   int            int64; whole doubles and decimal text are converted; no bool
 *   float, double  finite; ints and decimal text are converted; float also within its range
 *   bool           true, false, 0, 1, "true", "false"
 *   enum           the value, else an item's name; becomes the item's value (int)
 *   text           UTF-8 of at most `length` bytes (default 4,096)
 *   date           unix ms; "2026-11-20T12:00:00.250+01:00", "2026-11-20 12:00:00" (UTC); an int
 *   struct         a map; members that the model does not name are left out
 *   array          of at most `size` items (default 1,024)
 *
 * Limits are min, max, step, length, size and the items of an enum; what becomes of a device's value
 * beyond one says enum tpi_enforce. Types are not limits: a value that cannot be converted, or that
 * its type cannot hold, or a struct without a required member, is always refused. So is whatever
 * lies beyond a limit in a command or an event.
 */
#ifndef TPI_MODEL_MODEL_H
#define TPI_MODEL_MODEL_H

#include <stdbool.h>
#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/value.h>

#include "data/report.h"

enum tpi_data_type {
    TPI_DATA_INT = 1,
    TPI_DATA_FLOAT = 2,
    TPI_DATA_DOUBLE = 3,
    TPI_DATA_BOOL = 4,
    TPI_DATA_ENUM = 5,
    TPI_DATA_TEXT = 6,
    TPI_DATA_DATE = 7,
    TPI_DATA_STRUCT = 8,
    TPI_DATA_ARRAY = 9
};

enum {
    TPI_MODEL_MAX_PROPERTIES = 4096, /* also services, events, parameters of one */
    TPI_MODEL_MAX_IDS = 65535,       /* ever given in a product */
    TPI_MODEL_MAX_DEPTH = 4,         /* structs and arrays inside one another */
    TPI_MODEL_MAX_DERIVED = 64,      /* properties that are computed */
    TPI_MODEL_MAX_EXPR = 4096,       /* bytes of an expression */
    TPI_MODEL_MAX_WAS = 16,          /* keys that one property had before */
    TPI_MODEL_MAX_KEY = 128,         /* bytes */
    TPI_MODEL_MAX_ENUM = 1024,       /* items */
    TPI_MODEL_TEXT_BYTES = 4096,     /* default of length */
    TPI_MODEL_MAX_TEXT = 262144,     /* highest length */
    TPI_MODEL_ITEMS = 1024,          /* default of size */
    TPI_MODEL_MAX_ITEMS = 65536,     /* highest size */
    TPI_MODEL_OPEN_KEY = 256         /* bytes of a key that the model does not know */
};

/* In the place of a property's index: of a point whose key the model does not know. */
#define TPI_MODEL_NO_INDEX UINT32_MAX

/* What becomes of a value that a device reports beyond a limit. */
enum tpi_enforce {
    TPI_ENFORCE_USUAL = 0, /* as DROP, but steps are hints for people */
    TPI_ENFORCE_DROP = 1,  /* the value is refused */
    TPI_ENFORCE_CLAMP = 2, /* the nearest that is allowed takes its place (a text's or array's first
                              part), marked TPC_POINT_CLAMPED; an enum has none: refused */
    TPI_ENFORCE_KEEP = 3 /* it is taken as it is, marked TPC_POINT_BEYOND; of an enum numbers alone,
                              texts and arrays up to TPI_MODEL_MAX_TEXT and TPI_MODEL_MAX_ITEMS */
};

struct tpi_spec; /* private: bounds and parts of a type */

struct tpi_property {
    struct tpc_str key; /* NUL ends it */
    uint16_t id;        /* 1.. */
    uint8_t data_type;  /* enum tpi_data_type */
    uint8_t value_type; /* enum tpc_type after conversion */
    bool writable;
    bool readable;       /* false: "w", it is set but not asked for */
    bool required;       /* for people and exports: messages may leave it out */
    bool attribute;      /* else telemetry */
    struct tpc_str expr; /* of a derived property, else empty */
    const struct tpi_spec *spec;
    const struct tpi_report *report; /* NULL = as the device, the product, .. says */
};

struct tpi_model;

/* Name of a type as models write it ("double"); "?" for an unknown number. */
const char *tpi_data_type_name(int data_type);

/*
 * Compiles a product's "model" member. ids: what tpi_model_ids() gave for the revision before, NULL
 * for a new product. Returns 0, TPC_EINVAL (err's path: "properties[2].type"), TPC_ETOOBIG (a limit
 * above), TPC_ECORRUPT (ids) or TPC_ENOMEM. *ret is the caller's reference; nothing of the
 * arguments is kept.
 */
int tpi_model_compile(const struct tpc_allocator *alloc, const struct tpc_value *model,
                      const struct tpc_value *ids, enum tpi_enforce enforce, uint32_t revision,
                      struct tpc_error *err, struct tpi_model **ret);
struct tpi_model *tpi_model_ref(struct tpi_model *m);
struct tpi_model *tpi_model_unref(struct tpi_model *m); /* NULL is fine; returns NULL */

/* Every id ever given, removed properties included: what the next compile needs.
 * {"next":4,"ids":[["temperature","double",1],..]}. Returns 0 or TPC_ENOMEM. */
int tpi_model_ids(const struct tpi_model *m, struct tpc_arena *arena, struct tpc_value *ret);

uint32_t tpi_model_revision(const struct tpi_model *m);
uint32_t tpi_model_property_count(const struct tpi_model *m);
uint32_t tpi_model_derived_count(const struct tpi_model *m);
/* Properties with a report strategy of their own. */
uint32_t tpi_model_report_count(const struct tpi_model *m);

/* index < count. */
const struct tpi_property *tpi_model_property(const struct tpi_model *m, uint32_t index);

/* Index of a key, or of the property that had this key before ("was"); or -1. *hint is the index expected, any number is fine; it becomes the next one,
 * so messages in the model's order cost one comparison a key. hint may be NULL. */
int tpi_model_find(const struct tpi_model *m, struct tpc_str key, uint32_t *hint);

/* The same without regard to the case of ASCII letters; looks through all properties. */
int tpi_model_find_any_case(const struct tpi_model *m, struct tpc_str key);

/* Index of a property id, or -1 if this revision has none. */
int tpi_model_find_id(const struct tpi_model *m, uint16_t id);

/* Key of a property id: of this revision's property, or the last one of a property that is no more.
 * Empty if the id was never given. */
struct tpc_str tpi_model_key_of(const struct tpi_model *m, uint16_t id);

/*
 * Checks and converts a value of property `index` strictly: what lies beyond a limit is refused.
 * *ret: a scalar; text is a view of in's; maps and arrays live in the arena (texts inside are in's); arena may be NULL for a property of scalar
 * type. Returns 0, TPC_EMODEL (err's path starts with the key: "pos.lat", "list[3]") or TPC_ENOMEM.
 */
int tpi_model_check(const struct tpi_model *m, uint32_t index, const struct tpc_value *in,
                    struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret);

/* The same for a value that a device reports: limits as the product enforces them. *ret_flags:
 * TPC_POINT_CLAMPED or TPC_POINT_BEYOND if a limit was passed, else 0; untouched on failure. */
int tpi_model_take(const struct tpi_model *m, uint32_t index, const struct tpc_value *in,
                   struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret,
                   uint16_t *ret_flags);

/* The same for the value of a derived property, which tpi_model_take() refuses. */
int tpi_model_derive(const struct tpi_model *m, uint32_t index, const struct tpc_value *in,
                     struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret,
                     uint16_t *ret_flags);

/* Whether a value of a key that the model does not know can be kept: the key is a text of 1 to 256
 * bytes without control bytes, the value is not null, holds no binary bytes and only finite numbers,
 * a text has at most TPI_MODEL_MAX_TEXT bytes. Returns 0 or TPC_EMODEL. */
int tpi_model_open_check(struct tpc_str key, const struct tpc_value *in, struct tpc_error *err);

/* Of a model that nobody shares yet: devices of it know more than it says. "set" and "get" then take
 * keys that it does not know, too, and a service that it does not know takes whatever params. */
void tpi_model_open(struct tpi_model *m);

/*
 * Checks what a command wants: a service of the model with its input; "set": a map of writable
 * properties, "control" too, unless it is a service of the model; "get": {"keys":["a",..]} or nothing,
 * which means all. params NULL or null = no
 * params. *ret is a map in the arena. Returns 0, TPC_ENOENT (no such service), TPC_EMODEL (path
 * names the parameter) or TPC_ENOMEM.
 */
int tpi_model_service_check(const struct tpi_model *m, struct tpc_str service,
                            const struct tpc_value *params, struct tpc_arena *arena,
                            struct tpc_error *err, struct tpc_value *ret);

/* Whether it is the "control" that is no service of the model: nobody answers it. */
bool tpi_model_service_control(const struct tpi_model *m, struct tpc_str service);

/* Whether it may be sent twice without harm: marked so in the model, and "set" and "get" always. */
bool tpi_model_service_idempotent(const struct tpi_model *m, struct tpc_str service);

/* Checks an event's output as a service's input, but leaves out what the model does not name.
 * Returns as tpi_model_service_check(). */
int tpi_model_event_check(const struct tpi_model *m, struct tpc_str event,
                          const struct tpc_value *params, struct tpc_arena *arena,
                          struct tpc_error *err, struct tpc_value *ret);

#endif
