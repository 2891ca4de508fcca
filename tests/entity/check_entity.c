#include "entity/entity.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "entity_suites.h"
#include "store/memory.h"
#include "store_suite.h"
#include "tk_env.h"

/*
 * A kind "thing" that remembers what its hooks were called with: "put:t1@1 " ...
 */
static char calls[4000];
static int prepare_code;       /* what prepare answers */
static char prepare_seen[400]; /* secret and size as prepare saw them */
static const char *needs;      /* while loading: key that must be there before "late" */
static bool needed_there;
static int own_secrets; /* entities that were loaded with the secret that is theirs */

static const struct tpc_option broker_schema[] = {
    { .name = "url", .type = TPC_OPT_TEXT },
    { .name = "password", .type = TPC_OPT_SECRET },
};

static const struct tpc_option thing_schema[] = {
    { .name = "size", .type = TPC_OPT_INT, .def = "7", .min = 0, .max = 100 },
    { .name = "color", .type = TPC_OPT_TEXT, .flags = TPC_OPT_INDEXED },
    { .name = "big", .type = TPC_OPT_BOOL, .flags = TPC_OPT_INDEXED },
    { .name = "secret", .type = TPC_OPT_SECRET },
    { .name = "broker", .type = TPC_OPT_TABLE, .sub = TPC_OPTIONS(broker_schema) },
};

static void note(const char *what, const struct tpi_change *c)
{
    char text[200];
    snprintf(text, sizeof(text), "%s%s:%.*s@%llu ", c->loading ? "load-" : "", what,
             (int) c->key.len, c->key.ptr, (unsigned long long) c->revision);
    strncat(calls, text, sizeof(calls) - strlen(calls) - 1);
}

static int thing_prepare(void *user, struct tpi_change *c, struct tpc_error *err)
{
    (void) user;
    if (prepare_code != 0) {
        if (err != NULL) {
            err->code = prepare_code;
        }
        return prepare_code;
    }
    if (c->loading && needs != NULL && tpc_str_equal(c->key, TPC_STR("a-late")) != 0 &&
        !needed_there) {
        return TPC_EAGAIN;
    }
    if (!c->deleted) {
        int64_t size = -1;
        struct tpc_str secret = tpc_value_text(tpc_value_get(c->doc, TPC_STR("secret")));
        struct tpc_str password = tpc_value_text(
            tpc_value_get(tpc_value_get(c->doc, TPC_STR("broker")), TPC_STR("password")));
        (void) tpc_value_int(tpc_value_get(c->doc, TPC_STR("size")), &size);
        snprintf(prepare_seen, sizeof(prepare_seen), "%.*s/%.*s/%d", (int) secret.len, secret.ptr,
                 (int) password.len, password.ptr, (int) size);
        own_secrets += c->loading && secret.len == c->key.len && c->key.len > 0 &&
                       memcmp(secret.ptr, c->key.ptr, c->key.len) == 0;
        ck_assert(!c->loading || c->key.ptr[0] != 'n' || secret.len == 0);
    }
    return 0;
}

static void thing_apply(void *user, struct tpi_change *c)
{
    (void) user;
    needed_there =
        needed_there || (needs != NULL && tpc_str_equal(c->key, tpc_str_from(needs)) != 0);
    note(c->deleted ? "delete" : "put", c);
}

static void thing_discard(void *user, struct tpi_change *c)
{
    (void) user;
    note("discard", c);
}

/* Version 2 calls "colour" "color". */
static int thing_upgrade(void *user, uint32_t from, const struct tpc_value *doc,
                         struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret)
{
    (void) user;
    (void) err;
    ck_assert_uint_eq(from, 1);
    struct tpc_member *m = tpc_arena_take(arena, (doc->len + 1) * sizeof(*m));
    if (m == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < doc->len; i++) {
        m[i] = doc->as.members[i];
        if (tpc_str_equal(m[i].key, TPC_STR("colour")) != 0) {
            m[i].key = TPC_STR("color");
        }
    }
    *ret = (struct tpc_value){ TPC_MAP, 0, doc->len, { .members = m } };
    return 0;
}

static const struct tpi_kind tenant_kind = { .name = "tenant", .version = 1 };
static struct tpi_kind thing_kind;

static struct tk_env env;
static void *store;
static struct tpi_entities *entities;
static struct tpc_error err;
static const struct tpc_value no_options = { .type = TPC_MAP };

