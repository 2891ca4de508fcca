/* What the values of a message replace: kept while its conditions are looked at. */
#include "registry/device.h"
#include "rules/rules_state.h"

static struct rule_value *find(const struct rule_before *b, uint32_t property)
{
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->items[i].property == property) {
            return (struct rule_value *) (uintptr_t) &b->items[i];
        }
    }
    return NULL;
}

/* Texts and trees are copied: the values that come take their place. */
static void keep(struct tpi_rules *r, struct rule_before *b, struct tpc_device *device,
                 uint16_t property)
{
    int index = tpi_model_find_id(device->product->model, property);
    if (index < 0 || find(b, property) != NULL) {
        return;
    }
    struct rule_value *v = &b->items[b->count];
    struct tpc_buf rest = { b->room + b->used, sizeof(b->room) - b->used, 0 };
    int rc = b->count < RULE_BEFORE
                 ? tpi_device_latest_copy(device, (uint32_t) index, &rest, &v->value, NULL)
                 : TPC_ETOOBIG;
    if (rc == TPC_ETOOBIG) {
        b->full = true;
        TPI_METRIC_ADD(r->counters.texts_lost, 1);
        return;
    }
    if (rc == 0 && v->value.type == TPC_TEXT && v->value.len == 0) {
        v->value.as.text = ""; /* an empty one has no bytes of its own */
    }
    v->property = property;
    v->known = rc == 0;
    b->used += rc == 0 ? (uint32_t) rest.need : 0;
    b->count++;
}

void tpi_rules_before(struct tpi_rules *r, uint32_t worker, struct tpc_device *device,
                      const struct tpc_msg *msg)
{
    if (r->previous == 0 || device == NULL || device->product == NULL ||
        (msg->kind != TPC_MSG_TELEMETRY && msg->kind != TPC_MSG_ATTRIBUTES)) {
        return;
    }
    const struct rule_set *set = tpi_map64_get(&r->sets, device->product->id);
    if (set == NULL || set->previous == 0) {
        return;
    }
    struct rule_before *b = &r->workers[worker].before;
    b->msg = msg;
    b->count = 0;
    b->full = false;
    b->used = 0;
    for (uint32_t i = 0; i < msg->point_count; i++) {
        uint16_t id = tpc_msg_point(msg, i)->property;
        if (id < set->count && set->lists[id].count > 0) {
            keep(r, b, device, id);
        }
    }
}

bool tpi_rules_value_before(const struct rule_worker *w, const struct tpc_msg *msg,
                            uint32_t property, bool *ret_found, struct tpc_value *ret)
{
    const struct rule_before *b = &w->before;
    const struct rule_value *v = b->msg != NULL && b->msg == msg ? find(b, property) : NULL;
    *ret_found = v != NULL || (b->msg == msg && msg != NULL && b->full);
    if (v == NULL || !v->known) {
        return false;
    }
    *ret = v->value;
    return true;
}
