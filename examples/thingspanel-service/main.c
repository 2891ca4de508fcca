/*
 * A connectivity service for concentrators of meters; ../common/service.c is the program around it.
 * Frame: 0x68, type, length of the body (16 bits, big-endian), body, sum of all bytes before it.
 */
#include "../common/service.h"

enum { REGISTER = 1, HEARTBEAT, READINGS, SET, EVENT, ANSWER = 0x80 };
enum { HEAD = 4, FRAME_MAX = 2048, SERIAL_MAX = 32, METER = 9 };

static int put(struct tpc_buf *out, int type, const void *body, size_t len)
{
    const uint8_t head[HEAD] = { 0x68, (uint8_t) type, (uint8_t) (len >> 8), (uint8_t) len };
    out->need = HEAD + len + 1;
    if (out->need > out->cap) {
        return TPC_ETOOBIG;
    }
    memcpy(out->ptr, head, HEAD);
    memcpy(out->ptr + HEAD, body, len);
    out->ptr[HEAD + len] = service_sum(out->ptr, HEAD + len);
    return 0;
}

static int meter_frame(void *user, struct tpc_bytes b, size_t *ret_bytes)
{
    size_t len = b.len < HEAD ? HEAD : HEAD + service_number(b.ptr + 2, 2) + 1;
    bool bad = b.ptr[0] != 0x68 || len > FRAME_MAX ||
               (b.len >= len && service_sum(b.ptr, len - 1) != b.ptr[len - 1]);
    *ret_bytes = bad ? 1 : b.len >= len ? len : 0; /* 1: the byte behind it may be a first one */
    return bad ? TPC_EDECODE : 0;
}

static int meter_login(void *user, struct tpc_bytes f, struct tpc_service_login *ret)
{
    struct tpc_str serial = { (const char *) f.ptr + HEAD, f.len - HEAD - 1 };
    if (f.ptr[1] != REGISTER || serial.len == 0 || serial.len > SERIAL_MAX) {
        return f.ptr[1] == HEARTBEAT ? TPC_EAGAIN : TPC_EDENIED;
    }
    int rc = service_voucher(&ret->voucher, "serial", serial);
    rc = rc != 0 ? rc : put(&ret->answer, REGISTER | ANSWER, "\0", 1);
    return rc != 0 ? rc : put(&ret->refusal, REGISTER | ANSWER, "\1", 1);
}

static int meter_answer(void *user, struct tpc_bytes f, struct tpc_buf *out)
{
    int type = f.ptr[1];
    if (type == READINGS && f.len > HEAD + 4) { /* its sequence, once it is in the log */
        return put(out, READINGS | ANSWER, f.ptr + HEAD, 4);
    }
    int rc = type <= HEARTBEAT ? put(out, type | ANSWER, "\0", type == REGISTER) : 0;
    return rc != 0 ? rc : type <= HEARTBEAT; /* 1 = nothing to decode */
}

static int meter_decode(void *user, const struct tpc_frame *frame, struct tpc_reading *r)
{
    const uint8_t *b = frame->payload.ptr + HEAD;
    size_t len = frame->payload.len - HEAD - 1;
    if (b[-3] == READINGS && len >= 5 && len == 5u + METER * b[4]) {
        tpc_reading_int(r, "seq", service_number(b, 4));
        for (const uint8_t *m = b + 5; m < b + len; m += METER) {
            service_device(r, m[0]); /* one that the platform does not know is passed over */
            tpc_reading_double(r, "energy_kwh", service_number(m + 1, 4) / 1000.0);
            tpc_reading_int(r, "power", service_number(m + 5, 2));
            tpc_reading_double(r, "voltage", service_number(m + 7, 2) / 10.0);
        }
        return 0;
    }
    if (b[-3] == (SET | ANSWER) && len == 3) {
        return tpc_reading_reply_number(r, service_number(b, 2), b[2], TPC_STR("from the meter"));
    }
    if (b[-3] != EVENT || len < 2 || len != (b[1] == 2 ? 4 : 2) || b[1] > 2) {
        return tpc_reading_fail(r, TPC_EDECODE, "a frame of another type or length");
    }
    service_device(r, b[0]);
    return b[1] == 2 ? service_event(r, "overload", "power", service_number(b + 2, 2))
                     : tpc_reading_event(r, "cover_opened", NULL);
}

static int meter_encode(void *user, const struct tpc_encode *c, struct tpc_buf *out)
{
    int64_t n = -1, address = service_address(c);
    uint32_t id = tpc_encode_number(c, 65535);
    bool relay = service_param(c, "relay", "on", &n);
    bool known = relay || service_param(c, "interval", "seconds", &n) ||
                 service_param(c, "set", "interval", &n);
    if (n < 0 || n > 65535 || address < 0) {
        return known ? TPC_EINVAL : TPC_EUNSUPPORTED;
    }
    const uint8_t body[] = { id >> 8, id, address, relay ? 1 : 2, n >> 8, n };
    return put(out, SET, body, sizeof(body));
}

static void meter_configured(void *core, const struct tpc_service_device *d, int gone)
{
    int64_t seconds;
    if (!gone && d->parent.len == 0 && service_setting(d, "interval", &seconds)) {
        service_command(core, d->device, "interval", "seconds", seconds);
    }
}

static const char vcr[] = TPC_JSON([{ "dataKey": "serial", "label": "Serial", "type": "input" }]);
static const char cfg[] = TPC_JSON([{ "dataKey": "interval", "label": "Interval, s",
                                      "type": "input", "validate": { "type": "number" } }]);
static const struct tpc_service_form forms[] = { { "VCR", NULL, vcr }, { "CFG", NULL, cfg } };

static const struct tpc_service_ops meter = {
    .iface = TPC_IFACE(struct tpc_service_ops, 1),
    .identifier = "meter",
    .forms = TPC_LIST(forms),
    .frame = meter_frame,
    .login = meter_login,
    .answer = meter_answer,
    .decode = meter_decode,
    .encode = meter_encode,
    .configured = meter_configured,
};

int main(int argc, char **argv)
{
    return service_main(argc, argv, &meter);
}
