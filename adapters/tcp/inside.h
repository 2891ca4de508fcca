/* What the files of this folder share. All but send(), settled(), resume() and what others call from
 * their threads (login's done, drop) runs on the loop's thread. */
#ifndef TCP_INSIDE_H
#define TCP_INSIDE_H

#include "../net/auth.h"
#include "../net/framing.h"
#include "../net/quiet.h"
#include "../net/stream.h"
#include "../net/tls.h"

#include <pthread.h>
#include <tpcore/ext/access.h>
#include <tpcore/ext/adapter.h>
#include <tpcore/ext/handover.h>

#include "base/map.h"

enum { TCP_URLS_MAX = 16, TCP_DIALS_MAX = 1024, TCP_ANSWER_BYTES = 1024 };

/* An answer that leaves once its frame is in the log. Its address is the ticket. */
struct tcp_pending {
    struct tcp_pending *next,
        *prev; /* all of them; the loop's thread, without one under the lock */
    struct tcp_pending *next_settled;
    struct net_stream *stream; /* a reference; NULL = the loop has ended */
    int code;
    size_t len;
    uint8_t bytes[];
};

/* A device that we connect to. */
struct tcp_dial {
    struct net_url url;
    struct tpc_str tenant, product, device;
};

struct tcp {
    const struct tpc_host *host;
    void *ctx;

    /* options */
    struct net_url listen[TCP_URLS_MAX];
    uint32_t listen_count;
    struct tcp_dial *dials;
    uint32_t dial_count;
    struct net_framing framing;
    struct net_limits limits;
    struct tpc_str tenant;
    uint32_t access_mode; /* enum tcp_access */
    uint32_t login_ms;
    struct net_tls *tls_in, *tls_out; /* NULL: no URL is of tls */

    const struct tpc_access_ops *access;
    void *access_self;
    struct net_auth *auth;
    bool handover; /* it is offered */
    bool rules;    /* the built-in ones: frames that go out are framed here */
    bool watching;

    struct net_loop *loop;
    struct net_group *group;
    struct tpi_map devices; /* tenant LF device -> its connection */
    struct tpi_timer tls_timer;
    struct net_quiet quiet;
    struct tcp_pending *pendings;
    int start_code;
    const struct net_url *failed_at;
    uint64_t frames; /* received, and not counted yet */
    uint32_t open;   /* connections */

    pthread_mutex_t lock;
    struct tpi_map64 sessions; /* -> struct tcp_conn; without those that are lent */
    struct tpi_map takers;     /* tenant LF device -> struct tcp_taker, lend.c */
    uint64_t lent;             /* connections, ever */
    struct tcp_pending *settled_first, *settled_last;
    struct net_job settled_job;
    struct net_job drop_all_job, resume_all_job;
    bool settled_posted, drop_all_posted, resume_all_posted;
    bool up;      /* the loop runs: settled answers are for it */
    bool binding; /* a session is open that `sessions` does not have yet */
    bool locks_made;
};

enum tcp_access { TCP_ACCESS_AUTO, TCP_ACCESS_SERVICE, TCP_ACCESS_RULES };

enum tcp_state {
    TCP_STRANGE, /* its frames are for login() */
    TCP_ASKING,  /* login() has not answered */
    TCP_IN
};

struct tcp_login;

/* The data of a stream. */
struct tcp_conn {
    struct net_stream *stream;
    uint64_t session; /* 0 = none */
    uint64_t lent;    /* its number while another part speaks over it; 0 = it is ours */
    struct tcp_login *login;
    struct tcp_pending *held; /* answer of the frame that the core did not take yet */
    char *key;                /* tenant LF device, with a NUL */
    uint32_t key_len, device_at;
    struct net_framing_state framing;
    uint8_t state; /* enum tcp_state */
    bool skip;     /* the next frame was login()'s */
    bool again;    /* .. was asked about already: held is its answer */
};

enum { TCP_OPTION_COUNT = 16 };
extern const struct tpc_option tcp_options[TCP_OPTION_COUNT];

/* options.c: 0 or what host->fail() returned. */
int tcp_options_read(struct tcp *t, const struct tpc_value *cfg);

/* conn.c */
extern const struct net_stream_ops tcp_stream_ops;
struct tcp *tcp_of(struct tcp_conn *c);
/* The session is open: it is that device's. 0, or why not. */
int tcp_conn_bind(struct tcp_conn *c, struct tpc_str tenant, struct tpc_str product,
                  struct tpc_str device);
/* Puts a body or whole frames on the wire, as `whole` says. */
int tcp_conn_write(struct tcp_conn *c, struct tpc_bytes bytes, bool whole, struct net_written *w);
/* What a service or the rules answer; a device that does not read, or that there is no memory for, is
 * closed: it would wait for ever. */
void tcp_conn_answer(struct tcp_conn *c, struct tpc_bytes bytes);
void tcp_say(struct tcp *t, int level, const char *fmt, ...) TPC_PRINTF(3, 4);
void tcp_count(struct tcp *t, const char *metric);
void tcp_drop(void *user, struct tpc_str tenant, struct tpc_str device);

/* login.c: true = the frame was taken. */
bool tcp_login(struct tcp_conn *c, struct tpc_bytes frame);
void tcp_login_cancel(struct tcp_conn *c);

/* lend.c: to who asked for it, if somebody did; it may close the connection. */
void tcp_lend(struct tcp_conn *c);
void tcp_lent_closed(struct tcp_conn *c);
void tcp_takers_free(struct tcp *t);
extern const struct tpc_handover_ops tcp_handover_ops;

/* receive.c: a frame of a device. true = it was taken. */
bool tcp_receive(struct tcp_conn *c, struct tpc_bytes frame);
void tcp_pending_drop(struct tcp *t, struct tcp_pending *p);
void tcp_settled(void *self, const uint64_t *tickets, const int *errors, uint32_t count);
void tcp_resume(void *self, uint64_t session);

/* down.c */
int tcp_send(void *self, const struct tpc_peer *peer, const struct tpc_frame *frame,
             uint64_t ticket);

#endif
