/* A service of the program's own: its functions as codec, product and target; what decode() says as
 * messages; commands and their numbers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/ext/sink.h>

#include "flow.h"

/* ---- a part that offers "service.platform" ---- */

struct above {
    const struct tpc_service_ops *ops;
    void *user;
    int code;         /* what serve() returns */
    atomic_uint sent; /* messages that the target got */
    const struct tpc_host *host;
    void *ctx;
};
static struct above above;

static int above_serve(void *self, const struct tpc_service_ops *ops, void *user,
                       struct tpc_error *err)
{
    (void) self;
    if (above.code != 0) {
        memset(err, 0, sizeof(*err));
        err->size = sizeof(*err);
        err->code = above.code;
        snprintf(err->path, sizeof(err->path), "forms[VCR].array[2].type");
        return above.code;
    }
    above.ops = ops;
    above.user = user;
    return 0;
}

static const struct tpc_service_platform_ops platform_ops = {
    .iface = TPC_IFACE(struct tpc_service_platform_ops, 1),
    .serve = above_serve,
};

static int above_init(void *self, const struct tpc_host *host, void *ctx,
                      const struct tpc_value *cfg)
{
    (void) cfg;
    above.host = host;
    above.ctx = ctx;
    return host->offer(ctx, "service.platform", &platform_ops, self);
}

static int above_start(void *self)
{
    (void) self;
    return 0;
}

static int above_target(void *self, struct tpc_str name, const struct tpc_value *cfg, void **ret)
{
    (void) name;
    (void) cfg;
    *ret = self;
    return 0;
}

static int above_send(void *self, void *target, const struct tpc_batch *batch, uint64_t ticket)
{
    (void) self;
    (void) target;
    above.sent += batch->count;
    above.host->sent(above.ctx, ticket, NULL);
    return 0;
}

static void above_target_close(void *self, void *target)
{
    (void) self;
    (void) target;
}

static void above_end(void *self)
{
    (void) self;
}

static const struct tpc_sink_ops above_ops = {
    .iface = TPC_IFACE(struct tpc_sink_ops, 1),
    .name = "above",
    .instance_size = 8,
    .init = above_init,
    .start = above_start,
    .target_open = above_target,
    .send = above_send,
    .target_close = above_target_close,
    .stop = above_end,
    .fini = above_end,
};
static const struct tpc_interface above_interfaces[] = { { TPC_KIND_SINK, &above_ops } };
static const char *const above_offers[] = { "service.platform" };
static const struct tpc_module above_module = {
    .iface = TPC_IFACE(struct tpc_module, 1),
    .name = "above",
    .version = "1",
    .licence = "Apache-2.0",
    .interfaces = TPC_INTERFACES(above_interfaces),
    .offers = TPC_LIST(above_offers),
};

/* ---- a protocol: words ---- */

/* "k=5" value, "@7" device 7, "@" this one again, "t=1000" time, "+" attributes, "-" telemetry, "!name"
 * event, "#12=0" answer to number 12, "?" fault, "?text" fault with words. */
static int decode_word(const char *word, struct tpc_reading *r)
{
    const char *eq = strchr(word, '=');
    char key[32];
    int64_t n = eq != NULL ? strtoll(eq + 1, NULL, 10) : 0;
    struct tpc_member level = { TPC_STR("level"), { .type = TPC_INT, .as.i = 3 } };
    struct tpc_value params = { TPC_MAP, 0, 1, { .members = &level } };
    switch (word[0]) {
    case '@':
        (void) tpc_reading_device(r, tpc_str_from(word + 1));
        return 0;
    case '+':
    case '-':
        return tpc_reading_attributes(r, word[0] == '+');
    case '!':
        return tpc_reading_event(r, word + 1, &params);
    case '#':
        return tpc_reading_reply_number(r, (uint32_t) strtoul(word + 1, NULL, 10), (int32_t) n,
                                        TPC_STR("said"));
    case '?':
        return word[1] != '\0' ? tpc_reading_fail(r, TPC_EMODEL, word + 1) : TPC_EDECODE;
    case '.':
        return 0;
    case '_':
        (void) tpc_reading_int(r, "", 0); /* a fault that it does not look at */
        return 0;
    default:
        snprintf(key, sizeof(key), "%.*s", eq != NULL ? (int) (eq - word) : 0, word);
        return strcmp(key, "t") == 0 ? tpc_reading_time(r, n) : tpc_reading_int(r, key, n);
    }
}

