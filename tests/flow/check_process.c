/* The process is after a core as it was before: signals, locale, umask, folder, environment,
 * descriptors, threads. */
#include "suites.h"

#include <dirent.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "third_party.h"

extern char **environ;

enum { TEXT = 4096, SIGNALS = 65, GONE_TRIES = 2000 };

struct process {
    struct sigaction signals[SIGNALS];
    sigset_t mask;
    char locale[256];
    locale_t thread_locale;
    mode_t umask;
    char folder[TEXT];
    size_t environment; /* sum over all of its bytes */
    char descriptors[TEXT];
    int descriptor_count;
    int threads;
};

static int count_entries(const char *path, char *ret_names, size_t cap)
{
    DIR *dir = opendir(path);
    ck_assert_ptr_nonnull(dir);
    int n = 0;
    size_t len = 0;
    struct dirent *e;
    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.') {
            continue;
        }
        n++;
        if (ret_names != NULL) {
            char link[600];
            char target[300];
            snprintf(link, sizeof(link), "%s/%s", path, e->d_name);
            ssize_t got = readlink(link, target, sizeof(target) - 1);
            target[got > 0 ? got : 0] = '\0';
            int put = snprintf(ret_names + len, cap - len, "%s=%s\n", e->d_name,
                               strstr(target, "/proc/") != NULL ? "" : target);
            len += put > 0 && len + (size_t) put < cap ? (size_t) put : 0;
        }
    }
    closedir(dir);
    return n;
}

static void look(struct process *p)
{
    memset(p, 0, sizeof(*p));
    for (int i = 1; i < SIGNALS; i++) {
        (void) sigaction(i, NULL, &p->signals[i]);
    }
    (void) pthread_sigmask(SIG_BLOCK, NULL, &p->mask);
    static const nl_item names[] = { NL_LOCALE_NAME(LC_CTYPE),    NL_LOCALE_NAME(LC_NUMERIC),
                                     NL_LOCALE_NAME(LC_TIME),     NL_LOCALE_NAME(LC_COLLATE),
                                     NL_LOCALE_NAME(LC_MONETARY), NL_LOCALE_NAME(LC_MESSAGES) };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t len = strlen(p->locale);
        snprintf(p->locale + len, sizeof(p->locale) - len, "%s;", nl_langinfo(names[i]));
    }
    p->thread_locale = uselocale((locale_t) 0);
    p->umask = umask(0);
    (void) umask(p->umask);
    ck_assert_ptr_nonnull(getcwd(p->folder, sizeof(p->folder)));
    for (char **e = environ; *e != NULL; e++) {
        for (const char *c = *e; *c != '\0'; c++) {
            p->environment = p->environment * 31 + (unsigned char) *c;
        }
    }
    p->descriptor_count = count_entries("/proc/self/fd", p->descriptors, sizeof(p->descriptors));
    p->threads = count_entries("/proc/self/task", NULL, 0);
}

static bool may_change_signal(const char *module, int number)
{
    for (int i = 0; i < THIRD_PARTY_CHANGES; i++) {
        if (strcmp(third_party_changes[i].module, module) == 0 &&
            third_party_changes[i].signal == number) {
            return true;
        }
    }
    return false;
}

static int may_stay(const char *module, bool descriptors)
{
    int n = 0;
    for (int i = 0; i < THIRD_PARTY_CHANGES; i++) {
        const struct third_party_change *c = &third_party_changes[i];
        if (strcmp(c->module, module) == 0) {
            n += descriptors ? c->descriptors : c->threads;
        }
    }
    return n;
}

/* A joined thread stands in the kernel's list a moment longer. */
static void look_when_gone(struct process *p, int threads)
{
    look(p);
    for (int i = 0; i < GONE_TRIES && p->threads > threads; i++) {
        (void) poll(NULL, 0, 1);
        p->threads = count_entries("/proc/self/task", NULL, 0);
    }
}

static void compare(const char *module, const struct process *a, const struct process *b)
{
    for (int i = 1; i < SIGNALS; i++) {
        bool same = a->signals[i].sa_handler == b->signals[i].sa_handler &&
                    a->signals[i].sa_flags == b->signals[i].sa_flags;
        ck_assert_msg(same || may_change_signal(module, i), "%s changed signal %d", module, i);
        ck_assert_msg(sigismember(&a->mask, i) == sigismember(&b->mask, i),
                      "%s changed the mask of signal %d", module, i);
    }
    ck_assert_str_eq(a->locale, b->locale);
    ck_assert(a->thread_locale == b->thread_locale);
    ck_assert_uint_eq(a->umask, b->umask);
    ck_assert_str_eq(a->folder, b->folder);
    ck_assert_msg(a->environment == b->environment, "%s changed the environment", module);
    ck_assert_msg(b->threads <= a->threads + may_stay(module, false), "%s: %d threads stay", module,
                  b->threads - a->threads);
    ck_assert_msg(b->descriptor_count <= a->descriptor_count + may_stay(module, true),
                  "%s: before\n%safter\n%s", module, a->descriptors, b->descriptors);
}

