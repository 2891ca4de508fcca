/* tb_gateway.json: the platform, the storage, who may be seen; and which connectors there are. */
#include "tb_tree.h"

#include <inttypes.h>
#include <regex.h>
#include <string.h>

enum { KB = 1024, MB = 1048576, ASKED_MAX = 64 };

/* ---- shared by the connectors ---- */

static bool name_taken(const struct tb *t, const char *name)
{
    static const char *const roles[] = { "log", "store", "entities", "history", "thingsboard" };
    for (size_t i = 0; i < t->adapters.count; i++) {
        if (tpc_str_equal(t->adapters.items[i].key, tpc_str_from(name))) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (strcmp(roles[i], name) == 0) {
            return true;
        }
    }
    return false;
}

const char *tb_adapter(struct tb *t, struct tpc_str name, const struct tb_map *options)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    char text[64];
    char numbered[80];
    size_t len = 0;
    for (size_t i = 0; i < name.len && len < 48; i++) {
        text[len++] = name.ptr[i] != '\0' && strchr(good, name.ptr[i]) != NULL ? name.ptr[i] : '_';
    }
    text[len] = '\0';
    snprintf(numbered, sizeof(numbered), "%s", len > 0 ? text : "connector");
    for (unsigned int n = 2; name_taken(t, numbered); n++) {
        snprintf(numbered, sizeof(numbered), "%s-%u", len > 0 ? text : "connector", n);
    }
    char *kept = tb_copy(t, tpc_str_from(numbered));
    tb_put(t, &t->adapters, kept, tb_of_map(options));
    if (t->now->parts++ == 0) {
        t->now->adapter = kept;
    }
    return kept;
}

struct tpc_value tb_path(struct tb *t, struct tpc_str name)
{
    bool absolute = name.len > 0 && name.ptr[0] == '/';
    bool plain = absolute || t->dir[0] == '\0';
    return tb_of_text(
        tb_format(t, "%s%s%.*s", plain ? "" : t->dir, plain ? "" : "/", (int) name.len, name.ptr));
}

bool tb_report(struct tb *t, const struct tb_obj *o, struct tpc_value *ret)
{
    static const struct tb_known known[] = {
        { "type", NULL },
        { "reportPeriod", NULL },
        { "ttl", NULL },
        { "aggregationFunction", "" }, /* theirs reads it and does nothing */
    };
    static const struct {
        const char *theirs, *ours;
        bool change, period;
    } modes[] = { { "ON_RECEIVED", "received", false, false },
                  { "ON_CHANGE", "change", true, false },
                  { "ON_REPORT_PERIOD", "period", false, true },
                  { "ON_CHANGE_OR_REPORT_PERIOD", "change_or_period", true, true },
                  { "DISABLED", "received", false, false } };
    struct tb_obj r = tb_map(t, o, "reportStrategy");
    struct tb_map out = { NULL, 0, 0 };
    if (r.map == NULL) {
        return false;
    }
    TB_SCAN(t, &r, known);
    struct tpc_str type = tb_text(t, &r, "type");
    int64_t ms = 10000;
    int64_t seconds;
    (void) tb_int(t, &r, "reportPeriod", 1, 86400000, &ms);
    if (type.len == 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (!tb_is(type, modes[i].theirs)) {
            continue;
        }
        tb_put(t, &out, "mode", tb_of_text(modes[i].ours));
        if (modes[i].period) {
            tb_put(t, &out, "period", tb_of_ms(t, ms));
        }
        if (modes[i].change) {
            tb_put(t, &out, "deadband", tb_of_double(0.001)); /* what theirs takes for equal */
        }
        if (tb_find(&r, "ttl") != NULL && tb_int(t, &r, "ttl", 0, 2592000, &seconds)) {
            tb_put(t, &out, "ttl", tb_of_ms(t, seconds * 1000));
        }
        *ret = tb_of_map(&out);
        return true;
    }
    tb_error(t, &r, "type", "no strategy \"%.*s\"", (int) type.len, type.ptr);
    return false;
}

