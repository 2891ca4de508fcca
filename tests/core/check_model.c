/* Thing models in a running core: limits, versions, changes under traffic. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "flow.h"

/* What came of the points of the last messages: "key=value!" or "key=value?". */
struct seen {
    char text[512];
};

static int see(void *user, const struct tpc_batch *batch)
{
    struct seen *s = user;
    size_t n = strlen(s->text);
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        for (uint32_t k = 0; k < m->point_count; k++) {
            const struct tpc_point *p = tpc_msg_point(m, k);
            double d = -1;
            (void) tpc_value_double(&p->value, &d);
            n += (size_t) snprintf(s->text + n, sizeof(s->text) - n, "%.*s=%g%s%s ",
                                   (int) p->key.len, p->key.ptr, d,
                                   (p->flags & TPC_POINT_CLAMPED) != 0 ? "!" : "",
                                   (p->flags & TPC_POINT_BEYOND) != 0 ? "?" : "");
        }
    }
    return 0;
}

static void put(struct flow *f, const char *kind, const char *text)
{
    tk_ok(tpc_entity_put(f->core, NULL, kind, tpc_str_from(text), TPC_ANY_REV, NULL));
}

static void put_bounded(struct flow *f, const char *enforce)
{
    char text[400];
    snprintf(text, sizeof(text),
             "{\"key\":\"bounded\",%s\"model\":{\"properties\":[{\"id\":\"t\",\"type\":\"double\","
             "\"min\":0,\"max\":30,\"step\":0.5},{\"id\":\"n\",\"type\":\"int\",\"max\":9}]}}",
             enforce);
    put(f, "product", text);
}

START_TEST(a_product_says_what_becomes_of_values_beyond_limits)
{
    struct flow f;
    struct seen seen = { "" };
    struct tpc_subscribe_options o = TPC_SUBSCRIBE_OPTIONS_INIT;
    struct tpc_sub *sub;
    flow_init(&f, 0);
    flow_create(&f);
    put_bounded(&f, "");
    put(&f, "device", "{\"key\":\"b1\",\"product\":\"bounded\"}");
    flow_start(&f);
    o.filter = TPC_STR("main/up/#");
    tk_ok(tpc_subscribe(f.core, &o, see, &seen, &sub));
    struct tpc_device *d = flow_device(&f, "b1");
    static const char *const policies[] = { "", "\"enforce\":\"drop\",", "\"enforce\":\"clamp\",",
                                            "\"enforce\":\"keep\"," };
    for (size_t i = 0; i < 4; i++) {
        put_bounded(&f, policies[i]);
        tk_ok(flow_feed(d, "{\"t\":21.3,\"n\":12}"));
        tk_ok(flow_feed(d, "{\"t\":40,\"n\":5}"));
        flow_settle(&f);
        tk_clock_advance(&f.e.clock, 10);
    }
    ck_assert_str_eq(seen.text, "t=21.3 n=5 "
                                "n=5 "
                                "t=21.5! n=9! t=30! n=5 "
                                "t=21.3? n=12? t=40? n=5 ");
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_refused_total"), 5);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_clamped_total"), 3);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_beyond_total"), 3);
    ck_assert_double_eq(flow_latest(&f, "b1", "t"), 40);
    tk_fails(TPC_EINVAL,
             tpc_entity_put(f.core, NULL, "product",
                            TPC_STR("{\"key\":\"x\",\"enforce\":\"bend\",\"model\":{}}"),
                            TPC_ANY_REV, NULL));
    tpc_unsubscribe(sub);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

/* ---- versions ---- */

static int put_version(struct flow *f, const char *status, int version, const char *type)
{
    char text[300];
    snprintf(text, sizeof(text),
             "{\"key\":\"p\",\"status\":\"%s\",\"model_version\":%d,\"model\":{\"properties\":[{"
             "\"id\":\"a\",\"type\":\"%s\"}]}}",
             status, version, type);
    return tpc_entity_put(f->core, NULL, "product", tpc_str_from(text), TPC_ANY_REV, NULL);
}

