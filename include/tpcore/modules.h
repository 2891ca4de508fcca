/*
 * The modules of this source tree. A program links the archives it wants (pkg-config tpcore-<name>)
 * and adds each with tpc_core_add_module().
 */
#ifndef TPCORE_MODULES_H
#define TPCORE_MODULES_H

#include <tpcore/export.h>

TPC_BEGIN

struct tpc_module;

const struct tpc_module *tpc_module_exec(void);        /* sink: runs programs of a list */
const struct tpc_module *tpc_module_http(void);        /* service http.server, by libmicrohttpd */
const struct tpc_module *tpc_module_http_client(void); /* service http.client, by libcurl */
const struct tpc_module *tpc_module_log(void);         /* sink: lines in the log */
const struct tpc_module *tpc_module_lua(void);         /* codec: scripts in Lua 5.4 */
const struct tpc_module *tpc_module_modbus(void);      /* adapter: slaves of a Modbus line */
const struct tpc_module *
tpc_module_mqtt(void); /* adapter: devices behind an MQTT broker; service mqtt.link */
const struct tpc_module *
tpc_module_mqtt_connector(void); /* adapter: devices of a broker, by expressions */
const struct tpc_module *tpc_module_mqtt_publish(void); /* sink: publishes to an MQTT broker */
const struct tpc_module *tpc_module_sim(void);          /* adapter: simulated devices */
const struct tpc_module *tpc_module_smtp(void);         /* sink: sends mails, by libcurl */
const struct tpc_module *tpc_module_sqlite(void);       /* store and history in SQLite */
const struct tpc_module *tpc_module_tcp(void);          /* adapter: devices over TCP and TLS */
const struct tpc_module *
tpc_module_thingsboard(void); /* sink: a gateway session at ThingsBoard; thingsboard.attributes */
const struct tpc_module *
tpc_module_thingspanel(void); /* sink: a connectivity service at a ThingsPanel platform */
const struct tpc_module *
tpc_module_thingspanel_platform(void);         /* adapter: ThingsPanel services at ours */
const struct tpc_module *tpc_module_udp(void); /* adapter: devices that send datagrams */
const struct tpc_module *
tpc_module_webhook(void); /* sink: posts to URLs; needs service http.client */

TPC_END

#endif
