/* Connector `mqtt`: a renaming, for adapters/mqtt-connector has the same parts. */
#include "tb_tree.h"

#include <inttypes.h>
#include <string.h>

/* ---- the broker ---- */

static void read_security(struct tb *t, const struct tb_obj *broker, struct tb_map *out,
                          bool *ret_tls)
{
    static const struct tb_known known[] = {
        { "type", NULL },         { "username", NULL },         { "password", NULL },
        { "pathToCACert", NULL }, { "pathToPrivateKey", NULL }, { "pathToClientCert", NULL },
        { "caCert", NULL },       { "privateKey", NULL },       { "cert", NULL },
    };
    struct tb_obj s = tb_map(t, broker, "security");
    struct tb_map tls = { NULL, 0, 0 };
    static const char *const files[][3] = { { "pathToCACert", "caCert", "ca" },
                                            { "pathToClientCert", "cert", "cert" },
                                            { "pathToPrivateKey", "privateKey", "key" } };
    TB_SCAN(t, &s, known);
    tb_put_str(t, out, "user", tb_text(t, &s, "username"));
    tb_put_str(t, out, "password", tb_text(t, &s, "password"));
    for (size_t i = 0; i < 3; i++) {
        struct tpc_str name = tb_text(t, &s, files[i][0]);
        name = name.len > 0 ? name : tb_text(t, &s, files[i][1]);
        if (name.len > 0) {
            tb_put(t, &tls, files[i][2], tb_path(t, name));
        }
    }
    *ret_tls = tls.count > 0;
    if (tls.count > 0) {
        tb_put(t, out, "tls", tb_of_map(&tls));
    }
}

static void put_seconds(struct tb *t, const struct tb_obj *o, const char *theirs, const char *ours,
                        struct tb_map *out)
{
    int64_t n;
    if (tb_find(o, theirs) != NULL && tb_int(t, o, theirs, 0, 4294967295, &n) && n > 0) {
        tb_put(t, out, ours, tb_of_ms(t, n * 1000));
    }
}

static void read_broker(struct tb *t, const struct tb_obj *file, struct tb_map *out)
{
    static const struct tb_known known[] = {
        { "name", "" },
        { "host", NULL },
        { "port", NULL },
        { "clientId", NULL },
        { "version", NULL },
        { "cleanSession", NULL },
        { "cleanStart", NULL },
        { "sessionExpiryInterval", NULL },
        { "keepAlive", NULL },
        { "security", NULL },
        { "maxMessageNumberPerWorker", "" },
        { "maxNumberOfWorkers", "" },
        { "sendDataOnlyOnChange", NULL },
    };
    struct tb_obj b = tb_map(t, file, "broker");
    bool tls = false;
    int64_t port = 0;
    int64_t version = 5;
    TB_SCAN(t, &b, known);
    struct tpc_str host = tb_text(t, &b, "host");
    if (host.len == 0 || host.len > 250) {
        tb_error(t, &b, "host", "is missing");
        return;
    }
    tb_put(t, out, "url", tb_of_text(""));
    size_t url = out->count - 1;
    read_security(t, &b, out, &tls);
    (void) tb_int(t, &b, "port", 1, 65535, &port);
    port = port != 0 ? port : tls ? 8883 : 1883;
    if (t->no_memory) {
        return;
    }
    out->items[url].value = tb_of_text(
        tb_format(t, "%s://%.*s:%" PRId64, tls ? "mqtts" : "mqtt", (int) host.len, host.ptr, port));
    tb_put_str(t, out, "client_id", tb_text(t, &b, "clientId"));
    if (tb_int(t, &b, "version", 3, 5, &version) && version < 5) {
        tb_put(t, out, "version", tb_of_int(4));
    }
    if (!tb_bool(t, &b, "cleanSession", true) || !tb_bool(t, &b, "cleanStart", true)) {
        tb_put(t, out, "clean_start", tb_of_bool(false));
        put_seconds(t, &b, "sessionExpiryInterval", "session_expiry", out);
    }
    put_seconds(t, &b, "keepAlive", "keep_alive", out);
}

/* ---- who a message is of ---- */

