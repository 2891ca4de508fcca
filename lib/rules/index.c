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

static int reserve_item(struct tpi_rules *r, struct rule_list *list)
{
    if (list->count < list->cap) {
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

int tpi_rules_reserve(struct tpi_rules *r, uint64_t product, const struct tpi_expr *expr)
{
    struct rule_set *set = find_set(r, product);
    int rc = set != NULL ? 0 : make_set(r, product, &set);
    for (uint32_t i = 0; rc == 0 && i < tpi_expr_name_count(expr); i++) {
        uint32_t id = tpi_expr_name_index(expr, i);
        rc = reserve_lists(r, set, id + 1);
        rc = rc != 0 ? rc : reserve_item(r, &set->lists[id]);
    }
    return rc;
}

void tpi_rules_link(struct tpi_rules *r, struct tpi_scene *s)
{
    if (!s->enabled || s->expr == NULL) {
        return;
    }
    struct rule_set *set = find_set(r, s->product_id);
    assert(set != NULL);
    for (uint32_t i = 0; i < tpi_expr_name_count(s->expr); i++) {
        struct rule_list *list = &set->lists[tpi_expr_name_index(s->expr, i)];
        assert(list->count < list->cap);
        list->items[list->count++] = s;
    }
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
    struct rule_set *set = find_set(r, s->product_id);
    for (uint32_t i = 0; i < tpi_expr_name_count(s->expr); i++) {
        list_remove(&set->lists[tpi_expr_name_index(s->expr, i)], s);
    }
    s->linked = false;
}

void tpi_rules_sets_fini(struct tpi_rules *r)
{
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(&r->sets, &iter, NULL, &value)) {
        struct rule_set *set = value;
        for (uint32_t i = 0; i < set->count; i++) {
            tpi_free(r->env->alloc, set->lists[i].items,
                     set->lists[i].cap * sizeof(*set->lists[i].items));
        }
        tpi_free(r->env->alloc, set->lists, set->count * sizeof(*set->lists));
        tpi_free(r->env->alloc, set, sizeof(*set));
    }
    tpi_map64_fini(&r->sets);
}
