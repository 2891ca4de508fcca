/* JSONPath of the mqtt-connector: input is a path, NUL, a JSON text. */
#include "fuzz.h"

#include "path.h"

#include <tpcore/json.h>

enum { JSON_MAX = 4096 }; /* so that a search with many steps stays short */

/* Whether v is a part of root. */
static bool inside(const struct tpc_value *v, const struct tpc_value *root)
{
    size_t n = root->type == TPC_ARRAY || root->type == TPC_MAP ? root->len : 0;
    bool found = v == root;
    for (size_t i = 0; i < n && !found; i++) {
        found = inside(v, root->type == TPC_MAP ? &root->as.members[i].value : &root->as.items[i]);
    }
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    struct tpc_str text = { (const char *) data, nul != NULL ? (size_t) (nul - data) : size };
    struct tpc_arena *arena = NULL;
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_value root;
    struct path path;
    if (tpc_arena_create(NULL, 0, &arena) != 0) {
        return 0;
    }
    int rc = path_compile(arena, text, &err, &path);
    FUZZ_MUST(rc == 0 || rc == TPC_EINVAL || rc == TPC_ETOOBIG);
    FUZZ_MUST(rc == 0 || (err.column >= 1 && err.column <= text.len + 1));
    if (rc == 0 && nul != NULL) {
        struct tpc_str json = { (const char *) nul + 1, size - text.len - 1 };
        if (json.len <= JSON_MAX && tpc_json_parse(arena, json, 0, NULL, &root) == 0) {
            const struct tpc_value *v = path_find(&path, &root);
            FUZZ_MUST(v == NULL || inside(v, &root));
        }
    }
    tpc_arena_destroy(arena);
    return 0;
}
