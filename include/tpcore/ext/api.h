/*
 * The public functions of the library for modules, which link nothing of it: host->api(ctx, &core). Each
 * member is the function of that name with tpc_ before it and behaves as its header says; threads,
 * too: those that wait for the disk are for threads of the module's own.
 */
#ifndef TPCORE_EXT_API_H
#define TPCORE_EXT_API_H

#include <tpcore/auth.h>
#include <tpcore/command.h>
#include <tpcore/device.h>
#include <tpcore/entity.h>
#include <tpcore/ext/iface.h>
#include <tpcore/stream.h>
#include <tpcore/why.h>

TPC_BEGIN

struct tpc_api {
    struct tpc_iface iface; /* major 1 */
    const struct tpc_error *(*error_last)(void);
    int (*entity_put)(struct tpc_core *core, const struct tpc_actor *actor, const char *kind,
                      struct tpc_str json, uint64_t expect_rev, struct tpc_entity_info *ret);
    int (*entity_get)(struct tpc_core *core, struct tpc_str tenant, const char *kind,
                      struct tpc_str key, tpc_entity_fn *fn, void *user);
    int (*entity_list)(struct tpc_core *core, const struct tpc_entity_query *query,
                       tpc_entity_fn *fn, void *user);
    int (*entity_delete)(struct tpc_core *core, const struct tpc_actor *actor,
                         struct tpc_str tenant, const char *kind, struct tpc_str key,
                         uint64_t expect_rev);
    int (*auth_check)(struct tpc_core *core, const struct tpc_auth_request *request,
                      struct tpc_identity *ret);
    int (*auth_recheck)(struct tpc_core *core, const struct tpc_identity *who);
    int (*auth_register)(struct tpc_core *core, const struct tpc_register_request *request,
                         struct tpc_registration *ret);
    int (*token_issue)(struct tpc_core *core, struct tpc_str tenant, struct tpc_str device,
                       uint64_t ttl_ms, struct tpc_buf *buf);
    int (*device_open)(struct tpc_core *core, struct tpc_str tenant, struct tpc_str key,
                       struct tpc_device **ret); /* tpc_device_open_in() */
    struct tpc_device *(*device_unref)(struct tpc_device *device);
    int (*device_info)(struct tpc_device *device, struct tpc_device_info *ret);
    int (*latest_get)(struct tpc_device *device, struct tpc_str property, struct tpc_buf *buf,
                      struct tpc_value *ret, int64_t *ret_unix_ms);
    int (*subscribe)(struct tpc_core *core, const struct tpc_subscribe_options *options,
                     tpc_batch_fn *fn, void *user, struct tpc_sub **ret);
    int (*consume)(struct tpc_core *core, const struct tpc_consume_options *options,
                   tpc_batch_fn *fn, void *user, struct tpc_sub **ret);
    struct tpc_sub *(*unsubscribe)(struct tpc_sub *sub);
    int (*command_send)(struct tpc_core *core, const struct tpc_actor *actor,
                        const struct tpc_command_options *options, tpc_command_fn *done, void *user,
                        struct tpc_id *ret);
    int (*entity_secret)(struct tpc_core *core, struct tpc_str tenant, const char *kind,
                         struct tpc_str key, struct tpc_str path, struct tpc_buf *buf);
    int (*core_prometheus)(struct tpc_core *core, struct tpc_buf *buf);
    int (*why)(struct tpc_core *core, struct tpc_str tenant, struct tpc_str device, tpc_why_fn *fn,
               void *user);
};

TPC_END

#endif
