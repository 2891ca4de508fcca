/* A device's side of the datagrams. */
#ifndef UDP_CLIENT_H
#define UDP_CLIENT_H

#include <stdint.h>

enum { CLIENT_ANSWER_MS = 5000, CLIENT_SILENCE_MS = 60, CLIENT_TEXT = 2048 };

/* One that nobody has; 0 if there is none. */
uint16_t client_port(void);

/* A socket to 127.0.0.1:port. */
int client_open(uint16_t port);
void client_say(int fd, const char *text);

/* What comes within that time; NULL = nothing. Valid until the next call. */
const char *client_hear(int fd, int wait_ms);

#endif
