/*
 * Configurations of the ThingsBoard gateway (3.8) as ours: tb_gateway.json and the files of its
 * connectors `modbus` and `mqtt` become the tree that a configuration file of ours would be.
 *
 * Nothing here opens a file: texts come from a function of the caller. What is not taken over, and
 * what is wrong, becomes a note with its file, path and consequence. A connector with something
 * wrong in it is left out; the others stay.
 */
#ifndef GATEWAY_TB_IMPORT_H
#define GATEWAY_TB_IMPORT_H

#include <stdbool.h>
#include <stdio.h>
#include <tpcore/tpcore.h>

enum { TB_PATH = 160, TB_NOTES_MAX = 2000, TB_CONNECTORS_MAX = 256, TB_TAGS_MAX = 1000000 };

/* Text of a file of the folder, in memory that stays until the import has ended. 0, or -1 with a
 * reason in err. */
typedef int tb_read_fn(void *user, struct tpc_str name, struct tpc_str *ret, char *err, size_t cap);

struct tb_note {
    struct tb_note *next;
    bool error; /* not just something that has no effect */
    const char *file;
    const char *path;
    const char *text;
    uint32_t more; /* places like it in the same file, but for their numbers */
};

struct tb_connector {
    const char *name, *type, *file;
    const char *adapter; /* first part that it became */
    uint32_t parts;
    uint32_t devices, tags;
    uint32_t left_out;  /* devices and tags that cannot be used */
    const char *reason; /* why all of it is left out; NULL = it is used */
};

struct tb_map {
    struct tpc_member *items;
    size_t count, cap;
};
struct tb_list {
    struct tpc_value *items;
    size_t count, cap;
};

struct tb_product {
    struct tb_product *next;
    struct tpc_str key;
    struct tb_list properties;
    struct tb_list
        by_key; /* texts: names whose values have no one type, so they are no properties */
};

struct tb {
    struct tpc_arena *arena;
    tb_read_fn *read;
    void *user;
    const char *dir;  /* put before relative names of certificates; "" = none */
    const char *file; /* that is being read */
    bool failed;      /* the connector at hand */
    bool no_memory;
    struct tb_note *notes, **notes_end;
    uint32_t note_count, notes_lost;
    struct tb_connector connectors[TB_CONNECTORS_MAX];
    uint32_t connector_count;
    struct tb_connector *now;
    struct tb_map root, adapters;
    struct tb_list entities;
    struct tb_product *products;
    struct tb_map devices; /* names that are taken -> their connector */
    uint64_t tag_total;
    struct tpc_value report;   /* general strategy; TPC_NULL = none */
    struct tpc_value presence; /* of products; TPC_NULL = none */
    const struct tpc_value *deny;
    bool sync;            /* shared attributes are asked for when a device connects */
    struct tb_list asked; /* their names */
};

/* Reads it all. 0, or -1: tb_gateway.json itself is unusable (the notes say why) or out of memory.
 * *ret is the tree. arena holds everything. */
int tb_import(struct tb *t, struct tpc_arena *arena, tb_read_fn *read, void *user, const char *dir,
              struct tpc_value *ret);

/* Writes the tree as YAML with the notes as comments. 0 or -1. */
int tb_write(const struct tb *t, const struct tpc_value *root, FILE *out);
/* A line for every connector. Returns how many are left out or have something left out. */
int tb_verdict(const struct tb *t, FILE *out);
/* "FILE: PATH: TEXT", and how many places more */
void tb_note_text(const struct tb_note *n, char *text, size_t cap);

#endif
