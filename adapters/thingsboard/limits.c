#include "limits.h"

#include <string.h>
#include <tpcore/error.h>

static const char *number(const char *p, const char *end, int64_t most, int64_t *ret)
{
    int64_t n = 0;
    const char *from = p;
    while (p < end && *p >= '0' && *p <= '9' && n <= most) {
        n = n * 10 + (*p++ - '0');
    }
    *ret = n;
    return p > from && n <= most ? p : NULL;
}

static const char *blanks(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == ',')) {
        p++;
    }
    return p;
}

static uint32_t share(int64_t count, uint32_t percent)
{
    int64_t n = count * percent / 100;
    return n < 1 ? 1 : (uint32_t) n;
}

int tb_bucket_add(struct tb_bucket *b, struct tpc_str text, uint32_t percent, uint64_t now_ms)
{
    struct tb_bucket try = *b;
    const char *p = text.ptr;
    const char *end = text.len > 0 ? text.ptr + text.len : text.ptr;
    if (text.len > 0) {
        p = blanks(p, end);
    }
    while (p != end) {
        int64_t count = 0;
        int64_t seconds = 0;
        p = number(p, end, TB_LIMIT_COUNT_MAX, &count);
        if (p == NULL || p == end || *p != ':') {
            return TPC_EINVAL;
        }
        p = number(p + 1, end, TB_LIMIT_SECONDS_MAX, &seconds);
        if (p == NULL || (p != end && *p != ',' && *p != ' ')) {
            return TPC_EINVAL;
        }
        p = blanks(p, end);
        if (count == 0 || seconds == 0) {
            continue;
        }
        if (try.count == TB_WINDOWS_MAX) {
            return TPC_ETOOBIG;
        }
        struct tb_window *w = &try.window[try.count++];
        w->cap = share(count, percent);
        w->span_ms = seconds * 1000;
        w->level = w->cap * w->span_ms;
    }
    if (b->count == 0) {
        try.at_ms = now_ms;
    }
    *b = try;
    return 0;
}

uint32_t tb_bucket_most(const struct tb_bucket *b)
{
    uint32_t most = UINT32_MAX;
    for (uint32_t i = 0; i < b->count; i++) {
        most = b->window[i].cap < most ? b->window[i].cap : most;
    }
    return most;
}

static void fill(struct tb_bucket *b, uint64_t now_ms)
{
    uint64_t passed = now_ms > b->at_ms ? now_ms - b->at_ms : 0;
    b->at_ms = now_ms > b->at_ms ? now_ms : b->at_ms;
    for (uint32_t i = 0; i < b->count; i++) {
        struct tb_window *w = &b->window[i];
        int64_t full = w->cap * w->span_ms;
        if (passed >= (uint64_t) w->span_ms || w->level + (int64_t) passed * w->cap > full) {
            w->level = full;
        } else {
            w->level += (int64_t) passed * w->cap;
        }
    }
}

static int64_t price(const struct tb_window *w, uint32_t n)
{
    return (n < w->cap ? n : w->cap) * w->span_ms;
}

uint64_t tb_bucket_wait(struct tb_bucket *b, uint32_t n, uint64_t now_ms)
{
    uint64_t wait = 0;
    fill(b, now_ms);
    for (uint32_t i = 0; i < b->count; i++) {
        const struct tb_window *w = &b->window[i];
        int64_t missing = price(w, n) - w->level;
        if (missing > 0) {
            uint64_t ms = (uint64_t) ((missing + w->cap - 1) / w->cap);
            wait = ms > wait ? ms : wait;
        }
    }
    return wait;
}

void tb_bucket_take(struct tb_bucket *b, uint32_t n)
{
    for (uint32_t i = 0; i < b->count; i++) {
        struct tb_window *w = &b->window[i];
        int64_t cost = price(w, n);
        w->level = w->level > cost ? w->level - cost : 0;
    }
}

void tb_bucket_empty(struct tb_bucket *b, uint64_t now_ms)
{
    b->at_ms = now_ms;
    for (uint32_t i = 0; i < b->count; i++) {
        b->window[i].level = 0;
    }
}

static bool contains(struct tpc_str host, const char *part)
{
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= host.len; i++) {
        if (memcmp(host.ptr + i, part, n) == 0) {
            return true;
        }
    }
    return false;
}

bool tb_host_is_cloud(struct tpc_str host)
{
    return contains(host, "thingsboard.cloud") || contains(host, "demo.thingsboard.io") ||
           (host.len >= 2 && memcmp(host.ptr, "tb", 2) == 0 && contains(host, "cloud"));
}
