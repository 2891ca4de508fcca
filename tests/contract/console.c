/*
 * A platform with a console, for the tests of the contracts: tp-platform's assembly, and commands on
 * standard input, one a line, each answered by one line on standard output.
 *
 *   put KIND JSON | delete KIND KEY | latest DEVICE PROPERTY | online DEVICE | messages DEVICE
 *   command DEVICE SERVICE JSON   answers "ok"; when it ends comes a line "ended STATE REPLY"
 *   expect DEVICE SERVICE LABEL EXPIRE_MS RULE JSON   the same, quietly, times out after four seconds; RULE 1: a
 *                                 rule sends it
 *   form SERVICE DEVICE_TYPE FORM_TYPE, found ACCESS_POINT PAGE PAGE_SIZE   what ThingsPanel's services answer; DEVICE_TYPE
 *                                 - = none
 *   quit
 */
#include "../../examples/common/assemble.h"
#include "ask_panel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/command.h>
#include <tpcore/json.h>

enum { LINE_BYTES = 65536, DRAIN_MS = 5000 };

static void on_log(void *user, int level, const char *subject, const char *text)
{
    (void) user;
    fprintf(stderr, "%d %s: %s\n", level, subject, text);
}

static void answer(int rc)
{
    const struct tpc_error *e = tpc_error_last();
    if (rc == 0) {
        puts("ok");
    } else {
        printf("%s %s: %s\n", tpc_error_name(rc), e->path, e->text);
    }
}

/* Cuts the next word off; the rest stays in *at. */
static const char *word(char **at)
{
    char *p = *at;
    char *space = strchr(p, ' ');
    if (space != NULL) {
        *space = '\0';
        *at = space + 1;
    } else {
        *at = p + strlen(p);
    }
    return p;
}

static void put(struct tpc_core *core, char *at)
{
    const char *kind = word(&at);
    answer(tpc_entity_put(core, NULL, kind, tpc_str_from(at), TPC_ANY_REV, NULL));
}

static void delete (struct tpc_core *core, char *at)
{
    const char *kind = word(&at);
    struct tpc_str none = { NULL, 0 };
    answer(tpc_entity_delete(core, NULL, none, kind, tpc_str_from(at), TPC_ANY_REV));
}

static struct tpc_device *device(struct tpc_core *core, const char *key)
{
    struct tpc_device *d = NULL;
    int rc = tpc_device_open(core, tpc_str_from(key), &d);
    if (rc != 0) {
        answer(rc);
    }
    return d;
}

static void latest(struct tpc_core *core, char *at)
{
    static uint8_t space[4096], text[8192];
    struct tpc_device *d = device(core, word(&at));
    struct tpc_buf buf = { space, sizeof(space), 0 };
    struct tpc_buf json = { text, sizeof(text) - 1, 0 };
    struct tpc_value v;
    if (d == NULL) {
        return;
    }
    int rc = tpc_latest_get(d, tpc_str_from(at), &buf, &v, NULL);
    rc = rc != 0 ? rc : tpc_json_write(&v, 0, &json);
    if (rc == 0) {
        printf("%.*s\n", (int) json.need, (const char *) text);
    } else {
        answer(rc);
    }
    tpc_device_unref(d);
}

static void state(struct tpc_core *core, const char *key, bool online)
{
    struct tpc_device *d = device(core, key);
    struct tpc_device_info info;
    if (d != NULL) {
        (void) tpc_device_info(d, &info);
        printf("%llu\n", (unsigned long long) (online ? info.online : info.messages));
        tpc_device_unref(d);
    }
}

static void on_end(void *user, const struct tpc_command *c)
{
    (void) user;
    printf("ended %u %.*s\n", (unsigned) c->state, (int) c->reply_json.len,
           c->reply_json.len > 0 ? c->reply_json.ptr : "");
    fflush(stdout);
}

static void command(struct tpc_core *core, char *at)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    o.device = device(core, word(&at));
    if (o.device == NULL) {
        return;
    }
    o.service = tpc_str_from(word(&at));
    o.params_json = tpc_str_from(at);
    o.timeout_ms = 5000;
    answer(tpc_command_send(core, NULL, &o, on_end, NULL, NULL));
    tpc_device_unref(o.device);
}

static void expect(struct tpc_core *core, char *at)
{
    struct tpc_command_options o = TPC_COMMAND_OPTIONS_INIT;
    struct tpc_actor actor = { .size = sizeof(actor), .type = TPC_ACTOR_USER };
    o.device = device(core, word(&at));
    if (o.device == NULL) {
        return;
    }
    o.service = tpc_str_from(word(&at));
    o.label = tpc_str_from(word(&at));
    o.expire_ms = (uint32_t) strtoul(word(&at), NULL, 10);
    actor.type = strcmp(word(&at), "1") == 0 ? TPC_ACTOR_RULE : TPC_ACTOR_USER;
    o.params_json = tpc_str_from(at);
    o.timeout_ms = 4000;
    answer(tpc_command_send(core, &actor, &o, NULL, NULL, NULL));
    tpc_device_unref(o.device);
}

static void obey(struct tpc_core *core, char *line)
{
    const char *verb = word(&line);
    if (strcmp(verb, "put") == 0) {
        put(core, line);
    } else if (strcmp(verb, "delete") == 0) {
        delete (core, line);
    } else if (strcmp(verb, "latest") == 0) {
        latest(core, line);
    } else if (strcmp(verb, "online") == 0 || strcmp(verb, "messages") == 0) {
        state(core, line, verb[0] == 'o');
    } else if (strcmp(verb, "command") == 0) {
        command(core, line);
    } else if (strcmp(verb, "expect") == 0) {
        expect(core, line);
    } else if (strcmp(verb, "form") == 0 || strcmp(verb, "found") == 0) {
        const char *who = word(&line);
        const char *one = word(&line);
        ask_panel(core, verb, who, one, line);
    } else {
        puts("there is no such command");
    }
    fflush(stdout);
}

static int run(struct config *c)
{
    static char line[LINE_BYTES];
    struct tpc_core *core;
    if (assemble_core(c, 0, on_log, NULL, &core) != 0) {
        return 1;
    }
    int rc = ask_panel_add(core) != 0 ? 1 : assemble_parts(c, core, ASSEMBLE_ALL);
    rc = rc != 0 ? rc : assemble_entities(c, core);
    if (rc == 0 && tpc_core_start(core) != 0) {
        snprintf(c->error, sizeof(c->error), "%s", tpc_error_last()->text);
        rc = 1;
    }
    if (rc == 0) {
        puts("ready");
        fflush(stdout);
        while (fgets(line, sizeof(line), stdin) != NULL && strcmp(line, "quit\n") != 0) {
            line[strcspn(line, "\n")] = '\0';
            obey(core, line);
        }
        rc = tpc_core_stop(core, DRAIN_MS);
    }
    return tpc_core_destroy(core) != 0 || rc != 0;
}

int main(int argc, char **argv)
{
    struct config c;
    int rc = argc == 2 ? config_read(&c, argv[1]) : -1;
    if (argc != 2) {
        fputs("usage: contract-console CONFIG.yaml\n", stderr);
        return 2;
    }
    c.error[sizeof(c.error) - 1] = '\0';
    rc = rc == 0 ? run(&c) : 1;
    if (rc != 0) {
        fprintf(stderr, "%s\n", c.error);
    }
    config_free(&c);
    return rc;
}
