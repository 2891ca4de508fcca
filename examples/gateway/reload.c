/* A changed configuration, applied to a core that runs. */
#include "gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a configuration says ---- */

static const char *const sections[] = {
    "core", "modules", "log", "store", "entity_store", "history"
};
enum { SECTIONS = sizeof(sections) / sizeof(sections[0]) };

struct entity {
    char *id; /* kind, tenant and key */
    char *kind, *tenant, *key;
    char *json; /* until it is put */
    uint64_t hash;
    size_t order;
    bool same; /* the other configuration has it, too, as it is */
    bool kept; /* the other one has it in some form */
};

struct part {
    char *name;
    uint64_t hash;
    bool done;   /* of the old ones: it stays, or is closed; of the new ones: it is open */
    bool closed; /* of the old ones */
};

struct snapshot {
    struct entity *items; /* in the order of the file */
    size_t count, cap;
    struct part *parts;
    size_t part_count;
    uint64_t sections[SECTIONS];
};

/* FNV-1a. */
static uint64_t hash_of(struct tpc_str s)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < s.len; i++) {
        h = (h ^ (unsigned char) s.ptr[i]) * 1099511628211u;
    }
    return h;
}

static uint64_t hash_value(struct config *c, const struct tpc_value *v)
{
    return v != NULL ? hash_of(config_json(c, v)) : 0;
}

static char *text_of(struct tpc_str s)
{
    char *to = malloc(s.len + 1);
    if (to != NULL) {
        memcpy(to, s.len > 0 ? s.ptr : "", s.len);
        to[s.len] = '\0';
    }
    return to;
}

static int no_memory(struct config *c)
{
    snprintf(c->error, sizeof(c->error), "out of memory");
    return -1;
}

static int keep(void *user, struct config *c, const struct assemble_entity *e)
{
    struct snapshot *s = user;
    if (s->count == s->cap) {
        size_t cap = s->cap == 0 ? 64 : s->cap * 2;
        struct entity *grown = realloc(s->items, cap * sizeof(*grown));
        if (grown == NULL) {
            return no_memory(c);
        }
        s->items = grown;
        s->cap = cap;
    }
    struct entity *n = &s->items[s->count++];
    struct tpc_str tenant = e->tenant.len > 0 ? e->tenant : TPC_STR("main");
    size_t size = strlen(e->kind) + tenant.len + e->key.len + 3;
    *n = (struct entity){ .id = malloc(size),
                          .kind = text_of(tpc_str_from(e->kind)),
                          .tenant = text_of(tenant),
                          .key = text_of(e->key),
                          .json = text_of(e->json),
                          .hash = hash_of(e->json),
                          .order = s->count };
    if (n->id == NULL || n->kind == NULL || n->tenant == NULL || n->key == NULL ||
        n->json == NULL) {
        return no_memory(c);
    }
    snprintf(n->id, size, "%s\n%s\n%s", n->kind, n->tenant, n->key);
    return 0;
}

static int keep_parts(struct snapshot *s, struct config *c)
{
    const struct tpc_value *map = tpc_value_get(&c->root, TPC_STR("adapters"));
    size_t n = map != NULL && map->type == TPC_MAP ? map->len : 0;
    s->parts = calloc(n + 1, sizeof(*s->parts));
    if (s->parts == NULL) {
        return no_memory(c);
    }
    for (size_t i = 0; i < n; i++) {
        struct part *p = &s->parts[s->part_count++];
        p->name = text_of(map->as.members[i].key);
        p->hash = hash_value(c, &map->as.members[i].value);
        if (p->name == NULL) {
            return no_memory(c);
        }
    }
    return 0;
}

struct snapshot *snapshot_take(struct config *c)
{
    struct snapshot *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        (void) no_memory(c);
        return NULL;
    }
    for (size_t i = 0; i < SECTIONS; i++) {
        s->sections[i] = hash_value(c, tpc_value_get(&c->root, tpc_str_from(sections[i])));
    }
    if (keep_parts(s, c) != 0 || assemble_each(c, keep, s) != 0) {
        snapshot_free(s);
        return NULL;
    }
    return s;
}

