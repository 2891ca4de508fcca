#include "twin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/error.h"
#include "codec/codec.h"
#include "uplink/private.h"

enum { WIDE_KEYS = 150, ALIKE_KEYS = 40, WIDE_BYTES = WIDE_KEYS * 48 + 64 };

/* Keys of all lengths around a word, keys that JSON must escape, all types with all their limits. */
const char twin_model[] = TPC_JSON({
    "properties": [
        { "id": "t", "type": "double", "min": -40, "max": 125, "step": 0.1, "was": "former_key" },
        { "id": "n7chars", "type": "int", "min": -1000, "max": 100000 },
        { "id": "eight_ch", "type": "float" },
        { "id": "nine_char", "type": "double" },
        { "id": "sixteen_char_key", "type": "int" },
        { "id": "seventeen_chars_k", "type": "text", "length": 40 },
        { "id": "a_key_that_is_longer_than_twenty_four_bytes", "type": "bool" },
        { "id": "a_key_that_is_longer_than_twenty_four_bytez", "type": "bool", "role": "attribute" },
        { "id": "mode", "type": "enum",
          "values": [ { "name": "off", "value": 0 }, { "name": "on", "value": 1 },
                      { "name": "2", "value": 7 } ] },
        { "id": "when", "type": "date" },
        { "id": "pos", "type": "struct",
          "fields": [ { "id": "lat", "type": "double", "min": -90, "max": 90, "required": true },
                      { "id": "lon", "type": "double" } ] },
        { "id": "list", "type": "array", "size": 4, "items": { "type": "int", "max": 50 } },
        { "id": "温度", "type": "double" },
        { "id": "a\"b\\c", "type": "int" },
        { "id": "T", "type": "int", "role": "attribute", "access": "rw", "was": [ "tau", "f" ] } ],
    "events": [ { "id": "alarm", "output": [ { "id": "level", "type": "int" } ] } ] });

struct side {
    struct tpi_uplink *u;
    struct tpi_uplink_counters counters;
    struct tpi_product product;
    struct tpc_device device;
    struct tpi_tenant tenant;
};

struct twin {
    struct tpi_env env;
    struct tpi_model *model;
    struct tpi_model *wide;
    struct tpi_model *alike;
    struct tpi_model *clamp;
    struct tpi_model *keep;
    struct side direct;
    struct side plain;
    char text[256];
};

bool portable_direct_json(struct tpi_direct *d, struct tpi_json *r, uint32_t flags);
bool portable_direct_cbor(struct tpi_direct *d, struct tpc_bytes bytes);

static const struct tpc_codec_ops *const codecs[TWIN_CODECS] = { &tpi_codec_json, &tpi_codec_cbor,
                                                                 &tpi_codec_alink,
                                                                 &tpi_codec_thingspanel };

static void must(bool ok)
{
    if (!ok) {
        fprintf(stderr, "twin: out of memory\n");
        abort();
    }
}

static struct tpi_model *compile(const char *text, enum tpi_enforce enforce)
{
    struct tpc_arena *arena;
    struct tpc_value v;
    struct tpi_model *m = NULL;
    must(tpc_arena_create(NULL, 0, &arena) == 0 &&
         tpc_json_parse(arena, tpc_str_from(text), 0, NULL, &v) == 0 &&
         tpi_model_compile(NULL, &v, NULL, enforce, 1, NULL, &m) == 0);
    tpc_arena_destroy(arena);
    return m;
}

/* Properties "k7", or "the_same7all_over". */
static struct tpi_model *compile_many(int count, const char *before, const char *behind)
{
    char *text = malloc(WIDE_BYTES);
    must(text != NULL);
    int at = snprintf(text, WIDE_BYTES, "{\"properties\":[");
    for (int i = 0; i < count; i++) {
        at +=
            snprintf(text + at, (size_t) (WIDE_BYTES - at), "%s{\"id\":\"%s%d%s\",\"type\":\"%s\"}",
                     i == 0 ? "" : ",", before, i, behind, i % 3 == 0 ? "int" : "double");
    }
    snprintf(text + at, (size_t) (WIDE_BYTES - at), "]}");
    struct tpi_model *m = compile(text, TPI_ENFORCE_USUAL);
    free(text);
    return m;
}

static int no_append(void *user, struct tpc_record *records, uint32_t count, struct tpc_error *err)
{
    (void) user;
    (void) records;
    (void) count;
    (void) err;
    return 0;
}

