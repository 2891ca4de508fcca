/* Inside of the import: trees read with their paths, trees made. */
#ifndef GATEWAY_TB_TREE_H
#define GATEWAY_TB_TREE_H

#include "tb_import.h"

/* A map with its path. `base` has what the map leaves out; either may be NULL. */
struct tb_obj {
    const struct tpc_value *map, *base;
    char path[TB_PATH];
};

/* A member that is known. lost: what it means that there is no such thing here; NULL = it is taken
 * over, "" = there is nothing to tell. */
struct tb_known {
    const char *name;
    const char *lost;
};

/* ---- notes ---- */
void tb_note(struct tb *t, const struct tb_obj *o, const char *member, const char *fmt, ...)
    TPC_PRINTF(4, 5);
/* The connector at hand is left out. */
void tb_error(struct tb *t, const struct tb_obj *o, const char *member, const char *fmt, ...)
    TPC_PRINTF(4, 5);
/* Notes what is not known, and what is on and lost. */
void tb_scan(struct tb *t, const struct tb_obj *o, const struct tb_known *known, size_t n);
#define TB_SCAN(t, o, known) tb_scan(t, o, known, sizeof(known) / sizeof((known)[0]))

/* ---- reading: absent and null are the same; a wrong type is an error ---- */
const struct tpc_value *tb_find(const struct tb_obj *o, const char *name);
struct tpc_str tb_text(struct tb *t, const struct tb_obj *o, const char *name);
bool tb_int(struct tb *t, const struct tb_obj *o, const char *name, int64_t min, int64_t max,
            int64_t *ret);
bool tb_double(struct tb *t, const struct tb_obj *o, const char *name, double *ret);
bool tb_bool(struct tb *t, const struct tb_obj *o, const char *name, bool absent);
/* map NULL = absent. */
struct tb_obj tb_map(struct tb *t, const struct tb_obj *o, const char *name);
/* Count 0 = absent; the items by tb_item(). */
size_t tb_list(struct tb *t, const struct tb_obj *o, const char *name);
struct tb_obj tb_item(struct tb *t, const struct tb_obj *o, const char *name, size_t i);
bool tb_is(struct tpc_str text, const char *word); /* whatever the case */

/* ---- making ---- */
char *tb_copy(struct tb *t, struct tpc_str s);
const char *tb_format(struct tb *t, const char *fmt, ...) TPC_PRINTF(2, 3);
struct tpc_value tb_of_str(struct tpc_str s); /* borrowed */
struct tpc_value tb_of_text(const char *s);   /* borrowed */
struct tpc_value tb_of_int(int64_t i);
struct tpc_value tb_of_double(double d);
struct tpc_value tb_of_bool(bool b);
struct tpc_value tb_of_ms(struct tb *t, int64_t ms); /* "250ms" or "10s" */
struct tpc_value tb_of_map(const struct tb_map *m);
struct tpc_value tb_of_list(const struct tb_list *l);
void tb_put(struct tb *t, struct tb_map *m, const char *key, struct tpc_value v);
/* Nothing if it is empty. */
void tb_put_str(struct tb *t, struct tb_map *m, const char *key, struct tpc_str s);
void tb_add(struct tb *t, struct tb_list *l, struct tpc_value v);
/* Like v, and stays. */
struct tpc_str tb_json(struct tb *t, const struct tpc_value *v);

/* ---- shared by the connectors ---- */
/* A new part of that name, or one like it. Returns the name. */
const char *tb_adapter(struct tb *t, struct tpc_str name, const struct tb_map *options);
/* A file's name, below the folder unless it is absolute. */
struct tpc_value tb_path(struct tb *t, struct tpc_str name);
/* Our report strategy of a `reportStrategy`; false = there is none. */
bool tb_report(struct tb *t, const struct tb_obj *o, struct tpc_value *ret);
struct tb_product *tb_product_of(struct tb *t, struct tpc_str key);
/* A property, or what another device's of that key has to be, too. type NULL: of any type, it stays
 * unlisted. */
void tb_property(struct tb *t, struct tb_product *p, struct tpc_str id, const char *type,
                 bool attribute, bool writable, const struct tpc_value *report);
/* A shared attribute that a device of the connector takes. */
void tb_asks(struct tb *t, struct tpc_str attribute);
/* Whether the device filter lets it pass. */
bool tb_passes(struct tb *t, struct tpc_str device);

/* ---- connectors ---- */
void tb_modbus(struct tb *t, const struct tb_obj *file);
void tb_mqtt(struct tb *t, const struct tb_obj *file);

#endif
