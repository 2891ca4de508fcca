/*
 * Module "exec": a sink that runs programs, one for each message or batch. Only those of a list; with
 * arguments, never over a shell; with an environment of its own.
 */
#include "run.h"

#include "../sink/turn.h"
#include "../text/fill.h"
#include "../text/say.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <tpcore/version.h>

#include "base/error.h"
#include "data/member.h"

enum {
    ALLOW_MAX = 64,
    ARGS_MAX = 64,
    ENV_MAX = 64,
    PATH_BYTES = 1024,
    ARG_BYTES = 4096, /* an argument of the options */
    ARGS_BYTES =
        128 * 1024, /* all arguments as filled; the system's own limit is the same for one */
    TEMPORARY = 75, /* sysexits: the same again later */
    NO_PERMISSION = 77,
    BAD_CONFIG = 78
};

static const struct tpc_option path_item = { .type = TPC_OPT_TEXT, .min = 2, .max = PATH_BYTES };
static const struct tpc_option arg_item = { .type = TPC_OPT_TEXT, .max = ARG_BYTES };

static const struct tpc_option exec_options[] = {
    { .name = "allow",
      .type = TPC_OPT_LIST,
      .flags = TPC_OPT_REQUIRED,
      .elem = &path_item,
      .min = 1,
      .max = ALLOW_MAX,
      .since = "0.1",
      .help = "whole paths of the programs that targets may name; no shell" },
    { .name = "dir",
      .type = TPC_OPT_TEXT,
      .def = "/",
      .min = 1,
      .max = PATH_BYTES,
      .since = "0.1",
      .help = "where they run" },
    { .name = "env",
      .type = TPC_OPT_TABLE,
      .flags = TPC_OPT_OPEN,
      .since = "0.1",
      .help = "name: text, at most 64; beside it they have PATH and LANG alone" },
    { .name = "max_running",
      .type = TPC_OPT_UINT,
      .def = "4",
      .min = 1,
      .max = EXEC_RUNNING_MAX,
      .since = "0.1",
      .help = "programs that run at once" },
};

static const struct tpc_option target_options[] = {
    { .name = "program",
      .type = TPC_OPT_TEXT,
      .flags = TPC_OPT_REQUIRED,
      .min = 2,
      .max = PATH_BYTES,
      .since = "0.1",
      .help = "one of the instance's list" },
    { .name = "args",
      .type = TPC_OPT_LIST,
      .elem = &arg_item,
      .max = ARGS_MAX,
      .since = "0.1",
      .help = "its arguments, each a template" },
    { .name = "stdin",
      .type = TPC_OPT_ENUM,
      .def = "json",
      .values = "json|text|none",
      .since = "0.1",
      .help = "what it reads: the message as JSON, as a line for people, nothing" },
    { .name = "timeout",
      .type = TPC_OPT_DURATION,
      .def = "10s",
      .min = 10,
      .max = 3600000,
      .since = "0.1",
      .help = "after that it is killed with all it started" },
    { .name = "batch",
      .type = TPC_OPT_BOOL,
      .def = "false",
      .since = "0.1",
      .help = "true: one run for each batch, with a line of stdin for each message" },
    { .name = "stdin_max",
      .type = TPC_OPT_SIZE,
      .def = "1MiB",
      .min = 256,
      .max = 64 << 20,
      .since = "0.1",
      .help = "most bytes of stdin; what is larger is refused" },
};

enum input { INPUT_JSON, INPUT_TEXT, INPUT_NONE };

struct instance {
    struct turns turns; /* first */
    const struct tpc_host *host;
    void *ctx;
    struct tpc_arena *arena;
    struct exec_runner runner;
    struct tpc_str allow[ALLOW_MAX];
    size_t allow_count;
    const char *dir;
    char *env[ENV_MAX + 3];
    size_t env_count;
};

struct target {
    struct turn turn; /* first */
    struct exec_job job;
    struct tpc_arena *arena;
    enum input input;
    struct tpc_str arg_text[ARGS_MAX];
    struct fill args[ARGS_MAX];
    size_t arg_count;
    uint64_t timeout_ms;
    const char *program;

    /* Of the run. */
    struct tpi_buf in, text; /* stdin; the arguments, each with a NUL */
    char *argv[ARGS_MAX + 2];
};

static struct instance *instance_of(const struct target *t)
{
    return (struct instance *) t->turn.all;
}

