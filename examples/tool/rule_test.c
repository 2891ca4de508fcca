/* tp-tool rule-test: what a rule would do; nothing happens. Also while the platform runs. */
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tpcore/json.h>
#include <tpcore/rule.h>

enum { MESSAGES_MAX = 10000, STEP_BYTES = 1 << 18 };

static const int64_t TIME_MAX_MS = INT64_C(253402300799999); /* the end of 9999 */

struct trial {
    const char *config, *rule, *messages;
    const char *kind, *key; /* NULL = as the document says; the first */
    struct tpc_rule_test_options options;
    int64_t more_ms; /* after the last message; 0 = default */
    bool files;      /* devices of the configuration's files, instead of the store's */
    bool json;
    struct tpc_rule_test_message *items;
    uint32_t count;
    int64_t told_ms; /* time of the last step */
};

/* ---- times ---- */

/* "5m", "1h30m", "250ms"; a number without a unit is milliseconds. */
static int read_span(const char *text, int64_t *ret_ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = { { "ms", 1 },         { "s", 1000 },        { "m", 60000 }, { "h", 3600000 },
                  { "d", 86400000.0 }, { "w", 604800000.0 }, { "", 1 } };
    double sum = 0;
    do {
        char *unit;
        double n = strtod(text, &unit);
        size_t len = strspn(unit, "mshdw");
        size_t i = 0;
        while (i < 7 && (strlen(units[i].unit) != len || strncmp(units[i].unit, unit, len) != 0)) {
            i++;
        }
        if (unit == text || i == 7 || !(n >= 0 && n < 1e9)) {
            return -1;
        }
        sum += n * units[i].ms;
        text = unit + len;
    } while (*text != '\0');
    *ret_ms = (int64_t) sum;
    return sum < 1e14 ? 0 : -1;
}

/* ".5Z", ".250Z" or "Z" behind the seconds; -1 = neither. */
static int64_t read_fraction(const char *text)
{
    int64_t ms = 0;
    size_t n = text[0] == '.' ? strspn(text + 1, "0123456789") : 0;
    if ((text[0] == '.' && (n == 0 || n > 3)) || strcmp(text + n + (text[0] == '.'), "Z") != 0) {
        return -1;
    }
    for (size_t i = 0; i < 3; i++) {
        ms = ms * 10 + (i < n ? text[1 + i] - '0' : 0);
    }
    return ms;
}

/* "2026-11-20T12:00:00Z", also with milliseconds as they are told; or unix milliseconds. */
static int read_time(const char *text, int64_t *ret_ms)
{
    struct tm t = { 0 };
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &t);
    int64_t ms = end != NULL ? read_fraction(end) : -1;
    if (ms >= 0) {
        *ret_ms = (int64_t) timegm(&t) * 1000 + ms;
        return *ret_ms >= 0 ? 0 : -1;
    }
    char *rest;
    errno = 0;
    *ret_ms = strtoll(text, &rest, 10);
    bool good = errno == 0 && rest != text && *rest == '\0';
    return good && *ret_ms >= 0 && *ret_ms <= TIME_MAX_MS ? 0 : -1;
}

static const char *plain(const struct tpc_value *v, char *buf, size_t cap)
{
    int64_t i = 0;
    struct tpc_str s = tpc_value_text(v);
    if (tpc_value_int(v, &i) == 0) {
        snprintf(buf, cap, "%" PRId64, i);
    } else {
        snprintf(buf, cap, "%.*s", (int) s.len, s.len > 0 ? s.ptr : "");
    }
    return buf;
}

/* ---- messages ---- */

static int complain(const char *file, uint32_t number, const char *what)
{
    fprintf(stderr, "tp-tool: %s: message %" PRIu32 ": %s\n", file, number + 1, what);
    return -1;
}

static struct tpc_value *copy_map(struct config *c, const struct tpc_member *members, size_t count)
{
    struct tpc_value *v = tpc_arena_take(c->arena, sizeof(*v));
    struct tpc_member *m = tpc_arena_take(c->arena, count * sizeof(*m));
    if (v != NULL && m != NULL) {
        memcpy(m, members, count * sizeof(*m));
        *v = (struct tpc_value){ .type = TPC_MAP, .len = count, .as.members = m };
    }
    return m != NULL ? v : NULL;
}

/* {"state": .., "severity": .., "text": ..} of {raise: {..}} and {clear: true}. */
static int read_wish(struct config *c, const struct tpc_value *wish, const char *state,
                     struct tpc_rule_test_message *m)
{
    static const char *const kept[] = { "severity", "text" };
    struct tpc_member members[3] = {
        { TPC_STR("state"), { .type = TPC_TEXT, .len = strlen(state), .as.text = state } }
    };
    size_t n = 1;
    for (size_t i = 0; i < 2; i++) {
        const struct tpc_value *v = tpc_value_get(wish, tpc_str_from(kept[i]));
        if (v != NULL) {
            members[n++] = (struct tpc_member){ tpc_str_from(kept[i]), *v };
        }
    }
    const struct tpc_value *map = copy_map(c, members, n);
    m->kind = TPC_MSG_ALERT;
    m->name = tpc_value_text(tpc_value_get(wish, TPC_STR("key")));
    m->params = map != NULL ? *map : m->params;
    return map != NULL ? 0 : -1;
}

