/* Who follows a rule. Any thread that is not between begin and end. */
#ifndef TPI_RULES_FOLLOW_H
#define TPI_RULES_FOLLOW_H

#include "rules/rules.h"
#include "rules/trace.h"

/* Follows a rule; who did before does no more. Returns 0 or TPC_ENOENT. */
int tpi_rules_trace(struct tpi_rules *r, struct tpc_str tenant, struct tpc_str kind,
                    struct tpc_str key, struct tpi_trace *trace);

/* This one follows it no more; the rule may be gone. */
void tpi_rules_untrace(struct tpi_rules *r, struct tpc_str tenant, struct tpc_str kind,
                       struct tpc_str key, const struct tpi_trace *trace);

/* Why the host refuses the command that it is given, for who follows the rule. Inside a batch. */
void tpi_rules_reason(struct tpi_rules *r, uint32_t worker, const char *text);

/*
 * Why the followed rule did not look at a message, told as a step. Under the registry's read lock.
 */
void tpi_rules_pass(struct tpi_rules *r, struct tpi_trace *trace, const struct tpc_device *device,
                    const struct tpc_msg *msg);

#endif
