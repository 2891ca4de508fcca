/* What stands between operators: constants, names, members and items, case, calls. */
#include "expr/parse.h"

bool tpi_parse_const(const struct token *t, struct cell *ret, uint8_t *ret_type)
{
    switch (t->type) {
    case TOKEN_NUMBER:
        *ret = t->value;
        *ret_type = TPI_EXPR_NUMBER;
        return true;
    case TOKEN_TEXT:
        *ret = t->value;
        *ret_type = TPI_EXPR_TEXT;
        return true;
    case TOKEN_TRUE:
    case TOKEN_FALSE:
        *ret = (struct cell){ .type = TPC_BOOL, .as.b = t->type == TOKEN_TRUE };
        *ret_type = TPI_EXPR_BOOL;
        return true;
    case TOKEN_NULL:
        *ret = (struct cell){ .type = TPC_NULL };
        *ret_type = TPI_EXPR_NULL;
        return true;
    default:
        return false;
    }
}

/* ---- names ---- */

static int no_property(const struct parser *p, size_t at, struct tpc_str name)
{
    return tpi_expr_error(&p->lx, TPC_EINVAL, at, "no property '%.*s'",
                          (int) (name.len < 128 ? name.len : 128), name.ptr);
}

/* What a member or an item is taken of. */
static bool has_parts(uint8_t type)
{
    return type == TPI_EXPR_ANY || type == TPI_EXPR_MAP || type == TPI_EXPR_LIST;
}

static int emit_member(struct parser *p, struct tpc_str key)
{
    uint32_t at = 0;
    int rc = tpi_emit_text(p, key, &at);
    return rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_MEMBER, .a = (uint16_t) at }, 0);
}

/* ".b.c" behind a value. */
static int emit_members(struct parser *p, size_t at, struct tpc_str path)
{
    int rc = 0;
    while (rc == 0 && path.len > 0) {
        size_t len = 1;
        while (len < path.len && path.ptr[len] != '.') {
            len++;
        }
        rc = len > 1 ? emit_member(p, (struct tpc_str){ path.ptr + 1, len - 1 })
                     : tpi_parse_fail(p, at, "the name of a member is empty");
        path.ptr += len;
        path.len -= len;
    }
    return rc;
}

/* What a token names, and the path of members behind it. */
static struct tpc_str first_part(const struct token *t, struct tpc_str *ret_path)
{
    struct tpc_str name = t->name;
    size_t len = 1;
    while (len < name.len && (t->quoted || name.ptr[len] != '.')) {
        len++;
    }
    *ret_path = (struct tpc_str){ name.ptr + len, name.len - len };
    return (struct tpc_str){ name.ptr, len };
}

static int push_value(struct parser *p, const struct tpc_value *v, uint8_t *ret_type)
{
    struct cell c = { .type = v->type };
    uint32_t at = 0;
    int rc;
    switch (v->type) {
    case TPC_BOOL:
        c.as.b = v->as.b;
        *ret_type = TPI_EXPR_BOOL;
        return tpi_emit_push(p, &c);
    case TPC_INT:
        c.as.i = v->as.i;
        *ret_type = TPI_EXPR_NUMBER;
        return tpi_emit_push(p, &c);
    case TPC_DOUBLE:
        c.as.d = v->as.d;
        *ret_type = TPI_EXPR_NUMBER;
        return tpi_emit_push(p, &c);
    case TPC_TEXT:
        *ret_type = TPI_EXPR_TEXT;
        rc = tpi_emit_text(p, (struct tpc_str){ v->as.text, v->len }, &at);
        return rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_PUSH, .a = (uint16_t) at }, 1);
    default:
        c.type = TPC_NULL;
        *ret_type = TPI_EXPR_NULL;
        return tpi_emit_push(p, &c);
    }
}

/* A name that the scope knows: its number, or -1 if it is a constant, which is pushed. Returns
 * TPC_ENOENT if it knows none. */