static int read_what(struct config *c, const struct tpc_value *doc, struct tpc_rule_test_message *m)
{
    const struct tpc_value *v;
    if ((v = tpc_value_get(doc, TPC_STR("values"))) != NULL) {
        m->kind = TPC_MSG_TELEMETRY;
        m->params = *v;
    } else if ((v = tpc_value_get(doc, TPC_STR("attributes"))) != NULL) {
        m->kind = TPC_MSG_ATTRIBUTES;
        m->params = *v;
    } else if ((v = tpc_value_get(doc, TPC_STR("event"))) != NULL) {
        const struct tpc_value *params = tpc_value_get(doc, TPC_STR("params"));
        m->kind = TPC_MSG_EVENT;
        m->name = tpc_value_text(v);
        m->params = params != NULL ? *params : m->params;
    } else if ((v = tpc_value_get(doc, TPC_STR("command"))) != NULL) {
        const struct tpc_value *params = tpc_value_get(doc, TPC_STR("params"));
        m->kind = TPC_MSG_COMMAND;
        m->name = tpc_value_text(v);
        m->params = params != NULL ? *params : m->params;
    } else if ((v = tpc_value_get(doc, TPC_STR("online"))) != NULL) {
        struct tpc_member online = { TPC_STR("online"), *v };
        const struct tpc_value *map = copy_map(c, &online, 1);
        m->kind = TPC_MSG_PRESENCE;
        m->params = map != NULL ? *map : m->params;
    } else if ((v = tpc_value_get(doc, TPC_STR("raise"))) != NULL) {
        return read_wish(c, v, "raised", m);
    } else if ((v = tpc_value_get(doc, TPC_STR("clear"))) != NULL) {
        return read_wish(c, v, "cleared", m);
    } else {
        return -1;
    }
    return 0;
}

static int read_message(struct trial *t, struct config *c, const struct tpc_value *doc,
                        int64_t *now_ms)
{
    char buf[64];
    int64_t ms = 0;
    struct tpc_rule_test_message *m = &t->items[t->count];
    const struct tpc_value *at = tpc_value_get(doc, TPC_STR("at"));
    const struct tpc_value *after = tpc_value_get(doc, TPC_STR("after"));
    *m = (struct tpc_rule_test_message){
        .size = sizeof(*m), .device = tpc_value_text(tpc_value_get(doc, TPC_STR("device")))
    };
    if (at != NULL && read_time(plain(at, buf, sizeof(buf)), now_ms) != 0) {
        return complain(t->messages, t->count, "`at` is no time: 2026-11-20T12:00:00Z");
    }
    if (after != NULL && read_span(plain(after, buf, sizeof(buf)), &ms) != 0) {
        return complain(t->messages, t->count, "`after` is no span of time: 5m");
    }
    const struct tpc_value *said = tpc_value_get(doc, TPC_STR("time"));
    if (said != NULL && read_time(plain(said, buf, sizeof(buf)), &m->event_unix_ms) != 0) {
        return complain(t->messages, t->count, "`time` is no time: 2026-11-20T12:00:00Z");
    }
    *now_ms += ms;
    m->unix_ms = *now_ms;
    if (m->device.len == 0 || read_what(c, doc, m) != 0) {
        return complain(
            t->messages, t->count,
            "it needs `device` and one of values, attributes, event, command, online, raise, "
            "clear");
    }
    t->count++;
    return 0;
}

static int read_messages(struct trial *t, struct config *c)
{
    int64_t begin = t->options.from_unix_ms;
    int64_t now = begin != 0 ? begin : (int64_t) time(NULL) * 1000;
    t->options.from_unix_ms = now;
    if (t->messages == NULL) {
        return 0;
    }
    if (config_read(c, t->messages) != 0) {
        fprintf(stderr, "tp-tool: %s\n", c->error);
        return -1;
    }
    if (c->root.type != TPC_ARRAY || c->root.len > MESSAGES_MAX) {
        fprintf(stderr, "tp-tool: %s: a list of up to %d messages is expected\n", t->messages,
                MESSAGES_MAX);
        return -1;
    }
    t->items = tpc_arena_take(c->arena, (c->root.len + 1) * sizeof(*t->items));
    int rc = t->items != NULL ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < c->root.len; i++) {
        rc = read_message(t, c, &c->root.as.items[i], &now);
    }
    if (rc == 0 && begin == 0 && t->count > 0) {
        t->options.from_unix_ms = t->items[0].unix_ms;
    }
    return rc;
}

