/*
 * Trying a codec without a device: what bytes become, what the model says, what a script's error
 * is.
 */
#ifndef TPCORE_CODEC_H
#define TPCORE_CODEC_H

#include <tpcore/core.h>
#include <tpcore/msg.h>

TPC_BEGIN

struct tpc_frame;
struct tpc_codec_ops; /* tpcore/ext/codec.h */

/* One point of a trial. verdict: 0 = accepted, TPC_EMODEL = dropped, with the reason. */
struct tpc_verdict {
    uint32_t size;
    int32_t code;
    struct tpc_str reason;
    const struct tpc_point *point; /* as decoded; after conversion where accepted */
};

/* msg: a decoded message (NULL in a refusal); verdicts of its points; error: of a refused frame. */
typedef int tpc_codec_test_fn(void *user, const struct tpc_msg *msg,
                              const struct tpc_verdict *verdicts, uint32_t verdict_count,
                              const struct tpc_error *error);

/*
 * Decodes a frame with the codec of a product of tenant "main" and checks it against its model.
 * Nothing is logged or changed; the core need not be started. fn is called once per message, or once
 * with the error.
 *
 * Returns 0 (also when fn was given an error), TPC_ENOENT (product), TPC_EINVAL, TPC_ENOMEM, or what
 * fn returned.
 * Ownership: views are valid during the call.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_codec_test(struct tpc_core *core, struct tpc_str product,
                           const struct tpc_frame *frame, tpc_codec_test_fn *fn, void *user);

/*
 * Encodes a command as the device would get it. service and params as in tpc_command_options.
 *
 * Returns 0; TPC_ETOOBIG with buf->need; TPC_ENOENT (product, service), TPC_EDECODE (params_json),
 * TPC_EMODEL, TPC_ESCRIPT.
 * Ownership: the caller's buffer.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_codec_test_encode(struct tpc_core *core, struct tpc_str product,
                                  struct tpc_str service, struct tpc_str params_json,
                                  struct tpc_buf *buf);

/*
 * Makes a codec of the program's own known: products name it as they name those of modules. Of ops,
 * decode and encode are needed; init, fini, options and instance_size do not count, for self is the
 * instance. Before the first product that names it, also of a store that an earlier run left.
 *
 * Returns 0; TPC_EINVAL (name: 1 to 63 letters, digits, - _ .; ops without a function that is needed);
 * TPC_EVERSION (ops of another major); TPC_EEXIST (there is a codec of that name); TPC_ESTATE (the core
 * was started); TPC_ENOMEM.
 * Ownership: ops are copied; self is the caller's and outlives the core.
 * Thread: control, before the first start.
 * Since: 0.1
 */
TPC_API int tpc_core_add_codec(struct tpc_core *core, const char *name,
                               const struct tpc_codec_ops *ops, void *self);

TPC_END

#endif
