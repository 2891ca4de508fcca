/* Connector `modbus`: slaves grouped by the line that they are on. */
#include "tb_tree.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_SLAVES = 2000, LINE_MAPS = 250, MAP_TAGS = 10000 }; /* what one part takes */

/* A line and what stands on it. */
struct line {
    struct line *next;
    struct tpc_str url;
    struct tb_map options; /* without maps and slaves */
    struct tb_list maps, slaves;
    struct tb_list map_texts; /* JSON of a map's tags: slaves with the same tags share one */
    struct tpc_str common;    /* JSON of the options, to tell when a slave has others */
};

struct import {
    struct tb *t;
    struct line *lines;
    const struct tpc_value *report; /* of the connector; NULL = none */
};

/* ---- tags ---- */

static const struct tb_known tag_known[] = {
    { "tag", NULL },
    { "type", NULL },
    { "functionCode", NULL },
    { "objectsCount", NULL },
    { "address", NULL },
    { "divider", NULL },
    { "multiplier", NULL },
    { "round", NULL },
    { "bit", NULL },
    { "bitTargetType", NULL },
    { "variants", NULL },
    { "reportStrategy", NULL },
    { "byteOrder", NULL },
    { "wordOrder", NULL },
    { "maxRegistersPerRequest", "" }, /* reads are cut at 125 registers by themselves */
    { "sendDataOnlyOnChange", NULL },
};

struct tag {
    struct tpc_str name;
    const char *type;     /* ours; NULL = as the area */
    const char *property; /* its type in the product; NULL = any */
    int64_t function, count, address, last;
    bool range;
};

/* What a type of theirs is, given its objects. NULL = there is none such. */
static const char *type_of(struct tb *t, struct tpc_str theirs, int64_t count,
                           const char **ret_property)
{
    static const struct {
        const char *theirs, *ours, *property;
    } types[] = { { "8int", "int8", "int" },          { "8uint", "uint8", "int" },
                  { "16int", "int16", "int" },        { "16uint", "uint16", "int" },
                  { "32int", "int32", "int" },        { "32uint", "uint32", "int" },
                  { "64int", "int64", "int" },        { "64uint", "uint64", NULL },
                  { "16float", "float16", "double" }, { "32float", "float32", "double" },
                  { "64float", "float64", "double" }, { "string", "string", "text" },
                  { "bytes", "hex", "text" } };
    static const struct {
        const char *theirs, *ours;
    } sized[] = { { "int", "int" },   { "long", "int" },    { "integer", "int" },
                  { "uint", "uint" }, { "float", "float" }, { "double", "float" } };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (tb_is(theirs, types[i].theirs)) {
            *ret_property = types[i].property;
            return types[i].ours;
        }
    }
    for (size_t i = 0; i < sizeof(sized) / sizeof(sized[0]); i++) {
        if (tb_is(theirs, sized[i].theirs) && (count == 1 || count == 2 || count == 4)) {
            bool real = sized[i].ours[0] == 'f';
            *ret_property = real ? "double" : count == 4 && sized[i].ours[0] == 'u' ? NULL : "int";
            return tb_format(t, "%s%d", sized[i].ours, (int) count * 16);
        }
    }
    return NULL;
}

/* A number, or "FIRST-LAST". */
static bool read_address(struct tb *t, const struct tb_obj *o, struct tag *tag)
{
    const struct tpc_value *v = tb_find(o, "address");
    char text[32];
    char *end;
    if (v == NULL || v->type != TPC_TEXT) {
        if (v == NULL) {
            tb_error(t, o, "address", "is missing");
        }
        return v != NULL && tb_int(t, o, "address", 0, 65535, &tag->address);
    }
    if (v->len > 0 && v->len < sizeof(text)) {
        memcpy(text, v->as.text, v->len);
        text[v->len] = '\0';
        tag->address = strtol(text, &end, 10);
        tag->last = tag->address;
        if (end != text && *end == '-') {
            char *from = end + 1;
            tag->range = true;
            tag->last = strtol(from, &end, 10);
            end = end == from ? text : end;
        }
        if (end != text && *end == '\0' && tag->address >= 0 && tag->last >= tag->address &&
            tag->last <= 65535) {
            return true;
        }
    }
    tb_error(t, o, "address", "an address or a range such as \"0-30\" is expected");
    return false;
}

