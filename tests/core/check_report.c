/* Report strategies in a whole core. */
#include "report_rig.h"

#include <poll.h>
#include <tpcore/topology.h>

START_TEST(changes_alone_go_on)
{
    struct rep r;
    begin(&r, PRODUCT("'report':{'mode':'change','deadband':0.5},",
                      N ",{'id':'s','type':'text'},{'id':'i','type':'int'}"));
    say(&r, "{'n':1,'s':'a','i':7}");
    saw(&r, "n=1.0 s=\"a\" i=7 | ");
    wait_ms(&r, 1000);
    say(&r, "{'n':1.5,'s':'a','i':7}"); /* not more than the band */
    saw(&r, "");
    say(&r, "{'n':1.6,'s':'a','i':8}");
    saw(&r, "n=1.6 i=8 | ");
    say(&r, "{'n':1.2,'s':'','i':8}"); /* the band is around what went */
    saw(&r, "s=\"\" | ");
    ck_assert_double_eq(flow_latest(&r.f, "d", "n"), 1.6);
    ck_assert_uint_eq(flow_stored(&r.f, "d", "n"), 2);
    ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_points_held_total"), 6);
    ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_messages_held_total"), 1);
    ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_frames_total"), 4);
    ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_messages_total"), 3);
    end(&r);
}
END_TEST

START_TEST(a_period_sends_the_last_value_again_and_again)
{
    struct rep r;
    begin(&r, PRODUCT("'report':{'mode':'period','period':'10s'},", N));
    say(&r, "{'n':1}");
    saw(&r, "n=1.0 | ");
    wait_ms(&r, 4000);
    say(&r, "{'n':2}");
    wait_ms(&r, 2000);
    say(&r, "{'n':3}");
    saw(&r, "");
    wait_ms(&r, 4000); /* with the time that it came */
    saw(&r, "n=3.0@-4000 | ");
    wait_ms(&r, 10000); /* nothing came: the time of sending */
    saw(&r, "n=3.0 | ");
    wait_ms(&r, 35000); /* a clock that jumps: once */
    saw(&r, "n=3.0 | ");
    wait_ms(&r, 4000);
    saw(&r, "");
    wait_ms(&r, 1000); /* and its period goes on as it was */
    saw(&r, "n=3.0 | ");
    ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_points_repeated_total"), 4);
    ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_frames_total"), 3);
    struct tpc_device_info info;
    tk_ok(tpc_device_info(r.d, &info));
    ck_assert_uint_eq(info.messages, 3);
    end(&r);
}
END_TEST

START_TEST(a_period_can_stamp_with_the_time_of_sending)
{
    struct rep r;
    begin(&r, PRODUCT("'report':{'mode':'period','period':1000,'stamp':'send'},", N));
    say(&r, "{'n':1}");
    wait_ms(&r, 400);
    say(&r, "{'n':2}");
    wait_ms(&r, 600);
    saw(&r, "n=1.0 | n=2.0 | ");
    end(&r);
}
END_TEST

START_TEST(a_change_or_a_period_whichever_is_first)
{
    struct rep r;
    begin(&r,
          PRODUCT("", "{'id':'a','type':'int','report':{'mode':'change_or_period','period':1000}},"
                      "{'id':'b','type':'int','report':{'mode':'change_or_period','period':1000,"
                      "'reset':true}}"));
    say(&r, "{'a':1,'b':1}");
    wait_ms(&r, 600);
    say(&r, "{'a':2,'b':2}");
    saw(&r, "a=1 b=1 | a=2 b=2 | ");
    wait_ms(&r, 100);
    say(&r, "{'a':2,'b':2}");
    saw(&r, "");
    wait_ms(&r, 300); /* 1000 */
    saw(&r, "a=2@-300 | ");
    wait_ms(&r, 600); /* 1600 */
    saw(&r, "b=2@-900 | ");
    wait_ms(&r, 400); /* 2000 */
    saw(&r, "a=2 | ");
    end(&r);
}
END_TEST

