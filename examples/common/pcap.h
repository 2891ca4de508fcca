/*
 * Captures of packets (pcap and pcapng files) as TCP streams, without libpcap. Reads memory, keeps nothing
 * of it; for files of any origin.
 */
#ifndef EXAMPLES_PCAP_H
#define EXAMPLES_PCAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PCAP_STREAMS = 1024, PCAP_NAME_BYTES = 120 };

/* One direction of a connection. */
struct pcap_stream {
    unsigned int number; /* 0 .. PCAP_STREAMS - 1, in the order in which they appear */
    unsigned int from_port, to_port;
    char name[PCAP_NAME_BYTES]; /* "10.0.0.7:51234 > 10.0.0.1:7000" */
};

/* Bytes of a stream, in order; what was sent again comes once. gap: bytes before these are missing in the
 * capture. A non-zero return ends the reading and is returned. */
typedef int pcap_fn(void *user, const struct pcap_stream *stream, const uint8_t *bytes, size_t len,
                    bool gap);

struct pcap_count {
    size_t packets, segments,
        passed_over; /* passed over: no TCP, cut, fragments, too many streams */
};

/* Of port alone (either end) unless that is 0. Returns 0, what fn returned, or -1 with *ret_error: no
 * capture, or a damaged one, of which the packets before the damage were told. */
int pcap_read(const uint8_t *file, size_t len, unsigned int port, pcap_fn *fn, void *user,
              struct pcap_count *ret, const char **ret_error);

#endif
