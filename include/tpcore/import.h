/*
 * Import of devices from CSV (RFC 4180, UTF-8), a hundred thousand in one go. A row that is refused
 * does not hinder the others.
 *
 * The first row names the columns, in any order. "key" is required. Every other column is a member of
 * the device's document: product, name, gateway, serial, description, enabled, secret, groups (keys
 * with a comma or semicolon between them), config and protocol_config (JSON), labels.NAME,
 * location.lat, location.lon, location.altitude. lat, lon and altitude are short for those; deviceName,
 * productKey, parentDeviceName, groupNames and nickname are understood as key, product, gateway,
 * groups and name. An empty cell says nothing: what is there stays.
 */
#ifndef TPCORE_IMPORT_H
#define TPCORE_IMPORT_H

#include <tpcore/entity.h>

TPC_BEGIN

enum tpc_import_policy {
    TPC_IMPORT_PUT = 0,    /* makes the device, or changes the members that the row has */
    TPC_IMPORT_CREATE = 1, /* a device that is there is an error of its row (TPC_EEXIST) */
    TPC_IMPORT_UPDATE = 2  /* a device that is not there is an error of its row (TPC_ENOENT) */
};

enum tpc_import_flags {
    /* Checks all, changes nothing. A gateway that comes with the same file is taken for there. */
    TPC_IMPORT_DRY_RUN = 1
};

enum tpc_import_state { TPC_IMPORT_CREATED = 1, TPC_IMPORT_UPDATED = 2, TPC_IMPORT_FAILED = 3 };

enum { TPC_IMPORT_MAX_ROWS = 10000000 };

/* What became of a row. Views are valid during the call. */
struct tpc_import_row {
    uint32_t size;
    uint32_t state; /* enum tpc_import_state */
    uint64_t row;   /* 1 = the first one after the header */
    uint64_t line;  /* 1.. in the file, where it begins */
    int32_t code;   /* of a failure: enum tpc_error_code */
    uint32_t reserved;
    struct tpc_str key; /* empty if it cannot be told */
    const char *path;   /* of a failure: the column or member, or "" */
    const char *text;   /* of a failure: why; else "" */
};

/* Once for each row, in the order of the file; a batch is told once it is stored. A non-zero return
 * ends the import and is returned by it; what was told is stored. */
typedef int tpc_import_row_fn(void *user, const struct tpc_import_row *row);

/* After each batch. total_bytes is 0 if it is not known. A non-zero return ends the import. */
typedef int tpc_import_progress_fn(void *user, uint64_t rows, uint64_t bytes, uint64_t total_bytes);

struct tpc_import_options {
    uint32_t size;
    uint32_t flags;         /* enum tpc_import_flags */
    uint32_t policy;        /* enum tpc_import_policy */
    uint32_t batch_rows;    /* rows of one transaction, 1..4,096 [500] */
    struct tpc_str tenant;  /* empty = "main" */
    struct tpc_str product; /* of new devices whose row names none; may be empty */
    tpc_import_row_fn *on_row;
    tpc_import_progress_fn *on_progress;
    void *user;
};
#define TPC_IMPORT_OPTIONS_INIT                                                                    \
    {                                                                                              \
        sizeof(struct tpc_import_options), 0, 0, 0, { 0, 0 }, { 0, 0 }, 0, 0, 0                    \
    }

struct tpc_import_result {
    uint32_t size;
    uint32_t reserved;
    uint64_t rows; /* that were read and told */
    uint64_t created;
    uint64_t updated;
    uint64_t failed;
};

/*
 * Reads up to len bytes of the file into ptr. Returns their number, 0 at the end, or a code below 0,
 * which ends the import.
 */
typedef int64_t tpc_import_read_fn(void *user, void *ptr, size_t len);

/*
 * Imports devices from a file. options NULL = all defaults; ret (may be NULL) is filled on failure,
 * too.
 *
 * Returns 0 (also if rows failed: see ret->failed); TPC_ENOENT, TPC_EDENIED, TPC_EIO (file, store);
 * TPC_EINVAL (options; a column that is unknown or stands twice, or no column "key": err.path names
 * it); TPC_EDECODE (the header is no CSV); TPC_ENOENT (tenant); TPC_ETOOBIG (rows); TPC_ENOSPC,
 * TPC_EAGAIN, TPC_ENOMEM: the batches before are stored, of the last one nothing is; or what a
 * callback returned.
 * Ownership: nothing is kept.
 * Thread: any-thread, before or after the start; durable when it returns, as the store says. It holds
 * one batch in memory, and 16 to 48 bytes for each row.
 * Since: 0.1
 */
TPC_API int tpc_import_csv(struct tpc_core *core, const struct tpc_actor *actor, const char *path,
                           const struct tpc_import_options *options, struct tpc_import_result *ret);

/*
 * The same from a function, such as one that receives an upload.
 *
 * Returns as tpc_import_csv(), and what read returned below 0.
 * Ownership: nothing is kept.
 * Thread: any-thread; read is called on it.
 * Since: 0.1
 */
TPC_API int tpc_import_csv_from(struct tpc_core *core, const struct tpc_actor *actor,
                                tpc_import_read_fn *read, void *read_user,
                                const struct tpc_import_options *options,
                                struct tpc_import_result *ret);

TPC_END

#endif