START_TEST(the_nearest_place_decides)
{
    struct rep r;
    begin_with(&r, 0, "{\"mode\":\"change\"}",
               PRODUCT("'report':{'mode':'received'},'unknown':'keep',",
                       "{'id':'a','type':'int','report':{'mode':'change'}},"
                       "{'id':'b','type':'int'}"),
               "{'key':'d','product':'p'}");
    say(&r, "{'a':1,'b':1,'x':1}");
    say(&r, "{'a':1,'b':1,'x':1}");
    saw(&r, "a=1 b=1 x=1 | b=1 x=1 | ");
    put(&r, "device", "{'key':'d','product':'p','report':{'mode':'change'}}");
    say(&r, "{'a':1,'b':1,'x':1}"); /* b and x: the first value */
    say(&r, "{'a':1,'b':1,'x':1}");
    say(&r, "{'a':1,'b':1,'x':2}");
    saw(&r, "b=1 x=1 | x=2 | ");
    put(&r, "device", "{'key':'d','product':'p'}");
    put(&r, "product",
        PRODUCT("", "{'id':'a','type':'int','report':{'mode':'received'}},"
                    "{'id':'b','type':'int'}"));
    say(&r, "{'a':1,'b':1}"); /* the core's */
    say(&r, "{'a':1,'b':2}");
    saw(&r, "a=1 | a=1 b=2 | ");
    end(&r);
}
END_TEST

static bool settled_two(void *user)
{
    (void) user;
    return atomic_load(&flow_probe.settled_count) >= 2;
}

START_TEST(an_instance_has_one_and_what_is_held_is_settled)
{
    struct rep r;
    struct tpc_subscribe_options so = TPC_SUBSCRIBE_OPTIONS_INIT;
    memset(&r, 0, sizeof(r));
    pthread_mutex_init(&r.seen.lock, NULL);
    flow_init(&r.f, _i == 0 ? 0 : 2);
    flow_create(&r.f);
    put(&r, "product", PRODUCT("'presence':{'mode':'heartbeat','timeout':'60s'},", N));
    put(&r, "device", "{'key':'d','product':'p'}");
    flow_probe_open(&r.f);
    struct tpc_error e;
    ck_assert_int_eq(
        tpc_core_open(r.f.core, "probe2", "probe", TPC_STR("{\"report\":{\"mode\":\"now\"}}")),
        TPC_EINVAL);
    e = *tpc_error_last();
    ck_assert_str_eq(e.path, "probe2.report.mode");
    tk_ok(
        tpc_core_open(r.f.core, "probe3", "probe", TPC_STR("{\"report\":{\"mode\":\"change\"}}")));
    flow_start(&r.f);
    so.filter = TPC_STR("main/up/p/d/telemetry");
    tk_ok(tpc_subscribe(r.f.core, &so, see, &r.seen, &r.sub));
    r.d = flow_device(&r.f, "d");
    uint64_t s = flow_session("d", 0);
    ck_assert_int_eq(flow_receive(s, "{\"n\":1}", 1), 0);
    ck_assert_int_eq(flow_receive(s, "{\"n\":1}", 2), 0);
    ck_assert(flow_until(&r.f, settled_two, NULL));
    flow_settle(&r.f);
    saw(&r, "n=1.0 | ");
    ck_assert_int_eq(flow_probe.errors[0], 0);
    ck_assert_int_eq(flow_probe.errors[1], 0);
    end(&r);
}
END_TEST

