/* RabbitMQ: rabbitmq_auth_backend_http (its README). Fields come as a form, application/
 * x-www-form-urlencoded; answers are texts. */
#include "inside.h"

#include <string.h>

enum { FIELD_BYTES = 4200 };

static const char text[] = "text/plain";

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Decodes what stands up to the next & into ret; false = it is too long or malformed. */
static bool decode(struct tpc_str in, char ret[FIELD_BYTES], struct tpc_str *ret_field)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];
        if (c == '%') {
            bool whole = in.len - i > 2;
            int high = whole ? hex(in.ptr[i + 1]) : -1;
            int low = whole ? hex(in.ptr[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return false;
            }
            c = (char) (high * 16 + low);
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        if (n == FIELD_BYTES) {
            return false;
        }
        ret[n++] = c;
    }
    *ret_field = (struct tpc_str){ ret, n };
    return true;
}

/* A field of the form, decoded into room; empty if it is not there. false = malformed. */
static bool field(const struct hooks_request *q, const char *name, char room[FIELD_BYTES],
                  struct tpc_str *ret)
{
    const char *at = (const char *) q->body.ptr;
    const char *end = at + q->body.len;
    size_t len = strlen(name);
    *ret = (struct tpc_str){ room, 0 };
    while (at < end) {
        const char *stop = memchr(at, '&', (size_t) (end - at));
        stop = stop != NULL ? stop : end;
        if ((size_t) (stop - at) > len && memcmp(at, name, len) == 0 && at[len] == '=') {
            struct tpc_str value = { at + len + 1, (size_t) (stop - at) - len - 1 };
            return decode(value, room, ret);
        }
        at = stop + (stop < end);
    }
    return true;
}

void hooks_rabbit_user(const struct hooks_request *q, struct hooks_answer *a)
{
    char rooms[3][FIELD_BYTES];
    struct tpc_str username, password, client_id;
    struct tpc_str peer = { "", 0 };
    hooks_say(a, text, "deny");
    if (q->body.len <= HOOKS_BODY_MAX && field(q, "username", rooms[0], &username) &&
        field(q, "password", rooms[1], &password) && field(q, "client_id", rooms[2], &client_id) &&
        hooks_login(q, a, client_id, username, password, peer)) {
        hooks_say(a, text, "allow");
    }
}

/* Who the user is; false = the question cannot be read, or nobody is called so. */
static bool who_asks(const struct hooks_request *q, struct tpc_identity *ret)
{
    char room[FIELD_BYTES];
    struct tpc_str username;
    return q->body.len <= HOOKS_BODY_MAX && field(q, "username", room, &username) &&
           tpc_auth_resolve(q->core, q->tenant, username, ret) == 0;
}

/* The MQTT plugin asks with the client id, AMQP without one: there devices have no business. Who knocks
 * is asked first (/auth/user), and only here with his address. */
void hooks_rabbit_vhost(const struct hooks_request *q, struct hooks_answer *a)
{
    char room[FIELD_BYTES];
    struct tpc_str client_id;
    struct tpc_identity who;
    hooks_say(a, text, "deny");
    if (who_asks(q, &who) && field(q, "client_id", room, &client_id) &&
        (who.role == TPC_ROLE_SERVICE || client_id.len > 0)) {
        hooks_say(a, text, "allow");
    }
}

static bool is(struct tpc_str s, const char *with)
{
    return tpc_str_equal(s, tpc_str_from(with)) != 0;
}

/* The queues that the MQTT plugin makes for a client: mqtt-subscription-{client id}qos0 and ..qos1. */
static bool is_queue_of(struct tpc_str name, struct tpc_str client_id)
{
    static const char head[] = "mqtt-subscription-";
    size_t around = sizeof(head) - 1;
    size_t len = around + client_id.len;
    struct tpc_str tail = { name.ptr + len, name.len - len };
    return name.len > len && memcmp(name.ptr, head, around) == 0 &&
           memcmp(name.ptr + around, client_id.ptr, client_id.len) == 0 &&
           (is(tail, "qos0") || is(tail, "qos1"));
}

/* A device uses its own queues and the exchange of the MQTT plugin; what it says and hears there is asked
 * topic by topic. */
static bool device_uses(const struct hooks_request *q)
{
    char rooms[4][FIELD_BYTES];
    struct tpc_str resource, name, permission, client_id;
    if (!field(q, "resource", rooms[0], &resource) || !field(q, "name", rooms[1], &name) ||
        !field(q, "permission", rooms[2], &permission) ||
        !field(q, "client_id", rooms[3], &client_id) || client_id.len == 0) {
        return false;
    }
    return is(resource, "queue") ? is_queue_of(name, client_id)
                                 : is(resource, "exchange") && is(name, "amq.topic") &&
                                       (is(permission, "read") || is(permission, "write"));
}

void hooks_rabbit_resource(const struct hooks_request *q, struct hooks_answer *a)
{
    struct tpc_identity who;
    hooks_say(a, text, "deny");
    if (who_asks(q, &who) && (who.role == TPC_ROLE_SERVICE || device_uses(q))) {
        hooks_say(a, text, "allow");
    }
}

/* The MQTT plugin (3.10) makes a topic a routing key: '/' becomes '.', '+' becomes '*', and '.' stays, so
 * "a.b" and "a/b" are one to it. A '/' never comes; it is no end of a level. */
static void topic_of(struct tpc_str key, char *p)
{
    for (size_t i = 0; i < key.len; i++) {
        p[i] = p[i] == '.' ? '/' : p[i] == '/' ? '.' : p[i] == '*' ? '+' : p[i];
    }
}

void hooks_rabbit_topic(const struct hooks_request *q, struct hooks_answer *a)
{
    char rooms[3][FIELD_BYTES];
    struct tpc_str username, permission, key;
    hooks_say(a, text, "deny");
    if (q->body.len > HOOKS_BODY_MAX || !field(q, "username", rooms[0], &username) ||
        !field(q, "permission", rooms[1], &permission) ||
        !field(q, "routing_key", rooms[2], &key)) {
        return;
    }
    topic_of(key, rooms[2]);
    int access = tpc_str_equal(permission, TPC_STR("write")) != 0  ? TPC_ACCESS_PUBLISH
                 : tpc_str_equal(permission, TPC_STR("read")) != 0 ? TPC_ACCESS_SUBSCRIBE
                                                                   : 0;
    if (access != 0 && hooks_allows(q, username, access, key)) {
        hooks_say(a, text, "allow");
    }
}
