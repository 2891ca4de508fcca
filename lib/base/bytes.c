#include <tpcore/bytes.h>

#include <string.h>
#include <tpcore/error.h>

#include "base/crypto.h"

struct tpc_str tpc_str_from(const char *text)
{
    return text != NULL ? (struct tpc_str){ text, strlen(text) } : (struct tpc_str){ "", 0 };
}

int tpc_str_equal(struct tpc_str a, struct tpc_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

int tpc_id_format(const struct tpc_id *id, char ret_text[33])
{
    tpi_hex(id->b, sizeof(id->b), ret_text);
    return 0;
}

int tpc_id_parse(struct tpc_str text, struct tpc_id *ret)
{
    char digits[TPC_ID_TEXT_BYTES];
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '-' && count != 0 && text.ptr[i - 1] != '-') {
            continue;
        }
        if (count == sizeof(digits)) {
            return TPC_EDECODE;
        }
        digits[count++] = text.ptr[i];
    }
    struct tpc_id id;
    if (count != sizeof(digits) || text.ptr[text.len - 1] == '-' ||
        tpi_unhex(digits, count, id.b) != 0) {
        return TPC_EDECODE;
    }
    *ret = id;
    return 0;
}
