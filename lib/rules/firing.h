/* One scene at work for one device: fire.c decides, firing.c gives its expressions their values. */
#ifndef TPI_RULES_FIRING_H
#define TPI_RULES_FIRING_H

#include "rules/rules_state.h"

/* What happens to one device at one scene. */
struct rule_firing {
    struct tpi_rules *r;
    uint32_t worker;
    uint32_t partition;
    struct tpc_device *device;
    struct tpi_scene *scene;
    const struct tpc_msg *msg; /* NULL = what waited */
    uint64_t offset;           /* of the message, or of the one that it waited from */
    int64_t unix_ms;           /* its receipt time, or now */
    bool again;
    bool asked; /* somebody has it run: it does not switch itself off */
    bool has_vars;
    struct tpi_var_values vars; /* of the scene */
    /* It may be any device, also one that another worker owns: room for its values. Else NULL. */
    struct tpi_expr_scratch *room;
};

/* Values of its expressions; user: struct rule_firing. */
extern const struct tpi_expr_host tpi_firing_host;

#endif
