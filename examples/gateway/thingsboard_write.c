/* What was imported, as YAML and as verdicts. */
#include "tb_import.h"

#include <inttypes.h>
#include <string.h>

enum { FLOW_BYTES = 100 }; /* what is shorter stands in one line */

/* A text as JSON has it, which YAML reads, too. `${` is not an environment variable's. */
static void put_text(FILE *out, struct tpc_str s)
{
    fputc('"', out);
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char) s.ptr[i];
        if (c == '"' || c == '\\') {
            fprintf(out, "\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            fprintf(out, "\\u%04x", c);
        } else if (c == '$' && i + 1 < s.len && s.ptr[i + 1] == '{') {
            fputs("$$", out);
        } else {
            fputc(c, out);
        }
    }
    fputc('"', out);
}

/* A text without anything that YAML would read otherwise. */
static bool is_plain(struct tpc_str s)
{
    static const char *const words[] = {
        "true", "false", "null", "yes", "no", "on", "off", "y", "n"
    };
    if (s.len == 0 || s.len > 100) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        bool more = (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '/';
        if (!letter && !(more && i > 0)) {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        bool same = strlen(words[i]) == s.len;
        for (size_t k = 0; same && k < s.len; k++) {
            same = (s.ptr[k] | 0x20) == words[i][k];
        }
        if (same) {
            return false;
        }
    }
    return true;
}

static void put_word(FILE *out, struct tpc_str s)
{
    if (is_plain(s)) {
        fprintf(out, "%.*s", (int) s.len, s.ptr);
    } else {
        put_text(out, s);
    }
}

static void put_scalar(FILE *out, const struct tpc_value *v)
{
    char text[64];
    struct tpc_buf buf = { (uint8_t *) text, sizeof(text), 0 };
    if (v->type == TPC_TEXT) {
        put_word(out, tpc_value_text(v));
    } else if (tpc_json_write(v, 0, &buf) == 0) {
        fprintf(out, "%.*s", (int) buf.need, text);
    } else {
        fputs("null", out);
    }
}

static bool is_scalar(const struct tpc_value *v)
{
    return v->type != TPC_MAP && v->type != TPC_ARRAY;
}

static void put_flow(FILE *out, const struct tpc_value *v)
{
    if (is_scalar(v)) {
        put_scalar(out, v);
        return;
    }
    fputc(v->type == TPC_MAP ? '{' : '[', out);
    for (size_t i = 0; i < v->len; i++) {
        fputs(i > 0 ? ", " : "", out);
        if (v->type == TPC_MAP) {
            put_word(out, v->as.members[i].key);
            fputs(": ", out);
        }
        put_flow(out, v->type == TPC_MAP ? &v->as.members[i].value : &v->as.items[i]);
    }
    fputc(v->type == TPC_MAP ? '}' : ']', out);
}

static bool is_short(const struct tpc_value *v)
{
    struct tpc_buf buf = { NULL, 0, 0 };
    if (is_scalar(v) || v->len == 0) {
        return true;
    }
    (void) tpc_json_write(v, 0, &buf);
    return buf.need <= FLOW_BYTES;
}

static void put_block(FILE *out, const struct tpc_value *v, int indent)
{
    for (size_t i = 0; i < v->len; i++) {
        const struct tpc_value *item =
            v->type == TPC_MAP ? &v->as.members[i].value : &v->as.items[i];
        fprintf(out, "%*s", indent, "");
        if (v->type == TPC_MAP) {
            put_word(out, v->as.members[i].key);
            fputc(':', out);
        } else {
            fputc('-', out);
        }
        if (is_short(item)) {
            fputc(' ', out);
            put_flow(out, item);
            fputc('\n', out);
        } else {
            fputc('\n', out);
            put_block(out, item, indent + 2);
        }
    }
}

int tb_write(const struct tb *t, const struct tpc_value *root, FILE *out)
{
    fputs("# Made from tb_gateway.json and its connectors' files. What has no counterpart:\n", out);
    for (const struct tb_note *n = t->notes; n != NULL; n = n->next) {
        char text[1200];
        tb_note_text(n, text, sizeof(text));
        for (char *c = text; *c != '\0'; c++) {
            *c = (unsigned char) *c < 0x20 ? ' ' : *c;
        }
        fprintf(out, "#   %s\n", text);
    }
    for (uint32_t i = 0; i < t->connector_count; i++) {
        const struct tb_connector *c = &t->connectors[i];
        if (c->reason != NULL) {
            fputs("#   connector ", out);
            put_text(out, tpc_str_from(c->name));
            fprintf(out, " is left out: %s\n", c->reason);
        }
    }
    put_block(out, root, 0);
    return ferror(out) != 0 || fflush(out) != 0 ? -1 : 0;
}

int tb_verdict(const struct tb *t, FILE *out)
{
    int bad = 0;
    for (uint32_t i = 0; i < t->connector_count; i++) {
        const struct tb_connector *c = &t->connectors[i];
        fprintf(out, "connector %s (%s, %s): ", c->name, c->type, c->file);
        if (c->reason != NULL) {
            fprintf(out, "left out: %s\n", c->reason);
        } else {
            bool mqtt = strcmp(c->type, "mqtt") == 0;
            fprintf(out, "%s: %u part%s, %u %s, %u %s", c->left_out > 0 ? "partly" : "ok", c->parts,
                    c->parts == 1 ? "" : "s", c->devices, mqtt ? "mappings" : "devices", c->tags,
                    mqtt ? "values" : "tags");
            fprintf(out, c->left_out > 0 ? ", %u left out\n" : "\n", c->left_out);
        }
        bad += c->reason != NULL || c->left_out > 0;
    }
    return bad;
}
