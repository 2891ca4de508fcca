/* What is posted, and what an answer means. Pure functions. */
#ifndef WEBHOOK_BODY_H
#define WEBHOOK_BODY_H

#include "base/buf.h"
#include "base/crypto.h"

#include <tpcore/error.h>
#include <tpcore/msg.h>

enum webhook_format { WEBHOOK_MESSAGE = 1, WEBHOOK_THINGSPANEL = 2, WEBHOOK_TELEGRAM = 3 };

enum {
    WEBHOOK_SIGNATURE_BYTES = 72,     /* "sha256=", 64 digits, NUL */
    WEBHOOK_TELEGRAM_TEXT = 4096,     /* bytes; the API counts 4,096 UTF-16 units, never more */
    WEBHOOK_WAIT_MAX_MS = 3600 * 1000 /* of Retry-After that is obeyed */
};

/* Each appends the body for one message to b; codes as of say_json(). */
int webhook_message(struct tpi_buf *b, const struct tpc_msg *m);
/* The alarm of ThingsPanel, contract thingspanel 6.7. */
int webhook_thingspanel(struct tpi_buf *b, const struct tpc_msg *m);
int webhook_telegram(struct tpi_buf *b, const struct tpc_msg *m, struct tpc_str chat_id);

/* H, M or L of a severity in ThingsPanel's, this library's or everyday words; M for an unknown one. */
char webhook_level(struct tpc_str severity);

/* "sha256=<hex HMAC-SHA256 of the body>" */
int webhook_sign(const struct tpi_mac_key *key, const void *body, size_t len,
                 char ret[WEBHOOK_SIGNATURE_BYTES]);

/* What a status means: 0 for 2xx, else the code that tells forward what to do. */
int webhook_code(uint32_t status);

/* Retry-After as seconds or as a date: how long to wait, at most WEBHOOK_WAIT_MAX_MS; 0 = it says
 * nothing. */
uint64_t webhook_retry_after(struct tpc_str value, int64_t now_unix_ms);

#endif
