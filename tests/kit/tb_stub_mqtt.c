#include "tb_stub_server.h"

#include <stdlib.h>
#include <string.h>

/* A body read from its front; bad once it is short. */
struct body {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static uint32_t number(struct body *b, uint32_t bytes)
{
    uint32_t n = 0;
    if (b->left < bytes) {
        b->bad = true;
        return 0;
    }
    for (uint32_t i = 0; i < bytes; i++) {
        n = n << 8 | *b->at++;
    }
    b->left -= bytes;
    return n;
}

static struct stub_text bytes_of(struct body *b, size_t len)
{
    struct stub_text t = { (const char *) b->at, len };
    if (b->left < len) {
        b->bad = true;
        return (struct stub_text){ "", 0 };
    }
    b->at += len;
    b->left -= len;
    return t;
}

static struct stub_text text_of(struct body *b)
{
    return bytes_of(b, number(b, 2));
}

/* Properties of MQTT 5 (section 2.2.2) are skipped. */
static void skip_properties(struct body *b)
{
    size_t len = 0;
    for (uint32_t shift = 0; shift <= 21; shift += 7) {
        uint32_t c = number(b, 1);
        len |= (size_t) (c & 0x7f) << shift;
        if ((c & 0x80) == 0) {
            break;
        }
    }
    bytes_of(b, len);
}

static void put(struct stub_buffer *o, const void *bytes, size_t len)
{
    if (o->len + len > o->cap) {
        o->cap = o->cap == 0 ? 65536 : o->cap;
        while (o->len + len > o->cap) {
            o->cap *= 2;
        }
        o->bytes = realloc(o->bytes, o->cap);
        stub_must(o->bytes != NULL, "memory");
    }
    if (len > 0) {
        memcpy(o->bytes + o->len, bytes, len);
        o->len += len;
    }
}

static void packet(struct stub_session *x, uint8_t head, const uint8_t *body, size_t len)
{
    uint8_t fixed[5] = { head };
    size_t n = 1, rest = len;
    do {
        fixed[n] = (uint8_t) (rest & 0x7f);
        rest >>= 7;
        fixed[n] |= rest != 0 ? 0x80 : 0;
        n++;
    } while (rest != 0);
    put(&x->out, fixed, n);
    put(&x->out, body, len);
}

static bool equal(struct stub_text t, const char *text)
{
    return strlen(text) == t.len && memcmp(t.ptr, text, t.len) == 0;
}

static void connack(struct tb_stub *s, struct stub_session *x, uint8_t v3, uint8_t v5)
{
    uint8_t body[32] = { 0, x->version == 5 ? v5 : v3 };
    size_t n = 2;
    if (x->version == 5) {
        size_t at = n++;
        if (v5 == 0 && s->receive_maximum > 0) {
            body[n++] = 0x21;
            body[n++] = (uint8_t) (s->receive_maximum >> 8);
            body[n++] = (uint8_t) s->receive_maximum;
        }
        if (v5 == 0 && s->packet_maximum > 0) {
            body[n++] = 0x27;
            for (int shift = 24; shift >= 0; shift -= 8) {
                body[n++] = (uint8_t) (s->packet_maximum >> shift);
            }
        }
        body[at] = (uint8_t) (n - at - 1);
    }
    packet(x, 0x20, body, n);
    x->up = v3 == 0;
    x->closing |= v3 != 0;
    s->counts.connects += v3 == 0;
    s->counts.refused += v3 != 0;
}

static void on_connect(struct tb_stub *s, struct stub_session *x, struct body *b)
{
    text_of(b); /* "MQTT" */
    x->version = (uint8_t) number(b, 1);
    uint32_t flags = number(b, 1);
    number(b, 2);
    if (x->version == 5) {
        skip_properties(b);
    }
    text_of(b); /* client id */
    if ((flags & 0x04) != 0) {
        if (x->version == 5) {
            skip_properties(b);
        }
        text_of(b);
        text_of(b);
    }
    struct stub_text user = { "", 0 }, password = { "", 0 };
    if ((flags & 0x80) != 0) {
        user = text_of(b);
    }
    if ((flags & 0x40) != 0) {
        password = text_of(b);
    }
    s->counts.version = x->version;
    x->provisioning = equal(user, "provision");
    if (b->bad) {
        x->closing = true;
    } else if (x->version != 4 && (x->version != 5 || s->only_v3)) {
        connack(s, x, 1, 0x84);
    } else if (s->refuse_v3 != 0) {
        connack(s, x, s->refuse_v3, s->refuse_v5);
    } else if (!x->provisioning && ((!s->any_user && !equal(user, s->user_name)) ||
                                    (!s->any_password && !equal(password, s->password)))) {
        connack(s, x, 5, 0x87);
    } else {
        connack(s, x, 0, 0);
    }
}

static void puback(struct tb_stub *s, struct stub_session *x, uint16_t id, uint8_t reason)
{
    uint8_t body[3] = { (uint8_t) (id >> 8), (uint8_t) id, reason };
    packet(x, 0x40, body, reason != 0 ? 3 : 2);
    s->counts.acked += reason == 0;
    s->counts.nacked += reason != 0;
}

int stub_pubacks(struct tb_stub *s, struct stub_session *x, int64_t now_ms)
{
    while (x->owed_count > 0) {
        const struct stub_owed *o = &x->owed[x->owed_head];
        if (o->due_ms > now_ms) {
            return (int) (o->due_ms - now_ms);
        }
        puback(s, x, o->packet_id, o->reason);
        x->owed_head = (x->owed_head + 1) % STUB_OWED;
        x->owed_count--;
    }
    return -1;
}

static void owe(struct tb_stub *s, struct stub_session *x, uint16_t id, uint8_t reason)
{
    stub_must(x->owed_count < STUB_OWED, "room for acknowledgements");
    x->owed[(x->owed_head + x->owed_count++) % STUB_OWED] =
        (struct stub_owed){ stub_mono_ms() + s->puback_delay_ms, id, reason };
    if (x->owed_count > s->counts.in_flight) {
        s->counts.in_flight = x->owed_count;
    }
}

static bool refused(struct tb_stub *s, struct stub_text payload)
{
    size_t len = strlen(s->refuse_text);
    if (len == 0 || memmem(payload.ptr, payload.len, s->refuse_text, len) == NULL) {
        return false;
    }
    if (s->refuse_times > 0 && --s->refuse_times == 0) {
        s->refuse_text[0] = '\0';
    }
    return true;
}

static void on_publish(struct tb_stub *s, struct stub_session *x, uint8_t head, struct body *b)
{
    struct stub_text topic = text_of(b);
    uint32_t qos = (head >> 1) & 3;
    uint16_t id = qos > 0 ? (uint16_t) number(b, 2) : 0;
    if (x->version == 5) {
        skip_properties(b);
    }
    struct stub_text payload = bytes_of(b, b->left);
    if (b->bad || qos > 1) {
        x->closing = true;
        return;
    }
    if (refused(s, payload)) {
        if (x->version == 5 && qos == 1) {
            owe(s, x, id, s->refuse_reason);
        } else {
            s->counts.dropped++;
            x->closing = true;
        }
        return;
    }
    stub_platform(s, x, topic, payload);
    if (s->drop_every > 0 && ++s->since_drop >= s->drop_every) {
        s->since_drop = 0;
        s->counts.dropped++;
        x->closing = true;
    } else if (qos == 1) {
        owe(s, x, id, 0);
    }
}

static void on_subscribe(struct stub_session *x, struct body *b, bool subscribe)
{
    uint8_t answer[2 + 1 + STUB_FILTERS];
    uint16_t id = (uint16_t) number(b, 2);
    size_t n = 2;
    answer[0] = (uint8_t) (id >> 8);
    answer[1] = (uint8_t) id;
    if (x->version == 5) {
        skip_properties(b);
        answer[n++] = 0;
    }
    while (b->left > 0 && !b->bad && n < sizeof(answer)) {
        struct stub_text filter = text_of(b);
        uint32_t options = subscribe ? number(b, 1) : 0;
        uint32_t at = 0;
        while (at < x->filter_count && !equal(filter, x->filters[at])) {
            at++;
        }
        bool room = filter.len < sizeof(x->filters[0]) && at < STUB_FILTERS;
        if (!subscribe && at < x->filter_count) {
            x->filter_count--;
            memmove(x->filters[at], x->filters[x->filter_count], sizeof(x->filters[0]));
        } else if (subscribe && room) {
            memcpy(x->filters[at], filter.ptr, filter.len);
            x->filters[at][filter.len] = '\0';
            x->filter_count += at == x->filter_count;
        }
        answer[n++] = (uint8_t) (!subscribe          ? 0
                                 : !room             ? 0x80
                                 : (options & 3) > 1 ? 1
                                                     : options & 3);
    }
    bool codes = subscribe || x->version == 5;
    packet(x, subscribe ? 0x90 : 0xb0, answer, codes ? n : 2);
}

static bool matches(const char *filter, const char *topic)
{
    while (*filter != '\0') {
        if (*filter == '#') {
            return true;
        }
        if (*filter == '+') {
            filter++;
            topic += strcspn(topic, "/");
        } else if (*filter++ != *topic++) {
            return false;
        }
    }
    return *topic == '\0';
}

bool stub_send(struct stub_session *x, const char *topic, const char *payload, size_t len)
{
    uint32_t i = 0;
    while (i < x->filter_count && !matches(x->filters[i], topic)) {
        i++;
    }
    if (!x->up || i == x->filter_count) {
        return false;
    }
    size_t topic_len = strlen(topic), n = 0;
    uint8_t *body = malloc(topic_len + len + 8);
    stub_must(body != NULL, "memory");
    body[n++] = (uint8_t) (topic_len >> 8);
    body[n++] = (uint8_t) topic_len;
    memcpy(body + n, topic, topic_len);
    n += topic_len;
    x->next_id = (uint16_t) (x->next_id == 0xffff ? 1 : x->next_id + 1);
    body[n++] = (uint8_t) (x->next_id >> 8);
    body[n++] = (uint8_t) x->next_id;
    if (x->version == 5) {
        body[n++] = 0;
    }
    memcpy(body + n, payload, len);
    packet(x, 0x32, body, n + len);
    free(body);
    return true;
}

static void one_packet(struct tb_stub *s, struct stub_session *x, uint8_t head, struct body *b)
{
    uint8_t type = head >> 4;
    if (!x->up && type != 1) {
        x->closing = true;
        return;
    }
    switch (type) {
    case 1:
        on_connect(s, x, b);
        break;
    case 3:
        on_publish(s, x, head, b);
        break;
    case 4:
        s->counts.pubacks++;
        break;
    case 8:
    case 10:
        on_subscribe(x, b, type == 8);
        break;
    case 12:
        packet(x, 0xd0, NULL, 0);
        break;
    case 14:
        x->closing = true;
        break;
    default:
        x->closing = true;
    }
}

void stub_packets(struct tb_stub *s, struct stub_session *x)
{
    size_t at = 0;
    while (!x->closing && x->in.len - at >= 2) {
        size_t len = 0, used = 1;
        bool whole = false;
        for (uint32_t shift = 0; at + used < x->in.len && shift <= 21 && !whole; shift += 7) {
            uint8_t c = x->in.bytes[at + used++];
            len |= (size_t) (c & 0x7f) << shift;
            whole = (c & 0x80) == 0;
        }
        if (len > STUB_PACKET_MAX) {
            x->closing = true;
        }
        if (!whole || x->in.len - at < used + len) {
            break;
        }
        struct body b = { x->in.bytes + at + used, len, false };
        one_packet(s, x, x->in.bytes[at], &b);
        at += used + len;
    }
    x->in.len -= at;
    if (at > 0) {
        memmove(x->in.bytes, x->in.bytes + at, x->in.len);
    }
}