static int words_decode(void *user, const struct tpc_frame *frame, struct tpc_reading *r)
{
    char text[256];
    char *rest = text;
    (void) user;
    snprintf(text, sizeof(text), "%.*s", (int) frame->payload.len,
             (const char *) frame->payload.ptr);
    int rc = 0;
    for (char *w = strtok_r(rest, " ", &rest); rc == 0 && w != NULL;
         w = strtok_r(NULL, " ", &rest)) {
        rc = decode_word(w, r);
    }
    return rc;
}

static int words_encode(void *user, const struct tpc_encode *c, struct tpc_buf *out)
{
    struct tpc_str to = c->path_count > 0 ? c->path[c->path_count - 1] : TPC_STR("self");
    (void) user;
    if (tpc_str_equal(c->name, TPC_STR("nothing"))) {
        return TPC_EUNSUPPORTED;
    }
    bool huge = tpc_str_equal(c->name, TPC_STR("huge"));
    int n =
        snprintf((char *) out->ptr, out->cap, "%.*s %.*s #%u%*s", (int) c->name.len, c->name.ptr,
                 (int) to.len, to.ptr, (unsigned) tpc_encode_number(c, 250), huge ? 1000 : 0, "");
    out->need = (size_t) n + 1;
    return out->need > out->cap ? TPC_ETOOBIG : 0;
}

static const struct tpc_service_form forms[] = { { "VCR", NULL, "[]" } };

static const struct tpc_service_ops words = {
    .iface = TPC_IFACE(struct tpc_service_ops, 1),
    .identifier = "words",
    .forms = TPC_LIST(forms),
    .decode = words_decode,
    .encode = words_encode,
};

static void open_above(struct flow *f)
{
    memset(&above, 0, sizeof(above));
    tk_ok(tpc_core_add_module(f->core, &above_module));
    tk_ok(tpc_core_open(f->core, "up", "above", (struct tpc_str){ NULL, 0 }));
}

static void put(struct flow *f, const char *kind, const char *json)
{
    tk_ok(tpc_entity_put(f->core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL));
}

static void begin(struct flow *f, uint32_t workers)
{
    flow_init(f, workers);
    flow_create(f);
    flow_probe_open(f);
    open_above(f);
    tk_ok(tpc_service_serve(f->core, &words, f));
    put(f, "device", "{\"key\":\"c1\",\"product\":\"words\"}");
    put(f, "device", "{\"key\":\"m7\",\"product\":\"words\",\"gateway\":\"c1\",\"address\":\"7\"}");
    flow_start(f);
}

/* ---- what the log gets ---- */

struct seen {
    char text[1024];
};

static int see(void *user, const struct tpc_batch *b)
{
    struct seen *s = user;
    for (uint32_t i = 0; i < b->count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(b, i);
        size_t at = strlen(s->text);
        if (m->kind == TPC_MSG_PRESENCE || m->kind == TPC_MSG_DEAD_LETTER) {
            continue;
        }
        at += (size_t) snprintf(s->text + at, sizeof(s->text) - at, "%.*s %s %.*s(",
                                (int) m->device.len, m->device.ptr, tpc_kind_name(m->kind),
                                (int) m->name.len, m->name.len > 0 ? m->name.ptr : "");
        for (uint32_t k = 0; k < m->point_count; k++) {
            int64_t n = 0;
            (void) tpc_value_int(&tpc_msg_point(m, k)->value, &n);
            at += (size_t) snprintf(s->text + at, sizeof(s->text) - at, "%s%.*s=%d",
                                    k > 0 ? " " : "", (int) tpc_msg_point(m, k)->key.len,
                                    tpc_msg_point(m, k)->key.ptr, (int) n);
        }
        snprintf(s->text + at, sizeof(s->text) - at, ")%s; ",
                 (m->flags & TPC_MSG_ESTIMATED_TIME) != 0 ? "" : "@");
    }
    return 0;
}

