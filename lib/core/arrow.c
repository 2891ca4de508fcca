/*
 * Batches in the Arrow C data interface (https://arrow.apache.org/docs/format/CDataInterface.html);
 * layouts of buffers: https://arrow.apache.org/docs/format/Columnar.html.
 *
 * A consumer may move a child out of its parent and release it by itself, so each node owns just its
 * own buffers, and the list and the structs (not the content) of its children.
 */
#include <stdio.h>
#include <string.h>
#include <tpcore/arrow.h>
#include <tpcore/json.h>

#include "core/core.h"

enum { FIXED_COLUMNS = 2, NAME_BYTES = 64, BUFFERS = 3, JSON_BYTES = 256 };

struct schema_node {
    const struct tpc_allocator *alloc;
    char *name;
    size_t name_bytes;
    struct ArrowSchema **list; /* of children */
    struct ArrowSchema *children;
    int64_t child_count;
    struct ArrowSchema dictionary;
};

struct array_node {
    const struct tpc_allocator *alloc;
    void *buffers[BUFFERS];
    const void *views[BUFFERS]; /* the same */
    size_t bytes[BUFFERS];
    struct ArrowArray **list;
    struct ArrowArray *children;
    int64_t child_count;
    struct ArrowArray dictionary;
};

/* ---- release ---- */

static void schema_release(struct ArrowSchema *s)
{
    struct schema_node *n = s->private_data;
    const struct tpc_allocator *a = n->alloc;
    for (int64_t i = 0; n->children != NULL && i < n->child_count; i++) {
        if (n->children[i].release != NULL) {
            n->children[i].release(&n->children[i]);
        }
    }
    if (n->dictionary.release != NULL) {
        n->dictionary.release(&n->dictionary);
    }
    tpi_free(a, n->list, (size_t) n->child_count * sizeof(*n->list));
    tpi_free(a, n->children, (size_t) n->child_count * sizeof(*n->children));
    tpi_free(a, n->name, n->name_bytes);
    tpi_free(a, n, sizeof(*n));
    s->release = NULL;
}

static void array_release(struct ArrowArray *array)
{
    struct array_node *n = array->private_data;
    const struct tpc_allocator *a = n->alloc;
    for (int64_t i = 0; n->children != NULL && i < n->child_count; i++) {
        if (n->children[i].release != NULL) {
            n->children[i].release(&n->children[i]);
        }
    }
    if (n->dictionary.release != NULL) {
        n->dictionary.release(&n->dictionary);
    }
    for (int i = 0; i < BUFFERS; i++) {
        tpi_free(a, n->buffers[i], n->bytes[i]);
    }
    tpi_free(a, n->list, (size_t) n->child_count * sizeof(*n->list));
    tpi_free(a, n->children, (size_t) n->child_count * sizeof(*n->children));
    tpi_free(a, n, sizeof(*n));
    array->release = NULL;
}

/* ---- nodes: what is made so far is released by the caller of the whole ---- */

static int schema_init(struct ArrowSchema *s, const struct tpc_allocator *a, const char *format,
                       struct tpc_str name, int64_t children)
{
    struct schema_node *n = tpi_alloc_zero(a, sizeof(*n));
    if (n == NULL) {
        return TPC_ENOMEM;
    }
    memset(s, 0, sizeof(*s));
    n->alloc = a;
    n->child_count = children;
    n->name_bytes = name.len + 1;
    n->name = tpi_str_dup(a, name);
    if (children > 0) {
        n->list = tpi_alloc_array(a, (size_t) children, sizeof(*n->list));
        n->children = tpi_alloc_array(a, (size_t) children, sizeof(*n->children));
    }
    s->format = format;
    s->name = n->name;
    s->private_data = n;
    s->release = schema_release;
    if (n->name == NULL || (children > 0 && (n->list == NULL || n->children == NULL))) {
        s->release(s);
        return TPC_ENOMEM;
    }
    for (int64_t i = 0; i < children; i++) {
        n->list[i] = &n->children[i];
    }
    s->n_children = children;
    s->children = n->list;
    return 0;
}

