#include "modules_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mt_open(struct mt *m, uint32_t flags, uint32_t threads)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    tk_env_init(&m->e);
    o.flags = flags;
    o.threads = threads;
    o.allocator = &m->e.alloc.base;
    o.clock = &m->e.clock.base;
    o.on_log = m->e.env.log;
    o.log_user = &m->e;
    tk_ok(tpc_core_create(&o, &m->core));
}

void mt_close(struct mt *m)
{
    tk_ok(tpc_core_destroy(m->core));
    tk_env_fini(&m->e);
}

void mt_error_says(const char *part)
{
    ck_assert_msg(strstr(tpc_error_last()->text, part) != NULL, "\"%s\" is not in \"%s\"", part,
                  tpc_error_last()->text);
}

void mt_run(struct mt *m, const char *module)
{
    tk_ok(tpc_core_open(m->core, "edge", module, TPC_STR("{\"port\":17}")));
    ck_assert_uint_eq(tk_env_logged(&m->e, "init port=17"), 1);
    tk_ok(tpc_core_start(m->core));
    ck_assert_uint_eq(tk_env_logged(&m->e, "edge: start"), 1);
    tk_ok(tpc_core_step(m->core, 0, NULL));
    tk_ok(tpc_core_stop(m->core, 1000));
    ck_assert_uint_eq(tk_env_logged(&m->e, "edge: stop"), 1);
}

const char *mt_object(const char *file)
{
    static char path[1024];
    const char *dir = getenv("TK_MODULE_DIR");
    snprintf(path, sizeof(path), "%s/%s", dir != NULL ? dir : ".", file);
    return path;
}

int main(void)
{
    static tk_suite_fn *const suites[] = { descriptor_suite, object_suite, service_suite, NULL };
    return tk_main("modules", suites);
}
