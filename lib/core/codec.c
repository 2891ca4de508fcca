/* Codecs that the program brings as a table of functions, without a module. */
#include <stdio.h>
#include <string.h>
#include <tpcore/codec.h>

#include "codec/codec.h"
#include "core/service.h"

struct tpi_own_codec {
    struct tpi_own_codec *next;
    struct tpc_codec_ops ops; /* of this library's size */
    void *self;
    char name[TPI_NAME_BYTES];
};

const struct tpc_codec_ops *tpi_own_codec(const struct tpc_core *core, struct tpc_str name,
                                          void **ret_self)
{
    for (const struct tpi_own_codec *c = core->codecs; c != NULL; c = c->next) {
        if (tpc_str_equal(tpc_str_from(c->name), name)) {
            *ret_self = c->self;
            return &c->ops;
        }
    }
    return NULL;
}

void tpi_own_codecs_free(struct tpc_core *core)
{
    while (core->codecs != NULL) {
        struct tpi_own_codec *c = core->codecs;
        core->codecs = c->next;
        tpi_free(core->env.alloc, c, sizeof(*c));
    }
}

/* A module's codec that is not opened yet counts, too. */
static bool is_taken(const struct tpc_core *core, const char *name)
{
    void *self;
    if (tpi_codec_builtin(tpc_str_from(name)) != NULL ||
        tpi_own_codec(core, tpc_str_from(name), &self) != NULL) {
        return true;
    }
    for (const struct tpi_module *m = core->modules; m != NULL; m = m->next) {
        const struct tpi_interface *i = tpi_module_find(m, TPC_KIND_CODEC);
        if (i != NULL && strcmp(tpi_interface_label(i), name) == 0) {
            return true;
        }
    }
    return false;
}

static int check(struct tpc_core *core, const char *name, const struct tpc_codec_ops *ops)
{
    size_t len = strlen(name);
    if (len == 0 || len >= TPI_NAME_BYTES ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != len) {
        return tpi_fail(TPC_EINVAL, "core",
                        "a codec's name is 1 to %d letters, digits, dots, dashes and underscores",
                        TPI_NAME_BYTES - 1);
    }
    if (ops->iface.major != 1) {
        return tpi_fail(TPC_EVERSION, "core", "codec %s: a table of major %u, 1 is expected", name,
                        (unsigned) ops->iface.major);
    }
    if (!TPC_HAS(ops, struct tpc_codec_ops, decode) ||
        !TPC_HAS(ops, struct tpc_codec_ops, encode)) {
        return tpi_fail(TPC_EINVAL, "core", "codec %s needs decode and encode", name);
    }
    if (core->was_started) {
        return tpi_fail(TPC_ESTATE, "core", "codecs are added before the start");
    }
    if (is_taken(core, name)) {
        return tpi_fail(TPC_EEXIST, "core", "there is a codec %s already", name);
    }
    return 0;
}

int tpc_core_add_codec(struct tpc_core *core, const char *name, const struct tpc_codec_ops *ops,
                       void *self)
{
    if (core == NULL || name == NULL || ops == NULL || ops->iface.size < sizeof(ops->iface)) {
        return tpi_fail(TPC_EINVAL, "core", "core, name or ops is NULL, or ops have no size");
    }
    int rc = check(core, name, ops);
    if (rc != 0) {
        return rc;
    }
    struct tpi_own_codec *c = tpi_alloc_zero(core->env.alloc, sizeof(*c));
    if (c == NULL) {
        return tpi_fail(TPC_ENOMEM, "core", "out of memory");
    }
    size_t given = ops->iface.size;
    memcpy(&c->ops, ops, given < sizeof(c->ops) ? given : sizeof(c->ops));
    snprintf(c->name, sizeof(c->name), "%s", name);
    c->ops.iface.size = sizeof(c->ops);
    c->ops.name = c->name;
    c->self = self;
    pthread_mutex_lock(&core->part_lock);
    c->next = core->codecs;
    core->codecs = c;
    pthread_mutex_unlock(&core->part_lock);
    return 0;
}
