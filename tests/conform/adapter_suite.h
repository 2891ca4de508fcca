/*
 * What every adapter must do, whatever its protocol. A module's tests fill in a subject and add the
 * cases to their suite.
 */
#ifndef ADAPTER_SUITE_H
#define ADAPTER_SUITE_H

#include "fake_host.h"

struct adapter_subject {
    const struct tpc_module *(*module)(void);
    const char *options; /* that make it work without a peer, or with the peer of `provoke` */
    /* Makes a device say one thing, number n (may be NULL). It comes at the latest by fake_run().
     */
    void (*provoke)(struct fake_host *h, uint32_t n);
};

/* The subject is one for the program: check's cases take no parameter. */
TCase *adapter_suite(const struct adapter_subject *subject);

#endif