START_TEST(what_is_held_is_a_sign_of_life)
{
    struct rep r;
    struct tpc_device_info info;
    begin(&r,
          PRODUCT("'report':{'mode':'change'},'presence':{'mode':'heartbeat','timeout':'5s'},", N));
    say(&r, "{'n':1}");
    for (int i = 0; i < 5; i++) {
        wait_ms(&r, 4000);
        say(&r, "{'n':1}");
        tk_ok(tpc_device_info(r.d, &info));
        ck_assert(info.online);
    }
    ck_assert_uint_eq(info.messages, 6);
    wait_ms(&r, 7000);
    tk_ok(tpc_device_info(r.d, &info));
    ck_assert(!info.online);
    say(&r, "{'n':1}");
    tk_ok(tpc_device_info(r.d, &info));
    ck_assert(info.online);
    ck_assert_uint_eq(flow_stored(&r.f, "d", "n"), 1);
    end(&r);
}
END_TEST

START_TEST(a_period_is_no_sign_of_life_and_ends_with_the_ttl)
{
    struct rep r;
    struct tpc_device_info info;
    begin(&r, PRODUCT("'report':{'mode':'period','period':'2s','ttl':'9s'},"
                      "'presence':{'mode':'heartbeat','timeout':'5s'},",
                      N));
    say(&r, "{'n':1}");
    for (int i = 0; i < 20; i++) {
        wait_ms(&r, 1000);
    }
    tk_ok(tpc_device_info(r.d, &info));
    ck_assert(!info.online);
    ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_points_repeated_total"), 4);
    say(&r, "{'n':1}"); /* the first one again */
    ck_assert_uint_eq(flow_stored(&r.f, "d", "n"), 6);
    end(&r);
}
END_TEST

START_TEST(late_values_and_attributes)
{
    struct rep r;
    struct tpc_point p = { .key = TPC_STR("n"), .value = { .type = TPC_INT, .as.i = 1 } };
    struct tpc_points points = { .size = sizeof(points),
                                 .count = 1,
                                 .point_size = sizeof(p),
                                 .points = &p,
                                 .kind = TPC_MSG_ATTRIBUTES };
    begin(&r, PRODUCT("'report':{'mode':'change_or_period','period':'10s'},", N));
    p.unix_ms = atomic_load(&r.f.e.clock.unix_ms) - 1000;
    for (int i = 0; i < 2; i++) {
        tk_ok(tpc_feed_points(r.d, &points, NULL, NULL));
        flow_settle(&r.f);
    }
    saw(&r, "n=1.0 a| ");
    p.unix_ms -= 5000; /* before what went: it goes, and changes nothing */
    tk_ok(tpc_feed_points(r.d, &points, NULL, NULL));
    p.unix_ms += 6000;
    tk_ok(tpc_feed_points(r.d, &points, NULL, NULL));
    flow_settle(&r.f);
    saw(&r, "n=1.0 a| ");
    wait_ms(&r, 10000);
    saw(&r, "n=1.0@-10000 a| ");
    end(&r);
}
END_TEST

/* Of a key that no model knows attribute and telemetry are two things. */
START_TEST(attributes_by_key_are_no_telemetry)
{
    struct rep r;
    struct tpc_point p = { .key = TPC_STR("x"), .value = { .type = TPC_INT, .as.i = 1 } };
    struct tpc_points points = { .size = sizeof(points),
                                 .count = 1,
                                 .point_size = sizeof(p),
                                 .points = &p,
                                 .kind = TPC_MSG_ATTRIBUTES };
    begin(&r, PRODUCT("'unknown':'keep','report':{'mode':'change'},", N));
    for (int i = 0; i < 2; i++) {
        say(&r, "{'x':1}");
        tk_ok(tpc_feed_points(r.d, &points, NULL, NULL));
        flow_settle(&r.f);
        saw(&r, i == 0 ? "x=1 | x=1 a| " : "");
    }
    end(&r);
}
END_TEST

/* What went while another strategy counted went: the next value differs from that. */
START_TEST(a_strategy_knows_what_went_without_it)
{
    struct rep r;
    begin(&r, PRODUCT("'report':{'mode':'change'},", N));
    say(&r, "{'n':1}");
    put(&r, "device", "{'key':'d','product':'p','report':{'mode':'received'}}");
    say(&r, "{'n':2}");
    put(&r, "device", "{'key':'d','product':'p'}");
    say(&r, "{'n':1}");
    say(&r, "{'n':1}");
    saw(&r, "n=1.0 | n=2.0 | n=1.0 | ");
    end(&r);
}
END_TEST

