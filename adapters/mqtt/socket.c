#include "socket.h"

#include <dirent.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Inode and peer port of a connected TCP socket. */
static bool look(int fd, uint64_t *ret_inode, uint16_t *ret_port)
{
    struct stat st;
    struct sockaddr_storage peer;
    socklen_t size = sizeof(peer);
    if (fstat(fd, &st) != 0 || !S_ISSOCK(st.st_mode) ||
        getpeername(fd, (struct sockaddr *) &peer, &size) != 0) {
        return false;
    }
    if (peer.ss_family == AF_INET) {
        *ret_port = ntohs(((const struct sockaddr_in *) &peer)->sin_port);
    } else if (peer.ss_family == AF_INET6) {
        *ret_port = ntohs(((const struct sockaddr_in6 *) &peer)->sin6_port);
    } else {
        return false;
    }
    *ret_inode = (uint64_t) st.st_ino;
    return true;
}

/* Calls back for each descriptor; /proc may be absent: then there is none. */
static void each(void (*fn)(void *user, int fd, uint64_t inode, uint16_t port), void *user)
{
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        char *end;
        long fd = strtol(e->d_name, &end, 10);
        uint64_t inode;
        uint16_t port;
        if (end != e->d_name && *end == '\0' && look((int) fd, &inode, &port)) {
            fn(user, (int) fd, inode, port);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

static void keep(void *user, int fd, uint64_t inode, uint16_t port)
{
    struct mqtt_sockets *s = user;
    (void) fd;
    (void) port;
    if (s->count < MQTT_SOCKETS_MAX) {
        s->inodes[s->count++] = inode;
    }
}

void mqtt_sockets_list(struct mqtt_sockets *ret)
{
    ret->count = 0;
    each(keep, ret);
}

struct finding {
    const struct mqtt_sockets *before;
    uint16_t port;
    int fd, found;
    uint64_t inode;
};

static void compare(void *user, int fd, uint64_t inode, uint16_t port)
{
    struct finding *f = user;
    bool old = port != f->port;
    for (uint32_t i = 0; i < f->before->count && !old; i++) {
        old = f->before->inodes[i] == inode;
    }
    if (!old) {
        f->found++;
        f->fd = fd;
        f->inode = inode;
    }
}

int mqtt_socket_new(const struct mqtt_sockets *before, uint16_t port, uint64_t *ret_inode)
{
    struct finding f = { .before = before, .port = port, .fd = -1 };
    if (before->count < MQTT_SOCKETS_MAX) { /* a full list may have missed some */
        each(compare, &f);
    }
    *ret_inode = f.inode;
    return f.found == 1 ? f.fd : -1;
}

void mqtt_socket_cut(int fd, uint64_t inode)
{
    uint64_t now;
    uint16_t port;
    if (fd >= 0 && look(fd, &now, &port) && now == inode) {
        shutdown(fd, SHUT_RDWR);
    }
}
