/* Device tokens: what is read was signed; a token written from what was read is read again. Vouchers:
 * a pair that is read comes again from its JSON. Fingerprints: 32 bytes or nothing. */
#include "fuzz.h"

#include <stdio.h>
#include <tpcore/json.h>

#include "base/crypto.h"
#include "registry/login.h"
#include "registry/token.h"

static const char key[] = "thirty-two bytes that sign tokens";

static void again(const struct tpi_claims *c, struct tpc_arena *arena)
{
    uint8_t text[65536];
    struct tpc_buf buf = { text, sizeof(text), 0 };
    struct tpc_bytes k = { (const uint8_t *) key, sizeof(key) - 1 };
    struct tpi_claims same;
    if (tpi_token_write(k, c, arena, &buf) != 0) {
        return;
    }
    FUZZ_MUST(tpi_token_like((struct tpc_bytes){ text, buf.need }));
    FUZZ_MUST(tpi_token_read(k, (struct tpc_bytes){ text, buf.need }, c->until_unix_s - 1, arena,
                             NULL, &same) == 0);
    FUZZ_MUST(tpc_str_equal(same.device, c->device) && tpc_str_equal(same.product, c->product) &&
              same.until_unix_s == c->until_unix_s);
}

/* The bytes as a token, and as header and payload of one that is signed. */
static void try_token(const uint8_t *data, size_t size, struct tpc_arena *arena)
{
    struct tpc_bytes k = { (const uint8_t *) key, sizeof(key) - 1 };
    struct tpi_claims c;
    FUZZ_MUST(tpi_token_read(k, (struct tpc_bytes){ data, size }, 1, arena, NULL, &c) != 0 ||
              c.until_unix_s > 1);
    const uint8_t *nl = memchr(data, '\n', size);
    size_t head = nl != NULL ? (size_t) (nl - data) : 0;
    size_t body = nl != NULL ? size - head - 1 : 0;
    char *text = malloc(TPI_BASE64_BYTES(size) * 2 + 64);
    uint8_t mac[32];
    FUZZ_MUST(text != NULL);
    size_t n = tpi_base64url_encode(data, head, text);
    text[n++] = '.';
    n += tpi_base64url_encode(data + size - body, body, text + n);
    FUZZ_MUST(tpi_hmac_sha256(key, sizeof(key) - 1, text, n, mac) == 0);
    text[n++] = '.';
    n += tpi_base64url_encode(mac, sizeof(mac), text + n);
    if (tpi_token_read(k, (struct tpc_bytes){ (const uint8_t *) text, n }, 1, arena, NULL, &c) ==
        0) {
        again(&c, arena);
    }
    free(text);
}

static void try_voucher(struct tpc_str text, struct tpc_arena *arena)
{
    struct tpc_str username, password, u2, p2;
    if (tpi_voucher_pair(text, arena, &username, &password) != 0) {
        return;
    }
    FUZZ_MUST(username.len > 0);
    struct tpc_member m[2] = {
        { TPC_STR_INIT("username"),
          { .type = TPC_TEXT, .len = username.len, .as.text = username.ptr } },
        { TPC_STR_INIT("password"),
          { .type = TPC_TEXT, .len = password.len, .as.text = password.ptr } },
    };
    struct tpc_value v = { TPC_MAP, 0, 2, { .members = m } };
    size_t cap = 6 * (username.len + password.len) + 64;
    uint8_t *out = malloc(cap);
    FUZZ_MUST(out != NULL);
    struct tpc_buf buf = { out, cap, 0 };
    FUZZ_MUST(tpc_json_write(&v, 0, &buf) == 0);
    struct tpc_str back = { (const char *) out, buf.need };
    FUZZ_MUST(tpi_voucher_pair(back, arena, &u2, &p2) == 0);
    FUZZ_MUST(tpc_str_equal(username, u2) && tpc_str_equal(password, p2));
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpc_arena *arena = NULL;
    struct tpc_str text = { (const char *) data, size };
    struct tpc_str device, product;
    uint8_t digest[32];
    if (size > 8192 || tpc_arena_create(NULL, 0, &arena) != 0) {
        return 0;
    }
    try_token(data, size, arena);
    try_voucher(text, arena);
    FUZZ_MUST(tpi_fingerprint_read(text, digest) != 0 || (size >= 64 && size <= 95));
    if (tpi_alink_username(text, &device, &product)) {
        FUZZ_MUST(device.len > 0 && product.len > 0 && device.len + product.len + 1 == size);
    }
    tpc_arena_destroy(arena);
    return 0;
}
