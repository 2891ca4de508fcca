/*
 * Questions for one device: POST /api/v1/plugin/device/config, by voucher for a connection that wants in,
 * by id after a callback. The platform takes one of a voucher in 3 s and answers 201003 else; of one
 * voucher or id one is on its way at a time, and a voucher that is not known again and again is left alone.
 */
#include "platform.h"

#include "../text/say.h"
#include "base/alloc.h"

#include <string.h>

enum { WAIT_MAX_MS = 3600000, OPERATOR_FAILURES = 5 };

static struct tpc_str text_of(const struct tp_ask *a)
{
    return (struct tpc_str){ a->key + 1, a->key_len - 1 };
}

struct tp_ask *tp_ask_get(struct tp_http *h, bool by_id, struct tpc_str text)
{
    char key[TP_VOUCHER_BYTES + 1];
    if (text.len == 0 || text.len > TP_VOUCHER_BYTES) {
        return NULL;
    }
    key[0] = by_id ? 'i' : 'v';
    memcpy(key + 1, text.ptr, text.len);
    struct tp_ask *a = tpi_map_get(&h->asks, key, text.len + 1);
    if (a != NULL || h->ask_count >= TP_ASKS_LIMIT) {
        return a;
    }
    a = tpi_alloc_zero(h->host->allocator, sizeof(*a) + text.len + 1);
    if (a == NULL) {
        return NULL;
    }
    a->by_id = by_id;
    a->key_len = text.len + 1;
    memcpy(a->key, key, a->key_len);
    if (tpi_map_put(&h->asks, key, a->key_len, a, NULL) != 0) {
        tpi_free(h->host->allocator, a, sizeof(*a) + a->key_len);
        return NULL;
    }
    *(h->last_ask != NULL ? &h->last_ask->next : &h->all_asks) = a; /* in the order they came */
    h->last_ask = a;
    h->ask_count++;
    return a;
}

/* The earliest it may be asked again. */
static uint64_t allowed_ms(const struct tp_http *h, const struct tp_ask *a)
{
    return a->by_id || a->last_ms == 0 ? 0 : a->last_ms + h->config->config_interval_ms;
}

void tp_ask_want(struct tp_http *h, struct tp_ask *a)
{
    if (a->away) {
        a->again = a->by_id; /* the answer under way may be the one before the change */
        return;
    }
    uint64_t due = allowed_ms(h, a);
    if (!a->want) {
        a->want = true;
        a->due_ms = due;
    } else if (a->by_id && a->due_ms > due) {
        a->due_ms = due;
    }
    tp_http_wake(h);
}

/* ---- calling ---- */

static int send_ask(struct tp_http *h, struct tp_ask *a)
{
    struct tpi_buf b;
    tpi_buf_init(&b, h->host->allocator, 0);
    int rc = tpi_buf_printf(&b, "{\"%s\":", a->by_id ? "device_id" : "voucher");
    rc = rc != 0 ? rc : say_quoted(&b, text_of(a));
    rc = rc != 0 ? rc : tpi_buf_put(&b, "}", 1);
    rc = rc != 0 ? rc : tp_request_send(h, TP_REQUEST_CONFIG, a, (struct tpc_str){ NULL, 0 }, &b);
    tpi_buf_fini(&b);
    return rc;
}

static void call(struct tp_http *h, struct tp_ask *a, uint64_t now)
{
    pthread_mutex_lock(&h->lock);
    a->want = false;
    a->away = true;
    a->again = false;
    h->asks_away++;
    pthread_mutex_unlock(&h->lock);
    int rc = send_ask(h, a);
    pthread_mutex_lock(&h->lock);
    if (rc == 0) {
        a->last_ms = now;
    } else {
        a->away = false;
        h->asks_away--;
        a->want = true;
        a->due_ms = now + tp_http_pause(h, ++a->failures, 0);
    }
    pthread_mutex_unlock(&h->lock);
}

