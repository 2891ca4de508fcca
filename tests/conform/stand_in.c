#include "stand_in.h"

#include "tk.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS = 12 };

static void run_child(const char *const *words, int in, int out)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(in, 0);
    dup2(out, 1);
    execv(words[0], (char *const *) (uintptr_t) words);
    _exit(127);
}

static pid_t spawn(const char *const *words, int *ret_in, int *ret_out)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) {
        return -1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        run_child(words, in[0], out[1]);
    }
    close(in[0]);
    close(out[1]);
    *ret_in = in[1];
    *ret_out = out[0];
    return pid;
}

bool stand_in_start(struct stand_in *s, const char *script, const char *const *more)
{
    char path[512], port[16], line[32] = "";
    const char *words[ARGUMENTS] = { "/usr/bin/python3", path, "--log", s->log, "--port", port };
    int n = 6, out = -1;
    snprintf(path, sizeof(path), "%s/%s.py", STAND_IN_DIR, script);
    snprintf(port, sizeof(port), "%d", s->port);
    if (s->log[0] == '\0') {
        snprintf(s->log, sizeof(s->log), "%s.log", tk_tmpdir());
    }
    for (; more != NULL && *more != NULL && n < ARGUMENTS - 1; more++) {
        words[n++] = *more;
    }
    s->pid = spawn(words, &s->alive, &out);
    if (s->pid < 0) {
        return false;
    }
    size_t len = 0;
    while (len < sizeof(line) - 1 && strchr(line, '\n') == NULL) {
        ssize_t got = read(out, line + len, sizeof(line) - 1 - len);
        if (got <= 0) {
            break;
        }
        len += (size_t) got;
    }
    close(out);
    s->port = (int) strtol(line, NULL, 10);
    if (s->port == 0) {
        stand_in_stop(s);
    }
    return s->port != 0;
}

void stand_in_stop(struct stand_in *s)
{
    if (s->pid > 0) {
        close(s->alive);
        kill(s->pid, SIGKILL);
        waitpid(s->pid, NULL, 0);
        s->pid = 0;
    }
}

bool stand_in_certificate(char cert[512], char key[512])
{
    int in = -1, out = -1, status = 1;
    char said[256];
    snprintf(cert, 512, "%s.pem", tk_tmpdir());
    snprintf(key, 512, "%s.pem", tk_tmpdir());
    const char *const words[] = { "/usr/bin/openssl",
                                  "req",
                                  "-x509",
                                  "-newkey",
                                  "ec",
                                  "-pkeyopt",
                                  "ec_paramgen_curve:P-256",
                                  "-nodes",
                                  "-subj",
                                  "/CN=127.0.0.1",
                                  "-addext",
                                  "subjectAltName=IP:127.0.0.1",
                                  "-days",
                                  "3650",
                                  "-keyout",
                                  key,
                                  "-out",
                                  cert,
                                  NULL };
    pid_t pid = spawn(words, &in, &out);
    if (pid < 0) {
        return false;
    }
    close(in);
    while (read(out, said, sizeof(said)) > 0) {
    }
    close(out);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

unsigned stand_in_count(const struct stand_in *s)
{
    unsigned n = 0;
    int c;
    FILE *f = fopen(s->log, "r");
    while (f != NULL && (c = fgetc(f)) != EOF) {
        n += c == '\n';
    }
    if (f != NULL) {
        fclose(f);
    }
    return n;
}

char *stand_in_line(const struct stand_in *s, unsigned n)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len = -1;
    FILE *f = fopen(s->log, "r");
    for (unsigned i = 0; f != NULL && i <= n; i++) {
        len = getline(&line, &cap, f);
    }
    if (f != NULL) {
        fclose(f);
    }
    ck_assert_msg(len > 0, "the stand-in's log has no line %u", n);
    return line;
}
