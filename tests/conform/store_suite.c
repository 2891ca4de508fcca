#include "store_suite.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"

static const struct store_engine *engine;
static struct tpc_error host_error;

static int host_fail(void *ctx, int code, const char *fmt, ...)
{
    (void) ctx;
    va_list args;
    va_start(args, fmt);
    host_error.code = code;
    vsnprintf(host_error.text, sizeof(host_error.text), fmt, args);
    va_end(args);
    return code;
}

static void host_log(void *ctx, int level, const char *fmt, ...)
{
    (void) ctx;
    (void) level;
    (void) fmt;
}

static void host_count(void *ctx, const char *metric, uint64_t n)
{
    (void) ctx;
    (void) metric;
    (void) n;
}

static const char *host_name(void *ctx)
{
    (void) ctx;
    return "store";
}

const struct tpc_host *store_host(void)
{
    static struct tpc_host host = { .iface = TPC_IFACE(struct tpc_host, 1),
                                    .fail = host_fail,
                                    .log = host_log,
                                    .name = host_name,
                                    .count = host_count };
    host.allocator = tpc_allocator_default();
    host.clock = tpi_clock_system();
    host.random = tpi_random_system();
    host.files = tpi_files_system();
    return &host;
}

const struct tpc_error *store_host_error(void)
{
    return &host_error;
}

int store_try_open(const struct tpc_store_ops *ops, const struct tpc_host *host,
                   const struct tpc_value *cfg, void **ret)
{
    void *self = calloc(1, ops->instance_size);
    ck_assert_ptr_nonnull(self);
    memset(&host_error, 0, sizeof(host_error));
    int rc = ops->init(self, host, NULL, cfg);
    if (rc != 0) {
        store_close(ops, self);
        self = NULL;
    }
    *ret = self;
    return rc;
}

void *store_open(const struct tpc_store_ops *ops, const struct tpc_value *cfg)
{
    void *self;
    int rc = store_try_open(ops, store_host(), cfg, &self);
    ck_assert_msg(rc == 0, "init: %s %s", tpc_error_name(rc), host_error.text);
    return self;
}

void store_close(const struct tpc_store_ops *ops, void *self)
{
    ops->fini(self);
    free(self);
}

void store_suite_use(const struct store_engine *e)
{
    engine = e;
}

struct tpc_store_op store_put_op(const char *kind, uint64_t tenant, const char *key,
                                 uint64_t expect, uint64_t revision, const char *doc)
{
    return (struct tpc_store_op){ .size = sizeof(struct tpc_store_op),
                                  .type = TPC_STORE_PUT,
                                  .expect = expect,
                                  .row = { .size = sizeof(struct tpc_row),
                                           .space = TPC_SPACE_ENTITY,
                                           .kind = tpc_str_from(kind),
                                           .tenant = tenant,
                                           .key = tpc_str_from(key),
                                           .id = 7,
                                           .revision = revision,
                                           .created_unix_ms = 1000,
                                           .modified_unix_ms = 2000,
                                           .doc = { (const uint8_t *) doc, strlen(doc) },
                                           .field_size = sizeof(struct tpc_field) } };
}

struct tpc_store_op store_delete_op(const char *kind, uint64_t tenant, const char *key,
                                    uint64_t expect)
{
    struct tpc_store_op op = store_put_op(kind, tenant, key, expect, 0, "");
    op.type = TPC_STORE_DELETE;
    return op;
}

/* ---- what the tests share ---- */

static void *store;

static void setup(void)
{
    store = store_open(engine->ops, engine->fresh());
}

static void teardown(void)
{
    store_close(engine->ops, store);
    store = NULL;
}

static int transact(const struct tpc_store_op *ops, uint32_t count)
{
    struct tpc_error err = { .size = sizeof(err) };
    return engine->ops->transact(store, ops, count, sizeof(*ops), &err);
}

static int put(const char *kind, uint64_t tenant, const char *key, uint64_t expect,
               uint64_t revision, const char *doc)
{
    struct tpc_store_op op = store_put_op(kind, tenant, key, expect, revision, doc);
    return transact(&op, 1);
}

