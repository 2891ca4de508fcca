/* A changed configuration, applied to a core that runs. */
#include "gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- entities as the configurations have them ---- */

struct entity {
    char *id; /* kind, tenant and key */
    char *kind, *tenant, *key, *json;
    size_t order;
    bool same; /* the other configuration has it, too, as it is */
    bool kept; /* the other one has it in some form */
};

struct entities {
    struct entity *items; /* sorted by id */
    size_t count, cap;
};

static char *text_of(struct tpc_str s)
{
    char *to = malloc(s.len + 1);
    if (to != NULL) {
        memcpy(to, s.len > 0 ? s.ptr : "", s.len);
        to[s.len] = '\0';
    }
    return to;
}

static int keep(void *user, struct config *c, const struct assemble_entity *e)
{
    struct entities *list = user;
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 64 : list->cap * 2;
        struct entity *grown = realloc(list->items, cap * sizeof(*grown));
        if (grown == NULL) {
            snprintf(c->error, sizeof(c->error), "out of memory");
            return -1;
        }
        list->items = grown;
        list->cap = cap;
    }
    struct entity *n = &list->items[list->count++];
    struct tpc_str tenant = e->tenant.len > 0 ? e->tenant : TPC_STR("main");
    size_t size = strlen(e->kind) + tenant.len + e->key.len + 3;
    *n = (struct entity){ .id = malloc(size),
                          .kind = text_of(tpc_str_from(e->kind)),
                          .tenant = text_of(tenant),
                          .key = text_of(e->key),
                          .json = text_of(e->json),
                          .order = list->count };
    if (n->id == NULL || n->kind == NULL || n->tenant == NULL || n->key == NULL ||
        n->json == NULL) {
        snprintf(c->error, sizeof(c->error), "out of memory");
        return -1;
    }
    snprintf(n->id, size, "%s\n%s\n%s", n->kind, n->tenant, n->key);
    return 0;
}

