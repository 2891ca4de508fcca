/* A message as JSON, and in one line for people. */
#ifndef TEXT_SAY_H
#define TEXT_SAY_H

#include "base/buf.h"

#include <tpcore/msg.h>

/* All below append to b; on failure it may hold a part. They return 0, TPC_ENOMEM, TPC_ETOOBIG
 * (over b's limit) or TPC_EINVAL (a value that JSON cannot hold). */

int say_value(struct tpi_buf *b, const struct tpc_value *v);
/* Text as a JSON string. */
int say_quoted(struct tpi_buf *b, struct tpc_str s);

/* {"id","tenant","product","device","kind","time","name","values" or "points","params","code","raw"};
 * what is empty is left out. */
int say_json(struct tpi_buf *b, const struct tpc_msg *m);

/* Device, kind and name. */
int say_name(struct tpi_buf *b, const struct tpc_msg *m);

/* What a notification says ("text", "content", "message" or "subject" of its params), else a line
 * with device, kind, name and values. */
int say_line(struct tpi_buf *b, const struct tpc_msg *m);

/* The first member of the message's params with one of the names ("a|b|c") that is a text; empty. */
struct tpc_str say_param(const struct tpc_msg *m, const char *names);

#endif
