#include "bench.h"

#include "data/msg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int on_append(void *user, struct tpc_device *device, const struct tpc_msg *msg)
{
    struct bench *b = user;
    if (b->append_code != 0) {
        return b->append_code;
    }
    ck_assert(device == NULL || device->id == msg->device_id);
    ck_assert_uint_lt(b->record_count, BENCH_RECORDS);
    struct bench_record *r = &b->records[b->record_count++];
    *r = (struct bench_record){ .kind = msg->kind,
                                .partition = msg->partition,
                                .offset = b->next_offset[msg->partition]++,
                                .device_id = msg->device_id,
                                .unix_ms = msg->unix_ms,
                                .id = msg->id };
    tpi_buf_init(&r->body, NULL, 0);
    tk_ok(tpi_msg_encode(msg, &r->body));
    return 0;
}

static int on_send(void *user, struct tpc_device *device, const struct tpc_encode *what,
                   uint64_t ticket, struct tpc_error *err)
{
    struct bench *b = user;
    struct bench_send *s = &b->sends[b->send_count++ % BENCH_SENDS];
    *s = (struct bench_send){
        .device_id = device->id, .ticket = ticket, .id = what->id, .kind = what->kind
    };
    snprintf(s->name, sizeof(s->name), "%.*s", (int) what->name.len, what->name.ptr);
    snprintf(s->correlation, sizeof(s->correlation), "%.*s", (int) what->correlation.len,
             what->correlation.ptr);
    ck_assert_uint_eq(tpi_downlink_ticket_worker(ticket), b->host.worker);
    if (b->send_code != 0) {
        snprintf(err->text, sizeof(err->text), "told to fail");
        return b->send_code;
    }
    if (b->send_now) {
        bench_reply(b, (int) device->id - 1, &what->id, 0);
    }
    return 0;
}

static void on_closed(void *user, struct tpc_device *device, const struct tpc_command *c)
{
    struct bench *b = user;
    b->closed_count++;
    b->closed_id = c->id;
    b->closed_state = c->state;
    b->closed_code = c->code;
    b->closed_tries = c->tries;
    b->closed_panel = tpc_command_panel_status(c);
    snprintf(b->closed_label, sizeof(b->closed_label), "%.*s", (int) c->label.len, c->label.ptr);
    ck_assert_uint_gt(bench_records(b, TPC_MSG_COMMAND_CLOSED, &c->id), 0);
    snprintf(b->closed_text, sizeof(b->closed_text), "%.*s %.*s %.*s %.*s %.*s %.*s %.*s",
             (int) c->service.len, c->service.ptr, (int) c->params_json.len, c->params_json.ptr,
             (int) c->reply_json.len, c->reply_json.ptr, (int) c->reason.len, c->reason.ptr,
             (int) c->actor.len, c->actor.ptr, (int) c->tenant.len, c->tenant.ptr,
             (int) c->device.len, c->device.ptr);
    if (b->command_when_closed && device != NULL) {
        b->command_when_closed = false;
        bench_set(b, (int) device->id - 1);
    }
}

static void start(struct bench *b)
{
    b->counters = (struct tpi_downlink_counters){ 0 };
    tpi_wheel_init(&b->wheel, tpi_mono_ms(&b->env.env));
    tk_ok(tpi_downlink_create(&b->env.env, &b->host, NULL, &b->d));
}

static void make_model(struct bench *b)
{
    static const char json[] =
        TPC_JSON({
            "properties" : [ { "id" : "on", "type" : "bool", "access" : "rw" } ],
            "services" : [ { "id" : "reboot", "input" : [] } ]
        });
    struct tpc_arena *arena = NULL;
    struct tpc_value v;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    tk_ok(tpc_json_parse(arena, TPC_STR(json), 0, NULL, &v));
    tk_ok(tpi_model_compile(NULL, &v, NULL, TPI_ENFORCE_USUAL, 1, NULL, &b->model));
    tpc_arena_destroy(arena);
    b->product = (struct tpi_product){ .id = 9, .model = b->model };
}

struct bench *bench_new(void)
{
    static const char *const keys[BENCH_DEVICES] = { "fan-1", "fan-2", "fan-3" };
    struct bench *b = calloc(1, sizeof(*b));
    b->records = calloc(BENCH_RECORDS, sizeof(*b->records));
    ck_assert_ptr_nonnull(b->records);
    tk_env_init(&b->env);
    make_model(b);
    b->tenant.key = TPC_STR("main");
    for (uint32_t i = 0; i < BENCH_DEVICES; i++) {
        b->devices[i].id = i + 1;
        b->devices[i].partition = i % BENCH_PARTITIONS;
        b->devices[i].tenant = &b->tenant;
        b->devices[i].key = tpc_str_from(keys[i]);
        b->devices[i].product = &b->product;
        atomic_init(&b->devices[i].refs, 1);
    }
    b->host = (struct tpi_downlink_host){ .user = b,
                                          .wheel = &b->wheel,
                                          .counters = &b->counters,
                                          .worker = 3,
                                          .partitions = BENCH_PARTITIONS,
                                          .append = on_append,
                                          .send = on_send,
                                          .closed = on_closed };
    start(b);
    return b;
}