static int array_init(struct ArrowArray *s, const struct tpc_allocator *a, int64_t length,
                      int64_t buffers, int64_t children)
{
    struct array_node *n = tpi_alloc_zero(a, sizeof(*n));
    if (n == NULL) {
        return TPC_ENOMEM;
    }
    memset(s, 0, sizeof(*s));
    n->alloc = a;
    n->child_count = children;
    if (children > 0) {
        n->list = tpi_alloc_array(a, (size_t) children, sizeof(*n->list));
        n->children = tpi_alloc_array(a, (size_t) children, sizeof(*n->children));
    }
    s->length = length;
    s->n_buffers = buffers;
    s->buffers = n->views;
    s->private_data = n;
    s->release = array_release;
    if (children > 0 && (n->list == NULL || n->children == NULL)) {
        s->release(s);
        return TPC_ENOMEM;
    }
    for (int64_t i = 0; i < children; i++) {
        n->list[i] = &n->children[i];
    }
    s->n_children = children;
    s->children = n->list;
    return 0;
}

/* A buffer of the node, cleared, at least one byte. NULL when out of memory. */
static void *buffer(struct ArrowArray *s, int index, size_t bytes)
{
    struct array_node *n = s->private_data;
    n->bytes[index] = bytes + 1;
    n->buffers[index] = tpi_alloc_zero(n->alloc, bytes + 1);
    n->views[index] = n->buffers[index];
    return n->buffers[index];
}

/* ---- values ---- */

static bool is_number(uint32_t type)
{
    return type == TPC_BOOL || type == TPC_INT || type == TPC_DOUBLE;
}

static bool only_numbers(const struct tpc_column *c, uint32_t rows)
{
    struct tpc_value v;
    for (uint32_t i = 0; i < rows; i++) {
        if (tpc_column_value(c, i, &v) == 1 && !is_number(v.type)) {
            return false;
        }
    }
    return true;
}

static const char *format_of(const struct tpc_column *c, uint32_t rows)
{
    switch (c->type) {
    case TPC_NULL:
        return "n";
    case TPC_BOOL:
        return "b";
    case TPC_INT:
        return "l";
    case TPC_DOUBLE:
        return "g";
    case TPC_BLOB:
        return "z";
    case TPC_COLUMN_MIXED:
        return only_numbers(c, rows) ? "g" : "u";
    default:
        return "u";
    }
}

static int put_numbers(struct ArrowArray *s, const struct tpc_column *c, uint32_t rows)
{
    size_t size = c->type == TPC_BOOL ? 0 : sizeof(double);
    uint8_t *out = buffer(s, 1, c->type == TPC_BOOL ? (rows + 7) / 8 : rows * size);
    if (out == NULL) {
        return TPC_ENOMEM;
    }
    if (c->type == TPC_INT || c->type == TPC_DOUBLE) {
        memcpy(out, c->type == TPC_INT ? (const void *) c->ints : (const void *) c->doubles,
               rows * size);
        return 0;
    }
    for (uint32_t i = 0; i < rows; i++) {
        struct tpc_value v;
        double x = 0;
        if (c->type == TPC_BOOL) {
            out[i / 8] |= (uint8_t) (c->bools[i] << (i % 8));
        } else if (tpc_column_value(c, i, &v) == 1) {
            (void) tpc_value_double(&v, &x);
            memcpy(out + i * sizeof(x), &x, sizeof(x));
        }
    }
    return 0;
}

/* The bytes of a value: its own, or its JSON in `text`. */
static int bytes_of(const struct tpc_value *v, bool json, struct tpi_buf *text,
                    struct tpc_bytes *ret)
{
    if (!json) {
        *ret = (struct tpc_bytes){ v->as.blob, v->len };
        return 0;
    }
    int rc = TPC_ETOOBIG;
    for (size_t room = JSON_BYTES; rc == TPC_ETOOBIG; room *= 2) {
        struct tpc_buf out = { NULL, 0, 0 };
        tpi_buf_clear(text);
        rc = tpi_buf_reserve(text, room);
        if (rc != 0) {
            return rc;
        }
        out.ptr = text->ptr;
        out.cap = text->cap;
        rc = tpc_json_write(v, 0, &out);
        *ret = (struct tpc_bytes){ text->ptr, out.need };
    }
    return rc;
}

