/* A gateway speaks for what stands behind it: what it says and is means something for those devices. */
#ifndef TPI_CORE_BEHIND_H
#define TPI_CORE_BEHIND_H

#include "core/core.h"

/* Something reaches a device again, and with it what stands behind it. What waited for it leaves at once
 * if it spoke, else after online_delay_ms. */
void tpi_behind_online(struct tpi_worker *w, struct tpc_device *d, bool spoke);
/* It cannot: what stands behind it is offline, too, but for devices with a connection of their own
 * and those whose messages alone decide. */
void tpi_behind_offline(struct tpi_worker *w, struct tpc_device *d);
/* A gateway that can be told (codec alink) is told that a device stands behind it, or no more. Inside the
 * core. */
void tpi_behind_changed(struct tpc_core *core, struct tpc_device *gateway, struct tpc_device *d,
                        bool removed);
/* A device that its gateway has let go of. */
void tpi_behind_left(struct tpi_worker *w, struct tpc_device *d);
void tpi_behind_reply(struct tpi_worker *w, const struct tpi_up_msg *um);

#endif
