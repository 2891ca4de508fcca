#include "options.h"

#include "feed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

#include "base/crypto.h"

enum {
    FILE_BYTES = 4096,
    REFRESH_MIN_MS = 20,
    REFRESH_MAX_MS = 1000,
    CERTIFICATES_MIN_MS = 100,
    CERTIFICATES_MAX_MS = 86400000
};

static int wrong(char why[OPTIONS_TEXT_BYTES], const char *name, const char *text)
{
    snprintf(why, OPTIONS_TEXT_BYTES, "plugin_opt_%s: %s", name, text);
    return -1;
}

/* A file's text without the line end behind it. Returns its length or -1. */
/* -1 with errno, EFBIG for a file of FILE_BYTES and more. */
static long read_file(const char *path, char text[FILE_BYTES])
{
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        return -1;
    }
    size_t n = fread(text, 1, FILE_BYTES, f);
    int error = ferror(f) ? errno : n == FILE_BYTES ? EFBIG : 0;
    fclose(f);
    errno = error;
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r')) {
        n--;
    }
    return error == 0 ? (long) n : -1;
}

static int read_secret_key(struct plugin_options *o, const char *path, const char *name,
                           char why[OPTIONS_TEXT_BYTES])
{
    char text[FILE_BYTES];
    long n = read_file(path, text);
    int rc = n == 2 * TPI_SEAL_KEY_BYTES ? tpi_unhex(text, (size_t) n, o->secret_key) : -1;
    tpi_wipe(text, sizeof(text));
    if (rc != 0) {
        return wrong(why, name,
                     n < 0 ? strerror(errno) : "the file must hold 64 hexadecimal digits");
    }
    o->secret_key_len = TPI_SEAL_KEY_BYTES;
    return 0;
}

static int read_token_key(struct plugin_options *o, const char *path, const char *name,
                          char why[OPTIONS_TEXT_BYTES])
{
    char text[FILE_BYTES];
    long n = read_file(path, text);
    bool fits = n >= 32 && n <= OPTIONS_KEY_BYTES;
    if (fits) {
        memcpy(o->token_key, text, (size_t) n);
        o->token_key_len = (size_t) n;
    }
    tpi_wipe(text, sizeof(text));
    return fits ? 0
                : wrong(why, name, n < 0 ? strerror(errno) : "the file must hold 32 to 128 bytes");
}

static int read_bool(const char *value, bool *ret)
{
    if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0) {
        return -1;
    }
    *ret = value[0] == 't';
    return 0;
}

static int read_text(char *ret, size_t cap, const char *value)
{
    int n = snprintf(ret, cap, "%s", value);
    return n > 0 && (size_t) n < cap ? 0 : -1;
}

static int read_ms(const char *value, unsigned long min, unsigned long max, uint32_t *ret)
{
    char *end;
    unsigned long ms = strtoul(value, &end, 10);
    if (*value == '\0' || *end != '\0' || ms < min || ms > max) {
        return -1;
    }
    *ret = (uint32_t) ms;
    return 0;
}

/* certfile, keyfile, cafile, certificates_ms. 1 = it is none of them. */
static int read_certificates(struct plugin_options *o, const char *name, const char *value,
                             char why[OPTIONS_TEXT_BYTES])
{
    static const char *const files[TLS_ROLES] = { "cafile", "certfile", "keyfile" };
    struct certificates_options *c = &o->certificates;
    for (int i = 0; i < TLS_ROLES; i++) {
        if (strcmp(name, files[i]) == 0) {
            return read_text(c->path[i], sizeof(c->path[i]), value) == 0
                       ? 0
                       : wrong(why, name, "a file is expected");
        }
    }
    if (strcmp(name, "certificates_ms") != 0) {
        return 1;
    }
    return read_ms(value, CERTIFICATES_MIN_MS, CERTIFICATES_MAX_MS, &c->look_ms) == 0
               ? 0
               : wrong(why, name, "100 to 86400000 are expected");
}

static int read_one(struct plugin_options *o, const char *name, const char *value,
                    char why[OPTIONS_TEXT_BYTES])
{
    if (strcmp(name, "store_dir") == 0) {
        return read_text(o->store_dir, sizeof(o->store_dir) - 16, value) == 0
                   ? 0
                   : wrong(why, name, "a folder is expected");
    }
    if (strcmp(name, "tenant") == 0) {
        return read_text(o->tenant, sizeof(o->tenant), value) == 0
                   ? 0
                   : wrong(why, name, "1 to 128 bytes are expected");
    }
    if (strcmp(name, "secret_key_file") == 0) {
        return read_secret_key(o, value, name, why);
    }
    if (strcmp(name, "token_key_file") == 0) {
        return read_token_key(o, value, name, why);
    }
    if (strcmp(name, "refresh_ms") == 0) {
        return read_ms(value, REFRESH_MIN_MS, REFRESH_MAX_MS, &o->refresh_ms) == 0
                   ? 0
                   : wrong(why, name, "20 to 1000 are expected");
    }
    if (strcmp(name, "wrap") == 0 || strcmp(name, "status") == 0) {
        return read_bool(value, name[0] == 'w' ? &o->wrap : &o->status) == 0
                   ? 0
                   : wrong(why, name, "true or false is expected");
    }
    int rc = read_certificates(o, name, value, why);
    return rc <= 0 ? rc : wrong(why, name, "there is no such option");
}

int plugin_options_read(struct plugin_options *o, const struct mosquitto_opt *options, int count,
                        char ret_why[OPTIONS_TEXT_BYTES])
{
    *o = (struct plugin_options){ .wrap = true, .status = true, .refresh_ms = FEED_REFRESH_MS };
    o->certificates.look_ms = CERTIFICATES_MS;
    for (int i = 0; i < count; i++) {
        const char *value = options[i].value != NULL ? options[i].value : "";
        if (read_one(o, options[i].key, value, ret_why) != 0) {
            return -1;
        }
    }
    return o->store_dir[0] != '\0' ? 0 : wrong(ret_why, "store_dir", "is missing");
}
