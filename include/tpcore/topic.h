/*
 * Topics of a product's own: for a front that carries messages of devices to and from the standard
 * ones. A product's document lists them ("topics"); docs/guide/brokers.md shows how.
 */
#ifndef TPCORE_TOPIC_H
#define TPCORE_TOPIC_H

#include <tpcore/auth.h>

TPC_BEGIN

/*
 * The standard topic of what a device published on one of its product's own.
 *
 * Returns 0; TPC_ENOENT (no rule: it stays as it is); TPC_ETOOBIG with buf->need set; TPC_EINVAL.
 * Ownership: the caller's buffer; no NUL.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_topic_up(struct tpc_core *core, const struct tpc_identity *who,
                         struct tpc_str topic, struct tpc_buf *buf);

/* A copy to publish. Views are valid during the call. */
typedef void tpc_topic_fn(void *user, struct tpc_str topic, struct tpc_bytes payload);

/*
 * What else is to be published for a message to a device on a standard topic: fn is called once with the
 * product's own topic and the payload, or, of a command that a rule names, its params ("{}" if it has
 * none). tenant empty = "main".
 *
 * Returns 0; TPC_ENOENT (no rule, or no device of that number); TPC_ENOMEM; TPC_EINVAL.
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_topic_down(struct tpc_core *core, struct tpc_str tenant, struct tpc_str topic,
                           struct tpc_bytes payload, tpc_topic_fn *fn, void *user);

TPC_END

#endif