struct got {
    struct tpc_row row;
    char doc[256];
    size_t doc_len;
    int calls;
};

static int on_row(void *user, const struct tpc_row *row)
{
    struct got *g = user;
    g->row = *row;
    g->doc_len = row->doc.len;
    ck_assert_uint_lt(row->doc.len, sizeof(g->doc));
    if (row->doc.len > 0) {
        memcpy(g->doc, row->doc.ptr, row->doc.len);
    }
    g->doc[row->doc.len] = 0;
    g->calls++;
    return 0;
}

static int get(uint32_t space, const char *kind, uint64_t tenant, const char *key, struct got *g)
{
    memset(g, 0, sizeof(*g));
    return engine->ops->get(store, space, tpc_str_from(kind), tenant, tpc_str_from(key), on_row, g);
}

static void expect_doc(const char *kind, uint64_t tenant, const char *key, const char *doc)
{
    struct got g;
    if (doc == NULL) {
        tk_fails(TPC_ENOENT, get(TPC_SPACE_ENTITY, kind, tenant, key, &g));
        ck_assert_int_eq(g.calls, 0);
        return;
    }
    tk_ok(get(TPC_SPACE_ENTITY, kind, tenant, key, &g));
    ck_assert_int_eq(g.calls, 1);
    ck_assert_str_eq(g.doc, doc);
}

/* Keys of a query in order: "a b c ". */
static int join_key(void *user, const struct tpc_row *row)
{
    char *text = user;
    ck_assert_uint_lt(strlen(text) + row->key.len + 2, 4000);
    strncat(text, row->key.ptr, row->key.len);
    strncat(text, " ", 2);
    return 0;
}

static struct tpc_store_query query_of(const char *kind, uint64_t tenant)
{
    return (struct tpc_store_query){ .size = sizeof(struct tpc_store_query),
                                     .space = TPC_SPACE_ENTITY,
                                     .kind = tpc_str_from(kind),
                                     .tenant = tenant };
}

static void expect_keys(const struct tpc_store_query *q, const char *keys)
{
    char text[4096] = "";
    tk_ok(engine->ops->query(store, q, join_key, text));
    ck_assert_str_eq(text, keys);
}

/* ---- rows ---- */

START_TEST(a_row_comes_back_as_it_was_put)
{
    struct tpc_store_op op = store_put_op("device", 3, "t1", TPC_NO_REV, 5, "{\"a\":1}");
    struct got g;
    op.row.id = 42;
    op.row.created_unix_ms = -5;
    op.row.modified_unix_ms = 1763640000123;
    tk_ok(transact(&op, 1));
    tk_ok(get(TPC_SPACE_ENTITY, "device", 3, "t1", &g));
    ck_assert_uint_eq(g.row.space, TPC_SPACE_ENTITY);
    ck_assert_uint_eq(g.row.tenant, 3);
    ck_assert_uint_eq(g.row.id, 42);
    ck_assert_uint_eq(g.row.revision, 5);
    ck_assert_int_eq(g.row.created_unix_ms, -5);
    ck_assert_int_eq(g.row.modified_unix_ms, 1763640000123);
    ck_assert_str_eq(g.doc, "{\"a\":1}");
}
END_TEST

START_TEST(rows_are_apart_by_space_kind_and_tenant)
{
    struct tpc_store_op ops[4] = { store_put_op("a", 1, "k", TPC_NO_REV, 1, "entity a 1"),
                                   store_put_op("b", 1, "k", TPC_NO_REV, 1, "entity b 1"),
                                   store_put_op("a", 2, "k", TPC_NO_REV, 1, "entity a 2"),
                                   store_put_op("a", 1, "k", TPC_NO_REV, 1, "secret a 1") };
    struct got g;
    ops[3].row.space = TPC_SPACE_SECRET;
    tk_ok(transact(ops, 4));
    expect_doc("a", 1, "k", "entity a 1");
    expect_doc("b", 1, "k", "entity b 1");
    expect_doc("a", 2, "k", "entity a 2");
    tk_ok(get(TPC_SPACE_SECRET, "a", 1, "k", &g));
    ck_assert_str_eq(g.doc, "secret a 1");
    struct tpc_store_op del = store_delete_op("a", 1, "k", TPC_ANY_REV);
    tk_ok(transact(&del, 1));
    expect_doc("a", 1, "k", NULL);
    expect_doc("a", 2, "k", "entity a 2");
    tk_ok(get(TPC_SPACE_SECRET, "a", 1, "k", &g));
}
END_TEST

