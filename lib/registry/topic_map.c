#include "registry/topic_map.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

static const char origin[] = "registry";
static const struct tpc_str number = TPC_STR_INIT("{device_number}");

/* The next level of *rest; false at the end. */
static bool next_level(struct tpc_str *rest, bool *more, struct tpc_str *ret)
{
    if (!*more) {
        return false;
    }
    const char *slash = rest->len > 0 ? memchr(rest->ptr, '/', rest->len) : NULL;
    size_t len = slash != NULL ? (size_t) (slash - rest->ptr) : rest->len;
    *ret = (struct tpc_str){ rest->ptr, len };
    *more = slash != NULL;
    size_t past = len + (slash != NULL);
    rest->ptr = past > 0 ? rest->ptr + past : rest->ptr; /* NULL may be empty */
    rest->len -= past;
    return true;
}

static bool is_plus(struct tpc_str level)
{
    return level.len == 1 && level.ptr[0] == '+';
}

static bool is_named(struct tpc_str level)
{
    return level.len > 2 && level.ptr[0] == '{' && level.ptr[level.len - 1] == '}';
}

static bool any_level(struct tpc_str level)
{
    return is_plus(level) || (is_named(level) && tpc_str_equal(level, number) == 0);
}

static bool level_fits(struct tpc_str want, struct tpc_str have, struct tpc_str key, bool filter)
{
    if (tpc_str_equal(want, number) != 0) {
        return tpc_str_equal(have, key) != 0 && !is_plus(have);
    }
    if (any_level(want)) {
        return have.len > 0 && (filter || !is_plus(have));
    }
    return tpc_str_equal(want, have) != 0;
}

bool tpi_topic_fits(struct tpc_str pattern, struct tpc_str topic, struct tpc_str key, bool filter)
{
    struct tpc_str want, have;
    bool more_want = true;
    bool more_have = true;
    while (next_level(&pattern, &more_want, &want)) {
        if (!next_level(&topic, &more_have, &have) || !level_fits(want, have, key, filter)) {
            return false;
        }
    }
    return !more_have;
}

/* ---- making ---- */

/* Why a pattern cannot be, or NULL. */
static const char *fault(struct tpc_str pattern, bool wildcards)
{
    struct tpc_str level;
    bool more = true;
    if (pattern.len == 0 || pattern.len > TPI_TOPIC_BYTES || pattern.ptr[0] == '$' ||
        memchr(pattern.ptr, 0, pattern.len) != NULL) {
        return "a topic has 1 to 256 bytes and does not begin with $";
    }
    while (next_level(&pattern, &more, &level)) {
        bool odd = memchr(level.ptr, '#', level.len) != NULL ||
                   memchr(level.ptr, '+', level.len) != NULL ||
                   memchr(level.ptr, '{', level.len) != NULL ||
                   memchr(level.ptr, '}', level.len) != NULL;
        if (odd && (!wildcards || !(is_plus(level) || is_named(level)))) {
            return wildcards ? "+ and {name} stand for whole levels; # is not allowed"
                             : "the target of what comes up has no wildcards";
        }
    }
    return NULL;
}

static int bad_rule(struct tpc_error *err, size_t index, const char *member, const char *text)
{
    tpi_error_set(err, TPC_EINVAL, origin, "%s", text);
    tpi_error_at(err, member);
    tpi_error_at_index(err, index);
    tpi_error_at(err, "topics");
    return TPC_EINVAL;
}

static int read_rule(const struct tpc_value *v, size_t index, struct tpc_error *err,
                     struct tpi_topic_rule *ret)
{
    int64_t priority = 100;
    (void) tpc_value_int(tpc_value_get(v, TPC_STR("priority")), &priority);
    *ret = (struct tpi_topic_rule){
        .up = tpc_str_equal(tpc_value_text(tpc_value_get(v, TPC_STR("direction"))),
                            TPC_STR("up")) != 0,
        .priority = (int32_t) priority,
        .source = tpc_value_text(tpc_value_get(v, TPC_STR("source"))),
        .target = tpc_value_text(tpc_value_get(v, TPC_STR("target"))),
        .name = tpc_value_text(tpc_value_get(v, TPC_STR("name"))),
    };
    const char *why = fault(ret->source, true);
    if (why != NULL) {
        return bad_rule(err, index, "source", why);
    }
    why = fault(ret->target, !ret->up);
    return why != NULL ? bad_rule(err, index, "target", why) : 0;
}

