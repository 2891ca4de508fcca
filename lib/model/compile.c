#include "model/compile.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/map.h"
#include "data/option.h"
#include "model/keys.h"

static const char origin[] = "model";

static int compile_function(struct tpi_compiler *c, const struct tpc_value *def, const char *params,
                            struct tpi_map *seen, struct tpi_function *f)
{
    static const char *const levels[] = { "info", "alert", "error" };
    static const char *const calls[] = { "async", "sync" };
    bool service = strcmp(params, "input") == 0;
    size_t which;
    int rc = tpi_def_key(c, def, &f->key);
    rc = rc != 0 ? rc : tpi_def_people(c, def);
    rc = rc != 0 ? rc : tpi_def_flag(c, def, "idempotent", &f->idempotent);
    if (rc != 0) {
        return rc;
    }
    if (tpi_map_get(seen, f->key.ptr, f->key.len) != NULL) {
        return tpi_def_bad(c, "id", TPC_EINVAL, "stands twice");
    }
    if (tpi_map_put(seen, f->key.ptr, f->key.len, f, NULL) != 0) {
        return tpi_def_no_memory(c);
    }
    rc = service ? tpi_def_word(c, def, "call", calls, 2, &which)
                 : tpi_def_word(c, def, "level", levels, 3, &which);
    if (rc == 0 && service) {
        /* What a service answers is not used here, but a bad description is refused all the same.
         */
        const struct tpi_field *output;
        uint32_t count;
        bool absent;
        rc = tpi_def_fields(c, def, "output", 0, &output, &count, &absent);
    }
    return rc != 0 ? rc : tpi_def_fields(c, def, params, 0, &f->fields, &f->count, &f->open);
}

static int compile_functions(struct tpi_compiler *c, const struct tpc_value *def, const char *key,
                             const char *params, struct tpi_function **ret, uint32_t *ret_count)
{
    const struct tpc_value *list;
    int rc = tpi_def_list(c, def, key, TPI_MODEL_MAX_PROPERTIES, &list);
    if (rc != 0 || list == NULL) {
        return rc;
    }
    struct tpi_function *all = tpi_def_take(c, list->len, sizeof(*all));
    if (all == NULL) {
        return tpi_def_no_memory(c);
    }
    struct tpi_map seen;
    tpi_map_init(&seen, c->alloc);
    for (size_t i = 0; i < list->len && rc == 0; i++) {
        rc = compile_function(c, &list->as.items[i], params, &seen, &all[i]);
        if (rc != 0) {
            tpi_def_in_list(c, key, i, rc);
        }
    }
    tpi_map_fini(&seen);
    *ret = all;
    *ret_count = (uint32_t) list->len;
    return rc;
}

/* The expression itself is compiled by whoever computes. */
static int compile_expr(struct tpi_compiler *c, const struct tpc_value *def, struct tpi_property *p)
{
    const struct tpc_value *v = tpi_def_member(def, "expr");
    if (v == NULL) {
        return 0;
    }
    if (v->type != TPC_TEXT || v->len == 0 || v->len > TPI_MODEL_MAX_EXPR) {
        return tpi_def_bad(c, "expr", TPC_EINVAL, "is no text of 1 to 4,096 bytes");
    }
    if (p->writable) {
        return tpi_def_bad(c, "access", TPC_EINVAL, "is not r, as that of a computed property is");
    }
    return tpi_def_text(c, tpc_value_text(v), &p->expr);
}

static int compile_report(struct tpi_compiler *c, const struct tpc_value *def,
                          struct tpi_property *p)
{
    const struct tpc_value *v = tpi_def_member(def, "report");
    struct tpi_report *report = v != NULL ? tpi_def_take(c, 1, sizeof(*report)) : NULL;
    if (report == NULL) {
        return v != NULL ? tpi_def_no_memory(c) : 0;
    }
    int rc = tpi_report_parse(v, c->arena, c->err, report);
    if (rc != 0) {
        tpi_error_at(c->err, "report");
    }
    p->report = report;
    return rc;
}

