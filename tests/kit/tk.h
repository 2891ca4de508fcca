/*
 * The test kit: a runner for check suites, an allocator that counts and fails on demand.
 *
 * A test binary is: int main(void) { return tk_main("base", suites); }. It prints one line
 * "tk: NAME passed=N failed=N skipped=N seconds=S", which tests/run adds up.
 */
#ifndef TK_H
#define TK_H

#include <check.h>
#include <stdbool.h>
#include <tpcore/alloc.h>
#include <tpcore/error.h>

typedef Suite *tk_suite_fn(void);

/* Runs the suites (NULL ends the list). Environment: TK_ONLY=case-name-part. Returns the exit code:
 * 0 all passed, 1 some failed, 77 nothing ran because tk_skip_all() was called before. */
int tk_main(const char *name, tk_suite_fn *const *suites);

/* Counts one skipped behaviour and prints why ("SKIP name: reason"). */
void tk_skip(const char *what, const char *reason);

/* In a forked child: runs fn with checks of its own and exits, 0 or 1. The parent's reports are in a
 * file that parent and child share, so a check that a child makes without this damages them. */
void tk_in_child(void (*fn)(void *user), void *user);

/* ---- allocator: counts live bytes, fails the Nth allocation ---- */
struct tk_alloc {
    struct tpc_allocator base; /* pass &a->base */
    size_t live_bytes;
    size_t live_blocks;
    size_t count;   /* allocations and growing resizes so far */
    size_t fail_at; /* 1.. = that allocation fails; 0 = none */
    bool sticky;    /* fail_at and all after it fail */
    size_t failed;  /* how many were refused */
};

void tk_alloc_init(struct tk_alloc *a);
/* The nth allocation from now on fails, 0 = none; while other threads allocate. */
void tk_alloc_fail(struct tk_alloc *a, size_t n);
/* Fails the test if anything is still allocated. */
void tk_alloc_check(const struct tk_alloc *a);

/* Runs fn(alloc, user) once to count its allocations, then again with each allocation failing in
 * turn (all of them if fewer than 2,000, else 500 seeded samples; the seed is printed). fn returns
 * 0 or TPC_ENOMEM (anything else fails the test) and must leave nothing allocated. Returns the
 * number of allocations. */
size_t tk_each_alloc_fails(int (*fn)(const struct tpc_allocator *a, void *user), void *user);

/* Temporary folder under $TMPDIR, removed with all its content at exit. Returns static text. */
const char *tk_tmpdir(void);

#define tk_ok(call)                                                                                \
    do {                                                                                           \
        int tk_rc_ = (call);                                                                       \
        ck_assert_msg(tk_rc_ == 0, "%s: %s", #call, tpc_error_name(tk_rc_));                       \
    } while (0)
#define tk_fails(code, call)                                                                       \
    do {                                                                                           \
        int tk_rc_ = (call);                                                                       \
        ck_assert_msg(tk_rc_ == (code), "%s: %s, expected %s", #call, tpc_error_name(tk_rc_),      \
                      tpc_error_name(code));                                                       \
    } while (0)

#endif
