/*
 * Service "mqtt.link": publish and subscribe over a connection that another module owns.
 */
#ifndef TPCORE_EXT_LINK_H
#define TPCORE_EXT_LINK_H

#include <tpcore/ext/iface.h>
#include <tpcore/error.h>
#include <tpcore/bytes.h>

TPC_BEGIN

/* A message came on a subscription. Thread: the link's; must not block for long. */
typedef void tpc_link_fn(void *user, struct tpc_str topic, struct tpc_bytes payload,
                         int redelivered);
/* A publish ended: err NULL = acknowledged (QoS 1) or written (QoS 0). */
typedef void tpc_link_done_fn(void *user, const struct tpc_error *err);
/* The connection came up (1) or went down (0). */
typedef void tpc_link_state_fn(void *user, int up);

/*
 * publish    Hands over one message; 0 = taken, done (may be NULL) follows exactly once; TPC_EAGAIN
 *            = too many in flight; TPC_EOFFLINE = not connected. Any thread.
 * subscribe  Subscribes now and after each reconnect. filter is copied. Any thread.
 * watch      fn hears of connection changes; called once at once with the present state. control
 *            thread.
 */
struct tpc_link_ops {
    struct tpc_iface iface; /* major 1 */
    int (*publish)(void *self, struct tpc_str topic, struct tpc_bytes payload, uint32_t qos,
                   int retain, tpc_link_done_fn *done, void *user);
    int (*subscribe)(void *self, struct tpc_str filter, uint32_t qos, tpc_link_fn *fn, void *user);
    int (*watch)(void *self, tpc_link_state_fn *fn, void *user);
};

TPC_END

#endif
