/*
 * Store "memory": rows in an ordered table, with an optional dump to JSON files that is loaded
 * again at the next start. What came after the last dump is lost in a crash; a clean stop dumps.
 *
 * A dump is "{space}-{kind}__{n}.{generation}.json" with up to 50 rows each and "dump.json", which
 * names the files of the last complete one. Files of earlier dumps are removed.
 */
#ifndef TPI_STORE_MEMORY_H
#define TPI_STORE_MEMORY_H

#include <tpcore/ext/store.h>

enum { TPI_MEMORY_DUMP_ROWS = 50 }; /* rows in one file */

extern const struct tpc_store_ops tpi_store_memory;

#endif
