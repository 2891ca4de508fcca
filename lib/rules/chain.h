/*
 * Chains: what a rule does may set off another one, and that one the first again. Each link knows how
 * many stand before it; a chain of TPI_RULES_HOPS links is cut. The number travels
 *
 *   - inside a batch with "run" (struct tpi_act.hops);
 *   - in a row that a data rule makes an event or values: the message's code; a window over several
 *     devices takes it along, one that a time ends does not;
 *   - over a device: a command of a rule is remembered for TPI_CHAIN_MS, and what the device says
 *     meanwhile of a property that it was told to set is taken for a consequence, as is the end of
 *     the command.
 *
 * What is remembered of devices is not kept over a restart: the chain then begins anew.
 */
#ifndef TPI_RULES_CHAIN_H
#define TPI_RULES_CHAIN_H

#include "rules/action.h"

enum {
    TPI_CHAIN_MS = 10000,
    TPI_CHAIN_PROPERTIES = 8, /* of one command; of more, any counts */
    TPI_CHAIN_DEVICES = 4096, /* that are remembered, per partition */
    TPI_CHAIN_NAME = 64,      /* bytes of a rule's name that are remembered */
    TPI_CHAIN_TEXT = 200,     /* bytes of what is told of a chain */
    TPI_CHAIN_TOLD = 256      /* rules of which that is remembered */
};

/* A command that a rule sent to a device. */
struct tpi_chain_link {
    uint64_t device;
    uint32_t partition; /* of the device */
    uint32_t hops;      /* 0 = nothing is to be remembered */
    uint32_t count;     /* of properties; over TPI_CHAIN_PROPERTIES = any */
    uint16_t properties[TPI_CHAIN_PROPERTIES];
    char by[TPI_CHAIN_NAME];
    int64_t until_unix_ms;
};

struct tpi_rule_command;
struct tpc_msg;

/* What is to be remembered of a command. Under the registry's read lock. */
void tpi_chain_of(const struct tpi_rule_command *c, struct tpi_chain_link *ret);

/* The command is in the log: remembers it. The owner of the device's partition, outside a batch. Without
 * memory it is not remembered: that is counted. */
void tpi_chain_sent(struct tpi_rules *r, uint32_t worker, const struct tpi_chain_link *link);

/* How many links stand before a message, and who made the last (empty = nobody). Inside a batch. */
uint32_t tpi_chain_before(struct tpi_rules *r, const struct tpc_device *device,
                          const struct tpc_msg *msg, struct tpc_str *ret_origin);

/* A chain is cut at this rule: counted, logged once per rule, and remembered for who asks. */
void tpi_chain_cut(const struct tpi_act *act);

/* What was last cut at a rule: "cut after 16 links: .. > scene:a > scene:b > scene:a"; false = nothing. */
bool tpi_chain_text(struct tpi_rules *r, uint64_t rule, char ret[TPI_CHAIN_TEXT]);

void tpi_chain_forget(struct tpi_rules *r, uint64_t rule);
void tpi_chain_init(struct tpi_rules *r);
void tpi_chain_fini(struct tpi_rules *r);

#endif
