#include "notes.h"

#include <string.h>

static size_t size_of(const struct mqtt_note *n)
{
    return sizeof(*n) + n->topic_len + n->payload_len;
}

struct mqtt_note *mqtt_note_make(const struct tpc_allocator *a, const struct mqtt_incoming *m)
{
    size_t size = sizeof(struct mqtt_note) + m->topic.len + m->payload.len;
    struct mqtt_note *n = a->resize(a->user, NULL, 0, size);
    if (n == NULL) {
        return NULL;
    }
    n->next = NULL;
    n->topic_len = m->topic.len;
    n->payload_len = m->payload.len;
    memcpy(n->bytes, m->topic.ptr, m->topic.len);
    if (m->payload.len > 0) {
        memcpy(n->bytes + m->topic.len, m->payload.ptr, m->payload.len);
    }
    return n;
}

void mqtt_note_free(const struct tpc_allocator *a, struct mqtt_note *n)
{
    if (n != NULL) {
        a->resize(a->user, n, size_of(n), 0);
    }
}

bool mqtt_notes_put(struct mqtt_notes *q, struct mqtt_note *n, uint32_t count_max, size_t bytes_max)
{
    if (q->count >= count_max || (q->count > 0 && q->bytes + size_of(n) > bytes_max)) {
        return false;
    }
    *(q->last != NULL ? &q->last->next : &q->first) = n;
    q->last = n;
    q->count++;
    q->bytes += size_of(n);
    return true;
}

struct mqtt_note *mqtt_notes_take(struct mqtt_notes *q)
{
    struct mqtt_note *n = q->first;
    if (n != NULL) {
        q->first = n->next;
        q->last = q->first != NULL ? q->last : NULL;
        q->count--;
        q->bytes -= size_of(n);
    }
    return n;
}

void mqtt_notes_clear(struct mqtt_notes *q, const struct tpc_allocator *a)
{
    struct mqtt_note *n;
    while ((n = mqtt_notes_take(q)) != NULL) {
        mqtt_note_free(a, n);
    }
}
