/* Requests, answers and frames: the examples of the specification's section 6, and what is none. */
#include <string.h>

#include "frame.h"
#include "modbus_suites.h"

static void writes(const struct mb_request *r, const char *bytes, size_t len)
{
    uint8_t out[MB_PDU_MAX];
    ck_assert_uint_eq(mb_pdu_write(r, out), len);
    ck_assert_mem_eq(out, bytes, len);
}

START_TEST(requests_are_those_of_the_specification)
{
    static const uint8_t on[] = { 1 }, reg[] = { 0, 3 }, regs[] = { 0, 10, 1, 2 };
    static const uint8_t coils[] = { 0xcd, 1 };
    writes(&(struct mb_request){ 1, 1, 0x13, 0x13, NULL }, "\x01\x00\x13\x00\x13", 5);
    writes(&(struct mb_request){ 1, 3, 0x6b, 3, NULL }, "\x03\x00\x6b\x00\x03", 5);
    writes(&(struct mb_request){ 1, 5, 0xac, 1, on }, "\x05\x00\xac\xff\x00", 5);
    writes(&(struct mb_request){ 1, 6, 1, 1, reg }, "\x06\x00\x01\x00\x03", 5);
    writes(&(struct mb_request){ 1, 15, 0x13, 10, coils }, "\x0f\x00\x13\x00\x0a\x02\xcd\x01", 8);
    writes(&(struct mb_request){ 1, 16, 1, 2, regs }, "\x10\x00\x01\x00\x02\x04\x00\x0a\x01\x02",
           10);
}
END_TEST

START_TEST(requests_that_the_protocol_does_not_have_are_not_written)
{
    uint8_t out[MB_PDU_MAX];
    const struct mb_request bad[] = { { 1, 3, 0, 0, NULL },    { 1, 3, 0, 126, NULL },
                                      { 1, 1, 0, 2001, NULL }, { 1, 3, 65535, 2, NULL },
                                      { 1, 7, 0, 1, NULL },    { 1, 6, 0, 1, NULL },
                                      { 1, 16, 0, 124, out } };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_uint_eq(mb_pdu_write(&bad[i], out), 0);
    }
}
END_TEST

static int reads(const struct mb_request *r, const char *bytes, size_t len, const uint8_t **ret)
{
    return mb_pdu_read(r, (const uint8_t *) bytes, len, ret);
}

START_TEST(answers_have_to_fit_their_request)
{
    static const uint8_t reg[] = { 0, 3 };
    const struct mb_request three = { 1, 3, 0x6b, 3, NULL }, write = { 1, 6, 1, 1, reg };
    const uint8_t *data = NULL;
    ck_assert_int_eq(reads(&three, "\x03\x06\x02\x2b\x00\x00\x00\x64", 8, &data), 0);
    ck_assert_mem_eq(data, "\x02\x2b\x00\x00\x00\x64", 6);
    ck_assert_int_eq(reads(&three, "\x83\x02", 2, &data), MB_ILLEGAL_ADDRESS);
    ck_assert_int_eq(reads(&write, "\x06\x00\x01\x00\x03", 5, &data), 0);
    ck_assert_ptr_null(data);
    ck_assert_int_eq(reads(&three, "\x04\x06\x02\x2b\x00\x00\x00\x64", 8, &data), -1);
    ck_assert_int_eq(reads(&three, "\x03\x04\x02\x2b\x00\x00", 6, &data), -1);
    ck_assert_int_eq(reads(&three, "\x03\x06\x02\x2b\x00\x00", 6, &data), -1);
    ck_assert_int_eq(reads(&three, "\x83\x00", 2, &data), -1);
    ck_assert_int_eq(reads(&three, "\x84\x02", 2, &data), -1);
    ck_assert_int_eq(reads(&write, "\x06\x00\x02\x00\x03", 5, &data), -1);
    ck_assert_int_eq(reads(&write, "\x06\x00\x01\x00\x04", 5, &data), -1);
    ck_assert_int_eq(reads(&three, "", 0, &data), -1);
}
END_TEST

START_TEST(frames_are_cut_where_they_end_and_not_before)
{
    uint8_t out[MB_FRAME_MAX];
    struct mb_answer a;
    const uint8_t pdu[] = { 3, 2, 0x12, 0x34 };
    size_t len = mb_tcp_wrap(0x1501, 17, pdu, sizeof(pdu), out);
    ck_assert_mem_eq(out, "\x15\x01\x00\x00\x00\x05\x11\x03\x02\x12\x34", len);
    for (size_t n = 0; n < len; n++) {
        ck_assert_int_eq(mb_tcp_peel(out, n, &a), 0);
    }
    ck_assert_int_eq(mb_tcp_peel(out, len, &a), (int) len);
    ck_assert_uint_eq(a.transaction, 0x1501);
    ck_assert_uint_eq(a.unit, 17);
    ck_assert_mem_eq(a.pdu, pdu, a.len);
    out[2] = 1; /* another protocol */
    ck_assert_int_eq(mb_tcp_peel(out, len, &a), -1);

    len = mb_rtu_wrap(17, pdu, sizeof(pdu), out);
    for (size_t n = 0; n < len; n++) {
        ck_assert_int_eq(mb_rtu_peel(out, n, &a), 0);
    }
    ck_assert_int_eq(mb_rtu_peel(out, len, &a), (int) len);
    ck_assert_uint_eq(a.unit, 17);
    ck_assert_uint_eq(a.len, sizeof(pdu));
    out[3] ^= 1;
    ck_assert_int_eq(mb_rtu_peel(out, len, &a), -1);
}
END_TEST

/* MODBUS over Serial Line V1.02, 6.2.2: its example. */
START_TEST(check_sum_is_the_specifications)
{
    ck_assert_uint_eq(mb_crc16((const uint8_t *) "\x02\x07", 2), 0x1241);
    ck_assert_uint_eq(mb_crc16((const uint8_t *) "\x01\x03\x00\x00\x00\x0a", 6), 0xcdc5);
}
END_TEST

Suite *pdu_suite(void)
{
    Suite *s = suite_create("pdu");
    TCase *t = tcase_create("pdu");
    tcase_add_test(t, requests_are_those_of_the_specification);
    tcase_add_test(t, requests_that_the_protocol_does_not_have_are_not_written);
    tcase_add_test(t, answers_have_to_fit_their_request);
    tcase_add_test(t, frames_are_cut_where_they_end_and_not_before);
    tcase_add_test(t, check_sum_is_the_specifications);
    suite_add_tcase(s, t);
    return s;
}
