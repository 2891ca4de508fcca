#include "samples.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 255, DEPTH_MAX = 64, TABLE_MIN = 256 };

struct key {
    char *name;
    size_t len;
    uint64_t count;
};

struct device {
    char *name;
    size_t len;
    uint64_t hash;
    char type[64];
    struct key *keys;
    size_t key_count, key_cap;
    uint64_t *bits; /* numbers that have come */
    size_t bit_words;
    uint32_t first, last; /* of the numbers; valid where counts.distinct > 0 */
    struct samples_total counts;
};

struct samples {
    struct device **devices; /* in order of arrival */
    size_t count, cap;
    struct device **table; /* open addressing, a power of two */
    size_t table_cap;
    size_t next; /* publishes name devices in the same order, mostly: the next to try */
    uint64_t messages, malformed, points, distinct;
    uint64_t *latency;
    bool no_memory;
};

struct scan {
    const char *at, *end;
    int64_t now_ms;
    bool bad;
};

struct piece {
    const char *ptr; /* between the quotes, escapes as they came */
    size_t len;
};

struct samples *samples_create(void)
{
    struct samples *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return NULL;
    }
    s->latency = calloc(SAMPLES_LATENCY_BUCKETS, sizeof(*s->latency));
    s->table = calloc(TABLE_MIN, sizeof(struct device *));
    s->table_cap = TABLE_MIN;
    if (s->latency == NULL || s->table == NULL) {
        samples_destroy(s);
        return NULL;
    }
    return s;
}

void samples_destroy(struct samples *s)
{
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < s->count; i++) {
        struct device *d = s->devices[i];
        for (size_t k = 0; k < d->key_count; k++) {
            free(d->keys[k].name);
        }
        free(d->keys);
        free(d->bits);
        free(d->name);
        free(d);
    }
    free(s->devices);
    free(s->table);
    free(s->latency);
    free(s);
}

/* ---- devices and keys ---- */

static uint64_t hash_of(const char *text, size_t len)
{
    uint64_t h = 0xcbf29ce484222325U; /* FNV-1a */
    for (size_t i = 0; i < len; i++) {
        h = (h ^ (uint8_t) text[i]) * 0x100000001b3U;
    }
    return h;
}

static char *copy_text(const char *text, size_t len)
{
    char *copy = malloc(len + 1);
    if (copy != NULL) {
        if (len > 0) {
            memcpy(copy, text, len);
        }
        copy[len] = '\0';
    }
    return copy;
}

static struct device **slot_of(const struct samples *s, const char *name, size_t len, uint64_t hash)
{
    size_t i = (size_t) hash & (s->table_cap - 1);
    while (s->table[i] != NULL && (s->table[i]->hash != hash || s->table[i]->len != len ||
                                   memcmp(s->table[i]->name, name, len) != 0)) {
        i = (i + 1) & (s->table_cap - 1);
    }
    return &s->table[i];
}

static bool grow_table(struct samples *s)
{
    struct device **old = s->table;
    struct device **table = calloc(s->table_cap * 2, sizeof(struct device *));
    if (table == NULL) {
        return false;
    }
    s->table = table;
    s->table_cap *= 2;
    for (size_t i = 0; i < s->count; i++) {
        struct device *d = s->devices[i];
        *slot_of(s, d->name, d->len, d->hash) = d;
    }
    free(old);
    return true;
}

static struct device *new_device(struct samples *s, struct piece name, uint64_t hash)
{
    if (s->count == s->cap) {
        size_t cap = s->cap == 0 ? 64 : s->cap * 2;
        struct device **grown = realloc(s->devices, cap * sizeof(struct device *));
        if (grown == NULL) {
            return NULL;
        }
        s->devices = grown;
        s->cap = cap;
    }
    if (s->count * 2 >= s->table_cap && !grow_table(s)) {
        return NULL;
    }
    struct device *d = calloc(1, sizeof(*d));
    char *copy = copy_text(name.ptr, name.len);
    if (d == NULL || copy == NULL) {
        free(d);
        free(copy);
        return NULL;
    }
    d->name = copy;
    d->len = name.len;
    d->hash = hash;
    d->counts.devices = 1;
    *slot_of(s, copy, d->len, hash) = d;
    s->devices[s->count++] = d;
    return d;
}

