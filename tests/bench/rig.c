#include "rig.h"
#include "bench_util.h"

#include "core/core.h"
#include "registry/device.h"

#include <pthread.h>
#include <string.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/modules.h>
#include <unistd.h>

enum { WINDOW = 8192, MAX_LANES = 8, TEXT_BYTES = 512, ROUNDS = 2, TICK_MS = 10 };

static const char scene[] = TPC_JSON({
    "key": "hot",
    "when": { "product": "meter", "expr": "temperature > 900000 && barometer < 40" },
    "then": [{ "command": { "service": "set", "params": { "temperature": 1 } } }] });

static const char small_scene[] =
    TPC_JSON({
    "key": "hot",
    "when": { "product": "meter", "expr": "temperature > 900000" },
    "then": [{ "command": { "service": "set", "params": { "temperature": 1 } } }] });

/* The devices of one worker: their messages, their sessions, how many may be under way. */
struct lane {
    struct data data;
    struct data_sum sum;
    uint32_t *devices;  /* number of the lane's i-th device */
    uint64_t *sessions; /* of the lane's i-th device */
    uint32_t device_count;
    uint64_t total, sent, settled;
    uint64_t credits;
    uint64_t payload_bytes;
    uint64_t pending_session; /* of the message that was answered "later"; 0 = none */
    struct tpc_frame frame;
    char text[TEXT_BYTES];
    char topic[64];
};

static struct rig {
    const struct tpc_host *host;
    void *ctx;
    struct lane lanes[MAX_LANES];
    uint32_t lane_count;
    bool paced; /* settled tickets let nothing in, the clock does */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t lanes_done;
} rig = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* ---- the devices ---- */

typedef int receive_fn(void *ctx, uint64_t session, const struct tpc_frame *frame, uint64_t ticket);

static int receive_nothing(void *ctx, uint64_t session, const struct tpc_frame *frame,
                           uint64_t ticket)
{
    (void) ctx;
    (void) ticket;
    return session != 0 && frame->payload.len > 0 ? 0 : TPC_EINVAL;
}

static void next_message(struct lane *l)
{
    struct data_message m;
    data_next(&l->data, &m);
    l->pending_session = l->sessions[m.device];
    m.device = l->devices[m.device];
    size_t len = data_json(&m, l->text, sizeof(l->text));
    data_sum_message(&l->sum, &m);
    l->payload_bytes += len;
    l->frame.unix_ms = m.unix_ms;
    l->frame.payload = (struct tpc_bytes){ (const uint8_t *) l->text, len };
}

static void send_more(struct lane *l, receive_fn *receive, void *ctx)
{
    while (l->credits > 0 && l->sent < l->total) {
        if (l->pending_session == 0) {
            next_message(l);
        }
        int rc = receive(ctx, l->pending_session, &l->frame, (uint64_t) (l - rig.lanes) + 1);
        if (rc == TPC_EAGAIN) {
            return; /* resume() comes */
        }
        bench_must(rc == 0, tpc_error_name(rc));
        l->pending_session = 0;
        l->credits--;
        l->sent++;
    }
}

static int feed_init(void *self, const struct tpc_host *host, void *ctx,
                     const struct tpc_value *cfg)
{
    (void) self;
    (void) cfg;
    rig.host = host;
    rig.ctx = ctx;
    return 0;
}

static int feed_start(void *self)
{
    (void) self;
    return 0;
}

static void feed_stop(void *self)
{
    (void) self;
}

static int feed_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                     uint64_t ticket)
{
    (void) self;
    (void) peer;
    (void) frame;
    (void) ticket;
    return TPC_EOFFLINE;
}

