/*
 * Modules that are known to a core: their descriptors and tables of functions, checked and brought
 * to this library's size, so that a missing optional method is NULL everywhere.
 */
#ifndef TPI_CORE_MODULE_H
#define TPI_CORE_MODULE_H

#include <tpcore/core.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/ext/bus.h>
#include <tpcore/ext/codec.h>
#include <tpcore/ext/history.h>
#include <tpcore/ext/sink.h>
#include <tpcore/ext/store.h>

union tpi_ops {
    struct tpc_iface iface;
    struct tpc_adapter_ops adapter;
    struct tpc_bus_ops bus;
    struct tpc_codec_ops codec;
    struct tpc_store_ops store;
    struct tpc_history_ops history;
    struct tpc_sink_ops sink;
};

struct tpi_interface {
    uint32_t kind;
    union tpi_ops ops;
};

struct tpi_module {
    const struct tpc_allocator *alloc;
    struct tpi_module *next;
    const struct tpc_module *given;
    struct tpc_module desc;
    void *object;   /* of dlopen(); NULL = linked in */
    bool built_in;  /* of the library itself: not listed */
    char kinds[64]; /* "adapter codec" */
    uint32_t count;
    struct tpi_interface items[];
};

/* Checks and copies. Returns 0, TPC_EINVAL, TPC_EVERSION or TPC_ENOMEM. */
int tpi_module_make(const struct tpc_allocator *alloc, const struct tpc_module *given,
                    struct tpc_error *err, struct tpi_module **ret);
void tpi_module_free(struct tpi_module *m);

/* The module's first interface of a kind, or NULL. */
const struct tpi_interface *tpi_module_find(const struct tpi_module *m, uint32_t kind);

const char *tpi_interface_name(uint32_t kind);

/* Parts of every table, whatever its kind. */
const char *tpi_interface_label(const struct tpi_interface *i);
size_t tpi_interface_bytes(const struct tpi_interface *i);
const struct tpc_list *tpi_interface_options(const struct tpi_interface *i);

/* The library's own: "memory" and "file". NULL ends the list. */
const struct tpc_module *const *tpi_module_built_in(void);

#endif