static int resolve(struct parser *p, struct tpc_str name, int64_t *ret_index, uint8_t *ret_type)
{
    struct tpc_value v;
    const struct tpi_expr_scope *s = p->scope;
    *ret_type = TPI_EXPR_ANY;
    *ret_index = -1;
    if (s->constant != NULL && s->constant(s->user, name, &v) == 0) {
        return push_value(p, &v, ret_type);
    }
    uint32_t index = 0;
    int rc = s->resolve(s->user, name, &index, ret_type);
    *ret_index = index;
    return rc;
}

/* The longest part of a name that is known; what is behind it are members. Sets the number of
 * bytes. */
static int resolve_longest(struct parser *p, const struct token *t, int64_t *ret_index,
                           uint8_t *ret_type, size_t *ret_len)
{
    struct tpc_str name = t->name;
    int rc = resolve(p, name, ret_index, ret_type);
    while (rc == TPC_ENOENT && !t->quoted && name.len > 1) {
        do {
            name.len--;
        } while (name.len > 0 && name.ptr[name.len] != '.');
        rc = name.len > 0 ? resolve(p, name, ret_index, ret_type) : TPC_ENOENT;
        if (rc == 0 && !has_parts(*ret_type)) {
            return TPC_ENOENT;
        }
    }
    *ret_len = name.len;
    return rc;
}

static int parse_name(struct parser *p, const struct token *t, struct operand *ret)
{
    int64_t index = -1;
    size_t len = 0;
    int rc = resolve_longest(p, t, &index, &ret->type, &len);
    if (rc != 0) {
        return rc == TPC_ENOMEM || rc == TPC_ETOOBIG ? rc : no_property(p, t->start, t->name);
    }
    ret->is_name = true;
    /* a view of the name itself, without backticks */
    ret->start = (size_t) (t->name.ptr - p->lx.text.ptr);
    ret->end = ret->start + t->name.len;
    if (index >= 0) {
        uint16_t at = 0;
        rc = tpi_emit_name(p, (uint32_t) index, &at);
        rc = rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_LOAD, .a = at }, 1);
    }
    if (rc == 0 && len < t->name.len) {
        ret->type = TPI_EXPR_ANY;
        rc = emit_members(p, t->start, (struct tpc_str){ t->name.ptr + len, t->name.len - len });
    }
    return rc;
}

/* ---- case ---- */

/* The type that both have, or may have. False if there is none. */
static bool common_type(uint8_t *type, uint8_t other)
{
    if (*type == TPI_EXPR_NULL) {
        *type = other;
    } else if (*type == TPI_EXPR_ANY || other == TPI_EXPR_ANY) {
        *type = TPI_EXPR_ANY;
    } else if (other != TPI_EXPR_NULL && *type != other) {
        return false;
    }
    return true;
}

static int need_common(struct parser *p, uint8_t *type, const struct operand *o, const char *where)
{
    uint8_t before = *type;
    if (common_type(type, o->type)) {
        return 0;
    }
    if (o->is_name) {
        return tpi_expr_error(&p->lx, TPC_EINVAL, o->start,
                              "%s expected as in the other %s, "
                              "'%.*s' is %s",
                              tpi_parse_type(before, true), where,
                              (int) (o->end - o->start < 128 ? o->end - o->start : 128),
                              p->lx.text.ptr + o->start, tpi_parse_type(o->type, false));
    }
    return tpi_expr_error(&p->lx, TPC_EINVAL, o->start, "%s expected as in the other %s, not %s",
                          tpi_parse_type(before, true), where, tpi_parse_type(o->type, true));
}

/* Where a case is: with a value to compare, it lies below the branches. */
struct branches {
    bool simple;
    struct operand value;
    uint8_t type;
    uint32_t stack;    /* before a branch's result */
    uint32_t last_end; /* the jump to the end of the branch before: they are chained through b */
};

