#include "options.h"

const struct tpc_option tls_options[TLS_OPTIONS] = {
    { .name = "ca",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "PEM file of the authorities; absent = the system's" },
    { .name = "cert",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "PEM file of our own certificate" },
    { .name = "key",
      .type = TPC_OPT_TEXT,
      .min = 1,
      .since = "0.1",
      .help = "PEM file of its key" },
    { .name = "verify",
      .type = TPC_OPT_BOOL,
      .def = "true",
      .since = "0.1",
      .help = "false: the server's certificate is not looked at" },
};
