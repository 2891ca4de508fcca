/*
 * A stand-in for a ThingsBoard server: a small MQTT server (3.1.1 and 5, QoS 0 and 1) on a free
 * port of the loopback, in a thread of its own. It acknowledges, answers getSessionLimits,
 * attribute requests and provisioning, sends what the test tells it to, fails on demand, and counts
 * every sample (examples/simulator/samples.h). Every function may be called from any thread.
 */
#ifndef TB_STUB_H
#define TB_STUB_H

#include "samples.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tb_stub;

/* Listens at once. Fails the test where it cannot. */
struct tb_stub *tb_stub_create(void);
void tb_stub_destroy(struct tb_stub *s);
uint16_t tb_stub_port(const struct tb_stub *s);

/* ---- the server's behaviour; each holds until it is set again ---- */

/* The result of getSessionLimits; NULL: it is never answered. At first there are no limits. */
void tb_stub_limits(struct tb_stub *s, const char *json);
/* CONNECT is taken with this user name only (NULL: any), "provision" always; the code of another is
 * 5, or 0x87 with MQTT 5. password NULL: any. */
void tb_stub_credentials(struct tb_stub *s, const char *user_name, const char *password);
/* Every CONNECT is refused with this code of 3.1.1 or reason of MQTT 5; 0 ends it. */
void tb_stub_refuse_connect(struct tb_stub *s, uint8_t v3_code, uint8_t v5_reason);
/* CONNECT of MQTT 5 is answered 0x84, unsupported protocol version. */
void tb_stub_only_v3(struct tb_stub *s, bool on);
/* Receive Maximum and Maximum Packet Size of the CONNACK of MQTT 5; 0: not sent. */
void tb_stub_maxima(struct tb_stub *s, uint16_t receive, uint32_t packet_bytes);
/* The answer to /provision/request; NULL: a token "provisioned". */
void tb_stub_provision(struct tb_stub *s, const char *json);
/* The values of an attribute response of devices behind the gateway, a JSON object. */
void tb_stub_attributes(struct tb_stub *s, const char *values_json);

/* ---- faults ---- */

/* Reads and writes nothing, as SIGSTOP does. */
void tb_stub_stall(struct tb_stub *s, bool on);
/* Closes every connection now. */
void tb_stub_drop(struct tb_stub *s);
/* Closes the connection in place of the PUBACK of each n-th publish. The publish counts. 0 ends
 * it. */
void tb_stub_drop_every(struct tb_stub *s, uint32_t n);
/* The server is away: its port refuses; false: it is back on the same port. */
void tb_stub_away(struct tb_stub *s, bool on);
void tb_stub_puback_delay(struct tb_stub *s, uint32_t ms);
/* A publish whose payload holds text is not counted; its PUBACK has the reason with MQTT 5, 3.1.1
 * is closed. times 0: every one. text NULL ends it. */
void tb_stub_refuse(struct tb_stub *s, const char *text, uint8_t reason, uint32_t times);

/* ---- what the platform sends ---- */

/* A publish, QoS 1, to every session that subscribed. Returns how many there were. */
int tb_stub_publish(struct tb_stub *s, const char *topic, const char *payload);
/* The RPC of a device behind the gateway. params_json NULL: none. */
int tb_stub_rpc(struct tb_stub *s, const char *device, int id, const char *method,
                const char *params_json);

/* ---- what came ---- */

struct tb_stub_counts {
    uint64_t connects;  /* CONNECT that were taken */
    uint64_t refused;   /* CONNECT that were not */
    uint64_t publishes; /* of every topic */
    uint64_t bytes;     /* of their payloads */
    uint64_t acked;     /* PUBACKs with success that were sent */
    uint64_t nacked;    /* PUBACKs with a reason */
    uint64_t dropped;   /* connections closed by a fault */
    uint64_t pubacks;   /* of what the platform sent */
    uint64_t limits_asked;
    uint32_t sessions;  /* now */
    uint32_t largest;   /* payload, bytes */
    uint32_t in_flight; /* most PUBACKs owed to a session at once */
    uint8_t version;    /* of the last CONNECT: 4 or 5 */
};

void tb_stub_counts(struct tb_stub *s, struct tb_stub_counts *ret);
void tb_stub_total(struct tb_stub *s, struct samples_total *ret);
bool tb_stub_device(struct tb_stub *s, const char *name, struct samples_total *ret);
uint64_t tb_stub_key(struct tb_stub *s, const char *device, const char *key);
/* Copies the type of a device's last connect; "" if none. */
void tb_stub_type(struct tb_stub *s, const char *device, char *ret, size_t size);
void tb_stub_forget_latency(struct tb_stub *s);
void tb_stub_print(struct tb_stub *s, FILE *out);

/* A place in what has come, for tb_stub_wait. */
uint64_t tb_stub_mark(struct tb_stub *s);
/* Waits for a publish after mark whose topic is (or, with a '*' at its end, begins with) topic and
 * whose payload holds text (NULL: any), and copies topic, a space and payload to ret (NULL: not
 * wanted). The last 4,096 publishes that are no telemetry and the last 64 that are can be found.
 * false: it did not come in time. */
bool tb_stub_wait(struct tb_stub *s, uint64_t mark, const char *topic, const char *text,
                  uint32_t timeout_ms, char *ret, size_t size);
/* Waits until so many different numbers (numbered samples) or points have come. */
bool tb_stub_wait_samples(struct tb_stub *s, uint64_t distinct, uint32_t timeout_ms);
bool tb_stub_wait_points(struct tb_stub *s, uint64_t points, uint32_t timeout_ms);
bool tb_stub_wait_sessions(struct tb_stub *s, uint32_t sessions, uint32_t timeout_ms);

#endif
