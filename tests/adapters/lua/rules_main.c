#include "rules_suite.h"

int main(void)
{
    static tk_suite_fn *const all[] = { rules_suite, NULL };
    return tk_main("lua_rules", all);
}
