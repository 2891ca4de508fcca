#include "store_suites.h"

#include "history_suite.h"
#include "store/history.h"

static const struct tpc_value *no_options(void)
{
    static const struct tpc_value none = { .type = TPC_MAP };
    return &none;
}

int main(void)
{
    static const struct history_engine memory = { "memory", &tpi_memory_history, false,
                                                  no_options };
    static tk_suite_fn *const suites[] = { chunk_suite,          chunk_series_suite,
                                           history_suite,        read_suite,
                                           history_engine_suite, history_property_suite,
                                           history_read_suite,   NULL };
    history_suite_use(&memory);
    return tk_main("store", suites);
}
