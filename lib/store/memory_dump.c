/*
 * Dump of the memory store: files "{space}-{kind}__{n}.{generation}.json" of up to 50 rows, and
 * "dump.json", which names the files of the last complete dump and is renamed into place after all
 * of them are on the disk. A crash in a dump leaves the one before. Files of earlier generations
 * are removed.
 */
#include "store/memory_inside.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/json.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crypto.h"
#include "base/error.h"
#include "data/utf8.h"

enum { PATH_BYTES = 1024, MAX_DUMP_FILE = 256 << 20, ROW_MEMBERS = 10 };

static const char manifest[] = "dump.json";
static const char *const space_names[] = { "", "entity", "secret", "record", "meta" };

/* ---- writing ---- */

struct file_piece {
    char name[220];
    size_t end; /* of its bytes in the content buffer */
};

struct dump {
    struct tpi_memory *m;
    struct tpi_buf content; /* all files, one after the other */
    struct tpi_buf pieces;  /* struct file_piece */
    uint64_t generation;
};

static struct tpc_value text_value(struct tpc_str s)
{
    return (struct tpc_value){ TPC_TEXT, 0, s.len, { .text = s.ptr } };
}

/* 64 bits as they are: a number above int64 comes out negative and is read back the same. */
static struct tpc_value int_value(uint64_t x)
{
    return (struct tpc_value){ TPC_INT, 0, 0, { .i = (int64_t) x } };
}

static int put_value(struct tpi_buf *out, const struct tpc_value *v)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    int rc = tpc_json_write(v, 0, &buf);
    if (rc != 0 && rc != TPC_ETOOBIG) {
        return rc;
    }
    rc = tpi_buf_reserve(out, buf.need);
    if (rc != 0) {
        return rc;
    }
    buf.ptr = out->ptr + out->len;
    buf.cap = buf.need;
    rc = tpc_json_write(v, 0, &buf);
    out->len += rc == 0 ? buf.need : 0;
    return rc;
}

/* As many as the entity stage allows; more are cut into no dump at all. */
enum { MAX_FIELDS = 128 };

static int put_row(struct tpi_buf *out, const struct tpc_row *row)
{
    struct tpc_member fields[MAX_FIELDS];
    struct tpc_str doc = { (const char *) row->doc.ptr, row->doc.len };
    bool text = tpi_utf8_valid(doc.ptr, doc.len);
    if (row->field_count > MAX_FIELDS) {
        return TPC_ETOOBIG;
    }
    for (uint32_t i = 0; i < row->field_count; i++) {
        fields[i].key = row->fields[i].name;
        fields[i].value = text_value(row->fields[i].value);
    }
    struct tpc_member members[ROW_MEMBERS] = {
        { TPC_STR("kind"), text_value(row->kind) },
        { TPC_STR("tenant"), int_value(row->tenant) },
        { TPC_STR("key"), text_value(row->key) },
        { TPC_STR("id"), int_value(row->id) },
        { TPC_STR("revision"), int_value(row->revision) },
        { TPC_STR("created"), int_value((uint64_t) row->created_unix_ms) },
        { TPC_STR("modified"), int_value((uint64_t) row->modified_unix_ms) },
        { TPC_STR("space"), int_value(row->space) },
        { TPC_STR("fields"), { TPC_MAP, 0, row->field_count, { .members = fields } } },
        { text ? TPC_STR("doc") : TPC_STR("blob"),
          { text ? TPC_TEXT : TPC_BLOB, 0, doc.len, { .text = doc.ptr } } },
    };
    if (!text) {
        members[ROW_MEMBERS - 1].value.as.blob = row->doc.ptr;
    }
    struct tpc_value v = { TPC_MAP, 0, ROW_MEMBERS, { .members = members } };
    return put_value(out, &v);
}

