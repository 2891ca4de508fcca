#include "box.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct box box = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct box_self {
    const struct tpc_host *host;
    void *ctx;
};

void box_reset(void)
{
    pthread_mutex_lock(&box.lock);
    size_t from = offsetof(struct box, items);
    memset((char *) &box + from, 0, sizeof(box) - from);
    pthread_mutex_unlock(&box.lock);
}

static const struct tpc_option instance_options[] = {
    { .name = "color", .type = TPC_OPT_TEXT, .since = "0.1", .help = "of the box" },
};

static const struct tpc_option login_options[] = {
    { .name = "user", .type = TPC_OPT_TEXT, .since = "0.1", .help = "who" },
    { .name = "password", .type = TPC_OPT_SECRET, .since = "0.1", .help = "proof" },
};

static const struct tpc_option target_options[] = {
    { .name = "url", .type = TPC_OPT_TEXT, .def = "none", .since = "0.1", .help = "where" },
    { .name = "token", .type = TPC_OPT_SECRET, .since = "0.1", .help = "proof" },
    { .name = "login",
      .type = TPC_OPT_TABLE,
      .sub = TPC_OPTIONS(login_options),
      .since = "0.1",
      .help = "proof of another kind" },
};

static int init(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg)
{
    struct box_self *s = self;
    (void) cfg;
    s->host = host;
    s->ctx = ctx;
    box.host = host;
    box.ctx = ctx;
    return 0;
}

static int start(void *self)
{
    (void) self;
    return 0;
}

static int target_open(void *self, struct tpc_str name, const struct tpc_value *cfg,
                       void **ret_target)
{
    struct box_self *s = self;
    struct tpc_str token = tpc_value_text(tpc_value_get(cfg, TPC_STR("token")));
    struct tpc_str url = tpc_value_text(tpc_value_get(cfg, TPC_STR("url")));
    if (tpc_str_equal(url, TPC_STR("bad"))) {
        return s->host->fail(s->ctx, TPC_EINVAL, "url: not a place");
    }
    if (box.open_code != 0) {
        return s->host->fail(s->ctx, box.open_code, "the box does not open");
    }
    pthread_mutex_lock(&box.lock);
    box.open++;
    box.opened++;
    snprintf(box.last_name, sizeof(box.last_name), "%.*s", (int) name.len, name.ptr);
    snprintf(box.last_token, sizeof(box.last_token), "%.*s", (int) token.len,
             token.len > 0 ? token.ptr : "");
    pthread_mutex_unlock(&box.lock);
    *ret_target = malloc(1);
    return 0;
}

static void target_close(void *self, void *target)
{
    (void) self;
    free(target);
    pthread_mutex_lock(&box.lock);
    box.open--;
    pthread_mutex_unlock(&box.lock);
}

static void text(char *out, struct tpc_str s)
{
    snprintf(out, BOX_KEY, "%.*s", (int) s.len, s.len > 0 ? s.ptr : "");
}

static int64_t number_of(const struct tpc_msg *m)
{
    int64_t n = 0;
    if (m->point_count > 0) {
        (void) tpc_value_int(&tpc_msg_point(m, 0)->value, &n);
    } else {
        (void) tpc_value_int(tpc_value_get(&m->params, TPC_STR("n")), &n);
    }
    return n;
}

static bool is_poison(int64_t n)
{
    bool yes = box.poison_every > 0 && n % box.poison_every == 0;
    for (int i = 0; i < 8; i++) {
        yes |= box.poison[i] != 0 && box.poison[i] == n;
    }
    return yes;
}

static void keep_points(struct box_item *item, const struct tpc_msg *m)
{
    item->points = m->point_count;
    item->key[0] = '\0';
    item->value[0] = '\0';
    item->number = 0;
    if (m->point_count == 0) {
        return;
    }
    const struct tpc_point *last = tpc_msg_point(m, m->point_count - 1);
    text(item->key, tpc_msg_point(m, 0)->key);
    text(item->value, tpc_value_text(&last->value));
    (void) tpc_value_double(&last->value, &item->number);
}

/* A bit for each partition of its messages. */
static uint64_t partitions(const struct tpc_batch *batch)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        bits |= 1ull << (tpc_batch_msg(batch, i)->partition & 63);
    }
    return bits;
}

