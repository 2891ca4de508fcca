#include "broker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PACKET_MAX = 4 + BROKER_TOPIC_MAX + BROKER_PAYLOAD_MAX + 16 };

int broker_init(struct broker *b, const char *host, uint16_t port, const char *client_id)
{
    memset(b, 0, sizeof(*b));
    b->host = host;
    b->port = port;
    b->fd = -1;
    b->next_packet_id = 1;
    size_t len = strlen(client_id);
    if (len >= sizeof(b->client_id)) {
        return -1;
    }
    memcpy(b->client_id, client_id, len + 1);
    b->in = malloc(BROKER_IN_MAX);
    return b->in != NULL ? 0 : -1;
}

void broker_fini(struct broker *b)
{
    if (b->fd >= 0) {
        close(b->fd);
    }
    free(b->in);
    free(b->out);
    memset(b, 0, sizeof(*b));
    b->fd = -1;
}

static void down(struct broker *b, int64_t now_ms)
{
    if (b->fd >= 0) {
        close(b->fd);
        b->fd = -1;
    }
    b->state = BROKER_DOWN;
    b->in_len = b->out_len = 0;
    b->pause_ms = b->pause_ms == 0 ? 100 : b->pause_ms < 2000 ? b->pause_ms * 2 : 2000;
    b->next_try_ms = now_ms + b->pause_ms;
}

static bool queue(struct broker *b, const uint8_t *bytes, size_t len)
{
    if (b->out_len + len > b->out_cap) {
        size_t cap = b->out_cap == 0 ? 8192 : b->out_cap;
        while (cap < b->out_len + len) {
            cap *= 2;
        }
        uint8_t *grown = realloc(b->out, cap);
        if (grown == NULL) {
            return false;
        }
        b->out = grown;
        b->out_cap = cap;
    }
    if (len > 0) {
        memcpy(b->out + b->out_len, bytes, len);
        b->out_len += len;
    }
    return true;
}

static void flush_out(struct broker *b, int64_t now_ms)
{
    while (b->out_len > 0) {
        ssize_t n = send(b->fd, b->out, b->out_len, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                down(b, now_ms);
            }
            return;
        }
        b->out_len -= (size_t) n;
        memmove(b->out, b->out + n, b->out_len);
        b->last_sent_ms = now_ms;
    }
}

/* Writes type, remaining length (section 2.2.3) and body. */
static void packet(struct broker *b, uint8_t head, const uint8_t *body, size_t len)
{
    uint8_t fixed[5] = { head };
    size_t n = 1, rest = len;
    do {
        fixed[n] = (uint8_t) (rest & 0x7f);
        rest >>= 7;
        fixed[n] |= rest != 0 ? 0x80 : 0;
        n++;
    } while (rest != 0);
    queue(b, fixed, n);
    queue(b, body, len);
}

static size_t put_text(uint8_t *at, const char *text)
{
    size_t len = strlen(text);
    at[0] = (uint8_t) (len >> 8);
    at[1] = (uint8_t) len;
    memcpy(at + 2, text, len);
    return len + 2;
}

static void send_connect(struct broker *b)
{
    uint8_t body[512];
    size_t n = put_text(body, "MQTT");
    body[n++] = 4;
    body[n++] =
        (uint8_t) (0x02 | (b->user_name != NULL ? 0x80 : 0) | (b->password != NULL ? 0x40 : 0));
    body[n++] = 0;
    body[n++] = BROKER_KEEP_ALIVE_S;
    n += put_text(body + n, b->client_id);
    if (b->user_name != NULL) {
        n += put_text(body + n, b->user_name);
    }
    if (b->password != NULL) {
        n += put_text(body + n, b->password);
    }
    packet(b, 0x10, body, n);
}

static void send_publish(struct broker *b, struct broker_publish *p)
{
    uint8_t body[PACKET_MAX];
    size_t n = put_text(body, p->topic);
    body[n++] = (uint8_t) (p->packet_id >> 8);
    body[n++] = (uint8_t) p->packet_id;
    memcpy(body + n, p->payload, p->len);
    packet(b, (uint8_t) (0x32 | (p->sent ? 0x08 : 0)), body, n + p->len);
    p->sent = true;
}

static void on_connack(struct broker *b, const uint8_t *body, size_t len, int64_t now_ms)
{
    if (len != 2 || body[1] != 0) {
        down(b, now_ms);
        return;
    }
    b->state = BROKER_UP;
    b->pause_ms = 0;
    b->connects++;
    if (b->filter[0] != '\0') {
        uint8_t sub[BROKER_TOPIC_MAX + 8] = { 0xff, 0xff };
        size_t n = 2 + put_text(sub + 2, b->filter);
        sub[n++] = 1;
        packet(b, 0x82, sub, n);
    }
    for (uint32_t i = 0; i < BROKER_INFLIGHT_MAX; i++) {
        if (b->inflight[i].packet_id != 0) {
            send_publish(b, &b->inflight[i]);
        }
    }
}

static void on_publish(struct broker *b, uint8_t head, const uint8_t *body, size_t len)
{
    if (len < 2) {
        return;
    }
    size_t topic_len = (size_t) body[0] << 8 | body[1];
    size_t at = 2 + topic_len;
    uint32_t qos = (head >> 1) & 3;
    if (at + (qos > 0 ? 2 : 0) > len) {
        return;
    }
    if (qos > 0) {
        packet(b, 0x40, body + at, 2);
        at += 2;
    }
    if (b->on_message != NULL) {
        b->on_message(b->user, (struct tpc_str){ (const char *) body + 2, topic_len },
                      (struct tpc_bytes){ body + at, len - at });
    }
}

