/*
 * The built-in rules of who a connection is (contract iot-module sections 3 to 5 and 8), where nobody
 * offers "device.access": messages are JSON objects as the codec alink has them, one in a frame.
 *
 *   -> {"requestId":"1","method":"auth","params":{"username":"dev01&pk01","password":"5d4e.."}}
 *   <- {"requestId":"1","method":"auth","data":"认证成功","code":0,"msg":""}
 *   -> {"requestId":"2","method":"thing.auth.register","params":{"productKey","deviceName","sign"}}
 *   <- {"requestId":"2","method":"thing.auth.register","data":{.., "deviceSecret"},"code":0,"msg":""}
 *
 * Anything else before the login is answered with code 401. It is a tpc_access_ops like another's:
 * an adapter that found no service "device.access" takes net_auth_ops with the net_auth as self.
 * login() never refuses for good, it says TPC_ACCESS_MORE with an answer: the adapter's login_timeout
 * ends who does not get in. It is done before login() returns, or, of a registration, on a thread
 * that net_auth has: registering waits for the disk. Bytes of answers are bodies, not yet framed.
 */
#ifndef NET_AUTH_H
#define NET_AUTH_H

#include <tpcore/ext/access.h>
#include <tpcore/ext/host.h>

enum {
    NET_AUTH_WAITING_MAX = 64, /* registrations that wait; more are told TPC_EAGAIN's code */
    NET_AUTH_ANSWER_BYTES = 1024
};

struct net_auth;

/* tenant empty = "main". Control thread. Returns 0 or TPC_ENOMEM. */
int net_auth_create(const struct tpc_host *host, void *ctx, struct tpc_str tenant,
                    struct net_auth **ret);

/* The adapter's start and stop: stop returns when no done is called any more. Stop without start and
 * twice is fine. */
int net_auth_start(struct net_auth *a);
void net_auth_stop(struct net_auth *a);

/* Returns NULL. */
struct net_auth *net_auth_destroy(struct net_auth *a);

/* frame and watch are NULL. answer() of a connection that is logged in: a further "auth" is answered at
 * once, everything else is data without an answer (the core's own comes through send()). */
extern const struct tpc_access_ops net_auth_ops;

#endif