static bool read_tag(struct tb *t, const struct tb_obj *o, struct tag *tag)
{
    *tag = (struct tag){ .function = 3, .count = 1 };
    TB_SCAN(t, o, tag_known);
    tag->name = tb_text(t, o, "tag");
    if (tag->name.len == 0 || tag->name.len > 128) {
        tb_error(t, o, "tag", "a name of 1 to 128 bytes is expected");
        return false;
    }
    if (tb_find(o, "functionCode") == NULL) {
        tb_error(t, o, "functionCode", "is missing");
        return false;
    }
    bool good = tb_int(t, o, "functionCode", 1, 16, &tag->function);
    if (good && tag->function > 6 && tag->function < 15) {
        tb_error(t, o, "functionCode", "1 to 6, 15 or 16 is expected");
        good = false;
    }
    if (tb_find(o, "objectsCount") != NULL) {
        good &= tb_int(t, o, "objectsCount", 1, 2000, &tag->count);
    }
    return good && read_address(t, o, tag);
}

static const char *area_of(int64_t function)
{
    switch (function) {
    case 1:
    case 5:
    case 15:
        return "coil";
    case 2:
        return "discrete";
    case 4:
        return "input";
    default:
        return "holding";
    }
}

static bool is_bit_area(int64_t function)
{
    return function == 1 || function == 2 || function == 5 || function == 15;
}

static void put_bits(struct tb *t, const struct tb_obj *o, struct tag *tag, struct tb_map *out)
{
    int64_t bit = 0;
    bool one = tb_int(t, o, "bit", 0, 1999, &bit);
    bool bits = is_bit_area(tag->function);
    if (tb_is(tb_text(t, o, "bitTargetType"), "int")) {
        tb_note(t, o, "bitTargetType", "bits are true and false, not 1 and 0");
    }
    tag->property = "bool";
    if (!bits && (one || tag->count == 1)) {
        tag->address += bit / 16;
        tb_put(t, out, "bit", tb_of_int(bit % 16));
    } else if (one) {
        tag->address += bit;
    } else if (tag->count > 1) {
        tb_put(t, out, "type", tb_of_text("bits"));
        if (tag->count > 125) {
            tb_note(t, o, "objectsCount", "a tag has 125 at most: those are read");
        }
        tb_put(t, out, "count", tb_of_int(tag->count < 125 ? tag->count : 125));
        tag->property = NULL;
    }
}

/* type, count and what is done with the number. false: the type cannot be used. */
static bool put_type(struct tb *t, const struct tb_obj *o, struct tag *tag, struct tb_map *out)
{
    struct tpc_str theirs = tb_text(t, o, "type");
    if (tb_is(theirs, "bits") || tb_is(theirs, "bit") || is_bit_area(tag->function)) {
        put_bits(t, o, tag, out);
        return true;
    }
    tag->type = type_of(t, theirs, tag->count, &tag->property);
    if (tag->type == NULL) {
        tb_note(t, o, "type", "no type \"%.40s\" of %" PRId64 " objects: the tag is left out",
                theirs.len > 0 ? tb_format(t, "%.*s", (int) theirs.len, theirs.ptr) : "",
                tag->count);
        t->now->left_out++;
        return false;
    }
    tb_put(t, out, "type", tb_of_text(tag->type));
    if (strcmp(tag->type, "string") == 0 || strcmp(tag->type, "hex") == 0) {
        tb_put(t, out, "count", tb_of_int(tag->count < 125 ? tag->count : 125));
    }
    return true;
}

