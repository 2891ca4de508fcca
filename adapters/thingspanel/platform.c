/* Life of the half, its thread, the heartbeat. See platform.h. */
#include "platform.h"

#include "../text/say.h"
#include "base/alloc.h"
#include "base/error.h"

#include <signal.h>
#include <string.h>
#include <time.h>

enum { ARENA_BYTES = 64 << 20, WAIT_MAX_MS = 3600000, NOTES_A_STEP = 64 };

uint64_t tp_http_now(const struct tp_http *h)
{
    return h->host->clock->mono_ns(h->host->clock->user) / 1000000;
}

void tp_http_wake(struct tp_http *h)
{
    h->poked = true;
    pthread_cond_signal(&h->came);
}

uint64_t tp_http_pause(struct tp_http *h, uint32_t failures, uint64_t least_ms)
{
    uint8_t byte = 0;
    uint64_t ms = TP_PAUSE_MIN_MS;
    for (uint32_t i = 1; i < failures && ms < TP_PAUSE_MAX_MS; i++) {
        ms *= 2;
    }
    ms = ms < least_ms ? least_ms : ms;
    ms = ms > TP_PAUSE_MAX_MS && least_ms <= TP_PAUSE_MAX_MS ? TP_PAUSE_MAX_MS : ms;
    (void) h->host->random->fill(h->host->random->user, &byte, 1);
    return ms + ms * byte / 1024; /* up to a quarter more */
}

int tp_http_note(struct tp_http *h, enum tp_note_kind kind, struct tpc_str text)
{
    struct tp_http_note *n = tpi_alloc(h->host->allocator, sizeof(*n) + text.len);
    int rc = n == NULL ? TPC_ENOMEM : 0;
    pthread_mutex_lock(&h->lock);
    if (rc == 0 && (h->stopping || h->note_count >= TP_NOTES_LIMIT)) {
        rc = h->stopping ? TPC_ESTATE : TPC_EAGAIN;
    }
    if (rc == 0) {
        n->next = NULL;
        n->kind = kind;
        n->len = text.len;
        if (text.len > 0) {
            memcpy(n->text, text.ptr, text.len);
        }
        *(h->last_note != NULL ? &h->last_note->next : &h->notes) = n;
        h->last_note = n;
        h->note_count++;
        tp_http_wake(h);
    }
    pthread_mutex_unlock(&h->lock);
    if (rc != 0 && n != NULL) {
        tpi_free(h->host->allocator, n, sizeof(*n) + text.len);
    }
    return rc;
}

static struct tp_http_note *take_note(struct tp_http *h)
{
    pthread_mutex_lock(&h->lock);
    struct tp_http_note *n = h->notes;
    if (n != NULL) {
        h->notes = n->next;
        h->last_note = h->notes != NULL ? h->last_note : NULL;
        h->note_count--;
    }
    pthread_mutex_unlock(&h->lock);
    return n;
}

static void free_note(struct tp_http *h, struct tp_http_note *n)
{
    tpi_free(h->host->allocator, n, sizeof(*n) + n->len);
}

/* A device is to be read again. Until it was, nobody is let in as it. */
static void read_again(struct tp_http *h, struct tpc_str id)
{
    pthread_mutex_lock(&h->lock);
    struct tp_device *d = tp_devices_by_id(&h->devices, id);
    struct tp_ask *a = tp_ask_get(h, true, id);
    if (a != NULL) {
        if (d != NULL) {
            d->checking = true;
        }
        tp_ask_want(h, a);
    }
    pthread_mutex_unlock(&h->lock);
    if (a == NULL) {
        h->host->count(h->ctx, "asks_refused", 1);
        tp_check_over(h, id); /* without a call no answer would end it */
        tp_lists_due(h);
    }
}

static void read_notes(struct tp_http *h)
{
    struct tp_http_note *n;
    for (int i = 0; i < NOTES_A_STEP && (n = take_note(h)) != NULL; i++) {
        struct tpc_str text = { n->text, n->len };
        if (n->kind == TP_NOTE_DEVICE) {
            read_again(h, text);
        } else if (n->kind == TP_NOTE_POINT) {
            if (tp_point_ask(h, text) != 0) {
                tp_lists_due(h);
            }
        } else if (n->kind == TP_NOTE_ALL || h->list.state == TP_LIST_NONE) {
            tp_lists_due(h);
        }
        free_note(h, n);
    }
}