static void feed_settled(void *self, const uint64_t *tickets, const int *errors, uint32_t count)
{
    struct lane *l = &rig.lanes[tickets[0] - 1];
    (void) self;
    for (uint32_t i = 0; i < count; i++) {
        bench_must(errors[i] == 0, "a message was not taken");
    }
    l->settled += count;
    l->credits += rig.paced ? 0 : count;
    if (l->settled == l->total) {
        pthread_mutex_lock(&rig.lock);
        rig.lanes_done++;
        pthread_cond_signal(&rig.changed);
        pthread_mutex_unlock(&rig.lock);
        return;
    }
    send_more(l, rig.host->receive, rig.ctx);
}

static void feed_resume(void *self, uint64_t session)
{
    (void) self;
    for (uint32_t i = 0; i < rig.lane_count; i++) {
        if (rig.lanes[i].pending_session == session) {
            send_more(&rig.lanes[i], rig.host->receive, rig.ctx);
        }
    }
}

static const struct tpc_adapter_ops feed_ops = {
    .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
    .name = "feed",
    .instance_size = 1,
    .init = feed_init,
    .start = feed_start,
    .send = feed_send,
    .settled = feed_settled,
    .resume = feed_resume,
    .stop = feed_stop,
    .fini = feed_stop,
};
static const struct tpc_interface feed_interfaces[] = { { TPC_KIND_ADAPTER, &feed_ops } };
static const struct tpc_module feed_module = {
    .iface = TPC_IFACE(struct tpc_module, 1),
    .name = "feed",
    .interfaces = TPC_INTERFACES(feed_interfaces),
};

/* ---- the core ---- */

static _Atomic uint64_t allocations;

static void *count_resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    const struct tpc_allocator *inner = user;
    if (new_size > old_size) {
        __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    }
    return inner->resize(inner->user, ptr, old_size, new_size);
}

static void on_log(void *user, int level, const char *subject, const char *text)
{
    (void) user;
    fprintf(stderr, "bench: %s %s: %s\n", level <= TPC_LOG_ERROR ? "error" : "warning", subject,
            text);
}

static void put(struct tpc_core *core, const char *kind, const char *json)
{
    bench_must(tpc_entity_put(core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL) == 0,
               tpc_error_last()->text);
}

static void make_entities(struct tpc_core *core, const struct rig_options *o)
{
    char text[DATA_PRODUCT_BYTES], key[DATA_KEY_BYTES];
    struct tpc_device *d;
    if (tpc_device_open(core, tpc_str_from(data_device(0, key)), &d) == 0) {
        tpc_device_unref(d);
        return;
    }
    put(core, "product", data_product("json", o->keys, o->noisy, text));
    put(core, "scene", o->keys > 2 ? scene : small_scene);
    for (uint32_t i = 0; i < o->devices; i++) {
        snprintf(text, sizeof(text), "{\"key\":\"%s\",\"product\":\"meter\"}", data_device(i, key));
        put(core, "device", text);
    }
}

struct tpc_core *rig_open(const struct rig_options *o)
{
    static struct tpc_allocator counting = { count_resize, NULL };
    struct tpc_core_options options = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    char text[UTIL_PATH_BYTES + 128];
    counting.user = (void *) (uintptr_t) tpc_allocator_default();
    options.allocator = &counting;
    options.workers = o->workers;
    options.on_log = on_log;
    options.log_level = TPC_LOG_WARN;
    bench_must(tpc_core_create(&options, &core) == 0, "create");
    bench_must(tpc_core_add_module(core, tpc_module_sqlite()) == 0 &&
                   tpc_core_add_module(core, &feed_module) == 0,
               tpc_error_last()->text);
    snprintf(text, sizeof(text), "{\"dir\":\"%s/log\"%s}", o->dir,
             o->extra != NULL ? o->extra : "");
    bench_must(tpc_core_open(core, "log", "file", tpc_str_from(text)) == 0, tpc_error_last()->text);
    snprintf(text, sizeof(text), "{\"dir\":\"%s\"}", o->dir);
    bench_must(tpc_core_open(core, "entities", "sqlite", tpc_str_from(text)) == 0,
               tpc_error_last()->text);
    bench_must(tpc_core_open(core, "history", o->history != NULL ? o->history : "sqlite",
                             o->history != NULL ? TPC_STR("{}") : tpc_str_from(text)) == 0,
               tpc_error_last()->text);
    bench_must(tpc_core_open(core, "feed", "feed", TPC_STR("{}")) == 0, tpc_error_last()->text);
    make_entities(core, o);
    return core;
}

