#include "rig.h"

#include "web.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <tpcore/modules.h>

struct flow f;

void put(const char *kind, const char *form)
{
    char text[600];
    snprintf(text, sizeof(text), "%s", form);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    int rc = tpc_entity_put(f.core, NULL, kind, tpc_str_from(text), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s", text, tpc_error_last()->text);
}

atomic_uint refuse_each, asked_for;

static void *short_resize(void *user, void *p, size_t old_size, size_t new_size)
{
    const struct tpc_allocator *a = tpc_allocator_default();
    uint32_t n = atomic_load(&refuse_each);
    (void) user;
    if (new_size > old_size && n != 0 && atomic_fetch_add(&asked_for, 1) % n == n - 1) {
        return NULL;
    }
    return a->resize(a->user, p, old_size, new_size);
}

static const struct tpc_allocator short_memory = { .resize = short_resize };

void begin(const char *options)
{
    web_reset();
    flow_init(&f, 0);
    f.o.allocator = &short_memory; /* the module has a thread: not the one of the kit */
    flow_create(&f);
    tk_ok(tpc_core_add_module(f.core, web_module()));
    tk_ok(tpc_core_add_module(f.core, web_user()));
    tk_ok(tpc_core_add_module(f.core, tpc_module_thingspanel_platform()));
    tk_ok(tpc_core_open(f.core, "web", "web", TPC_STR("{}")));
    tk_ok(tpc_core_open(f.core, "panel", "thingspanel_platform", tpc_str_from(options)));
    tk_ok(tpc_core_open(f.core, "user", "web_user", TPC_STR("{}")));
    put("service", "{'key':'METER','http_address':'127.0.0.1:7','device_type':2}");
    put("service", "{'key':'CLOUD','type':2,'http_address':'127.0.0.1:8'}");
    put("service", "{'key':'DUMB'}");
    put("product",
        "{'key':'meter','protocol':'METER','model':{},'secret':'s1','auto_register':true,"
        "'protocol_config':{'a':1}}");
    put("product", "{'key':'hub','type':'gateway','protocol':'METER','model':{}}");
    put("product", "{'key':'sub','type':'sub','protocol':'METER','model':{},'secret':'s2',"
                   "'auto_register':true}");
    put("product", "{'key':'cloud','protocol':'CLOUD','model':{},'secret':'s3'}");
    put("product", "{'key':'plain','model':{}}");
    put("access_point",
        "{'key':'p1','service':'CLOUD','name':'P','voucher':'{\\'u\\':\\'a b\\'}'}");
    put("device", "{'key':'m1','product':'meter','protocol_config':{'i':5},"
                  "'credentials':{'voucher':'{\\'reg_pkg\\':\\'M1\\'}'}}");
    put("device", "{'key':'m2','product':'meter','credentials':{'username':'u','password':'p'}}");
    put("device", "{'key':'m3','product':'meter','enabled':false}");
    put("device", "{'key':'hub1','product':'hub'}");
    put("device", "{'key':'s1','product':'sub','gateway':'hub1','address':'1',"
                  "'protocol_config':{'x':true}}");
    put("device", "{'key':'c1','product':'cloud','name':'C','access_point':'p1'}");
    put("device", "{'key':'q1','product':'plain'}");
    flow_start(&f);
}

void end(void)
{
    flow_fini(&f);
}

void expect_from(const char *peer, uint32_t status, const char *path, const char *body,
                 const char *want)
{
    char text[800], wanted[2000];
    snprintf(text, sizeof(text), "%s", body);
    snprintf(wanted, sizeof(wanted), "%s", want);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    for (char *p = wanted; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    uint32_t got = web_ask("POST", path, text, peer);
    ck_assert_msg(got == status, "%s %s: HTTP %u", path, text, (unsigned) got);
    ck_assert_msg(strncmp(web.answer, wanted, strlen(wanted)) == 0, "%s %s\n got %s\nwant %s", path,
                  text, web.answer, wanted);
}

void expect(const char *path, const char *body, const char *want)
{
    expect_from("127.0.0.1", 200, path, body, want);
}

void turn(uint32_t ms)
{
    (void) tpc_core_step(f.core, 0, NULL);
    tk_clock_advance(&f.e.clock, ms);
    poll(NULL, 0, 1);
}
