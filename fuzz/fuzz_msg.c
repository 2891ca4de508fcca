/* Record bodies: what is read, is written and read again the same; copies are equal. */
#include "fuzz.h"

#include "data/msg.h"

static void same(const struct tpc_msg *a, const struct tpc_msg *b)
{
    FUZZ_MUST(memcmp(&a->id, &b->id, sizeof(a->id)) == 0 && a->code == b->code);
    FUZZ_MUST(tpc_str_equal(a->name, b->name) && tpc_str_equal(a->origin, b->origin));
    FUZZ_MUST(tpc_str_equal(a->correlation, b->correlation) && a->raw.len == b->raw.len);
    FUZZ_MUST(a->raw.len == 0 || memcmp(a->raw.ptr, b->raw.ptr, a->raw.len) == 0);
    FUZZ_MUST(a->point_count == b->point_count && tpc_value_equal(&a->params, &b->params));
    for (uint32_t i = 0; i < a->point_count; i++) {
        const struct tpc_point *p = tpc_msg_point(a, i);
        const struct tpc_point *q = tpc_msg_point(b, i);
        FUZZ_MUST(p->property == q->property && p->flags == q->flags);
        FUZZ_MUST(tpc_str_equal(p->key, q->key) && tpc_value_equal(&p->value, &q->value));
        FUZZ_MUST(p->unix_ms == q->unix_ms || p->unix_ms == a->unix_ms || p->unix_ms == 0);
    }
}

static void write_and_read(struct tpc_arena *arena, const struct tpc_msg *m)
{
    struct tpi_buf buf;
    struct tpc_msg back = { .size = sizeof(back), .unix_ms = m->unix_ms };
    struct tpc_msg *copy;
    tpi_buf_init(&buf, NULL, 0);
    FUZZ_MUST(tpi_msg_encode(m, &buf) == 0);
    struct tpc_bytes body = { buf.ptr, buf.len };
    int rc = tpi_msg_decode(body, arena, NULL, &back);
    FUZZ_MUST(rc == 0 || rc == TPC_ENOMEM);
    if (rc == 0) {
        same(m, &back);
    }
    tpi_buf_fini(&buf);
    FUZZ_MUST(tpc_msg_dup(m, NULL, &copy) == 0);
    same(m, copy);
    tpc_msg_free(copy, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_arena *arena;
    struct tpc_error err;
    struct tpc_msg m = { .size = sizeof(m), .unix_ms = 1719900000123 };
    FUZZ_MUST(tpc_arena_create(NULL, FUZZ_MEMORY, &arena) == 0);
    int rc = tpi_msg_decode((struct tpc_bytes){ data, size }, arena, &err, &m);
    if (rc == 0) {
        write_and_read(arena, &m);
    } else {
        FUZZ_MUST(rc == TPC_ECORRUPT || rc == TPC_EVERSION || rc == TPC_ENOMEM);
        FUZZ_MUST(m.points == NULL && err.code == rc);
    }
    tpc_arena_destroy(arena);
    return 0;
}
