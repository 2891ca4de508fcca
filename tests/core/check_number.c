/* Numbers that stand for commands where a command's id does not fit into a frame. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/service.h"
#include "flow.h"

enum { GIVEN = 3 * TPI_NUMBERS, DEVICES = 300, MOST = 65535 };

static struct tpc_encode command(struct tpi_numbers *n, char device[16], char id[16], uint32_t i)
{
    struct tpc_encode e = { .size = sizeof(e), .numbers = n };
    e.device = (struct tpc_str){ device, (size_t) snprintf(device, 16, "d%u", i % DEVICES) };
    e.correlation = (struct tpc_str){ id, (size_t) snprintf(id, 16, "c%u", i) };
    return e;
}

START_TEST(newest_numbers_of_all_devices_find_their_commands)
{
    struct tpi_numbers *n = calloc(1, sizeof(*n));
    uint32_t *given = calloc(GIVEN, sizeof(*given));
    char device[16], id[16], text[TPI_NUMBER_TEXT];
    ck_assert_ptr_nonnull(n);
    ck_assert_ptr_nonnull(given);
    pthread_mutex_init(&n->lock, NULL);
    for (uint32_t i = 0; i < GIVEN; i++) {
        struct tpc_encode e = command(n, device, id, i);
        given[i] = tpc_encode_number(&e, MOST);
        ck_assert_uint_eq(tpc_encode_number(&e, MOST), given[i]); /* sent again */
    }
    for (uint32_t i = 0; i < GIVEN; i++) {
        struct tpc_encode e = command(n, device, id, i);
        uint32_t len = tpi_number_find(n, e.device, given[i], text);
        ck_assert_uint_eq(len, i < GIVEN - TPI_NUMBERS ? 0 : e.correlation.len);
        ck_assert(len == 0 || memcmp(text, id, len) == 0);
    }
    ck_assert_uint_eq(tpi_number_find(n, TPC_STR("nobody"), given[GIVEN - 1], text), 0);
    ck_assert_uint_eq(tpi_number_find(n, TPC_STR("d0"), 0, text), 0);
    pthread_mutex_destroy(&n->lock);
    free(given);
    free(n);
}
END_TEST

/* A device with one byte for it: the newest of its commands is meant. */
START_TEST(a_number_that_comes_again_is_of_the_newest)
{
    struct tpi_numbers *n = calloc(1, sizeof(*n));
    char device[16], id[16], text[TPI_NUMBER_TEXT];
    uint32_t number = 0;
    ck_assert_ptr_nonnull(n);
    pthread_mutex_init(&n->lock, NULL);
    for (uint32_t i = 0; i < 1000; i++) {
        struct tpc_encode e = command(n, device, id, i * DEVICES); /* always the same one */
        number = tpc_encode_number(&e, 255);
        ck_assert_uint_ge(number, 1);
        ck_assert_uint_le(number, 255);
        uint32_t len = tpi_number_find(n, e.device, number, text);
        ck_assert_uint_eq(len, e.correlation.len);
        ck_assert_int_eq(memcmp(text, id, len), 0);
    }
    pthread_mutex_destroy(&n->lock);
    free(n);
}
END_TEST

Suite *number_suite(void)
{
    Suite *s = suite_create("number");
    TCase *tc = tcase_create("number");
    tcase_add_test(tc, newest_numbers_of_all_devices_find_their_commands);
    tcase_add_test(tc, a_number_that_comes_again_is_of_the_newest);
    suite_add_tcase(s, tc);
    return s;
}