/* ---- heartbeat ---- */

static uint64_t beat(struct tp_http *h, uint64_t now)
{
    if (h->beat_away) {
        return WAIT_MAX_MS;
    }
    if (now >= h->beat_ms) {
        struct tpi_buf b;
        tpi_buf_init(&b, h->host->allocator, 0);
        int rc = tpi_buf_printf(&b, "{\"service_identifier\":");
        rc = rc != 0 ? rc : say_quoted(&b, tpc_str_from(h->identifier));
        rc = rc != 0 ? rc : tpi_buf_put(&b, "}", 1);
        h->beat_away = rc == 0; /* before an answer can come */
        rc = rc != 0
                 ? rc
                 : tp_request_send(h, TP_REQUEST_HEARTBEAT, NULL, (struct tpc_str){ NULL, 0 }, &b);
        h->beat_away = rc == 0;
        tpi_buf_fini(&b);
        h->beat_ms = now + (rc == 0 ? h->config->heartbeat_ms : TP_PAUSE_MIN_MS);
    }
    return h->beat_ms - now;
}

/* ---- the thread ---- */

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t tp_http_step(struct tp_http *h)
{
    uint64_t wait = WAIT_MAX_MS;
    tp_requests_read(h);
    read_notes(h);
    uint64_t now = tp_http_now(h);
    wait = lesser(wait, beat(h, now));
    wait = lesser(wait, tp_lists_step(h, now));
    wait = lesser(wait, tp_apply_step(h, now));
    wait = lesser(wait, tp_asks_step(h, now));
    if (h->dirty && now >= h->save_ms) {
        h->dirty = false;
        tp_keep_save(h);
        h->save_took_ms = tp_http_now(h) - now;
    } else if (h->dirty) {
        wait = lesser(wait, h->save_ms - now);
    }
    return wait;
}

void tp_http_changed(struct tp_http *h)
{
    if (!h->dirty) {
        h->dirty = true;
        /* A large file is not written all the time. */
        h->save_ms = tp_http_now(h) + TP_SAVE_MS + TP_SAVE_REST * h->save_took_ms;
    }
}

static void wait_change(struct tp_http *h, uint64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t) (ms / 1000);
    until.tv_nsec += (long) (ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&h->came, &h->lock, &until);
}