/* The condition behind "when", and the jump past the branch. */
static int parse_when(struct parser *p, struct branches *b, size_t *ret_jump)
{
    struct operand when;
    int rc = b->simple ? tpi_emit(p, (struct code){ .op = OP_COPY }, 1) : 0;
    rc = rc != 0 ? rc : parse_next(p);
    rc = rc != 0 ? rc : tpi_parse_or(p, &when);
    if (rc == 0 && b->simple) {
        bool known = when.type > TPI_EXPR_NULL && b->value.type > TPI_EXPR_NULL;
        if (known && when.type != b->value.type) {
            return tpi_parse_fail_types(p, &b->value, &when, "compared with");
        }
        rc = tpi_emit(p, (struct code){ .op = OP_CMP, .x = REL_EQ }, -1);
    } else if (rc == 0) {
        rc = tpi_parse_need(p, &when, TPI_EXPR_BOOL, "when needs a condition");
    }
    *ret_jump = code_count(p);
    return rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_JUMP_UNLESS }, -1);
}

/* The value behind "then" or "else", in the place of what is compared. */
static int parse_result(struct parser *p, struct branches *b)
{
    struct operand result;
    p->stack = b->stack;
    int rc = b->simple ? tpi_emit(p, (struct code){ .op = OP_DROP }, -1) : 0;
    rc = rc != 0 ? rc : parse_next(p);
    rc = rc != 0 ? rc : tpi_parse_or(p, &result);
    return rc != 0 ? rc : need_common(p, &b->type, &result, "branches");
}

static int parse_branch(struct parser *p, struct branches *b)
{
    size_t jump = 0;
    p->stack = b->stack;
    int rc = parse_when(p, b, &jump);
    if (rc != 0) {
        return rc;
    }
    if (!tpi_expr_is_word(&p->tok, "then")) {
        return tpi_parse_expected(p, "'then'");
    }
    rc = parse_result(p, b);
    uint32_t end = (uint32_t) code_count(p);
    rc = rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_JUMP, .b = b->last_end }, 0);
    if (rc == 0) {
        b->last_end = end;
        tpi_emit_land(p, jump);
    }
    return rc;
}

static int parse_else(struct parser *p, struct branches *b)
{
    if (tpi_expr_is_word(&p->tok, "else")) {
        return parse_result(p, b);
    }
    struct cell null = { .type = TPC_NULL };
    p->stack = b->stack;
    int rc = b->simple ? tpi_emit(p, (struct code){ .op = OP_DROP }, -1) : 0;
    return rc != 0 ? rc : tpi_emit_push(p, &null);
}

static int parse_case(struct parser *p, struct operand *ret)
{
    struct branches b = { .type = TPI_EXPR_NULL, .last_end = UINT32_MAX };
    int rc = tpi_parse_enter(p);
    rc = rc != 0 ? rc : parse_next(p);
    if (rc == 0 && !tpi_expr_is_word(&p->tok, "when")) {
        b.simple = true;
        rc = tpi_parse_or(p, &b.value);
    }
    b.stack = p->stack;
    if (rc == 0 && !tpi_expr_is_word(&p->tok, "when")) {
        return tpi_parse_expected(p, "'when'");
    }
    while (rc == 0 && tpi_expr_is_word(&p->tok, "when")) {
        rc = parse_branch(p, &b);
    }
    rc = rc != 0 ? rc : parse_else(p, &b);
    if (rc != 0) {
        return rc;
    }
    if (!tpi_expr_is_word(&p->tok, "end")) {
        return tpi_parse_expected(p, "'end'");
    }
    while (b.last_end != UINT32_MAX) {
        uint32_t before = code_at(p, b.last_end)->b;
        tpi_emit_land(p, b.last_end);
        b.last_end = before;
    }
    parse_leave(p);
    ret->type = b.type;
    ret->end = p->tok.end;
    return parse_next(p);
}

/* ---- calls ---- */

