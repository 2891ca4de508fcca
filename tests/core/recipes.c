/*
 * Plays docs/guide/rules.md (RULES_MD in the environment): each recipe's documents are put into a
 * core of its own, its lines are fed, and what comes out is just what stands behind the arrows.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>
#include <unistd.h>

#include "box.h"
#include "config.h"
#include "flow.h"

enum { RECIPES = 10, PAGE = 65536, OUTS = 16, LINE = 1024, DEVICES = 8 };

struct out {
    char text[LINE];
    bool seen;
};

struct play {
    struct flow f;
    struct tpc_arena *arena; /* of the values that are compared */
    struct tpc_sub *sub;
    struct out outs[OUTS]; /* since the last line that went in */
    unsigned count;
    uint32_t sent;   /* items of the box that were looked at */
    unsigned notes;  /* notifications in the log */
    unsigned arrows; /* lines that were expected */
    char online[DEVICES][32];
    uint64_t sessions[DEVICES];
};

/* ---- what comes out ---- */

static void add_out(struct play *p, const char *text)
{
    ck_assert_msg(p->count < OUTS, "too much comes out: %s", text);
    snprintf(p->outs[p->count].text, LINE, "%s", text);
    p->outs[p->count++].seen = false;
}

static const char *write_json(const struct tpc_value *v, char *out, size_t cap)
{
    struct tpc_buf buf = { .ptr = (uint8_t *) out, .cap = cap - 1 };
    out[0] = '\0';
    if (v->type == TPC_MAP) {
        tk_ok(tpc_json_write(v, 0, &buf));
        out[buf.need] = '\0';
    }
    return out;
}

static void describe(struct play *p, const struct tpc_msg *m)
{
    char text[LINE], params[600], change[32];
    int device = (int) m->device.len, name = (int) m->name.len;
    struct tpc_str word = tpc_value_text(tpc_value_get(&m->params, TPC_STR("change")));
    const struct tpc_value *said = tpc_value_get(&m->params, TPC_STR("params"));
    bool command = m->kind == TPC_MSG_COMMAND && said != NULL;
    write_json(command ? said : &m->params, params, sizeof(params));
    snprintf(change, sizeof(change), "%.*s", (int) word.len, word.len > 0 ? word.ptr : "");
    switch (m->kind) {
    case TPC_MSG_COMMAND:
        snprintf(text, sizeof(text), "command %.*s %.*s %s", device, m->device.ptr, name,
                 m->name.ptr, params);
        break;
    case TPC_MSG_EVENT:
        snprintf(text, sizeof(text), "event %.*s %.*s %s", device, m->device.ptr, name, m->name.ptr,
                 params);
        break;
    case TPC_MSG_ALERT:
        snprintf(text, sizeof(text), "alert %s %.*s %.*s %s", change, name, m->name.ptr, device,
                 m->device.ptr, params);
        break;
    case TPC_MSG_NOTIFY:
        snprintf(text, sizeof(text), "notify %.*s %s", name, m->name.ptr, params);
        p->notes++;
        break;
    case TPC_MSG_DEAD_LETTER: /* what a recipe feeds has to be good */
        snprintf(text, sizeof(text), "dead letter of %.*s %s", device, m->device.ptr, params);
        break;
    default:
        return;
    }
    add_out(p, text);
}

static int on_batch(void *user, const struct tpc_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        describe(user, tpc_batch_msg(batch, i));
    }
    return 0;
}

/* Until rules, commands, targets and the log have nothing more to do at this time. */
static void settle(struct play *p)
{
    for (int i = 0; i < 6; i++) {
        flow_settle(&p->f);
    }
    for (; p->sent < box_count(); p->sent++) {
        const struct box_item *item = &box.items[p->sent];
        char text[80];
        if (item->kind != TPC_MSG_NOTIFY) {
            snprintf(text, sizeof(text), "sent %s %lld", item->device, (long long) item->n);
            add_out(p, text);
        }
    }
}

/* ---- what is expected ---- */

/* All of want is in got. */
static bool holds(const struct tpc_value *want, const struct tpc_value *got)
{
    double a = 0, b = 0;
    if (got == NULL) {
        return false;
    }
    if (tpc_value_double(want, &a) == 0 && tpc_value_double(got, &b) == 0) {
        return a - b < 1e-9 && b - a < 1e-9;
    }
    if (want->type != got->type) {
        return false;
    }
    if (want->type == TPC_MAP) {
        for (size_t i = 0; i < want->len; i++) {
            const struct tpc_member *m = &want->as.members[i];
            if (!holds(&m->value, tpc_value_get(got, m->key))) {
                return false;
            }
        }
        return true;
    }
    return want->type == TPC_BOOL ? want->as.b == got->as.b
                                  : tpc_str_equal(tpc_value_text(want), tpc_value_text(got)) != 0;
}

