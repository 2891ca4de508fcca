/* Values for answers, and the envelope of contract thingspanel 3.1. */
#include "inside.h"

#include <string.h>
#include <tpcore/json.h>

struct tpc_value panel_text(struct tpc_str s)
{
    return (struct tpc_value){ TPC_TEXT, 0, s.len, { .text = s.ptr != NULL ? s.ptr : "" } };
}

struct tpc_value panel_int(int64_t i)
{
    return (struct tpc_value){ TPC_INT, 0, 0, { .i = i } };
}

struct tpc_str panel_copy(struct tpc_arena *arena, struct tpc_str s)
{
    char *copy = tpc_arena_take(arena, s.len + 1);
    if (copy == NULL) {
        return (struct tpc_str){ NULL, 0 };
    }
    if (s.len > 0) {
        memcpy(copy, s.ptr, s.len);
    }
    copy[s.len] = '\0';
    return (struct tpc_str){ copy, s.len };
}

void panel_map_begin(struct panel_map *m, struct tpc_arena *arena, size_t cap)
{
    *m = (struct panel_map){ .arena = arena, .cap = cap };
    m->members = tpc_arena_take(arena, cap * sizeof(*m->members));
    m->failed = m->members == NULL;
}

void panel_map_put(struct panel_map *m, const char *key, struct tpc_value value)
{
    if (!m->failed && m->count < m->cap) {
        m->members[m->count++] = (struct tpc_member){ tpc_str_from(key), value };
    }
}

struct tpc_value panel_map_end(struct panel_map *m)
{
    static const struct tpc_value nothing = { TPC_NULL, 0, 0, { .i = 0 } };
    return m->failed ? nothing
                     : (struct tpc_value){ TPC_MAP, 0, m->count, { .members = m->members } };
}

struct tpc_value panel_json_text(struct tpc_arena *arena, const struct tpc_value *v,
                                 const char *otherwise)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    if (v == NULL || v->type == TPC_NULL) {
        return panel_text(tpc_str_from(otherwise));
    }
    (void) tpc_json_write(v, 0, &buf);
    buf.cap = buf.need;
    buf.ptr = tpc_arena_take(arena, buf.cap + 1);
    if (buf.ptr == NULL || tpc_json_write(v, 0, &buf) != 0) {
        return panel_text(tpc_str_from(otherwise));
    }
    return panel_text((struct tpc_str){ (const char *) buf.ptr, buf.need });
}

const char *panel_message(uint32_t code)
{
    static const struct {
        uint32_t code;
        const char *text;
    } all[] = {
        { PANEL_OK, "Success" },
        { PANEL_INTERNAL, "Internal error" },
        { PANEL_PARAMETER, "Parameter error" },
        { PANEL_DATABASE, "Not found" },
        { PANEL_THIRD_PARTY, "The service's call failed" },
        { PANEL_DENIED, "No permission" },
        { PANEL_LIMITED, "Too many requests" },
        { PANEL_NO_SERVICE_CONFIG, "The service has no configuration" },
        { PANEL_NO_ADDRESS, "The service has no address" },
        { PANEL_NOT_RUNNING, "The service is not running" },
        { PANEL_CALL_FAILED, "The request to the service failed" },
        { PANEL_BAD_ANSWER, "The service's answer is none" },
        { PANEL_SECRET_UNKNOWN, "No template has this secret" },
        { PANEL_REGISTRATION_OFF, "The template takes no registrations" },
        { PANEL_DEVICE_THERE, "The device is there already" },
        { PANEL_PRODUCT_UNKNOWN, "No such product" },
        { PANEL_SUB_FIELDS, "sub_device_addr and parent_device_number are missing" },
        { PANEL_PARENT_UNKNOWN, "There is no such parent device" },
        { PANEL_ADDRESS_TAKEN, "Another device behind the parent has this address" },
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].code == code) {
            return all[i].text;
        }
    }
    return "Error";
}

void panel_fail(struct panel_job *job, uint32_t code, const char *why)
{
    job->code = code;
    job->why = why;
    job->data = (struct tpc_value){ TPC_NULL, 0, 0, { .i = 0 } };
}

void panel_reply(struct panel *p, struct panel_job *job)
{
    struct tpc_member members[3], detail;
    const char *message = panel_message(job->code);
    struct tpc_value all = { TPC_MAP, 0, 2, { .members = members } };
    members[0] = (struct tpc_member){ TPC_STR("code"), panel_int((int64_t) job->code) };
    members[1] = (struct tpc_member){ TPC_STR("message"), panel_text(tpc_str_from(message)) };
    if (job->code == PANEL_OK) {
        members[2] = (struct tpc_member){ TPC_STR("data"), job->data };
        all.len = 3;
    } else if (job->why != NULL) {
        bool stored = job->code == PANEL_DATABASE;
        detail = (struct tpc_member){ stored ? TPC_STR("sql_error") : TPC_STR("error"),
                                      panel_text(tpc_str_from(job->why)) };
        members[2] =
            (struct tpc_member){ TPC_STR("data"), { TPC_MAP, 0, 1, { .members = &detail } } };
        all.len = 3;
    }
    struct tpc_http_answer a = { .size = sizeof(a), .status = 200, .json = &all };
    if (job->plain.ptr != NULL) {
        a.json = NULL;
        a.body = job->plain;
        a.content_type = TPC_STR("text/plain; version=0.0.4");
    }
    if (p->server->reply(p->server_self, job->call, &a) != 0) {
        p->host->count(p->ctx, "unanswered", 1);
    }
}
