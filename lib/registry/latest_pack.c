/* Latest values as bytes: docs/format/history.md, "Latest values". */
#include <string.h>
#include <tpcore/cbor.h>

#include "base/buf.h"
#include "registry/inside.h"

enum { PACK_VERSION = 1, BY_REFERENCE = 16, DOUBT_MS = 60000 };

/* A device's values on their way into a buffer. */
struct pack {
    struct tpc_device *device;
    const struct tpi_model *model;
    struct tpi_buf *out;
    struct tpi_buf scratch; /* a copy of a text or tree, then a tree as CBOR behind it */
    size_t room;            /* bytes that values may still take */
    int64_t newest;
    uint32_t count;
    uint16_t last_id;
};

static int put_scalar(struct tpi_buf *b, const struct tpc_value *v)
{
    uint64_t bits;
    if (v->type == TPC_BOOL) {
        return tpi_buf_u8(b, v->as.b ? 1 : 0);
    }
    if (v->type == TPC_INT) {
        return tpi_buf_zigzag(b, v->as.i);
    }
    memcpy(&bits, &v->as.d, sizeof(bits));
    return tpi_buf_u64(b, bits);
}

/* Whole text; a tree as CBOR behind its copy in scratch. */
static int long_bytes(struct pack *k, const struct tpc_value *v, struct tpc_bytes *ret)
{
    if (v->type == TPC_TEXT || v->type == TPC_BLOB) {
        *ret = (struct tpc_bytes){ (const uint8_t *) v->as.text, v->len };
        return 0;
    }
    struct tpc_buf size = { NULL, 0, 0 };
    struct tpi_buf cbor;
    (void) tpc_cbor_write(v, &size);
    if (size.need > k->room) {
        *ret = (struct tpc_bytes){ NULL, size.need };
        return 0;
    }
    tpi_buf_init(&cbor, k->scratch.alloc, 0);
    int rc = tpi_buf_reserve(&cbor, size.need);
    struct tpc_buf to = { cbor.ptr, size.need, 0 };
    rc = rc != 0 ? rc : tpc_cbor_write(v, &to);
    if (rc == 0) {
        size_t at = k->scratch.len;
        rc = tpi_buf_put(&k->scratch, to.ptr, to.need);
        *ret = (struct tpc_bytes){ k->scratch.ptr + at, to.need };
    }
    tpi_buf_fini(&cbor);
    return rc;
}

static int put_head(struct pack *k, uint16_t id, uint32_t type, int64_t unix_ms)
{
    int rc = tpi_buf_zigzag(k->out, (int64_t) id - k->last_id);
    rc = rc != 0 ? rc : tpi_buf_u8(k->out, (uint8_t) type);
    rc = rc != 0 ? rc : tpi_buf_varint(k->out, (uint64_t) k->newest - (uint64_t) unix_ms);
    k->last_id = id;
    k->count++;
    return rc;
}

static int put_value(struct pack *k, uint16_t id, const struct tpc_value *v, int64_t unix_ms)
{
    size_t before = k->out->len;
    struct tpc_bytes bytes = { NULL, 0 };
    bool scalar = v->type <= TPC_DOUBLE;
    int rc = scalar ? 0 : long_bytes(k, v, &bytes);
    if (rc != 0) {
        return rc;
    }
    if (k->room < (scalar ? 10 : bytes.len + 10)) {
        return put_head(k, id, v->type | BY_REFERENCE, unix_ms);
    }
    rc = put_head(k, id, v->type, unix_ms);
    if (rc == 0 && scalar) {
        rc = put_scalar(k->out, v);
    } else if (rc == 0) {
        rc = tpi_buf_varint(k->out, bytes.len);
        rc = rc != 0 ? rc : tpi_buf_put(k->out, bytes.ptr, bytes.len);
    }
    size_t used = k->out->len - before;
    k->room -= used < k->room ? used : k->room;
    return rc;
}

