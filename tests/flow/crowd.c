#include "crowd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static const char meter[] =
    TPC_JSON({
    "key": "meter", "codec": "json",
    "model": { "properties": [
        { "id": "seq", "type": "int" },
        { "id": "level", "type": "double" },
        { "id": "note", "type": "text" } ] }
});

struct crowd_book *crowd_book_make(uint32_t devices)
{
    struct crowd_book *b =
        mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(b != MAP_FAILED);
    b->first = CROWD_MESSAGES / devices;
    b->per_device = b->first;
    return b;
}

struct crowd_book *crowd_book_make_first(uint32_t devices, uint32_t first)
{
    struct crowd_book *b = crowd_book_make(devices);
    b->first = first;
    b->per_device = (CROWD_MESSAGES - first) / (devices - 1);
    return b;
}

static uint32_t numbers_of(const struct crowd_book *b, uint32_t device)
{
    return device == 0 ? b->first : b->per_device;
}

static atomic_uchar *slots_of(struct crowd_book *b, uint32_t device)
{
    return &b->ends[device == 0 ? 0 : b->first + (device - 1) * b->per_device];
}

void crowd_book_free(struct crowd_book *book)
{
    munmap(book, sizeof(*book));
}

void crowd_put(struct fx *f, uint32_t count)
{
    fx_put(f, "product", meter);
    for (uint32_t i = 0; i < count; i++) {
        char json[60];
        snprintf(json, sizeof(json), "{\"key\":\"c%u\",\"product\":\"meter\"}", (unsigned) i);
        int rc = tpc_entity_put(f->core, NULL, "device", tpc_str_from(json), TPC_ANY_REV, NULL);
        if (rc != 0) {
            fx_ok(rc, json);
        }
    }
}

void crowd_open(struct crowd *c, struct fx *f, uint32_t count, struct crowd_book *book)
{
    memset(c, 0, sizeof(*c));
    c->f = f;
    c->count = count;
    c->book = book;
    for (uint32_t i = 0; i < count; i++) {
        char key[20];
        snprintf(key, sizeof(key), "c%u", (unsigned) i);
        int rc = tpc_device_open(f->core, tpc_str_from(key), &c->devices[i]);
        if (rc != 0) {
            fx_ok(rc, key);
        }
    }
}

void crowd_close(struct crowd *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        tpc_device_unref(c->devices[i]);
    }
    c->count = 0;
}

/* Blocks of eight in reverse on every second device; of those each fiftieth comes 300 too late. */
int64_t crowd_time(const struct crowd *c, uint32_t device, uint32_t number)
{
    int64_t base = INT64_C(1795176000000);
    if (!c->shuffled || device % 2 == 0) {
        return base + (int64_t) number * 10;
    }
    if (number % 50 == 49 && number > 300) {
        return base + ((int64_t) number - 300) * 10 + 5;
    }
    return base + (int64_t) (number ^ 7) * 10;
}

static void on_done(void *user, int error)
{
    atomic_uchar *slot = user;
    atomic_store(slot, error == 0 ? CROWD_ACKNOWLEDGED : CROWD_REFUSED);
}

int crowd_feed(struct crowd *c, uint32_t device)
{
    struct crowd_book *b = c->book;
    uint32_t number = atomic_load(&b->given[device]);
    char text[100];
    if (number >= numbers_of(b, device)) {
        return TPC_ETOOBIG;
    }
    int n = snprintf(text, sizeof(text), "{\"seq\":%u,\"level\":%u.5,\"note\":\"n%u\"}",
                     (unsigned) number, (unsigned) number, (unsigned) (number % 100));
    struct tpc_frame frame = { .size = sizeof(frame), .unix_ms = crowd_time(c, device, number) };
    frame.payload = (struct tpc_bytes){ (const uint8_t *) text, (size_t) n };
    /* Before it is fed: a child may be killed in between. */
    atomic_store(&b->given[device], number + 1);
    int rc = tpc_feed_frame(c->devices[device], &frame, on_done, &slots_of(b, device)[number]);
    if (rc != 0) {
        atomic_store(&b->given[device], number);
    }
    return rc;
}

static bool same_row(const struct tpc_row_batch *batch, uint32_t row, uint32_t number)
{
    struct tpc_value values[3];
    const struct tpc_value *level = &values[1];
    const struct tpc_value *note = &values[2];
    char text[12];
    snprintf(text, sizeof(text), "n%u", (unsigned) (number % 100));
    for (uint32_t i = 0; i < 3; i++) {
        if (tpc_column_value(&batch->columns[i], row, &values[i]) == 0) {
            return false;
        }
    }
    return level->type == TPC_DOUBLE && level->as.d == (double) number + 0.5 &&
           note->type == TPC_TEXT && tpc_str_equal(tpc_value_text(note), tpc_str_from(text));
}

