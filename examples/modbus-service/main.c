/*
 * A connectivity service for Modbus slaves behind modems that dial in: the modem's first packet says who
 * it is, then the adapter modbus asks the slaves over that connection, by the tables that the platform
 * holds. A slave is a sub-device of its modem.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../common/service.h"
#include "tables.h"

enum { PACKET_MAX = 64, ARENA_BYTES = 1 << 20, KEY_MAX = 256, DRAIN_MS = 1000 };

struct slave {
    struct slave *next;
    char *key, *parent, *options;
};

/* The instance of modbus that asks what is behind a modem. */
struct bus {
    struct bus *next;
    char *modem, *options; /* NULL: it is not open */
    char *wanted;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slave *slaves; /* under the lock */
static struct bus *buses;    /* of the main thread */
static int wake = -1;
static const char *scheme = "accepted+rtu";

static void say(const char *device, const char *what)
{
    fprintf(stderr, "device %s: %s\n", device, what);
}

/* ---- who it is ---- */

/* A packet has no end of its own: it is what came at once. */
static int modbus_frame(void *user, struct tpc_bytes b, size_t *ret_bytes)
{
    *ret_bytes = b.len;
    return 0;
}

/* Text as it is, but for a line end behind it; else its digits. */
static int modbus_login(void *user, struct tpc_bytes f, struct tpc_service_login *ret)
{
    char hex[2 * PACKET_MAX + 1] = "";
    struct tpc_str text = { (const char *) f.ptr, f.len };
    while (text.len > 0 && strchr("\r\n", text.ptr[text.len - 1]) != NULL) {
        text.len--;
    }
    if (f.len > PACKET_MAX) {
        return TPC_EDENIED;
    }
    int rc = text.len > 0 ? service_voucher(&ret->voucher, "reg_pkg", text) : TPC_EDENIED;
    for (size_t i = 0; rc == TPC_EDENIED && i < f.len; i++) {
        snprintf(hex + 2 * i, 3, "%02x", f.ptr[i]);
    }
    return hex[0] != '\0' ? service_voucher(&ret->voucher, "reg_pkg", tpc_str_from(hex)) : rc;
}

/* What a modem says while nobody asks over its connection: that it lives. */
static int modbus_answer(void *user, struct tpc_bytes frame, struct tpc_buf *out)
{
    return 1;
}

/* ---- what the adapter modbus says, and is told ---- */

static int decode_map(const struct tpc_frame *f, const struct tpc_value *map, struct tpc_reading *r)
{
    int64_t code = 0;
    if (f->kind == TPC_MSG_REPLY) {
        (void) tpc_value_int(tpc_value_get(map, TPC_STR("code")), &code);
        return tpc_reading_reply(r, f->correlation, (int32_t) code,
                                 tpc_value_text(tpc_value_get(map, TPC_STR("message"))));
    }
    int rc = tpc_reading_attributes(r, f->kind == TPC_MSG_ATTRIBUTES);
    for (size_t i = 0; rc == 0 && i < map->len; i++) {
        char key[KEY_MAX];
        struct tpc_str name = map->as.members[i].key;
        snprintf(key, sizeof(key), "%.*s", (int) name.len, name.ptr);
        rc = tpc_reading_value(r, key, &map->as.members[i].value);
    }
    return rc;
}

static int modbus_decode(void *user, const struct tpc_frame *f, struct tpc_reading *r)
{
    struct tpc_str text = { (const char *) f->payload.ptr, f->payload.len };
    struct tpc_value map;
    struct tpc_arena *arena;
    if (tpc_arena_create(tpc_allocator_default(), ARENA_BYTES, &arena) != 0) {
        return TPC_ENOMEM;
    }
    int rc = tpc_json_parse(arena, text, 0, NULL, &map);
    rc = rc != 0 || map.type != TPC_MAP ? tpc_reading_fail(r, TPC_EDECODE, "no values")
                                        : decode_map(f, &map, r);
    tpc_arena_destroy(arena);
    return rc;
}

static int modbus_encode(void *user, const struct tpc_encode *c, struct tpc_buf *out)
{
    bool whole = tpc_str_equal(c->name, TPC_STR("set")) || tpc_str_equal(c->name, TPC_STR("get"));
    const struct tpc_value name = { TPC_TEXT, 0, c->name.len, { .text = c->name.ptr } };
    const struct tpc_member members[] = { { TPC_STR("method"), name },
                                          { TPC_STR("params"), c->params } };
    const struct tpc_value call = { TPC_MAP, 0, 2, { .members = members } };
    return tpc_json_write(whole ? &c->params : &call, 0, out);
}

/* ---- buses ---- */

static bool is(const char *text, struct tpc_str s)
{
    return tpc_str_equal(tpc_str_from(text), s);
}

static void free_slave(struct slave *s)
{
    free(s->key);
    free(s->parent);
    free(s->options);
    free(s);
}

/* On a thread of the platform's part: the main thread opens and closes. */
static void modbus_configured(void *core, const struct tpc_service_device *d, int gone)
{
    uint64_t one = 1;
    struct slave *s = calloc(1, sizeof(*s));
    bool there = !gone && d->parent.len > 0 && s != NULL;
    if (there) {
        s->key = strndup(d->device.ptr, d->device.len);
        s->parent = strndup(d->parent.ptr, d->parent.len);
        s->options = tables_slave(d, say);
        there = s->key != NULL && s->parent != NULL && s->options != NULL;
    }
    pthread_mutex_lock(&lock);
    for (struct slave **at = &slaves; *at != NULL; at = &(*at)->next) {
        if (is((*at)->key, d->device)) {
            struct slave *old = *at;
            *at = old->next;
            free_slave(old);
            break;
        }
    }
    if (there) {
        struct slave **at = &slaves;
        while (*at != NULL && strcmp((*at)->key, s->key) < 0) { /* the same each time */
            at = &(*at)->next;
        }
        s->next = *at;
        *at = s;
        s = NULL;
    }
    pthread_mutex_unlock(&lock);
    if (s != NULL) {
        free_slave(s);
    }
    if (write(wake, &one, sizeof(one)) < 0) {
        return; /* it is awake */
    }
}

static struct bus *bus_of(const char *modem)
{
    struct bus *b = buses;
    while (b != NULL && strcmp(b->modem, modem) != 0) {
        b = b->next;
    }
    if (b == NULL && (b = calloc(1, sizeof(*b))) != NULL) {
        b->modem = strdup(modem);
        b->next = buses;
        buses = b;
    }
    return b;
}

/* Under the lock: what each bus shall be, from its slaves. */
static void want(void)
{
    for (const struct slave *s = slaves; s != NULL; s = s->next) {
        struct bus *b = bus_of(s->parent);
        char *old = b != NULL ? b->wanted : NULL;
        char *all = NULL;
        if (b != NULL && asprintf(&all, "%s%s%s", old != NULL ? old : "", old != NULL ? "," : "",
                                  s->options) >= 0) {
            b->wanted = all;
            free(old);
        }
    }
}

static void open_bus(struct tpc_core *core, struct bus *b, const char *name)
{
    char *text = NULL;
    int n = asprintf(
        &text, "{\"url\":\"%s://%s\",\"timeout\":\"3s\",\"retry_max\":\"30s\",\"slaves\":[%s]}",
        scheme, b->modem, b->options);
    struct tpc_str options = { text, n > 0 ? (size_t) n : 0 };
    if (n < 0 || tpc_core_open(core, name, "modbus", options) != 0) {
        say(b->modem, tpc_error_last()->text);
    }
    free(n < 0 ? NULL : text);
}

/* The main thread, after configured(): more of it may come behind. */
static void modbus_turn(struct tpc_core *core)
{
    uint64_t ignored;
    char name[64];
    usleep(100000);
    if (read(wake, &ignored, sizeof(ignored)) < 0) {
        return;
    }
    pthread_mutex_lock(&lock);
    want();
    pthread_mutex_unlock(&lock);
    for (struct bus *b = buses; b != NULL; b = b->next) {
        char *wanted = b->wanted;
        b->wanted = NULL;
        if (wanted != NULL && b->options != NULL && strcmp(wanted, b->options) == 0) {
            free(wanted);
            continue;
        }
        snprintf(name, sizeof(name), "bus-%s", b->modem);
        if (b->options != NULL) {
            (void) tpc_core_close(core, name, DRAIN_MS);
        }
        free(b->options);
        b->options = wanted;
        if (wanted != NULL) {
            open_bus(core, b, name);
        }
    }
}

/* ---- the program ---- */

static const char vcr[] = TPC_JSON([{ "dataKey": "reg_pkg", "label": "Registration packet",
                                      "type": "input", "validate": { "required": true } }]);
#define COLUMN(key, type)                                                                          \
    "{\"dataKey\":\"" key "\",\"label\":\"" key                                                    \
    "\",\"type\":\"input\",\"validate\":{\"type\":\"" type "\"}}"
static const char cfg[] =
    "[{\"dataKey\":\"CommandRawList\",\"label\":\"Registers\",\"type\":\"table\",\"array\":"
    "[" COLUMN("FunctionCode", "number") "," COLUMN("Interval", "number") "," COLUMN(
        "StartingAddress",
        "number") "," COLUMN("Quantity",
                             "number") "," COLUMN("DataType",
                                                  "string") "," COLUMN("DataIdentifierListStr",
                                                                       "string") "," COLUMN("Equati"
                                                                                            "onList"
                                                                                            "Str",
                                                                                            "strin"
                                                                                            "g") "," COLUMN("DecimalPlacesListStr",
                                                                                                            "string") "," COLUMN("Endianess",
                                                                                                                                 "string") "]}]";
static const struct tpc_service_form forms[] = { { "VCR", "2", vcr }, { "CFG", "3", cfg } };

int main(int argc, char **argv)
{
    bool mbap = argc > 1 && strcmp(argv[1], "--mbap") == 0;
    struct tpc_service_ops ops = { .iface = TPC_IFACE(struct tpc_service_ops, 1),
                                   .identifier = mbap ? "MODBUS_TCP" : "MODBUS_RTU",
                                   .forms = TPC_LIST(forms),
                                   .frame = modbus_frame,
                                   .login = modbus_login,
                                   .answer = modbus_answer,
                                   .decode = modbus_decode,
                                   .encode = modbus_encode,
                                   .configured = modbus_configured };
    if (mbap) { /* the words behind it */
        scheme = "accepted+tcp";
        argv[1] = argv[0];
        argc--;
        argv++;
    }
    wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = service_main_turns(argc, argv, &ops, wake, modbus_turn);
    while (slaves != NULL) {
        struct slave *s = slaves;
        slaves = s->next;
        free_slave(s);
    }
    while (buses != NULL) {
        struct bus *b = buses;
        buses = b->next;
        free(b->modem);
        free(b->options);
        free(b);
    }
    close(wake);
    return rc;
}
