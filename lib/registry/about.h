/*
 * Whom a notification is about, in words: its device may be gone before the notification is delivered,
 * and what is known of a device then stands in the record alone. docs/format/record.md says where.
 */
#ifndef TPI_REGISTRY_ABOUT_H
#define TPI_REGISTRY_ABOUT_H

#include <tpcore/msg.h>

#include "data/option.h"

enum { TPI_ABOUT_BYTES = 3 * TPI_OPTION_MAX_KEY + 2 };

/* The correlation of a record of kind TPC_MSG_NOTIFY; a view of buf. */
struct tpc_str tpi_about_write(char buf[TPI_ABOUT_BYTES], struct tpc_str tenant,
                               struct tpc_str product, struct tpc_str device);

/* Takes it out of a message that was read: *m has no correlation then, and tenant, product and device
 * where it has none. False: it does not say. */
bool tpi_about_take(struct tpc_msg *m);

#endif
