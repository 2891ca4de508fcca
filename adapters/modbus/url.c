/* Where a bus is. */
#include "line.h"

#include <stdlib.h>
#include <string.h>

static bool begins(struct tpc_str *text, const char *with)
{
    size_t n = strlen(with);
    if (text->len <= n || memcmp(text->ptr, with, n) != 0) {
        return false;
    }
    text->ptr += n;
    text->len -= n;
    return true;
}

/* accepted+tcp://KEY, accepted+rtu://KEY */
static const char *read_key(struct tpc_str text, uint32_t transport, struct mb_url *u)
{
    u->transport = transport;
    u->accepted = true;
    if (text.len >= MB_HOST_MAX) {
        return "the key of the device is too long";
    }
    memcpy(u->host, text.ptr, text.len);
    u->host[text.len] = '\0';
    return NULL;
}

static bool is_port(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && n > 0 && n < 65536;
}

/* host[:port], [v6][:port] */
static const char *read_place(struct tpc_str text, struct mb_url *u)
{
    const char *host = text.ptr;
    const char *end = text.ptr + text.len;
    const char *colon = NULL;
    size_t len;
    if (text.len >= MB_HOST_MAX) {
        return "the host is too long";
    }
    if (host[0] == '[') {
        const char *close = memchr(host, ']', text.len);
        if (close == NULL || (close + 1 < end && close[1] != ':')) {
            return "an address in [] was expected";
        }
        host++;
        len = (size_t) (close - host);
        colon = close + 1 < end ? close + 1 : NULL;
    } else {
        colon = memchr(host, ':', text.len);
        len = (size_t) ((colon != NULL ? colon : end) - host);
    }
    memcpy(u->host, host, len);
    u->host[len] = '\0';
    if (colon != NULL) {
        size_t n = (size_t) (end - colon - 1);
        if (n == 0 || n >= sizeof(u->port)) {
            return "the port is no number from 1 to 65535";
        }
        memcpy(u->port, colon + 1, n);
        u->port[n] = '\0';
    }
    if (len == 0) {
        return "a host was expected";
    }
    return is_port(u->port) ? NULL : "the port is no number from 1 to 65535";
}

int mb_url_read(struct tpc_str text, struct mb_url *ret, const char **ret_why)
{
    *ret = (struct mb_url){ .port = "502" };
    *ret_why = NULL;
    if (text.len > 0 && memchr(text.ptr, '\0', text.len) != NULL) {
        *ret_why = "it has a zero byte";
    } else if (begins(&text, "tcp://")) {
        ret->transport = MB_TCP;
        *ret_why = read_place(text, ret);
    } else if (begins(&text, "rtutcp://")) {
        ret->transport = MB_RTU_TCP;
        *ret_why = read_place(text, ret);
    } else if (begins(&text, "accepted+tcp://")) {
        *ret_why = read_key(text, MB_TCP, ret);
    } else if (begins(&text, "accepted+rtu://")) {
        *ret_why = read_key(text, MB_RTU_TCP, ret);
    } else if (begins(&text, "rtu://")) {
        ret->transport = MB_RTU;
        if (text.ptr[0] != '/' || text.len >= MB_HOST_MAX) {
            *ret_why = "the path of a serial device was expected";
        } else {
            memcpy(ret->host, text.ptr, text.len);
            ret->host[text.len] = '\0';
        }
    } else {
        *ret_why = "tcp://, rtutcp://, rtu:// or accepted+rtu://DEVICE was expected";
    }
    return *ret_why == NULL ? 0 : TPC_EINVAL;
}