/* "1:int 2:double": what was published. */
static void versions(struct flow *f, const char *want)
{
    struct tpc_arena *arena;
    struct tpc_value list;
    char text[200] = "";
    size_t n = 0;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpc_model_versions(f->core, TPC_STR("main"), TPC_STR("p"), arena, &list));
    for (size_t i = 0; i < list.len; i++) {
        const struct tpc_value *v = &list.as.items[i];
        const struct tpc_value *properties =
            tpc_value_get(tpc_value_get(v, TPC_STR("model")), TPC_STR("properties"));
        int64_t number = -1;
        tk_ok(tpc_value_int(tpc_value_get(v, TPC_STR("version")), &number));
        struct tpc_str type =
            properties == NULL
                ? TPC_STR("-")
                : tpc_value_text(tpc_value_get(&properties->as.items[0], TPC_STR("type")));
        n += (size_t) snprintf(text + n, sizeof(text) - n, "%s%d:%.*s", i > 0 ? " " : "",
                               (int) number, (int) type.len, type.ptr);
    }
    ck_assert_str_eq(text, want);
    tpc_arena_destroy(arena);
}

START_TEST(what_is_published_stays_as_it_is)
{
    struct flow f;
    flow_init(&f, 0);
    flow_create(&f);
    tk_ok(put_version(&f, "development", 1, "bool"));
    tk_ok(put_version(&f, "development", 1, "int"));
    versions(&f, "");
    tk_ok(put_version(&f, "published", 1, "int"));
    versions(&f, "1:int");
    tk_ok(put_version(&f, "published", 1, "int"));
    tk_fails(TPC_ESTATE, put_version(&f, "published", 1, "double"));
    ck_assert_str_eq(tpc_error_last()->path, "model_version");
    ck_assert_str_eq(tpc_error_last()->text,
                     "product \"p\" is published: another model needs another one than "
                     "model_version 1");
    /* Nor by the way round over development. */
    tk_fails(TPC_ESTATE, put_version(&f, "development", 1, "double"));
    tk_ok(put_version(&f, "development", 1, "int"));
    tk_ok(put_version(&f, "development", 1, "double"));
    tk_fails(TPC_ESTATE, put_version(&f, "published", 1, "double"));
    ck_assert_str_eq(tpc_error_last()->text,
                     "product \"p\" has published another model as model_version 1");
    tk_ok(put_version(&f, "published", 3, "double"));
    versions(&f, "1:int 3:double");
    tk_fails(TPC_ESTATE, put_version(&f, "published", 2, "text"));
    ck_assert_str_eq(tpc_error_last()->text, "product \"p\" has published models up to "
                                             "model_version 3");
    /* Back to what it was, and forth. */
    tk_ok(put_version(&f, "published", 1, "int"));
    tk_ok(put_version(&f, "published", 3, "double"));
    tk_ok(put_version(&f, "published", 4, "double"));
    versions(&f, "1:int 3:double 4:double");
    tk_fails(TPC_EINVAL, put_version(&f, "published", 0, "double"));
    flow_fini(&f);
}
END_TEST

START_TEST(versions_go_with_their_product)
{
    struct flow f;
    struct tpc_arena *arena;
    struct tpc_value v;
    flow_init(&f, 0);
    flow_create(&f);
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_fails(TPC_ENOENT, tpc_model_versions(f.core, TPC_STR("main"), TPC_STR("p"), arena, &v));
    tk_fails(TPC_EINVAL, tpc_model_versions(NULL, TPC_STR("main"), TPC_STR("p"), arena, &v));
    tk_ok(put_version(&f, "published", 7, "int"));
    versions(&f, "7:int");
    tk_ok(put_version(&f, "development", 7, "int"));
    tk_ok(tpc_entity_delete(f.core, NULL, TPC_STR("main"), "product", TPC_STR("p"), TPC_ANY_REV));
    tk_ok(put_version(&f, "published", 1, "double"));
    versions(&f, "1:double");
    tpc_arena_destroy(arena);
    flow_fini(&f);
}
END_TEST

/* ---- changes under traffic ---- */

static const char before[] = TPC_JSON({
    "key": "moving",
    "model": { "properties": [
        { "id": "seq", "type": "int" }, { "id": "v", "type": "int" },
        { "id": "gone", "type": "int" }, { "id": "old", "type": "double" } ] } });
