#include "raw.h"

#include "data/member.h"

/* Options have limits, a command does not. */
static const struct range {
    const char *name;
    int64_t low, high;
    const char *wrong;
} ranges[] = {
    { "function", 1, 16, "function is one of 1 to 6, 15, 16" },
    { "address", 0, 65535, "address is a number from 0 to 65535" },
    { "count", 1, MB_READ_REGISTERS_MAX, "count is a number from 1 to 125" },
    { "bit", 0, 15, "bit is a number from 0 to 15" },
    { "round", 0, 9, "round is a number from 0 to 9" },
};

static const char *out_of_range(const struct tpc_value *doc)
{
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        const struct tpc_value *v = tpi_member(doc, ranges[i].name);
        int64_t n;
        if (v != NULL && v->type != TPC_NULL &&
            (v->type != TPC_INT || tpc_value_int(v, &n) != 0 || n < ranges[i].low ||
             n > ranges[i].high)) {
            return ranges[i].wrong;
        }
    }
    return tpi_member(doc, "address") == NULL ? "there is no address" : NULL;
}

/* The function that reads what this one writes. */
static uint8_t reading_one(int64_t function)
{
    switch (function) {
    case MB_WRITE_COIL:
    case MB_WRITE_COILS:
        return MB_READ_COILS;
    case MB_WRITE_REGISTER:
    case MB_WRITE_REGISTERS:
        return MB_READ_HOLDING;
    default:
        return (uint8_t) function;
    }
}

const char *mb_raw_read(const struct tpc_value *doc, const struct tpc_value *bus,
                        struct mb_tag *ret, const struct tpc_value **ret_value)
{
    struct tpc_str type = tpi_member_text(doc, "type");
    const char *wrong = out_of_range(doc);
    int64_t function = tpi_member_int(doc, "function", 0);
    const struct tpc_value *value = tpi_member(doc, "value");
    value = value != NULL && value->type == TPC_NULL ? NULL : value;
    if (wrong != NULL) {
        return wrong;
    }
    if (function > MB_WRITE_REGISTER && function < MB_WRITE_COILS) {
        return ranges[0].wrong;
    }
    if (type.len > 0 && !mb_type_known(type)) {
        return "there is no such type";
    }
    if (function > MB_READ_INPUT && value == NULL) {
        return "there is no value to write";
    }
    if (function != 0 && function <= MB_READ_INPUT && value != NULL) {
        return "this function reads: there is a value too many";
    }
    wrong = mb_tag_read(doc, bus, 0, reading_one(function), ret);
    ret->name = TPC_STR("value");
    if (function > MB_READ_INPUT) {
        ret->writing = function < MB_WRITE_COILS ? MB_WRITE_SINGLE : MB_WRITE_MULTIPLE;
    }
    if (wrong == NULL && ret->writing == MB_WRITE_SINGLE && value != NULL &&
        ret->shape.count != 1) {
        wrong = "one function writes one register";
    }
    *ret_value = value;
    return wrong;
}