/* The value of a property, copied. TPC_ENOENT: it has none. */
static int get_value(struct pack *k, uint32_t index, struct tpc_value *ret, int64_t *ret_unix_ms)
{
    int rc;
    for (;;) {
        struct tpc_buf buf = { k->scratch.ptr, k->scratch.cap, 0 };
        rc = tpi_device_latest_copy(k->device, index, &buf, ret, ret_unix_ms);
        if (rc != TPC_ETOOBIG) {
            k->scratch.len = buf.need;
            return rc;
        }
        tpi_buf_clear(&k->scratch);
        rc = tpi_buf_reserve(&k->scratch, buf.need);
        if (rc != 0) {
            return rc;
        }
    }
}

/* The newest time of all: times are told as the distance to it. False: no values. */
static bool find_newest(struct pack *k, uint32_t count)
{
    const struct tpi_latest *l = atomic_load_explicit(&k->device->latest, memory_order_acquire);
    bool any = false;
    for (uint32_t i = 0; l != NULL && i < count; i++) {
        int64_t unix_ms = atomic_load_explicit(&l[i].unix_ms, memory_order_acquire);
        if (unix_ms != TPI_LATEST_NONE && (!any || unix_ms > k->newest)) {
            k->newest = unix_ms;
            any = true;
        }
    }
    return any;
}

static int pack_values(struct pack *k, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct tpi_property *p = tpi_model_property(k->model, i);
        struct tpc_value v;
        int64_t unix_ms = 0;
        int rc = get_value(k, i, &v, &unix_ms);
        if (rc == 0) {
            rc = put_value(k, p->id, &v, unix_ms);
        }
        if (rc != 0 && rc != TPC_ENOENT) {
            return rc;
        }
    }
    return 0;
}

int tpi_device_latest_pack(struct tpc_device *d, struct tpi_buf *out)
{
    struct pack k = { .device = d, .model = d->product->model, .out = out };
    size_t before = out->len;
    uint32_t count = tpi_model_property_count(k.model);
    int64_t seen = atomic_load_explicit(&d->last_seen_unix_ms, memory_order_relaxed);
    if (!find_newest(&k, count) && seen == 0) {
        return 0;
    }
    k.room = TPI_LATEST_PACK_BYTES;
    tpi_buf_init(&k.scratch, d->tenant->registry->env->alloc, 0);
    int rc = tpi_buf_u8(out, PACK_VERSION);
    rc = rc != 0 ? rc : tpi_buf_varint(out, d->product->id);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, seen);
    rc = rc != 0 ? rc : tpi_buf_zigzag(out, k.newest);
    rc = rc != 0 ? rc : pack_values(&k, count);
    tpi_buf_fini(&k.scratch);
    if (rc != 0) {
        out->len = before;
    }
    return rc;
}

/* ---- back ---- */

struct unpack {
    struct tpc_device *device;
    struct tpi_reader r;
    struct tpc_arena *arena;
    tpi_latest_missing_fn *missing;
    void *user;
    int64_t newest;
    int64_t before; /* of the device's times */
    uint16_t id;
};

static int read_long(struct unpack *u, uint32_t type, struct tpc_value *ret)
{
    uint64_t n = tpi_read_varint(&u->r);
    const uint8_t *p = tpi_read_bytes(&u->r, n);
    size_t len = (size_t) n;
    if (p == NULL) {
        return TPC_ECORRUPT;
    }
    if (type == TPC_TEXT || type == TPC_BLOB) {
        *ret = (struct tpc_value){ type, 0, len, { .text = (const char *) p } };
        return 0;
    }
    int rc = tpc_cbor_parse(u->arena, (struct tpc_bytes){ p, len }, NULL, ret);
    if (rc != 0 && rc != TPC_ENOMEM) {
        return TPC_ECORRUPT;
    }
    return rc == 0 && ret->type != type ? TPC_ECORRUPT : rc;
}