static struct tpc_sub *subscribe(struct flow *f, struct seen *s)
{
    struct tpc_subscribe_options o = TPC_SUBSCRIBE_OPTIONS_INIT;
    struct tpc_sub *sub;
    memset(s, 0, sizeof(*s));
    o.filter = TPC_STR("main/up/#");
    tk_ok(tpc_subscribe(f->core, &o, see, s, &sub));
    return sub;
}

static void frame(struct flow *f, const char *device, const char *text)
{
    struct tpc_device *d = flow_device(f, device);
    tk_ok(flow_feed(d, text));
    tpc_device_unref(d);
    flow_settle(f);
}

START_TEST(what_decode_says_becomes_messages)
{
    struct flow f;
    struct seen seen;
    static const struct {
        const char *frame, *messages;
    } cases[] = {
        { "a=1 b=2", "c1 telemetry (a=1 b=2); " },
        { "a=1 @ b=2", "c1 telemetry (a=1 b=2); " },
        { "", "" },
        { "a=1 @7 a=7 b=8 @ b=2", "c1 telemetry (a=1); m7 telemetry (a=7 b=8); "
                                  "c1 telemetry (b=2); " },
        { "@9 a=1 !alarm #1=0 @ a=5", "c1 telemetry (a=5); " }, /* there is no 9 */
        { "+ serial=5 - a=1 !alarm a=2",
          "c1 attributes (serial=5); c1 telemetry (a=1); c1 event alarm(); c1 telemetry (a=2); " },
        { "t=1000 a=1 t=2000 a=2 a=3 t=0 a=4",
          "c1 telemetry (a=1)@; c1 telemetry (a=2 a=3)@; c1 telemetry (a=4); " },
    };
    begin(&f, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tpc_sub *sub = subscribe(&f, &seen);
        frame(&f, "c1", cases[i].frame);
        flow_settle(&f);
        tpc_unsubscribe(sub);
        ck_assert_str_eq(seen.text, cases[i].messages);
    }
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_dead_letters_total"), 0);
    ck_assert(flow_metric(&f, "tpc_forward_sent_total") > 0);
    ck_assert_uint_gt(above.sent, 0);
    ck_assert_ptr_eq(above.user, &f);
    ck_assert_str_eq(above.ops->identifier, "words");
    ck_assert_uint_eq(above.ops->forms.count, 1);
    flow_fini(&f);
}
END_TEST

static int keep_letter(void *user, const struct tpc_dead_letter *l)
{
    snprintf(user, 300, "%s: %.*s: %.*s", tpc_error_name(l->code), (int) l->reason.len,
             l->reason.ptr, (int) l->raw.len, (const char *) l->raw.ptr);
    return 0;
}

START_TEST(a_frame_that_cannot_be_decoded_is_a_dead_letter_as_a_whole)
{
    struct flow f;
    struct seen seen;
    char letter[300];
    begin(&f, 0);
    struct tpc_sub *sub = subscribe(&f, &seen);
    frame(&f, "c1", "a=1 @7 a=2 ?");
    tk_ok(tpc_dead_letters(f.core, keep_letter, letter));
    ck_assert_str_eq(letter,
                     "TPC_EDECODE: words cannot decode the frame: TPC_EDECODE: a=1 @7 a=2 ?");
    frame(&f, "c1", "@7 a=2 ?check");
    tk_ok(tpc_dead_letters(f.core, keep_letter, letter));
    ck_assert_str_eq(letter, "TPC_EMODEL: check: @7 a=2 ?check");
    frame(&f, "c1", "=5"); /* a value without a key */
    tk_ok(tpc_dead_letters(f.core, keep_letter, letter));
    ck_assert_str_eq(letter, "TPC_EINVAL: a value needs a key: =5");
    frame(&f, "c1", "a=3");
    ck_assert_str_eq(seen.text, "c1 telemetry (a=3); ");
    ck_assert_double_eq(flow_metric(&f, "tpc_uplink_dead_letters_total"), 3);
    tpc_unsubscribe(sub);
    flow_fini(&f);
}
END_TEST

