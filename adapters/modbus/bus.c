#include "bus.h"

#include <stdio.h>
#include <string.h>

/* ---- heaps: who wants his turn first ---- */

static void put_at(struct mb_heap *h, uint32_t place, struct mb_slave *s)
{
    h->slaves[place] = s;
    s->place = place;
}

static void sift(struct mb_heap *h, uint32_t place)
{
    struct mb_slave *s = h->slaves[place];
    while (place > 1 && h->slaves[place / 2]->next_ms > s->next_ms) {
        put_at(h, place, h->slaves[place / 2]);
        place /= 2;
    }
    for (;;) {
        uint32_t child = place * 2;
        if (child > h->count) {
            break;
        }
        child += child < h->count && h->slaves[child + 1]->next_ms < h->slaves[child]->next_ms;
        if (h->slaves[child]->next_ms >= s->next_ms) {
            break;
        }
        put_at(h, place, h->slaves[child]);
        place = child;
    }
    put_at(h, place, s);
}

static struct mb_heap *heap_of(struct mb_bus *b, const struct mb_slave *s)
{
    return s->pause_ms == 0 ? &b->healthy : &b->degraded;
}

static void enter(struct mb_heap *h, struct mb_slave *s)
{
    put_at(h, ++h->count, s);
    sift(h, h->count);
}

static void leave(struct mb_heap *h, struct mb_slave *s)
{
    struct mb_slave *last = h->slaves[h->count--];
    if (last != s) {
        put_at(h, s->place, last);
        sift(h, last->place);
    }
}

/* When the slave wants its turn: a degraded one when its pause is over, unless it is being asked. One whose
 * reads were cut waits for those under way: until then the numbers of its reads must stay. */
static void set_next(struct mb_bus *b, struct mb_slave *s)
{
    uint64_t next = UINT64_MAX;
    bool busy = false;
    for (uint32_t i = 0; i < s->read_count; i++) {
        next = s->due_ms[i] < next ? s->due_ms[i] : next;
        busy = busy || s->due_ms[i] == UINT64_MAX;
    }
    next = s->pause_ms != 0 ? s->retry_ms : next;
    s->next_ms = s->held > 0 || (busy && (s->pause_ms != 0 || s->replan)) ? UINT64_MAX : next;
    sift(heap_of(b, s), s->place);
}

/* ---- making ---- */

/* All reads are due at once, those of the first slaves first. */
static void all_due(struct mb_slave *s, uint64_t now_ms)
{
    for (uint32_t i = 0; i < s->read_count; i++) {
        s->due_ms[i] = now_ms;
    }
}

static bool same_plan(const struct mb_slave_config *a, const struct mb_slave_config *b)
{
    return a->tags == b->tags && a->count == b->count &&
           memcmp(&a->limits, &b->limits, sizeof(a->limits)) == 0;
}

static int make_plan(struct mb_slave *s, struct tpc_arena *arena)
{
    uint32_t n = s->config->count;
    s->spans = tpc_arena_take(arena, n * sizeof(*s->spans));
    s->reads = tpc_arena_take(arena, n * sizeof(*s->reads));
    if (s->spans == NULL || s->reads == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct mb_tag *t = &s->config->tags[i];
        s->spans[i] = (struct mb_span){ .tag = i,
                                        .poll_ms = t->poll_ms,
                                        .function = t->function,
                                        .address = t->address,
                                        .count = t->shape.count };
    }
    s->read_count = mb_plan(s->spans, n, &s->config->limits, s->reads);
    return 0;
}

/* One with the same plan among the last ones before; NULL = none. */
static const struct mb_slave *find_like(const struct mb_slave *all, const struct mb_slave *s)
{
    enum { LOOK_BACK = 16 };
    for (const struct mb_slave *o = s; o > all && s - o < LOOK_BACK; o--) {
        if (same_plan(o[-1].config, s->config)) {
            return o - 1;
        }
    }
    return NULL;
}

