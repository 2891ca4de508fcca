/*
 * Who may speak: one check of credentials and one of topics for every front - the plugin in a
 * broker, hooks over HTTP, an adapter that accepts connections itself.
 *
 * Credentials stand in the document of a device ("secret", "credentials") or of a "service_user";
 * docs/guide/identity.md shows each kind. Checks work on tables in memory and never block.
 */
#ifndef TPCORE_AUTH_H
#define TPCORE_AUTH_H

#include <tpcore/core.h>
#include <tpcore/entity.h>

TPC_BEGIN

enum tpc_auth_role {
    TPC_ROLE_DEVICE = 1,
    TPC_ROLE_SERVICE = 2, /* a program: the platform itself, a connectivity service */
    TPC_ROLE_REGISTER = 3 /* a device that is not there yet and may only ask to be registered */
};

enum tpc_auth_method {
    TPC_AUTH_BASIC = 1,   /* user name and password (ThingsPanel BASIC) */
    TPC_AUTH_TOKEN = 2,   /* a user name that nobody else knows (ThingsPanel ACCESSTOKEN) */
    TPC_AUTH_HMAC = 3,    /* {device}&{product} and HMAC-SHA-256 by the device's secret (Alink) */
    TPC_AUTH_VOUCHER = 4, /* another voucher text of a ThingsPanel service */
    TPC_AUTH_CERTIFICATE = 5, /* fingerprint of a client's certificate */
    TPC_AUTH_JWT = 6,         /* JSON Web Token, HS256 by the option token_key */
    TPC_AUTH_REGISTER = 7     /* {device}&{product} and HMAC-SHA-256 by the product's secret */
};

enum {
    TPC_AUTH_FIELD_BYTES = 4096, /* of each field of a request; longer ones are refused */
    TPC_AUTH_KEY_BYTES = 132     /* of a key with its NUL */
};

/* What somebody said of himself. Initialise with TPC_AUTH_REQUEST_INIT. */
struct tpc_auth_request {
    uint32_t size;
    uint32_t reserved;
    struct tpc_str tenant;    /* that the front serves; empty = "main" */
    struct tpc_str client_id; /* may be empty; one that ends in "|authType=register|" asks to be
                               * registered */
    struct tpc_str username;
    struct tpc_bytes password;  /* a JSON Web Token may stand here, whatever the user name, unless
                                 * that is somebody else's */
    struct tpc_str fingerprint; /* SHA-256 of the certificate (DER) that the connection proved, as
                                 * hex, with or without colons; empty = none */
    struct tpc_str voucher;     /* a ThingsPanel voucher instead of user name and password */
    struct tpc_str peer;        /* address, for the limit on failures; empty = unknown */
};
#define TPC_AUTH_REQUEST_INIT                                                                      \
    {                                                                                              \
        sizeof(struct tpc_auth_request), 0, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 },      \
            { 0, 0 },                                                                              \
        {                                                                                          \
            0, 0                                                                                   \
        }                                                                                          \
    }

/* Who it is. A plain value: keep it with the connection. It holds in another core with the same secret_key
 * and entities, too; without such a key only in the core that gave it. */
struct tpc_identity {
    uint32_t size;
    uint16_t role;                /* enum tpc_auth_role */
    uint16_t method;              /* enum tpc_auth_method */
    uint64_t id;                  /* number of the device or service user; 0 of a registration */
    uint64_t tenant;              /* number */
    char key[TPC_AUTH_KEY_BYTES]; /* of the device (Alink: deviceName, ThingsPanel: number and id)
                                       * or service user */
    char product[TPC_AUTH_KEY_BYTES]; /* empty of a service user */
    uint64_t proof[3];                /* private: what it logged in with */
    int64_t until_unix_ms;            /* a token's end; 0 = none */
};

/*
 * Checks who somebody is. Failures are limited: after 10 within a minute of one user name from one
 * address, or 100 of one address, more are refused unseen until the minute is over.
 *
 * Returns 0 with *ret; TPC_EDENIED (unknown, wrong, disabled, expired; the text says which and is not
 * for the peer), TPC_EAGAIN (limited), TPC_EINVAL (no tenant of that key; NULL), TPC_ENOMEM, or what
 * opening the entities' store says. Secrets are never in a text.
 * Ownership: *ret is a value.
 * Thread: any-thread; does not block once the entities are loaded.
 * Since: 0.1
 */
