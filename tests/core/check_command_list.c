/* A device's commands: the list, what of it is stored, and what waits for a device that is offline. */
#include "flow.h"

#include <stdio.h>
#include <string.h>

struct seen {
    uint32_t count;
    uint32_t stop_at; /* 0 = never */
    struct tpc_id ids[512];
    uint32_t states[512];
    uint32_t panel[512];
    char text[4096]; /* "service state label;" */
};

static int see(void *user, const struct tpc_command *c)
{
    struct seen *s = user;
    size_t at = strlen(s->text);
    ck_assert_uint_lt(s->count, 512);
    ck_assert_uint_eq(c->size, sizeof(*c));
    s->ids[s->count] = c->id;
    s->states[s->count] = c->state;
    s->panel[s->count++] = tpc_command_panel_status(c);
    snprintf(s->text + at, sizeof(s->text) - at, "%.*s %s %.*s;", (int) c->service.len,
             c->service.ptr, tpc_command_state_name(c->state), (int) c->label.len,
             c->label.len > 0 ? c->label.ptr : "");
    return s->count == s->stop_at ? 7 : 0;
}

static struct tpc_command_filter of(const char *device)
{
    struct tpc_command_filter q = TPC_COMMAND_FILTER_INIT;
    q.device = tpc_str_from(device);
    return q;
}

static struct seen list(struct flow *f, const struct tpc_command_filter *q)
{
    struct seen s;
    memset(&s, 0, sizeof(s));
    tk_ok(tpc_command_list(f->core, q, see, &s));
    return s;
}

static struct seen list_all(struct flow *f, const char *device)
{
    struct tpc_command_filter q = of(device);
    q.limit = 500;
    return list(f, &q);
}

struct awaited {
    struct flow *f;
    const char *device;
    const char *text;
};

static bool is_listed(void *user)
{
    struct awaited *a = user;
    return strcmp(list_all(a->f, a->device).text, a->text) == 0;
}

/* A try that fails is "sent" for a moment. */
static void list_becomes(struct flow *f, const char *device, const char *text)
{
    struct awaited a = { f, device, text };
    ck_assert_msg(flow_until(f, is_listed, &a), "%s", list_all(f, device).text);
}

static int send(struct flow *f, const char *device, const char *service, const char *params,
                const char *label, struct tpc_id *id)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    o.device = flow_device(f, device);
    o.service = tpc_str_from(service);
    o.params_json = tpc_str_from(params);
    o.label = tpc_str_from(label);
    int rc = tpc_command_send(f->core, NULL, &o, NULL, NULL, id);
    tpc_device_unref(o.device);
    tk_clock_advance(&f->e.clock, 2); /* ids of later commands are greater */
    return rc;
}

static void begin(struct flow *f, uint32_t workers)
{
    flow_init(f, workers);
    f->o.command_rows_max = 16;
    flow_create(f);
    flow_devices(f, 2);
    flow_probe_open(f);
    flow_start(f);
}

/* The answer of a session's device to what the adapter sent last. */
static void answer(struct flow *f, uint64_t session, const char *text)
{
    struct tpc_frame reply = { .size = sizeof(reply), .kind = TPC_MSG_REPLY };
    const struct flow_sent *s = &flow_probe.sent[flow_probe.sent_count - 1];
    reply.correlation = tpc_str_from(s->correlation);
    reply.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &reply, 0));
    flow_settle(f);
}

static void wait_ms(struct flow *f, uint64_t ms)
{
    tk_clock_advance(&f->e.clock, ms);
    flow_settle(f);
}

static void status(struct flow *f, uint64_t session, const char *text)
{
    struct tpc_frame frame = { .size = sizeof(frame), .kind = TPC_MSG_PRESENCE };
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    tk_ok(flow_probe.host->receive(flow_probe.ctx, session, &frame, 0));
    flow_settle(f);
}