static void *run(void *user)
{
    struct tp_http *h = user;
    pthread_mutex_lock(&h->lock);
    while (!h->stopping) {
        h->poked = false;
        pthread_mutex_unlock(&h->lock);
        uint64_t wait = tp_http_step(h);
        pthread_mutex_lock(&h->lock);
        if (!h->stopping && !h->poked && wait > 0) {
            wait_change(h, wait);
        }
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

static int start_thread(struct tp_http *h, pthread_t *thread, void *(*fn)(void *) )
{
    sigset_t all, before;
    /* Signals are the program's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(thread, NULL, fn, h);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? 0 : h->host->fail(h->ctx, TPC_EIO, "no thread: errno %d", rc);
}

/* ---- life ---- */

int tp_http_create(const struct tpc_host *host, void *ctx, const struct tp_config *config,
                   struct tp_http **ret)
{
    uint64_t seed = 0;
    pthread_condattr_t monotonic;
    struct tp_http *h = tpi_alloc_zero(host->allocator, sizeof(*h));
    if (h == NULL) {
        return host->fail(ctx, TPC_ENOMEM, "no memory for the platform");
    }
    h->host = host;
    h->ctx = ctx;
    h->config = config;
    h->stopping = true;
    (void) host->random->fill(host->random->user, &seed, sizeof(seed));
    pthread_mutex_init(&h->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&h->came, &monotonic);
    pthread_cond_init(&h->found, &monotonic);
    pthread_cond_init(&h->quiet, &monotonic);
    pthread_condattr_destroy(&monotonic);
    tp_devices_init(&h->devices, host->allocator, config->devices_max, seed);
    tpi_map_init(&h->gone, host->allocator);
    tpi_map_init(&h->asks, host->allocator);
    tpi_map64_init(&h->logins, host->allocator);
    h->gone.seed = h->asks.seed = seed;
    memcpy(h->identifier, config->identifier.ptr != NULL ? config->identifier.ptr : "",
           config->identifier.len);
    memcpy(h->product, h->identifier, sizeof(h->product));
    tp_access_init(h);
    int rc = tpc_arena_create(host->allocator, ARENA_BYTES, &h->arena);
    rc = rc != 0 ? host->fail(ctx, rc, "no memory for the platform") : tp_allow_read(h);
    if (rc != 0) {
        tp_http_destroy(h);
        return rc;
    }
    *ret = h;
    return 0;
}

struct tp_http *tp_http_destroy(struct tp_http *h)
{
    if (h == NULL) {
        return NULL;
    }
    tp_points_fini(h);
    tp_asks_fini(h);
    tp_forms_fini(&h->forms);
    tp_devices_fini(&h->devices);
    tpi_map_fini(&h->gone);
    tpi_map_fini(&h->asks);
    tpi_map64_fini(&h->logins);
    h->arena = tpc_arena_destroy(h->arena);
    pthread_cond_destroy(&h->came);
    pthread_cond_destroy(&h->found);
    pthread_cond_destroy(&h->quiet);
    pthread_mutex_destroy(&h->lock);
    tpi_free(h->host->allocator, h, sizeof(*h));
    return NULL;
}

/* What stands in topics and URLs, and is a key of the core. */
static bool is_identifier(const char *text)
{
    size_t n = text != NULL ? strlen(text) : 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char) text[i];
        if (c <= ' ' || c == 0x7f || strchr("+#/\"\\", c) != NULL) {
            return false;
        }
    }
    return n > 0 && n <= 100;
}

int tp_http_serve(struct tp_http *h, const struct tpc_service_ops *ops, void *user,
                  struct tpc_error *err)
{
    static const char origin[] = "thingspanel";
    if (h->started) {
        return tpi_error_set(err, TPC_ESTATE, origin, "it runs");
    }
    if (h->ops != NULL) {
        return tpi_error_set(err, TPC_EEXIST, origin, "\"%s\" is served", h->product);
    }
    if (ops == NULL || ops->iface.major != 1 || !TPC_HAS(ops, struct tpc_service_ops, identifier)) {
        return tpi_error_set(err, TPC_EINVAL, origin, "a service without its table");
    }
    if (!is_identifier(ops->identifier)) {
        tpi_error_set(err, TPC_EINVAL, origin,
                      "1 to 100 bytes without blanks, quotes, slashes, + and #");
        tpi_error_at(err, "identifier");
        return TPC_EINVAL;
    }
    if (ops->iface.size >= offsetof(struct tpc_service_ops, forms) + sizeof(ops->forms)) {
        int rc = tp_forms_read(&h->forms, h->host->allocator, &ops->forms, err);
        if (rc != 0) {
            return rc;
        }
    }
    h->ops = ops;
    h->ops_user = user;
    memcpy(h->product, ops->identifier, strlen(ops->identifier) + 1);
    if (h->identifier[0] == '\0') {
        memcpy(h->identifier, h->product, sizeof(h->identifier));
    }
    tp_access_serve(h);
    return 0;
}

/* What was to be asked before a stop was forgotten there; the lists are read anew. */
static void end_checks(struct tp_http *h)
{
    size_t at = 0;
    void *value = NULL;
    while (tpi_map_next(&h->devices.by_id, &at, NULL, &value)) {
        struct tp_device *d = value;
        d->checking = false;
    }
}

int tp_http_begin(struct tp_http *h)
{
    const void *ops = h->client;
    int rc = h->client == NULL ? h->host->need(h->ctx, "http.client", &ops, &h->client_self) : 0;
    if (rc != 0) {
        return h->host->fail(h->ctx, rc, "it needs the module http_client: open that, too");
    }
    h->client = ops;
    h->started = true;
    h->beat_ms = 0;
    h->beat_away = h->said = h->alive = false;
    memset(h->wrong_code, 0, sizeof(h->wrong_code));
    rc = tp_keep_load(h);
    pthread_mutex_lock(&h->lock);
    end_checks(h);
    h->stopping = false; /* before it nobody looks into the directory to log in */
    pthread_mutex_unlock(&h->lock);
    rc = rc != 0 ? rc : tp_callbacks_start(h);
    tp_lists_due(h);
    return rc;
}

static void drop_rest(struct tp_http *h)
{
    struct tp_http_note *n;
    while ((n = take_note(h)) != NULL) {
        free_note(h, n);
    }
    while (h->searches != NULL) {
        struct tp_discover *d = h->searches;
        h->searches = d->next;
        tpi_free(h->host->allocator, d, sizeof(*d) + d->len);
    }
    h->last_search = NULL;
    h->search_count = 0;
}

void tp_http_end(struct tp_http *h)
{
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    pthread_mutex_unlock(&h->lock);
    tp_callbacks_stop(h);
    tp_requests_end(h);
    tp_asks_fini(h);
    drop_rest(h);
    if (h->dirty) {
        h->dirty = false;
        tp_keep_save(h);
    }
    h->list.state = h->points_list.state = TP_LIST_NONE;
    h->list.page = 0;
    h->list.again = h->points_list.again = false;
    h->started = false;
}

int tp_http_start(struct tp_http *h)
{
    const void *ops;
    void *self;
    if (h->identifier[0] == '\0' || (h->ops == NULL && h->client == NULL &&
                                     h->host->need(h->ctx, "http.client", &ops, &self) != 0)) {
        return 0; /* a sink alone: devices are what the core has */
    }
    int rc = tp_http_begin(h);
    rc = rc != 0 ? rc : start_thread(h, &h->thread, run);
    h->thread_runs = rc == 0;
    rc = rc != 0 ? rc : start_thread(h, &h->finder, tp_finder);
    h->finder_runs = rc == 0;
    if (rc != 0) {
        tp_http_stop(h);
    }
    return rc;
}

bool tp_http_runs(const struct tp_http *h)
{
    return h->started;
}

static void join(bool *runs, pthread_t thread)
{
    if (*runs) {
        pthread_join(thread, NULL);
        *runs = false;
    }
}

void tp_http_stop(struct tp_http *h)
{
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    pthread_cond_broadcast(&h->came);
    pthread_cond_broadcast(&h->found);
    pthread_mutex_unlock(&h->lock);
    join(&h->thread_runs, h->thread);
    join(&h->finder_runs, h->finder);
    if (h->started) {
        tp_http_end(h);
    }
}

/* ---- the directory, for the other half ---- */

static void fill(const struct tp_device *d, struct tp_found *ret)
{
    const struct tpc_str texts[3] = { d->f.id, d->f.parent, d->f.address };
    char *to[3] = { ret->id, ret->parent, ret->address };
    for (int i = 0; i < 3; i++) {
        size_t n = texts[i].len < TP_KEY_BYTES ? texts[i].len : TP_KEY_BYTES;
        memcpy(to[i], texts[i].ptr, n);
        to[i][n] = '\0';
    }
}

static enum tp_known know(void *self, struct tpc_str id)
{
    struct tp_http *h = self;
    pthread_mutex_lock(&h->lock);
    enum tp_known known = tp_devices_by_id(&h->devices, id) != NULL ? TP_KNOWN
                          : id.len > 0 && tpi_map_get(&h->gone, id.ptr, id.len) != NULL
                              ? TP_GONE
                              : TP_UNKNOWN;
    pthread_mutex_unlock(&h->lock);
    return known;
}

static bool find(void *self, struct tpc_str text, struct tp_found *ret)
{
    struct tp_http *h = self;
    pthread_mutex_lock(&h->lock);
    const struct tp_device *d = tp_devices_by_id(&h->devices, text);
    d = d != NULL ? d : tp_devices_by_number(&h->devices, text);
    if (d != NULL) {
        fill(d, ret);
    }
    pthread_mutex_unlock(&h->lock);
    return d != NULL;
}

static bool child(void *self, struct tpc_str parent_id, struct tpc_str address,
                  struct tp_found *ret)
{
    struct tp_http *h = self;
    pthread_mutex_lock(&h->lock);
    const struct tp_device *d = tp_devices_by_id(&h->devices, parent_id);
    d = d != NULL ? d->first_behind : NULL;
    while (d != NULL && !tpc_str_equal(d->f.address, address)) {
        d = d->next_behind;
    }
    if (d != NULL) {
        fill(d, ret);
    }
    pthread_mutex_unlock(&h->lock);
    return d != NULL;
}

static void link_changed(void *self, bool up)
{
    struct tp_http *h = self;
    if (up) {
        /* What changed while it was away was not told. */
        (void) tp_http_note(h, TP_NOTE_LINK, (struct tpc_str){ NULL, 0 });
    }
}

const struct tp_directory_ops tp_http_directory = {
    .know = know, .find = find, .child = child, .link = link_changed
};