void tb_asks(struct tb *t, struct tpc_str attribute)
{
    for (size_t i = 0; i < t->asked.count; i++) {
        if (tpc_str_equal(tpc_value_text(&t->asked.items[i]), attribute)) {
            return;
        }
    }
    if (t->sync && attribute.len > 0 && t->asked.count < ASKED_MAX) {
        tb_add(t, &t->asked, tb_of_str(attribute));
    }
}

/* ---- the device filter ---- */

/* Whole match, as theirs. */
static bool matches(struct tpc_str pattern, const char *name)
{
    char text[300];
    regex_t re;
    if (pattern.len > 256) {
        return false;
    }
    snprintf(text, sizeof(text), "^(%.*s)$", (int) pattern.len, pattern.ptr);
    if (regcomp(&re, text, REG_EXTENDED | REG_NOSUB) != 0) {
        return false;
    }
    bool match = regexec(&re, name, 0, NULL, 0) == 0;
    regfree(&re);
    return match;
}

static bool listed(const struct tpc_value *lists, const char *connector, const char *device,
                   bool *ret_any)
{
    const struct tpc_value *list =
        lists != NULL ? tpc_value_get(lists, tpc_str_from(connector)) : NULL;
    *ret_any = list != NULL && list->type == TPC_ARRAY;
    for (size_t i = 0; *ret_any && i < list->len; i++) {
        if (matches(tpc_value_text(&list->as.items[i]), device)) {
            return true;
        }
    }
    return false;
}

/* Denied names first; what neither list names is allowed, as theirs does it. */
bool tb_passes(struct tb *t, struct tpc_str device)
{
    char name[300];
    bool any;
    if (t->deny == NULL || device.len >= sizeof(name)) {
        return true;
    }
    snprintf(name, sizeof(name), "%.*s", (int) device.len, device.ptr);
    return !listed(t->deny, t->now->name, name, &any);
}

static bool parse_file(struct tb *t, const char *name, struct tpc_value *ret);

static void read_filter(struct tb *t, const struct tb_obj *gateway)
{
    static const struct tb_known known[] = { { "enable", NULL }, { "filterFile", NULL } };
    struct tb_obj f = tb_map(t, gateway, "deviceFiltering");
    struct tpc_value *lists;
    TB_SCAN(t, &f, known);
    if (f.map == NULL || !tb_bool(t, &f, "enable", false)) {
        return;
    }
    char *name = tb_copy(t, tb_text(t, &f, "filterFile"));
    lists = tpc_arena_take(t->arena, sizeof(*lists));
    if (name == NULL || lists == NULL) {
        t->no_memory = true;
        return;
    }
    const char *file = t->file;
    if (!parse_file(t, name, lists) || lists->type != TPC_MAP) {
        t->file = file;
        tb_note(t, &f, "filterFile", "cannot be read: no device is filtered");
        return;
    }
    t->file = file;
    t->deny = tpc_value_get(lists, TPC_STR("deny"));
    if (t->deny != NULL && t->deny->type != TPC_MAP) {
        t->deny = NULL;
    }
    tb_note(t, &f, "filterFile",
            "is applied to the slaves of Modbus as they are listed, by POSIX regular expressions; "
            "devices that an MQTT connector finds are not filtered");
}

/* ---- the platform ---- */

