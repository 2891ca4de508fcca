/* Where the log lies, told to the history: who reads its database alone finds the open samples. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/ext/history.h>

#include "core/core.h"

enum { RELATIVE_BYTES = 2 * PATH_MAX };

/* The folder of a part with an option `dir`, without links and dots; false = it has none. */
static bool folder_of(const struct tpi_part *p, char ret[PATH_MAX])
{
    struct tpc_str dir = tpc_value_text(tpc_value_get(&p->cfg, TPC_STR("dir")));
    char path[PATH_MAX];
    if (dir.len == 0 || dir.len >= sizeof(path)) {
        return false;
    }
    memcpy(path, dir.ptr, dir.len);
    path[dir.len] = '\0';
    return realpath(path, ret) != NULL;
}

/* Length of what both paths begin with, in whole names. */
static size_t common(const char *a, const char *b)
{
    size_t len = 0;
    size_t i = 0;
    for (; a[i] != '\0' && a[i] == b[i]; i++) {
        if (a[i] == '/') {
            len = i + 1;
        }
    }
    if ((a[i] == '\0' && b[i] == '/') || (b[i] == '\0' && a[i] == '/')) {
        return i;
    }
    return a[i] == b[i] ? i : len;
}

/* The way from one folder to the other: "../log". */
static size_t relative(const char *from, const char *to, char ret[RELATIVE_BYTES])
{
    size_t same = common(from, to);
    size_t len = 0;
    const char *rest = to + same + (to[same] == '/');
    const char *up = from + same + (from[same] == '/');
    while (*up != '\0' && len + 3 < RELATIVE_BYTES - PATH_MAX) {
        const char *slash = strchr(up, '/');
        memcpy(ret + len, "../", 3);
        len += 3;
        up = slash != NULL ? slash + 1 : up + strlen(up);
    }
    memcpy(ret + len, rest, strlen(rest) + 1);
    len += strlen(rest);
    if (len == 0) {
        memcpy(ret, ".", 2);
        len = 1;
    }
    return len;
}

struct known {
    struct tpc_str text;
    bool same;
};

static int compare(void *user, const struct tpc_mark *mark)
{
    struct known *k = user;
    k->same = mark->key == 0 && mark->text.len == k->text.len &&
              memcmp(mark->text.ptr, k->text.ptr, k->text.len) == 0;
    return k->same;
}

static int write(struct tpc_core *core, struct tpc_str text, struct tpc_error *err)
{
    struct tpi_part *part = core->history_part;
    const struct tpc_history_ops *ops = &part->ops->history;
    struct tpc_mark mark = { .size = sizeof(mark), .type = TPC_MARK_LOG_DIR, .text = text };
    int rc = ops->begin(part->self, err);
    if (rc != 0) {
        return rc;
    }
    rc = ops->put_marks(part->self, &mark, 1, sizeof(mark), err);
    if (rc != 0) {
        ops->rollback(part->self);
        return rc;
    }
    return ops->commit(part->self, err);
}

void tpi_core_place(struct tpc_core *core)
{
    char log[PATH_MAX];
    char history[PATH_MAX];
    char way[RELATIVE_BYTES];
    struct tpi_part *part = core->history_part;
    struct tpc_error err = { .size = sizeof(err) };
    if (!folder_of(core->log_part, log) || !folder_of(part, history)) {
        return;
    }
    struct known k = { .text = { way, relative(history, log, way) } };
    (void) part->ops->history.marks(part->self, TPC_MARK_LOG_DIR, compare, &k);
    if (!k.same && write(core, k.text, &err) != 0) {
        /* only for readers from outside, who then see what is in chunks */
        tpi_log(&core->env, TPC_LOG_WARN, "history", "the log's folder is not noted: %s", err.text);
    }
}
