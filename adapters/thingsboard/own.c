/* The gateway itself: what the server asks it, and what it says of itself. */
#include "inside.h"

#include "../text/say.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tpcore/version.h>
#include <unistd.h>

#include "data/member.h"

enum { DEVICES_SAID_MAX = 30000, TOPIC_BYTES = 80 };

static bool is(struct tpc_str text, const char *literal)
{
    return tpc_str_equal(text, tpc_str_from(literal)) != 0;
}

static bool begins(struct tpc_str text, const char *literal)
{
    size_t n = strlen(literal);
    return text.len >= n && memcmp(text.ptr, literal, n) == 0;
}

/* ---- statistics ---- */

/* Memory of this process that is in use, in pages; 0 where the system does not say. */
static int64_t pages_used(const struct tpc_files *f)
{
    char text[128];
    void *file = NULL;
    if (f->open(f->user, "/proc/self/statm", TPC_FILE_READ, &file, NULL) != 0) {
        return 0;
    }
    int64_t got = f->read_at(f->user, file, text, sizeof(text) - 1, 0, NULL);
    f->close(f->user, file);
    text[got > 0 ? got : 0] = '\0';
    const char *second = strchr(text, ' ');
    return second != NULL ? strtoll(second, NULL, 10) : 0;
}

/* CPU time of this process in percent of one core, since the last call. */
static double cpu_percent(struct tb *s, uint64_t now_ms)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    uint64_t cpu = (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
    double percent = now_ms > s->cpu_at_ms && s->cpu_at_ms != 0
                         ? 100.0 * (double) (cpu - s->cpu_ms) / (double) (now_ms - s->cpu_at_ms)
                         : 0;
    s->cpu_ms = cpu;
    s->cpu_at_ms = now_ms;
    return percent;
}

static int say_stats(struct tb *s, struct tpi_buf *b, const struct tb_totals *t, double cpu)
{
    int64_t pages = pages_used(s->host->files);
    long page = sysconf(_SC_PAGESIZE);
    int64_t rss = pages > 0 && page > 0 ? pages * page : 0;
    return tpi_buf_printf(
        b,
        "{\"machineStats\":{\"gwProcessCpuUsage\":%.1f,\"gwMemory\":%lld,"
        "\"msgsSentToPlatform\":%llu,\"msgsReceivedFromPlatform\":%llu},"
        "\"serviceStats\":{\"platformMsgPushed\":%llu,\"platformAttrProduced\":%llu,"
        "\"platformTsProduced\":%llu}}",
        cpu, (long long) rss, (unsigned long long) t->messages, (unsigned long long) t->received,
        (unsigned long long) t->messages, (unsigned long long) t->attributes,
        (unsigned long long) t->telemetry);
}

void tb_own_stats(struct tb *s, uint64_t now_ms)
{
    struct tpi_buf b;
    struct tb_totals since;
    pthread_mutex_lock(&s->lock);
    since = s->totals;
    since.messages -= s->said.messages;
    since.received -= s->said.received;
    since.telemetry -= s->said.telemetry;
    since.attributes -= s->said.attributes;
    s->said = s->totals;
    pthread_mutex_unlock(&s->lock);
    tpi_buf_init(&b, s->host->allocator, 0);
    int rc = say_stats(s, &b, &since, cpu_percent(s, now_ms));
    if (rc == 0) {
        (void) tb_publish(s, TB_DEVICE "telemetry", &b);
    }
    tpi_buf_fini(&b);
}

/* ---- firmware ---- */

void tb_own_hello(struct tb *s)
{
    struct tpi_buf b;
    if (s->config.fw_title.len == 0) {
        return;
    }
    tpi_buf_init(&b, s->host->allocator, 0);
    int rc = tpi_buf_printf(&b, "{\"current_fw_title\":");
    rc = rc != 0 ? rc : say_quoted(&b, s->config.fw_title);
    rc = rc != 0 ? rc : tpi_buf_printf(&b, ",\"current_fw_version\":");
    rc = rc != 0 ? rc : say_quoted(&b, s->config.fw_version);
    rc = rc != 0 ? rc : tpi_buf_put(&b, "}", 1);
    if (rc == 0) {
        (void) tb_publish(s, TB_DEVICE "telemetry", &b);
    }
    tpi_buf_fini(&b);
    tb_ask_own(s);
}

