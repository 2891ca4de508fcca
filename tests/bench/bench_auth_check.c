/*
 * Logins a second: tpc_auth_check() of 100,000 devices, by Alink's HMAC, by a ThingsPanel pair and by a
 * voucher text, beside one bare HMAC-SHA-256 of mbedtls over the bytes of an Alink login.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>
#include <tpcore/tpcore.h>

#include <mbedtls/md.h>

enum { DEVICES = 100000, LOGINS = 100000, ROUNDS = 5 };

#define SECRET "0123456789abcdef0123456789abcdef"

static struct tpc_core *core;
static char passwords[DEVICES][65];
static uint32_t order[LOGINS];

static void must_put(const char *kind, const char *json)
{
    bench_must(tpc_entity_put(core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL) == 0,
               tpc_error_last()->text);
}

static size_t message(uint32_t i, char *text, size_t cap)
{
    return (size_t) snprintf(text, cap,
                             "clientIdpk01.device-%06udeviceNamedevice-%06udeviceSecret" SECRET
                             "productKeypk01",
                             (unsigned) i, (unsigned) i);
}

static void bare_hmac(const char *text, size_t len, uint8_t ret[32])
{
    const mbedtls_md_info_t *sha = mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);
    bench_must(mbedtls_md_hmac(sha, (const uint8_t *) SECRET, sizeof(SECRET) - 1,
                               (const uint8_t *) text, len, ret) == 0,
               "hmac");
}

static void make(void)
{
    char json[400], text[200];
    uint8_t mac[32];
    bench_must(tpc_core_create(NULL, &core) == 0, "core");
    must_put("product",
             "{\"key\":\"pk01\",\"model\":{\"properties\":[{\"id\":\"x\",\"type\":\"int\"}]}}");
    for (uint32_t i = 0; i < DEVICES; i++) {
        snprintf(json, sizeof(json),
                 "{\"key\":\"device-%06u\",\"product\":\"pk01\",\"secret\":\"" SECRET
                 "\",\"credentials\":{\"username\":\"user-%06u\",\"password\":\"7f3e%06u\"}}",
                 (unsigned) i, (unsigned) i, (unsigned) i);
        must_put("device", json);
        bare_hmac(text, message(i, text, sizeof(text)), mac);
        for (int k = 0; k < 32; k++) {
            snprintf(passwords[i] + 2 * k, 3, "%02x", mac[k]);
        }
    }
    uint64_t seed = 7;
    for (uint32_t i = 0; i < LOGINS; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        order[i] = (uint32_t) (seed >> 33) % DEVICES;
    }
}

static double hmac_ns(void)
{
    char text[200];
    uint8_t mac[32];
    volatile uint8_t sink = 0;
    double begin = bench_cpu_ns();
    for (uint32_t i = 0; i < LOGINS; i++) {
        bare_hmac(text, message(0, text, sizeof(text)), mac);
        sink ^= mac[0];
    }
    double all = bench_cpu_ns() - begin;
    begin = bench_cpu_ns();
    for (uint32_t i = 0; i < LOGINS; i++) {
        sink ^= (uint8_t) message(0, text, sizeof(text));
    }
    return (all - (bench_cpu_ns() - begin)) / LOGINS;
}

static void alink(uint32_t i, struct tpc_auth_request *q, char name[64])
{
    q->username = (struct tpc_str){ name, (size_t) snprintf(name, 64, "device-%06u&pk01", i) };
    q->password = (struct tpc_bytes){ (const uint8_t *) passwords[i], 64 };
}

static void basic(uint32_t i, struct tpc_auth_request *q, char name[64])
{
    int n = snprintf(name, 32, "user-%06u", (unsigned) i);
    int m = snprintf(name + 32, 32, "7f3e%06u", (unsigned) i);
    q->username = (struct tpc_str){ name, (size_t) n };
    q->password = (struct tpc_bytes){ (const uint8_t *) name + 32, (size_t) m };
}

static double check_ns(void (*fill)(uint32_t i, struct tpc_auth_request *q, char name[64]))
{
    struct tpc_identity who;
    char name[64];
    volatile size_t sink = 0;
    double begin = bench_cpu_ns();
    for (uint32_t i = 0; i < LOGINS; i++) {
        struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
        q.peer = TPC_STR("127.0.0.1");
        fill(order[i], &q, name);
        bench_must(tpc_auth_check(core, &q, &who) == 0, tpc_error_last()->text);
    }
    double all = bench_cpu_ns() - begin;
    begin = bench_cpu_ns();
    for (uint32_t i = 0; i < LOGINS; i++) {
        struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
        fill(order[i], &q, name);
        sink += q.username.len + q.password.ptr[0] + q.password.ptr[q.password.len - 1];
    }
    return (all - (bench_cpu_ns() - begin)) / LOGINS;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

int main(void)
{
    make();
    double bare = 1e18, by_hmac = 1e18, by_pair = 1e18;
    for (int i = 0; i < ROUNDS; i++) { /* turn by turn: a busy machine disturbs all alike */
        bare = least(bare, hmac_ns());
        by_hmac = least(by_hmac, check_ns(alink));
        by_pair = least(by_pair, check_ns(basic));
    }
    bench_line("auth_check_hmac", by_hmac, "ns CPU/login", "bare mbedtls HMAC", by_hmac / bare);
    bench_line("auth_check_basic", by_pair, "ns CPU/login", "bare mbedtls HMAC", by_pair / bare);
    tpc_core_destroy(core);
    return 0;
}
