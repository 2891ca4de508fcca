/* What the HTTP server reads itself: a target, its path and query, and a pattern. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/utf8.h"
#include "route.h"

enum { ROOM = 4096 };

static void expect(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void path(struct tpc_str raw)
{
    static const char *const patterns[] = { "/",         "/a/{x}",  "/{x}/{y}",
                                            "/f/{r...}", "/{r...}", "/a/b/{x}/c" };
    char room[ROOM];
    struct hs_path p;
    if (hs_path_read(raw, room, &p) != 0) {
        return;
    }
    expect(p.text.len <= raw.len && p.count > 0 && p.count <= HS_LEVELS_MAX);
    expect(memchr(p.text.ptr, '\0', p.text.len) == NULL && tpi_utf8_valid(p.text.ptr, p.text.len));
    for (uint32_t i = 0; i < p.count; i++) {
        expect(!tpc_str_equal(p.levels[i], TPC_STR("..")) &&
               !tpc_str_equal(p.levels[i], TPC_STR(".")));
        expect(p.levels[i].ptr + p.levels[i].len <= p.text.ptr + p.text.len);
    }
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        struct tpc_http_header found[HS_PATTERN_MAX];
        struct hs_pattern pattern;
        const char *why;
        expect(hs_pattern_read(patterns[i], &pattern, &why) == 0);
        if (hs_pattern_match(&pattern, &p, found)) {
            for (uint32_t k = 0; k < pattern.names; k++) {
                expect(found[k].value.ptr >= p.text.ptr &&
                       found[k].value.ptr + found[k].value.len <= p.text.ptr + p.text.len);
            }
        }
    }
}

static void query(struct tpc_str raw)
{
    char room[ROOM];
    struct tpc_http_header found[HS_QUERY_MAX];
    uint32_t count = 0;
    if (hs_query_read(raw, room, found, &count) != 0) {
        return;
    }
    expect(count <= HS_QUERY_MAX);
    for (uint32_t i = 0; i < count; i++) {
        expect(found[i].value.ptr + found[i].value.len <= room + raw.len);
        expect(tpi_utf8_valid(found[i].value.ptr, found[i].value.len));
    }
}

static void pattern(const char *text, size_t len)
{
    char copy[ROOM];
    struct hs_pattern p;
    const char *why = NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (hs_pattern_read(copy, &p, &why) != 0) {
        expect(why != NULL);
        return;
    }
    expect(p.count > 0 && p.names <= p.count && p.begin <= p.literal);
    expect(hs_pattern_same(&p, &p) && hs_pattern_order(&p, &p) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_str where, what;
    if (size == 0 || size >= ROOM) {
        return 0;
    }
    struct tpc_str target = { (const char *) data, size };
    hs_target_split(target, &where, &what);
    expect(where.len + what.len <= size);
    path(where);
    query(what);
    query(target);
    pattern((const char *) data, size);
    return 0;
}