static void open_side(struct twin *t, struct side *s)
{
    struct tpi_uplink_host host = { .counters = &s->counters,
                                    .append = no_append,
                                    .unwrap = tpi_codec_unwrap };
    must(tpi_uplink_create(&t->env, &host, NULL, &s->u) == 0);
    s->tenant.key = TPC_STR("main");
    s->product.revision = 1;
    s->product.tenant = s->tenant.key;
    s->product.key = TPC_STR("thermo");
    s->device.id = 5;
    s->device.tenant = &s->tenant;
    s->device.product = &s->product;
    s->device.key = TPC_STR("d1");
}

struct twin *twin_create(void)
{
    struct twin *t = calloc(1, sizeof(*t));
    must(t != NULL);
    tpi_env_default(&t->env);
    t->model = compile(twin_model, TPI_ENFORCE_USUAL);
    t->clamp = compile(twin_model, TPI_ENFORCE_CLAMP);
    t->keep = compile(twin_model, TPI_ENFORCE_KEEP);
    t->wide = compile_many(WIDE_KEYS, "k", "");
    t->alike = compile_many(ALIKE_KEYS, "the_same", "all_over");
    open_side(t, &t->direct);
    open_side(t, &t->plain);
    return t;
}

void twin_destroy(struct twin *t)
{
    tpi_uplink_destroy(t->direct.u);
    tpi_uplink_destroy(t->plain.u);
    tpi_model_unref(t->model);
    tpi_model_unref(t->wide);
    tpi_model_unref(t->alike);
    tpi_model_unref(t->clamp);
    tpi_model_unref(t->keep);
    free(t);
}

/* Nothing of the frame before is left but what was learned from it. */
static void reset(struct side *s, const struct twin_frame *f)
{
    struct tpi_uplink *u = s->u;
    u->msg_count = u->point_count = 0;
    u->keys_added = 0;
    u->no_memory = u->open = false;
    tpi_buf_clear(&u->bodies);
    tpc_arena_reset(u->arena);
    tpi_dedup_fini(&u->dedup);
    tpi_dedup_init(&u->dedup, u->env->alloc);
    atomic_store(&s->counters.points_refused, 0);
    atomic_store(&s->counters.points_clamped, 0);
    atomic_store(&s->counters.points_beyond, 0);
    atomic_store(&s->counters.points_kept, 0);
    struct tpi_up_input *in = &u->inputs[0];
    memset(in, 0, sizeof(*in));
    in->frame.size = sizeof(in->frame);
    in->frame.kind = f->kind;
    in->frame.payload = f->payload;
    in->frame.unix_ms = (f->flags & TWIN_NO_TIME) != 0 ? 0 : 1795176000123;
    in->frame.correlation = tpc_str_from((f->flags & TWIN_ANSWERED) != 0 ? "m1" : "");
    in->device = &s->device;
    in->tenant = s->tenant.key;
    in->received_unix_ms = 1795176000999;
    u->input_count = 1;
    memset(&u->states[0], 0, sizeof(u->states[0]));
    u->states[0].payload = f->payload;
    u->base = 0;
    u->count = 1;
    u->product = &s->product;
    u->target = &s->device;
}

/* As decode_one() of the way up. */
static int run(struct side *s, const struct twin_frame *f, struct tpc_decode_sink *sink)
{
    struct tpi_uplink *u = s->u;
    struct tpc_error err;
    if ((f->flags & TWIN_WRAPPED) != 0) {
        struct tpc_str device;
        int rc = tpi_codec_unwrap(f->payload, u->arena, &err, &device, &u->states[0].payload);
        if (rc != 0) {
            up_refuse(u, 0, &err);
            return 0;
        }
    }
    u->frame = u->inputs[0].frame;
    u->frame.payload = u->states[0].payload;
    u->frame.product = s->product.key;
    u->frame.device = s->device.key;
    int rc = s->product.codec->decode(NULL, 0, NULL, &u->frame, 1, sizeof(u->frame), sink);
    if (rc == 0 && u->open) {
        tpi_error_set(&err, TPC_EDECODE, "codec", "the codec left a message unfinished");
        up_refuse(u, 0, &err);
    }
    return rc;
}

static const char *differ(struct twin *t, const char *what, uint64_t direct, uint64_t plain)
{
    snprintf(t->text, sizeof(t->text), "%s: %llu straight, %llu by the general reader", what,
             (unsigned long long) direct, (unsigned long long) plain);
    return t->text;
}

/* Keys of the model are views of it; others are where each way put them. */
static bool same_key(const struct tpc_point *a, const struct tpc_point *b)
{
    return a->property != TPC_PROPERTY_NONE
               ? a->key.ptr == b->key.ptr
               : b->property == TPC_PROPERTY_NONE && tpc_str_equal(a->key, b->key) != 0;
}

