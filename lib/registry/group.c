/*
 * Groups of devices. A device names the groups that it is in ("groups"); a group may also take in
 * whatever has its labels ("select"), and may stand in another one ("parent").
 */
#include <string.h>

#include "base/alloc.h"
#include "registry/inside.h"

static const struct tpc_option group_schema[] = {
    { .name = "name",
      .type = TPC_OPT_TEXT,
      .max = 256,
      .since = "0.1",
      .help = "Name for people." },
    { .name = "description",
      .type = TPC_OPT_TEXT,
      .max = 4096,
      .since = "0.1",
      .help = "Text for people." },
    { .name = "parent",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_INDEXED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "Key of the group that it stands in, up to 8 deep." },
    { .name = "select",
      .type = TPC_OPT_TEXT,
      .max = TPI_SELECTOR_BYTES,
      .since = "0.1",
      .help = "Selector: devices with these labels are in it, too." },
    { .name = "labels",
      .type = TPC_OPT_TABLE,
      .flags = TPC_OPT_INDEXED | TPC_OPT_OPEN,
      .since = "0.1",
      .help = "Names and texts to find it by." },
};

/* A group, in r->groups under tenant and key. Changed by changes of entities only, which run one at
 * a time. */
struct tpi_group {
    uint64_t tenant;
    struct tpi_group *parent;
    uint32_t children;
    bool stored; /* false: its entity is on its way */
    size_t key_len;
    char key[];
};

struct group_change {
    struct tpi_group *group;
    struct tpi_group *parent;
    bool fresh;
};

static size_t map_key(uint64_t tenant, struct tpc_str key, char out[8 + 128])
{
    memcpy(out, &tenant, sizeof(tenant));
    memcpy(out + sizeof(tenant), key.ptr, key.len);
    return sizeof(tenant) + key.len;
}

static struct tpi_group *find(const struct tpi_registry *r, uint64_t tenant, struct tpc_str key)
{
    char text[8 + 128];
    if (key.len > 128 || key.len == 0) {
        return NULL;
    }
    return tpi_map_get(&r->groups, text, map_key(tenant, key, text));
}

bool tpi_registry_has_group(const struct tpi_registry *r, uint64_t tenant, struct tpc_str key)
{
    const struct tpi_group *g = find(r, tenant, key);
    return g != NULL && g->stored;
}

static size_t group_bytes(const struct tpi_group *g)
{
    return sizeof(*g) + g->key_len + 1;
}

void tpi_registry_free_groups(struct tpi_registry *r)
{
    size_t iter = 0;
    void *g;
    while (tpi_map_next(&r->groups, &iter, NULL, &g)) {
        tpi_free(r->env->alloc, g, group_bytes(g));
    }
    tpi_map_fini(&r->groups);
}

static void drop(struct tpi_registry *r, struct tpi_group *g)
{
    char text[8 + 128];
    struct tpc_str key = { g->key, g->key_len };
    tpi_map_remove(&r->groups, text, map_key(g->tenant, key, text));
    tpi_free(r->env->alloc, g, group_bytes(g));
}

static struct tpi_group *make(struct tpi_registry *r, uint64_t tenant, struct tpc_str key)
{
    char text[8 + 128];
    size_t bytes = sizeof(struct tpi_group) + key.len + 1;
    struct tpi_group *g = tpi_alloc_zero(r->env->alloc, bytes);
    if (g == NULL) {
        return NULL;
    }
    g->tenant = tenant;
    g->key_len = key.len;
    memcpy(g->key, key.ptr, key.len);
    if (tpi_map_put(&r->groups, text, map_key(tenant, key, text), g, NULL) != 0) {
        tpi_free(r->env->alloc, g, bytes);
        return NULL;
    }
    return g;
}

/* Steps from a group up to `top` (NULL = beyond the uppermost); -1 if it is not above. */
static int steps_up(const struct tpi_group *g, const struct tpi_group *top)
{
    int steps = 0;
    for (; g != top; g = g->parent) {
        if (g == NULL) {
            return -1;
        }
        steps++;
    }
    return steps;
}

/* How many groups stand below one another in g, itself included. */
static int height_of(const struct tpi_registry *r, const struct tpi_group *g)
{
    size_t iter = 0;
    void *value;
    int height = 1;
    while (g->children > 0 && tpi_map_next(&r->groups, &iter, NULL, &value)) {
        int steps = steps_up(value, g);
        height = steps + 1 > height ? steps + 1 : height;
    }
    return height;
}

