#include "bus/topic.h"

#include "base/error.h"
#include "data/utf8.h"

#include <string.h>
#include <tpcore/msg.h>

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c != 0x7f && c != '/' && c != '+' && c != '#' && c != '%';
}

int tpi_topic_key(struct tpi_buf *out, struct tpc_str key)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t i, begin = 0;
    size_t mark = out->len;
    int rc = 0;

    for (i = 0; i < key.len && rc == 0; i++) {
        unsigned char c = (unsigned char) key.ptr[i];
        char hex[3] = { '%', digits[c >> 4], digits[c & 15] };

        if (is_plain(c)) {
            continue;
        }
        rc = i > begin ? tpi_buf_put(out, key.ptr + begin, i - begin) : 0;
        rc = rc != 0 ? rc : tpi_buf_put(out, hex, sizeof(hex));
        begin = i + 1;
    }
    if (rc == 0 && key.len > begin) {
        rc = tpi_buf_put(out, key.ptr + begin, key.len - begin);
    }
    if (rc != 0) {
        out->len = mark;
    }
    return rc;
}

/* Keys with texts between them; NULL text ends. */
struct piece {
    struct tpc_str key;
    const char *text; /* after the key */
};

static int put_pieces(struct tpi_buf *out, const struct piece *pieces, size_t count)
{
    size_t mark = out->len;
    size_t i;
    int rc = 0;

    for (i = 0; i < count && rc == 0; i++) {
        rc = tpi_topic_key(out, pieces[i].key);
        rc = rc != 0 ? rc : tpi_buf_text(out, tpc_str_from(pieces[i].text));
    }
    if (rc != 0) {
        out->len = mark;
    }
    return rc;
}

int tpi_topic_device(struct tpi_buf *out, struct tpc_str tenant, bool down, struct tpc_str product,
                     struct tpc_str device)
{
    struct piece pieces[] = { { tenant, down ? "/down/" : "/up/" },
                              { product, "/" },
                              { device, "/" } };

    return put_pieces(out, pieces, 3);
}

int tpi_topic_entity(struct tpi_buf *out, struct tpc_str tenant, struct tpc_str kind,
                     struct tpc_str key)
{
    struct piece pieces[] = { { tenant, "/entity/" }, { kind, "/" }, { key, "/updated" } };

    return put_pieces(out, pieces, 3);
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

int tpi_topic_unescape(struct tpi_buf *out, struct tpc_str level)
{
    size_t mark = out->len;
    size_t i;
    int rc = 0;

    for (i = 0; i < level.len && rc == 0; i++) {
        char c = level.ptr[i];

        if (c == '%') {
            int high = level.len - i > 2 ? digit_of(level.ptr[i + 1]) : -1;
            int low = level.len - i > 2 ? digit_of(level.ptr[i + 2]) : -1;

            if (high < 0 || low < 0) {
                rc = TPC_EDECODE;
                break;
            }
            c = (char) (high << 4 | low);
            i += 2;
        }
        rc = tpi_buf_u8(out, (uint8_t) c);
    }
    if (rc != 0) {
        out->len = mark;
    }
    return rc;
}

/* ---- filters ---- */

/* The level that begins at *at; *at goes behind its '/', or to len + 1 after the last one. */
static struct tpc_str next_level(struct tpc_str text, size_t *at)
{
    struct tpc_str level = { text.ptr + *at, 0 };

    while (*at + level.len < text.len && level.ptr[level.len] != '/') {
        level.len++;
    }
    *at += level.len + 1;
    return level;
}

static bool filter_is_text(struct tpc_str filter)
{
    return memchr(filter.ptr, 0, filter.len) == NULL && tpi_utf8_valid(filter.ptr, filter.len);
}

static bool has_char(struct tpc_str level, char c)
{
    return level.len > 0 && memchr(level.ptr, c, level.len) != NULL;
}

int tpi_filter_check(struct tpc_str filter, uint32_t flags, struct tpc_error *err)
{
    size_t at = 0;
    unsigned levels = 0;

    if (filter.len == 0 || filter.len > TPI_FILTER_BYTES_MAX || !filter_is_text(filter)) {
        return tpi_error_set(err, TPC_EINVAL, "topic", "filter: 1 to %d bytes of UTF-8",
                             (int) TPI_FILTER_BYTES_MAX);
    }
    while (at <= filter.len) {
        struct tpc_str level = next_level(filter, &at);
        bool wild = has_char(level, '+') || has_char(level, '#');

        if (++levels > TPI_FILTER_LEVELS_MAX) {
            return tpi_error_set(err, TPC_EINVAL, "topic", "filter of more than %d levels",
                                 (int) TPI_FILTER_LEVELS_MAX);
        }
        if (wild && level.len != 1) {
            return tpi_error_set(err, TPC_EINVAL, "topic", "a wildcard stands alone in its level");
        }
        if (wild && level.ptr[0] == '#' && at <= filter.len) {
            return tpi_error_set(err, TPC_EINVAL, "topic", "# is the last level");
        }
        if (levels == 1 && (wild || level.len == 0) && (flags & TPI_FILTER_SYSTEM) == 0) {
            return tpi_error_set(err, TPC_EINVAL, "topic", "the first level is a tenant");
        }
    }
    return 0;
}

bool tpi_filter_match(struct tpc_str filter, struct tpc_str topic)
{
    size_t f = 0, t = 0;

    if (filter.len == 0 || topic.len == 0 ||
        (topic.ptr[0] == '$' && (filter.ptr[0] == '+' || filter.ptr[0] == '#'))) {
        return false;
    }
    while (f <= filter.len) {
        struct tpc_str want = next_level(filter, &f);
        struct tpc_str have;

        if (want.len == 1 && want.ptr[0] == '#') {
            return true; /* also for the parent level: MQTT 5.0 section 4.7.1.2 */
        }
        if (t > topic.len) {
            return false;
        }
        have = next_level(topic, &t);
        if (!(want.len == 1 && want.ptr[0] == '+') && !tpc_str_equal(want, have)) {
            return false;
        }
    }
    return t > topic.len;
}

uint64_t tpi_filter_kinds(struct tpc_str filter, struct tpc_str prefix)
{
    char topic[TPI_FILTER_BYTES_MAX + 64];
    uint64_t kinds = 0;
    uint16_t k;

    if (prefix.len > TPI_FILTER_BYTES_MAX) {
        return 0;
    }
    memcpy(topic, prefix.ptr, prefix.len);
    for (k = 0; k < TPI_TOPIC_KINDS; k++) {
        struct tpc_str name = tpc_str_from(tpc_kind_name(k));
        struct tpc_str whole = { topic, prefix.len + name.len };

        if (name.len > 63 || (k > 0 && tpc_str_equal(name, TPC_STR("unknown")) != 0)) {
            continue;
        }
        memcpy(topic + prefix.len, name.ptr, name.len);
        if (tpi_filter_match(filter, whole)) {
            kinds |= (uint64_t) 1 << k;
        }
    }
    return kinds;
}
