#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>
#include <yaml.h>

/* A list that grows in the arena while a node is read. */
struct nodes {
    struct tpc_member *items;
    size_t count, cap;
};

struct reader {
    struct config *c;
    yaml_parser_t parser;
    char path[512];
};

static int fail(struct config *c, unsigned int line, const char *text, const char *what)
{
    if (line != 0) {
        snprintf(c->error, sizeof(c->error), "%s:%u: %s%s", c->file, line, text, what);
    } else {
        snprintf(c->error, sizeof(c->error), "%s: %s%s", c->file, text, what);
    }
    return -1;
}

static int append(struct config *c, struct nodes *n, struct tpc_str key,
                  const struct tpc_value *value)
{
    if (n->count == n->cap) {
        size_t cap = n->cap == 0 ? 8 : n->cap * 2;
        struct tpc_member *grown = tpc_arena_take(c->arena, cap * sizeof(*grown));
        if (grown == NULL) {
            return fail(c, 0, "out of memory", "");
        }
        if (n->count > 0) {
            memcpy(grown, n->items, n->count * sizeof(*grown));
        }
        n->items = grown;
        n->cap = cap;
    }
    n->items[n->count++] = (struct tpc_member){ key, *value };
    return 0;
}

static char *copy(struct config *c, const char *text, size_t len)
{
    char *to = tpc_arena_take(c->arena, len + 1);
    if (to != NULL) {
        memcpy(to, text, len);
        to[len] = '\0';
    }
    return to;
}

static int remember(struct reader *r, unsigned int line)
{
    struct config *c = r->c;
    if (c->place_count == c->place_cap) {
        size_t cap = c->place_cap == 0 ? 64 : c->place_cap * 2;
        struct config_place *grown = realloc(c->places, cap * sizeof(*grown));
        if (grown == NULL) {
            return fail(c, 0, "out of memory", "");
        }
        c->places = grown;
        c->place_cap = cap;
    }
    char *path = copy(c, r->path, strlen(r->path));
    if (path == NULL) {
        return fail(c, 0, "out of memory", "");
    }
    c->places[c->place_count++] = (struct config_place){ path, line };
    return 0;
}

/* Replaces ${NAME} in text; the result is in the arena. */
static int expand(struct config *c, unsigned int line, const char *text, size_t len,
                  struct tpc_str *ret)
{
    char name[128];
    size_t cap = len + 1, used = 0;
    char *to = tpc_arena_take(c->arena, cap);
    for (size_t i = 0; to != NULL && i < len;) {
        if (len - i >= 3 && memcmp(text + i, "$${", 3) == 0) { /* $${ is a plain ${ */
            memcpy(to + used, "${", 2);
            used += 2;
            i += 3;
            continue;
        }
        if (text[i] != '$' || i + 1 >= len || text[i + 1] != '{') {
            to[used++] = text[i++];
            continue;
        }
        const char *end = memchr(text + i + 2, '}', len - i - 2);
        size_t n = end != NULL ? (size_t) (end - text - i - 2) : 0;
        if (n == 0 || n >= sizeof(name)) {
            return fail(c, line, "${ without a name and }", "");
        }
        memcpy(name, text + i + 2, n);
        name[n] = '\0';
        const char *value = getenv(name);
        if (value == NULL) {
            return fail(c, line, "environment variable is not set: ", name);
        }
        size_t value_len = strlen(value);
        char *grown = tpc_arena_take(c->arena, cap + value_len);
        if (grown == NULL) {
            to = NULL;
            break;
        }
        memcpy(grown, to, used);
        to = grown;
        cap += value_len;
        memcpy(to + used, value, value_len);
        used += value_len;
        i += n + 3;
    }
    if (to == NULL) {
        return fail(c, line, "out of memory", "");
    }
    *ret = (struct tpc_str){ to, used };
    return 0;
}

/* YAML 1.2 core schema for plain scalars; quoted ones are text. */
static struct tpc_value plain(struct tpc_str s)
{
    struct tpc_value v = { .type = TPC_TEXT, .len = s.len, .as.text = s.ptr };
    char text[64];
    if (s.len == 0 || (s.len == 1 && s.ptr[0] == '~') || tpc_str_equal(s, TPC_STR("null"))) {
        return (struct tpc_value){ .type = TPC_NULL };
    }
    if (tpc_str_equal(s, TPC_STR("true")) || tpc_str_equal(s, TPC_STR("false"))) {
        return (struct tpc_value){ .type = TPC_BOOL, .as.b = s.ptr[0] == 't' };
    }
    if (s.len >= sizeof(text) || strspn(s.ptr, "+-.0123456789eE") < s.len ||
        strcspn(s.ptr, "0123456789") >= s.len) {
        return v;
    }
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    char *end;
    errno = 0;
    long long whole = strtoll(text, &end, 10);
    if (*end == '\0' && errno == 0) {
        return (struct tpc_value){ .type = TPC_INT, .as.i = whole };
    }
    double number = strtod(text, &end);
    if (*end == '\0') {
        return (struct tpc_value){ .type = TPC_DOUBLE, .as.d = number };
    }
    return v;
}

