/*
 * What brokers ask over HTTP about logins and topics: EMQX, RabbitMQ (rabbitmq_auth_backend_http) and
 * VerneMQ. Bytes in, bytes out: no socket, no state. Whoever serves HTTP finds the function of a path
 * with hooks_find() and calls it.
 *
 * A broker's question about a topic names only the user: the broker has checked who it is. That is
 * answered with tpc_auth_resolve().
 *
 * What goes wrong here - a body that cannot be read, no memory - is answered with a refusal: EMQX takes
 * anything else for "ignore", which may let everybody in.
 */
#ifndef HOOKS_H
#define HOOKS_H

#include <stdbool.h>
#include <tpcore/auth.h>

enum { HOOKS_ANSWER_BYTES = 16384, HOOKS_BODY_MAX = 65536, HOOKS_FILTERS_MAX = 256 };

struct hooks_request {
    struct tpc_core *core;
    struct tpc_str tenant; /* that the broker serves */
    struct tpc_bytes body; /* of POST, or what stands behind ? in the path of GET */
};

enum hooks_event { HOOKS_NOTHING = 0, HOOKS_ONLINE = 1, HOOKS_OFFLINE = 2, HOOKS_REGISTER = 3 };

/* The answer is always sent with status 200. */
struct hooks_answer {
    const char *type; /* "application/json" or "text/plain" */
    size_t len;
    char text[HOOKS_ANSWER_BYTES];
    int event; /* enum hooks_event: what it means for `who` */
    struct tpc_identity who;
    char sign[80]; /* of HOOKS_REGISTER: for tpc_auth_register() */
};

typedef void hooks_fn(const struct hooks_request *request, struct hooks_answer *ret);

/*
 * The function of a path: "/mqtt/auth", "/mqtt/acl", "/mqtt/event" (EMQX, contract iot-module.md 8);
 * "/auth/user", "/auth/vhost", "/auth/resource", "/auth/topic" (RabbitMQ); "/vernemq", with the value of
 * the header vernemq-hook as hook. NULL = no such path.
 */
hooks_fn *hooks_find(struct tpc_str path, struct tpc_str hook);

#endif