static void read_security(struct tb *t, const struct tb_obj *gateway, bool provisioned,
                          struct tb_map *out, bool *ret_tls)
{
    static const struct tb_known known[] = { { "type", NULL },          { "accessToken", NULL },
                                             { "username", NULL },      { "password", NULL },
                                             { "clientId", NULL },      { "caCert", NULL },
                                             { "privateKey", NULL },    { "cert", NULL },
                                             { "checkCertPeriod", "" }, { "certificate", NULL } };
    struct tb_obj s = tb_map(t, gateway, "security");
    struct tb_map tls = { NULL, 0, 0 };
    struct tpc_str type = tb_text(t, &s, "type");
    TB_SCAN(t, &s, known);
    if (provisioned) {
        if (tb_text(t, &s, "accessToken").len > 0 || tb_text(t, &s, "username").len > 0) {
            tb_note(t, &s, "", "is not used: the server gives credentials, as provisioning asks");
        }
    } else if (tb_is(type, "usernamePassword") || tb_is(type, "tlsUsernamePassword")) {
        tb_put_str(t, out, "user", tb_text(t, &s, "username"));
        tb_put_str(t, out, "password", tb_text(t, &s, "password"));
    } else if (!tb_is(type, "tlsPrivateKey")) {
        tb_put_str(t, out, "token", tb_text(t, &s, "accessToken"));
    }
    tb_put_str(t, out, "client_id", tb_text(t, &s, "clientId"));
    struct tpc_str ca = tb_text(t, &s, "caCert");
    struct tpc_str cert = tb_text(t, &s, "cert");
    struct tpc_str key = tb_text(t, &s, "privateKey");
    if (ca.len > 0) {
        tb_put(t, &tls, "ca", tb_path(t, ca));
    }
    if (cert.len > 0 && key.len > 0) {
        tb_put(t, &tls, "cert", tb_path(t, cert));
        tb_put(t, &tls, "key", tb_path(t, key));
    }
    *ret_tls = tls.count > 0 || (type.len > 3 && strncmp(type.ptr, "tls", 3) == 0);
    if (tls.count > 0) {
        tb_put(t, out, "tls", tb_of_map(&tls));
    }
}

static bool read_provisioning(struct tb *t, const struct tb_obj *gateway, struct tb_map *out)
{
    static const struct tb_known known[] = { { "type", NULL },
                                             { "provisionDeviceKey", NULL },
                                             { "provisionDeviceSecret", NULL },
                                             { "deviceName", NULL },
                                             { "caCert", "" } };
    struct tb_obj p = tb_map(t, gateway, "provisioning");
    struct tb_map m = { NULL, 0, 0 };
    TB_SCAN(t, &p, known);
    struct tpc_str key = tb_text(t, &p, "provisionDeviceKey");
    if (p.map == NULL || key.len == 0) {
        return false;
    }
    struct tpc_str type = tb_text(t, &p, "type");
    tb_put(t, &m, "key", tb_of_str(key));
    tb_put_str(t, &m, "secret", tb_text(t, &p, "provisionDeviceSecret"));
    tb_put_str(t, &m, "name", tb_text(t, &p, "deviceName"));
    tb_put(t, &m, "type",
           tb_of_text(tb_is(type, "MQTT_BASIC")         ? "basic"
                      : tb_is(type, "X509_CERTIFICATE") ? "x509"
                                                        : "token"));
    tb_put(t, out, "provision", tb_of_map(&m));
    return true;
}

/* "10:1,60:60"; "0:0," and DEFAULT_.. = what the server says. */
static void put_limit(struct tb *t, const struct tb_obj *gateway, const char *theirs,
                      struct tb_map *out, const char *ours)
{
    struct tpc_str text = tb_text(t, gateway, theirs);
    bool none = text.len < 3 || (text.ptr[0] == '0' && text.ptr[1] == ':') ||
                (text.ptr[0] < '0' || text.ptr[0] > '9');
    while (text.len > 0 && text.ptr[text.len - 1] == ',') {
        text.len--;
    }
    if (!none) {
        tb_put(t, out, ours, tb_of_str(text));
    }
}

static void read_limits(struct tb *t, const struct tb_obj *gateway, struct tb_map *out)
{
    struct tb_map m = { NULL, 0, 0 };
    put_limit(t, gateway, "messagesRateLimits", &m, "messages");
    put_limit(t, gateway, "rateLimits", &m, "telemetry_messages");
    put_limit(t, gateway, "dpRateLimits", &m, "data_points");
    if (m.count > 0) {
        tb_put(t, out, "limits", tb_of_map(&m));
    }
}

