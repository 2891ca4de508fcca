#include "post.h"

int main(void)
{
    static tk_suite_fn *const suites[] = { send_suite, target_suite, NULL };
    return tk_main("forward", suites);
}
