/*
 * What every codec is held to, and a sink that writes down what a codec does with it. Also for
 * codecs outside this tree: needs the public headers and check only.
 */
#ifndef CODEC_SUITE_H
#define CODEC_SUITE_H

#include <check.h>
#include <stdbool.h>
#include <tpcore/error.h>
#include <tpcore/ext/codec.h>

enum { CS_TRACE_BYTES = 16384 };

/*
 * Writes each frame's outcome as text:
 *   0:telemetry{a=1,b="x"}        message of frame 0; #ANSWER, @time, name=.., corr=.., code=.. ..
 *   1!TPC_EDECODE                 refused
 *   >7 .. <                       of the device with address 7 behind the one that was
 * Checks the order of the calls itself.
 */
struct cs_sink {
    struct tpc_decode_sink base; /* pass &s->base */
    char trace[CS_TRACE_BYTES];
    size_t len;
    bool open;      /* between begin and end */
    uint32_t level; /* entered and not left */
    uint32_t frame;
    uint32_t messages; /* ended */
    uint32_t points;
    uint32_t refused;
    struct tpc_error err; /* of the last refusal */
    uint32_t stop_at;     /* 1..: that call of begin, point or end answers TPC_ENOMEM */
    uint32_t calls;
};

void cs_sink_init(struct cs_sink *s, struct tpc_arena *arena);
/* Forgets the trace and resets the arena. */
void cs_sink_clear(struct cs_sink *s);

/* One frame of that kind through the codec; the trace. */
const char *cs_decode(const struct tpc_codec_ops *ops, void *self, void *program, struct cs_sink *s,
                      uint16_t kind, struct tpc_bytes payload);

/* One codec under test: a program and frames that it takes and refuses. */
struct cs_case {
    const struct tpc_codec_ops *ops;
    void *self;
    void *program;
    struct tpc_bytes good; /* one message */
    struct tpc_bytes bad;  /* refused */
};

/* The rules of ext/codec.h: a batch with good and bad frames, decoding twice gives the same, a sink
 * that says no ends its frame only, every message is begun and ended once, larger frames. */
void cs_run(const struct cs_case *c);

#endif
