#include "certificates.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <mosquitto.h>
#include <mosquitto_broker.h>

#include "base/env.h"
#include "base/text.h"

enum { DAY_MS = 86400000, DAYS_BYTES = 24 };

static const char *const topics[TLS_ROLES] = {
    [TLS_CERT] = "$SYS/broker/tpcore/certificate/days",
    [TLS_CA] = "$SYS/broker/tpcore/certificate/ca_days",
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

/* ---- the thread ---- */

/* A line for the broker's log. */
static void say(struct certificates *c, int level, const char *fmt, ...) TPC_PRINTF(3, 4);
static void say(struct certificates *c, int level, const char *fmt, ...)
{
    struct certificates_line line = { .level = level };
    va_list args;
    va_start(args, fmt);
    tpi_text_format(line.text, sizeof(line.text), fmt, args);
    va_end(args);
    pthread_mutex_lock(&c->lock);
    if (c->line_count < CERTIFICATES_LINES) {
        c->lines[c->line_count++] = line;
    } else {
        c->lines_lost++;
    }
    pthread_mutex_unlock(&c->lock);
}

static bool remind(struct certificates *c, const char *what, const char *subject, int64_t end_s)
{
    int64_t days = tls_files_days(&c->files, end_s);
    if (end_s == 0 || days >= TLS_DAYS_SOON) {
        return false;
    }
    if (days < 0) {
        say(c, MOSQ_LOG_ERR, "%s %s ended %" PRId64 " days ago", what, subject, -days - 1);
    } else {
        say(c, MOSQ_LOG_WARNING, "%s %s ends in %" PRId64 " days", what, subject, days);
    }
    return true;
}

static void take_days(struct certificates *c)
{
    const struct tls_summary *sum = &c->files.summary;
    uint64_t now = now_ms();
    pthread_mutex_lock(&c->lock);
    c->known[TLS_CERT] = sum->chain_end_s != 0;
    c->known[TLS_CA] = sum->ca_end_s != 0;
    c->days[TLS_CERT] = tls_files_days(&c->files, sum->chain_end_s);
    c->days[TLS_CA] = tls_files_days(&c->files, sum->ca_end_s);
    pthread_mutex_unlock(&c->lock);
    if (c->reminded_ms == 0 || now - c->reminded_ms >= DAY_MS) {
        bool near = remind(c, "the certificate", sum->chain_subject, sum->chain_end_s);
        near = remind(c, "the authority", sum->ca_subject, sum->ca_end_s) || near;
        c->reminded_ms = near ? now : c->reminded_ms;
    }
}

/* The files changed and are good. */
static void take_over(struct certificates *c)
{
    bool pair = c->files.changed[TLS_CERT] || c->files.changed[TLS_KEY];
    if (pair) {
        say(c, MOSQ_LOG_NOTICE, "new certificate %s: the broker reads its files anew",
            c->files.summary.chain_subject);
        pthread_mutex_lock(&c->lock);
        c->reload = true;
        pthread_mutex_unlock(&c->lock);
    }
    if (c->files.changed[TLS_CA]) {
        say(c, MOSQ_LOG_WARNING, "%s changed: mosquitto reads it only when it starts",
            c->files.path[TLS_CA]);
    }
    c->reminded_ms = 0;
}

/* first: the broker reads the files by itself just now. */
static void look(struct certificates *c, bool first)
{
    int news;
    int rc = tls_files_look(&c->files, &news);
    if (rc != 0 && rc != c->failed) {
        say(c, MOSQ_LOG_WARNING, "the certificate's files cannot be read now (%s); trying again",
            tpc_error_name(rc));
    }
    c->failed = rc;
    if (news == TLS_REFUSED) {
        say(c, MOSQ_LOG_WARNING, "plugin_opt_%s; the broker is not told to read it", c->files.text);
    } else if (news == TLS_NEW && !first) {
        take_over(c);
    }
    take_days(c);
}

static void rest(struct certificates *c)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += c->options->look_ms / 1000;
    until.tv_nsec += (long) (c->options->look_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    int rc = 0;
    while (!c->stop && rc == 0) {
        rc = pthread_cond_timedwait(&c->wake, &c->lock, &until);
    }
}

static void *run(void *user)
{
    struct certificates *c = user;
    pthread_mutex_lock(&c->lock);
    rest(c);
    while (!c->stop) {
        pthread_mutex_unlock(&c->lock);
        look(c, false);
        pthread_mutex_lock(&c->lock);
        rest(c);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

static int start_thread(struct certificates *c)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are for the broker's thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&c->thread, NULL, run, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

int certificates_start(struct certificates *c, const struct certificates_options *options)
{
    static const char *const names[TLS_ROLES] = { "cafile", "certfile", "keyfile" };
    pthread_condattr_t monotonic;
    bool any = false;
    memset(c, 0, sizeof(*c));
    c->options = options;
    c->files.alloc = tpc_allocator_default();
    c->files.clock = tpi_clock_system();
    c->files.random = tpi_random_system();
    for (int i = 0; i < TLS_ROLES; i++) {
        c->files.name[i] = names[i];
        c->files.path[i] = options->path[i][0] != '\0' ? options->path[i] : NULL;
        any = any || c->files.path[i] != NULL;
    }
    if (!any) {
        return 0;
    }
    tls_files_init(&c->files);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    look(c, true);
    int rc = start_thread(c);
    c->started = rc == 0;
    if (rc != 0) {
        pthread_cond_destroy(&c->wake);
        pthread_mutex_destroy(&c->lock);
        tls_files_fini(&c->files);
    }
    return rc;
}

void certificates_stop(struct certificates *c)
{
    if (!c->started) {
        return;
    }
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    tls_files_fini(&c->files);
    c->started = false;
}

/* ---- the broker's thread ---- */

static void publish_days(struct certificates *c, int role, int64_t days)
{
    char text[DAYS_BYTES];
    int len = snprintf(text, sizeof(text), "%" PRId64, days);
    if (mosquitto_broker_publish_copy(NULL, topics[role], len, text, 0, true, NULL) ==
        MOSQ_ERR_SUCCESS) {
        c->told[role] = days;
        c->told_any[role] = true;
    }
}

void certificates_tick(struct certificates *c, bool may_reload)
{
    struct certificates_line lines[CERTIFICATES_LINES];
    int64_t days[TLS_ROLES];
    bool known[TLS_ROLES];
    if (!c->started) {
        return;
    }
    pthread_mutex_lock(&c->lock);
    uint32_t count = c->line_count;
    memcpy(lines, c->lines, count * sizeof(lines[0]));
    memcpy(days, c->days, sizeof(days));
    memcpy(known, c->known, sizeof(known));
    bool reload = c->reload && may_reload;
    uint32_t lost = c->lines_lost;
    c->line_count = c->lines_lost = 0;
    c->reload = c->reload && !reload;
    pthread_mutex_unlock(&c->lock);
    for (uint32_t i = 0; i < count; i++) {
        mosquitto_log_printf(lines[i].level, "tpcore: %s", lines[i].text);
    }
    if (lost > 0) {
        mosquitto_log_printf(MOSQ_LOG_WARNING, "tpcore: %u lines about certificates were lost",
                             lost);
    }
    for (int i = 0; i < TLS_ROLES; i++) {
        if (known[i] && topics[i] != NULL && (!c->told_any[i] || c->told[i] != days[i])) {
            publish_days(c, i, days[i]);
        }
    }
    if (reload) {
        (void) kill(getpid(), SIGHUP); /* its handler only notes it for this thread */
    }
}
