#include "history_suite.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/ext/history.h>
#include <tpcore/modules.h>

static const struct tpc_value *fresh(void)
{
    static char dir[300];
    static struct tpc_member members[1];
    static struct tpc_value cfg;
    snprintf(dir, sizeof(dir), "%s", tk_tmpdir());
    members[0].key = TPC_STR("dir");
    members[0].value =
        (struct tpc_value){ .type = TPC_TEXT, .len = strlen(dir), .as = { .text = dir } };
    cfg = (struct tpc_value){ .type = TPC_MAP, .len = 1, .as = { .members = members } };
    return &cfg;
}

int main(void)
{
    static struct history_engine sqlite = { "sqlite", NULL, true, fresh };
    static tk_suite_fn *const suites[] = { history_engine_suite, history_property_suite, NULL };
    const struct tpc_module *module = tpc_module_sqlite();
    sqlite.ops = TPC_LIST_AT(struct tpc_interface, module->interfaces, 1)->ops;
    history_suite_use(&sqlite);
    return tk_main("sqlite", suites);
}