/* ---- commands ---- */

struct ended {
    atomic_uint count;
    uint32_t state;
    int32_t code;
    char reason[256];
};

static void on_end(void *user, const struct tpc_command *c)
{
    struct ended *e = user;
    e->state = c->state;
    e->code = c->code;
    snprintf(e->reason, sizeof(e->reason), "%.*s", (int) c->reason.len,
             c->reason.len > 0 ? c->reason.ptr : "");
    atomic_fetch_add(&e->count, 1);
}

static bool has_ended(void *user)
{
    return atomic_load(&((struct ended *) user)->count) > 0;
}

static bool was_sent(void *user)
{
    return atomic_load(&flow_probe.sent_count) >= *(const uint32_t *) user;
}

static void send_command(struct flow *f, const char *device, const char *service, struct ended *e)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    memset(e, 0, sizeof(*e));
    struct tpc_device *d = flow_device(f, device);
    o.device = d;
    o.service = tpc_str_from(service);
    o.timeout_ms = 2000;
    tk_ok(tpc_command_send(f->core, NULL, &o, on_end, e, NULL));
    tpc_device_unref(d);
}

static unsigned number_sent(uint32_t i)
{
    const char *at = strchr(flow_probe.sent[i].payload, '#');
    ck_assert_ptr_nonnull(at);
    return (unsigned) strtoul(at + 1, NULL, 10);
}

START_TEST(a_command_is_answered_by_the_number_that_the_device_echoes)
{
    struct flow f;
    struct ended own;
    struct ended sub;
    char text[64];
    uint32_t two = 2;
    begin(&f, (uint32_t) _i);
    flow_probe.confirm = true;
    uint64_t session = flow_session("c1", TPC_SESSION_PRESENCE);
    tk_ok(flow_receive(session, "a=1", 0));
    flow_settle(&f);
    send_command(&f, "c1", "relay", &own);
    send_command(&f, "m7", "relay", &sub);
    ck_assert(flow_until(&f, was_sent, &two));
    uint32_t first = strncmp(flow_probe.sent[0].payload, "relay self", 10) == 0 ? 0 : 1;
    ck_assert_int_eq(strncmp(flow_probe.sent[1 - first].payload, "relay 7 #", 9), 0);
    ck_assert_str_eq(flow_probe.sent[0].device, "c1");
    ck_assert_str_eq(flow_probe.sent[1].device, "c1");
    ck_assert_uint_ne(number_sent(0), number_sent(1));
    snprintf(text, sizeof(text), "#%u=0", number_sent(1 - first));
    tk_ok(flow_receive(session, "#251=0", 0)); /* nobody's */
    tk_ok(flow_receive(session, text, 0));
    ck_assert(flow_until(&f, has_ended, &sub));
    ck_assert_uint_eq(sub.state, TPC_COMMAND_SUCCEEDED);
    ck_assert(!has_ended(&own));
    snprintf(text, sizeof(text), "#%u=3", number_sent(first));
    tk_ok(flow_receive(session, text, 0));
    ck_assert(flow_until(&f, has_ended, &own));
    ck_assert_uint_eq(own.state, TPC_COMMAND_FAILED);
    ck_assert_int_eq(own.code, 3);
    ck_assert_str_eq(own.reason, "said");
    bool alone = f.workers < 2; /* else who might wait is another worker's: nobody counts */
    ck_assert(!alone || flow_metric(&f, "tpc_downlink_unmatched_replies_total") == 1);
    flow_fini(&f);
}
END_TEST

