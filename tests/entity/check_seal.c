/* Secrets at rest, with a key of the embedding program. */
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "entity/entity.h"
#include "entity_suites.h"
#include "store/memory.h"
#include "store_suite.h"
#include "tk_env.h"

static const struct tpc_option thing_schema[] = {
    { .name = "secret", .type = TPC_OPT_SECRET },
};

static char seen[100]; /* secret of the last entity that was prepared */

static int thing_prepare(void *user, struct tpi_change *c, struct tpc_error *err)
{
    (void) user;
    (void) err;
    struct tpc_str secret = { "", 0 };
    if (!c->deleted) {
        secret = tpc_value_text(tpc_value_get(c->doc, TPC_STR("secret")));
    }
    ck_assert_uint_lt(secret.len, sizeof(seen));
    memcpy(seen, secret.ptr, secret.len);
    seen[secret.len] = '\0';
    return 0;
}

static const struct tpi_kind tenant_kind = { .name = "tenant", .version = 1 };
static const struct tpi_kind thing_kind = {
    .name = "thing", .version = 1, .schema = TPC_OPTIONS(thing_schema), .prepare = thing_prepare
};

static struct tk_env env;
static void *store;
static struct tpi_entities *entities;
static struct tpc_error err;
static uint8_t key[TPI_SEAL_KEY_BYTES] = "the key of the embedding program";
static const struct tpc_value no_options = { .type = TPC_MAP };

static int load(bool sealed)
{
    tpi_entities_destroy(entities);
    memset(&err, 0, sizeof(err));
    memset(seen, 0, sizeof(seen));
    tk_ok(tpi_entities_create(&env.env, &tpi_store_memory, store, &err, &entities));
    tk_ok(tpi_entities_add_kind(entities, &tenant_kind, &err));
    tk_ok(tpi_entities_add_kind(entities, &thing_kind, &err));
    if (sealed) {
        tk_ok(tpi_entities_set_key(entities, (struct tpc_bytes){ key, sizeof(key) }));
    }
    return tpi_entities_load(entities, &err);
}

static void setup(void)
{
    tk_env_init(&env);
    key[0] = 't';
    entities = NULL;
    store = store_open(&tpi_store_memory, &no_options);
}

static void teardown(void)
{
    tpi_entities_destroy(entities);
    store_close(&tpi_store_memory, store);
    tk_env_fini(&env);
}

static void put(const char *json)
{
    tk_ok(tpi_entities_put(entities, NULL, "thing", tpc_str_from(json), TPC_ANY_REV, &err, NULL));
}

/* A stored row of secrets as it is. */
static int keep_doc(void *user, const struct tpc_row *row)
{
    struct tpc_buf *out = user;
    ck_assert_uint_le(row->doc.len, out->cap);
    memcpy(out->ptr, row->doc.ptr, row->doc.len);
    out->need = row->doc.len;
    return 0;
}

static void read_stored(const char *name, struct tpc_buf *out)
{
    tk_ok(tpi_store_memory.get(store, TPC_SPACE_SECRET, TPC_STR("thing"), 1, tpc_str_from(name),
                               keep_doc, out));
}

static bool holds(const struct tpc_buf *b, const char *text)
{
    return memmem(b->ptr, b->need, text, strlen(text)) != NULL;
}

START_TEST(with_a_key_secrets_are_stored_sealed)
{
    uint8_t one[400], two[400];
    struct tpc_buf a = { one, sizeof(one), 0 };
    struct tpc_buf b = { two, sizeof(two), 0 };
    tk_ok(load(false));
    put("{\"key\":\"a\",\"secret\":\"hush\"}");
    read_stored("a", &a);
    ck_assert(holds(&a, "hush"));
    tk_ok(load(true)); /* what was stored without is sealed now */
    ck_assert_str_eq(seen, "hush");
    read_stored("a", &a);
    ck_assert(!holds(&a, "hush"));
    put("{\"key\":\"a\",\"secret\":\"hush\"}");
    read_stored("a", &b);
    ck_assert(a.need == b.need && memcmp(one, two, a.need) != 0); /* another nonce */
    put("{\"key\":\"a\",\"x\":1}");                               /* one that is left out stays */
    tk_ok(load(true));
    ck_assert_str_eq(seen, "hush");
}
END_TEST