START_TEST(open_and_ended_ones_come_newest_first_in_pages)
{
    struct flow f;
    struct tpc_id ids[10];
    char label[16];
    begin(&f, (uint32_t) _i);
    flow_probe.confirm = true;
    uint64_t session = flow_session("fan-1", TPC_SESSION_PRESENCE);
    for (int i = 0; i < 10; i++) {
        snprintf(label, sizeof(label), "n%d", i);
        tk_ok(send(&f, "fan-1", "set", "{\"on\":true}", label, &ids[i]));
        flow_settle(&f);
        if (i < 6) {
            answer(&f, session, i == 4 ? "{\"code\":9,\"message\":\"hot\"}" : "{\"code\":0}");
        }
    }
    tk_ok(send(&f, "t1", "set", "{\"on\":true}", "", NULL));
    struct seen all = list_all(&f, "fan-1");
    ck_assert_uint_eq(all.count, 10);
    for (int i = 0; i < 10; i++) {
        ck_assert_mem_eq(&all.ids[i], &ids[9 - i], sizeof(ids[0]));
    }
    ck_assert_str_eq(all.text, "set queued n9;set queued n8;set queued n7;set sent n6;"
                               "set succeeded n5;set failed n4;set succeeded n3;set succeeded n2;"
                               "set succeeded n1;set succeeded n0;");
    ck_assert_uint_eq(all.panel[5], TPC_PANEL_FAILED);
    struct tpc_command_filter q = of("fan-1");
    q.limit = 4;
    struct tpc_id before = { { 0 } };
    uint32_t total = 0;
    for (int page = 0; page < 3; page++) {
        q.before = before;
        struct seen s = list(&f, &q);
        ck_assert_uint_eq(s.count, page < 2 ? 4 : 2);
        for (uint32_t i = 0; i < s.count; i++) {
            ck_assert_mem_eq(&s.ids[i], &ids[9 - total], sizeof(ids[0]));
            total++;
        }
        before = s.ids[s.count - 1];
    }
    q.before = before;
    ck_assert_uint_eq(list(&f, &q).count, 0);
    flow_fini(&f);
}
END_TEST

START_TEST(filters_and_faults)
{
    struct flow f;
    begin(&f, 0);
    flow_probe.confirm = true;
    flow_probe.answer = true;
    (void) flow_session("fan-1", 0);
    tk_ok(send(&f, "fan-1", "set", "{\"on\":true}", "", NULL));
    flow_settle(&f);
    wait_ms(&f, 10000);
    int64_t later = atomic_load(&f.e.clock.unix_ms);
    tk_ok(send(&f, "fan-1", "spin", "{\"speed\":3}", "x", NULL));
    tk_ok(send(&f, "fan-1", "set", "{\"on\":false}", "", NULL));
    flow_settle(&f);
    struct tpc_command_filter q = of("fan-1");
    q.service = TPC_STR("spin");
    ck_assert_str_eq(list(&f, &q).text, "spin succeeded x;");
    q = of("fan-1");
    q.from_unix_ms = later;
    ck_assert_uint_eq(list(&f, &q).count, 2);
    q.to_unix_ms = later + 1;
    ck_assert_uint_eq(list(&f, &q).count, 1);
    q = of("fan-1");
    q.state = TPC_COMMAND_SUCCEEDED;
    ck_assert_uint_eq(list(&f, &q).count, 3);
    q.state = TPC_COMMAND_FAILED;
    ck_assert_uint_eq(list(&f, &q).count, 0);
    ck_assert_uint_eq(list_all(&f, "t1").count, 0);
    struct seen s;
    memset(&s, 0, sizeof(s));
    s.stop_at = 2;
    q = of("fan-1");
    ck_assert_int_eq(tpc_command_list(f.core, &q, see, &s), 7);
    ck_assert_uint_eq(s.count, 2);
    q = of("nobody");
    tk_fails(TPC_ENOENT, tpc_command_list(f.core, &q, see, &s));
    q = of("fan-1");
    q.tenant = TPC_STR("other");
    tk_fails(TPC_ENOENT, tpc_command_list(f.core, &q, see, &s));
    q = of("");
    tk_fails(TPC_EINVAL, tpc_command_list(f.core, &q, see, &s));
    q = of("fan-1");
    q.state = 9;
    tk_fails(TPC_EINVAL, tpc_command_list(f.core, &q, see, &s));
    q.state = 0;
    q.size = 8;
    tk_fails(TPC_EINVAL, tpc_command_list(f.core, &q, see, &s));
    char longer[TPC_COMMAND_LABEL_BYTES + 2];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    tk_fails(TPC_EINVAL, send(&f, "fan-1", "set", "{\"on\":true}", longer, NULL));
    tk_fails(TPC_EINVAL, send(&f, "fan-1", "set", "{\"on\":true}", "\xff", NULL));
    tk_ok(send(&f, "fan-1", "set", "{\"on\":true}", longer + 1, NULL));
    flow_fini(&f);
}
END_TEST

