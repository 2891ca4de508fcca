#include "rules/sql.h"

#include "base/error.h"
#include "expr/lex.h"

#include <string.h>

/* The words of one statement, one ahead. */
struct reader {
    struct tpi_sql *sql;
    struct lexer lx;
    struct token t;    /* the next one */
    size_t end;        /* of the one before */
    uint32_t depth;    /* of parentheses and brackets */
    bool calls_wanted; /* aggregates may stand here */
};

static int fail(struct reader *x, size_t at, const char *text)
{
    return tpi_expr_error(&x->lx, TPC_EINVAL, at, "%s", text);
}

static int next(struct reader *x)
{
    x->end = x->t.end;
    return tpi_expr_lex(&x->lx, &x->t);
}

static bool is(const struct reader *x, const char *word)
{
    return tpi_expr_is_word(&x->t, word);
}

static int expect(struct reader *x, const char *word, const char *text)
{
    return is(x, word) ? next(x) : fail(x, x->t.start, text);
}

static int expect_type(struct reader *x, enum token_type type, const char *text)
{
    return x->t.type == type ? next(x) : fail(x, x->t.start, text);
}

/* ---- calls of aggregates ---- */

static const struct {
    const char *name;
    uint32_t function;
} functions[] = {
    { "count", TPI_SQL_COUNT },     { "sum", TPI_SQL_SUM },
    { "avg", TPI_SQL_AVG },         { "min", TPI_SQL_MIN },
    { "max", TPI_SQL_MAX },         { "first_value", TPI_SQL_FIRST },
    { "first", TPI_SQL_FIRST },     { "last_value", TPI_SQL_LAST },
    { "last", TPI_SQL_LAST },       { "stddev", TPI_SQL_STDDEV },
    { "stddevs", TPI_SQL_STDDEVS }, { "var", TPI_SQL_VAR },
    { "vars", TPI_SQL_VARS },       { "window_start", TPI_SQL_START },
    { "window_end", TPI_SQL_END },  { "collect", TPI_SQL_COLLECT },
};

static int function_of(const struct token *t)
{
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        if (tpi_expr_is_word(t, functions[i].name)) {
            return (int) functions[i].function;
        }
    }
    return -1;
}

/* What stands between the parentheses of a call; the lexer is at the opening one. */
struct args {
    struct tpi_sql_span span;
    bool comma;      /* more than one */
    bool star;       /* only * */
    bool nested;     /* an aggregate inside */
    uint32_t second; /* where the word after DISTINCT starts; 0 = it does not begin with that */
};

static int read_args(struct reader *x, struct args *ret)
{
    uint32_t depth = 1;
    uint32_t words = 0;
    int rc = next(x);
    bool distinct = rc == 0 && is(x, "distinct");
    *ret = (struct args){ .span = { (uint32_t) x->t.start, (uint32_t) x->t.start } };
    while (rc == 0 && depth > 0) {
        enum token_type type = x->t.type;
        if (type == TOKEN_END) {
            return fail(x, x->t.start, "a ) is missing");
        }
        depth += type == TOKEN_OPEN || type == TOKEN_OPEN_ITEM;
        depth -= type == TOKEN_CLOSE || type == TOKEN_CLOSE_ITEM;
        if (depth > 0) {
            ret->second = distinct && words == 1 ? (uint32_t) x->t.start : ret->second;
            ret->star = words++ == 0 && type == TOKEN_STAR;
            ret->comma |= depth == 1 && type == TOKEN_COMMA;
            ret->span.to = (uint32_t) x->t.end;
            bool function = function_of(&x->t) >= 0;
            rc = next(x);
            ret->nested |= function && x->t.type == TOKEN_OPEN;
        }
    }
    return rc; /* at the closing one */
}

static int check_call(struct reader *x, size_t at, uint32_t function, const struct args *a)
{
    bool empty = a->span.from == a->span.to;
    if (tpi_sql_is_bound(function)) {
        return empty ? 0 : fail(x, a->span.from, "window_start() and window_end() take nothing");
    }
    if (a->nested) {
        return fail(x, a->span.from, "an aggregate inside an aggregate");
    }
    if (empty || a->comma) {
        return fail(x, at, "an aggregate takes one argument");
    }
    if (a->star && function != TPI_SQL_COUNT) {
        return fail(x, a->span.from, "only count takes *");
    }
    return 0;
}