START_TEST(a_command_that_the_service_does_not_know_fails_with_words)
{
    struct flow f;
    struct ended e;
    uint32_t one = 1;
    begin(&f, 0);
    flow_probe.confirm = true;
    uint64_t session = flow_session("c1", TPC_SESSION_PRESENCE);
    tk_ok(flow_receive(session, "a=1", 0));
    flow_settle(&f);
    send_command(&f, "c1", "nothing", &e);
    ck_assert(flow_until(&f, has_ended, &e));
    ck_assert_uint_eq(e.state, TPC_COMMAND_FAILED);
    ck_assert_ptr_nonnull(strstr(e.reason, "the devices know no nothing"));
    send_command(&f, "c1", "huge", &e); /* more than the first buffer */
    ck_assert(flow_until(&f, was_sent, &one));
    ck_assert_int_eq(strncmp(flow_probe.sent[0].payload, "huge self #", 11), 0);
    flow_fini(&f);
}
END_TEST

/* ---- serving ---- */

START_TEST(a_service_is_refused_with_its_reason_and_may_come_again)
{
    struct flow f;
    struct tpc_service_ops ops = words;
    flow_init(&f, 0);
    flow_create(&f);
    tk_fails(TPC_EINVAL, tpc_service_serve(NULL, &words, NULL));
    tk_fails(TPC_EINVAL, tpc_service_serve(f.core, NULL, NULL));
    tk_fails(TPC_ENOENT, tpc_service_serve(f.core, &words, NULL));
    open_above(&f);
    ops.iface.major = 2;
    tk_fails(TPC_EVERSION, tpc_service_serve(f.core, &ops, NULL));
    ops = words;
    ops.decode = NULL;
    tk_fails(TPC_EINVAL, tpc_service_serve(f.core, &ops, NULL));
    ops = words;
    ops.identifier = "json";
    tk_fails(TPC_EEXIST, tpc_service_serve(f.core, &ops, NULL));
    ops.identifier = "a b";
    tk_fails(TPC_EINVAL, tpc_service_serve(f.core, &ops, NULL));
    ops = words;
    ops.type = 3;
    tk_fails(TPC_EINVAL, tpc_service_serve(f.core, &ops, NULL));
    ops = words;
    ops.product_json = "{";
    tk_fails(TPC_EDECODE, tpc_service_serve(f.core, &ops, NULL));
    ck_assert_str_eq(tpc_error_last()->path, "product_json");
    ops.product_json = "[]";
    tk_fails(TPC_EINVAL, tpc_service_serve(f.core, &ops, NULL));
    above.code = TPC_EINVAL;
    tk_fails(TPC_EINVAL, tpc_service_serve(f.core, &words, NULL));
    ck_assert_str_eq(tpc_error_last()->path, "forms[VCR].array[2].type");
    above.code = 0;
    tk_ok(tpc_service_serve(f.core, &words, NULL));
    tk_fails(TPC_EEXIST, tpc_service_serve(f.core, &words, NULL));
    flow_start(&f);
    tk_fails(TPC_ESTATE, tpc_service_serve(f.core, &words, NULL));
    flow_fini(&f);
}
END_TEST

static int copy_json(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                     struct tpc_str json)
{
    (void) info;
    (void) key;
    snprintf(user, 1024, "%.*s", (int) json.len, json.ptr);
    return 0;
}

START_TEST(product_and_target_are_made_as_the_service_says)
{
    struct flow f;
    struct tpc_service_ops ops = words;
    char json[1024];
    ops.product_json = "{\"key\":\"no\",\"codec\":\"cbor\",\"name\":\"Words\",\"unknown\":\"drop\","
                       "\"model\":{\"properties\":[{\"id\":\"a\",\"type\":\"int\"}]}}";
    flow_init(&f, 0);
    flow_create(&f);
    open_above(&f);
    tk_ok(tpc_service_serve(f.core, &ops, NULL));
    tk_ok(tpc_entity_get(f.core, TPC_STR("main"), "product", TPC_STR("words"), copy_json, json));
    ck_assert_ptr_nonnull(strstr(json, "\"codec\":\"cbor\""));
    ck_assert_ptr_nonnull(strstr(json, "\"unknown\":\"drop\""));
    ck_assert_ptr_nonnull(strstr(json, "\"name\":\"Words\""));
    tk_ok(tpc_entity_get(f.core, TPC_STR("main"), "forward", TPC_STR("platform"), copy_json, json));
    ck_assert_ptr_nonnull(strstr(json, "\"sink\":\"up\""));
    ck_assert_ptr_nonnull(strstr(json, "main/up/#"));
    flow_fini(&f);
}
END_TEST

