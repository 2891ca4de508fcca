/*
 * What every table of functions starts with. The author's compiler writes the size; members are
 * only ever appended; `major` changes when a meaning changes. A shorter table is legal: what is
 * missing is NULL.
 */
#ifndef TPCORE_EXT_IFACE_H
#define TPCORE_EXT_IFACE_H

#include <stddef.h>
#include <stdint.h>
#include <tpcore/export.h>

struct tpc_iface {
    uint32_t size;
    uint16_t major;
    uint16_t flags;
};

#define TPC_IFACE(type, maj)                                                                       \
    {                                                                                              \
        (uint32_t) sizeof(type), (maj), 0                                                          \
    }

/* Whether table o, of struct type, is long enough to have member m and has it. */
#define TPC_HAS(o, type, m)                                                                        \
    ((o)->iface.size >= offsetof(type, m) + sizeof((o)->m) && (o)->m != NULL)

/* An array that crosses the interface: use as  .fields = TPC_LIST(struct x, array). */
struct tpc_list {
    const void *items;
    uint32_t count;
    uint32_t element_size;
};

#define TPC_LIST(array)                                                                            \
    {                                                                                              \
        (array), (uint32_t) (sizeof(array) / sizeof((array)[0])), (uint32_t) sizeof((array)[0])    \
    }

/* Element i of a list, i < list.count, as a pointer to struct type. */
#define TPC_LIST_AT(type, list, i)                                                                 \
    ((const type *) (const void *) ((const char *) (list).items +                                  \
                                    (size_t) (i) * (list).element_size))

#endif
