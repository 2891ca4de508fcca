/*
 * How a command stands in the log and in the store.
 *
 *   COMMAND         id, name = service, params = envelope
 *   COMMAND_STATE   id, params {"state": "queued" | "sent", "tries"}
 *   COMMAND_CLOSED  id, name = service, code, params = the whole record
 *
 * What is in envelope and record: docs/format/record.md. The store keeps the record as JSON.
 */
#ifndef TPI_DOWNLINK_COMMAND_H
#define TPI_DOWNLINK_COMMAND_H

#include <stdbool.h>
#include <tpcore/arena.h>
#include <tpcore/command.h>
#include <tpcore/json.h>
#include <tpcore/value.h>

/* What of a command travels in its record. */
struct tpi_command_spec {
    struct tpc_str service;
    struct tpc_str actor;
    struct tpc_str label;
    struct tpc_value params; /* a map or TPC_NULL; already checked against the model */
    uint32_t timeout_ms;
    uint32_t retries;
    uint32_t retry_delay_ms;
    uint32_t expire_ms;
    uint32_t priority;
    bool control; /* "control", and the model has no service of that name */
};

enum {
    TPI_COMMAND_TIMEOUT_MS = 10000,
    TPI_COMMAND_RETRY_DELAY_MS = 1000,
    TPI_COMMAND_EXPIRE_MS = 86400000,
    TPI_COMMAND_MAX_DELAY_MS = 3600000 /* doubling stops here */
};

/* Builds the envelope; zero times become the defaults above. Members point into spec. Returns 0 or
 * TPC_ENOMEM. */
int tpi_command_envelope(const struct tpi_command_spec *spec, struct tpc_arena *arena,
                         struct tpc_value *ret);

/* Reads an envelope; what is absent or of a wrong type becomes its default. Borrowed from value. */
void tpi_command_spec_read(const struct tpc_value *envelope, struct tpi_command_spec *ret);

/* Makes the public record of a COMMAND_CLOSED's params (read from the log, or parsed from the
 * store's JSON, where open ones stand, too). Texts are value's or the arena's; id, tenant and device
 * are the caller's to set. Returns 0, TPC_ECORRUPT (no such record) or TPC_ENOMEM. */
int tpi_command_read(const struct tpc_value *record, struct tpc_arena *arena,
                     struct tpc_command *ret);

/* The other way: the document of a record, with id, tenant and device. Returns 0 or TPC_ENOMEM. */
int tpi_command_write(const struct tpc_command *c, struct tpc_arena *arena, struct tpc_value *ret);

/* enum tpc_msg_kind of what a service becomes. */
uint16_t tpi_command_kind(struct tpc_str service, bool control);

/* 0 if the name is none. */
uint32_t tpi_command_state_find(struct tpc_str name);

/* JSON text of a value in the arena; nothing or null gives the empty text. Returns 0 or TPC_ENOMEM.
 */
int tpi_command_json(const struct tpc_value *v, struct tpc_arena *arena, struct tpc_str *ret);

/* Values of one line. */
struct tpc_value tpi_command_text(struct tpc_str s);
struct tpc_value tpi_command_int(int64_t i);
struct tpc_value tpi_command_bool(bool b);

#endif
