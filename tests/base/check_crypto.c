#include <stdlib.h>
#include <string.h>
#include <tpcore/bytes.h>

#include "base/crc32c.h"
#include "base/crypto.h"
#include "base/hash.h"
#include "base_suites.h"

static void hex_is(const uint8_t *p, size_t n, const char *expected)
{
    char text[200];
    tpi_hex(p, n, text);
    ck_assert_str_eq(text, expected);
}

START_TEST(sha256_gives_the_digests_of_fips_180)
{
    uint8_t d[32];
    tk_ok(tpi_sha256("abc", 3, d));
    hex_is(d, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    tk_ok(tpi_sha256(NULL, 0, d));
    hex_is(d, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    const struct tpc_bytes parts[3] = { TPC_BYTES("a"), { NULL, 0 }, TPC_BYTES("bc") };
    tk_ok(tpi_sha256_parts(parts, 3, d));
    hex_is(d, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
END_TEST

/* RFC 4231, test cases 1, 2 and 6 (a key longer than a block). */
START_TEST(hmac_gives_the_values_of_rfc_4231)
{
    uint8_t d[32], key[131];
    memset(key, 0x0b, 20);
    tk_ok(tpi_hmac_sha256(key, 20, "Hi There", 8, d));
    hex_is(d, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    tk_ok(tpi_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, d));
    hex_is(d, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof(key));
    const char *text = "Test Using Larger Than Block-Size Key - Hash Key First";
    tk_ok(tpi_hmac_sha256(key, sizeof(key), text, strlen(text), d));
    hex_is(d, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}
END_TEST

/* RFC 7914 section 11. */
START_TEST(pbkdf2_gives_the_values_of_rfc_7914)
{
    uint8_t d[64];
    tk_ok(tpi_pbkdf2_sha256("passwd", 6, "salt", 4, 1, d, 64));
    hex_is(d, 64,
           "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
           "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783");
}
END_TEST

START_TEST(base64_gives_the_texts_of_rfc_4648)
{
    static const char *const pairs[][2] = {
        { "", "" },        { "f", "Zg==" },        { "fo", "Zm8=" },
        { "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "foobar", "Zm9vYmFy" }
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        char text[20];
        uint8_t back[20];
        size_t len;
        size_t n = tpi_base64_encode(pairs[i][0], strlen(pairs[i][0]), text);
        ck_assert_str_eq(text, pairs[i][1]);
        ck_assert_uint_eq(n, strlen(text));
        tk_ok(tpi_base64_decode(text, n, back, n / 4 * 3, &len));
        ck_assert_uint_eq(len, strlen(pairs[i][0]));
        ck_assert_mem_eq(back, pairs[i][0], len);
    }
}
END_TEST

START_TEST(base64_refuses_what_no_encoder_writes)
{
    static const char *const bad[] = { "Z",        "Zg",   "Zg=",  "Zh==",   "Zm9=", "Z===", "====",
                                       "Zg==Zg==", "Zm 9", "Zm-_", "Zm9v\n", "=m9v", "Zm=v" };
    uint8_t back[20];
    size_t len = 77;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        tk_fails(TPC_EDECODE, tpi_base64_decode(bad[i], strlen(bad[i]), back, 20, &len));
    }
    tk_fails(TPC_ETOOBIG, tpi_base64_decode("Zm9v", 4, back, 2, &len));
    ck_assert_uint_eq(len, 77);
    tk_ok(tpi_base64_decode("Zm8=", 4, back, 2, &len));
}
END_TEST

START_TEST(hex_round_trips_and_refuses_other_digits)
{
    uint8_t back[4];
    tk_ok(tpi_unhex("00fFA9", 6, back));
    hex_is(back, 3, "00ffa9");
    tk_fails(TPC_EDECODE, tpi_unhex("0", 1, back));
    tk_fails(TPC_EDECODE, tpi_unhex("0g", 2, back));
    tk_fails(TPC_EDECODE, tpi_unhex(" 0", 2, back));
}
END_TEST

START_TEST(secrets_compare_and_are_wiped)
{
    char a[] = "secret";
    ck_assert(tpi_equal_const(a, "secret", 6));
    ck_assert(!tpi_equal_const(a, "secreT", 6));
    ck_assert(tpi_equal_const(a, "x", 0));
    tpi_wipe(a, sizeof(a));
    ck_assert_mem_eq(a, "\0\0\0\0\0\0\0", 7);
}
END_TEST

/* RFC 3720 appendix B.4. */
START_TEST(crc32c_gives_the_values_of_rfc_3720)
{
    uint8_t p[32];
    uint32_t (*const both[])(uint32_t, const void *, size_t) = { tpi_crc32c, tpi_crc32c_table };
    for (size_t k = 0; k < 2; k++) {
        memset(p, 0, 32);
        ck_assert_uint_eq(both[k](0, p, 32), 0x8a9136aa);
        memset(p, 0xff, 32);
        ck_assert_uint_eq(both[k](0, p, 32), 0x62a8ab43);
        for (uint8_t i = 0; i < 32; i++) {
            p[i] = i;
        }
        ck_assert_uint_eq(both[k](0, p, 32), 0x46dd794e);
        for (uint8_t i = 0; i < 32; i++) {
            p[i] = (uint8_t) (31 - i);
        }
        ck_assert_uint_eq(both[k](0, p, 32), 0x113fdb5c);
        ck_assert_uint_eq(both[k](0, "123456789", 9), 0xe3069283);
        ck_assert_uint_eq(both[k](0, p, 0), 0);
    }
}
END_TEST

static uint32_t crc_by_bits(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
        }
    }
    return ~crc;
}

START_TEST(crc32c_by_instruction_table_and_bits_agree_at_every_length)
{
    enum { BYTES = 10000 };
    uint8_t *p = malloc(BYTES);
    unsigned int seed = 7;
    for (size_t i = 0; i < BYTES; i++) {
        p[i] = (uint8_t) rand_r(&seed);
    }
    for (size_t n = 0; n < BYTES; n += n < 800 ? 1 : 311) {
        size_t from = n % 9 < BYTES - n ? n % 9 : 0;
        uint32_t expected = crc_by_bits(p + from, n);
        ck_assert_uint_eq(tpi_crc32c(0, p + from, n), expected);
        ck_assert_uint_eq(tpi_crc32c_table(0, p + from, n), expected);
        size_t cut = n / 3;
        ck_assert_uint_eq(tpi_crc32c(tpi_crc32c(0, p + from, cut), p + from + cut, n - cut),
                          expected);
    }
    free(p);
}
END_TEST

/* Published values of XXH64. They are also in stored logs (partitions): they never change. */
START_TEST(hash_gives_the_values_of_xxh64)
{
    ck_assert_uint_eq(tpi_hash(NULL, 0, 0), UINT64_C(0xef46db3751d8e999));
    ck_assert_uint_eq(tpi_hash("a", 1, 0), UINT64_C(0xd24ec4f1a98c6e5b));
    ck_assert_uint_eq(tpi_hash("abc", 3, 0), UINT64_C(0x44bc2cf5ad770999));
    const char *text = "Call me Ishmael. Some years ago--never mind how long precisely-";
    ck_assert_uint_eq(tpi_hash(text, strlen(text), 0), UINT64_C(0x02a2e85470d6fd96));
}
END_TEST

START_TEST(hash64_spreads_neighbours)
{
    uint64_t seen = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        seen |= UINT64_C(1) << (tpi_hash64(i) & 63);
        ck_assert_uint_ne(tpi_hash64(i), tpi_hash64(i + 1));
    }
    ck_assert_uint_eq(seen, UINT64_MAX);
}
END_TEST

/* Test case 14 of the GCM specification (McGrew, Viega), and what was sealed opens with its key, its
 * nonce and what it is about, or not at all. */
START_TEST(sealed_bytes_open_only_as_they_were_sealed)
{
    uint8_t key[32] = { 0 }, nonce[12] = { 0 }, zero[16] = { 0 }, out[64], back[64];
    const struct tpc_bytes about = TPC_BYTES("device 7");
    const struct tpc_bytes none = { NULL, 0 };
    tk_ok(tpi_seal(key, nonce, none, zero, 16, out));
    hex_is(out, 32, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
    tk_ok(tpi_unseal(key, nonce, none, out, 32, back));
    ck_assert_mem_eq(back, zero, 16);
    tk_ok(tpi_seal(key, nonce, about, "secret", 6, out));
    tk_ok(tpi_unseal(key, nonce, about, out, 22, back));
    ck_assert_mem_eq(back, "secret", 6);
    tk_fails(TPC_EDENIED, tpi_unseal(key, nonce, none, out, 22, back));
    tk_fails(TPC_EDENIED, tpi_unseal(key, nonce, about, out, 15, back));
    for (size_t i = 0; i < 22; i++) {
        out[i] ^= 1;
        tk_fails(TPC_EDENIED, tpi_unseal(key, nonce, about, out, 22, back));
        out[i] ^= 1;
    }
    key[31] ^= 1;
    tk_fails(TPC_EDENIED, tpi_unseal(key, nonce, about, out, 22, back));
    key[31] ^= 1;
    nonce[0] ^= 1;
    tk_fails(TPC_EDENIED, tpi_unseal(key, nonce, about, out, 22, back));
    tk_ok(tpi_seal(key, nonce, none, NULL, 0, out));
    tk_ok(tpi_unseal(key, nonce, none, out, 16, back));
}
END_TEST

START_TEST(base64url_is_the_one_of_rfc_7515)
{
    char text[TPI_BASE64_BYTES(5)];
    uint8_t back[8];
    size_t n = 0;
    const uint8_t bytes[5] = { 3, 236, 255, 224, 193 }; /* appendix C */
    ck_assert_uint_eq(tpi_base64url_encode(bytes, 5, text), 7);
    ck_assert_str_eq(text, "A-z_4ME");
    for (size_t len = 0; len <= 5; len++) {
        size_t written = tpi_base64url_encode(bytes, len, text);
        tk_ok(tpi_base64url_decode(text, written, back, len, &n));
        ck_assert_uint_eq(n, len);
        ck_assert_mem_eq(back, bytes, len);
    }
    tk_fails(TPC_ETOOBIG, tpi_base64url_decode("A-z_4ME", 7, back, 4, &n));
    static const char *const bad[] = { "A",  "A-z_4", "A+z_", "A/z_", "A-z_4ME=",
                                       "A=", "AA==",  "A z_", "AB" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        tk_fails(TPC_EDECODE, tpi_base64url_decode(bad[i], strlen(bad[i]), back, 8, &n));
    }
}
END_TEST

START_TEST(mac_of_pieces_is_that_of_the_whole)
{
    struct tpi_mac_key k;
    uint8_t a[32], b[32];
    const struct tpc_bytes parts[3] = { TPC_BYTES("what do ya "),
                                        { NULL, 0 },
                                        TPC_BYTES("want for nothing?") };
    struct tpc_bytes many[TPI_MAC_PARTS + 1] = { { NULL, 0 } };
    tk_ok(tpi_mac_key_init(&k, "Jefe", 4));
    tk_ok(tpi_mac(&k, parts, 3, a));
    tk_ok(tpi_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, b));
    ck_assert_mem_eq(a, b, 32);
    tk_fails(TPC_EINVAL, tpi_mac(&k, many, TPI_MAC_PARTS + 1, a));
}
END_TEST

Suite *crypto_suite(void)
{
    Suite *s = suite_create("crypto");
    TCase *c = tcase_create("crypto");
    tcase_add_test(c, sha256_gives_the_digests_of_fips_180);
    tcase_add_test(c, hmac_gives_the_values_of_rfc_4231);
    tcase_add_test(c, pbkdf2_gives_the_values_of_rfc_7914);
    tcase_add_test(c, base64_gives_the_texts_of_rfc_4648);
    tcase_add_test(c, base64_refuses_what_no_encoder_writes);
    tcase_add_test(c, base64url_is_the_one_of_rfc_7515);
    tcase_add_test(c, mac_of_pieces_is_that_of_the_whole);
    tcase_add_test(c, sealed_bytes_open_only_as_they_were_sealed);
    tcase_add_test(c, hex_round_trips_and_refuses_other_digits);
    tcase_add_test(c, secrets_compare_and_are_wiped);
    tcase_add_test(c, crc32c_gives_the_values_of_rfc_3720);
    tcase_add_test(c, crc32c_by_instruction_table_and_bits_agree_at_every_length);
    tcase_add_test(c, hash_gives_the_values_of_xxh64);
    tcase_add_test(c, hash64_spreads_neighbours);
    suite_add_tcase(s, c);
    return s;
}