static void take_batch(const struct crowd *c, uint32_t device, const struct tpc_row_batch *batch,
                       uint8_t *seen, struct crowd_found *found)
{
    uint32_t given = atomic_load(&c->book->given[device]);
    for (uint32_t i = 0; i < batch->count; i++) {
        int64_t number = batch->columns[0].ints != NULL ? batch->columns[0].ints[i] : -1;
        found->stored++;
        if (number < 0 || number >= (int64_t) given ||
            crowd_time(c, device, (uint32_t) number) != batch->unix_ms[i] ||
            !same_row(batch, i, (uint32_t) number)) {
            found->wrong++;
        } else if (seen[number]) {
            found->twice++;
        } else {
            seen[number] = 1;
        }
    }
}

/* Reads a device's rows into seen and found. */
static int read_rows(const struct crowd *c, uint32_t device, uint8_t *seen,
                     struct crowd_found *found)
{
    struct tpc_str names[3] = { TPC_STR("seq"), TPC_STR("level"), TPC_STR("note") };
    struct tpc_history_query q = TPC_HISTORY_QUERY_INIT;
    struct tpc_rows *rows;
    const struct tpc_row_batch *batch;
    struct tpc_device *d = c->devices[device];
    q.devices = &d;
    q.device_count = 1;
    q.properties = names;
    q.property_count = 3;
    int rc = tpc_history_query(c->f->core, &q, &rows);
    if (rc != 0) {
        return rc;
    }
    while ((rc = tpc_rows_next(rows, &batch)) > 0) {
        take_batch(c, device, batch, seen, found);
    }
    tpc_rows_close(rows);
    return rc;
}

static void read_device(const struct crowd *c, uint32_t device, uint8_t *seen,
                        struct crowd_found *found)
{
    struct crowd_book *b = c->book;
    uint32_t numbers = numbers_of(b, device);
    struct crowd_found before = *found;
    int rc = TPC_ENOMEM;
    for (int i = 0; i < 1000 && rc == TPC_ENOMEM; i++) { /* short just now: once more */
        if (i > 0) {
            nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
        }
        *found = before;
        memset(seen, 0, numbers);
        rc = read_rows(c, device, seen, found);
    }
    if (rc != 0) {
        fx_ok(rc, "rows");
    }
    for (uint32_t i = 0; i < numbers; i++) {
        found->missing += atomic_load(&slots_of(b, device)[i]) == CROWD_ACKNOWLEDGED && !seen[i];
    }
}

struct crowd_found crowd_read(struct crowd *c)
{
    struct crowd_found found = { 0 };
    uint8_t *seen = malloc(CROWD_MESSAGES);
    ck_assert_ptr_nonnull(seen);
    for (uint32_t i = 0; i < c->count; i++) {
        read_device(c, i, seen, &found);
    }
    free(seen);
    return found;
}

static size_t count_ends(const struct crowd *c, enum crowd_end end)
{
    size_t n = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t given = atomic_load(&c->book->given[i]);
        for (uint32_t k = 0; k < given; k++) {
            n += atomic_load(&slots_of(c->book, i)[k]) == end;
        }
    }
    return n;
}

size_t crowd_settle(struct crowd *c)
{
    size_t open = count_ends(c, CROWD_OPEN);
    for (int i = 0; i < 12000 && open > 0; i++) {
        (void) fx_step(c->f);
        if (c->f->o.workers > 0) {
            nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
        }
        open = count_ends(c, CROWD_OPEN);
    }
    ck_assert_msg(open == 0, "of what was given %zu are neither acknowledged nor refused", open);
    return count_ends(c, CROWD_REFUSED);
}

size_t crowd_check(struct crowd *c)
{
    struct crowd_found found = crowd_read(c);
    for (int i = 0; i < 2000 && found.missing > 0; i++) {
        (void) fx_step(c->f);
        if (c->f->o.workers > 0) {
            nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
        }
        found = crowd_read(c);
    }
    ck_assert_msg(found.missing == 0 && found.twice == 0 && found.wrong == 0,
                  "of %zu stored samples %zu are there twice and %zu wrong; %zu that were "
                  "acknowledged are missing",
                  found.stored, found.twice, found.wrong, found.missing);
    return found.stored;
}
