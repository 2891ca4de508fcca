#include "socket.h"

#include <dirent.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOKS_MAX = 64, CANDIDATES_MAX = 2048 };

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

/* Calls back for each TCP socket with this peer port in a table of the kernel (proc(5), /proc/net/tcp),
 * those of other processes, too. */
static void each_line(const char *table, uint16_t port, void (*fn)(void *user, uint64_t inode),
                      void *user)
{
    char line[400];
    FILE *f = fopen(table, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        unsigned int peer = 0;
        uint64_t inode = 0;
        if (sscanf(line,
                   " %*[^:]: %*[0-9A-Fa-f]:%*x %*[0-9A-Fa-f]:%x %*x %*[^ ] %*[^ ] %*x %*u %*u "
                   "%" SCNu64,
                   &peer, &inode) == 2 &&
            peer == port && inode != 0) {
            fn(user, inode);
        }
    }
    if (f != NULL) {
        fclose(f);
    }
}

static void each_peer(uint16_t port, void (*fn)(void *user, uint64_t inode), void *user)
{
    each_line("/proc/self/net/tcp", port, fn, user);
    each_line("/proc/self/net/tcp6", port, fn, user);
}

static bool is_listed(const struct mqtt_sockets *s, uint64_t inode)
{
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->inodes[i] == inode) {
            return true;
        }
    }
    return false;
}

static void keep_inode(void *user, uint64_t inode)
{
    struct mqtt_sockets *s = user;
    if (s->count < MQTT_SOCKETS_MAX && !is_listed(s, inode)) {
        s->inodes[s->count++] = inode;
    }
}

static void keep(void *user, int fd, uint64_t inode)
{
    struct mqtt_sockets *s = user;
    (void) fd;
    if (s->count < MQTT_SOCKETS_MAX) {
        s->inodes[s->count++] = inode;
    }
}

void mqtt_sockets_list(uint16_t port, struct mqtt_sockets *ret)
{
    ret->count = 0;
    ret->by_port = false;
    each(keep, ret);
    if (ret->count == MQTT_SOCKETS_MAX) { /* a process with thousands of devices on sockets */
        ret->count = 0;
        ret->by_port = true;
        each_peer(port, keep_inode, ret);
        each_peer(port, keep_inode, ret); /* the table may miss a line */
    }
}

struct candidate {
    int fd; /* -1 = not known yet */
    uint64_t inode;
};

/* The table is read once for all new sockets: devices connect by the thousand meanwhile, and it has the
 * sockets of the whole machine. */
struct finding {
    const struct mqtt_sockets *before;
    struct mqtt_found *found;
    bool too_many;
    uint32_t count;
    struct candidate items[CANDIDATES_MAX];
};

static void add(struct finding *f, int fd, uint64_t inode)
{
    if (is_listed(f->before, inode)) {
        return;
    }
    f->too_many |= f->count == CANDIDATES_MAX;
    if (!f->too_many) {
        f->items[f->count++] = (struct candidate){ fd, inode };
    }
}

static void add_own(void *user, int fd, uint64_t inode)
{
    add(user, fd, inode);
}

static void add_peer(void *user, uint64_t inode)
{
    add(user, -1, inode);
}

static void take(struct finding *f, int fd, uint64_t inode)
{
    struct mqtt_found *found = f->found;
    for (uint32_t i = 0; i < found->count; i++) {
        if (found->items[i].inode == inode) {
            return;
        }
    }
    f->too_many |= found->count == MQTT_FOUND_MAX;
    if (!f->too_many) {
        found->items[found->count].fd = fd;
        found->items[found->count++].inode = inode;
    }
}

/* Those that are new and ours, and have the port. */
static void take_peer(void *user, uint64_t inode)
{
    struct finding *f = user;
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->items[i].inode == inode) {
            take(f, f->items[i].fd, inode);
            return;
        }
    }
}

/* Those that are new and have the port, and are ours. */
static void take_own(void *user, int fd, uint64_t inode)
{
    struct finding *f = user;
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->items[i].inode == inode) {
            take(f, fd, inode);
            return;
        }
    }
}

static void look(struct finding *f, uint16_t port)
{
    f->count = 0;
    if (f->before->by_port) {
        each_peer(port, add_peer, f);
        each(take_own, f);
    } else {
        each(add_own, f);
        each_peer(port, take_peer, f);
    }
}

void mqtt_sockets_new(const struct mqtt_sockets *before, uint16_t port, struct mqtt_found *ret)
{
    struct finding f = { .before = before, .found = ret };
    bool whole = before->count < MQTT_SOCKETS_MAX; /* a full list may have missed some */
    ret->count = 0;
    /* The kernel's table may miss a line while other sockets come and go: ours, where it has another's. */
    for (int i = 0; whole && ret->count == 0 && i < LOOKS_MAX && !f.too_many; i++) {
        look(&f, port);
    }
    if (ret->count > 0) {
        look(&f, port);
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
