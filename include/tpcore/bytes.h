/*
 * Views: bytes, text and ids passed by value. A view owns nothing; it is valid as long as what it
 * points to. Text is UTF-8, has a length and need not end with NUL. Frozen for ever.
 */
#ifndef TPCORE_BYTES_H
#define TPCORE_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <tpcore/export.h>

TPC_BEGIN

struct tpc_bytes {
    const uint8_t *ptr;
    size_t len;
};

struct tpc_str {
    const char *ptr;
    size_t len;
};

/* A caller's buffer. `need` is set to the bytes that the result takes; if need > cap, the call
 * returned TPC_ETOOBIG and ptr's content is undefined. */
struct tpc_buf {
    uint8_t *ptr;
    size_t cap;
    size_t need;
};

/* 16 bytes, ordered by time (UUIDv7, RFC 9562 section 5.7). All zero = none. */
struct tpc_id {
    uint8_t b[16];
};

/* Revisions as conditions of a write. */
#define TPC_ANY_REV UINT64_MAX /* whatever is there, or nothing */
#define TPC_NO_REV 0           /* nothing may be there */

enum { TPC_ID_TEXT_BYTES = 32 }; /* an id as text: lower-case hex without dashes, no NUL counted */

/*
 * TPC_STR("literal") and TPC_STR(char_array): a view without its NUL. A pointer does not compile:
 * use tpc_str_from(). TPC_STR_INIT("literal") is the same for static tables. TPC_BYTES() is the
 * same as bytes.
 *
 * TPC_JSON({...}) turns its argument into a string literal: real JSON in C source, no escapes.
 */
#define TPC_JSON(...) #__VA_ARGS__
#define TPC_STR_INIT(literal)                                                                      \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

#ifdef __cplusplus
TPC_END
template <size_t N> constexpr tpc_str TPC_STR(const char (&text)[N])
{
    return tpc_str{ text, N - 1 };
}
template <size_t N> inline tpc_bytes TPC_BYTES(const char (&text)[N])
{
    return tpc_bytes{ reinterpret_cast<const uint8_t *>(text), N - 1 };
}
TPC_BEGIN
#else
#define TPC_STR(a)                                                                                 \
    _Generic(&(a), char(*)[sizeof(a)]                                                              \
             : (struct tpc_str){ (a), sizeof(a) - 1 }, const char(*)[sizeof(a)]                    \
             : (struct tpc_str){ (a), sizeof(a) - 1 })
#define TPC_BYTES(a)                                                                               \
    _Generic(&(a), char(*)[sizeof(a)]                                                              \
             : (struct tpc_bytes){ (const uint8_t *) (a), sizeof(a) - 1 },                         \
               const char(*)[sizeof(a)]                                                            \
             : (struct tpc_bytes){ (const uint8_t *) (a), sizeof(a) - 1 })
#endif

/*
 * View of a NUL-terminated text; NULL gives the empty view.
 *
 * Returns the view.
 * Ownership: borrowed from text.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API struct tpc_str tpc_str_from(const char *text);

/*
 * Whether two texts are the same bytes.
 *
 * Returns 1 if equal, else 0.
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_str_equal(struct tpc_str a, struct tpc_str b);

/*
 * Id to text: writes TPC_ID_TEXT_BYTES characters and a NUL to ret_text (33 bytes).
 *
 * Returns 0.
 * Ownership: the caller's array.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_id_format(const struct tpc_id *id, char ret_text[33]);

/*
 * Text to id: 32 hex digits, dashes allowed (the usual UUID form).
 *
 * Returns 0 or TPC_EDECODE.
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_id_parse(struct tpc_str text, struct tpc_id *ret);

TPC_END

#endif
