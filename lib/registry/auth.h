/*
 * Checks of who somebody is and what he may do, on the tables of the registry: see tpcore/auth.h.
 * Any thread; the read lock is taken inside.
 */
#ifndef TPI_REGISTRY_AUTH_H
#define TPI_REGISTRY_AUTH_H

#include "registry/login.h"

/* As tpc_auth_check(). token_key empty = no tokens. */
int tpi_auth_check(struct tpi_registry *r, struct tpc_bytes token_key,
                   const struct tpc_auth_request *request, struct tpc_error *err,
                   struct tpc_identity *ret);

/* As tpc_auth_resolve(). */
int tpi_auth_resolve(struct tpi_registry *r, struct tpc_str tenant, struct tpc_str username,
                     struct tpc_error *err, struct tpc_identity *ret);

/* The device that logs in under a user name, whatever the password; NULL = none. Under the read lock. */
struct tpc_device *tpi_auth_named(struct tpi_registry *r, struct tpc_str tenant,
                                  struct tpc_str username);

/* As tpc_auth_recheck(). */
int tpi_auth_recheck(struct tpi_registry *r, const struct tpc_identity *who, struct tpc_error *err);

/* Whether a device may be made: product, auto_register, sign or secret, limit. *ret is a reference of
 * the caller. Returns 0, TPC_EDENIED, TPC_EEXIST, TPC_EAGAIN or TPC_EINVAL. */
int tpi_auth_registration(struct tpi_registry *r, const struct tpc_register_request *request,
                          struct tpc_error *err, struct tpi_product **ret);

/* The number of the device that a standard topic to a device is for; a view into it. false = it is none. */
bool tpi_acl_number(struct tpc_str topic, struct tpc_str *ret);

/* As tpc_acl_check(). */
int tpi_acl_check(struct tpi_registry *r, const struct tpc_identity *who, int access,
                  struct tpc_str topic, struct tpc_error *err);

#endif