static bool is_repeated(void *user)
{
    struct rep *r = user;
    tk_clock_advance(&r->f.e.clock, 20);
    return flow_metric(&r->f, "tpc_uplink_points_repeated_total") >= r->wanted;
}

static bool is_given_up(void *user)
{
    struct rep *r = user;
    tk_clock_advance(&r->f.e.clock, 20);
    return flow_metric(&r->f, "tpc_uplink_points_untracked_total") >= r->wanted;
}

/* Lists that need more memory as trees than as bytes: devices take their turn one by one, and one that
 * needs too much alone is not tried for ever. */
START_TEST(a_period_that_needs_much_memory_ends)
{
    enum { DEVICES = 6, LISTS = 50, ITEMS = 4000 };
    static char text[2 * ITEMS + 64];
    struct rep r;
    begin(&r, PRODUCT("'unknown':'keep','report':{'mode':'period','period':'1h'},", N));
    r.seen.mute = true;
    for (int device = 0; device <= DEVICES; device++) {
        char key[64];
        snprintf(key, sizeof(key), "{'key':'d%d','product':'p'}", device);
        put(&r, "device", key);
        snprintf(key, sizeof(key), "d%d", device);
        struct tpc_device *d = flow_device(&r.f, key);
        for (int i = 0; i < (device == DEVICES ? DEVICES * LISTS : LISTS); i++) {
            int n = snprintf(text, sizeof(text), "{\"k%d\":[1", i);
            for (int k = 1; k < ITEMS; k++) {
                text[n++] = ',';
                text[n++] = '1';
            }
            snprintf(text + n, sizeof(text) - (size_t) n, "]}");
            tk_ok(flow_feed(d, text));
            flow_settle(&r.f);
        }
        tpc_device_unref(d);
    }
    tk_clock_advance(&r.f.e.clock, 3600 * 1000);
    r.wanted = DEVICES * LISTS;
    ck_assert(flow_until(&r.f, is_repeated, &r));
    ck_assert(flow_until(&r.f, is_given_up, &r));
    end(&r);
}
END_TEST

START_TEST(derived_properties_see_all_and_are_held_themselves)
{
    struct rep r;
    begin(&r, PRODUCT("'report':{'mode':'change','deadband':10},",
                      N ",{'id':'twice','type':'double','expr':'n * 2','report':{'mode':'change',"
                        "'deadband':3}}"));
    say(&r, "{'n':1}");
    say(&r, "{'n':2}");
    say(&r, "{'n':3}");
    saw(&r, "n=1.0 twice=2.0 | twice=6.0 | ");
    end(&r);
}
END_TEST

START_TEST(models_and_products_may_change)
{
    struct rep r;
    begin(&r, PRODUCT("'report':{'mode':'change_or_period','period':1000},'unknown':'keep',",
                      N ",{'id':'m','type':'int'}"));
    say(&r, "{'n':1,'m':2,'x':{'a':[1,'b']},'y':'text'}");
    saw(&r, "n=1.0 m=2 x={\"a\":[1,\"b\"]} y=\"text\" | ");
    put(&r, "product",
        PRODUCT("'report':{'mode':'change_or_period','period':1000},'unknown':'keep',",
                "{'id':'z','type':'int'}," N));
    say(&r, "{'n':1,'x':{'a':[1,'b']},'y':'text'}");
    saw(&r, "");
    wait_ms(&r, 1000); /* m is no more */
    saw(&r, "n=1.0@-1000 x={\"a\":[1,\"b\"]}@-1000 y=\"text\"@-1000 | ");
    put(&r, "product", PRODUCT("", N));
    wait_ms(&r, 5000);
    saw(&r, "");
    put(&r, "product",
        "{'key':'q','report':{'mode':'period','period':500},'model':{'properties':["
        "{'id':'k','type':'int'}]}}");
    put(&r, "device", "{'key':'d','product':'q'}");
    say(&r, "{'k':1}");
    wait_ms(&r, 500);
    saw(&r, "k=1 | k=1 | ");
    tk_ok(tpc_entity_delete(r.f.core, NULL, TPC_STR(""), "device", TPC_STR("d"), TPC_ANY_REV));
    wait_ms(&r, 5000);
    saw(&r, "");
    end(&r);
}
END_TEST

