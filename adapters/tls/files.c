#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/crypto.h"

enum { DAY_S = 86400, FRESH_S = 2, TRIES = 3 };

/* Files as they were read; what cannot be read has a text instead. */
struct reading {
    struct tls_part part[TLS_ROLES];
    enum tls_role role; /* that why is about */
    char why[TLS_TEXT_BYTES];
    uint8_t digest[TPI_SHA256_BYTES];
};

static void free_parts(const struct tls_files *f, struct tls_part parts[TLS_ROLES])
{
    for (int i = 0; i < TLS_ROLES; i++) {
        if (parts[i].text != NULL) {
            tpi_wipe(parts[i].text, parts[i].len);
            tpi_free(f->alloc, parts[i].text, parts[i].len + 1);
            parts[i] = (struct tls_part){ 0 };
        }
    }
}

void tls_files_init(struct tls_files *f)
{
    struct tls_files clean = { .alloc = f->alloc, .clock = f->clock, .random = f->random };
    memcpy(clean.path, f->path, sizeof(clean.path));
    memcpy(clean.name, f->name, sizeof(clean.name));
    *f = clean;
}

void tls_files_fini(struct tls_files *f)
{
    free_parts(f, f->part);
    tpi_wipe(f->seen, sizeof(f->seen));
    tpi_wipe(f->used, sizeof(f->used));
}

/* ---- stamps ---- */

static void take_stamp(struct tls_stamp *ret, int rc, const struct stat *s)
{
    *ret = (struct tls_stamp){ 0 };
    if (rc != 0) {
        ret->error = errno;
        return;
    }
    ret->dev = s->st_dev;
    ret->ino = s->st_ino;
    ret->size = s->st_size;
    ret->written = s->st_mtim;
    ret->changed = s->st_ctim;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_stamp(const struct tls_stamp *a, const struct tls_stamp *b)
{
    return a->error == b->error && a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           same_time(a->written, b->written) && same_time(a->changed, b->changed);
}

static void take_stamps(const struct tls_files *f, struct tls_stamp ret[TLS_ROLES])
{
    struct stat s;
    for (int i = 0; i < TLS_ROLES; i++) {
        ret[i] = (struct tls_stamp){ 0 };
        if (f->path[i] != NULL) {
            take_stamp(&ret[i], stat(f->path[i], &s), &s);
        }
    }
}

static bool same_stamps(const struct tls_stamp a[TLS_ROLES], const struct tls_stamp b[TLS_ROLES])
{
    return same_stamp(&a[TLS_CA], &b[TLS_CA]) && same_stamp(&a[TLS_CERT], &b[TLS_CERT]) &&
           same_stamp(&a[TLS_KEY], &b[TLS_KEY]);
}

/* A file that was written a moment ago may be written once more without another stamp, for the
 * kernel's times are coarse: it is read again. Its clock is asked, not the core's. */
static bool is_fresh(const struct tls_stamp stamps[TLS_ROLES])
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < TLS_ROLES; i++) {
        time_t age = now.tv_sec - stamps[i].changed.tv_sec;
        if (stamps[i].changed.tv_sec != 0 && age >= -FRESH_S && age <= FRESH_S) {
            return true;
        }
    }
    return false;
}

/* ---- reading ---- */

/* Says once what is wrong with a file. The first fault is told. */
static int unreadable(struct reading *r, enum tls_role role, const char *text)
{
    if (r->why[0] == '\0') {
        r->role = role;
        snprintf(r->why, sizeof(r->why), "%s", text);
    }
    return 0;
}

static int read_all(int fd, struct tls_part *part)
{
    size_t at = 0;
    while (at < part->len) {
        ssize_t n = read(fd, part->text + at, part->len - at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n == 0 ? TPC_EAGAIN : TPC_EIO; /* it became shorter */
        }
        at += (size_t) n;
    }
    part->text[at] = '\0';
    return 0;
}

/* Reads an open file whose stamp is known. TPC_EAGAIN = it changes right now. */
static int read_open(const struct tls_files *f, int role, int fd, const struct tls_stamp *stamp,
                     struct reading *r)
{
    struct stat s;
    struct tls_stamp now;
    struct tls_part *part = &r->part[role];
    take_stamp(&now, fstat(fd, &s), &s);
    if (!same_stamp(&now, stamp)) {
        return TPC_EAGAIN;
    }
    if (!S_ISREG(s.st_mode)) {
        return unreadable(r, (enum tls_role) role, "this is no file");
    }
    if (s.st_size > TLS_FILE_BYTES_MAX) {
        return unreadable(r, (enum tls_role) role, "it is larger than 1 MiB");
    }
    part->text = tpi_alloc(f->alloc, (size_t) s.st_size + 1);
    if (part->text == NULL) {
        return TPC_ENOMEM;
    }
    part->len = (size_t) s.st_size;
    memset(part->text, 0, part->len + 1);
    int rc = read_all(fd, part);
    take_stamp(&now, fstat(fd, &s), &s);
    return rc == 0 && !same_stamp(&now, stamp) ? TPC_EAGAIN : rc;
}