TPC_API int tpc_auth_check(struct tpc_core *core, const struct tpc_auth_request *request,
                           struct tpc_identity *ret);

/*
 * Whether somebody who logged in before may stay: his device or user is there and enabled, what he
 * logged in with is still valid. For a front that looks through its connections now and then.
 *
 * Returns 0, TPC_EDENIED (the text says why) or TPC_EINVAL.
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_auth_recheck(struct tpc_core *core, const struct tpc_identity *who);

/*
 * Who a user name belongs to, of somebody whom a broker has let in before: for a broker that names only
 * the user when it asks about a topic. What it returns is not proven.
 *
 * Returns 0; TPC_EDENIED (nobody has it, several have it with different passwords, or he is disabled),
 * TPC_EINVAL (no tenant).
 * Ownership: *ret is a value.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_auth_resolve(struct tpc_core *core, struct tpc_str tenant, struct tpc_str username,
                             struct tpc_identity *ret);

enum tpc_access {
    TPC_ACCESS_PUBLISH = 1,
    TPC_ACCESS_SUBSCRIBE = 2, /* topic is a filter */
    TPC_ACCESS_RECEIVE = 3    /* topic of a message that is about to be handed to him */
};

/*
 * Whether somebody may use a topic. A device has its own ThingsPanel topics (its key is its number),
 * its own Alink topics, those of the devices behind it, and those that the mapping of its product names; a
 * service user has all.
 *
 * Returns 0 or TPC_EDENIED, TPC_EINVAL.
 * Ownership: none.
 * Thread: any-thread; allocates only to note a refusal (tpcore/why.h).
 * Since: 0.1
 */
TPC_API int tpc_acl_check(struct tpc_core *core, const struct tpc_identity *who, int access,
                          struct tpc_str topic);

/* A device that wants to be known. Initialise with TPC_REGISTER_REQUEST_INIT. */
struct tpc_register_request {
    uint32_t size;
    uint32_t reserved;
    struct tpc_str tenant;  /* empty = "main" */
    struct tpc_str product; /* may be empty if secret is given */
    struct tpc_str device;
    struct tpc_str name;   /* for people; may be empty */
    struct tpc_str sign;   /* Alink: hex of HMAC-SHA-256 by the product's secret over
                            * "deviceName{device}productKey{product}" */
    struct tpc_str secret; /* ThingsPanel: the product's secret itself ("template_secret") */
    struct tpc_str peer;   /* address, for the limit on failures */
};
#define TPC_REGISTER_REQUEST_INIT                                                                  \
    {                                                                                              \
        sizeof(struct tpc_register_request), 0, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 },  \
            { 0, 0 },                                                                              \
        {                                                                                          \
            0, 0                                                                                   \
        }                                                                                          \
    }

/* Credentials of the new device. Wipe it after use. */
struct tpc_registration {
    uint32_t size;
    uint32_t reserved;
    uint64_t id; /* number of the device */
    char product[TPC_AUTH_KEY_BYTES];
    char device[TPC_AUTH_KEY_BYTES];
    char secret[40];   /* by sign: 32 hexadecimal digits */
    char voucher[160]; /* by secret: JSON text as the product's voucher_type says */
};

/*
 * Makes a device that proves that it knows its product's secret, with credentials of its own. The
 * product must have auto_register; an existing device is refused, so that a registration that was
 * overheard is worth nothing.
 *
 * Returns 0; TPC_EDENIED (no such product, auto_register is off, wrong sign or secret), TPC_EEXIST,
 * TPC_EAGAIN (limited), TPC_EINVAL (key, product of sub-devices), and as tpc_entity_put().
 * Ownership: *ret is a value.
 * Thread: any-thread; durable when it returns.
 * Since: 0.1
 */
TPC_API int tpc_auth_register(struct tpc_core *core, const struct tpc_register_request *request,
                              struct tpc_registration *ret);

/*
 * Makes a token that a device logs in with until ttl_ms from now (0 = 7 days, at most 366 days).
 * Claims productKey, deviceName, exp, and tenant if that is not "main".
 *
 * Returns 0; TPC_ENOENT (tenant, device), TPC_EDENIED (it is disabled), TPC_ESTATE (no token_key),
 * TPC_EINVAL, TPC_ETOOBIG with buf->need set.
 * Ownership: the caller's buffer.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_token_issue(struct tpc_core *core, struct tpc_str tenant, struct tpc_str device,
                            uint64_t ttl_ms, struct tpc_buf *buf);

TPC_END

#endif
