#include "sqlite_suites.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/modules.h>

#include "history_suite.h"
#include "store_suite.h"

static const void *table_of(uint32_t kind)
{
    const struct tpc_list *list = &tpc_module_sqlite()->interfaces;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct tpc_interface *t = TPC_LIST_AT(struct tpc_interface, *list, i);
        if (t->kind == kind) {
            return t->ops;
        }
    }
    return NULL;
}

const struct tpc_history_ops *sqlite_history_ops(void)
{
    return table_of(TPC_KIND_HISTORY);
}

const struct tpc_store_ops *sqlite_store_ops(void)
{
    return table_of(TPC_KIND_STORE);
}

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
    static struct history_engine history = { "sqlite", NULL, true, fresh };
    static struct store_engine store = { "sqlite", NULL, true, fresh };
    static tk_suite_fn *const suites[] = { store_engine_suite, history_engine_suite,
                                           sqlite_suite,       history_property_suite,
                                           history_read_suite, import_suite,
                                           observe_suite,      NULL };
    history.ops = sqlite_history_ops();
    store.ops = sqlite_store_ops();
    history_suite_use(&history);
    store_suite_use(&store);
    return tk_main("sqlite", suites);
}
