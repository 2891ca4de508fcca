#include "tk_files_track.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "tk.h"

enum change_type { WRITE, TRUNCATE, CREATE, RENAME, REMOVE };

struct tk_node {
    dev_t dev;
    ino_t ino;
    int fd; /* keeps the inode, so that its number is not used again */
    struct tk_node *next;
};

struct tk_change {
    enum change_type type;
    uint64_t number;
    struct tk_node *node; /* of WRITE and TRUNCATE */
    uint64_t offset;      /* of WRITE; the new length of TRUNCATE */
    uint64_t old_length;
    uint8_t *old_bytes; /* from offset on */
    size_t old_len;
    uint8_t *new_bytes;
    size_t new_len;
    char *path; /* of CREATE, REMOVE; where RENAME came from */
    char *to;
    char *kept; /* the file that the change took away, in keep_dir; "" = none */
    struct tk_change *older;
};

static void check(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        ck_abort_msg("tk_files: %s", what);
    }
}

static struct tk_node *node_of(struct tk_files *f, int fd)
{
    struct stat st;
    check(fstat(fd, &st) == 0, "fstat");
    for (struct tk_node *n = f->nodes; n != NULL; n = n->next) {
        if (n->dev == st.st_dev && n->ino == st.st_ino) {
            return n;
        }
    }
    struct tk_node *n = calloc(1, sizeof(*n));
    *n = (struct tk_node){ st.st_dev, st.st_ino, dup(fd), f->nodes };
    check(n->fd >= 0, "dup");
    f->nodes = n;
    return n;
}

static struct tk_change *add(struct tk_files *f, enum change_type type)
{
    struct tk_change *c = calloc(1, sizeof(*c));
    c->type = type;
    c->number = tk_track_mark(f) + 1;
    c->older = f->newest;
    f->newest = c;
    return c;
}

uint64_t tk_track_mark(const struct tk_files *f)
{
    return f->newest != NULL ? f->newest->number : 0;
}

/* Keeps up to n old bytes at offset, and the length. */
static void keep_old(struct tk_change *c, uint64_t offset, uint64_t n)
{
    struct stat st;
    check(fstat(c->node->fd, &st) == 0, "fstat");
    c->old_length = (uint64_t) st.st_size;
    uint64_t there = c->old_length > offset ? c->old_length - offset : 0;
    c->old_len = (size_t) (there < n ? there : n);
    c->old_bytes = malloc(c->old_len + 1);
    ssize_t got = pread(c->node->fd, c->old_bytes, c->old_len, (off_t) offset);
    check(got == (ssize_t) c->old_len, "pread");
}

void tk_track_write(struct tk_files *f, int fd, const uint8_t *p, size_t n, uint64_t offset)
{
    struct tk_change *c = add(f, WRITE);
    c->node = node_of(f, fd);
    c->offset = offset;
    keep_old(c, offset, n);
    c->new_bytes = malloc(n + 1);
    memcpy(c->new_bytes, p, n);
    c->new_len = n;
}

void tk_track_truncate(struct tk_files *f, int fd, uint64_t length)
{
    struct tk_change *c = add(f, TRUNCATE);
    c->node = node_of(f, fd);
    c->offset = length;
    keep_old(c, length, UINT64_MAX);
}

/* A name in keep_dir that nobody uses. */
static char *keep_name(struct tk_files *f)
{
    if (f->keep_dir[0] == '\0') {
        snprintf(f->keep_dir, sizeof(f->keep_dir), "%s", tk_tmpdir());
        check(mkdir(f->keep_dir, 0700) == 0, f->keep_dir);
    }
    char name[400];
    snprintf(name, sizeof(name), "%s/%zu", f->keep_dir, f->kept++);
    return strdup(name);
}

/* A second name for path, so that its content outlives it. */
static char *keep_file(struct tk_files *f, const char *path)
{
    if (access(path, F_OK) != 0) {
        return strdup("");
    }
    char *name = keep_name(f);
    check(link(path, name) == 0, "link");
    return name;
}

void tk_track_create(struct tk_files *f, const char *path)
{
    struct tk_change *c = add(f, CREATE);
    c->path = strdup(path);
    c->kept = keep_file(f, path);
}

void tk_track_rename(struct tk_files *f, const char *from, const char *to)
{
    struct tk_change *c = add(f, RENAME);
    c->path = strdup(from);
    c->to = strdup(to);
    c->kept = keep_file(f, to);
}

void tk_track_remove(struct tk_files *f, const char *path)
{
    struct tk_change *c = add(f, REMOVE);
    c->path = strdup(path);
    c->kept = keep_file(f, path);
}

static void free_change(struct tk_change *c)
{
    if (c->kept != NULL && c->kept[0] != '\0') {
        unlink(c->kept);
    }
    free(c->old_bytes);
    free(c->new_bytes);
    free(c->path);
    free(c->to);
    free(c->kept);
    free(c);
}

