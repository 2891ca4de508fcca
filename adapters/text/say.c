#include "say.h"

#include <stdbool.h>
#include <string.h>
#include <tpcore/error.h>
#include <tpcore/json.h>

#include "utc.h"

int say_value(struct tpi_buf *b, const struct tpc_value *v)
{
    struct tpc_buf measure = { NULL, 0, 0 };
    int rc = tpc_json_write(v, 0, &measure);
    if (rc != 0 && rc != TPC_ETOOBIG) {
        return rc;
    }
    rc = tpi_buf_reserve(b, measure.need);
    if (rc == 0) {
        struct tpc_buf out = { b->ptr + b->len, measure.need, 0 };
        rc = tpc_json_write(v, 0, &out);
        b->len += rc == 0 ? out.need : 0;
    }
    return rc;
}

int say_quoted(struct tpi_buf *b, struct tpc_str s)
{
    struct tpc_value v = { .type = TPC_TEXT, .len = s.len };
    v.as.text = s.len > 0 ? s.ptr : "";
    return say_value(b, &v);
}

/* ,"name": unless it is the first member */
static int member(struct tpi_buf *b, const char *name)
{
    int rc = b->len > 0 && b->ptr[b->len - 1] != '{' ? tpi_buf_put(b, ",", 1) : 0;
    if (rc == 0) {
        rc = say_quoted(b, tpc_str_from(name));
    }
    return rc != 0 ? rc : tpi_buf_put(b, ":", 1);
}

static int text_member(struct tpi_buf *b, const char *name, struct tpc_str s)
{
    int rc = s.len > 0 ? member(b, name) : 0;
    return rc != 0 || s.len == 0 ? rc : say_quoted(b, s);
}

static int time_member(struct tpi_buf *b, int64_t unix_ms)
{
    char text[UTC_RFC3339_BYTES];
    utc_rfc3339(unix_ms, text);
    return text_member(b, "time", tpc_str_from(text));
}

static bool times_differ(const struct tpc_msg *m)
{
    for (uint32_t i = 0; i < m->point_count; i++) {
        const struct tpc_point *p = tpc_msg_point(m, i);
        if (p->unix_ms != 0 && p->unix_ms != m->unix_ms) {
            return true;
        }
    }
    return false;
}

/* {"key":value} */
static int values(struct tpi_buf *b, const struct tpc_msg *m)
{
    int rc = tpi_buf_put(b, "{", 1);
    for (uint32_t i = 0; rc == 0 && i < m->point_count; i++) {
        const struct tpc_point *p = tpc_msg_point(m, i);
        rc = i > 0 ? tpi_buf_put(b, ",", 1) : 0;
        if (rc == 0) {
            rc = say_quoted(b, p->key);
        }
        if (rc == 0) {
            rc = tpi_buf_put(b, ":", 1);
        }
        if (rc == 0) {
            rc = say_value(b, &p->value);
        }
    }
    return rc != 0 ? rc : tpi_buf_put(b, "}", 1);
}

/* [{"key","time","value"}] */
static int points(struct tpi_buf *b, const struct tpc_msg *m)
{
    int rc = tpi_buf_put(b, "[", 1);
    for (uint32_t i = 0; rc == 0 && i < m->point_count; i++) {
        const struct tpc_point *p = tpc_msg_point(m, i);
        rc = tpi_buf_put(b, i > 0 ? ",{" : "{", i > 0 ? 2 : 1);
        if (rc == 0) {
            rc = text_member(b, "key", p->key);
        }
        if (rc == 0) {
            rc = time_member(b, p->unix_ms != 0 ? p->unix_ms : m->unix_ms);
        }
        if (rc == 0) {
            rc = member(b, "value");
        }
        if (rc == 0) {
            rc = say_value(b, &p->value);
        }
        if (rc == 0) {
            rc = tpi_buf_put(b, "}", 1);
        }
    }
    return rc != 0 ? rc : tpi_buf_put(b, "]", 1);
}

static int content(struct tpi_buf *b, const struct tpc_msg *m)
{
    int rc = 0;
    if (m->point_count > 0) {
        bool apart = times_differ(m);
        rc = member(b, apart ? "points" : "values");
        if (rc == 0) {
            rc = apart ? points(b, m) : values(b, m);
        }
    }
    if (rc == 0 && m->params.type != TPC_NULL && (rc = member(b, "params")) == 0) {
        rc = say_value(b, &m->params);
    }
    if (rc == 0 && m->code != 0 && (rc = member(b, "code")) == 0) {
        rc = tpi_buf_printf(b, "%d", (int) m->code);
    }
    if (rc == 0 && m->raw.len > 0 && (rc = member(b, "raw")) == 0) {
        struct tpc_value raw = { .type = TPC_BLOB, .len = m->raw.len };
        raw.as.blob = m->raw.ptr;
        rc = say_value(b, &raw);
    }
    return rc;
}

int say_json(struct tpi_buf *b, const struct tpc_msg *m)
{
    char id[TPC_ID_TEXT_BYTES + 1];
    tpc_id_format(&m->id, id);
    const struct {
        const char *name;
        struct tpc_str text;
    } members[] = { { "id", tpc_str_from(id) },
                    { "tenant", m->tenant },
                    { "product", m->product },
                    { "device", m->device },
                    { "kind", tpc_str_from(tpc_kind_name(m->kind)) },
                    { "name", m->name } };
    int rc = tpi_buf_put(b, "{", 1);
    for (size_t i = 0; rc == 0 && i < sizeof(members) / sizeof(members[0]); i++) {
        rc = text_member(b, members[i].name, members[i].text);
    }
    if (rc == 0) {
        rc = time_member(b, m->unix_ms);
    }
    if (rc == 0) {
        rc = content(b, m);
    }
    return rc != 0 ? rc : tpi_buf_put(b, "}", 1);
}

struct tpc_str say_param(const struct tpc_msg *m, const char *names)
{
    while (*names != '\0') {
        size_t n = strcspn(names, "|");
        struct tpc_str s = tpc_value_text(tpc_value_get(&m->params, (struct tpc_str){ names, n }));
        if (s.len > 0) {
            return s;
        }
        names += n + (names[n] == '|');
    }
    return (struct tpc_str){ NULL, 0 };
}

int say_name(struct tpi_buf *b, const struct tpc_msg *m)
{
    int rc = tpi_buf_text(b, m->device);
    if (rc == 0) {
        rc = tpi_buf_printf(b, "%s%s", m->device.len > 0 ? ": " : "", tpc_kind_name(m->kind));
    }
    if (rc == 0 && m->name.len > 0 && (rc = tpi_buf_put(b, " ", 1)) == 0) {
        rc = tpi_buf_text(b, m->name);
    }
    return rc;
}

int say_line(struct tpi_buf *b, const struct tpc_msg *m)
{
    struct tpc_str said = say_param(m, "text|content|message|subject");
    if (said.len > 0) {
        return tpi_buf_text(b, said);
    }
    int rc = say_name(b, m);
    if (rc == 0 && m->point_count > 0 && (rc = tpi_buf_put(b, " ", 1)) == 0) {
        rc = values(b, m);
    }
    if (rc == 0 && m->params.type != TPC_NULL && (rc = tpi_buf_put(b, " ", 1)) == 0) {
        rc = say_value(b, &m->params);
    }
    return rc;
}
