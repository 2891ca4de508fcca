#include "base/alloc.h"
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PEM_BYTES_MAX = 1 << 20, HOST_MAX = 64, BACKLOG = 1024, BODY_ROOM = 1024 };

/* MHD_USE_ITC: a daemon that is resumed or quiesced wakes up. */
#define DAEMON_FLAGS                                                                               \
    ((unsigned int) MHD_USE_EPOLL | (unsigned int) MHD_ALLOW_SUSPEND_RESUME |                      \
     (unsigned int) MHD_USE_ITC)

/* Of GnuTLS: 1.2 and later. */
static const char priorities[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

/* "host:port" of numbers; false if it is none. */
static bool address_read(struct tpc_str s, struct hs_listener *ret)
{
    char host[HOST_MAX], port[8];
    size_t colon = s.len;
    while (colon > 0 && s.ptr[colon - 1] != ':') {
        colon--;
    }
    size_t digits = s.len - colon;
    bool six = colon > 2 && s.ptr[0] == '[' && s.ptr[colon - 2] == ']';
    size_t skip = six ? 1 : 0;
    if (colon < 2 || digits == 0 || digits > 5 || colon - 1 - 2 * skip >= sizeof(host)) {
        return false;
    }
    memcpy(host, s.ptr + skip, colon - 1 - 2 * skip);
    host[colon - 1 - 2 * skip] = '\0';
    memcpy(port, s.ptr + colon, digits);
    port[digits] = '\0';
    char *end;
    unsigned long number = strtoul(port, &end, 10);
    if (*end != '\0' || port[0] < '0' || port[0] > '9' || number > 65535) {
        return false;
    }
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t) number) };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t) number) };
    memset(&ret->address, 0, sizeof(ret->address));
    if (six) {
        memcpy(&ret->address, &in6, sizeof(in6));
        ret->address_len = sizeof(in6);
        bool ok = inet_pton(AF_INET6, host, &in6.sin6_addr) == 1;
        memcpy(&ret->address, &in6, sizeof(in6));
        return ok;
    }
    const char *name = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    bool ok = inet_pton(AF_INET, name, &in.sin_addr) == 1;
    memcpy(&ret->address, &in, sizeof(in));
    ret->address_len = sizeof(in);
    return ok;
}

int hs_listener_read(struct hs_server *s, struct tpc_str url, struct hs_listener *ret)
{
    static const char plain[] = "http://", safe[] = "https://";
    size_t skip = 0;
    ret->tls = url.len > sizeof(safe) - 1 && memcmp(url.ptr, safe, sizeof(safe) - 1) == 0;
    if (ret->tls) {
        skip = sizeof(safe) - 1;
    } else if (url.len > sizeof(plain) - 1 && memcmp(url.ptr, plain, sizeof(plain) - 1) == 0) {
        skip = sizeof(plain) - 1;
    }
    struct tpc_str rest = { url.ptr + skip, url.len - skip };
    if (skip == 0 || !address_read(rest, ret)) {
        return s->host->fail(s->ctx, TPC_EINVAL,
                             "listen: \"%.*s\" is not http://ADDRESS:PORT or https://ADDRESS:PORT",
                             (int) url.len, url.ptr);
    }
    if (ret->tls && MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES) {
        return s->host->fail(s->ctx, TPC_EINVAL, "listen: this libmicrohttpd has no TLS");
    }
    return 0;
}

int hs_listener_open(struct hs_listener *l)
{
    struct hs_server *s = l->server;
    int on = 1;
    struct sockaddr_storage bound;
    socklen_t len = sizeof(bound);
    l->fd = socket(l->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0 || setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(l->fd, (const struct sockaddr *) &l->address, l->address_len) != 0 ||
        listen(l->fd, BACKLOG) != 0 || getsockname(l->fd, (struct sockaddr *) &bound, &len) != 0) {
        return s->host->fail(s->ctx, TPC_EIO, "listener %u cannot be opened: %s",
                             (unsigned int) (l - s->listeners), strerror(errno));
    }
    uint16_t port;
    if (bound.ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, &bound, sizeof(in6));
        port = ntohs(in6.sin6_port);
    } else {
        struct sockaddr_in in;
        memcpy(&in, &bound, sizeof(in));
        port = ntohs(in.sin_port);
    }
    pthread_mutex_lock(&s->lock);
    l->port = port;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

