/* Kinds "service" and "access_point": ThingsPanel's connectivity services and the accounts that
 * services of third parties use. What they mean is the module thingspanel_platform's business; the
 * registry knows where a service hears its devices' commands. */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "data/member.h"
#include "registry/inside.h"

static const struct tpc_option service_schema[] = {
    { .name = "name",
      .type = TPC_OPT_TEXT,
      .max = 256,
      .since = "0.1",
      .help = "Name for people." },
    { .name = "type",
      .type = TPC_OPT_INT,
      .def = "1",
      .min = 1,
      .max = 2,
      .since = "0.1",
      .help = "1 = it speaks a protocol, 2 = it stands before a third party's platform." },
    { .name = "http_address",
      .type = TPC_OPT_TEXT,
      .max = 256,
      .since = "0.1",
      .help = "host:port that it is called at; absent = it is not called." },
    { .name = "device_type",
      .type = TPC_OPT_INT,
      .min = 1,
      .max = 2,
      .since = "0.1",
      .help = "Of type 1: 1 = direct devices, 2 = gateways and what is behind them." },
    { .name = "sub_topic_prefix",
      .type = TPC_OPT_TEXT,
      .max = TPI_SERVICE_PREFIX_BYTES,
      .since = "0.1",
      .help = "What stands before the topics of its devices' commands, with the / at its end. "
              "Absent: plugin/{key}/." },
    { .name = "access_address",
      .type = TPC_OPT_TEXT,
      .max = 256,
      .since = "0.1",
      .help = "Where devices connect to it, for people." },
    { .name = "version",
      .type = TPC_OPT_TEXT,
      .max = 64,
      .since = "0.1",
      .help = "Its version, for people." },
    { .name = "description",
      .type = TPC_OPT_TEXT,
      .max = 4096,
      .since = "0.1",
      .help = "Text for people." },
};

static const struct tpc_option point_schema[] = {
    { .name = "service",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED | TPC_OPT_INDEXED | TPC_OPT_KEY,
      .since = "0.1",
      .help = "Key of the service, in the same tenant." },
    { .name = "name",
      .type = TPC_OPT_TEXT,
      .max = 256,
      .since = "0.1",
      .help = "Name for people." },
    { .name = "voucher",
      .type = TPC_OPT_SECRET,
      .max = 4096,
      .since = "0.1",
      .help = "What the service logs in with there: a JSON object as text, of its form SVCR." },
    { .name = "description",
      .type = TPC_OPT_TEXT,
      .max = 4096,
      .since = "0.1",
      .help = "Text for people." },
    { .name = "remark", .type = TPC_OPT_TEXT, .max = 4096, .since = "0.1", .help = "More of it." },
    { .name = "config",
      .type = TPC_OPT_ANY,
      .since = "0.1",
      .help = "Any object, for the service." },
};

/* An entry of the tables of services and of access points. */
struct tpi_panel_entry {
    size_t bytes;
    bool live;             /* stored */
    struct tpc_str prefix; /* of a service; behind this struct */
};

struct panel_change {
    struct tpi_panel_entry *old;
    struct tpi_panel_entry *fresh;
};

enum { ENTRY_KEY_BYTES = 8 + 128 };

static size_t entry_key(uint64_t tenant, struct tpc_str key, char out[ENTRY_KEY_BYTES])
{
    size_t n = key.len < ENTRY_KEY_BYTES - 8 ? key.len : ENTRY_KEY_BYTES - 8;
    memcpy(out, &tenant, 8);
    if (n > 0) {
        memcpy(out + 8, key.ptr, n);
    }
    return 8 + n;
}

static void free_entry(struct tpi_registry *r, struct tpi_panel_entry *e)
{
    if (e != NULL) {
        tpi_free(r->env->alloc, e, e->bytes);
    }
}

/* prefix = head + name + tail. */
static struct tpi_panel_entry *make_entry(struct tpi_registry *r, struct tpc_str head,
                                          struct tpc_str name, struct tpc_str tail)
{
    size_t bytes = sizeof(struct tpi_panel_entry) + head.len + name.len + tail.len + 1;
    struct tpi_panel_entry *e = tpi_alloc_zero(r->env->alloc, bytes);
    if (e == NULL) {
        return NULL;
    }
    char *at = (char *) (e + 1);
    const struct tpc_str parts[] = { head, name, tail };
    e->bytes = bytes;
    e->prefix.ptr = at;
    for (size_t i = 0; i < 3; i++) {
        if (parts[i].len > 0) {
            memcpy(at, parts[i].ptr, parts[i].len);
            at += parts[i].len;
        }
    }
    e->prefix.len = (size_t) (at - e->prefix.ptr);
    return e;
}

