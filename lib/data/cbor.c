#include <tpcore/cbor.h>

#include "base/error.h"
#include "data/number.h"
#include "data/tree.h"
#include "data/utf8.h"

#include <cbor.h>

/* An indefinite text or blob whose chunks are being read. */
struct chunks {
    uint32_t type; /* TPC_TEXT or TPC_BLOB; TPC_NULL = none is open */
    uint8_t *ptr;
    size_t len;
    size_t cap;
};

/* A container that is open. */
struct open {
    size_t left; /* items or pairs that still come */
    bool indefinite;
};

struct reader {
    struct tpi_tree tree;
    struct tpc_arena *arena;
    const uint8_t *p; /* the item being read */
    const uint8_t *end;
    struct chunks chunks;
    struct open open[TPI_TREE_DEPTH];
    bool key_done;  /* in a map: its key was read, the value comes */
    bool tagged;    /* a tag was read, what it stands before comes */
    bool duplicate; /* the failure is a key that is there twice */
    int code;
    const char *why;
};

static int fail(struct reader *r, int code, const char *why)
{
    if (r->code == 0) {
        r->code = code;
        r->why = why;
    }
    return code;
}

static bool wants_key(const struct reader *r)
{
    uint32_t depth = r->tree.depth;
    return depth > 0 && r->tree.frames[depth - 1].map && !r->key_done;
}

static void fail_tree(struct reader *r, int rc)
{
    if (rc == TPI_TREE_DUPLICATE) {
        r->duplicate = true;
        fail(r, TPC_EDECODE, "the key is there twice");
    } else if (rc == TPC_ETOOBIG) {
        fail(r, rc, "more than 32 arrays and maps inside one another");
    } else if (rc != 0) {
        fail(r, TPC_ENOMEM, "out of memory");
    }
}

/* One item of the innermost container is whole: close all containers that are complete by it. */
static void item_done(struct reader *r)
{
    r->key_done = false;
    while (r->tree.depth > 0) {
        struct open *o = &r->open[r->tree.depth - 1];
        if (o->indefinite) {
            return;
        }
        if (o->left > 0 && --o->left > 0) {
            return;
        }
        int rc = tpi_tree_close(&r->tree);
        if (rc != 0) {
            fail_tree(r, rc);
            return;
        }
    }
}

static void put_key(struct reader *r, struct tpc_str key)
{
    fail_tree(r, tpi_tree_key(&r->tree, key));
    r->key_done = true;
}

static void put_value(struct reader *r, const struct tpc_value *v)
{
    if (r->chunks.type != TPC_NULL) {
        fail(r, TPC_EDECODE, "a chunk of another type");
        return;
    }
    if (wants_key(r)) {
        fail(r, TPC_EDECODE, "a key must be a text or an integer");
        return;
    }
    struct tpc_value *to = tpi_tree_next(&r->tree);
    if (to == NULL) {
        fail_tree(r, TPC_ENOMEM);
        return;
    }
    *to = *v;
    item_done(r);
}

/* ---- integers ---- */

/* n, or -1 - n if negative. As a key an integer becomes its decimal text. */
static void put_integer(struct reader *r, uint64_t n, bool negative)
{
    bool big = n > (uint64_t) INT64_MAX;
    struct tpc_value v = { .type = big ? TPC_DOUBLE : TPC_INT };
    if (!wants_key(r)) {
        if (big) {
            double above = n == UINT64_MAX ? 0x1p64 : (double) (n + 1);
            v.as.d = negative ? -above : (double) n;
        } else {
            v.as.i = negative ? -1 - (int64_t) n : (int64_t) n;
        }
        put_value(r, &v);
        return;
    }
    if (r->chunks.type != TPC_NULL || big) {
        fail(r, TPC_EDECODE, big ? "an integer key is beyond int64" : "a chunk of another type");
        return;
    }
    char text[TPI_NUMBER_TEXT_BYTES];
    size_t len = tpi_number_print_int(negative ? -1 - (int64_t) n : (int64_t) n, text);
    char *copy = tpc_arena_take(r->arena, len);
    if (copy == NULL) {
        fail(r, TPC_ENOMEM, "out of memory");
        return;
    }
    memcpy(copy, text, len);
    put_key(r, (struct tpc_str){ copy, len });
}

static void on_uint8(void *user, uint8_t n)
{
    put_integer(user, n, false);
}

static void on_uint16(void *user, uint16_t n)
{
    put_integer(user, n, false);
}

static void on_uint32(void *user, uint32_t n)
{
    put_integer(user, n, false);
}

