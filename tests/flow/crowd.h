/*
 * Many devices of one product whose every value says who sent it and as which one, so that what is
 * read back through the public API can be compared with what was acknowledged, as sets.
 */
#ifndef CROWD_H
#define CROWD_H

#include "fx.h"

#include <stdatomic.h>

enum { CROWD_DEVICES = 20000, CROWD_MESSAGES = 1 << 21 };

/* What has become of a number. */
enum crowd_end { CROWD_OPEN, CROWD_ACKNOWLEDGED, CROWD_REFUSED };

/* What was given and what of it was acknowledged, by device; shared with children that are killed. */
struct crowd_book {
    uint32_t first;      /* numbers of device 0: below this */
    uint32_t per_device; /* of each other one */
    atomic_uint given[CROWD_DEVICES];
    atomic_uchar ends[CROWD_MESSAGES]; /* enum crowd_end; those of device 0, then of 1 .. */
};

struct crowd {
    struct fx *f;
    uint32_t count;
    bool shuffled; /* times are out of order and some come late */
    struct tpc_device *devices[CROWD_DEVICES];
    struct crowd_book *book;
};

/* A book in memory that children share; for one test, crowd_book_free() ends it. */
struct crowd_book *crowd_book_make(uint32_t devices);
/* The same with most of the room for device 0. */
struct crowd_book *crowd_book_make_first(uint32_t devices, uint32_t first);
void crowd_book_free(struct crowd_book *book);

/* Product "meter" (json; seq int, level double, note text) and devices c0 .. c<count-1> of it. */
void crowd_put(struct fx *f, uint32_t count);
void crowd_open(struct crowd *c, struct fx *f, uint32_t count, struct crowd_book *book);
void crowd_close(struct crowd *c);

/* The next number of a device; what tpc_feed_frame() said. The book has it as given before. */
int crowd_feed(struct crowd *c, uint32_t device);

/* Time of a number. */
int64_t crowd_time(const struct crowd *c, uint32_t device, uint32_t number);

struct crowd_found {
    size_t stored;
    size_t missing; /* acknowledged and not stored */
    size_t twice;
    size_t wrong; /* never given, or at another time than its own, or rows that disagree */
};

/* Reads all of the history. */
struct crowd_found crowd_read(struct crowd *c);

/* Waits, up to 120 s, until all that was given is acknowledged or refused: where nobody was killed.
 * Returns how many were refused after they had been taken. */
size_t crowd_settle(struct crowd *c);

/* Reads until nothing is missing, up to 20 s with threads, and fails unless all is as it should be.
 * Returns how many are stored. */
size_t crowd_check(struct crowd *c);

#endif
