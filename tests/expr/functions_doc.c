/*
 * docs/reference/expr-functions.md is made from the table of functions:
 *     functions-doc FILE           fails if FILE is not what the table says
 *     functions-doc --write FILE
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "expr/functions.h"

static void put(struct tpi_buf *b, const char *text)
{
    if (tpi_buf_text(b, tpc_str_from(text)) != 0) {
        exit(1);
    }
}

/* | parts the cells of a table. */
static void put_cell(struct tpi_buf *b, const char *text)
{
    for (; *text != 0; text++) {
        char one[3] = { *text, 0, 0 };
        put(b, *text == '|' ? "\\|" : one);
    }
}

static void put_function(struct tpi_buf *b, const struct function *f)
{
    put(b, "| `");
    put_cell(b, f->usage);
    put(b, "` | ");
    put_cell(b, f->help);
    if (f->aliases != NULL) {
        put(b, " Also `");
        for (const char *p = f->aliases; *p != 0; p++) {
            char one[2] = { *p, 0 };
            put(b, *p == ' ' ? "`, `" : one);
        }
        put(b, "`.");
    }
    put(b, f->needs == 0 ? " |" : " (*) |");
    put(b, " ");
    put(b, f->since);
    put(b, " |\n");
}

static void make(struct tpi_buf *b)
{
    put(b,
        "# Functions of expressions\n\n"
        "Made from the table in lib/expr by `functions-doc --write`; [expr.md](expr.md) is the "
        "language. The case of names does not matter. Unless it says otherwise, a function of "
        "null is null, and so is a result that is not finite or does not fit. (*) Not every host "
        "offers it: where it is missing, that is said when the expression is saved.\n");
    for (int g = 0; g < TPI_EXPR_GROUPS; g++) {
        put(b, "\n## ");
        put(b, tpi_expr_groups[g]->title);
        put(b, "\n\n| function | gives | since |\n|---|---|---|\n");
        for (uint32_t i = 0; i < tpi_expr_groups[g]->count; i++) {
            put_function(b, &tpi_expr_groups[g]->items[i]);
        }
    }
}

int main(int argc, char **argv)
{
    int writes = argc == 3 && strcmp(argv[1], "--write") == 0;
    if (argc != 2 && !writes) {
        fprintf(stderr, "usage: %s [--write] FILE\n", argv[0]);
        return 2;
    }
    struct tpi_buf b;
    tpi_buf_init(&b, NULL, 0);
    make(&b);
    FILE *f = fopen(argv[argc - 1], writes ? "wb" : "rb");
    static char old[1 << 18];
    size_t n = 0;
    int same = 0;
    if (f == NULL) {
        perror(argv[argc - 1]);
    } else if (writes) {
        same = fwrite(b.ptr, 1, b.len, f) == b.len;
    } else {
        n = fread(old, 1, sizeof(old), f);
        same = n == b.len && memcmp(old, b.ptr, n) == 0;
    }
    if (f != NULL && fclose(f) != 0) {
        same = 0;
    }
    if (!same) {
        fprintf(stderr, "%s is not what the table of functions says: write it again with --write\n",
                argv[argc - 1]);
    }
    tpi_buf_fini(&b);
    return same ? 0 : 1;
}
