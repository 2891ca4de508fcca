#include "certs.h"

#include "copy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/ext/adapter.h>

enum { DAY_MS = 86400000, IDLE_MS = 3600000 };

static uint64_t mono_ms(const struct mqtt_certs *s)
{
    return s->host->clock->mono_ns(s->host->clock->user) / 1000000;
}

static void set_gauge(struct mqtt_certs *s, const char *metric, int64_t end_s)
{
    if (end_s != 0 && TPC_HAS(s->host, struct tpc_host, gauge)) {
        s->host->gauge(s->ctx, metric, tls_files_days(&s->files, end_s));
    }
}

/* Says of one end that it is near. Returns whether it is. */
static bool remind(struct mqtt_certs *s, const char *what, const char *subject, int64_t end_s)
{
    int64_t days = tls_files_days(&s->files, end_s);
    if (end_s == 0 || days >= TLS_DAYS_SOON) {
        return false;
    }
    if (days < 0) {
        s->host->log(s->ctx, TPC_LOG_ERROR, "%s %s ended %" PRId64 " days ago", what, subject,
                     -days - 1);
    } else {
        s->host->log(s->ctx, TPC_LOG_WARN, "%s %s ends in %" PRId64 " days", what, subject, days);
    }
    return true;
}

/* Sets the gauges, and says once a day what is near. */
static void tell_days(struct mqtt_certs *s)
{
    const struct tls_summary *sum = &s->files.summary;
    uint64_t now = mono_ms(s);
    set_gauge(s, "tls_expires_days", sum->chain_end_s);
    set_gauge(s, "tls_ca_expires_days", sum->ca_end_s);
    if (s->reminded_ms == 0 || now - s->reminded_ms >= DAY_MS) {
        bool near = remind(s, "the certificate", sum->chain_subject, sum->chain_end_s);
        near = remind(s, "the authority", sum->ca_subject, sum->ca_end_s) || near;
        if (near) {
            s->reminded_ms = now != 0 ? now : 1;
        }
    }
}

/* How long the set lasts, for the log. */
static void describe(const struct mqtt_certs *s, char *ret, size_t cap)
{
    const struct tls_summary *sum = &s->files.summary;
    int n = 0;
    ret[0] = '\0';
    if (sum->chain_end_s != 0) {
        n = snprintf(ret, cap, ", %s ends in %" PRId64 " days", sum->chain_subject,
                     tls_files_days(&s->files, sum->chain_end_s));
    }
    if (sum->ca_end_s != 0 && n >= 0 && (size_t) n < cap) {
        snprintf(ret + n, cap - (size_t) n, ", authority %s in %" PRId64 " days", sum->ca_subject,
                 tls_files_days(&s->files, sum->ca_end_s));
    }
}

static void note_early(const struct mqtt_certs *s)
{
    const struct tls_summary *sum = &s->files.summary;
    int64_t now_s = s->host->clock->unix_ms(s->host->clock->user) / 1000;
    if (sum->own_begin_s > now_s) {
        s->host->log(s->ctx, TPC_LOG_WARN,
                     "%s: the certificate does not hold yet, by the clock of this machine",
                     s->files.path[TLS_CERT]);
    }
    if (sum->unchecked > 0) {
        s->host->log(s->ctx, TPC_LOG_INFO,
                     "tls: %u certificates or keys are of a kind that is not checked here",
                     sum->unchecked);
    }
}

static int deliver(struct mqtt_certs *s)
{
    struct tls_copy *copy = NULL;
    int rc = tls_copy_create(&s->files, &copy);
    if (rc == 0) {
        mqtt_client_renew(s->client, copy);
    }
    s->undelivered = rc != 0;
    return rc;
}