static int load(void)
{
    memset(&err, 0, sizeof(err));
    tk_ok(tpi_entities_create(&env.env, &tpi_store_memory, store, &err, &entities));
    tk_ok(tpi_entities_add_kind(entities, &tenant_kind, &err));
    tk_ok(tpi_entities_add_kind(entities, &thing_kind, &err));
    return tpi_entities_load(entities, &err);
}

static void restart(void)
{
    tpi_entities_destroy(entities);
    calls[0] = 0;
    tk_ok(load());
}

static void setup(void)
{
    tk_env_init(&env);
    calls[0] = 0;
    prepare_code = 0;
    needs = NULL;
    needed_there = false;
    thing_kind = (struct tpi_kind){ .name = "thing",
                                    .version = 1,
                                    .schema = TPC_OPTIONS(thing_schema),
                                    .prepare = thing_prepare,
                                    .apply = thing_apply,
                                    .discard = thing_discard,
                                    .upgrade = thing_upgrade };
    store = store_open(&tpi_store_memory, &no_options);
    tk_ok(load());
}

static void teardown(void)
{
    tpi_entities_destroy(entities);
    store_close(&tpi_store_memory, store);
    tk_env_fini(&env);
}

static struct tpc_entity_info info;

static int put_rev(const char *kind, const char *json, uint64_t rev)
{
    memset(&err, 0, sizeof(err));
    memset(&info, 0, sizeof(info));
    return tpi_entities_put(entities, NULL, kind, tpc_str_from(json), rev, &err, &info);
}

static int put(const char *json)
{
    return put_rev("thing", json, TPC_ANY_REV);
}

static int delete_rev(const char *kind, const char *key, uint64_t rev)
{
    struct tpc_str none = { "", 0 };
    memset(&err, 0, sizeof(err));
    return tpi_entities_delete(entities, NULL, none, kind, tpc_str_from(key), rev, &err);
}

static char seen[8000];

static int on_entity(void *user, const struct tpc_entity_info *i, struct tpc_str key,
                     struct tpc_str json)
{
    (void) key;
    ck_assert_ptr_eq(user, seen);
    info = *i;
    strncat(seen, json.ptr, json.len);
    strncat(seen, "|", 2);
    return 0;
}

static const char *get(const char *key)
{
    struct tpc_str none = { "", 0 };
    seen[0] = 0;
    int rc = tpi_entities_get(entities, none, "thing", tpc_str_from(key), &err, on_entity, seen);
    return rc == 0 ? seen : tpc_error_name(rc);
}

static const char *list(const char *field, const char *value, const char *after, uint32_t limit)
{
    struct tpc_entity_query q = TPC_ENTITY_QUERY_INIT;
    q.kind = TPC_STR("thing");
    q.field = tpc_str_from(field);
    q.value = tpc_str_from(value);
    q.after_key = tpc_str_from(after);
    q.limit = limit;
    seen[0] = 0;
    int rc = tpi_entities_list(entities, &q, &err, on_entity, seen);
    return rc == 0 ? seen : tpc_error_name(rc);
}

/* ---- putting ---- */

START_TEST(a_document_is_kept_as_it_was_put)
{
    static const char json[] = "{ \"key\":\"t1\",\n \"extra\": {\"b\":1,\"a\":[1.50, null]} }";
    tk_ok(put(json));
    ck_assert_str_eq(get("t1"), "{ \"key\":\"t1\",\n \"extra\": {\"b\":1,\"a\":[1.50, null]} }|");
    ck_assert_str_eq(prepare_seen, "//7");
    restart();
    ck_assert_str_eq(get("t1"), "{ \"key\":\"t1\",\n \"extra\": {\"b\":1,\"a\":[1.50, null]} }|");
    ck_assert_str_eq(calls, "load-put:t1@1 ");
}
END_TEST

START_TEST(revisions_grow_and_times_stand)
{
    tk_ok(put("{\"key\":\"t1\"}"));
    ck_assert_uint_eq(info.revision, 1);
    int64_t created = info.created_unix_ms;
    uint64_t id = info.id;
    ck_assert_int_eq(created, tpi_unix_ms(&env.env));
    tk_clock_advance(&env.clock, 5000);
    tk_ok(put_rev("thing", "{\"key\":\"t1\"}", 1));
    ck_assert_uint_eq(info.revision, 2);
    ck_assert_uint_eq(info.id, id);
    ck_assert_int_eq(info.created_unix_ms, created);
    ck_assert_int_eq(info.modified_unix_ms, created + 5000);
    get("t1");
    ck_assert_uint_eq(info.revision, 2);
    ck_assert_int_eq(info.modified_unix_ms, created + 5000);
}
END_TEST

