/* tp-tool history: what is stored, of a platform that does not run. */
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEVICES_MAX = 100000, AGGREGATES_MAX = 16 };

struct request {
    const char *config, *device, *property;
    bool count, all;
    struct tpc_history_query query; /* all but devices and properties */
    struct tpc_aggregate aggregates[AGGREGATES_MAX];
};

struct set {
    uint64_t *values; /* bits of the numbers of one device */
    size_t count, cap;
    uint64_t distinct; /* over all devices */
    uint64_t samples;
};

/* A whole number; with units, a duration: 250ms, 10s, 5m, 1h, 7d. */
static int parse_number(const char *text, bool units, int64_t *ret)
{
    static const struct unit {
        const char *name;
        int64_t ms;
    } list[] = { { "", 1 },      { "ms", 1 },      { "s", 1000 },
                 { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (end == text || errno != 0) {
        return -1;
    }
    for (size_t i = 0; i < (units ? sizeof(list) / sizeof(list[0]) : 1); i++) {
        if (strcmp(end, list[i].name) == 0) {
            if (n > INT64_MAX / list[i].ms || n < INT64_MIN / list[i].ms) {
                return -1;
            }
            *ret = n * list[i].ms;
            return 0;
        }
    }
    return -1;
}

/* "avg,max,p99" */
static int parse_aggregates(const char *text, struct request *r)
{
    static const char *const names[] = { "",    "count", "min",  "max",        "sum",
                                         "avg", "first", "last", "first_time", "last_time" };
    r->query.aggregates = r->aggregates;
    while (*text != '\0' && r->query.aggregate_count < AGGREGATES_MAX) {
        size_t len = strcspn(text, ",");
        struct tpc_aggregate *a = &r->aggregates[r->query.aggregate_count++];
        for (uint32_t k = 1; k < sizeof(names) / sizeof(names[0]); k++) {
            a->kind = strlen(names[k]) == len && memcmp(names[k], text, len) == 0 ? k : a->kind;
        }
        if (a->kind == 0 && *text == 'p') {
            char *end;
            a->kind = TPC_AGG_PERCENTILE;
            a->percent = strtod(text + 1, &end);
            len = end == text + 1 ? 0 : (size_t) (end - text);
        }
        if (a->kind == 0 || len == 0 || (text[len] != ',' && text[len] != '\0')) {
            return -1;
        }
        text += len + (text[len] == ',');
    }
    return *text == '\0' && r->query.aggregate_count > 0 ? 0 : -1;
}

/* An option with a value. Returns 0, 1 if there is none of that name, or -1. */
static int parse_option(const char *name, const char *value, struct request *r)
{
    struct tpc_history_query *q = &r->query;
    int64_t n = 0;
    if (strcmp(name, "--agg") == 0) {
        return parse_aggregates(value, r);
    }
    bool every = strcmp(name, "--every") == 0;
    int rc = parse_number(value, every, &n);
    if (strcmp(name, "--from") == 0) {
        q->from_unix_ms = n;
    } else if (strcmp(name, "--to") == 0) {
        q->to_unix_ms = n;
    } else if (every) {
        q->window_ms = (uint64_t) n;
        rc = n <= 0 ? -1 : rc;
    } else if (strcmp(name, "--limit") == 0) {
        q->limit = (uint64_t) n;
        rc = n <= 0 ? -1 : rc;
    } else if (strcmp(name, "--lttb") == 0 || strcmp(name, "--average") == 0) {
        q->sample = name[2] == 'l' ? TPC_SAMPLE_LTTB : TPC_SAMPLE_AVERAGE;
        q->sample_points = (uint32_t) n;
        rc = n <= 0 || n > TPC_HISTORY_MAX_POINTS ? -1 : rc;
    } else {
        return 1;
    }
    return rc;
}

static int parse_word(const char *word, struct request *r)
{
    if (strcmp(word, "--count") == 0) {
        r->count = true;
    } else if (strcmp(word, "--all") == 0) {
        r->all = true;
    } else if (strcmp(word, "--newest") == 0) {
        r->query.descending = 1;
    } else if (word[0] == '-' && word[1] == '-') {
        return -1;
    } else if (r->config == NULL) {
        r->config = word;
    } else if (r->device == NULL && !r->count && !r->all) {
        r->device = word;
    } else if (r->property == NULL) {
        r->property = word;
    } else {
        return -1;
    }
    return 0;
}

static int parse(int argc, char **argv, struct request *r)
{
    static const struct tpc_history_query init = TPC_HISTORY_QUERY_INIT;
    r->query = init;
    for (int i = 0; i < argc; i++) {
        bool option = argv[i][0] == '-' && i + 1 < argc;
        int rc = option ? parse_option(argv[i], argv[i + 1], r) : 1;
        i += rc == 0;
        if (rc < 0 || (rc == 1 && parse_word(argv[i], r) != 0)) {
            return -1;
        }
    }
    if (r->query.window_ms != 0 && r->query.aggregate_count == 0) {
        return -1;
    }
    return r->config != NULL && r->property != NULL && (r->count || r->all || r->device != NULL)
               ? 0
               : -1;
}

static void print_value(const struct tpc_value *v)
{
    uint8_t space[4096];
    struct tpc_buf buf = { space, sizeof(space), 0 };
    if (tpc_json_write(v, 0, &buf) == 0) {
        fwrite(space, 1, buf.need, stdout);
    }
}

static int add(struct set *s, const struct tpc_value *v)
{
    if (s->count == s->cap) {
        size_t cap = s->cap == 0 ? 4096 : s->cap * 2;
        uint64_t *grown = realloc(s->values, cap * sizeof(*grown));
        if (grown == NULL) {
            return -1;
        }
        s->values = grown;
        s->cap = cap;
    }
    memcpy(&s->values[s->count++], &v->as, sizeof(uint64_t));
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x < y ? -1 : x > y;
}

static void close_set(struct set *s)
{
    if (s->count > 0) {
        qsort(s->values, s->count, sizeof(*s->values), compare);
    }
    for (size_t i = 0; i < s->count; i++) {
        s->distinct += i == 0 || s->values[i] != s->values[i - 1];
    }
    s->samples += s->count;
    s->count = 0;
}

static int take(const struct request *r, struct set *s, const struct tpc_row_batch *b)
{
    for (uint32_t i = 0; i < b->count; i++) {
        struct tpc_value v;
        if (r->count) {
            if (tpc_column_value(&b->columns[0], i, &v) == 1 && add(s, &v) != 0) {
                return -1;
            }
            continue;
        }
        if (r->all) {
            printf("%.*s", (int) b->device.len, b->device.ptr);
        } else if (b->unix_ms[i] == INT64_MIN) {
            printf("all"); /* one window without a begin */
        } else {
            printf("%" PRId64, b->unix_ms[i]);
        }
        for (uint32_t k = 0; k < b->column_count; k++) {
            (void) tpc_column_value(&b->columns[k], i, &v);
            putchar(' ');
            print_value(&v);
        }
        putchar('\n');
    }
    return 0;
}

static int query(struct tpc_core *core, const struct request *r, struct tpc_device *device,
                 struct set *s)
{
    struct tpc_history_query q = r->query;
    struct tpc_str property = tpc_str_from(r->property);
    const struct tpc_row_batch *b;
    struct tpc_rows *rows;
    q.devices = &device;
    q.device_count = 1;
    q.properties = &property;
    q.property_count = 1;
    int rc = tpc_history_query(core, &q, &rows);
    if (rc != 0) {
        return tool_fail("query");
    }
    while ((rc = tpc_rows_next(rows, &b)) > 0 && take(r, s, b) == 0) {
    }
    tpc_rows_close(rows);
    close_set(s);
    return rc != 0 ? tool_fail("query") : 0;
}

struct listing {
    struct tpc_core *core;
    const struct request *request;
    struct tpc_device **devices;
    size_t count;
};

static int on_device(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                     struct tpc_str json)
{
    struct listing *l = user;
    (void) info;
    (void) json;
    if (l->count < DEVICES_MAX && tpc_device_open(l->core, key, &l->devices[l->count]) == 0) {
        l->count++;
    }
    return 0;
}

static int each_device(struct tpc_core *core, const struct request *r, struct set *s)
{
    struct listing l = { core, r, calloc(DEVICES_MAX, sizeof(struct tpc_device *)), 0 };
    struct tpc_entity_query q = TPC_ENTITY_QUERY_INIT;
    q.kind = TPC_STR("device");
    q.limit = DEVICES_MAX;
    if (l.devices == NULL || tpc_entity_list(core, &q, on_device, &l) != 0) {
        free(l.devices);
        return tool_fail("devices");
    }
    int rc = 0;
    for (size_t i = 0; i < l.count; i++) {
        rc = rc != 0 ? rc : query(core, r, l.devices[i], s);
        tpc_device_unref(l.devices[i]);
    }
    free(l.devices);
    return rc;
}

static int read_all(struct tpc_core *core, const struct request *r)
{
    struct set s = { 0 };
    struct tpc_device *device;
    int rc;
    if (r->count || r->all) {
        rc = each_device(core, r, &s);
    } else if (tpc_device_open(core, tpc_str_from(r->device), &device) != 0) {
        rc = tool_fail(r->device);
    } else {
        rc = query(core, r, device, &s);
        tpc_device_unref(device);
    }
    if (rc == 0 && r->count) {
        printf("distinct=%" PRIu64 " samples=%" PRIu64 "\n", s.distinct, s.samples);
    }
    free(s.values);
    return rc;
}

int tool_history(int argc, char **argv)
{
    struct request r = { 0 };
    struct config c;
    struct tpc_core *core;
    if (parse(argc, argv, &r) != 0) {
        return 2;
    }
    if (tool_open(r.config, false, &c, &core) != 0) {
        return 1;
    }
    /* The restart stores what the log holds beyond the store. */
    int rc = tool_restart(core);
    rc = rc != 0 ? rc : read_all(core, &r);
    tool_close(&c, core);
    return rc != 0;
}
