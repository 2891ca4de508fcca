/*
 * A typed value: null, bool, int64, double, text, bytes, array or map, as JSON and CBOR know them.
 *
 * A value is 24 bytes, passed by value or by const pointer, frozen for ever. Scalars stand in it;
 * text, bytes, arrays and maps are views: whoever made the tree says how long it lives (a tree from
 * tpc_json_parse() lives in its arena and, for text without escapes, in the parsed text). Trees are
 * never changed once made. Maps keep the order of their source; keys are unique unless the reader
 * was told otherwise.
 */
#ifndef TPCORE_VALUE_H
#define TPCORE_VALUE_H

#include <stdbool.h>
#include <tpcore/bytes.h>

TPC_BEGIN

enum tpc_type {
    TPC_NULL = 0,
    TPC_BOOL = 1,
    TPC_INT = 2,    /* int64 */
    TPC_DOUBLE = 3, /* finite, unless it came from CBOR or a script */
    TPC_TEXT = 4,   /* UTF-8 */
    TPC_BLOB = 5,   /* bytes; base64 text in JSON */
    TPC_ARRAY = 6,
    TPC_MAP = 7
};

struct tpc_value {
    uint32_t type;     /* enum tpc_type */
    uint32_t reserved; /* 0 */
    size_t len;        /* bytes of text or blob, items of an array, members of a map; else 0 */
    union {
        bool b;
        int64_t i;
        double d;
        const char *text;
        const uint8_t *blob;
        const struct tpc_value *items;
        const struct tpc_member *members;
    } as;
};

struct tpc_member {
    struct tpc_str key;
    struct tpc_value value;
};

/*
 * Member of a map by key.
 *
 * Returns the member's value, or NULL if map is NULL, is no map or has no such key.
 * Ownership: borrowed from the tree.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API const struct tpc_value *tpc_value_get(const struct tpc_value *map, struct tpc_str key);

/*
 * Text of a value as a view; an empty view if it is no text.
 *
 * Returns the view.
 * Ownership: borrowed from the tree.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API struct tpc_str tpc_value_text(const struct tpc_value *v);

/*
 * Number of a value: an int, a double without fraction within int64, or a bool (0/1).
 *
 * Returns 0, or TPC_EINVAL if the value is no such number; *ret is then untouched.
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_value_int(const struct tpc_value *v, int64_t *ret);

/*
 * Number of a value as a double: an int, a double or a bool (0/1).
 *
 * Returns 0, or TPC_EINVAL if the value is no number; *ret is then untouched.
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_value_double(const struct tpc_value *v, double *ret);

/*
 * Whether two values are the same: same type (an int equals a double of the same number), same
 * content; the order of map members does not matter.
 *
 * Returns 1 or 0.
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_value_equal(const struct tpc_value *a, const struct tpc_value *b);

TPC_END

#endif
