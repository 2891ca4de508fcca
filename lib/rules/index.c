/* Which scenes a property concerns: lists per product and property id. */
#include "base/alloc.h"
#include "rules/rules_state.h"

#include <assert.h>
#include <string.h>

static struct rule_set *find_set(struct tpi_rules *r, uint64_t product)
{
    return tpi_map64_get(&r->sets, product);
}

static int make_set(struct tpi_rules *r, uint64_t product, struct rule_set **ret)
{
    struct rule_set *set = tpi_alloc_zero(r->env->alloc, sizeof(*set));
    if (set == NULL) {
        return TPC_ENOMEM;
    }
    int rc = tpi_map64_put(&r->sets, product, set, NULL);
    if (rc != 0) {
        tpi_free(r->env->alloc, set, sizeof(*set));
        return rc;
    }
    *ret = set;
    return 0;
}

static int reserve_lists(struct tpi_rules *r, struct rule_set *set, uint32_t count)
{
    if (count <= set->count) {
        return 0;
    }
    struct rule_list *lists =
        tpi_resize(r->env->alloc, set->lists, set->count * sizeof(*lists), count * sizeof(*lists));
    if (lists == NULL) {
        return TPC_ENOMEM;
    }
    memset(lists + set->count, 0, (count - set->count) * sizeof(*lists));
    set->lists = lists;
    set->count = count;
    return 0;
}

/* Room for two: both conditions may name the property. */
static int reserve_items(struct tpi_rules *r, struct rule_list *list)
{
    if (list->count + 2 <= list->cap) {
        return 0;
    }
    uint32_t cap = list->cap == 0 ? 4 : list->cap * 2;
    struct tpi_scene **items =
        tpi_resize(r->env->alloc, list->items, list->cap * sizeof(*items), cap * sizeof(*items));
    if (items == NULL) {
        return TPC_ENOMEM;
    }
    list->items = items;
    list->cap = cap;
    return 0;
}

/* How many properties a data scene names; one that both conditions name counts twice. */
static uint32_t name_count(const struct tpi_condition *c)
{
    return tpi_expr_name_count(c->expr) + (c->until != NULL ? tpi_expr_name_count(c->until) : 0);
}

static uint32_t name_at(const struct tpi_condition *c, uint32_t i)
{
    uint32_t first = tpi_expr_name_count(c->expr);
    return i < first ? tpi_expr_name_index(c->expr, i) : tpi_expr_name_index(c->until, i - first);
}

/* Lists that it stands in: of its properties, or the one of its trigger. */
static uint32_t place_count(const struct tpi_scene *s, const struct tpi_condition *c)
{
    return s->on == TPI_ON_DATA ? name_count(c) : 1;
}

static struct rule_list *place_at(struct rule_set *set, const struct tpi_scene *s,
                                  const struct tpi_condition *c, uint32_t i)
{
    return s->on == TPI_ON_DATA ? &set->lists[name_at(c, i)] : &set->triggers[s->on];
}

int tpi_rules_reserve(struct tpi_rules *r, const struct tpi_scene *s, const struct tpi_condition *c)
{
    struct rule_set *set = find_set(r, c->product_id);
    int rc = set != NULL ? 0 : make_set(r, c->product_id, &set);
    for (uint32_t i = 0; rc == 0 && i < place_count(s, c); i++) {
        rc = s->on == TPI_ON_DATA ? reserve_lists(r, set, name_at(c, i) + 1) : 0;
        rc = rc != 0 ? rc : reserve_items(r, place_at(set, s, c, i));
    }
    return rc;
}

static bool asks_previous(const struct tpi_condition *c)
{
    uint32_t needs = (c->expr != NULL ? tpi_expr_needs(c->expr) : 0) |
                     (c->until != NULL ? tpi_expr_needs(c->until) : 0);
    return (needs & TPI_EXPR_PREVIOUS) != 0;
}

void tpi_rules_link(struct tpi_rules *r, struct tpi_scene *s)
{
    const struct tpi_condition *c = &s->condition;
    if (!s->enabled || !c->good) {
        return;
    }
    struct rule_set *set = find_set(r, c->product_id);
    assert(set != NULL);
    for (uint32_t i = 0; i < place_count(s, c); i++) {
        struct rule_list *list = place_at(set, s, c, i);
        assert(list->count < list->cap);
        list->items[list->count++] = s;
    }
    set->previous += asks_previous(c);
    r->previous += asks_previous(c);
    s->linked = true;
}

/* The order of those that stay does not change: actions keep their order. */
static void list_remove(struct rule_list *list, const struct tpi_scene *s)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->items[i] != s) {
            list->items[kept++] = list->items[i];
        }
    }
    list->count = kept;
}

void tpi_rules_unlink(struct tpi_rules *r, struct tpi_scene *s)
{
    if (!s->linked) {
        return;
    }
    const struct tpi_condition *c = &s->condition;
    struct rule_set *set = find_set(r, c->product_id);
    for (uint32_t i = 0; i < place_count(s, c); i++) {
        list_remove(place_at(set, s, c, i), s);
    }
    set->previous -= asks_previous(c);
    r->previous -= asks_previous(c);
    s->linked = false;
}

static void list_free(struct tpi_rules *r, struct rule_list *list)
{
    tpi_free(r->env->alloc, list->items, list->cap * sizeof(*list->items));
}

void tpi_rules_sets_fini(struct tpi_rules *r)
{
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&r->sets, &iter, NULL, &value)) {
        struct rule_set *set = value;
        for (uint32_t i = 0; i < set->count; i++) {
            list_free(r, &set->lists[i]);
        }
        for (uint32_t i = 0; i < TPI_TRIGGERS; i++) {
            list_free(r, &set->triggers[i]);
        }
        tpi_free(r->env->alloc, set->lists, set->count * sizeof(*set->lists));
        tpi_free(r->env->alloc, set, sizeof(*set));
    }
    tpi_map64_fini(&r->sets);
}