static int read_one(const struct tls_files *f, int role, const struct tls_stamp *stamp,
                    struct reading *r)
{
    if (f->path[role] == NULL) {
        return 0;
    }
    if (stamp->error != 0) {
        return unreadable(r, (enum tls_role) role, strerror(stamp->error));
    }
    int fd = open(f->path[role], O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait */
    if (fd < 0) {
        return errno == ENOENT ? TPC_EAGAIN : unreadable(r, (enum tls_role) role, strerror(errno));
    }
    int rc = read_open(f, role, fd, stamp, r);
    close(fd);
    return rc;
}

/* Of all that was read, and of what could not be. */
static int take_digest(struct reading *r)
{
    struct tpc_bytes pieces[2 * TLS_ROLES + 1];
    uint64_t len[TLS_ROLES];
    size_t count = 0;
    for (int i = 0; i < TLS_ROLES; i++) {
        len[i] = r->part[i].text != NULL ? r->part[i].len + 1 : 0;
        pieces[count++] = (struct tpc_bytes){ (const uint8_t *) &len[i], sizeof(len[i]) };
        if (r->part[i].len > 0) {
            pieces[count++] = (struct tpc_bytes){ r->part[i].text, r->part[i].len };
        }
    }
    pieces[count++] = (struct tpc_bytes){ (const uint8_t *) r->why, strlen(r->why) };
    return tpi_sha256_parts(pieces, count, r->digest);
}

/* Reads all files with one set of stamps; again if one changes in the meantime. */
static int read_set(struct tls_files *f, struct tls_stamp stamps[TLS_ROLES], struct reading *r)
{
    int rc = TPC_EAGAIN;
    for (int i = 0; rc == TPC_EAGAIN && i < TRIES; i++) {
        *r = (struct reading){ 0 };
        rc = 0;
        for (int role = 0; rc == 0 && role < TLS_ROLES; role++) {
            rc = read_one(f, role, &stamps[role], r);
        }
        if (rc != 0) {
            free_parts(f, r->part);
            take_stamps(f, stamps);
        }
    }
    f->reads++;
    return rc == 0 ? take_digest(r) : rc;
}

/* ---- looking ---- */

static int64_t now_s(const struct tls_files *f)
{
    int64_t ms = f->clock->unix_ms(f->clock->user);
    return ms / 1000 - (ms % 1000 < 0);
}

static void say(struct tls_files *f, enum tls_role role, const char *why)
{
    const char *path = f->path[role] != NULL ? f->path[role] : "";
    snprintf(f->text, sizeof(f->text), "%s %.200s: %.160s", f->name[role], path, why);
}

/* Checks what was read and takes it over, or not. */
static int judge(struct tls_files *f, struct reading *r, int *ret_news)
{
    struct tls_summary sum = { 0 };
    int rc = TPC_EINVAL;
    f->refused_end_s = 0;
    if (r->why[0] == '\0') {
        rc = tls_check(r->part, f->random, &r->role, r->why, &sum);
    }
    if (rc == 0 && f->loaded && sum.own_end_s != 0 && sum.own_end_s <= now_s(f)) {
        rc = TPC_EINVAL;
        f->refused_end_s = sum.own_end_s;
        r->role = TLS_CERT;
        snprintf(r->why, sizeof(r->why), "the certificate ended %lld days ago",
                 (long long) -tls_files_days(f, sum.own_end_s) - 1);
    }
    if (rc == TPC_EINVAL) {
        f->refused++;
        say(f, r->role, r->why);
        *ret_news = TLS_REFUSED;
        return 0;
    }
    if (rc == 0) {
        struct tls_part old[TLS_ROLES];
        memcpy(old, f->part, sizeof(old));
        memcpy(f->part, r->part, sizeof(old));
        memcpy(r->part, old, sizeof(old)); /* the caller frees it */
        for (int i = 0; i < TLS_ROLES; i++) {
            f->changed[i] =
                f->part[i].len != old[i].len ||
                (old[i].len > 0 && memcmp(f->part[i].text, old[i].text, old[i].len) != 0);
        }
        memcpy(f->used, r->digest, sizeof(f->used));
        f->summary = sum;
        f->reloaded += f->loaded;
        f->loaded = true;
        f->text[0] = '\0';
        *ret_news = TLS_NEW;
    }
    return rc;
}

int tls_files_look(struct tls_files *f, int *ret_news)
{
    struct tls_stamp now[TLS_ROLES];
    struct reading r = { 0 };
    *ret_news = TLS_SAME;
    /* A set that was over by a clock that has been put right since. */
    bool anew = f->refused_end_s != 0 && now_s(f) < f->refused_end_s;
    take_stamps(f, now);
    if (f->looked && !f->again && !anew && same_stamps(now, f->stamp)) {
        return 0;
    }
    int rc = read_set(f, now, &r);
    if (rc == TPC_EAGAIN) {
        f->again = true; /* somebody writes to it */
        return f->loaded ? 0 : TPC_EIO;
    }
    if (rc == 0 && f->loaded && memcmp(r.digest, f->used, sizeof(f->used)) == 0) {
        f->refused_end_s = 0; /* as it is in use, or so again */
    } else if (rc == 0 && (!f->looked || anew || memcmp(r.digest, f->seen, sizeof(f->seen)) != 0)) {
        rc = judge(f, &r, ret_news);
    }
    if (rc == 0) {
        memcpy(f->seen, r.digest, sizeof(f->seen));
        memcpy(f->stamp, now, sizeof(f->stamp));
        f->looked = true;
        f->again = is_fresh(now);
    }
    free_parts(f, r.part);
    return rc;
}

int64_t tls_files_days(const struct tls_files *f, int64_t end_s)
{
    int64_t s = end_s - now_s(f);
    return s / DAY_S - (s % DAY_S < 0);
}
