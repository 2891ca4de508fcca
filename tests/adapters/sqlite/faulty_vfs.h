/*
 * An SQLite VFS over the default one whose writes and syncs fail or wait on demand.
 * Name it in the module's option `vfs`.
 */
#ifndef FAULTY_VFS_H
#define FAULTY_VFS_H

#include <stdbool.h>
#include <stddef.h>

#define FAULTY_VFS_NAME "tp-faulty"

/* Registers it (once) and clears all faults. */
void faulty_vfs_reset(void);

/* The next `after` writes work, then all answer SQLITE_FULL. */
void faulty_vfs_full(size_t after);
/* Every sync answers SQLITE_IOERR_FSYNC until reset. */
void faulty_vfs_fail_sync(void);
/* Syncs wait from now on; wait_latched returns once one does. */
void faulty_vfs_latch(void);
void faulty_vfs_wait_latched(void);
void faulty_vfs_unlatch(void);

enum faulty_vfs_op { FAULTY_VFS_WRITE, FAULTY_VFS_SYNC, FAULTY_VFS_TRUNCATE, FAULTY_VFS_DELETE };

/* The nth of these calls on files whose names end so ends the process by SIGKILL, a write once half
 * of its bytes are written. For forked children. */
void faulty_vfs_kill(enum faulty_vfs_op op, const char *name_end, size_t nth);

#endif
