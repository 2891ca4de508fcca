/*
 * Certificates and keys that may change while they are used: an authority file, a certificate chain and
 * a private key. They are taken over together or not at all: a file that is missing, half written, or
 * does not fit the others leaves the set as it was, and the next look sees more. One thread at a time.
 */
#ifndef TLS_FILES_H
#define TLS_FILES_H

#include "pem.h"

#include <sys/types.h>
#include <time.h>
#include <tpcore/alloc.h>

enum {
    TLS_FILE_BYTES_MAX = 1 << 20, /* of one file */
    TLS_DAYS_SOON = 30            /* when to begin to remind */
};

enum tls_news {
    TLS_SAME,   /* nothing new */
    TLS_NEW,    /* the files were taken over */
    TLS_REFUSED /* the files changed, and are not taken: text says why. Told once for each change. */
};

/* What tells one state of a file from another. */
struct tls_stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec written, changed;
    int error; /* errno of stat(); the rest is 0 then */
};

struct tls_files {
    /* Set before tls_files_init(); texts are the caller's and stay. */
    const struct tpc_allocator *alloc;
    const struct tpc_clock *clock;
    const struct tpc_random *random;
    const char *path[TLS_ROLES]; /* NULL = not part of the set */
    const char *name[TLS_ROLES]; /* of the option, for texts */

    /* The set that is in use; no text = none yet. */
    struct tls_part part[TLS_ROLES];
    struct tls_summary summary;
    bool changed[TLS_ROLES];   /* which were other than before when it was taken over */
    char text[TLS_TEXT_BYTES]; /* of the last news */
    uint64_t reads;            /* how often the files were read */
    uint64_t reloaded;         /* sets taken over, but the first */
    uint64_t refused;          /* sets that were not */

    /* Its own. */
    struct tls_stamp stamp[TLS_ROLES];
    uint8_t seen[32], used[32]; /* digests of the set that was looked at last, of the one in use */
    bool looked, loaded, again;
    int64_t
        refused_end_s; /* the set was refused for being over, which a clock may be wrong about */
};

/* Keeps what is set, clears the rest. */
void tls_files_init(struct tls_files *f);
/* Wipes and frees. */
void tls_files_fini(struct tls_files *f);

/*
 * Looks at the files; reads and checks them if they changed. An expired certificate is taken only
 * if there is none yet; one that does not hold yet always, for a clock may be wrong. Returns 0 with
 * *ret_news (enum tls_news), or TPC_ENOMEM or TPC_EIO: nothing changed, look again.
 */
int tls_files_look(struct tls_files *f, int *ret_news);

/* Whole days from now to end_s, less than 0 once it is over. */
int64_t tls_files_days(const struct tls_files *f, int64_t end_s);

#endif
