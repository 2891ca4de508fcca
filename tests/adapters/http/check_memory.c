/* Memory that runs short: an error at the start, a lost request later, never more. */
#include "web.h"
#include "web_suites.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/modules.h>
#include <unistd.h>

static const struct tpc_http_server_ops *ops;
static void *self;

static void on_echo(void *user, const struct tpc_http_call *c)
{
    struct tpc_http_answer a = { .size = sizeof(a), .status = 200, .json = c->json };
    (void) user;
    (void) ops->reply(self, c->id, &a);
}

static const struct tpc_http_route routes[] = {
    { .method = "POST",
      .path = "/json/{x}",
      .fn = on_echo,
      .flags = TPC_ROUTE_JSON,
      .rate_per_s = 9 },
    { .method = "GET", .path = "/other", .fn = on_echo },
};

static const char ask[] =
    "POST /json/1?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n{\"a\":1}";

/* One life of a server whose allocation number `at` fails, with three requests. Returns how many of them were
 * not answered as they should; *ret_failed: whether memory ran short. */
static int one_life(size_t at, bool *ret_failed)
{
    static struct web w;
    static char got[WEB_ROOM];
    const struct tpc_list list = TPC_LIST(routes);
    int lost = 0;
    memset(&w, 0, sizeof(w));
    tk_env_init(&w.env);
    tk_ok(fake_init(&w.host, &w.env, fake_adapter_of(tpc_module_http()),
                    "{\"listen\":[\"http://127.0.0.1:0\"]}"));
    ops = w.host.offered;
    self = w.host.offered_self;
    w.env.alloc.fail_at = w.env.alloc.count + at;
    int rc = ops->add(self, &list, NULL, NULL, &w.set);
    ck_assert(rc == 0 || rc == TPC_ENOMEM);
    if (rc == 0) {
        tk_ok(fake_start(&w.host));
        w.port = ops->port(self, 0);
        for (int i = 0; i < 3; i++) {
            lost += web_ask(&w, ask, got) != 200;
        }
    }
    fake_stop(&w.host);
    *ret_failed = w.env.alloc.failed > 0;
    fake_fini(&w.host);
    tk_env_fini(&w.env);
    return lost;
}

START_TEST(memory_that_runs_short_costs_one_request)
{
    bool failed = true;
    uint32_t lives = 0, short_lives = 0;
    for (size_t at = 1; failed && at < 200; at++) {
        int lost = one_life(at, &failed);
        ck_assert_msg(lost <= (failed ? 1 : 0), "%d requests lost at allocation %zu", lost, at);
        short_lives += lost == 1;
        lives++;
    }
    ck_assert(!failed);
    ck_assert_uint_gt(lives, 8);
    ck_assert_uint_gt(short_lives, 2);
}
END_TEST

Suite *memory_suite(void)
{
    Suite *s = suite_create("memory");
    TCase *t = tcase_create("memory");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, memory_that_runs_short_costs_one_request);
    suite_add_tcase(s, t);
    return s;
}
