/*
 * Service "stream.handover": the connection of a device, for a part that speaks a protocol of its own over
 * it. A device behind a modem dials in and says who it is, to an adapter that accepts connections (tcp);
 * then another one (modbus) asks over that connection. The adapter keeps what it knows of it - the session,
 * presence, limits, takeovers - and reads and writes nothing meanwhile.
 */
#ifndef TPCORE_EXT_HANDOVER_H
#define TPCORE_EXT_HANDOVER_H

#include <tpcore/bytes.h>
#include <tpcore/ext/iface.h>

TPC_BEGIN

/*
 * fd >= 0: a connection of the device, non-blocking; the descriptor is the caller's to close. It takes
 * the place of one that was given before. fd -1: connection number `connection` has ended at the
 * adapter: the device came again, or shall not be here. Must not block, nor call the service. Thread:
 * any.
 */
typedef void tpc_handover_fn(void *user, int fd, uint64_t connection);

/*
 * take  fn gets the connections of that device from now on: the one that is there, and those that come.
 *       tenant empty = "main". 0; TPC_EEXIST (another has asked); TPC_ENOMEM. Any thread.
 * over  The connection has failed, and its descriptor is closed: the adapter closes it, too. Any thread.
 * end   No more; fn is not called once it returns. The connection is the adapter's again, as far as it is
 *       open: close the descriptor before. id 0 = nothing. Any thread.
 *
 * A connection with TLS is not handed over: it stays as it is, and the log says so.
 */
struct tpc_handover_ops {
    struct tpc_iface iface; /* major 1 */
    int (*take)(void *self, struct tpc_str tenant, struct tpc_str device, tpc_handover_fn *fn,
                void *user, uint64_t *ret_id);
    void (*over)(void *self, uint64_t id, uint64_t connection);
    void (*end)(void *self, uint64_t id);
};

TPC_END

#endif