START_TEST(a_write_happens_only_at_the_revision_it_expects)
{
    tk_ok(put("d", 1, "k", TPC_NO_REV, 1, "one"));
    tk_fails(TPC_ECONFLICT, put("d", 1, "k", TPC_NO_REV, 1, "again"));
    tk_fails(TPC_ECONFLICT, put("d", 1, "k", 2, 3, "two"));
    expect_doc("d", 1, "k", "one");
    tk_ok(put("d", 1, "k", 1, 2, "two"));
    tk_ok(put("d", 1, "k", TPC_ANY_REV, 9, "nine"));
    tk_fails(TPC_ECONFLICT, put("d", 1, "k", 3, 4, "four"));
    expect_doc("d", 1, "k", "nine");
    tk_fails(TPC_ECONFLICT, put("d", 1, "other", 4, 5, "not there"));
    tk_ok(put("d", 1, "other", TPC_ANY_REV, 1, "there"));
}
END_TEST

START_TEST(a_conflict_names_the_key)
{
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_store_op op = store_put_op("d", 1, "thermo-7", 4, 5, "x");
    tk_fails(TPC_ECONFLICT, engine->ops->transact(store, &op, 1, sizeof(op), &err));
    ck_assert_int_eq(err.code, TPC_ECONFLICT);
    ck_assert_str_eq(err.path, "thermo-7");
}
END_TEST

START_TEST(a_delete_needs_its_revision_or_any)
{
    struct tpc_store_op del = store_delete_op("d", 1, "k", 3);
    tk_ok(put("d", 1, "k", TPC_NO_REV, 1, "one"));
    tk_fails(TPC_ECONFLICT, transact(&del, 1));
    expect_doc("d", 1, "k", "one");
    del.expect = 1;
    tk_ok(transact(&del, 1));
    expect_doc("d", 1, "k", NULL);
    tk_fails(TPC_ECONFLICT, transact(&del, 1));
    del.expect = TPC_ANY_REV;
    tk_ok(transact(&del, 1));
    tk_ok(put("d", 1, "k", TPC_NO_REV, 1, "anew"));
}
END_TEST

START_TEST(a_transaction_is_all_or_nothing)
{
    tk_ok(put("d", 1, "old", TPC_NO_REV, 1, "old"));
    struct tpc_store_op ops[4] = { store_put_op("d", 1, "new", TPC_NO_REV, 1, "new"),
                                   store_put_op("d", 1, "old", 1, 2, "changed"),
                                   store_delete_op("d", 1, "old", 2),
                                   store_put_op("d", 1, "bad", 8, 9, "bad") };
    tk_fails(TPC_ECONFLICT, transact(ops, 4));
    expect_doc("d", 1, "new", NULL);
    expect_doc("d", 1, "old", "old");
    expect_doc("d", 1, "bad", NULL);
    tk_ok(transact(ops, 3));
    expect_doc("d", 1, "new", "new");
    expect_doc("d", 1, "old", NULL);
    tk_ok(transact(ops, 0));
}
END_TEST

START_TEST(ops_may_be_longer_than_the_engine_knows)
{
    struct longer {
        struct tpc_store_op op;
        uint64_t later[3];
    } ops[2] = { { store_put_op("d", 1, "a", TPC_NO_REV, 1, "A"), { 1, 2, 3 } },
                 { store_put_op("d", 1, "b", TPC_NO_REV, 1, "B"), { 1, 2, 3 } } };
    tk_ok(engine->ops->transact(store, &ops[0].op, 2, sizeof(ops[0]), NULL));
    expect_doc("d", 1, "a", "A");
    expect_doc("d", 1, "b", "B");
}
END_TEST