static bool has_repeated(void *user)
{
    struct rep *r = user;
    return flow_metric(&r->f, "tpc_uplink_points_repeated_total") >= r->wanted;
}

/* The history follows the log; after a failure it waits by the clock. */
static bool n_is_stored(void *user)
{
    struct rep *r = user;
    tk_clock_advance(&r->f.e.clock, 5);
    return flow_stored(&r->f, "d", "n") == r->wanted;
}

static bool n_is_wanted(void *user)
{
    struct rep *r = user;
    return flow_latest(&r->f, "d", "n") == r->wanted;
}

START_TEST(many_devices_have_their_periods)
{
    struct rep r;
    char text[128];
    begin_with(&r, _i == 0 ? 0 : 4, "", PRODUCT("'report':{'mode':'period','period':100},", N),
               "{'key':'d','product':'p'}");
    struct tpc_device *all[600];
    r.seen.mute = true;
    for (int i = 0; i < 600; i++) {
        snprintf(text, sizeof(text), "{'key':'d%d','product':'p'}", i);
        put(&r, "device", text);
        snprintf(text, sizeof(text), "d%d", i);
        all[i] = flow_device(&r.f, text);
        while (flow_feed(all[i], "{\"n\":1}") == TPC_EAGAIN) {
            flow_settle(&r.f);
        }
    }
    flow_settle(&r.f);
    for (int k = 0; k < 100 && atomic_load(&r.seen.messages) < 600; k++) {
        flow_settle(&r.f);
    }
    ck_assert_uint_eq(atomic_load(&r.seen.messages), 600);
    for (uint32_t i = 1; i <= 3; i++) {
        tk_clock_advance(&r.f.e.clock, 100);
        r.wanted = 600 * i;
        ck_assert(flow_until(&r.f, has_repeated, &r));
    }
    flow_settle(&r.f);
    ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_points_repeated_total"), 1800);
    for (int i = 0; i < 600; i++) {
        tpc_device_unref(all[i]);
    }
    end(&r);
}
END_TEST

/* What the log could not take is tried again, and nothing that differs is lost. */
START_TEST(a_full_log_loses_no_change)
{
    struct rep r;
    char dir[256], text[2000];
    uint32_t taken = 0;
    bool refused = false;
    memset(&r, 0, sizeof(r));
    pthread_mutex_init(&r.seen.lock, NULL);
    snprintf(dir, sizeof(dir), "%s/report%d", tk_tmpdir(), _i);
    flow_init(&r.f, (uint32_t) _i);
    r.f.o.ring_bytes = 1;
    r.f.o.frame_max_bytes = 16384;
    flow_create(&r.f);
    flow_file_log(&r.f, dir, ",\"pending\":65536,\"reserve\":0");
    put(&r, "product",
        PRODUCT(
            "'report':{'mode':'change'},",
            "{'id':'n','type':'int'},{'id':'s','type':'text'},{'id':'p','type':'text','report':{"
            "'mode':'period','period':20}}"));
    put(&r, "device", "{'key':'d','product':'p'}");
    flow_start(&r.f);
    r.d = flow_device(&r.f, "d");
    tk_files_limit_space(&r.f.e.files, 100000);
    for (int n = 1; n < 4000 && !refused; n++) {
        int rc = TPC_EAGAIN;
        snprintf(text, sizeof(text), "{\"n\":%d,\"s\":\"same\",\"p\":\"%0999d\"}", n, n);
        for (int i = 0; rc == TPC_EAGAIN && i < 20; i++) {
            rc = flow_feed(r.d, text);
            if (rc != 0 && r.f.workers == 0) {
                (void) tpc_core_step(r.f.core, 0, NULL);
            } else if (rc != 0) {
                poll(NULL, 0, 2);
            }
            tk_clock_advance(&r.f.e.clock, 5);
        }
        refused = rc == TPC_EAGAIN;
        taken += rc == 0;
    }
    ck_assert(refused);
    tk_files_heal(&r.f.e.files);
    r.wanted = taken;
    for (int i = 0; i < 3000 && !n_is_wanted(&r); i++) {
        if (r.f.workers == 0) {
            (void) tpc_core_step(r.f.core, 0, NULL);
        } else {
            poll(NULL, 0, 1);
        }
        tk_clock_advance(&r.f.e.clock, 5);
    }
    ck_assert(flow_until(&r.f, n_is_stored, &r));
    ck_assert_uint_ge(flow_stored(&r.f, "d", "s"), 1);
    ck_assert_uint_lt(flow_stored(&r.f, "d", "s"), taken / 2);
    ck_assert(flow_metric(&r.f, "tpc_uplink_points_repeated_total") > 0);
    tpc_device_unref(r.d);
    flow_fini(&r.f);
}
END_TEST

