/*
 * Directory of a service's devices, as the platform has them: by id, number and voucher. Pure and not
 * locked. A device stays where it is until it is removed; its texts until it is put again.
 */
#ifndef THINGSPANEL_DEVICES_H
#define THINGSPANEL_DEVICES_H

#include "base/buf.h"
#include "base/map.h"

#include <tpcore/value.h>

enum {
    TP_ID_MAX = 128,     /* bytes of an id: it is a key of the core */
    TP_NUMBER_MAX = 255, /* of a number, an address */
    TP_NAME_MAX = 256,
    TP_LEVELS = 10,       /* gateways above one another */
    TP_TEXT_MAX = 1 << 20 /* of a configuration */
};

/* What the platform says of a device. */
struct tp_facts {
    char type; /* '1' direct, '2' gateway, '3' behind one */
    struct tpc_str id, number, voucher, name;
    struct tpc_str parent, address; /* id of its gateway, and what that calls it; empty = none */
    struct tpc_str access_point;    /* id; empty = none */
    struct tpc_str config;          /* JSON object as text, its own; empty = none */
    struct tpc_str settings;        /* .. of its template */
};

struct tp_device {
    struct tp_facts f; /* texts are the device's */
    struct tp_device *gateway, *first_behind, *next_behind, *prev_behind;
    struct tp_device *next_work; /* the owner's list of devices to look after */
    bool in_work;
    bool in_core;  /* it is there, as it is here */
    bool ready;    /* .. and so are those behind it, or were given up: it may log in */
    bool told;     /* the program knows it as it is here */
    bool changed;  /* its place or name differs from what the core was told */
    bool checking; /* it is being asked for again */
    bool refused;  /* by the core, and that was said */
    uint8_t tries; /* to make it */
    uint8_t tells; /* .. to tell of it */
    uint32_t seen; /* number of the last list that had it */
    uint32_t mark; /* .. of the last answer */
    void *text;
    size_t text_bytes;
};

enum tp_change {
    TP_CHANGE_NEW = 1,
    TP_CHANGE_VOUCHER = 2,
    TP_CHANGE_PLACE = 4, /* gateway, address, name */
    TP_CHANGE_CONFIG = 8 /* anything else */
};

struct tp_devices {
    const struct tpc_allocator *alloc;
    struct tpi_map by_id, by_number, by_voucher;
    uint32_t max;
};

void tp_devices_init(struct tp_devices *d, const struct tpc_allocator *alloc, uint32_t max,
                     uint64_t seed);
void tp_devices_fini(struct tp_devices *d);

uint32_t tp_devices_count(const struct tp_devices *d);

/* NULL if there is none; an empty text finds none. */
struct tp_device *tp_devices_by_id(const struct tp_devices *d, struct tpc_str id);
struct tp_device *tp_devices_by_number(const struct tp_devices *d, struct tpc_str number);
struct tp_device *tp_devices_by_voucher(const struct tp_devices *d, struct tpc_str voucher);

/* Adds a device or takes over what is said of it now; *ret_changes are bits of enum tp_change. Of two with
 * one number or voucher the later one is found by it. Returns 0, TPC_EINVAL (no id, or a text is over its
 * limit), TPC_EAGAIN (there are max) or TPC_ENOMEM. */
int tp_devices_put(struct tp_devices *d, const struct tp_facts *f, struct tp_device **ret,
                   uint32_t *ret_changes);

/* Frees it; those behind it stay, without a gateway. */
void tp_devices_remove(struct tp_devices *d, struct tp_device *device);

/* All of them as items of a JSON array, without the brackets. Returns 0, TPC_ENOMEM or TPC_ETOOBIG. */
int tp_devices_save(const struct tp_devices *d, struct tpi_buf *b);

/* Puts what save() wrote; passes over what is none. Returns 0, TPC_EAGAIN (more than max: the rest is not
 * there) or TPC_ENOMEM. */
int tp_devices_load(struct tp_devices *d, const struct tpc_value *list);

#endif
