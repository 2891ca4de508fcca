/* What smtp writes: whatever a text holds, it stays in its header or in the body. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mail.h"

static void expect(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* Lines end with CR LF, have at most 998 bytes of printable ASCII (or a tab), and those after the first of a header begin
 * with a space. */
static void check_lines(const struct tpi_buf *b, bool folded)
{
    size_t begin = 0;
    for (size_t i = 0; i < b->len; i++) {
        unsigned char c = b->ptr[i];
        if (c == '\r') {
            expect(i + 1 < b->len && b->ptr[i + 1] == '\n' && i - begin <= 998);
            begin = i + 2;
            i++;
            expect(!folded || (begin < b->len && b->ptr[begin] == ' '));
        } else {
            expect((c >= 0x20 && c < 0x7f) || (c == '\t' && !folded));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_str text = { (const char *) data, size };
    char url[MAIL_URL_MAX];
    struct tpc_error err;
    struct tpi_buf b;
    if (size == 0) {
        return 0;
    }
    tpi_buf_init(&b, NULL, 0);
    expect(mail_words(&b, text) == 0);
    check_lines(&b, true);
    tpi_buf_clear(&b);
    expect(mail_quoted(&b, text) == 0);
    check_lines(&b, false);
    tpi_buf_clear(&b);
    if (mail_address_valid(text)) {
        struct mail m = { .from = text, .to = &text, .to_count = 1, .subject = text, .body = text };
        expect(memchr(data, 0x0a, size) == NULL && memchr(data, 0x3e, size) == NULL);
        expect(mail_write(&b, &m) == 0);
        check_lines(&b, false);
    }
    if (mail_url(text, TPC_STR(""), &err, url) == 0) {
        expect(strpbrk(url, "\r\n @?#") == NULL);
    }
    tpi_buf_fini(&b);
    return 0;
}