static int bad_parent(struct tpc_error *err, int code, const char *text)
{
    tpi_error_set(err, code, tpi_registry_origin, "%s", text);
    tpi_error_at(err, "parent");
    return code;
}

static int check_parent(struct tpi_registry *r, const struct tpi_change *change,
                        struct group_change *c, struct tpc_error *err)
{
    struct tpc_str key = tpc_value_text(tpc_value_get(change->doc, TPC_STR("parent")));
    if (key.len == 0) {
        return 0;
    }
    c->parent = find(r, change->tenant, key);
    if (tpc_str_equal(key, change->key) != 0 ||
        (c->group != NULL && c->parent != NULL && steps_up(c->parent, c->group) >= 0)) {
        return bad_parent(err, TPC_EINVAL, "the group would stand inside itself");
    }
    if (c->parent == NULL) {
        return bad_parent(err, change->loading ? TPC_EAGAIN : TPC_ENOENT, "there is no such group");
    }
    int height = c->group != NULL ? height_of(r, c->group) : 1;
    return steps_up(c->parent, NULL) + height > TPI_REGISTRY_GROUP_DEPTH
               ? bad_parent(err, TPC_ETOOBIG, "groups are more than 8 deep")
               : 0;
}

static int check_select(const struct tpi_change *change, struct tpc_error *err)
{
    struct tpc_store_term terms[TPI_SELECTOR_TERMS];
    uint32_t count;
    struct tpc_str text = tpc_value_text(tpc_value_get(change->doc, TPC_STR("select")));
    int rc = tpi_selector_parse(text, TPC_STR("labels"), change->arena, err, terms, &count);
    if (rc != 0) {
        tpi_error_at(err, "select");
    }
    return rc;
}

static int prepare_delete(struct tpi_change *change, const struct tpi_group *g,
                          struct tpc_error *err)
{
    char name[7 + 128] = "groups.";
    bool used = false;
    if (g != NULL && g->children > 0) {
        return tpi_error_set(err, TPC_ESTATE, tpi_registry_origin, "%u groups stand in this group",
                             g->children);
    }
    memcpy(name + 7, change->key.ptr, change->key.len);
    struct tpc_field field = { { name, 7 + change->key.len }, TPC_STR("") };
    int rc = tpi_change_find(change, TPC_STR("device"), field, &used);
    if (rc != 0) {
        return tpi_error_set(err, rc, tpi_registry_origin, "the store cannot list devices");
    }
    return used ? tpi_error_set(err, TPC_ESTATE, tpi_registry_origin, "devices are in this group")
                : 0;
}

static int group_prepare(void *user, struct tpi_change *change, struct tpc_error *err)
{
    struct tpi_registry *r = user;
    struct group_change *c = tpc_arena_take(change->arena, sizeof(*c));
    if (c == NULL) {
        return tpi_registry_no_memory(err);
    }
    *c = (struct group_change){ .group = find(r, change->tenant, change->key) };
    change->prepared = c;
    if (change->deleted) {
        return prepare_delete(change, c->group, err);
    }
    int rc = tpi_registry_check_labels(change->doc, err);
    rc = rc != 0 ? rc : check_select(change, err);
    rc = rc != 0 ? rc : check_parent(r, change, c, err);
    if (rc == 0 && c->group == NULL) {
        c->fresh = true;
        c->group = make(r, change->tenant, change->key);
        rc = c->group == NULL ? tpi_registry_no_memory(err) : 0;
    }
    return rc;
}

static void group_apply(void *user, struct tpi_change *change)
{
    struct tpi_registry *r = user;
    const struct group_change *c = change->prepared;
    struct tpi_group *g = c->group;
    TPI_METRIC_ADD(r->counters.changes, 1);
    if (g == NULL) {
        return; /* deleting what was stored but never loaded: cannot be */
    }
    if (g->parent != NULL) {
        g->parent->children--;
    }
    g->parent = c->parent;
    g->stored = true;
    if (change->deleted) {
        drop(r, g);
    } else if (g->parent != NULL) {
        g->parent->children++;
    }
}

static void group_discard(void *user, struct tpi_change *change)
{
    const struct group_change *c = change->prepared;
    if (c->fresh) {
        drop(user, c->group);
    }
}

void tpi_registry_group_kind(struct tpi_registry *r, struct tpi_kind *kind)
{
    *kind = (struct tpi_kind){ .name = "group",
                               .version = 1,
                               .schema = TPC_OPTIONS(group_schema),
                               .prepare = group_prepare,
                               .apply = group_apply,
                               .discard = group_discard,
                               .user = r };
}