static char *read_whole(struct config *c, const char *file, size_t *ret_len)
{
    FILE *f = fopen(file, "rb");
    if (f == NULL) {
        fail(c, 0, strerror(errno), "");
        return NULL;
    }
    char *text = NULL;
    long len = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    rewind(f);
    if (len < 0 || len > CONFIG_FILE_MAX) {
        fail(c, 0, "cannot be read, or is over 16 MiB", "");
    } else if ((text = tpc_arena_take(c->arena, (size_t) len + 1)) != NULL) {
        *ret_len = fread(text, 1, (size_t) len, f);
        text[*ret_len] = '\0';
    } else {
        fail(c, 0, "out of memory", "");
    }
    fclose(f);
    return text;
}

/* {secret_file: PATH} becomes the file's content. */
static int secret(struct config *c, unsigned int line, struct tpc_value *v)
{
    if (v->type != TPC_MAP || v->len != 1 ||
        !tpc_str_equal(v->as.members[0].key, TPC_STR("secret_file"))) {
        return 0;
    }
    struct tpc_str name = tpc_value_text(&v->as.members[0].value);
    char *path = copy(c, name.ptr, name.len), *text = NULL;
    size_t len = 0;
    if (path != NULL) {
        text = read_whole(c, path, &len);
    }
    if (text == NULL) {
        return fail(c, line, "secret_file cannot be read: ", path != NULL ? path : "");
    }
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r')) {
        len--;
    }
    *v = (struct tpc_value){ .type = TPC_TEXT, .len = len, .as.text = text };
    return 0;
}

static int node(struct reader *r, yaml_event_t *event, unsigned int depth, unsigned int above,
                struct tpc_value *ret);

static int next(struct reader *r, yaml_event_t *event)
{
    if (!yaml_parser_parse(&r->parser, event)) {
        return fail(r->c, (unsigned int) r->parser.problem_mark.line + 1,
                    r->parser.problem != NULL ? r->parser.problem : "malformed", "");
    }
    return 0;
}

/* above: line that the node itself is known by. What stands in the same line is found by that. */
static int children(struct reader *r, bool map, unsigned int depth, unsigned int above,
                    struct tpc_value *ret)
{
    struct nodes nodes = { 0 };
    size_t path_len = strlen(r->path);
    for (;;) {
        yaml_event_t event;
        struct tpc_str key = { 0 };
        struct tpc_value value;
        if (next(r, &event) != 0) {
            return -1;
        }
        if (event.type == (map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT)) {
            yaml_event_delete(&event);
            break;
        }
        unsigned int line = (unsigned int) event.start_mark.line + 1;
        if (map) {
            if (event.type != YAML_SCALAR_EVENT) {
                yaml_event_delete(&event);
                return fail(r->c, line, "a key must be text", "");
            }
            key.len = event.data.scalar.length;
            key.ptr = copy(r->c, (const char *) event.data.scalar.value, key.len);
            yaml_event_delete(&event);
            if (key.ptr == NULL) {
                return fail(r->c, line, "out of memory", "");
            }
            for (size_t i = 0; i < nodes.count; i++) {
                if (tpc_str_equal(nodes.items[i].key, key)) {
                    return fail(r->c, line, "key stands twice: ", key.ptr);
                }
            }
            snprintf(r->path + path_len, sizeof(r->path) - path_len, "%s%s",
                     path_len > 0 ? "." : "", key.ptr != NULL ? key.ptr : "");
            if (key.ptr == NULL || next(r, &event) != 0) {
                return -1;
            }
        } else {
            snprintf(r->path + path_len, sizeof(r->path) - path_len, "[%zu]", nodes.count);
        }
        int rc = line != above ? remember(r, line) : 0;
        if (rc != 0) {
            yaml_event_delete(&event);
        } else {
            rc = node(r, &event, depth + 1, line, &value);
        }
        r->path[path_len] = '\0';
        if (rc != 0 || append(r->c, &nodes, key, &value) != 0) {
            return -1;
        }
    }
    *ret = (struct tpc_value){ .type = map ? TPC_MAP : TPC_ARRAY, .len = nodes.count };
    if (map) {
        ret->as.members = nodes.items;
        return 0;
    }
    struct tpc_value *items = tpc_arena_take(r->c->arena, (nodes.count + 1) * sizeof(*items));
    if (items == NULL) {
        return fail(r->c, 0, "out of memory", "");
    }
    for (size_t i = 0; i < nodes.count; i++) {
        items[i] = nodes.items[i].value;
    }
    ret->as.items = items;
    return 0;
}

