#include "peers.h"

#include "base/alloc.h"

#include <string.h>

int mqtt_peers_init(struct mqtt_peers *t, const struct tpc_allocator *alloc, uint32_t limit,
                    uint64_t seed)
{
    memset(t, 0, sizeof(*t));
    t->alloc = alloc;
    t->limit = limit;
    tpi_map_init(&t->by_key, alloc);
    t->by_key.seed = seed;
    tpi_map64_init(&t->by_session, alloc);
    return pthread_mutex_init(&t->lock, NULL) == 0 ? 0 : TPC_ENOMEM;
}

static size_t peer_size(const struct mqtt_peer *p)
{
    return sizeof(*p) + p->product_len + 1 + p->device_len;
}

void mqtt_peers_fini(struct mqtt_peers *t)
{
    while (t->first != NULL) {
        struct mqtt_peer *p = t->first;
        t->first = p->next;
        tpi_free(t->alloc, p, peer_size(p));
    }
    tpi_map_fini(&t->by_key);
    tpi_map64_fini(&t->by_session);
    pthread_mutex_destroy(&t->lock);
}

/* Length of the key, or 0 if it is too long. */
static size_t make_key(const struct mqtt_address *a, char ret[MQTT_PEER_KEY_MAX])
{
    size_t len = a->product.len + 1 + a->device.len;
    if (len > MQTT_PEER_KEY_MAX) {
        return 0;
    }
    if (a->product.len > 0) {
        memcpy(ret, a->product.ptr, a->product.len);
    }
    ret[a->product.len] = '\0';
    memcpy(ret + a->product.len + 1, a->device.ptr, a->device.len);
    return len;
}

struct mqtt_peer *mqtt_peers_find(struct mqtt_peers *t, const struct mqtt_address *a,
                                  uint64_t *ret_session)
{
    char key[MQTT_PEER_KEY_MAX];
    size_t len = make_key(a, key);
    pthread_mutex_lock(&t->lock);
    struct mqtt_peer *p = len > 0 ? tpi_map_get(&t->by_key, key, len) : NULL;
    *ret_session = p != NULL ? p->session : 0;
    if (p != NULL) {
        p->dialect = a->dialect;
        p->custom = a->custom;
    }
    pthread_mutex_unlock(&t->lock);
    return p;
}

uint64_t mqtt_peers_session(struct mqtt_peers *t, const struct mqtt_peer *p)
{
    pthread_mutex_lock(&t->lock);
    uint64_t session = p->session;
    pthread_mutex_unlock(&t->lock);
    return session;
}

/* Under the lock. */
static int set_session(struct mqtt_peers *t, struct mqtt_peer *p, uint64_t session)
{
    int rc = session != 0 ? tpi_map64_put(&t->by_session, session, p, NULL) : 0;
    if (rc == 0) {
        if (p->session != 0 && p->session != session) {
            tpi_map64_remove(&t->by_session, p->session);
        }
        p->session = session;
    }
    return rc;
}

int mqtt_peers_put(struct mqtt_peers *t, const struct mqtt_address *a, uint64_t session)
{
    char key[MQTT_PEER_KEY_MAX];
    size_t len = make_key(a, key);
    pthread_mutex_lock(&t->lock);
    struct mqtt_peer *p = len > 0 ? tpi_map_get(&t->by_key, key, len) : NULL;
    bool made = p == NULL;
    int rc = made && (len == 0 || tpi_map_count(&t->by_key) >= t->limit) ? TPC_EAGAIN : 0;
    if (rc == 0 && made) {
        p = tpi_alloc_zero(t->alloc, sizeof(*p) + len);
        rc = p != NULL ? 0 : TPC_ENOMEM;
        if (rc == 0) {
            p->product_len = a->product.len;
            p->device_len = a->device.len;
            memcpy(p->key, key, len);
            rc = tpi_map_put(&t->by_key, key, len, p, NULL);
        }
    }
    if (rc == 0) {
        p->dialect = a->dialect;
        p->custom = a->custom;
        rc = set_session(t, p, session);
        if (rc != 0 && made) {
            tpi_map_remove(&t->by_key, key, len);
        }
    }
    if (rc != 0 && made && p != NULL) {
        tpi_free(t->alloc, p, peer_size(p));
    } else if (rc == 0 && made) {
        *(t->last != NULL ? &t->last->next : &t->first) = p;
        t->last = p;
    }
    pthread_mutex_unlock(&t->lock);
    return rc;
}

int mqtt_peers_set(struct mqtt_peers *t, struct mqtt_peer *p, uint64_t session)
{
    pthread_mutex_lock(&t->lock);
    int rc = set_session(t, p, session);
    pthread_mutex_unlock(&t->lock);
    return rc;
}

bool mqtt_peers_forget(struct mqtt_peers *t, uint64_t session)
{
    pthread_mutex_lock(&t->lock);
    struct mqtt_peer *p = tpi_map64_get(&t->by_session, session);
    if (p != NULL) {
        set_session(t, p, 0);
    }
    pthread_mutex_unlock(&t->lock);
    return p != NULL;
}

enum mqtt_dialect mqtt_peers_dialect(struct mqtt_peers *t, uint64_t session, uint32_t *ret_custom)
{
    enum mqtt_dialect dialect = 0;
    pthread_mutex_lock(&t->lock);
    const struct mqtt_peer *p = tpi_map64_get(&t->by_session, session);
    if (p != NULL) {
        dialect = p->dialect;
        *ret_custom = p->custom;
    }
    pthread_mutex_unlock(&t->lock);
    return dialect;
}

void mqtt_peers_each(struct mqtt_peers *t, mqtt_peer_fn *fn, void *user)
{
    pthread_mutex_lock(&t->lock);
    struct mqtt_peer *p = t->first;
    while (p != NULL) {
        uint64_t session = p->session;
        pthread_mutex_unlock(&t->lock);
        if (fn(user, p, session) != 0) {
            return;
        }
        pthread_mutex_lock(&t->lock);
        p = p->next;
    }
    pthread_mutex_unlock(&t->lock);
}

struct tpc_str mqtt_peer_product(const struct mqtt_peer *p)
{
    return (struct tpc_str){ p->key, p->product_len };
}

struct tpc_str mqtt_peer_device(const struct mqtt_peer *p)
{
    return (struct tpc_str){ p->key + p->product_len + 1, p->device_len };
}