/* A name with ( behind it, which is an aggregate's. min and max of several values are functions of
 * expressions. */
static int read_call(struct reader *x, uint32_t function, size_t at)
{
    struct tpi_sql *s = x->sql;
    struct args a;
    int rc = read_args(x, &a);
    if (rc == 0 && a.comma && !a.nested && (function == TPI_SQL_MIN || function == TPI_SQL_MAX)) {
        return next(x);
    }
    rc = rc != 0 ? rc : check_call(x, at, function, &a);
    if (rc != 0) {
        return rc;
    }
    if (!x->calls_wanted) {
        return fail(x, at, "no aggregate may stand here");
    }
    if (s->call_count == TPI_SQL_MAX_AGGREGATES) {
        return tpi_expr_error(&x->lx, TPC_ETOOBIG, at, "more than %d aggregates",
                              TPI_SQL_MAX_AGGREGATES);
    }
    if (a.star) {
        a.span.to = a.span.from;
    }
    if (function == TPI_SQL_COUNT && a.second > 0) {
        function = TPI_SQL_DISTINCT;
        a.span.from = a.second;
    }
    s->calls[s->call_count++] = (struct tpi_sql_call){
        .function = function,
        .all = { (uint32_t) at, (uint32_t) x->t.end },
        .arg = a.span,
    };
    return next(x);
}

/* ---- expressions ---- */

static bool ends_expr(const struct reader *x)
{
    static const char *const words[] = { "as", "from", "where", "group", "having", "filter" };
    if (x->t.type == TOKEN_END || x->t.type == TOKEN_COMMA || x->t.type == TOKEN_CLOSE) {
        return true;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (is(x, words[i])) {
            return true;
        }
    }
    return false;
}

/* One expression, up to a word or comma that stands in no parentheses. */
static int read_expr(struct reader *x, struct tpi_sql_span *ret)
{
    uint32_t depth = 0;
    int rc = 0;
    *ret = (struct tpi_sql_span){ (uint32_t) x->t.start, (uint32_t) x->t.start };
    while (rc == 0 && (depth > 0 ? x->t.type != TOKEN_END : !ends_expr(x))) {
        int function = function_of(&x->t);
        size_t at = x->t.start;
        depth += x->t.type == TOKEN_OPEN || x->t.type == TOKEN_OPEN_ITEM;
        depth -= depth > 0 && (x->t.type == TOKEN_CLOSE || x->t.type == TOKEN_CLOSE_ITEM);
        rc = next(x);
        if (rc == 0 && function >= 0 && x->t.type == TOKEN_OPEN) {
            rc = read_call(x, (uint32_t) function, at);
        }
        ret->to = (uint32_t) x->end;
    }
    return rc != 0 || ret->to > ret->from ? rc : fail(x, x->t.start, "an expression is missing");
}

/* ---- items ---- */

