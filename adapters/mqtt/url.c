#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/error.h>

int mqtt_url(const char *url, char ret[MQTT_URL_MAX], uint16_t *ret_port)
{
    static const struct {
        const char *from, *to, *port;
    } schemes[] = { { "mqtt://", "tcp://", ":1883" }, { "mqtts://", "ssl://", ":8883" } };
    size_t i = strncmp(url, schemes[1].from, strlen(schemes[1].from)) == 0;
    size_t skip = strlen(schemes[i].from);
    if (strncmp(url, schemes[i].from, skip) != 0) {
        return TPC_EINVAL;
    }
    const char *host = url + skip;
    size_t len = strlen(host);
    const char *end = host[0] == '[' ? strchr(host, ']') : host + strcspn(host, ":");
    if (len > 0 && host[len - 1] == '/') {
        len--;
    }
    if (end == NULL || end == host || strcspn(host, "/@ \t") < len) {
        return TPC_EINVAL;
    }
    end += host[0] == '[';
    const char *port = schemes[i].port;
    unsigned long number = strtoul(port + 1, NULL, 10);
    if (end < host + len) {
        size_t digits = len - (size_t) (end + 1 - host);
        if (*end != ':' || digits == 0 || digits > 5 || strspn(end + 1, "0123456789") < digits) {
            return TPC_EINVAL;
        }
        port = "";
        number = strtoul(end + 1, NULL, 10);
    }
    int n = snprintf(ret, MQTT_URL_MAX, "%s%.*s%s", schemes[i].to, (int) len, host, port);
    if (n < 0 || n >= MQTT_URL_MAX || number == 0 || number > UINT16_MAX) {
        return TPC_EINVAL;
    }
    *ret_port = (uint16_t) number;
    return 0;
}
