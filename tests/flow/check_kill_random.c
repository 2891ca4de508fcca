/*
 * kill -9 at random times while threads work: what was acknowledged is in the history, once.
 */
#include "suites.h"

#include "crowd.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DEVICES = 8, WAIT_MS = 20000 };

struct life {
    struct fx *f;
    struct crowd_book *book;
};

static void live_until_killed(void *user)
{
    const struct life *x = user;
    static struct crowd c;
    fx_open(x->f);
    fx_start(x->f);
    crowd_open(&c, x->f, DEVICES, x->book);
    c.shuffled = true;
    (void) crowd_check(&c);
    for (;;) {
        for (uint32_t k = 0; k < DEVICES; k++) {
            while (crowd_feed(&c, k) == TPC_EAGAIN) {
                nanosleep(&(struct timespec){ 0, 100000 }, NULL);
            }
        }
        nanosleep(&(struct timespec){ 0, 50000 }, NULL);
    }
}

static uint32_t given_of(struct crowd_book *book)
{
    uint32_t sum = 0;
    for (uint32_t k = 0; k < DEVICES; k++) {
        sum += atomic_load(&book->given[k]);
    }
    return sum;
}

/* Kills a while after it feeds. */
static void kill_sometime(struct life *x, long after_us)
{
    uint32_t before = given_of(x->book);
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        tk_in_child(live_until_killed, x);
    }
    int status = 0;
    for (int i = 0; i < WAIT_MS && given_of(x->book) == before; i++) {
        nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
        ck_assert_msg(waitpid(pid, &status, WNOHANG) == 0, "the child ended by itself, %d", status);
    }
    nanosleep(&(struct timespec){ 0, after_us * 1000 }, NULL);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child ended with %d",
                  status);
}

static void put_and_close(struct fx *f)
{
    fx_open(f);
    crowd_put(f, DEVICES);
    fx_start(f);
    fx_close(f);
}

START_TEST(a_hundred_kills_at_random_times_lose_nothing)
{
    static struct crowd c;
    struct fx f;
    unsigned int seed = (unsigned int) time(NULL);
    const char *given = getenv("FLOW_SEED");
    const char *full = getenv("TK_FULL");
    int kills = full != NULL && full[0] != '\0' ? 400 : 100 / FX_SLOWER;
    if (!fx_has_sqlite()) {
        tk_skip("kills at random times", "the module sqlite is not built");
        return;
    }
    seed = given != NULL ? (unsigned int) strtoul(given, NULL, 10) : seed;
    printf("kill: seed %u\n", seed);
    fx_init(&f, 2, FX_FILE_LOG | FX_SQLITE);
    snprintf(f.log_options, sizeof(f.log_options),
             "\"segment_size\":\"64KiB\",\"max_bytes\":\"1MiB\"");
    snprintf(f.store_options, sizeof(f.store_options), "\"wal_limit\":\"64KiB\"");
    f.o.history_checkpoint_ms = 20;
    put_and_close(&f);
    struct crowd_book *book = crowd_book_make(DEVICES);
    struct life x = { &f, book };
    for (int i = 0; i < kills; i++) {
        f.o.workers = (uint32_t[]){ 2, 1, 4 }[i % 3];
        kill_sometime(&x, rand_r(&seed) % 30000);
    }
    f.o.workers = 2;
    fx_open(&f);
    fx_start(&f);
    crowd_open(&c, &f, DEVICES, book);
    c.shuffled = true;
    size_t stored = crowd_check(&c);
    printf("kill: %d kills at random times, %u given, %zu are stored\n", kills,
           (unsigned) given_of(book), stored);
    crowd_close(&c);
    fx_fini(&f);
    crowd_book_free(book);
}
END_TEST

Suite *kill_random_suite(void)
{
    Suite *s = suite_create("kill_random");
    TCase *t = tcase_create("kill_random");
    tcase_add_test(t, a_hundred_kills_at_random_times_lose_nothing);
    tcase_set_timeout(t, 300);
    suite_add_tcase(s, t);
    return s;
}