static bool same_name(struct tpc_str a, struct tpc_str b)
{
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

/* What an item is called without AS: the name that it is, or the aggregate that it is. */
static int own_name(struct reader *x, const struct token *first, uint32_t calls,
                    struct tpi_sql_item *item)
{
    const struct tpi_sql *s = x->sql;
    if (first->type == TOKEN_NAME && first->end == item->expr.to) {
        item->name = first->name;
        return 0;
    }
    if (s->call_count == calls + 1 && s->calls[calls].all.from == item->expr.from &&
        s->calls[calls].all.to == item->expr.to) {
        item->name = first->name;
        return 0;
    }
    return fail(x, item->expr.from, "a computed column needs a name: AS name");
}

static int read_item(struct reader *x)
{
    struct tpi_sql *s = x->sql;
    if (s->item_count == TPI_SQL_MAX_ITEMS) {
        return tpi_expr_error(&x->lx, TPC_ETOOBIG, x->t.start, "more than %d columns",
                              TPI_SQL_MAX_ITEMS);
    }
    struct tpi_sql_item *item = &s->items[s->item_count];
    struct token first = x->t;
    uint32_t calls = s->call_count;
    int rc = read_expr(x, &item->expr);
    if (rc == 0 && is(x, "as")) {
        rc = next(x);
        item->name = x->t.name;
        rc = rc != 0 ? rc : expect_type(x, TOKEN_NAME, "a name has to follow AS");
    } else if (rc == 0) {
        rc = own_name(x, &first, calls, item);
    }
    for (uint32_t i = 0; rc == 0 && i < s->item_count; i++) {
        if (same_name(s->items[i].name, item->name)) {
            return fail(x, item->expr.from, "two columns have the same name: use AS name");
        }
    }
    s->item_count += rc == 0;
    return rc;
}

static int read_items(struct reader *x)
{
    int rc = expect(x, "select", "a statement begins with SELECT");
    if (rc == 0 && x->t.type == TOKEN_STAR) {
        x->sql->all = true;
        return next(x);
    }
    x->calls_wanted = true;
    rc = rc != 0 ? rc : read_item(x);
    while (rc == 0 && x->t.type == TOKEN_COMMA) {
        rc = next(x);
        rc = rc != 0 ? rc : read_item(x);
    }
    x->calls_wanted = false;
    return rc;
}

/* A name, or a text without escapes: a topic, or a product's key that is no name. */
static int read_product(struct reader *x)
{
    int rc = expect(x, "from", "FROM product is missing");
    if (rc != 0) {
        return rc;
    }
    if (x->t.type == TOKEN_TEXT && x->t.value.len + 2 == x->t.end - x->t.start) {
        struct tpc_str text = { x->lx.text.ptr + x->t.start + 1, x->t.value.len };
        if (text.len == 0) {
            return fail(x, x->t.start, "the name of a product has to follow FROM");
        }
        if (memchr(text.ptr, '/', text.len) != NULL) {
            x->sql->topic.filter = text;
            rc = tpi_sql_topic(x->sql, x->lx.err);
        } else {
            x->sql->product = text;
        }
        return rc != 0 ? rc : next(x);
    }
    x->sql->product = x->t.name;
    return expect_type(x, TOKEN_NAME, "the name of a product has to follow FROM");
}

/* ---- windows ---- */

static int read_unit(struct reader *x, int64_t *ret_ms)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {
        { "dd", 86400000 }, { "hh", 3600000 }, { "mi", 60000 }, { "ss", 1000 }, { "ms", 1 }
    };
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (is(x, units[i].name)) {
            *ret_ms = units[i].ms;
            return next(x);
        }
    }
    return fail(x, x->t.start, "a unit has to stand here: dd, hh, mi, ss or ms");
}

static int read_number(struct reader *x, int64_t max, int64_t *ret)
{
    int64_t n = x->t.type == TOKEN_NUMBER && x->t.value.type == TPC_INT ? x->t.value.as.i : 0;
    if (n < 1 || n > max) {
        return tpi_expr_error(&x->lx, TPC_EINVAL, x->t.start,
                              "a whole number from 1 to %lld has to stand here", (long long) max);
    }
    *ret = n;
    return next(x);
}

enum { MAX_DAYS = 366, MAX_COUNT = 1000000 };

/* (unit, n) or, with two, (unit, n, m) */
static int read_times(struct reader *x, struct tpi_sql_window *w, bool two)
{
    int64_t unit = 0;
    int rc = read_unit(x, &unit);
    int64_t max = rc == 0 ? MAX_DAYS * INT64_C(86400000) / unit : 0;
    rc = rc != 0 ? rc : expect_type(x, TOKEN_COMMA, "a , is missing");
    rc = rc != 0 ? rc : read_number(x, max, &w->length_ms);
    w->step_ms = w->length_ms;
    if (two) {
        rc = rc != 0 ? rc : expect_type(x, TOKEN_COMMA, "a , is missing");
        rc = rc != 0 ? rc : read_number(x, max, &w->step_ms);
    }
    w->unit_ms = unit;
    w->length_ms *= unit;
    w->step_ms *= unit;
    return rc;
}

/* (unit, n) or (unit, n, delay) */
static int read_sliding(struct reader *x, struct tpi_sql_window *w)
{
    int rc = read_times(x, w, false);
    int64_t unit = rc == 0 ? w->unit_ms : 1;
    w->step_ms = 0;
    if (rc == 0 && x->t.type == TOKEN_COMMA) {
        rc = next(x);
        rc = rc != 0 ? rc : read_number(x, MAX_DAYS * INT64_C(86400000) / unit, &w->step_ms);
        w->step_ms *= unit;
    }
    return rc;
}