void snapshot_forget_texts(struct snapshot *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->items[i].json);
        s->items[i].json = NULL;
    }
}

void snapshot_free(struct snapshot *s)
{
    if (s == NULL) {
        return;
    }
    snapshot_forget_texts(s);
    for (size_t i = 0; i < s->count; i++) {
        struct entity *e = &s->items[i];
        free(e->id);
        free(e->kind);
        free(e->tenant);
        free(e->key);
    }
    for (size_t i = 0; i < s->part_count; i++) {
        free(s->parts[i].name);
    }
    free(s->items);
    free(s->parts);
    free(s);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct entity *) a)->id, ((const struct entity *) b)->id);
}

static int by_order(const void *a, const void *b)
{
    size_t x = ((const struct entity *) a)->order;
    size_t y = ((const struct entity *) b)->order;
    return (x > y) - (x < y);
}

static void sort(struct snapshot *s, int (*by)(const void *, const void *))
{
    if (s->count > 0) {
        qsort(s->items, s->count, sizeof(*s->items), by);
    }
}

/* Marks what both have, then puts each back into the order of its file. */
static void compare(struct snapshot *a, struct snapshot *b)
{
    sort(a, by_id);
    sort(b, by_id);
    for (size_t i = 0; i < a->count; i++) {
        struct entity *x = &a->items[i];
        struct entity *y =
            b->count > 0 ? bsearch(x, b->items, b->count, sizeof(*b->items), by_id) : NULL;
        x->kept = y != NULL; /* it was said of an older one, too */
        if (y != NULL) {
            y->kept = true;
            y->same = x->hash == y->hash;
        }
    }
    sort(a, by_order);
    sort(b, by_order);
}

/* ---- parts ---- */

struct reload {
    struct program *p;
    struct tpc_core *core;
    struct snapshot *old, *next;
    struct config *config; /* next's */
    uint32_t drain_ms;
    bool again; /* the last reload failed somewhere: all entities are put */
    int failed;
    uint32_t closed, opened, put, deleted;
};

static void failed(struct reload *r, const char *what, const char *name, int rc)
{
    char text[200];
    snprintf(text, sizeof(text), "reload: %s %s", what, name);
    program_say_error(r->p, text, rc);
    r->failed++;
}

/* Which parts are as they were. */
static void match(struct reload *r)
{
    for (size_t i = 0; i < r->old->part_count; i++) {
        struct part *a = &r->old->parts[i];
        a->done = false;
        a->closed = false;
        for (size_t k = 0; k < r->next->part_count; k++) {
            const struct part *b = &r->next->parts[k];
            a->done |= strcmp(a->name, b->name) == 0 && a->hash == b->hash;
        }
    }
}

/* A part that uses what another one offers restarts with it. false: there is none of that name, or it is
 * being closed already. */
static bool close_too(struct reload *r, const char *user)
{
    for (size_t i = 0; i < r->old->part_count; i++) {
        struct part *p = &r->old->parts[i];
        if (strcmp(p->name, user) == 0 && p->done && !p->closed) {
            p->done = false;
            return true;
        }
    }
    return false;
}

/* Parts that others use can be closed once those are: again as long as that helps. */
static void close_changed(struct reload *r)
{
    bool progress = true;
    while (progress) {
        progress = false;
        for (size_t i = r->old->part_count; i-- > 0;) {
            struct part *p = &r->old->parts[i];
            int rc = p->done ? TPC_ESTATE : tpc_core_close(r->core, p->name, r->drain_ms);
            if (rc == TPC_ESTATE) {
                progress |= !p->done && close_too(r, tpc_error_last()->path);
                continue;
            }
            if (rc == 0) {
                program_say(r->p, "reload: %s closed", p->name);
                r->closed++;
            } else if (rc != TPC_ENOENT) { /* one that an earlier reload could not open */
                failed(r, "close", p->name, rc);
            }
            p->done = true;
            p->closed = true;
            progress = true;
        }
    }
    for (size_t i = 0; i < r->old->part_count; i++) {
        if (!r->old->parts[i].done) {
            program_say(r->p,
                        "reload: %s cannot be closed: its change takes effect at the next start",
                        r->old->parts[i].name);
            r->failed++;
        }
    }
}