static const char *source_of(struct tb *t, const struct tb_obj *o, const char *name)
{
    struct tpc_str s = tb_text(t, o, name);
    return tb_is(s, "topic") ? "topic" : tb_is(s, "constant") ? "constant" : "message";
}

/* Forms before 3.5: deviceNameJsonExpression, deviceNameTopicExpression, and so on. */
static void old_info(struct tb *t, const struct tb_obj *o, const char *what, const char *ours,
                     const char *source, struct tb_map *out)
{
    const char *json = tb_format(t, "%sJsonExpression", what);
    struct tpc_str s = tb_text(t, o, json);
    bool topic = s.len == 0;
    if (topic) {
        s = tb_text(t, o, tb_format(t, "%sTopicExpression", what));
    }
    if (s.len > 0) {
        tb_put(t, out, ours, tb_of_str(s));
        tb_put(t, out, source, tb_of_text(topic ? "topic" : "message"));
    }
}

static void put_info(struct tb *t, const struct tb_obj *in, bool type, struct tb_map *out)
{
    static const struct tb_known known[] = {
        { "deviceNameExpression", NULL },
        { "deviceNameExpressionSource", NULL },
        { "deviceProfileExpression", NULL },
        { "deviceProfileExpressionSource", NULL },
    };
    struct tb_obj o = tb_map(t, in, "deviceInfo");
    if (o.map == NULL) {
        old_info(t, in, "deviceName", "device", "device_source", out);
        if (type) {
            old_info(t, in, "deviceType", "type", "type_source", out);
        }
        return;
    }
    TB_SCAN(t, &o, known);
    struct tpc_str name = tb_text(t, &o, "deviceNameExpression");
    if (name.len == 0) {
        tb_error(t, &o, "deviceNameExpression", "is missing");
    }
    tb_put(t, out, "device", tb_of_str(name));
    tb_put(t, out, "device_source", tb_of_text(source_of(t, &o, "deviceNameExpressionSource")));
    struct tpc_str profile = tb_text(t, &o, "deviceProfileExpression");
    if (type && profile.len > 0) {
        tb_put(t, out, "type", tb_of_str(profile));
        tb_put(t, out, "type_source",
               tb_of_text(source_of(t, &o, "deviceProfileExpressionSource")));
    }
}

static void put_topic(struct tb *t, const struct tb_obj *o, const char *qos, struct tb_map *out)
{
    struct tpc_str topic = tb_text(t, o, "topicFilter");
    int64_t n = 1;
    if (topic.len == 0) {
        tb_error(t, o, "topicFilter", "is missing");
    }
    tb_put(t, out, "topic", tb_of_str(topic));
    if (tb_find(o, qos) != NULL && tb_int(t, o, qos, 0, 2, &n)) {
        tb_put(t, out, "qos", tb_of_int(n > 0 ? 1 : 0));
    }
}

/* ---- mappings ---- */

static const struct tb_known entry_known[] = {
    { "type", NULL },
    { "key", NULL },
    { "value", NULL },
    { "keySource", NULL },
    { "tsField", NULL },
    { "dayfirst", NULL },
    { "yearfirst", NULL },
    { "useEval", "there is no eval: write a codec in Lua (converter raw)" },
    { "reportStrategy", "put `report` at the property of the product, or at the connector" },
    { "method", "" },
};

static bool read_entry(struct tb *t, const struct tb_obj *o, struct tb_list *out)
{
    struct tb_map m = { NULL, 0, 0 };
    TB_SCAN(t, o, entry_known);
    struct tpc_str key = tb_text(t, o, "key");
    struct tpc_str value = tb_text(t, o, "value");
    if (key.len == 0 || (value.len == 0 && !tpc_str_equal(key, TPC_STR("*")))) {
        tb_error(t, o, key.len == 0 ? "key" : "value", "is missing");
        return false;
    }
    tb_put(t, &m, "key", tb_of_str(key));
    if (tb_is(tb_text(t, o, "keySource"), "topic")) {
        tb_put(t, &m, "key_source", tb_of_text("topic"));
    }
    tb_put_str(t, &m, "value", value);
    static const char *const types[][2] = { { "raw", "raw" },         { "string", "string" },
                                            { "integer", "integer" }, { "int", "integer" },
                                            { "long", "long" },       { "double", "double" },
                                            { "float", "float" },     { "boolean", "boolean" },
                                            { "bool", "boolean" } };
    struct tpc_str type = tb_text(t, o, "type");
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (tb_is(type, types[i][0])) {
            tb_put(t, &m, "type", tb_of_text(types[i][1]));
        }
    }
    tb_put_str(t, &m, "time", tb_text(t, o, "tsField"));
    if (tb_bool(t, o, "dayfirst", false)) {
        tb_put(t, &m, "day_first", tb_of_bool(true));
    }
    if (tb_bool(t, o, "yearfirst", false)) {
        tb_put(t, &m, "year_first", tb_of_bool(true));
    }
    tb_add(t, out, tb_of_map(&m));
    return true;
}