/* A core with the module in use, made, started, fed and ended. */
static void use_core(uint32_t workers, uint32_t parts, const char *adapter, const char *options)
{
    struct fx f;
    fx_init(&f, workers, parts);
    fx_open(&f);
    fx_entities(&f);
    if (adapter != NULL) {
        fx_ok(tpc_core_open(f.core, "edge", adapter, tpc_str_from(options)), adapter);
    }
    if ((parts & FX_LUA) != 0) {
        fx_put(&f, "product",
               "{\"key\":\"l\",\"codec\":{\"type\":\"lua\",\"script\":\"function decode(b) return "
               "{ seq = #b } end\"},\"model\":{\"properties\":[{\"id\":\"seq\",\"type\":\"int\"}]}"
               "}");
        fx_put(&f, "device", "{\"key\":\"l1\",\"product\":\"l\"}");
    }
    fx_start(&f);
    for (int i = 0; i < 20; i++) {
        fx_ok(fx_feed_seq(&f, "t1", i), "feed");
        if ((parts & FX_LUA) != 0) {
            fx_ok(fx_feed(&f, "l1", "abc"), "feed");
        }
    }
    fx_settle(&f);
    (void) fx_step(&f);
    fx_fini(&f);
}

static void check_use(const char *module, uint32_t parts, const char *adapter, const char *options)
{
    static struct process before;
    static struct process after;
    for (uint32_t workers = 0; workers <= 2; workers += 2) {
        use_core(workers, parts, adapter, options); /* what is made once per process is made */
        look(&before);
        for (int i = 0; i < 3; i++) {
            use_core(workers, parts, adapter, options);
        }
        look_when_gone(&after, before.threads + may_stay(module, false));
        compare(module, &before, &after);
    }
}

/* In a process that has not used the module before. */
static void first_use(void *user)
{
    static struct process before;
    static struct process after;
    const char *module = user;
    uint32_t parts = strcmp(module, "lua") == 0      ? FX_LUA
                     : strcmp(module, "sqlite") == 0 ? FX_SQLITE
                     : strcmp(module, "core") == 0   ? FX_FILE_LOG
                                                     : 0;
    const char *adapter = strcmp(module, "mqtt") == 0  ? "mqtt"
                          : strcmp(module, "sim") == 0 ? "sim"
                                                       : NULL;
    const char *options = strcmp(module, "mqtt") == 0
                              ? "{\"url\":\"mqtt://127.0.0.1:1\"}"
                              : "{\"count\":2,\"prefix\":\"t\",\"interval\":\"10ms\"}";
    look(&before);
    use_core(2, parts, adapter, options);
    look_when_gone(&after, before.threads + may_stay(module, false));
    compare(module, &before, &after);
}

static int first_use_of(const char *module)
{
    char name[16];
    snprintf(name, sizeof(name), "%s", module);
    return fx_child(first_use, name);
}

START_TEST(the_core_leaves_no_trace)
{
    ck_assert_int_eq(first_use_of("core"), 0);
    check_use("core", 0, NULL, "");
    check_use("core", FX_FILE_LOG | FX_PROBE, NULL, "");
}
END_TEST

START_TEST(lua_leaves_no_trace)
{
    if (!fx_has_lua()) {
        tk_skip("traces of lua", "the module is not built");
        return;
    }
    ck_assert_int_eq(first_use_of("lua"), 0);
    check_use("lua", FX_LUA, NULL, "");
}
END_TEST

START_TEST(sqlite_leaves_no_trace)
{
    if (!fx_has_sqlite()) {
        tk_skip("traces of sqlite", "the module is not built");
        return;
    }
    ck_assert_int_eq(first_use_of("sqlite"), 0);
    check_use("sqlite", FX_SQLITE | FX_FILE_LOG, NULL, "");
}
END_TEST

START_TEST(sim_leaves_no_trace)
{
    if (!fx_has_sim()) {
        tk_skip("traces of sim", "the module is not built");
        return;
    }
    ck_assert_int_eq(first_use_of("sim"), 0);
    check_use("sim", 0, "sim", "{\"count\":2,\"prefix\":\"t\",\"interval\":\"10ms\"}");
}
END_TEST

START_TEST(mqtt_leaves_what_its_libraries_leave)
{
    if (!fx_has_mqtt()) {
        tk_skip("traces of mqtt", "the module is not built");
        return;
    }
    ck_assert_int_eq(first_use_of("mqtt"), 0);
    check_use("mqtt", 0, "mqtt", "{\"url\":\"mqtt://127.0.0.1:1\"}");
}
END_TEST

Suite *process_suite(void)
{
    Suite *s = suite_create("process");
    TCase *t = tcase_create("process");
    tcase_add_test(t, the_core_leaves_no_trace);
    tcase_add_test(t, lua_leaves_no_trace);
    tcase_add_test(t, sqlite_leaves_no_trace);
    tcase_add_test(t, sim_leaves_no_trace);
    tcase_add_test(t, mqtt_leaves_what_its_libraries_leave);
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    return s;
}
