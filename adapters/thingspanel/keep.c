/* The state file: {"service","devices":[..],"access":[..]}, which lets known devices in while the platform
 * is away. Vouchers are in it: only its owner may read it. */
#include "platform.h"

#include "../text/say.h"
#include "data/member.h"

#include <string.h>
#include <sys/stat.h>
#include <tpcore/json.h>

enum { STATE_MAX = 512 << 20, PATH_BYTES = 4096 };

static int write_file(struct tp_http *h, const char *path, const struct tpi_buf *b, int *native)
{
    const struct tpc_files *f = h->host->files;
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

static int replace_file(struct tp_http *h, const struct tpi_buf *b, int *native)
{
    const struct tpc_files *f = h->host->files;
    char path[PATH_BYTES], dir[PATH_BYTES] = ".";
    size_t n = strlen(h->config->state), end = n;
    if (n + 5 > sizeof(path)) {
        return TPC_ETOOBIG;
    }
    while (end > 0 && h->config->state[end - 1] != '/') {
        end--;
    }
    if (end > 0) {
        memcpy(dir, h->config->state, end);
        dir[end > 1 ? end - 1 : 1] = '\0';
        (void) f->make_dir(f->user, dir, native);
    }
    memcpy(path, h->config->state, n);
    memcpy(path + n, ".new", 5);
    int rc = write_file(h, path, b, native);
    rc = rc != 0 ? rc : f->rename(f->user, path, h->config->state, native);
    if (rc == 0) {
        (void) f->sync_dir(f->user, dir, native);
    }
    return rc;
}

void tp_keep_save(struct tp_http *h)
{
    struct tpi_buf b;
    int native = 0;
    if (h->config->state == NULL) {
        return;
    }
    tpi_buf_init(&b, h->host->allocator, STATE_MAX);
    int rc = tpi_buf_printf(&b, "{\"service\":");
    rc = rc != 0 ? rc : say_quoted(&b, tpc_str_from(h->identifier));
    rc = rc != 0 ? rc : tpi_buf_printf(&b, ",\"devices\":[\n");
    rc = rc != 0 ? rc : tp_devices_save(&h->devices, &b);
    rc = rc != 0 ? rc : tpi_buf_printf(&b, "],\"access\":[\n");
    rc = rc != 0 ? rc : tp_points_save(h, &b);
    rc = rc != 0 ? rc : tpi_buf_put(&b, "]}\n", 3);
    rc = rc != 0 ? rc : replace_file(h, &b, &native);
    if (rc != 0) {
        h->host->count(h->ctx, "state_failed", 1);
        h->host->log(h->ctx, TPC_LOG_ERROR, "%s cannot be written: %s (errno %d)", h->config->state,
                     tpc_error_name(rc), native);
    }
    tpi_buf_fini(&b);
}

/* ---- reading ---- */

static int read_file(struct tp_http *h, struct tpi_buf *b)
{
    const struct tpc_files *f = h->host->files;
    void *file = NULL;
    int rc = f->open(f->user, h->config->state, TPC_FILE_READ, &file, NULL);
    if (rc != 0) {
        return rc;
    }
    int64_t len = f->length(f->user, file, NULL);
    rc = len < 0 ? TPC_EIO : len > STATE_MAX ? TPC_ETOOBIG : tpi_buf_reserve(b, (size_t) len + 1);
    int64_t got = rc == 0 ? f->read_at(f->user, file, b->ptr, (size_t) len, 0, NULL) : 0;
    f->close(f->user, file);
    b->len = got > 0 ? (size_t) got : 0;
    return got < 0 ? TPC_EIO : rc;
}

/* All of them are to be made in the core, if they are not there, and told. */
static void look_at_all(struct tp_http *h)
{
    size_t at = 0;
    void *value = NULL;
    for (int pass = 0; pass < 2; pass++) {
        at = 0;
        while (tpi_map_next(&h->devices.by_id, &at, NULL, &value)) {
            struct tp_device *d = value;
            if ((d->f.parent.len > 0) == (pass == 1)) {
                tp_apply_work(h, d);
            }
        }
    }
}

static int read_state(struct tp_http *h, struct tpc_str text)
{
    struct tpc_arena *arena = NULL;
    struct tpc_value doc;
    int rc = tpc_arena_create(h->host->allocator, 0, &arena);
    rc = rc != 0 ? rc : tpc_json_parse(arena, text, TPC_JSON_ALLOW_DUPLICATES, NULL, &doc);
    if (rc == 0 && doc.type != TPC_MAP) {
        rc = TPC_ECORRUPT;
    }
    /* Another service's devices are none of ours. */
    if (rc == 0 &&
        tpc_str_equal(tpi_member_text(&doc, "service"), tpc_str_from(h->identifier)) != 0) {
        rc = tp_devices_load(&h->devices, tpi_member(&doc, "devices"));
        if (rc == TPC_EAGAIN) {
            h->host->log(h->ctx, TPC_LOG_WARN, "%s has more than devices_max: the rest is left out",
                         h->config->state);
            rc = 0;
        }
        if (rc == 0) {
            tp_points_load(h, tpi_member(&doc, "access"));
            look_at_all(h);
        }
    }
    tpc_arena_destroy(arena);
    return rc;
}

int tp_keep_load(struct tp_http *h)
{
    struct tpi_buf b;
    if (h->config->state == NULL || tp_devices_count(&h->devices) > 0) {
        return 0; /* of a start before this one all is still here */
    }
    tpi_buf_init(&b, h->host->allocator, 0);
    int rc = read_file(h, &b);
    if (rc == TPC_ENOENT) {
        rc = 0;
    } else if (rc == 0) {
        rc = read_state(h, (struct tpc_str){ (const char *) b.ptr, b.len });
        if (rc == TPC_EDECODE || rc == TPC_ECORRUPT || rc == TPC_ETOOBIG) {
            /* The platform knows it all: better without it than not at all. */
            h->host->count(h->ctx, "state_failed", 1);
            h->host->log(h->ctx, TPC_LOG_ERROR, "%s cannot be used: %s", h->config->state,
                         tpc_error_name(rc));
            rc = 0;
        }
    }
    tpi_buf_fini(&b);
    return rc == 0 ? 0
                   : h->host->fail(h->ctx, rc, "%s cannot be read: %s", h->config->state,
                                   tpc_error_name(rc));
}