static void on_uint64(void *user, uint64_t n)
{
    put_integer(user, n, false);
}

static void on_negint8(void *user, uint8_t n)
{
    put_integer(user, n, true);
}

static void on_negint16(void *user, uint16_t n)
{
    put_integer(user, n, true);
}

static void on_negint32(void *user, uint32_t n)
{
    put_integer(user, n, true);
}

static void on_negint64(void *user, uint64_t n)
{
    put_integer(user, n, true);
}

/* ---- texts and blobs ---- */

static void put_bytes(struct reader *r, uint32_t type, const uint8_t *p, size_t n)
{
    struct tpc_value v = { .type = type, .len = n };
    if (type == TPC_TEXT && wants_key(r)) {
        put_key(r, (struct tpc_str){ (const char *) p, n });
        return;
    }
    if (type == TPC_TEXT) {
        v.as.text = (const char *) p;
    } else {
        v.as.blob = p;
    }
    put_value(r, &v);
}

static void add_chunk(struct reader *r, const uint8_t *p, size_t n)
{
    struct chunks *c = &r->chunks;
    if (n > c->cap - c->len) {
        size_t cap = c->cap * 2 > c->len + n ? c->cap * 2 : c->len + n;
        uint8_t *ptr = tpc_arena_take(r->arena, cap);
        if (ptr == NULL) {
            fail(r, TPC_ENOMEM, "out of memory");
            return;
        }
        if (c->len > 0) {
            memcpy(ptr, c->ptr, c->len);
        }
        c->ptr = ptr;
        c->cap = cap;
    }
    if (n > 0) {
        memcpy(c->ptr + c->len, p, n);
        c->len += n;
    }
}

static void on_bytes(struct reader *r, uint32_t type, const uint8_t *p, size_t n)
{
    if (type == TPC_TEXT && !tpi_utf8_valid((const char *) p, n)) {
        fail(r, TPC_EDECODE, "the text is not UTF-8");
        return;
    }
    if (r->chunks.type == type) {
        add_chunk(r, p, n);
        return;
    }
    if (r->chunks.type != TPC_NULL) {
        fail(r, TPC_EDECODE, "a chunk of another type");
        return;
    }
    put_bytes(r, type, p, n);
}

static void on_blob(void *user, cbor_data p, size_t n)
{
    on_bytes(user, TPC_BLOB, p, n);
}

static void on_text(void *user, cbor_data p, size_t n)
{
    on_bytes(user, TPC_TEXT, p, n);
}

static void open_chunks(struct reader *r, uint32_t type)
{
    if (r->chunks.type != TPC_NULL) {
        fail(r, TPC_EDECODE, "chunks inside chunks");
        return;
    }
    r->chunks = (struct chunks){ .type = type };
}

static void on_blob_start(void *user)
{
    open_chunks(user, TPC_BLOB);
}

static void on_text_start(void *user)
{
    open_chunks(user, TPC_TEXT);
}

/* ---- arrays and maps ---- */

/* count: items of an array, pairs of a map. */
static void open_container(struct reader *r, bool map, bool indefinite, size_t count)
{
    if (r->chunks.type != TPC_NULL) {
        fail(r, TPC_EDECODE, "a chunk of another type");
        return;
    }
    if (wants_key(r)) {
        fail(r, TPC_EDECODE, "a key must be a text or an integer");
        return;
    }
    int rc = tpi_tree_open(&r->tree, map);
    if (rc != 0) {
        fail_tree(r, rc);
        return;
    }
    r->key_done = false;
    r->open[r->tree.depth - 1] = (struct open){ .left = count, .indefinite = indefinite };
    if (!indefinite && count == 0) {
        rc = tpi_tree_close(&r->tree);
        if (rc != 0) {
            fail_tree(r, rc);
            return;
        }
        item_done(r);
    }
}

/* Each item takes a byte at least: a count above what is left is a lie, whatever follows. */
static void open_counted(struct reader *r, bool map, size_t count)
{
    size_t left = (size_t) (r->end - r->p);
    if (count > (map ? left / 2 : left)) {
        fail(r, TPC_EDECODE, "more items are promised than bytes are left");
        return;
    }
    open_container(r, map, false, count);
}

static void on_array(void *user, size_t count)
{
    open_counted(user, false, count);
}

static void on_map(void *user, size_t count)
{
    open_counted(user, true, count);
}

static void on_array_start(void *user)
{
    open_container(user, false, true, 0);
}

static void on_map_start(void *user)
{
    open_container(user, true, true, 0);
}

