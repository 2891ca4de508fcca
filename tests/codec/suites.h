#ifndef CODEC_SUITES_H
#define CODEC_SUITES_H

#include "../conform/codec_suite.h"
#include "codec/codec.h"
#include "tk.h"

#include <string.h>

Suite *json_suite(void);
Suite *alink_suite(void);
Suite *envelope_suite(void);
Suite *encode_suite(void);
Suite *points_suite(void);
Suite *thingsboard_suite(void);

static inline struct tpc_bytes bytes_of(const char *text)
{
    return (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
}

#endif