static struct target *target_of(struct exec_job *job)
{
    return (struct target *) (void *) ((char *) job - offsetof(struct target, job));
}

/* ---- a run ---- */

static size_t digits(const char *s)
{
    return strspn(s, "0123456789");
}

/* -12.5e-3: not "-e", which is an option of many programs, nor "--". */
static bool is_number(const char *s)
{
    s += *s == '-';
    size_t n = digits(s);
    s += n;
    if (*s == '.') {
        size_t behind = digits(++s);
        s += behind;
        n += behind;
    }
    if (n > 0 && (*s == 'e' || *s == 'E')) {
        s += 1 + (s[1] == '-' || s[1] == '+');
        n = digits(s);
        s += n;
    }
    return n > 0 && *s == '\0';
}

/* Argument i as filled, from `at` of the text. What a device says must not become an option of the
 * program. */
static int check_arg(const struct target *t, size_t i, size_t at, bool options_over,
                     struct tpc_error *err)
{
    const char *s = (const char *) t->text.ptr + at;
    if (strlen(s) + 1 != t->text.len - at) {
        return tpi_error_set(err, TPC_EINVAL, "exec", "args[%zu]: a NUL byte is in it", i);
    }
    bool meant = t->arg_text[i].len > 0 && t->arg_text[i].ptr[0] == '-';
    if (s[0] == '-' && s[1] != '\0' && !meant && !options_over && !is_number(s)) {
        return tpi_error_set(err, TPC_EINVAL, "exec",
                             "args[%zu]: \"%.40s\" would be an option; put \"--\" before it", i, s);
    }
    return 0;
}

static int make_args(struct target *t, const struct tpc_msg *m, struct tpc_error *err)
{
    size_t at[ARGS_MAX];
    bool over = false;
    tpi_buf_clear(&t->text);
    for (size_t i = 0; i < t->arg_count; i++) {
        at[i] = t->text.len;
        int rc = fill_text(&t->args[i], m, &t->text);
        rc = rc != 0 ? rc : tpi_buf_u8(&t->text, 0);
        if (rc != 0) {
            return tpi_error_set(err, rc, "exec", "args[%zu]: %s", i,
                                 rc == TPC_ETOOBIG ? "the arguments are too long"
                                                   : "cannot be filled");
        }
        rc = check_arg(t, i, at[i], over, err);
        if (rc != 0) {
            return rc;
        }
        /* A value that is "--" may be what an option before it takes. */
        over = over || tpc_str_equal(t->arg_text[i], TPC_STR("--"));
    }
    for (size_t i = 0; i < t->arg_count; i++) {
        t->argv[i + 1] = (char *) t->text.ptr + at[i];
    }
    t->argv[t->arg_count + 1] = NULL;
    return 0;
}