START_TEST(a_put_at_another_revision_is_a_conflict)
{
    tk_ok(put_rev("thing", "{\"key\":\"t1\"}", TPC_NO_REV));
    tk_fails(TPC_ECONFLICT, put_rev("thing", "{\"key\":\"t1\"}", TPC_NO_REV));
    tk_fails(TPC_ECONFLICT, put_rev("thing", "{\"key\":\"t1\"}", 2));
    tk_fails(TPC_ECONFLICT, put_rev("thing", "{\"key\":\"t2\"}", 1));
    tk_fails(TPC_ECONFLICT, delete_rev("thing", "t1", 2));
    tk_fails(TPC_ECONFLICT, delete_rev("thing", "t1", TPC_NO_REV));
    ck_assert_str_eq(calls, "put:t1@1 ");
    tk_ok(delete_rev("thing", "t1", 1));
    tk_ok(put_rev("thing", "{\"key\":\"t1\"}", TPC_NO_REV));
}
END_TEST

struct fault {
    const char *kind;
    const char *json;
    int code;
    const char *path;
};

static const struct fault faults[] = {
    { "nothing", "{\"key\":\"a\"}", TPC_EINVAL, "" },
    { "thing", "{\"key\":\"a\"", TPC_EDECODE, "" },
    { "thing", "[]", TPC_EINVAL, "" },
    { "thing", "{}", TPC_EINVAL, "key" },
    { "thing", "{\"key\":5}", TPC_EINVAL, "key" },
    { "thing", "{\"key\":\"\"}", TPC_EINVAL, "key" },
    { "thing", "{\"key\":\"a\\nb\"}", TPC_EINVAL, "key" },
    { "thing", "{\"key\":\"a\",\"tenant\":\"acme\"}", TPC_ENOENT, "tenant" },
    { "thing", "{\"key\":\"a\",\"tenant\":5}", TPC_EINVAL, "tenant" },
    { "thing", "{\"key\":\"a\",\"kind\":\"tenant\"}", TPC_EINVAL, "kind" },
    { "thing", "{\"key\":\"a\",\"size\":101}", TPC_EINVAL, "size" },
    { "thing", "{\"key\":\"a\",\"size\":\"x\"}", TPC_EINVAL, "size" },
    { "thing", "{\"key\":\"a\",\"secret\":5}", TPC_EINVAL, "secret" },
    { "thing", "{\"key\":\"a\",\"broker\":{\"url\":5}}", TPC_EINVAL, "broker.url" },
    { "tenant", "{\"key\":\"a\",\"tenant\":\"main\"}", TPC_EINVAL, "tenant" },
};

START_TEST(a_bad_document_is_refused_with_the_path)
{
    const struct fault *f = &faults[_i];
    int rc = put_rev(f->kind, f->json, TPC_ANY_REV);
    ck_assert_msg(rc == f->code, "%s: %s %s", f->json, tpc_error_name(rc), err.text);
    ck_assert_int_eq(err.code, f->code);
    ck_assert_str_eq(err.path, f->path);
    ck_assert_str_eq(calls, "");
    ck_assert_str_eq(list("", "", "", 0), "");
}
END_TEST

START_TEST(a_document_over_a_mebibyte_is_refused)
{
    char *json = malloc(TPI_ENTITY_MAX_BYTES + 2);
    ck_assert_ptr_nonnull(json);
    memset(json, ' ', TPI_ENTITY_MAX_BYTES + 1);
    memcpy(json, "{\"key\":\"a\"}", 11);
    json[TPI_ENTITY_MAX_BYTES + 1] = 0;
    tk_fails(TPC_ETOOBIG, put(json));
    json[TPI_ENTITY_MAX_BYTES] = 0;
    tk_ok(put(json));
    free(json);
}
END_TEST

START_TEST(a_document_names_its_kind_if_it_likes)
{
    tk_ok(put("{\"kind\":\"thing\",\"key\":\"a\"}"));
}
END_TEST