START_TEST(after_a_start_the_first_value_goes)
{
    char dir[256];
    snprintf(dir, sizeof(dir), "%s/again", tk_tmpdir());
    for (int start = 0; start < 3; start++) {
        struct rep r;
        memset(&r, 0, sizeof(r));
        pthread_mutex_init(&r.seen.lock, NULL);
        flow_init(&r.f, 0);
        tk_clock_advance(&r.f.e.clock, (uint64_t) start * 100000);
        flow_create(&r.f);
        flow_file_log(&r.f, dir, "");
        put(&r, "product",
            PRODUCT("'report':{'mode':'change_or_period','period':1000},'unknown':'keep',", N));
        put(&r, "device", "{'key':'d','product':'p'}");
        flow_start(&r.f);
        r.d = flow_device(&r.f, "d");
        wait_ms(&r, 5000);
        ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_points_repeated_total"), 0);
        say(&r, "{'n':1,'x':'y'}");
        say(&r, "{'n':1,'x':'y'}");
        ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_points_total"), 2);
        if (start == 1) { /* without having come to rest */
            tk_ok(tpc_core_stop(r.f.core, 1000));
            flow_start(&r.f);
            say(&r, "{'n':1,'x':'y'}");
            ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_points_total"), 4);
            wait_ms(&r, 1000);
            ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_points_repeated_total"), 2);
        }
        tpc_device_unref(r.d);
        flow_fini(&r.f);
    }
}
END_TEST

enum { SUBS = 12 };

static struct tpc_frame gateway_says(char text[1000], int n)
{
    size_t len =
        (size_t) snprintf(text, 1000, "{\"gateway_data\":{\"n\":%d},\"sub_device_data\":{", n);
    for (int i = 0; i < SUBS; i++) {
        len += (size_t) snprintf(text + len, 1000 - len, "%s\"%d\":{\"n\":%d,\"new\":true}",
                                 i > 0 ? "," : "", i, n);
    }
    snprintf(text + len, 1000 - len, "}}");
    struct tpc_frame frame;
    memset(&frame, 0, sizeof(frame));
    frame.size = sizeof(frame);
    frame.kind = TPC_MSG_TELEMETRY;
    frame.topic = TPC_STR("gateway/telemetry");
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    return frame;
}

static bool all_settled(void *user)
{
    return atomic_load(&flow_probe.settled_count) >= ((struct rep *) user)->wanted;
}

