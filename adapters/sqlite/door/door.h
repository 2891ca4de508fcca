/*
 * The SQL door: virtual table "telemetry" over a history.db, its entities.db and its log. An SQLite
 * extension: it links libtpcore-ext.a only and works in a process that knows nothing of a core.
 *
 * Names across the files of this folder start with sqdoor_. Functions return SQLite results unless
 * they say otherwise. One connection, so one thread at a time.
 */
#ifndef SQLITE_DOOR_H
#define SQLITE_DOOR_H

#include <sqlite3ext.h>
#include <stdbool.h>

#include <tpcore/alloc.h>
#include <tpcore/arena.h>
#include <tpcore/ext/history.h>
#include <tpcore/platform.h>

#include "base/buf.h"
#include "base/map.h"
#include "bus/format.h"
#include "store/chunk.h"

#ifndef SQLITE_CORE
SQLITE_EXTENSION_INIT3
#endif

enum {
    SQDOOR_PATH_BYTES = 2048,
    SQDOOR_PIECE_SAMPLES = 2048, /* of the log's tail that are encoded together */
    SQDOOR_PIECE_BYTES = 64 << 10,
    SQDOOR_ARENA_BYTES = 512 << 20
};

/* SQLite's heap as an allocator. */
extern const struct tpc_allocator sqdoor_alloc;

/* ---- tail.c: what the log holds above the chunks ---- */

struct sqdoor_view;

struct sqdoor_tail {
    bool opened; /* segments were looked for */
    int failed;  /* how a reading ended; who else uses the view hears it, too */
    struct tpi_segment_reader *readers;
    uint32_t reader_count;
    uint32_t reader_cap;
    uint64_t *marks; /* by partition: lowest offset that is not stored for good */
    uint32_t mark_count;
    uint32_t pass;  /* times that the log was read; 0 = devices holds nothing yet */
    bool all;       /* it holds all devices, or .. */
    uint64_t *only; /* .. these, sorted */
    size_t only_count;
    struct tpi_map64 devices; /* number -> struct tail_device */
};

void sqdoor_tail_init(struct sqdoor_tail *t);
void sqdoor_tail_fini(struct sqdoor_tail *t);

/* Reads the tail of the devices (sorted; NULL = all) if that was not done. The first call fixes how
 * far the log is read, until the view ends. */
int sqdoor_tail_read(struct sqdoor_view *v, const uint64_t *devices, size_t count);

/* Open samples of one device in the order of the log, as pieces that tpi_chunk_open() reads. What is
 * given out is borrowed until the view ends; *ret_bytes = what the pieces stand in. */
struct sqdoor_piece {
    size_t at;
    size_t len;
    struct tpi_chunk_span span;
    uint64_t rank;
};
int sqdoor_tail_pieces(struct sqdoor_view *v, uint64_t device, const struct sqdoor_piece **ret,
                       size_t *ret_count, const uint8_t **ret_bytes);

/* Numbers of all devices of the tail, sorted as signed numbers; count places, tpi_free'd. */
int sqdoor_tail_devices(struct sqdoor_view *v, uint64_t **ret, size_t *ret_count);

/* ---- view.c: the databases at one moment ---- */

/* Names of a product's properties. */
struct sqdoor_property {
    uint16_t id;
    size_t len;
    char *name;
};

struct sqdoor_product {
    uint64_t id; /* 0: not known, names that all products agree on */
    struct sqdoor_property *properties;
    size_t count;
    size_t cap;
};

struct sqdoor_names {
    sqlite3 *db; /* entities.db; NULL = it is not there */
    sqlite3_stmt *device;
    sqlite3_stmt *devices;
    sqlite3_stmt *tenant;
    sqlite3_stmt *product;
};

struct sqdoor_view {
    sqlite3 *db;
    char **message; /* where an error's text goes, sqlite3_malloc'd */
    uint32_t users; /* cursors that look through it; 0 = it has not begun */
    char schema[256];
    char dir[SQDOOR_PATH_BYTES]; /* folder of the database; "" = it is in no file */
    char log_dir[SQDOOR_PATH_BYTES];
    struct tpc_id log_id;
    int version; /* of the schema */
    int64_t span_ms;
    sqlite3_stmt *anchor; /* stands on a row: the transaction stays open */
    sqlite3_stmt *off_end;
    sqlite3_stmt *next_device;
    sqlite3_stmt *pulse;
    struct sqdoor_names names;
    struct tpi_map64 products; /* id -> struct sqdoor_product */
    struct sqdoor_tail tail;
};