static void read_statistics(struct tb *t, const struct tb_obj *gateway, struct tb_map *out)
{
    static const struct tb_known known[] = {
        { "enable", NULL },
        { "statsSendPeriodInSeconds", NULL },
        { "enableCustom", "commands are not run here: no custom statistics" },
        { "customStatsSendPeriodInSeconds", "" },
        { "configuration", "" },
    };
    struct tb_obj s = tb_map(t, gateway, "statistics");
    int64_t seconds = 60;
    TB_SCAN(t, &s, known);
    bool on = s.map != NULL && tb_bool(t, &s, "enable", true);
    (void) tb_int(t, &s, "statsSendPeriodInSeconds", 1, 86400, &seconds);
    if (on) {
        tb_put(t, out, "stats_period", tb_of_ms(t, (seconds < 10 ? 10 : seconds) * 1000));
    }
}

static void read_activity(struct tb *t, const struct tb_obj *gateway)
{
    static const struct tb_known known[] = { { "checkDeviceInactivity", NULL },
                                             { "inactivityTimeoutSeconds", NULL },
                                             { "inactivityCheckPeriodSeconds", "" } };
    struct tb_obj a = tb_map(t, gateway, "checkingDeviceActivity");
    struct tb_map m = { NULL, 0, 0 };
    int64_t seconds = 300;
    TB_SCAN(t, &a, known);
    (void) tb_int(t, &a, "inactivityTimeoutSeconds", 5, 86400, &seconds);
    if (a.map != NULL && tb_bool(t, &a, "checkDeviceInactivity", false)) {
        tb_put(t, &m, "mode", tb_of_text("idle"));
        tb_put(t, &m, "timeout", tb_of_ms(t, seconds * 1000));
        t->presence = tb_of_map(&m);
    }
}

static const struct tb_known gateway_known[] = {
    { "host", NULL },
    { "port", NULL },
    { "security", NULL },
    { "provisioning", NULL },
    { "qos", NULL },
    { "statistics", NULL },
    { "checkingDeviceActivity", NULL },
    { "deviceFiltering", NULL },
    { "reportStrategy", NULL },
    { "maxPayloadSizeBytes", NULL },
    { "messagesRateLimits", NULL },
    { "rateLimits", NULL },
    { "dpRateLimits", NULL },
    { "deviceMessagesRateLimits", "" }, /* the server tells them; the smaller of both rules */
    { "deviceRateLimits", "" },
    { "deviceDpRateLimits", "" },
    { "latencyDebugMode", NULL },
    { "keepAlive", NULL },
    { "syncDevicesSharedAttributesOnConnect", NULL },
    { "minPackSendDelayMS", "" }, /* what is there goes at once */
    { "minPackSizeToSend", "" },  /* theirs reads it and does nothing */
    { "handleDeviceRenaming", "" },
    { "checkConnectorsConfigurationInSeconds",
      "files are not watched: SIGHUP (systemctl reload) reads them again, and only what changed "
      "restarts" },
    { "remoteShell", "there is none, by design: nobody gets a shell on this machine over MQTT" },
    { "remoteConfiguration", "there is none: the configuration is this folder's; the server's "
                             "attributes do not change it" },
    { "remoteLoggingLevel", "logs are not sent to the server: see the journal" },
    { "managerEnabled", "there is no local shell" },
    { "useGRPC", "there is no gRPC" },
};