static int make_slave(struct mb_slave *s, const struct mb_slave *like, struct tpc_arena *arena)
{
    if (like != NULL) {
        s->spans = like->spans;
        s->reads = like->reads;
        s->read_count = like->read_count;
    } else if (make_plan(s, arena) != 0) {
        return TPC_ENOMEM;
    }
    s->due_ms = tpc_arena_take(arena, s->read_count * sizeof(*s->due_ms));
    return s->due_ms != NULL ? 0 : TPC_ENOMEM;
}

/* A plan of its own, that can be cut. False without memory. */
static bool own_plan(struct mb_bus *b, struct mb_slave *s)
{
    uint32_t n = s->config->count;
    if (s->own_plan) {
        return true;
    }
    struct mb_span *spans = tpc_arena_take(b->arena, n * sizeof(*spans));
    struct mb_read *reads = tpc_arena_take(b->arena, n * sizeof(*reads));
    uint64_t *due_ms = tpc_arena_take(b->arena, n * sizeof(*due_ms));
    s->span_due_ms = tpc_arena_take(b->arena, n * sizeof(*s->span_due_ms));
    if (spans == NULL || reads == NULL || due_ms == NULL || s->span_due_ms == NULL) {
        return false;
    }
    memcpy(spans, s->spans, n * sizeof(*spans));
    memcpy(reads, s->reads, s->read_count * sizeof(*reads));
    memcpy(due_ms, s->due_ms, s->read_count * sizeof(*due_ms));
    s->spans = spans;
    s->reads = reads;
    s->due_ms = due_ms;
    s->own_plan = true;
    return true;
}

/* With the cuts. What is read keeps its time: places that are refused are not asked anew with each cut. The order
 * of the spans stays, for it does not depend on cuts. */
static void plan_again(struct mb_slave *s)
{
    for (uint32_t i = 0; i < s->read_count; i++) {
        for (uint32_t k = 0; k < s->reads[i].spans; k++) {
            s->span_due_ms[s->reads[i].first + k] = s->due_ms[i];
        }
    }
    s->read_count = mb_plan(s->spans, s->config->count, &s->config->limits, s->reads);
    for (uint32_t i = 0; i < s->read_count; i++) {
        s->due_ms[i] = UINT64_MAX;
        for (uint32_t k = 0; k < s->reads[i].spans; k++) {
            uint64_t due = s->span_due_ms[s->reads[i].first + k];
            s->due_ms[i] = due < s->due_ms[i] ? due : s->due_ms[i];
        }
    }
}

int mb_bus_init(struct mb_bus *b, const struct mb_config *config, const struct tpc_allocator *alloc,
                const struct mb_listener *listener, struct tpc_arena *arena, uint64_t now_ms)
{
    uint32_t n = config->slave_count;
    *b = (struct mb_bus){ .config = config, .alloc = alloc, .arena = arena, .listener = *listener };
    b->slaves = tpc_arena_take(arena, n * sizeof(*b->slaves));
    b->healthy.slaves = tpc_arena_take(arena, (n + 1) * sizeof(struct mb_slave *));
    b->degraded.slaves = tpc_arena_take(arena, (n + 1) * sizeof(struct mb_slave *));
    if (b->slaves == NULL || b->healthy.slaves == NULL || b->degraded.slaves == NULL) {
        return TPC_ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct mb_slave *s = &b->slaves[i];
        *s = (struct mb_slave){ .config = &config->slaves[i], .next_ms = now_ms };
        if (make_slave(s, find_like(b->slaves, s), arena) != 0) {
            return TPC_ENOMEM;
        }
        all_due(s, now_ms);
        enter(&b->healthy, s);
    }
    if (pthread_mutex_init(&b->lock, NULL) != 0) {
        return TPC_ENOMEM;
    }
    b->last = &b->first;
    b->made = true;
    return 0;
}

static struct mb_command *take_command(struct mb_bus *b)
{
    pthread_mutex_lock(&b->lock);
    struct mb_command *c = b->first;
    if (c != NULL) {
        b->first = c->next;
        b->last = b->first == NULL ? &b->first : b->last;
        b->waiting--;
    }
    pthread_mutex_unlock(&b->lock);
    return c;
}

static void end_command(struct mb_bus *b, struct mb_command *c, const char *why)
{
    if (why != NULL && c->failure[0] == '\0') {
        snprintf(c->failure, sizeof(c->failure), "%s", why);
    }
    b->listener.ended(b->listener.user, c);
}

