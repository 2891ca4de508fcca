/*
 * Paths into a JSON document, as users of jsonpath-rw write them. Compiled once.
 *
 *     temp   $.a.b[0].c   a['b c'].d   a[*].b   a.*   a[-1]   ..name   $..name
 *
 * A member of the top whose name is the whole text (it may have dots and blanks) comes first. Of several
 * matches the first counts, in the order of the document.
 */
#ifndef CONNECTOR_PATH_H
#define CONNECTOR_PATH_H

#include <stdbool.h>
#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/value.h>

enum {
    PATH_STEPS_MAX = 32,
    PATH_VISITS_MAX = 100000 /* values that a search looks at; then nothing is found */
};

struct path_step {
    uint32_t op;
    int32_t index;
    struct tpc_str name;
};

struct path {
    struct tpc_str whole; /* without blanks around it */
    const struct path_step *steps;
    uint32_t count;
};

/* The text lives as long as the path. Returns 0, TPC_EINVAL (err has what and the column), TPC_ETOOBIG or
 * TPC_ENOMEM. */
int path_compile(struct tpc_arena *arena, struct tpc_str text, struct tpc_error *err,
                 struct path *ret);

/* NULL = nothing matches. */
const struct tpc_value *path_find(const struct path *p, const struct tpc_value *root);

#endif
