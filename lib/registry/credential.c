/* The texts that credentials are made of: Alink's HMACs, ThingsPanel's vouchers, fingerprints. */
#include <string.h>
#include <tpcore/json.h>

#include "base/crypto.h"
#include "registry/inside.h"
#include "registry/login.h"

static struct tpc_bytes bytes(struct tpc_str s)
{
    return (struct tpc_bytes){ (const uint8_t *) s.ptr, s.len };
}

static int mac_hex(struct tpc_str secret, const struct tpc_bytes *parts, size_t count, char *ret)
{
    struct tpi_mac_key key;
    uint8_t mac[TPI_SHA256_BYTES];
    int rc = tpi_mac_key_init(&key, secret.ptr, secret.len);
    rc = rc != 0 ? rc : tpi_mac(&key, parts, count, mac);
    if (rc == 0) {
        tpi_hex(mac, sizeof(mac), ret);
    }
    tpi_wipe(&key, sizeof(key));
    tpi_wipe(mac, sizeof(mac));
    return rc;
}

int tpi_alink_password(struct tpc_str product, struct tpc_str device, struct tpc_str secret,
                       char ret[TPI_HMAC_HEX + 1])
{
    /* clientId{product}.{device} and so on: neither separators nor "=". */
    char client[2 * TPC_AUTH_KEY_BYTES + 16] = "clientId";
    size_t n = 8;
    if (product.len + device.len + 1 > sizeof(client) - n) {
        return TPC_EIO;
    }
    memcpy(client + n, product.ptr, product.len);
    n += product.len;
    client[n++] = '.';
    memcpy(client + n, device.ptr, device.len);
    n += device.len;
    const struct tpc_bytes parts[] = {
        { (const uint8_t *) client, n },
        TPC_BYTES("deviceName"),
        bytes(device),
        TPC_BYTES("deviceSecret"),
        bytes(secret),
        TPC_BYTES("productKey"),
        bytes(product),
    };
    return mac_hex(secret, parts, sizeof(parts) / sizeof(parts[0]), ret);
}

int tpi_alink_sign(struct tpc_str product, struct tpc_str device, struct tpc_str secret,
                   char ret[TPI_HMAC_HEX + 1])
{
    const struct tpc_bytes parts[] = { TPC_BYTES("deviceName"), bytes(device),
                                       TPC_BYTES("productKey"), bytes(product) };
    return mac_hex(secret, parts, sizeof(parts) / sizeof(parts[0]), ret);
}

bool tpi_alink_username(struct tpc_str username, struct tpc_str *ret_device,
                        struct tpc_str *ret_product)
{
    const char *mark = username.len > 0 ? memchr(username.ptr, '&', username.len) : NULL;
    if (mark == NULL) {
        return false;
    }
    size_t first = (size_t) (mark - username.ptr);
    struct tpc_str rest = { mark + 1, username.len - first - 1 };
    if (first == 0 || rest.len == 0 || memchr(rest.ptr, '&', rest.len) != NULL) {
        return false;
    }
    *ret_device = (struct tpc_str){ username.ptr, first };
    *ret_product = rest;
    return true;
}

int tpi_voucher_pair(struct tpc_str voucher, struct tpc_arena *arena, struct tpc_str *ret_username,
                     struct tpc_str *ret_password)
{
    struct tpc_value v;
    int rc = tpc_json_parse(arena, voucher, 0, NULL, &v);
    if (rc == TPC_ENOMEM) {
        return rc;
    }
    if (rc != 0 || v.type != TPC_MAP) {
        return TPC_EINVAL;
    }
    const struct tpc_value *username = tpc_value_get(&v, TPC_STR("username"));
    const struct tpc_value *password = tpc_value_get(&v, TPC_STR("password"));
    size_t known = (username != NULL) + (password != NULL);
    if (username == NULL || username->type != TPC_TEXT || username->len == 0 || v.len != known ||
        (password != NULL && password->type != TPC_TEXT)) {
        return TPC_ENOENT;
    }
    *ret_username = tpc_value_text(username);
    *ret_password = password != NULL ? tpc_value_text(password) : (struct tpc_str){ "", 0 };
    return 0;
}

int tpi_fingerprint_read(struct tpc_str text, uint8_t ret[32])
{
    char digits[2 * TPI_SHA256_BYTES];
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == ':' && n > 0 && n % 2 == 0 && i + 1 < text.len &&
            text.ptr[i - 1] != ':') {
            continue;
        }
        if (n == sizeof(digits)) {
            return TPC_EINVAL;
        }
        digits[n++] = text.ptr[i];
    }
    return n == sizeof(digits) && tpi_unhex(digits, n, ret) == 0 ? 0 : TPC_EINVAL;
}