START_TEST(a_change_that_the_kind_refuses_leaves_no_trace)
{
    tk_ok(put("{\"key\":\"a\"}"));
    prepare_code = TPC_ESTATE;
    tk_fails(TPC_ESTATE, put("{\"key\":\"a\",\"size\":1}"));
    tk_fails(TPC_ESTATE, put("{\"key\":\"b\"}"));
    tk_fails(TPC_ESTATE, delete_rev("thing", "a", TPC_ANY_REV));
    prepare_code = 0;
    ck_assert_str_eq(calls, "put:a@1 ");
    ck_assert_str_eq(list("", "", "", 0), "{\"key\":\"a\"}|");
}
END_TEST

/* A store whose transactions fail. */
static int broken_transact(void *self, const struct tpc_store_op *ops, uint32_t count,
                           size_t op_size, struct tpc_error *e)
{
    (void) self;
    (void) ops;
    (void) count;
    (void) op_size;
    (void) e;
    return TPC_ENOSPC;
}

START_TEST(a_change_that_cannot_be_stored_is_discarded)
{
    struct tpc_store_ops ops = tpi_store_memory;
    tpi_entities_destroy(entities);
    memset(&err, 0, sizeof(err));
    tk_ok(tpi_entities_create(&env.env, &ops, store, &err, &entities));
    tk_ok(tpi_entities_add_kind(entities, &tenant_kind, &err));
    tk_ok(tpi_entities_add_kind(entities, &thing_kind, &err));
    tk_ok(tpi_entities_load(entities, &err));
    tk_ok(put("{\"key\":\"a\"}"));
    ops.transact = broken_transact;
    tk_fails(TPC_ENOSPC, put("{\"key\":\"a\"}"));
    tk_fails(TPC_ENOSPC, put("{\"key\":\"b\"}"));
    tk_fails(TPC_ENOSPC, delete_rev("thing", "a", TPC_ANY_REV));
    tk_fails(TPC_ENOSPC, put_rev("tenant", "{\"key\":\"acme\"}", TPC_ANY_REV));
    ops.transact = tpi_store_memory.transact;
    ck_assert_str_eq(calls, "put:a@1 discard:a@2 discard:b@1 discard:a@1 ");
    tk_fails(TPC_ENOENT, put("{\"key\":\"c\",\"tenant\":\"acme\"}"));
    uint64_t id = info.id;
    tk_ok(put("{\"key\":\"c\"}"));
    ck_assert_uint_gt(info.id, id);
}
END_TEST

/* ---- secrets ---- */

START_TEST(secrets_never_stand_in_a_document)
{
    tk_ok(put("{\"key\":\"a\",\"x\":1,\"secret\":\"hush\",\"broker\":{\"password\":\"pw\",\"url\":"
              "\"u\"}}"));
    ck_assert_str_eq(prepare_seen, "hush/pw/7");
    ck_assert_str_eq(get("a"), "{\"key\":\"a\",\"x\":1,\"broker\":{\"url\":\"u\"}}|");
    ck_assert_str_eq(list("", "", "", 0), "{\"key\":\"a\",\"x\":1,\"broker\":{\"url\":\"u\"}}|");
    prepare_seen[0] = 0;
    restart();
    ck_assert_str_eq(prepare_seen, "hush/pw/7");
    ck_assert_uint_eq(tk_env_logged(&env, "hush"), 0);
}
END_TEST

START_TEST(a_secret_that_a_put_leaves_out_stays_and_null_removes_it)
{
    tk_ok(put("{\"key\":\"a\",\"secret\":\"hush\",\"broker\":{\"password\":\"pw\"}}"));
    tk_ok(put("{\"key\":\"a\",\"size\":8,\"broker\":{}}"));
    ck_assert_str_eq(prepare_seen, "hush/pw/8");
    tk_ok(put("{\"key\":\"a\",\"secret\":null,\"broker\":{}}"));
    ck_assert_str_eq(prepare_seen, "/pw/7");
    tk_ok(put("{\"key\":\"a\",\"broker\":{\"password\":\"new\"}}"));
    ck_assert_str_eq(prepare_seen, "/new/7");
    restart();
    ck_assert_str_eq(prepare_seen, "/new/7");
    ck_assert_str_eq(get("a"), "{\"key\":\"a\",\"broker\":{}}|");
}
END_TEST

