/* tp-tool dead: the dead letters of a platform that does not run: listed, tried again, taken off. */
#include "tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_BYTES = 48, MEMBERS = 8 };

struct dead {
    const char *config;
    const char *device; /* NULL = of all */
    bool json, redrive, purge;
    bool one; /* partition and offset name a single letter */
    uint32_t partition;
    uint64_t offset;
    struct tpc_core *core;
    uint64_t chosen;
};

static int parse_place(const char *text, struct dead *d)
{
    char *end;
    errno = 0;
    unsigned long partition = strtoul(text, &end, 10);
    if (end == text || *end != ':' || errno != 0 || partition > UINT32_MAX) {
        return -1;
    }
    const char *rest = end + 1;
    d->offset = strtoull(rest, &end, 10);
    d->partition = (uint32_t) partition;
    d->one = true;
    return end == rest || *end != '\0' || errno != 0 ? -1 : 0;
}

static int parse(int argc, char **argv, struct dead *d)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            d->json = true;
        } else if (strcmp(argv[i], "--redrive") == 0) {
            d->redrive = true;
        } else if (strcmp(argv[i], "--purge") == 0) {
            d->purge = true;
        } else if (strcmp(argv[i], "--device") == 0 && i + 1 < argc) {
            d->device = argv[++i];
        } else if (argv[i][0] == '-' || (d->config != NULL && d->one)) {
            return -1;
        } else if (d->config == NULL) {
            d->config = argv[i];
        } else if (parse_place(argv[i], d) != 0) {
            return -1;
        }
    }
    return d->config == NULL || d->json + d->redrive + d->purge > 1 ? -1 : 0;
}

static struct tpc_value text(struct tpc_str s)
{
    return (struct tpc_value){ .type = TPC_TEXT, .len = s.len, .as.text = s.ptr };
}

static struct tpc_value number(int64_t n)
{
    return (struct tpc_value){ .type = TPC_INT, .as.i = n };
}

static void hex(struct tpc_bytes raw, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < raw.len; i++) {
        *ret++ = digits[raw.ptr[i] >> 4];
        *ret++ = digits[raw.ptr[i] & 15];
    }
    *ret = '\0';
}

/* Whole, so that a file of these lines is an export. */
static int print_json(const struct tpc_dead_letter *l)
{
    char *raw = malloc(2 * l->raw.len + 1);
    struct tpc_buf size = { NULL, 0, 0 };
    if (raw == NULL) {
        return TPC_ENOMEM;
    }
    hex(l->raw, raw);
    struct tpc_member m[MEMBERS] = {
        { TPC_STR("partition"), number(l->partition) },
        { TPC_STR("offset"), number((int64_t) l->offset) },
        { TPC_STR("time"), number(l->unix_ms) },
        { TPC_STR("device"), text(l->device) },
        { TPC_STR("topic"), text(l->topic) },
        { TPC_STR("code"), text(tpc_str_from(tpc_error_name(l->code))) },
        { TPC_STR("reason"), text(l->reason) },
        { TPC_STR("raw_hex"), text(tpc_str_from(raw)) },
    };
    struct tpc_value v = { .type = TPC_MAP, .len = MEMBERS, .as.members = m };
    (void) tpc_json_write(&v, 0, &size);
    struct tpc_buf line = { malloc(size.need), size.need, 0 };
    int rc = line.ptr == NULL ? TPC_ENOMEM : tpc_json_write(&v, 0, &line);
    if (rc == 0) {
        fwrite(line.ptr, 1, line.need, stdout);
        putchar('\n');
    }
    free(line.ptr);
    free(raw);
    return rc;
}

static void print_line(const struct tpc_dead_letter *l)
{
    char raw[2 * SHOWN_BYTES + 1];
    bool cut = l->raw.len > SHOWN_BYTES;
    hex((struct tpc_bytes){ l->raw.ptr, cut ? SHOWN_BYTES : l->raw.len }, raw);
    printf("%" PRIu32 ":%" PRIu64 " %" PRId64 " %.*s %s: %.*s, topic %.*s, %zu bytes %s%s\n",
           l->partition, l->offset, l->unix_ms, l->device.len > 0 ? (int) l->device.len : 1,
           l->device.len > 0 ? l->device.ptr : "-", tpc_error_name(l->code), (int) l->reason.len,
           l->reason.ptr, l->topic.len > 0 ? (int) l->topic.len : 1,
           l->topic.len > 0 ? l->topic.ptr : "-", l->raw.len, raw, cut ? ".." : "");
}

static int on_letter(void *user, const struct tpc_dead_letter *l)
{
    struct dead *d = user;
    int rc = 0;
    if ((d->one && (l->partition != d->partition || l->offset != d->offset)) ||
        (d->device != NULL && tpc_str_equal(l->device, tpc_str_from(d->device)) == 0)) {
        return 0;
    }
    d->chosen++;
    if (d->redrive) {
        rc = tpc_dead_letter_redrive(d->core, l->partition, l->offset);
        if (rc ==
            TPC_EUNSUPPORTED) { /* what a target could not deliver: the codecs had it already */
            d->chosen--;
            return d->one ? rc : 0;
        }
    } else if (d->purge) {
        rc = tpc_dead_letter_purge(d->core, l->partition, l->offset);
    } else if (d->json) {
        rc = print_json(l);
    } else {
        print_line(l);
    }
    return rc;
}

static int count_one(void *user, const struct tpc_dead_letter *l)
{
    (void) l;
    ++*(uint64_t *) user;
    return 0;
}

static int work(struct dead *d)
{
    uint64_t left = 0;
    int rc = tpc_dead_letters(d->core, on_letter, d);
    if (rc != 0) {
        return tool_fail("dead letters");
    }
    if (d->one && d->chosen == 0) {
        fprintf(stderr, "tp-tool: there is no dead letter %" PRIu32 ":%" PRIu64 "\n", d->partition,
                d->offset);
        return -1;
    }
    if (!d->redrive && !d->purge) {
        return 0;
    }
    /* The stop works on all that was given back. */
    if (tool_restart(d->core) != 0) {
        return -1;
    }
    if (tpc_dead_letters(d->core, count_one, &left) != 0) {
        return tool_fail("dead letters");
    }
    printf("%s %" PRIu64 ", left %" PRIu64 "\n", d->redrive ? "redriven" : "purged", d->chosen,
           left);
    return 0;
}

int tool_dead(int argc, char **argv)
{
    struct dead d = { 0 };
    struct config c;
    if (parse(argc, argv, &d) != 0) {
        return 2;
    }
    /* Products and scripts as they are in the files now: that is why somebody tries again. */
    if (tool_open(d.config, true, &c, &d.core) != 0) {
        return 1;
    }
    int rc = work(&d);
    tool_close(&c, d.core);
    return rc != 0;
}
