/* Failures of one device as a JSON document, for the store. */
#include <string.h>
#include <tpcore/json.h>

#include "base/crypto.h"
#include "registry/why.h"

enum { MEMBERS = 9 };

static struct tpc_member text(const char *key, const char *ptr, size_t len)
{
    return (struct tpc_member){ tpc_str_from(key),
                                { .type = TPC_TEXT, .len = len, .as.text = ptr } };
}

static struct tpc_member number(const char *key, int64_t i)
{
    return (struct tpc_member){ tpc_str_from(key), { .type = TPC_INT, .as.i = i } };
}

int tpi_why_write(const struct tpi_why_slot *s, struct tpc_buf *buf)
{
    struct tpc_member members[TPI_WHY_ENTRIES][MEMBERS];
    struct tpc_value items[TPI_WHY_ENTRIES];
    char hex[TPI_WHY_ENTRIES][2 * TPC_WHY_PAYLOAD_BYTES + 1];
    for (uint32_t i = 0; i < s->count; i++) {
        const struct tpi_why_entry *e = &s->entries[i];
        struct tpc_member *m = members[i];
        size_t n = 0;
        tpi_hex(e->payload, e->payload_len, hex[i]);
        m[n++] = number("time", e->unix_ms);
        m[n++] = number("stage", e->stage);
        m[n++] = number("code", e->code);
        m[n++] = number("times", e->times);
        m[n++] = text("reason", e->reason, e->reason_len);
        m[n++] = text("origin", e->origin, e->origin_len);
        m[n++] = text("payload_hex", hex[i], 2 * (size_t) e->payload_len);
        m[n++] = number("payload_bytes", (int64_t) e->payload_bytes);
        items[i] = (struct tpc_value){ .type = TPC_MAP, .len = (uint32_t) n, .as.members = m };
    }
    struct tpc_member top[] = {
        text("tenant", s->tenant, s->tenant_len),
        text("device", s->device, s->device_len),
        { TPC_STR("known"), { .type = TPC_BOOL, .as.b = s->known } },
        { TPC_STR("failures"), { .type = TPC_ARRAY, .len = s->count, .as.items = items } },
    };
    struct tpc_value doc = { .type = TPC_MAP, .len = 4, .as.members = top };
    return tpc_json_write(&doc, 0, buf);
}

static uint8_t take_text(const struct tpc_value *map, struct tpc_str key, char *out, size_t cap)
{
    struct tpc_str s = tpc_value_text(tpc_value_get(map, key));
    size_t n = s.len < cap ? s.len : cap;
    if (n > 0) {
        memcpy(out, s.ptr, n);
    }
    return (uint8_t) n;
}

static int64_t take_int(const struct tpc_value *map, struct tpc_str key)
{
    int64_t i = 0;
    (void) tpc_value_int(tpc_value_get(map, key), &i);
    return i;
}

static void take_entry(const struct tpc_value *v, struct tpi_why_entry *e)
{
    struct tpc_str hex = tpc_value_text(tpc_value_get(v, TPC_STR("payload_hex")));
    memset(e, 0, sizeof(*e));
    e->unix_ms = take_int(v, TPC_STR("time"));
    e->stage = (uint8_t) take_int(v, TPC_STR("stage"));
    e->code = (int32_t) take_int(v, TPC_STR("code"));
    e->times = (uint32_t) take_int(v, TPC_STR("times"));
    e->taken = e->times;
    e->reason_len = take_text(v, TPC_STR("reason"), e->reason, sizeof(e->reason));
    e->origin_len = take_text(v, TPC_STR("origin"), e->origin, sizeof(e->origin));
    if (hex.len <= 2 * TPC_WHY_PAYLOAD_BYTES && tpi_unhex(hex.ptr, hex.len, e->payload) == 0) {
        e->payload_len = (uint8_t) (hex.len / 2);
    }
    e->payload_bytes = (uint64_t) take_int(v, TPC_STR("payload_bytes"));
}

int tpi_why_read(struct tpc_arena *arena, struct tpc_bytes doc, struct tpi_why_slot *ret)
{
    struct tpc_value v;
    struct tpc_str json = { (const char *) doc.ptr, doc.len };
    int rc = tpc_json_parse(arena, json, 0, NULL, &v);
    if (rc != 0) {
        return rc == TPC_ENOMEM ? rc : TPC_ECORRUPT;
    }
    const struct tpc_value *known = tpc_value_get(&v, TPC_STR("known"));
    const struct tpc_value *all = tpc_value_get(&v, TPC_STR("failures"));
    memset(ret, 0, sizeof(*ret));
    ret->known = known != NULL && known->type == TPC_BOOL && known->as.b;
    ret->tenant_len = take_text(&v, TPC_STR("tenant"), ret->tenant, sizeof(ret->tenant));
    ret->device_len = take_text(&v, TPC_STR("device"), ret->device, sizeof(ret->device));
    for (uint32_t i = 0;
         all != NULL && all->type == TPC_ARRAY && i < all->len && ret->count < TPI_WHY_ENTRIES;
         i++) {
        take_entry(&all->as.items[i], &ret->entries[ret->count++]);
    }
    return ret->tenant_len > 0 && ret->device_len > 0 && ret->count > 0 ? 0 : TPC_ECORRUPT;
}
