/* tp-tool model: thing models in the forms of other platforms, without a platform. */
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/model.h>

enum { MODEL_MAX = 16 * 1024 * 1024 };

struct request {
    const char *what, *file, *form, *out;
};

static int form_of(const char *name)
{
    for (uint32_t f = TPC_MODEL_TPCORE; f <= TPC_MODEL_THINGSPANEL; f++) {
        if (name != NULL && strcmp(name, tpc_model_format_name(f)) == 0) {
            return (int) f;
        }
    }
    return name == NULL ? TPC_MODEL_ANY : -1;
}

static int parse(int argc, char **argv, struct request *r)
{
    for (int i = 0; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--form") == 0 && value != NULL) {
            r->form = argv[++i];
        } else if (strcmp(argv[i], "--out") == 0 && value != NULL) {
            r->out = argv[++i];
        } else if (argv[i][0] == '-' && argv[i][1] != '\0') {
            return -1;
        } else if (r->what == NULL) {
            r->what = argv[i];
        } else if (r->file == NULL) {
            r->file = argv[i];
        } else {
            return -1;
        }
    }
    if (r->file == NULL || form_of(r->form) < 0) {
        return -1;
    }
    bool export = strcmp(r->what, "export") == 0;
    if (!export && strcmp(r->what, "import") != 0 && strcmp(r->what, "check") != 0) {
        return -1;
    }
    return export && r->form == NULL ? -1 : 0;
}

/* The whole file ("-" = stdin) as a NUL-ended text; NULL when that was said on stderr. */
static char *read_all(const char *name, size_t *ret_len)
{
    FILE *f = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
    char *text = malloc(MODEL_MAX + 1);
    if (f == NULL || text == NULL) {
        fprintf(stderr, "tp-tool: %s: %s\n", name, strerror(errno));
        free(text);
        return NULL;
    }
    *ret_len = fread(text, 1, MODEL_MAX + 1, f);
    if (f != stdin) {
        fclose(f);
    }
    return text;
}

static size_t count(const struct tpc_value *model, const char *list)
{
    const struct tpc_value *v = tpc_value_get(model, tpc_str_from(list));
    return v != NULL && v->type == TPC_ARRAY ? v->len : 0;
}

static int work(struct tpc_arena *arena, const struct request *r, struct tpc_str text)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_value model, out;
    bool export = strcmp(r->what, "export") == 0;
    uint32_t form = (uint32_t) form_of(r->form);
    int rc = tpc_model_import(arena, text, export ? TPC_MODEL_ANY : form, &err, &model);
    if (rc != 0) {
        fprintf(stderr, "%s:%u:%u: %s%s%s (%s)\n", r->file, err.line, err.column, err.path,
                err.path[0] != '\0' ? ": " : "", err.text, tpc_error_name(rc));
        return 1;
    }
    if (strcmp(r->what, "check") == 0) {
        printf("properties=%zu services=%zu events=%zu\n", count(&model, "properties"),
               count(&model, "services"), count(&model, "events"));
        return 0;
    }
    if (!export) {
        return tool_write_json(r->out, &model);
    }
    rc = tpc_model_export(arena, &model, form, &err, &out);
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s: %s (%s)\n", err.path, err.text, tpc_error_name(rc));
        return 1;
    }
    return tool_write_json(r->out, &out);
}

int tool_model(int argc, char **argv)
{
    struct request r = { 0 };
    struct tpc_arena *arena;
    size_t len;
    if (parse(argc, argv, &r) != 0) {
        return 2;
    }
    char *text = read_all(r.file, &len);
    if (text == NULL) {
        return 1;
    }
    int rc = tpc_arena_create(NULL, 0, &arena);
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s\n", tpc_error_name(rc));
        free(text);
        return 1;
    }
    rc = work(arena, &r, (struct tpc_str){ text, len });
    tpc_arena_destroy(arena);
    free(text);
    return rc;
}
