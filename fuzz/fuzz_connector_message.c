/*
 * A mapping of the mqtt-connector and a message: input is the expressions of device, type and value, a
 * regular expression and a template, each up to a NUL, then the payload, which serves as the topic, too.
 */
#include "fuzz.h"

#include "convert.h"
#include "date.h"

#include <tpcore/json.h>

enum { PAYLOAD_MAX = 4096, PATTERN_MAX = 256 };

static struct tpc_str next_part(struct tpc_str *rest)
{
    const char *nul = rest->len > 0 ? memchr(rest->ptr, 0, rest->len) : NULL;
    struct tpc_str part = { rest->ptr, nul != NULL ? (size_t) (nul - rest->ptr) : rest->len };
    size_t used = part.len + (nul != NULL);
    rest->ptr += used;
    rest->len -= used;
    return part;
}

static int on_frame(void *user, const struct cn_frame *f)
{
    struct tpc_value v;
    FUZZ_MUST(f->device.len > 0 && f->device.len <= CN_DEVICE_MAX);
    FUZZ_MUST(f->type.len > 0 && f->type.len <= CN_DEVICE_MAX);
    struct tpc_str text = { (const char *) f->payload.ptr, f->payload.len };
    FUZZ_MUST(tpc_json_parse(user, text, 0, NULL, &v) == 0 && v.type == TPC_MAP && v.len > 0);
    return 0;
}

static int on_refused(void *user, struct tpc_str device, struct tpc_bytes payload, int code,
                      const char *why)
{
    (void) user;
    (void) payload;
    FUZZ_MUST(device.len <= CN_DEVICE_MAX && code < 0 && why[0] != '\0');
    return 0;
}

static void on_count(void *user, const char *metric, uint64_t n)
{
    (void) user;
    (void) metric;
    FUZZ_MUST(n == 1);
}

static void check_pick(struct tpc_arena *arena, struct tpc_str pattern, struct tpc_str text)
{
    struct pick p;
    struct tpc_str found;
    if (pattern.len <= PATTERN_MAX && pick_compile(arena, pattern, NULL, &p) == 0 &&
        pick_find(&p, text, false, arena, &found) == 0) {
        FUZZ_MUST(found.len <= text.len);
        FUZZ_MUST(text.len == 0 ||
                  (found.ptr >= text.ptr && found.ptr + found.len <= text.ptr + text.len));
    }
}

static void check_say(struct tpc_arena *arena, struct tpc_str text, const struct tpc_value *params)
{
    struct say_values v = { .device = TPC_STR("d"), .params = params, .value = params };
    struct say s;
    struct tpi_buf b;
    tpi_buf_init(&b, NULL, PAYLOAD_MAX);
    if (say_compile(arena, text, NULL, &s) == 0) {
        int rc = say_fill(&s, &v, arena, &b);
        FUZZ_MUST(rc == 0 || rc == TPC_ETOOBIG || rc == TPC_EDECODE);
        tpi_buf_clear(&b);
        rc = say_filter(&s, &b);
        FUZZ_MUST(rc == 0 || rc == TPC_ETOOBIG || rc == TPC_EINVAL);
    }
    tpi_buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_str rest = { (const char *) data, size };
    struct tpc_arena *arena = NULL;
    struct cn_entry entries[2];
    struct cn_mapping m;
    struct tpc_value json;
    int64_t ms = 0;
    if (tpc_arena_create(NULL, 0, &arena) != 0) {
        return 0;
    }
    memset(&m, 0, sizeof(m));
    memset(entries, 0, sizeof(entries));
    struct tpc_str device = next_part(&rest);
    struct tpc_str type = next_part(&rest);
    struct tpc_str value = next_part(&rest);
    struct tpc_str pattern = next_part(&rest);
    struct tpc_str text = next_part(&rest);
    rest.len = rest.len <= PAYLOAD_MAX ? rest.len : PAYLOAD_MAX;
    struct tpc_bytes payload = { (const uint8_t *) rest.ptr, rest.len };
    bool parsed = cn_json(payload, arena, &json);
    check_pick(arena, pattern, rest);
    check_say(arena, text, parsed ? &json : NULL);
    FUZZ_MUST(date_parse(rest, (uint32_t) size & 3, &ms) != 0 || ms >= 0);
    entries[0].all = true;
    entries[1].type = (enum cast)(size % 5);
    m.timeseries = (struct cn_entries){ entries, 2 };
    if (expr_compile(arena, device, EXPR_JSON, NULL, &m.from.device) == 0 &&
        expr_compile(arena, type, EXPR_JSON, NULL, &m.from.type) == 0 &&
        expr_compile(arena, value, EXPR_JSON, NULL, &entries[1].value) == 0 &&
        expr_compile(arena, value, EXPR_JSON, NULL, &entries[1].key) == 0) {
        const struct cn_out out = { arena, on_frame, on_refused, on_count };
        int rc = cn_convert(&m, false, rest, payload, arena, &out);
        FUZZ_MUST(rc == 0);
    }
    tpc_arena_destroy(arena);
    return 0;
}