static void on_puback(struct broker *b, const uint8_t *body, size_t len)
{
    uint16_t id = len >= 2 ? (uint16_t) ((unsigned int) body[0] << 8 | body[1]) : 0;
    for (uint32_t i = 0; id != 0 && i < BROKER_INFLIGHT_MAX; i++) {
        if (b->inflight[i].packet_id == id) {
            b->inflight[i].packet_id = 0;
            b->inflight_count--;
            if (b->on_acked != NULL) {
                b->on_acked(b->user, b->inflight[i].tag);
            }
            return;
        }
    }
}

static void one_packet(struct broker *b, uint8_t head, const uint8_t *body, size_t len,
                       int64_t now_ms)
{
    switch (head >> 4) {
    case 2:
        on_connack(b, body, len, now_ms);
        break;
    case 3:
        on_publish(b, head, body, len);
        break;
    case 4:
        on_puback(b, body, len);
        break;
    default: /* SUBACK, PINGRESP */
        break;
    }
}

static void read_in(struct broker *b, int64_t now_ms)
{
    ssize_t n = recv(b->fd, b->in + b->in_len, BROKER_IN_MAX - b->in_len, 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            down(b, now_ms);
        }
        return;
    }
    b->in_len += (size_t) n;
    size_t at = 0;
    while (b->state != BROKER_DOWN && b->in_len - at >= 2) {
        size_t len = 0, used = 1;
        uint32_t shift = 0;
        bool whole = false;
        while (at + used < b->in_len && shift <= 21) {
            uint8_t c = b->in[at + used++];
            len |= (size_t) (c & 0x7f) << shift;
            shift += 7;
            if ((c & 0x80) == 0) {
                whole = true;
                break;
            }
        }
        if (used + len > BROKER_IN_MAX) {
            down(b, now_ms);
            return;
        }
        if (!whole || b->in_len - at < used + len) {
            break;
        }
        one_packet(b, b->in[at], b->in + at + used, len, now_ms);
        at += used + len;
    }
    if (b->state != BROKER_DOWN) {
        b->in_len -= at;
        memmove(b->in, b->in + at, b->in_len);
    }
}

static void begin_connect(struct broker *b, int64_t now_ms)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(b->port) };
    if (inet_pton(AF_INET, b->host, &to.sin_addr) != 1) {
        return;
    }
    b->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (b->fd < 0) {
        down(b, now_ms);
        return;
    }
    int one = 1;
    setsockopt(b->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    b->state = BROKER_CONNECTING;
    if (connect(b->fd, (struct sockaddr *) &to, sizeof(to)) != 0 && errno != EINPROGRESS) {
        down(b, now_ms);
    }
}

bool broker_publish(struct broker *b, const char *topic, const void *payload, size_t len,
                    uint64_t tag)
{
    size_t topic_len = strlen(topic);
    if (b->inflight_count == BROKER_INFLIGHT_MAX || len > BROKER_PAYLOAD_MAX ||
        topic_len >= BROKER_TOPIC_MAX) {
        return false;
    }
    struct broker_publish *p = b->inflight;
    while (p->packet_id != 0) {
        p++;
    }
    memcpy(p->topic, topic, topic_len + 1);
    memcpy(p->payload, payload, len);
    p->len = len;
    p->tag = tag;
    p->sent = false;
    /* Ids come round after 65,534 packets; at most 64 are in use, the next free one is near. */
    for (bool taken = true; taken;) {
        p->packet_id = b->next_packet_id;
        b->next_packet_id = (uint16_t) (b->next_packet_id == 0xfffe ? 1 : b->next_packet_id + 1);
        taken = false;
        for (uint32_t i = 0; i < BROKER_INFLIGHT_MAX; i++) {
            taken |= &b->inflight[i] != p && b->inflight[i].packet_id == p->packet_id;
        }
    }
    b->inflight_count++;
    if (b->state == BROKER_UP) {
        send_publish(b, p);
    }
    return true;
}

short broker_tick(struct broker *b, int64_t now_ms)
{
    if (b->state == BROKER_DOWN && now_ms >= b->next_try_ms) {
        begin_connect(b, now_ms);
    }
    if (b->state == BROKER_UP && now_ms - b->last_sent_ms > BROKER_KEEP_ALIVE_S * 500) {
        packet(b, 0xc0, NULL, 0);
    }
    if (b->state >= BROKER_WAIT_CONNACK && b->out_len > 0) {
        flush_out(b, now_ms);
    }
    return (short) (b->fd < 0
                        ? 0
                        : POLLIN | (b->state == BROKER_CONNECTING || b->out_len > 0 ? POLLOUT : 0));
}

void broker_ready(struct broker *b, short events, int64_t now_ms)
{
    if (b->fd < 0 || events == 0) {
        return;
    }
    if (b->state == BROKER_CONNECTING && (events & (POLLOUT | POLLERR | POLLHUP)) != 0) {
        int error = 0;
        socklen_t size = sizeof(error);
        getsockopt(b->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0) {
            down(b, now_ms);
            return;
        }
        b->state = BROKER_WAIT_CONNACK;
        send_connect(b);
    }
    if ((events & (POLLIN | POLLERR | POLLHUP)) != 0) {
        read_in(b, now_ms);
    }
    if (b->fd >= 0 && b->out_len > 0 && b->state != BROKER_CONNECTING) {
        flush_out(b, now_ms);
    }
}
