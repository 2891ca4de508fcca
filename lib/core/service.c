/* tpc_service_serve(): a program's functions as a codec, with its product and target. */
#include "core/service.h"

#include <string.h>
#include <tpcore/codec.h>
#include <tpcore/entity.h>
#include <tpcore/json.h>

#include "base/hash.h"
#include "codec/codec.h"
#include "codec/emit.h"

enum {
    PRODUCT_ARENA_BYTES = 8 << 20,
    PRODUCT_MEMBERS = 64,
    FRAME_FIRST_BYTES = 512,
    FRAME_MAX_BYTES = 1 << 20 /* of a command to a device */
};

#define SERVICE "service.platform"
#define TARGET "platform"

struct tpi_serving {
    struct tpc_service_ops ops; /* of this library's size */
    void *user;
    bool served;
    struct tpi_numbers numbers;
};

/* ---- numbers ---- */

static uint16_t *list_of(struct tpi_numbers *n, uint64_t whose)
{
    return &n->newest[whose % TPI_NUMBER_LISTS];
}

/* The newest of a device, with a number or else with a correlation. Under the lock. */
static const struct tpi_number *look(struct tpi_numbers *n, uint64_t whose, uint32_t number,
                                     struct tpc_str correlation)
{
    for (uint32_t at = *list_of(n, whose); at != 0; at = n->known[at - 1].behind) {
        const struct tpi_number *k = &n->known[at - 1];
        bool same = number != 0 ? k->number == number
                                : tpc_str_equal((struct tpc_str){ k->correlation, k->len },
                                                correlation) != 0;
        if (k->device == whose && same) {
            return k;
        }
    }
    return NULL;
}

/* Takes the oldest, which is the last of its list, off that. Under the lock. */
static struct tpi_number *reuse(struct tpi_numbers *n)
{
    struct tpi_number *k = &n->known[n->at];
    uint16_t *from = list_of(n, k->device);
    while (k->number != 0 && *from != n->at + 1) {
        from = &n->known[*from - 1].behind;
    }
    if (k->number != 0) {
        *from = 0;
    }
    n->at = (n->at + 1) % TPI_NUMBERS;
    return k;
}

uint32_t tpi_number_find(struct tpi_numbers *n, struct tpc_str device, uint32_t number,
                         char text[TPI_NUMBER_TEXT])
{
    uint32_t len = 0;
    pthread_mutex_lock(&n->lock);
    const struct tpi_number *k = number != 0 ? look(n, tpi_hash(device.ptr, device.len, 0), number,
                                                    (struct tpc_str){ NULL, 0 })
                                             : NULL;
    if (k != NULL) {
        len = k->len;
        memcpy(text, k->correlation, len);
    }
    pthread_mutex_unlock(&n->lock);
    return len;
}

/* Under the lock. */
static uint32_t give(struct tpi_numbers *n, uint64_t whose, struct tpc_str correlation,
                     uint32_t most)
{
    uint16_t at = (uint16_t) (n->at + 1);
    struct tpi_number *k = reuse(n);
    uint16_t *list = list_of(n, whose);
    *k = (struct tpi_number){ .device = whose,
                              .number = n->next++ % most + 1,
                              .behind = *list,
                              .len = (uint16_t) correlation.len };
    memcpy(k->correlation, correlation.ptr, correlation.len);
    *list = at;
    return k->number;
}

uint32_t tpc_encode_number(const struct tpc_encode *command, uint32_t most)
{
    size_t size = offsetof(struct tpc_encode, numbers) + sizeof(command->numbers);
    if (most == 0 || command == NULL || command->size < size || command->numbers == NULL) {
        return 1;
    }
    struct tpi_numbers *n = command->numbers;
    struct tpc_str c = command->correlation;
    if (c.len == 0 || c.len > TPI_NUMBER_TEXT) {
        return 1; /* nobody waits for an answer */
    }
    uint64_t whose = tpi_hash(command->device.ptr, command->device.len, 0);
    pthread_mutex_lock(&n->lock);
    const struct tpi_number *k = look(n, whose, 0, c);
    uint32_t number = k != NULL && k->number <= most ? k->number : give(n, whose, c, most);
    pthread_mutex_unlock(&n->lock);
    return number;
}