static int put_inside(void *user, const struct tpc_command *c)
{
    struct flow *f = user;
    (void) c;
    return tpc_entity_put(f->core, NULL, "device",
                          TPC_STR("{\"key\":\"made\",\"product\":\"fan\"}"), TPC_ANY_REV, NULL);
}

START_TEST(the_callback_may_use_the_store)
{
    struct flow f;
    begin(&f, 0);
    flow_probe.confirm = true;
    flow_probe.answer = true;
    (void) flow_session("fan-1", 0);
    tk_ok(send(&f, "fan-1", "set", "{\"on\":true}", "", NULL));
    flow_settle(&f);
    struct tpc_command_filter q = of("fan-1");
    tk_ok(tpc_command_list(f.core, &q, put_inside, &f));
    flow_fini(&f);
}
END_TEST

static void ignore(void *user, const struct tpc_command *c)
{
    (void) user;
    (void) c;
}

START_TEST(each_device_keeps_its_newest)
{
    struct flow f;
    begin(&f, 0); /* 16 of them */
    flow_probe.confirm = true;
    flow_probe.answer = true;
    (void) flow_session("fan-1", 0);
    (void) flow_session("t1", 0);
    tk_ok(send(&f, "t1", "set", "{\"on\":true}", "first", NULL));
    struct tpc_id first;
    struct tpc_id id;
    tk_ok(send(&f, "fan-1", "set", "{\"on\":true}", "", &first));
    for (int i = 0; i < 200; i++) {
        tk_ok(send(&f, "fan-1", "set", "{\"on\":true}", "", &id));
        flow_settle(&f);
    }
    struct seen s = list_all(&f, "fan-1");
    ck_assert_mem_eq(&s.ids[0], &id, sizeof(id));
    ck_assert_uint_ge(s.count, 16);
    ck_assert_uint_le(s.count, 40); /* an eighth more at the middle, seldom far more */
    ck_assert_double_eq(flow_metric(&f, "tpc_core_command_rows_dropped_total"), 201 - s.count);
    ck_assert_str_eq(list_all(&f, "t1").text, "set succeeded first;");
    tk_fails(TPC_ENOENT, tpc_command_get(f.core, &first, ignore, NULL));
    flow_fini(&f);
}
END_TEST

START_TEST(a_high_limit_is_kept_too)
{
    struct flow f;
    enum { KEPT = 3000, SENT = 9000 };
    flow_init(&f, 0);
    f.o.command_rows_max = KEPT;
    flow_create(&f);
    flow_devices(&f, 1);
    flow_probe_open(&f);
    flow_start(&f);
    flow_probe.confirm = true;
    flow_probe.answer = true;
    (void) flow_session("fan-1", 0);
    for (int i = 0; i < SENT; i++) {
        tk_ok(send(&f, "fan-1", "set", "{\"on\":true}", "", NULL));
        flow_settle(&f);
    }
    double dropped = flow_metric(&f, "tpc_core_command_rows_dropped_total");
    ck_assert_double_ge(dropped, SENT - KEPT - KEPT / 3);
    ck_assert_double_le(dropped, SENT - KEPT);
    flow_fini(&f);
}
END_TEST

