#include "sessions.h"

#include "base/alloc.h"
#include "base/crypto.h"

#include <string.h>

void udp_sessions_init(struct udp_sessions *t, const struct tpc_allocator *alloc, uint64_t seed)
{
    t->alloc = alloc;
    tpi_map_init(&t->by_device, alloc);
    tpi_map_init(&t->by_token, alloc);
    tpi_map64_init(&t->by_id, alloc);
    t->by_device.seed = t->by_token.seed = seed;
}

void udp_sessions_fini(struct udp_sessions *t)
{
    tpi_map_fini(&t->by_device);
    tpi_map_fini(&t->by_token);
    tpi_map64_fini(&t->by_id);
}

size_t udp_sessions_count(const struct udp_sessions *t)
{
    return tpi_map64_count(&t->by_id);
}

struct udp_session *udp_by_device(const struct udp_sessions *t, const char *key)
{
    return tpi_map_get(&t->by_device, key, strlen(key));
}

struct udp_session *udp_by_token(const struct udp_sessions *t, struct tpc_str token)
{
    return token.len > 0 ? tpi_map_get(&t->by_token, token.ptr, token.len) : NULL;
}

struct udp_session *udp_by_id(const struct udp_sessions *t, uint64_t id)
{
    return tpi_map64_get(&t->by_id, id);
}

struct udp_session *udp_any(const struct udp_sessions *t)
{
    size_t iter = 0;
    void *s = NULL;
    return tpi_map64_next(&t->by_id, &iter, NULL, &s) ? s : NULL;
}

int udp_session_add(struct udp_sessions *t, const struct tpc_identity *who, uint64_t id,
                    struct udp_session **ret)
{
    struct udp_session *s = tpi_alloc_zero(t->alloc, sizeof(*s));
    if (s == NULL) {
        return TPC_ENOMEM;
    }
    s->id = id;
    s->who = *who;
    int rc = tpi_map64_put(&t->by_id, id, s, NULL);
    rc = rc != 0 ? rc : tpi_map_put(&t->by_device, who->key, strlen(who->key), s, NULL);
    if (rc != 0) {
        udp_session_free(t, s);
        return rc;
    }
    *ret = s;
    return 0;
}

static void forget_token(struct udp_sessions *t, struct udp_session *s)
{
    if (s->token != NULL) {
        (void) tpi_map_remove(&t->by_token, s->token, s->token_len);
        tpi_wipe(s->token, s->token_len);
        tpi_free(t->alloc, s->token, s->token_len + 1);
        s->token = NULL;
    }
}

void udp_session_free(struct udp_sessions *t, struct udp_session *s)
{
    forget_token(t, s);
    if (udp_by_device(t, s->who.key) == s) {
        (void) tpi_map_remove(&t->by_device, s->who.key, strlen(s->who.key));
    }
    if (udp_by_id(t, s->id) == s) {
        (void) tpi_map64_remove(&t->by_id, s->id);
    }
    tpi_wipe(s, sizeof(*s));
    tpi_free(t->alloc, s, sizeof(*s));
}

void udp_session_token(struct udp_sessions *t, struct udp_session *s, struct tpc_str token)
{
    forget_token(t, s);
    s->token = tpi_str_dup(t->alloc, token);
    s->token_len = token.len;
    if (s->token != NULL && tpi_map_put(&t->by_token, token.ptr, token.len, s, NULL) != 0) {
        tpi_free(t->alloc, s->token, token.len + 1);
        s->token = NULL;
    }
}