/* gone is removed, v has another type, old is called new, extra is there. */
static const char after[] = TPC_JSON({
    "key": "moving",
    "model": { "properties": [
        { "id": "extra", "type": "bool" }, { "id": "new", "type": "double", "was": "old" },
        { "id": "v", "type": "double" }, { "id": "seq", "type": "int" } ] } });

static struct tpc_sub *consume_all(struct flow *f, tpc_batch_fn *fn, void *user)
{
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    struct tpc_sub *sub;
    o.name = TPC_STR("all");
    o.filter = TPC_STR("main/up/#");
    tk_ok(tpc_consume(f->core, &o, fn, user, &sub));
    return sub;
}

START_TEST(messages_in_flight_are_right_before_and_after_a_change)
{
    struct flow f;
    struct seen seen = { "" };
    flow_init(&f, 0);
    flow_create(&f);
    put(&f, "product", before);
    put(&f, "device", "{\"key\":\"m1\",\"product\":\"moving\"}");
    flow_start(&f);
    struct tpc_device *d = flow_device(&f, "m1");
    tpc_unsubscribe(consume_all(&f, see, &seen)); /* the log is kept for it */
    tk_ok(flow_feed(d, "{\"seq\":1,\"v\":10,\"gone\":5,\"old\":0.5}"));
    flow_settle(&f);
    tk_clock_advance(&f.e.clock, 10);
    /* This one is on its way when the model changes. */
    tk_ok(flow_feed(d, "{\"seq\":2,\"v\":20,\"gone\":6,\"old\":1.5}"));
    put(&f, "product", after);
    flow_settle(&f);
    tk_clock_advance(&f.e.clock, 10);
    tk_ok(flow_feed(d, "{\"seq\":3,\"v\":30.5,\"new\":2.5,\"extra\":true}"));
    flow_settle(&f);
    /* Who reads the first message now is told the keys that its values had or have. */
    struct tpc_sub *sub = consume_all(&f, see, &seen);
    flow_settle(&f);
    ck_assert_str_eq(seen.text, "seq=1 v=10 gone=5 new=0.5 "
                                "seq=2 v=20 new=1.5 "
                                "seq=3 v=30.5 new=2.5 extra=1 ");
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_refused_total"), 1);
    ck_assert_double_eq(flow_latest(&f, "m1", "v"), 30.5);
    ck_assert_double_eq(flow_latest(&f, "m1", "new"), 2.5);
    ck_assert_double_eq(flow_latest(&f, "m1", "old"), 2.5);
    ck_assert_double_eq(flow_latest(&f, "m1", "gone"), -1e9);
    ck_assert_uint_eq(flow_stored(&f, "m1", "new"), 3); /* one line, whatever it was called */
    ck_assert_uint_eq(flow_stored(&f, "m1", "v"), 2);   /* its ints are another line */
    /* And back: what the ints were is there again. */
    put(&f, "product", before);
    ck_assert_uint_eq(flow_stored(&f, "m1", "v"), 1);
    ck_assert_uint_eq(flow_stored(&f, "m1", "gone"), 1);
    ck_assert_uint_eq(flow_stored(&f, "m1", "old"), 3);
    tpc_unsubscribe(sub);
    tpc_device_unref(d);
    flow_fini(&f);
}
END_TEST

/* Fewer than the thousand times that one ms of the clock has room for; a change every 30 of them. */
enum { TRAFFIC = 900, EACH = 30 };

struct traffic {
    struct tpc_device *device;
    atomic_uint fed;
    atomic_uint changes;
    atomic_uint failed;
    uint8_t seen[TRAFFIC];
    atomic_uint messages;
    atomic_uint wrong;
    atomic_uint newer; /* messages that the second model checked */
};

static void *feed_traffic(void *user)
{
    struct traffic *t = user;
    char text[96];
    for (int n = 0; n < TRAFFIC;) {
        snprintf(text, sizeof(text), "{\"seq\":%d,\"v\":%d,\"gone\":%d,\"old\":%d.5}", n, n, n, n);
        bool early = atomic_load(&t->changes) < (uint32_t) n / EACH;
        int rc = early ? TPC_EAGAIN : flow_feed(t->device, text);
        if (rc == TPC_EAGAIN) {
            sched_yield();
            continue;
        }
        atomic_fetch_add(&t->failed, rc != 0);
        atomic_fetch_add(&t->fed, 1);
        n++;
    }
    return NULL;
}

