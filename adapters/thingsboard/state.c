/*
 * What has to survive a restart, as a JSON file that only its owner may read:
 * {"renamed":{},"deleted":[],"credentials":{"type","token","client_id","user","password"}}
 */
#include "inside.h"

#include "../file/whole.h"
#include "../text/say.h"

#include <string.h>
#include <tpcore/json.h>

#include "data/member.h"

enum { STATE_MAX = 64 << 20 };

/* ---- saving ---- */

static int say_text(struct tpi_buf *b, const char *name, const char *text)
{
    int rc = tpi_buf_printf(b, ",\"%s\":", name);
    return rc != 0 ? rc : say_quoted(b, tpc_str_from(text));
}

static int say_credentials(struct tb *s, struct tpi_buf *b)
{
    const struct mqtt_client_config *c = &s->config.client;
    int rc = tpi_buf_printf(b, ",\"credentials\":{\"kept\":true");
    rc = rc != 0 || c->user == NULL ? rc : say_text(b, "user", c->user);
    rc = rc != 0 || c->password == NULL ? rc : say_text(b, "password", c->password);
    rc = rc != 0 || c->client_id == NULL ? rc : say_text(b, "client_id", c->client_id);
    return rc != 0 ? rc : tpi_buf_put(b, "}", 1);
}

void tb_state_save(struct tb *s)
{
    struct tpi_buf b;
    int native = 0;
    if (s->config.state == NULL) {
        return;
    }
    tpi_buf_init(&b, s->host->allocator, 0);
    pthread_mutex_lock(&s->lock);
    int rc = tpi_buf_put(&b, "{", 1);
    rc = rc != 0 ? rc : tb_devices_save(&s->devices, &b);
    rc = rc != 0 || !s->has_credentials ? rc : say_credentials(s, &b);
    pthread_mutex_unlock(&s->lock);
    rc = rc != 0 ? rc : tpi_buf_put(&b, "}\n", 2);
    rc = rc != 0 ? rc : whole_replace(s->host->files, s->config.state, &b, &native);
    if (rc != 0) {
        s->host->count(s->ctx, "state_failed", 1);
        s->host->log(s->ctx, TPC_LOG_ERROR, "%s cannot be written: %s (errno %d)", s->config.state,
                     tpc_error_name(rc), native);
    }
    tpi_buf_fini(&b);
}

/* A copy with a NUL that lives as long as the options. */
static const char *own_text(struct tb *s, struct tpc_str text)
{
    char *copy = text.len > 0 ? tpc_arena_take(s->arena, text.len + 1) : NULL;
    if (copy != NULL) {
        memcpy(copy, text.ptr, text.len);
        copy[text.len] = '\0';
    }
    return copy;
}

static void use(struct tb *s, struct tpc_str user, struct tpc_str password,
                struct tpc_str client_id)
{
    s->config.client.user = own_text(s, user);
    s->config.client.password = own_text(s, password);
    const char *id = own_text(s, client_id);
    if (id != NULL) {
        s->config.client.client_id = id;
    }
    s->has_credentials = true;
}

static int read_state(struct tb *s, struct tpc_str text)
{
    struct tpc_arena *arena = NULL;
    struct tpc_value doc;
    struct tpc_error err = { .size = sizeof(err) };
    int rc = tpc_arena_create(s->host->allocator, 0, &arena);
    if (rc != 0) {
        return s->host->fail(s->ctx, rc, "no memory for the state");
    }
    rc = tpc_json_parse(arena, text, TPC_JSON_ALLOW_DUPLICATES, &err, &doc);
    if (rc == 0 && doc.type == TPC_MAP) {
        const struct tpc_value *c = tpi_member(&doc, "credentials");
        rc = tb_devices_load(&s->devices, &doc);
        if (c != NULL && s->config.provision) {
            use(s, tpi_member_text(c, "user"), tpi_member_text(c, "password"),
                tpi_member_text(c, "client_id"));
        }
    } else if (rc != TPC_ENOMEM) {
        rc = TPC_ECORRUPT;
    }
    tpc_arena_destroy(arena);
    return rc == 0 ? 0
                   : s->host->fail(s->ctx, rc, "%s cannot be used: %s", s->config.state, err.text);
}

