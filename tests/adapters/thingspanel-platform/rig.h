/* A whole core with the module, services, devices of them and an access point. */
#ifndef RIG_H
#define RIG_H

#include "flow.h"

#include <stdatomic.h>

#define BEAT "/api/v1/plugin/heartbeat"
#define CONFIG "/api/v1/plugin/device/config"
#define DEVICES "/api/v1/plugin/devices"
#define POINTS "/api/v1/plugin/service/access/list"
#define POINT "/api/v1/plugin/service/access"
#define AUTH "/api/v1/device/auth"
#define OK "{'code':200,'message':'Success','data':"

extern struct flow f;
static const struct tpc_str none = { "", 0 };

/* Memory that is refused to every nth request of any thread; 0 = to none. asked_for counts them. */
extern atomic_uint refuse_each, asked_for;

void begin(const char *options);
void end(void);
/* In texts ' stands for ". */
void put(const char *kind, const char *form);
/* Asks, and wants an answer that begins so. */
void expect_from(const char *peer, uint32_t status, const char *path, const char *body,
                 const char *want);
void expect(const char *path, const char *body, const char *want);
/* One step of the core; then so much time goes by. */
void turn(uint32_t ms);

#endif
