/*
 * Service "thingspanel.services": what a platform asks ThingsPanel's connectivity services for its users:
 * their forms, and the devices that a third party's service finds. The module thingspanel_platform offers
 * it.
 */
#ifndef TPCORE_EXT_PANEL_H
#define TPCORE_EXT_PANEL_H

#include <tpcore/bytes.h>
#include <tpcore/ext/iface.h>
#include <tpcore/value.h>

TPC_BEGIN

/*
 * code 200: data is what the service answered under "data", which may be TPC_NULL. Else one of ThingsPanel's
 * codes: 100000 no memory, 101001 no such service or access point, 200067 it has no address, 200068 nobody
 * listens there, 200069 the call failed, or 1,000 wait, 200070 the answer is none; message says it in words. Views are valid during the
 * call. Thread: any; must not block.
 */
typedef void tpc_panel_done_fn(void *user, uint32_t code, struct tpc_str message,
                               const struct tpc_value *data);

/*
 * form  A form of a service: device_type "1", "2", "3" or empty; form_type CFG, VCR, VCRT or SVCR. done
 *       follows exactly once if it is 0. TPC_EAGAIN (too much waits), TPC_ENOMEM, TPC_ESTATE (it stops),
 *       TPC_EINVAL. Any thread.
 * list  Devices that the service of an access point finds with its voucher: {"total", "list"}. page and
 *       page_size from 1 on. The same codes.
 */
struct tpc_panel_ops {
    struct tpc_iface iface; /* major 1 */
    int (*form)(void *self, struct tpc_str service, struct tpc_str device_type,
                struct tpc_str form_type, tpc_panel_done_fn *done, void *user);
    int (*list)(void *self, struct tpc_str access_point, uint32_t page, uint32_t page_size,
                tpc_panel_done_fn *done, void *user);
};

TPC_END

#endif
