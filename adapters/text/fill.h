/*
 * Templates over a message in the options of sinks: "{{ _device }}/{{ temperature | round(1) }}". Names
 * are those of a target's "where": keys of the values, then members of the params; _kind, _name,
 * _tenant, _product, _device; and, here alone, _id, _time (RFC 3339), _text (the message in a line for
 * people) and _json (all of it).
 */
#ifndef TEXT_FILL_H
#define TEXT_FILL_H

#include "base/buf.h"
#include "expr/template.h"

#include <stdbool.h>
#include <tpcore/arena.h>
#include <tpcore/msg.h>
#include <tpcore/platform.h>

struct fill {
    struct tpi_template *template;
    struct tpc_str *names; /* that it looks up */
    uint32_t name_count;
    struct tpc_arena *arena; /* theirs */
    const struct tpc_allocator *alloc;
    const struct tpc_clock *clock;
    bool no_memory;  /* while it was compiled */
    bool json, line; /* it has _json, _text in it */
    bool constant;   /* no value is in it */
};

/* Compiles it; *f is zero before. alloc, arena and clock live as long as it. On failure fill_fini() is
 * still to be called. Returns 0, TPC_EINVAL (err has line and column), TPC_ETOOBIG or TPC_ENOMEM. */
int fill_init(struct fill *f, const struct tpc_allocator *alloc, struct tpc_arena *arena,
              const struct tpc_clock *clock, struct tpc_str text, enum tpi_template_target target,
              struct tpc_error *err);
void fill_fini(struct fill *f);

/* Appends the text to out. Returns 0, TPC_ETOOBIG (over out's limit), TPC_EINVAL (a value that JSON
 * cannot hold) or TPC_ENOMEM. One thread at a time. */
int fill_text(const struct fill *f, const struct tpc_msg *m, struct tpi_buf *out);

#endif
