/*
 * Automations of ThingsPanel as documents of this library: docs/guide/thingspanel-automations.md tells
 * the mapping. Pure: a text in, a tree out; whatever has no place in a document is noted with its path.
 */
#ifndef TPI_MIGRATE_PANEL_H
#define TPI_MIGRATE_PANEL_H

#include <stdbool.h>
#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/value.h>

#include "base/buf.h"

enum {
    TPI_PANEL_DOCS = 10000,     /* documents of one import, and notes */
    TPI_PANEL_CONDITIONS = 64,  /* of one group */
    TPI_PANEL_GROUPS = 64,      /* of one automation */
    TPI_PANEL_ACTIONS = 32,     /* of one automation */
    TPI_PANEL_MEMBERS = 16,     /* of what is made here */
    TPI_PANEL_ARENA = 256 << 20 /* bytes */
};

/* A growing list in the arena. */
struct panel_list {
    struct tpc_value *items;
    uint32_t count;
    uint32_t cap;
};

/* A map in the making. */
struct panel_map {
    struct tpc_member members[TPI_PANEL_MEMBERS];
    uint32_t count;
};

struct panel {
    struct tpc_arena *arena;
    const struct tpc_value *names; /* of the caller's; may be NULL */
    struct panel_list docs;
    struct panel_list notes;
    int rc;         /* no memory, too much: nothing is told then */
    char path[128]; /* where it is now */
};

/* Who an action is about where it names none. */
enum panel_context {
    PANEL_BY_DEVICE = 1, /* a device set it off */
    PANEL_BY_TIME = 2,   /* nobody did */
    PANEL_CLEAR = 3      /* alerts end */
};

/* ---- panel_tree.c ---- */

struct tpc_value tpi_panel_text(struct panel *p, struct tpc_str text);
struct tpc_value tpi_panel_format(struct panel *p, const char *fmt, ...) TPC_PRINTF(2, 3);
void tpi_panel_add(struct panel *p, struct panel_list *list, struct tpc_value v);
/* Text and maps are as they are; a NULL text of type TPC_NULL is left out. */
void tpi_panel_set(struct panel_map *m, const char *key, struct tpc_value v);
struct tpc_value tpi_panel_map(struct panel *p, const struct panel_map *m);
struct tpc_value tpi_panel_array(const struct panel_list *list);
/* Notes what is not taken over, at the present path and member (may be NULL). */
void tpi_panel_note(struct panel *p, const char *member, const char *fmt, ...) TPC_PRINTF(3, 4);
/* An entry of the caller's names: names[kind][id], or NULL. */
const struct tpc_value *tpi_panel_name(const struct panel *p, const char *kind, struct tpc_str id);
/* The key that an id has: of the names, else the id itself. */
struct tpc_str tpi_panel_key(const struct panel *p, const char *kind, struct tpc_str id);
/* A text, number or bool as a text. */
struct tpc_str tpi_panel_scalar(struct panel *p, const struct tpc_value *v);

/* ---- panel_cond.c ---- */

enum panel_source { PANEL_TELEMETRY = 1, PANEL_EVENT = 2, PANEL_STATUS = 3 };

/* A condition on a device. */
struct panel_condition {
    enum panel_source source;
    bool class_wide;     /* of all devices of a product */
    struct tpc_str key;  /* of the device or the product */
    struct tpc_str name; /* property or event */
    struct tpc_str op;
    const struct tpc_value *value;
    int online; /* STATUS: 1, 0, -1 = both */
};

/* Reads types 10 and 11. False: noted. */
bool tpi_panel_condition(struct panel *p, const struct tpc_value *c, struct panel_condition *ret);
/* Appends the condition as an expression; self: it is the scene's own device. False: noted. */
bool tpi_panel_expr(struct panel *p, const struct panel_condition *c, bool self,
                    struct tpi_buf *out);

/* ---- panel_time.c ---- */

/* Type 22 as "during". False: noted. */
bool tpi_panel_window(struct panel *p, const struct tpc_value *c, struct tpc_value *ret);
/* Types 20 and 21 as members of a schedule. False: noted. */
bool tpi_panel_plan(struct panel *p, const struct tpc_value *c, struct panel_map *m);

/* ---- panel_act.c ---- */

/* The actions as "then" for a context. An empty list: nothing is to be done there. Notes only if note. */
struct tpc_value tpi_panel_then(struct panel *p, const struct tpc_value *actions,
                                enum panel_context context, bool note);

#endif
