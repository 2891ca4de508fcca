/* A folder of the ThingsBoard gateway: tb_gateway.json, a NUL, then what every other file holds. */
#include <stdio.h>
#include <string.h>
#include <tpcore/tpcore.h>

#include "fuzz.h"
#include "tb_import.h"

struct folder {
    struct tpc_str gateway, others;
};

static int read_text(void *user, struct tpc_str name, struct tpc_str *ret, char *err, size_t cap)
{
    const struct folder *f = user;
    if (name.len == 0) {
        snprintf(err, cap, "no name");
        return -1;
    }
    *ret = tpc_str_equal(name, TPC_STR("tb_gateway.json")) ? f->gateway : f->others;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tb tb;
    const char *text = (const char *) data;
    const char *cut = size > 0 ? memchr(data, 0, size) : NULL;
    size_t first = cut != NULL ? (size_t) (cut - text) : size;
    struct folder f = { { text, first }, { "", 0 } };
    struct tpc_arena *arena;
    struct tpc_value root;
    if (cut != NULL) {
        f.others = (struct tpc_str){ cut + 1, size - first - 1 };
    }
    if (size == 0) {
        f.gateway = (struct tpc_str){ "", 0 };
    }
    if (tpc_arena_create(NULL, 64 << 20, &arena) != 0) {
        return 0;
    }
    if (tb_import(&tb, arena, read_text, &f, "dir", &root) == 0) {
        FILE *out = fopen("/dev/null", "w");
        if (out != NULL) {
            (void) tb_write(&tb, &root, out);
            (void) tb_verdict(&tb, out);
            fclose(out);
        }
    }
    tpc_arena_destroy(arena);
    return 0;
}
