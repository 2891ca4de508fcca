/* The table "tls" of clients that libcurl connects: {"ca", "cert", "key", "verify"}. */
#ifndef TLS_OPTIONS_H
#define TLS_OPTIONS_H

#include <tpcore/ext/option.h>

enum { TLS_OPTIONS = 4 };

extern const struct tpc_option tls_options[TLS_OPTIONS];

/* As a member of a table of options; use .help for what it is of. */
#define TLS_OPTION_SUB                                                                             \
    {                                                                                              \
        tls_options, TLS_OPTIONS, sizeof(struct tpc_option)                                        \
    }

#endif
