/* The state of partitions as bytes, the set of edges, and threads. */
#include "house.h"
#include "suites.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "rules/edge.h"

enum { EDGE_STEPS = 20000, EDGE_SCENES = 4, EDGE_DEVICES = 50, ROUNDS = 3000 };

static uint32_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t) (*state >> 33);
}

START_TEST(edges_are_a_set_whatever_the_order)
{
    struct tpi_edges edges;
    bool model[EDGE_SCENES][EDGE_DEVICES] = { { false } };
    size_t count = 0;
    uint64_t random = 1;
    tpi_edges_init(&edges, NULL);
    for (int i = 0; i < EDGE_STEPS; i++) {
        uint32_t s = next_random(&random) % EDGE_SCENES;
        uint32_t d = next_random(&random) % EDGE_DEVICES;
        struct tpi_edge edge = { .scene = s + 1, .device = d, .when = 9 };
        uint32_t what = next_random(&random) % 200;
        if (what < 110) {
            ck_assert_int_eq(tpi_edges_find(&edges, s + 1, d) != NULL, model[s][d]);
            if (!model[s][d]) {
                tk_ok(tpi_edges_add(&edges, &edge));
            }
            count += !model[s][d];
            model[s][d] = true;
        } else if (what < 199) {
            tpi_edges_remove(&edges, s + 1, d);
            count -= model[s][d];
            model[s][d] = false;
        } else {
            tpi_edges_forget(&edges, s + 1);
            for (d = 0; d < EDGE_DEVICES; d++) {
                count -= model[s][d];
                model[s][d] = false;
            }
        }
        ck_assert_uint_eq(edges.count, count);
    }
    tpi_edges_fini(&edges);
}
END_TEST

static void save_all(struct house *h, struct tpi_buf out[HOUSE_PARTITIONS])
{
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        tpi_buf_init(&out[i], NULL, 0);
        tk_ok(tpi_rules_state_save(h->rules, i, &out[i]));
    }
}

static void free_all(struct tpi_buf bufs[HOUSE_PARTITIONS])
{
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        tpi_buf_fini(&bufs[i]);
    }
}

START_TEST(loaded_state_is_the_saved_one)
{
    struct house *h = house_new();
    struct tpi_buf before[HOUSE_PARTITIONS], after[HOUSE_PARTITIONS];
    tk_ok(house_scene(h, "a", "temperature > 30", "rising"));
    tk_ok(house_scene(h, "b", "temperature > 20", "rising"));
    tk_ok(house_scene(h, "gone", "temperature > 10", "rising"));
    house_temperature(h, "t1", 35);
    house_temperature(h, "t2", 25);
    house_temperature(h, "t3", 35);
    ck_assert_uint_eq(atomic_load(&h->command_count), 8);
    tk_ok(house_delete(h, "scene", "gone"));
    save_all(h, before);
    tk_ok(house_restart(h));
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        uint64_t next;
        struct tpc_bytes bytes = { before[i].ptr, before[i].len };
        tk_ok(tpi_rules_state_load(h->rules, i, bytes, NULL, &next));
    }
    save_all(h, after);
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        ck_assert_uint_eq(before[i].len, after[i].len);
    }
    house_temperature(h, "t1", 35);
    house_temperature(h, "t2", 25);
    house_temperature(h, "t3", 35);
    ck_assert_uint_eq(atomic_load(&h->command_count), 8);
    house_temperature(h, "t2", 35);
    ck_assert_uint_eq(atomic_load(&h->command_count), 9);
    free_all(before);
    free_all(after);
    house_free(h);
}
END_TEST

