/* The adapter's option table. README.md has it as people read it. */
#ifndef CONNECTOR_OPTIONS_H
#define CONNECTOR_OPTIONS_H

#include <tpcore/ext/option.h>

enum {
    CN_OPTION_COUNT = 25,
    CN_MAPPINGS_MAX = 256,
    CN_ENTRIES_MAX = 1024,  /* values of a mapping */
    CN_TEXT_MAX = 4096,     /* bytes of an expression */
    CN_PAYLOAD_MAX = 65536, /* bytes of what goes down */
    CN_DEVICE_MAX = 128,    /* bytes of a device's or product's key */
    CN_TOPIC_MAX = 1024
};

extern const struct tpc_option connector_options[CN_OPTION_COUNT];

#endif
