/* Who may ask: ranges of addresses (CIDR), IPv4 and IPv6. No state, no sockets. */
#ifndef PANEL_ALLOW_H
#define PANEL_ALLOW_H

#include <stdbool.h>
#include <stdint.h>
#include <tpcore/bytes.h>

enum { PANEL_RANGES_MAX = 64, PANEL_ADDRESS_TEXT = 64 };

struct panel_range {
    uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint8_t bits;        /* of 128 */
};

struct panel_allow {
    uint32_t count;
    struct panel_range ranges[PANEL_RANGES_MAX];
};

/* "10.0.0.0/8", "::1", "fc00::/7". Returns 0, TPC_EINVAL or TPC_ETOOBIG (too many). */
int panel_allow_add(struct panel_allow *a, struct tpc_str range);
/* Loopback, private (RFC 1918, RFC 4193) and link-local addresses. */
void panel_allow_private(struct panel_allow *a);
/* An address with or without brackets and a zone; what is none is not allowed. */
bool panel_allowed(const struct panel_allow *a, struct tpc_str address);

#endif
