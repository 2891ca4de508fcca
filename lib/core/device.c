/* Devices as the program sees them, and trying codecs. */
#include <string.h>
#include <tpcore/codec.h>
#include <tpcore/device.h>
#include <tpcore/json.h>

#include "core/core.h"

enum { TRIAL_ARENA_BYTES = 16 << 20 };

int tpc_device_open_in(struct tpc_core *core, struct tpc_str tenant, struct tpc_str key,
                       struct tpc_device **ret)
{
    if (core == NULL || ret == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core or ret is NULL");
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    rc = rc != 0 ? rc : tpi_registry_open(core->registry, tenant, key, err, ret);
    return tpi_fail_end(rc);
}

int tpc_device_open(struct tpc_core *core, struct tpc_str key, struct tpc_device **ret)
{
    return tpc_device_open_in(core, (struct tpc_str){ NULL, 0 }, key, ret);
}

struct tpc_device *tpc_device_unref(struct tpc_device *device)
{
    return tpi_device_unref(device);
}

int tpc_device_info(struct tpc_device *d, struct tpc_device_info *ret)
{
    if (d == NULL || ret == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "device or ret is NULL");
    }
    struct tpc_core *core = tpi_device_owner(d);
    struct tpc_device_info info = {
        .size = sizeof(info),
        .online = atomic_load(&d->online),
        .id = d->id,
        .key = d->key,
        .partition = d->partition,
        .messages = atomic_load(&d->messages),
        .last_seen_unix_ms = atomic_load(&d->last_seen_unix_ms),
        .presence_unix_ms = atomic_load(&d->presence_unix_ms),
        .active_unix_ms = (int64_t) atomic_load(&d->active_unix_s) * 1000,
    };
    tpi_registry_read_lock(core->registry);
    info.product = tpi_device_product_key(d);
    tpi_registry_read_unlock(core->registry);
    *ret = info;
    return 0;
}

int tpc_latest_get(struct tpc_device *d, struct tpc_str property, struct tpc_buf *buf,
                   struct tpc_value *ret, int64_t *ret_unix_ms)
{
    if (d == NULL || ret == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "device or ret is NULL");
    }
    struct tpc_core *core = tpi_device_owner(d);
    int rc = TPC_ENOENT;
    tpi_registry_read_lock(core->registry);
    int index = tpi_model_find(d->product->model, property, NULL);
    if (index >= 0) {
        rc = tpi_device_latest_copy(d, (uint32_t) index, buf, ret, ret_unix_ms);
    }
    tpi_registry_read_unlock(core->registry);
    if (rc == 0) {
        return 0;
    }
    int len = (int) (property.len < 64 ? property.len : 64);
    if (rc == TPC_ETOOBIG) {
        return tpi_fail(rc, "core", "the value of \"%.*s\" does not fit the buffer", len,
                        property.ptr);
    }
    return tpi_fail(rc, "core", index < 0 ? "no property \"%.*s\"" : "\"%.*s\" has no value yet",
                    len, property.ptr);
}

/* ---- trying ---- */

static int open_product(struct tpc_core *core, struct tpc_str key, struct tpi_product **ret)
{
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    tpi_registry_read_lock(core->registry);
    struct tpi_product *p = tpi_registry_product(core->registry, (struct tpc_str){ NULL, 0 }, key);
    p = p != NULL ? tpi_product_ref(p) : NULL;
    tpi_registry_read_unlock(core->registry);
    if (p == NULL) {
        return tpi_fail(TPC_ENOENT, "core", "no product \"%.*s\"", (int) key.len,
                        key.len > 0 ? key.ptr : "");
    }
    *ret = p;
    return 0;
}

int tpc_codec_test(struct tpc_core *core, struct tpc_str product, const struct tpc_frame *given,
                   tpc_codec_test_fn *fn, void *user)
{
    struct tpc_frame frame;
    struct tpi_product *p;
    if (core == NULL || fn == NULL || given == NULL ||
        given->size < offsetof(struct tpc_frame, product)) {
        return tpi_fail(TPC_EINVAL, "core", "core or fn is NULL, or the frame has no size");
    }
    int rc = open_product(core, product, &p);
    if (rc != 0) {
        return rc;
    }
    memset(&frame, 0, sizeof(frame));
    memcpy(&frame, given, given->size < sizeof(frame) ? given->size : sizeof(frame));
    frame.product = p->key;
    /* The codec's place for threads that are no worker: one at a time. */
    pthread_mutex_lock(&core->trial_lock);
    rc = tpi_uplink_try(&core->env, p, core->worker_count, &frame, fn, user);
    pthread_mutex_unlock(&core->trial_lock);
    tpi_product_unref(p);
    return rc;
}

static int encode(struct tpc_core *core, struct tpi_product *p, struct tpc_str service,
                  struct tpc_str params_json, struct tpc_arena *arena, struct tpc_error *err,
                  struct tpc_buf *buf)
{
    struct tpc_value params = { .type = TPC_NULL };
    struct tpc_encode e = { .size = sizeof(e),
                            .kind = TPC_MSG_COMMAND,
                            .product = p->key,
                            .name = service,
                            .unix_ms = tpi_unix_ms(&core->env) };
    struct tpc_bytes payload;
    int rc = params_json.len > 0 ? tpc_json_parse(arena, params_json, 0, err, &params) : 0;
    rc = rc != 0 ? rc : tpi_model_service_check(p->model, service, &params, arena, err, &e.params);
    if (rc != 0) {
        return rc;
    }
    if (tpc_str_equal(service, TPC_STR("set"))) {
        e.kind = TPC_MSG_ATTRIBUTES_SET;
    } else if (tpc_str_equal(service, TPC_STR("get"))) {
        e.kind = TPC_MSG_ATTRIBUTES_GET;
    }
    pthread_mutex_lock(&core->trial_lock);
    rc = p->codec->encode(p->codec_self, core->worker_count, p->program, &e, arena, err, &payload);
    if (rc == 0) {
        buf->need = payload.len;
        if (payload.len > buf->cap) {
            rc = tpi_error_set(err, TPC_ETOOBIG, "core", "the result takes %zu bytes", payload.len);
        } else if (payload.len > 0) {
            memcpy(buf->ptr, payload.ptr, payload.len);
        }
    }
    pthread_mutex_unlock(&core->trial_lock);
    return rc;
}

int tpc_codec_test_encode(struct tpc_core *core, struct tpc_str product, struct tpc_str service,
                          struct tpc_str params_json, struct tpc_buf *buf)
{
    struct tpi_product *p;
    struct tpc_arena *arena;
    if (core == NULL || buf == NULL) {
        return tpi_fail(TPC_EINVAL, "core", "core or buf is NULL");
    }
    int rc = open_product(core, product, &p);
    if (rc != 0) {
        return rc;
    }
    struct tpc_error *err = tpi_fail_begin();
    rc = tpc_arena_create(core->env.alloc, TRIAL_ARENA_BYTES, &arena);
    if (rc == 0) {
        rc = encode(core, p, service, params_json, arena, err, buf);
        tpc_arena_destroy(arena);
    }
    tpi_product_unref(p);
    return tpi_fail_end(rc);
}
