/*
 * What a start reads again of the log was seen before by the rules of that time. A rule that has been
 * put since the states were saved does not act on what came before it: its actions would have other
 * ids than those that the log has. Whether it looks at all depends on its condition: the same one has
 * to know again what was true; another one began with the change, and without memory.
 *
 * So beside the states stands which rules they belong to: version (u8), count (varint), then id, revision
 * (varints) and hash (u32) of each.
 */
#include "base/error.h"
#include "rules/data_rule.h"
#include "rules/rules_state.h"

enum { FENCE_VERSION = 1 };

struct known {
    uint64_t id, revision;
    uint32_t hash; /* of what decides; odd: enabled */
};

static struct known known_scene(const struct tpi_scene *s)
{
    return (struct known){ s->id, s->revision, s->when << 1 | s->enabled };
}

static struct known known_data_rule(const struct tpi_data_rule *d)
{
    return (struct known){ d->id, d->revision, d->hash << 1 | d->enabled };
}

static int put(struct tpi_buf *out, struct known k)
{
    int rc = tpi_buf_varint(out, k.id);
    rc = rc != 0 ? rc : tpi_buf_varint(out, k.revision);
    return rc != 0 ? rc : tpi_buf_u32(out, k.hash);
}

int tpi_rules_known_save(struct tpi_rules *r, struct tpi_buf *out)
{
    size_t before = out->len;
    size_t iter = 0;
    void *value;
    pthread_mutex_lock(&r->workers[0].lock);
    int rc = tpi_buf_u8(out, FENCE_VERSION);
    rc = rc != 0 ? rc : tpi_buf_varint(out, r->scenes.count + r->data_rules.count);
    while (rc == 0 && tpi_map64_next(&r->scenes, &iter, NULL, &value)) {
        rc = put(out, known_scene(value));
    }
    for (iter = 0; rc == 0 && tpi_map64_next(&r->data_rules, &iter, NULL, &value);) {
        rc = put(out, known_data_rule(value));
    }
    pthread_mutex_unlock(&r->workers[0].lock);
    if (rc != 0) {
        out->len = before;
    }
    return rc;
}

static void take(struct tpi_watch *w, struct known now, struct known then)
{
    if (now.revision == then.revision) {
        w->fence_ms = INT64_MIN;
    }
    w->fence_new = now.hash != then.hash;
}

int tpi_rules_known_load(struct tpi_rules *r, struct tpc_bytes bytes, struct tpc_error *err)
{
    struct tpi_reader in;
    tpi_reader_init(&in, bytes.ptr, bytes.len);
    if (tpi_read_u8(&in) != FENCE_VERSION) {
        return tpi_error_set(err, TPC_EVERSION, "rules",
                             "a newer version wrote which rules it had");
    }
    tpi_rules_lock_all(r);
    uint64_t count = tpi_read_varint(&in);
    for (uint64_t i = 0; i < count && !in.bad; i++) {
        struct known k = { .id = tpi_read_varint(&in) };
        k.revision = tpi_read_varint(&in);
        k.hash = tpi_read_u32(&in);
        struct tpi_scene *s = in.bad ? NULL : tpi_map64_get(&r->scenes, k.id);
        struct tpi_data_rule *d = in.bad ? NULL : tpi_map64_get(&r->data_rules, k.id);
        if (s != NULL) {
            take(&s->watch, known_scene(s), k);
        }
        if (d != NULL) {
            take(&d->watch, known_data_rule(d), k);
        }
    }
    tpi_rules_unlock_all(r);
    return in.bad ? tpi_error_set(err, TPC_ECORRUPT, "rules", "damaged: which rules it had") : 0;
}

void tpi_rules_fence(struct tpi_rules *r, struct tpi_watch *w, const struct tpi_change *change)
{
    w->fence_ms = change->loading && !r->replayed ? change->modified_unix_ms : INT64_MIN;
    w->fence_new = true;
}

void tpi_rules_replayed(struct tpi_rules *r)
{
    size_t iter = 0;
    void *value;
    tpi_rules_lock_all(r);
    r->replayed = true;
    while (tpi_map64_next(&r->scenes, &iter, NULL, &value)) {
        ((struct tpi_scene *) value)->watch.fence_ms = INT64_MIN;
    }
    for (iter = 0; tpi_map64_next(&r->data_rules, &iter, NULL, &value);) {
        ((struct tpi_data_rule *) value)->watch.fence_ms = INT64_MIN;
    }
    tpi_rules_unlock_all(r);
}
