#include "core/module.h"

#include <ctype.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

enum { MODULE_MAJOR = 1, IFACE_MAJOR = 1, MAX_INTERFACES = 64 };

struct method {
    const char *name;
    size_t offset;
};

/* What the core knows of a kind of table. */
struct table {
    uint32_t kind;
    const char *name;
    size_t bytes;
    size_t label;    /* offset of `name` */
    size_t instance; /* offset of `instance_size` */
    size_t options;  /* offset of `options` */
    const struct method *required;
    size_t count;
};

#define METHOD(type, m)                                                                            \
    {                                                                                              \
#m, offsetof(struct type, m)                                                               \
    }
#define TABLE(kind_, name_, type, methods)                                                         \
    {                                                                                              \
        .kind = (kind_), .name = (name_), .bytes = sizeof(struct type),                            \
        .label = offsetof(struct type, name), .instance = offsetof(struct type, instance_size),    \
        .options = offsetof(struct type, options), .required = (methods),                          \
        .count = sizeof(methods) / sizeof((methods)[0])                                            \
    }

static const struct method adapter_methods[] = {
    METHOD(tpc_adapter_ops, init), METHOD(tpc_adapter_ops, start), METHOD(tpc_adapter_ops, send),
    METHOD(tpc_adapter_ops, stop), METHOD(tpc_adapter_ops, fini),
};
static const struct method bus_methods[] = {
    METHOD(tpc_bus_ops, init),        METHOD(tpc_bus_ops, fini),
    METHOD(tpc_bus_ops, append),      METHOD(tpc_bus_ops, flush),
    METHOD(tpc_bus_ops, read),        METHOD(tpc_bus_ops, range),
    METHOD(tpc_bus_ops, cursor_open), METHOD(tpc_bus_ops, cursor_position),
    METHOD(tpc_bus_ops, commit),      METHOD(tpc_bus_ops, cursor_close),
    METHOD(tpc_bus_ops, raise_end),   METHOD(tpc_bus_ops, info),
};
static const struct method codec_methods[] = {
    METHOD(tpc_codec_ops, compile),
    METHOD(tpc_codec_ops, release),
    METHOD(tpc_codec_ops, decode),
    METHOD(tpc_codec_ops, encode),
};
static const struct method store_methods[] = {
    METHOD(tpc_store_ops, init), METHOD(tpc_store_ops, fini),  METHOD(tpc_store_ops, transact),
    METHOD(tpc_store_ops, get),  METHOD(tpc_store_ops, query), METHOD(tpc_store_ops, count),
};
static const struct method history_methods[] = {
    METHOD(tpc_history_ops, init),      METHOD(tpc_history_ops, fini),
    METHOD(tpc_history_ops, begin),     METHOD(tpc_history_ops, put_chunk),
    METHOD(tpc_history_ops, put_marks), METHOD(tpc_history_ops, commit),
    METHOD(tpc_history_ops, rollback),  METHOD(tpc_history_ops, scan),
    METHOD(tpc_history_ops, marks),     METHOD(tpc_history_ops, delete_before),
};

static const struct method sink_methods[] = {
    METHOD(tpc_sink_ops, init),         METHOD(tpc_sink_ops, start),
    METHOD(tpc_sink_ops, target_open),  METHOD(tpc_sink_ops, send),
    METHOD(tpc_sink_ops, target_close), METHOD(tpc_sink_ops, stop),
    METHOD(tpc_sink_ops, fini),
};

static const struct table tables[] = {
    TABLE(TPC_KIND_ADAPTER, "adapter", tpc_adapter_ops, adapter_methods),
    TABLE(TPC_KIND_BUS, "bus", tpc_bus_ops, bus_methods),
    TABLE(TPC_KIND_CODEC, "codec", tpc_codec_ops, codec_methods),
    TABLE(TPC_KIND_STORE, "store", tpc_store_ops, store_methods),
    TABLE(TPC_KIND_HISTORY, "history", tpc_history_ops, history_methods),
    TABLE(TPC_KIND_SINK, "sink", tpc_sink_ops, sink_methods),
};

static const struct table *table_of(uint32_t kind)
{
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        if (tables[i].kind == kind) {
            return &tables[i];
        }
    }
    return NULL;
}

const char *tpi_interface_name(uint32_t kind)
{
    const struct table *t = table_of(kind);
    return t != NULL ? t->name : "unknown";
}

static const void *field(const struct tpi_interface *i, size_t offset)
{
    return (const char *) &i->ops + offset;
}

const char *tpi_interface_label(const struct tpi_interface *i)
{
    const char *label;
    memcpy(&label, field(i, table_of(i->kind)->label), sizeof(label));
    return label;
}

size_t tpi_interface_bytes(const struct tpi_interface *i)
{
    size_t bytes;
    memcpy(&bytes, field(i, table_of(i->kind)->instance), sizeof(bytes));
    return bytes;
}

const struct tpc_list *tpi_interface_options(const struct tpi_interface *i)
{
    return field(i, table_of(i->kind)->options);
}

static bool is_null(const void *ops, size_t offset)
{
    static void (*const none)(void) = NULL;
    return memcmp((const char *) ops + offset, &none, sizeof(none)) == 0;
}

