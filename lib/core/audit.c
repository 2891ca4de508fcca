/* The audit trail: commands on their way into it, and reading it. */
#include <string.h>
#include <tpcore/audit.h>
#include <tpcore/json.h>

#include "core/core.h"
#include "entity/audit.h"

enum {
    MEMBERS = 12,      /* of an entry */
    PENDING_MAX = 4096 /* commands in memory: then a commit comes first */
};

/* A command that is to be told; its JSON follows. Of the pump. */
struct told {
    struct tpi_node node;
    int64_t unix_ms;
    size_t len;
};

static struct tpc_str member(const struct tpc_msg *m, const char *key)
{
    return tpc_value_text(tpc_value_get(&m->params, tpc_str_from(key)));
}

static void put_text(struct tpc_value *doc, struct tpc_member *m, const char *key,
                     struct tpc_str text)
{
    if (text.len > 0) {
        m[doc->len++] =
            (struct tpc_member){ tpc_str_from(key),
                                 { .type = TPC_TEXT, .len = text.len, .as.text = text.ptr } };
    }
}

/* "user alice" is a type and a name: see tpc_command.actor. */
static void put_actor(struct tpc_value *doc, struct tpc_member *m, struct tpc_str actor)
{
    const char *blank = actor.len > 0 ? memchr(actor.ptr, ' ', actor.len) : NULL;
    size_t type = blank != NULL ? (size_t) (blank - actor.ptr) : actor.len;
    put_text(doc, m, "actor_type", (struct tpc_str){ actor.ptr, type });
    if (blank != NULL) {
        put_text(doc, m, "actor", (struct tpc_str){ blank + 1, actor.len - type - 1 });
    }
}

static int keep(struct tpc_core *core, const struct tpc_value *doc, int64_t unix_ms)
{
    struct tpi_pump *p = &core->pump;
    struct tpc_buf size = { NULL, 0, 0 };
    (void) tpc_json_write(doc, 0, &size);
    struct told *t = tpi_alloc(core->env.alloc, sizeof(*t) + size.need);
    if (t == NULL) {
        return TPC_ENOMEM;
    }
    struct tpc_buf text = { (uint8_t *) (t + 1), size.need, 0 };
    (void) tpc_json_write(doc, 0, &text);
    t->len = size.need;
    t->unix_ms = unix_ms;
    t->node.next = NULL;
    *(p->told_last != NULL ? &p->told_last->next : &p->told_first) = &t->node;
    p->told_last = &t->node;
    p->told_count++;
    return 0;
}

int tpi_audit_command(struct tpc_core *core, const struct tpc_msg *m)
{
    struct tpc_member members[MEMBERS];
    struct tpc_value doc = { .type = TPC_MAP, .as.members = members };
    struct tpc_value params;
    char id[TPC_ID_TEXT_BYTES + 1];
    if (core->pump.told_count >= PENDING_MAX) {
        return TPC_EAGAIN;
    }
    tpi_registry_read_lock(core->registry);
    struct tpc_device *d = tpi_registry_by_id(core->registry, m->device_id);
    d = d != NULL ? tpi_device_ref(d) : NULL;
    tpi_registry_read_unlock(core->registry);
    tpc_id_format(&m->id, id);
    members[doc.len++] =
        (struct tpc_member){ TPC_STR("time"), { .type = TPC_INT, .as.i = m->unix_ms } };
    put_actor(&doc, members, member(m, "actor"));
    put_text(&doc, members, "origin", m->origin);
    put_text(&doc, members, "action", TPC_STR("command"));
    put_text(&doc, members, "kind", TPC_STR("command"));
    if (d != NULL) {
        put_text(&doc, members, "tenant", tpi_device_tenant(d));
        put_text(&doc, members, "key", d->key);
    }
    put_text(&doc, members, "id", tpc_str_from(id));
    put_text(&doc, members, "service", member(m, "service"));
    const struct tpc_value *given = tpc_value_get(&m->params, TPC_STR("params"));
    int rc = given == NULL || given->type == TPC_NULL
                 ? 0
                 : tpi_audit_mask(given, TPI_AUDIT_DOC_BYTES, core->pump.arena, &params);
    if (rc == 0 && given != NULL && given->type != TPC_NULL) {
        members[doc.len++] = (struct tpc_member){ TPC_STR("params"), params };
    }
    rc = rc != 0 ? rc : keep(core, &doc, m->unix_ms);
    tpi_device_unref(d);
    return rc;
}

/* Tells who did what with an alert: by rules and by time it goes without saying. */
int tpi_audit_alert(struct tpc_core *core, const struct tpc_msg *m)
{
    struct tpc_member members[MEMBERS];
    struct tpc_value doc = { .type = TPC_MAP, .as.members = members };
    struct tpc_str actor = member(m, "actor");
    if (actor.len == 0) {
        return 0;
    }
    if (core->pump.told_count >= PENDING_MAX) {
        return TPC_EAGAIN;
    }
    members[doc.len++] =
        (struct tpc_member){ TPC_STR("time"), { .type = TPC_INT, .as.i = m->unix_ms } };
    put_actor(&doc, members, actor);
    put_text(&doc, members, "action", member(m, "change"));
    put_text(&doc, members, "kind", TPC_STR("alert"));
    put_text(&doc, members, "tenant", member(m, "tenant"));
    put_text(&doc, members, "key", m->name);
    put_text(&doc, members, "device", member(m, "device"));
    put_text(&doc, members, "id", member(m, "id"));
    put_text(&doc, members, "comment", member(m, "comment"));
    return keep(core, &doc, m->unix_ms);
}

static void drop(struct tpc_core *core, uint32_t n)
{
    struct tpi_pump *p = &core->pump;
    while (n-- > 0 && p->told_first != NULL) {
        struct told *t = (struct told *) (void *) p->told_first;
        p->told_first = t->node.next;
        p->told_count--;
        tpi_free(core->env.alloc, t, sizeof(*t) + t->len);
    }
    p->told_last = p->told_first != NULL ? p->told_last : NULL;
}

int tpi_audit_store(struct tpc_core *core, struct tpc_error *err)
{
    int rc = 0;
    while (rc == 0 && core->pump.told_first != NULL) {
        struct tpi_audit_command commands[TPI_AUDIT_COMMANDS];
        uint32_t n = 0;
        for (struct tpi_node *at = core->pump.told_first; at != NULL && n < TPI_AUDIT_COMMANDS;
             at = at->next) {
            struct told *t = (struct told *) (void *) at;
            commands[n++] =
                (struct tpi_audit_command){ (const char *) (t + 1), t->len, t->unix_ms };
        }
        rc = tpi_entities_audit(core->entities, commands, n, err);
        drop(core, rc == 0 ? n : 0);
    }
    return rc;
}

void tpi_audit_drop(struct tpc_core *core)
{
    drop(core, UINT32_MAX);
}

int tpc_audit(struct tpc_core *core, const struct tpc_audit_query *query, tpc_audit_fn *fn,
              void *user)
{
    struct tpc_audit_query q = TPC_AUDIT_QUERY_INIT;
    if (core == NULL || fn == NULL || (query != NULL && query->size < sizeof(*query))) {
        return tpi_fail(TPC_EINVAL, "audit", "core or fn is NULL, or the query has no size");
    }
    if (query != NULL) {
        q = *query;
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    rc = tpi_entities_audit_read(core->entities, &q, err, fn, user);
    return rc == err->code ? tpi_fail_end(rc) : rc;
}
