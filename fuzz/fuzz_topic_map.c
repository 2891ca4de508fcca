/* Topics of products: what fits has as many levels; a source with the key put in is one that the device
 * may subscribe to; a standard topic gives the number that stands in it. Input: source, target, topic,
 * key, a line each. */
#include "fuzz.h"

#include <tpcore/arena.h>

#include "registry/auth.h"
#include "registry/topic_map.h"

static struct tpc_str line(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *nl = *at < end ? memchr(*at, '\n', (size_t) (end - *at)) : NULL;
    struct tpc_str s = { (const char *) *at, (size_t) ((nl != NULL ? nl : end) - *at) };
    *at = nl != NULL ? nl + 1 : end;
    return s;
}

static size_t levels(struct tpc_str s)
{
    size_t n = 1;
    for (size_t i = 0; i < s.len; i++) {
        n += s.ptr[i] == '/';
    }
    return n;
}

static bool one_level(struct tpc_str s)
{
    return s.len > 0 && memchr(s.ptr, '/', s.len) == NULL && memchr(s.ptr, '+', s.len) == NULL;
}

static struct tpc_member text(const char *name, struct tpc_str s)
{
    return (struct tpc_member){ tpc_str_from(name),
                                { .type = TPC_TEXT, .len = s.len, .as.text = s.ptr } };
}

static void try_map(bool up, struct tpc_str source, struct tpc_str target, struct tpc_str topic,
                    struct tpc_str key)
{
    struct tpc_member m[3] = { text("direction", tpc_str_from(up ? "up" : "down")),
                               text("source", source), text("target", target) };
    struct tpc_value rule = { TPC_MAP, 0, 3, { .members = m } };
    struct tpc_value list = { TPC_ARRAY, 0, 1, { .items = &rule } };
    struct tpi_topic_map *map = NULL;
    char out[2 * TPI_TOPIC_BYTES];
    if (tpi_topic_map_make(tpc_allocator_default(), &list, NULL, &map) != 0) {
        return;
    }
    if (tpi_topic_map_allows(map, up, topic, key, false)) {
        FUZZ_MUST(levels(topic) == levels(source));
        FUZZ_MUST(!up || tpi_topic_map_up(map, topic, key) != NULL);
    }
    const struct tpi_topic_rule *r =
        tpi_topic_map_down(map, topic, key, (struct tpc_str){ NULL, 0 });
    FUZZ_MUST(r == NULL || (!up && levels(topic) == levels(target)));
    size_t n = tpi_topic_rule_source(&map->rules[0], key, out);
    if (n > 0 && one_level(key)) {
        FUZZ_MUST(tpi_topic_map_allows(map, up, (struct tpc_str){ out, n }, key, true));
    }
    tpi_topic_map_free(tpc_allocator_default(), map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *at = data;
    const uint8_t *end = data + size;
    struct tpc_str source = line(&at, end);
    struct tpc_str target = line(&at, end);
    struct tpc_str topic = line(&at, end);
    struct tpc_str key = line(&at, end);
    struct tpc_str number;
    try_map(true, source, target, topic, key);
    try_map(false, source, target, topic, key);
    if (tpi_acl_number(topic, &number)) {
        FUZZ_MUST(number.len > 0 && number.ptr >= topic.ptr &&
                  number.ptr + number.len <= topic.ptr + topic.len);
    }
    return 0;
}