START_TEST(records_of_deleted_devices_go_within_the_hour)
{
    struct flow f;
    struct tpc_id ids[2];
    begin(&f, 0);
    flow_probe.confirm = true;
    flow_probe.answer = true;
    (void) flow_session("fan-1", 0);
    (void) flow_session("t1", 0);
    for (int i = 0; i < 10; i++) {
        tk_ok(send(&f, "fan-1", "set", "{\"on\":true}", "", &ids[0]));
        flow_settle(&f);
    }
    tk_ok(send(&f, "t1", "set", "{\"on\":true}", "stays", &ids[1]));
    flow_settle(&f);
    tk_ok(tpc_entity_delete(f.core, NULL, (struct tpc_str){ NULL, 0 }, "device", TPC_STR("fan-1"),
                            TPC_ANY_REV));
    tk_ok(tpc_command_get(f.core, &ids[0], ignore, NULL));
    for (int i = 0; i < 3; i++) {
        wait_ms(&f, 1801000);
    }
    tk_fails(TPC_ENOENT, tpc_command_get(f.core, &ids[0], ignore, NULL));
    tk_ok(tpc_command_get(f.core, &ids[1], ignore, NULL));
    ck_assert_str_eq(list_all(&f, "t1").text, "set succeeded stays;");
    ck_assert_double_eq(flow_metric(&f, "tpc_core_command_rows_dropped_total"), 10);
    flow_fini(&f);
}
END_TEST

START_TEST(an_open_one_is_stored_when_it_is_a_second_old)
{
    struct flow f;
    begin(&f, 0);
    flow_probe.send_code = TPC_EOFFLINE;
    tk_ok(send(&f, "fan-1", "set", "{\"on\":true}", "expected", NULL));
    flow_settle(&f);
    wait_ms(&f, 1100);
    ck_assert_str_eq(list_all(&f, "fan-1").text, "set queued expected;");
    tk_ok(tpc_core_stop(f.core, 1000));
    struct seen s = list_all(&f, "fan-1"); /* the store alone */
    ck_assert_str_eq(s.text, "set queued expected;");
    ck_assert_uint_eq(s.panel[0], TPC_PANEL_PENDING);
    tk_ok(tpc_core_start(f.core));
    flow_probe.send_code = 0;
    flow_probe.confirm = true;
    uint64_t session = flow_session("fan-1", 0);
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    wait_ms(&f, 1100);
    ck_assert_str_eq(list_all(&f, "fan-1").text, "set sent expected;");
    answer(&f, session, "{\"code\":0}");
    tk_ok(tpc_core_stop(f.core, 1000));
    ck_assert_str_eq(list_all(&f, "fan-1").text, "set succeeded expected;");
    flow_fini(&f);
}
END_TEST

START_TEST(a_restart_keeps_label_and_list)
{
    struct flow f;
    char dir[256];
    char text[320];
    struct tpc_id ended;
    snprintf(dir, sizeof(dir), "%s/list%d", tk_tmpdir(), _i);
    snprintf(text, sizeof(text), "{\"dump_dir\":\"%s/entities\"}", dir);
    for (int round = 0; round < 2; round++) {
        flow_init(&f, (uint32_t) _i);
        f.o.flags = TPC_CORE_ACCEPT_GAP;
        flow_create(&f);
        flow_file_log(&f, dir, "");
        tk_ok(tpc_core_open(f.core, "entities", "memory", tpc_str_from(text)));
        if (round == 0) {
            flow_devices(&f, 1);
        }
        flow_probe_open(&f);
        flow_probe.confirm = true;
        flow_probe.answer = true;
        flow_start(&f);
        if (round == 0) {
            (void) flow_session("fan-1", TPC_SESSION_PRESENCE);
            tk_ok(send(&f, "fan-1", "control", "{\"on\":true}", "night", &ended));
            flow_settle(&f);
            list_becomes(&f, "fan-1", "control succeeded night;");
            flow_probe.send_code = TPC_EOFFLINE;
            tk_ok(send(&f, "fan-1", "spin", "{\"speed\":1}", "morning", NULL));
            flow_settle(&f);
        }
        list_becomes(&f, "fan-1", "spin queued morning;control succeeded night;");
        ck_assert_uint_eq(list_all(&f, "fan-1").panel[1], TPC_PANEL_SENT);
        flow_fini(&f);
    }
}
END_TEST

