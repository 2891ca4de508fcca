#include "store/memory.h"
#include "store_suite.h"

Suite *memory_suite(void);

static const struct tpc_value *no_options(void)
{
    static const struct tpc_value none = { .type = TPC_MAP };
    return &none;
}

int main(void)
{
    static const struct store_engine memory = { "memory", &tpi_store_memory, false, no_options };
    static tk_suite_fn *const suites[] = { store_engine_suite, memory_suite, NULL };
    store_suite_use(&memory);
    return tk_main("memory_store", suites);
}