static void put_scale(struct tb *t, const struct tb_obj *o, struct tag *tag, struct tb_map *out)
{
    static const char *const factors[] = { "multiplier", "divider" };
    int64_t round;
    for (size_t i = 0; i < 2; i++) {
        double d = 1;
        if (tb_double(t, o, factors[i], &d) && d != 1) {
            if (d == 0) {
                tb_error(t, o, factors[i], "is 0");
                continue;
            }
            tb_put(t, out, factors[i], tb_of_double(d));
            tag->property = tag->property != NULL ? "double" : NULL;
        }
    }
    if (tb_find(o, "round") != NULL && tb_int(t, o, "round", 0, 15, &round)) {
        tb_put(t, out, "round", tb_of_int(round < 9 ? round : 9));
    }
    struct tb_obj variants = tb_map(t, o, "variants");
    if (variants.map != NULL && variants.map->len > 0) {
        tb_put(t, out, "names", *variants.map);
        tag->property = NULL;
    }
}

static void put_order(struct tb *t, const struct tb_obj *o, const char *theirs, const char *ours,
                      bool always, struct tb_map *out)
{
    struct tpc_str order = tb_text(t, o, theirs);
    if (order.len == 0 && !always) {
        return;
    }
    if (order.len > 0 && !tb_is(order, "BIG") && !tb_is(order, "LITTLE")) {
        tb_error(t, o, theirs, "BIG or LITTLE is expected");
    }
    /* Without the option theirs is little, in both. */
    tb_put(t, out, ours, tb_of_text(tb_is(order, "BIG") ? "big" : "little"));
}

/* "r_${address}" of a range. */
static struct tpc_str range_name(struct tb *t, const struct tag *tag, int64_t address, int64_t unit,
                                 struct tpc_str type)
{
    char out[129];
    size_t len = 0;
    bool named = false;
    for (size_t i = 0; i < tag->name.len && len < sizeof(out) - 1;) {
        char number[24];
        struct tpc_str put = { number, 0 };
        struct tpc_str rest = { tag->name.ptr + i, tag->name.len - i };
        const struct {
            const char *mark;
            int64_t value;
        } marks[] = { { "${address}", address },
                      { "${unitId}", unit },
                      { "${functionCode}", tag->function },
                      { "${objectsCount}", tag->count } };
        size_t skip = 0;
        for (size_t k = 0; k < sizeof(marks) / sizeof(marks[0]); k++) {
            size_t n = strlen(marks[k].mark);
            if (rest.len >= n && memcmp(rest.ptr, marks[k].mark, n) == 0) {
                put.len = (size_t) snprintf(number, sizeof(number), "%" PRId64, marks[k].value);
                skip = n;
                named |= k == 0;
            }
        }
        if (skip == 0 && rest.len >= 7 && memcmp(rest.ptr, "${type}", 7) == 0) {
            put = type;
            skip = 7;
        }
        if (skip == 0) {
            out[len++] = tag->name.ptr[i++];
            continue;
        }
        for (size_t k = 0; k < put.len && len < sizeof(out) - 1; k++) {
            out[len++] = put.ptr[k];
        }
        i += skip;
    }
    out[len] = '\0';
    const char *text =
        named ? tb_format(t, "%s", out) : tb_format(t, "%.110s_%" PRId64, out, address);
    return tpc_str_from(text);
}

/* Tags of a slave while they are collected. */
struct tags {
    struct tb_list list;
    struct tb_product *product;
    int64_t unit;
    const struct tb_obj *slave;
};

static const char *write_of(int64_t function)
{
    return function == 15 || function == 16 ? "multiple" : "single";
}

/* How a tag may be written: by an entry of attributeUpdates or rpc with its name. */
static const char *writable(struct tb *t, const struct tb_obj *slave, struct tpc_str name)
{
    static const char *const lists[] = { "attributeUpdates", "rpc" };
    for (size_t l = 0; l < 2; l++) {
        size_t n = tb_list(t, slave, lists[l]);
        for (size_t i = 0; i < n; i++) {
            const struct tpc_value *v = &tb_find(slave, lists[l])->as.items[i];
            const struct tpc_value *f = tpc_value_get(v, TPC_STR("functionCode"));
            int64_t function = f != NULL && f->type == TPC_INT ? f->as.i : 0;
            if (v->type == TPC_MAP && function >= 5 &&
                tpc_str_equal(tpc_value_text(tpc_value_get(v, TPC_STR("tag"))), name)) {
                return write_of(function);
            }
        }
    }
    return NULL;
}

