#include <tpcore/msg.h>

#include "base/alloc.h"
#include "data/msg.h"

#include <string.h>

const struct tpc_msg *tpc_batch_msg(const struct tpc_batch *batch, uint32_t i)
{
    const char *first = (const char *) (const void *) batch->msgs;
    return (const struct tpc_msg *) (const void *) (first + (size_t) i * batch->msg_size);
}

const struct tpc_point *tpc_msg_point(const struct tpc_msg *msg, uint32_t i)
{
    const char *first = (const char *) (const void *) msg->points;
    return (const struct tpc_point *) (const void *) (first + (size_t) i * msg->point_size);
}

bool tpi_msg_value(const struct tpc_msg *m, struct tpc_str name, struct tpc_value *ret)
{
    for (uint32_t i = 0; i < m->point_count; i++) {
        const struct tpc_point *p = tpc_msg_point(m, i);
        if (tpc_str_equal(p->key, name)) {
            *ret = p->value;
            return true;
        }
    }
    const struct tpc_value *v = m->params.type == TPC_MAP ? tpc_value_get(&m->params, name) : NULL;
    if (v != NULL) {
        *ret = *v;
    }
    return v != NULL;
}

const char *tpc_kind_name(uint16_t kind)
{
    static const char *const names[] = {
        [TPC_MSG_UNKNOWN] = "unknown",
        [TPC_MSG_TELEMETRY] = "telemetry",
        [TPC_MSG_ATTRIBUTES] = "attributes",
        [TPC_MSG_EVENT] = "event",
        [TPC_MSG_PRESENCE] = "presence",
        [TPC_MSG_REPLY] = "reply",
        [TPC_MSG_COMMAND] = "command",
        [TPC_MSG_ATTRIBUTES_SET] = "attributes_set",
        [TPC_MSG_ATTRIBUTES_GET] = "attributes_get",
        [TPC_MSG_TELEMETRY_SET] = "telemetry_set",
        [TPC_MSG_COMMAND_STATE] = "command_state",
        [TPC_MSG_COMMAND_CLOSED] = "command_closed",
        [TPC_MSG_DEAD_LETTER] = "dead_letter",
        [TPC_MSG_ENTITY] = "entity",
        [TPC_MSG_RAW] = "raw",
        [TPC_MSG_ALERT] = "alert",
        [TPC_MSG_NOTIFY] = "notify",
    };
    return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : names[TPC_MSG_UNKNOWN];
}

/*
 * A copy runs twice over its source with the same code: first with ptr NULL, which only counts the
 * bytes, then into a block of that size.
 */
struct block {
    char *ptr;
    size_t used;
};

static void *take(struct block *b, size_t n, size_t align)
{
    size_t at = (b->used + align - 1) / align * align;
    b->used = at + n;
    return b->ptr != NULL ? b->ptr + at : NULL;
}

/* Where n bytes went; "" for none, so that a view never holds NULL. */
static const void *copy_bytes(struct block *b, const void *p, size_t n)
{
    if (n == 0) {
        return "";
    }
    void *to = take(b, n, 1);
    if (to != NULL) {
        memcpy(to, p, n);
    }
    return to;
}

static void copy_str(struct block *b, struct tpc_str *s)
{
    s->ptr = copy_bytes(b, s->ptr, s->len);
}

static int copy_value(struct block *b, struct tpc_value *v, uint32_t depth);

/* Item or member i of the container that `v` was; `to` is its place in the copy (NULL: counting).
 */
static int copy_items(struct block *b, struct tpc_value *v, uint32_t depth)
{
    const struct tpc_value *from = v->as.items;
    struct tpc_value *to = take(b, v->len * sizeof(*to), _Alignof(struct tpc_value));
    for (size_t i = 0; i < v->len; i++) {
        struct tpc_value item = from[i];
        int rc = copy_value(b, &item, depth);
        if (rc != 0) {
            return rc;
        }
        if (to != NULL) {
            to[i] = item;
        }
    }
    v->as.items = to;
    return 0;
}

static int copy_members(struct block *b, struct tpc_value *v, uint32_t depth)
{
    const struct tpc_member *from = v->as.members;
    struct tpc_member *to = take(b, v->len * sizeof(*to), _Alignof(struct tpc_member));
    for (size_t i = 0; i < v->len; i++) {
        struct tpc_member member = from[i];
        copy_str(b, &member.key);
        int rc = copy_value(b, &member.value, depth);
        if (rc != 0) {
            return rc;
        }
        if (to != NULL) {
            to[i] = member;
        }
    }
    v->as.members = to;
    return 0;
}