static int compile_property(struct tpi_compiler *c, const struct tpc_value *def,
                            struct tpi_property *p)
{
    struct tpi_spec *spec = tpi_def_take(c, 1, sizeof(*spec));
    if (spec == NULL) {
        return tpi_def_no_memory(c);
    }
    static const char *const accesses[] = { "r", "rw", "w" };
    static const char *const roles[] = { "telemetry", "attribute" };
    size_t access = 0;
    size_t role = 0;
    const struct tpc_value *normal;
    int rc = tpi_def_key(c, def, &p->key);
    rc = rc != 0 ? rc : tpi_def_people(c, def);
    rc = rc != 0 ? rc : tpi_def_word(c, def, "access", accesses, 3, &access);
    rc = rc != 0 ? rc : tpi_def_word(c, def, "role", roles, 2, &role);
    rc = rc != 0 ? rc : tpi_def_flag(c, def, "required", &p->required);
    rc = rc != 0 ? rc : tpi_def_spec(c, def, 0, spec);
    rc = rc != 0 ? rc : tpi_def_default(c, def, spec, &normal);
    p->writable = access > 0;
    p->readable = access < 2;
    p->attribute = role > 0;
    rc = rc != 0 ? rc : compile_expr(c, def, p);
    rc = rc != 0 ? rc : compile_report(c, def, p);
    p->spec = spec;
    p->data_type = spec->data_type;
    p->value_type = spec->value_type;
    return rc;
}

static struct tpc_str key_at(const struct tpi_model *m, uint32_t index)
{
    return index < m->count ? m->properties[index].key : m->aliases[index - m->count].key;
}

/* Puts a property, or from m->count on an alias, into the hash; -1 if its key is there. */
static int hash_put(struct tpi_model *m, uint32_t index)
{
    struct tpc_str key = key_at(m, index);
    uint32_t at = (uint32_t) tpi_hash(key.ptr, key.len, 0) & m->mask;
    while (m->hash[at] != 0) {
        if (tpc_str_equal(key_at(m, m->hash[at] - 1), key) != 0) {
            return -1;
        }
        at = (at + 1) & m->mask;
    }
    m->hash[at] = index + 1;
    return 0;
}

static int compile_alias(struct tpi_compiler *c, const struct tpc_value *v, uint32_t index,
                         struct tpi_model *m)
{
    if (v->type != TPC_TEXT || !tpi_key_valid(tpc_value_text(v))) {
        return tpi_def_bad(c, "was", TPC_EINVAL,
                           "is no text of 1 to 128 bytes, nor a list of such");
    }
    struct tpi_alias *a = &m->aliases[m->alias_count];
    int rc = tpi_def_text(c, tpc_value_text(v), &a->key);
    if (rc != 0) {
        return rc;
    }
    a->index = index;
    return hash_put(m, m->count + m->alias_count++) == 0
               ? 0
               : tpi_def_bad(c, "was", TPC_EINVAL, "is the key of a property, or stands twice");
}

/* Keys that a property had before: one, or a list. */
static int compile_was(struct tpi_compiler *c, const struct tpc_value *def, uint32_t index,
                       struct tpi_model *m)
{
    const struct tpc_value *was = tpi_def_member(def, "was");
    int rc = 0;
    if (was != NULL && was->type == TPC_ARRAY) {
        for (size_t i = 0; i < was->len && rc == 0; i++) {
            rc = compile_alias(c, &was->as.items[i], index, m);
        }
        return rc;
    }
    return was == NULL ? 0 : compile_alias(c, was, index, m);
}

/* How many aliases there may be: room for them is made before they are read. */
static int count_aliases(struct tpi_compiler *c, const struct tpc_value *list, uint32_t *ret)
{
    uint32_t count = 0;
    for (size_t i = 0; list != NULL && i < list->len; i++) {
        const struct tpc_value *was = tpi_def_member(&list->as.items[i], "was");
        uint32_t n = was == NULL ? 0 : was->type == TPC_ARRAY ? (uint32_t) was->len : 1;
        if (n > TPI_MODEL_MAX_WAS || count + n > TPI_MODEL_MAX_PROPERTIES) {
            int rc = tpi_def_bad(c, "was", TPC_ETOOBIG, "has too many entries");
            return tpi_def_in_list(c, "properties", i, rc);
        }
        count += n;
    }
    *ret = count;
    return 0;
}

