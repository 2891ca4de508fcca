/*
 * Adapter: an edge of the core, where devices come in and commands go out.
 *
 * Life: the core allocates instance_size zeroed bytes, calls init, later start, stop, fini. fini is
 * called even when init failed. Between stop's return and fini the adapter makes no host call.
 */
#ifndef TPCORE_EXT_ADAPTER_H
#define TPCORE_EXT_ADAPTER_H

#include <tpcore/ext/module.h>

TPC_BEGIN

/* Whom to send to. Views are valid during the call. */
struct tpc_peer {
    uint32_t size;
    uint32_t reserved;
    uint64_t device_id;
    uint64_t session; /* over which the device spoke last; 0 = none */
    struct tpc_str tenant;
    struct tpc_str product;
    struct tpc_str device;
};

struct tpc_label {
    struct tpc_str name, value;
};

/* A metric of a part of an instance: tpc_<module>_<metric>_total{instance=.., labels}, a gauge without
 * _total. Views are valid during the call. */
struct tpc_tell {
    uint32_t size;
    uint32_t gauge; /* 1 = it may go down */
    const char *metric;
    const char *help;
    const struct tpc_label *labels;
    uint32_t label_count;
    uint32_t reserved;
    double value;
};
typedef void tpc_tell_fn(void *user, const struct tpc_tell *t);

/*
 * init      Takes its options, checked against `options` with defaults filled in; cfg and all it
 *           points to live until fini. Offers services. No I/O. control thread.
 * start     Begins: may connect in the background, must not wait for a peer. control thread.
 * send      Sends frame to the device. 0 = taken (frame copied): host->sent(ticket) follows, exactly
 *           once; TPC_EOFFLINE or TPC_EAGAIN = not taken, tried again. Must not block. worker
 *           thread, several at once.
 * settled   Optional: tickets given to receive() are done: errors[i] 0 = in the log as its policy
 *           says (the message, or the dead letter that stands for it) or known as a duplicate; else
 *           why the log will not take it, or TPC_ECANCELED = the core stopped before that was
 *           certain. Must not block. worker thread (control while the core stops).
 * resume    Optional: receive() on this session answered TPC_EAGAIN before and may work now. worker
 *           thread.
 * stop      Ends connections and threads; returns when they are gone. control thread.
 * fini      Frees. Accepts a half-initialised self. control thread.
 * discover  Reserved: the core does not call it yet. NULL.
 * tell      Optional: calls fn for each number that has labels besides `instance`, at most 16
 *           metrics, whose texts are static. any-thread, between init and fini. Since: 0.1
 */
struct tpc_adapter_ops {
    struct tpc_iface iface; /* major 1 */
    const char *name;
    size_t instance_size;
    struct tpc_list options; /* TPC_OPTIONS(array) */
    int (*init)(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg);
    int (*start)(void *self);
    int (*send)(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                uint64_t ticket);
    void (*settled)(void *self, const uint64_t *tickets, const int *errors, uint32_t count);
    void (*resume)(void *self, uint64_t session);
    void (*stop)(void *self);
    void (*fini)(void *self);
    int (*discover)(void *self, uint32_t timeout_ms); /* reserved */
    void (*tell)(void *self, tpc_tell_fn *fn, void *user);
};

TPC_END

#endif
