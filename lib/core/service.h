/* What the program brings: codecs of its own, and a service with the numbers that stand for commands. */
#ifndef TPI_CORE_SERVICE_H
#define TPI_CORE_SERVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <tpcore/service.h>

#include "core/core.h"

enum { TPI_NUMBERS = 8192, TPI_NUMBER_LISTS = 1024, TPI_NUMBER_TEXT = 40 };

struct tpi_number {
    uint64_t device; /* hash of the key of whom it was sent to */
    uint32_t number; /* 0 = free */
    uint16_t behind; /* of the list: place + 1 of the one before it; 0 = none */
    uint16_t len;
    char correlation[TPI_NUMBER_TEXT];
};

/* Numbers that devices echo, the newest ones, in lists by device. */
struct tpi_numbers {
    pthread_mutex_t lock;
    uint32_t next;                     /* given out so far */
    uint32_t at;                       /* the oldest, which goes */
    uint16_t newest[TPI_NUMBER_LISTS]; /* place + 1 */
    struct tpi_number known[TPI_NUMBERS];
};

/* Puts the correlation of a number into text; its length, 0 = not known. */
uint32_t tpi_number_find(struct tpi_numbers *n, struct tpc_str device, uint32_t number,
                         char text[TPI_NUMBER_TEXT]);

/* One frame by the program's decode. numbers may be NULL. What it refuses goes to the sink. */
void tpi_reading_run(const struct tpc_service_ops *ops, void *user, struct tpi_numbers *numbers,
                     const struct tpc_frame *frame, uint32_t index,
                     const struct tpc_decode_sink *sink);

/* ---- codec.c: codecs of the program's own ---- */
/* Under part_lock; NULL = there is none of that name. */
const struct tpc_codec_ops *tpi_own_codec(const struct tpc_core *core, struct tpc_str name,
                                          void **ret_self);
void tpi_own_codecs_free(struct tpc_core *core);

/* ---- service.c ---- */
void tpi_serving_free(struct tpc_core *core);

#endif
