/*
 * Errors: a closed list of codes, and one struct that says what went wrong and where.
 *
 * Every function returns 0 or a negative TPC_E* code (positive values only where its comment says
 * so). The detail of the last failure on the calling thread is tpc_error_last(); it is also copied
 * into every completion that runs later or elsewhere. A code never changes its value.
 */
#ifndef TPCORE_ERROR_H
#define TPCORE_ERROR_H

#include <stdint.h>
#include <tpcore/export.h>

TPC_BEGIN

/* The codes. Every one belongs to a class (enum tpc_error_class): what the receiver can do. */
enum tpc_code {
    TPC_OK = 0,
    TPC_EINVAL = -1,        /* fix input: an argument or an option is wrong */
    TPC_ENOENT = -2,        /* fix input: no such thing */
    TPC_EEXIST = -3,        /* fix input: a thing of that name exists */
    TPC_ECONFLICT = -4,     /* fix input: the revision has moved on */
    TPC_EAGAIN = -5,        /* retry: not now (a buffer is full) */
    TPC_ETOOBIG = -6,       /* fix input: over a stated limit */
    TPC_EDENIED = -7,       /* fix input: not allowed */
    TPC_EDECODE = -8,       /* fix input: malformed bytes or text */
    TPC_EMODEL = -9,        /* fix input: the thing model says no */
    TPC_ESCRIPT = -10,      /* fix input: a script failed or went over its limits */
    TPC_ECORRUPT = -11,     /* operator: stored data is damaged */
    TPC_EVERSION = -12,     /* operator: made by a newer or an incompatible version */
    TPC_EGAP = -13,         /* operator: records were passed over */
    TPC_ETIMEOUT = -14,     /* retry: no answer in time */
    TPC_ECANCELED = -15,    /* fix input: called off */
    TPC_EOFFLINE = -16,     /* retry: the device or the peer is not reachable */
    TPC_EUNSUPPORTED = -17, /* fix input: this part cannot do that */
    TPC_EIO = -18,          /* operator: the system refused an operation; see native */
    TPC_ENOSPC = -19,       /* operator: no space left */
    TPC_ENOMEM = -20,       /* retry: out of memory, or over memory_limit_bytes */
    TPC_ESTATE = -21        /* fix input: not in this state (not started, stopping) */
};

enum tpc_error_class {
    TPC_CLASS_NONE = 0,    /* no error */
    TPC_CLASS_RETRY = 1,   /* the same call can succeed later */
    TPC_CLASS_FIX = 2,     /* the same call fails again; the caller's input must change */
    TPC_CLASS_OPERATOR = 3 /* somebody must look at the machine or its data */
};

/* One failure. A plain value: copy it freely. All texts are UTF-8 and end with NUL. */
struct tpc_error {
    uint32_t size;   /* sizeof(struct tpc_error) of whoever filled it */
    int32_t code;    /* enum tpc_code */
    int32_t native;  /* errno, an SQLite result, an MQTT reason code ..., 0 = none */
    uint32_t line;   /* 1.. in a text that people write; 0 = does not apply */
    uint32_t column; /* 1.., in bytes; 0 = does not apply */
    char origin[32]; /* the part that failed: "json", "log", "mqtt" ... */
    char path[128];  /* where in the input: "values.temp[3]", "modules.mqtt.url"; "" = none */
    char text[256];  /* one line, without the code's name and without a full stop */
};

/*
 * Detail of the last failure on this thread. Only meaningful right after a call that failed.
 *
 * Returns a pointer that is never NULL; before any failure its code is 0.
 * Ownership: borrowed, valid until the next failing call on this thread.
 * Thread: any-thread (each thread has its own).
 * Since: 0.1
 */
TPC_API const struct tpc_error *tpc_error_last(void);

/*
 * Name of a code, "TPC_EINVAL" for -1.
 *
 * Returns static text; "TPC_E?" for an unknown code.
 * Ownership: static.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API const char *tpc_error_name(int code);

/*
 * Class of a code: what the receiver can do about it (enum tpc_error_class).
 *
 * Returns the class; TPC_CLASS_OPERATOR for an unknown code.
 * Ownership: none.
 * Thread: any-thread.
 * Since: 0.1
 */
TPC_API int tpc_error_class(int code);

TPC_END

#endif