static const char *compare(struct twin *t)
{
    const struct tpi_uplink *d = t->direct.u;
    const struct tpi_uplink *p = t->plain.u;
    uint64_t bad_d = atomic_load(&t->direct.counters.points_refused);
    uint64_t bad_p = atomic_load(&t->plain.counters.points_refused);
    if (d->no_memory || p->no_memory) {
        return differ(t, "out of memory", d->no_memory, p->no_memory);
    }
    if (d->msg_count != p->msg_count) {
        return differ(t, "messages", d->msg_count, p->msg_count);
    }
    if (bad_d != bad_p) {
        return differ(t, "refused values", bad_d, bad_p);
    }
    if (atomic_load(&t->direct.counters.points_clamped) !=
            atomic_load(&t->plain.counters.points_clamped) ||
        atomic_load(&t->direct.counters.points_beyond) !=
            atomic_load(&t->plain.counters.points_beyond) ||
        atomic_load(&t->direct.counters.points_kept) !=
            atomic_load(&t->plain.counters.points_kept)) {
        return differ(t, "marked values", atomic_load(&t->direct.counters.points_clamped),
                      atomic_load(&t->plain.counters.points_clamped));
    }
    if (d->bodies.len != p->bodies.len ||
        memcmp(d->bodies.ptr, p->bodies.ptr, d->bodies.len) != 0) {
        return differ(t, "bytes of records", d->bodies.len, p->bodies.len);
    }
    for (uint32_t i = 0; i < d->msg_count; i++) {
        const struct tpc_msg *a = &d->msgs[i].msg;
        const struct tpc_msg *b = &p->msgs[i].msg;
        bool same = a->kind == b->kind && a->flags == b->flags && a->unix_ms == b->unix_ms &&
                    a->code == b->code && a->point_count == b->point_count &&
                    d->msgs[i].answer == p->msgs[i].answer && d->msgs[i].got == p->msgs[i].got &&
                    d->msgs[i].first_point == p->msgs[i].first_point;
        if (!same) {
            return differ(t, "head of message", i, i);
        }
        for (uint32_t k = 0; k < a->point_count; k++) {
            uint32_t at = d->msgs[i].first_point + k;
            if (d->indexes[at] != p->indexes[at] || !same_key(&d->points[at], &p->points[at]) ||
                d->points[at].flags != p->points[at].flags ||
                d->points[at].unix_ms != p->points[at].unix_ms) {
                return differ(t, "property of point", d->indexes[at], p->indexes[at]);
            }
        }
    }
    return t->direct.device.estimated_unix_ms == t->plain.device.estimated_unix_ms
               ? NULL
               : differ(t, "estimated time", (uint64_t) t->direct.device.estimated_unix_ms,
                        (uint64_t) t->plain.device.estimated_unix_ms);
}

/* Counts the messages that went straight. */
static int (*given)(struct tpi_direct *d, uint32_t frame, const struct tpc_decoded *head);
static int straight;

static int count_message(struct tpi_direct *d, uint32_t frame, const struct tpc_decoded *head)
{
    straight++;
    return given(d, frame, head);
}

const char *twin_compare(struct twin *t, const struct twin_frame *f, int *ret_direct)
{
    struct tpc_decode_sink sink;
    struct side *sides[2] = { &t->direct, &t->plain };
    int rc[2];
    for (int i = 0; i < 2; i++) {
        struct side *s = sides[i];
        s->product.model = (f->flags & TWIN_WIDE) != 0    ? t->wide
                           : (f->flags & TWIN_ALIKE) != 0 ? t->alike
                           : (f->flags & TWIN_CLAMP) != 0 ? t->clamp
                           : (f->flags & TWIN_KEEP) != 0  ? t->keep
                                                          : t->model;
        s->product.keep_unknown = (f->flags & TWIN_OPEN) != 0;
        s->product.codec = codecs[f->codec % TWIN_CODECS];
        reset(s, f);
        up_sink(s->u, &sink);
        if (i == 1) {
            sink.direct = NULL;
        } else {
            given = s->u->direct.message;
            s->u->direct.message = count_message;
            straight = 0;
        }
        if (i == 0 && (f->flags & TWIN_PORTABLE) != 0) {
            s->u->direct.json = portable_direct_json;
            s->u->direct.cbor = portable_direct_cbor;
        }
        rc[i] = run(s, f, &sink);
    }
    if (ret_direct != NULL) {
        *ret_direct = straight;
    }
    return rc[0] != rc[1] ? differ(t, "codes", (uint64_t) rc[0], (uint64_t) rc[1]) : compare(t);
}
