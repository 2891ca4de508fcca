/* tp-tool commands: what was sent to a device and what became of it; also while the platform runs. */
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tpcore/command.h>
#include <tpcore/json.h>

enum { JSON_BYTES = 1 << 20, ARENA_BYTES = 16 << 20 };

struct commands {
    const char *config;
    const char *device;
    struct tpc_command_filter filter;
    bool json;
    uint32_t told;
    struct tpc_arena *arena;
};

static int parse_state(const char *name, uint32_t *ret)
{
    for (uint32_t s = TPC_COMMAND_QUEUED; s <= TPC_COMMAND_UNKNOWN; s++) {
        if (strcmp(tpc_command_state_name(s), name) == 0) {
            *ret = s;
            return 0;
        }
    }
    return -1;
}

static int parse_option(struct commands *c, const char *name, const char *value)
{
    if (strcmp(name, "--tenant") == 0) {
        c->filter.tenant = tpc_str_from(value);
    } else if (strcmp(name, "--service") == 0) {
        c->filter.service = tpc_str_from(value);
    } else if (strcmp(name, "--state") == 0) {
        return parse_state(value, &c->filter.state);
    } else if (strcmp(name, "--limit") == 0) {
        c->filter.limit = (uint32_t) strtoul(value, NULL, 10);
    } else if (strcmp(name, "--from") == 0) {
        c->filter.from_unix_ms = strtoll(value, NULL, 10);
    } else if (strcmp(name, "--to") == 0) {
        c->filter.to_unix_ms = strtoll(value, NULL, 10);
    } else if (strcmp(name, "--before") == 0) {
        return tpc_id_parse(tpc_str_from(value), &c->filter.before);
    } else {
        return -1;
    }
    return 0;
}

static int parse(int argc, char **argv, struct commands *c)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            c->json = true;
        } else if (argv[i][0] != '-' && c->config == NULL) {
            c->config = argv[i];
        } else if (argv[i][0] != '-' && c->device == NULL) {
            c->device = argv[i];
        } else if (i + 1 >= argc || parse_option(c, argv[i], argv[i + 1]) != 0) {
            return -1;
        } else {
            i++;
        }
    }
    return c->device == NULL ? -1 : 0;
}

static struct tpc_value text(struct tpc_str s)
{
    return (struct tpc_value){ .type = TPC_TEXT, .len = s.len, .as.text = s.ptr };
}

static struct tpc_value number(int64_t i)
{
    return (struct tpc_value){ .type = TPC_INT, .as.i = i };
}

static struct tpc_value tree(struct commands *c, struct tpc_str json)
{
    struct tpc_value v = { .type = TPC_NULL };
    if (json.len > 0) {
        (void) tpc_json_parse(c->arena, json, 0, NULL, &v);
    }
    return v;
}

static void print_json(struct commands *a, const struct tpc_command *c, const char *id)
{
    static uint8_t space[JSON_BYTES];
    struct tpc_buf buf = { space, sizeof(space), 0 };
    const struct tpc_member members[] = {
        { TPC_STR("id"), text(tpc_str_from(id)) },
        { TPC_STR("service"), text(c->service) },
        { TPC_STR("params"), tree(a, c->params_json) },
        { TPC_STR("label"), text(c->label) },
        { TPC_STR("actor"), text(c->actor) },
        { TPC_STR("state"), text(tpc_str_from(tpc_command_state_name(c->state))) },
        { TPC_STR("panel_status"), number(tpc_command_panel_status(c)) },
        { TPC_STR("operation_type"), number(tpc_command_operation_type(c)) },
        { TPC_STR("expected"), text(tpc_str_from(tpc_command_expected_status(c))) },
        { TPC_STR("code"), number(c->code) },
        { TPC_STR("reason"), text(c->reason) },
        { TPC_STR("reply"), tree(a, c->reply_json) },
        { TPC_STR("tries"), number(c->tries) },
        { TPC_STR("created_unix_ms"), number(c->created_unix_ms) },
        { TPC_STR("sent_unix_ms"), number(c->sent_unix_ms) },
        { TPC_STR("closed_unix_ms"), number(c->closed_unix_ms) },
        { TPC_STR("expire_unix_ms"), number(c->expire_unix_ms) },
    };
    const struct tpc_value v = { .type = TPC_MAP,
                                 .len = sizeof(members) / sizeof(members[0]),
                                 .as.members = members };
    if (tpc_json_write(&v, 0, &buf) == 0) {
        printf("%.*s\n", (int) buf.need, (const char *) space);
    } else {
        fprintf(stderr, "tp-tool: %s is too long\n", id);
    }
    tpc_arena_reset(a->arena);
}

static int print(void *user, const struct tpc_command *c)
{
    struct commands *a = user;
    char id[TPC_ID_TEXT_BYTES + 1];
    char when[32];
    a->told++;
    tpc_id_format(&c->id, id);
    if (a->json) {
        print_json(a, c, id);
        return 0;
    }
    tool_time(c->created_unix_ms, when);
    printf("%s %s %s %u %.*s %.*s", id, when, tpc_command_state_name(c->state),
           (unsigned) tpc_command_panel_status(c), (int) c->service.len, c->service.ptr,
           c->params_json.len > 0 ? (int) c->params_json.len : 1,
           c->params_json.len > 0 ? c->params_json.ptr : "-");
    if (c->label.len > 0) {
        printf(" [%.*s]", (int) c->label.len, c->label.ptr);
    }
    if (c->reason.len > 0) {
        printf(" %.*s", (int) c->reason.len, c->reason.ptr);
    }
    putchar('\n');
    return 0;
}

int tool_commands(int argc, char **argv)
{
    struct commands a = { .filter = TPC_COMMAND_FILTER_INIT };
    struct config c;
    struct tpc_core *core = NULL;
    if (parse(argc, argv, &a) != 0) {
        return 2;
    }
    a.filter.device = tpc_str_from(a.device);
    int rc = tool_observe(a.config, &c, &core);
    if (rc == 0) {
        rc = tpc_arena_create(NULL, ARENA_BYTES, &a.arena);
    }
    if (rc == 0 && tpc_command_list(core, &a.filter, print, &a) != 0) {
        rc = tool_fail("commands");
    } else if (rc == 0 && a.told == 0) {
        fputs("no command\n", stderr);
    }
    tpc_arena_destroy(a.arena);
    tool_close(&c, core);
    return rc != 0;
}