/* Two passes: sizes, then bytes. */
static int put_texts(struct ArrowArray *s, const struct tpc_column *c, uint32_t rows)
{
    struct array_node *n = s->private_data;
    bool json = c->type != TPC_TEXT && c->type != TPC_BLOB;
    int32_t *offsets = buffer(s, 1, ((size_t) rows + 1) * sizeof(*offsets));
    struct tpi_buf text;
    struct tpi_buf all;
    int rc = offsets != NULL ? 0 : TPC_ENOMEM;
    tpi_buf_init(&text, n->alloc, 0);
    tpi_buf_init(&all, n->alloc, INT32_MAX);
    for (uint32_t i = 0; rc == 0 && i < rows; i++) {
        struct tpc_value v;
        struct tpc_bytes bytes = { NULL, 0 };
        if (tpc_column_value(c, i, &v) == 1) {
            rc = bytes_of(&v, json, &text, &bytes);
        }
        if (rc == 0 && bytes.len > 0) {
            rc = tpi_buf_put(&all, bytes.ptr, bytes.len);
        }
        offsets[i + 1] = (int32_t) all.len;
    }
    tpi_buf_fini(&text);
    size_t len;
    n->buffers[2] = tpi_buf_steal(&all, &len, &n->bytes[2]);
    n->views[2] = n->buffers[2];
    if (rc == 0 && n->buffers[2] == NULL) {
        rc = buffer(s, 2, 0) != NULL ? 0 : TPC_ENOMEM;
    }
    return rc;
}

static int put_column(struct ArrowArray *s, const struct tpc_allocator *a,
                      const struct tpc_column *c, uint32_t rows)
{
    const char *format = format_of(c, rows);
    bool null = *format == 'n';
    bool text = *format == 'u' || *format == 'z';
    int rc = array_init(s, a, rows, null ? 0 : text ? 3 : 2, 0);
    if (rc != 0 || null) {
        s->null_count = rows;
        return rc;
    }
    s->null_count = c->missing;
    if (c->missing > 0) {
        void *bits = buffer(s, 0, ((size_t) rows + 7) / 8);
        if (bits == NULL) {
            return TPC_ENOMEM;
        }
        memcpy(bits, c->validity, ((size_t) rows + 7) / 8);
    }
    return text ? put_texts(s, c, rows) : put_numbers(s, c, rows);
}

/* ---- the two fixed columns ---- */

