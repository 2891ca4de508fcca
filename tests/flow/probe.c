#include "probe.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct probe {
    const struct tpc_host *host;
    void *ctx;
    uint32_t count;
    char keys[PROBE_DEVICES][32];
    uint64_t sessions[PROBE_DEVICES];
    uint64_t link;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct probe *current;
static enum probe_mode mode_now;
static struct probe_sent sent_list[PROBE_SENT];
static size_t sent_total;
static int settled_errors[PROBE_TICKETS];
static bool settled_seen[PROBE_TICKETS];
static size_t settled_total;
static size_t resumed_total;

static const struct tpc_option probe_options[] = {
    { .name = "devices",
      .type = TPC_OPT_TEXT,
      .def = "t1",
      .since = "0.1",
      .help = "keys, with commas between them" },
    { .name = "presence",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "sessions mean online and offline" },
};

static int probe_init(void *self, const struct tpc_host *host, void *ctx,
                      const struct tpc_value *cfg)
{
    struct probe *p = self;
    struct tpc_str keys = tpc_value_text(tpc_value_get(cfg, TPC_STR("devices")));
    p->host = host;
    p->ctx = ctx;
    size_t at = 0;
    while (at < keys.len && p->count < PROBE_DEVICES) {
        size_t end = at;
        while (end < keys.len && keys.ptr[end] != ',') {
            end++;
        }
        snprintf(p->keys[p->count], sizeof(p->keys[0]), "%.*s", (int) (end - at), keys.ptr + at);
        p->count++;
        at = end + 1;
    }
    return 0;
}

static int probe_start(void *self)
{
    struct probe *p = self;
    struct tpc_session_options link = { .size = sizeof(link), .flags = TPC_SESSION_LINK };
    int rc = p->host->session_open(p->ctx, &link, &p->link);
    for (uint32_t i = 0; rc == 0 && i < p->count; i++) {
        struct tpc_session_options o = { .size = sizeof(o), .device = tpc_str_from(p->keys[i]) };
        rc = p->host->session_open(p->ctx, &o, &p->sessions[i]);
    }
    pthread_mutex_lock(&lock);
    current = rc == 0 ? p : NULL;
    pthread_mutex_unlock(&lock);
    return rc;
}

static void copy(char *to, size_t cap, const void *from, size_t len)
{
    size_t n = len < cap - 1 ? len : cap - 1;
    if (n > 0) {
        memcpy(to, from, n);
    }
    to[n] = '\0';
}

static int receive_reply(struct probe *p, uint64_t session, const char *correlation, int code)
{
    char payload[160];
    int n = snprintf(payload, sizeof(payload), "{\"code\":%d}", code);
    struct tpc_frame f = { .size = sizeof(f), .kind = TPC_MSG_REPLY };
    f.correlation = tpc_str_from(correlation);
    f.payload = (struct tpc_bytes){ (const uint8_t *) payload, (size_t) n };
    return p->host->receive(p->ctx, session, &f, 0);
}

static int probe_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                      uint64_t ticket)
{
    struct probe *p = self;
    struct timespec t;
    struct probe_sent s;
    pthread_mutex_lock(&lock);
    enum probe_mode mode = mode_now;
    pthread_mutex_unlock(&lock);
    if (mode == PROBE_REFUSE || mode == PROBE_LATER || peer->session == 0) {
        return mode == PROBE_LATER ? TPC_EAGAIN : TPC_EOFFLINE;
    }
    clock_gettime(CLOCK_MONOTONIC, &t);
    copy(s.device, sizeof(s.device), peer->device.ptr, peer->device.len);
    copy(s.name, sizeof(s.name), frame->name.ptr, frame->name.len);
    copy(s.correlation, sizeof(s.correlation), frame->correlation.ptr, frame->correlation.len);
    copy(s.payload, sizeof(s.payload), frame->payload.ptr, frame->payload.len);
    s.ticket = ticket;
    s.ns = (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
    pthread_mutex_lock(&lock);
    sent_list[sent_total++ % PROBE_SENT] = s;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (mode != PROBE_KEEP) {
        p->host->sent(p->ctx, ticket, NULL);
    }
    if (mode == PROBE_REPLY) {
        (void) receive_reply(p, peer->session, s.correlation, 0);
    }
    return 0;
}

static void probe_settled(void *self, const uint64_t *tickets, const int *errors, uint32_t count)
{
    (void) self;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < count; i++) {
        settled_errors[tickets[i] % PROBE_TICKETS] = errors[i];
        settled_seen[tickets[i] % PROBE_TICKETS] = true;
    }
    settled_total += count;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void probe_resume(void *self, uint64_t session)
{
    (void) self;
    (void) session;
    pthread_mutex_lock(&lock);
    resumed_total++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void probe_stop(void *self)
{
    struct probe *p = self;
    pthread_mutex_lock(&lock);
    current = NULL;
    pthread_mutex_unlock(&lock);
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->sessions[i] != 0) {
            p->host->session_close(p->ctx, p->sessions[i]);
            p->sessions[i] = 0;
        }
    }
    if (p->link != 0) {
        p->host->session_close(p->ctx, p->link);
        p->link = 0;
    }
}