static uint8_t letter_type(char letter)
{
    switch (letter) {
    case 'n':
        return TPI_EXPR_NUMBER;
    case 't':
        return TPI_EXPR_TEXT;
    case 'b':
        return TPI_EXPR_BOOL;
    case 'l':
        return TPI_EXPR_LIST;
    case 'm':
        return TPI_EXPR_MAP;
    default:
        return TPI_EXPR_ANY;
    }
}

int tpi_parse_arg(struct parser *p, const struct function *f, uint32_t number,
                  const struct operand *o, uint8_t *common)
{
    const char *letter = f->args;
    for (uint32_t i = 0; i < number && letter[1] != 0; i++) {
        letter++;
    }
    if (*letter == '=') {
        return need_common(p, common, o, "arguments");
    }
    uint8_t want = letter_type(*letter);
    bool tree = o->type == TPI_EXPR_LIST || o->type == TPI_EXPR_MAP;
    bool fits = *letter == 's'
                    ? !tree
                    : want == TPI_EXPR_ANY || o->type <= TPI_EXPR_NULL || o->type == want;
    if (fits) {
        return 0;
    }
    const char *expected = *letter == 's' ? "a number, text or bool" : tpi_parse_type(want, true);
    if (o->is_name) {
        size_t len = o->end - o->start;
        return tpi_expr_error(&p->lx, TPC_EINVAL, o->start, "%s expected in %s(), '%.*s' is %s",
                              expected, f->name, (int) (len < 128 ? len : 128),
                              p->lx.text.ptr + o->start, tpi_parse_type(o->type, false));
    }
    return tpi_expr_error(&p->lx, TPC_EINVAL, o->start, "%s expected in %s(), not %s", expected,
                          f->name, tpi_parse_type(o->type, true));
}

int tpi_parse_wrong_count(struct parser *p, const struct function *f, uint32_t count)
{
    if (f->min == f->max) {
        return tpi_expr_error(&p->lx, TPC_EINVAL, p->tok.start,
                              "%s() takes %u argument%s, not %u%s", f->name, (unsigned) f->min,
                              f->min == 1 ? "" : "s", count, count > f->max ? " or more" : "");
    }
    return tpi_expr_error(&p->lx, TPC_EINVAL, p->tok.start,
                          "%s() takes %u to %u arguments, not %u%s", f->name, (unsigned) f->min,
                          (unsigned) f->max, count, count > f->max ? " or more" : "");
}

/* Arguments from behind "(" up to ")", count of them there already. The token is then ")". */
static int parse_args(struct parser *p, const struct function *f, uint32_t *count, uint8_t *common)
{
    int rc = parse_next(p);
    while (rc == 0 && p->tok.type != TOKEN_CLOSE) {
        struct operand arg;
        if (*count == f->max) {
            return tpi_parse_wrong_count(p, f, *count + 1);
        }
        if (tpi_parse_is_zone(f, *count)) {
            rc = tpi_parse_zone(p);
        } else {
            rc = tpi_parse_or(p, &arg);
            rc = rc != 0 ? rc : tpi_parse_arg(p, f, *count, &arg, common);
        }
        if (rc != 0) {
            return rc;
        }
        *count += 1;
        if (p->tok.type != TOKEN_COMMA && p->tok.type != TOKEN_CLOSE) {
            return tpi_parse_expected(p, "',' or ')'");
        }
        if (p->tok.type == TOKEN_COMMA) {
            rc = parse_next(p);
            if (rc == 0 && p->tok.type == TOKEN_CLOSE) {
                return tpi_parse_expected(p, "a value");
            }
        }
    }
    return rc == 0 && *count < f->min ? tpi_parse_wrong_count(p, f, *count) : rc;
}

int tpi_emit_call(struct parser *p, int number, uint32_t count)
{
    return tpi_emit(p, (struct code){ OP_CALL, (uint8_t) count, (uint16_t) number, 0 },
                    1 - (int) count);
}

