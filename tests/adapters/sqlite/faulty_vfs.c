#include "faulty_vfs.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

struct file {
    sqlite3_file base;
    sqlite3_file *inner; /* right behind this struct */
    const char *name;
};

static sqlite3_vfs vfs;
static sqlite3_io_methods methods;
static sqlite3_vfs *inner_vfs;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool full;
static size_t writes_left;
static bool sync_fails;
static bool latched;
static size_t waiting;

static const char *kill_name; /* NULL = no call is deadly */
static enum faulty_vfs_op kill_op;
static size_t kill_nth;

#define INNER(f) (((struct file *) (f))->inner)

/* Whether this is the call to die in. */
static bool deadly(enum faulty_vfs_op op, const char *name)
{
    bool hit = false;
    pthread_mutex_lock(&lock);
    if (kill_name != NULL && op == kill_op && name != NULL) {
        size_t len = strlen(name);
        size_t end = strlen(kill_name);
        hit = len >= end && strcmp(name + len - end, kill_name) == 0 && --kill_nth == 0;
    }
    pthread_mutex_unlock(&lock);
    return hit;
}

static void die_at(enum faulty_vfs_op op, const char *name)
{
    if (deadly(op, name)) {
        kill(getpid(), SIGKILL);
    }
}

static int f_close(sqlite3_file *f)
{
    return INNER(f)->pMethods != NULL ? INNER(f)->pMethods->xClose(INNER(f)) : SQLITE_OK;
}

static int f_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return INNER(f)->pMethods->xRead(INNER(f), p, n, at);
}

static int f_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    pthread_mutex_lock(&lock);
    bool refuse = full && writes_left == 0;
    if (full && writes_left > 0) {
        writes_left--;
    }
    pthread_mutex_unlock(&lock);
    if (deadly(FAULTY_VFS_WRITE, ((struct file *) f)->name)) {
        (void) INNER(f)->pMethods->xWrite(INNER(f), p, n / 2, at);
        kill(getpid(), SIGKILL);
    }
    return refuse ? SQLITE_FULL : INNER(f)->pMethods->xWrite(INNER(f), p, n, at);
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    die_at(FAULTY_VFS_TRUNCATE, ((struct file *) f)->name);
    return INNER(f)->pMethods->xTruncate(INNER(f), size);
}

static int f_sync(sqlite3_file *f, int flags)
{
    die_at(FAULTY_VFS_SYNC, ((struct file *) f)->name);
    pthread_mutex_lock(&lock);
    bool fail = sync_fails;
    waiting++;
    pthread_cond_broadcast(&changed);
    while (latched) {
        pthread_cond_wait(&changed, &lock);
    }
    waiting--;
    pthread_mutex_unlock(&lock);
    return fail ? SQLITE_IOERR_FSYNC : INNER(f)->pMethods->xSync(INNER(f), flags);
}

static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return INNER(f)->pMethods->xFileSize(INNER(f), size);
}

static int f_lock(sqlite3_file *f, int level)
{
    return INNER(f)->pMethods->xLock(INNER(f), level);
}

static int f_unlock(sqlite3_file *f, int level)
{
    return INNER(f)->pMethods->xUnlock(INNER(f), level);
}

static int f_check(sqlite3_file *f, int *out)
{
    return INNER(f)->pMethods->xCheckReservedLock(INNER(f), out);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
    return INNER(f)->pMethods->xFileControl(INNER(f), op, arg);
}

static int f_sector(sqlite3_file *f)
{
    return INNER(f)->pMethods->xSectorSize(INNER(f));
}

static int f_device(sqlite3_file *f)
{
    return INNER(f)->pMethods->xDeviceCharacteristics(INNER(f));
}

static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **p)
{
    return INNER(f)->pMethods->xShmMap(INNER(f), page, size, extend, p);
}

static int f_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return INNER(f)->pMethods->xShmLock(INNER(f), at, n, flags);
}

static void f_shm_barrier(sqlite3_file *f)
{
    INNER(f)->pMethods->xShmBarrier(INNER(f));
}

static int f_shm_unmap(sqlite3_file *f, int drop)
{
    return INNER(f)->pMethods->xShmUnmap(INNER(f), drop);
}

static int v_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *out, int flags, int *ret)
{
    (void) v;
    struct file *f = (struct file *) out;
    f->inner = (sqlite3_file *) (f + 1);
    memset(f->inner, 0, (size_t) inner_vfs->szOsFile);
    f->name = name;
    f->base.pMethods = NULL;
    int rc = inner_vfs->xOpen(inner_vfs, name, f->inner, flags, ret);
    if (rc == SQLITE_OK) {
        f->base.pMethods = &methods;
    }
    return rc;
}

static int v_delete(sqlite3_vfs *v, const char *name, int sync)
{
    (void) v;
    die_at(FAULTY_VFS_DELETE, name);
    return inner_vfs->xDelete(inner_vfs, name, sync);
}

void faulty_vfs_reset(void)
{
    pthread_mutex_lock(&lock);
    kill_name = NULL;
    full = false;
    sync_fails = false;
    latched = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (inner_vfs != NULL) {
        return;
    }
    inner_vfs = sqlite3_vfs_find(NULL);
    vfs = *inner_vfs;
    vfs.szOsFile = (int) sizeof(struct file) + inner_vfs->szOsFile;
    vfs.zName = FAULTY_VFS_NAME;
    vfs.xOpen = v_open;
    vfs.xDelete = v_delete;
    vfs.pNext = NULL;
    methods = (sqlite3_io_methods){ .iVersion = 2,
                                    .xClose = f_close,
                                    .xRead = f_read,
                                    .xWrite = f_write,
                                    .xTruncate = f_truncate,
                                    .xSync = f_sync,
                                    .xFileSize = f_size,
                                    .xLock = f_lock,
                                    .xUnlock = f_unlock,
                                    .xCheckReservedLock = f_check,
                                    .xFileControl = f_control,
                                    .xSectorSize = f_sector,
                                    .xDeviceCharacteristics = f_device,
                                    .xShmMap = f_shm_map,
                                    .xShmLock = f_shm_lock,
                                    .xShmBarrier = f_shm_barrier,
                                    .xShmUnmap = f_shm_unmap };
    sqlite3_vfs_register(&vfs, 0);
}

void faulty_vfs_full(size_t after)
{
    pthread_mutex_lock(&lock);
    full = true;
    writes_left = after;
    pthread_mutex_unlock(&lock);
}

void faulty_vfs_fail_sync(void)
{
    pthread_mutex_lock(&lock);
    sync_fails = true;
    pthread_mutex_unlock(&lock);
}

void faulty_vfs_latch(void)
{
    pthread_mutex_lock(&lock);
    latched = true;
    pthread_mutex_unlock(&lock);
}

void faulty_vfs_wait_latched(void)
{
    pthread_mutex_lock(&lock);
    while (waiting == 0) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}

void faulty_vfs_unlatch(void)
{
    pthread_mutex_lock(&lock);
    latched = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void faulty_vfs_kill(enum faulty_vfs_op op, const char *name_end, size_t nth)
{
    pthread_mutex_lock(&lock);
    kill_op = op;
    kill_name = name_end;
    kill_nth = nth;
    pthread_mutex_unlock(&lock);
}
