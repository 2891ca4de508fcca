/* tp-tool codec: a product's codec and model on bytes, without a device. */
#include "../common/assemble.h"
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/ext/host.h>

enum { INPUT_MAX = 1 << 20 };

struct request {
    const char *product, *config, *hex, *text, *file, *kind, *topic, *service, *params;
};

/* Number of a kind that devices send, by its name; -1 = no such kind. */
static int kind_of(const char *name)
{
    if (name == NULL) {
        return TPC_MSG_UNKNOWN;
    }
    for (uint16_t k = TPC_MSG_TELEMETRY; k <= TPC_MSG_REPLY; k++) {
        if (strcmp(name, tpc_kind_name(k)) == 0) {
            return k;
        }
    }
    return strcmp(name, tpc_kind_name(TPC_MSG_RAW)) == 0 ? TPC_MSG_RAW : -1;
}

static int parse(int argc, char **argv, struct request *r)
{
    for (int i = 0; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        const char **to = strcmp(argv[i], "--config") == 0   ? &r->config
                          : strcmp(argv[i], "--hex") == 0    ? &r->hex
                          : strcmp(argv[i], "--text") == 0   ? &r->text
                          : strcmp(argv[i], "--file") == 0   ? &r->file
                          : strcmp(argv[i], "--kind") == 0   ? &r->kind
                          : strcmp(argv[i], "--topic") == 0  ? &r->topic
                          : strcmp(argv[i], "--encode") == 0 ? &r->service
                                                             : NULL;
        if (to != NULL) {
            if (value == NULL) {
                return -1;
            }
            *to = value;
            i++;
        } else if (r->product == NULL && argv[i][0] != '-') {
            r->product = argv[i];
        } else if (r->service != NULL && r->params == NULL) {
            r->params = argv[i];
        } else {
            return -1;
        }
    }
    int inputs = (r->hex != NULL) + (r->text != NULL) + (r->file != NULL) + (r->service != NULL);
    return r->product != NULL && r->config != NULL && inputs == 1 && kind_of(r->kind) >= 0 ? 0 : -1;
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Pairs of digits; blanks and colons between them. */
static long from_hex(const char *hex, uint8_t *to)
{
    long n = 0;
    for (const char *p = hex; *p != '\0';) {
        if (*p == ' ' || *p == ':') {
            p++;
            continue;
        }
        if (digit(p[0]) < 0 || digit(p[1]) < 0 || n == INPUT_MAX) {
            fprintf(stderr, "tp-tool: --hex: no pair of digits at character %ld\n",
                    (long) (p - hex) + 1);
            return -1;
        }
        to[n++] = (uint8_t) (digit(p[0]) << 4 | digit(p[1]));
        p += 2;
    }
    return n;
}

static long read_input(const struct request *r, uint8_t *to)
{
    if (r->hex != NULL) {
        return from_hex(r->hex, to);
    }
    if (r->text != NULL) {
        size_t len = strlen(r->text);
        memcpy(to, r->text, len < INPUT_MAX ? len : INPUT_MAX);
        return (long) (len < INPUT_MAX ? len : INPUT_MAX);
    }
    FILE *f = fopen(r->file, "rb");
    if (f == NULL) {
        fprintf(stderr, "tp-tool: %s: %s\n", r->file, strerror(errno));
        return -1;
    }
    long n = (long) fread(to, 1, INPUT_MAX, f);
    fclose(f);
    return n;
}

static void print_value(const struct tpc_value *v)
{
    static uint8_t space[65536];
    struct tpc_buf buf = { space, sizeof(space), 0 };
    if (tpc_json_write(v, 0, &buf) == 0) {
        fwrite(space, 1, buf.need, stdout);
    } else {
        fputs("(too long)", stdout);
    }
}

static int on_message(void *user, const struct tpc_msg *m, const struct tpc_verdict *verdicts,
                      uint32_t count, const struct tpc_error *error)
{
    int *bad = user;
    if (error != NULL) {
        *bad = 1;
        printf("refused: %s: ", tpc_error_name(error->code));
        if (error->line != 0) {
            printf("line %u: ", error->line);
        }
        printf("%s%s%s\n", error->path, error->path[0] != '\0' ? ": " : "", error->text);
        return 0;
    }
    printf("%s", tpc_kind_name(m->kind));
    if (m->name.len > 0) {
        printf(" name=%.*s", (int) m->name.len, m->name.ptr);
    }
    if (m->correlation.len > 0) {
        printf(" id=%.*s", (int) m->correlation.len, m->correlation.ptr);
    }
    if (m->kind == TPC_MSG_REPLY) {
        printf(" code=%d", m->code);
    }
    if (m->params.type != TPC_NULL) {
        fputs(" params=", stdout);
        print_value(&m->params);
    }
    putchar('\n');
    for (uint32_t i = 0; i < count; i++) {
        const struct tpc_point *p = verdicts[i].point;
        printf("  %.*s = ", (int) p->key.len, p->key.ptr);
        print_value(&p->value);
        if (verdicts[i].code != 0) {
            *bad = 1;
            printf("   refused: %.*s", (int) verdicts[i].reason.len, verdicts[i].reason.ptr);
        }
        putchar('\n');
    }
    return 0;
}

static int fail(const char *what)
{
    const struct tpc_error *e = tpc_error_last();
    char place[48] = "";
    if (e->line != 0) {
        snprintf(place, sizeof(place), "line %u, column %u: ", e->line, e->column);
    }
    fprintf(stderr, "tp-tool: %s: %s%s%s%s (%s)\n", what, e->path, e->path[0] != '\0' ? ": " : "",
            place, e->text, tpc_error_name(e->code));
    return 1;
}

static int decode(struct tpc_core *core, const struct request *r)
{
    static uint8_t input[INPUT_MAX];
    struct tpc_frame f = { .size = sizeof(f) };
    int bad = 0;
    long len = read_input(r, input);
    if (len < 0) {
        return 1;
    }
    f.kind = (uint16_t) kind_of(r->kind);
    f.topic = tpc_str_from(r->topic != NULL ? r->topic : "");
    f.payload = (struct tpc_bytes){ input, (size_t) len };
    if (tpc_codec_test(core, tpc_str_from(r->product), &f, on_message, &bad) != 0) {
        return fail(r->product);
    }
    return bad;
}

static int encode(struct tpc_core *core, const struct request *r)
{
    static uint8_t out[INPUT_MAX];
    struct tpc_buf buf = { out, sizeof(out), 0 };
    bool text = true;
    if (tpc_codec_test_encode(core, tpc_str_from(r->product), tpc_str_from(r->service),
                              tpc_str_from(r->params != NULL ? r->params : "{}"), &buf) != 0) {
        return fail(r->service);
    }
    for (size_t i = 0; i < buf.need; i++) {
        text = text && out[i] >= 0x20 && out[i] < 0x7f;
        printf("%02x", out[i]);
    }
    putchar('\n');
    if (text) {
        printf("%.*s\n", (int) buf.need, (const char *) out);
    }
    return 0;
}

int tool_codec(int argc, char **argv)
{
    struct request r = { 0 };
    struct config c;
    struct tpc_core *core;
    if (parse(argc, argv, &r) != 0) {
        return 2;
    }
    int rc = config_read(&c, r.config);
    if (rc == 0) {
        rc = assemble_core(&c, 0, NULL, NULL, &core);
    }
    if (rc == 0) {
        /* Log and stores stay in memory: nothing of the platform's own data is touched. */
        rc = assemble_entities(&c, core);
        if (rc == 0) {
            rc = r.service != NULL ? encode(core, &r) : decode(core, &r);
        } else {
            fprintf(stderr, "tp-tool: %s\n", c.error);
        }
        tpc_core_destroy(core);
    } else {
        fprintf(stderr, "tp-tool: %s\n", c.error);
    }
    config_free(&c);
    return rc != 0;
}
