/* What a product's published models were. */
#include <tpcore/json.h>
#include <tpcore/model.h>

#include "base/error.h"
#include "core/core.h"
#include "registry/publish.h"

/* 0 = there is no such product. */
static uint64_t product_id(struct tpc_core *core, struct tpc_str tenant, struct tpc_str product)
{
    tpi_registry_read_lock(core->registry);
    const struct tpi_product *p = tpi_registry_product(core->registry, tenant, product);
    uint64_t id = p != NULL ? p->id : 0;
    tpi_registry_read_unlock(core->registry);
    return id;
}

static int read_versions(struct tpc_core *core, uint64_t id, struct tpc_arena *arena,
                         struct tpc_error *err, struct tpc_value *ret)
{
    char text[24];
    struct tpc_str key;
    struct tpc_bytes doc;
    tpi_publish_key(id, text, sizeof(text), &key);
    int rc = tpi_entities_meta(core->entities, TPC_STR(TPI_PUBLISH_KIND), key, arena, err, &doc);
    if (rc == TPC_ENOENT) {
        *ret = (struct tpc_value){ .type = TPC_ARRAY };
        return 0;
    }
    if (rc != 0) {
        return rc;
    }
    rc = tpc_json_parse(arena, (struct tpc_str){ (const char *) doc.ptr, doc.len }, 0, err, ret);
    return rc == 0 || rc == TPC_ENOMEM
               ? rc
               : tpi_error_set(err, TPC_ECORRUPT, "model", "the stored versions are damaged");
}

int tpc_model_versions(struct tpc_core *core, struct tpc_str tenant, struct tpc_str product,
                       struct tpc_arena *arena, struct tpc_value *ret)
{
    if (core == NULL || arena == NULL || ret == NULL) {
        return tpi_fail(TPC_EINVAL, "model", "core, arena or ret is NULL");
    }
    struct tpc_error *err = tpi_fail_begin();
    int rc = tpi_core_entities(core, err);
    if (rc != 0) {
        return tpi_fail_end(rc);
    }
    uint64_t id = product_id(core, tenant, product);
    if (id == 0) {
        return tpi_fail(TPC_ENOENT, "model", "no product \"%.*s\"",
                        (int) (product.len > 128 ? 128 : product.len),
                        product.len > 0 ? product.ptr : "");
    }
    return tpi_fail_end(read_versions(core, id, arena, err, ret));
}
