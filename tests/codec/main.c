#include "suites.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { json_suite,   alink_suite,  envelope_suite,
                                           encode_suite, points_suite, thingsboard_suite,
                                           NULL };
    return tk_main("codec", suites);
}
