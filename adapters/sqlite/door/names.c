/* Names: devices, tenants and products of entities.db, properties of history.db. */
#include "door.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

/* ---- entities.db ---- */

/* Path as an SQLite URI: nothing in it may end it early. */
static char *uri_of(const char *path, bool immutable)
{
    sqlite3_str *s = sqlite3_str_new(NULL);
    sqlite3_str_appendall(s, "file:");
    for (const char *p = path; *p != '\0'; p++) {
        if (strchr("%?#", *p) != NULL) {
            sqlite3_str_appendf(s, "%%%02X", (unsigned) (unsigned char) *p);
        } else {
            sqlite3_str_appendchar(s, 1, *p);
        }
    }
    sqlite3_str_appendf(s, "?mode=ro%s", immutable ? "&immutable=1" : "");
    return sqlite3_str_finish(s);
}

static int open_entities(struct sqdoor_view *v)
{
    struct sqdoor_names *n = &v->names;
    char path[SQDOOR_PATH_BYTES + 16];
    sqlite3_vfs *vfs = NULL;
    const char *own = sqlite3_db_filename(v->db, v->schema);
    (void) sqlite3_file_control(v->db, v->schema, SQLITE_FCNTL_VFS_POINTER, &vfs);
    snprintf(path, sizeof(path), "%sentities.db", v->dir);
    char *uri = uri_of(path, sqlite3_uri_boolean(own, "immutable", 0) != 0);
    if (uri == NULL) {
        return SQLITE_NOMEM;
    }
    int rc = sqlite3_open_v2(uri, &n->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI,
                             vfs != NULL ? vfs->zName : NULL);
    sqlite3_free(uri);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(n->db, 5000);
    }
    return rc;
}

int sqdoor_names_open(struct sqdoor_view *v)
{
    struct sqdoor_names *n = &v->names;
    if (v->dir[0] == '\0') {
        return SQLITE_OK;
    }
    int rc = open_entities(v);
    if (rc == SQLITE_OK) {
        rc = sqlite3_prepare_v3(
            n->db,
            "SELECT key, tenant, json_extract(CAST(doc AS TEXT), '$.product') FROM entity"
            " WHERE kind = 'device' AND id = ?1",
            -1, SQLITE_PREPARE_PERSISTENT, &n->device, NULL);
    }
    if (rc == SQLITE_CANTOPEN) {
        sqdoor_names_close(n); /* a history alone: numbers in place of names */
        return SQLITE_OK;
    }
    static const char devices[] =
        "SELECT d.id FROM entity t CROSS JOIN entity d WHERE t.kind = 'tenant' AND"
        " d.kind = 'device' AND d.tenant = t.id AND d.key = ?1 ORDER BY d.id";
    static const char tenant[] = "SELECT key FROM entity WHERE kind = 'tenant' AND id = ?1";
    static const char product[] =
        "SELECT id FROM entity WHERE kind = 'product' AND tenant = ?1 AND key = ?2";
    rc = rc != SQLITE_OK ? rc : sqlite3_prepare_v2(n->db, devices, -1, &n->devices, NULL);
    rc = rc != SQLITE_OK ? rc : sqlite3_prepare_v2(n->db, tenant, -1, &n->tenant, NULL);
    rc = rc != SQLITE_OK ? rc : sqlite3_prepare_v2(n->db, product, -1, &n->product, NULL);
    return rc == SQLITE_OK
               ? rc
               : sqdoor_fail(v, rc, "%sentities.db: %s", v->dir,
                             n->db != NULL ? sqlite3_errmsg(n->db) : sqlite3_errstr(rc));
}

void sqdoor_names_close(struct sqdoor_names *n)
{
    sqlite3_finalize(n->device);
    sqlite3_finalize(n->devices);
    sqlite3_finalize(n->tenant);
    sqlite3_finalize(n->product);
    sqlite3_close_v2(n->db);
    memset(n, 0, sizeof(*n));
}

/* ---- devices ---- */

void sqdoor_device_init(struct sqdoor_device *d)
{
    memset(d, 0, sizeof(*d));
    tpi_buf_init(&d->key, &sqdoor_alloc, 0);
    tpi_buf_init(&d->tenant, &sqdoor_alloc, 0);
    tpi_buf_init(&d->product, &sqdoor_alloc, 0);
}

void sqdoor_device_fini(struct sqdoor_device *d)
{
    tpi_buf_fini(&d->key);
    tpi_buf_fini(&d->tenant);
    tpi_buf_fini(&d->product);
}

