/*
 * tp-gateway: field devices on one side, a platform on the other, a log between them. The files of
 * this folder: main.c (arguments, the loop), status.c (what is going on, in a line), reload.c (a
 * changed configuration), thingsboard*.c (configurations of the ThingsBoard gateway).
 */
#ifndef GATEWAY_H
#define GATEWAY_H

#include "../common/assemble.h"
#include "../common/program.h"
#include "tb_import.h"

/* Section `gateway:` of the configuration. */
struct gateway_settings {
    uint32_t status_ms;     /* period of the status line; 0 = none [10 s, 1 s on a terminal] */
    uint32_t prometheus_ms; /* of the file [10 s] */
    uint32_t drain_ms;      /* of a part that is closed, and of the stop [5 s] */
    char prometheus[512];   /* file; empty = none */
};
/* 0, or -1 with c->error. */
int gateway_settings(struct config *c, bool terminal, struct gateway_settings *ret);

/* ---- status.c ---- */

/* Sums that the line's rates are made of. */
struct status_counts {
    double points, delivered, devices, online, slaves, degraded, dead, passed;
};
struct status {
    struct program *program;
    struct tpc_core *core;
    struct status_counts last;
    uint64_t last_ns;
    bool terminal; /* one line, written anew */
    bool painted;
};
void status_init(struct status *s, struct program *p, struct tpc_core *core, bool terminal);
/* Writes the line for the time since the last call into text. */
void status_text(struct status *s, char *text, size_t cap);
/* On stdout, unless the program is quiet, and to the service manager. */
void status_print(struct status *s);
void status_end(struct status *s);

/* ---- thingsboard_read.c ---- */

/* Reads the folder of a ThingsBoard gateway; p not NULL: notes are told. 0, or -1 with c->error. End
 * with config_free() in both cases; *t is valid until then. */
int tb_read(struct config *c, const char *dir, struct tb *t, const struct program *p);

/* ---- reload.c ---- */

/* What a configuration says, as hashes: the configuration itself need not stay in memory. */
struct snapshot;
/* NULL: c->error. */
struct snapshot *snapshot_take(struct config *c);
/* Documents of entities, once they are put. */
void snapshot_forget_texts(struct snapshot *s);
void snapshot_free(struct snapshot *s);

/* Makes the running core what `next` of config says: parts whose options changed are closed and
 * opened, entities put and deleted. config was checked. again: the last one failed somewhere. 0, or
 * the number of things that failed, told. */
int reload_apply(struct program *p, struct tpc_core *core, struct snapshot *old,
                 struct snapshot *next, struct config *config, uint32_t drain_ms, bool again);

#endif
