/* Configurations of the ThingsBoard gateway become ours. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/tpcore.h>

#include "config.h"
#include "tb_import.h"
#include "tk.h"

/* A folder: names and texts, with ' for ". */
struct file {
    const char *name, *text;
};

struct folder {
    const struct file *files;
    struct tpc_arena *arena;
};

static int read_text(void *user, struct tpc_str name, struct tpc_str *ret, char *err, size_t cap)
{
    const struct folder *f = user;
    for (const struct file *i = f->files; i->name != NULL; i++) {
        if (tpc_str_equal(tpc_str_from(i->name), name)) {
            size_t len = strlen(i->text);
            char *text = tpc_arena_take(f->arena, len + 1);
            if (text == NULL) {
                snprintf(err, cap, "out of memory");
                return -1;
            }
            for (size_t k = 0; k <= len; k++) {
                text[k] = i->text[k] == '\'' ? '"' : i->text[k];
            }
            *ret = (struct tpc_str){ text, len };
            return 0;
        }
    }
    snprintf(err, cap, "No such file or directory");
    return -1;
}

static struct tb tb;
static struct tpc_arena *arena;
static struct tpc_value root;
static char *json; /* of root, with ' for " */

static int import(const struct file *files)
{
    struct folder f = { files, NULL };
    tk_ok(tpc_arena_create(NULL, 0, &arena));
    f.arena = arena;
    json = NULL;
    int rc = tb_import(&tb, arena, read_text, &f, "/etc/tb", &root);
    if (rc == 0) {
        struct tpc_buf buf = { NULL, 0, 0 };
        (void) tpc_json_write(&root, 0, &buf);
        buf.cap = buf.need;
        json = malloc(buf.cap + 1);
        buf.ptr = (uint8_t *) json;
        tk_ok(tpc_json_write(&root, 0, &buf));
        json[buf.need] = '\0';
        for (char *c = json; *c != '\0'; c++) {
            *c = *c == '"' ? '\'' : *c;
        }
    }
    return rc;
}

static void done(void)
{
    free(json);
    json = NULL;
    arena = tpc_arena_destroy(arena);
}

static void has(const char *text)
{
    ck_assert_msg(json != NULL && strstr(json, text) != NULL, "no %s in %s", text, json);
}

static void has_not(const char *text)
{
    ck_assert_msg(strstr(json, text) == NULL, "%s in %s", text, json);
}

static bool noted(const char *wanted)
{
    for (const struct tb_note *n = tb.notes; n != NULL; n = n->next) {
        char text[1200];
        tb_note_text(n, text, sizeof(text));
        if (strstr(text, wanted) != NULL) {
            return true;
        }
    }
    return false;
}

static void notes(const char *wanted)
{
    ck_assert_msg(noted(wanted), "no note %s", wanted);
}

#define GATEWAY "'thingsboard':{'host':'tb.example','security':{'accessToken':'t'}}"
#define ONE(type, file)                                                                            \
    "{" GATEWAY ",'connectors':[{'type':'" type "','name':'C','configuration':'" file "'}]}"

