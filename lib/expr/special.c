/* Functions with an argument that the compiler itself looks at: cast, regexp_matches, lua. */
#include "expr/parse.h"
#include "expr/regexp.h"

/* cast(x, 'bigint'): the value is on the stack, the token is the comma. */
static int parse_cast_type(struct parser *p, struct operand *ret)
{
    static const struct {
        const char *name, *function;
    } types[] = { { "bigint", "to_int" },   { "int", "to_int" },     { "float", "to_float" },
                  { "double", "to_float" }, { "string", "to_text" }, { "text", "to_text" },
                  { "boolean", "to_bool" }, { "bool", "to_bool" } };
    int rc = parse_next(p);
    if (rc != 0) {
        return rc;
    }
    struct tpc_str name = p->tok.type == TOKEN_TEXT ? parse_text(p) : TPC_STR("");
    for (size_t i = 0; name.len > 0 && i < sizeof(types) / sizeof(types[0]); i++) {
        if (tpc_str_equal(name, tpc_str_from(types[i].name))) {
            int number = tpi_expr_function_find(tpc_str_from(types[i].function));
            ret->type = tpi_expr_function(number)->result;
            rc = parse_next(p);
            return rc != 0 ? rc : tpi_emit_call(p, number, 1);
        }
    }
    return tpi_parse_expected(p, "'bigint', 'float', 'string' or 'boolean'");
}

/* regexp_matches(x, 'pattern'): the pattern becomes a program, which stands among the texts. */
static int parse_pattern(struct parser *p, int number)
{
    int rc = parse_next(p);
    if (rc == 0 && p->tok.type != TOKEN_TEXT) {
        return tpi_parse_expected(p, "a pattern in quotes");
    }
    if (rc != 0) {
        return rc;
    }
    struct tpi_buf program;
    size_t at = 0;
    const char *what = NULL;
    tpi_buf_init(&program, p->pool.alloc, 0);
    rc = tpi_regexp_compile(parse_text(p), &program, &at, &what);
    if (rc != 0 && what != NULL) {
        rc = tpi_expr_error(&p->lx, rc, p->tok.start + 1 + at, "%s", what);
    }
    uint32_t constant = 0;
    struct tpc_str bytes = { (const char *) program.ptr, program.len };
    rc = rc != 0 ? rc : tpi_emit_text(p, bytes, &constant);
    tpi_buf_fini(&program);
    rc = rc != 0 ? rc : tpi_emit(p, (struct code){ .op = OP_PUSH, .a = (uint16_t) constant }, 1);
    rc = rc != 0 ? rc : tpi_emit_call(p, number, 2);
    return rc != 0 ? rc : parse_next(p);
}

int tpi_parse_with_constant(struct parser *p, int number, struct operand *ret)
{
    const struct function *f = tpi_expr_function(number);
    struct operand value;
    uint8_t common = TPI_EXPR_NULL;
    int rc = parse_next(p);
    rc = rc != 0 ? rc : tpi_parse_or(p, &value);
    rc = rc != 0 ? rc : tpi_parse_arg(p, f, 0, &value, &common);
    if (rc == 0 && p->tok.type != TOKEN_COMMA) {
        return tpi_parse_expected(p, "','");
    }
    ret->type = f->result;
    if (rc != 0) {
        return rc;
    }
    return f->special == SPECIAL_CAST ? parse_cast_type(p, ret) : parse_pattern(p, number);
}

/* The code of a script, which is the token, becomes its number on the stack. */
static int open_script(struct parser *p)
{
    struct tpc_error why = { .text = "" };
    size_t at = p->tok.start;
    if (p->tok.type != TOKEN_TEXT) {
        return tpi_parse_expected(p, "the code as a text");
    }
    if (p->script_count == TPI_EXPR_MAX_SCRIPTS) {
        return tpi_parse_too_many(p, "scripts");
    }
    int rc =
        p->scope->script(p->scope->script_user, parse_text(p), &why, &p->scripts[p->script_count]);
    if (rc != 0) {
        return why.line > 0 ? tpi_expr_error(&p->lx, rc, at, "line %u of the code: %s",
                                             (unsigned) why.line, why.text)
                            : tpi_expr_error(&p->lx, rc, at, "%s", why.text);
    }
    struct cell number = { .type = TPC_INT, .as.i = p->script_count++ };
    return tpi_emit_push(p, &number);
}

int tpi_parse_script(struct parser *p, int number, struct operand *ret)
{
    const struct function *f = tpi_expr_function(number);
    uint32_t count = 1;
    uint8_t common = TPI_EXPR_NULL;
    int rc = parse_next(p);
    rc = rc != 0 ? rc : open_script(p);
    rc = rc != 0 ? rc : parse_next(p);
    while (rc == 0 && p->tok.type == TOKEN_COMMA) {
        struct operand arg;
        if (count == f->max) {
            return tpi_parse_wrong_count(p, f, count + 1);
        }
        rc = parse_next(p);
        rc = rc != 0 ? rc : tpi_parse_or(p, &arg);
        rc = rc != 0 ? rc : tpi_parse_arg(p, f, count, &arg, &common);
        count++;
    }
    ret->type = f->result;
    return rc != 0 ? rc : tpi_emit_call(p, number, count);
}
