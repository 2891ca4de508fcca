/*
 * What every sink must do, whatever is behind it. A module's tests fill in a subject and add the
 * cases to their suite.
 */
#ifndef SINK_SUITE_H
#define SINK_SUITE_H

#include "fake_sink.h"

struct sink_subject {
    const struct tpc_module *(*module)(void);
    const char *options;    /* of the instance */
    const char *target;     /* of a target that works, with a peer or without */
    const char *bad_target; /* that the table lets through and target_open() refuses; NULL = none */
    /* Services that it needs, peers: after its init and after its fini; may be NULL. */
    void (*begin)(struct fake_sink *h);
    void (*end)(struct fake_sink *h);
};

/* The subject is one for the program: check's cases take no parameter. */
TCase *sink_suite(const struct sink_subject *subject);

#endif
