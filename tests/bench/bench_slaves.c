#include "bench_slaves.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef TP_SIM
#define TP_SIM ""
#endif

static void become(int in, int out, const char *const *more)
{
    const char *argv[UTIL_SLAVES_ARGUMENTS + 5] = { "tp-sim", "modbus", "--port", "0" };
    for (int i = 0; more != NULL && more[i] != NULL && i < UTIL_SLAVES_ARGUMENTS; i++) {
        argv[4 + i] = more[i];
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    execv(TP_SIM, (char *const *) (uintptr_t) argv);
    _exit(127);
}

static bool read_line(struct util_slaves *s, char *line, size_t cap)
{
    if (fgets(line, (int) cap, s->from) == NULL) {
        return false;
    }
    line[strcspn(line, "\n")] = '\0';
    return true;
}

static void end(struct util_slaves *s)
{
    fclose(s->to);
    fclose(s->from);
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

bool util_slaves_start(struct util_slaves *s, const char *const *more)
{
    int in[2], out[2];
    char line[256] = "";
    memset(s, 0, sizeof(*s));
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) {
        return false;
    }
    s->pid = fork();
    if (s->pid == 0) {
        become(in[0], out[1], more);
    }
    close(in[0]);
    close(out[1]);
    s->to = fdopen(in[1], "w");
    s->from = fdopen(out[0], "r");
    if (s->pid < 0 || s->to == NULL || s->from == NULL) {
        return false;
    }
    if (!read_line(s, line, sizeof(line)) || strncmp(line, "ready ", 6) != 0) {
        end(s);
        return false;
    }
    char *at = line + 6;
    while (*at != '\0' && s->port_count < UTIL_SLAVES_PORTS) {
        s->ports[s->port_count++] = (uint16_t) strtoul(at, &at, 10);
        at += *at == ' ';
    }
    return true;
}

bool util_slaves_say(struct util_slaves *s, const char *line, char *answer, size_t cap)
{
    return fprintf(s->to, "%s\n", line) > 0 && fflush(s->to) == 0 && read_line(s, answer, cap);
}

bool util_slaves_stop(struct util_slaves *s, char *last, size_t cap)
{
    kill(s->pid, SIGTERM);
    bool good = read_line(s, last, cap);
    end(s);
    return good;
}
