/*
 * Regular expressions that pick a part out of a text, as Python's re.search() does: the leftmost match,
 * alternatives and repeats in the order of their priority.
 *
 *     literals, ., [a-z_] [^..], \d \w \s and \D \W \S (ASCII), \b \B, ^ $ \A \Z, ( ) (?: ) (?P<name> ),
 *     |, * + ? {m} {m,} {m,n}, lazy with a ? behind it, (?= ) (?! ) (?<= ) (?<! ), (?i) at the begin
 *
 * Characters are those of UTF-8. There are no back references. What is inside (?<= ) has a fixed length.
 * A search visits no state at a place twice, so its time is bounded by text * pattern; with look-around
 * by PICK_STEPS_MAX: then nothing is found.
 */
#ifndef CONNECTOR_PICK_H
#define CONNECTOR_PICK_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/arena.h>
#include <tpcore/bytes.h>
#include <tpcore/error.h>

enum {
    PICK_WORDS_MAX = 256,    /* of a program */
    PICK_DEPTH_MAX = 16,     /* parentheses inside one another */
    PICK_LOOKS_MAX = 4,      /* look-arounds inside one another */
    PICK_TEXT_MAX = 4096,    /* bytes of a text; in a longer one nothing is found */
    PICK_STEPS_MAX = 2000000 /* of a search */
};

struct pick_word {
    uint16_t op;
    uint16_t flag;
    uint32_t a, b;
};

struct pick {
    const struct pick_word *words;
    uint32_t count;
    bool fold;    /* ASCII letters are equal in both cases */
    bool literal; /* the pattern has no operator in it */
};

/* The program lies in the arena. Returns 0, TPC_EINVAL or TPC_ETOOBIG (err says what, column is where) or
 * TPC_ENOMEM. */
int pick_compile(struct tpc_arena *arena, struct tpc_str pattern, struct tpc_error *err,
                 struct pick *ret);

/* The first match, a view into the text; `begin`: only one at the text's begin. Memory for the search
 * comes from the arena. Returns 0, TPC_ENOENT (none) or TPC_ENOMEM. */
int pick_find(const struct pick *p, struct tpc_str text, bool begin, struct tpc_arena *arena,
              struct tpc_str *ret);

#endif
