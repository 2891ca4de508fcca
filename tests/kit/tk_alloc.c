#include "tk.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    struct tk_alloc *a = user;
    void *got = NULL;
    pthread_mutex_lock(&lock);
    if (new_size == 0) {
        if (ptr != NULL) {
            a->live_bytes -= old_size;
            a->live_blocks--;
            free(ptr);
        }
    } else {
        bool grows = ptr == NULL || new_size > old_size;
        if (grows) {
            a->count++;
        }
        if (grows && a->fail_at != 0 &&
            (a->count == a->fail_at || (a->sticky && a->count > a->fail_at))) {
            a->failed++;
        } else {
            got = realloc(ptr, new_size);
            if (got != NULL) {
                a->live_bytes += new_size - (ptr != NULL ? old_size : 0);
                a->live_blocks += ptr == NULL;
            }
        }
    }
    pthread_mutex_unlock(&lock);
    return got;
}

void tk_alloc_init(struct tk_alloc *a)
{
    *a = (struct tk_alloc){ .base = { .resize = resize, .user = a } };
}

void tk_alloc_fail(struct tk_alloc *a, size_t n)
{
    pthread_mutex_lock(&lock);
    a->fail_at = n > 0 ? a->count + n : 0;
    pthread_mutex_unlock(&lock);
}

void tk_alloc_check(const struct tk_alloc *a)
{
    ck_assert_msg(a->live_blocks == 0 && a->live_bytes == 0, "%zu blocks, %zu bytes not freed",
                  a->live_blocks, a->live_bytes);
}

size_t tk_each_alloc_fails(int (*fn)(const struct tpc_allocator *a, void *user), void *user)
{
    struct tk_alloc a;
    tk_alloc_init(&a);
    int rc = fn(&a.base, user);
    ck_assert_msg(rc == 0, "without a failing allocation: %s", tpc_error_name(rc));
    tk_alloc_check(&a);
    size_t total = a.count;
    unsigned int seed = 20261120;
    size_t runs = total < 2000 ? total : 500;
    if (total >= 2000) {
        printf("oom: 500 samples of %zu, seed %u\n", total, seed);
    }
    for (size_t i = 0; i < runs; i++) {
        tk_alloc_init(&a);
        a.fail_at = total < 2000 ? i + 1 : 1 + (size_t) rand_r(&seed) % total;
        a.sticky = i % 2 == 1;
        rc = fn(&a.base, user);
        ck_assert_msg(rc == 0 || rc == TPC_ENOMEM, "allocation %zu of %zu fails: %s", a.fail_at,
                      total, tpc_error_name(rc));
        tk_alloc_check(&a);
    }
    return total;
}