static void end_all_commands(struct mb_bus *b, const char *why)
{
    struct mb_command *c;
    while ((c = take_command(b)) != NULL) {
        end_command(b, c, why);
    }
}

void mb_bus_open(struct mb_bus *b)
{
    pthread_mutex_lock(&b->lock);
    b->closed = false;
    pthread_mutex_unlock(&b->lock);
}

void mb_bus_close(struct mb_bus *b)
{
    pthread_mutex_lock(&b->lock);
    b->closed = true;
    pthread_mutex_unlock(&b->lock);
    for (uint32_t i = 0; i < MB_JOBS_MAX; i++) {
        struct mb_job *j = &b->jobs[i];
        if (j->used && j->command != NULL) {
            j->used = false;
            end_command(b, j->command, "stopped");
        }
    }
    end_all_commands(b, "stopped");
}

void mb_bus_fini(struct mb_bus *b)
{
    if (b->made) {
        mb_bus_close(b);
        pthread_mutex_destroy(&b->lock);
        b->made = false;
    }
}

int mb_bus_give(struct mb_bus *b, struct mb_command *c)
{
    pthread_mutex_lock(&b->lock);
    int rc = b->closed ? TPC_EOFFLINE : TPC_EAGAIN;
    if (!b->closed && b->waiting < MB_COMMANDS_MAX) {
        c->next = NULL;
        *b->last = c;
        b->last = &c->next;
        b->waiting++;
        rc = 0;
    }
    pthread_mutex_unlock(&b->lock);
    return rc;
}

/* ---- the next request ---- */

static struct mb_job *free_job(struct mb_bus *b)
{
    for (uint32_t i = 0; i < MB_JOBS_MAX; i++) {
        if (!b->jobs[i].used) {
            return &b->jobs[i];
        }
    }
    return NULL;
}

/* Of one writer: no locked instruction. */
static void more(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + n, memory_order_relaxed);
}

void mb_bus_rtt(struct mb_slave *s, uint64_t us)
{
    more(&s->stats.answers, 1);
    more(&s->stats.rtt_sum, us);
    atomic_store_explicit(&s->stats.rtt_us, us, memory_order_relaxed);
}

static void begin(struct mb_bus *b, struct mb_job *job, uint32_t slave, uint64_t now_ms)
{
    job->used = true;
    job->again = job->overdue = false;
    job->slave = slave;
    job->transaction = ++b->transaction;
    job->request.unit = b->slaves[slave].config->unit;
    job->sent_ms = now_ms;
    job->deadline_ms = now_ms + b->config->timeout_ms;
    more(&b->slaves[slave].stats.requests, 1);
}

static uint8_t write_function(const struct mb_tag *t)
{
    bool single =
        t->writing == MB_WRITE_SINGLE || (t->writing == MB_WRITE_AUTO && t->shape.count == 1);
    if (mb_is_bits(t->function)) {
        return single ? MB_WRITE_COIL : MB_WRITE_COILS;
    }
    return single ? MB_WRITE_REGISTER : MB_WRITE_REGISTERS;
}

/* The request of the item whose turn it is. */
static void command_request(struct mb_job *job, const struct mb_command *c)
{
    const struct mb_item *item = &c->items[c->at];
    const struct mb_tag *t = item->tag;
    bool reading = c->reads || c->phase != MB_PHASE_DO;
    job->request.function = reading ? t->function : write_function(t);
    job->request.address = t->address;
    job->request.count = t->shape.count;
    job->request.data = reading ? NULL : item->data;
}

/* One that has only a part of its register: the rest is read before, to write it as it is. */
static void next_item(struct mb_command *c)
{
    bool part = c->at < c->count && !c->reads && !mb_is_bits(c->items[c->at].tag->function) &&
                mb_write_mask(&c->items[c->at].tag->shape) != 0xffff;
    c->phase = part ? MB_PHASE_BEFORE : MB_PHASE_DO;
}

static struct mb_job *start_command(struct mb_bus *b, struct mb_job *job, struct mb_command *c,
                                    uint64_t now_ms)
{
    *job = (struct mb_job){ .command = c };
    begin(b, job, c->slave, now_ms);
    next_item(c);
    command_request(job, c);
    return job;
}