static void probe_fini(void *self)
{
    (void) self;
}

static const struct tpc_adapter_ops probe_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "probe",
    .instance_size = sizeof(struct probe),
    .options = TPC_OPTIONS(probe_options),
    .init = probe_init,
    .start = probe_start,
    .send = probe_send,
    .settled = probe_settled,
    .resume = probe_resume,
    .stop = probe_stop,
    .fini = probe_fini,
};

static const struct tpc_interface probe_interfaces[] = { { TPC_KIND_ADAPTER, &probe_ops } };

TPC_MODULE(probe, .version = "1", .licence = "Apache-2.0",
           .interfaces = TPC_INTERFACES(probe_interfaces))

/* ---- for the test ---- */

void probe_mode(enum probe_mode mode)
{
    pthread_mutex_lock(&lock);
    mode_now = mode;
    pthread_mutex_unlock(&lock);
}

static uint64_t session_of(const struct probe *p, const char *device)
{
    if (device == NULL) {
        return p->link;
    }
    for (uint32_t i = 0; i < p->count; i++) {
        if (strcmp(p->keys[i], device) == 0) {
            return p->sessions[i];
        }
    }
    return 0;
}

int probe_receive(const char *device, const struct tpc_frame *frame, uint64_t ticket)
{
    pthread_mutex_lock(&lock);
    struct probe *p = current;
    pthread_mutex_unlock(&lock);
    return p == NULL ? TPC_ESTATE : p->host->receive(p->ctx, session_of(p, device), frame, ticket);
}

int probe_reply(size_t i, int code)
{
    struct probe_sent s = probe_sent(i);
    pthread_mutex_lock(&lock);
    struct probe *p = current;
    pthread_mutex_unlock(&lock);
    return p == NULL ? TPC_ESTATE : receive_reply(p, session_of(p, s.device), s.correlation, code);
}

size_t probe_sent_count(void)
{
    pthread_mutex_lock(&lock);
    size_t n = sent_total;
    pthread_mutex_unlock(&lock);
    return n;
}

struct probe_sent probe_sent(size_t i)
{
    pthread_mutex_lock(&lock);
    struct probe_sent s = sent_list[i % PROBE_SENT];
    pthread_mutex_unlock(&lock);
    return s;
}

static bool wait_for(const size_t *counter, size_t n)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += 20;
    int rc = 0;
    pthread_mutex_lock(&lock);
    while (*counter < n && rc == 0) {
        rc = pthread_cond_timedwait(&changed, &lock, &t);
    }
    bool reached = *counter >= n;
    pthread_mutex_unlock(&lock);
    return reached;
}

bool probe_wait_sent(size_t n)
{
    return wait_for(&sent_total, n);
}

size_t probe_settled_count(void)
{
    pthread_mutex_lock(&lock);
    size_t n = settled_total;
    pthread_mutex_unlock(&lock);
    return n;
}

bool probe_wait_settled(size_t n)
{
    return wait_for(&settled_total, n);
}

int probe_settled_error(uint64_t ticket)
{
    pthread_mutex_lock(&lock);
    int rc = settled_seen[ticket % PROBE_TICKETS] ? settled_errors[ticket % PROBE_TICKETS] : 1;
    pthread_mutex_unlock(&lock);
    return rc;
}

size_t probe_resumed_count(void)
{
    pthread_mutex_lock(&lock);
    size_t n = resumed_total;
    pthread_mutex_unlock(&lock);
    return n;
}

void probe_forget(void)
{
    pthread_mutex_lock(&lock);
    sent_total = 0;
    settled_total = 0;
    resumed_total = 0;
    mode_now = PROBE_TAKE;
    memset(settled_seen, 0, sizeof(settled_seen));
    pthread_mutex_unlock(&lock);
}

const struct tpc_host *probe_host(void **ret_ctx)
{
    pthread_mutex_lock(&lock);
    struct probe *p = current;
    pthread_mutex_unlock(&lock);
    *ret_ctx = p != NULL ? p->ctx : NULL;
    return p != NULL ? p->host : NULL;
}
