#include "tcp_suites.h"

#include <signal.h>

int main(void)
{
    static tk_suite_fn *const all[] = { tcp_address_suite, tcp_suite,      tcp_faults_suite,
                                        tcp_tls_suite,     tcp_lend_suite, NULL };
    signal(SIGPIPE, SIG_IGN);
    return tk_main("adapter_tcp", all);
}