/* It changed, and could not be closed. */
static bool still_open(const struct reload *r, const char *name)
{
    for (size_t i = 0; i < r->old->part_count; i++) {
        if (!r->old->parts[i].done && strcmp(r->old->parts[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Parts that need others can be opened once those are: again as long as that helps. What fails in the
 * end is told. */
static void open_changed(struct reload *r)
{
    const struct tpc_value *map = tpc_value_get(&r->config->root, TPC_STR("adapters"));
    bool progress = true;
    bool last = false;
    while (progress || !last) {
        last = !progress;
        progress = false;
        for (size_t i = 0; i < r->next->part_count; i++) {
            struct part *p = &r->next->parts[i];
            char path[100];
            if (p->done || still_open(r, p->name)) {
                continue;
            }
            snprintf(path, sizeof(path), "adapters.%s", p->name);
            const struct tpc_member *m = &map->as.members[i];
            if (assemble_part(r->config, r->core, path, m->key, &m->value) == 0) {
                program_say(r->p, "reload: %s opened", p->name);
                p->done = true;
                r->opened++;
                progress = true;
            } else if (tpc_error_last()->code == TPC_EEXIST) {
                p->done = true; /* it did not change; one that failed before is tried again */
            } else if (last) {
                program_say(r->p, "reload: %s", r->config->error);
                r->failed++;
            }
        }
    }
}

/* ---- entities ---- */

static void put_entities(struct reload *r, const struct snapshot *list, bool of_sinks)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct entity *e = &list->items[i];
        struct tpc_actor actor = { .size = sizeof(actor), .type = TPC_ACTOR_IMPORT };
        if ((e->same && !r->again) || assemble_needs_adapters(e->kind) != of_sinks) {
            continue;
        }
        actor.name = tpc_str_from(r->config->file);
        int rc = tpc_entity_put(r->core, &actor, e->kind, tpc_str_from(e->json), TPC_ANY_REV, NULL);
        if (rc != 0) {
            failed(r, e->kind, e->key, rc);
        } else {
            r->put++;
        }
    }
}

/* From the last to the first: what names others goes before them. */
static void delete_entities(struct reload *r, const struct snapshot *list, bool of_sinks)
{
    for (size_t i = list->count; i-- > 0;) {
        const struct entity *e = &list->items[i];
        struct tpc_actor actor = { .size = sizeof(actor), .type = TPC_ACTOR_IMPORT };
        if (e->kept || assemble_needs_adapters(e->kind) != of_sinks) {
            continue;
        }
        actor.name = tpc_str_from(r->config->file);
        int rc = tpc_entity_delete(r->core, &actor, tpc_str_from(e->tenant), e->kind,
                                   tpc_str_from(e->key), TPC_ANY_REV);
        if (rc != 0 && rc != TPC_ENOENT) {
            failed(r, "delete", e->key, rc);
        } else {
            r->deleted++;
        }
    }
}

int reload_apply(struct program *p, struct tpc_core *core, struct snapshot *old,
                 struct snapshot *next, struct config *config, uint32_t drain_ms, bool again)
{
    struct reload r = { .p = p,
                        .core = core,
                        .old = old,
                        .next = next,
                        .config = config,
                        .drain_ms = drain_ms,
                        .again = again };
    config->parts = ASSEMBLE_ALL;
    compare(old, next);
    match(&r);
    delete_entities(&r, old, true);
    close_changed(&r);
    put_entities(&r, next, false);
    open_changed(&r);
    put_entities(&r, next, true);
    delete_entities(&r, old, false);
    for (size_t i = 0; i < SECTIONS; i++) { /* what only a start reads */
        if (old->sections[i] != next->sections[i]) {
            program_say(p, "reload: %s changed: it takes effect at the next start", sections[i]);
        }
    }
    program_say(p, "reload: %u closed, %u opened, %u entities put, %u deleted, %d failed", r.closed,
                r.opened, r.put, r.deleted, r.failed);
    return r.failed;
}
