/*
 * Logins: what devices and service users may prove themselves with, in a table of its own. Of a
 * credential only a MAC with a key of this process is kept, 16 bytes over what a front would be
 * shown, so that a check is one MAC and one look-up whatever the kind, and no memory dump gives a
 * password away.
 *
 * A change makes its entries first (not live, nobody finds them), then apply makes them live and
 * takes the old ones out. Entries are read under the registry's read lock and changed under its
 * write lock.
 */
#ifndef TPI_REGISTRY_LOGIN_H
#define TPI_REGISTRY_LOGIN_H

#include <tpcore/auth.h>

#include "base/crypto.h"
#include "base/map.h"
#include "registry/registry.h"

enum {
    TPI_LOGIN_PROOF_BYTES = 16,
    TPI_LOGIN_MAX = 12 /* of one entity */
};

/* What the MAC is over. Pairs of user name and password come from three kinds of credentials. */
enum tpi_login_class { TPI_LOGIN_PAIR = 1, TPI_LOGIN_VOUCHER = 2, TPI_LOGIN_CERTIFICATE = 3 };

struct tpi_proof {
    uint64_t name; /* hash of class, tenant and what it is found by */
    uint8_t mac[TPI_LOGIN_PROOF_BYTES];
};

struct tpi_logins;

struct tpi_login {
    struct tpi_login *next; /* with the same name */
    struct tpi_logins *of;
    struct tpi_proof proof;
    uint32_t method; /* enum tpc_auth_method */
    bool listed;
};

/* A program that is no device. Counted by the table of users while its entity is there. */
struct tpi_service_user {
    uint64_t id;
    uint64_t tenant;
    bool enabled;
    struct tpi_logins *logins;
    struct tpc_str key; /* behind this struct */
};

/* All logins of one device or service user. */
struct tpi_logins {
    struct tpc_device *device; /* borrowed: it holds this; NULL of a user */
    struct tpi_service_user *user;
    bool live;
    uint32_t count;
    uint32_t cap;
    struct tpi_login list[];
};

struct tpi_login_table {
    struct tpi_map64 names; /* hash -> first struct tpi_login */
    struct tpi_mac_key key; /* of this process */
    uint64_t seed;
};

struct tpi_registry;

/* given empty: a key of its own. Returns 0 or TPC_EIO. */
int tpi_login_table_init(struct tpi_login_table *t, const struct tpi_env *env,
                         struct tpc_bytes given);
void tpi_login_table_fini(struct tpi_login_table *t);

/* The proof of a pair, a voucher (as name, the rest empty) or a fingerprint (likewise). Returns 0 or
 * TPC_EIO. */
int tpi_login_proof(const struct tpi_login_table *t, enum tpi_login_class cls, uint64_t tenant,
                    struct tpc_str name, struct tpc_bytes password, struct tpi_proof *ret);

/* The live login with this proof, or NULL; *ret_named: there are live ones of that name. Read lock. */
const struct tpi_login *tpi_login_find(const struct tpi_login_table *t,
                                       const struct tpi_proof *proof, bool *ret_named);

/*
 * The logins that a checked document of a device (product = its product's key) or of a service user
 * (product empty) has; *ret = NULL if it has none. They stand in the table, not live. Takes the write
 * lock itself. Returns 0, TPC_EINVAL (voucher, fingerprint), TPC_EEXIST (another one has the same:
 * the path names the member), TPC_ENOMEM, TPC_EIO.
 */
int tpi_logins_make(struct tpi_registry *r, const struct tpi_change *change, struct tpc_str product,
                    const struct tpi_logins *old, struct tpc_error *err, struct tpi_logins **ret);

/* Makes fresh live instead of old and frees old; either may be NULL. Write lock. */
void tpi_logins_swap(struct tpi_registry *r, struct tpi_logins *old, struct tpi_logins *fresh);

/* Takes logins out of the table and frees them. NULL is fine. Write lock, or nobody else there. */
void tpi_logins_free(struct tpi_registry *r, struct tpi_logins *logins);

/* A voucher text as a pair of user name and password, if it is one of ThingsPanel's for MQTT
 * (contract thingspanel.md 1.1): views into the arena. TPC_ENOENT = it is another one; TPC_EINVAL =
 * no JSON object. */
int tpi_voucher_pair(struct tpc_str voucher, struct tpc_arena *arena, struct tpc_str *ret_username,
                     struct tpc_str *ret_password);

/* Hex of SHA-256 with or without colons to its bytes. Returns 0 or TPC_EINVAL. */
int tpi_fingerprint_read(struct tpc_str text, uint8_t ret[32]);

/*
 * Password of an Alink login (contract iot-module.md section 3): hex of HMAC-SHA-256 by the secret.
 * Returns 0 or TPC_EIO.
 */
enum { TPI_HMAC_HEX = 64 };
int tpi_alink_password(struct tpc_str product, struct tpc_str device, struct tpc_str secret,
                       char ret[TPI_HMAC_HEX + 1]);

/* Sign of an Alink registration (section 4) by the product's secret. */
int tpi_alink_sign(struct tpc_str product, struct tpc_str device, struct tpc_str secret,
                   char ret[TPI_HMAC_HEX + 1]);

/* "{device}&{product}": exactly two parts. Returns whether it is that. */
bool tpi_alink_username(struct tpc_str username, struct tpc_str *ret_device,
                        struct tpc_str *ret_product);

#endif
