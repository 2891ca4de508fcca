/*
 * Inside the kit: what was changed and not synced. All calls under the lock of struct tk_files,
 * before the change is made (except tk_track_create: after).
 */
#ifndef TK_FILES_TRACK_H
#define TK_FILES_TRACK_H

#include "tk_files.h"

struct tk_handle {
    void *inner;
    int fd; /* of our own: stays right when the file is renamed */
};

void tk_track_create(struct tk_files *f, const char *path);
void tk_track_write(struct tk_files *f, int fd, const uint8_t *p, size_t n, uint64_t offset);
void tk_track_truncate(struct tk_files *f, int fd, uint64_t length);
void tk_track_rename(struct tk_files *f, const char *from, const char *to);
void tk_track_remove(struct tk_files *f, const char *path);

/* The newest change was not made after all. */
void tk_track_forget(struct tk_files *f);

/* Number of the newest change; tk_track_synced() covers changes up to it. */
uint64_t tk_track_mark(const struct tk_files *f);
void tk_track_synced(struct tk_files *f, int fd, uint64_t mark);
void tk_track_dir_synced(struct tk_files *f, const char *path);
void tk_track_drop_all(struct tk_files *f);

#endif