static void read_platform(struct tb *t, const struct tb_obj *gateway)
{
    struct tb_map m = { NULL, 0, 0 };
    int64_t port = 0;
    int64_t number;
    bool tls = false;
    TB_SCAN(t, gateway, gateway_known);
    struct tpc_str host = tb_text(t, gateway, "host");
    tb_put(t, &m, "type", tb_of_text("thingsboard"));
    tb_put(t, &m, "url", tb_of_text(""));
    bool provisioned = read_provisioning(t, gateway, &m);
    read_security(t, gateway, provisioned, &m, &tls);
    (void) tb_int(t, gateway, "port", 1, 65535, &port);
    port = port != 0 ? port : tls ? 8883 : 1883;
    m.items[1].value = tb_of_text(tb_format(t, "%s://%.*s:%" PRId64, tls ? "mqtts" : "mqtt",
                                            host.len > 0 ? (int) host.len : 9,
                                            host.len > 0 ? host.ptr : "localhost", port));
    if (tb_int(t, gateway, "keepAlive", 1, 65535, &number)) {
        tb_put(t, &m, "keep_alive", tb_of_ms(t, number * 1000));
    }
    if (tb_int(t, gateway, "maxPayloadSizeBytes", 1, 268435456, &number)) {
        /* Theirs has 8,196 there, and uses what the server says instead. */
        if (number > 8196) {
            tb_put(t, &m, "payload_max", tb_of_int(number));
        }
    }
    if (tb_bool(t, gateway, "latencyDebugMode", false)) {
        tb_put(t, &m, "metadata", tb_of_bool(true));
    }
    t->sync = tb_bool(t, gateway, "syncDevicesSharedAttributesOnConnect", true);
    read_limits(t, gateway, &m);
    read_statistics(t, gateway, &m);
    read_activity(t, gateway);
    read_filter(t, gateway);
    tb_put(t, &m, "state", tb_of_text("thingsboard-state.json"));
    /* Without one all goes as it comes: there is nothing to say. */
    if (!tb_report(t, gateway, &t->report) ||
        tb_is(tpc_value_text(tpc_value_get(&t->report, TPC_STR("mode"))), "received")) {
        t->report = (struct tpc_value){ .type = TPC_NULL };
    }
    tb_put(t, &t->adapters, "thingsboard", tb_of_map(&m));
}

/* ---- the storage ---- */

struct storage {
    struct tb_map log;
    struct tb_map keep;
};

/* The log's own bound is wider than what is kept: else the oldest would go first. */
static void put_room(struct tb *t, int64_t bytes, int64_t least, struct tb_map *log)
{
    bytes = bytes > least ? bytes : least;
    tb_put(t, log, "max_bytes", tb_of_text(tb_format(t, "%" PRId64 "MiB", (bytes + MB - 1) / MB)));
    if (tb_is(tpc_value_text(&log->items[0].value), "file")) { /* the disk has it all */
        tb_put(t, log, "cache", tb_of_text("256KiB"));
    }
}

static void read_memory(struct tb *t, const struct tb_obj *s, struct storage *out)
{
    static const struct tb_known known[] = { { "type", NULL },
                                             { "max_records_count", NULL },
                                             { "read_records_count", "" },
                                             { "maxRecordsCount", NULL },
                                             { "readRecordsCount", "" } };
    int64_t records = 10000;
    TB_SCAN(t, s, known);
    (void) tb_int(t, s, "maxRecordsCount", 1, 1000000000, &records);
    (void) tb_int(t, s, "max_records_count", 1, 1000000000, &records);
    tb_put(t, &out->log, "type", tb_of_text("memory"));
    put_room(t, records * KB, 16 * (int64_t) MB, &out->log);
    tb_put(t, &out->keep, "records", tb_of_int(records));
}

static void put_dir(struct tb *t, const struct tb_obj *s, const char *name, struct tb_map *log)
{
    struct tpc_str dir = tb_text(t, s, name);
    while (dir.len > 1 && dir.ptr[dir.len - 1] == '/') {
        dir.len--;
    }
    tb_put(t, log, "type", tb_of_text("file"));
    tb_put(
        t, log, "dir",
        tb_of_text(dir.len > 0 ? tb_format(t, "%.*s/tp-log", (int) dir.len, dir.ptr) : "tp-log"));
}

static void read_file(struct tb *t, const struct tb_obj *s, struct storage *out)
{
    static const struct tb_known known[] = { { "type", NULL },
                                             { "data_folder_path", NULL },
                                             { "max_file_count", NULL },
                                             { "max_records_per_file", NULL },
                                             { "max_records_between_fsync", "" },
                                             { "max_read_records_count", "" } };
    int64_t files = 5;
    int64_t records = 10000;
    TB_SCAN(t, s, known);
    (void) tb_int(t, s, "max_file_count", 1, 1000000, &files);
    (void) tb_int(t, s, "max_records_per_file", 1, 100000000, &records);
    put_dir(t, s, "data_folder_path", &out->log);
    put_room(t, files * records * KB, 1024 * (int64_t) MB, &out->log);
    tb_put(t, &out->keep, "records", tb_of_int(files * records));
}

