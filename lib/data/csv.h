/*
 * CSV as of RFC 4180, over memory: records of fields that commas part, in quotes where they hold
 * commas, quotes or line ends. LF and CR LF end a line; a last line needs no end; empty lines and a
 * byte order mark before the first one are passed over.
 */
#ifndef TPI_DATA_CSV_H
#define TPI_DATA_CSV_H

#include <stdbool.h>
#include <tpcore/bytes.h>

enum {
    TPI_CSV_FIELDS = 256,
    TPI_CSV_FIELD_BYTES = 65536,
    TPI_CSV_RECORD_BYTES = 262144 /* with its quotes and its line end */
};

enum tpi_csv_result {
    TPI_CSV_RECORD, /* fields are there */
    TPI_CSV_BAD,    /* fault says why; the line that it began with is passed over */
    TPI_CSV_MORE,   /* the record does not end in these bytes: they come again, less those used */
    TPI_CSV_END     /* no bytes are left */
};

struct tpi_csv {
    bool skipping; /* the rest of a line that is passed over */
    bool started;  /* false: a byte order mark may come */
    uint64_t line; /* 1.. of the record's first byte */
    uint64_t next_line;
    const char *fault;    /* of TPI_CSV_BAD */
    uint32_t fault_field; /* 0.. */
    uint32_t count;
    struct tpc_str fields[TPI_CSV_FIELDS]; /* in the bytes that were given */
};

void tpi_csv_init(struct tpi_csv *c);

/* The next record. Its fields are unquoted in place. last = no bytes follow these; else
 * TPI_CSV_MORE is answered only for fewer than TPI_CSV_RECORD_BYTES. *ret_used bytes are done. */
enum tpi_csv_result tpi_csv_next(struct tpi_csv *c, char *bytes, size_t len, bool last,
                                 size_t *ret_used);

#endif
