/* Lines over TCP. */
#include "line.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    UNHEARD_MS = 60000,   /* a modem that vanished: its system acknowledges nothing */
    RTU_SILENCE_MS = 200, /* after a time-out: a late answer must not pass for the next one */
    OVERDUE_MS = 1000     /* after that long a request over TCP holds no other slave up */
};

void mb_lines_init(struct mb_lines *l)
{
    for (uint32_t i = 0; i < MB_LINES; i++) {
        l->lines[i] = (struct mb_line){ .fd = -1 };
    }
}

uint64_t mb_lines_now(const struct mb_lines *l)
{
    return l->now_us(l->user) / 1000;
}

static uint32_t jobs_most(const struct mb_lines *l)
{
    return l->url->transport == MB_TCP ? l->bus->config->pipeline : 1;
}

/* ---- connections ---- */

static void line_down(struct mb_lines *l, struct mb_line *line, const char *why)
{
    const struct mb_config *c = l->bus->config;
    uint64_t now = mb_lines_now(l);
    if (line->fd >= 0) {
        close(line->fd);
    }
    if (line->answered || line->pause_ms == 0) {
        line->pause_ms = c->back_off_min_ms;
    } else {
        line->pause_ms =
            line->pause_ms > c->back_off_max_ms / 2 ? c->back_off_max_ms : line->pause_ms * 2;
    }
    bool was_up = line->state == MB_LINE_UP;
    uint32_t n = line->job_count;
    /* A gateway without its line takes connections, and ends them when something is asked. */
    bool useless = !was_up || (!line->answered && n > 0);
    if (l->url->accepted) { /* nobody can be asked until the other side comes again */
        useless = l->source->news(l->source_user) != MB_NEWS_LINE;
        l->source->gone(l->source_user);
    }
    line->fd = -1;
    line->state = MB_LINE_DOWN;
    /* One that worked is made again at once. */
    line->retry_ms = now + (was_up && line->answered ? 0 : line->pause_ms);
    line->answered = false;
    line->len = 0;
    line->job_count = 0;
    for (uint32_t i = 0; i < n; i++) {
        mb_bus_done(l->bus, line->jobs[i], MB_LOST, NULL, 0, now);
    }
    if (line == &l->lines[0]) {
        if (useless) {
            mb_bus_unreachable(l->bus, why);
        }
        if (!l->told) {
            l->told = true;
            l->failed(l->user, why);
        }
    }
}

static void line_up(struct mb_lines *l, struct mb_line *line)
{
    line->state = MB_LINE_UP;
    line->quiet_ms = 0;
    l->counters.connects++;
    if (line == &l->lines[0]) {
        l->told = false;
        l->connected(l->user);
    }
}

static void failed(struct mb_lines *l, struct mb_line *line, const char *what, const char *why)
{
    char text[160];
    l->counters.connect_failures++;
    snprintf(text, sizeof(text), "%s: %s", what, why);
    line->place++;
    line_down(l, line, text);
}

/* The addresses of the host. A name is looked up for the first line alone, when there is nothing else to be
 * done on this bus: the second uses what was found. Returns 0 or getaddrinfo's code. */
static int look_up(struct mb_lines *l, const struct mb_line *line)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *all = NULL;
    bool again = l->found != NULL && line == &l->lines[0] && line->place > 0 &&
                 line->place % l->found_count == 0;
    if (l->found != NULL && !again) {
        return 0;
    }
    int rc = getaddrinfo(l->url->host, l->url->port, &hints, &all);
    if (rc != 0 || all == NULL) {
        return l->found != NULL ? 0 : rc; /* without an answer those of before are as good */
    }
    if (l->found != NULL) {
        freeaddrinfo(l->found);
    }
    l->found = all;
    l->found_count = 0;
    for (const struct addrinfo *f = all; f != NULL; f = f->ai_next) {
        l->found_count++;
    }
    return 0;
}

