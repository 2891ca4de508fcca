/* What http-client reads itself: a URL, a header to send, the head of an answer. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "syntax.h"

static void expect(bool ok)
{
    if (!ok) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_str text = { (const char *) data, size };
    struct tpc_http_header h;
    struct tpc_error err;
    char origin[HTTP_ORIGIN_MAX];
    if (http_check_url(text, &err, origin) == 0) {
        char again[HTTP_ORIGIN_MAX];
        expect(memchr(text.ptr, '\n', text.len) == NULL && memchr(text.ptr, ' ', text.len) == NULL);
        /* An origin is a URL with itself as origin. */
        expect(http_check_url(tpc_str_from(origin), &err, again) == 0);
        expect(strcmp(origin, again) == 0);
    }
    size_t pos = 0;
    for (size_t last = 0; http_head_next(text, &pos, &h); last = pos) {
        expect(pos > last && pos <= size && h.name.len > 0);
        expect(h.name.ptr >= text.ptr && h.value.ptr + h.value.len <= text.ptr + text.len);
        if (http_check_header(&h, &err) == 0 && h.value.len > 0) {
            expect(memchr(h.value.ptr, '\r', h.value.len) == NULL);
        }
    }
    (void) http_method_valid(text);
    return 0;
}