static void on_break(void *user)
{
    struct reader *r = user;
    if (r->chunks.type != TPC_NULL) {
        struct chunks c = r->chunks;
        r->chunks.type = TPC_NULL;
        put_bytes(r, c.type, c.ptr != NULL ? c.ptr : (const uint8_t *) "", c.len);
        return;
    }
    uint32_t depth = r->tree.depth;
    if (depth == 0 || !r->open[depth - 1].indefinite || r->key_done || r->tagged) {
        fail(r, TPC_EDECODE, "a break where none can be");
        return;
    }
    int rc = tpi_tree_close(&r->tree);
    if (rc != 0) {
        fail_tree(r, rc);
        return;
    }
    item_done(r);
}

/* ---- the rest ---- */

static void on_tag(void *user, uint64_t tag)
{
    struct reader *r = user;
    (void) tag;
    r->tagged = true;
    if (r->chunks.type != TPC_NULL) {
        fail(r, TPC_EDECODE, "a chunk of another type");
    }
}

static void on_float(void *user, float f)
{
    struct tpc_value v = { .type = TPC_DOUBLE, .as.d = f };
    put_value(user, &v);
}

static void on_double(void *user, double d)
{
    struct tpc_value v = { .type = TPC_DOUBLE, .as.d = d };
    put_value(user, &v);
}

static void on_bool(void *user, bool b)
{
    struct tpc_value v = { .type = TPC_BOOL, .as.b = b };
    put_value(user, &v);
}

static void on_null(void *user)
{
    struct tpc_value v = { .type = TPC_NULL };
    put_value(user, &v);
}

static void on_undefined(void *user)
{
    fail(user, TPC_EDECODE, "a simple value other than false, true and null");
}

static const struct cbor_callbacks callbacks = {
    .uint8 = on_uint8,
    .uint16 = on_uint16,
    .uint32 = on_uint32,
    .uint64 = on_uint64,
    .negint8 = on_negint8,
    .negint16 = on_negint16,
    .negint32 = on_negint32,
    .negint64 = on_negint64,
    .byte_string_start = on_blob_start,
    .byte_string = on_blob,
    .string_start = on_text_start,
    .string = on_text,
    .indef_array_start = on_array_start,
    .array_start = on_array,
    .indef_map_start = on_map_start,
    .map_start = on_map,
    .tag = on_tag,
    .float2 = on_float,
    .float4 = on_float,
    .float8 = on_double,
    .undefined = on_undefined,
    .null = on_null,
    .boolean = on_bool,
    .indef_break = on_break,
};

static int report(const struct reader *r, const uint8_t *begin, struct tpc_error *err)
{
    tpi_error_set(err, r->code, "cbor", "%s", r->why);
    if (err != NULL) {
        err->column = (uint32_t) (r->p - begin) + 1;
        if (r->duplicate) {
            tpi_tree_path(&r->tree, err->path, sizeof(err->path));
        }
    }
    return r->code;
}

enum { MAJOR_BLOB = 2, MAJOR_MAP = 5, MAJOR_TAG = 6, EIGHT_BYTES = 27 }; /* RFC 8949 section 3 */

/* libcbor counts in size_t and cuts off what is above: a promise of over 4 GiB. */
static bool promise_cut_off(const uint8_t *item, size_t left)
{
    int major = left > 8 ? *item >> 5 : 0;
    return sizeof(size_t) < sizeof(uint64_t) && major >= MAJOR_BLOB && major <= MAJOR_MAP &&
           (*item & 31) == EIGHT_BYTES && (item[1] | item[2] | item[3] | item[4]) != 0;
}

/* Reads items until the top one is whole. */
static void read_item(struct reader *r)
{
    while (r->code == 0 && !tpi_tree_whole(&r->tree)) {
        const uint8_t *item = r->p;
        size_t left = (size_t) (r->end - item);
        if (promise_cut_off(item, left)) {
            fail(r, TPC_EDECODE, "more is promised than bytes are left");
            return;
        }
        struct cbor_decoder_result got = cbor_stream_decode(item, left, &callbacks, r);
        if (got.status == CBOR_DECODER_NEDATA || left == 0) {
            fail(r, TPC_EDECODE, "the bytes end inside an item");
        } else if (got.status == CBOR_DECODER_ERROR) {
            fail(r, TPC_EDECODE, "no item starts with this byte");
        }
        if (r->code == 0) {
            r->p = item + got.read;
            r->tagged = *item >> 5 == MAJOR_TAG;
        }
    }
}

