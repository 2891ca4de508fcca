#include "model_suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { model_suite, limits_suite, exchange_suite, NULL };
    return tk_main("model", suites);
}
