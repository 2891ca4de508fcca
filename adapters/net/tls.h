/*
 * TLS on streams, by mbedtls: TLS 1.2 and, where the library has it, 1.3. Certificates may change
 * while they are used (adapters/tls); connections that are there keep theirs.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "../tls/files.h"

#include <stdbool.h>
#include <tpcore/ext/host.h>
#include <tpcore/ext/option.h>

struct net_tls;

enum { NET_TLS_OPTION_COUNT = 4, NET_TLS_LOOK_MS = 30000 };

/* The table "tls". */
extern const struct tpc_option net_tls_options[NET_TLS_OPTION_COUNT];
#define NET_TLS_SUB                                                                                \
    {                                                                                              \
        net_tls_options, NET_TLS_OPTION_COUNT, sizeof(struct tpc_option)                           \
    }

/*
 * server: it needs a certificate; with authorities a client needs one of theirs, unless `verify` is
 * false. Client: the server's is checked by the authorities, absent = the system's, unless `verify`
 * is false. table (may be NULL = empty) and what it points to stay the caller's and stay. Control
 * thread. Returns 0 or what host->fail() returned.
 */
int net_tls_create(const struct tpc_host *host, void *ctx, const struct tpc_value *table,
                   bool server, struct net_tls **ret);
/* No stream has it any more. Returns NULL. */
struct net_tls *net_tls_destroy(struct net_tls *t);

/* Reads the files; a set that was taken over is for connections from now on. Control thread before the
 * loop runs, then the loop's. Returns 0 with *ret_news (enum tls_news) and net_tls_text(); TPC_EINVAL:
 * there is no set yet, and the text says why; TPC_ENOMEM, TPC_EIO. */
int net_tls_look(struct net_tls *t, int *ret_news);
const char *net_tls_text(const struct net_tls *t);

#endif