/* What version 1 wrote: no flags, no time, no offset, no schedules. */
static void as_version_1(const struct tpi_buf *now, struct tpi_buf *out)
{
    struct tpi_reader in;
    tpi_buf_init(out, NULL, 0);
    tpi_reader_init(&in, now->ptr, now->len);
    ck_assert_uint_eq(tpi_read_u8(&in), 8);
    tk_ok(tpi_buf_u8(out, 1));
    tk_ok(tpi_buf_varint(out, tpi_read_varint(&in)));
    uint64_t count = tpi_read_varint(&in);
    tk_ok(tpi_buf_varint(out, count));
    for (uint64_t i = 0; i < count; i++) {
        tk_ok(tpi_buf_varint(out, tpi_read_varint(&in)));
        tk_ok(tpi_buf_varint(out, tpi_read_varint(&in)));
        tk_ok(tpi_buf_u32(out, tpi_read_u32(&in)));
        (void) tpi_read_varint(&in);
        (void) tpi_read_zigzag(&in);
        (void) tpi_read_varint(&in);
    }
}

START_TEST(state_of_version_1_is_read)
{
    struct house *h = house_new();
    struct tpi_buf now[HOUSE_PARTITIONS];
    tk_ok(house_scene(h, "a", "temperature > 30", "rising"));
    house_temperature(h, "t1", 35);
    save_all(h, now);
    tk_ok(house_restart(h));
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        struct tpi_buf old;
        uint64_t next;
        as_version_1(&now[i], &old);
        tk_ok(
            tpi_rules_state_load(h->rules, i, (struct tpc_bytes){ old.ptr, old.len }, NULL, &next));
        tpi_buf_fini(&old);
    }
    house_temperature(h, "t1", 36);
    ck_assert_uint_eq(atomic_load(&h->command_count), 1);
    house_temperature(h, "t1", 5);
    house_temperature(h, "t1", 36);
    ck_assert_uint_eq(atomic_load(&h->command_count), 2);
    free_all(now);
    house_free(h);
}
END_TEST

START_TEST(state_of_a_changed_condition_is_dropped)
{
    struct house *h = house_new();
    struct tpi_buf state[HOUSE_PARTITIONS];
    tk_ok(house_scene(h, "a", "temperature > 30", "rising"));
    house_temperature(h, "t1", 35);
    save_all(h, state);
    tk_ok(house_scene(h, "a", "temperature > 31", "rising"));
    tk_ok(house_restart(h));
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        uint64_t next;
        struct tpc_bytes bytes = { state[i].ptr, state[i].len };
        tk_ok(tpi_rules_state_load(h->rules, i, bytes, NULL, &next));
    }
    house_temperature(h, "t1", 35);
    ck_assert_uint_eq(atomic_load(&h->command_count), 2);
    free_all(state);
    house_free(h);
}
END_TEST

START_TEST(damaged_state_is_refused_and_changes_nothing)
{
    struct house *h = house_new();
    struct tpi_buf state[HOUSE_PARTITIONS];
    tk_ok(house_scene(h, "a", "temperature > 30", "rising"));
    house_temperature(h, "t1", 35);
    save_all(h, state);
    for (uint32_t i = 0; i < HOUSE_PARTITIONS; i++) {
        uint64_t next;
        for (size_t len = 0; len < state[i].len; len++) {
            struct tpc_bytes cut = { state[i].ptr, len };
            tk_fails(TPC_ECORRUPT, tpi_rules_state_load(h->rules, i, cut, NULL, &next));
        }
        tk_ok(tpi_buf_u8(&state[i], 0));
        struct tpc_bytes bytes = { state[i].ptr, state[i].len };
        tk_fails(TPC_ECORRUPT, tpi_rules_state_load(h->rules, i, bytes, NULL, &next));
        state[i].ptr[0] = 9;
        tk_fails(TPC_EVERSION, tpi_rules_state_load(h->rules, i, bytes, NULL, &next));
    }
    house_temperature(h, "t1", 36);
    ck_assert_uint_eq(atomic_load(&h->command_count), 1);
    free_all(state);
    house_free(h);
}
END_TEST

static struct house *shared;