/* A list of entries, or "*". */
static void read_entries(struct tb *t, const struct tb_obj *o, const char *name, struct tb_map *out)
{
    struct tb_list list = { NULL, 0, 0 };
    const struct tpc_value *v = tb_find(o, name);
    if (v != NULL && v->type == TPC_TEXT && tpc_str_equal(tpc_value_text(v), TPC_STR("*"))) {
        struct tb_map all = { NULL, 0, 0 };
        tb_put(t, &all, "key", tb_of_text("*"));
        tb_add(t, &list, tb_of_map(&all));
    } else {
        size_t n = tb_list(t, o, name);
        for (size_t i = 0; i < n; i++) {
            const struct tpc_value *item = &v->as.items[i];
            struct tb_obj e = { .map = NULL };
            if (item->type == TPC_TEXT && tpc_str_equal(tpc_value_text(item), TPC_STR("*"))) {
                struct tb_map all = { NULL, 0, 0 };
                tb_put(t, &all, "key", tb_of_text("*"));
                tb_add(t, &list, tb_of_map(&all));
                continue;
            }
            e = tb_item(t, o, name, i);
            if (e.map != NULL && read_entry(t, &e, &list)) {
                t->now->tags++;
            }
        }
    }
    if (list.count > 0) {
        tb_put(t, out, name, tb_of_list(&list));
    }
}

static const struct tb_known converter_known[] = {
    { "type", NULL },
    { "deviceInfo", NULL },
    { "deviceNameJsonExpression", NULL },
    { "deviceNameTopicExpression", NULL },
    { "deviceTypeJsonExpression", NULL },
    { "deviceTypeTopicExpression", NULL },
    { "attributes", NULL },
    { "timeseries", NULL },
    { "useReceivedTs", NULL },
    { "hexMode", NULL },
    { "timeout", "" },
    { "cached", "" },
    { "sendDataOnlyOnChange", "put `report` at the connector" },
    { "extension", NULL },
    { "extensionConfig", NULL },
    { "extension-config", NULL },
};

static void read_mapping(struct tb *t, const struct tb_obj *o, struct tb_list *out)
{
    static const struct tb_known known[] = { { "topicFilter", NULL },
                                             { "subscriptionQos", NULL },
                                             { "converter", NULL } };
    struct tb_map m = { NULL, 0, 0 };
    TB_SCAN(t, o, known);
    put_topic(t, o, "subscriptionQos", &m);
    struct tb_obj c = tb_map(t, o, "converter");
    TB_SCAN(t, &c, converter_known);
    struct tpc_str type = tb_text(t, &c, "type");
    if (tb_is(type, "custom")) {
        tb_note(t, &c, "type",
                "Python is not run: the mapping is left out. Its place is `converter: raw` with a "
                "product whose codec is Lua (docs/guide/from-thingsboard-gateway.md)");
        t->now->left_out++;
        return;
    }
    tb_put(t, &m, "converter", tb_of_text(tb_is(type, "bytes") ? "bytes" : "json"));
    put_info(t, &c, true, &m);
    if (tb_bool(t, &c, "useReceivedTs", false)) {
        tb_put(t, &m, "received_time", tb_of_bool(true));
    }
    if (tb_bool(t, &c, "hexMode", false)) {
        tb_put(t, &m, "hex", tb_of_bool(true));
    }
    read_entries(t, &c, "attributes", &m);
    read_entries(t, &c, "timeseries", &m);
    tb_add(t, out, tb_of_map(&m));
    t->now->devices++;
}