static int make(struct turn *turn, const struct tpc_batch *batch, uint32_t first, uint32_t count,
                struct tpc_error *err)
{
    struct target *t = (struct target *) turn;
    int rc = 0;
    tpi_buf_clear(&t->in);
    for (uint32_t i = first; rc == 0 && t->input != INPUT_NONE && i < first + count; i++) {
        const struct tpc_msg *m = tpc_batch_msg(batch, i);
        size_t at = t->in.len;
        rc = t->input == INPUT_TEXT ? say_line(&t->in, m) : say_json(&t->in, m);
        for (size_t k = at; turn->whole && rc == 0 && k < t->in.len; k++) {
            t->in.ptr[k] = t->in.ptr[k] == '\n' ? ' ' : t->in.ptr[k];
        }
        rc = rc != 0 ? rc : tpi_buf_u8(&t->in, '\n');
    }
    if (rc != 0) {
        return tpi_error_set(err, rc, "exec",
                             rc == TPC_ETOOBIG ? "the input is over stdin_max"
                                               : "the message cannot be written");
    }
    return make_args(t, tpc_batch_msg(batch, first), err);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* A fault of the program's own: it would be the same again. */
static bool is_crash(int sig)
{
    return sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL || sig == SIGABRT ||
           sig == SIGSYS;
}

static int judge_exit(const char *name, const struct exec_result *r, struct tpc_error *err)
{
    int code = r->number == TEMPORARY       ? TPC_EAGAIN
               : r->number == NO_PERMISSION ? TPC_EDENIED
               : r->number == BAD_CONFIG    ? TPC_EUNSUPPORTED
                                            : TPC_EINVAL;
    return r->number == 0 ? 0
                          : tpi_error_native(err, code, r->number, "exec", "%.40s: exit %d: %s",
                                             name, r->number, r->tail);
}

static int judge(const struct target *t, const struct exec_result *r, struct tpc_error *err)
{
    const char *name = base_name(t->program);
    switch (r->end) {
    case EXEC_EXITED:
        return judge_exit(name, r, err);
    case EXEC_KILLED:
        return tpi_error_native(err, is_crash(r->number) ? TPC_EINVAL : TPC_EAGAIN, r->number,
                                "exec", "%.40s: killed by signal %d: %s", name, r->number, r->tail);
    case EXEC_LATE:
        return tpi_error_set(err, TPC_ETIMEOUT, "exec", "%.40s: killed after %llu ms: %s", name,
                             (unsigned long long) t->timeout_ms, r->tail);
    case EXEC_CALLED:
        return tpi_error_set(err, TPC_ECANCELED, "exec", "%.40s: called off", name);
    case EXEC_NO_START:
        break;
    }
    int code = tpi_error_from_errno(r->number);
    if (tpc_error_class(code) == TPC_CLASS_FIX) {
        code = TPC_EUNSUPPORTED; /* never the message's fault */
    }
    return tpi_error_native(err, code, r->number, "exec", "%.100s: cannot be run: %s", t->program,
                            r->number == ENOENT   ? "it is not there"
                            : r->number == EACCES ? "not allowed"
                            : r->number == ECHILD ? "the process lets nobody wait for children"
                                                  : "the system refuses");
}

static void on_done(struct exec_job *job, const struct exec_result *result)
{
    struct target *t = target_of(job);
    const struct instance *s = instance_of(t);
    struct tpc_error err;
    int rc = judge(t, result, &err);
    if (rc != 0) {
        const char *name = rc == TPC_ECANCELED                      ? "canceled"
                           : rc == TPC_ETIMEOUT                     ? "killed_late"
                           : tpc_error_class(rc) == TPC_CLASS_RETRY ? "failed"
                           : rc == TPC_EINVAL || rc == TPC_ETOOBIG  ? "refused"
                                                                    : "denied";
        s->host->count(s->ctx, name, 1);
    }
    turn_ended(&t->turn, rc == 0 ? NULL : &err);
}

static int submit(struct turn *turn, struct tpc_error *err, uint64_t *ret_id)
{
    struct target *t = (struct target *) turn;
    struct instance *s = instance_of(t);
    (void) err;
    t->argv[0] = (char *) (uintptr_t) t->program;
    t->job.argv = t->argv;
    t->job.envp = s->env;
    t->job.dir = s->dir;
    t->job.in = t->in.ptr;
    t->job.in_len = t->in.len;
    t->job.timeout_ms = t->timeout_ms;
    t->job.done = on_done;
    exec_runner_submit(&s->runner, &t->job);
    *ret_id = 0;
    return 0;
}

static void cancel(struct turn *turn, uint64_t id)
{
    struct target *t = (struct target *) turn;
    (void) id;
    exec_runner_cancel(&instance_of(t)->runner, &t->job);
}

/* ---- the sink ---- */

static const char *copy_text(struct tpc_arena *arena, struct tpc_str s)
{
    char *p = tpc_arena_take(arena, s.len + 1);
    if (p != NULL) {
        memcpy(p, s.len > 0 ? s.ptr : "", s.len);
        p[s.len] = '\0';
    }
    return p;
}

static bool has_nul(struct tpc_str s)
{
    return s.len > 0 && memchr(s.ptr, '\0', s.len) != NULL;
}

/* What runs whatever its arguments say has no place in a list. */
static bool is_shell(struct tpc_str path)
{
    static const char *const shells[] = { "sh",  "bash", "dash", "ash",   "ksh", "mksh",   "zsh",
                                          "csh", "tcsh", "fish", "rbash", "env", "busybox" };
    size_t at = path.len;
    while (at > 0 && path.ptr[at - 1] != '/') {
        at--;
    }
    for (size_t i = 0; i < sizeof(shells) / sizeof(shells[0]); i++) {
        if (tpc_str_equal((struct tpc_str){ path.ptr + at, path.len - at },
                          tpc_str_from(shells[i]))) {
            return true;
        }
    }
    return false;
}

static int read_allow(struct instance *s, const struct tpc_value *list)
{
    for (size_t i = 0; i < list->len; i++) {
        struct tpc_str path = tpc_value_text(&list->as.items[i]);
        if (path.len == 0 || path.ptr[0] != '/' || has_nul(path)) {
            return s->host->fail(s->ctx, TPC_EINVAL, "allow[%zu]: is no whole path", i);
        }
        if (is_shell(path)) {
            return s->host->fail(s->ctx, TPC_EINVAL,
                                 "allow[%zu]: a shell runs whatever it is told: name a script", i);
        }
        s->allow[s->allow_count++] = path;
    }
    return 0;
}

static int add_env(struct instance *s, struct tpc_str name, struct tpc_str value)
{
    char *p = tpc_arena_take(s->arena, name.len + value.len + 2);
    if (p == NULL) {
        return s->host->fail(s->ctx, TPC_ENOMEM, "no memory for the options");
    }
    memcpy(p, name.ptr, name.len);
    p[name.len] = '=';
    memcpy(p + name.len + 1, value.len > 0 ? value.ptr : "", value.len);
    p[name.len + 1 + value.len] = '\0';
    s->env[s->env_count++] = p;
    return 0;
}

static int read_env(struct instance *s, const struct tpc_value *map)
{
    size_t count = map != NULL && map->type == TPC_MAP ? map->len : 0;
    bool path = false, lang = false;
    int rc = 0;
    if (count > ENV_MAX) {
        return s->host->fail(s->ctx, TPC_EINVAL, "env: more than 64");
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct tpc_member *m = &map->as.members[i];
        struct tpc_str value = tpc_value_text(&m->value);
        if (m->value.type != TPC_TEXT || has_nul(value) || has_nul(m->key) || m->key.len == 0 ||
            memchr(m->key.ptr, '=', m->key.len) != NULL) {
            return s->host->fail(s->ctx, TPC_EINVAL, "env: is a name without = and a text");
        }
        path = path || tpc_str_equal(m->key, TPC_STR("PATH"));
        lang = lang || tpc_str_equal(m->key, TPC_STR("LANG"));
        rc = add_env(s, m->key, value);
    }
    if (rc == 0 && !path) {
        rc = add_env(s, TPC_STR("PATH"), TPC_STR("/usr/local/bin:/usr/bin:/bin"));
    }
    return rc != 0 || lang ? rc : add_env(s, TPC_STR("LANG"), TPC_STR("C.UTF-8"));
}

static int exec_init(void *self, const struct tpc_host *host, void *ctx,
                     const struct tpc_value *cfg)
{
    struct instance *s = self;
    struct tpc_str dir = tpi_member_text(cfg, "dir");
    s->host = s->turns.host = s->runner.host = host;
    s->ctx = s->turns.ctx = ctx;
    s->turns.make = make;
    s->turns.submit = submit;
    s->turns.cancel = cancel;
    s->runner.max = (uint32_t) tpi_member_int(cfg, "max_running", 4);
    turns_init(&s->turns);
    if (dir.len == 0 || dir.ptr[0] != '/' || has_nul(dir)) {
        return host->fail(ctx, TPC_EINVAL, "dir: is no whole path");
    }
    if (tpc_arena_create(host->allocator, 0, &s->arena) != 0 ||
        (s->dir = copy_text(s->arena, dir)) == NULL) {
        return host->fail(ctx, TPC_ENOMEM, "no memory for the options");
    }
    int rc = read_allow(s, tpc_value_get(cfg, TPC_STR("allow")));
    rc = rc != 0 ? rc : read_env(s, tpc_value_get(cfg, TPC_STR("env")));
    if (rc == 0 && (rc = exec_runner_init(&s->runner)) != 0) {
        rc = host->fail(ctx, rc, "no pipe");
    }
    return rc;
}

static int exec_start(void *self)
{
    struct instance *s = self;
    int rc = exec_runner_start(&s->runner);
    if (rc != 0) {
        return s->host->fail(s->ctx, rc, "a thread could not be started");
    }
    turns_start(&s->turns);
    return 0;
}

static void exec_target_close(void *self, void *target)
{
    struct instance *s = self;
    struct target *t = target;
    turn_fini(&t->turn);
    for (size_t i = 0; i < t->arg_count; i++) {
        fill_fini(&t->args[i]);
    }
    tpi_buf_fini(&t->in);
    tpi_buf_fini(&t->text);
    tpc_arena_destroy(t->arena);
    s->host->allocator->resize(s->host->allocator->user, t, sizeof(*t), 0);
}

static int read_args(struct instance *s, struct target *t, const struct tpc_value *list)
{
    struct tpc_error err;
    for (size_t i = 0; list != NULL && list->type == TPC_ARRAY && i < list->len; i++) {
        struct fill *f = &t->args[t->arg_count];
        t->arg_text[t->arg_count++] = tpc_value_text(&list->as.items[i]);
        int rc = fill_init(f, s->host->allocator, t->arena, s->host->clock, t->arg_text[i],
                           TPI_TEMPLATE_PLAIN, &err);
        if (rc != 0) {
            return s->host->fail(s->ctx, rc, "args[%zu]: column %u: %s", i, (unsigned) err.column,
                                 err.text);
        }
        if (t->turn.whole && !f->constant) {
            return s->host->fail(
                s->ctx, TPC_EINVAL,
                "args[%zu]: with batch there is no one message to take values from", i);
        }
    }
    return 0;
}

static int read_target(struct instance *s, struct target *t, const struct tpc_value *cfg)
{
    struct tpc_str program = tpi_member_text(cfg, "program");
    struct tpc_str input = tpi_member_text(cfg, "stdin");
    size_t i = 0;
    while (i < s->allow_count && !tpc_str_equal(s->allow[i], program)) {
        i++;
    }
    if (i == s->allow_count) {
        return s->host->fail(s->ctx, TPC_EINVAL, "program: is not in the list \"allow\" of %s",
                             s->host->name(s->ctx));
    }
    t->timeout_ms = (uint64_t) tpi_member_int(cfg, "timeout", 10000);
    t->input = tpc_str_equal(input, TPC_STR("text"))   ? INPUT_TEXT
               : tpc_str_equal(input, TPC_STR("none")) ? INPUT_NONE
                                                       : INPUT_JSON;
    if (tpc_arena_create(s->host->allocator, 0, &t->arena) != 0 ||
        (t->program = copy_text(t->arena, program)) == NULL) {
        return s->host->fail(s->ctx, TPC_ENOMEM, "no memory for a target");
    }
    return read_args(s, t, tpc_value_get(cfg, TPC_STR("args")));
}

static int exec_target_open(void *self, struct tpc_str name, const struct tpc_value *cfg,
                            void **ret_target)
{
    struct instance *s = self;
    const struct tpc_allocator *a = s->host->allocator;
    (void) name;
    struct target *t = a->resize(a->user, NULL, 0, sizeof(*t));
    if (t == NULL) {
        return s->host->fail(s->ctx, TPC_ENOMEM, "no memory for a target");
    }
    memset(t, 0, sizeof(*t));
    t->turn.all = &s->turns;
    t->turn.whole = tpi_member_bool(cfg, "batch", false);
    tpi_buf_init(&t->in, a, (size_t) tpi_member_int(cfg, "stdin_max", 1 << 20));
    tpi_buf_init(&t->text, a, ARGS_BYTES);
    int rc = read_target(s, t, cfg);
    if (rc != 0) {
        exec_target_close(s, t);
        return rc;
    }
    *ret_target = t;
    return 0;
}

static int exec_send(void *self, void *target, const struct tpc_batch *batch, uint64_t ticket)
{
    (void) self;
    return turn_send(&((struct target *) target)->turn, batch, ticket);
}

static void exec_stop(void *self)
{
    struct instance *s = self;
    turns_stop(&s->turns);
    exec_runner_stop(&s->runner);
}

static void exec_fini(void *self)
{
    struct instance *s = self;
    exec_runner_fini(&s->runner);
    s->arena = tpc_arena_destroy(s->arena);
    turns_fini(&s->turns);
}

static const struct tpc_sink_ops exec_ops = {
    .iface = TPC_IFACE(struct tpc_sink_ops, 1),
    .name = "exec",
    .instance_size = sizeof(struct instance),
    .options = TPC_OPTIONS(exec_options),
    .target_options = TPC_OPTIONS(target_options),
    .init = exec_init,
    .start = exec_start,
    .target_open = exec_target_open,
    .send = exec_send,
    .target_close = exec_target_close,
    .stop = exec_stop,
    .fini = exec_fini,
};

static const struct tpc_interface exec_interfaces[] = { { TPC_KIND_SINK, &exec_ops } };

TPC_MODULE(exec, .version = TPC_VERSION, .licence = "Apache-2.0", .flags = TPC_MOD_THREADS,
           .interfaces = TPC_INTERFACES(exec_interfaces))
