/*
 * Templates of what goes down: ${name} between texts.
 *
 *     deviceName deviceType attributeKey attributeValue methodName requestId params
 *     params.x, and any other name x: a path (path.h) into the params
 *     params of {"value": x} alone, x being no map, is x
 *
 * Texts stand as they are, other values as JSON, a value that is null as null. What is not there leaves
 * nothing.
 */
#ifndef CONNECTOR_SAY_H
#define CONNECTOR_SAY_H

#include "path.h"

#include "base/buf.h"

enum say_name {
    SAY_TEXT, /* between the placeholders */
    SAY_DEVICE,
    SAY_TYPE,
    SAY_KEY,
    SAY_VALUE,
    SAY_METHOD,
    SAY_REQUEST,
    SAY_PARAMS,
    SAY_PATH
};

enum { SAY_PARTS_MAX = 64 };

struct say_part {
    enum say_name name;
    struct tpc_str text;
    struct path path;
};

struct say {
    const struct say_part *parts;
    uint32_t count;
};

struct say_values {
    struct tpc_str device, type, key, method, request;
    const struct tpc_value *value, *params; /* NULL = none */
    bool quote;                             /* texts of params stand as JSON, too */
};

/* As expr_compile(). */
int say_compile(struct tpc_arena *arena, struct tpc_str text, struct tpc_error *err,
                struct say *ret);

/* Appends the text to out; JSON is written in the arena first. Returns 0, TPC_ETOOBIG (over out's limit),
 * TPC_EDECODE (a value that JSON cannot hold) or TPC_ENOMEM. */
int say_fill(const struct say *s, const struct say_values *v, struct tpc_arena *arena,
             struct tpi_buf *out);

/* A filter for all topics that a template can make: levels with a placeholder become +. Appends. Returns 0,
 * TPC_EINVAL (a text of the template has + or #) or as tpi_buf_put(). */
int say_filter(const struct say *s, struct tpi_buf *out);

#endif
