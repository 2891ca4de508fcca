/*
 * Carries the requests of a bus: over TCP, with the header of Modbus TCP or with RTU frames, or over a
 * serial line by libmodbus. All on the thread of the bus.
 */
#ifndef MB_LINE_H
#define MB_LINE_H

#include "bus.h"
#include "frame.h"

struct addrinfo; /* <netdb.h> */

enum { MB_HOST_MAX = 256, MB_LINES = 2 };

enum mb_transport { MB_TCP = 1, MB_RTU_TCP = 2, MB_RTU = 3 };

struct mb_url {
    uint32_t transport;     /* enum mb_transport */
    bool accepted;          /* the other side connects: lines are handed over */
    char host[MB_HOST_MAX]; /* or the serial device, or whose connections these are */
    char port[8];
};

/* Returns 0 or TPC_EINVAL with the reason. */
int mb_url_read(struct tpc_str text, struct mb_url *ret, const char **ret_why);

enum mb_line_state { MB_LINE_DOWN = 0, MB_LINE_CONNECTING = 1, MB_LINE_UP = 2 };

struct mb_line {
    uint8_t state; /* enum mb_line_state */
    bool answered; /* since it is up: the pause begins anew */
    int fd;
    uint32_t pause_ms;
    uint32_t place; /* which of the host's addresses is tried; the next one after a failure */
    uint64_t retry_ms, deadline_ms; /* of the connection */
    uint64_t quiet_ms;              /* nothing is sent before */
    uint32_t job_count;
    struct mb_job *jobs[16];
    size_t len;
    uint8_t in[MB_FRAME_MAX * 2];
};

struct mb_line_counters {
    uint64_t connects, connect_failures, lost, stray, garbage;
};

/* Where accepted connections come from. */
enum mb_news { MB_NEWS_NONE = 0, MB_NEWS_LINE = 1, MB_NEWS_ENDED = 2 };
struct mb_source {
    enum mb_news (*news)(void *user);
    int (*take)(void *user);  /* takes the news: the descriptor of the new line, -1 = ended */
    void (*gone)(void *user); /* the line was closed here */
};

struct mb_lines {
    struct mb_bus *bus;
    const struct mb_url *url;
    const struct mb_source *source; /* where the URL says accepted */
    void *source_user;
    uint64_t (*now_us)(void *user);
    void *user;
    void (*failed)(void *user, const char *why); /* once when the connection goes or is not made */
    void (*connected)(void *user);
    bool told;
    struct mb_line lines[MB_LINES]; /* the second asks those that are silent: tcp only */
    struct mb_line_counters counters;
    void *serial; /* libmodbus' context */
    /* The host's addresses, TCP: looked up again when all were tried. */
    struct addrinfo *found;
    uint32_t found_count;
};

void mb_lines_init(struct mb_lines *l);

/* Does what can be done now, without waiting but on a serial line. Returns in how many milliseconds to come again at the
 * latest, UINT32_MAX = when a command or bytes come. */
uint32_t mb_lines_turn(struct mb_lines *l);

void mb_lines_close(struct mb_lines *l);

uint64_t mb_lines_now(const struct mb_lines *l); /* in milliseconds */

/* Serial lines (serial.c): as a turn, one request after the other, until none is due. */
uint32_t mb_serial_turn(struct mb_lines *l);
void mb_serial_close(struct mb_lines *l);

#endif
