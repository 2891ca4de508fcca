#include "table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct product_properties {
    struct table_row *row;
    struct tpc_arena *arena;
};

/* Names of the first properties of a product, from its document. */
static int take_properties(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                           struct tpc_str json)
{
    struct product_properties *p = user;
    struct tpc_value doc;
    (void) info;
    (void) key;
    if (tpc_json_parse(p->arena, json, 0, NULL, &doc) != 0) {
        return 0;
    }
    const struct tpc_value *model = tpc_value_get(&doc, TPC_STR("model"));
    const struct tpc_value *list = tpc_value_get(model, TPC_STR("properties"));
    for (size_t i = 0; list != NULL && list->type == TPC_ARRAY && i < list->len; i++) {
        struct tpc_str id = tpc_value_text(tpc_value_get(&list->as.items[i], TPC_STR("id")));
        if (id.len > 0 && id.len < sizeof(p->row->properties[0]) &&
            p->row->property_count < TABLE_PROPERTIES_MAX) {
            char *to = p->row->properties[p->row->property_count++];
            memcpy(to, id.ptr, id.len);
            to[id.len] = '\0';
        }
    }
    return 0;
}

struct opening {
    struct table *table;
    struct tpc_core *core;
};

static int add_row(void *user, const struct tpc_entity_info *info, struct tpc_str key,
                   struct tpc_str json)
{
    struct opening *o = user;
    (void) info;
    (void) json;
    if (o->table->row_count == TABLE_ROWS_MAX) {
        o->table->more++;
        return 0;
    }
    struct table_row *row = &o->table->rows[o->table->row_count];
    if (tpc_device_open(o->core, key, &row->device) == 0) {
        o->table->row_count++;
    }
    return 0;
}

int table_open(struct table *t, struct tpc_core *core, bool terminal)
{
    struct opening o = { t, core };
    struct tpc_entity_query q = TPC_ENTITY_QUERY_INIT;
    struct product_properties p = { 0 };
    memset(t, 0, sizeof(*t));
    t->terminal = terminal;
    q.kind = TPC_STR("device");
    int rc = tpc_entity_list(core, &q, add_row, &o);
    if (rc == 0) {
        rc = tpc_arena_create(NULL, 0, &p.arena);
    }
    for (uint32_t i = 0; rc == 0 && i < t->row_count; i++) {
        struct tpc_device_info info = { .size = sizeof(info) };
        p.row = &t->rows[i];
        tpc_arena_reset(p.arena);
        tpc_device_info(t->rows[i].device, &info);
        tpc_entity_get(core, TPC_STR("main"), "product", info.product, take_properties, &p);
    }
    tpc_arena_destroy(p.arena);
    return rc;
}

static void print_values(const struct table_row *row)
{
    size_t width = 0;
    for (uint32_t i = 0; i < row->property_count && width < 60; i++) {
        uint8_t space[64];
        struct tpc_buf buf = { space, sizeof(space), 0 };
        struct tpc_value v;
        char text[64];
        struct tpc_buf out = { (uint8_t *) text, sizeof(text) - 1, 0 };
        if (tpc_latest_get(row->device, tpc_str_from(row->properties[i]), &buf, &v, NULL) == 0 &&
            tpc_json_write(&v, 0, &out) == 0) {
            text[out.need] = '\0';
            int n = printf("%s=%s ", row->properties[i], text);
            width += n > 0 ? (size_t) n : 0;
        }
    }
}

void table_paint(struct table *t)
{
    if (t->terminal && t->painted) {
        printf("\033[%uA", t->row_count + 1 + (t->more > 0));
    }
    t->painted = true;
    const char *clear = t->terminal ? "\033[K" : "";
    printf("%-16s %-10s %-7s %-9s %9s  %s%s\n", "device", "product", "online", "last seen",
           "messages", "latest values", clear);
    for (uint32_t i = 0; i < t->row_count; i++) {
        struct tpc_device_info info = { .size = sizeof(info) };
        char seen[16] = "-";
        struct tm tm;
        tpc_device_info(t->rows[i].device, &info);
        time_t when = (time_t) (info.last_seen_unix_ms / 1000);
        if (when != 0 && localtime_r(&when, &tm) != NULL) {
            strftime(seen, sizeof(seen), "%H:%M:%S", &tm);
        }
        printf("%-16.*s %-10.*s %-7s %-9s %9" PRIu64 "  ", (int) info.key.len, info.key.ptr,
               (int) info.product.len, info.product.ptr, info.online ? "yes" : "no", seen,
               info.messages);
        print_values(&t->rows[i]);
        printf("%s\n", clear);
    }
    if (t->more > 0) {
        printf("... and %u more%s\n", t->more, clear);
    }
    fflush(stdout);
}

void table_close(struct table *t)
{
    for (uint32_t i = 0; i < t->row_count; i++) {
        tpc_device_unref(t->rows[i].device);
    }
    t->row_count = 0;
}