/* ---- waiting for a device ---- */

START_TEST(what_is_for_a_device_that_is_gone_waits)
{
    struct flow f;
    flow_init(&f, (uint32_t) _i);
    f.o.online_delay_ms = 0; /* 3 s */
    flow_create(&f);
    flow_devices(&f, 0);
    flow_probe_open(&f);
    flow_start(&f);
    flow_probe.confirm = true;
    flow_probe.answer = true;
    uint64_t session = flow_session("fan-1", 0); /* as over a broker: it stays */
    status(&f, session, "1");
    tk_ok(send(&f, "fan-1", "set", "{\"on\":true}", "", NULL)); /* it is online: at once */
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    status(&f, session, "0");
    tk_ok(send(&f, "fan-1", "set", "{\"on\":false}", "", NULL));
    wait_ms(&f, 60000);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    status(&f, session, "1");
    wait_ms(&f, 2000);
    ck_assert_uint_eq(flow_probe.sent_count, 1); /* it subscribes */
    wait_ms(&f, 1100);
    ck_assert_uint_eq(flow_probe.sent_count, 2);
    status(&f, session, "0");
    tk_ok(send(&f, "fan-1", "set", "{\"on\":true}", "", NULL));
    status(&f, session, "1");
    ck_assert_uint_eq(flow_probe.sent_count, 2);
    tk_ok(flow_receive(session, "{\"on\":true}", 0)); /* it speaks: it has subscribed */
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 3);
    status(&f, session, "0");
    tk_ok(send(&f, "fan-1", "set", "{\"on\":true}", "", NULL));
    tk_ok(flow_receive(session, "{\"on\":true}", 0)); /* without a status before */
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 4);
    flow_fini(&f);
}
END_TEST

START_TEST(what_is_for_a_silent_device_waits)
{
    struct flow f;
    flow_init(&f, 0);
    flow_create(&f);
    tk_ok(tpc_entity_put(f.core, NULL, "product",
                         TPC_STR("{\"key\":\"beat\",\"codec\":\"json\",\"presence\":{\"mode\":"
                                 "\"heartbeat\",\"timeout\":\"10s\"},\"model\":{\"properties\":[{"
                                 "\"id\":\"n\",\"type\":\"int\",\"access\":\"rw\"}]}}"),
                         TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "device", TPC_STR("{\"key\":\"b\",\"product\":\"beat\"}"),
                         TPC_ANY_REV, NULL));
    flow_probe_open(&f);
    flow_start(&f);
    flow_probe.confirm = true;
    uint64_t session = flow_session("b", 0);
    tk_ok(flow_receive(session, "{\"n\":1}", 0));
    flow_settle(&f);
    wait_ms(&f, 12000);
    tk_ok(send(&f, "b", "set", "{\"n\":2}", "", NULL));
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 0);
    tk_ok(flow_receive(session, "{\"n\":1}", 0));
    flow_settle(&f);
    ck_assert_uint_eq(flow_probe.sent_count, 1);
    flow_fini(&f);
}
END_TEST