/* ---- answers ---- */

void tp_check_over(struct tp_http *h, struct tpc_str id)
{
    struct tp_ask *waiting = NULL;
    pthread_mutex_lock(&h->lock);
    struct tp_device *d = tp_devices_by_id(&h->devices, id);
    if (d != NULL && d->checking) {
        d->checking = false;
        char key[TP_VOUCHER_BYTES + 1] = { 'v' };
        if (d->f.voucher.len > 0 && d->f.voucher.len <= TP_VOUCHER_BYTES) {
            memcpy(key + 1, d->f.voucher.ptr, d->f.voucher.len);
            waiting = tpi_map_get(&h->asks, key, d->f.voucher.len + 1);
        }
    }
    pthread_mutex_unlock(&h->lock);
    if (waiting != NULL) {
        tp_ask_resolve(h, waiting);
    }
}

static void check_is_over(struct tp_http *h, const struct tp_ask *a)
{
    if (a->by_id) {
        tp_check_over(h, text_of(a));
    }
}

static void try_later(struct tp_http *h, struct tp_ask *a, const struct tp_reply *r)
{
    pthread_mutex_lock(&h->lock);
    a->failures++;
    if (r->verdict == TP_REPLY_OPERATOR && a->failures < OPERATOR_FAILURES) {
        a->failures = OPERATOR_FAILURES;
    }
    uint64_t least = a->by_id && r->verdict != TP_REPLY_LIMITED ? 0 : h->config->config_interval_ms;
    /* A rate limit is no failure: the next one is as soon as it may be. */
    uint32_t failures = r->verdict == TP_REPLY_LIMITED ? 1 : a->failures;
    a->want = a->by_id || a->logins != NULL;
    a->due_ms = tp_http_now(h) + tp_http_pause(h, failures, least);
    pthread_mutex_unlock(&h->lock);
}

/* One after the other: one that waits for its end can be called off until its turn. */
static void end_logins(struct tp_http *h, struct tp_ask *a, enum tp_login_end how,
                       struct tpc_str id)
{
    for (;;) {
        pthread_mutex_lock(&h->lock);
        struct tp_login *l = a->logins;
        if (l != NULL) {
            a->logins = l->next;
            l->ask = NULL;
            (void) tpi_map64_remove(&h->logins, l->id);
            h->calling = l->id;
        }
        pthread_mutex_unlock(&h->lock);
        if (l == NULL) {
            return;
        }
        tp_login_end(h, l, how, id);
    }
}

static void is_unknown(struct tp_http *h, struct tp_ask *a)
{
    if (a->by_id) {
        struct tp_device *d = tp_devices_by_id(&h->devices, text_of(a));
        if (d != NULL) {
            tp_apply_gone(h, d);
        }
        return;
    }
    pthread_mutex_lock(&h->lock);
    a->unknown++;
    bool blocked = a->unknown >= TP_UNKNOWN_TRIES && h->config->unknown_pause_ms > 0;
    if (blocked) {
        a->unknown = 0;
        a->blocked_ms = tp_http_now(h) + h->config->unknown_pause_ms;
    }
    pthread_mutex_unlock(&h->lock);
    if (blocked) {
        h->host->count(h->ctx, "vouchers_blocked", 1);
    }
    end_logins(h, a, TP_LOGIN_REFUSED, (struct tpc_str){ NULL, 0 });
}