/* Makes *v, so far a copy of the source's struct, point into the block. */
static int copy_value(struct block *b, struct tpc_value *v, uint32_t depth)
{
    switch (v->type) {
    case TPC_NULL:
    case TPC_BOOL:
    case TPC_INT:
    case TPC_DOUBLE:
        return 0;
    case TPC_TEXT:
        v->as.text = copy_bytes(b, v->as.text, v->len);
        return 0;
    case TPC_BLOB:
        v->as.blob = copy_bytes(b, v->as.blob, v->len);
        return 0;
    case TPC_ARRAY:
    case TPC_MAP:
        if (depth == TPI_MSG_MAX_DEPTH) {
            return TPC_EINVAL;
        }
        if (v->len == 0) {
            v->as.items = NULL;
            return 0;
        }
        return v->type == TPC_MAP ? copy_members(b, v, depth + 1) : copy_items(b, v, depth + 1);
    default:
        return TPC_EINVAL;
    }
}

int tpi_value_copy(const struct tpc_value *v, struct tpc_arena *arena, struct tpc_value *ret)
{
    struct block b = { .ptr = NULL };
    struct tpc_value copy = *v;
    int rc = copy_value(&b, &copy, 0);
    if (rc != 0) {
        return rc;
    }
    if (b.used > 0) {
        b.ptr = tpc_arena_take(arena, b.used);
        if (b.ptr == NULL) {
            return TPC_ENOMEM;
        }
        b.used = 0;
        copy = *v;
        copy_value(&b, &copy, 0);
    }
    *ret = copy;
    return 0;
}

/* ---- messages ---- */

/* What stands before a copy: freeing must tell the allocator the size. */
struct dup {
    size_t bytes;
    struct tpc_msg msg;
};

static int copy_points(struct block *b, struct tpc_msg *m)
{
    if (m->point_count == 0) {
        m->points = NULL;
        m->point_size = sizeof(struct tpc_point);
        return 0;
    }
    size_t known =
        m->point_size < sizeof(struct tpc_point) ? m->point_size : sizeof(struct tpc_point);
    struct tpc_point *to =
        take(b, m->point_count * sizeof(struct tpc_point), _Alignof(struct tpc_point));
    for (uint32_t i = 0; i < m->point_count; i++) {
        struct tpc_point point = { .property = 0 };
        memcpy(&point, tpc_msg_point(m, i), known);
        copy_str(b, &point.key);
        int rc = copy_value(b, &point.value, 0);
        if (rc != 0) {
            return rc;
        }
        if (to != NULL) {
            to[i] = point;
        }
    }
    m->points = to;
    m->point_size = sizeof(struct tpc_point);
    return 0;
}

static int copy_msg(struct block *b, struct tpc_msg *m)
{
    struct tpc_str *const texts[] = { &m->tenant, &m->product, &m->device,
                                      &m->name,   &m->origin,  &m->correlation };
    int rc = copy_points(b, m);
    if (rc == 0) {
        rc = copy_value(b, &m->params, 0);
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        copy_str(b, texts[i]);
    }
    m->raw.ptr = copy_bytes(b, m->raw.ptr, m->raw.len);
    return rc;
}

/* The producer's struct as ours: members it does not know are zero. */
static struct tpc_msg as_ours(const struct tpc_msg *msg)
{
    struct tpc_msg ours = { .size = 0 };
    memcpy(&ours, msg, msg->size < sizeof(ours) ? msg->size : sizeof(ours));
    ours.size = sizeof(ours);
    return ours;
}

int tpc_msg_dup(const struct tpc_msg *msg, const struct tpc_allocator *allocator,
                struct tpc_msg **ret)
{
    if (msg == NULL || ret == NULL || msg->size == 0) {
        return TPC_EINVAL;
    }
    struct block b = { .used = sizeof(struct dup) };
    struct tpc_msg copy = as_ours(msg);
    int rc = copy_msg(&b, &copy);
    if (rc != 0) {
        return rc;
    }
    size_t bytes = b.used;
    struct dup *d = tpi_alloc(allocator, bytes);
    if (d == NULL) {
        return TPC_ENOMEM;
    }
    b = (struct block){ .ptr = (char *) d, .used = sizeof(*d) };
    d->bytes = bytes;
    d->msg = as_ours(msg);
    copy_msg(&b, &d->msg);
    *ret = &d->msg;
    return 0;
}

void tpc_msg_free(struct tpc_msg *msg, const struct tpc_allocator *allocator)
{
    if (msg != NULL) {
        struct dup *d = (struct dup *) (void *) ((char *) msg - offsetof(struct dup, msg));
        tpi_free(allocator, d, d->bytes);
    }
}
