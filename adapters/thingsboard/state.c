/*
 * What has to survive a restart, as a JSON file that only its owner may read:
 * {"renamed":{},"deleted":[],"credentials":{"type","token","client_id","user","password"}}
 */
#include "inside.h"

#include "../text/say.h"

#include <string.h>
#include <sys/stat.h>
#include <tpcore/json.h>

#include "data/member.h"

enum { STATE_MAX = 64 << 20, PATH_MAX_BYTES = 4096 };

/* ---- the file ---- */

static int write_file(struct tb *s, const char *path, const struct tpi_buf *b, int *native)
{
    const struct tpc_files *f = s->host->files;
    const struct tpc_bytes bytes = { b->ptr, b->len };
    void *file = NULL;
    int rc = f->open(f->user, path, TPC_FILE_WRITE | TPC_FILE_CREATE, &file, native);
    if (rc != 0) {
        return rc;
    }
    (void) chmod(path, S_IRUSR | S_IWUSR); /* before there is anything in it */
    rc = f->truncate(f->user, file, 0, native);
    rc = rc != 0 ? rc : f->write_at(f->user, file, &bytes, 1, 0, native);
    rc = rc != 0 ? rc : f->sync(f->user, file, native);
    f->close(f->user, file);
    return rc;
}

static int replace_file(struct tb *s, const struct tpi_buf *b, int *native)
{
    const struct tpc_files *f = s->host->files;
    char path[PATH_MAX_BYTES];
    size_t n = strlen(s->config.state);
    if (n + 5 > sizeof(path)) {
        return TPC_ETOOBIG;
    }
    char dir[PATH_MAX_BYTES] = ".";
    size_t end = n;
    while (end > 0 && s->config.state[end - 1] != '/') {
        end--;
    }
    if (end > 0) {
        memcpy(dir, s->config.state, end);
        dir[end > 1 ? end - 1 : 1] = '\0';
        (void) f->make_dir(f->user, dir, native);
    }
    memcpy(path, s->config.state, n);
    memcpy(path + n, ".new", 5);
    int rc = write_file(s, path, b, native);
    rc = rc != 0 ? rc : f->rename(f->user, path, s->config.state, native);
    if (rc == 0) {
        (void) f->sync_dir(f->user, dir, native);
    }
    return rc;
}

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
    rc = rc != 0 ? rc : replace_file(s, &b, &native);
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

/* Appends a whole file. Returns 0 or a code of the files, TPC_ETOOBIG, TPC_ENOMEM. */
static int read_file(struct tb *s, const char *path, struct tpi_buf *b)
{
    const struct tpc_files *f = s->host->files;
    void *file = NULL;
    int rc = f->open(f->user, path, TPC_FILE_READ, &file, NULL);
    if (rc != 0) {
        return rc;
    }
    int64_t len = f->length(f->user, file, NULL);
    rc = len < 0 ? TPC_EIO : len > STATE_MAX ? TPC_ETOOBIG : tpi_buf_reserve(b, (size_t) len + 1);
    int64_t got = rc == 0 ? f->read_at(f->user, file, b->ptr + b->len, (size_t) len, 0, NULL) : 0;
    f->close(f->user, file);
    if (got < 0) {
        return TPC_EIO;
    }
    b->len += (size_t) got;
    return rc;
}

int tb_state_load(struct tb *s)
{
    struct tpi_buf b;
    if (s->config.state == NULL) {
        return 0;
    }
    tpi_buf_init(&b, s->host->allocator, 0);
    int rc = read_file(s, s->config.state, &b);
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
    int rc = read_file(s, s->config.client.cert, &pem);
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
