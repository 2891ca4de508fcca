#include "connection.h"

#include <stdio.h>
#include <string.h>

#include "data/member.h"

enum { ID_BYTES = 8 };

const char *mqtt_reading_text(struct mqtt_reading *r, const struct tpc_value *map, const char *name)
{
    const struct tpc_value *v = tpi_member(map, name);
    if (r->rc != 0 || v == NULL || v->type != TPC_TEXT) {
        return NULL;
    }
    if (memchr(v->as.text, '\0', v->len) != NULL) {
        r->rc = r->host->fail(r->ctx, TPC_EINVAL, "%s: has a NUL byte in it", name);
        return NULL;
    }
    char *copy = tpc_arena_take(r->arena, v->len + 1);
    if (copy == NULL) {
        r->rc = r->host->fail(r->ctx, TPC_ENOMEM, "no memory for the options");
        return NULL;
    }
    memcpy(copy, v->as.text, v->len);
    copy[v->len] = '\0';
    return copy;
}

const char *mqtt_reading_filled(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

/* "tpcore-<16 hex digits>" */
static const char *new_id(struct mqtt_reading *r)
{
    uint8_t bytes[ID_BYTES];
    char *id = tpc_arena_take(r->arena, 32);
    if (id == NULL || r->host->random->fill(r->host->random->user, bytes, sizeof(bytes)) != 0) {
        r->rc = r->host->fail(r->ctx, TPC_ENOMEM, "no memory for the options");
        return NULL;
    }
    int n = snprintf(id, 32, "tpcore-");
    for (size_t i = 0; i < sizeof(bytes); i++) {
        n += snprintf(id + n, 32 - (size_t) n, "%02x", bytes[i]);
    }
    return id;
}

void mqtt_connection_read(struct mqtt_reading *r, const struct tpc_value *cfg,
                          struct mqtt_client_config *ret)
{
    const struct tpc_value *tls = tpi_member(cfg, "tls");
    struct mqtt_client_config *c = ret;
    c->url = mqtt_reading_text(r, cfg, "url");
    c->user = mqtt_reading_text(r, cfg, "user");
    c->password = mqtt_reading_text(r, cfg, "password");
    c->client_id = mqtt_reading_text(r, cfg, "client_id");
    c->ca = mqtt_reading_text(r, tls, "ca");
    c->cert = mqtt_reading_text(r, tls, "cert");
    c->key = mqtt_reading_text(r, tls, "key");
    c->verify = tpi_member_bool(tls, "verify", true);
    c->clean_start = tpi_member_bool(cfg, "clean_start", true);
    c->version = (uint32_t) tpi_member_int(cfg, "version", 0);
    /* A session that nobody will ask for again is not kept. */
    c->session_expiry_s =
        c->clean_start ? 0 : (uint32_t) (tpi_member_int(cfg, "session_expiry", 0) / 1000);
    c->keep_alive_s = (uint32_t) (tpi_member_int(cfg, "keep_alive", 0) / 1000);
    c->max_inflight = (uint32_t) tpi_member_int(cfg, "max_inflight", 0);
    c->retry_min_ms = (uint32_t) tpi_member_int(cfg, "retry_min", 0);
    c->retry_max_ms = (uint32_t) tpi_member_int(cfg, "retry_max", 0);
    if (r->rc == 0 && c->client_id == NULL && !c->clean_start) {
        r->rc = r->host->fail(r->ctx, TPC_EINVAL,
                              "client_id: without clean_start a fixed one is needed");
    } else if (r->rc == 0 && c->retry_max_ms < c->retry_min_ms) {
        r->rc = r->host->fail(r->ctx, TPC_EINVAL, "retry_max: is less than retry_min");
    } else if (r->rc == 0 && c->client_id == NULL) {
        c->client_id = new_id(r);
    }
}