static void read_sqlite(struct tb *t, const struct tb_obj *s, struct storage *out)
{
    static const struct tb_known known[] = { { "type", NULL },
                                             { "data_file_path", NULL },
                                             { "messages_ttl_in_days", NULL },
                                             { "messages_ttl_check_in_hours", "" },
                                             { "max_read_records_count", "" },
                                             { "writing_batch_size", "" },
                                             { "size_limit", NULL },
                                             { "max_db_amount", NULL },
                                             { "oversize_check_period", "" } };
    int64_t days = 7;
    int64_t mb = 1024;
    int64_t files = 10;
    TB_SCAN(t, s, known);
    (void) tb_int(t, s, "messages_ttl_in_days", 1, 36500, &days);
    (void) tb_int(t, s, "size_limit", 1, 1000000, &mb);
    (void) tb_int(t, s, "max_db_amount", 1, 1000, &files);
    struct tpc_str path = tb_text(t, s, "data_file_path");
    if (path.len > 3 && memcmp(path.ptr + path.len - 3, ".db", 3) == 0) {
        tb_put(t, &out->log, "type", tb_of_text("file"));
        tb_put(t, &out->log, "dir",
               tb_of_text(tb_format(t, "%.*s-log", (int) path.len - 3, path.ptr)));
    } else {
        put_dir(t, s, "data_file_path", &out->log);
    }
    put_room(t, mb * MB * files * 2, 1024 * (int64_t) MB, &out->log);
    tb_put(t, &out->log, "max_age", tb_of_text(tb_format(t, "%" PRId64 "d", days + 1)));
    tb_put(t, &out->keep, "bytes", tb_of_int(mb * MB * files));
    tb_put(t, &out->keep, "age", tb_of_text(tb_format(t, "%" PRId64 "d", days)));
}

static void read_storage(struct tb *t, const struct tb_obj *root, struct storage *out)
{
    struct tb_obj s = tb_map(t, root, "storage");
    struct tpc_str type = tb_text(t, &s, "type");
    if (tb_is(type, "file")) {
        read_file(t, &s, out);
    } else if (tb_is(type, "sqlite")) {
        read_sqlite(t, &s, out);
    } else {
        if (type.len > 0 && !tb_is(type, "memory")) {
            tb_note(t, &s, "type", "is no storage that is known: memory is used");
        }
        read_memory(t, &s, out);
    }
    tb_put(t, &out->keep, "drop", tb_of_text("newest")); /* theirs refuses what is new */
}

/* ---- connectors ---- */

static bool parse_file(struct tb *t, const char *name, struct tpc_value *ret)
{
    struct tpc_str text = { "", 0 };
    struct tpc_error err = { .size = sizeof(err) };
    char why[200] = "cannot be read";
    t->file = name;
    if (t->read(t->user, tpc_str_from(name), &text, why, sizeof(why)) != 0) {
        tb_error(t, NULL, NULL, "%s", why);
        return false;
    }
    if (tpc_json_parse(t->arena, text, 0, &err, ret) != 0) {
        tb_error(t, NULL, NULL, "line %u: %s", err.line, err.text);
        return false;
    }
    return true;
}

static const struct {
    const char *type;
    void (*take)(struct tb *t, const struct tb_obj *file);
} takers[] = { { "modbus", tb_modbus }, { "mqtt", tb_mqtt } };

/* What a connector made before it failed goes again. */
struct mark {
    size_t adapters, entities, devices;
    struct tb_product **products; /* behind the last one */
};

static struct tb_product **products_end(struct tb *t)
{
    struct tb_product **at = &t->products;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    return at;
}

static void undo(struct tb *t, const struct mark *m)
{
    t->adapters.count = m->adapters;
    t->entities.count = m->entities;
    t->devices.count = m->devices;
    *m->products = NULL;
    t->now->parts = 0;
    t->now->adapter = NULL;
    t->now->devices = 0;
    t->now->tags = 0;
}

