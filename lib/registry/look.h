/*
 * What two names, of a device and of one of its properties, led to: whoever asks for the same again
 * and again, as the condition of a scene does, keeps it and needs no table.
 *
 * Nothing is counted here. A look borrows the device and the text of its model under the read lock
 * that it was made under, and they are touched again only while the registry's generation is the
 * same: it grows, under the write lock, with each device that goes or moves to another product and
 * with each revision of a product. A device that comes changes nothing that was found, and that one
 * was not found is not kept.
 */
#ifndef TPI_REGISTRY_LOOK_H
#define TPI_REGISTRY_LOOK_H

#include "registry/device.h"

enum { TPI_LOOKS = 256 }; /* a power of 2; pairs of names that fall on one place take turns */

/* The first and the last bytes of a name: with its length, all of one that is not longer than both. */
struct tpi_look_name {
    uint64_t head;
    uint64_t tail;
    size_t len;
};

struct tpi_look {
    uint64_t generation; /* 0 = not to be found again */
    uint64_t tenant_id;
    struct tpi_look_name device_name;
    struct tpi_look_name property_name;
    struct tpc_device *device;
    const char *property; /* its key: the model's */
    int index;            /* in the model; -1 = it has none of this name */
};

/* Of one thread at a time; all zero = empty. */
struct tpi_looks {
    struct tpi_look items[TPI_LOOKS];
};

/* NULL if there is no such device; else valid until the next call, or the end of the read lock. Read
 * lock. */
const struct tpi_look *tpi_looks_find(struct tpi_looks *looks, struct tpi_registry *r,
                                      uint64_t tenant_id, struct tpc_str device,
                                      struct tpc_str property);

/* As tpi_registry_latest(). Read lock. */
int tpi_looks_latest(struct tpi_looks *looks, struct tpi_registry *r, uint64_t tenant_id,
                     struct tpc_str device, struct tpc_str property, struct tpc_buf *buf,
                     struct tpc_value *ret);

/* The same for expressions: a name "online" that the model has no value of is the device's presence.
 */
int tpi_looks_state(struct tpi_looks *looks, struct tpi_registry *r, uint64_t tenant_id,
                    struct tpc_str device, struct tpc_str property, struct tpc_buf *buf,
                    struct tpc_value *ret);

#endif
