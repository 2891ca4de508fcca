#include "handed.h"

#include <unistd.h>

static void on_handed(void *user, int fd, uint64_t connection)
{
    struct mb_handed *h = user;
    uint64_t one = 1;
    pthread_mutex_lock(&h->lock);
    bool waits = h->fd >= 0 && (fd >= 0 || h->coming == connection);
    if (waits) {
        close(h->fd);
        h->fd = -1;
    }
    if (fd >= 0) {
        h->fd = fd;
        h->coming = connection;
    } else if (h->present == connection) {
        h->ended = true;
    }
    pthread_mutex_unlock(&h->lock);
    if (write(h->wake, &one, sizeof(one)) < 0) {
        return; /* the counter is full: it is awake */
    }
}

static enum mb_news handed_news(void *user)
{
    struct mb_handed *h = user;
    pthread_mutex_lock(&h->lock);
    enum mb_news news = h->fd >= 0 ? MB_NEWS_LINE : h->ended ? MB_NEWS_ENDED : MB_NEWS_NONE;
    pthread_mutex_unlock(&h->lock);
    return news;
}

static int handed_take(void *user)
{
    struct mb_handed *h = user;
    pthread_mutex_lock(&h->lock);
    int fd = h->fd;
    h->fd = -1;
    h->ended = false;
    h->present = fd >= 0 ? h->coming : 0;
    pthread_mutex_unlock(&h->lock);
    return fd;
}

static void handed_gone(void *user)
{
    struct mb_handed *h = user;
    pthread_mutex_lock(&h->lock);
    uint64_t connection = h->present;
    h->present = 0;
    h->ended = false;
    pthread_mutex_unlock(&h->lock);
    if (!h->keeping && connection != 0) {
        h->ops->over(h->self, h->id, connection);
    }
}

const struct mb_source mb_handed_source = { handed_news, handed_take, handed_gone };

int mb_handed_init(struct mb_handed *h, const char *device, int wake)
{
    h->device = device;
    h->wake = wake;
    h->fd = -1;
    h->made = pthread_mutex_init(&h->lock, NULL) == 0;
    return h->made ? 0 : TPC_ENOMEM;
}

void mb_handed_fini(struct mb_handed *h)
{
    if (h->made) {
        pthread_mutex_destroy(&h->lock);
    }
}

int mb_handed_start(struct mb_handed *h, const struct tpc_host *host, void *ctx)
{
    const void *ops = NULL;
    int rc = host->need(ctx, "stream.handover", &ops, &h->self);
    if (rc != 0) {
        return host->fail(ctx, rc,
                          "url: no part hands connections over (tcp does with handover: yes)");
    }
    h->ops = ops;
    h->keeping = false;
    rc = h->ops->take(h->self, (struct tpc_str){ NULL, 0 }, tpc_str_from(h->device), on_handed, h,
                      &h->id);
    return rc == 0 ? 0
                   : host->fail(ctx, rc, "url: %s",
                                rc == TPC_EEXIST ? "another bus has the connections of that device"
                                                 : tpc_error_name(rc));
}

void mb_handed_keep(struct mb_handed *h)
{
    h->keeping = true;
}

void mb_handed_stop(struct mb_handed *h)
{
    if (h->id != 0) {
        h->ops->end(h->self, h->id);
        h->id = 0;
    }
    if (h->made && h->fd >= 0) {
        close(h->fd);
        h->fd = -1;
    }
}
