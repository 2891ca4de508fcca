#include "rules/chain.h"

#include "base/alloc.h"
#include "registry/device.h"
#include "rules/rules_state.h"

#include <stdio.h>
#include <string.h>

enum { LINKS_SHOWN = 4 };

void tpi_chain_init(struct tpi_rules *r)
{
    pthread_mutex_init(&r->cut_lock, NULL);
    tpi_map64_init(&r->cut, r->env->alloc);
}

static void free_all(struct tpi_rules *r, struct tpi_map64 *m, size_t bytes)
{
    size_t iter = 0;
    void *value;
    while (tpi_map64_next(m, &iter, NULL, &value)) {
        tpi_free(r->env->alloc, value, bytes);
    }
    tpi_map64_fini(m);
}

void tpi_chain_fini(struct tpi_rules *r)
{
    for (uint32_t i = 0; r->partitions != NULL && i < r->host.partitions; i++) {
        free_all(r, &r->partitions[i].links, sizeof(struct tpi_chain_link));
    }
    free_all(r, &r->cut, TPI_CHAIN_TEXT);
    pthread_mutex_destroy(&r->cut_lock);
}

/* ---- over a device ---- */

static void copy_name(char ret[TPI_CHAIN_NAME], struct tpc_str name)
{
    size_t n = name.len < TPI_CHAIN_NAME ? name.len : TPI_CHAIN_NAME - 1;
    memcpy(ret, name.len > 0 ? name.ptr : "", n);
    ret[n] = '\0';
}

void tpi_chain_of(const struct tpi_rule_command *c, struct tpi_chain_link *ret)
{
    *ret = (struct tpi_chain_link){ .device = c->target->id,
                                    .partition = c->target->partition,
                                    .hops = c->hops };
    copy_name(ret->by, c->by);
    if (!tpc_str_equal(c->service, TPC_STR("set")) || c->params->type != TPC_MAP) {
        return;
    }
    for (size_t i = 0; i < c->params->len; i++) {
        const struct tpi_model *model = c->target->product->model;
        int index = tpi_model_find(model, c->params->as.members[i].key, NULL);
        if (index < 0) {
            continue;
        }
        if (ret->count < TPI_CHAIN_PROPERTIES) {
            ret->properties[ret->count] = tpi_model_property(model, (uint32_t) index)->id;
        }
        ret->count++;
    }
}

/* Those that are over make room. */
static void sweep(struct tpi_rules *r, struct tpi_map64 *links, int64_t now)
{
    uint64_t over[64];
    size_t n = 0, iter = 0;
    uint64_t device;
    void *value;
    while (n < sizeof(over) / sizeof(over[0]) && tpi_map64_next(links, &iter, &device, &value)) {
        const struct tpi_chain_link *l = value;
        if (l->until_unix_ms < now) {
            over[n++] = device;
        }
    }
    while (n > 0) {
        tpi_free(r->env->alloc, tpi_map64_remove(links, over[--n]), sizeof(struct tpi_chain_link));
    }
}

void tpi_chain_sent(struct tpi_rules *r, uint32_t worker, const struct tpi_chain_link *link)
{
    struct tpi_map64 *links = &r->partitions[link->partition].links;
    int64_t now = tpi_unix_ms(r->env);
    if (link->hops == 0) {
        return;
    }
    pthread_mutex_lock(&r->workers[worker].lock);
    struct tpi_chain_link *l = tpi_map64_get(links, link->device);
    if (l == NULL && tpi_map64_count(links) >= TPI_CHAIN_DEVICES) {
        sweep(r, links, now);
    }
    if (l == NULL && tpi_map64_count(links) < TPI_CHAIN_DEVICES) {
        l = tpi_alloc(r->env->alloc, sizeof(*l));
        if (l != NULL && tpi_map64_put(links, link->device, l, NULL) != 0) {
            tpi_free(r->env->alloc, l, sizeof(*l));
            l = NULL;
        }
    }
    if (l != NULL) {
        *l = *link;
        l->until_unix_ms = now + TPI_CHAIN_MS;
    } else {
        TPI_METRIC_ADD(r->counters.links_lost, 1);
    }
    pthread_mutex_unlock(&r->workers[worker].lock);
}

static bool has_prefix(struct tpc_str s, struct tpc_str prefix)
{
    return s.len > prefix.len && memcmp(s.ptr, prefix.ptr, prefix.len) == 0;
}

/* A rule's command, or the end of one. */
static bool is_commanded(const struct tpc_msg *msg)
{
    struct tpc_str actor = msg->kind == TPC_MSG_COMMAND ? msg->origin : (struct tpc_str){ NULL, 0 };
    if (msg->kind == TPC_MSG_COMMAND_CLOSED) {
        const struct tpc_value *v = tpc_value_get(&msg->params, TPC_STR("actor"));
        actor = v != NULL ? tpc_value_text(v) : actor;
    }
    return has_prefix(actor, TPC_STR("rule "));
}

