#include "data_suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { value_suite,     number_suite, json_suite,
                                           json_text_suite, cbor_suite,   csv_suite,
                                           msg_suite,       option_suite, NULL };
    return tk_main("data", suites);
}
