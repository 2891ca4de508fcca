/* What is found of an authority file, a certificate chain and a key before they are used: three texts with
 * a byte 1 between them. */
#include "fuzz.h"
#include "pem.h"

#include <string.h>

#include "base/alloc.h"
#include "base/env.h"

static uint8_t *copy(const uint8_t *data, size_t len)
{
    uint8_t *p = tpi_alloc(tpc_allocator_default(), len + 1);
    if (p != NULL) {
        if (len > 0) {
            memcpy(p, data, len);
        }
        p[len] = '\0';
    }
    return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tls_part parts[TLS_ROLES] = { 0 };
    struct tls_summary sum;
    enum tls_role role = TLS_ROLES;
    char why[TLS_TEXT_BYTES] = "";
    for (int i = 0; i < TLS_ROLES && size > 0; i++) {
        const uint8_t *end = i < TLS_KEY ? memchr(data, 1, size) : NULL;
        size_t len = end != NULL ? (size_t) (end - data) : size;
        parts[i].text = len > 0 ? copy(data, len) : NULL;
        parts[i].len = parts[i].text != NULL ? len : 0;
        size -= end != NULL ? len + 1 : size;
        data += end != NULL ? len + 1 : 0;
    }
    uint8_t *before =
        parts[TLS_CERT].text != NULL ? copy(parts[TLS_CERT].text, parts[TLS_CERT].len) : NULL;
    int rc = tls_check(parts, tpi_random_system(), &role, why, &sum);
    FUZZ_MUST(rc == 0 || rc == TPC_ENOMEM ||
              (rc == TPC_EINVAL && role < TLS_ROLES && why[0] != '\0'));
    /* Texts are as they were. */
    FUZZ_MUST(before == NULL || memcmp(before, parts[TLS_CERT].text, parts[TLS_CERT].len + 1) == 0);
    if (before != NULL) {
        tpi_free(tpc_allocator_default(), before, parts[TLS_CERT].len + 1);
    }
    for (int i = 0; i < TLS_ROLES; i++) {
        tpi_free(tpc_allocator_default(), parts[i].text,
                 parts[i].text != NULL ? parts[i].len + 1 : 0);
    }
    return 0;
}
