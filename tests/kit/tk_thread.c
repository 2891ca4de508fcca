/*
 * A check that fails in a thread of its own. Check leaves a failed test by longjmp(), which may only
 * be done in the thread that runs the test: elsewhere two threads would go on with one stack. Here
 * such a failure is printed and ends the binary.
 */
#include "tk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The linker's names for what replaces a function and for what is replaced (--wrap). */
void __real__ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
    __attribute__((noreturn, format(printf, 4, 5)));
void __wrap__ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
    __attribute__((noreturn, format(printf, 4, 5)));

void __wrap__ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
{
    char text[2000] = "";
    if (msg != NULL) {
        va_list args;
        va_start(args, msg);
        vsnprintf(text, sizeof(text), msg, args);
        va_end(args);
    }
    if (syscall(SYS_gettid) == getpid()) {
        if (msg == NULL) {
            __real__ck_assert_failed(file, line, expr, NULL);
        }
        __real__ck_assert_failed(file, line, expr, "%s", text);
    }
    printf("tk: %s:%d: failed in a thread: %s %s\n", file, line, expr, text);
    fflush(NULL);
    _exit(1);
}
