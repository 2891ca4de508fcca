/*
 * Forms of a service and what people and the platform make of them: the first line of the input is a form,
 * the rest an answer of the platform's HTTP interface, or values, or a voucher.
 */
#include "fuzz.h"

#include <string.h>
#include <tpcore/json.h>

#include "devices.h"
#include "forms.h"
#include "reply.h"

enum { FORM_BYTES = 1 << 16 };

/* A voucher that was written once is written the same again. */
static void voucher(const struct tp_forms *f, struct tpc_str text, struct tpc_arena *arena)
{
    struct tpi_buf a, b;
    tpi_buf_init(&a, NULL, 0);
    tpi_buf_init(&b, NULL, 0);
    if (tp_form_voucher(f, text, arena, &a) == 0 && a.len <= TP_VOUCHER_BYTES) {
        const struct tpc_str once = { (const char *) a.ptr, a.len };
        FUZZ_MUST(tp_form_voucher(f, once, arena, &b) == 0);
        FUZZ_MUST(a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0);
    }
    tpi_buf_fini(&a);
    tpi_buf_fini(&b);
}

static void values(const struct tpc_value *form, const struct tpc_value *in,
                   struct tpc_arena *arena)
{
    struct tpc_value once, twice;
    if (tp_form_coerce(form, in, arena, &once) == 0) {
        FUZZ_MUST(once.type == TPC_MAP || once.type == TPC_NULL);
        FUZZ_MUST(tp_form_coerce(form, &once, arena, &twice) == 0);
        FUZZ_MUST(twice.type == once.type && twice.len == once.len);
    }
}

static void device(const struct tp_forms *f, const struct tpc_value *v, struct tpc_arena *arena)
{
    struct tp_devices d;
    struct tp_device *put;
    struct tp_facts facts;
    uint32_t changes;
    if (tp_reply_facts(v, f, arena, &facts) != 0) {
        return;
    }
    tp_devices_init(&d, NULL, 100, 1);
    if (tp_devices_put(&d, &facts, &put, &changes) == 0) {
        FUZZ_MUST(changes == TP_CHANGE_NEW);
        FUZZ_MUST(tp_devices_by_id(&d, facts.id) == put);
        FUZZ_MUST(tp_devices_put(&d, &facts, &put, &changes) == 0 && changes == 0);
        const struct tpc_value *list = tp_reply_behind(v);
        for (size_t i = 0; list != NULL && i < list->len; i++) {
            struct tp_facts sub;
            if (tp_reply_facts(&list->as.items[i], f, arena, &sub) == 0) {
                sub.parent = facts.id;
                (void) tp_devices_put(&d, &sub, &put, &changes);
            }
        }
        struct tpi_buf b;
        tpi_buf_init(&b, NULL, 0);
        FUZZ_MUST(tp_devices_save(&d, &b) == 0);
        tpi_buf_fini(&b);
    }
    tp_devices_fini(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[FORM_BYTES + 1];
    const uint8_t *line = size > 0 ? memchr(data, '\n', size) : NULL;
    if (line == NULL || line - data > FORM_BYTES) {
        return 0;
    }
    size_t n = (size_t) (line - data);
    memcpy(text, data, n);
    text[n] = '\0';
    const struct tpc_service_form form = { "CFG", NULL, text }, again = { "VCR", "1", text },
                                  kinds = { "VCRT", NULL, text };
    const struct tpc_service_form both[] = { form, again };
    const struct tpc_list list = TPC_LIST(both);
    const struct tpc_list one = { &kinds, 1, sizeof(kinds) };
    struct tp_forms f = { .count = 0 };
    struct tpc_arena *arena;
    struct tpc_error err = { .size = sizeof(err) };
    FUZZ_MUST(tpc_arena_create(NULL, 64 << 20, &arena) == 0);
    if (tp_forms_read(&f, NULL, &list, &err) != 0) {
        FUZZ_MUST(f.count == 0 && f.arena == NULL);
        (void) tp_forms_read(&f, NULL, &one, &err);
    }
    const struct tpc_bytes body = { line + 1, size - n - 1 };
    const struct tpc_str rest = { (const char *) body.ptr, body.len };
    const struct tpc_value *cfg = tp_forms_find(&f, TPC_STR("CFG"), TPC_STR("2"));
    struct tpc_value doc;
    struct tp_reply reply;
    voucher(&f, rest, arena);
    if (tpc_json_parse(arena, rest, 0, NULL, &doc) == 0) {
        values(cfg, &doc, arena);
        device(&f, &doc, arena);
    }
    tp_reply_read(0, 200, body, arena, &reply);
    if (reply.data != NULL) {
        device(&f, reply.data, arena);
    }
    tp_forms_fini(&f);
    tpc_arena_destroy(arena);
    return 0;
}