/* The server offers a firmware: it is told that nobody here installs it, or that it is there. */
static void firmware(struct tb *s, const struct tpc_value *shared)
{
    struct tpc_str title = tpi_member_text(shared, "fw_title");
    struct tpc_str version = tpi_member_text(shared, "fw_version");
    if (s->config.fw_title.len == 0 || title.len == 0 || version.len == 0) {
        return;
    }
    if (tpc_str_equal(title, s->config.fw_title) != 0 &&
        tpc_str_equal(version, s->config.fw_version) != 0) {
        (void) tb_say(s, TB_DEVICE "telemetry", "{\"fw_state\":\"UPDATED\"}");
        return;
    }
    s->host->count(s->ctx, "firmware_notices", 1);
    s->host->log(s->ctx, TPC_LOG_WARN,
                 "the server has firmware %.*s %.*s for this gateway: install it on the host",
                 (int) (title.len < 100 ? title.len : 100), title.ptr,
                 (int) (version.len < 100 ? version.len : 100), version.ptr);
    (void) tb_say(s, TB_DEVICE "telemetry",
                  "{\"fw_state\":\"FAILED\",\"fw_error\":\"this gateway does not update itself\"}");
}

void tb_own_attributes(struct tb *s, const struct tpc_value *shared)
{
    firmware(s, shared);
    if (s->config.own.len > 0 && tpi_member(shared, "fw_title") == NULL) {
        tb_set(s, s->config.own, shared);
    }
}

/* ---- RPC ---- */

static void reply(struct tb *s, int64_t id, const struct tpi_buf *b)
{
    char topic[TOPIC_BYTES];
    snprintf(topic, sizeof(topic), TB_DEVICE "rpc/response/%lld", (long long) id);
    if (tb_publish(s, topic, b) != 0) {
        s->host->count(s->ctx, "replies_lost", 1);
    }
}

static void reply_text(struct tb *s, int64_t id, const char *text)
{
    struct tpi_buf b = { .ptr = (uint8_t *) (uintptr_t) text, .len = strlen(text) };
    reply(s, id, &b);
}