/* Copies a table of any size into ours and checks it. */
static int take_table(const char *module, const struct tpc_interface *in, struct tpc_error *err,
                      struct tpi_interface *out)
{
    const struct table *t = table_of(in->kind);
    const struct tpc_iface *iface = in->ops;
    if (iface == NULL || iface->size < sizeof(*iface)) {
        return tpi_error_set(err, TPC_EINVAL, module, "module %s: a table without its size",
                             module);
    }
    if (iface->major != IFACE_MAJOR) {
        return tpi_error_set(err, TPC_EVERSION, module,
                             "module %s: %s interface has major %u, this library has %u", module,
                             t->name, (unsigned) iface->major, (unsigned) IFACE_MAJOR);
    }
    out->kind = in->kind;
    memset(&out->ops, 0, sizeof(out->ops));
    memcpy(&out->ops, in->ops, iface->size < t->bytes ? iface->size : t->bytes);
    out->ops.iface.size = (uint32_t) t->bytes;
    for (size_t i = 0; i < t->count; i++) {
        if (is_null(&out->ops, t->required[i].offset)) {
            return tpi_error_set(err, TPC_EINVAL, module,
                                 "module %s: required method %s of its %s interface is missing",
                                 module, t->required[i].name, t->name);
        }
    }
    if (is_null(&out->ops, t->label)) {
        return tpi_error_set(err, TPC_EINVAL, module, "module %s: %s interface without a name",
                             module, t->name);
    }
    const struct tpc_list *options = tpi_interface_options(out);
    if (options->count > 0 && (options->items == NULL || options->element_size < sizeof(char *))) {
        return tpi_error_set(err, TPC_EINVAL, module, "module %s: bad option table", module);
    }
    return 0;
}

static bool name_valid(const char *name)
{
    if (name == NULL || strlen(name) == 0 || strlen(name) > 31 || isdigit((unsigned char) *name)) {
        return false;
    }
    for (; *name != '\0'; name++) {
        if (!isalnum((unsigned char) *name) && *name != '_') {
            return false;
        }
    }
    return true;
}

static int take_descriptor(const struct tpc_module *given, struct tpc_error *err,
                           struct tpc_module *ret)
{
    if (given == NULL || given->iface.size < offsetof(struct tpc_module, needs)) {
        return tpi_error_set(err, TPC_EINVAL, "core", "not a module descriptor");
    }
    size_t size = given->iface.size < sizeof(*ret) ? given->iface.size : sizeof(*ret);
    struct tpc_module m;
    memset(&m, 0, sizeof(m));
    memcpy(&m, given, size);
    if (!name_valid(m.name)) {
        return tpi_error_set(err, TPC_EINVAL, "core", "a module's name must be a C identifier");
    }
    if (m.iface.major != MODULE_MAJOR) {
        return tpi_error_set(err, TPC_EVERSION, m.name,
                             "module %s has descriptor major %u, this library has %u", m.name,
                             (unsigned) m.iface.major, (unsigned) MODULE_MAJOR);
    }
    if (m.interfaces.count > MAX_INTERFACES ||
        (m.interfaces.count > 0 && (m.interfaces.items == NULL ||
                                    m.interfaces.element_size < sizeof(struct tpc_interface)))) {
        return tpi_error_set(err, TPC_EINVAL, m.name, "module %s: bad list of interfaces", m.name);
    }
    *ret = m;
    return 0;
}

static void add_kind(struct tpi_module *m, const char *name)
{
    size_t len = strlen(m->kinds);
    size_t add = strlen(name);
    if (strstr(m->kinds, name) != NULL || len + add + 2 > sizeof(m->kinds)) {
        return;
    }
    if (len > 0) {
        m->kinds[len++] = ' ';
    }
    memcpy(m->kinds + len, name, add + 1);
}

int tpi_module_make(const struct tpc_allocator *alloc, const struct tpc_module *given,
                    struct tpc_error *err, struct tpi_module **ret)
{
    struct tpc_module desc;
    int rc = take_descriptor(given, err, &desc);
    if (rc != 0) {
        return rc;
    }
    uint32_t count = desc.interfaces.count;
    struct tpi_module *m = tpi_alloc_zero(alloc, sizeof(*m) + count * sizeof(m->items[0]));
    if (m == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, "core", "out of memory");
    }
    m->alloc = alloc;
    m->given = given;
    m->desc = desc;
    for (uint32_t i = 0; i < count; i++) {
        const struct tpc_interface *in = TPC_LIST_AT(struct tpc_interface, desc.interfaces, i);
        if (table_of(in->kind) == NULL) {
            continue; /* of a newer library: nobody here asks for it */
        }
        rc = take_table(desc.name, in, err, &m->items[m->count]);
        if (rc != 0) {
            tpi_free(alloc, m, sizeof(*m) + count * sizeof(m->items[0]));
            return rc;
        }
        add_kind(m, tpi_interface_name(in->kind));
        m->count++;
    }
    *ret = m;
    return 0;
}

void tpi_module_free(struct tpi_module *m)
{
    if (m != NULL) {
        tpi_free(m->alloc, m, sizeof(*m) + m->desc.interfaces.count * sizeof(m->items[0]));
    }
}

const struct tpi_interface *tpi_module_find(const struct tpi_module *m, uint32_t kind)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->items[i].kind == kind) {
            return &m->items[i];
        }
    }
    return NULL;
}