/* Under the lock: batches that are on their way at a time have no partition in common. */
static void hold(const struct tpc_batch *batch, uint64_t ticket)
{
    uint64_t bits = partitions(batch);
    for (uint32_t i = 0; i < box.held_count; i++) {
        box.shared += (partitions(box.batches[i]) & bits) != 0;
    }
    box.batches[box.held_count] = batch;
    box.held[box.held_count++] = ticket;
    box.most_held = box.held_count > box.most_held ? box.held_count : box.most_held;
}

/* Under the lock: keeps a batch unless something in it is poison. */
static int take(const struct tpc_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        if (is_poison(number_of(tpc_batch_msg(batch, i)))) {
            return TPC_EMODEL;
        }
    }
    box.gap += batch->gap_to - batch->gap_from;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        struct box_item *item = &box.items[box.count % BOX_ITEMS];
        text(item->device, m->device);
        text(item->tenant, m->tenant);
        item->correlation_len = m->correlation.len;
        text(item->name, m->name);
        item->kind = m->kind;
        item->n = number_of(m);
        item->id = m->id;
        item->unix_ms = m->unix_ms;
        item->received_unix_ms = m->received_unix_ms;
        item->flags = m->flags;
        keep_points(item, m);
        box.count++;
        if (box.on_take != NULL) {
            box.on_take(item->n);
        }
    }
    return 0;
}

static void answer(uint64_t ticket, int code)
{
    struct tpc_error err = { .size = sizeof(err), .code = code, .origin = "box" };
    snprintf(err.text, sizeof(err.text), "the box says %s", tpc_error_name(code));
    box.host->sent(box.ctx, ticket, code != 0 ? &err : NULL);
}

static int send_batch(void *self, void *target, const struct tpc_batch *batch, uint64_t ticket)
{
    (void) self;
    (void) target;
    pthread_mutex_lock(&box.lock);
    box.sends++;
    box.last_count = batch->count;
    box.largest = batch->count > box.largest ? batch->count : box.largest;
    int code = box.send_code;
    int say = box.answer;
    bool held = box.hold;
    if (code == 0 && held) {
        hold(batch, ticket);
    } else if (code == 0 && say == 0) {
        say = take(batch);
    }
    pthread_mutex_unlock(&box.lock);
    if (code == 0 && !held) {
        answer(ticket, say);
    }
    return code;
}

uint32_t box_answer(int code)
{
    uint64_t tickets[BOX_PENDING];
    int codes[BOX_PENDING];
    pthread_mutex_lock(&box.lock);
    uint32_t n = box.held_count;
    for (uint32_t i = 0; i < n; i++) {
        tickets[i] = box.held[i];
        codes[i] = code == 0 ? take(box.batches[i]) : code;
    }
    box.held_count = 0;
    pthread_mutex_unlock(&box.lock);
    for (uint32_t i = 0; i < n; i++) {
        answer(tickets[i], codes[i]);
    }
    return n;
}

void box_answer_one(uint32_t i, int code)
{
    pthread_mutex_lock(&box.lock);
    uint64_t ticket = box.held[i];
    code = code == 0 ? take(box.batches[i]) : code;
    box.held_count--;
    memmove(box.held + i, box.held + i + 1, (box.held_count - i) * sizeof(box.held[0]));
    memmove(box.batches + i, box.batches + i + 1, (box.held_count - i) * sizeof(box.batches[0]));
    pthread_mutex_unlock(&box.lock);
    answer(ticket, code);
}

uint32_t box_count(void)
{
    pthread_mutex_lock(&box.lock);
    uint32_t n = box.count;
    pthread_mutex_unlock(&box.lock);
    return n;
}

static void stop(void *self)
{
    (void) self;
    (void) box_answer(TPC_ECANCELED);
}

static void fini(void *self)
{
    (void) self;
}

const struct tpc_sink_ops box_ops = {
    .iface = TPC_IFACE(struct tpc_sink_ops, 1),
    .name = "box",
    .instance_size = sizeof(struct box_self),
    .options = TPC_OPTIONS(instance_options),
    .target_options = TPC_OPTIONS(target_options),
    .init = init,
    .start = start,
    .target_open = target_open,
    .send = send_batch,
    .target_close = target_close,
    .stop = stop,
    .fini = fini,
    .max_in_flight = 16,
};

const struct tpc_module *box_module(void)
{
    static const struct tpc_interface interfaces[] = { { TPC_KIND_SINK, &box_ops } };
    static const struct tpc_module module = { .iface = TPC_IFACE(struct tpc_module, 1),
                                              .name = "box",
                                              .version = "1",
                                              .licence = "MIT",
                                              .interfaces = TPC_INTERFACES(interfaces) };
    return &module;
}
