#include "tk_env.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"

static int fill(void *user, void *ptr, size_t len)
{
    struct tk_env *e = user;
    uint8_t *p = ptr;
    while (len > 0) {
        uint64_t x = tpi_hash64(atomic_fetch_add(&e->random_state, UINT64_C(0x9E3779B97F4A7C15)) +
                                UINT64_C(0x9E3779B9));
        size_t n = len < sizeof(x) ? len : sizeof(x);
        memcpy(p, &x, n);
        p += n;
        len -= n;
    }
    return 0;
}

static void log_line(void *user, int level, const char *subject, const char *text)
{
    struct tk_env *e = user;
    pthread_mutex_lock(&e->log_lock);
    size_t i = e->log_count++ % TK_LOG_LINES;
    e->log_levels[i] = level;
    snprintf(e->log_lines[i], sizeof(e->log_lines[i]), "%s: %s", subject, text);
    pthread_mutex_unlock(&e->log_lock);
}

void tk_env_init(struct tk_env *e)
{
    memset(e, 0, sizeof(*e));
    tk_alloc_init(&e->alloc);
    tk_clock_init(&e->clock, INT64_C(1795176000000));
    tk_files_init(&e->files);
    pthread_mutex_init(&e->log_lock, NULL);
    atomic_init(&e->random_state, 1);
    atomic_init(&e->ids.last, 0);
    e->random = (struct tpc_random){ .size = sizeof(e->random), .user = e, .fill = fill };
    e->env = (struct tpi_env){ .alloc = &e->alloc.base,
                               .clock = &e->clock.base,
                               .random = &e->random,
                               .files = &e->files.base,
                               .log = log_line,
                               .log_user = e,
                               .log_level = TPC_LOG_DEBUG,
                               .ids = &e->ids };
}

void tk_env_fini(struct tk_env *e)
{
    tk_files_fini(&e->files);
    pthread_mutex_destroy(&e->log_lock);
    tk_alloc_check(&e->alloc);
}

size_t tk_env_logged(struct tk_env *e, const char *part)
{
    size_t found = 0;
    pthread_mutex_lock(&e->log_lock);
    for (size_t i = 0; i < e->log_count && i < TK_LOG_LINES; i++) {
        found += strstr(e->log_lines[i], part) != NULL;
    }
    pthread_mutex_unlock(&e->log_lock);
    return found;
}

void tk_random_seed(struct tk_env *e, uint64_t seed)
{
    atomic_store(&e->random_state, seed);
}
