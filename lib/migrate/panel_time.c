/* Times: windows of the day, one-time and periodic. */
#include "migrate/panel.h"

#include "calendar/civil.h"
#include "data/member.h"

#include <stdio.h>
#include <string.h>

/* "08:30:00+08:00" */
struct moment {
    int32_t s;
    char zone[8]; /* "+08:00"; empty = UTC */
};

static bool is(struct tpc_str text, const char *name)
{
    return tpc_str_equal(text, tpc_str_from(name)) != 0;
}

/* What stands before a character; the rest behind it. */
static struct tpc_str cut(struct tpc_str *rest, char at)
{
    const char *p = rest->len > 0 ? memchr(rest->ptr, at, rest->len) : NULL;
    struct tpc_str head = *rest;
    if (p == NULL) {
        *rest = (struct tpc_str){ NULL, 0 };
        return head;
    }
    head.len = (size_t) (p - rest->ptr);
    *rest = (struct tpc_str){ p + 1, rest->len - head.len - 1 };
    return head;
}

/* The zone at the end: "Z", "+08:00". */
static bool take_zone(struct tpc_str *text, char zone[8])
{
    zone[0] = '\0';
    if (text->len > 0 && text->ptr[text->len - 1] == 'Z') {
        text->len--;
        return true;
    }
    if (text->len < 6 || (text->ptr[text->len - 6] != '+' && text->ptr[text->len - 6] != '-')) {
        return text->len < 6 || text->ptr[text->len - 3] == ':';
    }
    struct tpc_str clock = { text->ptr + text->len - 5, 5 };
    int32_t offset_s = 0;
    if (tpi_civil_clock(clock, &offset_s) != 0) {
        return false;
    }
    if (offset_s != 0) {
        memcpy(zone, text->ptr + text->len - 6, 6);
        zone[6] = '\0';
    }
    text->len -= 6;
    return true;
}

static bool read_moment(struct tpc_str text, struct moment *ret)
{
    return take_zone(&text, ret->zone) && tpi_civil_clock(text, &ret->s) == 0;
}

static struct tpc_value clock_text(struct panel *p, int32_t s)
{
    return tpi_panel_format(p, "%02d:%02d:%02d", (int) (s / 3600), (int) (s / 60 % 60),
                            (int) (s % 60));
}

static void set_zone(struct panel *p, struct panel_map *m, const char *zone)
{
    if (zone[0] != '\0') {
        tpi_panel_set(m, "zone", tpi_panel_text(p, tpc_str_from(zone)));
    }
}

static const char *const day_names[] = { "mon", "tue", "wed", "thu", "fri", "sat", "sun" };

/* "137": Monday is 1. All seven, or none, are no list. */
static bool read_days(struct panel *p, struct tpc_str text, struct panel_list *ret)
{
    uint32_t seen = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '1' || text.ptr[i] > '7') {
            return false;
        }
        seen |= 1U << (text.ptr[i] - '1');
    }
    for (uint32_t i = 0; seen != 0x7F && i < 7; i++) {
        if ((seen >> i & 1) != 0) {
            tpi_panel_add(p, ret, tpi_panel_text(p, tpc_str_from(day_names[i])));
        }
    }
    return true;
}

bool tpi_panel_window(struct panel *p, const struct tpc_value *c, struct tpc_value *ret)
{
    struct tpc_str text = tpi_member_text(c, "trigger_value");
    struct tpc_str rest = text;
    struct tpc_str days = cut(&rest, '|');
    struct tpc_str from = cut(&rest, '|');
    struct moment a, b;
    struct panel_list list = { .count = 0 };
    struct panel_map time = { .count = 0 };
    struct panel_map m = { .count = 0 };
    if (!read_days(p, days, &list) || !read_moment(from, &a) || !read_moment(rest, &b) ||
        strcmp(a.zone, b.zone) != 0) {
        tpi_panel_note(p, "trigger_value", "no window as 137|08:00:00+08:00|18:00:00+08:00: '%.*s'",
                       (int) (text.len < 64 ? text.len : 64), text.len > 0 ? text.ptr : "");
        return false;
    }
    tpi_panel_set(&time, "from", clock_text(p, a.s));
    tpi_panel_set(&time, "to", clock_text(p, b.s));
    tpi_panel_set(&m, "time", tpi_panel_map(p, &time));
    if (list.count > 0) {
        tpi_panel_set(&m, "days", tpi_panel_array(&list));
    }
    set_zone(p, &m, a.zone);
    *ret = tpi_panel_map(p, &m);
    return true;
}

/* ---- plans ---- */

static bool bad_plan(struct panel *p, const char *member, struct tpc_str text)
{
    tpi_panel_note(p, member, "no time: '%.*s'", (int) (text.len < 64 ? text.len : 64),
                   text.len > 0 ? text.ptr : "");
    return false;
}