static void line_connect(struct mb_lines *l, struct mb_line *line)
{
    int one = 1;
    int rc = look_up(l, line);
    if (rc != 0) {
        failed(l, line, "name", gai_strerror(rc));
        return;
    }
    const struct addrinfo *found = l->found;
    for (uint32_t i = line->place % l->found_count; i > 0; i--) {
        found = found->ai_next;
    }
    line->fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (line->fd >= 0) {
        setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        setsockopt(line->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    }
    rc = line->fd < 0 ? -1 : connect(line->fd, found->ai_addr, found->ai_addrlen);
    int error = errno;
    if (rc == 0) {
        line_up(l, line);
    } else if (line->fd >= 0 && error == EINPROGRESS) {
        line->state = MB_LINE_CONNECTING;
        line->deadline_ms = mb_lines_now(l) + l->bus->config->connect_ms;
    } else {
        char text[80];
        failed(l, line, "connect", strerror_r(error, text, sizeof(text)));
    }
}

/* The other side connects; the newest connection counts. */
static void line_handed(struct mb_lines *l, struct mb_line *line)
{
    enum mb_news news = l->source->news(l->source_user);
    if (news == MB_NEWS_NONE) {
        return;
    }
    if (line->state != MB_LINE_DOWN) {
        l->counters.lost++;
        line_down(l, line, news == MB_NEWS_LINE ? "it came again" : "closed on this side");
    }
    line->fd = l->source->take(l->source_user);
    if (line->fd >= 0) {
        unsigned int unheard_ms = UNHEARD_MS;
        setsockopt(line->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unheard_ms, sizeof(unheard_ms));
        line_up(l, line);
    }
}

static void line_connecting(struct mb_lines *l, struct mb_line *line, uint64_t now)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    int error = 0;
    socklen_t error_len = sizeof(error);
    char text[80];
    getsockopt(line->fd, SOL_SOCKET, SO_ERROR, &error, &error_len);
    if (error != 0) {
        failed(l, line, "connect", strerror_r(error, text, sizeof(text)));
    } else if (getpeername(line->fd, (struct sockaddr *) &peer, &len) == 0) {
        line_up(l, line);
    } else if (now >= line->deadline_ms) {
        failed(l, line, "connect", "no answer in time");
    }
}

/* ---- requests ---- */

static bool send_job(struct mb_lines *l, struct mb_line *line, struct mb_job *job)
{
    uint8_t pdu[MB_PDU_MAX], out[MB_FRAME_MAX];
    size_t len = mb_pdu_write(&job->request, pdu);
    len = l->url->transport == MB_TCP
              ? mb_tcp_wrap(job->transaction, job->request.unit, pdu, len, out)
              : mb_rtu_wrap(job->request.unit, pdu, len, out);
    line->jobs[line->job_count++] = job;
    job->sent_us = l->now_us(l->user);
    return send(line->fd, out, len, MSG_NOSIGNAL) == (ssize_t) len;
}

static void job_over(struct mb_lines *l, struct mb_line *line, uint32_t i, enum mb_outcome outcome,
                     const uint8_t *data, int exception)
{
    struct mb_job *job = line->jobs[i];
    uint64_t now = mb_lines_now(l);
    line->jobs[i] = line->jobs[--line->job_count];
    line->quiet_ms = now + l->bus->config->delay_ms;
    if (outcome == MB_SILENT && l->url->transport == MB_RTU_TCP) {
        line->quiet_ms = now + RTU_SILENCE_MS;
        line->len = 0;
    }
    mb_bus_done(l->bus, job, outcome, data, exception, now);
}

static void time_outs(struct mb_lines *l, struct mb_line *line, uint64_t now)
{
    for (uint32_t i = line->job_count; i > 0; i--) {
        if (i <= line->job_count && line->jobs[i - 1]->deadline_ms <= now) {
            job_over(l, line, i - 1, MB_SILENT, NULL, 0);
        }
    }
}

/* ---- answers ---- */

static void take_answer(struct mb_lines *l, struct mb_line *line, const struct mb_answer *a)
{
    for (uint32_t i = 0; i < line->job_count; i++) {
        struct mb_job *job = line->jobs[i];
        const uint8_t *data = NULL;
        bool ours = job->request.unit == a->unit &&
                    (l->url->transport != MB_TCP || job->transaction == a->transaction);
        int rc = ours ? mb_pdu_read(&job->request, a->pdu, a->len, &data) : -1;
        if (rc >= 0) {
            line->answered = true;
            mb_bus_rtt(&l->bus->slaves[job->slave], l->now_us(l->user) - job->sent_us);
            job_over(l, line, i, rc == 0 ? MB_ANSWERED : MB_REFUSED, data, rc);
            return;
        }
    }
    l->counters.stray++;
}

/* False: the connection has to begin anew. */
static bool take_answers(struct mb_lines *l, struct mb_line *line)
{
    size_t at = 0;
    while (at < line->len) {
        struct mb_answer a;
        int n = l->url->transport == MB_TCP ? mb_tcp_peel(line->in + at, line->len - at, &a)
                                            : mb_rtu_peel(line->in + at, line->len - at, &a);
        if (n < 0) {
            l->counters.garbage++;
            line->len = 0;
            return l->url->transport != MB_TCP; /* a line of RTU frames is silent between them */
        }
        if (n == 0) {
            break;
        }
        take_answer(l, line, &a);
        at += (size_t) n;
    }
    line->len -= at;
    memmove(line->in, line->in + at, line->len);
    return true;
}