static struct device *device_of(struct samples *s, struct piece name)
{
    for (int i = 0; i < 2 && s->count > 0; i++) {
        size_t at = (s->next + (size_t) i) % s->count;
        struct device *d = s->devices[at];
        if (d->len == name.len && memcmp(d->name, name.ptr, name.len) == 0) {
            s->next = at + 1;
            return d;
        }
    }
    uint64_t hash = hash_of(name.ptr, name.len);
    struct device *d = *slot_of(s, name.ptr, name.len, hash);
    if (d == NULL && s->count < SAMPLES_DEVICES_MAX) {
        d = new_device(s, name, hash);
        s->no_memory |= d == NULL;
    }
    return d;
}

static const struct device *find_device(const struct samples *s, const char *name)
{
    size_t len = strlen(name);
    return *slot_of(s, name, len, hash_of(name, len));
}

/* Keys come in the same order, mostly: at is where to look first. */
static void count_key(struct samples *s, struct device *d, struct piece name, size_t at)
{
    s->points++;
    d->counts.points++;
    if (at < d->key_count && d->keys[at].len == name.len &&
        memcmp(d->keys[at].name, name.ptr, name.len) == 0) {
        d->keys[at].count++;
        return;
    }
    for (size_t i = 0; i < d->key_count; i++) {
        if (d->keys[i].len == name.len && memcmp(d->keys[i].name, name.ptr, name.len) == 0) {
            d->keys[i].count++;
            return;
        }
    }
    if (d->key_count == SAMPLES_KEYS_MAX) {
        return;
    }
    if (d->key_count == d->key_cap) {
        size_t cap = d->key_cap == 0 ? 16 : d->key_cap * 2;
        struct key *grown = realloc(d->keys, cap * sizeof(struct key));
        if (grown == NULL) {
            s->no_memory = true;
            return;
        }
        d->keys = grown;
        d->key_cap = cap;
    }
    struct key *k = &d->keys[d->key_count];
    k->name = copy_text(name.ptr, name.len);
    k->len = name.len;
    k->count = 1;
    if (k->name != NULL) {
        d->key_count++;
    }
}

static bool number_came(struct samples *s, struct device *d, uint64_t number)
{
    if (number >= SAMPLES_SEQ_MAX) {
        return false;
    }
    uint32_t n = (uint32_t) number;
    size_t word = n / 64;
    if (word >= d->bit_words) {
        size_t words = d->bit_words == 0 ? 64 : d->bit_words;
        while (words <= word) {
            words *= 2;
        }
        uint64_t *grown = realloc(d->bits, words * sizeof(uint64_t));
        if (grown == NULL) {
            s->no_memory = true;
            return true;
        }
        memset(grown + d->bit_words, 0, (words - d->bit_words) * sizeof(uint64_t));
        d->bits = grown;
        d->bit_words = words;
    }
    struct samples_total *c = &d->counts;
    uint64_t bit = (uint64_t) 1 << (n % 64);
    c->numbered++;
    if ((d->bits[word] & bit) != 0) {
        c->doubled++;
        return true;
    }
    d->bits[word] |= bit;
    c->out_of_order += c->distinct > 0 && n < d->last;
    d->first = c->distinct == 0 || n < d->first ? n : d->first;
    d->last = c->distinct == 0 || n > d->last ? n : d->last;
    c->distinct++;
    s->distinct++;
    return true;
}

/* ---- JSON, without a tree: RFC 8259 as far as counting needs it ---- */

static void skip_space(struct scan *c)
{
    while (c->at < c->end &&
           (*c->at == ' ' || *c->at == '\n' || *c->at == '\r' || *c->at == '\t')) {
        c->at++;
    }
}

static bool take(struct scan *c, char what)
{
    skip_space(c);
    if (c->at < c->end && *c->at == what) {
        c->at++;
        return true;
    }
    return false;
}

static void need(struct scan *c, char what)
{
    c->bad |= !take(c, what);
}