START_TEST(documents_and_keys_are_any_bytes_that_are_allowed)
{
    struct tpc_store_op op = store_put_op("d", 1, "k", TPC_NO_REV, 1, "");
    static const uint8_t bytes[] = { 0, 1, 0xff, 0, '\'', '"' };
    char longest[129];
    struct got g;
    tk_ok(transact(&op, 1));
    expect_doc("d", 1, "k", "");
    op = store_put_op("d", 1, "raw", TPC_NO_REV, 1, "");
    op.row.space = TPC_SPACE_RECORD;
    op.row.doc = (struct tpc_bytes){ bytes, sizeof(bytes) };
    tk_ok(transact(&op, 1));
    tk_ok(get(TPC_SPACE_RECORD, "d", 1, "raw", &g));
    ck_assert_uint_eq(g.doc_len, sizeof(bytes));
    ck_assert_mem_eq(g.doc, bytes, sizeof(bytes));
    memset(longest, 'x', 128);
    longest[128] = 0;
    tk_ok(put("d", 1, longest, TPC_NO_REV, 1, "long"));
    expect_doc("d", 1, longest, "long");
    tk_ok(put("d", 1, "it's \"%\" _; drop\xc3\xa9", TPC_NO_REV, 1, "odd"));
    expect_doc("d", 1, "it's \"%\" _; drop\xc3\xa9", "odd");
}
END_TEST

START_TEST(numbers_keep_all_their_bits)
{
    struct tpc_store_op op =
        store_put_op("d", UINT64_MAX - 1, "k", TPC_NO_REV, UINT64_MAX / 2, "x");
    struct got g;
    op.row.id = UINT64_MAX;
    op.row.created_unix_ms = INT64_MIN;
    op.row.modified_unix_ms = INT64_MAX;
    tk_ok(transact(&op, 1));
    tk_ok(get(TPC_SPACE_ENTITY, "d", UINT64_MAX - 1, "k", &g));
    ck_assert_uint_eq(g.row.id, UINT64_MAX);
    ck_assert_uint_eq(g.row.tenant, UINT64_MAX - 1);
    ck_assert_uint_eq(g.row.revision, UINT64_MAX / 2);
    ck_assert_int_eq(g.row.created_unix_ms, INT64_MIN);
    ck_assert_int_eq(g.row.modified_unix_ms, INT64_MAX);
}
END_TEST

/* ---- queries ---- */

START_TEST(a_query_lists_in_the_order_of_keys_page_by_page)
{
    static const char *const keys[] = { "b", "a", "ab", "Z", "c" };
    for (size_t i = 0; i < 5; i++) {
        tk_ok(put("d", 1, keys[i], TPC_NO_REV, 1, "x"));
        tk_ok(put("e", 1, keys[i], TPC_NO_REV, 1, "x"));
    }
    struct tpc_store_query q = query_of("d", 1);
    expect_keys(&q, "Z a ab b c ");
    q.limit = 2;
    expect_keys(&q, "Z a ");
    q.after_key = TPC_STR("a");
    expect_keys(&q, "ab b ");
    q.after_key = TPC_STR("aa");
    expect_keys(&q, "ab b ");
    q.after_key = TPC_STR("c");
    expect_keys(&q, "");
}
END_TEST

struct owner {
    const char *prefix;
    int calls;
    char text[256];
};

static int of_owner(void *user, const struct tpc_row *row)
{
    struct owner *o = user;
    o->calls++;
    return memcmp(row->key.ptr, o->prefix, 16) != 0 ? 77 : join_key(o->text, row);
}

/* As records of one device among many are read: keys that begin alike stand together, and the first that
 * does not ends the reading. */