/* Types and number of values are those of one model, the one that the message names; models were put
 * in turns, so that odd revisions are the first. */
static bool is_right(const struct tpc_msg *m, int64_t *ret_seq)
{
    bool first = m->model_revision % 2 == 1;
    bool right = m->point_count == (first ? 4 : 3);
    for (uint32_t i = 0; i < m->point_count; i++) {
        const struct tpc_point *p = tpc_msg_point(m, i);
        double x = -1;
        bool is_seq = tpc_str_equal(p->key, TPC_STR("seq")) != 0;
        bool is_v = tpc_str_equal(p->key, TPC_STR("v")) != 0;
        (void) tpc_value_double(&p->value, &x);
        if (i == 0) {
            right = right && is_seq && p->value.type == TPC_INT;
            *ret_seq = p->value.as.i;
        }
        right = right && (!is_v || p->value.type == (first ? TPC_INT : TPC_DOUBLE));
        right = right && (int64_t) x == *ret_seq;
    }
    return right;
}

static int see_traffic(void *user, const struct tpc_batch *batch)
{
    struct traffic *t = user;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        int64_t seq = -1;
        bool right = is_right(m, &seq) && seq >= 0 && seq < TRAFFIC && t->seen[seq]++ == 0;
        atomic_fetch_add(&t->wrong, !right);
        atomic_fetch_add(&t->newer, m->model_revision % 2 == 0);
        atomic_fetch_add(&t->messages, 1);
    }
    return 0;
}

static bool all_seen(void *user)
{
    struct traffic *t = user;
    return atomic_load(&t->messages) >= TRAFFIC;
}

static bool all_stored(void *user)
{
    return flow_stored(user, "m1", "seq") >= TRAFFIC;
}

START_TEST(each_message_is_right_while_the_model_changes_all_the_time)
{
    static struct traffic t;
    struct flow f;
    pthread_t thread;
    memset(&t, 0, sizeof(t));
    flow_init(&f, 2);
    flow_create(&f);
    put(&f, "product", before);
    put(&f, "device", "{\"key\":\"m1\",\"product\":\"moving\"}");
    flow_start(&f);
    t.device = flow_device(&f, "m1");
    struct tpc_sub *sub = consume_all(&f, see_traffic, &t);
    ck_assert_int_eq(pthread_create(&thread, NULL, feed_traffic, &t), 0);
    for (int i = 0; atomic_load(&t.fed) < TRAFFIC; i++) {
        put(&f, "product", i % 2 == 0 ? after : before);
        atomic_fetch_add(&t.changes, 1);
    }
    pthread_join(thread, NULL);
    ck_assert(flow_until(&f, all_seen, &t));
    flow_settle(&f);
    ck_assert_uint_eq(t.failed, 0);
    ck_assert_uint_eq(t.messages, TRAFFIC);
    ck_assert_uint_eq(t.wrong, 0);
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_points_refused_total"), t.newer);
    put(&f, "product", before);
    ck_assert(flow_until(&f, all_stored, &f)); /* a busy machine: the history follows the log */
    ck_assert_uint_eq(flow_stored(&f, "m1", "seq"), TRAFFIC);
    ck_assert_uint_eq(flow_stored(&f, "m1", "old"), TRAFFIC);
    ck_assert_uint_eq(flow_stored(&f, "m1", "v"), TRAFFIC - t.newer);
    tpc_unsubscribe(sub);
    tpc_device_unref(t.device);
    flow_fini(&f);
}
END_TEST

Suite *model_flow_suite(void)
{
    Suite *s = suite_create("model");
    TCase *tc = tcase_create("model");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_product_says_what_becomes_of_values_beyond_limits);
    tcase_add_test(tc, what_is_published_stays_as_it_is);
    tcase_add_test(tc, versions_go_with_their_product);
    tcase_add_test(tc, messages_in_flight_are_right_before_and_after_a_change);
    tcase_add_test(tc, each_message_is_right_while_the_model_changes_all_the_time);
    suite_add_tcase(s, tc);
    return s;
}
