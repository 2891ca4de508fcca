/* Messages of a broker that wait for a thread that may take its time: a bounded queue. The owner's lock is
 * over it. */
#ifndef MQTT_NOTES_H
#define MQTT_NOTES_H

#include "client.h"

#include <tpcore/alloc.h>

struct mqtt_note {
    struct mqtt_note *next;
    size_t topic_len, payload_len;
    char bytes[];
};

struct mqtt_notes {
    struct mqtt_note *first, *last;
    uint32_t count;
    size_t bytes; /* with their heads */
};

/* A copy of a message; NULL = no memory. Without the lock. */
struct mqtt_note *mqtt_note_make(const struct tpc_allocator *a, const struct mqtt_incoming *m);
/* n may be NULL. Without the lock. */
void mqtt_note_free(const struct tpc_allocator *a, struct mqtt_note *n);

/* Puts one at the end. False: count_max wait, or with it there were more than bytes_max; one alone may be
 * longer. */
bool mqtt_notes_put(struct mqtt_notes *q, struct mqtt_note *n, uint32_t count_max,
                    size_t bytes_max);
/* The first one, for mqtt_note_free(); NULL = none waits. */
struct mqtt_note *mqtt_notes_take(struct mqtt_notes *q);
void mqtt_notes_clear(struct mqtt_notes *q, const struct tpc_allocator *a);

static inline struct tpc_str mqtt_note_topic(const struct mqtt_note *n)
{
    return (struct tpc_str){ n->bytes, n->topic_len };
}

static inline struct tpc_bytes mqtt_note_payload(const struct mqtt_note *n)
{
    return (struct tpc_bytes){ (const uint8_t *) n->bytes + n->topic_len, n->payload_len };
}

#endif