static char peek(struct scan *c)
{
    skip_space(c);
    return c->at < c->end ? *c->at : '\0';
}

static struct piece text(struct scan *c)
{
    struct piece p = { "", 0 };
    need(c, '"');
    if (c->bad) {
        return p;
    }
    const char *begin = c->at;
    while (c->at < c->end && *c->at != '"') {
        c->at += *c->at == '\\' ? 2 : 1;
    }
    if (c->at >= c->end) {
        c->bad = true;
        return p;
    }
    p.ptr = begin;
    p.len = (size_t) (c->at - begin);
    c->at++;
    return p;
}

static void skip_value(struct scan *c)
{
    uint32_t depth = 0;
    do {
        switch (peek(c)) {
        case '"':
            text(c);
            break;
        case '{':
        case '[':
            c->bad |= ++depth > DEPTH_MAX;
            c->at++;
            break;
        case '}':
        case ']':
            c->bad |= depth == 0;
            depth -= depth > 0;
            c->at++;
            break;
        case ',':
        case ':':
            c->bad |= depth == 0;
            c->at++;
            break;
        case '\0':
            c->bad = true;
            break;
        default: /* a number or a word */
            while (c->at < c->end && strchr(",]} \n\r\t:\"[{", *c->at) == NULL) {
                c->at++;
            }
        }
    } while (depth > 0 && !c->bad);
}

/* An integer up to 64 bits; anything else is skipped and is no number. */
static bool integer(struct scan *c, int64_t *ret)
{
    skip_space(c);
    const char *begin = c->at;
    bool minus = c->at < c->end && *c->at == '-';
    c->at += minus;
    uint64_t n = 0;
    size_t digits = 0;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9' && digits < 18) {
        n = n * 10 + (uint64_t) (*c->at++ - '0');
        digits++;
    }
    if (digits > 0 && c->at < c->end && (*c->at == ',' || *c->at == '}' || *c->at == ' ')) {
        *ret = minus ? -(int64_t) n : (int64_t) n;
        return true;
    }
    c->at = begin;
    skip_value(c);
    return false;
}

static bool same(struct piece p, const char *name)
{
    return strlen(name) == p.len && memcmp(p.ptr, name, p.len) == 0;
}

/* After the opening brace: {"k":v,..} counted as points (or as attributes). */
static void values(struct samples *s, struct device *d, struct scan *c)
{
    size_t at = 0;
    if (take(c, '}')) {
        return;
    }
    do {
        struct piece name = text(c);
        need(c, ':');
        if (c->bad) {
            return;
        }
        count_key(s, d, name, at++);
        int64_t number;
        if (same(name, "seq")) {
            c->bad |= !integer(c, &number) || number < 0 || !number_came(s, d, (uint64_t) number);
        } else {
            skip_value(c);
        }
    } while (!c->bad && take(c, ','));
    need(c, '}');
}

static void count_latency(struct samples *s, int64_t ts, int64_t now_ms)
{
    int64_t ms = now_ms > ts ? now_ms - ts : 0;
    s->latency[ms < SAMPLES_LATENCY_BUCKETS ? ms : SAMPLES_LATENCY_BUCKETS - 1]++;
}

/* One {"ts":..,"values":{..}} in any order of members, or {"k":v,..}. */
static void entry(struct samples *s, struct device *d, struct scan *c)
{
    need(c, '{');
    const char *begin = c->at;
    struct scan look = *c;
    struct piece first = look.bad || peek(&look) == '}' ? (struct piece){ "", 0 } : text(&look);
    bool stamped = same(first, "ts") || same(first, "values") || same(first, "metadata");
    d->counts.entries++;
    if (!stamped) {
        c->at = begin;
        values(s, d, c);
        return;
    }
    bool found = false;
    do {
        struct piece name = text(c);
        need(c, ':');
        int64_t ts;
        if (c->bad) {
            return;
        }
        if (same(name, "ts")) {
            if (integer(c, &ts)) {
                count_latency(s, ts, c->now_ms);
            } else {
                c->bad = true;
            }
        } else if (same(name, "values")) {
            need(c, '{');
            values(s, d, c);
            found = true;
        } else {
            skip_value(c);
        }
    } while (!c->bad && take(c, ','));
    need(c, '}');
    c->bad |= !found;
}