static void line_read(struct mb_lines *l, struct mb_line *line)
{
    bool drained = false; /* it gave less than there was room for: no need to ask once more */
    while (line->state == MB_LINE_UP && !drained) {
        size_t room = sizeof(line->in) - line->len;
        ssize_t n = recv(line->fd, line->in + line->len, room, 0);
        drained = n > 0 && (size_t) n < room;
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            char text[80];
            l->counters.lost++;
            line_down(l, line,
                      n == 0 ? "closed by the other side" : strerror_r(errno, text, sizeof(text)));
            return;
        }
        if (line->quiet_ms > mb_lines_now(l) && l->url->transport == MB_RTU_TCP &&
            line->job_count == 0) {
            l->counters.stray++; /* it came too late */
            continue;
        }
        line->len += (size_t) n;
        if (!take_answers(l, line)) {
            line_down(l, line, "what it sends is no Modbus");
        }
    }
}

/* ---- turns ---- */

static uint32_t sooner(uint32_t wait, uint64_t at, uint64_t now)
{
    uint64_t ms = at > now ? at - now : 0;
    return ms < wait ? (uint32_t) ms : wait;
}

/* Requests that count: those that are overdue leave their place to others, as far as there is any. */
static bool has_room(struct mb_lines *l, const struct mb_line *line)
{
    uint32_t count = line->job_count;
    for (uint32_t i = 0; i < line->job_count; i++) {
        count -= line->jobs[i]->overdue;
    }
    return count < jobs_most(l) && line->job_count < sizeof(line->jobs) / sizeof(line->jobs[0]);
}

static void note_overdue(struct mb_lines *l, struct mb_line *line, uint64_t now)
{
    for (uint32_t i = 0; l->url->transport == MB_TCP && i < line->job_count; i++) {
        struct mb_job *job = line->jobs[i];
        if (!job->overdue && now - job->sent_ms >= OVERDUE_MS) {
            mb_bus_overdue(l->bus, job);
        }
    }
}

static uint32_t line_turn(struct mb_lines *l, struct mb_line *line, enum mb_lane lane)
{
    uint64_t now = mb_lines_now(l);
    uint32_t wait = UINT32_MAX, idle = UINT32_MAX;
    if (l->url->accepted) {
        line_handed(l, line);
    } else if (line->state == MB_LINE_DOWN && line->retry_ms <= now) {
        line_connect(l, line);
    } else if (line->state == MB_LINE_CONNECTING) {
        line_connecting(l, line, now);
    }
    if (l->url->transport == MB_TCP) { /* what came while the core said later was in time */
        line_read(l, line);
        now = mb_lines_now(l);
        time_outs(l, line, now);
        note_overdue(l, line, now);
    } else { /* an answer behind its time may be another's */
        time_outs(l, line, now);
        line_read(l, line);
        now = mb_lines_now(l);
    }
    while (line->state == MB_LINE_UP && has_room(l, line) && line->quiet_ms <= now) {
        struct mb_job *job = mb_bus_next(l->bus, lane, now, &idle);
        if (job == NULL) {
            wait = idle < wait ? idle : wait;
            break;
        }
        if (!send_job(l, line, job)) {
            l->counters.lost++;
            line_down(l, line, "it takes no bytes");
        }
    }
    if (line->state == MB_LINE_DOWN) {
        return l->url->accepted ? wait : sooner(wait, line->retry_ms, now);
    }
    if (line->state == MB_LINE_CONNECTING) {
        return sooner(wait, line->deadline_ms, now);
    }
    if (line->quiet_ms > now) {
        wait = sooner(wait, line->quiet_ms, now);
    }
    for (uint32_t i = 0; i < line->job_count; i++) {
        const struct mb_job *job = line->jobs[i];
        bool first = l->url->transport == MB_TCP && !job->overdue;
        uint64_t overdue = job->sent_ms + OVERDUE_MS;
        wait = sooner(wait, first && overdue < job->deadline_ms ? overdue : job->deadline_ms, now);
    }
    return wait;
}

uint32_t mb_lines_turn(struct mb_lines *l)
{
    if (l->url->transport == MB_RTU) {
        return mb_serial_turn(l);
    }
    struct mb_line *second = &l->lines[1];
    bool two = l->url->transport == MB_TCP && !l->url->accepted &&
               (l->bus->degraded.count > 0 || second->job_count > 0) &&
               l->lines[0].state == MB_LINE_UP;
    uint32_t wait = UINT32_MAX;
    if (two) {
        wait = line_turn(l, second, MB_LANE_DEGRADED);
    } else if (second->state != MB_LINE_DOWN) {
        line_down(l, second, "not needed");
        second->retry_ms = 0;
    }
    uint32_t first =
        line_turn(l, &l->lines[0], second->state == MB_LINE_UP ? MB_LANE_HEALTHY : MB_LANE_BOTH);
    return first < wait ? first : wait;
}

void mb_lines_close(struct mb_lines *l)
{
    l->told = true; /* nobody needs to hear of it */
    for (uint32_t i = 0; i < MB_LINES; i++) {
        if (l->lines[i].state != MB_LINE_DOWN) {
            line_down(l, &l->lines[i], "stopped");
        }
    }
    mb_serial_close(l);
    if (l->found != NULL) {
        freeaddrinfo(l->found);
        l->found = NULL;
    }
}