START_TEST(platform_options_are_taken_over)
{
    static const struct {
        const char *gateway, *ours, *note;
    } cases[] = {
        { "'host':'h','port':1884,'security':{'type':'accessToken','accessToken':'tok'}",
          "'url':'mqtt://h:1884','token':'tok'", NULL },
        { "'security':{'type':'usernamePassword','username':'u','password':'p','clientId':'c'}",
          "'url':'mqtt://localhost:1883','user':'u','password':'p','client_id':'c'", NULL },
        { "'host':'h','security':{'type':'tlsPrivateKey','caCert':'ca.pem','privateKey':'k.pem',"
          "'cert':'/abs/c.pem'}",
          "'url':'mqtts://h:8883','tls':{'ca':'/etc/tb/ca.pem','cert':'/abs/c.pem','key':"
          "'/etc/tb/k.pem'}",
          NULL },
        { "'host':'h','port':8883,'security':{'type':'tlsAccessToken','accessToken':'t','caCert':"
          "'ca.pem'}",
          "'url':'mqtts://h:8883','token':'t','tls':{'ca':'/etc/tb/ca.pem'}", NULL },
        { "'provisioning':{'type':'MQTT_BASIC','provisionDeviceKey':'k','provisionDeviceSecret':'s'"
          "}",
          "'provision':{'key':'k','secret':'s','type':'basic'}", NULL },
        { "'rateLimits':'10:1,60:60,','dpRateLimits':'0:0,','messagesRateLimits':"
          "'DEFAULT_MESSAGES_RATE_LIMIT'",
          "'limits':{'telemetry_messages':'10:1,60:60'}", NULL },
        { "'statistics':{'enable':true,'statsSendPeriodInSeconds':5}", "'stats_period':'10s'",
          NULL },
        { "'statistics':{'enable':true,'enableCustom':true}", "'stats_period':'60s'",
          "thingsboard.statistics.enableCustom: commands are not run here" },
        { "'latencyDebugMode':true", "'metadata':true", NULL },
        { "'maxPayloadSizeBytes':8196", "'type':'thingsboard'", NULL },
        { "'maxPayloadSizeBytes':65536", "'payload_max':65536", NULL },
        { "'qos':0", "'options':{'qos':0}", NULL },
        { "'qos':2", "'options':{'qos':1}", NULL },
        { "'remoteShell':true", "'type':'thingsboard'", "thingsboard.remoteShell: there is none" },
        { "'remoteConfiguration':true", "'type':'thingsboard'",
          "thingsboard.remoteConfiguration: there is none" },
        { "'somethingNew':1", "'type':'thingsboard'",
          "thingsboard.somethingNew: is not known here: it has no effect" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[1000];
        snprintf(text, sizeof(text), "{'thingsboard':{%s}}", cases[i].gateway);
        struct file files[] = { { "tb_gateway.json", text }, { NULL, NULL } };
        ck_assert_int_eq(import(files), 0);
        has(cases[i].ours);
        if (cases[i].note != NULL) {
            notes(cases[i].note);
        } else {
            ck_assert_msg(tb.notes == NULL, "%s: %s", cases[i].gateway,
                          tb.notes != NULL ? tb.notes->text : "");
        }
        done();
    }
}
END_TEST

/* Off is not worth a line. */
START_TEST(what_is_off_is_not_told)
{
    struct file files[] = {
        { "tb_gateway.json",
          "{'thingsboard':{'remoteShell':false,'remoteConfiguration':false,'useGRPC':false,"
          "'deviceFiltering':{'enable':false,'filterFile':'list.json'},'statistics':{'enable':"
          "false}},'grpc':{'enabled':false,'serverPort':9595}}" },
        { NULL, NULL }
    };
    ck_assert_int_eq(import(files), 0);
    ck_assert_ptr_null(tb.notes);
    has_not("stats_period");
    done();
}
END_TEST

START_TEST(storages_become_a_log_and_what_is_kept)
{
    static const char *const cases[][3] = {
        { "{'type':'memory','read_records_count':100,'max_records_count':100000}",
          "'log':{'type':'memory','max_bytes':'98MiB'}",
          "'keep':{'records':100000,'drop':'newest'}" },
        { "{'type':'file','data_folder_path':'./data/','max_file_count':10,'max_records_per_file':"
          "10000,'max_records_between_fsync':10,'max_read_records_count':1000}",
          "'log':{'type':'file','dir':'./data/tp-log','max_bytes':'1024MiB','cache':'256KiB'}",
          "'keep':{'records':100000,'drop':'newest'}" },
        { "{'type':'sqlite','data_file_path':'/var/tb/data/','messages_ttl_in_days':3,'size_limit':"
          "100,'max_db_amount':2}",
          "'log':{'type':'file','dir':'/var/tb/data/"
          "tp-log','max_bytes':'1024MiB','cache':'256KiB','max_age':'4d'}",
          "'keep':{'bytes':209715200,'age':'3d','drop':'newest'}" },
        { "{'type':'sqlite','data_file_path':'/var/tb/data.db'}",
          "'dir':'/var/tb/data-log','max_bytes':'20480MiB'",
          "'keep':{'bytes':10737418240,'age':'7d','drop':'newest'}" },
        { "{'type':'tape'}", "'log':{'type':'memory','max_bytes':'16MiB'}", "'drop':'newest'" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[600];
        snprintf(text, sizeof(text), "{" GATEWAY ",'storage':%s}", cases[i][0]);
        struct file files[] = { { "tb_gateway.json", text }, { NULL, NULL } };
        ck_assert_int_eq(import(files), 0);
        has(cases[i][1]);
        has(cases[i][2]);
        done();
    }
}
END_TEST

/* The text of one tag, with the options of its slave. */
static const struct {
    const char *theirs, *ours;
} tags[] = {
    { "'type':'16int','functionCode':3,'objectsCount':1,'address':7",
      "{'name':'x','type':'int16','address':7,'write':'no'}" },
    { "'type':'32float','functionCode':4,'objectsCount':2,'address':7,'round':2",
      "{'name':'x','type':'float32','area':'input','address':7,'round':2}" },
    { "'type':'int','functionCode':3,'objectsCount':4,'address':7",
      "{'name':'x','type':'int64','address':7,'write':'no'}" },
    { "'type':'double','functionCode':3,'objectsCount':2,'address':7",
      "{'name':'x','type':'float32','address':7,'write':'no'}" },
    { "'type':'string','functionCode':3,'objectsCount':4,'address':7",
      "{'name':'x','type':'string','count':4,'address':7,'write':'no'}" },
    { "'type':'bytes','functionCode':3,'objectsCount':4,'address':7",
      "{'name':'x','type':'hex','count':4,'address':7,'write':'no'}" },
    { "'type':'bits','functionCode':1,'objectsCount':1,'address':7",
      "{'name':'x','area':'coil','address':7,'write':'no'}" },
    { "'type':'bits','functionCode':2,'objectsCount':8,'address':16",
      "{'name':'x','type':'bits','count':8,'area':'discrete','address':16}" },
    { "'type':'bits','functionCode':2,'objectsCount':8,'address':16,'bit':3",
      "{'name':'x','area':'discrete','address':19}" },
    { "'type':'bits','functionCode':3,'objectsCount':1,'address':7,'bit':5",
      "{'name':'x','bit':5,'address':7,'write':'no'}" },
    { "'type':'16uint','functionCode':3,'objectsCount':1,'address':7,'divider':10",
      "{'name':'x','type':'uint16','address':7,'divider':10,'write':'no'}" },
    { "'type':'16uint','functionCode':3,'objectsCount':1,'address':7,'multiplier':0.5",
      "{'name':'x','type':'uint16','address':7,'multiplier':0.5,'write':'no'}" },
    { "'type':'16uint','functionCode':3,'objectsCount':1,'address':7,'variants':{'1':'ON'}",
      "{'name':'x','type':'uint16','address':7,'names':{'1':'ON'},'write':'no'}" },
    { "'type':'16uint','functionCode':3,'objectsCount':1,'address':7,'byteOrder':'LITTLE'",
      "{'name':'x','type':'uint16','address':7,'byte_order':'little','write':'no'}" },
};

START_TEST(tags_are_taken_over)
{
    char text[1200];
    snprintf(text, sizeof(text),
             "{'master':{'slaves':[{'host':'h','port':5020,'unitId':3,'deviceName':'d','byteOrder':"
             "'BIG','wordOrder':'LITTLE','pollPeriod':250,'timeseries':[{'tag':'x',%s}]}]}}",
             tags[_i].theirs);
    struct file files[] = { { "tb_gateway.json", ONE("modbus", "m.json") },
                            { "m.json", text },
                            { NULL, NULL } };
    ck_assert_int_eq(import(files), 0);
    has(tags[_i].ours);
    has("'url':'tcp://h:5020','format':'cbor','byte_order':'big','word_order':'little'");
    has("'maps':[{'name':'map-1','poll':'250ms','tags':[");
    has("'slaves':[{'device':'d','unit':3,'map':'map-1'}]");
    has("{'kind':'device','key':'d','product':'default'}");
    ck_assert_ptr_null(tb.notes);
    ck_assert_int_eq(tb_verdict(&tb, stderr), 0);
    done();
}
END_TEST

START_TEST(ranges_become_tags)
{
    struct file files[] = {
        { "tb_gateway.json", ONE("modbus", "m.json") },
        { "m.json",
          "{'master':{'slaves':[{'host':'h','deviceName':'d','unitId':9,'timeseries':["
          "{'tag':'r_${address}','type':'16uint','functionCode':3,'objectsCount':1,'address':'0-2'}"
          ",{'tag':'q','type':'32int','functionCode':4,'objectsCount':2,'address':'10-13'},"
          "{'tag':'${unitId}:${type}:${address}','type':'16int','functionCode':4,'objectsCount':1,"
          "'address':'20-20'}]}]}}" },
        { NULL, NULL }
    };
    ck_assert_int_eq(import(files), 0);
    has("{'name':'r_0','type':'uint16','address':0,'write':'no'}");
    has("'r_2'");
    has_not("'r_3'");
    has("{'name':'q_10','type':'int32','area':'input','address':10}");
    has("{'name':'q_12','type':'int32','area':'input','address':12}");
    has_not("'q_14'");
    has("'name':'9:16int:20'");
    ck_assert_uint_eq(tb.connectors[0].tags, 6);
    done();
}
END_TEST

START_TEST(slaves_share_a_line_and_a_map)
{
    struct file files[] = {
        { "tb_gateway.json",
          "{'thingsboard':{'reportStrategy':{'type':'ON_CHANGE'},'checkingDeviceActivity':{"
          "'checkDeviceInactivity':true,'inactivityTimeoutSeconds':120}},'connectors':[{'type':"
          "'modbus','name':'My bus','configuration':'m.json'}]}" },
        { "m.json",
          "{'master':{'slaves':["
          "{'host':'h','unitId':1,'deviceName':'a','deviceType':'meter','byteOrder':'BIG',"
          "'wordOrder':'BIG','timeseries':[{'tag':'v','type':'16int','functionCode':3,'"
          "objectsCount'"
          ":1,'address':1,'reportStrategy':{'type':'ON_REPORT_PERIOD','reportPeriod':5000}}]},"
          "{'host':'h','unitId':2,'deviceName':'b','deviceType':'meter','byteOrder':'BIG',"
          "'wordOrder':'BIG','reportStrategy':{'type':'ON_CHANGE_OR_REPORT_PERIOD'},'timeseries':[{"
          "'tag':'v','type':'16int','functionCode':3,'objectsCount':1,'address':1}]},"
          "{'host':'h','unitId':3,'deviceName':'c','timeseries':[{'tag':'v','type':'16int',"
          "'functionCode':3,'objectsCount':1,'address':1}]},"
          "{'type':'serial','port':'/dev/ttyS1','method':'rtu','baudrate':9600,'parity':'E',"
          "'unitId':1,'deviceName':'s','timeseries':[{'tag':'v','type':'16int','functionCode':3,"
          "'objectsCount':1,'address':1}]},"
          "{'host':'h','method':'rtu','port':4001,'unitId':1,'deviceName':'r','timeseries':[{'tag':"
          "'v','type':'16int','functionCode':3,'objectsCount':1,'address':1}]}]}}" },
        { NULL, NULL }
    };
    ck_assert_int_eq(import(files), 0);
    has("'My_bus':{'type':'modbus','url':'tcp://h:502'");
    has("'slaves':[{'device':'a','unit':1,'map':'map-1'},{'device':'b','unit':2,'map':'map-1'},"
        "{'device':'c','unit':3,'map':'map-2'}]");
    has("'byte_order':'little','word_order':'little'}]"); /* of c, at its tag */
    has("'My_bus-2':{'type':'modbus','url':'rtu:///dev/ttyS1'");
    has("'baud':9600,'parity':'even','stop_bits':1");
    has("'My_bus-3':{'type':'modbus','url':'rtutcp://h:4001'");
    has("'report':{'mode':'change','deadband':0.001}"); /* of all, at the part */
    has("'report':{'mode':'period','period':'5s'}");    /* of the property */
    has("{'kind':'device','key':'b','product':'meter','report':{'mode':'change_or_period','period':"
        "'10s','deadband':0.001}}");
    has("'presence':{'mode':'idle','timeout':'120s'}");
    notes("slaves[2]: byte order, time-outs or pauses differ");
    ck_assert_uint_eq(tb.connectors[0].parts, 3);
    ck_assert_uint_eq(tb.connectors[0].devices, 5);
    done();
}
END_TEST

START_TEST(tag_in_both_lists_is_read_once)
{
    struct file files[] = {
        { "tb_gateway.json", ONE("modbus", "m.json") },
        { "m.json",
          "{'master':{'slaves':[{'host':'h','deviceName':'d','byteOrder':'BIG','wordOrder':'BIG',"
          "'attributes':[{'tag':'a','type':'16int','functionCode':3,'objectsCount':1,'address':1}],"
          "'timeseries':[{'tag':'a','type':'16int','functionCode':3,'objectsCount':1,'address':1},"
          "{'tag':'a','type':'16int','functionCode':3,'objectsCount':1,'address':9}]}]}}" },
        { NULL, NULL }
    };
    ck_assert_int_eq(import(files), 0);
    has("'tags':[{'name':'a','type':'int16','address':1,'write':'no'}]");
    notes("timeseries[1].tag: there is a tag of this name already");
    notes("attributes[0].tag: there is a tag of this name already");
    ck_assert_uint_eq(tb.connectors[0].left_out, 2);
    done();
}
END_TEST

START_TEST(property_takes_the_values_of_all_devices)
{
    struct file files[] = {
        { "tb_gateway.json", ONE("modbus", "m.json") },
        { "m.json",
          "{'master':{'slaves':[{'host':'h','deviceName':'d','unitId':1,'attributes':["
          "{'tag':'a','type':'16int','functionCode':3,'objectsCount':1,'address':1}],'timeseries':["
          "{'tag':'n','type':'16int','functionCode':3,'objectsCount':1,'address':2},"
          "{'tag':'m','type':'16int','functionCode':3,'objectsCount':1,'address':3}]},"
          "{'host':'h','deviceName':'e','unitId':2,'timeseries':["
          "{'tag':'a','type':'16int','functionCode':3,'objectsCount':1,'address':1},"
          "{'tag':'n','type':'16int','functionCode':3,'objectsCount':1,'address':2,'divider':10},"
          "{'tag':'m','type':'string','functionCode':3,'objectsCount':1,'address':3}]},"
          "{'host':'h','deviceName':'f','unitId':3,'timeseries':["
          "{'tag':'m','type':'16int','functionCode':3,'objectsCount':1,'address':3}]}]}}" },
        { NULL, NULL }
    };
    ck_assert_int_eq(import(files), 0);
    has("'properties':[{'id':'n','type':'double'},{'id':'a','type':'int'}]");
    done();
}
END_TEST

START_TEST(what_is_written_is_writable)
{
    struct file files[] = {
        { "tb_gateway.json", ONE("modbus", "m.json") },
        { "m.json",
          "{'master':{'slaves':[{'host':'h','deviceName':'d','byteOrder':'BIG','wordOrder':'BIG',"
          "'timeseries':[{'tag':'a','type':'16int','functionCode':3,'objectsCount':1,'address':1},"
          "{'tag':'b','type':'16int','functionCode':3,'objectsCount':1,'address':2}],"
          "'attributeUpdates':[{'tag':'a','type':'16int','functionCode':6,'objectsCount':1,'"
          "address'"
          ":1}],'rpc':[{'tag':'relay','type':'bits','functionCode':15,'objectsCount':1,'address':5}"
          "]"
          "}]}}" },
        { NULL, NULL }
    };
    ck_assert_int_eq(import(files), 0);
    has("{'name':'a','type':'int16','address':1,'write':'single'}");
    has("{'name':'b','type':'int16','address':2,'write':'no'}");
    has("{'name':'relay','area':'coil','address':5,'kind':'attributes','write':'multiple','poll':"
        "'24h'}");
    has("{'id':'a','type':'int','access':'rw'}");
    has("'sync_attributes':['a']");
    notes("rpc[0]: is no tag that is read");
    done();
}
END_TEST

START_TEST(form_before_3_is_read)
{
    struct file files[] = {
        { "tb_gateway.json", ONE("modbus", "m.json") },
        { "m.json",
          "{'server':{'name':'x','type':'tcp','host':'h','port':502,'timeout':35,'method':'socket',"
          "'byteOrder':'BIG','wordOrder':'BIG','devices':[{'unitId':1,'deviceName':'d',"
          "'timeseriesPollPeriod':2000,'sendDataOnlyOnChange':true,'timeseries':[{'tag':'v','type':"
          "'16int','functionCode':3,'objectsCount':1,'address':1}]}]}}" },
        { NULL, NULL }
    };
    ck_assert_int_eq(import(files), 0);
    has("'url':'tcp://h:502'");
    has("'timeout':'35s'");
    has("'poll':'2s'");
    has("'report':{'mode':'change'}");
    done();
}
END_TEST

START_TEST(mqtt_connector_is_a_renaming)
{
    struct file files[] = {
        { "tb_gateway.json", ONE("mqtt", "q.json") },
        { "q.json",
          "{'broker':{'host':'h','port':1885,'clientId':'c','version':4,'cleanSession':false,"
          "'security':{'type':'basic','username':'u','password':'p'}},'mapping':["
          "{'topicFilter':'s/+/d','subscriptionQos':2,'converter':{'type':'json','deviceInfo':{"
          "'deviceNameExpression':'(?<=s/)(.*?)(?=/d)','deviceNameExpressionSource':'topic',"
          "'deviceProfileExpression':'T','deviceProfileExpressionSource':'constant'},'attributes':["
          "{"
          "'type':'string','key':'m','value':'${model}'}],'timeseries':[{'type':'double','key':'t',"
          "'value':'${temp}','tsField':'${when}','dayfirst':true}]}},"
          "{'topicFilter':'b','converter':{'type':'bytes','hexMode':true,'deviceInfo':{"
          "'deviceNameExpression':'[0:4]'},'timeseries':[{'type':'raw','key':'raw','value':'[4:]'}]"
          "}"
          "},{'topicFilter':'c','converter':{'type':'custom','extension':'X'}},"
          "{'topicFilter':'o','converter':{'type':'json','deviceNameJsonExpression':'${n}',"
          "'deviceTypeJsonExpression':'${k}','timeseries':'*'}}],"
          "'requestsMapping':{'connectRequests':[{'topicFilter':'in','deviceInfo':{"
          "'deviceNameExpression':'${n}'}}],'disconnectRequests':[{'topicFilter':'out','deviceInfo'"
          ":"
          "{'deviceNameExpression':'${n}'}}],'attributeRequests':[{'topicFilter':'ar','deviceInfo':"
          "{"
          "'deviceNameExpression':'${n}'},'attributeNameExpression':'${k}','topicExpression':"
          "'a/${deviceName}','valueExpression':'${attributeValue}','retain':true}],"
          "'attributeUpdates':[{'deviceNameFilter':'.*','attributeFilter':'fw','topicExpression':"
          "'u/${deviceName}','valueExpression':'x'}],'serverSideRpc':[{'type':'twoWay',"
          "'deviceNameFilter':'.*','methodFilter':'echo','requestTopicExpression':'q/${requestId}',"
          "'responseTopicExpression':'p/${requestId}','responseTimeout':10000,'valueExpression':"
          "'${params}'},{'type':'oneWay','methodFilter':'no','requestTopicExpression':'q'}]}}" },
        { NULL, NULL }
    };
    ck_assert_int_eq(import(files), 0);
    has("'C':{'type':'mqtt_connector','url':'mqtt://h:1885','user':'u','password':'p','client_id':"
        "'c','version':4,'clean_start':false,'format':'cbor'");
    has("{'topic':'s/+/d','qos':1,'converter':'json','device':'(?<=s/)(.*?)(?=/d)','device_source':"
        "'topic','type':'T','type_source':'constant','attributes':[{'key':'m','value':'${model}',"
        "'type':'string'}],'timeseries':[{'key':'t','value':'${temp}','type':'double','time':"
        "'${when}','day_first':true}]}");
    has("'converter':'bytes','device':'[0:4]','device_source':'message','hex':true");
    has("'device':'${n}','device_source':'message','type':'${k}','type_source':'message',"
        "'timeseries':[{'key':'*'}]");
    has("'connect':[{'topic':'in','device':'${n}','device_source':'message'}]");
    has("'name':'${k}','name_source':'message','answer_topic':'a/${deviceName}','answer':"
        "'${attributeValue}','retain':true");
    has("'attribute_updates':[{'devices':'.*','attributes':'fw','topic':'u/${deviceName}','value':"
        "'x'}]");
    has("'answer_topic':'p/${requestId}','timeout':'10s'");
    has("{'methods':'no','topic':'q'}");
    notes("mapping[2].converter.type: Python is not run");
    ck_assert_int_eq(tb_verdict(&tb, stderr), 1);
    done();
}
END_TEST

/* What is wrong in one leaves the others. */
START_TEST(only_the_wrong_connector_is_left_out)
{
    static const char *const wrong[][2] = {
        { "{'master':{'slaves':[{'host':5,'deviceName':'x'}]}}", "slaves[0].host: a text" },
        { "{'master':{'slaves':[{'host':'h','deviceName':7}]}}", "slaves[0].deviceName" },
        { "{'master':{'slaves':[{'host':'h','deviceName':'x','unitId':'1'}]}}", "unitId" },
        { "{'master':{'slaves':{}}}", "master.slaves: a list" },
        { "{'master':{'slaves':[7]}}", "slaves[0]: an object" },
        { "{'master':[]}", "master: an object" },
        { "[]", "w.json: an object" },
        { "{'master':", "w.json: line 1" },
        { "{'master':{'slaves':[{'host':'h','deviceName':'x','timeseries':[{'tag':'v'}]}]}}",
          "functionCode: is missing" },
        { "{'master':{'slaves':[{'host':'h','deviceName':'x','timeseries':[{'tag':'v','type':"
          "'16int','functionCode':3,'address':'9-1'}]}]}}",
          "address: an address or a range" },
        { "{'master':{'slaves':[{'host':'h','deviceName':'x','byteOrder':'MIDDLE','timeseries':[]}]"
          "}}",
          "BIG or LITTLE" },
        { "{'master':{'slaves':[{'host':'h','deviceName':'x','reportStrategy':{'type':'NEVER'},"
          "'timeseries':[{'tag':'v','type':'16int','functionCode':3,'address':1}]}]}}",
          "no strategy \"NEVER\"" },
    };
    struct file files[] = {
        { "tb_gateway.json",
          "{" GATEWAY ",'connectors':[{'type':'modbus','name':'W','configuration':'w.json'},"
          "{'type':'opcua','name':'O','configuration':'o.json'},"
          "{'type':'modbus','name':'N','configuration':'none.json'},"
          "{'type':'modbus','name':'G','configuration':'g.json'},7,{'type':5}]}" },
        { "w.json", wrong[_i][0] },
        { "g.json",
          "{'master':{'slaves':[{'host':'h','deviceName':'good','timeseries':[{'tag':'v','type':"
          "'16int','functionCode':3,'address':1}]}]}}" },
        { NULL, NULL }
    };
    ck_assert_int_eq(import(files), 0);
    has("'G':{'type':'modbus'");
    has("{'kind':'device','key':'good'");
    has_not("'W':");
    has_not("'x'");
    notes(wrong[_i][1]);
    notes("none.json: No such file");
    ck_assert_uint_eq(tb.connector_count, 5);
    ck_assert_ptr_nonnull(tb.connectors[0].reason);
    ck_assert_ptr_nonnull(strstr(tb.connectors[1].reason, "opcua"));
    ck_assert_ptr_nonnull(tb.connectors[2].reason);
    ck_assert_ptr_null(tb.connectors[3].reason);
    ck_assert_int_eq(tb_verdict(&tb, stderr), 4);
    done();
}
END_TEST

START_TEST(slaves_that_cannot_be_reached_are_left_out)
{
    struct file files[] = {
        { "tb_gateway.json", "{'thingsboard':{'deviceFiltering':{'enable':true,'filterFile':'list."
                             "json'}},'connectors':"
                             "[{'type':'modbus','name':'C','configuration':'m.json'}]}" },
        { "list.json", "{'deny':{'C':['secret.*']},'allow':{}}" },
        { "m.json",
          "{'slave':{'unitId':1},'master':{'slaves':["
          "{'host':'h','type':'udp','deviceName':'a','timeseries':[]},"
          "{'host':'h','method':'ascii','deviceName':'b','timeseries':[]},"
          "{'host':'h','deviceName':'empty','timeseries':[]},"
          "{'host':'h','deviceName':'secret-1','timeseries':[{'tag':'v','type':'16int',"
          "'functionCode':3,'address':1}]},"
          "{'host':'h','deviceName':'c','timeseries':[{'tag':'v','type':'16int','functionCode':3,"
          "'address':1},{'tag':'w','type':'24int','functionCode':3,'address':1}]}]}}" },
        { NULL, NULL }
    };
    ck_assert_int_eq(import(files), 0);
    has("'slaves':[{'device':'c','unit':1,'map':'map-1'}]");
    has_not("secret");
    notes("slaves[0].type: neither tcp nor serial");
    notes("slaves[1].method: there is no ASCII");
    notes("slaves[2]: nothing is read of it");
    notes("is denied by the device filter");
    notes("no type \"24int\"");
    notes("m.json: slave: the gateway is a master only");
    ck_assert_uint_eq(tb.connectors[0].left_out, 4);
    ck_assert_int_eq(tb_verdict(&tb, stderr), 1);
    done();
}
END_TEST

START_TEST(unusable_main_file_fails)
{
    static const char *const texts[] = { "", "[]", "{'thingsboard':7}",
                                         "{'thingsboard':{'port':'x'}}", "{'storage':[]}" };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct file files[] = { { "tb_gateway.json", texts[i] }, { NULL, NULL } };
        ck_assert_int_eq(import(files), -1);
        ck_assert_ptr_nonnull(tb.notes);
        ck_assert(tb.notes->error);
        done();
    }
}
END_TEST

static struct tpc_str json_of(struct config *c)
{
    return config_json(c, &c->root);
}

/* What --convert writes is what the import made. */
START_TEST(yaml_reads_as_the_tree)
{
    char path[300];
    struct config c;
    struct file files[] = {
        { "tb_gateway.json",
          "{'thingsboard':{'security':{'accessToken':'yes: #no \\\\ \\u0007 ${HOME}'},'x\\ny':1},"
          "'connectors':[{'type':'modbus','name':'C\\n- evil: 1','configuration':'m.json'},"
          "{'type':'mqtt','name':'Q','configuration':'q.json'}]}" },
        { "m.json",
          "{'master':{'slaves':[{'host':'h','deviceName':'true','deviceType':'0x10','timeseries':[{"
          "'tag':'- a: "
          "[b]','type':'16int','functionCode':3,'address':1,'multiplier':0.1,'variants':"
          "{'1':'on','2':''}}]},{'host':'h','deviceName':'~','timeseries':[{'tag':'1e3','type':"
          "'16int','functionCode':3,'address':1}]}]}}" },
        { "q.json",
          "{'broker':{'host':'h'},'mapping':[{'topicFilter':'#','converter':{'type':'json',"
          "'deviceInfo':{'deviceNameExpression':'$${a}'},'timeseries':[{'key':'k','value':'${b}'}]}"
          "}"
          "]}" },
        { NULL, NULL }
    };
    ck_assert_int_eq(import(files), 0);
    snprintf(path, sizeof(path), "%s.yaml", tk_tmpdir());
    FILE *out = fopen(path, "w");
    ck_assert_ptr_nonnull(out);
    ck_assert_int_eq(tb_write(&tb, &root, out), 0);
    fclose(out);
    ck_assert_msg(config_read(&c, path) == 0, "%s", c.error);
    struct tpc_str text = json_of(&c);
    char *copy = malloc(text.len + 1);
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    for (char *p = copy; *p != '\0'; p++) {
        *p = *p == '"' ? '\'' : *p;
    }
    ck_assert_str_eq(copy, json);
    free(copy);
    config_free(&c);
    done();
}
END_TEST

static int import_with(const struct tpc_allocator *a, void *user)
{
    struct folder f = { user, NULL };
    struct tpc_arena *mine;
    struct tpc_value tree;
    if (tpc_arena_create(a, 0, &mine) != 0) {
        return TPC_ENOMEM;
    }
    f.arena = mine;
    int rc = tb_import(&tb, mine, read_text, &f, "", &tree);
    bool no_memory = tb.no_memory;
    for (const struct tb_note *n = tb.notes; n != NULL; n = n->next) {
        no_memory |= n->error; /* a text that had no room */
    }
    tpc_arena_destroy(mine);
    return rc == 0 && !no_memory ? 0 : TPC_ENOMEM;
}

START_TEST(out_of_memory_is_told)
{
    static struct file files[] = {
        { "tb_gateway.json", ONE("modbus", "m.json") },
        { "m.json",
          "{'master':{'slaves':[{'host':'h','deviceName':'d','timeseries':[{'tag':'r_${address}',"
          "'type':'16uint','functionCode':3,'objectsCount':1,'address':'0-99'}]}]}}" },
        { NULL, NULL }
    };
    (void) tk_each_alloc_fails(import_with, files);
}
END_TEST

static Suite *import_suite(void)
{
    Suite *s = suite_create("import");
    TCase *t = tcase_create("import");
    tcase_add_test(t, platform_options_are_taken_over);
    tcase_add_test(t, what_is_off_is_not_told);
    tcase_add_test(t, storages_become_a_log_and_what_is_kept);
    tcase_add_loop_test(t, tags_are_taken_over, 0, (int) (sizeof(tags) / sizeof(tags[0])));
    tcase_add_test(t, ranges_become_tags);
    tcase_add_test(t, slaves_share_a_line_and_a_map);
    tcase_add_test(t, what_is_written_is_writable);
    tcase_add_test(t, property_takes_the_values_of_all_devices);
    tcase_add_test(t, tag_in_both_lists_is_read_once);
    tcase_add_test(t, form_before_3_is_read);
    tcase_add_test(t, mqtt_connector_is_a_renaming);
    tcase_add_loop_test(t, only_the_wrong_connector_is_left_out, 0, 12);
    tcase_add_test(t, slaves_that_cannot_be_reached_are_left_out);
    tcase_add_test(t, unusable_main_file_fails);
    tcase_add_test(t, yaml_reads_as_the_tree);
    tcase_add_test(t, out_of_memory_is_told);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    static tk_suite_fn *const suites[] = { import_suite, NULL };
    return tk_main("importer", suites);
}