static void parse(struct play *p, const char *text, struct tpc_value *ret)
{
    int rc = tpc_json_parse(p->arena, tpc_str_from(text), 0, NULL, ret);
    ck_assert_msg(rc == 0, "no JSON: %s", text);
}

/* The words in front of the map are the same, and the map has what is wanted. */
static bool fits(struct play *p, const char *want, const char *got)
{
    size_t n = strcspn(want, "{");
    struct tpc_value a, b;
    if (want[n] == '\0') {
        size_t words = strcspn(got, "{");
        while (words > 0 && got[words - 1] == ' ') {
            words--;
        }
        return words == n && memcmp(want, got, n) == 0;
    }
    if (strcspn(got, "{") != n || got[n] == '\0' || memcmp(want, got, n) != 0) {
        return false;
    }
    parse(p, want + n, &a);
    parse(p, got + n, &b);
    return holds(&a, &b);
}

static void expect(struct play *p, const char *want, int line)
{
    p->arrows++;
    for (unsigned i = 0; i < p->count; i++) {
        if (!p->outs[i].seen && fits(p, want, p->outs[i].text)) {
            p->outs[i].seen = true;
            return;
        }
    }
    for (unsigned i = 0; i < p->count; i++) {
        fprintf(stderr, "came: %s\n", p->outs[i].text);
    }
    ck_abort_msg("line %d: did not come: %s", line, want);
}

static void nothing_else(struct play *p, int line)
{
    for (unsigned i = 0; i < p->count; i++) {
        ck_assert_msg(p->outs[i].seen, "before line %d: not expected: %s", line, p->outs[i].text);
    }
    p->count = 0;
}

/* ---- what goes in ---- */

/* Days since 1970 of a date of the Gregorian calendar, years that begin in March. */
static int64_t days(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719468;
}

static void set_clock(struct play *p, const char *text, int line)
{
    int d[6];
    ck_assert_msg(
        sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ", &d[0], &d[1], &d[2], &d[3], &d[4], &d[5]) == 6,
        "line %d: no time: %s", line, text);
    int64_t seconds = days(d[0], d[1], d[2]) * 86400 + d[3] * 3600 + d[4] * 60 + d[5];
    tk_clock_set_unix(&p->f.e.clock, seconds * 1000);
}

static void advance(struct play *p, const char *text, int line)
{
    char *unit;
    unsigned long n = strtoul(text, &unit, 10);
    ck_assert_msg(n > 0 && strspn(unit, "smh") == 1, "line %d: no span of time: %s", line, text);
    tk_clock_advance(&p->f.e.clock, n * (*unit == 'h' ? 3600000 : *unit == 'm' ? 60000 : 1000));
}

static void connect_device(struct play *p, const char *device, bool online, int line)
{
    for (int i = 0; i < DEVICES; i++) {
        if (online && p->online[i][0] == '\0') {
            snprintf(p->online[i], sizeof(p->online[i]), "%s", device);
            p->sessions[i] = flow_session(device, TPC_SESSION_PRESENCE);
            return;
        }
        if (!online && strcmp(p->online[i], device) == 0) {
            p->online[i][0] = '\0';
            flow_probe.host->session_close(flow_probe.ctx, p->sessions[i]);
            return;
        }
    }
    ck_abort_msg("line %d: %s cannot go on or off", line, device);
}

static void play_line(struct play *p, char *text, int line)
{
    if (strncmp(text, "-> ", 3) == 0) {
        expect(p, text + 3, line);
        return;
    }
    nothing_else(p, line);
    char *rest = strchr(text, ' ');
    if (text[0] == '+') {
        advance(p, text + 1, line);
    } else if (strncmp(text, "at ", 3) == 0) {
        set_clock(p, text + 3, line);
    } else {
        ck_assert_msg(rest != NULL, "line %d: not understood: %s", line, text);
        *rest++ = '\0';
        if (rest[0] == '{') {
            struct tpc_device *d = flow_device(&p->f, text);
            tk_ok(flow_feed(d, rest));
            tpc_device_unref(d);
        } else {
            ck_assert_msg(strcmp(rest, "online") == 0 || strcmp(rest, "offline") == 0,
                          "line %d: not understood: %s", line, rest);
            connect_device(p, text, rest[1] == 'n', line);
        }
    }
    settle(p);
}

/* ---- documents ---- */

