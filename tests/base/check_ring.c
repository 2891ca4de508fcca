#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/ring.h"
#include "base_suites.h"

static int put(struct tpi_ring *r, const void *p, size_t len)
{
    size_t ticket;
    void *room = tpi_ring_reserve(r, len, &ticket);
    if (room == NULL) {
        return TPC_EAGAIN;
    }
    if (len > 0) {
        memcpy(room, p, len);
    }
    tpi_ring_publish(r, ticket);
    return 0;
}

static size_t drain(struct tpi_ring *r)
{
    size_t count = 0, len;
    while (tpi_ring_peek(r, &len) != NULL) {
        count++;
    }
    tpi_ring_release(r);
    return count;
}

START_TEST(records_come_out_whole_and_in_order_round_after_round)
{
    struct tk_alloc a;
    struct tpi_ring r;
    uint8_t data[120];
    size_t len;
    tk_alloc_init(&a);
    tk_ok(tpi_ring_init(&r, &a.base, 300));
    ck_assert_uint_eq(r.cap, 512);
    for (size_t i = 0; i < 3000; i++) {
        size_t n = i * 13 % sizeof(data);
        memset(data, (int) (i & 255), n);
        tk_ok(put(&r, data, n));
        tk_ok(put(&r, &i, sizeof(i)));
        const uint8_t *p = tpi_ring_peek(&r, &len);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t) p % 8, 0);
        ck_assert_uint_eq(len, n);
        ck_assert_mem_eq(p, data, n);
        const void *q = tpi_ring_peek(&r, &len);
        ck_assert_mem_eq(q, &i, sizeof(i));
        ck_assert_ptr_null(tpi_ring_peek(&r, &len));
        tpi_ring_release(&r);
        ck_assert_uint_eq(tpi_ring_used(&r), 0);
    }
    ck_assert_uint_eq(tpi_ring_refused(&r), 0);
    tpi_ring_fini(&r);
    tk_alloc_check(&a);
}
END_TEST

START_TEST(full_ring_refuses_counts_and_recovers)
{
    struct tpi_ring r;
    size_t len, ticket, count = 0;
    tk_ok(tpi_ring_init(&r, NULL, 256));
    while (put(&r, "12345678", 8) == 0) {
        count++;
    }
    ck_assert_uint_eq(count, 16);
    ck_assert_uint_eq(tpi_ring_refused(&r), 1);
    ck_assert_uint_eq(tpi_ring_used(&r), 256);
    ck_assert_uint_eq(tpi_ring_high(&r), 256);
    for (size_t i = 0; i < 5; i++) {
        ck_assert_ptr_nonnull(tpi_ring_peek(&r, &len));
    }
    ck_assert_ptr_null(tpi_ring_reserve(&r, 8, &ticket));
    tpi_ring_release(&r);
    for (size_t i = 0; i < 5; i++) {
        tk_ok(put(&r, "abcdefgh", 8));
    }
    tk_fails(TPC_EAGAIN, put(&r, "abcdefgh", 8));
    ck_assert_uint_eq(drain(&r), 16);
    ck_assert_ptr_null(tpi_ring_peek(&r, &len));
    tpi_ring_fini(&r);
}
END_TEST

START_TEST(longest_record_always_fits_an_empty_ring)
{
    struct tpi_ring r;
    uint8_t data[512] = { 0 };
    size_t ticket;
    tk_ok(tpi_ring_init(&r, NULL, 512));
    size_t most = tpi_ring_max(&r);
    ck_assert_ptr_null(tpi_ring_reserve(&r, most + 1, &ticket));
    for (size_t i = 0; i < 500; i++) {
        tk_ok(put(&r, data, i % 60));
        ck_assert_uint_eq(drain(&r), 1);
        tk_ok(put(&r, data, most));
        ck_assert_uint_eq(drain(&r), 1);
    }
    tpi_ring_fini(&r);
    tk_fails(TPC_EINVAL, tpi_ring_init(&r, NULL, ((size_t) 1 << 30) + 1));
}
END_TEST

