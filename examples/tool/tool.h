/*
 * tp-tool: one function for each command. Each gets the arguments after its name and returns the
 * exit code: 0, 1 (it went wrong, said on stderr), 2 (usage).
 */
#ifndef TOOL_H
#define TOOL_H

#include "../common/assemble.h"

int tool_alerts(int argc, char **argv);
int tool_audit(int argc, char **argv);
int tool_commands(int argc, char **argv);
int tool_codec(int argc, char **argv);
int tool_dead(int argc, char **argv);
int tool_history(int argc, char **argv);
int tool_import(int argc, char **argv);
int tool_log(int argc, char **argv);
int tool_mycontroller(int argc, char **argv);
int tool_model(int argc, char **argv);
int tool_rule(int argc, char **argv);
int tool_rule_test(int argc, char **argv);
int tool_sql(int argc, char **argv);
int tool_thingspanel(int argc, char **argv);
int tool_why(int argc, char **argv);

/* Opens log and stores of a configuration and starts; entities = put those of the files, too. 0, or
 * -1 when that was said on stderr and all is closed again. */
int tool_open(const char *file, bool entities, struct config *c, struct tpc_core **ret);
/* Stops and starts: what the log holds is worked on and stored. 0, or -1 when that was said. */
int tool_restart(struct tpc_core *core);
/* Opens the entities' store alone, to read, beside a platform that runs. 0, or -1 when that was said;
 * tool_close() in both cases, *ret NULL before. */
int tool_observe(const char *file, struct config *c, struct tpc_core **ret);
/* "2026-11-20T12:00:00Z" */
void tool_time(int64_t unix_ms, char ret[32]);
void tool_close(struct config *c, struct tpc_core *core);
/* Warnings and errors of a core on stderr. */
void tool_log_line(void *user, int level, const char *subject, const char *text);
/* The value as JSON with line breaks, into a file or to stdout (NULL). 0, or 1 when that was said. */
int tool_write_json(const char *file, const struct tpc_value *v);
/* Frames of bytes, or of what a capture says was sent to a port (0 = to any), by the framing of the
 * adapter tcp (its options as JSON; NULL = each piece is one). fn returns 1 if a frame is refused. 0; 1 =
 * something was refused, or that was said. */
typedef int tool_frame_fn(void *user, struct tpc_bytes frame);
int tool_frames(struct tpc_bytes input, bool capture, unsigned int port, const char *framing_json,
                tool_frame_fn *fn, void *user);
/* Says what failed with the last error on stderr. Returns -1. */
int tool_fail(const char *what);

#endif