static uint64_t secret_rows(void)
{
    uint64_t n = 99;
    tk_ok(tpi_store_memory.count(store, TPC_SPACE_SECRET, TPC_STR("thing"), &n));
    return n;
}

START_TEST(secrets_go_with_their_entity)
{
    tk_ok(put("{\"key\":\"a\",\"secret\":\"hush\"}"));
    ck_assert_uint_eq(secret_rows(), 1);
    tk_ok(delete_rev("thing", "a", TPC_ANY_REV));
    ck_assert_uint_eq(secret_rows(), 0);
    tk_ok(put("{\"key\":\"a\"}"));
    ck_assert_str_eq(prepare_seen, "//7");
}
END_TEST

/* Entities and secrets are read side by side, a page at a time each. */
START_TEST(each_of_many_entities_is_loaded_with_its_own_secret)
{
    char json[100];
    for (int i = 0; i < 1000; i++) {
        snprintf(json, sizeof(json), "{\"key\":\"%s%d\"%s%d%s}", i % 3 == 0 ? "s" : "n", i,
                 i % 3 == 0 ? ",\"secret\":\"s" : ",\"size\":", i % 3 == 0 ? i : 9,
                 i % 3 == 0 ? "\"" : "");
        tk_ok(put(json));
    }
    own_secrets = 0;
    restart();
    ck_assert_int_eq(own_secrets, 334);
}
END_TEST

/* ---- reading ---- */

START_TEST(entities_are_listed_by_key_page_and_field)
{
    tk_ok(put("{\"key\":\"b\",\"color\":\"red\"}"));
    tk_ok(put("{\"key\":\"a\",\"color\":\"blue\",\"big\":true}"));
    tk_ok(put("{\"key\":\"c\",\"color\":\"red\",\"big\":false}"));
    ck_assert_str_eq(
        list("color", "red", "", 0),
        "{\"key\":\"b\",\"color\":\"red\"}|{\"key\":\"c\",\"color\":\"red\",\"big\":false}|");
    ck_assert_str_eq(list("big", "true", "", 0),
                     "{\"key\":\"a\",\"color\":\"blue\",\"big\":true}|");
    ck_assert_str_eq(list("", "", "a", 1), "{\"key\":\"b\",\"color\":\"red\"}|");
    ck_assert_str_eq(list("size", "7", "", 0), "TPC_EINVAL");
    ck_assert_str_eq(get("x"), "TPC_ENOENT");
}
END_TEST

static int count_entity(void *user, const struct tpc_entity_info *i, struct tpc_str key,
                        struct tpc_str json)
{
    (void) i;
    (void) key;
    (void) json;
    ++*(int *) user;
    return *(int *) user == 1000 ? 5 : 0;
}

START_TEST(long_lists_come_in_pages_that_nobody_sees)
{
    struct tpc_entity_query q = TPC_ENTITY_QUERY_INIT;
    int n = 0;
    for (int i = 0; i < 300; i++) {
        char json[40];
        snprintf(json, sizeof(json), "{\"key\":\"k%d\"}", i);
        tk_ok(put(json));
    }
    q.kind = TPC_STR("thing");
    tk_ok(tpi_entities_list(entities, &q, &err, count_entity, &n));
    ck_assert_int_eq(n, 300);
    q.limit = 200;
    n = 0;
    tk_ok(tpi_entities_list(entities, &q, &err, count_entity, &n));
    ck_assert_int_eq(n, 200);
    n = 900;
    ck_assert_int_eq(tpi_entities_list(entities, &q, &err, count_entity, &n), 5);
    calls[0] = 0;
    restart();
    n = 0;
    q.limit = 0;
    tk_ok(tpi_entities_list(entities, &q, &err, count_entity, &n));
    ck_assert_int_eq(n, 300);
}
END_TEST

/* ---- tenants ---- */