/* Column of a row into a buffer. */
static int put_column(struct tpi_buf *b, sqlite3_stmt *stmt, int column)
{
    const void *text = sqlite3_column_text(stmt, column);
    tpi_buf_clear(b);
    int rc = text != NULL ? tpi_buf_put(b, text, (size_t) sqlite3_column_bytes(stmt, column)) : 0;
    return rc == 0 ? SQLITE_OK : SQLITE_NOMEM;
}

static int names_fail(struct sqdoor_view *v, int rc)
{
    return rc == SQLITE_OK || rc == SQLITE_NOMEM
               ? rc
               : sqdoor_fail(v, rc, "%sentities.db: %s", v->dir, sqlite3_errmsg(v->names.db));
}

static int find_tenant(struct sqdoor_names *n, int64_t tenant, struct sqdoor_device *d)
{
    int rc = SQLITE_OK;
    sqlite3_bind_int64(n->tenant, 1, tenant);
    if (sqlite3_step(n->tenant) == SQLITE_ROW) {
        rc = put_column(&d->tenant, n->tenant, 0);
    }
    int end = sqlite3_reset(n->tenant);
    return rc != SQLITE_OK ? rc : end;
}

static int find_product(struct sqdoor_names *n, int64_t tenant, struct sqdoor_device *d)
{
    sqlite3_bind_int64(n->product, 1, tenant);
    sqlite3_bind_text64(n->product, 2, d->product.len > 0 ? (const char *) d->product.ptr : "",
                        d->product.len, SQLITE_STATIC, SQLITE_UTF8);
    if (sqlite3_step(n->product) == SQLITE_ROW) {
        d->product_id = (uint64_t) sqlite3_column_int64(n->product, 0);
    }
    return sqlite3_reset(n->product);
}

static int find_names(struct sqdoor_names *n, struct sqdoor_device *d, bool *ret_found)
{
    int64_t tenant = 0;
    int rc = SQLITE_OK;
    *ret_found = false;
    sqlite3_bind_int64(n->device, 1, (int64_t) d->id);
    if (sqlite3_step(n->device) == SQLITE_ROW) {
        *ret_found = true;
        tenant = sqlite3_column_int64(n->device, 1);
        rc = put_column(&d->key, n->device, 0);
        rc = rc != SQLITE_OK ? rc : put_column(&d->product, n->device, 2);
    }
    int end = sqlite3_reset(n->device);
    rc = rc != SQLITE_OK ? rc : end;
    if (rc == SQLITE_OK && *ret_found) {
        rc = find_tenant(n, tenant, d);
        rc = rc != SQLITE_OK ? rc : find_product(n, tenant, d);
    }
    return rc;
}

int sqdoor_device_find(struct sqdoor_view *v, uint64_t id, struct sqdoor_device *d)
{
    bool found = false;
    d->id = id;
    d->product_id = 0;
    tpi_buf_clear(&d->key);
    tpi_buf_clear(&d->tenant);
    tpi_buf_clear(&d->product);
    int rc = v->names.db != NULL ? names_fail(v, find_names(&v->names, d, &found)) : SQLITE_OK;
    if (rc == SQLITE_OK && !found) {
        rc = tpi_buf_printf(&d->key, "%llu", (unsigned long long) id) == 0 ? SQLITE_OK
                                                                           : SQLITE_NOMEM;
    }
    return rc;
}

/* A number as %llu writes it; false = it is none. */
static bool number(struct tpc_str s, uint64_t *ret)
{
    uint64_t x = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned) (s.ptr[i] - '0');
        if (digit > 9 || (x == 0 && i > 0) || x > (UINT64_MAX - digit) / 10) {
            return false;
        }
        x = x * 10 + digit;
    }
    *ret = x;
    return s.len > 0;
}

static int add(uint64_t **list, size_t *count, uint64_t id)
{
    size_t n = *count;
    uint64_t *grown =
        tpi_resize(&sqdoor_alloc, *list, n * sizeof(*grown), (n + 1) * sizeof(*grown));
    if (grown == NULL) {
        return SQLITE_NOMEM;
    }
    grown[n] = id;
    *list = grown;
    *count = n + 1;
    return SQLITE_OK;
}

static int named_entities(struct sqdoor_names *n, struct tpc_str key, uint64_t **list,
                          size_t *count)
{
    int rc = SQLITE_OK;
    sqlite3_bind_text64(n->devices, 1, key.ptr, key.len, SQLITE_STATIC, SQLITE_UTF8);
    while (rc == SQLITE_OK && sqlite3_step(n->devices) == SQLITE_ROW) {
        rc = add(list, count, (uint64_t) sqlite3_column_int64(n->devices, 0));
    }
    int end = sqlite3_reset(n->devices);
    return rc != SQLITE_OK ? rc : end;
}