struct wanted {
    const char *name;
    double value;
    bool found;
};

static int find_metric(void *user, const struct tpc_metric *m)
{
    struct wanted *w = user;
    if (strcmp(m->name, w->name) == 0) {
        w->value += m->value;
        w->found = true;
    }
    return 0;
}

double rig_metric(struct tpc_core *core, const char *name)
{
    struct wanted w = { name, 0, false };
    /* A name that is not there would read as 0, which is what checks hope for. */
    bench_must(tpc_core_stats(core, find_metric, &w) == 0 && w.found, name);
    return w.value;
}

/* ---- a run ---- */

/* Gives each worker's lane its devices, in the order of their numbers. */
static void make_lanes(struct tpc_core *core, const struct rig_options *o)
{
    rig.lane_count = core->worker_count;
    rig.lanes_done = 0;
    rig.paced = o->rate > 0;
    bench_must(rig.lane_count <= MAX_LANES, "workers");
    memset(rig.lanes, 0, sizeof(rig.lanes));
    for (uint32_t i = 0; i < rig.lane_count; i++) {
        rig.lanes[i].devices = calloc(o->devices, sizeof(uint32_t));
        rig.lanes[i].sessions = calloc(o->devices, sizeof(uint64_t));
        bench_must(rig.lanes[i].devices != NULL && rig.lanes[i].sessions != NULL, "memory");
    }
    for (uint32_t i = 0; i < o->devices; i++) {
        char key[DATA_KEY_BYTES];
        struct tpc_device *d;
        struct tpc_session_options s = { .size = sizeof(s) };
        s.device = tpc_str_from(data_device(i, key));
        bench_must(tpc_device_open(core, s.device, &d) == 0, key);
        struct lane *l = &rig.lanes[d->partition % rig.lane_count];
        tpc_device_unref(d);
        l->devices[l->device_count] = i;
        bench_must(rig.host->session_open(rig.ctx, &s, &l->sessions[l->device_count++]) == 0, key);
    }
    uint64_t left = o->messages;
    for (uint32_t i = 0; i < rig.lane_count; i++) {
        struct lane *l = &rig.lanes[i];
        bench_must(l->device_count > 0, "a worker without devices");
        data_init(&l->data, 1 + i, l->device_count, o->keys, o->noisy);
        l->total = i + 1 < rig.lane_count ? o->messages * l->device_count / o->devices : left;
        l->credits = o->rate > 0 ? 0 : WINDOW;
        left -= l->total;
        l->frame.size = sizeof(l->frame);
        l->frame.topic = TPC_STR("devices/telemetry");
    }
}

static void free_lanes(void)
{
    for (uint32_t i = 0; i < rig.lane_count; i++) {
        free(rig.lanes[i].devices);
        free(rig.lanes[i].sessions);
        data_fini(&rig.lanes[i].data);
    }
}

static int send_first(struct tpi_worker *w, void *user)
{
    (void) user;
    send_more(&rig.lanes[w->index], rig.host->receive, rig.ctx);
    return 0;
}

static int send_some(struct tpi_worker *w, void *user)
{
    rig.lanes[w->index].credits += *(uint64_t *) user;
    return send_first(w, NULL);
}

static void wait_lanes(void)
{
    pthread_mutex_lock(&rig.lock);
    while (rig.lanes_done < rig.lane_count) {
        pthread_cond_wait(&rig.changed, &rig.lock);
    }
    pthread_mutex_unlock(&rig.lock);
}