/* ---- the codec ---- */

/* Presence is the transport's word, not the protocol's. */
static int service_decode(void *self, uint32_t worker, void *program,
                          const struct tpc_frame *frames, uint32_t count, size_t frame_size,
                          const struct tpc_decode_sink *sink)
{
    struct tpi_serving *s = self;
    const char *p = (const char *) frames;
    for (uint32_t i = 0; i < count; i++, p += frame_size) {
        const struct tpc_frame *f = (const struct tpc_frame *) (const void *) p;
        if (f->kind == TPC_MSG_PRESENCE && count == 1) {
            return tpi_codec_json.decode(NULL, worker, program, f, 1, frame_size, sink);
        }
        tpi_reading_run(&s->ops, s->user, &s->numbers, f, i, sink);
    }
    return 0;
}

static int encode_failed(const struct tpc_encode *what, int rc, struct tpc_error *err)
{
    rc = rc < 0 ? rc : TPC_EINVAL;
    return tpi_error_set(err, rc, "service",
                         rc == TPC_EUNSUPPORTED ? "the devices know no %.*s (%s)"
                                                : "%.*s cannot be encoded: %s",
                         (int) (what->name.len < 64 ? what->name.len : 64),
                         what->name.len > 0 ? what->name.ptr : "", tpc_error_name(rc));
}

static int service_encode(void *self, uint32_t worker, void *program, const struct tpc_encode *what,
                          struct tpc_arena *arena, struct tpc_error *err, struct tpc_bytes *ret)
{
    struct tpi_serving *s = self;
    struct tpc_encode e = *what;
    struct tpc_buf out = { .cap = FRAME_FIRST_BYTES };
    (void) worker;
    (void) program;
    e.size = sizeof(e);
    e.numbers = &s->numbers;
    int rc = s->ops.encode == NULL ? TPC_EUNSUPPORTED : TPC_ETOOBIG;
    for (int pass = 0; pass < 2 && rc == TPC_ETOOBIG; pass++) {
        out.ptr = tpc_arena_take(arena, out.cap);
        if (out.ptr == NULL) {
            return tpi_error_set(err, TPC_ENOMEM, "service", "no memory for a frame");
        }
        out.need = 0;
        rc = s->ops.encode(s->user, &e, &out);
        rc = rc == 0 && out.need > out.cap ? TPC_ETOOBIG : rc;
        if (rc == TPC_ETOOBIG && (out.need <= out.cap || out.need > FRAME_MAX_BYTES)) {
            break; /* more room would not help */
        }
        out.cap = rc == TPC_ETOOBIG ? out.need : out.cap;
    }
    if (rc != 0) {
        return encode_failed(what, rc, err);
    }
    *ret = (struct tpc_bytes){ out.ptr, out.need };
    return 0;
}

/* What is for a device behind a gateway is one of the gateway's frames. */
static bool service_nests(void *self, void *program)
{
    (void) self;
    (void) program;
    return true;
}

static const struct tpc_codec_ops service_codec = {
    .iface = TPC_IFACE(struct tpc_codec_ops, 1),
    .name = "service",
    .compile = tpi_codec_compile_none,
    .release = tpi_codec_release_none,
    .decode = service_decode,
    .encode = service_encode,
    .nests = service_nests,
};

/* ---- product and target ---- */

static struct tpc_member text_member(struct tpc_str key, struct tpc_str text)
{
    return (struct tpc_member){ key, tpi_codec_text(text) };
}

