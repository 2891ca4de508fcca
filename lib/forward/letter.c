/* What the other side refuses for good: a dead letter with the message as JSON and the reason. */
#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/alloc.h"
#include "base/error.h"
#include "forward/inside.h"

enum { MEMBERS = 16, ARENA_BYTES = 64 << 20 };

struct members {
    struct tpc_member *items;
    size_t n;
};

static void put(struct members *m, const char *key, struct tpc_value value)
{
    m->items[m->n].key = tpc_str_from(key);
    m->items[m->n++].value = value;
}

static void put_text(struct members *m, const char *key, struct tpc_str text)
{
    if (text.len > 0) {
        put(m, key, (struct tpc_value){ .type = TPC_TEXT, .len = text.len, .as.text = text.ptr });
    }
}

static void put_int(struct members *m, const char *key, int64_t i)
{
    put(m, key, (struct tpc_value){ .type = TPC_INT, .as.i = i });
}

static struct tpc_value as_map(const struct members *m)
{
    return (struct tpc_value){ .type = TPC_MAP, .len = m->n, .as.members = m->items };
}

static int members_init(struct members *m, struct tpc_arena *arena, size_t count)
{
    m->items = tpc_arena_take(arena, count * sizeof(m->items[0]));
    m->n = 0;
    if (m->items != NULL) {
        memset(m->items, 0, count * sizeof(m->items[0]));
    }
    return m->items != NULL ? 0 : TPC_ENOMEM;
}

int fwd_msg_tree(const struct tpc_msg *m, bool whole, struct tpc_arena *arena,
                 struct tpc_value *ret)
{
    struct members out, values;
    if (members_init(&out, arena, MEMBERS) != 0 ||
        members_init(&values, arena, m->point_count + 1) != 0) {
        return TPC_ENOMEM;
    }
    put_text(&out, "kind", tpc_str_from(tpc_kind_name(m->kind)));
    put_text(&out, "name", m->name);
    put_int(&out, "unix_ms", m->unix_ms);
    if (whole) {
        put_text(&out, "tenant", m->tenant);
        put_text(&out, "product", m->product);
        put_text(&out, "device", m->device);
    }
    for (uint32_t i = 0; i < m->point_count; i++) {
        const struct tpc_point *p = tpc_msg_point(m, i);
        values.items[values.n].key = p->key;
        values.items[values.n++].value = p->value;
    }
    if (values.n > 0) {
        put(&out, "values", as_map(&values));
    }
    if (m->params.type != TPC_NULL) {
        put(&out, "params", m->params);
    }
    *ret = as_map(&out);
    return 0;
}

/* {"kind","name","unix_ms","values":{..},"params":..} as text. */
static int as_json(const struct tpc_msg *m, struct tpc_arena *arena, struct tpc_bytes *ret)
{
    struct tpc_value doc;
    if (fwd_msg_tree(m, false, arena, &doc) != 0) {
        return TPC_ENOMEM;
    }
    struct tpc_buf buf = { NULL, 0, 0 };
    int rc = tpc_json_write(&doc, 0, &buf);
    if (rc != 0 && rc != TPC_ETOOBIG) {
        return rc;
    }
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(arena, buf.cap + 1);
    rc = buf.ptr != NULL ? tpc_json_write(&doc, 0, &buf) : TPC_ENOMEM;
    if (rc == 0) {
        *ret = (struct tpc_bytes){ buf.ptr, buf.need };
    }
    return rc;
}

static int append(struct fwd_target *t, const struct tpc_msg *m, const struct tpc_error *why,
                  struct tpc_arena *arena, struct tpc_error *err)
{
    struct tpi_forward *f = t->f;
    const struct fwd_config *c = t->config;
    struct members p;
    struct tpc_bytes raw = { NULL, 0 };
    int rc = members_init(&p, arena, MEMBERS);
    rc = rc != 0 ? rc : as_json(m, arena, &raw);
    if (rc == TPC_ENOMEM) {
        return tpi_error_set(err, rc, "forward", "out of memory");
    }
    put_int(&p, "code", why->code);
    put_text(&p, "reason", tpc_str_from(why->text));
    put_text(&p, "origin", c->sink);
    put_text(&p, "target", c->name);
    put_text(&p, "tenant", m->tenant);
    put_text(&p, "product", m->product);
    put_text(&p, "device", m->device);
    put_text(&p, "name", m->name);
    put_int(&p, "record_partition", m->partition);
    put_int(&p, "record_offset", (int64_t) m->offset);
    struct tpc_msg letter = { .size = sizeof(letter),
                              .kind = TPC_MSG_DEAD_LETTER,
                              .partition = m->partition,
                              .device_id = m->device_id,
                              .unix_ms = tpi_unix_ms(f->env),
                              .origin = c->sink,
                              .code = why->code,
                              .point_size = sizeof(struct tpc_point),
                              .params = as_map(&p),
                              .raw = raw };
    letter.received_unix_ms = letter.unix_ms;
    rc = f->host.dead(f->host.user, &letter, err);
    if (rc == TPC_ETOOBIG) { /* the reason alone; the record says the rest */
        letter.raw = (struct tpc_bytes){ NULL, 0 };
        rc = f->host.dead(f->host.user, &letter, err);
    }
    return rc;
}

int fwd_bury(struct fwd_target *t, const struct tpc_msg *m, const struct tpc_error *why,
             struct tpc_error *err)
{
    struct tpc_arena *arena;
    int rc = tpc_arena_create(t->f->env->alloc, ARENA_BYTES, &arena);
    if (rc != 0) {
        return tpi_error_set(err, rc, "forward", "out of memory");
    }
    rc = append(t, m, why, arena, err);
    tpc_arena_destroy(arena);
    if (rc == 0) {
        fwd_count(&t->counts.dead, &t->f->counters.dead, 1);
        tpi_log(t->f->env, TPC_LOG_WARN, "forward",
                "%s: a message of %.*s is a dead letter: %s (%s)", t->config->name.ptr,
                (int) m->device.len, m->device.len > 0 ? m->device.ptr : "", why->text,
                tpc_error_name(why->code));
    }
    return rc;
}
