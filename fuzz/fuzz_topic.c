/* Topics and filters: input is filter, NUL, topic. */
#include "fuzz.h"

#include "bus/topic.h"

/* Whether a filter without wildcards matches its own text, and any matches what it should. */
static void check_key(struct tpc_str key)
{
    struct tpi_buf topic, back;
    tpi_buf_init(&topic, NULL, 0);
    tpi_buf_init(&back, NULL, 0);
    FUZZ_MUST(tpi_topic_key(&topic, key) == 0);
    struct tpc_str level = { (const char *) topic.ptr, topic.len };
    FUZZ_MUST(tpi_topic_unescape(&back, level) == 0);
    FUZZ_MUST(back.len == key.len && (key.len == 0 || memcmp(back.ptr, key.ptr, key.len) == 0));
    FUZZ_MUST(topic.len == 0 || memchr(topic.ptr, '/', topic.len) == NULL);
    tpi_buf_clear(&back);
    (void) tpi_topic_unescape(&back, key);
    tpi_buf_fini(&topic);
    tpi_buf_fini(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size == 0 ? NULL : memchr(data, 0, size);
    struct tpc_str filter = { (const char *) data, nul == NULL ? size : (size_t) (nul - data) };
    struct tpc_str topic = { "", 0 };
    struct tpc_error err;
    if (nul != NULL) {
        topic.ptr = (const char *) nul + 1;
        topic.len = size - filter.len - 1;
    }
    check_key(topic);
    if (filter.len == 0 || tpi_filter_check(filter, TPI_FILTER_SYSTEM, &err) != 0) {
        return 0;
    }
    if (memchr(filter.ptr, '+', filter.len) == NULL &&
        memchr(filter.ptr, '#', filter.len) == NULL) {
        FUZZ_MUST(tpi_filter_match(filter, filter));
        FUZZ_MUST(tpi_filter_match(filter, topic) == (tpc_str_equal(filter, topic) != 0));
    }
    (void) tpi_filter_match(filter, topic);
    (void) tpi_filter_kinds(filter, topic);
    return 0;
}