/* (n) or (n, m) */
static int read_count(struct reader *x, struct tpi_sql_window *w)
{
    int64_t count = 0;
    int64_t every = 0;
    size_t at = x->t.start;
    int rc = read_number(x, MAX_COUNT, &count);
    if (rc == 0 && x->t.type == TOKEN_COMMA) {
        rc = next(x);
        rc = rc != 0 ? rc : read_number(x, count, &every);
    } else {
        every = count;
    }
    if (rc == 0 && every < count && count > TPI_SQL_MAX_KEPT) {
        return tpi_expr_error(&x->lx, TPC_ETOOBIG, at,
                              "windows that overlap have at most %d messages", TPI_SQL_MAX_KEPT);
    }
    w->count = (uint32_t) count;
    w->every = (uint32_t) every;
    return rc;
}

static int read_hopping(struct reader *x, struct tpi_sql_window *w)
{
    size_t at = x->t.start;
    int rc = read_times(x, w, true);
    if (rc == 0 && w->step_ms > w->length_ms) {
        return fail(x, at, "a hop is longer than the window");
    }
    if (rc == 0 && (w->length_ms + w->step_ms - 1) / w->step_ms > TPI_SQL_MAX_OVERLAP) {
        return tpi_expr_error(&x->lx, TPC_ETOOBIG, at, "more than %d windows are open at once",
                              TPI_SQL_MAX_OVERLAP);
    }
    return rc;
}

static int read_states(struct reader *x, struct tpi_sql_window *w)
{
    int rc = read_expr(x, &w->begin);
    rc = rc != 0 ? rc : expect_type(x, TOKEN_COMMA, "a , is missing");
    return rc != 0 ? rc : read_expr(x, &w->emit);
}

static const struct {
    const char *name;
    uint32_t type;
} windows[] = {
    { "tumblingwindow", TPI_WINDOW_TUMBLING }, { "hoppingwindow", TPI_WINDOW_HOPPING },
    { "sessionwindow", TPI_WINDOW_SESSION },   { "countwindow", TPI_WINDOW_COUNT },
    { "statewindow", TPI_WINDOW_STATE },       { "slidingwindow", TPI_WINDOW_SLIDING },
};

static uint32_t window_of(const struct token *t)
{
    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        if (tpi_expr_is_word(t, windows[i].name)) {
            return windows[i].type;
        }
    }
    return TPI_WINDOW_NONE;
}

static int read_filter(struct reader *x, struct tpi_sql_window *w)
{
    int rc = next(x);
    rc = rc != 0 ? rc : expect_type(x, TOKEN_OPEN, "(WHERE condition) has to follow FILTER");
    rc = rc != 0 ? rc : expect(x, "where", "(WHERE condition) has to follow FILTER");
    rc = rc != 0 ? rc : read_expr(x, &w->filter);
    return rc != 0 ? rc : expect_type(x, TOKEN_CLOSE, "a ) is missing");
}

static int read_window(struct reader *x)
{
    struct tpi_sql_window *w = &x->sql->window;
    if (w->type != TPI_WINDOW_NONE) {
        return fail(x, x->t.start, "a second window");
    }
    w->type = window_of(&x->t);
    int rc = next(x);
    rc = rc != 0 ? rc : expect_type(x, TOKEN_OPEN, "a ( is missing");
    if (rc != 0) {
        return rc;
    }
    switch (w->type) {
    case TPI_WINDOW_HOPPING:
        rc = read_hopping(x, w);
        break;
    case TPI_WINDOW_COUNT:
        rc = read_count(x, w);
        break;
    case TPI_WINDOW_SLIDING:
        rc = read_sliding(x, w);
        break;
    case TPI_WINDOW_STATE:
        rc = read_states(x, w);
        break;
    default:
        rc = read_times(x, w, w->type == TPI_WINDOW_SESSION);
        break;
    }
    rc = rc != 0 ? rc : expect_type(x, TOKEN_CLOSE, "a ) is missing");
    return rc == 0 && is(x, "filter") ? read_filter(x, w) : rc;
}

