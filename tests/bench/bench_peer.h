/*
 * The ThingsBoard gateway (Python) in tp-gateway's place on the rig, for a head-to-head in one run.
 * TB_GATEWAY_PYTHON names a Python that has it, in a folder outside the sources:
 *     python3 -m venv V && V/bin/pip install thingsboard-gateway==3.8.3 pymodbus==3.9.2 pyserial pyserial-asyncio
 *     TB_GATEWAY_PYTHON=V/bin/python tests/bench/run gateway
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "../gateway/rig.h"

struct peer_setup {
    bool range;          /* as few reads as it can; else a read for each tag, seq among them */
    const char *storage; /* "memory" (its cheapest) or "sqlite" (it keeps it over a restart) */
};

/* Its version, NULL: there is none (said on stderr if the variable names a Python). */
const char *peer_version(void);

/* Starts it with the rig's slaves, tags and poll period against the rig's simulator and stand-in.
 * It is r->gateway from then on: rig_use, rig_run and rig_stop are about it. */
void peer_start(struct rig *r, const struct peer_setup *setup);
/* Has come: every tag of every slave, and nothing else? ret: what is wrong. Nothing may come while
 * it looks. */
bool peer_is_whole(const struct rig *r, bool range, char *ret, size_t size);
void peer_show_log(const struct rig *r);

#endif
