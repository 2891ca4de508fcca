/*
 * Time, randomness, files and log text as tables, so that a program can bring its own and a test
 * can hold time still, make a disk full or block it. Each table starts with its size; members are
 * only ever appended. A NULL table in tpc_core_options means the system's own.
 */
#ifndef TPCORE_PLATFORM_H
#define TPCORE_PLATFORM_H

#include <tpcore/bytes.h>

TPC_BEGIN

/* Clocks. Calls from any thread; those of time never fail. boot, which may be NULL: an id that is the
 * same as long as mono_ns goes on, also in other processes; 0 or TPC_EIO. */
struct tpc_clock {
    uint32_t size;
    void *user;
    int64_t (*unix_ms)(void *user);  /* wall clock, may jump */
    uint64_t (*mono_ns)(void *user); /* never goes back */
    int (*boot)(void *user, struct tpc_id *ret);
};

/* Randomness fit for keys: fills len bytes; 0 or TPC_EIO. Any thread. */
struct tpc_random {
    uint32_t size;
    void *user;
    int (*fill)(void *user, void *ptr, size_t len);
};

enum tpc_file_flags {
    TPC_FILE_READ = 1,
    TPC_FILE_WRITE = 2,
    TPC_FILE_CREATE = 4,
    TPC_FILE_EXCLUSIVE = 8, /* with CREATE: TPC_EEXIST if it is there */
    TPC_FILE_LOCK = 16      /* exclusive advisory lock held until close; TPC_EAGAIN if taken */
};

typedef int tpc_file_name_fn(void *user, const char *name);

/*
 * Files. Paths end with NUL. Every call returns 0 (or a count >= 0 where stated) or TPC_ENOENT,
 * TPC_EEXIST, TPC_EAGAIN, TPC_ENOSPC, TPC_EDENIED, TPC_EIO; errno stands in *native (may be NULL).
 * Calls on different handles come from several threads at once; on one handle from one at a time,
 * but read_at may run beside write_at.
 */
struct tpc_files {
    uint32_t size;
    void *user;
    int (*open)(void *user, const char *path, uint32_t flags, void **ret_file, int *native);
    void (*close)(void *user, void *file);
    int64_t (*read_at)(void *user, void *file, void *ptr, size_t len, uint64_t offset, int *native);
    /* Writes all parts in order, or fails; what was written before a failure is undefined. */
    int (*write_at)(void *user, void *file, const struct tpc_bytes *parts, uint32_t count,
                    uint64_t offset, int *native);
    int (*sync)(void *user, void *file, int *native); /* data and size are on stable storage */
    int (*truncate)(void *user, void *file, uint64_t length, int *native);
    int64_t (*length)(void *user, void *file, int *native);
    int (*rename)(void *user, const char *from, const char *to, int *native);
    int (*remove)(void *user, const char *path, int *native);
    int (*make_dir)(void *user, const char *path, int *native); /* and its parents; 0 if there */
    int (*sync_dir)(void *user, const char *path, int *native); /* renames and creations survive */
    int (*list)(void *user, const char *path, tpc_file_name_fn *fn, void *fn_user, int *native);
    /* Free bytes for this user on the file system of path. */
    int (*space)(void *user, const char *path, uint64_t *ret_free_bytes, int *native);
};

enum tpc_log_level { TPC_LOG_ERROR = 1, TPC_LOG_WARN = 2, TPC_LOG_INFO = 3, TPC_LOG_DEBUG = 4 };

/* Receives one line of log: subject is the part ("log", "mqtt", "codec"), text has no line end.
 * Thread: any-thread; must not call back into the core. */
typedef void tpc_log_fn(void *user, int level, const char *subject, const char *text);

TPC_END

#endif