static void entries(struct samples *s, struct device *d, struct scan *c)
{
    need(c, '[');
    if (take(c, ']')) {
        return;
    }
    do {
        entry(s, d, c);
    } while (!c->bad && take(c, ','));
    need(c, ']');
}

static void attributes(struct device *d, struct scan *c)
{
    need(c, '{');
    if (take(c, '}')) {
        return;
    }
    do {
        text(c);
        need(c, ':');
        skip_value(c);
        d->counts.attributes += !c->bad;
    } while (!c->bad && take(c, ','));
    need(c, '}');
}

/* {"A":..,"B":..} of the gateway's topics. */
static void by_device(struct samples *s, struct scan *c, bool telemetry)
{
    need(c, '{');
    if (take(c, '}')) {
        return;
    }
    do {
        struct piece name = text(c);
        need(c, ':');
        struct device *d =
            c->bad || name.len == 0 || name.len > NAME_MAX_BYTES ? NULL : device_of(s, name);
        if (d == NULL) {
            c->bad = true;
        } else if (telemetry) {
            entries(s, d, c);
        } else {
            attributes(d, c);
        }
    } while (!c->bad && take(c, ','));
    need(c, '}');
}

/* {"device":"A","type":"t"}. */
static void connection(struct samples *s, struct scan *c, bool connect)
{
    struct piece name = { "", 0 }, type = { "", 0 };
    need(c, '{');
    do {
        struct piece member = text(c);
        need(c, ':');
        if (same(member, "device")) {
            name = text(c);
        } else if (same(member, "type")) {
            type = text(c);
        } else {
            skip_value(c);
        }
    } while (!c->bad && take(c, ','));
    need(c, '}');
    struct device *d = c->bad || name.len == 0 ? NULL : device_of(s, name);
    if (d == NULL) {
        c->bad = true;
        return;
    }
    d->counts.connects += connect;
    d->counts.disconnects += !connect;
    if (connect && type.len < sizeof(d->type)) {
        memcpy(d->type, type.ptr, type.len);
        d->type[type.len] = '\0';
    }
}

bool samples_add(struct samples *s, const char *topic, size_t topic_len, const char *payload,
                 size_t len, int64_t now_ms)
{
    static const struct piece me = { "me", 2 };
    struct piece t = { topic, topic_len };
    struct scan c = { payload, payload + len, now_ms, false };
    struct device *d;
    if (same(t, "v1/gateway/telemetry")) {
        s->messages++;
        by_device(s, &c, true);
    } else if (same(t, "v1/gateway/attributes")) {
        by_device(s, &c, false);
    } else if (same(t, "v1/gateway/connect") || same(t, "v1/gateway/disconnect")) {
        connection(s, &c, same(t, "v1/gateway/connect"));
    } else if (same(t, "v1/devices/me/telemetry")) {
        s->messages++;
        if ((d = device_of(s, me)) != NULL && peek(&c) == '[') {
            entries(s, d, &c);
        } else if (d != NULL) {
            entry(s, d, &c);
        }
    } else if (same(t, "v1/devices/me/attributes")) {
        if ((d = device_of(s, me)) != NULL) {
            attributes(d, &c);
        }
    } else {
        return true;
    }
    skip_space(&c);
    c.bad |= c.at != c.end;
    s->malformed += c.bad;
    return !c.bad;
}

/* ---- results ---- */

static uint32_t percentile(const struct samples *s, uint64_t count, uint32_t percent)
{
    uint64_t want = (count * percent + 99) / 100, seen = 0;
    for (uint32_t ms = 0; ms < SAMPLES_LATENCY_BUCKETS && count > 0; ms++) {
        seen += s->latency[ms];
        if (seen >= want) {
            return ms;
        }
    }
    return 0;
}

static uint64_t missing(const struct device *d)
{
    return d->counts.distinct == 0 ? 0 : (uint64_t) d->last - d->first + 1 - d->counts.distinct;
}

