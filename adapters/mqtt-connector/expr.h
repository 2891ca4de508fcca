/*
 * Expressions: what a mapping says of a message. Compiled once.
 *
 *     constant  the text as it stands
 *     topic     a regular expression (pick.h); where a text without operators is not found, it is the text
 *     json      ${path} (path.h) between texts; ${path} alone is the value itself
 *     bytes     slices (slice.h) between texts
 */
#ifndef CONNECTOR_EXPR_H
#define CONNECTOR_EXPR_H

#include "path.h"
#include "pick.h"
#include "slice.h"

enum expr_kind { EXPR_CONSTANT, EXPR_TOPIC, EXPR_JSON, EXPR_BYTES };

enum { EXPR_PARTS_MAX = 64, EXPR_TEXT_MAX = 65536 /* bytes that one makes */ };

struct expr_part {
    enum expr_kind kind; /* EXPR_CONSTANT, EXPR_JSON or EXPR_BYTES */
    struct tpc_str text;
    struct path path;
    struct slice slice;
};

struct expr {
    enum expr_kind kind;
    struct tpc_str text;
    struct pick pick;
    const struct expr_part *parts; /* of json and bytes */
    uint32_t part_count;
};

/* What an expression looks at. */
struct expr_message {
    struct tpc_str topic;
    const struct tpc_value *json; /* NULL = there is none */
    struct tpc_bytes bytes;
    bool hex;
};

/* The text lives as long as the expression. Returns 0, TPC_EINVAL or TPC_ETOOBIG (err says what and the
 * column) or TPC_ENOMEM. */
int expr_compile(struct tpc_arena *arena, struct tpc_str text, enum expr_kind kind,
                 struct tpc_error *err, struct expr *ret);

/* Its value: views into the message or the arena. Returns 0, TPC_ENOENT (it matches nothing; null counts
 * as nothing), TPC_EDECODE (bytes that are no UTF-8), TPC_ETOOBIG or TPC_ENOMEM. */
int expr_value(const struct expr *e, const struct expr_message *m, struct tpc_arena *arena,
               struct tpc_value *ret);

/* The same as a text. */
int expr_text(const struct expr *e, const struct expr_message *m, struct tpc_arena *arena,
              struct tpc_str *ret);

#endif
