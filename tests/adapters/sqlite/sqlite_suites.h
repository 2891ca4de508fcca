#ifndef SQLITE_SUITES_H
#define SQLITE_SUITES_H

#include <tpcore/ext/history.h>
#include <tpcore/ext/store.h>

#include "tk.h"

Suite *sqlite_suite(void);
Suite *import_suite(void);
Suite *observe_suite(void);

/* The module's tables. */
const struct tpc_history_ops *sqlite_history_ops(void);
const struct tpc_store_ops *sqlite_store_ops(void);

#endif
