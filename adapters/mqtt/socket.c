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
    bool too_many;
    struct mqtt_found *found;
};

static void compare(void *user, int fd, uint64_t inode)
{
    struct finding *f = user;
    struct mqtt_found *found = f->found;
    bool old = false;
    for (uint32_t i = 0; i < f->before->count && !old; i++) {
        old = f->before->inodes[i] == inode;
    }
    for (uint32_t i = 0; i < found->count && !old; i++) {
        old = found->items[i].inode == inode;
    }
    if (old || (!has_peer_port("/proc/self/net/tcp", inode, f->port) &&
                !has_peer_port("/proc/self/net/tcp6", inode, f->port))) {
        return;
    }
    f->too_many |= found->count == MQTT_FOUND_MAX;
    if (!f->too_many) {
        found->items[found->count].fd = fd;
        found->items[found->count++].inode = inode;
    }
}

void mqtt_sockets_new(const struct mqtt_sockets *before, uint16_t port, struct mqtt_found *ret)
{
    struct finding f = { .before = before, .port = port, .found = ret };
    bool whole = before->count < MQTT_SOCKETS_MAX; /* a full list may have missed some */
    ret->count = 0;
    /* The kernel's table may miss a line while other sockets come and go: ours, where it has another's. */
    for (int i = 0; whole && ret->count == 0 && i < LOOKS_MAX; i++) {
        each(compare, &f);
    }
    if (ret->count > 0) {
        each(compare, &f);
    }
    ret->count = f.too_many ? 0 : ret->count;
}

static bool is_still(int fd, uint64_t inode)
{
    char name[16];
    snprintf(name, sizeof(name), "%d", fd);
    return inode_of(name) == inode;
}

void mqtt_sockets_hurry(const struct mqtt_found *f)
{
    int yes = 1;
    for (uint32_t i = 0; i < f->count; i++) {
        if (is_still(f->items[i].fd, f->items[i].inode)) {
            (void) setsockopt(f->items[i].fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        }
    }
}

void mqtt_sockets_answer(const struct mqtt_found *f)
{
    int yes = 1;
    for (uint32_t i = 0; i < f->count; i++) {
        (void) setsockopt(f->items[i].fd, IPPROTO_TCP, TCP_QUICKACK, &yes, sizeof(yes));
    }
}

void mqtt_sockets_cut(const struct mqtt_found *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        if (is_still(f->items[i].fd, f->items[i].inode)) {
            shutdown(f->items[i].fd, SHUT_RDWR);
        }
    }
}
