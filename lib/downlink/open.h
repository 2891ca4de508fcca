/*
 * Open commands: what the files of this folder share.
 *
 * One allocation per command: the struct, then its texts and its encoded params. The owner thread
 * changes everything; `lock` guards what tpi_downlink_find(), _ids() and _low_offset() read on other
 * threads: the maps of ids and of devices, the partitions' and the devices' lists, and of a command
 * state, tries, code, reason, times and reply.
 */
#ifndef TPI_DOWNLINK_OPEN_H
#define TPI_DOWNLINK_OPEN_H

#include <pthread.h>

#include "base/map.h"
#include "downlink/command.h"
#include "downlink/downlink.h"
#include "registry/device.h"

enum { PRIORITIES = TPC_PRIORITY_HIGH + 1, REASON_BYTES = 128 };

/* Texts and bytes behind the struct, in this order. */
enum part { PART_TENANT, PART_DEVICE, PART_SERVICE, PART_ACTOR, PART_LABEL, PART_PARAMS, PARTS };

struct open_command {
    struct open_command *next; /* in its device's queue, or in the list of those to be closed */
    struct open_command *prev;
    struct open_command *later; /* in its partition, by offset */
    struct open_command *earlier;
    struct open_command *kin; /* the next one of its device, in no order */
    struct tpi_downlink *owner;
    struct open_device *device;
    struct tpi_timer timer; /* expiry, timeout, retry or closing again: as the state says */
    struct tpc_id id;
    uint64_t offset;
    uint64_t renewed; /* 1 + first offset of the log when its record was appended anew; 0 = never */
    uint64_t ticket;  /* of the try under way; 0 = none */
    uint32_t partition;
    uint32_t state; /* enum tpc_command_state; an end = closing */
    uint32_t tries;
    uint32_t timeout_ms;
    uint32_t retries;
    uint32_t retry_delay_ms;
    uint32_t expire_ms;
    uint32_t priority;
    int64_t created_unix_ms;
    int64_t sent_unix_ms;
    int64_t closed_unix_ms;
    int32_t code;
    bool waits;  /* sent, no reply, will be sent again */
    bool queued; /* stands in its device's queue */
    bool owed;   /* the record of its state could not be appended yet */
    bool control;
    bool answered; /* by the device: that is its end */
    char reason[REASON_BYTES];
    uint8_t *reply; /* encoded value */
    size_t reply_len;
    size_t bytes;       /* of the whole block */
    size_t ends[PARTS]; /* of the parts, from the struct's end */
};

struct command_queue {
    struct open_command *head;
    struct open_command *tail;
};

struct open_device {
    struct tpi_downlink *owner;
    struct tpc_device *device; /* counted; NULL = deleted before the start */
    uint64_t id;
    struct command_queue queues[PRIORITIES];
    struct open_command *flight; /* sent, waits for its reply or for the next try */
    struct tpi_timer again;      /* the adapter was busy, a record is owed, or it came online */
    struct open_command *first;  /* of all that are open */
    uint32_t open;               /* commands, closing ones too */
    uint32_t holds;              /* calls that look at it */
    bool pumping;
    bool busy;    /* the adapter said so: not before `again` */
    bool offline; /* the adapter said so, nothing new since */
    bool delayed; /* busy because it has only just come */
};

struct tpi_downlink {
    const struct tpi_env *env;
    struct tpi_downlink_host host;
    struct tpi_map64 devices; /* struct open_device by id */
    uint32_t delayed;         /* of them */
    struct tpi_map64 tickets; /* struct open_command */
    uint64_t last_ticket;
    struct tpc_id *recent; /* ring of closed ids */
    uint32_t recent_at;
    pthread_mutex_t lock;
    struct tpi_map ids;        /* struct open_command by id */
    struct tpi_map recent_ids; /* the ring's */
    struct command_queue *partitions;
};

/* open.c: making, finding and freeing. */
struct open_command *tpi_open_find(struct tpi_downlink *d, const struct tpc_id *id);
bool tpi_open_recent(struct tpi_downlink *d, const struct tpc_id *id);
void tpi_open_remember(struct tpi_downlink *d, const struct tpc_id *id);
int tpi_open_take(struct tpi_downlink *d, struct tpc_device *device, const struct tpc_msg *msg,
                  struct open_command **ret);
/* Out of all lists and maps, and freed. Its device stays. */
void tpi_open_drop(struct tpi_downlink *d, struct open_command *c);
/* Its record stands at another offset now. */
void tpi_open_move(struct open_command *c, uint64_t offset);
void tpi_open_hold(struct open_device *v);
/* Gives a hold back; frees the device if nothing is left of it. */
void tpi_open_release(struct open_device *v);
/* It has been there for long enough. */
void tpi_open_undelay(struct open_device *v);
struct tpc_bytes tpi_open_part(const struct open_command *c, enum part part);

/* flow.c: the states. */
void tpi_flow_enqueue(struct open_command *c, bool at_head);
void tpi_flow_pump(struct open_device *v);
void tpi_flow_end(struct open_command *c, uint32_t state, int32_t code, const char *reason);
/* Appends the closing record of a command that tpi_flow_end() has ended, or tries again later. */
void tpi_flow_finish(struct open_command *c);
/* Both, then the device's queue goes on. */
void tpi_flow_close(struct open_command *c, uint32_t state, int32_t code, const char *reason);
void tpi_flow_requeue(struct open_command *c);
void tpi_flow_again(struct open_device *v, uint64_t delay_ms);
/* Appends the record of its state, or will try again. */
void tpi_flow_tell(struct open_command *c);

/* record.c: the records and the public view. */
int tpi_record_state(struct open_command *c);
int tpi_record_closed(struct open_command *c, struct tpc_arena *arena);
int tpi_record_view(const struct open_command *c, struct tpc_arena *arena, struct tpc_command *ret);

#endif