void tk_track_forget(struct tk_files *f)
{
    struct tk_change *c = f->newest;
    f->newest = c->older;
    free_change(c);
}

static void drop_node_if_unused(struct tk_files *f, struct tk_node *node)
{
    for (const struct tk_change *c = f->newest; c != NULL; c = c->older) {
        if (c->node == node) {
            return;
        }
    }
    struct tk_node **at = &f->nodes;
    while (*at != node) {
        at = &(*at)->next;
    }
    *at = node->next;
    close(node->fd);
    free(node);
}

void tk_track_synced(struct tk_files *f, int fd, uint64_t mark)
{
    if (f->newest == NULL) {
        return;
    }
    struct tk_node *node = node_of(f, fd);
    for (struct tk_change **at = &f->newest; *at != NULL;) {
        struct tk_change *c = *at;
        if (c->node == node && c->number <= mark) {
            *at = c->older;
            free_change(c);
        } else {
            at = &c->older;
        }
    }
    drop_node_if_unused(f, node);
}

static bool lies_in(const char *path, const char *dir)
{
    char parent[PATH_MAX], a[PATH_MAX], b[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(parent, sizeof(parent), "%.*s", slash != NULL ? (int) (slash - path) : 1,
             slash != NULL ? path : ".");
    return realpath(parent, a) != NULL && realpath(dir, b) != NULL && strcmp(a, b) == 0;
}

void tk_track_dir_synced(struct tk_files *f, const char *path)
{
    for (struct tk_change **at = &f->newest; *at != NULL;) {
        struct tk_change *c = *at;
        const char *name = c->type == RENAME ? c->to : c->path;
        if (name != NULL && lies_in(name, path)) {
            *at = c->older;
            free_change(c);
        } else {
            at = &c->older;
        }
    }
}

void tk_track_drop_all(struct tk_files *f)
{
    while (f->newest != NULL) {
        struct tk_change *c = f->newest;
        f->newest = c->older;
        free_change(c);
    }
    while (f->nodes != NULL) {
        struct tk_node *n = f->nodes;
        f->nodes = n->next;
        close(n->fd);
        free(n);
    }
}

static void put_bytes(const struct tk_change *c, const uint8_t *p, size_t n)
{
    check(pwrite(c->node->fd, p, n, (off_t) c->offset) == (ssize_t) n, "pwrite");
}

static void undo(const struct tk_change *c)
{
    switch (c->type) {
    case WRITE:
    case TRUNCATE:
        put_bytes(c, c->old_bytes, c->old_len);
        check(ftruncate(c->node->fd, (off_t) c->old_length) == 0, "ftruncate");
        break;
    case CREATE:
        unlink(c->path);
        break;
    case RENAME:
        check(rename(c->to, c->path) == 0, "undo of a rename");
        if (c->kept[0] != '\0') {
            check(link(c->kept, c->to) == 0, "link");
        }
        break;
    case REMOVE:
        check(c->kept[0] == '\0' || link(c->kept, c->path) == 0, "link");
        break;
    }
}

/* A change of names may have lost its object: then it is lost too. */
static void redo(const struct tk_change *c, uint64_t chance)
{
    switch (c->type) {
    case WRITE:
        put_bytes(c, c->new_bytes,
                  chance % 3 == 0 ? (size_t) ((chance >> 8) % (c->new_len + 1)) : c->new_len);
        break;
    case TRUNCATE:
        check(ftruncate(c->node->fd, (off_t) c->offset) == 0, "ftruncate");
        break;
    case CREATE:
        if (link(c->kept, c->path) != 0) {
            perror("tk_files: a created file cannot come back");
        }
        break;
    case RENAME:
        if (access(c->path, F_OK) == 0) {
            check(rename(c->path, c->to) == 0, "rename");
        }
        break;
    case REMOVE:
        unlink(c->path);
        break;
    }
}

void tk_files_track(struct tk_files *f, bool on)
{
    pthread_mutex_lock(&f->lock);
    f->tracking = on;
    if (!on) {
        tk_track_drop_all(f);
    }
    pthread_mutex_unlock(&f->lock);
}

void tk_files_crash(struct tk_files *f, uint64_t seed)
{
    pthread_mutex_lock(&f->lock);
    size_t count = 0;
    for (const struct tk_change *c = f->newest; c != NULL; c = c->older) {
        undo(c);
        count++;
    }
    const struct tk_change **by_age = calloc(count + 1, sizeof(const struct tk_change *));
    size_t i = count;
    for (const struct tk_change *c = f->newest; c != NULL; c = c->older) {
        by_age[--i] = c;
    }
    for (i = 0; seed != 0 && i < count; i++) {
        uint64_t chance = tpi_hash64(seed * 1000003 + by_age[i]->number);
        if ((chance & 1) != 0) {
            redo(by_age[i], chance >> 1);
        }
    }
    free(by_age);
    tk_track_drop_all(f);
    pthread_mutex_unlock(&f->lock);
}