void samples_total(const struct samples *s, struct samples_total *ret)
{
    struct samples_total t = { .messages = s->messages, .malformed = s->malformed };
    for (size_t i = 0; i < s->count; i++) {
        const struct device *d = s->devices[i];
        t.entries += d->counts.entries;
        t.points += d->counts.points;
        t.attributes += d->counts.attributes;
        t.connects += d->counts.connects;
        t.disconnects += d->counts.disconnects;
        t.numbered += d->counts.numbered;
        t.distinct += d->counts.distinct;
        t.doubled += d->counts.doubled;
        t.out_of_order += d->counts.out_of_order;
        t.lost += missing(d);
        t.devices += d->counts.points > 0;
    }
    uint64_t stamped = 0;
    for (uint32_t ms = 0; ms < SAMPLES_LATENCY_BUCKETS; ms++) {
        stamped += s->latency[ms];
        t.max_ms = s->latency[ms] > 0 ? ms : t.max_ms;
    }
    t.p50_ms = percentile(s, stamped, 50);
    t.p95_ms = percentile(s, stamped, 95);
    *ret = t;
}

uint64_t samples_points(const struct samples *s)
{
    return s->points;
}

uint64_t samples_distinct(const struct samples *s)
{
    return s->distinct;
}

bool samples_device(const struct samples *s, const char *name, struct samples_total *ret)
{
    const struct device *d = find_device(s, name);
    if (d == NULL) {
        return false;
    }
    *ret = d->counts;
    ret->lost = missing(d);
    return true;
}

uint64_t samples_key(const struct samples *s, const char *device, const char *key)
{
    const struct device *d = find_device(s, device);
    for (size_t i = 0; d != NULL && i < d->key_count; i++) {
        if (strcmp(d->keys[i].name, key) == 0) {
            return d->keys[i].count;
        }
    }
    return 0;
}

const char *samples_type(const struct samples *s, const char *device)
{
    const struct device *d = find_device(s, device);
    return d != NULL ? d->type : "";
}

const char *samples_name(const struct samples *s, size_t i)
{
    return i < s->count ? s->devices[i]->name : NULL;
}

void samples_forget_latency(struct samples *s)
{
    memset(s->latency, 0, SAMPLES_LATENCY_BUCKETS * sizeof(*s->latency));
}

static void print_missing(const struct device *d, FILE *out)
{
    fprintf(out, "\"%s\":[", d->name);
    uint32_t shown = 0;
    for (uint32_t n = d->first; n < d->last && shown < 8; n++) {
        if ((d->bits[n / 64] >> (n % 64) & 1) == 0) {
            fprintf(out, "%s%" PRIu32, shown++ == 0 ? "" : ",", n);
        }
    }
    fputc(']', out);
}

void samples_print(const struct samples *s, FILE *out)
{
    struct samples_total t;
    samples_total(s, &t);
    fprintf(out,
            "{\"devices\":%" PRIu32 ",\"messages\":%" PRIu64 ",\"entries\":%" PRIu64
            ",\"points\":%" PRIu64 ",\"samples\":%" PRIu64 ",\"delivered\":%" PRIu64
            ",\"lost\":%" PRIu64 ",\"doubled\":%" PRIu64 ",\"out_of_order\":%" PRIu64
            ",\"attributes\":%" PRIu64 ",\"connects\":%" PRIu64 ",\"malformed\":%" PRIu64
            ",\"p50_ms\":%" PRIu32 ",\"p95_ms\":%" PRIu32 ",\"max_ms\":%" PRIu32,
            t.devices, t.messages, t.entries, t.points, t.numbered, t.distinct, t.lost, t.doubled,
            t.out_of_order, t.attributes, t.connects, t.malformed, t.p50_ms, t.p95_ms, t.max_ms);
    uint32_t shown = 0;
    for (size_t i = 0; i < s->count && shown < 8; i++) {
        if (missing(s->devices[i]) > 0) {
            fputs(shown++ == 0 ? ",\"missing\":{" : ",", out);
            print_missing(s->devices[i], out);
        }
    }
    fputs(shown > 0 ? "}}\n" : "}\n", out);
    fflush(out);
}
