/*
 * Churn: what fails, comes again or changes a million times leaves no byte behind. Each kind is done
 * `count` times in blocks; the core's own meter says what is allocated once all of a block has
 * settled. What grows with the state (an open chunk, a log that is not yet at its limit) ends with
 * the first blocks; from then on the meter must show the same numbers again and again.
 */
#include "suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NORMAL = 20000 / FX_SLOWER, FULL = 1000000, BLOCKS = 10, WARM = 2000, TRIMMED = 40 };

static long count_of(void)
{
    const char *given = getenv("SOAK_COUNT");
    const char *full = getenv("TK_FULL");
    if (given != NULL) {
        return strtol(given, NULL, 10);
    }
    return full != NULL && full[0] != '\0' ? FULL : NORMAL;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

/* ---- what is done so often ---- */

struct churn {
    struct fx *f;
    long n;
    struct tpc_device *t1;
};

static void expect(int rc, int code, const char *what)
{
    if (rc != code) {
        ck_abort_msg("%s: %s (%s), expected %s", what, tpc_error_name(rc), tpc_error_last()->text,
                     tpc_error_name(code));
    }
}

static void refused_message(struct churn *x)
{
    static char big[5000];
    struct tpc_frame frame = { .size = sizeof(frame) };
    static const char *const texts[] = { "{\"seq\":\"no number\",\"u\":1,\"on\":1}",
                                         "{\"seq\":", "{\"mode\":\"fast\"}", "\xff\xfe" };
    const char *text = texts[x->n % 4];
    if (x->n % 5 == 4) {
        memset(big, ' ', sizeof(big));
        frame.payload = (struct tpc_bytes){ (const uint8_t *) big, sizeof(big) };
        expect(probe_receive("t1", &frame, 0), TPC_ETOOBIG, "too big");
        return;
    }
    frame.unix_ms = INT64_C(1795176000000);
    frame.device = x->n % 7 == 0 ? TPC_STR("nobody") : TPC_STR("t1");
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, strlen(text) };
    expect(probe_receive(NULL, &frame, 0), 0, "receive");
}

/* A log that is full for a while says later. */
static void send_open(struct churn *x, struct tpc_command_options *o)
{
    probe_mode(PROBE_TAKE);
    o->service = TPC_STR("open");
    int rc = tpc_command_send(x->f->core, NULL, o, NULL, NULL, NULL);
    for (int i = 0; i < 100 && rc == TPC_EAGAIN; i++) {
        tk_clock_advance(&x->f->e.clock, 100);
        (void) fx_step(x->f);
        rc = tpc_command_send(x->f->core, NULL, o, NULL, NULL, NULL);
    }
    expect(rc, 0, "send");
    (void) fx_step(x->f);
}

static void command_error(struct churn *x)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    o.device = x->t1;
    switch (x->n % 4) {
    case 0:
        o.service = TPC_STR("explode");
        expect(tpc_command_send(x->f->core, NULL, &o, NULL, NULL, NULL), TPC_ENOENT, "service");
        break;
    case 1:
        o.service = TPC_STR("beep");
        o.params_json = TPC_STR("{\"times\":100}");
        expect(tpc_command_send(x->f->core, NULL, &o, NULL, NULL, NULL), TPC_EMODEL, "params");
        break;
    case 2: /* a reply with an error */
        send_open(x, &o);
        expect(probe_reply(probe_sent_count() - 1, 7), 0, "reply");
        break;
    default: /* nobody answers */
        o.timeout_ms = 10;
        send_open(x, &o);
        tk_clock_advance(&x->f->e.clock, 20);
    }
}

static void reconnect(struct churn *x)
{
    void *ctx;
    const struct tpc_host *host = probe_host(&ctx);
    struct tpc_session_options o = { .size = sizeof(o), .device = TPC_STR("t2") };
    uint64_t session;
    o.flags = x->n % 2 == 0 ? TPC_SESSION_PRESENCE : 0;
    if (x->n % 3 == 0) {
        o.device = TPC_STR("nobody");
        expect(host->session_open(ctx, &o, &session), TPC_ENOENT, "session");
        return;
    }
    expect(host->session_open(ctx, &o, &session), 0, "session");
    host->session_close(ctx, session);
}

static void entity_update(struct churn *x)
{
    char json[100];
    snprintf(json, sizeof(json), "{\"key\":\"fan1\",\"product\":\"thermo\",\"name\":\"n%04ld\"}",
             x->n % 10000);
    expect(tpc_entity_put(x->f->core, NULL, "device", tpc_str_from(json), TPC_ANY_REV, NULL), 0,
           "put");
}

static void put_script(struct fx *f, long n)
{
    char json[400];
    snprintf(json, sizeof(json),
             "{\"key\":\"l\",\"codec\":{\"type\":\"lua\",\"script\":\"local n = %06ld function "
             "decode(b) return { seq = n } end\"},\"model\":{\"properties\":[{\"id\":\"seq\","
             "\"type\":\"int\"}]}}",
             n % 1000000);
    expect(tpc_entity_put(f->core, NULL, "product", tpc_str_from(json), TPC_ANY_REV, NULL), 0,
           "script");
}

static void script_reload(struct churn *x)
{
    put_script(x->f, x->n);
}