static bool has_tag(const struct tags *tags, struct tpc_str name)
{
    for (size_t i = 0; i < tags->list.count; i++) {
        const struct tpc_value *m = &tags->list.items[i];
        if (tpc_str_equal(tpc_value_text(tpc_value_get(m, TPC_STR("name"))), name)) {
            return true;
        }
    }
    return false;
}

static void add_tag(struct tb *t, struct tags *tags, const struct tb_obj *o,
                    const struct tag *given, struct tpc_str name, int64_t address, bool attribute,
                    const char *poll)
{
    struct tb_map m = { NULL, 0, 0 };
    struct tag tag = *given;
    struct tpc_value report;
    if (tags->list.count >= MAP_TAGS || ++t->tag_total > TB_TAGS_MAX) {
        tb_error(t, o, NULL, "more than %d tags of a slave, or %d of all", MAP_TAGS, TB_TAGS_MAX);
        return;
    }
    if (has_tag(tags, name)) {
        tb_note(t, o, "tag",
                "there is a tag of this name already: that one is read, this one is not");
        t->now->left_out++;
        return;
    }
    tag.address = address;
    tb_put(t, &m, "name", tb_of_str(name));
    if (!put_type(t, o, &tag, &m)) {
        return;
    }
    if (strcmp(area_of(tag.function), "holding") != 0) {
        tb_put(t, &m, "area", tb_of_text(area_of(tag.function)));
    }
    tb_put(t, &m, "address", tb_of_int(tag.address));
    put_scale(t, o, &tag, &m);
    put_order(t, o, "byteOrder", "byte_order", false, &m);
    put_order(t, o, "wordOrder", "word_order", false, &m);
    if (attribute) {
        tb_put(t, &m, "kind", tb_of_text("attributes"));
    }
    const char *write = tag.function >= 5 ? write_of(tag.function) : writable(t, tags->slave, name);
    bool output = tag.function == 1 || tag.function == 3 || tag.function >= 5;
    if (output) {
        tb_put(t, &m, "write", tb_of_text(write != NULL ? write : "no"));
    }
    if (poll != NULL) {
        tb_put(t, &m, "poll", tb_of_text(poll));
    }
    tb_add(t, &tags->list, tb_of_map(&m));
    bool strategy = tb_report(t, o, &report);
    tb_property(t, tags->product, name, tag.property, attribute, output && write != NULL,
                strategy ? &report : NULL);
}

static void read_tags(struct tb *t, struct tags *tags, const char *list, bool attribute)
{
    size_t n = tb_list(t, tags->slave, list);
    for (size_t i = 0; i < n; i++) {
        struct tb_obj o = tb_item(t, tags->slave, list, i);
        struct tag tag;
        if (o.map == NULL || !read_tag(t, &o, &tag)) {
            continue;
        }
        if (!tag.range) {
            add_tag(t, tags, &o, &tag, tag.name, tag.address, attribute, NULL);
            continue;
        }
        for (int64_t a = tag.address; a <= tag.last && !t->failed; a += tag.count) {
            struct tpc_str name = range_name(t, &tag, a, tags->unit, tb_text(t, &o, "type"));
            add_tag(t, tags, &o, &tag, name, a, attribute, NULL);
        }
    }
}

/* What is only written, or asked for by an RPC, is a tag that is read once a day. */
static void read_written(struct tb *t, struct tags *tags, const char *list)
{
    size_t n = tb_list(t, tags->slave, list);
    for (size_t i = 0; i < n; i++) {
        struct tb_obj o = tb_item(t, tags->slave, list, i);
        struct tag tag;
        struct tpc_str name = o.map != NULL ? tb_text(t, &o, "tag") : (struct tpc_str){ "", 0 };
        if (strcmp(list, "attributeUpdates") == 0) {
            tb_asks(t, name);
        }
        if (o.map == NULL || has_tag(tags, name) || !read_tag(t, &o, &tag)) {
            continue;
        }
        add_tag(t, tags, &o, &tag, tag.name, tag.address, true, "24h");
        tb_note(t, &o, NULL, "is no tag that is read: it becomes one, read once a day");
    }
}

