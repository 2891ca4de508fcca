/* tp-tool import-thingspanel: automations of ThingsPanel as entities, without a platform. */
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/rule.h>

enum { TEXT_MAX = 64 << 20 };

struct request {
    const char *file, *names, *out;
};

static int parse(int argc, char **argv, struct request *r)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--names") == 0 && i + 1 < argc) {
            r->names = argv[++i];
        } else if (strcmp(argv[i], "--out") == 0 && i + 1 < argc) {
            r->out = argv[++i];
        } else if (r->file != NULL || (argv[i][0] == '-' && argv[i][1] != '\0')) {
            return -1;
        } else {
            r->file = argv[i];
        }
    }
    return r->file != NULL ? 0 : -1;
}

/* A whole file into the arena; "-" = stdin. 0, or -1 when that was said. */
static int read_text(struct tpc_arena *arena, const char *name, struct tpc_str *ret)
{
    FILE *f = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
    char *text = malloc(TEXT_MAX);
    size_t len = f != NULL && text != NULL ? fread(text, 1, TEXT_MAX, f) : 0;
    bool bad = f == NULL || text == NULL || ferror(f) || len == TEXT_MAX;
    char *copy = bad ? NULL : tpc_arena_take(arena, len + 1);
    if (copy != NULL) {
        memcpy(copy, text, len);
        *ret = (struct tpc_str){ copy, len };
    } else {
        fprintf(stderr, "tp-tool: %s: %s\n", name, len == TEXT_MAX ? "too long" : strerror(errno));
    }
    if (f != NULL && f != stdin) {
        fclose(f);
    }
    free(text);
    return copy != NULL ? 0 : -1;
}

static void print_notes(const struct request *r, const struct tpc_value *notes)
{
    for (size_t i = 0; i < notes->len; i++) {
        const struct tpc_value *n = &notes->as.items[i];
        struct tpc_str path = tpc_value_text(tpc_value_get(n, TPC_STR("path")));
        struct tpc_str text = tpc_value_text(tpc_value_get(n, TPC_STR("text")));
        fprintf(stderr, "%s: %.*s%s%.*s\n", r->file, (int) path.len, path.ptr,
                path.len > 0 ? ": " : "", (int) text.len, text.ptr);
    }
}

static int work(struct tpc_arena *arena, const struct request *r)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_value out;
    struct tpc_str json;
    struct tpc_str names = TPC_STR("");
    if (read_text(arena, r->file, &json) != 0 ||
        (r->names != NULL && read_text(arena, r->names, &names) != 0)) {
        return 1;
    }
    int rc = tpc_rule_import_thingspanel(arena, json, names, &err, &out);
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s:%u:%u: %s%s%s (%s)\n", r->file, err.line, err.column, err.path,
                err.path[0] != '\0' ? ": " : "", err.text, tpc_error_name(rc));
        return 1;
    }
    print_notes(r, tpc_value_get(&out, TPC_STR("notes")));
    return tool_write_json(r->out, tpc_value_get(&out, TPC_STR("entities")));
}

int tool_thingspanel(int argc, char **argv)
{
    struct request r = { NULL, NULL, NULL };
    struct tpc_arena *arena = NULL;
    if (parse(argc, argv, &r) != 0) {
        return 2;
    }
    if (tpc_arena_create(NULL, 0, &arena) != 0) {
        return 1;
    }
    int rc = work(arena, &r);
    tpc_arena_destroy(arena);
    return rc;
}