int sqdoor_devices_named(struct sqdoor_view *v, struct tpc_str key, uint64_t **ret,
                         size_t *ret_count)
{
    struct sqdoor_device d;
    uint64_t *list = NULL;
    size_t count = 0;
    uint64_t id;
    int rc = v->names.db != NULL ? names_fail(v, named_entities(&v->names, key, &list, &count))
                                 : SQLITE_OK;
    if (rc == SQLITE_OK && number(key, &id)) {
        /* a device without a name has its number as key */
        sqdoor_device_init(&d);
        rc = sqdoor_device_find(v, id, &d);
        if (rc == SQLITE_OK && d.tenant.len == 0 && d.key.len == key.len) {
            rc = add(&list, &count, id);
        }
        sqdoor_device_fini(&d);
    }
    if (rc != SQLITE_OK) {
        tpi_free(&sqdoor_alloc, list, count * sizeof(*list));
        return rc;
    }
    *ret = list;
    *ret_count = count;
    return SQLITE_OK;
}

/* ---- properties ---- */

static int add_property(struct sqdoor_product *p, sqlite3_stmt *stmt)
{
    const char *text = (const char *) sqlite3_column_text(stmt, 1);
    size_t len = (size_t) sqlite3_column_bytes(stmt, 1);
    if (text == NULL) {
        return SQLITE_OK;
    }
    if (p->count == p->cap) {
        size_t cap = p->cap == 0 ? 16 : p->cap * 2;
        void *grown = tpi_resize(&sqdoor_alloc, p->properties, p->cap * sizeof(*p->properties),
                                 cap * sizeof(*p->properties));
        if (grown == NULL) {
            return SQLITE_NOMEM;
        }
        p->properties = grown;
        p->cap = cap;
    }
    char *name = tpi_alloc(&sqdoor_alloc, len + 1);
    if (name == NULL) {
        return SQLITE_NOMEM;
    }
    memcpy(name, text, len + 1);
    p->properties[p->count++] =
        (struct sqdoor_property){ (uint16_t) sqlite3_column_int(stmt, 0), len, name };
    return SQLITE_OK;
}

/* Without a product the names that all products agree on. */
static char *property_sql(const struct sqdoor_view *v, uint64_t id)
{
    if (id == 0) {
        return sqlite3_mprintf("SELECT id, min(key) FROM \"%w\".property GROUP BY id"
                               " HAVING min(key) = max(key) ORDER BY id",
                               v->schema);
    }
    return sqlite3_mprintf("SELECT key & 65535, json_extract(text, '$.key') FROM \"%w\".mark"
                           " WHERE type = %d AND key BETWEEN %lld AND %lld ORDER BY key",
                           v->schema, TPC_MARK_PROPERTY, (long long) (id << 16),
                           (long long) (id << 16 | 65535));
}

void sqdoor_product_free(struct sqdoor_product *p)
{
    for (size_t i = 0; i < p->count; i++) {
        tpi_free(&sqdoor_alloc, p->properties[i].name, p->properties[i].len + 1);
    }
    tpi_free(&sqdoor_alloc, p->properties, p->cap * sizeof(*p->properties));
    tpi_free(&sqdoor_alloc, p, sizeof(*p));
}

static int load_product(struct sqdoor_view *v, struct sqdoor_product *p)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqdoor_prepare(v, v->db, property_sql(v, p->id), &stmt);
    if (rc != SQLITE_OK) {
        return rc;
    }
    while (rc == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW) {
        rc = add_property(p, stmt);
    }
    int end = sqlite3_finalize(stmt);
    return rc != SQLITE_OK ? rc : end == SQLITE_OK ? end : sqdoor_fail_sql(v, v->db, end);
}

int sqdoor_product_find(struct sqdoor_view *v, uint64_t id, const struct sqdoor_product **ret)
{
    struct sqdoor_product *p = tpi_map64_get(&v->products, id);
    if (p == NULL) {
        p = tpi_alloc_zero(&sqdoor_alloc, sizeof(*p));
        if (p == NULL) {
            return SQLITE_NOMEM;
        }
        p->id = id;
        int rc = load_product(v, p);
        if (rc == SQLITE_OK && tpi_map64_put(&v->products, id, p, NULL) != 0) {
            rc = SQLITE_NOMEM;
        }
        if (rc != SQLITE_OK) {
            sqdoor_product_free(p);
            return rc;
        }
    }
    *ret = p;
    return SQLITE_OK;
}

const struct sqdoor_property *sqdoor_property_find(const struct sqdoor_product *p, uint16_t id)
{
    size_t low = 0;
    size_t high = p->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (p->properties[mid].id < id) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < p->count && p->properties[low].id == id ? &p->properties[low] : NULL;
}
