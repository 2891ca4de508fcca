/* Reads any text as a statement of a data rule. What is refused has a place; the parts of what is not are
 * inside it, in order, and as long as they were once their calls have names. */
#include "rules/sql.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
    if (!ok) {
        abort();
    }
}

static void check_part(const struct tpi_sql *s, struct tpi_sql_span part, char *buf)
{
    must(part.from <= part.to && part.to <= s->text.len);
    struct tpc_str text = tpi_sql_part(s, part, true, buf);
    must(text.len == part.to);
    int lines = 0;
    for (uint32_t i = 0; i < part.to; i++) {
        lines += (s->text.ptr[i] == '\n') - (buf[i] == '\n');
    }
    must(lines == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tpi_sql s;
    static char buf[TPI_SQL_MAX_TEXT];
    struct tpc_error err = { .size = sizeof(err) };
    int rc = tpi_sql_parse(NULL, (struct tpc_str){ (const char *) data, size }, &err, &s);
    if (rc != 0) {
        must(err.text[0] != '\0' && (rc == TPC_ETOOBIG || (err.line > 0 && err.column > 0)));
        return 0;
    }
    must(s.topic.filter.len == 0 || (s.topic.kinds != 0 && s.topic.tenant.len > 0));
    must(s.product.len > 0 && (s.all || s.item_count > 0));
    for (uint32_t i = 0; i < s.item_count; i++) {
        must(s.items[i].name.len > 0);
        check_part(&s, s.items[i].expr, buf);
    }
    for (uint32_t i = 0; i < s.call_count; i++) {
        must(s.calls[i].all.to >= s.calls[i].all.from + 5);
        check_part(&s, s.calls[i].all, buf);
        check_part(&s, s.calls[i].arg, buf);
    }
    check_part(&s, s.where, buf);
    check_part(&s, s.having, buf);
    check_part(&s, s.window.filter, buf);
    check_part(&s, s.window.begin, buf);
    check_part(&s, s.window.emit, buf);
    return 0;
}
