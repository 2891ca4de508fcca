/* The folder of a ThingsBoard gateway, read into a configuration. */
#include "gateway.h"

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
    if (p != NULL) {
        tell(p, t);
    }
    if (rc != 0) {
        snprintf(c->error, sizeof(c->error), "%s/tb_gateway.json cannot be used%s", dir,
                 t->no_memory ? ": out of memory" : "");
    }
    return rc;
}
