/*
 * Why a broker's certificate is refused. Paho says only that it is: this looks at it once more, on a
 * connection of its own that ends with the handshake. Blocks for up to MQTT_VERIFY_MS.
 */
#ifndef MQTT_VERIFY_H
#define MQTT_VERIFY_H

#include <stddef.h>

enum { MQTT_VERIFY_MS = 2000, MQTT_VERIFY_TEXT = 120 };

enum mqtt_verdict {
    MQTT_VERIFY_UNKNOWN = 0, /* nobody answered, or this is built without OpenSSL's headers */
    MQTT_VERIFY_EARLY = 1,   /* not valid yet, by the clock of this machine */
    MQTT_VERIFY_BAD = 2      /* anything else; the text says what */
};

/* url: as paho has it, ssl://host:port. ca: PEM file, NULL = the system's. */
enum mqtt_verdict mqtt_verify(const char *url, const char *ca, char text[MQTT_VERIFY_TEXT]);

#endif
