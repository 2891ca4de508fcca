#include "registry/about.h"

#include <string.h>

#define SEPARATOR '\x1F' /* in no key */

static size_t put(char *buf, size_t at, struct tpc_str s)
{
    size_t n = s.len < TPI_OPTION_MAX_KEY ? s.len : TPI_OPTION_MAX_KEY;
    if (n > 0) {
        memcpy(buf + at, s.ptr, n);
    }
    return at + n;
}

struct tpc_str tpi_about_write(char buf[TPI_ABOUT_BYTES], struct tpc_str tenant,
                               struct tpc_str product, struct tpc_str device)
{
    size_t at = put(buf, 0, tenant);
    buf[at++] = SEPARATOR;
    at = put(buf, at, product);
    buf[at++] = SEPARATOR;
    return (struct tpc_str){ buf, put(buf, at, device) };
}

/* Up to the next separator; what is left of the text is behind it. */
static struct tpc_str next(struct tpc_str *text)
{
    const char *end = text->len > 0 ? memchr(text->ptr, SEPARATOR, text->len) : NULL;
    struct tpc_str word = *text;
    if (end == NULL) {
        text->len = 0;
        return word;
    }
    word.len = (size_t) (end - word.ptr);
    text->len -= word.len + 1;
    text->ptr = end + 1;
    return word;
}

bool tpi_about_take(struct tpc_msg *m)
{
    struct tpc_str rest = m->correlation;
    m->correlation = TPC_STR("");
    if (m->tenant.len > 0 || rest.len == 0) {
        return m->tenant.len > 0;
    }
    m->tenant = next(&rest);
    m->product = next(&rest);
    m->device = next(&rest);
    return m->tenant.len > 0;
}