START_TEST(keys_that_begin_alike_are_read_without_the_others)
{
    struct tpc_store_op ops[5];
    char keys[5][32];
    for (int owner = 39; owner >= 0; owner--) {
        for (int i = 0; i < 5; i++) {
            snprintf(keys[i], sizeof(keys[i]), "%016x%c", (unsigned) owner, 'e' - i);
            ops[i] = store_put_op("d", 0, keys[i], TPC_ANY_REV, 1, "{}");
            ops[i].row.space = TPC_SPACE_RECORD;
        }
        tk_ok(transact(ops, 5));
    }
    struct owner o = { .prefix = "0000000000000011" };
    struct tpc_store_query q = query_of("d", 0);
    q.space = TPC_SPACE_RECORD;
    q.after_key = tpc_str_from(o.prefix);
    ck_assert_int_eq(engine->ops->query(store, &q, of_owner, &o), 77);
    ck_assert_int_eq(o.calls, 6);
    ck_assert_str_eq(o.text, "0000000000000011a 0000000000000011b 0000000000000011c "
                             "0000000000000011d 0000000000000011e ");
    q.after_key = TPC_STR("0000000000000011c");
    q.limit = 2;
    o = (struct owner){ .prefix = "0000000000000011" };
    tk_ok(engine->ops->query(store, &q, of_owner, &o));
    ck_assert_str_eq(o.text, "0000000000000011d 0000000000000011e ");
}
END_TEST

START_TEST(a_query_over_all_tenants_lists_by_tenant_then_key)
{
    tk_ok(put("d", 2, "a", TPC_NO_REV, 1, "x"));
    tk_ok(put("d", 1, "b", TPC_NO_REV, 1, "x"));
    tk_ok(put("d", 1, "c", TPC_NO_REV, 1, "x"));
    struct tpc_store_query q = query_of("d", UINT64_MAX);
    expect_keys(&q, "b c a ");
    q.tenant = 2;
    expect_keys(&q, "a ");
    q.tenant = 0;
    expect_keys(&q, "");
}
END_TEST

static void put_with_field(const char *key, uint64_t expect, uint64_t id, const char *value)
{
    struct tpc_field fields[2] = { { TPC_STR("product"), tpc_str_from(value) },
                                   { TPC_STR("same"), TPC_STR("yes") } };
    struct tpc_store_op op = store_put_op("d", 1, key, expect, expect + 1, "x");
    op.row.id = id;
    op.row.fields = fields;
    op.row.field_count = 2;
    tk_ok(transact(&op, 1));
}

START_TEST(a_query_finds_by_field_and_by_number)
{
    put_with_field("a", 0, 1, "thermo");
    put_with_field("b", 0, 2, "fan");
    put_with_field("c", 0, 3, "thermo");
    struct tpc_store_query q = query_of("d", 1);
    q.field = (struct tpc_field){ TPC_STR("product"), TPC_STR("thermo") };
    expect_keys(&q, "a c ");
    q.limit = 1;
    expect_keys(&q, "a ");
    q.after_key = TPC_STR("a");
    expect_keys(&q, "c ");
    put_with_field("a", 1, 1, "fan");
    q.limit = 0;
    q.after_key = (struct tpc_str){ NULL, 0 };
    expect_keys(&q, "c ");
    q.field.value = TPC_STR("fan");
    expect_keys(&q, "a b ");
    struct tpc_store_op del = store_delete_op("d", 1, "b", TPC_ANY_REV);
    tk_ok(transact(&del, 1));
    expect_keys(&q, "a ");
    q = query_of("d", 1);
    q.field = (struct tpc_field){ TPC_STR("nothing"), TPC_STR("thermo") };
    expect_keys(&q, "");
    q = query_of("d", 1);
    q.id = 3;
    expect_keys(&q, "c ");
    q.id = 2;
    expect_keys(&q, "");
}
END_TEST

static int stop_at_first(void *user, const struct tpc_row *row)
{
    (void) user;
    (void) row;
    return 1;
}

static void put_labelled(uint64_t tenant, const char *key, const char *site, const char *floor)
{
    struct tpc_field fields[2] = { { TPC_STR("site"), tpc_str_from(site) },
                                   { TPC_STR("floor"), tpc_str_from(floor) } };
    struct tpc_store_op op = store_put_op("d", tenant, key, TPC_ANY_REV, 1, "x");
    op.row.fields = fields;
    op.row.field_count = floor[0] == 0 ? 1 : 2;
    tk_ok(transact(&op, 1));
}

