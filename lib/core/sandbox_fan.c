/* The house in which rules are tried: actions about many devices. */
#include <string.h>

#include "core/sandbox.h"
#include "registry/device.h"

struct tpi_sandbox_fan {
    struct tpi_sandbox_fan *next;
    struct tpi_fan *fan;
};

/* Devices as the core's store tells them, and their copies. */
struct found {
    struct tpi_sandbox *s;
    struct tpc_str keys[TPI_RULES_MAX_TARGETS];
    uint64_t ids[TPI_RULES_MAX_TARGETS];
    uint32_t count;
    bool more;
};

int tpi_sandbox_fan(void *user, uint32_t worker, struct tpi_fan *fan)
{
    struct tpi_sandbox *s = user;
    struct tpi_sandbox_fan *f = tpc_arena_take(s->arena, sizeof(*f));
    (void) worker;
    if (f == NULL) {
        return TPC_ENOMEM;
    }
    *f = (struct tpi_sandbox_fan){ .fan = fan };
    struct tpi_sandbox_fan **last = &s->fans;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = f;
    return 0;
}

void tpi_sandbox_fans_drop(struct tpi_sandbox *s)
{
    for (struct tpi_sandbox_fan *f = s->fans; f != NULL; f = f->next) {
        tpi_fan_drop(s->rules, f->fan);
    }
    s->fans = NULL;
}

static int on_device(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                     struct tpc_str json)
{
    struct found *f = user;
    (void) info;
    (void) json;
    if (f->count == TPI_RULES_MAX_TARGETS) {
        f->more = true;
        return 0;
    }
    char *p = tpc_arena_take(f->s->arena, key.len + 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    memcpy(p, key.ptr, key.len);
    f->keys[f->count++] = (struct tpc_str){ p, key.len };
    return 0;
}

static int find(struct found *f, const struct tpi_fan *fan)
{
    struct tpc_core *core = f->s->core;
    struct tpc_error err = { .size = sizeof(err) };
    struct tpc_entity_query q = TPC_ENTITY_QUERY_INIT;
    if (fan->group.len > 0) {
        return tpc_group_list(core, fan->tenant, fan->group, (struct tpc_str){ NULL, 0 },
                              TPI_RULES_MAX_TARGETS, on_device, f);
    }
    q.tenant = fan->tenant;
    q.kind = TPC_STR("device");
    q.select = fan->select;
    q.limit = TPI_RULES_MAX_TARGETS + 1;
    if (fan->product.len > 0) {
        q.field = TPC_STR("product");
        q.value = fan->product;
    }
    return tpi_entities_list(core->entities, &q, &err, on_device, f);
}

/* Those for which there is no room are left out. */
static int copy(struct found *f)
{
    struct tpc_error err = { .size = sizeof(err) };
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        int rc = tpi_sandbox_device(f->s, f->keys[i], &err);
        if (rc != 0 && rc != TPC_ETOOBIG) {
            return rc;
        }
        tpi_registry_read_lock(f->s->registry);
        const struct tpc_device *d = tpi_registry_find(f->s->registry, f->s->tenant, f->keys[i]);
        if (d != NULL) {
            f->ids[n++] = d->id;
        }
        tpi_registry_read_unlock(f->s->registry);
    }
    f->more |= n < f->count;
    f->count = n;
    return 0;
}

static void run(struct tpi_sandbox *s, struct tpi_fan *fan)
{
    struct found *f = tpi_alloc_zero(s->env.alloc, sizeof(*f));
    int rc = TPC_ENOMEM;
    if (f != NULL) {
        f->s = s;
        rc = find(f, fan);
        rc = rc != 0 ? rc : copy(f);
    }
    bool good = rc == 0 && f != NULL;
    tpi_fan_done(s->rules, 0, fan, rc, good ? f->ids : NULL, good ? f->count : 0, good && f->more);
    tpi_free(s->env.alloc, f, sizeof(*f));
}

bool tpi_sandbox_fans(struct tpi_sandbox *s)
{
    bool did = false;
    while (s->fans != NULL) {
        struct tpi_fan *fan = s->fans->fan;
        s->fans = s->fans->next;
        run(s, fan);
        did = true;
    }
    return did;
}
