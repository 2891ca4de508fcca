#include "ask_panel.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/core.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/ext/panel.h>
#include <tpcore/json.h>

enum { DATA_BYTES = 60000 };

struct asker {
    const struct tpc_host *host;
    void *ctx;
};

static const struct tpc_panel_ops *ops;
static void *ops_self;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t said = PTHREAD_COND_INITIALIZER;
static bool done;
static uint32_t said_code;
static uint8_t data_text[DATA_BYTES];
static size_t data_len;

static int init(void *self, const struct tpc_host *host, void *ctx, const struct tpc_value *cfg)
{
    struct asker *a = self;
    (void) cfg;
    a->host = host;
    a->ctx = ctx;
    return 0;
}

static int start(void *self)
{
    struct asker *a = self;
    const void *table = NULL;
    int rc = a->host->need(a->ctx, "thingspanel.services", &table, &ops_self);
    ops = rc == 0 ? table : NULL;
    return rc;
}

static int send_frame(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
                      uint64_t ticket)
{
    (void) self;
    (void) peer;
    (void) frame;
    (void) ticket;
    return TPC_EOFFLINE;
}

static void end(void *self)
{
    (void) self;
}

static const struct tpc_adapter_ops asker = { .iface = TPC_IFACE(struct tpc_adapter_ops, 1),
                                              .name = "asker",
                                              .instance_size = sizeof(struct asker),
                                              .init = init,
                                              .start = start,
                                              .send = send_frame,
                                              .stop = end,
                                              .fini = end };
static const struct tpc_interface interfaces[] = { { TPC_KIND_ADAPTER, &asker } };
static const char *const needs[] = { "thingspanel.services" };
static const struct tpc_module module = { .iface = TPC_IFACE(struct tpc_module, 1),
                                          .name = "asker",
                                          .version = "1",
                                          .licence = "Apache-2.0",
                                          .interfaces = TPC_INTERFACES(interfaces),
                                          .needs = TPC_LIST(needs) };

int ask_panel_add(struct tpc_core *core)
{
    return tpc_core_add_module(core, &module);
}

static void on_said(void *user, uint32_t code, struct tpc_str message, const struct tpc_value *data)
{
    struct tpc_buf buf = { data_text, sizeof(data_text), 0 };
    (void) user;
    (void) message;
    pthread_mutex_lock(&lock);
    data_len = data != NULL && tpc_json_write(data, 0, &buf) == 0 ? buf.need : 0;
    said_code = code;
    done = true;
    pthread_cond_broadcast(&said);
    pthread_mutex_unlock(&lock);
}

void ask_panel(struct tpc_core *core, const char *what, const char *who, const char *one,
               const char *two)
{
    struct tpc_str key = tpc_str_from(who);
    int rc = ops == NULL ? tpc_core_open(core, "asker", "asker", TPC_STR("{}")) : 0;
    done = false;
    if (rc == 0 && strcmp(what, "form") == 0) {
        rc = ops->form(ops_self, key, tpc_str_from(strcmp(one, "-") == 0 ? "" : one),
                       tpc_str_from(two), on_said, NULL);
    } else if (rc == 0) {
        rc = ops->list(ops_self, key, (uint32_t) strtoul(one, NULL, 10),
                       (uint32_t) strtoul(two, NULL, 10), on_said, NULL);
    }
    if (rc != 0) {
        printf("%s\n", tpc_error_name(rc));
        return;
    }
    pthread_mutex_lock(&lock);
    while (!done) {
        pthread_cond_wait(&said, &lock);
    }
    printf("%u %.*s\n", (unsigned) said_code, (int) data_len, (const char *) data_text);
    pthread_mutex_unlock(&lock);
}