START_TEST(what_was_changed_by_hand_stays)
{
    struct flow f;
    char json[1024];
    flow_init(&f, 0);
    flow_create(&f);
    open_above(&f);
    above.code = TPC_EIO;
    tk_fails(TPC_EIO, tpc_service_serve(f.core, &words, NULL)); /* the codec is there */
    above.code = 0;
    put(&f, "product",
        "{\"key\":\"words\",\"codec\":\"words\",\"name\":\"mine\",\"unknown\":"
        "\"keep\",\"model\":{\"properties\":[]}}");
    put(&f, "forward", "{\"key\":\"platform\",\"sink\":\"up\",\"filter\":[\"main/up/words/#\"]}");
    tk_ok(tpc_service_serve(f.core, &words, NULL));
    tk_ok(tpc_entity_get(f.core, TPC_STR("main"), "product", TPC_STR("words"), copy_json, json));
    ck_assert_ptr_nonnull(strstr(json, "mine"));
    tk_ok(tpc_entity_get(f.core, TPC_STR("main"), "forward", TPC_STR("platform"), copy_json, json));
    ck_assert_ptr_nonnull(strstr(json, "main/up/words/#"));
    flow_fini(&f);
}
END_TEST

static int serve_without_memory(const struct tpc_allocator *alloc, void *user)
{
    struct tpc_core_options o = ((struct flow *) user)->o;
    struct tpc_core *core;
    o.allocator = alloc;
    memset(&above, 0, sizeof(above));
    int rc = tpc_core_create(&o, &core);
    if (rc != 0) {
        return rc;
    }
    rc = tpc_core_add_module(core, &above_module);
    rc = rc != 0 ? rc : tpc_core_open(core, "up", "above", (struct tpc_str){ NULL, 0 });
    rc = rc != 0 ? rc : tpc_service_serve(core, &words, NULL);
    (void) tpc_core_destroy(core);
    return rc;
}

START_TEST(without_memory_nothing_is_served)
{
    struct flow f;
    flow_init(&f, 0);
    ck_assert_uint_gt(tk_each_alloc_fails(serve_without_memory, &f), 50);
    flow_fini(&f);
}
END_TEST

/* ---- without a core ---- */

struct taken {
    char text[256];
};

static int take_begin(void *user, uint32_t frame_index, const struct tpc_decoded *head)
{
    struct taken *t = user;
    size_t at = strlen(t->text);
    ck_assert_uint_eq(frame_index, 0);
    snprintf(t->text + at, sizeof(t->text) - at, "%s(", tpc_kind_name(head->kind));
    return 0;
}

static int take_point(void *user, struct tpc_str key, const struct tpc_value *value, int64_t ms)
{
    struct taken *t = user;
    size_t at = strlen(t->text);
    (void) ms;
    snprintf(t->text + at, sizeof(t->text) - at, "%.*s=%d ", (int) key.len, key.ptr,
             (int) value->as.i);
    return tpc_str_equal(key, TPC_STR("stop")) ? 1 : 0;
}

static int take_end(void *user)
{
    struct taken *t = user;
    strncat(t->text, ")", sizeof(t->text) - strlen(t->text) - 1);
    return 0;
}

static void take_refuse(void *user, uint32_t frame_index, const struct tpc_error *err)
{
    struct taken *t = user;
    ck_assert_uint_eq(frame_index, 0);
    snprintf(t->text, sizeof(t->text), "refused: %s", err->text);
}

