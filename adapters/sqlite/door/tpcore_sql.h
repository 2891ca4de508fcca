/*
 * The entry point, for programs that link the door (built with SQLITE_CORE) in place of loading
 * tpcore_sql.so: call it for each connection that is to have the table, or give it to
 * sqlite3_auto_extension(). Returns an SQLite result; *message is sqlite3_malloc'd.
 */
#ifndef TPCORE_SQL_H
#define TPCORE_SQL_H

#include <sqlite3.h>

int sqlite3_tpcoresql_init(sqlite3 *db, char **message, const struct sqlite3_api_routines *api);

#endif
