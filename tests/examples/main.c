#include "tk.h"

Suite *tables_suite(void);

int main(void)
{
    static tk_suite_fn *const all[] = { tables_suite, NULL };
    return tk_main("examples_tables", all);
}