static void forget(struct entities *list)
{
    for (size_t i = 0; i < list->count; i++) {
        struct entity *e = &list->items[i];
        free(e->id);
        free(e->kind);
        free(e->tenant);
        free(e->key);
        free(e->json);
    }
    free(list->items);
    *list = (struct entities){ NULL, 0, 0 };
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

/* Marks what both have, then puts each back into the order of its file. */
static void compare(struct entities *a, struct entities *b)
{
    qsort(a->items, a->count, sizeof(*a->items), by_id);
    qsort(b->items, b->count, sizeof(*b->items), by_id);
    for (size_t i = 0; i < a->count; i++) {
        struct entity *x = &a->items[i];
        struct entity *y =
            b->count > 0 ? bsearch(x, b->items, b->count, sizeof(*b->items), by_id) : NULL;
        if (y != NULL) {
            x->kept = true;
            y->kept = true;
            y->same = strcmp(x->json, y->json) == 0;
        }
    }
    qsort(a->items, a->count, sizeof(*a->items), by_order);
    qsort(b->items, b->count, sizeof(*b->items), by_order);
}

/* ---- parts ---- */

struct reload {
    struct program *p;
    struct tpc_core *core;
    struct config *old, *next;
    uint32_t drain_ms;
    bool again; /* the last reload failed somewhere: all entities are put */
    int failed;
    uint32_t closed, opened, put, deleted;
    bool *stays; /* of old's adapters: its name and options are next's, or it could not be closed */
    bool *open;  /* of next's adapters */
};

static const struct tpc_value *adapters_of(struct config *c, size_t *ret_count)
{
    const struct tpc_value *map = tpc_value_get(&c->root, TPC_STR("adapters"));
    bool good = map != NULL && map->type == TPC_MAP;
    *ret_count = good ? map->len : 0;
    return good ? map : NULL;
}

static bool same_value(struct config *a, const struct tpc_value *x, struct config *b,
                       const struct tpc_value *y)
{
    struct tpc_str left = config_json(a, x);
    struct tpc_str right = config_json(b, y);
    return left.ptr != NULL && right.ptr != NULL && tpc_str_equal(left, right);
}

static void failed(struct reload *r, const char *what, const char *name, int rc)
{
    char text[200];
    snprintf(text, sizeof(text), "reload: %s %s", what, name);
    program_say_error(r->p, text, rc);
    r->failed++;
}

static void name_of(struct tpc_str key, char *out, size_t cap)
{
    snprintf(out, cap, "%.*s", (int) key.len, key.ptr);
}

/* Which adapters are as they were. */
static void match(struct reload *r, const struct tpc_value *old, size_t old_count,
                  const struct tpc_value *next, size_t next_count)
{
    for (size_t i = 0; i < old_count; i++) {
        for (size_t k = 0; k < next_count; k++) {
            const struct tpc_member *a = &old->as.members[i];
            const struct tpc_member *b = &next->as.members[k];
            if (tpc_str_equal(a->key, b->key) &&
                same_value(r->old, &a->value, r->next, &b->value)) {
                r->stays[i] = true;
            }
        }
    }
}

/* Parts that others need can be closed once those are: again as long as that helps. */
static void close_changed(struct reload *r, const struct tpc_value *old, size_t count)
{
    char name[80];
    bool progress = true;
    bool left = false;
    while (progress) {
        progress = false;
        left = false;
        for (size_t i = count; i-- > 0;) {
            if (r->stays[i]) {
                continue;
            }
            name_of(old->as.members[i].key, name, sizeof(name));
            int rc = tpc_core_close(r->core, name, r->drain_ms);
            if (rc == TPC_ESTATE) {
                left = true;
                continue;
            }
            if (rc == 0) {
                program_say(r->p, "reload: %s closed", name);
                r->closed++;
            } else if (rc != TPC_ENOENT) { /* one that an earlier reload could not open */
                failed(r, "close", name, rc);
            }
            r->stays[i] = true;
            progress = true;
        }
    }
    for (size_t i = 0; left && i < count; i++) {
        if (!r->stays[i]) {
            name_of(old->as.members[i].key, name, sizeof(name));
            program_say(r->p,
                        "reload: %s is needed by others that did not change: its change "
                        "takes effect at the next start",
                        name);
            r->failed++;
        }
    }
}

static bool still_open(struct reload *r, const struct tpc_value *old, size_t count,
                       struct tpc_str key)
{
    for (size_t i = 0; i < count; i++) {
        if (!r->stays[i] && tpc_str_equal(old->as.members[i].key, key)) {
            return true; /* could not be closed */
        }
    }
    return false;
}

static void open_changed(struct reload *r, const struct tpc_value *next, size_t count,
                         const struct tpc_value *old, size_t old_count)
{
    bool progress = true;
    bool last = false; /* what fails now is told */
    while (progress || !last) {
        last = !progress;
        progress = false;
        for (size_t i = 0; i < count; i++) {
            const struct tpc_member *m = &next->as.members[i];
            char path[100];
            if (r->open[i] || still_open(r, old, old_count, m->key)) {
                continue;
            }
            snprintf(path, sizeof(path), "adapters.%.*s", (int) m->key.len, m->key.ptr);
            int rc = assemble_part(r->next, r->core, path, m->key, &m->value);
            if (rc == 0) {
                program_say(r->p, "reload: %s opened", path + strlen("adapters."));
                r->open[i] = true;
                r->opened++;
                progress = true;
            } else if (tpc_error_last()->code == TPC_EEXIST) {
                r->open[i] = true; /* it did not change; one that failed before is tried again */
            } else if (last) {
                program_say(r->p, "reload: %s", r->next->error);
                r->failed++;
            }
        }
    }
}

/* ---- entities ---- */

static void put_entities(struct reload *r, struct entities *list, bool of_sinks)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct entity *e = &list->items[i];
        struct tpc_actor actor = { .size = sizeof(actor), .type = TPC_ACTOR_IMPORT };
        if ((e->same && !r->again) || assemble_needs_adapters(e->kind) != of_sinks) {
            continue;
        }
        actor.name = tpc_str_from(r->next->file);
        int rc = tpc_entity_put(r->core, &actor, e->kind, tpc_str_from(e->json), TPC_ANY_REV, NULL);
        if (rc != 0) {
            failed(r, e->kind, e->key, rc);
        } else {
            r->put++;
        }
    }
}

