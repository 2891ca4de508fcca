/*
 * Thing models in the forms of other platforms.
 *
 * The library's own form is member "model" of a product (docs/guide/model.md). TSL is what get-tsl
 * of the Alibaba-style platforms gives: {productId, productKey, properties, services, events} with
 * identifier, dataType, dataSpecs. A ThingsPanel device model is {telemetry, attributes, events,
 * commands} with data_identifier, data_type, read_write_flag.
 *
 * Nothing is lost on the way. What the other form says and the library's cannot stands beside the
 * definition it belongs to, as it came, in a member "tsl" or "thingspanel"; what the library's form
 * says and the other cannot stands there in a member "tpcore". Each is used as long as it fits the
 * rest: whoever changes a definition in one form finds the change in the other.
 */
#ifndef TPCORE_MODEL_H
#define TPCORE_MODEL_H

#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/value.h>

TPC_BEGIN

struct tpc_core;

enum tpc_model_format {
    TPC_MODEL_ANY = 0, /* import only: the one that the text looks like */
    TPC_MODEL_TPCORE = 1,
    TPC_MODEL_TSL = 2,
    TPC_MODEL_THINGSPANEL = 3
};

/*
 * Reads a model from JSON text of up to 16 MiB and checks it as a product's put does. format: enum
 * tpc_model_format. Numbers written as texts become numbers; a ThingsPanel Number is a double. err
 * (may be NULL) has the path and, in the text, line and column of what is wrong; its text says what
 * was expected.
 *
 * Returns 0, TPC_EDECODE (no JSON), TPC_EMODEL (not of this form, or no model that can be),
 * TPC_EINVAL (format), TPC_ETOOBIG (text, depth) or TPC_ENOMEM.
 * Ownership: *ret is the arena's, it does not point into text.
 * Thread: the arena's thread.
 * Since: 0.1
 */
TPC_API int tpc_model_import(struct tpc_arena *arena, struct tpc_str text, uint32_t format,
                             struct tpc_error *err, struct tpc_value *ret);

/*
 * A model, as tpc_model_import() gave it or as it stands in a product's document, in another form.
 * format: enum tpc_model_format, not ANY. TSL's productKey and productId are there if they came with
 * an import. A ThingsPanel model lists telemetry before attributes.
 *
 * Returns 0, TPC_EMODEL (no model that can be; err's path is in the library's form), TPC_EINVAL
 * (format) or TPC_ENOMEM.
 * Ownership: *ret is the arena's and points into model.
 * Thread: the arena's thread.
 * Since: 0.1
 */
TPC_API int tpc_model_export(struct tpc_arena *arena, const struct tpc_value *model,
                             uint32_t format, struct tpc_error *err, struct tpc_value *ret);

/*
 * The versions of its model that a product has published, oldest first: an array of objects with
 * version, published_unix_ms, revision (of the product's document then), hash and, of all but the
 * oldest of very many, model. tenant and product: keys; tenant empty = "main".
 *
 * Returns 0 (an empty array if none was published), TPC_EINVAL, TPC_ENOENT (tenant or product),
 * TPC_ECORRUPT, TPC_ESTATE (no store for entities), what the store says, or TPC_ENOMEM.
 * Ownership: *ret is the arena's.
 * Thread: any-thread; the arena's.
 * Since: 0.1
 */
TPC_API int tpc_model_versions(struct tpc_core *core, struct tpc_str tenant, struct tpc_str product,
                               struct tpc_arena *arena, struct tpc_value *ret);

/*
 * Name of a form: "tpcore", "tsl", "thingspanel".
 *
 * Returns static text; "?" for a number it does not know.
 * Ownership: static.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API const char *tpc_model_format_name(uint32_t format);

TPC_END

#endif