static void put_all(struct play *p, const char *yaml, size_t len, int line)
{
    char path[300], kind[16];
    struct config c;
    snprintf(path, sizeof(path), "%s.yaml", tk_tmpdir());
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(yaml, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
    int rc = config_read(&c, path);
    ck_assert_msg(rc == 0 && c.root.type == TPC_ARRAY && c.root.len > 0,
                  "documents after line %d: %s", line, rc != 0 ? c.error : "no list");
    for (size_t i = 0; i < c.root.len; i++) {
        struct tpc_value entity;
        const struct tpc_value *item = &c.root.as.items[i];
        struct tpc_str word = tpc_value_text(tpc_value_get(item, TPC_STR("kind")));
        snprintf(kind, sizeof(kind), "%.*s", (int) word.len, word.len > 0 ? word.ptr : "");
        ck_assert_int_eq(config_without(&c, item, "kind", &entity), 0);
        rc = tpc_entity_put(p->f.core, NULL, kind, config_json(&c, &entity), TPC_ANY_REV, NULL);
        ck_assert_msg(rc == 0, "document %zu after line %d: %s", i + 1, line,
                      tpc_error_last()->text);
    }
    config_free(&c);
    unlink(path);
}

/* ---- the page ---- */

static char page[PAGE];

static void read_page(void)
{
    const char *path = getenv("RULES_MD");
    ck_assert_msg(path != NULL, "RULES_MD is not set");
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s cannot be read", path);
    size_t len = fread(page, 1, sizeof(page) - 1, file);
    (void) fclose(file);
    ck_assert_uint_lt(len, sizeof(page) - 1);
    page[len] = '\0';
}

static void begin(struct play *p)
{
    memset(p, 0, sizeof(*p));
    box_reset();
    flow_init(&p->f, 0);
    set_clock(p, "2026-11-20T12:00:00Z", 0); /* a Friday */
    flow_create(&p->f);
    tk_ok(tpc_core_add_module(p->f.core, box_module()));
    tk_ok(tpc_core_open(p->f.core, "hooks", "box", (struct tpc_str){ NULL, 0 }));
    flow_probe_open(&p->f);
    tk_ok(tpc_arena_create(NULL, 0, &p->arena));
}

static void start(struct play *p)
{
    struct tpc_consume_options o = TPC_CONSUME_OPTIONS_INIT;
    o.name = TPC_STR("all");
    o.filter = TPC_STR("main/#");
    flow_start(&p->f);
    tk_ok(tpc_consume(p->f.core, &o, on_batch, p, &p->sub));
    settle(p);
}

static void end(struct play *p, int line)
{
    uint32_t told = 0;
    nothing_else(p, line);
    for (uint32_t i = 0; i < box_count(); i++) {
        told += box.items[i].kind == TPC_MSG_NOTIFY;
    }
    ck_assert_uint_eq(told, p->notes);
    tpc_unsubscribe(p->sub);
    p->arena = tpc_arena_destroy(p->arena);
    flow_fini(&p->f);
}

/* Plays the blocks in front of the first recipe and those of recipe n. Returns the arrows in it. */
static unsigned play_recipe(struct play *p, int n)
{
    int line = 0, recipe = 0;
    bool script = false;
    char *yaml = NULL;
    begin(p);
    for (char *at = page, *next; *at != '\0'; at = next) {
        size_t len = strcspn(at, "\n");
        next = at + len + (at[len] != '\0');
        line++;
        recipe += strncmp(at, "## ", 3) == 0;
        if (recipe != 0 && recipe != n) {
            continue;
        }
        if (strncmp(at, "```yaml", 7) == 0) {
            yaml = next;
        } else if (strncmp(at, "```text", 7) == 0) {
            start(p);
            script = true;
        } else if (strncmp(at, "```", 3) == 0 && yaml != NULL) {
            put_all(p, yaml, (size_t) (at - yaml), line);
            yaml = NULL;
        } else if (strncmp(at, "```", 3) == 0) {
            script = false;
        } else if (script) {
            char text[LINE];
            ck_assert_uint_lt(len, sizeof(text));
            snprintf(text, sizeof(text), "%.*s", (int) len, at);
            play_line(p, text, line);
        }
    }
    end(p, line);
    return p->arrows;
}

START_TEST(recipe_does_what_the_guide_says)
{
    struct play *p = calloc(1, sizeof(*p));
    ck_assert_ptr_nonnull(p);
    read_page();
    unsigned arrows = play_recipe(p, _i);
    printf("recipe %d: %u results\n", _i, arrows);
    ck_assert_uint_gt(arrows, 0);
    free(p);
}
END_TEST

START_TEST(there_are_ten_recipes)
{
    unsigned n = 0;
    read_page();
    for (const char *at = page; (at = strstr(at, "\n## ")) != NULL; at++) {
        n++;
    }
    ck_assert_uint_eq(n, RECIPES);
}
END_TEST

static Suite *recipe_suite(void)
{
    Suite *s = suite_create("recipes");
    TCase *t = tcase_create("recipes");
    tcase_add_test(t, there_are_ten_recipes);
    tcase_add_loop_test(t, recipe_does_what_the_guide_says, 1, RECIPES + 1);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    static tk_suite_fn *const suites[] = { recipe_suite, NULL };
    return tk_main("recipes", suites);
}