/* ---- the rule ---- */

/* The document itself, or the one of a list that is meant. */
static const struct tpc_value *find_rule(const struct trial *t, const struct config *c)
{
    const struct tpc_value *list = c->root.type == TPC_ARRAY ? c->root.as.items : &c->root;
    size_t count = c->root.type == TPC_ARRAY ? c->root.len : 1;
    for (size_t i = 0; i < count; i++) {
        struct tpc_str key = tpc_value_text(tpc_value_get(&list[i], TPC_STR("key")));
        struct tpc_str kind = tpc_value_text(tpc_value_get(&list[i], TPC_STR("kind")));
        if ((t->key == NULL || tpc_str_equal(key, tpc_str_from(t->key))) &&
            (t->kind == NULL || kind.len == 0 || tpc_str_equal(kind, tpc_str_from(t->kind)))) {
            return &list[i];
        }
    }
    return NULL;
}

static int read_rule(struct trial *t, struct config *c, struct tpc_str *ret)
{
    static char kind[33];
    if (config_read(c, t->rule) != 0) {
        fprintf(stderr, "tp-tool: %s\n", c->error);
        return -1;
    }
    const struct tpc_value *doc = find_rule(t, c);
    if (doc == NULL) {
        fprintf(stderr, "tp-tool: %s has no such rule\n", t->rule);
        return -1;
    }
    struct tpc_str word = tpc_value_text(tpc_value_get(doc, TPC_STR("kind")));
    if (word.len > 0) {
        snprintf(kind, sizeof(kind), "%.*s", (int) word.len, word.ptr);
        t->kind = kind;
    }
    t->kind = t->kind != NULL ? t->kind : "scene";
    *ret = config_json(c, doc);
    return ret->len > 0 ? 0 : -1;
}

/* ---- devices out of files ---- */

static int put_list(struct tpc_core *core, struct config *c, const struct tpc_value *list);

static int put_one(struct tpc_core *core, struct config *c, const struct tpc_value *item)
{
    static const char *const kinds[] = { "tenant", "product", "device" };
    struct tpc_str kind = tpc_value_text(tpc_value_get(item, TPC_STR("kind")));
    struct tpc_value doc;
    for (size_t i = 0; i < 3; i++) {
        if (!tpc_str_equal(kind, tpc_str_from(kinds[i]))) {
            continue;
        }
        if (config_without(c, item, "kind", &doc) != 0 ||
            tpc_entity_put(core, NULL, kinds[i], config_json(c, &doc), TPC_ANY_REV, NULL) != 0) {
            return tool_fail(kinds[i]);
        }
    }
    return 0;
}

static int put_file(struct tpc_core *core, const struct config *from, struct tpc_str name)
{
    char path[4096];
    struct config c;
    const char *slash = strrchr(from->file, '/');
    int dir = name.ptr[0] != '/' && slash != NULL ? (int) (slash - from->file) + 1 : 0;
    snprintf(path, sizeof(path), "%.*s%.*s", dir, from->file, (int) name.len, name.ptr);
    int rc = config_read(&c, path);
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s\n", c.error);
    }
    rc = rc != 0 ? rc : put_list(core, &c, &c.root);
    config_free(&c);
    return rc;
}

static int put_list(struct tpc_core *core, struct config *c, const struct tpc_value *list)
{
    int rc = 0;
    size_t count = list != NULL && list->type == TPC_ARRAY ? list->len : 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct tpc_value *item = &list->as.items[i];
        rc = item->type == TPC_TEXT ? put_file(core, c, tpc_value_text(item))
                                    : put_one(core, c, item);
    }
    return rc;
}

/* A core in memory. */
static int open_files(const char *file, struct config *c, struct tpc_core **ret)
{
    int rc = config_read(c, file);
    rc = rc != 0 ? rc : assemble_core(c, 0, tool_log_line, NULL, ret);
    if (rc != 0) {
        fprintf(stderr, "tp-tool: %s\n", c->error);
        return -1;
    }
    return put_list(*ret, c, tpc_value_get(&c->root, TPC_STR("entities")));
}

/* ---- steps ---- */

static void print_time(int64_t unix_ms)
{
    char when[32];
    tool_time(unix_ms, when);
    size_t n = strlen(when);
    if (unix_ms % 1000 != 0 && n > 0) {
        printf("%.*s.%03dZ", (int) n - 1, when, (int) (unix_ms % 1000));
    } else {
        fputs(when, stdout);
    }
}

