/*
 * Patterns of the Lua 5.4 manual, section 6.4.1, on a matcher that pays for every step. The matcher
 * of Lua's own library cannot be stopped: a pattern of 30 bytes can keep it busy for minutes.
 *
 * Knows nothing of Lua's states: no allocation, no jumps. Behaves as Lua's own where that ends.
 */
#ifndef LUA_MATCH_H
#define LUA_MATCH_H

#include <stddef.h>
#include <stdint.h>

enum {
    MATCH_MAX_CAPTURES = 32,
    MATCH_MAX_DEPTH = 200, /* alternatives open inside one another, as in Lua */
    MATCH_CHUNK = 1024     /* steps between two looks at the budget */
};

/* Length of a capture that is not one: open yet, or a position. */
#define MATCH_OPEN (-1)
#define MATCH_POSITION (-2)

/* Takes MATCH_CHUNK steps from the budget. Non-zero = no more: the match ends with an error. */
typedef int match_charge_fn(void *user);

struct match_capture {
    const char *begin;
    ptrdiff_t len; /* MATCH_OPEN, MATCH_POSITION or bytes */
};

struct match {
    const char *src;
    const char *src_end;
    const char *pat_end;
    match_charge_fn *charge; /* NULL = no budget */
    void *user;
    uint32_t left;     /* steps until the next charge */
    int depth;         /* left */
    int level;         /* captures begun */
    const char *error; /* NULL = none; static text */
    int error_arg;     /* the text is a format with one %d for it; -1 = plain text */
    struct match_capture captures[MATCH_MAX_CAPTURES];
};

/* pattern without its anchor '^'. */
void match_init(struct match *m, const char *src, size_t src_len, const char *pat, size_t pat_len,
                match_charge_fn *charge, void *user);

/* Matches at s alone. Returns the end of the match, or NULL: none, or m->error is set. The captures
 * are those of this attempt. */
const char *match_at(struct match *m, const char *s, const char *pat);

/* Capture i of a match [s, e); with no captures, capture 0 is the whole match. Returns 0 and sets
 * m->error for a capture that is not there or not closed. */
int match_capture(struct match *m, int i, const char *s, const char *e, struct match_capture *ret);

/* Whether a pattern is plain text: holds none of ^$*+?.([%- */
int match_is_plain(const char *pat, size_t len);

#endif