/* ---- slaves ---- */

static const struct tb_known slave_known[] = {
    { "host", NULL },
    { "port", NULL },
    { "type", NULL },
    { "method", NULL },
    { "unitId", NULL },
    { "deviceName", NULL },
    { "deviceType", NULL },
    { "timeout", NULL },
    { "retries", NULL },
    { "pollPeriod", NULL },
    { "timeseriesPollPeriod", NULL },
    { "attributesPollPeriod", NULL },
    { "byteOrder", NULL },
    { "wordOrder", NULL },
    { "baudrate", NULL },
    { "stopbits", NULL },
    { "bytesize", NULL },
    { "parity", NULL },
    { "delayBetweenRequestsMs", NULL },
    { "connectAttemptTimeMs", NULL },
    { "connectAttemptCount", "" },
    { "waitAfterFailedAttemptsMs", NULL },
    { "attributes", NULL },
    { "timeseries", NULL },
    { "attributeUpdates", NULL },
    { "rpc", NULL },
    { "reportStrategy", NULL },
    { "sendDataOnlyOnChange", NULL },
    { "sendDataToThingsBoard", "" },
    { "retryOnEmpty", "" },
    { "retryOnInvalid", "" },
    { "strict", "" },
    { "repack", "registers are not packed anew: set byteOrder and wordOrder as the device is" },
    { "security", "there is no Modbus over TLS" },
    { "tls", "there is no Modbus over TLS" },
    { "name", "" },
    { "devices", NULL },
    { "connectionTimeout", "" },
};

static void leave_out(struct tb *t, const struct tb_obj *o, const char *member, const char *why)
{
    tb_note(t, o, member, "%s: the device is left out", why);
    t->now->left_out++;
}

/* Empty: it cannot be reached. */
static struct tpc_str url_of(struct tb *t, const struct tb_obj *o)
{
    struct tpc_str type = tb_text(t, o, "type");
    struct tpc_str method = tb_text(t, o, "method");
    struct tpc_str none = { "", 0 };
    struct tpc_str host = tb_text(t, o, "host");
    if (tb_is(method, "ascii")) {
        leave_out(t, o, "method", "there is no ASCII framing");
        return none;
    }
    if (tb_is(type, "serial")) {
        const struct tpc_value *port = tb_find(o, "port");
        struct tpc_str tty = port != NULL && port->type == TPC_TEXT ? tpc_value_text(port) : none;
        if (tty.len == 0) {
            tb_error(t, o, "port", "the serial device is expected");
            return none;
        }
        return tpc_str_from(tb_format(t, "rtu://%.*s", (int) tty.len, tty.ptr));
    }
    if (type.len > 0 && !tb_is(type, "tcp")) {
        leave_out(t, o, "type", "neither tcp nor serial");
        return none;
    }
    int64_t port = 502;
    if (host.len == 0 || host.len > 200) {
        tb_error(t, o, "host", "is missing");
        return none;
    }
    (void) tb_int(t, o, "port", 1, 65535, &port);
    return tpc_str_from(tb_format(t, "%s://%.*s:%" PRId64, tb_is(method, "rtu") ? "rtutcp" : "tcp",
                                  (int) host.len, host.ptr, port));
}

static void put_ms(struct tb *t, const struct tb_obj *o, const char *theirs, int64_t factor,
                   int64_t min, int64_t max, const char *ours, struct tb_map *out)
{
    double n;
    if (tb_find(o, theirs) == NULL || !tb_double(t, o, theirs, &n)) {
        return;
    }
    double ms = n * (double) factor;
    ms = ms < (double) min ? (double) min : ms > (double) max ? (double) max : ms;
    tb_put(t, out, ours, tb_of_ms(t, (int64_t) ms));
}