/* last(name): the name alone; what it loads is not loaded here. */
static int parse_name_arg(struct parser *p, const struct function *f, uint16_t *ret_name,
                          uint8_t *ret_type)
{
    struct operand arg;
    size_t first = code_count(p);
    uint8_t common = TPI_EXPR_NULL;
    int rc = parse_next(p);
    if (rc != 0) {
        return rc;
    }
    size_t at = p->tok.start;
    rc = tpi_parse_or(p, &arg);
    if (rc != 0) {
        return rc;
    }
    const struct code *c = code_at(p, first);
    if (code_count(p) != first + 1 || c->op != OP_LOAD) {
        return tpi_expr_error(&p->lx, TPC_EINVAL, at, "%s() needs a property by its name", f->name);
    }
    *ret_name = c->a;
    *ret_type = arg.type;
    p->code.len -= sizeof(*c);
    p->stack--;
    return tpi_parse_arg(p, f, (uint32_t) (f->min - 1), &arg, &common);
}

static int emit_changed_col(struct parser *p, uint16_t name, bool pass_null)
{
    struct cell null = { .type = TPC_NULL };
    size_t jump = 0, end = 0;
    int rc = tpi_emit(p, (struct code){ .op = OP_CHANGED, .x = pass_null, .a = name }, 1);
    jump = code_count(p);
    rc = rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_JUMP_UNLESS }, -1);
    rc = rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_LOAD, .a = name }, 1);
    end = code_count(p);
    rc = rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_JUMP }, -1);
    if (rc != 0) {
        return rc;
    }
    tpi_emit_land(p, jump);
    rc = tpi_emit_push(p, &null);
    if (rc == 0) {
        tpi_emit_land(p, end);
    }
    return rc;
}

static int parse_state(struct parser *p, const struct function *f, struct operand *ret)
{
    uint16_t name = 0;
    bool pass_null = false;
    int rc = 0;
    if (f->special == SPECIAL_HAD_CHANGED || f->special == SPECIAL_CHANGED_COL) {
        rc = parse_next(p);
        pass_null = p->tok.type == TOKEN_TRUE;
        if (rc == 0 && !pass_null && p->tok.type != TOKEN_FALSE) {
            return tpi_parse_expected(p, "true or false");
        }
        rc = rc != 0 ? rc : parse_next(p);
        if (rc == 0 && p->tok.type != TOKEN_COMMA) {
            return tpi_parse_expected(p, "','");
        }
    }
    rc = rc != 0 ? rc : parse_name_arg(p, f, &name, &ret->type);
    if (rc != 0) {
        return rc;
    }
    switch (f->special) {
    case SPECIAL_LAST:
        return tpi_emit(p, (struct code){ .op = OP_PREVIOUS, .a = name }, 1);
    case SPECIAL_DELTA:
        ret->type = TPI_EXPR_NUMBER;
        rc = tpi_emit(p, (struct code){ .op = OP_LOAD, .a = name }, 1);
        rc = rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_PREVIOUS, .a = name }, 1);
        return rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_SUB }, -1);
    case SPECIAL_AGE:
        ret->type = TPI_EXPR_NUMBER;
        return tpi_emit(p, (struct code){ .op = OP_AGE, .a = name }, 1);
    case SPECIAL_CHANGED_COL:
        return emit_changed_col(p, name, pass_null);
    default:
        ret->type = TPI_EXPR_BOOL;
        return tpi_emit(p, (struct code){ .op = OP_CHANGED, .x = pass_null, .a = name }, 1);
    }
}