/* One look. A timer's, so a failure is said once and tried again. */
static void look(struct mqtt_certs *s)
{
    char text[2 * TLS_SUBJECT_BYTES + 80];
    int news = TLS_SAME;
    int rc = s->reload_ms != 0 ? tls_files_look(&s->files, &news) : 0;
    if (rc == 0 && news == TLS_REFUSED) {
        s->host->count(s->ctx, "tls_reload_refused", 1);
        s->host->log(s->ctx, TPC_LOG_WARN, "%s; the files before it stay in use", s->files.text);
    } else if (rc == 0 && (news == TLS_NEW || s->undelivered)) {
        rc = deliver(s);
        if (rc == 0) {
            describe(s, text, sizeof(text));
            s->host->count(s->ctx, "tls_reloaded", 1);
            s->host->log(s->ctx, TPC_LOG_INFO, "new files for TLS%s; connecting again", text);
            note_early(s);
            s->reminded_ms = 0;
        }
    }
    if (rc != 0 && s->said != (uint32_t) -rc) {
        s->host->log(s->ctx, TPC_LOG_WARN, "files for TLS cannot be read now (%s); trying again",
                     tpc_error_name(rc));
    }
    s->said = (uint32_t) -rc;
    tell_days(s);
}

static int set_timer(struct mqtt_certs *s);

static void on_timer(void *user)
{
    struct mqtt_certs *s = user;
    pthread_mutex_lock(&s->lock);
    if (!s->stopping) {
        look(s);
        if (set_timer(s) != 0) {
            s->host->log(s->ctx, TPC_LOG_ERROR, "no timer: files for TLS are not looked at again");
        }
    }
    pthread_mutex_unlock(&s->lock);
}

/* Without reloading only the days are counted. */
static int set_timer(struct mqtt_certs *s)
{
    return s->host->timer_set(s->ctx, s->reload_ms != 0 ? s->reload_ms : IDLE_MS, on_timer, s,
                              &s->timer);
}

static int first_look(struct mqtt_certs *s)
{
    int news;
    int rc = tls_files_look(&s->files, &news);
    if (rc == 0 && news == TLS_REFUSED) {
        return s->host->fail(s->ctx, TPC_EINVAL, "%s", s->files.text);
    }
    rc = rc != 0 ? rc : deliver(s);
    if (rc != 0) {
        return s->host->fail(s->ctx, rc, "files for TLS cannot be read");
    }
    note_early(s);
    return 0;
}

int mqtt_certs_init(struct mqtt_certs *s, const struct tpc_host *host, void *ctx,
                    const struct mqtt_client_config *config, uint32_t reload_ms,
                    struct mqtt_client *client)
{
    *s = (struct mqtt_certs){ .host = host, .ctx = ctx, .client = client, .reload_ms = reload_ms };
    s->active = strncmp(config->url, "mqtts:", 6) == 0 &&
                (config->ca != NULL || config->cert != NULL || config->key != NULL);
    if (!s->active) {
        return 0;
    }
    s->files.alloc = host->allocator;
    s->files.clock = host->clock;
    s->files.random = host->random;
    s->files.path[TLS_CA] = config->ca;
    s->files.path[TLS_CERT] = config->cert;
    s->files.path[TLS_KEY] = config->key;
    s->files.name[TLS_CA] = "tls.ca";
    s->files.name[TLS_CERT] = "tls.cert";
    s->files.name[TLS_KEY] = "tls.key";
    tls_files_init(&s->files);
    pthread_mutex_init(&s->lock, NULL);
    return first_look(s);
}

int mqtt_certs_start(struct mqtt_certs *s)
{
    if (!s->active) {
        return 0;
    }
    pthread_mutex_lock(&s->lock);
    s->stopping = false;
    tell_days(s);
    int rc = set_timer(s);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void mqtt_certs_stop(struct mqtt_certs *s)
{
    if (!s->active) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->stopping = true; /* no timer is set any more */
    uint64_t timer = s->timer;
    s->timer = 0;
    pthread_mutex_unlock(&s->lock);
    if (timer != 0) {
        s->host->timer_clear(s->ctx, timer); /* waits for one that runs */
    }
}

void mqtt_certs_fini(struct mqtt_certs *s)
{
    if (s->active) {
        tls_files_fini(&s->files);
        pthread_mutex_destroy(&s->lock);
    }
}
