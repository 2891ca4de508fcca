#include "data/option.h"

#include "data/utf8.h"

struct unit {
    const char *name;
    int64_t factor;
};

/* A decimal with up to nine digits after the point, times a unit's factor, must be whole. */
static int parse(struct tpc_str text, const struct unit *units, size_t count, int64_t *ret)
{
    int64_t mantissa = 0;
    int64_t scale = 1;
    size_t i = 0;
    size_t digits = 0;
    bool fraction = false;
    for (; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '.' && !fraction && digits > 0) {
            fraction = true;
            continue;
        }
        if (c < '0' || c > '9') {
            break;
        }
        if (digits++ == 18) {
            return TPC_EINVAL;
        }
        mantissa = mantissa * 10 + (c - '0');
        scale *= fraction ? 10 : 1;
    }
    if (digits == 0 || text.ptr[i - 1] == '.' || scale > 1000000000) {
        return TPC_EINVAL;
    }
    struct tpc_str name = { text.ptr + i, text.len - i };
    for (size_t u = 0; u < count; u++) {
        int64_t product;
        if (!tpc_str_equal(name, tpc_str_from(units[u].name))) {
            continue;
        }
        if (__builtin_mul_overflow(mantissa, units[u].factor, &product) || product % scale != 0) {
            return TPC_EINVAL;
        }
        *ret = product / scale;
        return 0;
    }
    return TPC_EINVAL;
}

int tpi_duration_parse(struct tpc_str text, int64_t *ret_ms)
{
    static const struct unit units[] = {
        { "", 1 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 },
    };
    return parse(text, units, sizeof(units) / sizeof(units[0]), ret_ms);
}

int tpi_size_parse(struct tpc_str text, int64_t *ret_bytes)
{
    static const struct unit units[] = {
        { "", 1 },
        { "B", 1 },
        { "k", 1 << 10 },
        { "K", 1 << 10 },
        { "KiB", 1 << 10 },
        { "M", 1 << 20 },
        { "MiB", 1 << 20 },
        { "G", 1 << 30 },
        { "GiB", 1 << 30 },
        { "T", (int64_t) 1 << 40 },
        { "TiB", (int64_t) 1 << 40 },
        { "kB", 1000 },
        { "MB", 1000000 },
        { "GB", 1000000000 },
        { "TB", 1000000000000 },
    };
    return parse(text, units, sizeof(units) / sizeof(units[0]), ret_bytes);
}

bool tpi_key_valid(struct tpc_str text)
{
    if (text.len == 0 || text.len > TPI_OPTION_MAX_KEY || !tpi_utf8_valid(text.ptr, text.len)) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char) text.ptr[i];
        if (c < 0x20 || c == 0x7F) {
            return false;
        }
    }
    return true;
}