/* Escapes are decoded where the path was split. */
static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *text)
{
    (void) cls;
    (void) mhd;
    return strlen(text);
}

/* Tells a socket from another one that was given its number later; 0 = none is there. */
static ino_t identity(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

int hs_listener_daemon(struct hs_listener *l)
{
    struct hs_server *s = l->server;
    /* Headers, what the library keeps of each (56 bytes), the head of the answer with its own lines, and
     * some room to read a body into. */
    size_t pool =
        (size_t) s->limits.header_max + HS_HEADERS_MAX * 64 + HS_ANSWER_HEAD_MAX + BODY_ROOM;
    struct MHD_OptionItem options[] = {
        { MHD_OPTION_LISTEN_SOCKET, (intptr_t) l->fd, NULL },
        { MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t) pool, NULL },
        { MHD_OPTION_CONNECTION_LIMIT, (intptr_t) s->limits.connections_max + 16, NULL },
        { MHD_OPTION_NOTIFY_CONNECTION, (intptr_t) hs_connection, l },
        { MHD_OPTION_NOTIFY_COMPLETED, (intptr_t) hs_completed, l },
        { MHD_OPTION_URI_LOG_CALLBACK, (intptr_t) hs_begin, l },
        { MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t) keep_escapes, NULL },
        { MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL },
        { MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, NULL }, /* the thread takes no signal */
        { l->tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, s->tls_cert },
        { MHD_OPTION_HTTPS_MEM_KEY, 0, s->tls_key },
        { MHD_OPTION_HTTPS_PRIORITIES, 0, (void *) (uintptr_t) priorities },
        { MHD_OPTION_END, 0, NULL },
    };
    unsigned int flags = DAEMON_FLAGS | (l->tls ? (unsigned int) MHD_USE_TLS : 0);
    ino_t before = identity(l->fd);
    l->daemon = MHD_start_daemon(flags, 0, hs_accept_policy, l, hs_access, l, MHD_OPTION_ARRAY,
                                 options, MHD_OPTION_END);
    if (l->daemon != NULL) {
        return 0;
    }
    /* Some of its failures close the socket, and the number may be another file's by now. */
    if (identity(l->fd) != before) {
        l->fd = -1;
    }
    return s->host->fail(s->ctx, l->tls ? TPC_EINVAL : TPC_EIO,
                         l->tls ? "listener %u cannot start: certificate or key are not good"
                                : "listener %u cannot start",
                         (unsigned int) (l - s->listeners));
}

int hs_tls_read(struct hs_server *s, const char *option, struct tpc_str path, char **ret,
                size_t *ret_size)
{
    const struct tpc_files *files = s->host->files;
    char *name = tpi_str_dup(s->host->allocator, path);
    void *file = NULL;
    int rc = name != NULL ? files->open(files->user, name, TPC_FILE_READ, &file, NULL) : TPC_ENOMEM;
    int64_t len = rc == 0 ? files->length(files->user, file, NULL) : -1;
    if (rc == 0 && (len <= 0 || len > PEM_BYTES_MAX)) {
        rc = TPC_EINVAL;
    }
    if (rc == 0) {
        size_t size = (size_t) len + 1;
        char *text = tpi_alloc_zero(s->host->allocator, size);
        rc = text == NULL ? TPC_ENOMEM : 0;
        if (rc == 0 && files->read_at(files->user, file, text, (size_t) len, 0, NULL) != len) {
            tpi_free(s->host->allocator, text, size);
            rc = TPC_EIO;
        }
        if (rc == 0) {
            *ret = text;
            *ret_size = size;
        }
    }
    if (file != NULL) {
        files->close(files->user, file);
    }
    tpi_free(s->host->allocator, name, path.len + 1);
    return rc == 0 ? 0
                   : s->host->fail(s->ctx, rc == TPC_ENOMEM ? rc : TPC_EINVAL,
                                   "%s: the file cannot be read", option);
}
