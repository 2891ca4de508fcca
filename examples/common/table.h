/*
 * The live table: a row for each device with its product, presence, latest values, time and count
 * of messages. It repaints on a terminal and prints plain lines elsewhere.
 */
#ifndef EXAMPLES_TABLE_H
#define EXAMPLES_TABLE_H

#include <stdbool.h>
#include <tpcore/tpcore.h>

enum { TABLE_ROWS_MAX = 40, TABLE_PROPERTIES_MAX = 4 };

struct table_row {
    struct tpc_device *device;
    char properties[TABLE_PROPERTIES_MAX][64];
    uint32_t property_count;
};

struct table {
    struct table_row rows[TABLE_ROWS_MAX];
    uint32_t row_count;
    uint32_t more; /* devices that have no row */
    bool terminal;
    bool painted;
};

/* Takes the first devices of tenant "main" in the order of their keys. */
int table_open(struct table *t, struct tpc_core *core, bool terminal);
void table_paint(struct table *t);
void table_close(struct table *t);

#endif
