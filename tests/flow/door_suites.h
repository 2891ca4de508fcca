/* Suites of the SQL door over a whole core, and what they share. */
#ifndef DOOR_SUITES_H
#define DOOR_SUITES_H

#include <sqlite3.h>

#include "fx.h"

Suite *door_suite(void);
Suite *door_live_suite(void);
Suite *door_fault_suite(void);

/* A text that grows. */
struct door_text {
    char *ptr;
    size_t len;
    size_t cap;
};
void door_add(struct door_text *t, const char *format, ...) TPC_PRINTF(2, 3);

/* A connection with the table to dir/file, read-only. */
sqlite3 *door_open(const char *dir, const char *file);

/* All rows of a query, fields with '|', rows with '\n' after them; a failure is its result and
 * message. The thread's text until its next call; a thread that ends forgets it. */
const char *door_ask(sqlite3 *db, const char *sql);
void door_forget(void);

/* The same as one number. */
int64_t door_number(sqlite3 *db, const char *sql);

/* History and log of a core whose clock stands still are brought forward: names of properties are
 * stored, open chunks with checkpoint. */
void door_tick(struct fx *f, bool checkpoint);

/* {"seq":..} and other members for a device at a time. */
void door_feed(struct fx *f, const char *device, int64_t unix_ms, const char *json);

/* ---- SQLite's memory, for door_main.c ---- */
int door_heap_install(void);
/* The nth allocation from here on fails; 0 = none. */
void door_heap_fail_at(size_t nth);
/* Whether it has failed. */
bool door_heap_failed(void);

#endif