START_TEST(a_query_meets_every_one_of_its_terms_page_by_page)
{
    struct tpc_store_term terms[TPC_STORE_TERMS_MAX + 1] = {
        { TPC_TERM_EQUAL, 0, { TPC_STR("site"), TPC_STR("paris") } },
        { TPC_TERM_NOT_EQUAL, 0, { TPC_STR("floor"), TPC_STR("2") } },
    };
    put_labelled(1, "e", "paris", "3");
    put_labelled(1, "a", "paris", "1");
    put_labelled(1, "b", "paris", "2");
    put_labelled(1, "c", "lyon", "1");
    put_labelled(1, "d", "paris", "");
    put_labelled(2, "f", "paris", "1");
    struct tpc_store_query q = query_of("d", 1);
    q.terms = terms;
    q.term_count = 2;
    expect_keys(&q, "a d e ");
    q.limit = 1;
    q.after_key = TPC_STR("a");
    expect_keys(&q, "d ");
    q = query_of("d", UINT64_MAX);
    q.terms = terms;
    q.term_count = 2;
    expect_keys(&q, "a d e f ");
    q.field = (struct tpc_field){ TPC_STR("floor"), TPC_STR("1") };
    expect_keys(&q, "a f ");
    q = query_of("d", 1);
    q.terms = &terms[1];
    q.term_count = 1;
    expect_keys(&q, "a c d e ");
    terms[1].type = TPC_TERM_EQUAL;
    q.terms = terms;
    q.term_count = 2;
    expect_keys(&q, "b ");
    put_labelled(1, "b", "paris", "");
    expect_keys(&q, "");
    q.term_count = TPC_STORE_TERMS_MAX + 1;
    ck_assert_int_eq(engine->ops->query(store, &q, stop_at_first, NULL), TPC_EINVAL);
}
END_TEST

static int stop_at_second(void *user, const struct tpc_row *row)
{
    (void) row;
    return ++*(int *) user == 2 ? 77 : 0;
}

START_TEST(a_row_function_ends_the_reading)
{
    int calls = 0;
    tk_ok(put("d", 1, "a", TPC_NO_REV, 1, "x"));
    tk_ok(put("d", 1, "b", TPC_NO_REV, 1, "x"));
    tk_ok(put("d", 1, "c", TPC_NO_REV, 1, "x"));
    struct tpc_store_query q = query_of("d", 1);
    ck_assert_int_eq(engine->ops->query(store, &q, stop_at_second, &calls), 77);
    ck_assert_int_eq(calls, 2);
    calls = 1;
    ck_assert_int_eq(engine->ops->get(store, TPC_SPACE_ENTITY, TPC_STR("d"), 1, TPC_STR("a"),
                                      stop_at_second, &calls),
                     77);
    tk_ok(put("d", 1, "d", TPC_NO_REV, 1, "x"));
}
END_TEST

static int count_row(void *user, const struct tpc_row *row)
{
    (void) row;
    ++*(int *) user;
    return 0;
}

START_TEST(a_query_without_a_limit_gives_a_thousand)
{
    struct tpc_store_op ops[50];
    char keys[50][16];
    for (int i = 0; i < 21; i++) {
        for (int k = 0; k < 50; k++) {
            snprintf(keys[k], sizeof(keys[k]), "k%05d", i * 50 + k);
            ops[k] = store_put_op("d", 1, keys[k], TPC_NO_REV, 1, "x");
        }
        tk_ok(transact(ops, 50));
    }
    int n = 0;
    struct tpc_store_query q = query_of("d", 1);
    tk_ok(engine->ops->query(store, &q, count_row, &n));
    ck_assert_int_eq(n, 1000);
    n = 0;
    q.limit = 5000;
    tk_ok(engine->ops->query(store, &q, count_row, &n));
    ck_assert_int_eq(n, 1050);
}
END_TEST

