/*
 * tp-tool: trying codecs, looking into logs and histories.
 */
#include "../common/assemble.h"
#include "tool.h"

#include <stdio.h>
#include <string.h>

enum { OBJECTS_MAX = 64 };

static int usage(void)
{
    fputs(
        "usage: tp-tool codec PRODUCT --config CONFIG (--hex 0102.. | --text TEXT | --file FILE)\n"
        "                    [--kind telemetry|attributes|event|presence|reply|raw]\n"
        "                    [--topic TOPIC]\n"
        "         decodes bytes as the product does: points, the model's verdicts, script errors\n"
        "       tp-tool codec PRODUCT --config CONFIG --encode SERVICE [PARAMS_JSON]\n"
        "         the bytes that a command becomes\n"
        "       tp-tool history CONFIG DEVICE PROPERTY [--from MS] [--to MS] [--limit N] "
        "[--newest]\n"
        "                    [--agg count,min,max,sum,avg,first,last,first_time,last_time,p99\n"
        "                     [--every 10s|5m|1h|1d] | --lttb N | --average N]\n"
        "         samples as \"unix_ms value\", or aggregates (of all, or of windows), or N points "
        "for\n"
        "         many; the platform must not run\n"
        "       tp-tool history CONFIG --count PROPERTY\n"
        "         how many distinct values of it are stored, over all devices\n"
        "       tp-tool history CONFIG --all PROPERTY\n"
        "         \"device value\" for each sample\n"
        "       tp-tool dead CONFIG [PARTITION:OFFSET] [--device KEY] [--json | --redrive | "
        "--purge]\n"
        "         lists dead letters (--json: whole), gives them to their codecs again, takes "
        "them\n"
        "         off the list; the platform must not run\n"
        "       tp-tool import FILE.csv CONFIG [--dry-run] [--create | --update] [--tenant T]\n"
        "                    [--product P] [--quiet]\n"
        "         devices from CSV; bad rows on stderr, a sum on stdout; the platform must not "
        "run\n"
        "       tp-tool import-mycontroller FILE [--product P] [--zone Z] [--tenant T] [--out "
        "FILE]\n"
        "                    [--device PATTERN] [--property PATTERN] [--latitude N --longitude N]\n"
        "         tasks, schedules and handlers of MyController.org (YAML, or JSON: *.json) as a "
        "list\n"
        "         of entities; what is not the same on stderr\n"
        "       tp-tool model import|check FILE [--form tpcore|tsl|thingspanel] [--out FILE]\n"
        "       tp-tool model export FILE --form tpcore|tsl|thingspanel [--out FILE]\n"
        "         a thing model of any form as a product's \"model\", or in another form; faults "
        "as\n"
        "         FILE:LINE:COLUMN; - is stdin\n"
        "       tp-tool log DIR\n"
        "         segments, cursors with their lags and dead letters of a log that is not open\n"
        "       tp-tool rule list CONFIG\n"
        "       tp-tool rule run|reset CONFIG KEY [--kind scene|schedule] [--device D] "
        "[--tenant T]\n"
        "         does now what a scene or schedule does, without asking its condition; has it "
        "forget\n"
        "         that it fired; the platform must not run\n"
#ifdef HAVE_SQLITE
        "       tp-tool sql HISTORY_DB [--csv | --json] [--header] [SQL]\n"
        "         table telemetry(tenant, device, product, property, ts, value) and the tables of\n"
        "         history.db, read-only, also while the platform runs; SQL from stdin if not "
        "given\n"
#endif
        "       tp-tool why CONFIG [DEVICE] [--tenant T] [--strangers]\n"
        "         the last failures of a device, newest first; without one, the last of each, "
        "unknown\n"
        "         ones that knock too; also while the platform runs\n"
        "       tp-tool alerts CONFIG [DEVICE] [--open] [--severity S] [--key KEY] [--tenant T]\n"
        "                    [--limit N] [--after ID]\n"
        "         what is wrong and what was, raised last first; also while the platform runs\n"
        "       tp-tool audit CONFIG [--kind K] [--key KEY] [--actor A] [--tenant T] [--limit N]\n"
        "                    [--before NUMBER] [--json]\n"
        "         who changed what, the newest first; also while the platform runs\n"
        "       tp-tool commands CONFIG DEVICE [--state S] [--service S] [--limit N] [--before "
        "ID]\n"
        "                    [--from MS] [--to MS] [--tenant T] [--json]\n"
        "         what was sent to a device and what became of it, the newest first, with\n"
        "         ThingsPanel's status; also while the platform runs\n"
        "       tp-tool rule-test CONFIG RULE.yaml [MESSAGES.yaml] [--key KEY] [--kind K] "
        "[--tenant T]\n"
        "                    [--from TIME] [--for SPAN] [--steps N] [--empty] [--files] [--json]\n"
        "         what a scene, rule, schedule or alert would do, step by step; nothing is sent "
        "or\n"
        "         stored; --files: products and devices of the configuration's files instead of "
        "its\n"
        "         store; also while the platform runs\n"
        "       tp-tool modules [PATH/tpc_NAME.so ..]\n"
        "         modules linked in, and those of shared objects\n",
        stderr);
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
    const char *command = argc > 1 ? argv[1] : "";
    int rc = 2;
    if (strcmp(command, "codec") == 0) {
        rc = tool_codec(argc - 2, argv + 2);
    } else if (strcmp(command, "dead") == 0) {
        rc = tool_dead(argc - 2, argv + 2);
    } else if (strcmp(command, "history") == 0) {
        rc = tool_history(argc - 2, argv + 2);
    } else if (strcmp(command, "import") == 0) {
        rc = tool_import(argc - 2, argv + 2);
    } else if (strcmp(command, "import-mycontroller") == 0) {
        rc = tool_mycontroller(argc - 2, argv + 2);
    } else if (strcmp(command, "model") == 0) {
        rc = tool_model(argc - 2, argv + 2);
    } else if (strcmp(command, "log") == 0) {
        rc = tool_log(argc - 2, argv + 2);
    } else if (strcmp(command, "rule") == 0) {
        rc = tool_rule(argc - 2, argv + 2);
#ifdef HAVE_SQLITE
    } else if (strcmp(command, "sql") == 0) {
        rc = tool_sql(argc - 2, argv + 2);
#endif
    } else if (strcmp(command, "commands") == 0) {
        rc = tool_commands(argc - 2, argv + 2);
    } else if (strcmp(command, "alerts") == 0) {
        rc = tool_alerts(argc - 2, argv + 2);
    } else if (strcmp(command, "audit") == 0) {
        rc = tool_audit(argc - 2, argv + 2);
    } else if (strcmp(command, "why") == 0) {
        rc = tool_why(argc - 2, argv + 2);
    } else if (strcmp(command, "rule-test") == 0) {
        rc = tool_rule_test(argc - 2, argv + 2);
    } else if (strcmp(command, "modules") == 0) {
        rc = tool_modules(argc - 2, argv + 2);
    }
    return rc == 2 ? usage() : rc;
}