START_TEST(unpublished_record_holds_up_and_discarded_one_is_passed_over)
{
    struct tpi_ring r;
    size_t first, second, len;
    tk_ok(tpi_ring_init(&r, NULL, 256));
    ck_assert_ptr_nonnull(tpi_ring_reserve(&r, 5, &first));
    ck_assert_ptr_nonnull(tpi_ring_reserve(&r, 6, &second));
    tpi_ring_publish(&r, second);
    ck_assert_ptr_null(tpi_ring_peek(&r, &len));
    tpi_ring_discard(&r, first);
    ck_assert_ptr_nonnull(tpi_ring_peek(&r, &len));
    ck_assert_uint_eq(len, 6);
    tpi_ring_rewind(&r);
    ck_assert_ptr_nonnull(tpi_ring_peek(&r, &len));
    ck_assert_uint_eq(len, 6);
    tpi_ring_release(&r);
    ck_assert_uint_eq(tpi_ring_used(&r), 0);
    tpi_ring_fini(&r);
}
END_TEST

enum { PRODUCERS = 3, RECORDS = 20000 };

struct producer {
    struct tpi_ring *ring;
    uint32_t number;
};

/* A record: producer, sequence, then bytes of the sequence's low byte. */
static void *produce(void *user)
{
    const struct producer *p = user;
    for (uint32_t i = 0; i < RECORDS;) {
        size_t ticket;
        size_t len = 8 + (i * 7 + p->number) % 90;
        uint8_t *room = tpi_ring_reserve(p->ring, len, &ticket);
        if (room == NULL) {
            sched_yield();
            continue;
        }
        memcpy(room, &p->number, 4);
        memcpy(room + 4, &i, 4);
        memset(room + 8, (int) (i & 255), len - 8);
        if (i % 97 == 5 && len % 2 == 0) {
            tpi_ring_discard(p->ring, ticket); /* and again: the sequence has no gap */
            room = tpi_ring_reserve(p->ring, 8, &ticket);
            while (room == NULL) {
                sched_yield();
                room = tpi_ring_reserve(p->ring, 8, &ticket);
            }
            memcpy(room, &p->number, 4);
            memcpy(room + 4, &i, 4);
        }
        tpi_ring_publish(p->ring, ticket);
        i++;
    }
    return NULL;
}

static void take(const uint8_t *p, size_t len, uint32_t next[PRODUCERS])
{
    uint32_t who, sequence;
    memcpy(&who, p, 4);
    memcpy(&sequence, p + 4, 4);
    ck_assert_uint_lt(who, PRODUCERS);
    ck_assert_uint_eq(sequence, next[who]);
    for (size_t i = 8; i < len; i++) {
        if (p[i] != (sequence & 255)) {
            ck_abort_msg("record %u of %u is damaged", sequence, who);
        }
    }
    next[who]++;
}

START_TEST(threads_lose_nothing_and_keep_their_order)
{
    struct tpi_ring r;
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    uint32_t next[PRODUCERS] = { 0 };
    tk_ok(tpi_ring_init(&r, NULL, 4096));
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){ &r, i };
        pthread_create(&threads[i], NULL, produce, &producers[i]);
    }
    for (size_t got = 0; got < (size_t) PRODUCERS * RECORDS;) {
        size_t len;
        const uint8_t *p = tpi_ring_peek(&r, &len);
        if (p == NULL) {
            tpi_ring_release(&r);
            sched_yield();
            continue;
        }
        take(p, len, next);
        got++;
        if (got % 5 == 0) {
            tpi_ring_release(&r);
        }
    }
    for (size_t i = 0; i < PRODUCERS; i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_uint_le(tpi_ring_high(&r), r.cap);
    tpi_ring_release(&r);
    tpi_ring_fini(&r);
}
END_TEST

static int make_ring(const struct tpc_allocator *alloc, void *user)
{
    struct tpi_ring r;
    (void) user;
    int rc = tpi_ring_init(&r, alloc, 1000);
    if (rc == 0) {
        tpi_ring_fini(&r);
    }
    return rc;
}

START_TEST(ring_reports_a_failing_allocation)
{
    ck_assert_uint_eq(tk_each_alloc_fails(make_ring, NULL), 1);
}
END_TEST

Suite *ring_suite(void)
{
    Suite *s = suite_create("ring");
    TCase *c = tcase_create("ring");
    tcase_add_test(c, records_come_out_whole_and_in_order_round_after_round);
    tcase_add_test(c, full_ring_refuses_counts_and_recovers);
    tcase_add_test(c, longest_record_always_fits_an_empty_ring);
    tcase_add_test(c, unpublished_record_holds_up_and_discarded_one_is_passed_over);
    tcase_add_test(c, threads_lose_nothing_and_keep_their_order);
    tcase_add_test(c, ring_reports_a_failing_allocation);
    suite_add_tcase(s, c);
    return s;
}