/* device('key').name; the token is then the one behind it. */
static int parse_device(struct parser *p, const struct function *f, struct operand *ret)
{
    uint32_t count = 0;
    uint8_t common = TPI_EXPR_NULL;
    int rc = parse_args(p, f, &count, &common);
    rc = rc != 0 ? rc : parse_next(p);
    if (rc == 0 && p->tok.type != TOKEN_DOT) {
        return tpi_parse_expected(p, "'.' and the name of a property");
    }
    rc = rc != 0 ? rc : parse_next(p);
    if (rc == 0 && p->tok.type != TOKEN_NAME) {
        return tpi_parse_expected(p, "the name of a property");
    }
    if (rc != 0) {
        return rc;
    }
    uint32_t at = 0;
    struct tpc_str path;
    rc = tpi_emit_text(p, first_part(&p->tok, &path), &at);
    rc = rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_OTHER, .a = (uint16_t) at }, 0);
    rc = rc != 0 ? rc : emit_members(p, p->tok.start, path);
    ret->type = TPI_EXPR_ANY;
    ret->end = p->tok.end;
    return rc != 0 ? rc : parse_next(p);
}

static int find_function(struct parser *p, const struct token *name, int *ret)
{
    *ret = tpi_expr_function_find(name->name);
    if (*ret < 0) {
        size_t len = name->name.len;
        return tpi_expr_error(&p->lx, TPC_EINVAL, name->start, "no function '%.*s'",
                              (int) (len < 128 ? len : 128), name->name.ptr);
    }
    const struct function *f = tpi_expr_function(*ret);
    if ((f->needs & ~p->scope->features) != 0) {
        return tpi_expr_error(&p->lx, TPC_EINVAL, name->start, "%s() cannot be used here", f->name);
    }
    p->needs |= f->needs;
    return 0;
}

/* The token is the "(" behind the name. */
static int parse_call(struct parser *p, const struct token *name, struct operand *ret)
{
    int number = 0;
    int rc = find_function(p, name, &number);
    rc = rc != 0 ? rc : tpi_parse_enter(p);
    if (rc != 0) {
        return rc;
    }
    const struct function *f = tpi_expr_function(number);
    if (f->special == SPECIAL_DEVICE) {
        rc = parse_device(p, f, ret);
        parse_leave(p);
        return rc;
    }
    if (f->special == SPECIAL_SCRIPT) {
        rc = tpi_parse_script(p, number, ret);
    } else if (f->special == SPECIAL_CAST || f->special == SPECIAL_REGEXP) {
        rc = tpi_parse_with_constant(p, number, ret);
    } else if (f->special != SPECIAL_NONE) {
        rc = parse_state(p, f, ret);
    } else {
        uint32_t count = 0;
        uint8_t common = TPI_EXPR_NULL;
        rc = parse_args(p, f, &count, &common);
        rc = rc != 0 ? rc : tpi_emit_call(p, number, count);
        ret->type = f->result == RESULT_SAME ? common : f->result;
    }
    parse_leave(p);
    if (rc == 0 && p->tok.type != TOKEN_CLOSE) {
        return tpi_parse_expected(p, "')'");
    }
    ret->end = p->tok.end;
    return rc != 0 ? rc : parse_next(p);
}

int tpi_parse_pipe(struct parser *p, struct operand *value)
{
    int number = 0;
    uint32_t count = 1;
    uint8_t common = TPI_EXPR_NULL;
    struct token name = p->tok;
    if (name.type != TOKEN_NAME || name.quoted) {
        return tpi_parse_expected(p, "a function");
    }
    int rc = find_function(p, &name, &number);
    if (rc != 0) {
        return rc;
    }
    const struct function *f = tpi_expr_function(number);
    if (f->special != SPECIAL_NONE || f->max == 0) {
        return tpi_expr_error(&p->lx, TPC_EINVAL, name.start, "%s() cannot stand behind |",
                              f->name);
    }
    rc = tpi_parse_arg(p, f, 0, value, &common);
    rc = rc != 0 ? rc : parse_next(p);
    if (rc == 0 && p->tok.type == TOKEN_OPEN) {
        rc = parse_args(p, f, &count, &common);
        rc = rc != 0 ? rc : parse_next(p);
    } else if (rc == 0 && f->min > 1) {
        return tpi_parse_wrong_count(p, f, 1);
    }
    value->type = f->result == RESULT_SAME ? common : f->result;
    value->is_name = false;
    return rc != 0 ? rc : tpi_emit_call(p, number, count);
}

