/* The service "raw": a request of the user's own, of any place of a slave. */
#ifndef MB_RAW_H
#define MB_RAW_H

#include "tag.h"

/*
 * {"function": 3, "address": 2, "type": "int16", "count": .., "byte_order": .., "value": ..}; without a function
 * `area` says where, and a value makes it a write. bus: the instance's options, for what is absent. Returns
 * NULL, the tag and the value to write (NULL = it is read), or what is wrong.
 */
const char *mb_raw_read(const struct tpc_value *doc, const struct tpc_value *bus,
                        struct mb_tag *ret, const struct tpc_value **ret_value);

#endif
