/*
 * A serial line by libmodbus: it sets the line, sends, waits, and checks the CRC. What the bytes mean is
 * read by pdu.c, whose buffers are as large as any answer.
 */
#include "line.h"

#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>

static void serial_down(struct mb_lines *l, const char *what, const char *why)
{
    struct mb_line *line = &l->lines[0];
    const struct mb_config *c = l->bus->config;
    char text[160];
    if (l->serial != NULL) {
        modbus_close(l->serial);
        modbus_free(l->serial);
        l->serial = NULL;
    }
    line->pause_ms =
        line->pause_ms == 0 || line->answered ? c->back_off_min_ms : line->pause_ms * 2;
    line->pause_ms = line->pause_ms > c->back_off_max_ms ? c->back_off_max_ms : line->pause_ms;
    line->answered = false;
    line->state = MB_LINE_DOWN;
    line->retry_ms = mb_lines_now(l) + line->pause_ms;
    snprintf(text, sizeof(text), "%s: %s", what, why);
    mb_bus_unreachable(l->bus, text);
    if (!l->told) {
        l->told = true;
        l->failed(l->user, text);
    }
}

static void serial_open(struct mb_lines *l)
{
    const struct mb_config *c = l->bus->config;
    l->serial = modbus_new_rtu(l->url->host, (int) c->baud, c->parity, c->data_bits, c->stop_bits);
    if (l->serial == NULL || modbus_connect(l->serial) != 0) {
        l->counters.connect_failures++;
        serial_down(l, "open", modbus_strerror(errno));
        return;
    }
    if (modbus_get_socket(l->serial) >= FD_SETSIZE) { /* libmodbus waits by select() */
        l->counters.connect_failures++;
        serial_down(l, "open",
                    "its file descriptor is above 1023: open this adapter before others");
        return;
    }
    modbus_set_response_timeout(l->serial, c->timeout_ms / 1000, c->timeout_ms % 1000 * 1000);
    l->lines[0].state = MB_LINE_UP;
    l->counters.connects++;
    l->told = false;
    l->connected(l->user);
}

/* What came was no frame: libmodbus looks at the CRC, the length and the function. */
static bool is_garbage(int error)
{
    return error == EMBBADCRC || error == EMBBADDATA || error == EMBBADEXC || error == EMBMDATA ||
           error == EMBUNKEXC || error == EMBBADSLAVE;
}

/* Sends the request and waits for its answer. */
static void ask(struct mb_lines *l, struct mb_job *job)
{
    uint8_t out[1 + MB_PDU_MAX];
    uint8_t in[MODBUS_MAX_ADU_LENGTH];
    const uint8_t *data = NULL;
    struct mb_answer a;
    int n, rc = -1;
    size_t len = mb_pdu_write(&job->request, out + 1);
    out[0] = job->request.unit;
    modbus_set_slave(l->serial, job->request.unit);
    modbus_flush(l->serial);
    job->sent_us = l->now_us(l->user);
    n = modbus_send_raw_request(l->serial, out, (int) len + 1);
    int error = errno;
    if (n > 0) {
        n = modbus_receive_confirmation(l->serial, in);
        error = errno;
    }
    uint64_t now = mb_lines_now(l);
    if (n < 0 && (error == EIO || error == EBADF || error == ENXIO || error == ENODEV)) {
        l->counters.lost++;
        mb_bus_done(l->bus, job, MB_LOST, NULL, 0, now);
        serial_down(l, "line", modbus_strerror(error));
        return;
    }
    if (n > 0 && mb_rtu_peel(in, (size_t) n, &a) > 0 && a.unit == job->request.unit) {
        rc = mb_pdu_read(&job->request, a.pdu, a.len, &data);
    }
    l->counters.garbage += (n > 0 && rc < 0) || (n < 0 && is_garbage(error));
    if (rc >= 0) {
        mb_bus_rtt(&l->bus->slaves[job->slave], l->now_us(l->user) - job->sent_us);
    }
    l->lines[0].answered = l->lines[0].answered || rc >= 0;
    l->lines[0].quiet_ms = now + l->bus->config->delay_ms;
    mb_bus_done(l->bus, job,
                rc == 0  ? MB_ANSWERED
                : rc > 0 ? MB_REFUSED
                         : MB_SILENT,
                data, rc, now);
}

uint32_t mb_serial_turn(struct mb_lines *l)
{
    struct mb_line *line = &l->lines[0];
    uint64_t now = mb_lines_now(l);
    uint32_t wait = UINT32_MAX;
    if (line->state == MB_LINE_DOWN && line->retry_ms <= now) {
        serial_open(l);
    }
    if (line->state == MB_LINE_DOWN) {
        return line->retry_ms > now ? (uint32_t) (line->retry_ms - now) : 0;
    }
    if (line->quiet_ms > now) {
        return (uint32_t) (line->quiet_ms - now);
    }
    struct mb_job *job = mb_bus_next(l->bus, MB_LANE_BOTH, now, &wait);
    if (job == NULL) {
        return wait;
    }
    ask(l, job);
    return 0;
}

void mb_serial_close(struct mb_lines *l)
{
    if (l->serial != NULL) {
        modbus_close(l->serial);
        modbus_free(l->serial);
        l->serial = NULL;
    }
}
