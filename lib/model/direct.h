/*
 * Checked points straight from bytes, directed by the model: the readers know which keys can come
 * and what their values may be, expect the keys of the message before in the same order, and write
 * points where the batch keeps them. No tree, no allocation, no look-up of a text on that path.
 *
 * A reader either reads all of a message or says that it cannot: then nothing has happened, and the
 * general readers (data/json_read.h, tpc_cbor_parse()) and the sink's point() do it, faults
 * included. What both can read they read alike.
 *
 * The stage that decodes hands a struct tpi_direct to the built-in codecs through their sink.
 */
#ifndef TPI_MODEL_DIRECT_H
#define TPI_MODEL_DIRECT_H

#include <tpcore/ext/codec.h>

#include "data/json_read.h"
#include "model/model.h"

enum {
    TPI_GUESS_KEYS = 256, /* properties whose follower is remembered */
    TPI_GUESSES = 16      /* models for which one worker does */
};

/* Which property followed which in the messages before. Hints: nothing depends on their truth. */
struct tpi_guess {
    const struct tpi_model *model;
    uint16_t after[TPI_GUESS_KEYS]; /* by index + 1, 0 = at the start: index that comes next */
};

struct tpi_guesses {
    struct tpi_guess of[TPI_GUESSES];
};

enum tpi_direct_flags {
    TPI_DIRECT_ANY_CASE = 1, /* keys: see TPC_DECODED_ANY_CASE */
    TPI_DIRECT_UNIQUE = 2    /* a key that is there twice is a fault, left to the general reader */
};

struct tpi_direct {
    /* Of the stage, by start(). */
    const struct tpi_model *model;
    struct tpi_guess *guess;
    struct tpc_arena *arena;
    struct tpc_point *points; /* room behind the points that the batch holds */
    uint32_t *indexes;        /* of their properties */
    uint32_t cap;
    uint32_t most; /* points of a message */
    bool keep;     /* keys that the model does not know become points by key */

    /* What was read. */
    uint32_t count;         /* points */
    uint32_t clamped;       /* of these, marked TPC_POINT_CLAMPED */
    uint32_t beyond;        /* of these, marked TPC_POINT_BEYOND */
    uint32_t kept;          /* of these, by key */
    uint32_t bad;           /* values that were refused */
    struct tpc_str bad_key; /* the last of these */
    struct tpc_value bad_value;

    void *user;
    /* Begins a message: sets the members above, for the product of the present frame. */
    void (*start)(struct tpi_direct *d);
    /* Makes room for one point more. False: there is none. */
    bool (*more)(struct tpi_direct *d);
    /* Gives the message that was read: begin, points, end in one. Codes as begin and end. */
    int (*message)(struct tpi_direct *d, uint32_t frame, const struct tpc_decoded *head);
    /* tpi_direct_json() and tpi_direct_cbor(): codecs also live where there are no models. */
    bool (*json)(struct tpi_direct *d, struct tpi_json *r, uint32_t flags);
    bool (*cbor)(struct tpi_direct *d, struct tpc_bytes bytes);
};

/* Sets json and cbor, everything else to zero. */
void tpi_direct_init(struct tpi_direct *d);

/* The guess of a model; another model's if there is none yet, made its own. */
struct tpi_guess *tpi_guess_of(struct tpi_guesses *all, const struct tpi_model *m);

/*
 * Members of the map whose MAP event r has just given, up to its end: r goes on as after MAP_END.
 * False: not read, the state of r and d is of no use.
 */
bool tpi_direct_json(struct tpi_direct *d, struct tpi_json *r, uint32_t flags);

/* A map that is all of the bytes (keys unique). False as above. */
bool tpi_direct_cbor(struct tpi_direct *d, struct tpc_bytes bytes);

#endif