/* {"name":"type"} of those that are connected. */
static int say_devices(struct tb *s, struct tpi_buf *b)
{
    int rc = tpi_buf_put(b, "{", 1);
    pthread_mutex_lock(&s->lock);
    for (const struct tb_device *d = s->devices.first;
         d != NULL && rc == 0 && b->len < DEVICES_SAID_MAX; d = d->next) {
        if (d->online) {
            rc = b->len > 1 ? tpi_buf_put(b, ",", 1) : 0;
            rc = rc != 0 ? rc : say_quoted(b, d->name);
            rc = rc != 0 ? rc : tpi_buf_put(b, ":", 1);
            rc = rc != 0 ? rc : say_quoted(b, d->type);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return rc != 0 ? rc : tpi_buf_put(b, "}", 1);
}

static int say_old_stats(struct tb *s, struct tpi_buf *b)
{
    pthread_mutex_lock(&s->lock);
    struct tb_totals t = s->totals;
    pthread_mutex_unlock(&s->lock);
    return tpi_buf_printf(b, "{\"eventsProduced\":%llu,\"eventsSent\":%llu}",
                          (unsigned long long) (t.telemetry + t.attributes),
                          (unsigned long long) t.messages);
}

static void renamed(struct tb *s, const struct tb_down *d)
{
    int rc = d->params.type == TPC_MAP && d->params.len > 0 ? 0 : TPC_EINVAL;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; rc == 0 && i < d->params.len; i++) {
        const struct tpc_member *m = &d->params.as.members[i];
        rc = tb_devices_rename(&s->devices, m->key, tpc_value_text(&m->value));
    }
    pthread_mutex_unlock(&s->lock);
    if (rc != 0) {
        reply_text(s, d->id, "{\"success\":false,\"error\":\"not {old name: new name}\"}");
        return;
    }
    tb_state_save(s);
    s->host->count(s->ctx, "devices_renamed", 1);
    reply_text(s, d->id, "{\"success\":true}");
}

static void deleted(struct tb *s, const struct tb_down *d)
{
    struct tpc_str name = tpc_value_text(&d->params);
    int rc = name.len > 0 ? 0 : TPC_EINVAL;
    if (rc == 0) {
        pthread_mutex_lock(&s->lock);
        rc = tb_devices_delete(&s->devices, name, s->config.stay_away);
        pthread_mutex_unlock(&s->lock);
    }
    if (rc != 0) {
        reply_text(s, d->id, "{\"success\":false,\"error\":\"not a device's name\"}");
        return;
    }
    tb_state_save(s);
    s->host->count(s->ctx, "devices_deleted", 1);
    s->host->log(s->ctx, TPC_LOG_INFO, "device \"%.*s\" was deleted at the server%s",
                 (int) (name.len < 200 ? name.len : 200), name.ptr,
                 s->config.stay_away ? ": nothing of it is sent any more" : "");
    reply_text(s, d->id, "{\"success\":true}");
}

static void gateway_rpc(struct tb *s, const struct tb_down *d)
{
    struct tpi_buf b;
    int rc = 0;
    tpi_buf_init(&b, s->host->allocator, 0);
    if (is(d->method, "gateway_ping")) {
        rc = tpi_buf_printf(&b, "{\"code\":200,\"resp\":\"pong\"}");
    } else if (is(d->method, "gateway_stats")) {
        rc = say_old_stats(s, &b);
    } else if (is(d->method, "gateway_devices")) {
        rc = tpi_buf_printf(&b, "{\"code\":200,\"resp\":");
        struct tpi_buf list;
        tpi_buf_init(&list, s->host->allocator, 0);
        rc = rc != 0 ? rc : say_devices(s, &list);
        rc = rc != 0 ? rc : tpi_buf_put(&b, list.ptr, list.len);
        tpi_buf_fini(&list);
        rc = rc != 0 ? rc : tpi_buf_put(&b, "}", 1);
    } else if (is(d->method, "gateway_version")) {
        rc = tpi_buf_printf(&b, "{\"code\":200,\"resp\":\"%s\"}", TPC_VERSION);
    } else if (is(d->method, "gateway_restart") || is(d->method, "gateway_reboot") ||
               is(d->method, "gateway_update")) {
        rc = tpi_buf_printf(&b, "{\"error\":\"the host's administrator does that\",\"code\":403}");
    } else if (is(d->method, "gateway_remove_provisioned_credentials")) {
        tb_state_forget_credentials(s);
        rc = tpi_buf_printf(&b, "{\"success\":true}");
    } else {
        rc = tpi_buf_printf(&b, "{\"error\":\"Method not found\",\"code\":404}");
    }
    if (rc == 0) {
        reply(s, d->id, &b);
    }
    tpi_buf_fini(&b);
}

/* What the original runs in a shell. */
static bool is_shell(struct tpc_str method)
{
    return is(method, "getTermInfo") || is(method, "sendCommand") ||
           is(method, "getCommandStatus") || is(method, "terminateCommand");
}

void tb_own_rpc(struct tb *s, const struct tb_down *d)
{
    if (is(d->method, "gateway_device_renamed")) {
        renamed(s, d);
    } else if (is(d->method, "gateway_device_deleted")) {
        deleted(s, d);
    } else if (s->config.own.len > 0 && !begins(d->method, "gateway_") && !is_shell(d->method)) {
        tb_rpc(s, d, true);
    } else {
        if (is_shell(d->method) && !s->shell_told) {
            s->shell_told = true;
            s->host->log(s->ctx, TPC_LOG_WARN,
                         "the server asks for a remote shell: there is none, by design");
        }
        gateway_rpc(s, d);
    }
}
