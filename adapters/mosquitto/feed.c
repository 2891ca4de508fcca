#include "feed.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <tpcore/modules.h>

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

static void path_of(const struct feed *f, char ret[FEED_PATH_BYTES + 16])
{
    snprintf(ret, FEED_PATH_BYTES + 16, "%s/entities.db", f->dir);
}

/* ---- the thread ---- */

static void say(struct feed *f, const char *what, const char *why)
{
    char text[FEED_TEXT_BYTES] = "";
    if (what != NULL) {
        snprintf(text, sizeof(text), "%s: %.300s", what, why);
    }
    pthread_mutex_lock(&f->lock);
    if (strcmp(text, f->text) != 0) {
        memcpy(f->text, text, sizeof(text));
        f->told = false;
    }
    pthread_mutex_unlock(&f->lock);
}

/* ---- reports ---- */

static int collect_one(void *user, const struct tpc_why *why)
{
    struct feed *f = user;
    struct feed_report made;
    made.len = report_write(why, made.json);
    if (made.len == 0) {
        atomic_fetch_add(&f->missed, why->times);
        return 0;
    }
    pthread_mutex_lock(&f->lock);
    struct feed_report *r = &f->reports[(f->report_first + f->report_count) % FEED_REPORTS];
    r->len = made.len;
    memcpy(r->json, made.json, made.len);
    f->report_count++;
    pthread_mutex_unlock(&f->lock);
    return 0;
}

/* What was refused, from the table into the ring as far as there is room. What has none, or nobody
 * hears, stays in the table and counts up there. */
static void collect(struct feed *f)
{
    uint64_t missed = 0;
    uint64_t now = now_ms();
    if (f->core == NULL || now - f->collected_ms < FEED_REPORT_MS) {
        return;
    }
    f->collected_ms = now;
    pthread_mutex_lock(&f->lock);
    uint32_t room = atomic_load(&f->heard) ? FEED_REPORTS - f->report_count : 0;
    pthread_mutex_unlock(&f->lock);
    if (tpc_why_take(f->core, room, collect_one, f, &missed) == 0) {
        atomic_fetch_add(&f->missed, missed - f->core_missed);
        f->core_missed = missed;
    }
}

static int count_lost(void *user, const struct tpc_why *why)
{
    struct feed *f = user;
    atomic_fetch_add(&f->missed, why->times);
    return 0;
}

/* The table goes: into the ring what has room there, the rest is lost. */
static void collect_last(struct feed *f)
{
    f->collected_ms = 0;
    collect(f);
    f->core_missed = 0;
    if (f->core != NULL) {
        (void) tpc_why_take(f->core, UINT32_MAX, count_lost, f, NULL);
    }
}

/* ---- the table ---- */

static int count_one(void *user, const struct tpc_metric *m)
{
    struct feed *f = user;
    if (strcmp(m->name, "tpc_registry_products") == 0) {
        atomic_store(&f->products, (uint64_t) m->value);
    } else if (strcmp(m->name, "tpc_registry_devices") == 0) {
        atomic_store(&f->devices, (uint64_t) m->value);
    }
    return 0;
}

static void count_table(struct feed *f, struct tpc_core *core)
{
    (void) tpc_core_stats(core, count_one, f);
}

/* A new table, loaded. NULL after saying why not. */
static struct tpc_core *open_core(struct feed *f)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core = NULL;
    struct stat now;
    char file[FEED_PATH_BYTES + 16];
    struct tpc_member members[3] = {
        { TPC_STR_INIT("dir"), { .type = TPC_TEXT, .len = strlen(f->dir), .as.text = f->dir } },
        { TPC_STR_INIT("read_only"), { .type = TPC_BOOL, .as.b = true } },
        { TPC_STR_INIT("busy_timeout"), { .type = TPC_INT, .as.i = FEED_BUSY_MS } },
    };
    struct tpc_value cfg = { .type = TPC_MAP, .len = 3, .as.members = members };
    o.flags = TPC_CORE_OBSERVE;
    o.secret_key = (struct tpc_bytes){ f->secret_key, f->secret_key_len };
    o.token_key = (struct tpc_bytes){ f->token_key, f->token_key_len };
    path_of(f, file);
    if (stat(file, &now) != 0) {
        say(f, "nobody can log in", "the platform's entities.db is not there");
        return NULL;
    }
    int rc = tpc_core_create(&o, &core);
    rc = rc != 0 ? rc : tpc_core_add_module(core, tpc_module_sqlite());
    rc = rc != 0 ? rc : tpc_core_open_value(core, "entities", "sqlite", &cfg);
    rc = rc != 0 ? rc : tpc_entity_refresh(core, NULL); /* loads */
    if (rc != 0) {
        say(f, "nobody can log in", tpc_error_last()->text);
        (void) tpc_core_destroy(core);
        return NULL;
    }
    f->file = now;
    return core;
}