/* ---- requests ---- */

typedef void take_fn(struct tb *t, const struct tb_obj *o, struct tb_map *out);

static const struct tb_known request_known[] = {
    { "topicFilter", NULL },
    { "subscriptionQos", NULL },
    { "deviceInfo", NULL },
    { "deviceNameJsonExpression", NULL },
    { "deviceNameTopicExpression", NULL },
    { "deviceTypeJsonExpression", NULL },
    { "deviceTypeTopicExpression", NULL },
    { "retain", NULL },
    { "attributeNameExpression", NULL },
    { "attributeNameExpressionSource", NULL },
    { "attributeNameJsonExpression", NULL },
    { "attributeNameTopicExpression", NULL },
    { "scope", NULL },
    { "topicExpression", NULL },
    { "valueExpression", NULL },
};

static void take_connect(struct tb *t, const struct tb_obj *o, struct tb_map *out)
{
    TB_SCAN(t, o, request_known);
    put_topic(t, o, "subscriptionQos", out);
    put_info(t, o, true, out);
}

static void take_disconnect(struct tb *t, const struct tb_obj *o, struct tb_map *out)
{
    TB_SCAN(t, o, request_known);
    put_topic(t, o, "subscriptionQos", out);
    put_info(t, o, false, out);
}

static void take_request(struct tb *t, const struct tb_obj *o, struct tb_map *out)
{
    take_disconnect(t, o, out);
    struct tpc_str name = tb_text(t, o, "attributeNameExpression");
    if (name.len > 0) {
        tb_put(t, out, "name", tb_of_str(name));
        tb_put(t, out, "name_source", tb_of_text(source_of(t, o, "attributeNameExpressionSource")));
    } else {
        old_info(t, o, "attributeName", "name", "name_source", out);
    }
    if (tb_is(tb_text(t, o, "scope"), "client")) {
        tb_put(t, out, "scope", tb_of_text("client"));
    }
    tb_put_str(t, out, "answer_topic", tb_text(t, o, "topicExpression"));
    tb_put_str(t, out, "answer", tb_text(t, o, "valueExpression"));
    if (tb_bool(t, o, "retain", false)) {
        tb_put(t, out, "retain", tb_of_bool(true));
    }
}

static void take_update(struct tb *t, const struct tb_obj *o, struct tb_map *out)
{
    static const struct tb_known known[] = { { "deviceNameFilter", NULL },
                                             { "attributeFilter", NULL },
                                             { "topicExpression", NULL },
                                             { "valueExpression", NULL },
                                             { "retain", NULL } };
    TB_SCAN(t, o, known);
    tb_put_str(t, out, "devices", tb_text(t, o, "deviceNameFilter"));
    tb_put_str(t, out, "attributes", tb_text(t, o, "attributeFilter"));
    tb_put_str(t, out, "topic", tb_text(t, o, "topicExpression"));
    tb_put_str(t, out, "value", tb_text(t, o, "valueExpression"));
    if (tb_bool(t, o, "retain", false)) {
        tb_put(t, out, "retain", tb_of_bool(true));
    }
}

static void take_rpc(struct tb *t, const struct tb_obj *o, struct tb_map *out)
{
    static const struct tb_known known[] = {
        { "type", NULL },
        { "deviceNameFilter", NULL },
        { "methodFilter", NULL },
        { "requestTopicExpression", NULL },
        { "responseTopicExpression", NULL },
        { "responseTopicQoS", NULL },
        { "responseTimeout", NULL },
        { "valueExpression", NULL },
    };
    int64_t n;
    TB_SCAN(t, o, known);
    tb_put_str(t, out, "devices", tb_text(t, o, "deviceNameFilter"));
    tb_put_str(t, out, "methods", tb_text(t, o, "methodFilter"));
    tb_put_str(t, out, "topic", tb_text(t, o, "requestTopicExpression"));
    tb_put_str(t, out, "value", tb_text(t, o, "valueExpression"));
    struct tpc_str answer = tb_text(t, o, "responseTopicExpression");
    if (answer.len > 0 && !tb_is(tb_text(t, o, "type"), "oneWay")) {
        tb_put(t, out, "answer_topic", tb_of_str(answer));
        if (tb_find(o, "responseTopicQoS") != NULL && tb_int(t, o, "responseTopicQoS", 0, 2, &n)) {
            tb_put(t, out, "answer_qos", tb_of_int(n > 0 ? 1 : 0));
        }
        if (tb_find(o, "responseTimeout") != NULL &&
            tb_int(t, o, "responseTimeout", 1, 3600000, &n)) {
            tb_put(t, out, "timeout", tb_of_ms(t, n));
        }
    }
}

