/*
 * A peer that a test starts: a script of this folder, on a free port of the loopback. It ends with
 * the test, however that ends.
 */
#ifndef STAND_IN_H
#define STAND_IN_H

#include <stdbool.h>
#include <sys/types.h>

struct stand_in {
    pid_t pid; /* 0 = does not run */
    int port;  /* kept over stand_in_stop(), so that it comes back on the same one */
    int alive; /* the writing end of its stdin */
    char log[512];
};

/* Starts <script>.py with --log <temporary file>, and up to three more arguments (NULL ends them).
 * A stand-in that was stopped keeps its port and log. Returns false if it did not come up. */
bool stand_in_start(struct stand_in *s, const char *script, const char *const *more);
void stand_in_stop(struct stand_in *s);

/* A self-signed certificate for 127.0.0.1 and its key, in files under the temporary folder. Returns
 * false if there is no openssl. */
bool stand_in_certificate(char cert[512], char key[512]);

/* The log: how many lines there are, and line n (0..) as the stand-in wrote it; free() it. */
unsigned stand_in_count(const struct stand_in *s);
char *stand_in_line(const struct stand_in *s, unsigned n);

#endif