START_TEST(rows_are_counted_by_kind_and_by_space)
{
    uint64_t n = 99;
    tk_ok(engine->ops->count(store, TPC_SPACE_ENTITY, TPC_STR("d"), &n));
    ck_assert_uint_eq(n, 0);
    tk_ok(put("d", 1, "a", TPC_NO_REV, 1, "x"));
    tk_ok(put("d", 2, "a", TPC_NO_REV, 1, "x"));
    tk_ok(put("e", 1, "a", TPC_NO_REV, 1, "x"));
    tk_ok(engine->ops->count(store, TPC_SPACE_ENTITY, TPC_STR("d"), &n));
    ck_assert_uint_eq(n, 2);
    tk_ok(engine->ops->count(store, TPC_SPACE_ENTITY, (struct tpc_str){ "", 0 }, &n));
    ck_assert_uint_eq(n, 3);
    tk_ok(engine->ops->count(store, TPC_SPACE_SECRET, (struct tpc_str){ "", 0 }, &n));
    ck_assert_uint_eq(n, 0);
}
END_TEST

/* ---- by chance, again, at once ---- */

static uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

START_TEST(a_thousand_random_transactions_do_what_a_table_would)
{
    enum { KEYS = 40, ROUNDS = 1000 };
    uint64_t revision[KEYS] = { 0 }; /* 0 = not there */
    uint64_t seed = 20261120;
    for (int round = 0; round < ROUNDS; round++) {
        struct tpc_store_op ops[4];
        char keys[4][8], docs[4][24];
        uint64_t after[KEYS];
        bool good = true;
        uint32_t count = 1 + (uint32_t) (next_random(&seed) % 4);
        memcpy(after, revision, sizeof(after));
        for (uint32_t i = 0; i < count; i++) {
            size_t k = (size_t) (next_random(&seed) % KEYS);
            bool del = next_random(&seed) % 4 == 0;
            uint64_t expect = next_random(&seed) % 8 == 0 ? after[k] + 1 : after[k];
            if (next_random(&seed) % 3 == 0) {
                expect = TPC_ANY_REV;
            }
            good = good && (expect == TPC_ANY_REV || expect == after[k]);
            snprintf(keys[i], sizeof(keys[i]), "k%02zu", k);
            uint64_t next = after[k] + 1;
            snprintf(docs[i], sizeof(docs[i]), "%llu", (unsigned long long) next);
            ops[i] = del ? store_delete_op("d", 1, keys[i], expect)
                         : store_put_op("d", 1, keys[i], expect, next, docs[i]);
            after[k] = del ? 0 : next;
        }
        tk_fails(good ? 0 : TPC_ECONFLICT, transact(ops, count));
        if (good) {
            memcpy(revision, after, sizeof(after));
        }
    }
    for (size_t k = 0; k < KEYS; k++) {
        char key[8], doc[24];
        snprintf(key, sizeof(key), "k%02zu", k);
        snprintf(doc, sizeof(doc), "%llu", (unsigned long long) revision[k]);
        expect_doc("d", 1, key, revision[k] == 0 ? NULL : doc);
    }
}
END_TEST

START_TEST(rows_are_there_after_a_restart)
{
    if (!engine->persistent) {
        return; /* the engine says so: nothing to show */
    }
    const struct tpc_value *cfg = engine->fresh();
    void *first = store_open(engine->ops, cfg);
    struct tpc_store_op ops[2] = { store_put_op("d", 1, "a", TPC_NO_REV, 3, "A"),
                                   store_put_op("d", 1, "b", TPC_NO_REV, 1, "B") };
    struct tpc_field field = { TPC_STR("product"), TPC_STR("thermo") };
    ops[0].row.fields = &field;
    ops[0].row.field_count = 1;
    tk_ok(engine->ops->transact(first, ops, 2, sizeof(ops[0]), NULL));
    store_close(engine->ops, first);
    store_close(engine->ops, store);
    store = store_open(engine->ops, cfg);
    expect_doc("d", 1, "a", "A");
    expect_doc("d", 1, "b", "B");
    struct tpc_store_query q = query_of("d", 1);
    q.field = field;
    expect_keys(&q, "a ");
    tk_fails(TPC_ECONFLICT, put("d", 1, "a", 2, 3, "x"));
    tk_ok(put("d", 1, "a", 3, 4, "x"));
}
END_TEST