static int put_times(struct ArrowArray *s, const struct tpc_allocator *a,
                     const struct tpc_row_batch *b)
{
    int rc = array_init(s, a, b->count, 2, 0);
    void *out = rc == 0 ? buffer(s, 1, b->count * sizeof(*b->unix_ms)) : NULL;
    if (out == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(out, b->unix_ms, b->count * sizeof(*b->unix_ms));
    return 0;
}

static int put_device(struct ArrowArray *s, const struct tpc_allocator *a,
                      const struct tpc_row_batch *b)
{
    int rc = array_init(s, a, b->count, 2, 0);
    if (rc != 0 || buffer(s, 1, b->count * sizeof(int32_t)) == NULL) {
        return TPC_ENOMEM;
    }
    struct ArrowArray *d = &((struct array_node *) s->private_data)->dictionary;
    rc = array_init(d, a, 1, 3, 0);
    if (rc != 0) {
        return rc;
    }
    s->dictionary = d;
    int32_t *offsets = buffer(d, 1, 2 * sizeof(*offsets));
    char *text = buffer(d, 2, b->device.len);
    if (offsets == NULL || text == NULL) {
        return TPC_ENOMEM;
    }
    offsets[1] = (int32_t) b->device.len;
    memcpy(text, b->device.ptr, b->device.len);
    return 0;
}

/* ---- the whole ---- */

/* ".avg", ".p99.9" */
static void suffix_of(const struct tpc_column *c, char *ret)
{
    static const char *const names[] = { "",     ".count", ".min",  ".max",        ".sum",
                                         ".avg", ".first", ".last", ".first_time", ".last_time" };
    if (c->aggregate == TPC_AGG_PERCENTILE) {
        snprintf(ret, NAME_BYTES, ".p%g", c->percent);
    } else {
        snprintf(ret, NAME_BYTES, "%s",
                 c->aggregate < TPC_AGG_PERCENTILE ? names[c->aggregate] : "");
    }
}

static int column_schema(struct ArrowSchema *s, const struct tpc_allocator *a,
                         const struct tpc_column *c, uint32_t rows)
{
    char suffix[NAME_BYTES];
    struct tpi_buf name;
    suffix_of(c, suffix);
    tpi_buf_init(&name, a, 0);
    int rc = tpi_buf_text(&name, c->property);
    rc = rc != 0 ? rc : tpi_buf_text(&name, tpc_str_from(suffix));
    if (rc == 0) {
        struct tpc_str text = { (const char *) name.ptr, name.len };
        rc = schema_init(s, a, format_of(c, rows), text, 0);
    }
    tpi_buf_fini(&name);
    return rc;
}

static const struct tpc_column *column_at(const struct tpc_row_batch *b, uint32_t i)
{
    const char *at = (const char *) b->columns + (size_t) i * b->column_size;
    return (const struct tpc_column *) (const void *) at;
}

static int make_schema(struct ArrowSchema *s, const struct tpc_allocator *a,
                       const struct tpc_row_batch *b)
{
    int rc = schema_init(s, a, "+s", TPC_STR(""), FIXED_COLUMNS + (int64_t) b->column_count);
    if (rc != 0) {
        return rc;
    }
    struct ArrowSchema *device = s->children[0];
    rc = schema_init(device, a, "i", TPC_STR("device"), 0);
    if (rc == 0) {
        struct ArrowSchema *d = &((struct schema_node *) device->private_data)->dictionary;
        rc = schema_init(d, a, "u", TPC_STR(""), 0);
        device->dictionary = rc == 0 ? d : NULL;
    }
    rc = rc != 0 ? rc : schema_init(s->children[1], a, "tsm:UTC", TPC_STR("unix_ms"), 0);
    for (uint32_t i = 0; rc == 0 && i < b->column_count; i++) {
        struct ArrowSchema *child = s->children[FIXED_COLUMNS + i];
        rc = column_schema(child, a, column_at(b, i), b->count);
        child->flags = ARROW_FLAG_NULLABLE;
    }
    if (rc != 0) {
        s->release(s);
    }
    return rc;
}

static int make_array(struct ArrowArray *s, const struct tpc_allocator *a,
                      const struct tpc_row_batch *b)
{
    int rc = array_init(s, a, b->count, 1, FIXED_COLUMNS + (int64_t) b->column_count);
    if (rc != 0) {
        return rc;
    }
    rc = put_device(s->children[0], a, b);
    rc = rc != 0 ? rc : put_times(s->children[1], a, b);
    for (uint32_t i = 0; rc == 0 && i < b->column_count; i++) {
        rc = put_column(s->children[FIXED_COLUMNS + i], a, column_at(b, i), b->count);
    }
    if (rc != 0) {
        s->release(s);
    }
    return rc;
}

int tpc_arrow_export(const struct tpc_row_batch *batch, const struct tpc_allocator *allocator,
                     struct ArrowSchema *ret_schema, struct ArrowArray *ret_array)
{
    const struct tpc_allocator *a = allocator != NULL ? allocator : tpc_allocator_default();
    struct ArrowSchema schema;
    struct ArrowArray array;
    if (batch == NULL || ret_schema == NULL || ret_array == NULL) {
        return tpi_fail(TPC_EINVAL, "history", "batch or ret is NULL");
    }
    int rc = make_schema(&schema, a, batch);
    if (rc == 0) {
        rc = make_array(&array, a, batch);
        if (rc != 0) {
            schema.release(&schema);
        }
    }
    if (rc != 0) {
        return tpi_fail(rc, "history",
                        rc == TPC_ENOMEM ? "no memory for the exported batch"
                                         : "the batch cannot be exported");
    }
    *ret_schema = schema;
    *ret_array = array;
    return 0;
}