/* Takes fresh, which may be NULL for want of memory. */
static int prepare_entry(struct tpi_registry *r, struct tpi_map *map, struct tpi_change *change,
                         struct tpi_panel_entry *fresh, struct tpc_error *err)
{
    char key[ENTRY_KEY_BYTES];
    size_t n = entry_key(change->tenant, change->key, key);
    struct panel_change *c = tpc_arena_take(change->arena, sizeof(*c));
    int rc = c != NULL && fresh != NULL ? 0 : TPC_ENOMEM;
    if (rc == 0) {
        *c = (struct panel_change){ .old = tpi_map_get(map, key, n), .fresh = fresh };
        if (c->old == NULL) {
            pthread_rwlock_wrlock(&r->lock);
            rc = tpi_map_put(map, key, n, fresh, NULL);
            pthread_rwlock_unlock(&r->lock);
        }
        change->prepared = c;
    }
    if (rc != 0) {
        free_entry(r, fresh);
        return tpi_registry_no_memory(err);
    }
    return 0;
}

static int prepare_gone(struct tpi_map *map, struct tpi_change *change, const char *kind,
                        const char *field, struct tpc_error *err)
{
    char key[ENTRY_KEY_BYTES];
    bool used = false;
    struct panel_change *c = tpc_arena_take(change->arena, sizeof(*c));
    if (c == NULL) {
        return tpi_registry_no_memory(err);
    }
    *c = (struct panel_change){ .old = NULL };
    c->old = tpi_map_get(map, key, entry_key(change->tenant, change->key, key));
    change->prepared = c;
    if (change->loading) {
        return 0;
    }
    int rc = tpi_change_find(change, tpc_str_from(kind),
                             (struct tpc_field){ tpc_str_from(field), change->key }, &used);
    if (rc != 0) {
        return tpi_error_set(err, rc, tpi_registry_origin, "what uses it cannot be looked up");
    }
    return used ? tpi_error_set(err, TPC_ESTATE, tpi_registry_origin, "a %s is of it", kind) : 0;
}

static void apply_entry(struct tpi_registry *r, struct tpi_map *map, struct tpi_change *change)
{
    struct panel_change *c = change->prepared;
    char key[ENTRY_KEY_BYTES];
    size_t n = entry_key(change->tenant, change->key, key);
    TPI_METRIC_ADD(r->counters.changes, 1);
    pthread_rwlock_wrlock(&r->lock);
    if (change->deleted) {
        (void) tpi_map_remove(map, key, n);
    } else {
        (void) tpi_map_put(map, key, n, c->fresh, NULL); /* replaces: no memory */
        c->fresh->live = true;
    }
    pthread_rwlock_unlock(&r->lock);
    free_entry(r, c->old);
}

static void discard_entry(struct tpi_registry *r, struct tpi_map *map, struct tpi_change *change)
{
    struct panel_change *c = change->prepared;
    char key[ENTRY_KEY_BYTES];
    if (c == NULL || c->fresh == NULL) {
        return;
    }
    if (c->old == NULL) {
        pthread_rwlock_wrlock(&r->lock);
        (void) tpi_map_remove(map, key, entry_key(change->tenant, change->key, key));
        pthread_rwlock_unlock(&r->lock);
    }
    free_entry(r, c->fresh);
}

/* ---- services ---- */

static bool builtin_protocol(struct tpc_str key)
{
    return tpc_str_equal(key, TPC_STR("MQTT")) || tpc_str_equal(key, TPC_STR("mqtt"));
}

/* host:port, so that nobody gives a URL with a path. */
static bool address_valid(struct tpc_str s)
{
    bool colon = false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char) s.ptr[i];
        if (c <= ' ' || c >= 0x7f || strchr("/\\?#@\"", c) != NULL) {
            return false;
        }
        colon |= c == ':';
    }
    return s.len == 0 || (colon && s.ptr[s.len - 1] != ':' && s.ptr[0] != ':');
}

static bool prefix_valid(struct tpc_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char) s.ptr[i];
        if (c < ' ' || c == '+' || c == '#') {
            return false;
        }
    }
    return s.len > 0 && s.len <= TPI_SERVICE_PREFIX_BYTES;
}

static int refuse(struct tpc_error *err, const char *member, const char *text)
{
    tpi_error_set(err, TPC_EINVAL, tpi_registry_origin, "%s", text);
    tpi_error_at(err, member);
    return TPC_EINVAL;
}

