/*
 * Topics and filters. A topic is levels with '/' between them; a filter may have '+' for one level
 * and a last '#' for the rest (MQTT 5.0 section 4.7). '/', '+', '#', '%' and control bytes of a key
 * are written %XX with upper-case digits. Any thread.
 */
#ifndef TPI_BUS_TOPIC_H
#define TPI_BUS_TOPIC_H

#include "base/buf.h"
#include <stdbool.h>
#include <tpcore/error.h>

enum {
    TPI_FILTER_BYTES_MAX = 1024,
    TPI_FILTER_LEVELS_MAX = 32,
    TPI_TOPIC_KINDS = 64 /* kinds that a mask of tpi_filter_kinds() can hold */
};

enum tpi_filter_flags { TPI_FILTER_SYSTEM = 1 /* the first level, the tenant, may be + or # */ };

/* All three append to out and return 0, TPC_ENOMEM or TPC_ETOOBIG (out's limit). */

/* A key as one level. */
int tpi_topic_key(struct tpi_buf *out, struct tpc_str key);

/* "{tenant}/up/{product}/{device}/", or "down": a message's topic without its kind. */
int tpi_topic_device(struct tpi_buf *out, struct tpc_str tenant, bool down, struct tpc_str product,
                     struct tpc_str device);

/* "{tenant}/entity/{kind}/{key}/updated". */
int tpi_topic_entity(struct tpi_buf *out, struct tpc_str tenant, struct tpc_str kind,
                     struct tpc_str key);

/* Level as key: %XX undone, any digits' case. Returns 0, TPC_EDECODE, TPC_ENOMEM or TPC_ETOOBIG. */
int tpi_topic_unescape(struct tpi_buf *out, struct tpc_str level);

/* Whether a filter is one: 1..1,024 bytes of UTF-8 without NUL, at most 32 levels, '+' and '#'
 * alone in their level, '#' last; without SYSTEM the first level is a tenant. Returns 0 or
 * TPC_EINVAL. */
int tpi_filter_check(struct tpc_str filter, uint32_t flags, struct tpc_error *err);

/* Whether a checked filter matches a topic. A filter that begins with a wildcard does not match a
 * topic that begins with '$'. "a/#" matches "a". */
bool tpi_filter_match(struct tpc_str filter, struct tpc_str topic);

/* For which kinds k the filter matches prefix + tpc_kind_name(k): bit k, k < TPI_TOPIC_KINDS; bit 0
 * stands for all kinds without a name of their own. Done once for each subscription and device. */
uint64_t tpi_filter_kinds(struct tpc_str filter, struct tpc_str prefix);

#endif
