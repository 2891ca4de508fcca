/* tp-tool codec: a product's codec and model on bytes, without a device. */
#include "../common/assemble.h"
#include "../common/program.h"
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tpcore/ext/host.h>
#include <unistd.h>

enum { INPUT_MAX = 64 << 20 };

struct request {
    const char *product, *config, *hex, *text, *file, *kind, *topic, *service, *params;
    const char *pcap, *framing, *port;
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
        const char **to = strcmp(argv[i], "--config") == 0    ? &r->config
                          : strcmp(argv[i], "--hex") == 0     ? &r->hex
                          : strcmp(argv[i], "--text") == 0    ? &r->text
                          : strcmp(argv[i], "--file") == 0    ? &r->file
                          : strcmp(argv[i], "--kind") == 0    ? &r->kind
                          : strcmp(argv[i], "--topic") == 0   ? &r->topic
                          : strcmp(argv[i], "--encode") == 0  ? &r->service
                          : strcmp(argv[i], "--pcap") == 0    ? &r->pcap
                          : strcmp(argv[i], "--framing") == 0 ? &r->framing
                          : strcmp(argv[i], "--port") == 0    ? &r->port
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
    int inputs = (r->hex != NULL) + (r->text != NULL) + (r->file != NULL) + (r->service != NULL) +
                 (r->pcap != NULL);
    return r->product != NULL && r->config != NULL && inputs == 1 && kind_of(r->kind) >= 0 ? 0 : -1;
}

static long read_file(const char *name, uint8_t *to, size_t cap)
{
    FILE *f = fopen(name, "rb");
    if (f == NULL) {
        fprintf(stderr, "tp-tool: %s: %s\n", name, strerror(errno));
        return -1;
    }
    long n = (long) fread(to, 1, cap, f);
    fclose(f);
    return n;
}

static long read_input(const struct request *r, uint8_t *to)
{
    if (r->hex != NULL) {
        size_t len = strlen(r->hex);
        bool is_file =
            strspn(r->hex, "0123456789abcdefABCDEF: ") != len && access(r->hex, R_OK) == 0;
        long n = is_file ? read_file(r->hex, to, INPUT_MAX) : (long) len;
        /* Of a file in place: a byte takes at least two of its characters. */
        return n < 0 ? n
                     : program_from_hex("tp-tool: --hex", is_file ? (const char *) to : r->hex,
                                        (size_t) n, to);
    }
    if (r->text != NULL) {
        size_t len = strlen(r->text);
        memcpy(to, r->text, len < INPUT_MAX ? len : INPUT_MAX);
        return (long) (len < INPUT_MAX ? len : INPUT_MAX);
    }
    return read_file(r->pcap != NULL ? r->pcap : r->file, to, INPUT_MAX);
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
        program_print_value(&m->params);
    }
    putchar('\n');
    for (uint32_t i = 0; i < count; i++) {
        const struct tpc_point *p = verdicts[i].point;
        printf("  %.*s = ", (int) p->key.len, p->key.ptr);
        program_print_value(&p->value);
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

struct trial {
    struct tpc_core *core;
    const struct request *r;
};

static int decode_frame(void *user, struct tpc_bytes bytes)
{
    const struct trial *t = user;
    struct tpc_frame f = { .size = sizeof(f), .payload = bytes };
    int bad = 0;
    if (t->r->framing != NULL || t->r->pcap != NULL) {
        printf("frame of %zu bytes\n", bytes.len);
    }
    f.kind = (uint16_t) kind_of(t->r->kind);
    f.topic = tpc_str_from(t->r->topic != NULL ? t->r->topic : "");
    if (tpc_codec_test(t->core, tpc_str_from(t->r->product), &f, on_message, &bad) != 0) {
        return fail(t->r->product);
    }
    return bad;
}

static int decode(struct tpc_core *core, const struct request *r)
{
    struct trial t = { core, r };
    uint8_t *input = malloc(INPUT_MAX);
    long len = input != NULL ? read_input(r, input) : -1;
    int rc = 1;
    if (len >= 0) {
        unsigned int port = r->port != NULL ? (unsigned int) strtoul(r->port, NULL, 10) : 0;
        rc = tool_frames((struct tpc_bytes){ input, (size_t) len }, r->pcap != NULL, port,
                         r->framing, decode_frame, &t);
    }
    free(input);
    return rc;
}

static int encode(struct tpc_core *core, const struct request *r)
{
    static uint8_t out[1 << 20];
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
