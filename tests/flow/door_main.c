#include "door_suites.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tk_clock.h"
#include "tpcore_sql.h"

/* ---- SQLite's memory ---- */

static sqlite3_mem_methods heap;
static size_t heap_left; /* 0 = no failure is planned */
static bool heap_has_failed;

static bool fails(void)
{
    if (heap_left == 0 || --heap_left > 0) {
        return false;
    }
    heap_has_failed = true;
    return true;
}

static void *heap_malloc(int size)
{
    return fails() ? NULL : heap.xMalloc(size);
}

static void *heap_realloc(void *ptr, int size)
{
    return fails() ? NULL : heap.xRealloc(ptr, size);
}

int door_heap_install(void)
{
    sqlite3_mem_methods mine;
    int rc = sqlite3_config(SQLITE_CONFIG_GETMALLOC, &heap);
    mine = heap;
    mine.xMalloc = heap_malloc;
    mine.xRealloc = heap_realloc;
    return rc != SQLITE_OK ? rc : sqlite3_config(SQLITE_CONFIG_MALLOC, &mine);
}

void door_heap_fail_at(size_t nth)
{
    heap_left = nth;
    heap_has_failed = false;
}

bool door_heap_failed(void)
{
    return heap_has_failed;
}

/* ---- shared ---- */

void door_add(struct door_text *t, const char *format, ...)
{
    for (;;) {
        va_list args;
        va_start(args, format);
        size_t room = t->cap - t->len;
        int n = vsnprintf(t->ptr != NULL ? t->ptr + t->len : NULL, room, format, args);
        va_end(args);
        if ((size_t) n < room) {
            t->len += (size_t) n;
            return;
        }
        t->cap = t->cap * 2 + (size_t) n + 64;
        t->ptr = realloc(t->ptr, t->cap);
        ck_assert_ptr_nonnull(t->ptr);
    }
}

sqlite3 *door_open(const char *dir, const char *file)
{
    char path[600];
    sqlite3 *db = NULL;
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL),
                     SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    ck_assert_int_eq(sqlite3_tpcoresql_init(db, NULL, NULL), SQLITE_OK);
    return db;
}

static void add_field(struct door_text *t, sqlite3_stmt *stmt, int i)
{
    switch (sqlite3_column_type(stmt, i)) {
    case SQLITE_FLOAT:
        door_add(t, "%.17g", sqlite3_column_double(stmt, i));
        break;
    case SQLITE_NULL:
        door_add(t, "NULL");
        break;
    default:
        door_add(t, "%s", (const char *) sqlite3_column_text(stmt, i));
        break;
    }
}

static _Thread_local struct door_text answer;

void door_forget(void)
{
    free(answer.ptr);
    answer = (struct door_text){ NULL, 0, 0 };
}

const char *door_ask(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    answer.len = 0;
    door_add(&answer, "%s", "");
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(stmt);
        for (int i = 0; rc == SQLITE_ROW && i < sqlite3_column_count(stmt); i++) {
            door_add(&answer, "%s", i > 0 ? "|" : "");
            add_field(&answer, stmt, i);
        }
        if (rc == SQLITE_ROW) {
            door_add(&answer, "\n");
        }
    }
    if (rc != SQLITE_DONE) {
        answer.len = 0;
        door_add(&answer, "%d %s", rc & 0xff, sqlite3_errmsg(db));
    }
    sqlite3_finalize(stmt);
    return answer.ptr;
}

int64_t door_number(sqlite3 *db, const char *sql)
{
    const char *text = door_ask(db, sql);
    char *end;
    long long x = strtoll(text, &end, 10);
    ck_assert_msg(*end == '\n', "%s: %s", sql, text);
    return x;
}

void door_tick(struct fx *f, bool checkpoint)
{
    fx_settle(f);
    tk_clock_advance(&f->e.clock, checkpoint ? 61000 : 1500);
    (void) tpc_core_step(f->core, 0, NULL);
}

void door_feed(struct fx *f, const char *device, int64_t unix_ms, const char *json)
{
    struct tpc_frame frame = { .size = sizeof(frame), .unix_ms = unix_ms };
    frame.payload = (struct tpc_bytes){ (const uint8_t *) json, strlen(json) };
    fx_ok(tpc_feed_frame(fx_device(f, device), &frame, NULL, NULL), json);
}

int main(void)
{
    static tk_suite_fn *const suites[] = { door_suite, door_live_suite, door_fault_suite, NULL };
    return door_heap_install() == SQLITE_OK ? tk_main("flow_door", suites) : 1;
}
