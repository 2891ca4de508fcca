/* The state file: {"service","devices":[..],"access":[..]}, which lets known devices in while the platform
 * is away. Vouchers are in it: only its owner may read it. */
#include "platform.h"

#include "../file/whole.h"
#include "../text/say.h"
#include "data/member.h"

#include <tpcore/json.h>

enum { STATE_MAX = 512 << 20 };

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
    rc = rc != 0 ? rc : whole_replace(h->host->files, h->config->state, &b, &native);
    if (rc != 0) {
        h->host->count(h->ctx, "state_failed", 1);
        h->host->log(h->ctx, TPC_LOG_ERROR, "%s cannot be written: %s (errno %d)", h->config->state,
                     tpc_error_name(rc), native);
    }
    tpi_buf_fini(&b);
}

/* ---- reading ---- */

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
    int rc = whole_read(h->host->files, h->config->state, STATE_MAX, &b);
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
