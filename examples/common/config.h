/*
 * Configuration files of the example programs: YAML, or JSON where the name ends in .json, into a
 * tree of values. The library itself knows no file format: it checks trees against option tables.
 *
 * In values (never in keys) ${NAME} becomes the environment variable NAME ($${ stays ${); a map
 * that is just {secret_file: PATH} becomes the content of that file without its last line end.
 */
#ifndef EXAMPLES_CONFIG_H
#define EXAMPLES_CONFIG_H

#include <tpcore/arena.h>
#include <tpcore/value.h>

enum { CONFIG_DEPTH_MAX = 32, CONFIG_FILE_MAX = 16 * 1024 * 1024 };

/* Where a node stands: its path ("adapters.mqtt.url", "entities[2]") and line. */
struct config_place {
    const char *path;
    unsigned int line;
};

struct config {
    const char *file;
    const char *dry; /* not NULL: parts get a folder in this one instead of their own `dir` */
    int parts;       /* enum assemble_parts: what was opened from it */
    struct tpc_arena *arena; /* the tree's and the places' */
    struct tpc_value root;
    struct config_place *places;
    size_t place_count, place_cap;
    char error[600]; /* "file:line: text" after a failure */
};

/* Reads a file. 0, or -1 with c->error. End with config_free() in both cases. */
int config_read(struct config *c, const char *file);
void config_free(struct config *c);

/* Line of the longest known path that `path` starts with; 0 = none. */
unsigned int config_line(const struct config *c, const char *path);

/* A copy of map without one member (its values are shared). 0 or -1 without memory. */
int config_without(struct config *c, const struct tpc_value *map, const char *key,
                   struct tpc_value *ret);

/* A copy of map in which a member that is there has another text (borrowed). 0 or -1 without memory. */
int config_with(struct config *c, const struct tpc_value *map, const char *key, const char *text,
                struct tpc_value *ret);

/* A value as JSON text in the config's arena; an empty view without memory. */
struct tpc_str config_json(struct config *c, const struct tpc_value *v);

#endif