/* ---- all of them ---- */

static int parse_group(struct parser *p, struct operand *ret)
{
    size_t start = ret->start;
    int rc = parse_next(p);
    rc = rc != 0 ? rc : tpi_parse_or(p, ret);
    if (rc != 0) {
        return rc;
    }
    if (p->tok.type != TOKEN_CLOSE) {
        return tpi_parse_expected(p, "')'");
    }
    if (!ret->is_name) {
        ret->start = start;
        ret->end = p->tok.end;
    }
    return parse_next(p);
}

static int parse_word(struct parser *p, struct operand *ret)
{
    struct token name = p->tok;
    int rc = parse_next(p);
    if (rc != 0) {
        return rc;
    }
    if (p->tok.type == TOKEN_OPEN && !name.quoted) {
        return parse_call(p, &name, ret);
    }
    return parse_name(p, &name, ret);
}

/* "[0]": the list is on the stack, the token is "[". */
static int parse_item(struct parser *p, struct operand *list)
{
    struct operand index;
    bool text = list->type != TPI_EXPR_LIST; /* of a map */
    int rc = parse_next(p);
    rc = rc != 0 ? rc : tpi_parse_or(p, &index);
    if (rc == 0 && !(text && index.type == TPI_EXPR_TEXT)) {
        rc = tpi_parse_need(p, &index, TPI_EXPR_NUMBER, "an index is a number");
    }
    if (rc == 0 && p->tok.type != TOKEN_CLOSE_ITEM) {
        return tpi_parse_expected(p, "']'");
    }
    list->end = p->tok.end;
    rc = rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_ITEM }, -1);
    return rc != 0 ? rc : parse_next(p);
}

static int parse_member(struct parser *p, struct operand *map)
{
    int rc = parse_next(p);
    if (rc == 0 && p->tok.type != TOKEN_NAME) {
        return tpi_parse_expected(p, "the name of a member");
    }
    if (rc != 0) {
        return rc;
    }
    struct tpc_str path;
    rc = emit_member(p, first_part(&p->tok, &path));
    rc = rc != 0 ? rc : emit_members(p, p->tok.start, path);
    map->end = p->tok.end;
    return rc != 0 ? rc : parse_next(p);
}

static int parse_parts(struct parser *p, struct operand *ret)
{
    int rc = 0;
    while (rc == 0 && (p->tok.type == TOKEN_OPEN_ITEM || p->tok.type == TOKEN_DOT)) {
        if (!has_parts(ret->type)) {
            return tpi_parse_need(p, ret, TPI_EXPR_LIST, "a list or map is needed");
        }
        rc = tpi_parse_enter(p);
        if (rc == 0) {
            rc = p->tok.type == TOKEN_DOT ? parse_member(p, ret) : parse_item(p, ret);
        }
        parse_leave(p);
        ret->type = TPI_EXPR_ANY;
        ret->is_name = false;
    }
    return rc;
}

int tpi_parse_primary(struct parser *p, struct operand *ret)
{
    struct cell c;
    int rc;
    *ret = (struct operand){ .start = p->tok.start, .end = p->tok.end, .code = code_count(p) };
    if (p->tok.type == TOKEN_OPEN) {
        rc = parse_group(p, ret);
    } else if (p->tok.type == TOKEN_CASE) {
        rc = parse_case(p, ret);
    } else if (p->tok.type == TOKEN_NAME) {
        rc = parse_word(p, ret);
    } else if (tpi_parse_const(&p->tok, &c, &ret->type)) {
        rc = tpi_emit_push(p, &c);
        rc = rc != 0 ? rc : parse_next(p);
    } else {
        return tpi_parse_expected(p, "a value");
    }
    return rc != 0 ? rc : parse_parts(p, ret);
}
