/* The HTTP half where memory is short: it does late what it could not do, and nothing twice. */
#include "http_fx.h"
#include "tp_suites.h"

#include <stdio.h>
#include <string.h>

enum { ROUNDS = 60, HEALED = 20, FAILS = 160 };

static struct fx f;
static bool moved; /* at the platform */

#define OK(data) "{\"code\":200,\"message\":\"Success\",\"data\":" data "}"

#define GATEWAY(at)                                                                                \
    "{\"id\":\"g\",\"device_type\":\"2\",\"device_number\":\"G\",\"sub_devices\":[{\"device_id\":" \
    "\"s\","                                                                                       \
    "\"sub_device_addr\":\"" at "\"}]}"
#define DEVICE_A                                                                                   \
    "{\"id\":\"a\",\"voucher\":\"{\\\"serial\\\":\\\"1\\\"}\",\"device_type\":\"1\","              \
    "\"device_number\":\"A\",\"config\":{\"interval\":\"1\"}}"

static const char *answer_to(const struct fx_call *c)
{
    if (strstr(c->url, "/plugin/devices") != NULL) {
        return strstr(c->body, "\"device_type\":\"2\"") == NULL
                   ? OK("{\"total\":1,\"list\":[" DEVICE_A "]}")
               : moved ? OK("{\"total\":1,\"list\":[" GATEWAY("8") "]}")
                       : OK("{\"total\":1,\"list\":[" GATEWAY("7") "]}");
    }
    if (strstr(c->url, "/device/config") != NULL) {
        return strstr(c->body, "serial") != NULL
                   ? OK("{\"id\":\"e\",\"device_type\":\"1\",\"device_number\":\"E\"}")
               : strstr(c->body, "\"a\"") != NULL ? OK(DEVICE_A)
               : strstr(c->body, "\"e\"") != NULL
                   ? OK("{\"id\":\"e\",\"voucher\":\"{\\\"serial\\\":\\\"5\\\"}\",\"device_type\":"
                        "\"1\"}")
                   : OK(GATEWAY("8"));
    }
    return strstr(c->url, "/access/list") != NULL
               ? OK("[{\"id\":\"p\",\"name\":\"n\",\"voucher\":\"{}\",\"devices\":null}]")
               : OK("{\"id\":\"p\",\"name\":\"m\",\"voucher\":\"{}\"}");
}

static void answer_all(void)
{
    struct fx_call *c;
    for (int i = 0; i < 20 && (c = fx_open(&f, "", "")) != NULL; i++) {
        const char *text = answer_to(c);
        fx_answer_raw(&f, c, 200, text, strlen(text));
    }
}

static void happen(int round)
{
    switch (round) {
    case 3:
        (void) fx_login(&f, 0, "V5", NULL);
        break;
    case 4:
        moved = true;
        (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"g\"}", "");
        break;
    case 5:
        (void) fx_request(
            &f, "POST", "/api/v1/notify/event", "",
            "{\"message_type\":\"1\",\"message\":\"{\\\"service_access_id\\\":\\\"p\\\"}\"}", "");
        break;
    case 6:
        (void) fx_request(&f, "GET", "/api/v1/plugin/device/list", "voucher={}", "", "");
        (void) tp_finder_step(f.h);
        break;
    case HEALED:
        f.env.alloc.fail_at = 0;
        break;
    case HEALED + 10:
        (void) fx_request(&f, "POST", "/api/v1/device/disconnect", "", "{\"device_id\":\"g\"}", "");
        break;
    default:
        break;
    }
}

START_TEST(what_failed_for_memory_is_done_later)
{
    struct tp_found found;
    char path[300];
    for (size_t k = 1; k <= FAILS; k++) {
        snprintf(path, sizeof(path), "%s/state.json", tk_tmpdir());
        fx_init(&f, 2, path);
        moved = false;
        f.env.alloc.fail_at = f.env.alloc.count + k;
        f.env.alloc.sticky = k % 2 == 0;
        for (int round = 0; round < ROUNDS; round++) {
            fx_pass(&f, 2000);
            answer_all();
            happen(round);
        }
        tk_ok(fx_login(&f, 1, "V5", NULL));
        tk_ok(fx_login(&f, 2, "V1", NULL));
        for (int i = 0; i < 5; i++) {
            fx_pass(&f, 1000);
            answer_all();
        }
        ck_assert_msg(f.ends[1].told && f.ends[1].code == 0, "allocation %zu: login: %d", k,
                      f.ends[1].code);
        ck_assert_msg(f.ends[2].told && f.ends[2].code == 0, "allocation %zu: login: %d", k,
                      f.ends[2].code);
        ck_assert_msg(tp_http_directory.child(f.h, TPC_STR("g"), TPC_STR("8"), &found),
                      "allocation %zu: no device behind", k);
        ck_assert_msg(f.host.device_count == 4, "allocation %zu: devices", k);
        ck_assert_msg(fx_heard(&f, "device a number=A parent= address= config={\"interval\":1}"),
                      "allocation %zu: configuration", k);
        fx_fini(&f); /* which finds what was not freed */
    }
}
END_TEST

static int make(const struct tpc_allocator *a, void *user)
{
    const struct tpc_host *given = user;
    struct tpc_host host = *given;
    struct tp_http *h = NULL;
    host.allocator = a;
    int rc = tp_http_create(&host, &f.host, &f.config, &h);
    rc = rc != 0 ? rc : tp_http_serve(h, &f.ops, NULL, NULL);
    tp_http_destroy(h);
    return rc;
}

START_TEST(half_that_cannot_be_made_leaves_nothing)
{
    fx_init(&f, 1, NULL);
    tk_each_alloc_fails(make, &f.host.base);
    fx_fini(&f);
}
END_TEST

Suite *short_suite(void)
{
    Suite *s = suite_create("short");
    TCase *t = tcase_create("short");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, what_failed_for_memory_is_done_later);
    tcase_add_test(t, half_that_cannot_be_made_leaves_nothing);
    suite_add_tcase(s, t);
    return s;
}