void tp_ask_reply(struct tp_http *h, struct tp_ask *a, const struct tp_reply *r)
{
    pthread_mutex_lock(&h->lock);
    a->away = false;
    h->asks_away--;
    bool again = a->again;
    a->again = false;
    pthread_mutex_unlock(&h->lock);
    struct tp_reply reply = *r;
    if (reply.verdict == TP_REPLY_OK && (reply.data == NULL || reply.data->type != TPC_MAP)) {
        reply.verdict = TP_REPLY_NO; /* "data":null: there is none */
    }
    int rc = 0;
    if (reply.verdict == TP_REPLY_OK) {
        const struct tpc_str none = { NULL, 0 };
        rc = tp_apply_device(h, reply.data, a->by_id ? none : text_of(a), 0, none);
        if (rc == TPC_EINVAL) {
            reply.verdict = TP_REPLY_NO;
        } else if (rc != 0) {
            reply.verdict = TP_REPLY_LATER;
        }
    }
    if (reply.verdict == TP_REPLY_OK) {
        pthread_mutex_lock(&h->lock);
        a->failures = a->unknown = 0;
        pthread_mutex_unlock(&h->lock);
        check_is_over(h, a);
        tp_ask_resolve(h, a);
    } else if (reply.verdict == TP_REPLY_NO) {
        is_unknown(h, a);
    } else {
        try_later(h, a, &reply);
        check_is_over(h, a);
    }
    if (again) {
        pthread_mutex_lock(&h->lock);
        tp_ask_want(h, a);
        pthread_mutex_unlock(&h->lock);
    }
}

void tp_ask_resolve(struct tp_http *h, struct tp_ask *a)
{
    enum tp_login_end how = TP_LOGIN_IN;
    pthread_mutex_lock(&h->lock);
    bool waits = !a->by_id && a->logins != NULL;
    const struct tp_device *d = waits ? tp_devices_by_voucher(&h->devices, text_of(a)) : NULL;
    if (waits && d == NULL) {
        tp_ask_want(h, a);
        waits = false;
    } else if (waits && !d->in_core && d->tries >= TP_MAKE_TRIES) {
        how = TP_LOGIN_REFUSED;
    } else if (waits) {
        waits = d->in_core && d->ready && !d->checking;
    }
    pthread_mutex_unlock(&h->lock);
    if (waits) {
        end_logins(h, a, how, d->f.id); /* only this thread takes devices out */
    }
}

/* ---- what is due ---- */

/* Takes out one that waited too long; if there is none it is known when the next one will have. */
static struct tp_login *take_late(struct tp_http *h, struct tp_ask *a, uint64_t now)
{
    struct tp_login **at = &a->logins;
    a->login_due_ms = UINT64_MAX;
    while (*at != NULL && (*at)->due_ms > now) {
        a->login_due_ms = (*at)->due_ms < a->login_due_ms ? (*at)->due_ms : a->login_due_ms;
        at = &(*at)->next;
    }
    struct tp_login *l = *at;
    if (l != NULL) {
        *at = l->next;
        l->ask = NULL;
        (void) tpi_map64_remove(&h->logins, l->id);
        h->calling = l->id;
    }
    return l;
}

static void expire(struct tp_http *h, struct tp_ask *a, uint64_t now)
{
    struct tp_login *l;
    do {
        pthread_mutex_lock(&h->lock);
        l = take_late(h, a, now);
        pthread_mutex_unlock(&h->lock);
        if (l != NULL) {
            tp_login_end(h, l, TP_LOGIN_LATER, (struct tpc_str){ NULL, 0 });
        }
    } while (l != NULL);
}

/* Nothing is to be remembered of it. Under the lock. */
static bool is_over(const struct tp_http *h, const struct tp_ask *a, uint64_t now)
{
    if (a->want || a->away || a->logins != NULL || a->blocked_ms > now) {
        return false;
    }
    /* That it was unknown once or twice is forgotten where many are, so that there is room. */
    bool counts = a->unknown > 0 && a->last_ms + h->config->unknown_pause_ms > now &&
                  h->ask_count <= TP_ASKS_LIMIT / 2;
    return a->by_id || (allowed_ms(h, a) <= now && !counts);
}

