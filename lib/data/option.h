/*
 * Checks what people write against an option table (tpcore/ext/option.h) and fills in defaults.
 */
#ifndef TPI_DATA_OPTION_H
#define TPI_DATA_OPTION_H

#include <tpcore/arena.h>
#include <tpcore/error.h>
#include <tpcore/ext/option.h>

enum tpi_option_flags {
    TPI_OPTION_KEEP_UNKNOWN = 1, /* members the top table does not name are kept, not refused */
    TPI_OPTION_NO_DEFAULTS = 2   /* absent members stay absent */
};

enum {
    TPI_OPTION_MAX_TEXT = 4096,   /* bytes of a text whose record has no max */
    TPI_OPTION_MAX_ITEMS = 65536, /* items of a list whose record has no max */
    TPI_OPTION_MAX_KEY = 128,     /* bytes of a text marked TPC_OPT_KEY */
    TPI_OPTION_MAX_DEPTH = 16     /* tables and lists inside one another */
};

/*
 * Checks a map (NULL = an empty one) against a table of struct tpc_option. The answer is a map with
 * the members in the table's order, kept unknown ones after them: durations and sizes as int (ms,
 * bytes), ints as TPC_INT, doubles as TPC_DOUBLE, all defaults filled in. A member that is null
 * counts as absent. A TABLE with def "{}" is there with its members' defaults; with def NULL it
 * stays absent. Records of the table may be shorter or longer than this library's (element_size).
 *
 * Returns 0, TPC_EINVAL (err's path says where: "port", "points[2].unit"), TPC_ETOOBIG (nesting) or
 * TPC_ENOMEM. The answer lives in the arena and in *in; default texts are the table's.
 */
int tpi_option_check(const struct tpc_list *table, const struct tpc_value *in, uint32_t flags,
                     struct tpc_arena *arena, struct tpc_error *err, struct tpc_value *ret);

/* "10s" "5m" "250ms" "1h" "7d" "1.5h" or a plain number of ms. Returns 0 or TPC_EINVAL. */
int tpi_duration_parse(struct tpc_str text, int64_t *ret_ms);

/* "64MiB" "10k" "1.5GB" or a plain number of bytes; k M G T and KiB.. are powers of 1,024, kB MB GB
 * TB powers of 1,000. Returns 0 or TPC_EINVAL. */
int tpi_size_parse(struct tpc_str text, int64_t *ret_bytes);

/* Whether text can be a key of an entity: 1..128 bytes of UTF-8 without control bytes. */
bool tpi_key_valid(struct tpc_str text);

#endif
