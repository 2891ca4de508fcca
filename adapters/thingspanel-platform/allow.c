#include "allow.h"

#include <arpa/inet.h>
#include <string.h>
#include <tpcore/error.h>

static bool read_address(struct tpc_str s, uint8_t ret[16], uint32_t *ret_bits)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    char text[PANEL_ADDRESS_TEXT];
    if (s.len >= 2 && s.ptr[0] == '[' && s.ptr[s.len - 1] == ']') {
        s.ptr++;
        s.len -= 2;
    }
    const char *zone = s.len > 0 ? memchr(s.ptr, '%', s.len) : NULL;
    s.len = zone != NULL ? (size_t) (zone - s.ptr) : s.len;
    if (s.len == 0 || s.len >= sizeof(text)) {
        return false;
    }
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    if (strlen(text) != s.len) {
        return false;
    }
    *ret_bits = 128;
    if (inet_pton(AF_INET6, text, ret) == 1) {
        return true;
    }
    memcpy(ret, mapped, sizeof(mapped));
    *ret_bits = 32;
    return inet_pton(AF_INET, text, ret + 12) == 1;
}

int panel_allow_add(struct panel_allow *a, struct tpc_str range)
{
    struct panel_range r;
    uint32_t width, bits = 0;
    const char *slash = range.len > 0 ? memchr(range.ptr, '/', range.len) : NULL;
    struct tpc_str address = range;
    address.len = slash != NULL ? (size_t) (slash - range.ptr) : range.len;
    if (a->count == PANEL_RANGES_MAX) {
        return TPC_ETOOBIG;
    }
    if (!read_address(address, r.address, &width)) {
        return TPC_EINVAL;
    }
    size_t digits = slash != NULL ? range.len - address.len - 1 : 0;
    if (slash != NULL && (digits == 0 || digits > 3)) {
        return TPC_EINVAL;
    }
    for (size_t i = 0; i < digits; i++) {
        char c = slash[1 + i];
        if (c < '0' || c > '9') {
            return TPC_EINVAL;
        }
        bits = bits * 10 + (uint32_t) (c - '0');
    }
    bits = slash != NULL ? bits : width;
    if (bits > width) {
        return TPC_EINVAL;
    }
    r.bits = (uint8_t) (bits + 128 - width);
    a->ranges[a->count++] = r;
    return 0;
}

void panel_allow_private(struct panel_allow *a)
{
    static const char *const all[] = { "127.0.0.0/8",    "::1",      "10.0.0.0/8",
                                       "172.16.0.0/12",  "fc00::/7", "192.168.0.0/16",
                                       "169.254.0.0/16", "fe80::/10" };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        (void) panel_allow_add(a, tpc_str_from(all[i]));
    }
}

static bool inside(const struct panel_range *r, const uint8_t address[16])
{
    size_t whole = r->bits / 8;
    uint32_t rest = r->bits % 8;
    if (memcmp(r->address, address, whole) != 0) {
        return false;
    }
    return rest == 0 || ((r->address[whole] ^ address[whole]) >> (8 - rest)) == 0;
}

bool panel_allowed(const struct panel_allow *a, struct tpc_str address)
{
    uint8_t bytes[16];
    uint32_t width;
    if (!read_address(address, bytes, &width)) {
        return false;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        if (inside(&a->ranges[i], bytes)) {
            return true;
        }
    }
    return false;
}
