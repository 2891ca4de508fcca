/* Which scenes and data rules a property concerns: lists per product and property id. */
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

static int reserve_items(struct tpi_rules *r, struct rule_list *list, uint32_t more)
{
    uint32_t cap = list->cap == 0 ? 4 : list->cap;
    while (cap < list->count + more) {
        cap *= 2;
    }
    if (cap == list->cap) {
        return 0;
    }
    struct tpi_watch **items =
        tpi_resize(r->env->alloc, list->items, list->cap * sizeof(*items), cap * sizeof(*items));
    if (items == NULL) {
        return TPC_ENOMEM;
    }
    list->items = items;
    list->cap = cap;
    return 0;
}

static uint32_t names_of(const struct tpi_expr *e)
{
    return e != NULL ? tpi_expr_name_count(e) : 0;
}

/* Numbers above those of properties are of names that are no values of a message. */
static bool is_property(uint32_t id)
{
    return id < TPI_NAME_DEVICE;
}

uint32_t tpi_rules_name_count(const struct rule_places *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->expr_count; i++) {
        for (uint32_t k = 0; k < names_of(p->exprs[i]); k++) {
            n += is_property(tpi_expr_name_index(p->exprs[i], k));
        }
    }
    return n;
}

/* Calls fn with each list that it stands in; one several times if several expressions name it. */
typedef int place_fn(struct tpi_rules *r, struct rule_list *list, void *user);

static int each_place(struct tpi_rules *r, struct rule_set *set, const struct rule_places *p,
                      place_fn *fn, void *user)
{
    if (p->any || p->trigger != TPI_ON_DATA) {
        return fn(r, &set->triggers[p->trigger], user);
    }
    int rc = 0;
    for (uint32_t i = 0; i < p->expr_count; i++) {
        for (uint32_t k = 0; rc == 0 && k < names_of(p->exprs[i]); k++) {
            uint32_t id = tpi_expr_name_index(p->exprs[i], k);
            rc = is_property(id) ? fn(r, &set->lists[id], user) : 0;
        }
    }
    return rc;
}

static bool asks_previous(const struct rule_places *p)
{
    uint32_t needs = 0;
    for (uint32_t i = 0; i < p->expr_count; i++) {
        needs |= p->exprs[i] != NULL ? tpi_expr_needs(p->exprs[i]) : 0;
    }
    return (needs & TPI_EXPR_PREVIOUS) != 0;
}

static int reserve_lists_of(struct tpi_rules *r, struct rule_set *set, const struct rule_places *p)
{
    int rc = 0;
    for (uint32_t i = 0; i < p->expr_count; i++) {
        for (uint32_t k = 0; rc == 0 && k < names_of(p->exprs[i]); k++) {
            uint32_t id = tpi_expr_name_index(p->exprs[i], k);
            rc = is_property(id) ? reserve_lists(r, set, id + 1) : 0;
        }
    }
    return rc;
}

static int reserve_place(struct tpi_rules *r, struct rule_list *list, void *user)
{
    const struct rule_places *p = user;
    return reserve_items(r, list, p->expr_count + 1);
}

int tpi_rules_reserve(struct tpi_rules *r, const struct rule_places *p)
{
    struct rule_places copy = *p;
    struct rule_set *set = find_set(r, p->product_id);
    int rc = set != NULL ? 0 : make_set(r, p->product_id, &set);
    rc = rc != 0 ? rc : reserve_lists_of(r, set, p);
    return rc != 0 ? rc : each_place(r, set, p, reserve_place, &copy);
}

static int add_to(struct tpi_rules *r, struct rule_list *list, void *user)
{
    (void) r;
    assert(list->count < list->cap);
    list->items[list->count++] = user;
    return 0;
}

void tpi_rules_link(struct tpi_rules *r, struct tpi_watch *w, const struct rule_places *p)
{
    struct rule_set *set = find_set(r, p->product_id);
    assert(set != NULL);
    (void) each_place(r, set, p, add_to, w);
    set->previous += asks_previous(p);
    r->previous += asks_previous(p);
    w->linked = true;
}

/* The order of those that stay does not change: actions keep their order. */
static int take_from(struct tpi_rules *r, struct rule_list *list, void *user)
{
    uint32_t kept = 0;
    (void) r;
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->items[i] != user) {
            list->items[kept++] = list->items[i];
        }
    }
    list->count = kept;
    return 0;
}

void tpi_rules_unlink(struct tpi_rules *r, struct tpi_watch *w, const struct rule_places *p)
{
    if (w->linked) {
        struct rule_set *set = find_set(r, p->product_id);
        (void) each_place(r, set, p, take_from, w);
        set->previous -= asks_previous(p);
        r->previous -= asks_previous(p);
        w->linked = false;
    }
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