static int take_properties(struct tpi_compiler *c, size_t count, uint32_t aliases,
                           struct tpi_model *m)
{
    uint32_t size = 8;
    while (size < 2 * (count + aliases)) {
        size *= 2;
    }
    m->properties = tpi_def_take(c, count, sizeof(*m->properties));
    m->aliases = tpi_def_take(c, aliases, sizeof(*m->aliases));
    m->hash = tpi_def_take(c, size, sizeof(*m->hash));
    m->mask = size - 1;
    return m->properties == NULL || m->aliases == NULL || m->hash == NULL ? tpi_def_no_memory(c)
                                                                          : 0;
}

static int compile_properties(struct tpi_compiler *c, const struct tpc_value *def,
                              struct tpi_model *m)
{
    const struct tpc_value *list;
    uint32_t aliases = 0;
    int rc = tpi_def_list(c, def, "properties", TPI_MODEL_MAX_PROPERTIES, &list);
    size_t count = list == NULL ? 0 : list->len;
    rc = rc != 0 ? rc : count_aliases(c, list, &aliases);
    rc = rc != 0 ? rc : take_properties(c, count, aliases, m);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < count; i++) {
        rc = compile_property(c, &list->as.items[i], &m->properties[i]);
        m->count = i + 1;
        m->derived_count += m->properties[i].expr.len > 0;
        m->report_count += m->properties[i].report != NULL;
        if (rc == 0 && hash_put(m, i) != 0) {
            rc = tpi_def_bad(c, "id", TPC_EINVAL, "stands twice");
        }
        if (rc == 0 && m->derived_count > TPI_MODEL_MAX_DERIVED) {
            rc = tpi_def_bad(c, "expr", TPC_ETOOBIG, "is one more than the 64 there may be");
        }
        if (rc != 0) {
            return tpi_def_in_list(c, "properties", i, rc);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        rc = compile_was(c, &list->as.items[i], i, m);
        if (rc != 0) {
            return tpi_def_in_list(c, "properties", i, rc);
        }
    }
    return 0;
}

static int corrupt_ids(struct tpi_compiler *c)
{
    return tpi_error_set(c->err, TPC_ECORRUPT, origin, "the stored property ids are not in order");
}

static int read_given(struct tpi_compiler *c, const struct tpc_value *v, uint32_t next,
                      struct tpi_given_id *g)
{
    if (v->type != TPC_ARRAY || v->len != 3 || v->as.items[0].type != TPC_TEXT) {
        return corrupt_ids(c);
    }
    int64_t id;
    int type = tpi_type_from_name(tpc_value_text(&v->as.items[1]));
    if (type == 0 || tpc_value_int(&v->as.items[2], &id) != 0 || id < 1 || id >= (int64_t) next) {
        return corrupt_ids(c);
    }
    g->data_type = (uint16_t) type;
    g->id = (uint16_t) id;
    return tpi_def_text(c, tpc_value_text(&v->as.items[0]), &g->key);
}

/* The ids given so far, with room for those that this revision's properties may need. */
static int read_ids(struct tpi_compiler *c, const struct tpc_value *ids, struct tpi_model *m)
{
    const struct tpc_value *list = NULL;
    int64_t next = 1;
    if (ids != NULL) {
        list = tpi_def_member(ids, "ids");
        if (list == NULL || list->type != TPC_ARRAY || list->len > TPI_MODEL_MAX_IDS ||
            tpc_value_int(tpi_def_member(ids, "next"), &next) != 0 || next < 1 ||
            next > TPI_MODEL_MAX_IDS + 1) {
            return corrupt_ids(c);
        }
    }
    size_t count = list == NULL ? 0 : list->len;
    m->next_id = (uint32_t) next;
    m->given = tpi_def_take(c, count + m->count, sizeof(*m->given));
    if (m->given == NULL) {
        return tpi_def_no_memory(c);
    }
    for (size_t i = 0; i < count; i++) {
        int rc = read_given(c, &list->as.items[i], m->next_id, &m->given[i]);
        if (rc != 0) {
            return rc;
        }
        m->given_count++;
    }
    return 0;
}