static struct mb_job *start_read(struct mb_bus *b, struct mb_job *job, struct mb_slave *s,
                                 uint64_t now_ms)
{
    uint32_t first = 0;
    for (uint32_t i = 1; i < s->read_count; i++) {
        first = s->due_ms[i] < s->due_ms[first] ? i : first;
    }
    const struct mb_read *r = &s->reads[first];
    *job = (struct mb_job){ .read = first };
    begin(b, job, (uint32_t) (s - b->slaves), now_ms);
    job->request.function = r->function;
    job->request.address = r->address;
    job->request.count = r->count;
    s->due_ms[first] = UINT64_MAX;
    set_next(b, s);
    return job;
}

static struct mb_job *asked_again(struct mb_bus *b, enum mb_lane lane, uint64_t now_ms)
{
    for (uint32_t i = 0; i < MB_JOBS_MAX; i++) {
        struct mb_job *j = &b->jobs[i];
        bool fits = ((b->slaves[j->slave].pause_ms != 0 ? MB_LANE_DEGRADED : MB_LANE_HEALTHY) &
                     (uint32_t) lane) != 0;
        if (j->used && j->again && fits) {
            begin(b, j, j->slave, now_ms);
            return j;
        }
    }
    return NULL;
}

struct mb_job *mb_bus_next(struct mb_bus *b, enum mb_lane lane, uint64_t now_ms,
                           uint32_t *ret_wait_ms)
{
    struct mb_job *job = asked_again(b, lane, now_ms);
    uint64_t next = UINT64_MAX;
    struct mb_heap *const heaps[] = { &b->healthy, &b->degraded };
    if (job != NULL) {
        return job;
    }
    *ret_wait_ms = UINT32_MAX;
    job = free_job(b);
    if (job == NULL) {
        return NULL;
    }
    struct mb_command *c = NULL;
    while ((lane & MB_LANE_HEALTHY) != 0 && (c = take_command(b)) != NULL) {
        if (c->failure[0] == '\0') {
            return start_command(b, job, c, now_ms);
        }
        end_command(b, c, NULL); /* refused before: nothing of it is done */
    }
    struct mb_slave *s = NULL;
    for (uint32_t i = 0; i < 2; i++) {
        if ((lane & 1u << i) != 0 && heaps[i]->count > 0 && heaps[i]->slaves[1]->next_ms < next) {
            s = heaps[i]->slaves[1];
            next = s->next_ms;
        }
    }
    if (s != NULL && next <= now_ms) {
        return start_read(b, job, s, now_ms);
    }
    if (next != UINT64_MAX) {
        *ret_wait_ms = (uint32_t) (next - now_ms < 3600000 ? next - now_ms : 3600000);
    }
    return NULL;
}

/* ---- what became of it ---- */

static void tell_presence(struct mb_bus *b, struct mb_slave *s, bool online)
{
    if (s->online != online) {
        s->online = online;
        b->listener.presence(b->listener.user, s, online);
    }
}

static void answered(struct mb_bus *b, struct mb_slave *s, uint64_t now_ms)
{
    s->silences = 0;
    if (s->pause_ms != 0) {
        leave(&b->degraded, s);
        s->pause_ms = 0;
        for (uint32_t i = 0; i < s->read_count; i++) {
            s->due_ms[i] = s->due_ms[i] == UINT64_MAX ? UINT64_MAX : now_ms;
        }
        enter(&b->healthy, s);
        set_next(b, s);
    }
    tell_presence(b, s, true);
}

/* Its period counts from when it was asked; periods that are over are passed over. */
static void due_again(struct mb_bus *b, struct mb_slave *s, const struct mb_job *job,
                      uint64_t now_ms, uint64_t wait_ms)
{
    uint64_t due = job->sent_ms + wait_ms;
    if (due <= now_ms) {
        uint64_t over = (now_ms - due) / wait_ms + 1;
        b->missed += over;
        due += over * wait_ms;
    }
    s->due_ms[job->read] = due;
    set_next(b, s);
}

