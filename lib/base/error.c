#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static const struct {
    const char *name;
    int class;
} codes[] = {
    [0] = { "TPC_OK", TPC_CLASS_NONE },
    [-TPC_EINVAL] = { "TPC_EINVAL", TPC_CLASS_FIX },
    [-TPC_ENOENT] = { "TPC_ENOENT", TPC_CLASS_FIX },
    [-TPC_EEXIST] = { "TPC_EEXIST", TPC_CLASS_FIX },
    [-TPC_ECONFLICT] = { "TPC_ECONFLICT", TPC_CLASS_FIX },
    [-TPC_EAGAIN] = { "TPC_EAGAIN", TPC_CLASS_RETRY },
    [-TPC_ETOOBIG] = { "TPC_ETOOBIG", TPC_CLASS_FIX },
    [-TPC_EDENIED] = { "TPC_EDENIED", TPC_CLASS_FIX },
    [-TPC_EDECODE] = { "TPC_EDECODE", TPC_CLASS_FIX },
    [-TPC_EMODEL] = { "TPC_EMODEL", TPC_CLASS_FIX },
    [-TPC_ESCRIPT] = { "TPC_ESCRIPT", TPC_CLASS_FIX },
    [-TPC_ECORRUPT] = { "TPC_ECORRUPT", TPC_CLASS_OPERATOR },
    [-TPC_EVERSION] = { "TPC_EVERSION", TPC_CLASS_OPERATOR },
    [-TPC_EGAP] = { "TPC_EGAP", TPC_CLASS_OPERATOR },
    [-TPC_ETIMEOUT] = { "TPC_ETIMEOUT", TPC_CLASS_RETRY },
    [-TPC_ECANCELED] = { "TPC_ECANCELED", TPC_CLASS_FIX },
    [-TPC_EOFFLINE] = { "TPC_EOFFLINE", TPC_CLASS_RETRY },
    [-TPC_EUNSUPPORTED] = { "TPC_EUNSUPPORTED", TPC_CLASS_FIX },
    [-TPC_EIO] = { "TPC_EIO", TPC_CLASS_OPERATOR },
    [-TPC_ENOSPC] = { "TPC_ENOSPC", TPC_CLASS_OPERATOR },
    [-TPC_ENOMEM] = { "TPC_ENOMEM", TPC_CLASS_RETRY },
    [-TPC_ESTATE] = { "TPC_ESTATE", TPC_CLASS_FIX },
};

enum { CODES = sizeof(codes) / sizeof(codes[0]) };

const char *tpc_error_name(int code)
{
    return code <= 0 && code > -(int) CODES ? codes[-code].name : "TPC_E?";
}

int tpc_error_class(int code)
{
    return code <= 0 && code > -(int) CODES ? codes[-code].class : TPC_CLASS_OPERATOR;
}

static void fill(struct tpc_error *err, int code, int native, const char *origin, const char *fmt,
                 va_list args) TPC_PRINTF(5, 0);

static void fill(struct tpc_error *err, int code, int native, const char *origin, const char *fmt,
                 va_list args)
{
    /* Formatted aside first: an argument may be a text of *err itself. */
    struct tpc_error e = { .size = sizeof(e), .code = code, .native = native };
    if (origin != NULL) {
        tpi_text_copy(e.origin, sizeof(e.origin), origin);
    }
    tpi_text_format(e.text, sizeof(e.text), fmt, args);
    *err = e;
}

int tpi_error_set(struct tpc_error *err, int code, const char *origin, const char *fmt, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        fill(err, code, 0, origin, fmt, args);
        va_end(args);
    }
    return code;
}

int tpi_error_native(struct tpc_error *err, int code, int native, const char *origin,
                     const char *fmt, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        fill(err, code, native, origin, fmt, args);
        va_end(args);
    }
    return code;
}

int tpi_error_at(struct tpc_error *err, const char *segment)
{
    if (err == NULL) {
        return TPC_EINVAL;
    }
    if (segment[0] == '.') {
        segment++;
    }
    char old[sizeof(err->path)];
    memcpy(old, err->path, sizeof(old));
    old[sizeof(old) - 1] = '\0';
    size_t len = tpi_text_copy(err->path, sizeof(err->path), segment);
    if (old[0] != '\0' && old[0] != '[' && old[0] != '.' && len > 0 &&
        len + 1 < sizeof(err->path)) {
        err->path[len++] = '.';
    }
    tpi_text_copy(err->path + len, sizeof(err->path) - len, old);
    return err->code;
}

int tpi_error_at_index(struct tpc_error *err, size_t index)
{
    char segment[32];
    snprintf(segment, sizeof(segment), "[%zu]", index);
    return tpi_error_at(err, segment);
}

int tpi_error_from_errno(int number)
{
    switch (number) {
    case 0:
        return TPC_OK;
    case ENOENT:
    case ENOTDIR:
        return TPC_ENOENT;
    case EEXIST:
    case ENOTEMPTY:
        return TPC_EEXIST;
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
        return TPC_EAGAIN;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return TPC_ENOSPC;
    case EACCES:
    case EPERM:
    case EROFS:
        return TPC_EDENIED;
    case ENOMEM:
        return TPC_ENOMEM;
    case ETIMEDOUT:
        return TPC_ETIMEOUT;
    default:
        return TPC_EIO;
    }
}