/* "2026-11-20T12:00:00+08:00" */
static bool plan_once(struct panel *p, const struct tpc_value *c, struct panel_map *m)
{
    struct tpc_str text = tpi_member_text(c, "execution_time");
    struct tpc_str rest = text;
    struct tpc_str day =
        cut(&rest, memchr(text.len > 0 ? text.ptr : "", 'T', text.len) != NULL ? 'T' : ' ');
    struct moment at;
    int64_t days = 0;
    if (tpi_civil_parse(day, &days) != 0 || !read_moment(rest, &at)) {
        return bad_plan(p, "execution_time", text);
    }
    int64_t minutes = tpi_member_int(c, "expiration_time", 0);
    tpi_panel_set(m, "type", tpi_panel_text(p, TPC_STR("simple")));
    tpi_panel_set(m, "frequency", tpi_panel_text(p, TPC_STR("on_date")));
    tpi_panel_set(m, "date", tpi_panel_text(p, day));
    tpi_panel_set(m, "time", clock_text(p, at.s));
    set_zone(p, m, at.zone);
    if (minutes > 0) {
        tpi_panel_set(m, "missed", tpi_panel_text(p, TPC_STR("run_once")));
        tpi_panel_note(p, "expiration_time",
                       "a time missed while the program is away is done however late it is");
    }
    return true;
}

static bool set_cron(struct panel *p, struct panel_map *m, struct tpc_value cron, const char *zone)
{
    tpi_panel_set(m, "type", tpi_panel_text(p, TPC_STR("cron")));
    tpi_panel_set(m, "cron", cron);
    set_zone(p, m, zone);
    return true;
}

/* "30", "30:00+05:30" */
static bool plan_hour(struct panel *p, struct tpc_str text, struct panel_map *m)
{
    char zone[8];
    char clock[16];
    int32_t s = 0;
    struct tpc_str rest = text;
    if (!take_zone(&rest, zone) || rest.len > 5) {
        return bad_plan(p, "params", text);
    }
    int n = snprintf(clock, sizeof(clock), "00:%.*s", (int) rest.len, rest.len > 0 ? rest.ptr : "");
    if (tpi_civil_clock((struct tpc_str){ clock, (size_t) n }, &s) != 0) {
        return bad_plan(p, "params", text);
    }
    return set_cron(p, m, tpi_panel_format(p, "%d %d * * * *", (int) (s % 60), (int) (s / 60)),
                    zone);
}

/* "08:00:00+08:00" with what stands before it: weekdays, or the day of the month. */
static bool plan_days(struct panel *p, struct tpc_str text, struct tpc_str clock, const char *days,
                      const char *weekdays, struct panel_map *m)
{
    struct moment at;
    if (!read_moment(clock, &at)) {
        return bad_plan(p, "params", text);
    }
    return set_cron(p, m,
                    tpi_panel_format(p, "%d %d %d %s * %s", (int) (at.s % 60),
                                     (int) (at.s / 60 % 60), (int) (at.s / 3600), days, weekdays),
                    at.zone);
}

static bool plan_week(struct panel *p, struct tpc_str text, struct panel_map *m)
{
    char weekdays[40] = "";
    size_t n = 0;
    struct tpc_str rest = text;
    struct tpc_str days = cut(&rest, '|');
    struct panel_list list = { .count = 0 };
    if (days.len == 0 || !read_days(p, days, &list)) {
        return bad_plan(p, "params", text);
    }
    for (uint32_t i = 0; i < list.count; i++) {
        n += (size_t) snprintf(weekdays + n, sizeof(weekdays) - n, "%s%s", i > 0 ? "," : "",
                               list.items[i].as.text);
    }
    return plan_days(p, text, rest, "*", list.count > 0 ? weekdays : "*", m);
}

static bool plan_month(struct panel *p, struct tpc_str text, struct panel_map *m)
{
    char days[8];
    struct tpc_str rest = text;
    struct tpc_str day = cut(&rest, 'T');
    bool good = day.len >= 1 && day.len <= 2;
    int n = 0;
    for (size_t i = 0; good && i < day.len; i++) {
        good = day.ptr[i] >= '0' && day.ptr[i] <= '9';
        n = n * 10 + (day.ptr[i] - '0');
    }
    if (!good || n < 1 || n > 31) {
        return bad_plan(p, "params", text);
    }
    snprintf(days, sizeof(days), "%d", n);
    return plan_days(p, text, rest, days, "*", m);
}

bool tpi_panel_plan(struct panel *p, const struct tpc_value *c, struct panel_map *m)
{
    struct tpc_str task = tpi_member_text(c, "task_type");
    struct tpc_str params = tpi_panel_scalar(p, tpi_member(c, "params"));
    if (is(tpi_panel_scalar(p, tpi_member(c, "trigger_conditions_type")), "20")) {
        return plan_once(p, c, m);
    }
    if (is(task, "HOUR")) {
        return plan_hour(p, params, m);
    }
    if (is(task, "DAY")) {
        return plan_days(p, params, params, "*", "*", m);
    }
    if (is(task, "WEEK")) {
        return plan_week(p, params, m);
    }
    if (is(task, "MONTH")) {
        return plan_month(p, params, m);
    }
    if (is(task, "CRON") && params.len > 0) {
        return set_cron(p, m, tpi_panel_text(p, params), "");
    }
    return bad_plan(p, is(task, "CRON") ? "params" : "task_type", task);
}
