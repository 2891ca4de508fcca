/*
 * Module "sqlite": entities, records and history in two SQLite files of one folder.
 */
#include "db.h"

#include <tpcore/modules.h>

static const struct tpc_interface interfaces[] = {
    { TPC_KIND_STORE, &sqdb_store_ops },
    { TPC_KIND_HISTORY, &sqdb_history_ops },
};

TPC_MODULE(sqlite, .version = "0.1.0", .licence = "Apache-2.0 AND blessing",
           .interfaces = TPC_INTERFACES(interfaces))
