#include "bus/settings.h"

uint64_t tpi_setting_size(const struct tpc_value *cfg, const char *name, uint64_t def)
{
    const struct tpc_value *v = cfg == NULL ? NULL : tpc_value_get(cfg, tpc_str_from(name));
    int64_t x;

    if (v == NULL || tpc_value_int(v, &x) != 0 || x < 0) {
        return def;
    }
    return (uint64_t) x;
}

struct tpc_str tpi_setting_text(const struct tpc_value *cfg, const char *name)
{
    const struct tpc_value *v = cfg == NULL ? NULL : tpc_value_get(cfg, tpc_str_from(name));
    struct tpc_str none = { "", 0 };

    return v == NULL ? none : tpc_value_text(v);
}
