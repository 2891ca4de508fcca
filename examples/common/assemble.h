/*
 * A core from a configuration file:
 *
 *   core:      {workers: 2, memory_limit: 256MiB}
 *   modules:   [/path/tpc_acme.so]            # shared objects, beside those linked in
 *   log:       {type: file, dir: data/log}
 *   store:     {type: sqlite, dir: data}      # or entity_store: and history: apart
 *   adapters:  {mqtt: {type: mqtt, url: "mqtt://127.0.0.1"}}
 *   entities:  [entities.yaml, {kind: device, key: t1, product: thermo}]
 *
 * What stands beside `type` are the part's options. File names of entities are relative to the
 * configuration file. An unknown key is an error with file and line.
 */
#ifndef EXAMPLES_ASSEMBLE_H
#define EXAMPLES_ASSEMBLE_H

#include "config.h"

#include <tpcore/tpcore.h>

/* Makes the core with the modules that the program links. flags: enum tpc_core_flags to add. 0, or
 * -1 with c->error. */
int assemble_core(struct config *c, uint32_t flags, tpc_log_fn *on_log, void *log_user,
                  struct tpc_core **ret);

/* Opens log, store and adapters (parts of the given kinds only), then puts the entities. */
enum assemble_parts {
    ASSEMBLE_LOG = 1,
    ASSEMBLE_STORE = 2,
    ASSEMBLE_ADAPTERS = 4,
    ASSEMBLE_ALL = 7
};
int assemble_parts(struct config *c, struct tpc_core *core, int parts);
int assemble_entities(struct config *c, struct tpc_core *core);

/* One part: `part` is its map with `type`, at `path` of the file. */
int assemble_part(struct config *c, struct tpc_core *core, const char *path, struct tpc_str name,
                  const struct tpc_value *part);

/* An entity as the configuration, or a file that it names, has it. */
struct assemble_entity {
    const char *path;
    const char *kind;
    struct tpc_str tenant; /* empty = main */
    struct tpc_str key;
    struct tpc_str json; /* its document, without kind */
};
/* c: the configuration that it stands in: errors go there. */
typedef int assemble_entity_fn(void *user, struct config *c, const struct assemble_entity *e);
/* Calls fn for every entity, in order. 0, or -1 with c->error. */
int assemble_each(struct config *c, assemble_entity_fn *fn, void *user);
int assemble_put(struct config *c, struct tpc_core *core, const struct assemble_entity *e);
/* Entities of that kind name a sink, which must be open. */
bool assemble_needs_adapters(const char *kind);

#endif