/* What all messages cost to make: the same ones, nobody receives them. */
static double measure_generator(const struct rig_options *o)
{
    double ns = 0;
    for (uint32_t i = 0; i < rig.lane_count; i++) {
        struct lane *l = &rig.lanes[i];
        struct lane saved = *l;
        data_init(&l->data, 1 + i, l->device_count, o->keys, o->noisy);
        l->credits = UINT64_MAX;
        double begin = bench_cpu_ns();
        send_more(l, receive_nothing, NULL);
        ns += bench_cpu_ns() - begin;
        data_fini(&l->data);
        *l = saved;
    }
    return ns;
}

/* Nothing was passed over, refused or dropped. */
static double check_counters(struct tpc_core *core, const struct rig_options *o)
{
    static const char *const none[] = {
        "tpc_uplink_points_refused_total", "tpc_uplink_duplicates_total",
        "tpc_uplink_dead_letters_total",   "tpc_uplink_empty_total",
        "tpc_uplink_refused_total",        "tpc_history_unusable_total",
        "tpc_history_skipped_total",       "tpc_core_records_unreadable_total",
        "tpc_registry_latest_stale_total",
    };
    double sum = 0;
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        double n = rig_metric(core, none[i]);
        sum += n;
        if (n != 0) {
            fprintf(stderr, "bench: %s is %.0f\n", none[i], n);
            exit(1);
        }
    }
    bench_must(rig_metric(core, "tpc_uplink_messages_total") == (double) o->messages,
               "every message is counted");
    return sum;
}

static void sum_batch(const struct tpc_row_batch *b, const struct rig_options *o,
                      struct data_sum *sum)
{
    uint32_t device = (uint32_t) strtoul(b->device.ptr + 1, NULL, 10);
    for (uint32_t k = 0; k < o->keys; k++) {
        const struct tpc_column *c = &b->columns[k];
        for (uint32_t i = 0; i < b->count; i++) {
            struct tpc_value v;
            double x = 0;
            if (tpc_column_value(c, i, &v) == 1 && tpc_value_double(&v, &x) == 0) {
                data_sum_point(sum, device, k, b->unix_ms[i], x);
            }
        }
    }
}

void rig_read(struct tpc_core *core, const struct rig_options *o, struct data_sum *ret)
{
    struct tpc_str keys[DATA_KEYS_MAX];
    memset(ret, 0, sizeof(*ret));
    for (uint32_t k = 0; k < o->keys; k++) {
        keys[k] = tpc_str_from(data_key(k));
    }
    for (uint32_t i = 0; i < o->devices; i++) {
        char key[DATA_KEY_BYTES];
        struct tpc_device *d;
        struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
        const struct tpc_row_batch *b;
        struct tpc_rows *rows;
        bench_must(tpc_device_open(core, tpc_str_from(data_device(i, key)), &d) == 0, key);
        q.devices = &d;
        q.device_count = 1;
        q.properties = keys;
        q.property_count = o->keys;
        bench_must(tpc_history_query(core, &q, &rows) == 0, tpc_error_last()->text);
        int rc;
        while ((rc = tpc_rows_next(rows, &b)) == 1) {
            sum_batch(b, o, ret);
        }
        bench_must(rc == 0, "reading back");
        tpc_rows_close(rows);
        tpc_device_unref(d);
    }
}

/* From a platform that was opened anew. */
static void read_back(const struct rig_options *o, struct data_sum *ret)
{
    struct tpc_core *core = rig_open(o);
    bench_must(tpc_core_start(core) == 0, tpc_error_last()->text);
    rig_read(core, o, ret);
    bench_must(tpc_core_destroy(core) == 0, "closing");
}

static void pace(struct tpc_core *core, const struct rig_options *o)
{
    double begin = util_wall_ns();
    uint64_t given = 0;
    while (given < o->messages) {
        usleep(TICK_MS * 1000);
        uint64_t due = (uint64_t) ((util_wall_ns() - begin) / 1e9 * o->rate);
        due = due < o->messages ? due : o->messages;
        uint64_t more = due - given;
        given = due;
        for (uint32_t i = 0; i < rig.lane_count; i++) {
            uint64_t part =
                i + 1 < rig.lane_count ? more / rig.lane_count : more - more / rig.lane_count * i;
            bench_must(tpi_worker_call(&core->workers[i], send_some, &part) == 0, "sending");
        }
    }
}