START_TEST(tenants_keep_their_entities_apart)
{
    struct tpc_str acme = TPC_STR("acme");
    tk_ok(put_rev("tenant", "{\"key\":\"acme\"}", TPC_ANY_REV));
    tk_ok(put("{\"key\":\"a\",\"tenant\":\"acme\",\"size\":1}"));
    tk_ok(put("{\"key\":\"a\",\"size\":2}"));
    ck_assert_str_eq(get("a"), "{\"key\":\"a\",\"size\":2}|");
    seen[0] = 0;
    tk_ok(tpi_entities_get(entities, acme, "thing", TPC_STR("a"), &err, on_entity, seen));
    ck_assert_str_eq(seen, "{\"key\":\"a\",\"tenant\":\"acme\",\"size\":1}|");
    restart();
    seen[0] = 0;
    tk_ok(tpi_entities_get(entities, acme, "thing", TPC_STR("a"), &err, on_entity, seen));
    tk_fails(TPC_ESTATE, delete_rev("tenant", "acme", TPC_ANY_REV));
    tk_ok(tpi_entities_delete(entities, NULL, acme, "thing", TPC_STR("a"), TPC_ANY_REV, &err));
    tk_ok(delete_rev("tenant", "acme", TPC_ANY_REV));
    tk_fails(TPC_ENOENT, put("{\"key\":\"a\",\"tenant\":\"acme\"}"));
    tk_fails(TPC_ENOENT,
             tpi_entities_get(entities, acme, "thing", TPC_STR("a"), &err, on_entity, seen));
}
END_TEST

START_TEST(tenant_main_is_there_and_stays)
{
    tk_fails(TPC_ESTATE, delete_rev("tenant", "main", TPC_ANY_REV));
    tk_ok(put_rev("tenant", "{\"key\":\"main\",\"name\":\"Home\"}", 1));
    restart();
    tk_ok(put("{\"key\":\"a\",\"tenant\":\"main\"}"));
}
END_TEST

/* ---- starting ---- */

START_TEST(numbers_are_never_used_again)
{
    tk_ok(put("{\"key\":\"a\"}"));
    uint64_t a = info.id;
    tk_ok(put("{\"key\":\"b\"}"));
    uint64_t b = info.id;
    ck_assert_uint_gt(b, a);
    tk_ok(delete_rev("thing", "b", TPC_ANY_REV));
    restart();
    tk_ok(put("{\"key\":\"b\"}"));
    ck_assert_uint_gt(info.id, b);
}
END_TEST

START_TEST(a_store_of_a_newer_version_is_refused)
{
    tk_ok(put("{\"key\":\"a\"}"));
    tpi_entities_destroy(entities);
    thing_kind.version = 2;
    tk_ok(load());
    tpi_entities_destroy(entities);
    thing_kind.version = 1;
    tk_fails(TPC_EVERSION, load());
    ck_assert_ptr_nonnull(strstr(err.text, "\"thing\""));
    tk_fails(TPC_ESTATE, put("{\"key\":\"a\"}"));
    ck_assert_str_eq(get("a"), "TPC_ESTATE");
}
END_TEST

START_TEST(documents_of_an_older_version_are_upgraded_once)
{
    tk_ok(put("{\"key\":\"a\",\"colour\":\"red\"}"));
    tk_ok(put("{\"key\":\"b\",\"colour\":\"blue\"}"));
    tpi_entities_destroy(entities);
    thing_kind.version = 2;
    tk_ok(load());
    ck_assert_str_eq(get("a"), "{\"key\":\"a\",\"color\":\"red\"}|");
    ck_assert_uint_eq(info.revision, 2);
    ck_assert_str_eq(list("color", "blue", "", 0), "{\"key\":\"b\",\"color\":\"blue\"}|");
    restart();
    get("a");
    ck_assert_uint_eq(info.revision, 2);
}
END_TEST

START_TEST(an_entity_that_names_a_later_one_loads_after_it)
{
    tk_ok(put("{\"key\":\"a-late\"}"));
    tk_ok(put("{\"key\":\"b\"}"));
    needs = "b";
    restart();
    ck_assert_str_eq(calls, "load-put:b@1 load-put:a-late@1 ");
    tpi_entities_destroy(entities);
    needed_there = false;
    needs = "nobody";
    tk_fails(TPC_ECORRUPT, load());
    ck_assert_str_eq(err.path, "thing/a-late");
}
END_TEST

START_TEST(an_entity_that_cannot_be_loaded_is_named)
{
    tk_ok(put("{\"key\":\"t1\"}"));
    tpi_entities_destroy(entities);
    prepare_code = TPC_ESCRIPT;
    tk_fails(TPC_ESCRIPT, load());
    ck_assert_str_eq(err.path, "thing/t1");
}
END_TEST

/* ---- kinds and listeners ---- */

