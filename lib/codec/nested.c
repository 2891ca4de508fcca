/*
 * A gateway's tree (contract thingspanel 1.7), read once and without a tree of values:
 *
 *   {"gateway_data": X, "sub_device_data": {"addr": X}, "sub_gateway_data": {"addr": {same again}}}
 *
 * X is an object of values, or an event. Every member is optional or null; others are passed over.
 */
#include "base/error.h"
#include "codec/emit.h"
#include "data/json_read.h"

enum { SUB_GATEWAYS = 5 }; /* levels below the top one */

struct nest {
    const struct tpc_frame *frame;
    const struct tpc_decode_sink *sink;
    struct tpc_error *err;
    struct tpc_decoded head; /* of values */
    struct tpi_json r;
    uint32_t index;
    uint32_t level;
};

static int bad(struct nest *n, const char *what)
{
    tpi_error_set(n->err, TPC_EDECODE, "thingspanel", "must be an object");
    tpi_error_at(n->err, what);
    return TPC_EDECODE;
}

/* The value whose first event is MAP, passed over. */
static int skip(struct nest *n)
{
    return tpi_json_skip(&n->r, TPI_JSON_MAP) != 0 ? tpi_json_fail(&n->r, n->err) : 0;
}

/* Values: as the model directs, else by the general way. */
static int read_values(struct nest *n)
{
    struct tpi_direct *d = tpi_codec_direct(n->sink);
    struct tpi_json at = n->r;
    if (d != NULL && d->json(d, &n->r, 0)) {
        return d->message(d, n->index, &n->head) != 0 ? TPI_CODEC_ENDED : 0;
    }
    n->r = at;
    if (n->sink->begin(n->sink->user, n->index, &n->head) != 0) {
        return TPI_CODEC_ENDED;
    }
    int rc = tpi_codec_read_points(&n->r, n->sink, n->err);
    if (rc != 0) {
        return rc;
    }
    return n->sink->end(n->sink->user) != 0 ? TPI_CODEC_ENDED : 0;
}

static int read_event(struct nest *n)
{
    struct tpc_value v;
    int rc = tpi_json_tree(&n->r, TPI_JSON_MAP, n->sink->arena, 0, n->err, &v);
    if (rc != 0 || v.len == 0) {
        return rc;
    }
    return tpi_codec_event(n->frame, n->index, &v, n->sink, n->head.flags, n->err);
}

static int read_leaf(struct nest *n)
{
    return n->frame->kind == TPC_MSG_EVENT ? read_event(n) : read_values(n);
}

static int read_tree(struct nest *n);

/* {"addr": part, ..}, whose MAP was read. */
static int read_parts(struct nest *n, const char *what, int (*part)(struct nest *n))
{
    int event = tpi_json_next(&n->r);
    while (event == TPI_JSON_KEY) {
        struct tpc_str address = n->r.text;
        if (n->r.escaped && tpi_json_unescape(&n->r, n->sink->arena, &address) != 0) {
            return tpi_error_set(n->err, TPC_ENOMEM, "thingspanel", "no memory for an address");
        }
        event = tpi_json_next(&n->r);
        if (event == TPI_JSON_ERROR) {
            break;
        }
        if (event == TPI_JSON_MAP) {
            static const struct tpc_str none = { NULL, 0 };
            bool known = tpi_codec_enter(n->sink, n->index, none, address);
            int rc = known ? part(n) : skip(n);
            if (known) {
                n->sink->leave(n->sink->user);
            }
            if (rc != 0) {
                return rc;
            }
        } else if (event != TPI_JSON_NULL) {
            return bad(n, what);
        }
        event = tpi_json_next(&n->r);
    }
    return event == TPI_JSON_ERROR ? tpi_json_fail(&n->r, n->err) : 0;
}

static int read_member(struct nest *n, struct tpc_str key)
{
    bool own = tpc_str_equal(key, TPC_STR("gateway_data"));
    bool subs = !own && tpc_str_equal(key, TPC_STR("sub_device_data"));
    bool gateways = !own && !subs && tpc_str_equal(key, TPC_STR("sub_gateway_data"));
    int event = tpi_json_next(&n->r);
    if (event == TPI_JSON_ERROR) {
        return tpi_json_fail(&n->r, n->err);
    }
    if (!own && !subs && !gateways) {
        return tpi_json_skip(&n->r, event) != 0 ? tpi_json_fail(&n->r, n->err) : 0;
    }
    if (event == TPI_JSON_NULL) {
        return 0;
    }
    if (event != TPI_JSON_MAP) {
        return bad(n, own ? "gateway_data" : subs ? "sub_device_data" : "sub_gateway_data");
    }
    if (own) {
        return read_leaf(n);
    }
    if (subs) {
        return read_parts(n, "sub_device_data", read_leaf);
    }
    if (n->level == SUB_GATEWAYS) {
        return skip(n);
    }
    n->level++;
    int rc = read_parts(n, "sub_gateway_data", read_tree);
    n->level--;
    return rc;
}

/* The object whose MAP was read, up to and with its end. */
static int read_tree(struct nest *n)
{
    int event = tpi_json_next(&n->r);
    while (event == TPI_JSON_KEY) {
        struct tpc_str key = n->r.text;
        if (n->r.escaped && tpi_json_unescape(&n->r, n->sink->arena, &key) != 0) {
            return tpi_error_set(n->err, TPC_ENOMEM, "thingspanel", "no memory for a key");
        }
        int rc = read_member(n, key);
        if (rc != 0) {
            return rc;
        }
        event = tpi_json_next(&n->r);
    }
    return event == TPI_JSON_ERROR ? tpi_json_fail(&n->r, n->err) : 0;
}

int tpi_codec_nested(const struct tpc_frame *frame, uint32_t index,
                     const struct tpc_decode_sink *sink, const struct tpc_decoded *head,
                     struct tpc_error *err)
{
    struct nest n = { .frame = frame, .sink = sink, .err = err, .head = *head, .index = index };
    n.head.flags |= TPC_DECODED_PART;
    tpi_json_begin(&n.r, tpi_codec_payload_text(frame));
    int event = tpi_json_next(&n.r);
    if (event == TPI_JSON_ERROR) {
        return tpi_json_fail(&n.r, err);
    }
    if (event != TPI_JSON_MAP) {
        return tpi_error_set(err, TPC_EDECODE, "thingspanel", "an object was expected");
    }
    int rc = read_tree(&n);
    if (rc == 0 && tpi_json_next(&n.r) != TPI_JSON_END) {
        rc = tpi_json_fail(&n.r, err);
    }
    return rc;
}
