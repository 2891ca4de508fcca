#include "post.h"
#include "sink_suite.h"

/* The suite for sinks, with the test's own. */
static Suite *box_suite(void)
{
    static const struct sink_subject subject = { .module = box_module,
                                                 .options = "{\"color\":\"blue\"}",
                                                 .target = "{\"token\":\"x\"}",
                                                 .bad_target = "{\"url\":\"bad\"}" };
    Suite *s = suite_create("box");
    box_reset();
    suite_add_tcase(s, sink_suite(&subject));
    return s;
}

int main(void)
{
    static tk_suite_fn *const suites[] = { send_suite,  target_suite, window_suite, keep_suite,
                                           shape_suite, box_suite,    NULL };
    return tk_main("forward", suites);
}
