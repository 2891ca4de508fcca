/*
 * What the configuration says of slaves and tags, checked and read once. All lives as long as the arena
 * and the configuration.
 */
#ifndef MB_TAG_H
#define MB_TAG_H

#include <tpcore/arena.h>
#include <tpcore/ext/module.h>

#include "plan.h"
#include "value.h"

enum {
    MB_SLAVES_MAX = 2000,
    MB_TAGS_MAX = 20000, /* of one slave or map */
    MB_MAPS_MAX = 256,
    MB_OPTION_COUNT = 21
};

enum mb_writing { MB_WRITE_NO = 0, MB_WRITE_SINGLE = 1, MB_WRITE_MULTIPLE = 2, MB_WRITE_AUTO = 3 };

struct mb_tag {
    struct tpc_str name;
    struct mb_shape shape;
    uint32_t poll_ms;
    uint8_t function; /* that reads it */
    uint8_t writing;  /* enum mb_writing */
    bool attribute;   /* else telemetry */
    bool read_back;   /* after a write the value is read and told */
    uint16_t address;
};

struct mb_map {
    struct tpc_str name;
    const struct mb_tag *tags;
    uint32_t count;
};

struct mb_slave_config {
    struct tpc_str device, product;
    uint8_t unit;
    const struct mb_tag *tags;
    uint32_t count;
    struct mb_limits limits;
};

struct mb_config {
    struct tpc_str url;
    struct mb_slave_config *slaves;
    uint32_t slave_count;
    bool json;               /* what frames are written in; else CBOR */
    uint32_t timeout_ms;     /* of one answer */
    uint32_t retries;        /* of one request, after the first */
    uint32_t delay_ms;       /* between two requests */
    uint32_t connect_ms;     /* of a connection */
    uint32_t pipeline;       /* requests under way at once */
    uint32_t degraded_after; /* time-outs in a row */
    uint32_t back_off_min_ms, back_off_max_ms;
    /* Of a serial line. */
    uint32_t baud;
    char parity; /* N, E, O */
    int data_bits, stop_bits;
};

extern const struct tpc_option mb_options[MB_OPTION_COUNT];

/* Of the checked options. Returns 0, TPC_EINVAL, TPC_EEXIST (two tags or maps of a name) or TPC_ENOMEM, by
 * host->fail with the path. */
int mb_config_read(const struct tpc_host *host, void *ctx, const struct tpc_value *cfg,
                   struct tpc_arena *arena, struct mb_config *ret);

/* A tag as the options have it, but for its names; function: 0 = as its area says. Returns NULL, or what is
 * wrong with it. */
const char *mb_tag_read(const struct tpc_value *doc, const struct tpc_value *bus, uint32_t poll_ms,
                        uint8_t function, struct mb_tag *t);
bool mb_type_known(struct tpc_str name);

/* The tag of that name, or NULL. */
const struct mb_tag *mb_tag_find(const struct mb_slave_config *s, struct tpc_str name);

#endif
