/*
 * The log's bytes: docs/format/log.md. Writing records and frames, and reading segments without an
 * engine. Stateless; the reader is for one thread at a time.
 */
#ifndef TPI_BUS_FORMAT_H
#define TPI_BUS_FORMAT_H

#include <stdbool.h>
#include <tpcore/error.h>
#include <tpcore/ext/bus.h>
#include <tpcore/platform.h>

enum {
    TPI_LOG_FORMAT = 1,
    TPI_SEGMENT_FIXED_BYTES = 80, /* of the header, before its table */
    TPI_FRAME_HEADER_BYTES = 48,
    TPI_RUN_BYTES = 24,
    TPI_RECORD_HEAD_MAX = 96, /* more than length, head and trace of a record ever take */
    TPI_FRAME_MAX = 32 << 20,
    TPI_LOG_PARTITIONS_MAX = 4096,
    TPI_READER_FIRST_BYTES = 16 << 10,
    TPI_READER_BLOCK_BYTES = 256 << 10
};

struct tpi_segment_header {
    uint32_t header_bytes;
    uint16_t format;
    uint16_t format_min;
    uint32_t partitions;
    struct tpc_id log_id;
    int64_t log_unix_ms;
    uint64_t number;
    int64_t unix_ms; /* when the segment was begun */
    uint64_t first_sequence;
};

uint32_t tpi_segment_header_bytes(uint32_t partitions);

/* Writes tpi_segment_header_bytes(h->partitions) bytes; header_bytes and the formats are set by it.
 * offsets: one for each partition. */
void tpi_segment_header_write(const struct tpi_segment_header *h, const uint64_t *offsets,
                              uint8_t *ret);

/* *ret_table = where the offsets stand (borrowed from p), 8 bytes each. Returns 0, TPC_EDECODE (not
 * whole, or not a segment), TPC_EVERSION. */
int tpi_segment_header_read(const uint8_t *p, size_t len, struct tpi_segment_header *ret,
                            const uint8_t **ret_table);

struct tpi_frame {
    const uint8_t *ptr;
    uint32_t length;
    uint32_t header_bytes;
    uint32_t run_bytes;
    uint32_t flags;
    uint32_t count;
    uint32_t run_count;
    uint64_t sequence;
    int64_t base_unix_ms;
};

struct tpi_run {
    uint32_t partition;
    uint32_t count;
    uint64_t offset;
    uint32_t at;
    uint32_t bytes;
};

/* Bytes that r can take at most in a frame, without its run. */
size_t tpi_record_bound(const struct tpc_record *r);

/* Writes one record, returns where it ends. */
uint8_t *tpi_record_write(uint8_t *p, const struct tpc_record *r, int64_t base_unix_ms);

/* Header, without its CRCs, and runs: their table begins at ptr + header_bytes. Takes length,
 * count, run_count, sequence and base_unix_ms of f. */
void tpi_frame_write(const struct tpi_frame *f, uint8_t *ret);
void tpi_run_write(uint8_t *frame, uint32_t index, const struct tpi_run *run);

/* Sets both CRCs of a frame that is otherwise ready. */
void tpi_frame_seal(uint8_t *frame);

/* Length of the frame that begins at p, of which at least 48 bytes are there and right. */
uint32_t tpi_frame_length(const uint8_t *p);

/* The fields of a header with at least 48 bytes at p; false if it cannot be one. With check also
 * its CRC. The frame's bytes need not be there. */
bool tpi_frame_parse(const uint8_t *p, bool check, struct tpi_frame *ret);

/* Whether all bytes of a parsed frame, which are there, are right, and its runs lie in it. */
bool tpi_frame_good(const struct tpi_frame *f);

/* The run of a partition in a good frame; false if it has none. */
bool tpi_frame_find(const struct tpi_frame *f, uint32_t partition, struct tpi_run *ret);
void tpi_frame_run(const struct tpi_frame *f, uint32_t index, struct tpi_run *ret);

/* Walks the records of a run. */
struct tpi_record_walk {
    const uint8_t *p;
    const uint8_t *end;
    uint64_t offset;
    int64_t base_unix_ms;
    uint32_t partition;
    uint32_t left;
};

void tpi_record_walk_init(struct tpi_record_walk *w, const struct tpi_frame *f,
                          const struct tpi_run *run);

/* The next record, its body borrowed from the frame; false at the end and at a malformed one (then
 * left > 0). */
bool tpi_record_walk_next(struct tpi_record_walk *w, struct tpc_record *ret);

/* Passes over records below offset without decoding them. */
void tpi_record_walk_seek(struct tpi_record_walk *w, uint64_t offset);

/* Reads one segment file, frame by frame. */
struct tpi_segment_reader {
    const struct tpc_allocator *alloc;
    const struct tpc_files *files;
    void *file;
    uint8_t *buf;
    size_t cap;
    size_t len;
    uint64_t buf_at;    /* file position of buf[0] */
    uint64_t pos;       /* of the next frame */
    uint64_t limit;     /* nothing is read from here on; UINT64_MAX = the file's end */
    uint64_t good_from; /* frames between here .. */
    uint64_t good_to;   /* .. and here, in buf, were good */
    uint64_t bad_at;    /* file position after the last bad place that was counted */
    uint64_t bad_frames;
    uint64_t bad_bytes;
    uint64_t tail_bytes; /* set when next() returns 0: bytes at the end that are no good frame */
    struct tpi_segment_header header;
    uint64_t *offsets; /* header.partitions: where each partition begins */
};

/* Returns 0, TPC_ENOMEM, TPC_EDECODE (no whole header), TPC_EVERSION, or as files do. */
int tpi_segment_reader_open(struct tpi_segment_reader *r, const struct tpc_allocator *alloc,
                            const struct tpc_files *files, const char *path);
void tpi_segment_reader_close(struct tpi_segment_reader *r);

/* pos is where a frame begins, or 0 for the first one. */
void tpi_segment_reader_seek(struct tpi_segment_reader *r, uint64_t pos);

/* Returns 1 with the next good frame, borrowed until the next call; 0 at the end; TPC_ENOMEM or as
 * files do. Bad places before it are passed over and counted once. */
int tpi_segment_reader_next(struct tpi_segment_reader *r, struct tpi_frame *ret);

#endif
