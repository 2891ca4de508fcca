#include "datagram.h"

#include "inside.h"

#include "address.h"
#include "base/alloc.h"

#include <netinet/in.h>
#include <tpcore/error.h>

enum { WAITING_BYTES = 1 << 20 }; /* that the system keeps for us, as far as it lets us */

struct net_socket {
    uv_udp_t uv;
    struct net_loop *loop;
    net_datagram_fn *fn;
    void *user;
    bool closing;
};

socklen_t net_sockaddr_bytes(const struct sockaddr *address)
{
    return address->sa_family == AF_INET    ? sizeof(struct sockaddr_in)
           : address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                            : 0;
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct net_socket *s = handle->data;
    (void) suggested;
    *ret = uv_buf_init((char *) s->loop->read_buf, NET_READ_BYTES);
}

static void on_datagram(uv_udp_t *handle, ssize_t n, const uv_buf_t *buf,
                        const struct sockaddr *from, unsigned flags)
{
    struct net_socket *s = handle->data;
    /* n < 0: an error of one that was sent before (ICMP); without an address: nothing more is there. */
    if (n >= 0 && from != NULL && (flags & UV_UDP_PARTIAL) == 0 && !s->closing) {
        s->fn(s->user, s, from, (struct tpc_bytes){ (const uint8_t *) buf->base, (size_t) n });
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct net_socket *s = handle->data;
    tpi_free(s->loop->alloc, s, sizeof(*s));
}

static int code_of(int rc)
{
    switch (rc) {
    case 0:
        return 0;
    case UV_EADDRINUSE:
        return TPC_EEXIST;
    case UV_EACCES:
    case UV_EPERM:
        return TPC_EDENIED;
    case UV_ENOMEM:
        return TPC_ENOMEM;
    default:
        return TPC_EIO;
    }
}

int net_socket_open(struct net_loop *l, const struct sockaddr *at, net_datagram_fn *fn, void *user,
                    uint16_t *ret_port, struct net_socket **ret)
{
    struct net_socket *s = tpi_alloc_zero(l->alloc, sizeof(*s));
    if (s == NULL) {
        return TPC_ENOMEM;
    }
    s->loop = l;
    s->fn = fn;
    s->user = user;
    int rc = uv_udp_init(&l->uv, &s->uv);
    if (rc != 0) {
        tpi_free(l->alloc, s, sizeof(*s));
        return code_of(rc);
    }
    struct sockaddr_storage got;
    int len = sizeof(got);
    s->uv.data = s;
    rc = uv_udp_bind(&s->uv, at, 0);
    rc = rc != 0 ? rc : uv_udp_recv_start(&s->uv, on_room, on_datagram);
    rc = rc != 0 ? rc : uv_udp_getsockname(&s->uv, (struct sockaddr *) &got, &len);
    if (rc != 0) {
        net_socket_close(s);
        return code_of(rc);
    }
    int waiting = WAITING_BYTES;
    (void) uv_recv_buffer_size((uv_handle_t *) &s->uv, &waiting);
    if (ret_port != NULL) {
        *ret_port = net_peer_port((struct sockaddr *) &got);
    }
    *ret = s;
    return 0;
}

void net_socket_close(struct net_socket *s)
{
    if (s != NULL && !s->closing) {
        s->closing = true;
        uv_close((uv_handle_t *) &s->uv, on_closed);
    }
}

void net_socket_pause(struct net_socket *s)
{
    (void) uv_udp_recv_stop(&s->uv);
}

void net_socket_resume(struct net_socket *s)
{
    (void) uv_udp_recv_start(&s->uv, on_room, on_datagram);
}

int net_socket_send(struct net_socket *s, const struct sockaddr *to, struct tpc_bytes bytes)
{
    /* The buffer is only read; libuv has one type for both ways. */
    union {
        const uint8_t *in;
        char *out;
    } base = { .in = bytes.ptr };
    uv_buf_t buf = uv_buf_init(base.out, (unsigned) bytes.len);
    if (bytes.len > NET_DATAGRAM_MAX) {
        return TPC_ETOOBIG;
    }
    int rc = uv_udp_try_send(&s->uv, &buf, 1, to);
    return rc >= 0                                                  ? 0
           : rc == UV_EAGAIN || rc == UV_ENOBUFS || rc == UV_ENOMEM ? TPC_EAGAIN
           : rc == UV_EMSGSIZE                                      ? TPC_ETOOBIG
                                                                    : TPC_EOFFLINE;
}