/* Puts what is not there. */
static int put(struct tpc_core *core, const char *kind, const struct tpc_value *doc,
               struct tpc_arena *arena, struct tpc_error *err)
{
    struct tpc_bytes json;
    int rc = tpi_codec_write_json(doc, arena, err, &json);
    if (rc != 0) {
        return rc;
    }
    struct tpc_str text = { (const char *) json.ptr, json.len };
    rc = tpc_entity_put(core, NULL, kind, text, TPC_NO_REV, NULL);
    return rc == TPC_ECONFLICT ? 0 : rc;
}

static int put_product(struct tpc_core *core, const struct tpc_service_ops *ops,
                       struct tpc_arena *arena, struct tpc_error *err)
{
    static const struct tpc_member no_properties = { TPC_STR_INIT("properties"),
                                                     { .type = TPC_ARRAY } };
    struct tpc_member members[PRODUCT_MEMBERS + 4];
    struct tpc_value given = { .type = TPC_MAP };
    struct tpc_str id = tpc_str_from(ops->identifier);
    size_t n = 0;
    int rc = ops->product_json != NULL
                 ? tpc_json_parse(arena, tpc_str_from(ops->product_json), 0, err, &given)
                 : 0;
    if (rc == 0 && (given.type != TPC_MAP || given.len > PRODUCT_MEMBERS)) {
        rc = tpi_error_set(err, TPC_EINVAL, "service", "must be an object of up to %d members",
                           PRODUCT_MEMBERS);
    }
    if (rc != 0) {
        tpi_error_at(err, "product_json");
        return rc;
    }
    members[n++] = text_member(TPC_STR("key"), id);
    if (tpc_value_get(&given, TPC_STR("codec")) == NULL) {
        members[n++] = text_member(TPC_STR("codec"), id);
    }
    for (size_t i = 0; i < given.len; i++) {
        if (!tpc_str_equal(given.as.members[i].key, TPC_STR("key"))) {
            members[n++] = given.as.members[i];
        }
    }
    if (tpc_value_get(&given, TPC_STR("unknown")) == NULL) {
        members[n++] = text_member(TPC_STR("unknown"), TPC_STR("keep"));
    }
    if (tpc_value_get(&given, TPC_STR("model")) == NULL) {
        members[n++] = (struct tpc_member){ TPC_STR("model"), tpi_codec_map(&no_properties, 1) };
    }
    struct tpc_value doc = tpi_codec_map(members, n);
    return put(core, "product", &doc, arena, err);
}

/* A platform above that comes back is told soon. */
static int put_target(struct tpc_core *core, const struct tpi_part *part, struct tpc_arena *arena,
                      struct tpc_error *err)
{
    struct tpc_value filter = tpi_codec_text(TPC_STR("main/up/#"));
    struct tpc_member retry[] = { text_member(TPC_STR("min"), TPC_STR("500ms")),
                                  text_member(TPC_STR("max"), TPC_STR("5s")) };
    struct tpc_member members[] = {
        text_member(TPC_STR("key"), TPC_STR(TARGET)),
        text_member(TPC_STR("sink"), tpc_str_from(part->name)),
        { TPC_STR("filter"), { TPC_ARRAY, 0, 1, { .items = &filter } } },
        { TPC_STR("retry"), tpi_codec_map(retry, 2) },
        { TPC_STR("window"), tpi_codec_int(4) },
    };
    struct tpc_value doc = tpi_codec_map(members, sizeof(members) / sizeof(members[0]));
    return part->kind == TPC_KIND_SINK ? put(core, "forward", &doc, arena, err) : 0;
}

/* ---- serving ---- */

void tpi_serving_free(struct tpc_core *core)
{
    if (core->serving != NULL) {
        pthread_mutex_destroy(&core->serving->numbers.lock);
        tpi_free(core->env.alloc, core->serving, sizeof(*core->serving));
    }
}

