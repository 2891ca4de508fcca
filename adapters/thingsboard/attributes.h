/*
 * Service "thingsboard.attributes": attributes that the server keeps of a device, for those that ask on
 * a device's behalf. docs: adapters/thingsboard/README.md.
 */
#ifndef THINGSBOARD_ATTRIBUTES_H
#define THINGSBOARD_ATTRIBUTES_H

#include <tpcore/error.h>
#include <tpcore/ext/iface.h>
#include <tpcore/value.h>

/*
 * The answer: maps of those that the server has (an empty map if none), valid during the call. err:
 * TPC_ETIMEOUT, TPC_EOFFLINE, TPC_ECANCELED (the session stops). A thread of the session: must not wait
 * for anything of the session.
 */
typedef void tb_attributes_fn(void *user, const struct tpc_error *err,
                              const struct tpc_value *client, const struct tpc_value *shared);

/*
 * ask   device: its key here. client_keys, shared_keys: names with commas between, empty = none of that
 *       scope; both empty is TPC_EINVAL. 0 = fn follows exactly once, maybe from within; TPC_EOFFLINE,
 *       TPC_EAGAIN (too many open), TPC_ENOMEM: it does not. Any thread, from start() on.
 */
struct tb_attributes_ops {
    struct tpc_iface iface; /* major 1 */
    int (*ask)(void *self, struct tpc_str device, struct tpc_str client_keys,
               struct tpc_str shared_keys, tb_attributes_fn *fn, void *user);
};

#define TB_ATTRIBUTES_SERVICE "thingsboard.attributes"

#endif