/* Kind as part of a file's name: what is not a-z 0-9 _ - becomes %XX. */
static void file_name(char *out, size_t cap, const struct tpc_row *row, uint32_t n,
                      uint64_t generation)
{
    char kind[3 * 48 + 1];
    size_t len = 0;
    for (size_t i = 0; i < row->kind.len && len + 3 < sizeof(kind); i++) {
        unsigned char ch = (unsigned char) row->kind.ptr[i];
        bool plain = (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '_' || ch == '-';
        len += (size_t) snprintf(kind + len, sizeof(kind) - len, plain ? "%c" : "%%%02X", ch);
    }
    kind[len] = 0;
    const char *space = row->space <= TPC_SPACE_META ? space_names[row->space] : "other";
    snprintf(out, cap, "%s-%s__%u.%llu.json", space, kind, n, (unsigned long long) generation);
}

static int end_piece(struct dump *d, struct file_piece *piece)
{
    int rc = tpi_buf_text(&d->content, TPC_STR("\n]\n"));
    piece->end = d->content.len;
    return rc != 0 ? rc : tpi_buf_put(&d->pieces, piece, sizeof(*piece));
}

/* All rows as text, under the read lock; the files are written without it. */
static int render(struct dump *d)
{
    struct file_piece piece;
    uint32_t in_piece = 0, n = 0;
    const struct tpc_row *last = NULL;
    int rc = 0;
    for (const struct tpi_memory_row *r = d->m->head[0]; r != NULL && rc == 0; r = r->next[0]) {
        const struct tpc_row *row = &r->row;
        if (row->space == TPC_SPACE_SECRET && !d->m->dump_secrets) {
            continue;
        }
        bool same =
            last != NULL && last->space == row->space && tpc_str_equal(last->kind, row->kind) != 0;
        if (last != NULL && (!same || in_piece == TPI_MEMORY_DUMP_ROWS)) {
            rc = end_piece(d, &piece);
            in_piece = 0;
        }
        n = same ? n + (in_piece == 0 ? 1 : 0) : 0;
        if (rc == 0 && in_piece == 0) {
            file_name(piece.name, sizeof(piece.name), row, n, d->generation);
        }
        rc = rc != 0 ? rc
                     : tpi_buf_text(&d->content, in_piece == 0 ? TPC_STR("[\n") : TPC_STR(",\n"));
        rc = rc != 0 ? rc : put_row(&d->content, row);
        in_piece++;
        last = row;
    }
    return rc != 0 || last == NULL ? rc : end_piece(d, &piece);
}

static int path_of(const struct tpi_memory *m, const char *name, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/%s", m->dump_dir, name);
    return n > 0 && n < PATH_BYTES ? 0 : TPC_ETOOBIG;
}

static int write_file(struct tpi_memory *m, const char *name, const uint8_t *p, size_t n)
{
    const struct tpc_files *f = m->host->files;
    char path[PATH_BYTES];
    void *file;
    struct tpc_bytes part = { p, n };
    int rc = path_of(m, name, path);
    rc = rc != 0 ? rc : f->open(f->user, path, TPC_FILE_WRITE | TPC_FILE_CREATE, &file, NULL);
    if (rc != 0) {
        return rc;
    }
    rc = f->truncate(f->user, file, 0, NULL);
    rc = rc != 0 ? rc : f->write_at(f->user, file, &part, 1, 0, NULL);
    rc = rc != 0 ? rc : f->sync(f->user, file, NULL);
    f->close(f->user, file);
    return rc;
}

static const struct file_piece *piece_at(const struct dump *d, size_t i)
{
    return (const struct file_piece *) (const void *) d->pieces.ptr + i;
}

static size_t piece_count(const struct dump *d)
{
    return d->pieces.len / sizeof(struct file_piece);
}

static int write_manifest(struct dump *d)
{
    const struct tpc_files *f = d->m->host->files;
    char from[PATH_BYTES], to[PATH_BYTES];
    struct tpi_buf out;
    tpi_buf_init(&out, d->m->alloc, 0);
    int rc = tpi_buf_printf(&out, "{\"generation\":%llu,\"files\":[",
                            (unsigned long long) d->generation);
    for (size_t i = 0; i < piece_count(d) && rc == 0; i++) {
        rc = tpi_buf_printf(&out, "%s\n\"%s\"", i == 0 ? "" : ",", piece_at(d, i)->name);
    }
    rc = rc != 0 ? rc : tpi_buf_text(&out, TPC_STR("\n]}\n"));
    rc = rc != 0 ? rc : write_file(d->m, "dump.json.new", out.ptr, out.len);
    tpi_buf_fini(&out);
    rc = rc != 0 ? rc : path_of(d->m, "dump.json.new", from);
    rc = rc != 0 ? rc : path_of(d->m, manifest, to);
    /* The names of the pieces are on the disk before the one that names them. */
    rc = rc != 0 ? rc : f->sync_dir(f->user, d->m->dump_dir, NULL);
    rc = rc != 0 ? rc : f->rename(f->user, from, to, NULL);
    return rc != 0 ? rc : f->sync_dir(f->user, d->m->dump_dir, NULL);
}

static int write_pieces(struct dump *d)
{
    const struct tpc_files *f = d->m->host->files;
    size_t at = 0;
    int rc = f->make_dir(f->user, d->m->dump_dir, NULL);
    for (size_t i = 0; i < piece_count(d) && rc == 0; i++) {
        const struct file_piece *p = piece_at(d, i);
        rc = write_file(d->m, p->name, d->content.ptr + at, p->end - at);
        at = p->end;
    }
    return rc != 0 ? rc : write_manifest(d);
}

/* Whether a file is a piece of another generation than this one. */
static bool is_stale(const char *name, uint64_t generation)
{
    char tail[40];
    snprintf(tail, sizeof(tail), ".%llu.json", (unsigned long long) generation);
    size_t n = strlen(name), t = strlen(tail);
    bool ours = strstr(name, "__") != NULL && n > 5 && strcmp(name + n - 5, ".json") == 0;
    return ours && (n < t || strcmp(name + n - t, tail) != 0);
}

struct stale {
    struct tpi_buf names; /* each with its NUL */
    uint64_t generation;
};

static int note_stale(void *user, const char *name)
{
    struct stale *s = user;
    return is_stale(name, s->generation) ? tpi_buf_put(&s->names, name, strlen(name) + 1) : 0;
}

/* A file that cannot be removed now goes after the next dump. */
static void remove_stale(struct dump *d)
{
    const struct tpc_files *f = d->m->host->files;
    struct stale s = { .generation = d->generation };
    char path[PATH_BYTES];
    tpi_buf_init(&s.names, d->m->alloc, 0);
    (void) f->list(f->user, d->m->dump_dir, note_stale, &s, NULL);
    for (size_t at = 0; at < s.names.len;) {
        const char *name = (const char *) s.names.ptr + at;
        if (path_of(d->m, name, path) == 0) {
            (void) f->remove(f->user, path, NULL);
        }
        at += strlen(name) + 1;
    }
    tpi_buf_fini(&s.names);
}

int tpi_memory_dump(struct tpi_memory *m)
{
    struct dump d = { .m = m };
    tpi_buf_init(&d.content, m->alloc, 0);
    tpi_buf_init(&d.pieces, m->alloc, 0);
    pthread_mutex_lock(&m->dump_lock);
    atomic_store(&m->dumped_ms, m->host->clock->mono_ns(m->host->clock->user) / 1000000u);
    d.generation = m->generation + 1;
    atomic_store(&m->dirty, false);
    pthread_rwlock_rdlock(&m->lock);
    int rc = render(&d);
    pthread_rwlock_unlock(&m->lock);
    rc = rc != 0 ? rc : write_pieces(&d);
    if (rc == 0) {
        m->generation = d.generation;
        remove_stale(&d);
    } else {
        atomic_store(&m->dirty, true);
    }
    pthread_mutex_unlock(&m->dump_lock);
    tpi_buf_fini(&d.pieces);
    tpi_buf_fini(&d.content);
    return rc;
}

/* ---- reading ---- */

struct load {
    struct tpi_memory *m;
    struct tpc_arena *arena; /* of one file */
    struct tpi_buf text;
};

static int read_file(struct load *l, const char *name)
{
    const struct tpc_files *f = l->m->host->files;
    char path[PATH_BYTES];
    void *file;
    int rc = path_of(l->m, name, path);
    rc = rc != 0 ? rc : f->open(f->user, path, TPC_FILE_READ, &file, NULL);
    if (rc != 0) {
        return rc;
    }
    int64_t length = f->length(f->user, file, NULL);
    tpi_buf_clear(&l->text);
    rc = length < 0 ? (int) length : length > MAX_DUMP_FILE ? TPC_ETOOBIG : 0;
    rc = rc != 0 ? rc : tpi_buf_reserve(&l->text, (size_t) length + 1);
    if (rc == 0) {
        int64_t n = f->read_at(f->user, file, l->text.ptr, (size_t) length, 0, NULL);
        rc = n < 0 ? (int) n : n != length ? TPC_EIO : 0;
        l->text.len = rc == 0 ? (size_t) length : 0;
    }
    f->close(f->user, file);
    return rc;
}

static int parse_file(struct load *l, const char *name, struct tpc_value *ret)
{
    struct tpc_error err = { .size = sizeof(err) };
    int rc = read_file(l, name);
    if (rc != 0) {
        return rc;
    }
    struct tpc_str text = { (const char *) l->text.ptr, l->text.len };
    tpc_arena_reset(l->arena);
    rc = tpc_json_parse(l->arena, text, 0, &err, ret);
    if (rc != 0 && rc != TPC_ENOMEM) {
        return l->m->host->fail(l->m->ctx, TPC_ECORRUPT, "%s/%s, line %u: %s", l->m->dump_dir, name,
                                err.line, err.text);
    }
    return rc;
}

static uint64_t number(const struct tpc_value *map, const char *key)
{
    int64_t i = 0;
    (void) tpc_value_int(tpc_value_get(map, tpc_str_from(key)), &i);
    return (uint64_t) i;
}

static int row_doc(struct load *l, const struct tpc_value *v, struct tpc_row *row)
{
    const struct tpc_value *doc = tpc_value_get(v, TPC_STR("doc"));
    if (doc != NULL) {
        struct tpc_str text = tpc_value_text(doc);
        row->doc = (struct tpc_bytes){ (const uint8_t *) text.ptr, text.len };
        return 0;
    }
    struct tpc_str blob = tpc_value_text(tpc_value_get(v, TPC_STR("blob")));
    uint8_t *p = tpc_arena_take(l->arena, blob.len + 1);
    if (p == NULL) {
        return TPC_ENOMEM;
    }
    size_t len = 0;
    if (tpi_base64_decode(blob.ptr, blob.len, p, blob.len + 1, &len) != 0) {
        return TPC_ECORRUPT;
    }
    row->doc = (struct tpc_bytes){ p, len };
    return 0;
}

static int load_row(struct load *l, const struct tpc_value *v)
{
    struct tpc_field fields[MAX_FIELDS];
    const struct tpc_value *map = tpc_value_get(v, TPC_STR("fields"));
    struct tpc_row row = { .size = sizeof(row),
                           .space = (uint32_t) number(v, "space"),
                           .kind = tpc_value_text(tpc_value_get(v, TPC_STR("kind"))),
                           .tenant = number(v, "tenant"),
                           .key = tpc_value_text(tpc_value_get(v, TPC_STR("key"))),
                           .id = number(v, "id"),
                           .revision = number(v, "revision"),
                           .created_unix_ms = (int64_t) number(v, "created"),
                           .modified_unix_ms = (int64_t) number(v, "modified"),
                           .fields = fields,
                           .field_size = sizeof(fields[0]) };
    int rc = row_doc(l, v, &row);
    if (rc != 0) {
        return rc;
    }
    if (row.key.len == 0 || row.key.len > 128 || row.kind.len == 0 || row.space == 0 ||
        (map != NULL && (map->type != TPC_MAP || map->len > MAX_FIELDS))) {
        return TPC_ECORRUPT;
    }
    for (size_t i = 0; map != NULL && i < map->len; i++) {
        fields[i].name = map->as.members[i].key;
        fields[i].value = tpc_value_text(&map->as.members[i].value);
        row.field_count++;
    }
    struct tpi_memory_row *fresh = tpi_memory_row_make(l->m, &row);
    if (fresh == NULL) {
        return TPC_ENOMEM;
    }
    tpi_memory_row_free(l->m, tpi_memory_link(l->m, fresh));
    return 0;
}

static int load_piece(struct load *l, const char *name)
{
    struct tpc_value rows;
    int rc = parse_file(l, name, &rows);
    if (rc == 0 && rows.type != TPC_ARRAY) {
        rc = TPC_ECORRUPT;
    }
    for (size_t i = 0; rc == 0 && i < rows.len; i++) {
        rc = load_row(l, &rows.as.items[i]);
    }
    return rc == 0 ? 0
                   : l->m->host->fail(l->m->ctx, rc == TPC_ENOENT ? TPC_ECORRUPT : rc,
                                      "the dump's file %s/%s cannot be read (%s)", l->m->dump_dir,
                                      name, tpc_error_name(rc));
}

/* The names of the manifest, each with its NUL: the arena is used for the pieces. */
static int load_manifest(struct load *l, struct tpi_buf *names)
{
    struct tpc_value v;
    int rc = parse_file(l, manifest, &v);
    if (rc != 0) {
        return rc;
    }
    const struct tpc_value *files = tpc_value_get(&v, TPC_STR("files"));
    if (files == NULL || files->type != TPC_ARRAY) {
        return l->m->host->fail(l->m->ctx, TPC_ECORRUPT, "%s/%s names no files", l->m->dump_dir,
                                manifest);
    }
    l->m->generation = number(&v, "generation");
    for (size_t i = 0; i < files->len && rc == 0; i++) {
        struct tpc_str name = tpc_value_text(&files->as.items[i]);
        /* Only names of this folder: a manifest from elsewhere reads nothing else. */
        if (name.len == 0 || memchr(name.ptr, '/', name.len) != NULL ||
            memchr(name.ptr, 0, name.len) != NULL) {
            return l->m->host->fail(l->m->ctx, TPC_ECORRUPT, "%s/%s has a bad file name",
                                    l->m->dump_dir, manifest);
        }
        rc = tpi_buf_text(names, name);
        rc = rc != 0 ? rc : tpi_buf_u8(names, 0);
    }
    return rc;
}

int tpi_memory_load(struct tpi_memory *m)
{
    struct load l = { .m = m };
    struct tpi_buf names;
    if (tpc_arena_create(m->alloc, 0, &l.arena) != 0) {
        return m->host->fail(m->ctx, TPC_ENOMEM, "out of memory");
    }
    tpi_buf_init(&l.text, m->alloc, 0);
    tpi_buf_init(&names, m->alloc, 0);
    int rc = load_manifest(&l, &names);
    if (rc == TPC_ENOENT) {
        rc = 0; /* the first start */
    }
    for (size_t at = 0; rc == 0 && at < names.len;) {
        const char *name = (const char *) names.ptr + at;
        rc = load_piece(&l, name);
        at += strlen(name) + 1;
    }
    tpi_buf_fini(&names);
    tpi_buf_fini(&l.text);
    tpc_arena_destroy(l.arena);
    return rc;
}
