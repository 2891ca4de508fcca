#include "core/fail.h"

#include <stdarg.h>
#include <string.h>

#include "base/text.h"

/* The one thread-local of the library: plain memory, no destructor, nothing to shut down. */
static _Thread_local struct tpc_error last = { .size = sizeof(struct tpc_error) };

const struct tpc_error *tpc_error_last(void)
{
    return &last;
}

struct tpc_error *tpi_fail_begin(void)
{
    last.code = 0;
    last.text[0] = '\0';
    return &last;
}

int tpi_fail_end(int rc)
{
    if (rc < 0 && last.code != rc) {
        return tpi_error_set(&last, rc, "core", "%s", tpc_error_name(rc));
    }
    return rc;
}

int tpi_fail(int code, const char *origin, const char *fmt, ...)
{
    char text[sizeof(last.text)];
    va_list args;
    va_start(args, fmt);
    tpi_text_format(text, sizeof(text), fmt, args);
    va_end(args);
    return tpi_error_set(&last, code, origin, "%s", text);
}

int tpi_fail_copy(const struct tpc_error *err)
{
    if (err != &last) {
        last = *err;
    }
    return last.code;
}
