#include "retry.h"

bool http_retry_allowed(struct tpc_str method, uint32_t flags)
{
    static const struct tpc_str again[] = { TPC_STR_INIT("GET"), TPC_STR_INIT("HEAD"),
                                            TPC_STR_INIT("PUT"), TPC_STR_INIT("DELETE"),
                                            TPC_STR_INIT("OPTIONS") };
    for (size_t i = 0; i < sizeof(again) / sizeof(again[0]); i++) {
        if (tpc_str_equal(method, again[i])) {
            return true;
        }
    }
    return (flags & TPC_HTTP_RETRY) != 0;
}

bool http_retry_wanted(int code, uint32_t status)
{
    if (code != 0) {
        return code == TPC_EOFFLINE || code == TPC_ETIMEOUT;
    }
    return status == 429 || (status >= 502 && status <= 504);
}

bool http_retry_delay(uint32_t tries, uint32_t base_ms, struct tpc_str retry_after, uint32_t chance,
                      uint64_t *ret_ms)
{
    uint64_t ms = base_ms != 0 ? base_ms : HTTP_RETRY_DELAY_MS;
    for (uint32_t i = 1; i < tries && ms < HTTP_RETRY_DELAY_MAX_MS; i++) {
        ms *= 2;
    }
    ms = ms > HTTP_RETRY_DELAY_MAX_MS ? HTTP_RETRY_DELAY_MAX_MS : ms;
    ms -= chance % (ms / 2 + 1);
    uint64_t asked = 0;
    for (size_t i = 0; i < retry_after.len; i++) {
        if (retry_after.ptr[i] < '0' || retry_after.ptr[i] > '9') {
            asked = 0; /* a date */
            break;
        }
        asked = asked > HTTP_RETRY_DELAY_MAX_MS
                    ? asked
                    : asked * 10 + (uint64_t) (retry_after.ptr[i] - '0');
    }
    if (asked * 1000 > HTTP_RETRY_DELAY_MAX_MS) {
        return false;
    }
    *ret_ms = ms > asked * 1000 ? ms : asked * 1000;
    return true;
}
