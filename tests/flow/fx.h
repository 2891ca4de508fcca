/*
 * A whole core for a test: allocator that counts, files that fail on demand, a log that is kept, a
 * clock that stands still (workers = 0) and the parts that the test asks for. What it holds on disk
 * lives in a folder that stays when the core goes, so that it can come back.
 */
#ifndef FX_H
#define FX_H

#include <tpcore/ext/host.h>
#include <tpcore/tpcore.h>

#include "probe.h"
#include "tk.h"
#include "tk_env.h"

enum fx_parts {
    FX_FILE_LOG = 1,
    FX_SQLITE = 2, /* skips nothing by itself: see fx_has_sqlite() */
    FX_LUA = 4,
    FX_PROBE = 8, /* instance "probe" with devices t1 t2 fan1 fan2 */
    FX_SYNCED = 16
};

enum { FX_DEVICES = 16, FX_BYTES = 256 };

/* Sanitizers make all slower: repetitions are divided by this. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { FX_SLOWER = 4 };
#else
enum { FX_SLOWER = 1 };
#endif

struct fx {
    struct tk_env e;
    struct tpc_core_options o; /* may be changed before fx_open() */
    uint32_t parts;
    char dir[320];
    char log_options[200];   /* more members: "\"pending\":\"64KiB\"" */
    char store_options[100]; /* likewise, of sqlite */
    char vfs[32];
    const char *devices; /* of the probe */
    struct tpc_core *core;
    struct tpc_device *held[FX_DEVICES];
    uint32_t held_count;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t fed;  /* feeds that were taken */
    size_t done; /* of them, told to be done */
    size_t failed;
    int last_error;
};

/* A dead letter, copied. */
struct fx_letter {
    uint32_t partition;
    uint64_t offset;
    int32_t code;
    char device[64];
    char origin[64];
    char topic[64];
    char reason[256];
    size_t len; /* of the original bytes */
    uint8_t raw[FX_BYTES];
};

/* workers 0: clock stands still. */
void fx_init(struct fx *f, uint32_t workers, uint32_t parts);
/* Destroys what is open; nothing may be left allocated. */
void fx_fini(struct fx *f);

/* Makes the core and opens its parts. fx_make() does it without checking. */
int fx_make(struct fx *f);
void fx_open(struct fx *f);
/* Products thermo (json), and devices t1 t2 fan1 fan2 of it. */
void fx_entities(struct fx *f);
void fx_start(struct fx *f);
/* Open, entities, start. */
void fx_run(struct fx *f);
/* Stop and destroy; a new fx_open() comes back to the same folder. */
void fx_close(struct fx *f);
void fx_put(struct fx *f, const char *kind, const char *json);

/* Borrowed until fx_close(). */
struct tpc_device *fx_device(struct fx *f, const char *key);

/* Feeds and counts; what tpc_feed() said. */
int fx_feed(struct fx *f, const char *key, const char *text);
int fx_feed_bytes(struct fx *f, const char *key, const void *ptr, size_t len);
/* {"seq":N} with the time of number N: history and order can be checked by it. */
int fx_feed_seq(struct fx *f, const char *key, int seq);
/* Until all that was fed is done: steps, or waits up to 20 s. */
void fx_settle(struct fx *f);
/* Steps if workers = 0. */
int fx_step(struct fx *f);

double fx_metric(struct fx *f, const char *name);
size_t fx_letters(struct fx *f, struct fx_letter *ret_last);
double fx_latest(struct fx *f, const char *key, const char *property);
/* Whether the property of the device has a value. */
bool fx_known(struct fx *f, const char *key, const char *property);

struct fx_rows {
    size_t count;
    double sum;
    double first;
    double last;
    bool ordered; /* times grow */
    bool growing; /* each value is one more than the one before */
};
struct fx_rows fx_history(struct fx *f, const char *key, const char *property);

/* Fails unless good messages still go through, on t2. */
void fx_still_works(struct fx *f);

/* Runs fn in a process of its own, which ends without a word to the core; its exit code, or 1000
 * plus the signal. */
int fx_child(void (*fn)(void *user), void *user);

/* The newest segment of the log. */
void fx_segment(struct fx *f, char ret_path[400]);

/* Fails with the last error's text unless rc is 0. */
void fx_ok(int rc, const char *what);

bool fx_has_sqlite(void);
bool fx_has_lua(void);
bool fx_has_sim(void);
bool fx_has_mqtt(void);

/* Fails unless the last error's text or path holds part. */
void fx_error_says(const char *part);

#define FX_NO_OPTIONS ((struct tpc_str){ NULL, 0 })

#endif