void sqdoor_view_init(struct sqdoor_view *v, sqlite3 *db, char **message);
void sqdoor_view_fini(struct sqdoor_view *v);

/* For each cursor: the first one opens the view, the last one ends it. */
int sqdoor_view_take(struct sqdoor_view *v);
void sqdoor_view_give(struct sqdoor_view *v);

/* Prepares text (sqlite3_free'd, may be NULL) into *slot unless that is there, else resets it. */
int sqdoor_prepare(struct sqdoor_view *v, sqlite3 *db, char *text, sqlite3_stmt **slot);

/* Sets the table's error text and returns code. */
int sqdoor_fail(struct sqdoor_view *v, int code, const char *format, ...);

/* The text of the connection's last failure. */
int sqdoor_fail_sql(struct sqdoor_view *v, sqlite3 *db, int code);

/* SQLITE_INTERRUPT if the program wants the query to end. */
int sqdoor_pulse(struct sqdoor_view *v);

/* One past the last log offset of a device's chunks, and their partition (UINT32_MAX = no chunk). */
int sqdoor_off_end(struct sqdoor_view *v, uint64_t device, uint64_t *ret, uint32_t *ret_partition);

/* Smallest device that has chunks and is not below `from`; *ret_found false = none. */
int sqdoor_next_device(struct sqdoor_view *v, int64_t from, bool *ret_found, int64_t *ret);

/* ---- names.c ---- */

struct sqdoor_device {
    uint64_t id;
    struct tpi_buf key; /* its number if the name is not known */
    struct tpi_buf tenant;
    struct tpi_buf product;
    uint64_t product_id; /* 0 = not known */
};

int sqdoor_names_open(struct sqdoor_view *v);
void sqdoor_names_close(struct sqdoor_names *n);

void sqdoor_device_init(struct sqdoor_device *d);
void sqdoor_device_fini(struct sqdoor_device *d);
int sqdoor_device_find(struct sqdoor_view *v, uint64_t id, struct sqdoor_device *d);

/* Numbers of the devices with this key, sorted; tpi_free'd, count places. */
int sqdoor_devices_named(struct sqdoor_view *v, struct tpc_str key, uint64_t **ret,
                         size_t *ret_count);

void sqdoor_product_free(struct sqdoor_product *p);

/* Borrowed until the view ends. */
int sqdoor_product_find(struct sqdoor_view *v, uint64_t id, const struct sqdoor_product **ret);

/* NULL if the property has no name. */
const struct sqdoor_property *sqdoor_property_find(const struct sqdoor_product *p, uint16_t id);

/* ---- stream.c: samples of one device in the order of their times ---- */

struct sqdoor_query {
    int64_t from; /* both inclusive */
    int64_t to;
    bool descending;
    bool by_property;
    struct tpc_str property; /* only this one */
};

struct sqdoor_sample {
    uint16_t property;
    struct tpc_value value;
};

struct sqdoor_source;

/* Chunks of one kind in the order in which the merge reaches them. */
struct sqdoor_run {
    sqlite3_stmt *stmt;
    bool waits;  /* it stands on a chunk that is not loaded yet, which .. */
    int64_t key; /* .. begins (backwards: ends) then */
};

struct sqdoor_stream {
    struct sqdoor_view *view;
    const struct sqdoor_query *q;
    struct sqdoor_device device;
    const struct sqdoor_product *product;
    uint16_t *wanted; /* if q->by_property */
    size_t wanted_count;
    size_t wanted_cap;
    struct sqdoor_run runs[2]; /* chunks without and with the flag OVERLAP */
    bool runs_descending;
    const uint8_t *tail;
    struct sqdoor_piece *pieces; /* of the tail, in the order of their times */
    size_t piece_count;
    size_t piece_at;
    struct sqdoor_source *active; /* by rank, lowest first */
    struct sqdoor_source *idle;
    int64_t now;
    struct sqdoor_sample *samples; /* of that time, by property */
    size_t sample_count;
    size_t sample_cap;
    bool ended;
};

void sqdoor_stream_init(struct sqdoor_stream *s, struct sqdoor_view *v);
void sqdoor_stream_fini(struct sqdoor_stream *s);

/* Begins with a device whose names s->device holds. */
int sqdoor_stream_begin(struct sqdoor_stream *s, const struct sqdoor_query *q);

/* The samples of the next time; s->ended = none is left. */
int sqdoor_stream_next(struct sqdoor_stream *s);

/* The statement on the chunks is given up: the connection may close. */
void sqdoor_stream_rest(struct sqdoor_stream *s);

#endif
