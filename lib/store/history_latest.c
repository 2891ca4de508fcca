/* Latest values and presence in the marks. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "store/history_open.h"

static const char *const presence_words[] = { "offline", "online", "session" };

void tpi_history_attach(struct tpi_history *h, const struct tpi_history_registry *registry)
{
    h->registry = *registry;
}

int tpi_open_presence_note(struct tpi_history *h, uint64_t device_id)
{
    if (h->registry.presence_get == NULL || device_id == 0 ||
        tpi_map64_get(&h->presence_known, device_id) != NULL) {
        return 0;
    }
    if (tpi_map64_count(&h->presence_known) >= TPI_PRESENCE_MAX) {
        return TPC_EAGAIN;
    }
    struct open_presence *p = tpi_alloc(h->env->alloc, sizeof(*p));
    int rc = p != NULL ? tpi_map64_put(&h->presence_known, device_id, p, NULL) : TPC_ENOMEM;
    if (rc != 0) {
        tpi_free(h->env->alloc, p, sizeof(*p));
        return rc;
    }
    p->device_id = device_id;
    p->next = h->presence;
    h->presence = p;
    return 0;
}

bool tpi_open_presence_many(const struct tpi_history *h)
{
    return tpi_map64_count(&h->presence_known) >= TPI_PRESENCE_MAX / 2;
}

void tpi_open_presence_clear(struct tpi_history *h)
{
    while (h->presence != NULL) {
        struct open_presence *p = h->presence;
        h->presence = p->next;
        tpi_free(h->env->alloc, p, sizeof(*p));
    }
    tpi_map64_fini(&h->presence_known);
    tpi_map64_init(&h->presence_known, h->env->alloc);
}

size_t tpi_open_presence_text(const struct tpi_history_presence *p, char *text)
{
    int n = snprintf(text, TPI_PRESENCE_TEXT, "%s %" PRId64 " %" PRId64,
                     presence_words[p->online ? 1 + p->by_session : 0], p->seen_unix_ms,
                     p->active_unix_ms);
    return (size_t) n;
}

static int load_latest(void *history, const struct tpc_mark *mark)
{
    struct tpi_history *h = history;
    return mark->data.len == 0 ? 0
                               : h->registry.latest_load(h->registry.user, mark->key, mark->data);
}

int tpi_history_latest(struct tpi_history *h, struct tpc_error *err)
{
    int rc = h->ops->marks(h->self, TPC_MARK_OFF_END, load_latest, h);
    return rc == 0 ? 0 : tpi_error_set(err, rc, "history", "latest values cannot be read");
}

/* A word that a later version may have written is offline to this one. */
int tpi_open_presence_load(void *history, const struct tpc_mark *mark)
{
    struct tpi_history *h = history;
    char text[TPI_PRESENCE_TEXT];
    struct tpi_history_presence p = { .since_unix_ms = (int64_t) mark->value };
    if (h->registry.presence_load == NULL || mark->text.len >= sizeof(text)) {
        return 0;
    }
    memcpy(text, mark->text.ptr, mark->text.len);
    text[mark->text.len] = 0;
    char *space = strchr(text, ' ');
    if (space != NULL) {
        *space = 0;
        char *end;
        p.seen_unix_ms = (int64_t) strtoll(space + 1, &end, 10);
        p.active_unix_ms = (int64_t) strtoll(end, NULL, 10);
    }
    if (p.active_unix_ms == 0) {
        p.active_unix_ms = p.since_unix_ms; /* a mark of before it was kept: online by then */
    }
    p.by_session = strcmp(text, presence_words[2]) == 0;
    p.online = p.by_session || strcmp(text, presence_words[1]) == 0;
    return h->registry.presence_load(h->registry.user, mark->key, &p);
}
