#include "address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/error.h>

static const uint8_t v4_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static bool copy(char *ret, size_t cap, const char *from, size_t len)
{
    bool good = len > 0 && len < cap;
    for (size_t i = 0; good && i < len; i++) {
        good = (unsigned char) from[i] > 0x20 && from[i] != 0x7f;
        ret[i] = from[i];
    }
    ret[good ? len : 0] = '\0';
    return good;
}

static bool read_port(const char *text, size_t len, uint16_t *ret)
{
    uint32_t port = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || len > 5) {
            return false;
        }
        port = port * 10 + (uint32_t) (text[i] - '0');
    }
    *ret = (uint16_t) port;
    return len > 0 && port <= UINT16_MAX;
}

int net_url_parse(struct tpc_str text, struct net_url *ret)
{
    struct net_url u = { .port = 0 };
    char all[NET_HOST_BYTES + 32];
    if (!copy(all, sizeof(all), text.ptr, text.len)) {
        return TPC_EINVAL;
    }
    const char *host = strstr(all, "://");
    if (host == NULL || !copy(u.scheme, sizeof(u.scheme), all, (size_t) (host - all))) {
        return TPC_EINVAL;
    }
    host += 3;
    const char *end = host[0] == '[' ? strchr(host, ']') : strrchr(host, ':');
    const char *port = end != NULL && host[0] == '[' ? end + 1 : end;
    bool bare = host[0] != '[';
    host += !bare;
    if (end == NULL || *port != ':' || !copy(u.host, sizeof(u.host), host, (size_t) (end - host)) ||
        strpbrk(u.host, bare ? "/?#@[]:" : "/?#@[]") != NULL ||
        !read_port(port + 1, strlen(port + 1), &u.port)) {
        return TPC_EINVAL;
    }
    *ret = u;
    return 0;
}

int net_url_numeric(const struct net_url *url, struct sockaddr_storage *ret)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(url->port) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(url->port) };
    memset(ret, 0, sizeof(*ret));
    if (inet_pton(AF_INET, url->host, &v4.sin_addr) == 1) {
        memcpy(ret, &v4, sizeof(v4));
        return 0;
    }
    if (inet_pton(AF_INET6, url->host, &v6.sin6_addr) == 1) {
        memcpy(ret, &v6, sizeof(v6));
        return 0;
    }
    return TPC_EINVAL;
}

void net_address_key(const struct sockaddr *address, uint8_t ret[NET_ADDRESS_BYTES])
{
    memset(ret, 0, NET_ADDRESS_BYTES);
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        memcpy(ret, v4_prefix, sizeof(v4_prefix));
        memcpy(ret + 12, &v4.sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof(v6));
        memcpy(ret, &v6.sin6_addr, 16);
    }
}

uint16_t net_peer_port(const struct sockaddr *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (address->sa_family == AF_INET) {
        memcpy(&v4, address, sizeof(v4));
        return ntohs(v4.sin_port);
    }
    if (address->sa_family == AF_INET6) {
        memcpy(&v6, address, sizeof(v6));
        return ntohs(v6.sin6_port);
    }
    return 0;
}

size_t net_peer_text(const uint8_t address[NET_ADDRESS_BYTES], uint16_t port,
                     char ret[NET_PEER_BYTES])
{
    char host[INET6_ADDRSTRLEN] = "?";
    bool v4 = memcmp(address, v4_prefix, sizeof(v4_prefix)) == 0;
    (void) inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? address + 12 : address, host, sizeof(host));
    int n = snprintf(ret, NET_PEER_BYTES, v4 ? "%s:%u" : "[%s]:%u", host, (unsigned) port);
    return n > 0 ? (size_t) n : 0;
}