int tpc_cbor_parse(struct tpc_arena *arena, struct tpc_bytes bytes, struct tpc_error *err,
                   struct tpc_value *ret)
{
    struct reader r;
    if (arena == NULL || ret == NULL || (bytes.ptr == NULL && bytes.len != 0)) {
        return tpi_error_set(err, TPC_EINVAL, "cbor", "arena and ret must not be NULL");
    }
    static const uint8_t nothing[1] = { 0 };
    const uint8_t *begin = bytes.ptr != NULL ? bytes.ptr : nothing;
    tpi_tree_init(&r.tree, arena, false);
    r.arena = arena;
    r.p = begin;
    r.end = begin + bytes.len;
    r.chunks = (struct chunks){ .type = TPC_NULL };
    r.key_done = false;
    r.tagged = false;
    r.duplicate = false;
    r.code = 0;
    r.why = "";
    read_item(&r);
    if (r.code == 0 && r.p != r.end) {
        fail(&r, TPC_EDECODE, "bytes follow the item");
    }
    if (r.code != 0) {
        return report(&r, begin, err);
    }
    *ret = r.tree.slots[0].value;
    return 0;
}

/* ---- writing ---- */

struct out {
    uint8_t *ptr;
    size_t cap;
    size_t len;
    uint32_t depth;
};

static void put(struct out *o, const void *p, size_t n)
{
    if (o->len <= o->cap && n <= o->cap - o->len && n > 0) {
        memcpy(o->ptr + o->len, p, n);
    }
    o->len += n;
}

enum { HEAD_BYTES = 9 };

static void put_text(struct out *o, struct tpc_str s)
{
    uint8_t head[HEAD_BYTES];
    put(o, head, cbor_encode_string_start(s.len, head, sizeof(head)));
    put(o, s.ptr, s.len);
}

static void put_number(struct out *o, const struct tpc_value *v)
{
    uint8_t head[HEAD_BYTES];
    size_t n;
    if (v->type == TPC_DOUBLE) {
        n = cbor_encode_double(v->as.d, head, sizeof(head));
    } else if (v->as.i >= 0) {
        n = cbor_encode_uint((uint64_t) v->as.i, head, sizeof(head));
    } else {
        n = cbor_encode_negint((uint64_t) (-1 - v->as.i), head, sizeof(head));
    }
    put(o, head, n);
}

static int put_any(struct out *o, const struct tpc_value *v);

static int put_container(struct out *o, const struct tpc_value *v)
{
    uint8_t head[HEAD_BYTES];
    int rc = 0;
    if (o->depth == TPI_TREE_DEPTH) {
        return TPC_EINVAL;
    }
    o->depth++;
    if (v->type == TPC_MAP) {
        put(o, head, cbor_encode_map_start(v->len, head, sizeof(head)));
    } else {
        put(o, head, cbor_encode_array_start(v->len, head, sizeof(head)));
    }
    for (size_t i = 0; i < v->len && rc == 0; i++) {
        if (v->type == TPC_MAP) {
            put_text(o, v->as.members[i].key);
            rc = put_any(o, &v->as.members[i].value);
        } else {
            rc = put_any(o, &v->as.items[i]);
        }
    }
    o->depth--;
    return rc;
}

static int put_any(struct out *o, const struct tpc_value *v)
{
    uint8_t head[HEAD_BYTES];
    switch (v->type) {
    case TPC_NULL:
        put(o, head, cbor_encode_null(head, sizeof(head)));
        return 0;
    case TPC_BOOL:
        put(o, head, cbor_encode_bool(v->as.b, head, sizeof(head)));
        return 0;
    case TPC_INT:
    case TPC_DOUBLE:
        put_number(o, v);
        return 0;
    case TPC_TEXT:
        put_text(o, (struct tpc_str){ v->as.text, v->len });
        return 0;
    case TPC_BLOB:
        put(o, head, cbor_encode_bytestring_start(v->len, head, sizeof(head)));
        put(o, v->as.blob, v->len);
        return 0;
    case TPC_ARRAY:
    case TPC_MAP:
        return put_container(o, v);
    default:
        return TPC_EINVAL;
    }
}

int tpc_cbor_write(const struct tpc_value *v, struct tpc_buf *buf)
{
    if (v == NULL || buf == NULL || (buf->ptr == NULL && buf->cap != 0)) {
        return TPC_EINVAL;
    }
    struct out o = { .ptr = buf->ptr, .cap = buf->cap };
    int rc = put_any(&o, v);
    if (rc != 0) {
        return rc;
    }
    buf->need = o.len;
    return o.len > o.cap ? TPC_ETOOBIG : 0;
}