static void send_messages(struct tpc_core *core, const struct rig_options *o)
{
    for (uint32_t i = 0; i < rig.lane_count && o->rate == 0; i++) {
        bench_must(tpi_worker_call(&core->workers[i], send_first, NULL) == 0, "sending");
    }
    if (o->rate > 0) {
        pace(core, o);
    }
    wait_lanes();
}

static void run_core(struct tpc_core *core, const struct rig_options *o, struct rig_result *ret)
{
    uint64_t disk = util_disk_bytes();
    uint64_t before = __atomic_load_n(&allocations, __ATOMIC_RELAXED);
    double wall = util_wall_ns();
    double cpu = bench_cpu_ns();
    send_messages(core, o);
    ret->rss_bytes = util_rss_bytes();
    ret->allocations = __atomic_load_n(&allocations, __ATOMIC_RELAXED) - before;
    bench_must(tpc_core_stop(core, 60000) == 0, tpc_error_last()->text);
    ret->skipped = check_counters(core, o);
    bench_must(tpc_core_destroy(core) == 0, "closing");
    ret->cpu_ns = bench_cpu_ns() - cpu;
    ret->wall_ns = util_wall_ns() - wall;
    ret->disk_bytes = util_disk_bytes() - disk;
}

static void sum_lanes(struct data_sum *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (uint32_t i = 0; i < rig.lane_count; i++) {
        ret->points += rig.lanes[i].sum.points;
        ret->sum += rig.lanes[i].sum.sum;
    }
}

void rig_fill(const struct rig_options *o, struct data_sum *ret)
{
    struct tpc_core *core = rig_open(o);
    bench_must(tpc_core_start(core) == 0, tpc_error_last()->text);
    make_lanes(core, o);
    send_messages(core, o);
    sum_lanes(ret);
}

void rig_run(const struct rig_options *o, struct rig_result *ret)
{
    struct tpc_core *core = rig_open(o);
    struct data_sum made, read;
    uint64_t bytes = 0;
    memset(ret, 0, sizeof(*ret));
    bench_must(tpc_core_start(core) == 0, tpc_error_last()->text);
    make_lanes(core, o);
    run_core(core, o, ret);
    sum_lanes(&made);
    for (uint32_t i = 0; i < rig.lane_count; i++) {
        bytes += rig.lanes[i].payload_bytes;
    }
    ret->points = made.points;
    ret->payload_bytes = (double) bytes / (double) o->messages;
    ret->history_bytes = util_file_bytes(o->dir, "history.db");
    for (uint32_t i = 0; i < rig.lane_count; i++) {
        rig.lanes[i].sent = 0;
    }
    ret->generator_ns = measure_generator(o);
    free_lanes();
    read_back(o, &read);
    if (!data_sum_same(&made, &read)) {
        fprintf(stderr, "bench: %llu points were sent, %llu are in the history%s\n",
                (unsigned long long) made.points, (unsigned long long) read.points,
                made.points == read.points ? ", others" : "");
        exit(1);
    }
}

double rig_cost_ns(const struct rig_options *o, const struct rig_result *r)
{
    return (r->cpu_ns - r->generator_ns) / (double) o->messages;
}

void rig_best(const struct rig_options *given, struct rig_result *ret)
{
    struct rig_options o = *given;
    uint64_t rounds = util_number("BENCH_ROUNDS", ROUNDS);
    for (uint64_t i = 0; i < rounds; i++) {
        char dir[UTIL_PATH_BYTES];
        struct rig_result r;
        o.dir = util_folder(given->dir, dir);
        rig_run(&o, &r);
        util_remove(dir);
        if (i == 0 || r.cpu_ns - r.generator_ns < ret->cpu_ns - ret->generator_ns) {
            *ret = r;
        }
    }
}
