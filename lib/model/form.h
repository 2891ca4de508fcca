/*
 * Models in the forms of other platforms. exchange.c walks the lists, keeps what one side cannot
 * say, and tells places; tsl.c and panel.c know the definitions. Private to lib/model.
 */
#ifndef TPI_MODEL_FORM_H
#define TPI_MODEL_FORM_H

#include <tpcore/model.h>

#include "model/model.h"

/* Whose definition. */
enum tpi_what {
    TPI_WHAT_PROPERTY = 0, /* of TSL; telemetry of ThingsPanel */
    TPI_WHAT_ATTRIBUTE = 1,
    TPI_WHAT_SERVICE = 2,
    TPI_WHAT_EVENT = 3
};

struct tpi_form_list {
    const char *name; /* in the other form; NULL ends the table */
    const char *own;  /* "properties", "services", "events" */
    enum tpi_what what;
};

/* What a path's segment of the library's form is called in the other. */
struct tpi_form_segment {
    const char *own; /* NULL ends the table */
    const char *name;
};

struct tpi_form {
    const char *name; /* member that keeps originals */
    const struct tpi_form_list *lists;
    const struct tpi_form_segment *segments;
    /* Members that definitions of this form have; others are kept. NULL ends them. */
    const char *const *known;
    /* A definition of the other form as one of the library's. Members it does not know are left
     * out. Returns 0, TPC_EMODEL (err's path is below the definition) or TPC_ENOMEM. */
    int (*from)(struct tpc_arena *arena, enum tpi_what what, const struct tpc_value *other,
                struct tpc_error *err, struct tpc_value *ret);
    /* The way back; what is no sound part of a definition is left out. Returns 0 or TPC_ENOMEM. */
    int (*to)(struct tpc_arena *arena, enum tpi_what what, const struct tpc_value *own,
              struct tpc_value *ret);
};

extern const struct tpi_form tpi_form_tsl;
extern const struct tpi_form tpi_form_thingspanel;

/* ---- trees being made ---- */

/* A map that grows. Without memory it stays as it is and _end() says so. */
struct tpi_tree {
    struct tpc_arena *arena;
    struct tpc_member *members;
    size_t count, cap;
    bool failed;
};

void tpi_tree_begin(struct tpi_tree *t, struct tpc_arena *arena);
/* Keys and texts are static or outlive the tree. v NULL adds nothing. */
void tpi_tree_put(struct tpi_tree *t, const char *key, const struct tpc_value *v);
void tpi_tree_put_key(struct tpi_tree *t, struct tpc_str key, const struct tpc_value *v);
void tpi_tree_text(struct tpi_tree *t, const char *key, const char *text);
void tpi_tree_bool(struct tpi_tree *t, const char *key, bool b);
void tpi_tree_int(struct tpi_tree *t, const char *key, int64_t i);
/* Returns 0 or TPC_ENOMEM. */
int tpi_tree_end(struct tpi_tree *t, struct tpc_value *ret);

/* Member of a map; NULL if it is absent or null. */
const struct tpc_value *tpi_form_member(const struct tpc_value *map, const char *key);
bool tpi_form_is(const struct tpc_value *v, const char *text);

/* Member that must be a text, or absent if not needed (*ret NULL). 0 or TPC_EMODEL. */
int tpi_form_text(const struct tpc_value *map, const char *key, bool needed, struct tpc_error *err,
                  const struct tpc_value **ret);
/* "expected .." at a member; returns TPC_EMODEL. */
int tpi_form_expected(struct tpc_error *err, const char *key, const char *what);

/* What all definitions begin with: id, name unless it is the id's text, description, from members of
 * these keys. 0 or TPC_EMODEL. */
int tpi_form_head(struct tpi_tree *t, const struct tpc_value *def, const char *id_key,
                  const char *name_key, struct tpc_error *err);

/* Each item of an array through `fn`; *ret is the array of what it made. 0 or fn's code, with key and
 * index before err's path. */
typedef int tpi_form_item_fn(struct tpc_arena *arena, const struct tpc_value *item, size_t index,
                             const void *user, struct tpc_error *err, struct tpc_value *ret);
int tpi_form_each(struct tpc_arena *arena, const struct tpc_value *list, const char *key,
                  tpi_form_item_fn *fn, const void *user, struct tpc_error *err,
                  struct tpc_value *ret);

#endif
