#include "base/env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <tpcore/error.h>
#include <unistd.h>

#include "base/text.h"

/* Records outlive 2038: a 32-bit machine has to be told to count seconds in 64 bits. */
_Static_assert(sizeof(time_t) >= 8 && sizeof(off_t) >= 8, "-D_TIME_BITS=64 -D_FILE_OFFSET_BITS=64");

enum { LOG_TEXT_BYTES = 501, COUNTER_BITS = 12, COUNTER_START_MASK = 0x7ff };

static int64_t system_unix_ms(void *user)
{
    (void) user;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t system_mono_ns(void *user)
{
    (void) user;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

static int system_fill(void *user, void *ptr, size_t len)
{
    (void) user;
    uint8_t *p = ptr;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return TPC_EIO;
        }
        p += n;
        len -= (size_t) n;
    }
    return 0;
}

/* The kernel's id of the machine's run: a UUID as text. */
static int system_boot(void *user, struct tpc_id *ret)
{
    char text[64];
    uint32_t digits = 0;
    (void) user;
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
    if (fd >= 0) {
        close(fd);
    }
    struct tpc_id id = { { 0 } };
    for (ssize_t i = 0; i < n && digits < 2 * sizeof(id.b); i++) {
        static const char hex[] = "0123456789abcdef";
        const char *at = memchr(hex, text[i], sizeof(hex) - 1);
        if (at != NULL) {
            id.b[digits / 2] = (uint8_t) (id.b[digits / 2] << 4 | (at - hex));
            digits++;
        }
    }
    if (digits != 2 * sizeof(id.b)) {
        return TPC_EIO;
    }
    *ret = id;
    return 0;
}

static const struct tpc_clock system_clock = { .size = sizeof(struct tpc_clock),
                                               .unix_ms = system_unix_ms,
                                               .mono_ns = system_mono_ns,
                                               .boot = system_boot };
static const struct tpc_random system_random = { .size = sizeof(struct tpc_random),
                                                 .fill = system_fill };

const struct tpc_clock *tpi_clock_system(void)
{
    return &system_clock;
}

const struct tpc_random *tpi_random_system(void)
{
    return &system_random;
}

void tpi_env_default(struct tpi_env *env)
{
    *env = (struct tpi_env){ .alloc = tpc_allocator_default(),
                             .clock = &system_clock,
                             .random = &system_random,
                             .files = tpi_files_system(),
                             .log_level = TPC_LOG_INFO };
}

const struct tpc_allocator *tpi_env_reserve(const struct tpi_env *env)
{
    return env->reserve != NULL ? env->reserve : env->alloc;
}

int64_t tpi_unix_ms(const struct tpi_env *env)
{
    return env->clock->unix_ms(env->clock->user);
}

uint64_t tpi_mono_ns(const struct tpi_env *env)
{
    return env->clock->mono_ns(env->clock->user);
}

uint64_t tpi_mono_ms(const struct tpi_env *env)
{
    return tpi_mono_ns(env) / 1000000;
}

void tpi_log(const struct tpi_env *env, int level, const char *subject, const char *fmt, ...)
{
    if (env == NULL || env->log == NULL || level > env->log_level) {
        return;
    }
    char text[LOG_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    tpi_text_format(text, sizeof(text), fmt, args);
    va_end(args);
    env->log(env->log_user, level, subject, text);
}

int tpi_random(const struct tpi_env *env, void *p, size_t n)
{
    return env->random->fill(env->random->user, p, n);
}

/* The next 60 bits of time and counter: never less than one more than the last. A full counter
 * carries into the milliseconds (RFC 9562 section 6.2, method 1). */
static uint64_t next_stamp(struct tpi_id_state *ids, uint64_t fresh)
{
    uint64_t last = atomic_load_explicit(&ids->last, memory_order_relaxed);
    uint64_t next;
    do {
        next = (fresh >> COUNTER_BITS) > (last >> COUNTER_BITS) ? fresh : last + 1;
    } while (!atomic_compare_exchange_weak_explicit(&ids->last, &last, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return next;
}

int tpi_id_make(const struct tpi_env *env, struct tpc_id *ret)
{
    uint8_t noise[10];
    if (tpi_random(env, noise, sizeof(noise)) != 0) {
        return TPC_EIO;
    }
    int64_t now = tpi_unix_ms(env);
    uint64_t ms = now > 0 ? (uint64_t) now & UINT64_C(0xffffffffffff) : 0;
    uint64_t low = ((uint64_t) noise[0] << 8 | noise[1]) & COUNTER_START_MASK;
    uint64_t stamp = ms << COUNTER_BITS | low;
    if (env->ids != NULL) {
        stamp = next_stamp(env->ids, stamp);
    }
    struct tpc_id id;
    for (unsigned int i = 0; i < 6; i++) {
        id.b[i] = (uint8_t) (stamp >> (52 - 8 * i));
    }
    id.b[6] = (uint8_t) (0x70 | (stamp >> 8 & 0x0f));
    id.b[7] = (uint8_t) stamp;
    memcpy(id.b + 8, noise + 2, 8);
    id.b[8] = (uint8_t) (0x80 | (id.b[8] & 0x3f));
    *ret = id;
    return 0;
}
