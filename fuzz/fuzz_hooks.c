/* What brokers send: every body is answered, with text that they can read; what is nobody's is refused
 * and nothing but the right password lets anybody in. */
#include "fuzz.h"

#include <tpcore/json.h>
#include <tpcore/tpcore.h>

#include "hooks.h"

static struct tpc_core *core;

static void put(const char *kind, const char *json)
{
    FUZZ_MUST(tpc_entity_put(core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL) == 0);
}

static void make(void)
{
    FUZZ_MUST(tpc_core_create(NULL, &core) == 0);
    put("product",
        "{\"key\":\"pk01\",\"model\":{\"properties\":[{\"id\":\"x\",\"type\":\"int\"}]}}");
    put("device",
        "{\"key\":\"dev01\",\"product\":\"pk01\",\"secret\":\"s\",\"credentials\":{"
        "\"username\":\"u\",\"password\":\"a password that no fuzzer finds: 8c1e5f0a\"}}");
}

static void check_json(const struct hooks_answer *a)
{
    struct tpc_arena *arena = NULL;
    struct tpc_value v;
    struct tpc_str text = { a->text, a->len };
    FUZZ_MUST(tpc_arena_create(NULL, 0, &arena) == 0);
    FUZZ_MUST(a->len == 0 || tpc_json_parse(arena, text, 0, NULL, &v) == 0);
    tpc_arena_destroy(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const paths[][2] = {
        { "/mqtt/auth", "" },
        { "/mqtt/acl", "" },
        { "/mqtt/event", "" },
        { "/auth/user", "" },
        { "/auth/vhost", "" },
        { "/auth/resource", "" },
        { "/auth/topic", "" },
        { "/vernemq", "auth_on_register" },
        { "/vernemq", "auth_on_publish" },
        { "/vernemq", "auth_on_subscribe" },
        { "/vernemq", "on_client_gone" },
    };
    static struct hooks_answer answer;
    if (core == NULL) {
        make();
    }
    if (size == 0) {
        return 0;
    }
    size_t which = data[0] % (sizeof(paths) / sizeof(paths[0]));
    struct hooks_request q = { .core = core, .body = { data + 1, size - 1 } };
    hooks_fn *fn = hooks_find(tpc_str_from(paths[which][0]), tpc_str_from(paths[which][1]));
    FUZZ_MUST(fn != NULL);
    memset(&answer, 0, sizeof(answer));
    fn(&q, &answer);
    FUZZ_MUST(answer.type != NULL && answer.len < sizeof(answer.text));
    if (strcmp(answer.type, "text/plain") == 0) {
        FUZZ_MUST(strcmp(answer.text, "allow") == 0 || strcmp(answer.text, "deny") == 0);
        FUZZ_MUST(which != 3 || strcmp(answer.text, "deny") == 0);
    } else {
        check_json(&answer);
        FUZZ_MUST(which != 0 || strstr(answer.text, "deny") != NULL);
    }
    return 0;
}
