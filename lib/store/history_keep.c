/*
 * Retention: whole chunks that are older than their device's samples are kept are deleted, some
 * devices at a time, then the space is given back, some at a time, so that no commit waits long.
 */
#include "base/error.h"
#include "store/history_open.h"

static const char origin[] = "history";

enum {
    KEEP_DEVICES = 256, /* in one turn, that is in one transaction */
    KEEP_CHUNKS = 8192, /* .. */
    GIVE_BACK_BYTES = 1 << 20
};

struct keeping {
    uint64_t device_id;
    int64_t before_ms;
    size_t iter; /* behind it in the table */
};

void tpi_history_keep_begin(struct tpi_history *h)
{
    h->keep_iter = 0;
    h->keep_stage = KEEP_DELETING;
}

/* The next devices with a limit. A table that grows meanwhile may hide some until the next round. */
static uint32_t next_devices(struct tpi_history *h, tpi_history_keep_fn *keep, void *user,
                             struct keeping *ret)
{
    uint32_t count = 0;
    uint64_t ids[KEEP_DEVICES];
    size_t iters[KEEP_DEVICES];
    size_t iter = h->keep_iter;
    uint32_t n = 0;
    pthread_mutex_lock(&h->lock);
    while (n < KEEP_DEVICES && tpi_open_device_next(h, &iter, &ids[n])) {
        iters[n++] = iter;
    }
    pthread_mutex_unlock(&h->lock);
    for (uint32_t i = 0; i < n; i++) {
        int64_t before = keep(user, ids[i]);
        if (before != INT64_MIN) {
            ret[count++] = (struct keeping){ ids[i], before, iters[i] };
        }
    }
    if (n < KEEP_DEVICES) {
        h->keep_stage = KEEP_GIVING_BACK;
    }
    h->keep_iter = iter;
    return count;
}

/* Returns 0 or an error; *ret_gone chunks are deleted. What is over the turn's measure comes in the
 * next one. */
static int delete_some(struct tpi_history *h, const struct keeping *devices, uint32_t count,
                       uint64_t *ret_gone)
{
    uint64_t total = 0;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        uint64_t gone = 1;
        while (rc == 0 && gone > 0 && total < KEEP_CHUNKS) {
            rc = h->ops->delete_before(h->self, devices[i].device_id, devices[i].before_ms, &gone);
            total += rc == 0 ? gone : 0;
        }
        if (rc == 0 && total >= KEEP_CHUNKS) {
            h->keep_iter = i > 0 ? devices[i - 1].iter : h->keep_first;
            h->keep_stage = KEEP_DELETING;
            break;
        }
    }
    *ret_gone = total;
    return rc;
}

static int delete_turn(struct tpi_history *h, tpi_history_keep_fn *keep, void *user,
                       struct tpc_error *err)
{
    struct keeping devices[KEEP_DEVICES];
    uint64_t gone = 0;
    h->keep_first = h->keep_iter;
    uint32_t count = next_devices(h, keep, user, devices);
    if (count == 0) {
        return 0;
    }
    int rc = h->ops->begin(h->self, err);
    if (rc == 0) {
        rc = delete_some(h, devices, count, &gone);
        if (rc == 0) {
            rc = h->ops->commit(h->self, err);
        } else {
            h->ops->rollback(h->self);
            (void) tpi_error_set(err, rc, origin, "old chunks cannot be deleted");
        }
    }
    if (rc != 0) {
        h->keep_iter = h->keep_first; /* the same again */
        h->keep_stage = KEEP_DELETING;
        return rc;
    }
    TPI_METRIC_ADD(h->counters.deleted, gone);
    return 0;
}

static int give_back_turn(struct tpi_history *h, struct tpc_error *err)
{
    uint64_t bytes = 0;
    int rc = 0;
    if (TPC_HAS(h->ops, struct tpc_history_ops, give_back)) {
        rc = h->ops->give_back(h->self, GIVE_BACK_BYTES, &bytes);
    }
    if (rc != 0) {
        return tpi_error_set(err, rc, origin, "free space cannot be given back");
    }
    TPI_METRIC_ADD(h->counters.given_back, bytes);
    if (bytes == 0) {
        h->keep_stage = KEEP_RESTING;
    }
    return 0;
}

int tpi_history_keep_turn(struct tpi_history *h, tpi_history_keep_fn *keep, void *user,
                          struct tpc_error *err)
{
    int rc = 0;
    if (h->keep_stage == KEEP_DELETING) {
        rc = delete_turn(h, keep, user, err);
    } else if (h->keep_stage == KEEP_GIVING_BACK) {
        rc = give_back_turn(h, err);
    }
    return rc != 0 ? rc : h->keep_stage != KEEP_RESTING;
}