static int read_value(struct unpack *u, uint32_t type, struct tpc_value *ret)
{
    uint64_t bits;
    *ret = (struct tpc_value){ type, 0, 0, { .i = 0 } };
    switch (type) {
    case TPC_BOOL:
        ret->as.b = tpi_read_u8(&u->r) != 0;
        return 0;
    case TPC_INT:
        ret->as.i = tpi_read_zigzag(&u->r);
        return 0;
    case TPC_DOUBLE:
        bits = tpi_read_u64(&u->r);
        memcpy(&ret->as.d, &bits, sizeof(bits));
        return 0;
    default:
        return type <= TPC_MAP && type != TPC_NULL ? read_long(u, type, ret) : TPC_ECORRUPT;
    }
}

/*
 * The device's clock may be wrong, but its newest value came about when it was last seen: so far is
 * its clock from ours. A minute of doubt.
 */
static int64_t device_time(int64_t unix_ms, int64_t newest, int64_t seen)
{
    int64_t at;
    if (__builtin_sub_overflow(unix_ms, seen, &at) || __builtin_add_overflow(at, newest, &at) ||
        __builtin_sub_overflow(at, DOUBT_MS, &at)) {
        return INT64_MIN;
    }
    return at;
}

/* A property that the model has no more is passed over, and so is one that is newer here. */
static int unpack_value(struct unpack *u, bool same)
{
    struct tpc_value v = { TPC_NULL, 0, 0, { .i = 0 } };
    u->id = (uint16_t) (u->id + tpi_read_zigzag(&u->r));
    uint32_t type = tpi_read_u8(&u->r);
    int64_t unix_ms = (int64_t) ((uint64_t) u->newest - tpi_read_varint(&u->r));
    bool missing = (type & BY_REFERENCE) != 0;
    int rc = missing || u->r.bad ? 0 : read_value(u, type, &v);
    if (rc != 0 || u->r.bad) {
        return rc != 0 ? rc : TPC_ECORRUPT;
    }
    int index = same ? tpi_model_find_id(u->device->product->model, u->id) : -1;
    struct tpc_value present;
    int64_t present_ms = 0;
    if (index < 0 || (u->before != INT64_MAX && unix_ms >= u->before) ||
        (tpi_device_latest_peek(u->device, (uint32_t) index, &present, &present_ms) == 0 &&
         present_ms >= unix_ms)) {
        return 0;
    }
    if (missing) {
        return u->missing == NULL ? 0 : u->missing(u->user, u->device, u->id, unix_ms);
    }
    rc = tpi_device_latest_set(u->device, (uint32_t) index, &v, unix_ms);
    return rc == TPC_EINVAL ? TPC_ECORRUPT : rc;
}

int tpi_device_latest_unpack(struct tpc_device *d, struct tpc_bytes data, int64_t before_unix_ms,
                             struct tpc_arena *arena, tpi_latest_missing_fn *missing, void *user)
{
    struct unpack u = { .device = d, .arena = arena, .missing = missing, .user = user };
    tpi_reader_init(&u.r, data.ptr, data.len);
    if (tpi_read_u8(&u.r) != PACK_VERSION) {
        return TPC_EVERSION;
    }
    bool same = tpi_read_varint(&u.r) == d->product->id;
    int64_t seen = tpi_read_zigzag(&u.r);
    u.newest = tpi_read_zigzag(&u.r);
    if (u.r.bad) {
        return TPC_ECORRUPT;
    }
    u.before = seen < before_unix_ms ? INT64_MAX : device_time(before_unix_ms, u.newest, seen);
    if (seen > atomic_load_explicit(&d->last_seen_unix_ms, memory_order_relaxed)) {
        atomic_store_explicit(&d->last_seen_unix_ms, seen, memory_order_relaxed);
    }
    int rc = 0;
    while (rc == 0 && tpi_reader_left(&u.r) > 0) {
        rc = unpack_value(&u, same);
    }
    return rc;
}