/* A column's text, and so its value, is the group's. */
static bool same_text(const struct tpi_sql *s, struct tpi_sql_span a, struct tpi_sql_span b)
{
    return a.to - a.from == b.to - b.from &&
           memcmp(s->text.ptr + a.from, s->text.ptr + b.from, a.to - a.from) == 0;
}

/* Whether a column is a group: it says the same, or the group's name. */
static bool is_group(const struct tpi_sql *s, const struct tpi_sql_item *item,
                     const struct tpi_sql_item *group)
{
    struct tpc_str text = { s->text.ptr + item->expr.from, item->expr.to - item->expr.from };
    return same_text(s, item->expr, group->expr) || same_name(text, group->name);
}

int tpi_sql_group_of(const struct tpi_sql *s, const struct tpi_sql_item *item)
{
    for (uint32_t i = 0; i < s->group_count; i++) {
        if (is_group(s, item, &s->groups[i])) {
            return (int) i;
        }
    }
    return -1;
}

/* What a group is called without AS: the name that it is, or its column. */
static int name_group(struct reader *x, const struct token *first, struct tpi_sql_item *group)
{
    const struct tpi_sql *s = x->sql;
    for (uint32_t i = 0; i < s->item_count; i++) {
        if (same_text(s, s->items[i].expr, group->expr)) {
            group->name = s->items[i].name;
            return 0;
        }
    }
    if (first->type == TOKEN_NAME && first->end == group->expr.to) {
        group->name = first->name;
        return 0;
    }
    return fail(x, group->expr.from, "a computed group needs a name: AS name, or a column of it");
}

static int check_group(struct reader *x, const struct tpi_sql_item *group)
{
    const struct tpi_sql *s = x->sql;
    for (uint32_t i = 0; i < s->group_count; i++) {
        if (same_name(s->groups[i].name, group->name)) {
            return fail(x, group->expr.from, "two groups have the same name");
        }
    }
    for (uint32_t i = 0; i < s->item_count; i++) {
        if (same_name(s->items[i].name, group->name) && !is_group(s, &s->items[i], group)) {
            return fail(x, group->expr.from, "another column has this name: use AS name");
        }
    }
    return 0;
}

static int read_group_item(struct reader *x)
{
    struct tpi_sql *s = x->sql;
    struct token first = x->t;
    struct tpi_sql_item group;
    if (s->group_count == TPI_SQL_MAX_GROUPS) {
        return tpi_expr_error(&x->lx, TPC_ETOOBIG, x->t.start, "more than %d groups",
                              TPI_SQL_MAX_GROUPS);
    }
    int rc = read_expr(x, &group.expr);
    if (rc == 0 && is(x, "as")) {
        rc = next(x);
        group.name = x->t.name;
        rc = rc != 0 ? rc : expect_type(x, TOKEN_NAME, "a name has to follow AS");
    } else if (rc == 0) {
        rc = name_group(x, &first, &group);
    }
    rc = rc != 0 ? rc : check_group(x, &group);
    if (rc == 0) {
        s->groups[s->group_count++] = group;
    }
    return rc;
}

static bool is_device(struct tpc_str name)
{
    return same_name(name, TPC_STR("device")) || same_name(name, TPC_STR("device.key"));
}

static int read_group(struct reader *x)
{
    struct tpi_sql *s = x->sql;
    int rc = next(x);
    rc = rc != 0 ? rc : expect(x, "by", "BY has to follow GROUP");
    for (bool more = true; rc == 0 && more;) {
        rc = window_of(&x->t) != TPI_WINDOW_NONE ? read_window(x) : read_group_item(x);
        more = rc == 0 && x->t.type == TOKEN_COMMA;
        rc = more ? next(x) : rc;
    }
    if (rc == 0 && s->group_count == 1) {
        struct tpi_sql_span span = s->groups[0].expr;
        if (is_device((struct tpc_str){ s->text.ptr + span.from, span.to - span.from })) {
            s->group_count = 0;
            return 0;
        }
    }
    if (rc == 0 && s->window.type == TPI_WINDOW_NONE) {
        return fail(x, s->groups[0].expr.from,
                    "groups need a window: TUMBLINGWINDOW, HOPPINGWINDOW, SESSIONWINDOW, "
                    "COUNTWINDOW or STATEWINDOW");
    }
    s->spread = true;
    return rc;
}

