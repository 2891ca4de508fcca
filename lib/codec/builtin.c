#include "codec/codec.h"

static const struct tpc_codec_ops *const builtins[] = { &tpi_codec_json, &tpi_codec_thingspanel,
                                                        &tpi_codec_alink, &tpi_codec_cbor,
                                                        &tpi_codec_thingsboard };

const struct tpc_codec_ops *tpi_codec_builtin(struct tpc_str name)
{
    for (size_t i = 0; i < sizeof(builtins) / sizeof(builtins[0]); i++) {
        if (tpc_str_equal(name, tpc_str_from(builtins[i]->name))) {
            return builtins[i];
        }
    }
    return NULL;
}
