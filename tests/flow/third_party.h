/*
 * What third-party libraries change in a process that uses our modules, and nothing else may
 * change. The READMEs of the modules say the same.
 */
#ifndef THIRD_PARTY_H
#define THIRD_PARTY_H

#include <signal.h>
#include <stddef.h>

struct third_party_change {
    const char *module;
    int signal;      /* whose disposition may change; 0 = none */
    int descriptors; /* that may stay open */
    int threads;     /* that may stay */
    const char *why;
};

static const struct third_party_change third_party_changes[] = {
    { "mqtt", SIGPIPE, 0, 0, "paho ignores SIGPIPE for the whole process (Socket_outInitialize)" },
};

enum { THIRD_PARTY_CHANGES = sizeof(third_party_changes) / sizeof(third_party_changes[0]) };

#endif
