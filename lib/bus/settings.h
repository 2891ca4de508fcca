/*
 * Reading an engine's options out of the checked map that init() gets.
 */
#ifndef TPI_BUS_SETTINGS_H
#define TPI_BUS_SETTINGS_H

#include <tpcore/value.h>

/* A number of bytes or ms; def if the member is absent or no number. */
uint64_t tpi_setting_size(const struct tpc_value *cfg, const char *name, uint64_t def);

/* A text; the empty view if it is absent. */
struct tpc_str tpi_setting_text(const struct tpc_value *cfg, const char *name);

#endif