/* The instance's strategy goes with them to the workers of their devices. */
START_TEST(parts_of_gateways_are_held_by_their_devices_workers)
{
    struct rep r;
    char text[1000], key[16], json[160];
    memset(&r, 0, sizeof(r));
    pthread_mutex_init(&r.seen.lock, NULL);
    flow_init(&r.f, 3);
    flow_create(&r.f);
    flow_probe_open(&r.f);
    tk_ok(tpc_core_open(r.f.core, "held", "probe", TPC_STR("{\"report\":{\"mode\":\"change\"}}")));
    put(&r, "product", PRODUCT("'codec':'thingspanel','unknown':'keep',", N));
    put(&r, "device", "{'key':'gw','product':'p'}");
    struct tpc_device *gw = flow_device(&r.f, "gw");
    for (int i = 0; i < SUBS; i++) {
        snprintf(key, sizeof(key), "s%d", i);
        snprintf(json, sizeof(json), "{'key':'%s','product':'p'}", key);
        put(&r, "device", json);
        struct tpc_device *d = flow_device(&r.f, key);
        tk_ok(tpc_topology_bind(r.f.core, NULL, d, gw, tpc_str_from(key + 1), 0));
        tpc_device_unref(d);
    }
    flow_start(&r.f);
    uint64_t s = flow_session("gw", 0);
    for (int round = 0; round < 4; round++) { /* each says the same twice */
        struct tpc_frame frame = gateway_says(text, round / 2);
        r.wanted++;
        tk_ok(flow_probe.host->receive(flow_probe.ctx, s, &frame, r.wanted));
        ck_assert(flow_until(&r.f, all_settled, &r));
    }
    flow_settle(&r.f);
    ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_messages_total"), 2 * (SUBS + 1));
    ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_messages_held_total"), 2 * (SUBS + 1));
    ck_assert_double_eq(flow_metric(&r.f, "tpc_uplink_points_total"), 3 * SUBS + 2);
    ck_assert_double_gt(flow_metric(&r.f, "tpc_uplink_parts_handed_total"), 0);
    for (uint32_t i = 0; i < r.wanted; i++) {
        ck_assert_int_eq(flow_probe.errors[i], 0);
    }
    tpc_device_unref(gw);
    flow_fini(&r.f);
}
END_TEST

static const struct {
    const char *kind, *json, *path;
} wrong[] = {
    { "product", PRODUCT("'report':{'mode':'never'},", N), "report.mode" },
    { "product", PRODUCT("'report':'change',", N), "report" },
    { "product", PRODUCT("", "{'id':'n','type':'int','report':{'period':0}}"),
      "model.properties[0].report.period" },
    { "device", "{'key':'e','product':'p','report':{'deadband':-1}}", "report.deadband" },
    { "device", "{'key':'e','product':'p','report':{'dead':1}}", "report.dead" },
};

START_TEST(a_wrong_strategy_is_refused_with_its_place)
{
    struct rep r;
    begin(&r, PRODUCT("", N));
    char text[512];
    size_t len = strlen(wrong[_i].json);
    for (size_t i = 0; i <= len; i++) {
        text[i] = wrong[_i].json[i] == '\'' ? '"' : wrong[_i].json[i];
    }
    ck_assert_int_ne(tpc_entity_put(r.f.core, NULL, wrong[_i].kind, (struct tpc_str){ text, len },
                                    TPC_ANY_REV, NULL),
                     0);
    ck_assert_str_eq(tpc_error_last()->path, wrong[_i].path);
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    o.report = TPC_STR("{\"mode\":1}");
    ck_assert_int_eq(tpc_core_create(&o, &core), TPC_EINVAL);
    ck_assert_str_eq(tpc_error_last()->path, "report.mode");
    o.report = TPC_STR("{\"mode\"");
    ck_assert_int_eq(tpc_core_create(&o, &core), TPC_EINVAL);
    end(&r);
}
END_TEST

/* ---- memory that runs out ---- */

static int quoted_put(struct tpc_core *core, const char *kind, const char *json)
{
    char text[512];
    size_t len = strlen(json);
    for (size_t i = 0; i <= len; i++) {
        text[i] = json[i] == '\'' ? '"' : json[i];
    }
    return tpc_entity_put(core, NULL, kind, (struct tpc_str){ text, len }, TPC_ANY_REV, NULL);
}

