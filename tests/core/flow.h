/* A whole core in the test's process, with an adapter that the test plays. */
#ifndef FLOW_H
#define FLOW_H

#include <pthread.h>
#include <stdatomic.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/tpcore.h>

#include "tk.h"
#include "tk_env.h"

enum { FLOW_SENT = 4096, FLOW_SETTLED = 65536 };

struct flow_sent {
    char device[32];
    char correlation[64];
    char topic[64];
    char payload[256];
    uint64_t ticket;
    uint16_t flags;
    uint64_t session;
};

/* What the adapter "probe" was asked to do. One instance at a time. */
struct flow_probe {
    pthread_mutex_t lock;
    const struct tpc_host *host;
    void *ctx;
    struct flow_sent sent[FLOW_SENT];
    atomic_uint sent_count;
    uint64_t settled[FLOW_SETTLED];
    int errors[FLOW_SETTLED];
    atomic_uint settled_count;
    atomic_uint resumed;
    atomic_bool confirm;  /* sends are confirmed at once */
    atomic_bool answer;   /* and answered with success */
    atomic_int send_code; /* what send() returns */
    uint32_t watched;
    uint32_t fired;
};
extern struct flow_probe flow_probe;

struct flow {
    struct tk_env e;
    struct tpc_core_options o;
    struct tpc_core *core;
    uint32_t workers;
};

/* Options over the test's environment; the core is made by flow_create(). */
void flow_init(struct flow *f, uint32_t workers);
void flow_create(struct flow *f);
/* Opens log "file" in dir, with more options or "". */
void flow_file_log(struct flow *f, const char *dir, const char *more);
/* Products thermo (json), fan (json) and devices t1 .. tn, fan-1. */
void flow_devices(struct flow *f, int n);
void flow_probe_open(struct flow *f);
void flow_start(struct flow *f);
void flow_destroy(struct flow *f);
void flow_fini(struct flow *f);

/* Lets the core work until done(user) or five seconds are over; false = not done. */
bool flow_until(struct flow *f, bool (*done)(void *user), void *user);
/* Until nothing is left to do. */
void flow_settle(struct flow *f);

struct tpc_device *flow_device(struct flow *f, const char *key);
int flow_feed(struct tpc_device *d, const char *text);
double flow_latest(struct flow *f, const char *device, const char *property);
double flow_metric(struct flow *f, const char *name);
/* Samples of a property in the history. */
uint32_t flow_stored(struct flow *f, const char *device, const char *property);
uint64_t flow_session(const char *device, uint32_t flags);
/* receive() until it is taken. */
int flow_receive(uint64_t session, const char *text, uint64_t ticket);

Suite *act_flow_suite(void);
Suite *attach_flow_suite(void);
Suite *clock_flow_suite(void);
Suite *schedule_flow_suite(void);
Suite *uplink_flow_suite(void);
Suite *stream_flow_suite(void);
Suite *fault_flow_suite(void);
Suite *command_flow_suite(void);
Suite *command_list_suite(void);
Suite *hold_flow_suite(void);
Suite *hand_flow_suite(void);
Suite *state_flow_suite(void);
Suite *keep_flow_suite(void);
Suite *directory_flow_suite(void);
Suite *topology_flow_suite(void);
Suite *gateway_flow_suite(void);
Suite *number_suite(void);
Suite *panel_flow_suite(void);
Suite *import_flow_suite(void);
Suite *model_flow_suite(void);
Suite *open_flow_suite(void);
Suite *report_flow_suite(void);
Suite *derived_flow_suite(void);
Suite *query_flow_suite(void);
Suite *auth_flow_suite(void);
Suite *acl_flow_suite(void);
Suite *presence_flow_suite(void);
Suite *why_flow_suite(void);
Suite *audit_flow_suite(void);
Suite *forward_flow_suite(void);
Suite *alert_flow_suite(void);
Suite *data_rule_flow_suite(void);
Suite *rule_flow_suite(void);
Suite *rule_test_flow_suite(void);
Suite *scene_flow_suite(void);
Suite *rule_fault_flow_suite(void);
Suite *host_flow_suite(void);
Suite *mixed_flow_suite(void);
Suite *service_flow_suite(void);

#endif
