/*
 * Sink: where data leaves the core to something that is no device: a webhook, a mail server, a
 * broker, another platform.
 *
 * An opened instance (tpc_core_open) holds what is common: connections, limits. Its targets are
 * entities of kind `forward` and `handler` that name the instance; the core reads the log for each
 * with a cursor of the target's own, so that nothing is lost over restarts and outages: the queue
 * is the log. docs/guide/forward.md tells it from the user's side.
 *
 * Life: the core allocates instance_size zeroed bytes, calls init, later start, target_open for its
 * targets, stop, target_close, fini; start may follow again. fini is called even when init failed.
 * After stop's return the sink makes no host call until the next start.
 */
#ifndef TPCORE_EXT_SINK_H
#define TPCORE_EXT_SINK_H

#include <tpcore/ext/module.h>

TPC_BEGIN

/*
 * init          Takes its options, checked against `options` with defaults filled in; cfg and all
 *               it points to live until fini. Offers services. No I/O. control thread.
 * start         Begins: may connect in the background, must not wait for a peer. After the parts
 *               whose services it needs. control thread.
 * target_open   Takes a target's options (checked against `target_options`, defaults and secrets
 *               filled in; they live until target_close) and makes what send() needs for it. name:
 *               "<tenant>/<kind>/<key>", unique, for people. On failure the text by host->fail;
 *               class retry = it is tried again. Must not wait for a peer. forward's thread.
 * send          Hands over a batch: 0 = taken: host->sent(ctx, ticket, err) follows exactly once,
 *               from any thread, also from within send(); the batch is valid until then. err NULL =
 *               the other side has it. Else nothing of it counts as delivered, and err->code says:
 *                 class retry     the same batch comes again after a pause;
 *                 class fix       something in it is refused: it comes again in halves until the
 *                                 one record is found, which goes to the dead letters;
 *                 class operator, TPC_EDENIED, TPC_EUNSUPPORTED, TPC_ESTATE, TPC_ECANCELED: the
 *                                 same batch comes again after the longest pause.
 *               Another code than 0 = not taken (sent() does not follow), judged in the same way.
 *               Must not block. Up to max_in_flight batches of a target at a time, of which no two
 *               have messages of one partition, so they may arrive in any order; never beside
 *               another call for the same target. msg.id is never zero and stable over repetitions and restarts, so that
 *               a receiver can drop doubles. gap_to > gap_from: records were passed over before the
 *               batch's first; a batch may have no messages and only that. forward's thread.
 * target_close  Frees what target_open made. No send is in flight. Comes after stop() for targets
 *               that were open then. forward's or control thread.
 * stop          Ends connections and threads, and every send that is in flight by sent(), with
 *               TPC_ECANCELED if it is not known to have arrived; returns when all have been told.
 *               control thread.
 * fini          Frees. Accepts a half-initialised self. control thread.
 * max_in_flight Optional: batches of one target that it takes at a time; 0, or not there = 1.
 */
struct tpc_sink_ops {
    struct tpc_iface iface; /* major 1 */
    const char *name;
    size_t instance_size;
    struct tpc_list options;        /* TPC_OPTIONS(array), of the instance */
    struct tpc_list target_options; /* of one target */
    int (*init)(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg);
    int (*start)(void *self);
    int (*target_open)(void *self, struct tpc_str name, const struct tpc_value *cfg,
                       void **ret_target);
    int (*send)(void *self, void *target, const struct tpc_batch *batch, uint64_t ticket);
    void (*target_close)(void *self, void *target);
    void (*stop)(void *self);
    void (*fini)(void *self);
    uint32_t max_in_flight;
};

TPC_END

#endif