static int service_prepare(void *user, struct tpi_change *change, struct tpc_error *err)
{
    static const struct tpc_str none = { "", 0 };
    struct tpi_registry *r = user;
    if (change->deleted) {
        return prepare_gone(&r->services, change, "access_point", "service", err);
    }
    if (builtin_protocol(change->key)) {
        return refuse(err, "key", "is the platform's own protocol");
    }
    if (!address_valid(tpi_member_text(change->doc, "http_address"))) {
        return refuse(err, "http_address", "is host:port");
    }
    struct tpc_str prefix = tpi_member_text(change->doc, "sub_topic_prefix");
    struct tpi_panel_entry *fresh =
        prefix.len > 0 ? make_entry(r, prefix, none, none)
                       : make_entry(r, TPC_STR("plugin/"), change->key, TPC_STR("/"));
    if (fresh != NULL && !prefix_valid(fresh->prefix)) {
        free_entry(r, fresh);
        return refuse(err, "sub_topic_prefix", "is a topic without + and #");
    }
    return prepare_entry(r, &r->services, change, fresh, err);
}

static void service_apply(void *user, struct tpi_change *change)
{
    struct tpi_registry *r = user;
    apply_entry(r, &r->services, change);
}

static void service_discard(void *user, struct tpi_change *change)
{
    struct tpi_registry *r = user;
    discard_entry(r, &r->services, change);
}

/* ---- access points ---- */

static int point_prepare(void *user, struct tpi_change *change, struct tpc_error *err)
{
    static const struct tpc_str none = { "", 0 };
    struct tpi_registry *r = user;
    char key[ENTRY_KEY_BYTES];
    if (change->deleted) {
        return prepare_gone(&r->points, change, "device", "access_point", err);
    }
    struct tpc_str service = tpi_member_text(change->doc, "service");
    if (tpi_map_get(&r->services, key, entry_key(change->tenant, service, key)) == NULL) {
        tpi_error_set(err, TPC_ENOENT, tpi_registry_origin, "there is no service \"%.*s\"",
                      (int) service.len, service.ptr);
        tpi_error_at(err, "service");
        return TPC_ENOENT;
    }
    return prepare_entry(r, &r->points, change, make_entry(r, none, none, none), err);
}

static void point_apply(void *user, struct tpi_change *change)
{
    struct tpi_registry *r = user;
    apply_entry(r, &r->points, change);
}

static void point_discard(void *user, struct tpi_change *change)
{
    struct tpi_registry *r = user;
    discard_entry(r, &r->points, change);
}

/* ---- for others ---- */

bool tpi_registry_has_point(const struct tpi_registry *r, uint64_t tenant, struct tpc_str key)
{
    char text[ENTRY_KEY_BYTES];
    return tpi_map_get(&r->points, text, entry_key(tenant, key, text)) != NULL;
}

struct tpc_str tpi_registry_topic_prefix(const struct tpi_registry *r, const struct tpi_product *p)
{
    static const struct tpc_str none = { "", 0 };
    char key[ENTRY_KEY_BYTES];
    if (p->protocol.len == 0 || tpi_map_count(&r->services) == 0) {
        return none;
    }
    const struct tpi_panel_entry *e =
        tpi_map_get(&r->services, key, entry_key(p->tenant_id, p->protocol, key));
    return e != NULL && e->live ? e->prefix : none;
}

static void free_table(struct tpi_registry *r, struct tpi_map *map)
{
    size_t iter = 0;
    void *e;
    while (tpi_map_next(map, &iter, NULL, &e)) {
        free_entry(r, e);
    }
    tpi_map_fini(map);
}

void tpi_registry_free_panel(struct tpi_registry *r)
{
    free_table(r, &r->services);
    free_table(r, &r->points);
}

void tpi_registry_panel_kinds(struct tpi_registry *r, struct tpi_kind *service,
                              struct tpi_kind *point)
{
    tpi_map_init(&r->services, r->env->alloc);
    tpi_map_init(&r->points, r->env->alloc);
    *service = (struct tpi_kind){ .name = "service",
                                  .version = 1,
                                  .schema = TPC_OPTIONS(service_schema),
                                  .prepare = service_prepare,
                                  .apply = service_apply,
                                  .discard = service_discard,
                                  .user = r };
    *point = (struct tpi_kind){ .name = "access_point",
                                .version = 1,
                                .schema = TPC_OPTIONS(point_schema),
                                .prepare = point_prepare,
                                .apply = point_apply,
                                .discard = point_discard,
                                .user = r };
}