static int all_of_it(struct tpc_core *core, struct tk_clock *clock)
{
    struct tpc_device *d = NULL;
    int rc = quoted_put(core, "product",
                        PRODUCT("'unknown':'keep',",
                                "{'id':'n','type':'int','report':{'mode':'change'}},"
                                "{'id':'s','type':'text'}"));
    rc = rc != 0 ? rc
                 : quoted_put(core, "device",
                              "{'key':'d','product':'p','report':{'mode':'period','period':10}}");
    rc = rc != 0 ? rc : tpc_device_open(core, TPC_STR("d"), &d);
    rc = rc != 0 ? rc : tpc_core_start(core);
    for (int i = 0; i < 3 && rc == 0; i++) {
        rc = tpc_feed(d, TPC_BYTES("{\"n\":5,\"s\":\"text\",\"x\":[1,2]}"), NULL, NULL);
        int step = tpc_core_step(core, 0, NULL);
        rc = rc != 0 ? rc : step;
        tk_clock_advance(clock, 8);
    }
    tpc_device_unref(d);
    return rc;
}

static int whole_life(const struct tpc_allocator *a, void *user)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core;
    struct tk_clock *clock = user;
    o.allocator = a;
    o.clock = &clock->base;
    o.ring_bytes = 65536;
    o.frame_max_bytes = 8192;
    o.partitions = 2;
    o.report = TPC_STR("{\"mode\":\"change_or_period\"}");
    int rc = tpc_core_create(&o, &core);
    if (rc != 0) {
        return rc;
    }
    rc = all_of_it(core, clock);
    (void) tpc_core_stop(core, 0);
    (void) tpc_core_destroy(core);
    return rc == TPC_EAGAIN ? TPC_ENOMEM : rc;
}

START_TEST(every_allocation_may_fail)
{
    struct tk_clock clock;
    tk_clock_init(&clock, 1795176000000);
    ck_assert_uint_gt(tk_each_alloc_fails(whole_life, &clock), 50);
}
END_TEST

Suite *report_flow_suite(void)
{
    Suite *s = suite_create("report flow");
    TCase *t = tcase_create("report flow");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, changes_alone_go_on);
    tcase_add_test(t, a_period_sends_the_last_value_again_and_again);
    tcase_add_test(t, a_period_can_stamp_with_the_time_of_sending);
    tcase_add_test(t, a_change_or_a_period_whichever_is_first);
    tcase_add_test(t, the_nearest_place_decides);
    tcase_add_loop_test(t, an_instance_has_one_and_what_is_held_is_settled, 0, 2);
    tcase_add_test(t, what_is_held_is_a_sign_of_life);
    tcase_add_test(t, a_period_is_no_sign_of_life_and_ends_with_the_ttl);
    tcase_add_test(t, late_values_and_attributes);
    tcase_add_test(t, attributes_by_key_are_no_telemetry);
    tcase_add_test(t, a_strategy_knows_what_went_without_it);
    tcase_add_test(t, a_period_that_needs_much_memory_ends);
    tcase_add_test(t, derived_properties_see_all_and_are_held_themselves);
    tcase_add_test(t, models_and_products_may_change);
    tcase_add_loop_test(t, many_devices_have_their_periods, 0, 2);
    tcase_add_loop_test(t, a_full_log_loses_no_change, 0, 2);
    tcase_add_test(t, after_a_start_the_first_value_goes);
    tcase_add_test(t, parts_of_gateways_are_held_by_their_devices_workers);
    tcase_add_test(t, every_allocation_may_fail);
    tcase_add_loop_test(t, a_wrong_strategy_is_refused_with_its_place, 0,
                        sizeof(wrong) / sizeof(wrong[0]));
    suite_add_tcase(s, t);
    return s;
}