static const char *decode(const struct tpc_allocator *alloc, const char *text, struct taken *t,
                          int *ret_rc)
{
    struct tpc_arena *arena = NULL;
    struct tpc_frame fr = { .size = sizeof(fr),
                            .payload = { (const uint8_t *) text, strlen(text) } };
    memset(t, 0, sizeof(*t));
    *ret_rc = tpc_arena_create(alloc, 1 << 20, &arena);
    if (*ret_rc == 0) {
        struct tpc_decode_sink sink = { .size = sizeof(sink),
                                        .user = t,
                                        .arena = arena,
                                        .begin = take_begin,
                                        .point = take_point,
                                        .end = take_end,
                                        .refuse = take_refuse };
        *ret_rc = tpc_service_decode(&words, NULL, &fr, &sink);
        sink.arena = NULL;
        tk_fails(TPC_EINVAL, tpc_service_decode(&words, NULL, &fr, &sink));
    }
    tpc_arena_destroy(arena);
    return t->text;
}

START_TEST(a_service_decodes_without_a_core)
{
    struct taken t;
    int rc;
    const struct tpc_allocator *a = tpc_allocator_default();
    ck_assert_str_eq(decode(a, "a=1 @7 a=2 @ b=1 !x", &t, &rc),
                     "telemetry(a=1 )telemetry(b=1 )event()");
    ck_assert_str_eq(decode(a, "a=1 stop=1 b=1", &t, &rc), "telemetry(a=1 stop=1 ");
    ck_assert_str_eq(decode(a, "a=1 ?no", &t, &rc), "refused: no");
    ck_assert_str_eq(decode(a, "t=-1", &t, &rc), "refused: a time is before 1970");
    ck_assert_str_eq(decode(a, "_ ?late", &t, &rc), "refused: a value needs a key");
    ck_assert_str_eq(decode(a, "_", &t, &rc), "refused: a value needs a key");
    ck_assert_str_eq(decode(a, "@7 _", &t, &rc), "refused: a value needs a key");
    tk_fails(TPC_EINVAL, tpc_service_decode(NULL, NULL, NULL, NULL));
    struct tpc_encode e = { .size = sizeof(e) };
    ck_assert_uint_eq(tpc_encode_number(&e, 100), 1);
    ck_assert_uint_eq(tpc_encode_number(NULL, 0), 1);
}
END_TEST

/* Words that end with a full stop. */
static int stop_frame(void *user, struct tpc_bytes bytes, size_t *ret_bytes)
{
    const uint8_t *end = memchr(bytes.ptr, '.', bytes.len);
    (void) user;
    *ret_bytes = end != NULL ? (size_t) (end - bytes.ptr) + 1 : 0;
    return bytes.ptr[0] == '.' ? TPC_EDECODE : 0;
}

START_TEST(decode_gets_whole_frames_alone)
{
    static const char *const cases[] = { "", ".", "a=1", "a=1 .b", "a=1 ." };
    struct tpc_service_ops ops = words;
    struct tpc_arena *arena;
    struct taken t;
    struct tpc_frame fr = { .size = sizeof(fr) };
    ops.frame = stop_frame;
    tk_ok(tpc_arena_create(tpc_allocator_default(), 1 << 20, &arena));
    struct tpc_decode_sink sink = { .size = sizeof(sink),
                                    .user = &t,
                                    .arena = arena,
                                    .begin = take_begin,
                                    .point = take_point,
                                    .end = take_end,
                                    .refuse = take_refuse };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memset(&t, 0, sizeof(t));
        fr.payload = (struct tpc_bytes){ (const uint8_t *) cases[i], strlen(cases[i]) };
        tk_ok(tpc_service_decode(&ops, NULL, &fr, &sink));
        ck_assert_int_eq(strncmp(t.text, "refused", 7) == 0, i < 4);
    }
    tpc_arena_destroy(arena);
}
END_TEST

static int decode_without_memory(const struct tpc_allocator *alloc, void *user)
{
    struct taken t;
    int rc;
    const char *text = decode(alloc, "key=1 !event + other=3", &t, &rc);
    (void) user;
    return rc != 0 ? rc : strncmp(text, "refused", 7) == 0 ? TPC_ENOMEM : 0;
}

START_TEST(without_memory_a_frame_is_refused)
{
    ck_assert_uint_gt(tk_each_alloc_fails(decode_without_memory, NULL), 0);
}
END_TEST

/* ---- a codec of the program's ---- */

