/* The codec instance and the steps between its files. */
#ifndef LUA_CODEC_H
#define LUA_CODEC_H

#include "state.h"

#include <pthread.h>

struct codec {
    const struct tpc_host *host;
    void *ctx;
    struct limits limits;
    pthread_mutex_t lock;       /* chunks */
    pthread_mutex_t spare_lock; /* the last slot: compile, and threads that are no worker */
    bool locks;
    struct chunk *chunks;
    uint32_t slot_count; /* workers + 1 */
    struct slot *slots;
};

/* What one protected call works on. */
struct job {
    struct codec *codec;
    struct slot *slot;
    uint32_t index; /* of the slot */
    struct program *program;
    struct tpc_error *err;
    int rc;

    const char *frames; /* decode */
    size_t frame_size;
    uint32_t count;
    uint32_t i;
    const struct tpc_decode_sink *sink;

    const struct tpc_encode *what; /* encode */
    struct tpc_arena *arena;
    struct tpc_bytes out;
};

/* The slot of a worker, ready for use; the last one is locked. NULL: err is filled, nothing locked.
 */
struct slot *codec_enter(struct codec *c, uint32_t worker, struct tpc_error *err);
void codec_leave(struct codec *c, uint32_t worker);

void codec_count(const struct codec *c, const char *metric, uint64_t n);

/* Counts a failed call under its cause. */
void codec_count_error(const struct codec *c, const struct slot *s);

int codec_compile(void *self, const struct tpc_codec_source *source, struct tpc_error *err,
                  void **ret_program);
void codec_release(void *self, void *program);

/* Loads the job's program into its slot if it is not there, and makes its string functions those of
 * strings. Only on a slot that was entered; fills job->err. */
int program_load(struct job *job);

/* Takes a program out of its slot. */
void program_unload(struct slot *s, uint32_t index, struct program *p);

/* One reference less. */
void program_unref(struct codec *c, struct program *p);

/* Pushes the ctx argument. */
void context_push(lua_State *L);

/* Takes an error of a call off the stack into err; after one of memory the program is unloaded.
 * Returns its code. */
int call_failed(struct job *job, int status, struct tpc_error *err);

int codec_decode(void *self, uint32_t worker, void *program, const struct tpc_frame *frames,
                 uint32_t count, size_t frame_size, const struct tpc_decode_sink *sink);
int codec_encode(void *self, uint32_t worker, void *program, const struct tpc_encode *what,
                 struct tpc_arena *arena, struct tpc_error *err, struct tpc_bytes *ret_payload);

#endif
