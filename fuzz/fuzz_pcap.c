/* A capture: the first byte picks the port, the rest is the file. What is told lies inside it. */
#include "fuzz.h"
#include "pcap.h"

struct seen {
    const uint8_t *file;
    size_t len;
    size_t bytes;
};

static int on_bytes(void *user, const struct pcap_stream *s, const uint8_t *bytes, size_t len,
                    bool gap)
{
    struct seen *seen = user;
    (void) gap;
    FUZZ_MUST(len > 0 && bytes >= seen->file && bytes + len <= seen->file + seen->len);
    FUZZ_MUST(s->number < PCAP_STREAMS && memchr(s->name, 0, sizeof(s->name)) != NULL);
    seen->bytes += len;
    return seen->bytes > seen->len ? 1 : 0; /* blocks do not lie in one another */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pcap_count count;
    const char *error;
    if (size == 0) {
        return 0;
    }
    struct seen seen = { data + 1, size - 1, 0 };
    unsigned int port = data[0] == 0 ? 0 : 6999u + data[0];
    FUZZ_MUST(pcap_read(data + 1, size - 1, port, on_bytes, &seen, &count, &error) <= 0);
    FUZZ_MUST(count.segments <= count.packets && (seen.bytes > 0) == (count.segments > 0));
    return 0;
}