static void read_connector(struct tb *t, const struct tb_obj *c)
{
    static const struct tb_known known[] = {
        { "type", NULL },           { "name", NULL }, { "configuration", NULL },
        { "class", NULL },          { "key", "" },    { "useGRPC", "there is no gRPC" },
        { "configurationJson", "" }
    };
    struct mark mark = { t->adapters.count, t->entities.count, t->devices.count, products_end(t) };
    struct tb_connector *n = &t->connectors[t->connector_count];
    const char *root = t->file;
    struct tpc_value file;
    t->failed = false;
    TB_SCAN(t, c, known);
    struct tpc_str type = tb_text(t, c, "type");
    *n = (struct tb_connector){ .name = tb_copy(t, tb_text(t, c, "name")),
                                .type = tb_copy(t, type),
                                .file = tb_copy(t, tb_text(t, c, "configuration")) };
    if (n->name == NULL || n->type == NULL || n->file == NULL) {
        return;
    }
    t->connector_count++;
    t->now = n;
    size_t k = 0;
    while (k < sizeof(takers) / sizeof(takers[0]) && !tb_is(type, takers[k].type)) {
        k++;
    }
    if (k == sizeof(takers) / sizeof(takers[0])) {
        n->reason = tb_format(t,
                              "there is no connector of type \"%.60s\" here: keep the Python "
                              "gateway for it and let it talk to ours (docs/guide/mixed.md)",
                              n->type);
        return;
    }
    if (!t->failed && parse_file(t, n->file, &file)) {
        struct tb_obj o = { .map = &file };
        if (file.type == TPC_MAP) {
            takers[k].take(t, &o);
        } else {
            tb_error(t, &o, NULL, "an object is expected");
        }
    }
    if (t->failed) {
        n->reason = n->reason != NULL ? n->reason : "something in it is wrong";
    } else if (n->parts == 0 && n->reason == NULL) {
        n->reason = "there is nothing in it that can be used";
    }
    if (n->reason != NULL) {
        undo(t, &mark);
    }
    t->file = root;
}

/* ---- all ---- */

/* The part of the platform was made before the connectors were read. */
static void put_asked(struct tb *t)
{
    struct tb_map m = { NULL, 0, 0 };
    if (t->asked.count == 0 || t->adapters.count == 0) {
        return;
    }
    const struct tpc_value *have = &t->adapters.items[0].value;
    for (size_t i = 0; i < have->len; i++) {
        tb_put(t, &m, tb_copy(t, have->as.members[i].key), have->as.members[i].value);
    }
    tb_put(t, &m, "sync_attributes", tb_of_list(&t->asked));
    t->adapters.items[0].value = tb_of_map(&m);
}

static void put_products(struct tb *t, struct tb_list *out)
{
    for (struct tb_product *p = t->products; p != NULL; p = p->next) {
        struct tb_map m = { NULL, 0, 0 };
        struct tb_map model = { NULL, 0, 0 };
        tb_put(t, &m, "kind", tb_of_text("product"));
        tb_put(t, &m, "key", tb_of_str(p->key));
        tb_put(t, &m, "codec", tb_of_text("cbor"));
        tb_put(t, &m, "unknown", tb_of_text("keep"));
        if (t->presence.type == TPC_MAP) {
            tb_put(t, &m, "presence", t->presence);
        }
        tb_put(t, &model, "properties", tb_of_list(&p->properties));
        tb_put(t, &m, "model", tb_of_map(&model));
        tb_add(t, out, tb_of_map(&m));
    }
}

static void put_target(struct tb *t, const struct tb_obj *gateway, const struct storage *s,
                       struct tb_list *out)
{
    struct tb_map m = { NULL, 0, 0 };
    struct tb_map options = { NULL, 0, 0 };
    struct tb_map batch = { NULL, 0, 0 };
    int64_t qos = 1;
    (void) tb_int(t, gateway, "qos", 0, 2, &qos);
    tb_put(t, &options, "qos", tb_of_int(qos > 0 ? 1 : 0));
    tb_put(t, &m, "kind", tb_of_text("forward"));
    tb_put(t, &m, "key", tb_of_text("thingsboard"));
    tb_put(t, &m, "sink", tb_of_text("thingsboard"));
    tb_put(t, &m, "start", tb_of_text("oldest"));
    tb_put(t, &m, "window", tb_of_int(4));
    tb_put(t, &batch, "count", tb_of_int(64)); /* of 100 values each: half a MiB of memory */
    tb_put(t, &m, "batch", tb_of_map(&batch));
    tb_put(t, &m, "options", tb_of_map(&options));
    tb_put(t, &m, "keep", tb_of_map(&s->keep));
    tb_add(t, out, tb_of_map(&m));
}

