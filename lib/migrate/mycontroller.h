/* Between the files that translate documents of MyController. */
#ifndef TPI_MIGRATE_MYCONTROLLER_H
#define TPI_MIGRATE_MYCONTROLLER_H

#include <tpcore/mycontroller.h>

#include "base/buf.h"

enum {
    TPI_MC_DEPTH = 16,   /* maps and lists inside one another */
    TPI_MC_MEMBERS = 32, /* of a map that is made; no fewer than variables */
    TPI_MC_VARS = 32
};

/* A list that grows in the arena. */
struct tpi_mc_list {
    struct tpc_value *items;
    size_t count;
    size_t cap;
};

/* A map that is made; more than TPI_MC_MEMBERS do not come. */
struct tpi_mc_map {
    struct tpc_member members[TPI_MC_MEMBERS];
    size_t count;
};

/* field:G.N.S.F */
struct tpi_mc_id {
    struct tpc_str part[4];
    uint32_t parts;
    struct tpc_str path; /* what stands behind it */
};

/* A variable of the document that is translated. */
struct tpi_mc_var {
    struct tpc_str name; /* as it is there */
    struct tpc_str ours;
    bool is_field; /* its value is that of a field */
    bool has_path; /* .. and a key path chose it */
    struct tpi_mc_id id;
    const struct tpc_value *value;
};

struct tpi_mc {
    struct tpc_arena *arena;
    const struct tpc_mycontroller_options *options;
    const struct tpc_value *root; /* all that is imported */
    struct tpi_mc_list entities;
    struct tpi_mc_list notes;
    int rc; /* the first failure: TPC_ENOMEM, TPC_ETOOBIG */
    /* Of the document at hand: */
    const char *what; /* "task" */
    struct tpc_str id;
    bool lame;                 /* something essential is missing */
    struct tpc_str own_device; /* of a scene: whose properties need no device(); empty = none */
    struct tpi_mc_var vars[TPI_MC_VARS];
    uint32_t var_count;
};

/* ---- mycontroller_tree.c ---- */

void tpi_mc_add(struct tpi_mc *m, struct tpi_mc_list *list, const struct tpc_value *v);
void tpi_mc_put(struct tpi_mc_map *map, const char *key, struct tpc_value v);
void tpi_mc_put_text(struct tpi_mc_map *map, const char *key, struct tpc_str text);
struct tpc_value tpi_mc_map_value(struct tpi_mc *m, const struct tpi_mc_map *map);
struct tpc_value tpi_mc_list_value(const struct tpi_mc_list *list);
struct tpc_value tpi_mc_text(struct tpc_str text);
struct tpc_value tpi_mc_int(int64_t i);
struct tpc_value tpi_mc_bool(bool b);

/* A text in the arena; the buffer is ended. */
struct tpc_str tpi_mc_take(struct tpi_mc *m, struct tpi_buf *b);
void tpi_mc_buf(struct tpi_buf *b);
void tpi_mc_write(struct tpi_mc *m, struct tpi_buf *b, struct tpc_str text);

/* Something that is not the same. */
void tpi_mc_note(struct tpi_mc *m, const char *at, const char *fmt, ...) TPC_PRINTF(3, 4);
/* .. without which the rule would be another: it is disabled. */
void tpi_mc_lame(struct tpi_mc *m, const char *at, const char *fmt, ...) TPC_PRINTF(3, 4);

/* "30s", "1h30m": Go's durations; false = it is none. */
bool tpi_mc_duration(struct tpc_str text, int64_t *ret_ms);

/* Whether a text, or a bool or number, means yes. */
bool tpi_mc_truthy(const struct tpc_value *v);

/* A number that is one, or a text with one in it. */
int64_t tpi_mc_number(const struct tpc_value *map, const char *key, int64_t otherwise);

/* ---- mycontroller_text.c ---- */

bool tpi_mc_read_id(struct tpc_str text, struct tpi_mc_id *ret);
struct tpc_str tpi_mc_device(struct tpi_mc *m, const struct tpi_mc_id *id);
struct tpc_str tpi_mc_property(struct tpi_mc *m, const struct tpi_mc_id *id);
/* The value of a field in expressions. */
struct tpc_str tpi_mc_field(struct tpi_mc *m, const struct tpi_mc_id *id);

/* Letters, digits and _. */
struct tpc_str tpi_mc_name(struct tpi_mc *m, struct tpc_str text);
/* As a text of our language. */
void tpi_mc_quote(struct tpi_mc *m, struct tpi_buf *b, struct tpc_str text);

/* "name.key.path" as an expression; empty = no such variable, or a path that has no counterpart. */
struct tpc_str tpi_mc_operand(struct tpi_mc *m, struct tpc_str path);

/* A text with Go's {{ }} as one with ours. at: where it stands, for notes. */
struct tpc_str tpi_mc_template(struct tpi_mc *m, const char *at, struct tpc_str text);
/* All texts of a tree. */
struct tpc_value tpi_mc_templates(struct tpi_mc *m, const char *at, const struct tpc_value *v,
                                  uint32_t depth);
/* One text that is {{ .name }} and nothing else: its expression; else empty. */
struct tpc_str tpi_mc_reference(struct tpi_mc *m, struct tpc_str text);

/* ---- mycontroller_rule.c ---- */

/* What a task that becomes a schedule is called: a schedule may have its id already. */
struct tpc_str tpi_mc_task_key(struct tpi_mc *m, struct tpc_str id);
void tpi_mc_task(struct tpi_mc *m, const struct tpc_value *doc);
void tpi_mc_schedule(struct tpi_mc *m, const struct tpc_value *doc);
void tpi_mc_forward(struct tpi_mc *m, const struct tpc_value *doc);

/* ---- mycontroller_condition.c: the condition of a task, empty = always true ---- */

struct tpc_str tpi_mc_condition(struct tpi_mc *m, const struct tpc_value *config);

/* ---- mycontroller_handler.c ---- */

void tpi_mc_handler(struct tpi_mc *m, const struct tpc_value *doc);
/* What its handlers do with its parameters. */
struct tpi_mc_list tpi_mc_actions(struct tpi_mc *m, const struct tpc_value *doc);
/* The document of a kind ("handler") with this id among all that is imported; NULL = not there. */
const struct tpc_value *tpi_mc_find(const struct tpi_mc *m, uint32_t what, struct tpc_str id);

enum tpi_mc_what {
    TPI_MC_UNKNOWN = 0,
    TPI_MC_TASK = 1,
    TPI_MC_SCHEDULE = 2,
    TPI_MC_HANDLER = 3,
    TPI_MC_FORWARD = 4
};
uint32_t tpi_mc_what(const struct tpc_value *doc);

#endif