static bool is_named(const struct tpi_chain_link *l, const struct tpc_msg *msg)
{
    if (msg->kind != TPC_MSG_TELEMETRY && msg->kind != TPC_MSG_ATTRIBUTES) {
        return is_commanded(msg);
    }
    if (l->count > TPI_CHAIN_PROPERTIES) {
        return true;
    }
    for (uint32_t i = 0; i < msg->point_count; i++) {
        uint16_t id = tpc_msg_point(msg, i)->property;
        for (uint32_t p = 0; p < l->count; p++) {
            if (l->properties[p] == id) {
                return true;
            }
        }
    }
    return false;
}

uint32_t tpi_chain_before(struct tpi_rules *r, const struct tpc_device *device,
                          const struct tpc_msg *msg, struct tpc_str *ret_origin)
{
    *ret_origin = (struct tpc_str){ NULL, 0 };
    if (msg == NULL) {
        return 0;
    }
    bool row = msg->kind == TPC_MSG_EVENT || msg->kind == TPC_MSG_TELEMETRY;
    if (row && has_prefix(msg->origin, TPC_STR("rule:"))) {
        *ret_origin = msg->origin;
        return msg->code > 0 ? (uint32_t) msg->code : 1;
    }
    const struct tpi_map64 *links = &r->partitions[msg->partition].links;
    if (device == NULL || tpi_map64_count(links) == 0) {
        return 0;
    }
    const struct tpi_chain_link *l = tpi_map64_get(links, device->id);
    if (l == NULL || msg->received_unix_ms > l->until_unix_ms || !is_named(l, msg)) {
        return 0;
    }
    *ret_origin = tpc_str_from(l->by);
    return l->hops;
}

/* ---- cutting ---- */

static void say(const struct tpi_act *act, char text[TPI_CHAIN_TEXT])
{
    struct tpc_str links[LINKS_SHOWN];
    uint32_t n = 0;
    const struct tpi_act *a = act;
    for (; a != NULL && n < LINKS_SHOWN; a = a->parent) {
        links[n++] = a->by;
        if (a->parent == NULL && a->origin.len > 0 && n < LINKS_SHOWN) {
            links[n++] = a->origin;
        }
    }
    int used = snprintf(text, TPI_CHAIN_TEXT, "cut after %d links: ..", TPI_RULES_HOPS);
    size_t at = used > 0 ? (size_t) used : 0;
    while (n > 0 && at < TPI_CHAIN_TEXT) {
        n--;
        used = snprintf(text + at, TPI_CHAIN_TEXT - at, " > %.*s",
                        (int) (links[n].len < 40 ? links[n].len : 40), links[n].ptr);
        at += used > 0 ? (size_t) used : 0;
    }
}

void tpi_chain_cut(const struct tpi_act *act)
{
    struct tpi_rules *r = act->rules;
    char text[TPI_CHAIN_TEXT];
    say(act, text);
    TPI_METRIC_ADD(r->counters.loops, 1);
    tpi_tally_failed(act->tally, tpi_unix_ms(r->env), TPI_LEDGER_LOOP, TPC_ETOOBIG,
                     act->device != NULL ? act->device->id : 0);
    pthread_mutex_lock(&r->cut_lock);
    char *known = tpi_map64_get(&r->cut, act->rule);
    bool first = known == NULL;
    if (first && tpi_map64_count(&r->cut) < TPI_CHAIN_TOLD) {
        known = tpi_alloc(r->env->alloc, TPI_CHAIN_TEXT);
        if (known != NULL && tpi_map64_put(&r->cut, act->rule, known, NULL) != 0) {
            tpi_free(r->env->alloc, known, TPI_CHAIN_TEXT);
            known = NULL;
        }
    }
    if (known != NULL) {
        memcpy(known, text, TPI_CHAIN_TEXT);
    }
    pthread_mutex_unlock(&r->cut_lock);
    if (first && known != NULL) {
        tpi_log(r->env, TPC_LOG_WARN, "rules", "%.*s: a chain of rules is %s", (int) act->by.len,
                act->by.ptr, text);
    }
}

bool tpi_chain_text(struct tpi_rules *r, uint64_t rule, char ret[TPI_CHAIN_TEXT])
{
    pthread_mutex_lock(&r->cut_lock);
    const char *text = tpi_map64_get(&r->cut, rule);
    if (text != NULL) {
        memcpy(ret, text, TPI_CHAIN_TEXT);
    }
    pthread_mutex_unlock(&r->cut_lock);
    return text != NULL;
}

void tpi_chain_forget(struct tpi_rules *r, uint64_t rule)
{
    pthread_mutex_lock(&r->cut_lock);
    char *text = tpi_map64_remove(&r->cut, rule);
    pthread_mutex_unlock(&r->cut_lock);
    tpi_free(r->env->alloc, text, TPI_CHAIN_TEXT);
}
