/* Time zones as arguments: 'Europe/Berlin'. */
#include <string.h>

#include "calendar/zone.h"
#include "expr/parse.h"

bool tpi_parse_is_zone(const struct function *f, uint32_t number)
{
    return number < strlen(f->args) && f->args[number] == 'z';
}

static int open_zone(const struct parser *p, struct tpc_str name, struct tpi_zone **ret)
{
    const struct tpi_env none = { .alloc = p->pool.alloc };
    const struct tpi_env *env = p->scope->env != NULL ? p->scope->env : &none;
    return tpi_zone_open(env, p->scope->zone_dir, name, NULL, ret);
}

int tpi_parse_zone(struct parser *p)
{
    struct tpi_zone *zone = NULL;
    if (p->tok.type != TOKEN_TEXT) {
        return tpi_parse_expected(p, "a time zone in quotes");
    }
    if (p->zone_count == TPI_EXPR_MAX_ZONES) {
        return tpi_parse_too_many(p, "time zones");
    }
    struct tpc_str name = parse_text(p);
    int rc = open_zone(p, name, &zone);
    if (rc == TPC_ENOMEM) {
        return rc;
    }
    if (rc != 0) {
        return tpi_expr_error(&p->lx, TPC_EINVAL, p->tok.start,
                              rc == TPC_EUNSUPPORTED ? "time zone '%.*s' cannot be used here"
                                                     : "no time zone '%.*s'",
                              (int) (name.len < 64 ? name.len : 64), name.ptr);
    }
    struct cell number = { .type = TPC_INT, .as.i = p->zone_count };
    p->zones[p->zone_count++] = zone;
    rc = tpi_emit_push(p, &number);
    return rc != 0 ? rc : parse_next(p);
}
