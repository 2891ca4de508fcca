/*
 * tp-tool: one function for each command. Each gets the arguments after its name and returns the
 * exit code: 0, 1 (it went wrong, said on stderr), 2 (usage).
 */
#ifndef TOOL_H
#define TOOL_H

int tool_codec(int argc, char **argv);
int tool_history(int argc, char **argv);
int tool_log(int argc, char **argv);
int tool_sql(int argc, char **argv);

#endif
