/*
 * Option tables: what a part can be told, its types, ranges and defaults. From one table come the
 * check, the defaults, the error texts and the documentation page; entity kinds are described by
 * the same tables.
 */
#ifndef TPCORE_EXT_OPTION_H
#define TPCORE_EXT_OPTION_H

#include <tpcore/ext/iface.h>
#include <tpcore/value.h>

TPC_BEGIN

enum tpc_option_type {
    TPC_OPT_BOOL = 1,
    TPC_OPT_INT = 2,  /* min..max as int64 */
    TPC_OPT_UINT = 3, /* min..max, >= 0 */
    TPC_OPT_DOUBLE = 4,
    TPC_OPT_TEXT = 5,     /* min..max: bytes; max 0 = 4,096 */
    TPC_OPT_ENUM = 6,     /* values: "a|b|c" */
    TPC_OPT_DURATION = 7, /* "10s" "5m" "250ms" "1h" "7d" or a number of ms; becomes int ms */
    TPC_OPT_SIZE = 8,     /* "64MiB" "10k" or a number of bytes; becomes int bytes */
    TPC_OPT_SECRET = 9,   /* text that is never logged or listed */
    TPC_OPT_LIST = 10,    /* elem says what each item is; min..max: items */
    TPC_OPT_TABLE = 11,   /* sub says its members */
    TPC_OPT_ANY = 12      /* any value, unchecked */
};

enum tpc_option_flags {
    TPC_OPT_REQUIRED = 1,
    TPC_OPT_INDEXED = 2, /* entity kinds: the store can find entities by it */
    TPC_OPT_OPEN = 4,    /* of a TABLE: members that sub does not name are kept, not refused */
    TPC_OPT_KEY = 8      /* text that is a key: 1-128 bytes UTF-8 without control bytes */
};

/* min and max bound a number or a length; both 0 = no bound beyond the type's own. */
struct tpc_option {
    const char *name;
    uint32_t type;   /* enum tpc_option_type */
    uint32_t flags;  /* enum tpc_option_flags */
    const char *def; /* default as text, as a user would write it; NULL = absent */
    int64_t min;
    int64_t max;
    const char *values;            /* of ENUM */
    const struct tpc_option *elem; /* of LIST: one record; its name is ignored */
    struct tpc_list sub;           /* of TABLE: TPC_OPTIONS(array) */
    const char *since;
    const char *help;
};

#define TPC_OPTIONS(array) TPC_LIST(array)

TPC_END

#endif