START_TEST(control_is_checked_and_a_service_of_that_name_wins)
{
    struct flow f;
    begin(&f, 0);
    flow_probe.confirm = true;
    (void) flow_session("fan-1", 0);
    tk_ok(send(&f, "fan-1", "control", "{\"on\":true}", "", NULL));
    flow_settle(&f);
    ck_assert_str_eq(flow_probe.sent[0].payload, "{\"on\":true}");
    ck_assert_str_eq(list_all(&f, "fan-1").text, "control succeeded ;");
    tk_fails(TPC_EMODEL, send(&f, "fan-1", "control", "{\"on\":5}", "", NULL));
    tk_fails(TPC_EMODEL, send(&f, "fan-1", "control", "{\"zzz\":5}", "", NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "product",
                         TPC_STR("{\"key\":\"own\",\"codec\":\"json\",\"model\":{\"properties\":[],"
                                 "\"services\":[{\"id\":\"control\"}]}}"),
                         TPC_ANY_REV, NULL));
    tk_ok(tpc_entity_put(f.core, NULL, "device", TPC_STR("{\"key\":\"o\",\"product\":\"own\"}"),
                         TPC_ANY_REV, NULL));
    (void) flow_session("o", 0);
    tk_ok(send(&f, "o", "control", "{}", "", NULL));
    flow_settle(&f);
    ck_assert_ptr_nonnull(strstr(flow_probe.sent[1].payload, "\"method\":\"control\""));
    ck_assert_str_eq(list_all(&f, "o").text, "control sent ;");
    flow_fini(&f);
}
END_TEST

START_TEST(without_memory_the_list_says_so)
{
    struct flow f;
    begin(&f, 0);
    flow_probe.confirm = true;
    flow_probe.answer = true;
    (void) flow_session("fan-1", 0);
    tk_ok(send(&f, "fan-1", "set", "{\"on\":true}", "", NULL));
    flow_settle(&f);
    flow_probe.answer = false;
    tk_ok(send(&f, "fan-1", "set", "{\"on\":true}", "", NULL));
    flow_settle(&f);
    struct tpc_command_filter q = of("fan-1");
    size_t failed = 0;
    for (size_t n = 1; n < 2000; n++) {
        struct seen s;
        memset(&s, 0, sizeof(s));
        f.e.alloc.fail_at = n;
        f.e.alloc.count = 0;
        f.e.alloc.failed = 0;
        int rc = tpc_command_list(f.core, &q, see, &s);
        f.e.alloc.fail_at = 0;
        ck_assert_msg(rc == 0 || rc == TPC_ENOMEM, "%zu: %s", n, tpc_error_name(rc));
        if (f.e.alloc.failed == 0) {
            ck_assert_uint_eq(s.count, 2);
            break;
        }
        failed += rc != 0;
    }
    ck_assert_uint_gt(failed, 3);
    flow_settle(&f);
    ck_assert_uint_eq(list_all(&f, "fan-1").count, 2);
    flow_fini(&f);
}
END_TEST

Suite *command_list_suite(void)
{
    Suite *s = suite_create("command list");
    TCase *t = tcase_create("command list");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, open_and_ended_ones_come_newest_first_in_pages, 0, 3);
    tcase_add_test(t, filters_and_faults);
    tcase_add_test(t, the_callback_may_use_the_store);
    tcase_add_test(t, each_device_keeps_its_newest);
    tcase_add_test(t, a_high_limit_is_kept_too);
    tcase_add_test(t, records_of_deleted_devices_go_within_the_hour);
    tcase_add_test(t, an_open_one_is_stored_when_it_is_a_second_old);
    tcase_add_loop_test(t, a_restart_keeps_label_and_list, 0, 2);
    tcase_add_test(t, what_is_for_a_device_that_is_gone_waits);
    tcase_add_test(t, what_is_for_a_silent_device_waits);
    tcase_add_test(t, control_is_checked_and_a_service_of_that_name_wins);
    tcase_add_test(t, without_memory_the_list_says_so);
    suite_add_tcase(s, t);
    return s;
}
