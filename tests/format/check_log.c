/*
 * Segments that were written before this version, and one that a later version may write: they are
 * read for ever, and docs/format/log.md says the truth (golden/ was made by make_log.py from that
 * page).
 */
#include "format_suites.h"

#include "base/buf.h"
#include "base/crc32c.h"
#include "base/env.h"
#include "bus/format.h"

#include <stdio.h>
#include <string.h>

enum { BASE_MS_HIGH = 1763640, EXPECTED = 6 };
static const int64_t base_ms = (int64_t) BASE_MS_HIGH * 1000000;

struct expected {
    uint32_t partition;
    uint64_t offset;
    uint16_t kind;
    uint32_t i; /* what make_log.py calls it */
    uint8_t trace;
};

static const struct expected records[EXPECTED] = {
    { 1, 200, 1, 0, 0 },  { 1, 201, 2, 1, 1 },   { 0, 100, 6, 2, 0 },
    { 0, 150, 13, 3, 0 }, { 2, 0, 12, 4, 0xff }, { 1, 202, 1, 5, 0 },
};

static void check_record(const struct tpc_record *r, const struct expected *e, int version)
{
    char body[32];

    snprintf(body, sizeof(body), "body %u", e->i);
    ck_assert_uint_eq(r->partition, e->partition);
    ck_assert_uint_eq(r->offset, e->offset);
    ck_assert_uint_eq(r->kind, version == 2 && e->i == 3 ? 999 : e->kind);
    ck_assert_uint_eq(r->flags, e->i % 16);
    ck_assert_uint_eq(r->device_id, (uint64_t) 1 << 40 | e->i);
    ck_assert_uint_eq(r->model_revision, e->i);
    ck_assert_int_eq(r->received_unix_ms, base_ms + 10 * (int64_t) e->i);
    ck_assert_int_eq(r->unix_ms, r->received_unix_ms - 3);
    ck_assert_uint_eq(r->trace.b[0], e->trace);
    ck_assert_uint_eq(r->body.len, strlen(body));
    ck_assert_mem_eq(r->body.ptr, body, r->body.len);
    bool unsure = version == 3 && e->i % 2 == 1;
    ck_assert_uint_eq(r->boot.b[0], unsure ? 0xb0 : 0);
    ck_assert_uint_eq(r->boot.b[15], unsure ? 0xbf : 0);
    ck_assert_uint_eq(r->mono_ms, unsure ? 1000000 + e->i : 0);
}

static void read_golden(int version)
{
    struct tpi_segment_reader reader;
    struct tpi_frame frame;
    struct tpi_record_walk walk;
    struct tpc_record record;
    struct tpi_run run;
    char path[600];
    uint32_t i, n = 0, frames = 0;

    snprintf(path, sizeof(path), "%s/log-%d.tpl", GOLDEN_DIR, version);
    tk_ok(tpi_segment_reader_open(&reader, tpc_allocator_default(), tpi_files_system(), path));
    ck_assert_uint_eq(reader.header.format, version == 2 ? 2 : 1);
    ck_assert_uint_eq(reader.header.partitions, 3);
    ck_assert_uint_eq(reader.header.number, 7);
    ck_assert_uint_eq(reader.header.first_sequence, 501);
    ck_assert_int_eq(reader.header.log_unix_ms, base_ms);
    ck_assert_int_eq(reader.header.unix_ms, base_ms + 1000);
    ck_assert_uint_eq(reader.header.log_id.b[15], 15);
    ck_assert_uint_eq(reader.offsets[0], 100);
    ck_assert_uint_eq(reader.offsets[1], 200);
    while (tpi_segment_reader_next(&reader, &frame) == 1) {
        static const uint64_t sequences[] = { 501, 504, 505 };

        ck_assert_uint_lt(frames, 3);
        ck_assert_uint_eq(frame.sequence, sequences[frames++]);
        for (i = 0; i < frame.run_count; i++) {
            tpi_frame_run(&frame, i, &run);
            tpi_record_walk_init(&walk, &frame, &run);
            while (tpi_record_walk_next(&walk, &record)) {
                ck_assert_uint_lt(n, EXPECTED);
                check_record(&record, &records[n++], version);
            }
            ck_assert_uint_eq(walk.left, 0);
        }
    }
    ck_assert_uint_eq(n, EXPECTED);
    ck_assert_uint_eq(reader.bad_frames + reader.tail_bytes, 0);
    tpi_segment_reader_close(&reader);
}

START_TEST(format_1_is_read)
{
    read_golden(1);
}
END_TEST

START_TEST(a_later_compatible_format_is_read)
{
    read_golden(2);
}
END_TEST

START_TEST(boots_of_unsure_records_are_read)
{
    read_golden(3);
}
END_TEST

