/* Any text as an automation of ThingsPanel: what comes out is a tree with documents that have a kind, and notes
 * with a text. */
#include <stdlib.h>
#include <tpcore/rule.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char names[] = "{\"devices\":{\"d-1\":{\"key\":\"t1\",\"product\":\"thermo\"}}}";

static void check(const struct tpc_value *out, const char *list, const char *member)
{
    const struct tpc_value *v = tpc_value_get(out, tpc_str_from(list));
    if (v == NULL || v->type != TPC_ARRAY) {
        abort();
    }
    for (size_t i = 0; i < v->len; i++) {
        const struct tpc_value *text = tpc_value_get(&v->as.items[i], tpc_str_from(member));
        if (text == NULL || text->type != TPC_TEXT || text->len == 0) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_arena *arena = NULL;
    struct tpc_value out;
    struct tpc_error err = { .size = sizeof(err) };
    if (tpc_arena_create(NULL, 64 << 20, &arena) != 0) {
        return 0;
    }
    int rc = tpc_rule_import_thingspanel(arena, (struct tpc_str){ (const char *) data, size },
                                         TPC_STR(names), &err, &out);
    if (rc == 0) {
        check(&out, "entities", "key");
        check(&out, "entities", "kind");
        check(&out, "notes", "text");
    } else if (err.text[0] == '\0') {
        abort();
    }
    tpc_arena_destroy(arena);
    return 0;
}
