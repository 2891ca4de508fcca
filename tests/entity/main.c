#include "entity_suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { entity_suite, batch_suite, seal_suite, NULL };
    return tk_main("entity", suites);
}