/* The writer makes the golden bytes from the same records. */
START_TEST(format_1_is_still_what_is_written)
{
    struct tpi_segment_header h = { .partitions = 3,
                                    .number = 7,
                                    .log_unix_ms = base_ms,
                                    .unix_ms = base_ms + 1000,
                                    .first_sequence = 501 };
    const uint64_t offsets[3] = { 100, 200, 0 };
    uint8_t ours[104 + 1000], golden[104 + 1000], body[] = "body 3";
    struct tpi_frame f = { .count = 1, .run_count = 1, .sequence = 504, .base_unix_ms = base_ms };
    struct tpc_record r = { .kind = 13,
                            .flags = 3,
                            .device_id = (uint64_t) 1 << 40 | 3,
                            .model_revision = 3,
                            .received_unix_ms = base_ms + 30,
                            .unix_ms = base_ms + 27,
                            .body = { body, 6 } };
    struct tpi_run run = { .partition = 0, .count = 1, .offset = 150, .at = 72 };
    FILE *file = fopen(GOLDEN_DIR "/log-1.tpl", "rb");
    size_t len, at = 104;
    int i;

    ck_assert_ptr_nonnull(file);
    len = fread(golden, 1, sizeof(golden), file);
    fclose(file);
    for (i = 0; i < 16; i++) {
        h.log_id.b[i] = (uint8_t) i;
    }
    tpi_segment_header_write(&h, offsets, ours);
    ck_assert_mem_eq(ours, golden, 104);
    at += tpi_frame_length(golden + at); /* the second frame */
    f.length = (uint32_t) (tpi_record_write(ours + 72, &r, base_ms) - ours);
    run.bytes = f.length - 72;
    tpi_frame_write(&f, ours);
    tpi_run_write(ours, 0, &run);
    tpi_frame_seal(ours);
    ck_assert_uint_gt(len, at + f.length);
    ck_assert_uint_eq(f.length, tpi_frame_length(golden + at));
    ck_assert_mem_eq(ours, golden + at, f.length);
}
END_TEST

/* Boot and monotonic time stand behind the trace; readers that do not know them find the body. */
START_TEST(the_boot_of_an_unsure_record_is_written_and_read)
{
    uint8_t bytes[200], body[] = "body";
    struct tpc_record r = { .size = sizeof(r),
                            .kind = 1,
                            .flags = TPC_MSG_CLOCK_UNSURE,
                            .device_id = 1,
                            .received_unix_ms = 30,
                            .unix_ms = 30,
                            .mono_ms = 1000000,
                            .body = { body, 4 } };
    struct tpc_record got;
    memset(r.boot.b, 0xb0, sizeof(r.boot.b));
    for (int traced = 0; traced < 2; traced++) {
        memset(r.trace.b, traced * 7, sizeof(r.trace.b));
        uint8_t *end = tpi_record_write(bytes, &r, 0);
        ck_assert_uint_eq(bytes[1], (unsigned) (8 + 16 + 3 + traced * 16)); /* head_bytes */
        struct tpi_record_walk w = { .p = bytes, .end = end, .left = 1 };
        ck_assert(tpi_record_walk_next(&w, &got));
        ck_assert_uint_eq(got.mono_ms, 1000000);
        ck_assert_mem_eq(got.boot.b, r.boot.b, sizeof(r.boot.b));
        ck_assert_mem_eq(got.trace.b, r.trace.b, sizeof(r.trace.b));
        ck_assert_uint_eq(got.body.len, 4);
        ck_assert_mem_eq(got.body.ptr, "body", 4);
        for (uint8_t cut = 1; cut < 19; cut++) { /* a head that ends within them */
            bytes[1] = (uint8_t) (8 + 16 + 3 + traced * 16 - cut);
            w = (struct tpi_record_walk){ .p = bytes, .end = end, .left = 1 };
            ck_assert(!tpi_record_walk_next(&w, &got));
        }
    }
    r.flags = 0; /* who is sure carries nothing */
    tpi_record_write(bytes, &r, 0);
    r.flags = TPC_MSG_CLOCK_UNSURE;
    r.size = offsetof(struct tpc_record, boot); /* an older caller */
    struct tpi_record_walk w = { .p = bytes, .left = 1 };
    w.end = tpi_record_write(bytes, &r, 0);
    ck_assert(tpi_record_walk_next(&w, &got));
    ck_assert_uint_eq(got.mono_ms, 0);
    ck_assert_uint_eq(got.flags, TPC_MSG_CLOCK_UNSURE);
}
END_TEST

START_TEST(a_format_that_asks_for_a_newer_reader_is_refused)
{
    uint8_t head[88];
    const uint8_t *table;
    struct tpi_segment_header h = { .partitions = 1 };
    const uint64_t offset = 5;

    tpi_segment_header_write(&h, &offset, head);
    tk_ok(tpi_segment_header_read(head, sizeof(head), &h, &table));
    tk_fails(TPC_EDECODE, tpi_segment_header_read(head, 87, &h, &table));
    head[20] ^= 1;
    tk_fails(TPC_EDECODE, tpi_segment_header_read(head, sizeof(head), &h, &table));
    head[20] ^= 1;
    head[18] = TPI_LOG_FORMAT + 1;
    tpi_put_u32(head + 8, tpi_crc32c(0, head + 12, sizeof(head) - 12));
    tk_fails(TPC_EVERSION, tpi_segment_header_read(head, sizeof(head), &h, &table));
}
END_TEST

static Suite *log_suite(void)
{
    Suite *s = suite_create("format_log");
    TCase *t = tcase_create("format_log");

    tcase_add_test(t, format_1_is_read);
    tcase_add_test(t, a_later_compatible_format_is_read);
    tcase_add_test(t, boots_of_unsure_records_are_read);
    tcase_add_test(t, format_1_is_still_what_is_written);
    tcase_add_test(t, a_format_that_asks_for_a_newer_reader_is_refused);
    tcase_add_test(t, the_boot_of_an_unsure_record_is_written_and_read);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    static tk_suite_fn *const suites[] = { log_suite, chunk_format_suite, NULL };

    return tk_main("format", suites);
}