static void put_serial(struct tb *t, const struct tb_obj *o, struct tb_map *out)
{
    struct tpc_str parity = tb_text(t, o, "parity");
    int64_t n;
    if (tb_find(o, "baudrate") != NULL && tb_int(t, o, "baudrate", 110, 4000000, &n)) {
        tb_put(t, out, "baud", tb_of_int(n));
    }
    tb_put(t, out, "parity",
           tb_of_text(tb_is(parity, "E")   ? "even"
                      : tb_is(parity, "O") ? "odd"
                                           : "none"));
    if (tb_find(o, "bytesize") != NULL && tb_int(t, o, "bytesize", 5, 8, &n)) {
        tb_put(t, out, "data_bits", tb_of_int(n));
    }
    n = 1;
    (void) tb_int(t, o, "stopbits", 1, 2, &n);
    tb_put(t, out, "stop_bits", tb_of_int(n));
}

/* What a line's options are as this slave has them. */
static void line_options(struct import *im, const struct tb_obj *o, struct tpc_str url,
                         struct tb_map *out)
{
    struct tb *t = im->t;
    const struct tpc_value *retries = tb_find(o, "retries");
    int64_t n;
    struct tpc_value report;
    tb_put(t, out, "type", tb_of_text("modbus"));
    tb_put(t, out, "url", tb_of_str(url));
    tb_put(t, out, "format", tb_of_text("cbor"));
    put_order(t, o, "byteOrder", "byte_order", true, out);
    put_order(t, o, "wordOrder", "word_order", true, out);
    put_ms(t, o, "timeout", 1000, 10, 60000, "timeout", out);
    if (retries != NULL && retries->type != TPC_BOOL && tb_int(t, o, "retries", 0, 1000, &n)) {
        tb_put(t, out, "retries", tb_of_int(n < 10 ? n : 10));
    }
    put_ms(t, o, "delayBetweenRequestsMs", 1, 0, 10000, "delay", out);
    put_ms(t, o, "connectAttemptTimeMs", 1, 500, 3600000, "retry_min", out);
    put_ms(t, o, "waitAfterFailedAttemptsMs", 1, 30000, 86400000, "retry_max", out);
    if (url.len > 4 && memcmp(url.ptr, "rtu:", 4) == 0) {
        put_serial(t, o, out);
    }
    if (im->report != NULL) {
        report = *im->report;
        tb_put(t, out, "report", report);
    }
}

static struct line *line_of(struct import *im, const struct tb_obj *o, struct tpc_str url)
{
    struct tb *t = im->t;
    struct tb_map options = { NULL, 0, 0 };
    struct line **at = &im->lines;
    line_options(im, o, url, &options);
    struct tpc_value v = tb_of_map(&options);
    struct tpc_str text = tb_json(t, &v);
    for (; *at != NULL; at = &(*at)->next) {
        struct line *l = *at;
        if (!tpc_str_equal(l->url, url) || l->slaves.count >= LINE_SLAVES ||
            l->maps.count >= LINE_MAPS) {
            continue;
        }
        if (!tpc_str_equal(l->common, text)) {
            tb_note(t, o, NULL,
                    "byte order, time-outs or pauses differ from those of the first slave on %.*s: "
                    "that one's are used, tags keep their byte order",
                    (int) url.len, url.ptr);
        }
        return l;
    }
    struct line *l = tpc_arena_take(t->arena, sizeof(*l));
    if (l == NULL) {
        t->no_memory = true;
        return NULL;
    }
    *l = (struct line){ .url = url, .options = options, .common = text };
    *at = l;
    return l;
}