static void read_requests(struct tb *t, const struct tb_obj *file, struct tb_map *out)
{
    static const struct {
        const char *theirs, *ours;
        take_fn *take;
    } lists[] = { { "connectRequests", "connect", take_connect },
                  { "disconnectRequests", "disconnect", take_disconnect },
                  { "attributeRequests", "attribute_requests", take_request },
                  { "attributeUpdates", "attribute_updates", take_update },
                  { "serverSideRpc", "rpc", take_rpc } };
    struct tb_obj in = tb_map(t, file, "requestsMapping");
    in.base = file->map; /* before 3.5 they stood in the file itself */
    static const struct tb_known known[] = { { "connectRequests", NULL },
                                             { "disconnectRequests", NULL },
                                             { "attributeRequests", NULL },
                                             { "attributeUpdates", NULL },
                                             { "serverSideRpc", NULL } };
    TB_SCAN(t, &in, known);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct tb_list list = { NULL, 0, 0 };
        size_t n = tb_list(t, &in, lists[i].theirs);
        for (size_t k = 0; k < n; k++) {
            struct tb_map m = { NULL, 0, 0 };
            struct tb_obj o = tb_item(t, &in, lists[i].theirs, k);
            if (o.map != NULL) {
                lists[i].take(t, &o, &m);
                tb_add(t, &list, tb_of_map(&m));
            }
        }
        if (list.count > 0) {
            tb_put(t, out, lists[i].ours, tb_of_list(&list));
        }
    }
}

/* ---- the file ---- */

static const struct tb_known file_known[] = {
    { "broker", NULL },
    { "mapping", NULL },
    { "dataMapping", NULL },
    { "requestsMapping", NULL },
    { "connectRequests", NULL },
    { "disconnectRequests", NULL },
    { "attributeRequests", NULL },
    { "attributeUpdates", NULL },
    { "serverSideRpc", NULL },
    { "workers", "" },
    { "name", "" },
    { "id", "" },
    { "logLevel", "" },
    { "enableRemoteLogging", "logs are not sent to the server: see the journal" },
    { "configVersion", "" },
    { "reportStrategy", NULL },
};

void tb_mqtt(struct tb *t, const struct tb_obj *file)
{
    struct tb_map m = { NULL, 0, 0 };
    struct tb_list mappings = { NULL, 0, 0 };
    struct tpc_value report;
    const char *list = tb_find(file, "mapping") != NULL ? "mapping" : "dataMapping";
    TB_SCAN(t, file, file_known);
    tb_put(t, &m, "type", tb_of_text("mqtt_connector"));
    read_broker(t, file, &m);
    tb_put(t, &m, "format", tb_of_text("cbor"));
    if (tb_report(t, file, &report)) {
        tb_put(t, &m, "report", report);
    } else if (t->report.type == TPC_MAP) {
        tb_put(t, &m, "report", t->report);
    }
    size_t n = tb_list(t, file, list);
    for (size_t i = 0; i < n; i++) {
        struct tb_obj o = tb_item(t, file, list, i);
        if (o.map != NULL) {
            read_mapping(t, &o, &mappings);
        }
    }
    if (mappings.count > 0) {
        tb_put(t, &m, "mappings", tb_of_list(&mappings));
    }
    read_requests(t, file, &m);
    if (!t->failed && !t->no_memory) {
        (void) tb_adapter(t, tpc_str_from(t->now->name), &m);
    }
}