static bool enabled(const struct tpc_value *v)
{
    const struct tpc_value *on = tpc_value_get(v, TPC_STR("enabled"));
    return on == NULL || on->type != TPC_BOOL || on->as.b;
}

static struct tpc_str keep(char **at, struct tpc_str text)
{
    struct tpc_str kept = { *at, text.len };
    if (text.len > 0) {
        memcpy(*at, text.ptr, text.len);
    }
    *at += text.len;
    return kept;
}

/* Behind those of the same priority. */
static void insert(struct tpi_topic_map *map, struct tpi_topic_rule rule)
{
    uint32_t at = map->count++;
    while (at > 0 && map->rules[at - 1].priority > rule.priority) {
        map->rules[at] = map->rules[at - 1];
        at--;
    }
    map->rules[at] = rule;
}

int tpi_topic_map_make(const struct tpc_allocator *alloc, const struct tpc_value *list,
                       struct tpc_error *err, struct tpi_topic_map **ret)
{
    size_t count = list != NULL && list->type == TPC_ARRAY ? list->len : 0;
    size_t bytes = sizeof(struct tpi_topic_map) + count * sizeof(struct tpi_topic_rule);
    struct tpi_topic_rule rule;
    *ret = NULL;
    for (size_t i = 0; i < count; i++) {
        int rc = read_rule(&list->as.items[i], i, err, &rule);
        if (rc != 0) {
            return rc;
        }
        bytes += rule.source.len + rule.target.len + rule.name.len;
    }
    if (count == 0) {
        return 0;
    }
    struct tpi_topic_map *map = tpi_alloc_zero(alloc, bytes);
    if (map == NULL) {
        return tpi_error_set(err, TPC_ENOMEM, origin, "out of memory");
    }
    map->bytes = bytes;
    char *at = (char *) &map->rules[count];
    for (size_t i = 0; i < count; i++) {
        if (enabled(&list->as.items[i]) && read_rule(&list->as.items[i], i, err, &rule) == 0) {
            rule.source = keep(&at, rule.source);
            rule.target = keep(&at, rule.target);
            rule.name = keep(&at, rule.name);
            insert(map, rule);
        }
    }
    *ret = map;
    return 0;
}

void tpi_topic_map_free(const struct tpc_allocator *alloc, struct tpi_topic_map *map)
{
    if (map != NULL) {
        tpi_free(alloc, map, map->bytes);
    }
}

/* ---- asking ---- */

bool tpi_topic_map_allows(const struct tpi_topic_map *map, bool up, struct tpc_str topic,
                          struct tpc_str key, bool filter)
{
    for (uint32_t i = 0; map != NULL && i < map->count; i++) {
        if (map->rules[i].up == up && tpi_topic_fits(map->rules[i].source, topic, key, filter)) {
            return true;
        }
    }
    return false;
}

const struct tpi_topic_rule *tpi_topic_map_up(const struct tpi_topic_map *map, struct tpc_str topic,
                                              struct tpc_str key)
{
    for (uint32_t i = 0; map != NULL && i < map->count; i++) {
        if (map->rules[i].up && tpi_topic_fits(map->rules[i].source, topic, key, false)) {
            return &map->rules[i];
        }
    }
    return NULL;
}

const struct tpi_topic_rule *tpi_topic_map_down(const struct tpi_topic_map *map,
                                                struct tpc_str topic, struct tpc_str key,
                                                struct tpc_str method)
{
    const struct tpi_topic_rule *any = NULL;
    for (uint32_t i = 0; map != NULL && i < map->count; i++) {
        const struct tpi_topic_rule *r = &map->rules[i];
        if (r->up || !tpi_topic_fits(r->target, topic, key, false)) {
            continue;
        }
        if (r->name.len > 0 && method.len > 0 && tpc_str_equal(r->name, method) != 0) {
            return r;
        }
        any = any == NULL && r->name.len == 0 ? r : any;
    }
    return any;
}

size_t tpi_topic_rule_source(const struct tpi_topic_rule *rule, struct tpc_str key,
                             char ret[2 * TPI_TOPIC_BYTES])
{
    struct tpc_str rest = rule->source;
    struct tpc_str level;
    bool more = true;
    size_t n = 0;
    while (next_level(&rest, &more, &level)) {
        if (any_level(level)) {
            return 0;
        }
        level = tpc_str_equal(level, number) != 0 ? key : level;
        if (n + level.len + 1 > 2 * TPI_TOPIC_BYTES) {
            return 0;
        }
        memcpy(ret + n, level.ptr, level.len);
        n += level.len;
        ret[n++] = '/';
    }
    return n - 1;
}
