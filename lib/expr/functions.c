#include "expr/functions.h"

#include <string.h>

const struct function_group *const tpi_expr_groups[TPI_EXPR_GROUPS] = {
    &tpi_expr_state_functions, &tpi_expr_math_functions, &tpi_expr_text_functions,
    &tpi_expr_time_functions,  &tpi_expr_data_functions, &tpi_expr_script_functions,
};

static const struct function state_items[] = {
    { .name = "last",
      .aliases = "lag",
      .args = "?",
      .min = 1,
      .max = 1,
      .needs = TPI_EXPR_PREVIOUS,
      .special = SPECIAL_LAST,
      .usage = "last(name)",
      .help = "The value before the present one; null if there was none.",
      .since = "0.1" },
    { .name = "changed",
      .args = "?",
      .min = 1,
      .max = 1,
      .result = TPI_EXPR_BOOL,
      .needs = TPI_EXPR_PREVIOUS,
      .special = SPECIAL_CHANGED,
      .usage = "changed(name)",
      .help = "Whether the value differs from the one before; the first value ever does.",
      .since = "0.1" },
    { .name = "delta",
      .args = "n",
      .min = 1,
      .max = 1,
      .result = TPI_EXPR_NUMBER,
      .needs = TPI_EXPR_PREVIOUS,
      .special = SPECIAL_DELTA,
      .usage = "delta(name)",
      .help = "`name - last(name)`.",
      .since = "0.1" },
    { .name = "had_changed",
      .args = "b?",
      .min = 2,
      .max = 2,
      .result = TPI_EXPR_BOOL,
      .needs = TPI_EXPR_PREVIOUS,
      .special = SPECIAL_HAD_CHANGED,
      .usage = "had_changed(true, name)",
      .help = "As `changed(name)`; with true a value that became null has not changed.",
      .since = "0.1" },
    { .name = "changed_col",
      .args = "b?",
      .min = 2,
      .max = 2,
      .needs = TPI_EXPR_PREVIOUS,
      .special = SPECIAL_CHANGED_COL,
      .usage = "changed_col(true, name)",
      .help = "The value if `had_changed(true, name)`, else null.",
      .since = "0.1" },
    { .name = "age",
      .args = "?",
      .min = 1,
      .max = 1,
      .result = TPI_EXPR_NUMBER,
      .needs = TPI_EXPR_AGE,
      .special = SPECIAL_AGE,
      .usage = "age(name)",
      .help = "How many ms ago the latest value was measured; null if there is none.",
      .since = "0.1" },
    { .name = "device",
      .args = "t",
      .min = 1,
      .max = 1,
      .needs = TPI_EXPR_OTHER,
      .special = SPECIAL_DEVICE,
      .usage = "device('key').name",
      .help =
          "Latest value of a property of another device of the tenant; null if there is no such "
          "device, property or value. In scenes `device('key').online`, too.",
      .since = "0.1" },
};

const struct function_group tpi_expr_state_functions = {
    "State and other devices", state_items, sizeof(state_items) / sizeof(state_items[0])
};

static char small(char c)
{
    return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

/* name up to len bytes; the table's is in small letters. */
static bool same(struct tpc_str name, const char *text, size_t len)
{
    if (name.len != len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (small(name.ptr[i]) != text[i]) {
            return false;
        }
    }
    return true;
}

static bool is_alias(struct tpc_str name, const char *aliases)
{
    while (aliases != NULL) {
        const char *blank = strchr(aliases, ' ');
        size_t len = blank != NULL ? (size_t) (blank - aliases) : strlen(aliases);
        if (same(name, aliases, len)) {
            return true;
        }
        aliases = blank != NULL ? blank + 1 : NULL;
    }
    return false;
}

int tpi_expr_function_find(struct tpc_str name)
{
    for (int g = 0; g < TPI_EXPR_GROUPS; g++) {
        for (uint32_t i = 0; i < tpi_expr_groups[g]->count; i++) {
            const struct function *f = &tpi_expr_groups[g]->items[i];
            if (small(name.ptr[0]) == f->name[0] && same(name, f->name, strlen(f->name))) {
                return g << 8 | (int) i;
            }
            if (is_alias(name, f->aliases)) {
                return g << 8 | (int) i;
            }
        }
    }
    return -1;
}

const struct function *tpi_expr_function(int number)
{
    return &tpi_expr_groups[number >> 8]->items[number & 0xFF];
}

static bool fits(char letter, uint32_t type)
{
    switch (letter) {
    case 'n':
        return type == TPC_INT || type == TPC_DOUBLE;
    case 'z':
        return type == TPC_INT;
    case 't':
        return type == TPC_TEXT;
    case 'b':
        return type == TPC_BOOL;
    case 'l':
        return type == TPC_ARRAY;
    case 'm':
        return type == TPC_MAP;
    case 's':
        return type < TPC_BLOB;
    default:
        return type != TPC_BLOB;
    }
}

struct cell tpi_expr_call(struct eval *r, uint16_t number, const struct cell *args, uint32_t count)
{
    const struct function *f = tpi_expr_function(number);
    const char *letter = f->args;
    for (uint32_t i = 0; i < count; i++) {
        bool null = args[i].type == TPC_NULL;
        if (null ? (f->flags & FUNCTION_NULLS) == 0 : !fits(*letter, args[i].type)) {
            return (struct cell){ .type = TPC_NULL };
        }
        letter += letter[1] != 0;
    }
    return f->fn(r, args, count);
}

char *tpi_expr_take(struct eval *r, size_t bytes)
{
    struct tpi_expr_scratch *s = r->scratch;
    if (s == NULL) {
        return NULL;
    }
    if (s->cap - s->used < bytes) {
        s->overflows++;
        return NULL;
    }
    char *room = s->buf + s->used;
    s->used += bytes;
    return room;
}
