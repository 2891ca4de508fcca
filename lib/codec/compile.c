#include "base/error.h"
#include "codec/codec.h"
#include "codec/emit.h"

int tpi_codec_name(const struct tpc_value *config, struct tpc_error *err, struct tpc_str *ret)
{
    const struct tpc_value *type = config;
    if (config->type == TPC_MAP) {
        type = tpc_value_get(config, TPC_STR("type"));
        if (type == NULL) {
            return tpi_error_set(err, TPC_EINVAL, "codec", "a codec needs a \"type\"");
        }
    }
    if (type->type != TPC_TEXT || type->len == 0) {
        tpi_error_set(err, TPC_EINVAL, "codec", "must be the name of a codec");
        if (type != config) {
            tpi_error_at(err, "type");
        }
        return TPC_EINVAL;
    }
    *ret = tpc_value_text(type);
    return 0;
}

int tpi_codec_compile_none(void *self, const struct tpc_codec_source *source, struct tpc_error *err,
                           void **ret_program)
{
    static const char program; /* its address only: a program that is not NULL */
    (void) self;
    struct tpc_str name;
    int rc = tpi_codec_name(&source->config, err, &name);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; source->config.type == TPC_MAP && i < source->config.len; i++) {
        struct tpc_str key = source->config.as.members[i].key;
        if (!tpc_str_equal(key, TPC_STR("type"))) {
            return tpi_error_set(err, TPC_EINVAL, "codec", "codec \"%.*s\" has no option \"%.*s\"",
                                 (int) name.len, name.ptr, (int) key.len, key.ptr);
        }
    }
    *ret_program = (void *) (uintptr_t) &program;
    return 0;
}

void tpi_codec_release_none(void *self, void *program)
{
    (void) self;
    (void) program;
}