static void degrade(struct mb_bus *b, struct mb_slave *s, uint64_t now_ms)
{
    uint32_t most = b->config->back_off_max_ms;
    if (s->pause_ms == 0) {
        leave(&b->healthy, s);
        s->pause_ms = b->config->back_off_min_ms;
        s->retry_ms = now_ms + s->pause_ms;
        enter(&b->degraded, s);
    } else {
        s->pause_ms = s->pause_ms > most / 2 ? most : s->pause_ms * 2;
        s->retry_ms = now_ms + s->pause_ms;
    }
    set_next(b, s);
    tell_presence(b, s, false);
}

/* An address that it does not have, or a register that fails: who reads more than one tag tries in parts. */
static bool can_split(int exception)
{
    return exception == MB_ILLEGAL_ADDRESS || exception == MB_ILLEGAL_VALUE ||
           exception == MB_DEVICE_FAILURE;
}

static bool reads_under_way(const struct mb_slave *s)
{
    for (uint32_t i = 0; i < s->read_count; i++) {
        if (s->due_ms[i] == UINT64_MAX) {
            return true;
        }
    }
    return false;
}

static void mark_told(struct mb_slave *s, const struct mb_read *r, bool told)
{
    for (uint32_t i = 0; i < r->spans; i++) {
        s->spans[r->first + i].told = told;
    }
}

/* What failed has recovered: its parts are one request again. An address that is not there stays cut off. */
static bool forget_failures(struct mb_slave *s)
{
    bool any = false;
    for (uint32_t i = 0; i < s->config->count; i++) {
        if (s->spans[i].cut == MB_DEVICE_FAILURE) {
            s->spans[i].cut = 0;
            any = true;
        }
    }
    return any;
}

static void read_refused(struct mb_bus *b, struct mb_job *job, int exception, uint64_t now_ms)
{
    struct mb_slave *s = &b->slaves[job->slave];
    bool own = own_plan(b, s); /* without memory it is asked whole again, and said each time */
    const struct mb_read *r = &s->reads[job->read];
    if (own && can_split(exception) && r->spans > 1 && mb_plan_cut(s->spans, r, exception)) {
        b->cuts++;
        s->replan = true;
        s->due_ms[job->read] = now_ms;
        set_next(b, s);
        return;
    }
    bool first = !s->spans[r->first].told;
    if (own) {
        mark_told(s, r, true);
    }
    b->listener.refused(b->listener.user, s, &job->request, exception, first);
    bool for_long = exception <= MB_DEVICE_FAILURE;
    uint64_t pause = b->config->back_off_max_ms;
    due_again(b, s, job, now_ms, for_long && pause > r->poll_ms ? pause : r->poll_ms);
}

/* Into the register as it was. */
static void merge(struct mb_item *item, const uint8_t *old)
{
    uint16_t mask = mb_write_mask(&item->tag->shape);
    const uint8_t ours[] = { (uint8_t) (mask >> 8), (uint8_t) mask };
    for (int i = 0; i < 2; i++) {
        item->data[i] = (uint8_t) ((item->data[i] & ours[i]) | (old[i] & (uint8_t) ~ours[i]));
    }
}

static void command_done(struct mb_bus *b, struct mb_job *job, enum mb_outcome outcome,
                         const uint8_t *data, int exception)
{
    struct mb_command *c = job->command;
    struct mb_item *item = &c->items[c->at];
    const struct mb_tag *t = item->tag;
    int name_len = (int) (t->name.len < 60 ? t->name.len : 60);
    if (outcome == MB_ANSWERED && c->phase == MB_PHASE_BEFORE) {
        merge(item, data);
        c->phase = MB_PHASE_DO;
        job->attempt = 0;
        job->again = true;
        command_request(job, c);
        return;
    }
    if (outcome == MB_ANSWERED && data != NULL && c->reads) {
        memcpy(item->data, data, mb_data_bytes(job->request.function, job->request.count));
    }
    if (outcome == MB_ANSWERED && data != NULL && !c->raw) {
        b->listener.values(b->listener.user, &b->slaves[c->slave], NULL, t, data);
    }
    if (outcome != MB_ANSWERED && c->failure[0] == '\0') {
        snprintf(c->failure, sizeof(c->failure), "%.*s: %s", name_len, t->name.ptr,
                 outcome == MB_REFUSED ? mb_exception_text(exception)
                 : outcome == MB_LOST  ? "the connection went"
                                       : "no answer");
    }
    if (!c->reads && c->phase == MB_PHASE_DO && t->read_back && outcome == MB_ANSWERED) {
        c->phase = MB_PHASE_BACK;
    } else {
        c->at++;
        next_item(c);
    }
    if (c->at == c->count || outcome == MB_SILENT || outcome == MB_LOST) {
        job->used = false;
        end_command(b, c, NULL);
        return;
    }
    job->attempt = 0;
    job->again = true;
    command_request(job, c);
}