/* Key bytes of (key, type) in the table below. */
static size_t given_key(struct tpc_str key, int type, char *out)
{
    memcpy(out, key.ptr, key.len);
    out[key.len] = (char) type;
    return key.len + 1;
}

static int used_up(struct tpi_compiler *c)
{
    return tpi_error_set(c->err, TPC_ETOOBIG, origin, "the product has used up its %d property ids",
                         TPI_MODEL_MAX_IDS);
}

static const struct tpi_given_id *given_to(const struct tpi_map *table, struct tpc_str key,
                                           int type)
{
    char text[TPI_MODEL_MAX_KEY + 1];
    size_t n = given_key(key, type, text);
    return tpi_map_get(table, text, n);
}

static int fill_table(struct tpi_compiler *c, const struct tpi_model *m, struct tpi_map *table)
{
    char text[TPI_MODEL_MAX_KEY + 1];
    for (uint32_t i = 0; i < m->given_count; i++) {
        if (m->given[i].key.len > TPI_MODEL_MAX_KEY) {
            return corrupt_ids(c);
        }
        size_t n = given_key(m->given[i].key, m->given[i].data_type, text);
        if (tpi_map_put(table, text, n, &m->given[i], NULL) != 0) {
            return tpi_def_no_memory(c);
        }
    }
    return 0;
}

/* A property takes an id; one that has it already and has it from an earlier row loses it: its key
 * is free for another property since the one that has the later row was renamed. */
static void take_id(struct tpi_model *m, const struct tpi_map *table, uint32_t index,
                    const struct tpi_given_id *row)
{
    uint16_t *place = &m->by_id[row->id];
    if (*place != 0) {
        struct tpi_property *other = &m->properties[*place - 1];
        if (given_to(table, other->key, other->data_type) > row) {
            return;
        }
        other->id = 0;
    }
    m->properties[index].id = row->id;
    *place = (uint16_t) (index + 1);
}

/* A property without an id takes that of a key it had before, or a new one. */
static int give_id(struct tpi_compiler *c, struct tpi_model *m, const struct tpi_map *table,
                   uint32_t index)
{
    struct tpi_property *p = &m->properties[index];
    for (uint32_t i = 0; i < m->alias_count && p->id == 0; i++) {
        const struct tpi_given_id *row =
            m->aliases[i].index == index ? given_to(table, m->aliases[i].key, p->data_type) : NULL;
        if (row != NULL && m->by_id[row->id] == 0) {
            p->id = row->id;
        }
    }
    if (m->given_count >= TPI_MODEL_MAX_IDS || (p->id == 0 && m->next_id > TPI_MODEL_MAX_IDS)) {
        return used_up(c);
    }
    if (p->id == 0) {
        p->id = (uint16_t) m->next_id++;
    }
    m->by_id[p->id] = (uint16_t) (index + 1);
    m->given[m->given_count++] = (struct tpi_given_id){ p->key, p->data_type, p->id };
    return 0;
}

static int give_ids(struct tpi_compiler *c, struct tpi_model *m, struct tpi_map *table)
{
    int rc = fill_table(c, m, table);
    m->by_id = tpi_def_take(c, (size_t) m->next_id + m->count, sizeof(*m->by_id));
    if (rc != 0 || m->by_id == NULL) {
        return rc != 0 ? rc : tpi_def_no_memory(c);
    }
    for (uint32_t i = 0; i < m->count; i++) {
        const struct tpi_property *p = &m->properties[i];
        const struct tpi_given_id *row = given_to(table, p->key, p->data_type);
        if (row != NULL) {
            take_id(m, table, i, row);
        }
    }
    for (uint32_t i = 0; i < m->count && rc == 0; i++) {
        rc = m->properties[i].id == 0 ? give_id(c, m, table, i) : 0;
    }
    return rc;
}

/* Two keys have one id only if one came after the other; two types never have. */
static bool same_types(const struct tpi_model *m)
{
    for (uint32_t i = 0; i < m->given_count; i++) {
        int index = (int) m->by_id[m->given[i].id] - 1;
        if (index >= 0 && m->properties[index].data_type != m->given[i].data_type) {
            return false;
        }
    }
    return true;
}