START_TEST(a_kind_that_cannot_be_is_refused)
{
    static const struct tpc_option list_elem = { .type = TPC_OPT_SECRET };
    static const struct tpc_option secret_in_list[] = {
        { .name = "keys", .type = TPC_OPT_LIST, .elem = &list_elem },
    };
    static const struct tpc_option odd_index[] = {
        { .name = "x", .type = TPC_OPT_ANY, .flags = TPC_OPT_INDEXED },
    };
    struct tpi_entities *e;
    struct tpi_kind kind = { .name = "a b", .version = 1 };
    tk_ok(tpi_entities_create(&env.env, &tpi_store_memory, store, &err, &e));
    tk_fails(TPC_EINVAL, tpi_entities_add_kind(e, &thing_kind, &err));
    tk_ok(tpi_entities_add_kind(e, &tenant_kind, &err));
    tk_fails(TPC_EINVAL, tpi_entities_add_kind(e, &kind, &err));
    kind.name = "x";
    kind.version = 0;
    tk_fails(TPC_EINVAL, tpi_entities_add_kind(e, &kind, &err));
    kind.version = 1;
    kind.schema = (struct tpc_list) TPC_OPTIONS(secret_in_list);
    tk_fails(TPC_EINVAL, tpi_entities_add_kind(e, &kind, &err));
    kind.schema = (struct tpc_list) TPC_OPTIONS(odd_index);
    tk_fails(TPC_EINVAL, tpi_entities_add_kind(e, &kind, &err));
    tk_ok(tpi_entities_add_kind(e, &thing_kind, &err));
    tk_fails(TPC_EEXIST, tpi_entities_add_kind(e, &thing_kind, &err));
    tpi_entities_destroy(e);
    tpi_entities_destroy(NULL);
}
END_TEST

static void on_change(void *user, const struct tpc_actor *actor, const struct tpi_change *c)
{
    char *text = user;
    snprintf(text, 200, "%.*s %s %.*s/%s/%.*s@%llu", actor == NULL ? 0 : (int) actor->name.len,
             actor == NULL ? "" : actor->name.ptr, c->deleted ? "deleted" : "put",
             (int) c->tenant_key.len, c->tenant_key.ptr, c->kind->name, (int) c->key.len,
             c->key.ptr, (unsigned long long) c->revision);
    /* No lock is held: a listener may change things itself. */
    if (tpc_str_equal(c->key, TPC_STR("first")) != 0 && !c->deleted) {
        tk_ok(tpi_entities_put(entities, NULL, "thing", TPC_STR("{\"key\":\"second\"}"),
                               TPC_ANY_REV, NULL, NULL));
    }
}

START_TEST(listeners_hear_who_changed_what)
{
    char text[200] = "";
    struct tpc_actor alice = { .size = sizeof(alice),
                               .type = TPC_ACTOR_USER,
                               .name = TPC_STR("alice") };
    struct tpc_str none = { "", 0 };
    tk_ok(tpi_entities_on_change(entities, on_change, text));
    tk_ok(tpi_entities_put(entities, &alice, "thing", TPC_STR("{\"key\":\"a\"}"), TPC_ANY_REV, &err,
                           NULL));
    ck_assert_str_eq(text, "alice put main/thing/a@1");
    tk_ok(tpi_entities_delete(entities, &alice, none, "thing", TPC_STR("a"), TPC_ANY_REV, &err));
    ck_assert_str_eq(text, "alice deleted main/thing/a@1");
    text[0] = 0;
    tk_fails(TPC_ENOENT, delete_rev("thing", "a", TPC_ANY_REV));
    ck_assert_str_eq(text, "");
    tk_ok(put("{\"key\":\"first\"}"));
    ck_assert_str_eq(text, " put main/thing/second@1");
}
END_TEST

/* ---- many threads, no memory ---- */

static void *writer(void *user)
{
    for (int i = 0; i < 50; i++) {
        char json[60];
        snprintf(json, sizeof(json), "{\"key\":\"t%d-%d\"}", *(int *) user, i % 10);
        tk_ok(
            tpi_entities_put(entities, NULL, "thing", tpc_str_from(json), TPC_ANY_REV, NULL, NULL));
    }
    return NULL;
}