/* A write that had no answer may have been done: it is not sent twice, but reads are. */
static bool tries_again(const struct mb_bus *b, const struct mb_job *job, enum mb_outcome outcome)
{
    return outcome == MB_SILENT && job->request.data == NULL &&
           b->slaves[job->slave].pause_ms == 0 && job->attempt < b->config->retries;
}

static void read_done(struct mb_bus *b, struct mb_job *job, enum mb_outcome outcome,
                      const uint8_t *data, int exception, uint64_t now_ms)
{
    struct mb_slave *s = &b->slaves[job->slave];
    const struct mb_read *r = &s->reads[job->read];
    job->used = false;
    if (outcome == MB_ANSWERED) {
        b->listener.values(b->listener.user, s, r, NULL, data);
        if (s->spans[r->first].told) {
            mark_told(s, r, false);
            s->replan = forget_failures(s) || s->replan;
        }
        due_again(b, s, job, now_ms, r->poll_ms);
    } else if (outcome == MB_REFUSED) {
        read_refused(b, job, exception, now_ms);
    } else if (outcome == MB_LOST) {
        s->due_ms[job->read] = now_ms;
        set_next(b, s);
    } else {
        due_again(b, s, job, now_ms, r->poll_ms);
    }
    if (s->replan && !reads_under_way(s)) {
        s->replan = false;
        plan_again(s);
        set_next(b, s);
    }
}

void mb_bus_overdue(struct mb_bus *b, struct mb_job *job)
{
    struct mb_slave *s = &b->slaves[job->slave];
    job->overdue = true;
    s->held++;
    set_next(b, s);
}

void mb_bus_done(struct mb_bus *b, struct mb_job *job, enum mb_outcome outcome, const uint8_t *data,
                 int exception, uint64_t now_ms)
{
    struct mb_slave *s = &b->slaves[job->slave];
    if (job->overdue) {
        job->overdue = false;
        s->held--;
        set_next(b, s);
    }
    bool read = job->command == NULL;
    bool gateway_says =
        outcome == MB_REFUSED && (exception == MB_GATEWAY_PATH || exception == MB_GATEWAY_TARGET);
    more(&s->stats.exceptions, outcome == MB_REFUSED);
    more(&s->stats.timeouts, outcome == MB_SILENT);
    outcome = gateway_says ? MB_SILENT : outcome; /* the gateway waited for it already */
    if (tries_again(b, job, outcome)) {
        job->attempt++;
        job->again = true;
        return;
    }
    if (outcome == MB_ANSWERED || outcome == MB_REFUSED) {
        answered(b, s, now_ms);
    }
    /* Before it is offline: the reply of a command needs its session. */
    if (job->command != NULL) {
        command_done(b, job, outcome, data, exception);
    }
    if (outcome == MB_SILENT && (s->pause_ms != 0 || ++s->silences >= b->config->degraded_after)) {
        degrade(b, s, now_ms);
    }
    if (read) {
        read_done(b, job, outcome, data, exception, now_ms);
    }
}

void mb_bus_unreachable(struct mb_bus *b, const char *why)
{
    for (uint32_t i = 0; i < MB_JOBS_MAX; i++) {
        struct mb_job *j = &b->jobs[i];
        if (j->used && j->again && j->command != NULL) { /* the rest of one that was begun */
            j->used = false;
            end_command(b, j->command, why);
        }
    }
    end_all_commands(b, why);
    for (uint32_t i = 0; i < b->config->slave_count; i++) { /* last: replies need sessions */
        tell_presence(b, &b->slaves[i], false);
    }
}