static void failed_query(struct churn *x)
{
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    struct tpc_str names[2] = { TPC_STR("seq"), TPC_STR("nothing") };
    struct tpc_rows *rows;
    const struct tpc_row_batch *batch;
    struct tpc_device *d;
    struct tpc_value v;
    q.devices = &x->t1;
    q.device_count = 1;
    q.properties = names;
    q.property_count = 2;
    switch (x->n % 4) {
    case 0:
        q.from_unix_ms = 5;
        q.to_unix_ms = 5;
        expect(tpc_history_query(x->f->core, &q, &rows), TPC_EINVAL, "query");
        break;
    case 1: /* given up before its end */
        expect(tpc_history_query(x->f->core, &q, &rows), 0, "query");
        expect(tpc_rows_next(rows, &batch), 1, "rows");
        tpc_rows_close(rows);
        break;
    case 2:
        expect(tpc_device_open(x->f->core, TPC_STR("nobody"), &d), TPC_ENOENT, "device");
        break;
    default:
        expect(tpc_latest_get(x->t1, names[1], NULL, &v, NULL), TPC_ENOENT, "latest");
    }
}

/* ---- the meter ---- */

/* All that waits is done: timers, the last commit, the trim after it. */
static double settled_bytes(struct fx *f)
{
    for (int i = 0; i < 20; i++) {
        tk_clock_advance(&f->e.clock, i < 10 ? 1000 : 61000);
        (void) fx_step(f);
    }
    return fx_metric(f, "tpc_core_memory_bytes");
}

struct kind {
    const char *name;
    void (*fn)(struct churn *x);
    uint32_t parts;
};

static void repeat(struct churn *x, const struct kind *k, long count)
{
    for (long i = 0; i < count; i++, x->n++) {
        k->fn(x);
        if (i % 50 == 49) {
            tk_clock_advance(&x->f->e.clock, 5);
            (void) fx_step(x->f);
        }
    }
}

/* Until the log is at its limit and drops a segment for each new one, or does not grow at all. */
static void warm(struct churn *x, const struct kind *k)
{
    double bytes = -1;
    for (int i = 0; i < 50 && fx_metric(x->f, "tpc_log_trimmed_segments_total") < TRIMMED &&
                    fx_metric(x->f, "tpc_log_bytes") > bytes;
         i++) {
        bytes = fx_metric(x->f, "tpc_log_bytes");
        repeat(x, k, WARM);
    }
}

/* A segment's entry or a step of Lua's collector more in the moment of looking is no leak: one that
 * loses a byte each time is above all that was seen before, in all of the second half. */
static double extreme(const double *bytes, long from, long to, bool most)
{
    double found = bytes[from];
    for (long b = from + 1; b <= to; b++) {
        found = (bytes[b] > found) == most ? bytes[b] : found;
    }
    return found;
}

static void churn(const struct kind *k)
{
    struct fx f;
    struct churn x = { .f = &f };
    double bytes[BLOCKS + 1];
    long count = count_of();
    fx_init(&f, 0, FX_FILE_LOG | FX_PROBE | (fx_has_sqlite() ? FX_SQLITE : 0) | k->parts);
    snprintf(f.log_options, sizeof(f.log_options),
             "\"segment_size\":\"64KiB\",\"max_bytes\":\"1MiB\",\"cache\":\"0\"");
    f.o.frame_max_bytes = 4096;
    f.o.ring_bytes = 65536;
    f.o.log_level = TPC_LOG_ERROR;
    fx_open(&f);
    fx_entities(&f);
    if ((k->parts & FX_LUA) != 0) {
        put_script(&f, 0);
    }
    fx_start(&f);
    x.t1 = fx_device(&f, "t1");
    for (int i = 0; i < 10; i++) {
        fx_ok(fx_feed_seq(&f, "t1", i), "feed");
    }
    fx_settle(&f);
    double begin = now_s();
    for (long b = 0; b <= BLOCKS; b++) { /* block 0 brings it to where it stays */
        repeat(&x, k, count / BLOCKS);
        if (b == 0) {
            warm(&x, k);
        }
        bytes[b] = settled_bytes(&f);
    }
    double before = extreme(bytes, 0, BLOCKS / 2, true);
    double after = extreme(bytes, BLOCKS / 2 + 1, BLOCKS, false);
    printf("soak: %s: %ld times in %.1f s, %.0f bytes before, %.0f after\n", k->name, count,
           now_s() - begin, before, after);
    ck_assert_msg(after <= before, "%s: %.0f bytes more", k->name, after - before);
    fx_fini(&f);
}

START_TEST(refused_messages)
{
    churn(&(struct kind){ "refused message", refused_message, 0 });
}
END_TEST

START_TEST(command_errors)
{
    churn(&(struct kind){ "command error", command_error, 0 });
}
END_TEST

START_TEST(reconnects)
{
    churn(&(struct kind){ "reconnect", reconnect, 0 });
}
END_TEST

START_TEST(entity_updates)
{
    churn(&(struct kind){ "entity update", entity_update, 0 });
}
END_TEST

START_TEST(script_reloads)
{
    if (!fx_has_lua()) {
        tk_skip("script reloads", "the module lua is not built");
        return;
    }
    churn(&(struct kind){ "script reload", script_reload, FX_LUA });
}
END_TEST

START_TEST(failed_queries)
{
    churn(&(struct kind){ "failed query", failed_query, 0 });
}
END_TEST

static Suite *soak_suite(void)
{
    Suite *s = suite_create("soak");
    TCase *t = tcase_create("soak");
    tcase_add_test(t, refused_messages);
    tcase_add_test(t, command_errors);
    tcase_add_test(t, reconnects);
    tcase_add_test(t, entity_updates);
    tcase_add_test(t, script_reloads);
    tcase_add_test(t, failed_queries);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    static tk_suite_fn *const suites[] = { soak_suite, NULL };
    return tk_main("soak", suites);
}
