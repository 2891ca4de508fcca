/* What the files about zones share. */
#ifndef TPI_CALENDAR_ZONE_STATE_H
#define TPI_CALENDAR_ZONE_STATE_H

#include "calendar/zone_posix.h"

struct tpi_zone_type {
    int32_t offset_s;
    bool dst;
    const char *abbr;
};

/* One block of memory: the arrays stand behind the struct. */
struct tpi_zone {
    const struct tpc_allocator *alloc;
    size_t size;
    uint32_t count;
    const int64_t *at;                 /* moments of changes, rising */
    const struct tpi_zone_type *types; /* the first holds before all changes */
    const uint8_t *type_of;            /* what begins with a change */
    bool has_rule;                     /* what holds after the last one */
    struct tpi_rule rule;
};

#endif