static int assign_ids(struct tpi_compiler *c, const struct tpc_value *ids, struct tpi_model *m)
{
    int rc = read_ids(c, ids, m);
    if (rc != 0) {
        return rc;
    }
    struct tpi_map table;
    tpi_map_init(&table, c->alloc);
    rc = give_ids(c, m, &table);
    tpi_map_fini(&table);
    return rc == 0 && !same_types(m) ? corrupt_ids(c) : rc;
}

static int compile(struct tpi_compiler *c, const struct tpc_value *def, const struct tpc_value *ids,
                   struct tpi_model *m)
{
    if (def == NULL || def->type != TPC_MAP) {
        return tpi_error_set(c->err, TPC_EINVAL, origin, "is not an object");
    }
    int rc = compile_properties(c, def, m);
    rc = rc != 0 ? rc
                 : compile_functions(c, def, "services", "input", &m->services, &m->service_count);
    rc = rc != 0 ? rc : compile_functions(c, def, "events", "output", &m->events, &m->event_count);
    rc = rc != 0 ? rc : assign_ids(c, ids, m);
    return rc == 0 && tpi_keys_make(m) != 0 ? tpi_def_no_memory(c) : rc;
}

int tpi_model_compile(const struct tpc_allocator *alloc, const struct tpc_value *model,
                      const struct tpc_value *ids, enum tpi_enforce enforce, uint32_t revision,
                      struct tpc_error *err, struct tpi_model **ret)
{
    struct tpi_compiler c = { alloc, NULL, err, (uint8_t) enforce };
    if (tpc_arena_create(alloc, 0, &c.arena) != 0) {
        return tpi_def_no_memory(&c);
    }
    struct tpi_model *m = tpi_def_take(&c, 1, sizeof(*m));
    if (m != NULL) {
        m->alloc = alloc;
        m->arena = c.arena;
    }
    int rc = m == NULL ? tpi_def_no_memory(&c) : compile(&c, model, ids, m);
    if (rc != 0) {
        tpc_arena_destroy(c.arena);
        return rc;
    }
    m->revision = revision;
    m->enforce = (uint8_t) enforce;
    atomic_init(&m->refs, 1);
    *ret = m;
    return 0;
}

struct tpi_model *tpi_model_ref(struct tpi_model *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

struct tpi_model *tpi_model_unref(struct tpi_model *m)
{
    if (m != NULL && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1) {
        tpc_arena_destroy(m->arena);
    }
    return NULL;
}

int tpi_model_ids(const struct tpi_model *m, struct tpc_arena *arena, struct tpc_value *ret)
{
    struct tpc_member *top = tpc_arena_take(arena, 2 * sizeof(*top));
    struct tpc_value *list = tpc_arena_take(arena, (m->given_count + 1u) * sizeof(*list));
    struct tpc_value *cells = tpc_arena_take(arena, (m->given_count + 1u) * 3 * sizeof(*cells));
    if (top == NULL || list == NULL || cells == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < m->given_count; i++) {
        const struct tpi_given_id *g = &m->given[i];
        const char *type = tpi_data_type_name(g->data_type);
        struct tpc_value *cell = cells + 3 * (size_t) i;
        cell[0] = (struct tpc_value){ TPC_TEXT, 0, g->key.len, { .text = g->key.ptr } };
        cell[1] = (struct tpc_value){ TPC_TEXT, 0, strlen(type), { .text = type } };
        cell[2] = (struct tpc_value){ TPC_INT, 0, 0, { .i = g->id } };
        list[i] = (struct tpc_value){ TPC_ARRAY, 0, 3, { .items = cell } };
    }
    top[0].key = TPC_STR("next");
    top[0].value = (struct tpc_value){ TPC_INT, 0, 0, { .i = m->next_id } };
    top[1].key = TPC_STR("ids");
    top[1].value = (struct tpc_value){ TPC_ARRAY, 0, m->given_count, { .items = list } };
    *ret = (struct tpc_value){ TPC_MAP, 0, 2, { .members = top } };
    return 0;
}