/* Puts a table in the place of the one that is there, and frees that once nobody looks at it. */
static void swap_core(struct feed *f, struct tpc_core *core)
{
    pthread_mutex_lock(&f->lock);
    struct tpc_core *old = f->core;
    f->core = core;
    f->swapping = true;
    while (f->users > 0) {
        pthread_cond_wait(&f->wake, &f->lock);
    }
    f->swapping = false;
    pthread_mutex_unlock(&f->lock);
    if (old != NULL) {
        (void) tpc_core_destroy(old);
    }
}

static bool same_file(const struct feed *f)
{
    char file[FEED_PATH_BYTES + 16];
    struct stat now;
    path_of(f, file);
    return stat(file, &now) == 0 && now.st_ino == f->file.st_ino && now.st_dev == f->file.st_dev;
}

/* Brings the table up to date. false = it must be made anew. */
static bool refresh(struct feed *f)
{
    uint32_t count = 0;
    if (!same_file(f)) {
        return false;
    }
    int rc = tpc_entity_refresh(f->core, &count);
    if (rc == 0) {
        atomic_store(&f->current_ms, now_ms());
        if (count > 0) {
            count_table(f, f->core);
            atomic_fetch_add(&f->changes, count);
        }
        say(f, NULL, NULL);
        return true;
    }
    if (rc == TPC_EGAP || rc == TPC_ECORRUPT) {
        return false;
    }
    say(f, "the table is not current", tpc_error_last()->text);
    return true;
}

static void turn(struct feed *f)
{
    f->failing = false;
    if (f->core != NULL && refresh(f)) {
        return;
    }
    struct tpc_core *core = open_core(f);
    f->failing = core == NULL;
    if (core != NULL) {
        collect_last(f);
        count_table(f, core);
        swap_core(f, core);
        atomic_store(&f->current_ms, now_ms());
        atomic_fetch_add(&f->changes, 1);
        say(f, NULL, NULL);
    }
}

static void rest(struct feed *f)
{
    struct timespec until;
    uint32_t ms = f->failing ? FEED_RETRY_MS : f->refresh_ms;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long) (ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&f->lock);
    if (!atomic_load(&f->stop)) {
        (void) pthread_cond_timedwait(&f->wake, &f->lock, &until);
    }
    pthread_mutex_unlock(&f->lock);
}

static void *run(void *user)
{
    struct feed *f = user;
    while (!atomic_load(&f->stop)) {
        turn(f);
        collect(f);
        rest(f);
    }
    return NULL;
}

int feed_start(struct feed *f)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    int rc = pthread_mutex_init(&f->lock, NULL);
    rc = rc != 0 ? rc : pthread_cond_init(&f->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (rc == 0) {
        turn(f); /* before the first client comes */
        rc = pthread_create(&f->thread, NULL, run, f);
        f->started = rc == 0;
    }
    return rc;
}

void feed_stop(struct feed *f)
{
    if (!f->started) {
        return;
    }
    pthread_mutex_lock(&f->lock);
    atomic_store(&f->stop, true);
    pthread_cond_broadcast(&f->wake);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->thread, NULL);
    swap_core(f, NULL);
    pthread_cond_destroy(&f->wake);
    pthread_mutex_destroy(&f->lock);
    f->started = false;
}

/* ---- the broker's side ---- */

struct tpc_core *feed_take_any(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    struct tpc_core *core = f->core;
    f->users += core != NULL;
    pthread_mutex_unlock(&f->lock);
    return core;
}

struct tpc_core *feed_take(struct feed *f)
{
    if (now_ms() - atomic_load(&f->current_ms) > FEED_STALE_MS + f->refresh_ms) {
        return NULL;
    }
    return feed_take_any(f);
}

void feed_give(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    f->users--;
    if (f->users == 0 && f->swapping) {
        pthread_cond_broadcast(&f->wake);
    }
    pthread_mutex_unlock(&f->lock);
}

int64_t feed_age_ms(const struct feed *f)
{
    uint64_t current = atomic_load(&f->current_ms);
    return current != 0 ? (int64_t) (now_ms() - current) : -1;
}

bool feed_report(struct feed *f, struct feed_report *ret)
{
    pthread_mutex_lock(&f->lock);
    bool any = f->report_count > 0;
    if (any) {
        const struct feed_report *r = &f->reports[f->report_first];
        ret->len = r->len;
        memcpy(ret->json, r->json, r->len);
        f->report_first = (f->report_first + 1) % FEED_REPORTS;
        f->report_count--;
    }
    pthread_mutex_unlock(&f->lock);
    return any;
}

bool feed_news(struct feed *f, char ret[FEED_TEXT_BYTES])
{
    pthread_mutex_lock(&f->lock);
    bool news = !f->told;
    if (news) {
        f->told = true;
        snprintf(ret, FEED_TEXT_BYTES, "%s",
                 f->text[0] != '\0' ? f->text : "the table of devices is current");
    }
    pthread_mutex_unlock(&f->lock);
    return news;
}
