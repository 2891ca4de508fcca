/* The folder of a ThingsBoard gateway, read into a configuration. */
#include "gateway.h"
#include "tb_tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct folder {
    struct config *c;
    const char *dir;
};

static int read_text(void *user, struct tpc_str name, struct tpc_str *ret, char *err, size_t cap)
{
    struct folder *f = user;
    char path[1024];
    if (name.len == 0 || memchr(name.ptr, '\0', name.len) != NULL) {
        snprintf(err, cap, "has no name");
        return -1;
    }
    snprintf(path, sizeof(path), "%s/%.*s", f->dir, (int) name.len, name.ptr);
    FILE *in = fopen(path, "rb");
    if (in == NULL) {
        snprintf(err, cap, "%s", strerror(errno));
        return -1;
    }
    long size = fseek(in, 0, SEEK_END) == 0 ? ftell(in) : -1;
    char *text = size >= 0 && size <= CONFIG_FILE_MAX * 4L && fseek(in, 0, SEEK_SET) == 0
                     ? tpc_arena_take(f->c->arena, (size_t) size + 1)
                     : NULL;
    bool good = text != NULL && fread(text, 1, (size_t) size, in) == (size_t) size;
    fclose(in);
    if (!good) {
        snprintf(err, cap, "cannot be read, or is over 64 MiB");
        return -1;
    }
    *ret = (struct tpc_str){ text, (size_t) size };
    return 0;
}

/* ---- what the parts say ---- */

/* Opens the parts of a connector. 0, or -1 with c->error. */
static int open_parts(struct config *c, struct tpc_core *core, const struct tpc_member *parts,
                      uint32_t count)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        char path[100];
        snprintf(path, sizeof(path), "adapters.%.*s", (int) parts[i].key.len, parts[i].key.ptr);
        rc = assemble_part(c, core, path, parts[i].key, &parts[i].value);
    }
    return rc;
}

/* An option that a part refuses is a mistake of its connector: that one is left out, too. Tried in a
 * core that never starts. */
static int leave_out_refused(struct config *c, struct tb *t)
{
    const struct tpc_value *found = tpc_value_get(&c->root, TPC_STR("adapters"));
    struct tpc_value *map = (struct tpc_value *) (uintptr_t) found; /* it was made in our arena */
    struct tpc_member *all = (struct tpc_member *) (uintptr_t) map->as.members;
    struct tpc_core *core;
    size_t at = 1; /* behind the platform */
    size_t kept = 1;
    if (assemble_core(c, 0, NULL, NULL, &core) != 0) {
        return -1;
    }
    for (uint32_t i = 0; i < t->connector_count; i++) {
        struct tb_connector *n = &t->connectors[i];
        uint32_t parts = n->reason == NULL ? n->parts : 0;
        if (open_parts(c, core, all + at, parts) == 0) {
            memmove(all + kept, all + at, parts * sizeof(*all));
            kept += parts;
        } else {
            t->file = n->file;
            tb_error(t, NULL, NULL, "%s", c->error);
            n->reason = "something in it is wrong";
        }
        at += parts;
    }
    map->len = kept;
    tpc_core_destroy(core);
    return t->no_memory ? -1 : 0;
}

static void tell(const struct program *p, const struct tb *t)
{
    for (const struct tb_note *n = t->notes; n != NULL; n = n->next) {
        char text[1200];
        tb_note_text(n, text, sizeof(text));
        program_say(p, "%s%s", n->error ? "error: " : "", text);
    }
    if (t->notes_lost > 0) {
        program_say(p, "and %u notes more", t->notes_lost);
    }
    for (uint32_t i = 0; i < t->connector_count; i++) {
        if (t->connectors[i].reason != NULL) {
            program_say(p, "connector %s is left out: %s", t->connectors[i].name,
                        t->connectors[i].reason);
        }
    }
}

int tb_read(struct config *c, const char *dir, struct tb *t, const struct program *p)
{
    struct folder folder = { c, dir };
    memset(c, 0, sizeof(*c));
    c->file = dir;
    if (tpc_arena_create(NULL, 0, &c->arena) != 0) {
        snprintf(c->error, sizeof(c->error), "out of memory");
        return -1;
    }
    int rc = tb_import(t, c->arena, read_text, &folder, dir, &c->root);
    bool good = rc == 0;
    rc = good ? leave_out_refused(c, t) : rc;
    if (p != NULL) {
        tell(p, t);
    }
    if (rc != 0 && !good) {
        snprintf(c->error, sizeof(c->error), "%s/tb_gateway.json cannot be used%s", dir,
                 t->no_memory ? ": out of memory" : "");
    } else if (rc != 0 && t->no_memory) {
        snprintf(c->error, sizeof(c->error), "out of memory");
    }
    return rc;
}
