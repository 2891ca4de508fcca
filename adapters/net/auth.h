/*
 * The built-in rules of who a connection is (contract iot-module sections 3 to 5 and 8), where nobody
 * offers "device.access": messages are JSON objects as the codec alink has them, one in a frame.
 *
 *   -> {"requestId":"1","method":"auth","params":{"username":"dev01&pk01","password":"5d4e.."}}
 *   <- {"requestId":"1","method":"auth","data":"认证成功","code":0,"msg":""}
 *   -> {"requestId":"2","method":"thing.auth.register","params":{"productKey","deviceName","sign"}}
 *   <- {"requestId":"2","method":"thing.auth.register","data":{.., "deviceSecret"},"code":0,"msg":""}
 *
 * Anything else before the login is answered with code 401. It is a tpc_access_ops like another's: an
 * adapter that found no service "device.access" takes net_auth_ops with the net_auth as self. What it
 * is given as a frame is the body, and its answers are bodies: net_framing_encode() makes frames of them.
 *
 * login() says TPC_ACCESS_MORE with an answer to who does not get in, so that he may try again: the
 * adapter's login_timeout ends it. Only what is no message at all is an error. It is done before login()
 * returns, or, of a registration, on a thread that net_auth has: registering waits for the disk.
 */
#ifndef NET_AUTH_H
#define NET_AUTH_H

#include <tpcore/auth.h>
#include <tpcore/ext/access.h>
#include <tpcore/ext/host.h>

enum {
    NET_AUTH_WAITING_MAX = 64, /* registrations that wait; more are told TPC_EAGAIN's code */
    NET_AUTH_ANSWER_BYTES = 1024
};

struct net_auth;

enum net_auth_flags {
    NET_AUTH_TOKEN = 1, /* a login is answered with {"token"}, which the next messages show (UDP) */
};

/* tenant empty = "main", it is copied. Control thread. Returns 0, TPC_ENOMEM or TPC_ETOOBIG (tenant). */
int net_auth_create(const struct tpc_host *host, void *ctx, struct tpc_str tenant, uint32_t flags,
                    struct net_auth **ret);

/* The adapter's start and stop. Once stop has returned, no done is called any more; stop without start
 * and twice is fine. Returns 0 or TPC_ENOMEM. */
int net_auth_start(struct net_auth *a);
void net_auth_stop(struct net_auth *a);

/* Returns NULL. */
struct net_auth *net_auth_destroy(struct net_auth *a);

/* frame is NULL. answer() of a connection that is logged in: a further "auth" is answered at
 * once, everything else is data without an answer (the core's own comes through send()). done() of a
 * registration must not call login() or cancel().
 * watch() hears within ten seconds of a device that is disabled, deleted, or whose credentials changed
 * since; fn is called on a worker and must not call back. It ends before the host's timers do. */
extern const struct tpc_access_ops net_auth_ops;

/* Who shows a token that a login got. The api's thread rules; blocks not. Returns 0, TPC_EDENIED,
 * TPC_EAGAIN (too many failures) or what the api says. */
int net_auth_token(struct net_auth *a, struct tpc_str token, struct tpc_str peer,
                   struct tpc_identity *ret);

/* Whether he may stay, without looking at the token again. */
int net_auth_stays(struct net_auth *a, const struct tpc_identity *who);

/* The address of "192.0.2.1:7000" or "[2001:db8::1]:7000", as failures are counted by. */
struct tpc_str net_auth_address(struct tpc_str peer);

#endif
