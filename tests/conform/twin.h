/*
 * Two ways up for one frame: a sink that built-in codecs may go around straight to points, and the
 * same sink with the general readers alone. Whatever the bytes, both must end with the same: the
 * same records to append (points, kinds, times, dead letters with their reasons, lines and paths),
 * the same properties, the same count of refused values.
 */
#ifndef TWIN_H
#define TWIN_H

#include <tpcore/ext/codec.h>

enum twin_codec {
    TWIN_JSON = 0,
    TWIN_CBOR = 1,
    TWIN_ALINK = 2,
    TWIN_THINGSPANEL = 3,
    TWIN_CODECS = 4
};

enum twin_flags {
    TWIN_WRAPPED = 1,  /* in ThingsPanel's envelope */
    TWIN_ANSWERED = 2, /* with a message id in its topic */
    TWIN_WIDE = 4,     /* of a product with more properties than a word has bits */
    TWIN_NO_TIME = 8,
    TWIN_PORTABLE = 16, /* the readers without the machine's own instructions */
    TWIN_ALIKE = 32,    /* of a product whose keys differ in their middle alone */
    TWIN_CLAMP = 64,    /* of one that brings values within its limits, steps included */
    TWIN_KEEP = 128,    /* of one that keeps and marks what is beyond them */
    TWIN_OPEN = 256     /* of one that keeps keys which the model does not know */
};

struct twin_frame {
    uint32_t codec; /* enum twin_codec */
    uint16_t kind;
    uint16_t flags; /* enum twin_flags */
    struct tpc_bytes payload;
};

struct twin;

/* Ends the process if there is no memory. */
struct twin *twin_create(void);
void twin_destroy(struct twin *t);

/* NULL if both ways agree, else what differs. *ret_direct (may be NULL): the frame went straight. */
const char *twin_compare(struct twin *t, const struct twin_frame *f, int *ret_direct);

/* The product's model, as JSON. */
extern const char twin_model[];

#endif
