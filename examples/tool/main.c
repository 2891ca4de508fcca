/*
 * tp-tool: trying codecs, looking into logs and histories.
 */
#include "../common/assemble.h"
#include "tool.h"

#include <stdio.h>
#include <string.h>

enum { OBJECTS_MAX = 64 };

struct command {
    const char *name;
    int (*run)(int argc, char **argv); /* gets what stands behind its name */
    const char *usage;
};

static int tool_modules(int count, char **paths);

static const struct command commands[] = {
    { "codec", tool_codec,
      "tp-tool codec PRODUCT --config CONFIG (--hex 0102..|FILE | --text TEXT | --file FILE | "
      "--pcap FILE)\n"
      "             [--kind telemetry|attributes|event|presence|reply|raw]\n"
      "             [--topic TOPIC] [--framing '{\"type\":\"length\",\"size\":2}'] [--port N]\n"
      "  decodes bytes as the product does: points, the model's verdicts, script errors; "
      "--framing\n"
      "  finds frames in them as the adapter tcp does, --pcap in what a capture sent to port N\n"
      "tp-tool codec PRODUCT --config CONFIG --encode SERVICE [PARAMS_JSON]\n"
      "  the bytes that a command becomes\n" },
    { "history", tool_history,
      "tp-tool history CONFIG DEVICE PROPERTY [--from MS] [--to MS] [--limit N] [--newest]\n"
      "             [--agg count,min,max,sum,avg,first,last,first_time,last_time,p99\n"
      "              [--every 10s|5m|1h|1d] | --lttb N | --average N]\n"
      "  samples as \"unix_ms value\", or aggregates (of all, or of windows), or N points for\n"
      "  many; the platform must not run\n"
      "tp-tool history CONFIG --count PROPERTY\n"
      "  how many distinct values of it are stored, over all devices\n"
      "tp-tool history CONFIG --all PROPERTY\n"
      "  \"device value\" for each sample\n" },
    { "dead", tool_dead,
      "tp-tool dead CONFIG [PARTITION:OFFSET] [--device KEY] [--json | --redrive | --purge]\n"
      "  lists dead letters (--json: whole), gives them to their codecs again, takes them\n"
      "  off the list; the platform must not run\n" },
    { "import", tool_import,
      "tp-tool import FILE.csv CONFIG [--dry-run] [--create | --update] [--tenant T]\n"
      "             [--product P] [--quiet]\n"
      "  devices from CSV; bad rows on stderr, a sum on stdout; the platform must not run\n" },
    { "import-mycontroller", tool_mycontroller,
      "tp-tool import-mycontroller FILE [--product P] [--zone Z] [--tenant T] [--out FILE]\n"
      "             [--device PATTERN] [--property PATTERN] [--latitude N --longitude N]\n"
      "  tasks, schedules and handlers of MyController.org (YAML, or JSON: *.json) as a list\n"
      "  of entities; what is not the same on stderr\n" },
    { "import-thingspanel", tool_thingspanel,
      "tp-tool import-thingspanel FILE.json [--names FILE.json] [--out FILE]\n"
      "  automations, scenes and alarms of ThingsPanel as a list of entities; what has no place\n"
      "  on stderr\n" },
    { "model", tool_model,
      "tp-tool model import|check FILE [--form tpcore|tsl|thingspanel] [--out FILE]\n"
      "tp-tool model export FILE --form tpcore|tsl|thingspanel [--out FILE]\n"
      "  a thing model of any form as a product's \"model\", or in another form; faults as\n"
      "  FILE:LINE:COLUMN; - is stdin\n" },
    { "log", tool_log,
      "tp-tool log DIR\n"
      "  segments, cursors with their lags and dead letters of a log that is not open\n" },
    { "rule", tool_rule,
      "tp-tool rule list CONFIG [--kind scene|rule|schedule|alert] [--tenant T]\n"
      "tp-tool rule run|reset CONFIG KEY [--kind scene|schedule] [--device D] [--tenant T]\n"
      "  does now what a scene or schedule does, without asking its condition; has it forget\n"
      "  that it fired; the platform must not run\n" },
#ifdef HAVE_SQLITE
    { "sql", tool_sql,
      "tp-tool sql HISTORY_DB [--csv | --json] [--header] [SQL]\n"
      "  table telemetry(tenant, device, product, property, ts, value) and the tables of\n"
      "  history.db, read-only, also while the platform runs; SQL from stdin if not given\n" },
#endif
    { "why", tool_why,
      "tp-tool why CONFIG [DEVICE] [--tenant T] [--strangers]\n"
      "  the last failures of a device, newest first; without one, the last of each, unknown\n"
      "  ones that knock too; also while the platform runs\n" },
    { "alerts", tool_alerts,
      "tp-tool alerts CONFIG [DEVICE] [--open] [--severity S] [--key KEY] [--tenant T]\n"
      "             [--limit N] [--after ID]\n"
      "  what is wrong and what was, raised last first; also while the platform runs\n" },
    { "audit", tool_audit,
      "tp-tool audit CONFIG [--kind K] [--key KEY] [--actor A] [--tenant T] [--limit N]\n"
      "             [--before NUMBER] [--json]\n"
      "  who changed what, the newest first; also while the platform runs\n" },
    { "commands", tool_commands,
      "tp-tool commands CONFIG DEVICE [--state S] [--service S] [--limit N] [--before ID]\n"
      "             [--from MS] [--to MS] [--tenant T] [--json]\n"
      "  what was sent to a device and what became of it, the newest first, with\n"
      "  ThingsPanel's status; also while the platform runs\n" },
    { "rule-test", tool_rule_test,
      "tp-tool rule-test CONFIG RULE.yaml [MESSAGES.yaml] [--key KEY] [--kind K] [--tenant T]\n"
      "             [--from TIME] [--for SPAN] [--steps N] [--empty] [--files] [--json]\n"
      "  what a scene, rule, schedule or alert would do, step by step; nothing is sent or\n"
      "  stored; --files: products and devices of the configuration's files instead of its\n"
      "  store; also while the platform runs\n" },
    { "modules", tool_modules,
      "tp-tool modules [PATH/tpc_NAME.so ..]\n"
      "  modules linked in, and those of shared objects\n" },
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

/* Of one command, or of all. */
static int usage(const struct command *of)
{
    fputs("usage:\n", stderr);
    for (size_t i = 0; i < COMMANDS; i++) {
        if (of == NULL || of == &commands[i]) {
            fputs(commands[i].usage, stderr);
        }
    }
    return 2;
}

static int print_module(void *user, const struct tpc_module_info *info)
{
    (void) user;
    printf("%-10s %-8s %-18s %s\n", info->name, info->version, info->interfaces, info->licence);
    return 0;
}

static int tool_modules(int count, char **paths)
{
    struct config c = { .file = "(arguments)" };
    struct tpc_value items[OBJECTS_MAX];
    struct tpc_member modules = { TPC_STR("modules"), { .type = TPC_ARRAY, .as.items = items } };
    struct tpc_core *core;
    if (count > OBJECTS_MAX) {
        return 2;
    }
    for (int i = 0; i < count; i++) {
        items[i] =
            (struct tpc_value){ .type = TPC_TEXT, .len = strlen(paths[i]), .as.text = paths[i] };
    }
    modules.value.len = (size_t) count;
    c.root = (struct tpc_value){ .type = TPC_MAP, .len = 1, .as.members = &modules };
    if (assemble_core(&c, 0, NULL, NULL, &core) != 0) {
        fprintf(stderr, "tp-tool: %s\n", c.error);
        return 1;
    }
    int rc = tpc_core_modules(core, print_module, NULL);
    tpc_core_destroy(core);
    return rc != 0;
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            int rc = commands[i].run(argc - 2, argv + 2);
            return rc == 2 ? usage(&commands[i]) : rc;
        }
    }
    return usage(NULL);
}
