/* tp-tool log: a log's folder, read without the engine and without changing it. */
#include "base/buf.h"
#include "base/env.h"
#include "bus/cursor.h"
#include "bus/dead.h"
#include "bus/format.h"
#include "data/msg.h"
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tpcore/arena.h>

enum { SEGMENTS_MAX = 65536, PATH_BYTES = 1024, LETTERS_SHOWN = 20, CURSOR_FILE_MAX = 64 << 20 };

struct looking {
    const char *dir;
    const struct tpc_files *files;
    const struct tpc_allocator *alloc;
    uint64_t *numbers;
    size_t count;
    struct tpc_id log_id;
    uint32_t partitions;
    uint64_t *nexts; /* end of each partition */
    struct tpc_arena *arena;
    uint64_t letters, tombstones;
};

static void path_of(const struct looking *l, const char *name, char ret[PATH_BYTES])
{
    snprintf(ret, PATH_BYTES, "%s/%s", l->dir, name);
}

static int on_name(void *user, const char *name)
{
    struct looking *l = user;
    char *end;
    uint64_t number = strtoull(name, &end, 16);
    if (strlen(name) == 20 && end == name + 16 && strcmp(end, ".tpl") == 0 &&
        l->count < SEGMENTS_MAX) {
        l->numbers[l->count++] = number;
    }
    return 0;
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void stamp(int64_t unix_ms, char ret[32])
{
    time_t t = (time_t) (unix_ms / 1000);
    struct tm tm;
    if (gmtime_r(&t, &tm) == NULL || strftime(ret, 32, "%Y-%m-%d %H:%M:%S", &tm) == 0) {
        ret[0] = '\0';
    }
}

static struct tpc_str text_of(const struct tpc_value *params, const char *key)
{
    return tpc_value_text(tpc_value_get(params, tpc_str_from(key)));
}

static void letter(struct looking *l, const struct tpc_record *r)
{
    struct tpc_msg m = { .size = sizeof(m), .kind = r->kind, .unix_ms = r->unix_ms };
    char when[32];
    tpc_arena_reset(l->arena);
    if (l->letters++ >= LETTERS_SHOWN || tpi_msg_decode(r->body, l->arena, NULL, &m) != 0) {
        return;
    }
    struct tpc_str reason = text_of(&m.params, "reason"), device = text_of(&m.params, "device");
    struct tpc_str topic = text_of(&m.params, "topic");
    stamp(r->received_unix_ms, when);
    printf("  letter %u:%" PRIu64 " %s device=%.*s topic=%.*s %s: %.*s (%zu bytes)\n", r->partition,
           r->offset, when, (int) device.len, device.ptr, (int) topic.len, topic.ptr,
           tpc_error_name(m.code), (int) reason.len, reason.ptr, m.raw.len);
}

static void records(struct looking *l, const struct tpi_frame *f, int64_t *last_ms)
{
    for (uint32_t i = 0; i < f->run_count; i++) {
        struct tpi_record_walk walk;
        struct tpi_run run;
        struct tpc_record r;
        tpi_frame_run(f, i, &run);
        if (run.partition < l->partitions && run.offset + run.count > l->nexts[run.partition]) {
            l->nexts[run.partition] = run.offset + run.count;
        }
        tpi_record_walk_init(&walk, f, &run);
        while (tpi_record_walk_next(&walk, &r)) {
            *last_ms = r.received_unix_ms;
            if (r.kind == TPC_MSG_DEAD_LETTER) {
                letter(l, &r);
            }
            l->tombstones += r.kind == TPI_MSG_TOMBSTONE;
        }
    }
}

static int segment(struct looking *l, uint64_t number)
{
    struct tpi_segment_reader reader;
    struct tpi_frame f;
    char name[32], path[PATH_BYTES], first[32], last[32];
    uint64_t frames = 0, count = 0, bytes = 0;
    int64_t last_ms = 0;
    snprintf(name, sizeof(name), "%016" PRIx64 ".tpl", number);
    path_of(l, name, path);
    int rc = tpi_segment_reader_open(&reader, l->alloc, l->files, path);
    if (rc != 0) {
        printf("segment %s: %s\n", name, tpc_error_name(rc));
        return rc == TPC_EDECODE ? 0 : rc; /* a last one without a whole header is normal */
    }
    if (l->nexts == NULL) {
        l->log_id = reader.header.log_id;
        l->partitions = reader.header.partitions;
        l->nexts = calloc(l->partitions, sizeof(*l->nexts));
        if (l->nexts == NULL) {
            tpi_segment_reader_close(&reader);
            return TPC_ENOMEM;
        }
        memcpy(l->nexts, reader.offsets, l->partitions * sizeof(*l->nexts));
    }
    while ((rc = tpi_segment_reader_next(&reader, &f)) > 0) {
        frames++;
        count += f.count;
        bytes += f.length;
        records(l, &f, &last_ms);
    }
    stamp(reader.header.unix_ms, first);
    stamp(last_ms, last);
    printf("segment %" PRIu64 ": begun %s, last record %s, %" PRIu64 " records in %" PRIu64
           " frames, %" PRIu64 " bytes",
           number, first, last_ms != 0 ? last : "-", count, frames, bytes);
    if (reader.bad_frames > 0 || reader.tail_bytes > 0) {
        printf(", %" PRIu64 " bad places (%" PRIu64 " bytes), torn tail of %" PRIu64 " bytes",
               reader.bad_frames, reader.bad_bytes, reader.tail_bytes);
    }
    putchar('\n');
    tpi_segment_reader_close(&reader);
    return rc;
}

static int on_cursor(void *user, const struct tpc_cursor_info *info)
{
    (void) user;
    printf("cursor %.*s: %s, lag %" PRIu64 " records, passed over %" PRIu64 "\n",
           (int) info->name.len, info->name.ptr,
           info->cursor_class == TPC_CURSOR_HOLD ? "hold" : "bounded", info->lag_records,
           info->gap_records);
    return 0;
}

static struct tpc_bytes read_file(struct looking *l, const char *name)
{
    char path[PATH_BYTES];
    path_of(l, name, path);
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = f != NULL ? malloc(CURSOR_FILE_MAX) : NULL;
    size_t len = bytes != NULL ? fread(bytes, 1, CURSOR_FILE_MAX, f) : 0;
    if (f != NULL) {
        fclose(f);
    }
    return (struct tpc_bytes){ bytes, len };
}

static void cursors(struct looking *l)
{
    struct tpc_bytes a = read_file(l, "cursors.a"), b = read_file(l, "cursors.b");
    struct tpi_cursors cs;
    bool newer_b = tpi_cursors_generation(b) > tpi_cursors_generation(a);
    tpi_cursors_init(&cs, l->alloc, l->partitions, false);
    int rc = tpi_cursors_decode(&cs, newer_b ? b : a, &l->log_id);
    if (rc == 0) {
        tpi_cursors_list(&cs, l->nexts, on_cursor, NULL);
    } else {
        printf("cursors: %s\n", tpc_error_name(rc));
    }
    tpi_cursors_fini(&cs);
    free((void *) (uintptr_t) a.ptr);
    free((void *) (uintptr_t) b.ptr);
}

static int look(struct looking *l)
{
    char id[TPC_ID_TEXT_BYTES + 1];
    int native = 0;
    int rc = l->files->list(l->files->user, l->dir, on_name, l, &native);
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s: %s\n", l->dir, strerror(native));
        return 1;
    }
    qsort(l->numbers, l->count, sizeof(*l->numbers), by_number);
    for (size_t i = 0; rc == 0 && i < l->count; i++) {
        rc = segment(l, l->numbers[i]);
    }
    if (rc == 0 && l->nexts == NULL) {
        fprintf(stderr, "tp-tool: %s: no log\n", l->dir);
        return 1;
    }
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s\n", tpc_error_name(rc));
        return 1;
    }
    tpc_id_format(&l->log_id, id);
    printf("log %s: %zu segments, %u partitions\n", id, l->count, l->partitions);
    cursors(l);
    printf("dead letters: %" PRIu64 ", taken off again: %" PRIu64 "\n", l->letters, l->tombstones);
    return 0;
}

int tool_log(int argc, char **argv)
{
    struct looking l = { 0 };
    if (argc != 1) {
        return 2;
    }
    l.dir = argv[0];
    l.files = tpi_files_system();
    l.alloc = tpc_allocator_default();
    l.numbers = calloc(SEGMENTS_MAX, sizeof(*l.numbers));
    int rc = 1;
    if (l.numbers != NULL && tpc_arena_create(NULL, 64u << 20, &l.arena) == 0) {
        rc = look(&l);
    }
    tpc_arena_destroy(l.arena);
    free(l.numbers);
    free(l.nexts);
    return rc;
}