static void read_all(struct tb *t, const struct tb_obj *root)
{
    static const struct tb_known known[] = {
        { "thingsboard", NULL }, { "storage", NULL }, { "connectors", NULL }, { "grpc", NULL }
    };
    static const struct tb_known grpc_known[] = {
        { "enabled", "there is no gRPC: connectors that use it do not start" },
        { "serverPort", "" },
        { "keepAliveTimeMs", "" },
        { "keepAliveTimeoutMs", "" },
        { "keepalivePermitWithoutCalls", "" },
        { "maxPingsWithoutData", "" },
        { "minTimeBetweenPingsMs", "" },
        { "minPingIntervalWithoutDataMs", "" },
    };
    struct storage storage = { { NULL, 0, 0 }, { NULL, 0, 0 } };
    struct tb_map history = { NULL, 0, 0 }, core = { NULL, 0, 0 };
    struct tb_list entities = { NULL, 0, 0 };
    TB_SCAN(t, root, known);
    struct tb_obj gateway = tb_map(t, root, "thingsboard");
    struct tb_obj grpc = tb_map(t, root, "grpc");
    TB_SCAN(t, &grpc, grpc_known);
    read_platform(t, &gateway);
    read_storage(t, root, &storage);
    bool bad = t->failed;
    size_t count = tb_list(t, root, "connectors");
    for (size_t i = 0; i < count && t->connector_count < TB_CONNECTORS_MAX; i++) {
        struct tb_obj c = tb_item(t, root, "connectors", i);
        if (c.map != NULL) {
            read_connector(t, &c);
        }
    }
    if (count > TB_CONNECTORS_MAX) {
        tb_note(t, root, "connectors", "more than %d: the others are left out", TB_CONNECTORS_MAX);
    }
    put_asked(t);
    put_products(t, &entities);
    for (size_t i = 0; i < t->entities.count; i++) {
        tb_add(t, &entities, t->entities.items[i]);
    }
    put_target(t, &gateway, &storage, &entities);
    t->failed = bad;
    tb_put(t, &history, "type", tb_of_text("memory"));
    tb_put(t, &history, "max_bytes", tb_of_text("1MiB"));
    /* Boxes are small: one thread decodes, and its ring holds a burst. */
    tb_put(t, &core, "workers", tb_of_int(1));
    tb_put(t, &core, "ring", tb_of_text("512KiB"));
    tb_put(t, &core, "history_open", tb_of_text("1MiB"));
    tb_put(t, &t->root, "core", tb_of_map(&core));
    tb_put(t, &t->root, "log", tb_of_map(&storage.log));
    tb_put(t, &t->root, "history", tb_of_map(&history));
    tb_put(t, &t->root, "adapters", tb_of_map(&t->adapters));
    tb_put(t, &t->root, "entities", tb_of_list(&entities));
}

int tb_import(struct tb *t, struct tpc_arena *arena, tb_read_fn *read, void *user, const char *dir,
              struct tpc_value *ret)
{
    struct tpc_value file;
    struct tb_obj root = { .map = &file };
    memset(t, 0, sizeof(*t));
    t->arena = arena;
    t->read = read;
    t->user = user;
    t->dir = dir;
    t->notes_end = &t->notes;
    if (!parse_file(t, "tb_gateway.json", &file)) {
        return -1;
    }
    if (file.type != TPC_MAP) {
        tb_error(t, &root, NULL, "an object is expected");
        return -1;
    }
    read_all(t, &root);
    if (t->failed || t->no_memory) {
        return -1;
    }
    *ret = tb_of_map(&t->root);
    return 0;
}
