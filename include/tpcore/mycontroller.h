/*
 * Documents of MyController.org (v2) as this library's: tasks and schedules become entities of kind scene and
 * schedule, handlers of kind handler, forward payloads scenes. docs/guide/tasks.md says what becomes what.
 *
 * Nothing is dropped without a word: what has no counterpart is told, one by one; a rule that cannot be the same
 * without it comes with "enabled": false.
 */
#ifndef TPCORE_MYCONTROLLER_H
#define TPCORE_MYCONTROLLER_H

#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/value.h>

TPC_BEGIN

/* Empty texts mean the default. */
struct tpc_mycontroller_options {
    uint32_t size;
    uint32_t flags;        /* 0 */
    struct tpc_str tenant; /* member "tenant" of all; default: none */
    struct tpc_str
        product; /* of the devices whose messages set a task off; default: such tasks are not made */
    struct tpc_str device; /* key of a node's device: "{gateway}.{node}" is the default */
    struct tpc_str
        property; /* of a field, also "{source}": "{source}_{field}" is the default; signs that a name
                                cannot have become _ */
    struct tpc_str zone;     /* of schedules; default: UTC */
    struct tpc_str latitude; /* of sunrise and sunset, degrees; default: not planned */
    struct tpc_str longitude;
};

/*
 * Translates one document, a list of them, or a map whose members are lists ("tasks", "schedules", "handlers",
 * "forward_payloads"). What one is, is told by its members. options may be NULL.
 *
 * *ret is a map: "entities": a list of documents with "kind", to be put one by one; "notes": a list of
 * {"of": "task fan", "at": "evaluationConfig", "text": ".."}: what is not, or not quite, the same.
 *
 * Returns 0, TPC_EINVAL (doc is neither a map nor a list, options), TPC_ETOOBIG (deeper than 16) or TPC_ENOMEM.
 * Ownership: *ret is the arena's and points into doc, whose texts have to outlive it, and into the options.
 * Thread: the arena's thread.
 * Since: 0.1
 */
TPC_API int tpc_mycontroller_import(struct tpc_arena *arena, const struct tpc_value *doc,
                                    const struct tpc_mycontroller_options *options,
                                    struct tpc_error *err, struct tpc_value *ret);

TPC_END

#endif