START_TEST(changes_from_several_threads_all_arrive)
{
    pthread_t threads[3];
    int numbers[3] = { 0, 1, 2 };
    int n = 0;
    struct tpc_entity_query q = TPC_ENTITY_QUERY_INIT;
    thing_kind.apply = NULL;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, writer, &numbers[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    q.kind = TPC_STR("thing");
    tk_ok(tpi_entities_list(entities, &q, &err, count_entity, &n));
    ck_assert_int_eq(n, 30);
    get("t1-3");
    ck_assert_uint_eq(info.revision, 5);
}
END_TEST

static int use_without_memory(const struct tpc_allocator *a, void *user)
{
    struct tpi_env poor = env.env;
    struct tpi_entities *e = NULL;
    struct tpc_str none = { "", 0 };
    void *own = store_open(&tpi_store_memory, &no_options);
    (void) user;
    poor.alloc = a;
    int rc = tpi_entities_create(&poor, &tpi_store_memory, own, NULL, &e);
    if (rc == 0) {
        tk_ok(tpi_entities_add_kind(e, &tenant_kind, NULL));
        tk_ok(tpi_entities_add_kind(e, &thing_kind, NULL));
        rc = tpi_entities_load(e, NULL);
    }
    static const char json[] = "{\"key\":\"a\",\"secret\":\"s\",\"color\":\"red\"}";
    rc = rc != 0 ? rc : tpi_entities_put(e, NULL, "thing", TPC_STR(json), TPC_ANY_REV, NULL, NULL);
    rc = rc != 0 ? rc
                 : tpi_entities_put(e, NULL, "tenant", TPC_STR("{\"key\":\"x\"}"), TPC_ANY_REV,
                                    NULL, NULL);
    if (rc == 0) {
        seen[0] = 0;
        rc = tpi_entities_get(e, none, "thing", TPC_STR("a"), NULL, on_entity, seen);
    }
    rc =
        rc != 0 ? rc : tpi_entities_delete(e, NULL, none, "thing", TPC_STR("a"), TPC_ANY_REV, NULL);
    tpi_entities_destroy(e);
    store_close(&tpi_store_memory, own);
    return rc;
}

START_TEST(running_out_of_memory_leaks_nothing)
{
    ck_assert_uint_gt(tk_each_alloc_fails(use_without_memory, NULL), 10);
}
END_TEST

Suite *entity_suite(void)
{
    Suite *s = suite_create("entity");
    TCase *tc = tcase_create("entity");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_document_is_kept_as_it_was_put);
    tcase_add_test(tc, revisions_grow_and_times_stand);
    tcase_add_test(tc, a_put_at_another_revision_is_a_conflict);
    tcase_add_loop_test(tc, a_bad_document_is_refused_with_the_path, 0,
                        sizeof(faults) / sizeof(faults[0]));
    tcase_add_test(tc, a_document_over_a_mebibyte_is_refused);
    tcase_add_test(tc, a_document_names_its_kind_if_it_likes);
    tcase_add_test(tc, a_change_that_the_kind_refuses_leaves_no_trace);
    tcase_add_test(tc, a_change_that_cannot_be_stored_is_discarded);
    tcase_add_test(tc, secrets_never_stand_in_a_document);
    tcase_add_test(tc, each_of_many_entities_is_loaded_with_its_own_secret);
    tcase_add_test(tc, a_secret_that_a_put_leaves_out_stays_and_null_removes_it);
    tcase_add_test(tc, secrets_go_with_their_entity);
    tcase_add_test(tc, entities_are_listed_by_key_page_and_field);
    tcase_add_test(tc, long_lists_come_in_pages_that_nobody_sees);
    tcase_add_test(tc, tenants_keep_their_entities_apart);
    tcase_add_test(tc, tenant_main_is_there_and_stays);
    tcase_add_test(tc, numbers_are_never_used_again);
    tcase_add_test(tc, a_store_of_a_newer_version_is_refused);
    tcase_add_test(tc, documents_of_an_older_version_are_upgraded_once);
    tcase_add_test(tc, an_entity_that_names_a_later_one_loads_after_it);
    tcase_add_test(tc, an_entity_that_cannot_be_loaded_is_named);
    tcase_add_test(tc, a_kind_that_cannot_be_is_refused);
    tcase_add_test(tc, listeners_hear_who_changed_what);
    tcase_add_test(tc, changes_from_several_threads_all_arrive);
    tcase_add_test(tc, running_out_of_memory_leaks_nothing);
    suite_add_tcase(s, tc);
    return s;
}
