/*
 * A service of type 2 with every element that forms have, for thingspanel_service_third.py: usage
 * contract-third-party CONFIG.yaml. What the library tells it stands on the standard output, a line each.
 */
#include "../../examples/common/assemble.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/service.h>

enum { DRAIN_MS = 3000, FOUND = 25 };

static const struct tpc_service_form forms[] = {
    { "SVCR", NULL,
      "[{\"dataKey\":\"token\",\"label\":\"Token\",\"placeholder\":\"of the "
      "account\",\"type\":\"input\","
      "\"validate\":{\"required\":true,\"type\":\"string\",\"message\":\"needed\",\"rules\":\"/^t/"
      "\"}},"
      "{\"dataKey\":\"region\",\"label\":\"Region\",\"type\":\"select\","
      "\"options\":[{\"label\":\"Europe\",\"value\":\"eu\"},{\"label\":\"Asia\",\"value\":2}]}]" },
    { "CFG", "1",
      "[{\"dataKey\":\"interval\",\"label\":\"Interval\",\"type\":\"input\",\"default\":\"10\","
      "\"inputType\":\"number\",\"validate\":{\"required\":true,\"type\":\"number\"}},"
      "{\"dataKey\":\"on\",\"label\":\"On\",\"type\":\"switch\",\"validate\":{\"type\":\"boolean\"}"
      "},"
      "{\"dataKey\":\"rows\",\"label\":\"Rows\",\"type\":\"table\",\"array\":["
      "{\"dataKey\":\"address\",\"label\":\"Address\",\"type\":\"input\",\"validate\":{\"type\":"
      "\"number\"}},"
      "{\"dataKey\":\"name\",\"label\":\"Name\",\"type\":\"input\"}]}]" },
    { "VCR", NULL,
      "[{\"dataKey\":\"serial\",\"label\":\"Serial\",\"type\":\"input\","
      "\"validate\":{\"required\":true,\"type\":\"string\"}}]" },
    { "VCRT", NULL, "{\"Serial number\":\"SERIAL\"}" },
};

static int decode(void *user, const struct tpc_frame *frame, struct tpc_reading *r)
{
    (void) user;
    (void) frame;
    return tpc_reading_int(r, "n", 1);
}

static void say(const char *what, struct tpc_str a, struct tpc_str b, int gone)
{
    static const char *words[] = { "there", "gone" };
    printf("%s %s %.*s %.*s\n", what, words[gone != 0], (int) a.len, a.len > 0 ? a.ptr : "",
           (int) b.len, b.len > 0 ? b.ptr : "");
    fflush(stdout);
}

static void say_interval(const struct tpc_value *config)
{
    const struct tpc_value *interval = tpc_value_get(config, tpc_str_from("interval"));
    if (interval != NULL && interval->type == TPC_INT) {
        printf("interval %lld\n", (long long) interval->as.i);
        fflush(stdout);
    } else if (interval != NULL && interval->type == TPC_DOUBLE) {
        printf("interval %.0f\n", interval->as.d);
        fflush(stdout);
    } else if (interval != NULL) {
        printf("interval of type %d\n", (int) interval->type);
        fflush(stdout);
    }
}

static void configured(void *user, const struct tpc_service_device *device, int gone)
{
    (void) user;
    say("device", device->number, device->access_point, gone);
    if (!gone && device->config != NULL) {
        say_interval(device->config);
    }
}

static void access_changed(void *user, const struct tpc_service_access *a, int gone)
{
    (void) user;
    say("access", a->id, a->voucher, gone);
}

/* An account with 25 devices; its token is their prefix. */
static int discover(void *user, struct tpc_str voucher, uint32_t page, uint32_t page_size,
                    tpc_service_found_fn *fn, void *fn_user, uint32_t *ret_total)
{
    (void) user;
    say("discover", voucher, tpc_str_from(""), 0);
    if (voucher.len == 0 || voucher.ptr[0] != '{') {
        return TPC_EDENIED;
    }
    uint32_t first = (page - 1) * page_size;
    for (uint32_t i = first; i < FOUND && i - first < page_size; i++) {
        char number[16], name[24];
        snprintf(number, sizeof(number), "T-%02u", i + 1);
        snprintf(name, sizeof(name), "Device \"%u\"", i + 1);
        struct tpc_service_found f = { .size = sizeof(f) };
        f.number = tpc_str_from(number);
        f.name = tpc_str_from(name);
        f.description = tpc_str_from("found");
        int rc = fn(fn_user, &f);
        if (rc != 0) {
            return rc;
        }
    }
    *ret_total = FOUND;
    return 0;
}

static const struct tpc_service_ops ops = {
    .iface = TPC_IFACE(struct tpc_service_ops, 1),
    .identifier = "cloud",
    .type = 2,
    .forms = TPC_LIST(forms),
    .decode = decode,
    .configured = configured,
    .discover = discover,
    .access = access_changed,
};

static void on_log(void *user, int level, const char *subject, const char *text)
{
    (void) user;
    fprintf(stderr, "%d %s: %s\n", level, subject, text);
}

static int run(struct config *c)
{
    char line[64];
    struct tpc_core *core;
    if (assemble_core(c, 0, on_log, NULL, &core) != 0) {
        return 1;
    }
    int rc = assemble_parts(c, core, ASSEMBLE_ALL);
    rc = rc != 0 ? rc : tpc_service_serve(core, &ops, NULL);
    rc = rc != 0 ? rc : assemble_entities(c, core);
    rc = rc != 0 ? rc : tpc_core_start(core);
    if (rc == 0) {
        puts("ready");
        fflush(stdout);
        while (fgets(line, sizeof(line), stdin) != NULL) {
        }
        rc = tpc_core_stop(core, DRAIN_MS);
    } else if (c->error[0] == '\0') {
        fprintf(stderr, "%s\n", tpc_error_last()->text);
    }
    return tpc_core_destroy(core) != 0 || rc != 0;
}

int main(int argc, char **argv)
{
    struct config c;
    if (argc != 2) {
        fputs("usage: contract-third-party CONFIG.yaml\n", stderr);
        return 2;
    }
    int rc = config_read(&c, argv[1]) == 0 ? run(&c) : 1;
    if (rc != 0) {
        fprintf(stderr, "%s\n", c.error);
    }
    config_free(&c);
    return rc;
}
