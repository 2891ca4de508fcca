/* Options of the plugin: plugin_opt_NAME VALUE in mosquitto.conf. */
#ifndef MOSQUITTO_OPTIONS_H
#define MOSQUITTO_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mosquitto.h>

#include "certificates.h"

enum { OPTIONS_TEXT_BYTES = 300, OPTIONS_KEY_BYTES = 128 };

struct plugin_options {
    char store_dir[1024]; /* required */
    char tenant[130];     /* "" = main */
    uint8_t secret_key[OPTIONS_KEY_BYTES];
    size_t secret_key_len; /* 0 or 32 */
    uint8_t token_key[OPTIONS_KEY_BYTES];
    size_t token_key_len; /* 0 or 32..128 */
    uint32_t refresh_ms;
    bool wrap;
    bool status;
    struct certificates_options certificates;
};

struct mosquitto_opt;

/* 0, or -1 with a text that names the option. */
int plugin_options_read(struct plugin_options *o, const struct mosquitto_opt *options, int count,
                        char ret_why[OPTIONS_TEXT_BYTES]);

#endif