/* Takes event. */
static int node(struct reader *r, yaml_event_t *event, unsigned int depth, unsigned int above,
                struct tpc_value *ret)
{
    unsigned int line = (unsigned int) event->start_mark.line + 1;
    struct tpc_str text = { 0 };
    int rc;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        rc = expand(r->c, line, (const char *) event->data.scalar.value, event->data.scalar.length,
                    &text);
        if (rc == 0 && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
            *ret = plain(text);
        } else if (rc == 0) {
            *ret = (struct tpc_value){ .type = TPC_TEXT, .len = text.len, .as.text = text.ptr };
        }
        yaml_event_delete(event);
        return rc;
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        rc = event->type == YAML_MAPPING_START_EVENT;
        yaml_event_delete(event);
        if (depth >= CONFIG_DEPTH_MAX) {
            return fail(r->c, line, "nested too deep", "");
        }
        return children(r, rc != 0, depth, above, ret) != 0 ? -1 : secret(r->c, line, ret);
    default:
        yaml_event_delete(event);
        return fail(r->c, line, "anchors and aliases are not supported", "");
    }
}

static int read_yaml(struct config *c, const char *text, size_t len)
{
    struct reader r = { .c = c };
    yaml_event_t event;
    if (!yaml_parser_initialize(&r.parser)) {
        return fail(c, 0, "out of memory", "");
    }
    yaml_parser_set_input_string(&r.parser, (const unsigned char *) text, len);
    int rc = 0;
    for (bool done = false; rc == 0 && !done;) {
        rc = next(&r, &event);
        if (rc != 0) {
            break;
        }
        switch (event.type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            yaml_event_delete(&event);
            break;
        case YAML_STREAM_END_EVENT:
            yaml_event_delete(&event);
            done = true;
            break;
        default:
            rc = node(&r, &event, 0, 0, &c->root);
        }
    }
    yaml_parser_delete(&r.parser);
    return rc;
}

int config_read(struct config *c, const char *file)
{
    memset(c, 0, sizeof(*c));
    c->file = file;
    if (tpc_arena_create(NULL, 0, &c->arena) != 0) {
        return fail(c, 0, "out of memory", "");
    }
    size_t len = 0, name_len = strlen(file);
    char *text = read_whole(c, file, &len);
    if (text == NULL) {
        return -1;
    }
    if (name_len > 5 && strcmp(file + name_len - 5, ".json") == 0) {
        struct tpc_error err = { .size = sizeof(err) };
        if (tpc_json_parse(c->arena, (struct tpc_str){ text, len }, 0, &err, &c->root) != 0) {
            return fail(c, err.line, err.text, "");
        }
        return 0;
    }
    return read_yaml(c, text, len);
}

void config_free(struct config *c)
{
    c->arena = tpc_arena_destroy(c->arena);
    free(c->places);
    c->places = NULL;
    c->place_count = c->place_cap = 0;
}

unsigned int config_line(const struct config *c, const char *path)
{
    size_t best = 0;
    unsigned int line = 0;
    for (size_t i = 0; i < c->place_count; i++) {
        size_t len = strlen(c->places[i].path);
        char after = strncmp(c->places[i].path, path, len) == 0 ? path[len] : 'x';
        if (len >= best && (after == '\0' || after == '.' || after == '[')) {
            best = len;
            line = c->places[i].line;
        }
    }
    return line;
}

int config_without(struct config *c, const struct tpc_value *map, const char *key,
                   struct tpc_value *ret)
{
    struct nodes nodes = { 0 };
    for (size_t i = 0; i < map->len; i++) {
        const struct tpc_member *m = &map->as.members[i];
        if (!tpc_str_equal(m->key, tpc_str_from(key)) &&
            append(c, &nodes, m->key, &m->value) != 0) {
            return -1;
        }
    }
    *ret = (struct tpc_value){ .type = TPC_MAP, .len = nodes.count, .as.members = nodes.items };
    return 0;
}

int config_with(struct config *c, const struct tpc_value *map, const char *key, const char *text,
                struct tpc_value *ret)
{
    struct nodes nodes = { 0 };
    struct tpc_value v = { .type = TPC_TEXT, .len = strlen(text), .as.text = text };
    for (size_t i = 0; i < map->len; i++) {
        const struct tpc_member *m = &map->as.members[i];
        bool is_it = tpc_str_equal(m->key, tpc_str_from(key)) != 0;
        if (append(c, &nodes, m->key, is_it ? &v : &m->value) != 0) {
            return -1;
        }
    }
    *ret = (struct tpc_value){ .type = TPC_MAP, .len = nodes.count, .as.members = nodes.items };
    return 0;
}

struct tpc_str config_json(struct config *c, const struct tpc_value *v)
{
    struct tpc_buf buf = { 0 };
    tpc_json_write(v, 0, &buf);
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(c->arena, buf.cap + 1);
    if (buf.ptr == NULL || tpc_json_write(v, 0, &buf) != 0) {
        return (struct tpc_str){ 0 };
    }
    return (struct tpc_str){ (const char *) buf.ptr, buf.need };
}