START_TEST(without_the_key_nothing_is_loaded_and_the_error_says_why)
{
    tk_ok(load(true));
    put("{\"key\":\"a\",\"secret\":\"hush\"}");
    key[0] ^= 1;
    tk_fails(TPC_EDENIED, load(true));
    ck_assert_str_eq(err.path, "thing/a");
    ck_assert_ptr_nonnull(strstr(err.text, "another secret_key"));
    tk_fails(TPC_EDENIED, load(false));
    ck_assert_ptr_nonnull(strstr(err.text, "secret_key is missing"));
}
END_TEST

/* A row is bound to its entity: nobody gives a device the secret of another by copying it. */
START_TEST(a_sealed_row_serves_no_other_entity)
{
    uint8_t one[400];
    struct tpc_buf a = { one, sizeof(one), 0 };
    tk_ok(load(true));
    put("{\"key\":\"a\",\"secret\":\"hush\"}");
    put("{\"key\":\"b\",\"secret\":\"other\"}");
    read_stored("a", &a);
    struct tpc_store_op op = { .size = sizeof(op), .type = TPC_STORE_PUT, .expect = TPC_ANY_REV };
    op.row = (struct tpc_row){ .size = sizeof(op.row),
                               .space = TPC_SPACE_SECRET,
                               .kind = TPC_STR("thing"),
                               .tenant = 1,
                               .key = TPC_STR("b"),
                               .id = 9,
                               .revision = 9,
                               .doc = { one, a.need } };
    tk_ok(tpi_store_memory.transact(store, &op, 1, sizeof(op), &err));
    tk_fails(TPC_EDENIED, load(true));
    ck_assert_str_eq(err.path, "thing/b");
    op.row.doc.len = 20;
    tk_ok(tpi_store_memory.transact(store, &op, 1, sizeof(op), &err));
    tk_fails(TPC_ECORRUPT, load(true));
}
END_TEST

START_TEST(many_stored_secrets_are_sealed_page_by_page)
{
    uint8_t one[400];
    struct tpc_buf a = { one, sizeof(one), 0 };
    char json[100];
    tk_ok(load(false));
    for (int i = 0; i < 300; i++) {
        snprintf(json, sizeof(json), "{\"key\":\"k%03d\",\"secret\":\"hush%d\"}", i, i);
        put(json);
    }
    tk_ok(load(true));
    for (int i = 0; i < 300; i++) {
        char name[8];
        snprintf(name, sizeof(name), "k%03d", i);
        read_stored(name, &a);
        ck_assert(!holds(&a, "hush"));
    }
    tk_ok(load(true));
    ck_assert_str_eq(seen, "hush299");
}
END_TEST

START_TEST(a_key_of_another_size_or_after_loading_is_refused)
{
    tk_ok(load(false));
    tk_fails(TPC_EINVAL, tpi_entities_set_key(entities, (struct tpc_bytes){ key, sizeof(key) }));
    tpi_entities_destroy(entities);
    tk_ok(tpi_entities_create(&env.env, &tpi_store_memory, store, &err, &entities));
    tk_fails(TPC_EINVAL, tpi_entities_set_key(entities, (struct tpc_bytes){ key, 31 }));
}
END_TEST

Suite *seal_suite(void)
{
    Suite *s = suite_create("seal");
    TCase *tc = tcase_create("seal");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, with_a_key_secrets_are_stored_sealed);
    tcase_add_test(tc, without_the_key_nothing_is_loaded_and_the_error_says_why);
    tcase_add_test(tc, a_sealed_row_serves_no_other_entity);
    tcase_add_test(tc, many_stored_secrets_are_sealed_page_by_page);
    tcase_add_test(tc, a_key_of_another_size_or_after_loading_is_refused);
    suite_add_tcase(s, tc);
    return s;
}
