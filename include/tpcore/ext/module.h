/*
 * A module: a named set of interfaces in one archive or one shared object. It exports one function,
 * tpc_module_<name>(), which returns its descriptor; tpc_<name>.so must export that name.
 */
#ifndef TPCORE_EXT_MODULE_H
#define TPCORE_EXT_MODULE_H

#include <tpcore/ext/host.h>
#include <tpcore/ext/option.h>

TPC_BEGIN

enum tpc_interface_kind {
    TPC_KIND_ADAPTER = 1, /* struct tpc_adapter_ops */
    TPC_KIND_BUS = 2,     /* struct tpc_bus_ops */
    TPC_KIND_CODEC = 3,   /* struct tpc_codec_ops */
    TPC_KIND_STORE = 4,   /* struct tpc_store_ops: entities and records */
    TPC_KIND_HISTORY = 5, /* struct tpc_history_ops */
    TPC_KIND_SINK = 6     /* struct tpc_sink_ops: where data goes out to */
};

enum tpc_module_flags {
    TPC_MOD_THREADS = 1 /* starts threads of its own: refused with TPC_THREADS_NONE */
};

struct tpc_interface {
    uint32_t kind; /* enum tpc_interface_kind */
    const void *ops;
};

#define TPC_INTERFACES(array) TPC_LIST(array)

struct tpc_module {
    struct tpc_iface iface;     /* major 1 */
    const char *name;           /* C identifier: letters, digits, _ */
    const char *version;        /* of the module */
    const char *licence;        /* SPDX expression of the module with what it links */
    uint32_t flags;             /* enum tpc_module_flags */
    struct tpc_list interfaces; /* struct tpc_interface */
    struct tpc_list needs;      /* const char *: services that must be offered by another */
    struct tpc_list offers;     /* const char * */
};

/*
 * Defines tpc_module_<name>(). In C only; from C++ write the function by hand.
 *   TPC_MODULE(acme, .licence = "Apache-2.0", .interfaces = TPC_INTERFACES(acme_interfaces))
 */
#define TPC_MODULE(mod_name, ...)                                                                  \
    __attribute__((visibility("default"))) const struct tpc_module *tpc_module_##mod_name(void);   \
    const struct tpc_module *tpc_module_##mod_name(void)                                           \
    {                                                                                              \
        static const struct tpc_module module = { .iface = TPC_IFACE(struct tpc_module, 1),        \
                                                  .name = #mod_name,                               \
                                                  __VA_ARGS__ };                                   \
        return &module;                                                                            \
    }

TPC_END

#endif