static void stop(struct bench *b)
{
    tpi_downlink_destroy(b->d);
    b->d = NULL;
    ck_assert_uint_eq(tpi_wheel_count(&b->wheel), 0);
    ck_assert_uint_eq(TPI_METRIC_GET(b->counters.open), 0);
    for (int i = 0; i < BENCH_DEVICES; i++) {
        ck_assert_uint_eq(atomic_load(&b->devices[i].refs), 1);
    }
}

void bench_free(struct bench *b)
{
    stop(b);
    for (size_t i = 0; i < b->record_count; i++) {
        tpi_buf_fini(&b->records[i].body);
    }
    free(b->records);
    tpi_model_unref(b->model);
    tk_env_fini(&b->env);
    free(b);
}

static void replay(struct bench *b, const struct bench_record *r)
{
    struct tpc_arena *arena = NULL;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = r->kind,
                         .partition = r->partition,
                         .offset = r->offset,
                         .device_id = r->device_id,
                         .unix_ms = r->unix_ms,
                         .received_unix_ms = r->unix_ms };
    struct tpc_bytes body = { r->body.ptr, r->body.len };
    tk_ok(tpi_msg_decode(body, arena, NULL, &m));
    struct tpc_device *device = &b->devices[r->device_id - 1];
    tk_ok(tpi_downlink_replay(b->d, atomic_load(&device->deleted) ? NULL : device, &m));
    tpc_arena_destroy(arena);
}

void bench_restart(struct bench *b, size_t count)
{
    stop(b);
    start(b);
    for (size_t i = 0; i < count; i++) {
        replay(b, &b->records[i]);
    }
    tpi_downlink_replayed(b->d);
}

int bench_command(struct bench *b, int device, const struct tpi_command_spec *spec,
                  struct tpc_id *ret_id)
{
    struct tpc_device *dev = &b->devices[device];
    struct tpc_id id = { { 0 } };
    uint64_t n = ++b->next_id;
    memcpy(id.b + 8, &n, sizeof(n));
    int rc = tpi_downlink_admit(b->d, dev, &id, NULL);
    if (rc != 0) {
        return rc;
    }
    struct tpc_arena *arena = NULL;
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_COMMAND,
                         .flags = TPC_MSG_DOWN,
                         .partition = dev->partition,
                         .device_id = dev->id,
                         .id = id,
                         .name = spec->service,
                         .offset = b->next_offset[dev->partition],
                         .unix_ms = tpi_unix_ms(&b->env.env) };
    m.received_unix_ms = m.unix_ms;
    tk_ok(tpi_command_envelope(spec, arena, &m.params));
    rc = on_append(b, dev, &m);
    if (rc == 0) {
        tk_ok(tpi_downlink_command(b->d, dev, &m));
        tk_fails(TPC_EEXIST, tpi_downlink_command(b->d, dev, &m));
    }
    tpc_arena_destroy(arena);
    if (ret_id != NULL) {
        *ret_id = id;
    }
    return rc;
}

struct tpc_id bench_set(struct bench *b, int device)
{
    static const struct tpc_member on = { { "on", 2 }, { .type = TPC_BOOL, .as.b = true } };
    struct tpi_command_spec spec = { .service = TPC_STR("set"),
                                     .actor = TPC_STR("rule scene:x"),
                                     .priority = TPC_PRIORITY_NORMAL,
                                     .params = { .type = TPC_MAP, .len = 1, .as.members = &on } };
    struct tpc_id id;
    tk_ok(bench_command(b, device, &spec, &id));
    return id;
}

int bench_reply(struct bench *b, int device, const struct tpc_id *id, int32_t code)
{
    static const struct tpc_member speed = { { "speed", 5 }, { .type = TPC_INT, .as.i = 7 } };
    char text[TPC_ID_TEXT_BYTES + 1];
    struct tpc_msg m = { .size = sizeof(m),
                         .kind = TPC_MSG_REPLY,
                         .code = code,
                         .params = { .type = TPC_MAP, .len = 1, .as.members = &speed } };
    if (id != NULL) {
        tpc_id_format(id, text);
        m.correlation = (struct tpc_str){ text, TPC_ID_TEXT_BYTES };
    }
    if (code != 0) {
        m.name = TPC_STR("too hot");
    }
    return tpi_downlink_reply(b->d, &b->devices[device], &m);
}

const struct bench_send *bench_last_send(const struct bench *b)
{
    ck_assert_uint_gt(b->send_count, 0);
    return &b->sends[(b->send_count - 1) % BENCH_SENDS];
}

void bench_advance(struct bench *b, uint64_t ms)
{
    tk_clock_advance(&b->env.clock, ms);
    tpi_wheel_run(&b->wheel, tpi_mono_ms(&b->env.env));
}

size_t bench_records(const struct bench *b, uint16_t kind, const struct tpc_id *id)
{
    size_t n = 0;
    for (size_t i = 0; i < b->record_count; i++) {
        const struct bench_record *r = &b->records[i];
        n += r->kind == kind && (id == NULL || memcmp(id, &r->id, sizeof(*id)) == 0);
    }
    return n;
}

static void keep_state(void *user, const struct tpc_command *c)
{
    *(uint32_t *) user = c->state;
}

uint32_t bench_state(struct bench *b, const struct tpc_id *id)
{
    uint32_t state = 0;
    int rc = tpi_downlink_find(b->d, id, keep_state, &state);
    ck_assert(rc == 0 || rc == TPC_ENOENT);
    return state;
}
