/* Many puts in one transaction. */
#include "entity/entity.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "entity_suites.h"
#include "store/memory.h"
#include "store_suite.h"
#include "tk_env.h"

/* A kind that remembers what its hooks were called with: "put:a@1 " ... */
static char calls[1000];
static char secret_seen[40];

static const struct tpc_option thing_schema[] = {
    { .name = "size", .type = TPC_OPT_INT, .min = 0, .max = 100 },
    { .name = "secret", .type = TPC_OPT_SECRET },
};

static void note(const char *what, const struct tpi_change *c)
{
    char text[100];
    snprintf(text, sizeof(text), "%s:%.*s@%u ", what, (int) c->key.len, c->key.ptr,
             (unsigned) c->revision);
    strncat(calls, text, sizeof(calls) - strlen(calls) - 1);
}

static int thing_prepare(void *user, struct tpi_change *c, struct tpc_error *e)
{
    (void) user;
    (void) e;
    struct tpc_str secret = tpc_value_text(tpc_value_get(c->doc, TPC_STR("secret")));
    snprintf(secret_seen, sizeof(secret_seen), "%.*s", (int) secret.len,
             secret.len > 0 ? secret.ptr : "");
    return 0;
}

static void thing_apply(void *user, struct tpi_change *c)
{
    (void) user;
    note("put", c);
}

static void thing_discard(void *user, struct tpi_change *c)
{
    (void) user;
    note("discard", c);
}

static const struct tpi_kind tenant_kind = { .name = "tenant", .version = 1 };
static const struct tpi_kind thing_kind = { .name = "thing",
                                            .version = 1,
                                            .schema = TPC_OPTIONS(thing_schema),
                                            .prepare = thing_prepare,
                                            .apply = thing_apply,
                                            .discard = thing_discard,
                                            .flags = TPI_KIND_BATCH };

static struct tk_env env;
static void *store;
static struct tpc_store_ops ops;
static struct tpi_entities *entities;
static struct tpc_error err;
static const struct tpc_value no_options = { .type = TPC_MAP };
static uint64_t seen_id;
static char seen[400];

static void setup(void)
{
    tk_env_init(&env);
    calls[0] = 0;
    ops = tpi_store_memory;
    store = store_open(&tpi_store_memory, &no_options);
    tk_ok(tpi_entities_create(&env.env, &ops, store, &err, &entities));
    tk_ok(tpi_entities_add_kind(entities, &tenant_kind, &err));
    tk_ok(tpi_entities_add_kind(entities, &thing_kind, &err));
    tk_ok(tpi_entities_load(entities, &err));
}

static void teardown(void)
{
    tpi_entities_destroy(entities);
    store_close(&tpi_store_memory, store);
    tk_env_fini(&env);
}

static int on_entity(void *user, const struct tpc_entity_info *i, struct tpc_str key,
                     struct tpc_str json)
{
    (void) user;
    (void) key;
    seen_id = i->id;
    snprintf(seen, sizeof(seen), "%.*s", (int) json.len, json.ptr);
    return 0;
}

static const char *get(const char *key)
{
    struct tpc_str none = { "", 0 };
    int rc = tpi_entities_get(entities, none, "thing", tpc_str_from(key), &err, on_entity, NULL);
    return rc == 0 ? seen : tpc_error_name(rc);
}

/* A store whose transactions fail. */
static int broken_transact(void *self, const struct tpc_store_op *list, uint32_t count,
                           size_t op_size, struct tpc_error *e)
{
    (void) self;
    (void) list;
    (void) count;
    (void) op_size;
    (void) e;
    return TPC_ENOSPC;
}

static struct tpi_put batch[4];
static struct tpc_value put_docs[4];

/* Puts up to four documents in one batch. */
static int put_batch(struct tpc_arena *arena, const char *const *docs, uint32_t flags, bool dry)
{
    struct tpi_put_batch b = { .kind = "thing", .puts = batch, .dry = dry, .arena = arena };
    memset(&err, 0, sizeof(err));
    for (; docs[b.count] != NULL; b.count++) {
        tk_ok(tpc_json_parse(arena, tpc_str_from(docs[b.count]), 0, NULL, &put_docs[b.count]));
        batch[b.count] = (struct tpi_put){ .doc = &put_docs[b.count], .flags = flags };
    }
    return tpi_entities_put_batch(entities, &b, &err);
}

START_TEST(a_batch_is_stored_at_once_and_a_bad_put_hinders_no_other)
{
    static const char *const docs[] = { "{\"key\":\"a\",\"secret\":\"a\",\"more\":{\"x\":1}}",
                                        "{\"key\":\"b\",\"size\":101}", "{\"key\":\"c\"}", NULL };
    static const char *const patch[] = { "{\"key\":\"a\",\"more\":{\"x\":null,\"y\":2}}", NULL };
    static const char *const only[] = { "{\"key\":\"d\"}", "{\"key\":\"c\"}", NULL };
    struct tpc_arena *arena;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(put_batch(arena, docs, 0, true));
    ck_assert(batch[0].created && batch[1].code == TPC_EINVAL);
    ck_assert_str_eq(calls, "discard:c@1 discard:a@1 ");
    ck_assert_str_eq(get("a"), "TPC_ENOENT");
    calls[0] = 0;
    tk_ok(put_batch(arena, docs, 0, false));
    ck_assert_str_eq(calls, "put:a@1 put:c@1 ");
    ck_assert_str_eq(batch[1].err->path, "size");
    tk_ok(put_batch(arena, patch, 0, false));
    ck_assert(!batch[0].created);
    ck_assert_str_eq(get("a"), "{\"key\":\"a\",\"more\":{\"y\":2}}");
    ck_assert_str_eq(secret_seen, "a");
    tk_ok(put_batch(arena, only, TPI_PUT_UPDATE, false));
    ck_assert_int_eq(batch[0].code, TPC_ENOENT);
    tk_ok(put_batch(arena, only, TPI_PUT_CREATE, false));
    ck_assert_int_eq(batch[1].code, TPC_EEXIST);
    uint64_t id = 0;
    get("c");
    id = seen_id;
    get("d");
    ck_assert_uint_gt(seen_id, id);
    tpc_arena_destroy(arena);
}
END_TEST

START_TEST(a_batch_that_cannot_be_stored_is_discarded_as_a_whole)
{
    static const char *const docs[] = { "{\"key\":\"a\"}", "{\"key\":\"b\"}", NULL };
    struct tpc_arena *arena;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    ops.transact = broken_transact;
    tk_fails(TPC_ENOSPC, put_batch(arena, docs, 0, false));
    ck_assert(batch[0].code == TPC_ENOSPC && batch[1].code == TPC_ENOSPC);
    ck_assert_str_eq(calls, "discard:b@1 discard:a@1 ");
    ops.transact = tpi_store_memory.transact;
    calls[0] = 0;
    tk_ok(put_batch(arena, docs, 0, false));
    ck_assert_str_eq(calls, "put:a@1 put:b@1 ");
    tpc_arena_destroy(arena);
}
END_TEST

Suite *batch_suite(void)
{
    Suite *s = suite_create("batch");
    TCase *tc = tcase_create("batch");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_batch_is_stored_at_once_and_a_bad_put_hinders_no_other);
    tcase_add_test(tc, a_batch_that_cannot_be_stored_is_discarded_as_a_whole);
    suite_add_tcase(s, tc);
    return s;
}
