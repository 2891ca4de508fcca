/* Compiles any text as a template for every target and renders what compiles: no fault, the bound
 * holds, and what is put into a URL or between JSON's quotes cannot leave its place. */
#include "expr/template.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int resolve(void *user, struct tpc_str name, uint32_t *ret_index, uint8_t *ret_type)
{
    (void) user;
    *ret_index = (uint8_t) name.ptr[0];
    *ret_type = TPI_EXPR_ANY;
    return name.ptr[0] == 'z' || name.len > 2 ? TPC_ENOENT : 0;
}

static const struct tpc_value items[3] = {
    { .type = TPC_INT, .as.i = 5 },
    { .type = TPC_TEXT, .len = 4, .as.text = "a\"\\\n" },
    { .type = TPC_NULL },
};

static const struct tpc_value values[6] = {
    { .type = TPC_INT, .as.i = INT64_MIN },
    { .type = TPC_DOUBLE, .as.d = 21 },
    { .type = TPC_TEXT, .len = 12, .as.text = "\"\\&?\x80\xc3\xa4\n}} {{" },
    { .type = TPC_BOOL, .as.b = true },
    { .type = TPC_ARRAY, .len = 3, .as.items = items },
    { .type = TPC_TEXT },
};

static bool load(void *user, uint32_t index, struct tpc_value *ret)
{
    (void) user;
    *ret = values[index % 6];
    return index % 7 != 0;
}

static const struct tpi_expr_scope scope = { .resolve = resolve };
static const struct tpi_expr_host host = { .load = load };

static void name(void *user, uint32_t index)
{
    (void) user;
    (void) index;
}

/* {{ .. }} alone inside quotes: what comes out has no quote of its own. */
static void check_quoted(const struct tpi_buf *out)
{
    for (size_t i = 1; i + 1 < out->len; i++) {
        if (out->ptr[i] == '\\') {
            i++;
        } else if (out->ptr[i] == '"' || out->ptr[i] < 0x20) {
            abort();
        }
    }
}

static void run(struct tpc_str text, int target, bool quoted)
{
    struct tpc_error err = { 0 };
    struct tpi_template *t = NULL;
    if (tpi_template_compile(NULL, text, &scope, (enum tpi_template_target) target, &err, &t) !=
        0) {
        return;
    }
    char room[100];
    struct tpi_expr_scratch scratch = { room, sizeof(room), 0, 0 };
    struct tpi_buf out;
    tpi_buf_init(&out, NULL, 300);
    int rc = tpi_template_render(t, &host, NULL, &scratch, &out);
    if (out.len > 300 || (rc != 0 && out.len != 0)) {
        abort();
    }
    if (rc == 0 && quoted) {
        check_quoted(&out);
    }
    tpi_template_names(t, name, NULL);
    tpi_buf_fini(&out);
    tpi_template_destroy(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_str text = { (const char *) data, size };
    for (int target = TPI_TEMPLATE_PLAIN; target <= TPI_TEMPLATE_URL; target++) {
        run(text, target, false);
    }
    char one[512] = "\"{{";
    if (size > 0 && size < 500 && memchr(data, '}', size) == NULL &&
        memchr(data, '|', size) == NULL) {
        memcpy(one + 3, data, size);
        memcpy(one + 3 + size, "}}\"", 3);
        run((struct tpc_str){ one, size + 6 }, TPI_TEMPLATE_JSON, true);
    }
    return 0;
}