/* From the last to the first: what names others goes before them. */
static void delete_entities(struct reload *r, struct entities *list, bool of_sinks)
{
    for (size_t i = list->count; i-- > 0;) {
        const struct entity *e = &list->items[i];
        struct tpc_actor actor = { .size = sizeof(actor), .type = TPC_ACTOR_IMPORT };
        if (e->kept || assemble_needs_adapters(e->kind) != of_sinks) {
            continue;
        }
        actor.name = tpc_str_from(r->next->file);
        int rc = tpc_entity_delete(r->core, &actor, tpc_str_from(e->tenant), e->kind,
                                   tpc_str_from(e->key), TPC_ANY_REV);
        if (rc != 0 && rc != TPC_ENOENT) {
            failed(r, "delete", e->key, rc);
        } else {
            r->deleted++;
        }
    }
}

/* What only a start reads. */
static void tell_rest(struct reload *r)
{
    static const char *const keys[] = {
        "core", "modules", "log", "store", "entity_store", "history"
    };
    static const struct tpc_value none = { .type = TPC_NULL };
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const struct tpc_value *a = tpc_value_get(&r->old->root, tpc_str_from(keys[i]));
        const struct tpc_value *b = tpc_value_get(&r->next->root, tpc_str_from(keys[i]));
        if (!same_value(r->old, a != NULL ? a : &none, r->next, b != NULL ? b : &none)) {
            program_say(r->p, "reload: %s changed: it takes effect at the next start", keys[i]);
        }
    }
}

static void apply(struct reload *r, struct entities *old, struct entities *next)
{
    size_t old_count;
    size_t next_count;
    const struct tpc_value *a = adapters_of(r->old, &old_count);
    const struct tpc_value *b = adapters_of(r->next, &next_count);
    r->stays = calloc(old_count + 1, sizeof(bool));
    r->open = calloc(next_count + 1, sizeof(bool));
    if (r->stays == NULL || r->open == NULL) {
        program_say(r->p, "reload: out of memory");
        r->failed++;
        return;
    }
    match(r, a, old_count, b, next_count);
    delete_entities(r, old, true);
    close_changed(r, a, old_count);
    put_entities(r, next, false);
    open_changed(r, b, next_count, a, old_count);
    put_entities(r, next, true);
    delete_entities(r, old, false);
    tell_rest(r);
    program_say(r->p, "reload: %u closed, %u opened, %u entities put, %u deleted, %d failed",
                r->closed, r->opened, r->put, r->deleted, r->failed);
}

int reload_apply(struct program *p, struct tpc_core *core, struct config *old, struct config *next,
                 uint32_t drain_ms, bool again)
{
    struct reload r = {
        .p = p, .core = core, .old = old, .next = next, .drain_ms = drain_ms, .again = again
    };
    struct entities before = { NULL, 0, 0 };
    struct entities after = { NULL, 0, 0 };
    next->parts = ASSEMBLE_ALL;
    if (assemble_each(old, keep, &before) == 0 && assemble_each(next, keep, &after) == 0) {
        compare(&before, &after);
        apply(&r, &before, &after);
    } else {
        program_say(p, "reload: %s", old->error[0] != '\0' ? old->error : next->error);
        r.failed++;
    }
    free(r.stays);
    free(r.open);
    forget(&before);
    forget(&after);
    return r.failed;
}
