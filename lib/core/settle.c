/* Tickets: what waits until the log has flushed what it stands for, in the order of sequence. */
#include <string.h>

#include "core/core.h"

enum { FIRST_CAP = 512, GROUP = 256 };

int tpi_tickets_reserve(struct tpi_worker *w, size_t n)
{
    if (w->ticket_count + n <= w->ticket_cap) {
        return 0;
    }
    size_t cap = w->ticket_cap == 0 ? FIRST_CAP : w->ticket_cap;
    while (cap < w->ticket_count + n) {
        cap *= 2;
    }
    const struct tpc_allocator *a = w->core->env.alloc;
    struct tpi_ticket *t = tpi_alloc(a, cap * sizeof(*t));
    if (t == NULL) {
        return TPC_ENOMEM;
    }
    for (size_t i = 0; i < w->ticket_count; i++) {
        t[i] = w->tickets[(w->ticket_first + i) & (w->ticket_cap - 1)];
    }
    tpi_free(a, w->tickets, w->ticket_cap * sizeof(*t));
    w->tickets = t;
    w->ticket_cap = cap;
    w->ticket_first = 0;
    return 0;
}

void tpi_ticket_put(struct tpi_worker *w, const struct tpi_up_item *item, struct tpi_join *join,
                    int error)
{
    if (item->ticket == 0 && item->done == NULL) {
        return;
    }
    size_t at = (w->ticket_first + w->ticket_count) & (w->ticket_cap - 1);
    w->tickets[at] = (struct tpi_ticket){ .sequence = w->sequence,
                                          .part = item->part,
                                          .ticket = item->ticket,
                                          .done = item->done,
                                          .user = item->user,
                                          .error = error };
    if (join != NULL) {
        w->tickets[at].part = NULL;
        w->tickets[at].done = tpi_join_done;
        w->tickets[at].user = join;
    }
    w->ticket_count++;
}

static void settle_part(struct tpi_part *p, const uint64_t *tickets, const int *errors,
                        uint32_t count)
{
    if (p->ops->adapter.settled != NULL && !atomic_load(&p->stopped)) {
        p->ops->adapter.settled(p->self, tickets, errors, count);
    }
}

/* Takes tickets of one instance off the queue, as many as are due and stand together. */
static uint32_t take_group(struct tpi_worker *w, uint64_t flushed, struct tpi_part *p,
                           uint64_t *tickets, int *errors)
{
    uint32_t n = 0;
    while (w->ticket_count > 0 && n < GROUP) {
        const struct tpi_ticket *t = &w->tickets[w->ticket_first];
        if (t->part != p || t->sequence > flushed) {
            break;
        }
        tickets[n] = t->ticket;
        errors[n++] = t->error;
        w->ticket_first = (w->ticket_first + 1) & (w->ticket_cap - 1);
        w->ticket_count--;
    }
    return n;
}

/* The room of a long queue is not kept when memory is short. */
static void give_room_back(struct tpi_worker *w)
{
    if (w->ticket_count == 0 && w->ticket_cap > FIRST_CAP && tpi_core_memory_high(w->core)) {
        tpi_free(w->core->env.alloc, w->tickets, w->ticket_cap * sizeof(w->tickets[0]));
        w->tickets = NULL;
        w->ticket_cap = 0;
    }
}

bool tpi_tickets_settle(struct tpi_worker *w, uint64_t flushed)
{
    uint64_t tickets[GROUP];
    int errors[GROUP];
    uint64_t total = 0;
    while (w->ticket_count > 0 && w->tickets[w->ticket_first].sequence <= flushed) {
        struct tpi_ticket t = w->tickets[w->ticket_first];
        if (t.part != NULL) {
            uint32_t n = take_group(w, flushed, t.part, tickets, errors);
            settle_part(t.part, tickets, errors, n);
            total += n;
            continue;
        }
        w->ticket_first = (w->ticket_first + 1) & (w->ticket_cap - 1);
        w->ticket_count--;
        t.done(t.user, t.error);
        total++;
    }
    give_room_back(w);
    if (total > 0) {
        tpi_count(&w->core->counters.settled, total);
    }
    return total > 0;
}