/* The line has one byte order; a slave with another says it at each of its tags. */
static void own_orders(struct tb *t, const struct tb_obj *o, struct line *l, struct tags *tags)
{
    static const char *const names[][2] = { { "byteOrder", "byte_order" },
                                            { "wordOrder", "word_order" } };
    struct tpc_value line = tb_of_map(&l->options);
    for (size_t i = 0; i < 2; i++) {
        const char *ours = names[i][1];
        struct tpc_str common = tpc_value_text(tpc_value_get(&line, tpc_str_from(ours)));
        const char *mine = tb_is(tb_text(t, o, names[i][0]), "BIG") ? "big" : "little";
        if (tb_is(common, mine)) {
            continue;
        }
        for (size_t k = 0; k < tags->list.count; k++) {
            struct tpc_value *v = &tags->list.items[k];
            if (tpc_value_get(v, tpc_str_from(ours)) == NULL) {
                struct tb_map m = { NULL, 0, 0 };
                for (size_t j = 0; j < v->len; j++) {
                    tb_put(t, &m, tb_copy(t, v->as.members[j].key), v->as.members[j].value);
                }
                tb_put(t, &m, ours, tb_of_text(mine));
                *v = tb_of_map(&m);
            }
        }
    }
}

/* Name of the map with these tags. */
static const char *map_of(struct tb *t, struct line *l, const struct tags *tags, const char *poll)
{
    struct tb_map m = { NULL, 0, 0 };
    struct tpc_value list = tb_of_list(&tags->list);
    struct tpc_str text = tb_json(t, &list);
    for (size_t i = 0; i < l->maps.count; i++) {
        const struct tpc_value *map = &l->maps.items[i];
        if (tpc_str_equal(tpc_value_text(&l->map_texts.items[i]), text) &&
            tb_is(tpc_value_text(tpc_value_get(map, TPC_STR("poll"))), poll)) {
            return tb_copy(t, tpc_value_text(tpc_value_get(map, TPC_STR("name"))));
        }
    }
    const char *name = tb_format(t, "map-%zu", l->maps.count + 1);
    tb_put(t, &m, "name", tb_of_text(name));
    tb_put(t, &m, "poll", tb_of_text(poll));
    tb_put(t, &m, "tags", list);
    tb_add(t, &l->maps, tb_of_map(&m));
    tb_add(t, &l->map_texts, tb_of_str(text));
    return name;
}

static void put_device(struct import *im, const struct tb_obj *o, struct tpc_str device,
                       struct tpc_str type)
{
    struct tb *t = im->t;
    struct tb_map m = { NULL, 0, 0 };
    struct tb_map change = { NULL, 0, 0 };
    struct tpc_value report;
    for (size_t i = 0; i < t->devices.count; i++) {
        if (tpc_str_equal(t->devices.items[i].key, device)) {
            return; /* two entries feed one device */
        }
    }
    tb_put(t, &t->devices, tb_copy(t, device), tb_of_bool(true));
    tb_put(t, &m, "kind", tb_of_text("device"));
    tb_put(t, &m, "key", tb_of_str(device));
    tb_put(t, &m, "product", tb_of_str(type));
    if (tb_report(t, o, &report)) {
        tb_put(t, &m, "report", report);
    } else if (tb_bool(t, o, "sendDataOnlyOnChange", false)) {
        tb_put(t, &change, "mode", tb_of_text("change"));
        tb_put(t, &m, "report", tb_of_map(&change));
    }
    tb_add(t, &t->entities, tb_of_map(&m));
}

static const char *poll_of(struct tb *t, const struct tb_obj *o)
{
    int64_t ms = 5000;
    const char *name =
        tb_find(o, "pollPeriod") == NULL && tb_find(o, "timeseriesPollPeriod") != NULL
            ? "timeseriesPollPeriod"
            : "pollPeriod";
    (void) tb_int(t, o, name, 0, 86400000, &ms);
    struct tpc_value v = tb_of_ms(t, ms < 10 ? 10 : ms);
    return v.as.text;
}

