#include "socket.h"

#include <dirent.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOKS_MAX = 64 };

/* Inode of a socket, by name only: other threads' descriptors are not touched. 0 = no socket. */
static uint64_t inode_of(const char *fd)
{
    char path[48], target[64];
    uint64_t inode = 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%.20s", fd);
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    target[n > 0 ? n : 0] = '\0';
    return sscanf(target, "socket:[%" SCNu64 "]", &inode) == 1 ? inode : 0;
}

/* Calls back for each socket; /proc may be absent: then there is none. */
static void each(void (*fn)(void *user, int fd, uint64_t inode), void *user)
{
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        uint64_t inode = inode_of(e->d_name);
        if (inode != 0) {
            fn(user, (int) strtol(e->d_name, NULL, 10), inode);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

/* Whether a TCP socket in a table of the kernel (proc(5), /proc/net/tcp) has this peer port. */
static bool has_peer_port(const char *table, uint64_t inode, uint16_t port)
{
    char line[400];
    bool found = false;
    FILE *f = fopen(table, "re");
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL) {
        unsigned int peer = 0;
        uint64_t here = 0;
        found = sscanf(line,
                       " %*[^:]: %*[0-9A-Fa-f]:%*x %*[0-9A-Fa-f]:%x %*x %*[^ ] %*[^ ] %*x %*u %*u "
                       "%" SCNu64,
                       &peer, &here) == 2 &&
                here == inode && peer == port;
    }
    if (f != NULL) {
        fclose(f);
    }
    return found;
}

static void keep(void *user, int fd, uint64_t inode)
{
    struct mqtt_sockets *s = user;
    (void) fd;
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
    struct mqtt_likely *likely;
};

static void compare(void *user, int fd, uint64_t inode)
{
    struct finding *f = user;
    bool old = false;
    for (uint32_t i = 0; i < f->before->count && !old; i++) {
        old = f->before->inodes[i] == inode;
    }
    if (!old && (has_peer_port("/proc/self/net/tcp", inode, f->port) ||
                 has_peer_port("/proc/self/net/tcp6", inode, f->port))) {
        f->found++;
        f->fd = fd;
        f->inode = inode;
        if (f->likely->count < MQTT_LIKELY_MAX) {
            f->likely->fds[f->likely->count++] = fd;
        }
    }
}

int mqtt_socket_new(const struct mqtt_sockets *before, uint16_t port, uint64_t *ret_inode,
                    struct mqtt_likely *ret_likely)
{
    struct finding f = { .before = before, .port = port, .fd = -1, .likely = ret_likely };
    ret_likely->count = 0;
    bool whole = before->count < MQTT_SOCKETS_MAX; /* a full list may have missed some */
    /* The kernel's table may miss a line while other sockets come and go. */
    for (int i = 0; whole && f.found == 0 && i < LOOKS_MAX; i++) {
        each(compare, &f);
    }
    *ret_inode = f.inode;
    return f.found == 1 ? f.fd : -1;
}

static void set_all(const struct mqtt_likely *l, int option)
{
    int yes = 1;
    for (uint32_t i = 0; i < l->count; i++) {
        (void) setsockopt(l->fds[i], IPPROTO_TCP, option, &yes, sizeof(yes));
    }
}

void mqtt_socket_hurry(const struct mqtt_likely *l)
{
    set_all(l, TCP_NODELAY);
}

void mqtt_socket_answer(const struct mqtt_likely *l)
{
    set_all(l, TCP_QUICKACK);
}

void mqtt_socket_cut(int fd, uint64_t inode)
{
    char name[16];
    snprintf(name, sizeof(name), "%d", fd);
    if (fd >= 0 && inode_of(name) == inode) {
        shutdown(fd, SHUT_RDWR);
    }
}