int tb_state_load(struct tb *s)
{
    struct tpi_buf b;
    if (s->config.state == NULL) {
        return 0;
    }
    tpi_buf_init(&b, s->host->allocator, 0);
    int rc = whole_read(s->host->files, s->config.state, STATE_MAX, &b);
    if (rc == TPC_ENOENT) {
        rc = 0;
    } else if (rc != 0) {
        rc = s->host->fail(s->ctx, rc, "%s cannot be read", s->config.state);
    } else {
        rc = read_state(s, (struct tpc_str){ (const char *) b.ptr, b.len });
    }
    tpi_buf_fini(&b);
    return rc;
}

/* ---- credentials ---- */

/* The certificate that we shall be known by. */
static int say_certificate(struct tb *s, struct tpi_buf *b)
{
    struct tpi_buf pem;
    if (s->config.client.cert == NULL) {
        return TPC_EINVAL;
    }
    tpi_buf_init(&pem, s->host->allocator, 0);
    int rc = whole_read(s->host->files, s->config.client.cert, STATE_MAX, &pem);
    rc = rc != 0 ? rc : tpi_buf_printf(b, ",\"hash\":");
    rc = rc != 0 ? rc : say_quoted(b, (struct tpc_str){ (const char *) pem.ptr, pem.len });
    tpi_buf_fini(&pem);
    return rc;
}

int tb_state_ask(struct tb *s, struct tpi_buf *b)
{
    const struct tb_config *c = &s->config;
    const char *type = tpc_str_equal(c->provision_type, TPC_STR("x509")) != 0 ? "X509_CERTIFICATE"
                       : tpc_str_equal(c->provision_type, TPC_STR("basic")) != 0 ? "MQTT_BASIC"
                                                                                 : "ACCESS_TOKEN";
    int rc = tpi_buf_printf(b, "{\"provisionDeviceKey\":");
    rc = rc != 0 ? rc : say_quoted(b, c->provision_key);
    rc = rc != 0 ? rc : tpi_buf_printf(b, ",\"provisionDeviceSecret\":");
    rc = rc != 0 ? rc : say_quoted(b, c->provision_secret);
    if (c->provision_name.len > 0) {
        rc = rc != 0 ? rc : tpi_buf_printf(b, ",\"deviceName\":");
        rc = rc != 0 ? rc : say_quoted(b, c->provision_name);
    }
    if (type[0] == 'X' && rc == 0) {
        rc = say_certificate(s, b);
    } else if (type[0] == 'M') {
        rc = rc != 0 ? rc : say_text(b, "clientId", c->client.client_id);
    }
    /* A token, or user and password, are the server's to make. */
    return rc != 0 ? rc
                   : tpi_buf_printf(b, ",\"credentialsType\":\"%s\",\"gateway\":%s}", type,
                                    c->device_mode ? "false" : "true");
}

void tb_state_provisioned(struct tb *s, const struct tpc_value *values)
{
    struct tb_credentials c;
    struct tpc_str reason;
    if (!s->config.provision || s->has_credentials) {
        return;
    }
    if (tb_down_credentials(values, &c, &reason) != 0) {
        s->host->count(s->ctx, "provision_refused", 1);
        s->host->log(s->ctx, TPC_LOG_ERROR, "the server grants no credentials: %.*s",
                     (int) (reason.len < 200 ? reason.len : 200), reason.ptr);
        return;
    }
    pthread_mutex_lock(&s->lock);
    use(s, c.token.len > 0 ? c.token : c.user, c.password, c.client_id);
    pthread_mutex_unlock(&s->lock);
    tb_state_save(s);
    s->host->log(s->ctx, TPC_LOG_INFO, "the server granted credentials, kept in %s",
                 s->config.state);
    pthread_mutex_lock(&s->lock);
    s->enrolled = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void tb_state_forget_credentials(struct tb *s)
{
    pthread_mutex_lock(&s->lock);
    s->has_credentials = false;
    pthread_mutex_unlock(&s->lock);
    tb_state_save(s);
}
