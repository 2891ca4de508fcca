/* The offsets of boots as they are stored, and points of records that are put right. */
#include "bus/clock.h"

#include "bus_suites.h"
#include "tk_env.h"

#include <string.h>

static struct tpc_id boot_of(uint8_t number)
{
    struct tpc_id id;
    memset(id.b, number, sizeof(id.b));
    return id;
}

START_TEST(offsets_survive_and_the_oldest_boot_goes)
{
    struct tk_env e;
    struct tpi_clock c, back;
    struct tpi_retimed t;
    uint8_t bytes[TPI_CLOCK_PACK_BYTES];
    tk_env_init(&e);
    tpi_clock_init(&c, &e.env);
    tpi_clock_init(&back, &e.env);
    ck_assert_uint_eq(tpi_clock_pack(&c, bytes), 0);
    for (uint8_t i = 1; i <= TPI_CLOCK_BOOTS + 1; i++) {
        struct tpc_id id = boot_of(i);
        tpi_clock_know(&c, &id, i * 1000);
    }
    size_t len = tpi_clock_pack(&c, bytes);
    ck_assert_uint_eq(len, TPI_CLOCK_PACK_BYTES);
    ck_assert_uint_eq(tpi_clock_pack(&c, bytes), 0); /* they are taken */
    tpi_clock_unpacked(&c);
    ck_assert_uint_eq(tpi_clock_pack(&c, bytes), len);
    tk_fails(TPC_ECORRUPT, tpi_clock_unpack(&back, (struct tpc_bytes){ bytes, len - 1 }));
    tk_ok(tpi_clock_unpack(&back, (struct tpc_bytes){ bytes, len }));
    tk_ok(tpi_clock_unpack(&back, (struct tpc_bytes){ bytes, 0 }));
    struct tpc_record r = { .size = sizeof(r),
                            .flags = TPC_MSG_CLOCK_UNSURE,
                            .received_unix_ms = 7,
                            .unix_ms = 7,
                            .boot = boot_of(2),
                            .mono_ms = 50 };
    tpi_clock_retime(&back, &r, &t);
    ck_assert_int_eq(r.received_unix_ms, 2050);
    ck_assert_int_eq(r.unix_ms, 2050);
    ck_assert_uint_eq(r.flags, 0);
    r.flags = TPC_MSG_CLOCK_UNSURE;
    r.boot = boot_of(1); /* made room for the last one */
    tpi_clock_retime(&back, &r, &t);
    ck_assert_int_eq(t.shift_ms, 0);
    ck_assert_uint_eq(r.flags, TPC_MSG_CLOCK_UNSURE);
    tpi_clock_fini(&c);
    tpi_clock_fini(&back);
    tk_env_fini(&e);
}
END_TEST

/* The message's time is the device's, a point's is ours, and the other way round. */
START_TEST(times_of_points_move_on_their_own)
{
    struct tpc_arena *arena;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    for (int moved = 0; moved < 2; moved++) {
        struct tpi_retimed t = { .received_ms = 100000, .shift_ms = 5000000, .moved = moved };
        int64_t along = moved ? t.shift_ms : 0; /* the decoder added it to all */
        struct tpc_point points[] = { { .unix_ms = 99000 + along },
                                      { .unix_ms = 0 },
                                      { .unix_ms = 9000000 + along } };
        struct tpc_msg m = {
            .size = sizeof(m), .points = points, .point_count = 3, .point_size = sizeof(points[0])
        };
        tk_ok(tpi_clock_points(&t, arena, &m));
        ck_assert_int_eq(tpc_msg_point(&m, 0)->unix_ms, 5099000);
        ck_assert_int_eq(tpc_msg_point(&m, 1)->unix_ms, 0);
        ck_assert_int_eq(tpc_msg_point(&m, 2)->unix_ms, 9000000);
    }
    tpc_arena_destroy(arena);
}
END_TEST

Suite *clock_suite(void)
{
    Suite *s = suite_create("clock");
    TCase *t = tcase_create("clock");
    tcase_add_test(t, offsets_survive_and_the_oldest_boot_goes);
    tcase_add_test(t, times_of_points_move_on_their_own);
    suite_add_tcase(s, t);
    return s;
}