/* before = the one in front of it. Under the lock. */
static void free_ask(struct tp_http *h, struct tp_ask *before, struct tp_ask *a)
{
    *(before != NULL ? &before->next : &h->all_asks) = a->next;
    h->last_ask = h->last_ask == a ? before : h->last_ask;
    (void) tpi_map_remove(&h->asks, a->key, a->key_len);
    h->ask_count--;
    tpi_free(h->host->allocator, a, sizeof(*a) + a->key_len);
}

/* Somebody waits for a device that could not be made, or for those behind it that are gone: another
 * attempt. */
static void make_again(struct tp_http *h, const struct tp_ask *a, uint64_t *wait)
{
    struct tp_device *d =
        a->by_id || a->logins == NULL ? NULL : tp_devices_by_voucher(&h->devices, text_of(a));
    if (d == NULL || d->in_work || (d->in_core && (d->ready || !tp_apply_ready(d)))) {
        return;
    }
    d->tries = d->in_core ? d->tries : TP_MAKE_TRIES - 1;
    tp_apply_work(h, d);
    *wait = 0;
}

/* What is due of one. Under the lock, which it leaves. */
static void look_after(struct tp_http *h, struct tp_ask *a, uint64_t now, uint64_t *wait)
{
    bool due = a->want && h->asks_away < TP_ASKS_AWAY && a->due_ms <= now;
    make_again(h, a, wait);
    bool late = a->logins != NULL && a->login_due_ms <= now;
    if (late || due) {
        pthread_mutex_unlock(&h->lock);
        if (late) {
            expire(h, a, now);
        }
        if (due) {
            call(h, a, now);
        }
        pthread_mutex_lock(&h->lock);
    }
    if (a->logins != NULL) {
        uint64_t left = a->login_due_ms > now ? a->login_due_ms - now : 0;
        *wait = left < *wait ? left : *wait;
    }
    if (a->want && a->due_ms > now) {
        *wait = a->due_ms - now < *wait ? a->due_ms - now : *wait;
    } else if (!a->want && !a->away && a->last_ms != 0) {
        uint64_t rest = h->config->config_interval_ms + 1; /* then it is forgotten */
        *wait = rest < *wait ? rest : *wait;
    }
}

uint64_t tp_asks_step(struct tp_http *h, uint64_t now)
{
    uint64_t wait = WAIT_MAX_MS;
    struct tp_ask *before = NULL;
    pthread_mutex_lock(&h->lock);
    if (h->ask_count > TP_ASKS_FEW && now < h->scan_ms + TP_ASKS_SCAN_MS) {
        pthread_mutex_unlock(&h->lock);
        return h->scan_ms + TP_ASKS_SCAN_MS - now;
    }
    h->scan_ms = now;
    /* Only this thread takes any out; new ones come behind. */
    for (struct tp_ask *a = h->all_asks, *next; a != NULL; a = next) {
        next = a->next;
        if (is_over(h, a, now)) {
            free_ask(h, before, a);
            continue;
        }
        look_after(h, a, now, &wait);
        before = a;
    }
    pthread_mutex_unlock(&h->lock);
    return wait;
}

void tp_asks_hurry(struct tp_http *h)
{
    uint64_t now = tp_http_now(h);
    pthread_mutex_lock(&h->lock);
    for (struct tp_ask *a = h->all_asks; a != NULL; a = a->next) {
        uint64_t due = allowed_ms(h, a) > now ? allowed_ms(h, a) : now;
        if (a->want && a->failures > 0 && a->due_ms > due) {
            a->due_ms = due;
        }
    }
    pthread_mutex_unlock(&h->lock);
}

/* All that waits hears that it may come again. */
void tp_asks_fini(struct tp_http *h)
{
    while (h->all_asks != NULL) {
        struct tp_ask *a = h->all_asks;
        end_logins(h, a, TP_LOGIN_LATER, (struct tpc_str){ NULL, 0 });
        pthread_mutex_lock(&h->lock);
        free_ask(h, NULL, a);
        pthread_mutex_unlock(&h->lock);
    }
}