static int check(const struct tpc_core *core, const struct tpc_service_ops *ops)
{
    if (ops->iface.major != 1) {
        return tpi_fail(TPC_EVERSION, "service", "ops of major %u, 1 is expected",
                        (unsigned) ops->iface.major);
    }
    if (!TPC_HAS(ops, struct tpc_service_ops, identifier) || ops->identifier[0] == '\0' ||
        !TPC_HAS(ops, struct tpc_service_ops, decode)) {
        return tpi_fail(TPC_EINVAL, "service", "a service needs an identifier and decode");
    }
    if (ops->type > 2) {
        return tpi_fail(TPC_EINVAL, "service", "type is 1 (a protocol) or 2 (a third party)");
    }
    if (core->was_started) {
        return tpi_fail(TPC_ESTATE, "service", "a service is served before the start");
    }
    return core->serving != NULL && core->serving->served
               ? tpi_fail(TPC_EEXIST, "service", "%s is served already",
                          core->serving->ops.identifier)
               : 0;
}

static const struct tpi_part *find_platform(const struct tpc_core *core,
                                            const struct tpi_service **ret)
{
    for (const struct tpi_part *p = core->parts; p != NULL; p = p->next) {
        for (uint32_t i = 0; i < p->service_count; i++) {
            if (strcmp(p->services[i].name, SERVICE) == 0) {
                *ret = &p->services[i];
                return p;
            }
        }
    }
    return NULL;
}

/* The codec stays also if something fails behind it: then the next call finds it. */
static int take_ops(struct tpc_core *core, const struct tpc_service_ops *ops, void *user)
{
    struct tpi_serving *s = core->serving;
    if (s == NULL) {
        s = tpi_alloc_zero(core->env.alloc, sizeof(*s));
        if (s == NULL) {
            return tpi_fail(TPC_ENOMEM, "service", "out of memory");
        }
        pthread_mutex_init(&s->numbers.lock, NULL);
        /* Answers to an earlier run's commands shall not find ours. */
        s->numbers.next = (uint32_t) (tpi_unix_ms(&core->env) / 100);
        core->serving = s;
    }
    size_t size = ops->iface.size;
    memset(&s->ops, 0, sizeof(s->ops));
    memcpy(&s->ops, ops, size < sizeof(s->ops) ? size : sizeof(s->ops));
    s->ops.iface.size = sizeof(s->ops);
    s->user = user;
    void *self = NULL;
    (void) tpi_own_codec(core, tpc_str_from(ops->identifier), &self);
    return self == s ? 0 : tpc_core_add_codec(core, ops->identifier, &service_codec, s);
}

int tpc_service_serve(struct tpc_core *core, const struct tpc_service_ops *ops, void *user)
{
    const struct tpi_service *service = NULL;
    struct tpc_arena *arena;
    if (core == NULL || ops == NULL || ops->iface.size < sizeof(ops->iface)) {
        return tpi_fail(TPC_EINVAL, "service", "core or ops is NULL, or ops have no size");
    }
    int rc = check(core, ops);
    if (rc != 0) {
        return rc;
    }
    const struct tpi_part *part = find_platform(core, &service);
    if (part == NULL) {
        return tpi_fail(TPC_ENOENT, "service", "no open part offers " SERVICE);
    }
    rc = take_ops(core, ops, user);
    if (rc != 0) {
        return rc;
    }
    if (tpc_arena_create(core->env.alloc, PRODUCT_ARENA_BYTES, &arena) != 0) {
        return tpi_fail(TPC_ENOMEM, "service", "out of memory");
    }
    struct tpc_error *err = tpi_fail_begin();
    const struct tpc_service_platform_ops *platform = service->ops;
    rc = put_product(core, &core->serving->ops, arena, err);
    rc = rc != 0 ? rc : put_target(core, part, arena, err);
    rc = rc != 0 ? rc
                 : platform->serve(service->self, &core->serving->ops, core->serving->user, err);
    tpc_arena_destroy(arena);
    core->serving->served = rc == 0;
    return tpi_fail_end(rc);
}