static int print_json(const struct tpc_rule_step *s)
{
    static uint8_t text[STEP_BYTES], device[4096];
    struct tpc_value v = { .type = TPC_TEXT, .len = s->text.len, .as.text = s->text.ptr };
    struct tpc_buf buf = { text, sizeof(text), 0 };
    struct tpc_buf name = { device, sizeof(device), 0 };
    if (tpc_json_write(&v, 0, &buf) != 0) {
        return -1;
    }
    v.len = s->device.len;
    v.as.text = s->device.ptr;
    if (tpc_json_write(&v, 0, &name) != 0) {
        return -1;
    }
    printf("{\"time\":%" PRId64 ",\"step\":\"%s\",\"device\":%.*s,\"code\":%d,\"text\":%.*s,"
           "\"detail\":%s}\n",
           s->unix_ms, tpc_rule_step_name(s->what), (int) name.need, (char *) device, (int) s->code,
           (int) buf.need, (char *) text, s->json.ptr);
    return 0;
}

static int print(void *user, const struct tpc_rule_step *s)
{
    struct trial *t = user;
    if (t->json) {
        return print_json(s);
    }
    if (s->what == TPC_STEP_INPUT) {
        print_time(s->unix_ms);
        printf(" %s\n", s->text.ptr);
    } else {
        if (s->unix_ms != t->told_ms) {
            print_time(s->unix_ms);
            puts(" time goes by");
        }
        printf("  %-9s %s\n", tpc_rule_step_name(s->what), s->text.ptr);
    }
    t->told_ms = s->unix_ms;
    return 0;
}

/* ---- the command ---- */

static int parse_option(struct trial *t, const char *name, const char *value)
{
    if (strcmp(name, "--kind") == 0) {
        t->kind = value;
    } else if (strcmp(name, "--key") == 0) {
        t->key = value;
    } else if (strcmp(name, "--tenant") == 0) {
        t->options.tenant = tpc_str_from(value);
    } else if (strcmp(name, "--steps") == 0) {
        char *rest;
        unsigned long steps = strtoul(value, &rest, 10);
        t->options.steps = (uint32_t) steps;
        return *rest != '\0' || steps == 0 || steps > UINT32_MAX ? -1 : 0;
    } else if (strcmp(name, "--from") == 0) {
        return read_time(value, &t->options.from_unix_ms);
    } else if (strcmp(name, "--for") == 0) {
        return read_span(value, &t->more_ms);
    } else {
        return -1;
    }
    return 0;
}

static int parse(int argc, char **argv, struct trial *t)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            t->json = true;
        } else if (strcmp(argv[i], "--files") == 0) {
            t->files = true;
        } else if (strcmp(argv[i], "--empty") == 0) {
            t->options.flags |= TPC_RULE_TEST_EMPTY;
        } else if (strncmp(argv[i], "--", 2) == 0) {
            if (i + 1 == argc || parse_option(t, argv[i], argv[i + 1]) != 0) {
                return -1;
            }
            i++;
        } else {
            const char **place = t->config == NULL ? &t->config
                                 : t->rule == NULL ? &t->rule
                                                   : &t->messages;
            if (*place != NULL) {
                return -1;
            }
            *place = argv[i];
        }
    }
    return t->rule != NULL ? 0 : -1;
}

static int work(struct trial *t, struct tpc_core *core, struct tpc_str document)
{
    t->told_ms = t->options.from_unix_ms;
    int64_t last = t->count > 0 ? t->items[t->count - 1].unix_ms : t->options.from_unix_ms;
    t->options.until_unix_ms = t->more_ms > 0 ? last + t->more_ms : 0;
    int rc = tpc_rule_test(core, t->kind, document, t->items, t->count, &t->options, print, t);
    const struct tpc_error *e = tpc_error_last();
    if (rc != 0 && e->path[0] != '\0') {
        fprintf(stderr, "tp-tool: %s: %s: %s (%s, line %u, column %u)\n", t->rule, e->path, e->text,
                tpc_error_name(e->code), e->line, e->column);
        return -1;
    }
    return rc != 0 ? tool_fail(t->rule) : 0;
}

int tool_rule_test(int argc, char **argv)
{
    struct trial t = { .options = TPC_RULE_TEST_OPTIONS_INIT };
    struct config config = { 0 }, rule = { 0 }, messages = { 0 };
    struct tpc_core *core = NULL;
    struct tpc_str document = { NULL, 0 };
    if (parse(argc, argv, &t) != 0) {
        return 2;
    }
    int rc =
        t.files ? open_files(t.config, &config, &core) : tool_observe(t.config, &config, &core);
    if (rc != 0 && !t.files) {
        fputs("tp-tool: with --files it takes products and devices of the files\n", stderr);
    }
    rc = rc != 0 ? rc : read_rule(&t, &rule, &document);
    rc = rc != 0 ? rc : read_messages(&t, &messages);
    rc = rc != 0 ? rc : work(&t, core, document);
    config_free(&messages);
    config_free(&rule);
    tool_close(&config, core);
    return rc != 0;
}