/* ---- the statement ---- */

static int check_window(struct reader *x)
{
    const struct tpi_sql *s = x->sql;
    if (s->window.type == TPI_WINDOW_NONE && s->call_count > 0) {
        return fail(x, s->calls[0].all.from, "an aggregate needs a window: GROUP BY device, ..");
    }
    if (s->window.type == TPI_WINDOW_NONE && s->having.to > s->having.from) {
        return fail(x, s->having.from, "HAVING needs a window; WHERE is meant");
    }
    if (s->window.type != TPI_WINDOW_NONE && s->all) {
        return fail(x, 0, "SELECT * of a window is not offered");
    }
    return 0;
}

static int read_statement(struct reader *x)
{
    struct tpi_sql *s = x->sql;
    int rc = next(x);
    rc = rc != 0 ? rc : read_items(x);
    rc = rc != 0 ? rc : read_product(x);
    if (rc == 0 && is(x, "where")) {
        rc = next(x);
        rc = rc != 0 ? rc : read_expr(x, &s->where);
    }
    if (rc == 0 && is(x, "group")) {
        rc = read_group(x);
    }
    if (rc == 0 && is(x, "having")) {
        x->calls_wanted = true;
        rc = next(x);
        rc = rc != 0 ? rc : read_expr(x, &s->having);
    }
    rc = rc != 0 ? rc : expect_type(x, TOKEN_END, "the statement should have ended here");
    return rc != 0 ? rc : check_window(x);
}

int tpi_sql_parse(const struct tpc_allocator *alloc, struct tpc_str text, struct tpc_error *err,
                  struct tpi_sql *ret)
{
    if (text.len > TPI_SQL_MAX_TEXT) {
        return tpi_error_set(err, TPC_ETOOBIG, "rules", "a statement of more than %d bytes",
                             TPI_SQL_MAX_TEXT);
    }
    struct tpi_buf pool;
    tpi_buf_init(&pool, alloc, 0);
    memset(ret, 0, sizeof(*ret));
    ret->text = text;
    struct reader x = { .sql = ret, .lx = { .text = text, .pool = &pool, .err = err } };
    int rc = read_statement(&x);
    tpi_buf_fini(&pool);
    return rc;
}

int tpi_sql_error(const struct tpi_sql *s, struct tpc_error *err, int code, size_t at,
                  const char *text)
{
    struct lexer lx = { .text = s->text, .err = err };
    return tpi_expr_error(&lx, code, at, "%s", text);
}

/* The name of a call in its place; the shortest one, sum(x), has 6 bytes. Its lines stay as many: those of
 * its first bytes end behind the name. */
static void name_call(char *buf, const struct tpi_sql_span *all, uint32_t number)
{
    const char name[] = { '`', '#', (char) ('0' + number / 10), (char) ('0' + number % 10), '`' };
    uint32_t at = all->from + (uint32_t) sizeof(name);
    for (uint32_t k = all->from; k < all->to; k++) {
        buf[k] = buf[k] == '\n' ? '\n' : ' ';
    }
    for (size_t i = 0; i < sizeof(name); i++) {
        if (buf[all->from + i] == '\n') {
            while (buf[at] == '\n') {
                at++;
            }
            buf[at] = '\n';
        }
        buf[all->from + i] = name[i];
    }
}

struct tpc_str tpi_sql_part(const struct tpi_sql *s, struct tpi_sql_span part, bool replace,
                            char *buf)
{
    for (uint32_t i = 0; i < part.from; i++) {
        buf[i] = s->text.ptr[i] == '\n' ? '\n' : ' ';
    }
    memcpy(buf + part.from, s->text.ptr + part.from, part.to - part.from);
    for (uint32_t i = 0; replace && i < s->call_count; i++) {
        const struct tpi_sql_span *all = &s->calls[i].all;
        if (all->from < part.from || all->to > part.to) {
            continue;
        }
        name_call(buf, all, i);
    }
    return (struct tpc_str){ buf, part.to };
}

int tpi_sql_call_of(struct tpc_str name)
{
    return name.len == 3 && name.ptr[0] == '#' ? (name.ptr[1] - '0') * 10 + name.ptr[2] - '0' : -1;
}