static int fixed_decode(void *self, uint32_t worker, void *program, const struct tpc_frame *frames,
                        uint32_t count, size_t frame_size, const struct tpc_decode_sink *sink)
{
    struct tpc_decoded head = { .size = sizeof(head), .kind = TPC_MSG_TELEMETRY };
    struct tpc_value v = { .type = TPC_INT, .as.i = *(const int *) self };
    (void) worker;
    (void) program;
    (void) frames;
    (void) frame_size;
    for (uint32_t i = 0; i < count; i++) {
        if (sink->begin(sink->user, i, &head) == 0 &&
            sink->point(sink->user, TPC_STR("n"), &v, 0) == 0) {
            (void) sink->end(sink->user);
        }
    }
    return 0;
}

static int fixed_encode(void *self, uint32_t worker, void *program, const struct tpc_encode *what,
                        struct tpc_arena *arena, struct tpc_error *err, struct tpc_bytes *ret)
{
    (void) self;
    (void) worker;
    (void) program;
    (void) what;
    (void) arena;
    (void) err;
    *ret = TPC_BYTES("fixed");
    return 0;
}

START_TEST(a_table_of_functions_is_a_codec)
{
    static const struct tpc_codec_ops ops = { .iface = TPC_IFACE(struct tpc_codec_ops, 1),
                                              .decode = fixed_decode,
                                              .encode = fixed_encode };
    struct tpc_codec_ops bad = ops;
    struct flow f;
    int number = 42;
    flow_init(&f, 0);
    flow_create(&f);
    tk_fails(TPC_EINVAL, tpc_core_add_codec(f.core, "", &ops, NULL));
    tk_fails(TPC_EINVAL, tpc_core_add_codec(f.core, "fixed", NULL, NULL));
    tk_fails(TPC_EEXIST, tpc_core_add_codec(f.core, "alink", &ops, NULL));
    bad.encode = NULL;
    tk_fails(TPC_EINVAL, tpc_core_add_codec(f.core, "fixed", &bad, NULL));
    bad.iface.major = 9;
    tk_fails(TPC_EVERSION, tpc_core_add_codec(f.core, "fixed", &bad, NULL));
    tk_ok(tpc_core_add_codec(f.core, "fixed", &ops, &number));
    tk_fails(TPC_EEXIST, tpc_core_add_codec(f.core, "fixed", &ops, NULL));
    put(&f, "product",
        "{\"key\":\"p\",\"codec\":\"fixed\",\"model\":{\"properties\":"
        "[{\"id\":\"n\",\"type\":\"int\"}]}}");
    put(&f, "device", "{\"key\":\"d\",\"product\":\"p\"}");
    flow_start(&f);
    tk_fails(TPC_ESTATE, tpc_core_add_codec(f.core, "late", &ops, NULL));
    frame(&f, "d", "whatever");
    ck_assert_double_eq(flow_latest(&f, "d", "n"), 42);
    flow_fini(&f);
}
END_TEST

Suite *service_flow_suite(void)
{
    Suite *s = suite_create("service");
    TCase *tc = tcase_create("service");
    tcase_add_test(tc, what_decode_says_becomes_messages);
    tcase_add_test(tc, a_frame_that_cannot_be_decoded_is_a_dead_letter_as_a_whole);
    tcase_add_loop_test(tc, a_command_is_answered_by_the_number_that_the_device_echoes, 0, 3);
    tcase_add_test(tc, a_command_that_the_service_does_not_know_fails_with_words);
    tcase_add_test(tc, a_service_is_refused_with_its_reason_and_may_come_again);
    tcase_add_test(tc, product_and_target_are_made_as_the_service_says);
    tcase_add_test(tc, what_was_changed_by_hand_stays);
    tcase_add_test(tc, without_memory_nothing_is_served);
    tcase_add_test(tc, a_service_decodes_without_a_core);
    tcase_add_test(tc, decode_gets_whole_frames_alone);
    tcase_add_test(tc, without_memory_a_frame_is_refused);
    tcase_add_test(tc, a_table_of_functions_is_a_codec);
    suite_add_tcase(s, tc);
    return s;
}
