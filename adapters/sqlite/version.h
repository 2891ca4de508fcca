/*
 * What the files are marked with: the writer (schema.c) and the readers from outside (door/) agree.
 */
#ifndef SQLITE_VERSION_H
#define SQLITE_VERSION_H

enum {
    SQDB_ENTITIES_APPLICATION = 0x54504345, /* "TPCE" */
    SQDB_ENTITIES_VERSION = 3,
    SQDB_HISTORY_APPLICATION = 0x54504348, /* "TPCH" */
    SQDB_HISTORY_VERSION = 2
};

#endif