enum { THREADS = 4, ADDS = 25 };

static int read_revision(void *user, const struct tpc_row *row)
{
    *(uint64_t *) user = row->revision;
    return 0;
}

/* Adds one to a counter, again and again, by compare and set. */
static void *adder(void *user)
{
    int *failed = user;
    for (int done = 0; done < ADDS;) {
        uint64_t revision = 0;
        struct tpc_error err = { .size = sizeof(err) };
        int rc = engine->ops->get(store, TPC_SPACE_ENTITY, TPC_STR("d"), 1, TPC_STR("counter"),
                                  read_revision, &revision);
        if (rc == 0) {
            struct tpc_store_op op = store_put_op("d", 1, "counter", revision, revision + 1, "x");
            rc = engine->ops->transact(store, &op, 1, sizeof(op), &err);
        }
        if (rc == 0) {
            done++;
        } else if (rc != TPC_ECONFLICT && rc != TPC_EAGAIN) {
            *failed = rc;
            break;
        }
    }
    return NULL;
}

START_TEST(writers_on_several_threads_lose_no_change)
{
    pthread_t threads[THREADS];
    int failed[THREADS] = { 0 };
    struct got g;
    tk_ok(put("d", 1, "counter", TPC_NO_REV, 1, "x"));
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, adder, &failed[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        tk_ok(failed[i]);
    }
    tk_ok(get(TPC_SPACE_ENTITY, "d", 1, "counter", &g));
    ck_assert_uint_eq(g.row.revision, 1 + THREADS * ADDS);
}
END_TEST

Suite *store_engine_suite(void)
{
    Suite *s = suite_create("store_engine");
    TCase *rows = tcase_create("rows");
    tcase_add_checked_fixture(rows, setup, teardown);
    tcase_add_test(rows, a_row_comes_back_as_it_was_put);
    tcase_add_test(rows, rows_are_apart_by_space_kind_and_tenant);
    tcase_add_test(rows, a_write_happens_only_at_the_revision_it_expects);
    tcase_add_test(rows, a_conflict_names_the_key);
    tcase_add_test(rows, a_delete_needs_its_revision_or_any);
    tcase_add_test(rows, a_transaction_is_all_or_nothing);
    tcase_add_test(rows, ops_may_be_longer_than_the_engine_knows);
    tcase_add_test(rows, documents_and_keys_are_any_bytes_that_are_allowed);
    tcase_add_test(rows, numbers_keep_all_their_bits);
    suite_add_tcase(s, rows);
    TCase *queries = tcase_create("queries");
    tcase_add_checked_fixture(queries, setup, teardown);
    tcase_add_test(queries, a_query_lists_in_the_order_of_keys_page_by_page);
    tcase_add_test(queries, keys_that_begin_alike_are_read_without_the_others);
    tcase_add_test(queries, a_query_over_all_tenants_lists_by_tenant_then_key);
    tcase_add_test(queries, a_query_finds_by_field_and_by_number);
    tcase_add_test(queries, a_query_meets_every_one_of_its_terms_page_by_page);
    tcase_add_test(queries, a_row_function_ends_the_reading);
    tcase_add_test(queries, a_query_without_a_limit_gives_a_thousand);
    tcase_add_test(queries, rows_are_counted_by_kind_and_by_space);
    suite_add_tcase(s, queries);
    TCase *chance = tcase_create("chance");
    tcase_add_checked_fixture(chance, setup, teardown);
    tcase_set_timeout(chance, 60);
    tcase_add_test(chance, a_thousand_random_transactions_do_what_a_table_would);
    tcase_add_test(chance, rows_are_there_after_a_restart);
    tcase_add_test(chance, writers_on_several_threads_lose_no_change);
    suite_add_tcase(s, chance);
    return s;
}
