/* A sink that keeps what it is handed and answers as the test says. */
#ifndef FORWARD_BOX_H
#define FORWARD_BOX_H

#include <pthread.h>
#include <stdbool.h>
#include <tpcore/ext/sink.h>

enum { BOX_ITEMS = 65536, BOX_PENDING = 64, BOX_KEY = 24 };

struct box_item {
    char device[BOX_KEY];
    char name[BOX_KEY];
    char tenant[BOX_KEY];
    size_t correlation_len;
    uint16_t kind;
    int64_t n; /* of the first point, else params.n */
    uint32_t points;
    char key[BOX_KEY];   /* of the first point */
    char value[BOX_KEY]; /* of the last point, if it is a text */
    double number;       /* if it is a number */
    struct tpc_id id;
    int64_t unix_ms, received_unix_ms;
    uint16_t flags;
};

/* One for the program: all instances of the sink write into it. */
struct box {
    pthread_mutex_t lock;
    struct box_item items[BOX_ITEMS]; /* that it said to have taken */
    uint32_t count;
    uint32_t sends;      /* calls of send() */
    uint32_t largest;    /* messages of one call */
    uint32_t last_count; /* of the last call */
    uint64_t gap;        /* records that batches said were passed over */
    uint32_t open;       /* targets */
    uint32_t opened;     /* how often */
    char last_name[64];
    char last_token[32]; /* secret option of the last target that was opened */

    int send_code;        /* what send() returns */
    int answer;           /* what it answers */
    bool hold;            /* it answers when box_answer() is called */
    int64_t poison[8];    /* numbers that it will not have; 0 = none */
    int64_t poison_every; /* multiples of it, too; 0 = none */
    uint32_t shared;      /* batches held at a time that had messages of one partition */
    uint32_t most_held;
    int open_code;              /* what target_open() returns */
    uint64_t held[BOX_PENDING]; /* tickets */
    const struct tpc_batch *batches[BOX_PENDING];
    uint32_t held_count;
    const struct tpc_host *host;
    void *ctx;
    void (*on_take)(int64_t n); /* with each message that it takes; NULL = nothing */
};
extern struct box box;

extern const struct tpc_sink_ops box_ops;
const struct tpc_module *box_module(void);

void box_reset(void);
/* Answers everything that is held. Returns how many batches that was. */
uint32_t box_answer(int code);
/* Answers one of those that are held, i < box.held_count. */
void box_answer_one(uint32_t i, int code);
uint32_t box_count(void);

#endif
