/* A command's record in ThingsPanel's words: its contract, 6.4 and 6.5. */
#include <tpcore/command.h>

uint32_t tpc_command_panel_status(const struct tpc_command *c)
{
    bool control = c->kind == TPC_MSG_TELEMETRY_SET;
    /* Of versions that did not note it: a device's code is its own, ours are below zero. */
    bool answered = c->answered != 0 || (c->tries > 0 && c->code > 0);
    switch (c->state) {
    case TPC_COMMAND_QUEUED:
        return TPC_PANEL_PENDING;
    case TPC_COMMAND_SENT:
        return TPC_PANEL_SENT;
    case TPC_COMMAND_SUCCEEDED:
        return control ? TPC_PANEL_SENT : TPC_PANEL_SUCCEEDED;
    case TPC_COMMAND_FAILED:
        return answered ? TPC_PANEL_FAILED : TPC_PANEL_SEND_FAILED;
    case TPC_COMMAND_CANCELED:
        return c->tries > 0 ? TPC_PANEL_SENT : TPC_PANEL_SEND_FAILED;
    case TPC_COMMAND_EXPIRED:
        return TPC_PANEL_SEND_FAILED;
    default: /* timed out, or sent before a restart */
        return control ? TPC_PANEL_SEND_FAILED : TPC_PANEL_NO_ANSWER;
    }
}

uint32_t tpc_command_operation_type(const struct tpc_command *c)
{
    static const struct tpc_str rule = TPC_STR_INIT("rule");
    bool whole = c->actor.len == rule.len || (c->actor.len > rule.len && c->actor.ptr[4] == ' ');
    return whole && tpc_str_equal((struct tpc_str){ c->actor.ptr, rule.len }, rule) ? 2 : 1;
}

const char *tpc_command_expected_status(const struct tpc_command *c)
{
    uint32_t status = tpc_command_panel_status(c);
    if (status == TPC_PANEL_SEND_FAILED) {
        return "expired";
    }
    return status == TPC_PANEL_PENDING && c->tries == 0 ? "pending" : "sent";
}