static void read_slave(struct import *im, const struct tb_obj *o)
{
    struct tb *t = im->t;
    struct tb_map m = { NULL, 0, 0 };
    int64_t unit = 1;
    TB_SCAN(t, o, slave_known);
    struct tpc_str device = tb_text(t, o, "deviceName");
    struct tpc_str type = tb_text(t, o, "deviceType");
    type = type.len > 0 ? type : TPC_STR("default");
    (void) tb_int(t, o, "unitId", 0, 255, &unit);
    if (device.len == 0 || device.len > 128) {
        tb_error(t, o, "deviceName", "a name of 1 to 128 bytes is expected");
        return;
    }
    if (!tb_passes(t, device)) {
        tb_note(t, o, "deviceName", "\"%.*s\" is denied by the device filter: left out",
                (int) device.len, device.ptr);
        return;
    }
    struct tpc_str url = url_of(t, o);
    struct line *l = url.len > 0 ? line_of(im, o, url) : NULL;
    if (l == NULL) {
        return;
    }
    struct tags tags = { .product = tb_product_of(t, type), .unit = unit, .slave = o };
    read_tags(t, &tags, "timeseries", false); /* first: what is in both lists is telemetry */
    read_tags(t, &tags, "attributes", true);
    read_written(t, &tags, "attributeUpdates");
    read_written(t, &tags, "rpc");
    if (tags.list.count == 0) {
        leave_out(t, o, NULL, "nothing is read of it");
        return;
    }
    own_orders(t, o, l, &tags);
    tb_put(t, &m, "device", tb_of_str(device));
    tb_put(t, &m, "unit", tb_of_int(unit));
    tb_put(t, &m, "map", tb_of_text(map_of(t, l, &tags, poll_of(t, o))));
    tb_add(t, &l->slaves, tb_of_map(&m));
    put_device(im, o, device, type);
    t->now->devices++;
    t->now->tags += (uint32_t) tags.list.count;
}

/* ---- the file ---- */

static const struct tb_known file_known[] = {
    { "name", NULL },
    { "id", "" },
    { "logLevel", "" },
    { "enableRemoteLogging", "logs are not sent to the server: see the journal" },
    { "configVersion", "" },
    { "reportStrategy", NULL },
    { "sendDataOnlyOnChange", "" },
    { "master", NULL },
    { "server", NULL }, /* the form before 3.0 */
    { "slave", "the gateway is a master only: nothing answers as a slave" },
    { "uplinkQueueSize", "" },
};

static void read_slaves(struct import *im, const struct tb_obj *in, const char *list,
                        const struct tpc_value *base)
{
    size_t n = tb_list(im->t, in, list);
    for (size_t i = 0; i < n && !im->t->no_memory; i++) {
        struct tb_obj o = tb_item(im->t, in, list, i);
        o.base = base;
        if (o.map != NULL) {
            read_slave(im, &o);
        }
    }
}

void tb_modbus(struct tb *t, const struct tb_obj *file)
{
    static const struct tb_known master_known[] = { { "slaves", NULL } };
    struct import im = { .t = t };
    struct tpc_value report;
    TB_SCAN(t, file, file_known);
    if (tb_report(t, file, &report)) {
        im.report = &report;
    } else if (t->report.type == TPC_MAP) {
        im.report = &t->report;
    }
    struct tb_obj master = tb_map(t, file, "master");
    TB_SCAN(t, &master, master_known);
    if (master.map != NULL) {
        read_slaves(&im, &master, "slaves", NULL);
    }
    struct tb_obj server = tb_map(t, file, "server");
    if (server.map != NULL) {
        TB_SCAN(t, &server, slave_known);
        read_slaves(&im, &server, "devices", server.map);
    }
    for (struct line *l = im.lines; l != NULL && !t->failed; l = l->next) {
        if (l->slaves.count > 0) {
            tb_put(t, &l->options, "maps", tb_of_list(&l->maps));
            tb_put(t, &l->options, "slaves", tb_of_list(&l->slaves));
            (void) tb_adapter(t, tpc_str_from(t->now->name), &l->options);
        }
    }
    if (im.lines == NULL && tb_find(file, "slave") != NULL && !t->failed) {
        t->now->reason = "it is a slave only, and there is no Modbus slave here";
    }
}
