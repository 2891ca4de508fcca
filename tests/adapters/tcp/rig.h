/*
 * An instance of the adapter on a fake host, a service "device.access" that a test steers by what a
 * device says, and devices on the loopback.
 *
 *   id:NAME     it is that device; answered "hi"        feed:NAME   .. and the frame is data, too
 *   slow:NAME   .. which is said by rig_answer_login()  more        the next frame will tell; "more?"
 *   again       come again later                        all else    refused with "no"
 *
 * Of a device: "hb" is answered "ok" at once, "data.." with "ack" once it is in the log.
 */
#ifndef RIG_H
#define RIG_H

#include "fake_host.h"

#include <tpcore/ext/access.h>

enum { RIG_LOGINS_MAX = 64 };

struct rig {
    struct tk_env env;
    struct fake_host h;
    int port;
    atomic_uint_fast64_t ahead_ms; /* its clock is the system's and so much */
    bool service;                  /* device.access is offered */

    pthread_mutex_t lock;
    struct {
        tpc_access_done_fn *done;
        void *user;
        char name[64];
    } logins[RIG_LOGINS_MAX]; /* that wait */
    uint32_t waiting, canceled;
    char peer[64], fingerprint[80]; /* of the last login */
    tpc_access_drop_fn *drop;
    void *drop_user;
};

/* Options with "%d" where the port goes. rig_up() starts, rig_down() stops. */
int rig_init(struct rig *r, const char *options, bool service);
void rig_up(struct rig *r, const char *options);
/* .. with an access that says where a frame ends. */
void rig_up_framing(struct rig *r, const char *options);
void rig_down(struct rig *r);
int rig_port(void);

/* Ends a login that waits; false: none does. */
bool rig_answer_login(struct rig *r, bool good);
bool rig_wait_logins(struct rig *r, uint32_t count);
/* Until the metric is at least that, at most 5 s. */
bool rig_wait(struct rig *r, const char *metric, int64_t value);
uint32_t rig_open_sessions(struct rig *r);
uint32_t rig_frames(struct rig *r);
bool rig_wait_sessions(struct rig *r, uint32_t count);

/* ---- a device ---- */
int dev_connect(int port);
int dev_connect_from(int port, const char *address);
void dev_say(int fd, const char *text);
void dev_put(int fd, const void *p, size_t n);
/* Whether exactly that comes within 5 s. */
bool dev_hears(int fd, const char *text);
/* Nothing is there for that long. */
bool dev_silent(int fd, int ms);
/* Whether the connection ends within 5 s; what comes before is dropped. */
bool dev_gone(int fd);

#endif
