/* tp-tool import-mycontroller: tasks, schedules and handlers of MyController as entities, without a platform. */
#include "../common/config.h"
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/mycontroller.h>

struct request {
    const char *file, *out;
    struct tpc_mycontroller_options options;
};

static int parse(int argc, char **argv, struct request *r)
{
    struct {
        const char *name;
        struct tpc_str *value;
    } texts[] = { { "--tenant", &r->options.tenant },      { "--product", &r->options.product },
                  { "--device", &r->options.device },      { "--property", &r->options.property },
                  { "--zone", &r->options.zone },          { "--latitude", &r->options.latitude },
                  { "--longitude", &r->options.longitude } };
    for (int i = 0; i < argc; i++) {
        size_t k = 0;
        while (k < sizeof(texts) / sizeof(texts[0]) && strcmp(argv[i], texts[k].name) != 0) {
            k++;
        }
        if (k < sizeof(texts) / sizeof(texts[0]) && i + 1 < argc) {
            *texts[k].value = tpc_str_from(argv[++i]);
        } else if (strcmp(argv[i], "--out") == 0 && i + 1 < argc) {
            r->out = argv[++i];
        } else if (argv[i][0] == '-' || r->file != NULL) {
            return -1;
        } else {
            r->file = argv[i];
        }
    }
    return r->file != NULL ? 0 : -1;
}

static int write_list(struct config *c, const struct request *r, const struct tpc_value *list)
{
    struct tpc_str json = config_json(c, list);
    FILE *f = r->out != NULL ? fopen(r->out, "wb") : stdout;
    int rc = json.len == 0 || f == NULL || fwrite(json.ptr, 1, json.len, f) != json.len ||
             fputc('\n', f) == EOF;
    if (f != NULL && f != stdout) {
        rc = fclose(f) != 0 || rc;
    }
    if (rc != 0) {
        fprintf(stderr, "tp-tool: cannot write %s\n", r->out != NULL ? r->out : "stdout");
    }
    return rc;
}

static const char *text_of(const struct tpc_value *note, const char *key)
{
    const struct tpc_value *v = tpc_value_get(note, tpc_str_from(key));
    return v != NULL && v->type == TPC_TEXT ? v->as.text : "";
}

static void print_notes(const struct request *r, const struct tpc_value *notes)
{
    for (size_t i = 0; i < notes->len; i++) {
        const struct tpc_value *n = &notes->as.items[i];
        fprintf(stderr, "%s: %s: %s%s%s\n", r->file, text_of(n, "of"), text_of(n, "at"),
                text_of(n, "at")[0] != '\0' ? ": " : "", text_of(n, "text"));
    }
}

int tool_mycontroller(int argc, char **argv)
{
    struct request r = { .options = { .size = sizeof(r.options) } };
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_value out;
    struct config c;
    if (parse(argc, argv, &r) != 0) {
        return 2;
    }
    int rc = config_read(&c, r.file);
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s\n", c.error);
        config_free(&c);
        return 1;
    }
    rc = tpc_mycontroller_import(c.arena, &c.root, &r.options, &err, &out);
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s: %s (%s)\n", r.file, err.text, tpc_error_name(rc));
    } else {
        print_notes(&r, tpc_value_get(&out, TPC_STR("notes")));
        rc = write_list(&c, &r, tpc_value_get(&out, TPC_STR("entities")));
    }
    config_free(&c);
    return rc != 0;
}