static void *work(void *user)
{
    struct tpc_device *device = user;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        struct house_point p = { "temperature", i % 2 == 0 ? 20 : 40 };
        house_message(shared, device, i, &p, 1);
    }
    return NULL;
}

START_TEST(a_time_that_cannot_be_is_damage)
{
    struct house *h = house_new();
    struct tpi_buf state;
    uint64_t next;
    tpi_buf_init(&state, NULL, 0);
    tk_ok(tpi_buf_u8(&state, 2));
    tk_ok(tpi_buf_varint(&state, 0)); /* next */
    tk_ok(tpi_buf_varint(&state, 1)); /* pairs */
    tk_ok(tpi_buf_varint(&state, 7));
    tk_ok(tpi_buf_varint(&state, 7));
    tk_ok(tpi_buf_u32(&state, 0));
    tk_ok(tpi_buf_varint(&state, TPI_EDGE_FIRED));
    tk_ok(tpi_buf_zigzag(&state, INT64_MIN));
    tk_ok(tpi_buf_varint(&state, 0));
    struct tpc_bytes bytes = { state.ptr, state.len };
    tk_fails(TPC_ECORRUPT, tpi_rules_state_load(h->rules, 0, bytes, NULL, &next));
    tpi_buf_fini(&state);
    house_free(h);
}
END_TEST

START_TEST(scenes_change_while_workers_run)
{
    struct house *h = house_new();
    struct tpi_buf state;
    pthread_t threads[HOUSE_WORKERS];
    struct tpc_device *devices[HOUSE_WORKERS] = { NULL };
    shared = h;
    h->count_only = true;
    tk_ok(house_scene(h, "always", "temperature > 30", "rising"));
    for (int i = 0; devices[0] == NULL || devices[1] == NULL; i++) {
        char json[64], key[16];
        snprintf(key, sizeof(key), "d%d", i);
        snprintf(json, sizeof(json), "{'key':'%s','product':'thermo'}", key);
        tk_ok(house_put(h, "device", json));
        struct tpc_device *d = NULL;
        tk_ok(tpi_registry_open(h->registry, TPC_STR("main"), tpc_str_from(key), NULL, &d));
        struct tpc_device **place = &devices[d->partition % HOUSE_WORKERS];
        d = *place == NULL ? d : tpi_device_unref(d);
        *place = d != NULL ? d : *place;
    }
    for (int i = 0; i < HOUSE_WORKERS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, devices[i]), 0);
    }
    for (int i = 0; i < 100; i++) {
        tk_ok(house_scene(h, "s", i % 3 == 0 ? "temperature > 30" : "temperature > 10", "each"));
        tpi_rules_product_changed(h->rules, house_id(h, "product", "thermo"));
        tpi_buf_init(&state, NULL, 0);
        tk_ok(tpi_rules_state_save(h->rules, (uint32_t) i % HOUSE_PARTITIONS, &state));
        tpi_buf_fini(&state);
        tk_ok(house_delete(h, "scene", "s"));
    }
    for (int i = 0; i < HOUSE_WORKERS; i++) {
        pthread_join(threads[i], NULL);
        tpi_device_unref(devices[i]);
    }
    ck_assert_uint_ge(TPI_METRIC_GET(tpi_rules_count(h->rules)->fired), ROUNDS);
    house_free(h);
}
END_TEST

Suite *state_suite(void)
{
    Suite *s = suite_create("state");
    TCase *c = tcase_create("state");
    tcase_add_test(c, edges_are_a_set_whatever_the_order);
    tcase_add_test(c, loaded_state_is_the_saved_one);
    tcase_add_test(c, state_of_version_1_is_read);
    tcase_add_test(c, a_time_that_cannot_be_is_damage);
    tcase_add_test(c, state_of_a_changed_condition_is_dropped);
    tcase_add_test(c, damaged_state_is_refused_and_changes_nothing);
    tcase_add_test(c, scenes_change_while_workers_run);
    suite_add_tcase(s, c);
    return s;
}
