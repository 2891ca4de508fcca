/* Who may speak: credentials of each kind, registration, tokens, limits, topics. Vectors are those of
 * the contracts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "flow.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define PASSWORD "5d4e1f404486b778af7b85414fdd14c9566566f6cd23fb2758bce85e82477460"
#define PRODUCT_SECRET "fedcba9876543210fedcba9876543210"
#define SIGN "156a0c5c69fd5b95c8eb2f968e8c1fe3570c3170900d6f2ec955fb60e1ab9e26"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MODEL "\"model\":{\"properties\":[{\"id\":\"x\",\"type\":\"int\"}]}"
#define MINUTE_MS 60000

static uint8_t token_key[32] = "thirty-two bytes that sign token";
static struct tpc_identity who;
static const struct tpc_str none = { NULL, 0 };

static void put(struct flow *f, const char *kind, const char *json)
{
    int rc = tpc_entity_put(f->core, NULL, kind, tpc_str_from(json), TPC_ANY_REV, NULL);
    ck_assert_msg(rc == 0, "%s: %s at %s", json, tpc_error_last()->text, tpc_error_last()->path);
}

static void put_refused(struct flow *f, int code, const char *path, const char *json)
{
    tk_fails(code, tpc_entity_put(f->core, NULL, "device", tpc_str_from(json), TPC_ANY_REV, NULL));
    ck_assert_str_eq(tpc_error_last()->path, path);
}

static void setup(struct flow *f)
{
    flow_init(f, 0);
    f->o.token_key = (struct tpc_bytes){ token_key, sizeof(token_key) };
    flow_create(f);
    put(f, "product", "{\"key\":\"pk01\",\"secret\":\"" PRODUCT_SECRET "\"," MODEL "}");
    put(f, "product", "{\"key\":\"panel\"," MODEL "}");
}

static void teardown(struct flow *f)
{
    flow_destroy(f);
    flow_fini(f);
}

static int check_peer(struct flow *f, const char *username, const char *password, const char *peer)
{
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    memset(&who, 0, sizeof(who));
    q.client_id = TPC_STR("client-1");
    q.username = tpc_str_from(username);
    q.password =
        (struct tpc_bytes){ (const uint8_t *) password, password != NULL ? strlen(password) : 0 };
    q.peer = tpc_str_from(peer);
    return tpc_auth_check(f->core, &q, &who);
}

static int check(struct flow *f, const char *username, const char *password)
{
    return check_peer(f, username, password, "");
}

static void refused(struct flow *f, const char *why, const char *username, const char *password)
{
    tk_fails(TPC_EDENIED, check(f, username, password));
    ck_assert_msg(strstr(tpc_error_last()->text, why) != NULL, "%s", tpc_error_last()->text);
}

/* ---- credentials ---- */

START_TEST(an_alink_device_logs_in_with_the_contracts_vector)
{
    struct flow f;
    setup(&f);
    put(&f, "device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"secret\":\"" SECRET "\"}");
    tk_ok(check(&f, "dev01&pk01", PASSWORD));
    ck_assert_uint_eq(who.role, TPC_ROLE_DEVICE);
    ck_assert_uint_eq(who.method, TPC_AUTH_HMAC);
    ck_assert_str_eq(who.key, "dev01");
    ck_assert_str_eq(who.product, "pk01");
    char wrong[] = PASSWORD;
    wrong[63] ^= 1;
    refused(&f, "wrong password", "dev01&pk01", wrong);
    refused(&f, "wrong password", "dev01&pk01", "");
    refused(&f, "unknown user name", "dev01&pk02", PASSWORD);
    refused(&f, "unknown user name", "dev01&pk01&x", PASSWORD);
    refused(&f, "no user name", "", PASSWORD);
    teardown(&f);
}
END_TEST

/* A voucher says the same as the members, and quotes in it are text, not syntax. */
START_TEST(thingspanel_devices_log_in_with_vouchers_or_members)
{
    struct flow f;
    setup(&f);
    put(&f, "device",
        "{\"key\":\"a\",\"product\":\"panel\",\"credentials\":{\"voucher\":"
        "\"{\\\"username\\\":\\\"ua\\\",\\\"password\\\":\\\"pa\\\"}\"}}");
    put(&f, "device",
        "{\"key\":\"b\",\"product\":\"panel\",\"credentials\":{\"voucher\":"
        "\"{\\\"username\\\":\\\"tok-b\\\"}\"}}");
    put(&f, "device",
        "{\"key\":\"c\",\"product\":\"panel\",\"credentials\":{\"username\":\"u\\\"c\\\\&{\","
        "\"password\":\"p\\\"}\"}}");
    put(&f, "device",
        "{\"key\":\"d\",\"product\":\"panel\",\"credentials\":{\"voucher\":"
        "\"{\\\"default\\\":\\\"3f6e\\\"}\"}}");
    tk_ok(check(&f, "ua", "pa"));
    ck_assert_str_eq(who.key, "a");
    ck_assert_uint_eq(who.method, TPC_AUTH_BASIC);
    tk_ok(check(&f, "tok-b", ""));
    ck_assert_str_eq(who.key, "b");
    ck_assert_uint_eq(who.method, TPC_AUTH_TOKEN);
    refused(&f, "wrong password", "tok-b", "anything");
    refused(&f, "wrong password", "ua", "");
    tk_ok(check(&f, "u\"c\\&{", "p\"}"));
    ck_assert_str_eq(who.key, "c");
    /* What would close the voucher's text in a comparison of texts is only another name. */
    refused(&f, "unknown", "ua\",\"password\":\"pa", "");
    refused(&f, "unknown", "ua\"}", "");

    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    q.voucher = TPC_STR("{\"default\":\"3f6e\"}");
    tk_ok(tpc_auth_check(f.core, &q, &who));
    ck_assert_str_eq(who.key, "d");
    ck_assert_uint_eq(who.method, TPC_AUTH_VOUCHER);
    q.voucher = TPC_STR("{\"password\": \"pa\", \"username\": \"ua\"}");
    tk_ok(tpc_auth_check(f.core, &q, &who));
    ck_assert_str_eq(who.key, "a");
    q.voucher = TPC_STR("{\"default\":\"3f6f\"}");
    tk_fails(TPC_EDENIED, tpc_auth_check(f.core, &q, &who));
    q.voucher = TPC_STR("nonsense");
    tk_fails(TPC_EDENIED, tpc_auth_check(f.core, &q, &who));
    teardown(&f);
}
END_TEST

START_TEST(while_a_credential_is_changed_both_are_valid)
{
    struct flow f;
    setup(&f);
    put(&f, "device",
        "{\"key\":\"a\",\"product\":\"panel\",\"credentials\":{\"username\":\"u\",\"password\":"
        "\"old\"}}");
    tk_ok(check(&f, "u", "old"));
    struct tpc_identity session = who;
    put(&f, "device",
        "{\"key\":\"a\",\"product\":\"panel\",\"credentials\":{\"username\":\"u\","
        "\"password_next\":\"new\"}}");
    tk_ok(check(&f, "u", "old"));
    tk_ok(check(&f, "u", "new"));
    tk_ok(tpc_auth_recheck(f.core, &session));
    put(&f, "device",
        "{\"key\":\"a\",\"product\":\"panel\",\"credentials\":{\"username\":\"u\",\"password\":"
        "\"new\",\"password_next\":null}}");
    tk_ok(check(&f, "u", "new"));
    tk_ok(tpc_auth_recheck(f.core, &who));
    refused(&f, "wrong password", "u", "old");
    tk_fails(TPC_EDENIED, tpc_auth_recheck(f.core, &session));
    teardown(&f);
}
END_TEST

START_TEST(a_certificate_is_known_by_its_fingerprint)
{
    struct flow f;
    setup(&f);
    put(&f, "device",
        "{\"key\":\"a\",\"product\":\"panel\",\"credentials\":{\"fingerprint\":"
        "\"00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff\"}}");
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    q.fingerprint = TPC_STR("00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:"
                            "77:88:99:aa:bb:cc:dd:ee:ff");
    tk_ok(tpc_auth_check(f.core, &q, &who));
    ck_assert_str_eq(who.key, "a");
    ck_assert_uint_eq(who.method, TPC_AUTH_CERTIFICATE);
    q.fingerprint = TPC_STR("10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    tk_fails(TPC_EDENIED, tpc_auth_check(f.core, &q, &who));
    q.fingerprint = TPC_STR("0011");
    tk_fails(TPC_EDENIED, tpc_auth_check(f.core, &q, &who));
    put_refused(&f, TPC_EINVAL, "credentials.fingerprint",
                "{\"key\":\"b\",\"product\":\"panel\",\"credentials\":{\"fingerprint\":\"0x12\"}}");
    teardown(&f);
}
END_TEST

START_TEST(a_disabled_or_deleted_device_is_refused_and_does_not_stay)
{
    struct flow f;
    setup(&f);
    put(&f, "device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"secret\":\"" SECRET "\"}");
    tk_ok(check(&f, "dev01&pk01", PASSWORD));
    struct tpc_identity session = who;
    tk_ok(tpc_auth_recheck(f.core, &session));
    put(&f, "device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"enabled\":false}");
    refused(&f, "disabled", "dev01&pk01", PASSWORD);
    tk_fails(TPC_EDENIED, tpc_auth_recheck(f.core, &session));
    put(&f, "device", "{\"key\":\"dev01\",\"product\":\"pk01\"}");
    tk_ok(check(&f, "dev01&pk01", PASSWORD));
    tk_ok(tpc_auth_recheck(f.core, &session));
    tk_ok(tpc_entity_delete(f.core, NULL, none, "device", TPC_STR("dev01"), TPC_ANY_REV));
    refused(&f, "unknown", "dev01&pk01", PASSWORD);
    tk_fails(TPC_EDENIED, tpc_auth_recheck(f.core, &session));
    put(&f, "device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"secret\":\"" SECRET "\"}");
    tk_fails(TPC_EDENIED, tpc_auth_recheck(f.core, &session)); /* another device */
    /* Its HMAC is over the product's key, too. */
    put(&f, "device", "{\"key\":\"dev01\",\"product\":\"panel\"}");
    refused(&f, "unknown", "dev01&pk01", PASSWORD);
    teardown(&f);
}
END_TEST

START_TEST(two_devices_never_share_a_credential)
{
    struct flow f;
    setup(&f);
    put(&f, "device",
        "{\"key\":\"a\",\"product\":\"panel\",\"credentials\":{\"username\":\"u\",\"password\":"
        "\"pa\"}}");
    /* The same name with another password is two vouchers. */
    put(&f, "device",
        "{\"key\":\"b\",\"product\":\"panel\",\"credentials\":{\"username\":\"u\",\"password\":"
        "\"pb\"}}");
    put_refused(&f, TPC_EEXIST, "credentials.password",
                "{\"key\":\"c\",\"product\":\"panel\",\"credentials\":{\"username\":\"u\","
                "\"password\":\"pb\"}}");
    put_refused(&f, TPC_EINVAL, "credentials.password",
                "{\"key\":\"c\",\"product\":\"panel\",\"credentials\":{\"password\":\"p\"}}");
    put_refused(&f, TPC_EINVAL, "credentials.voucher",
                "{\"key\":\"c\",\"product\":\"panel\",\"credentials\":{\"voucher\":\"[]\"}}");
    tk_ok(check(&f, "u", "pa"));
    ck_assert_str_eq(who.key, "a");
    tk_ok(check(&f, "u", "pb"));
    ck_assert_str_eq(who.key, "b");
    tk_ok(tpc_entity_delete(f.core, NULL, none, "device", TPC_STR("a"), TPC_ANY_REV));
    refused(&f, "wrong password", "u", "pa");
    tk_ok(check(&f, "u", "pb"));
    teardown(&f);
}
END_TEST

START_TEST(tenants_do_not_know_each_others_devices)
{
    struct flow f;
    setup(&f);
    put(&f, "tenant", "{\"key\":\"b\"}");
    put(&f, "product", "{\"key\":\"pk01\",\"tenant\":\"b\"," MODEL "}");
    put(&f, "device",
        "{\"key\":\"dev01\",\"tenant\":\"b\",\"product\":\"pk01\",\"secret\":\"" SECRET "\"}");
    refused(&f, "unknown", "dev01&pk01", PASSWORD);
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    q.tenant = TPC_STR("b");
    q.username = TPC_STR("dev01&pk01");
    q.password = TPC_BYTES(PASSWORD);
    tk_ok(tpc_auth_check(f.core, &q, &who));
    q.tenant = TPC_STR("nobody");
    tk_fails(TPC_EINVAL, tpc_auth_check(f.core, &q, &who));
    teardown(&f);
}
END_TEST

START_TEST(oversized_and_odd_fields_are_refused)
{
    struct flow f;
    setup(&f);
    char *big = malloc(65536);
    memset(big, 'u', 65535);
    big[65535] = '\0';
    refused(&f, "over 4,096", big, "p");
    refused(&f, "over 4,096", "u", big);
    big[4096] = '\0';
    refused(&f, "unknown", big, "p");
    refused(&f, "unknown", "\x01\x02\xff\"\\&", "\xff");
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    q.client_id = TPC_STR("a\nb\"c");
    q.username = TPC_STR("do-not-print-me");
    tk_fails(TPC_EDENIED, tpc_auth_check(f.core, &q, &who));
    ck_assert_str_eq(tpc_error_last()->text, "client \"a?b?c\": unknown user name");
    free(big);
    teardown(&f);
}
END_TEST

START_TEST(service_users_log_in_and_use_any_topic)
{
    struct flow f;
    setup(&f);
    put(&f, "service_user", "{\"key\":\"plugin\",\"password\":\"pw\"}");
    tk_ok(check(&f, "plugin", "pw"));
    ck_assert_uint_eq(who.role, TPC_ROLE_SERVICE);
    tk_ok(tpc_acl_check(f.core, &who, TPC_ACCESS_SUBSCRIBE, TPC_STR("#")));
    tk_ok(tpc_acl_check(f.core, &who, TPC_ACCESS_PUBLISH, TPC_STR("devices/status/x")));
    refused(&f, "wrong password", "plugin", "pw2");
    struct tpc_identity session = who;
    tk_ok(check(&f, "plugin", "pw"));
    session = who;
    put(&f, "service_user", "{\"key\":\"plugin\",\"password_next\":\"pw2\"}");
    tk_ok(check(&f, "plugin", "pw2"));
    tk_ok(tpc_auth_recheck(f.core, &session));
    put(&f, "service_user", "{\"key\":\"plugin\",\"enabled\":false}");
    refused(&f, "disabled", "plugin", "pw");
    tk_fails(TPC_EDENIED, tpc_auth_recheck(f.core, &session));
    tk_ok(tpc_entity_delete(f.core, NULL, none, "service_user", TPC_STR("plugin"), TPC_ANY_REV));
    refused(&f, "unknown", "plugin", "pw");
    teardown(&f);
}
END_TEST

/* ---- the limit ---- */

START_TEST(after_ten_failures_of_a_name_from_an_address_it_is_not_looked_at)
{
    struct flow f;
    setup(&f);
    put(&f, "device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"secret\":\"" SECRET "\"}");
    for (int i = 0; i < 10; i++) {
        tk_fails(TPC_EDENIED, check_peer(&f, "dev01&pk01", "guess", "10.0.0.1"));
    }
    tk_fails(TPC_EAGAIN, check_peer(&f, "dev01&pk01", PASSWORD, "10.0.0.1"));
    tk_ok(check_peer(&f, "dev01&pk01", PASSWORD, "10.0.0.2")); /* nobody is locked out by another */
    tk_clock_advance(&f.e.clock, MINUTE_MS - 1);
    tk_fails(TPC_EAGAIN, check_peer(&f, "dev01&pk01", PASSWORD, "10.0.0.1"));
    tk_clock_advance(&f.e.clock, 1);
    tk_ok(check_peer(&f, "dev01&pk01", PASSWORD, "10.0.0.1"));
    ck_assert_double_eq(flow_metric(&f, "tpc_auth_limited_total"), 2);
    ck_assert_double_eq(flow_metric(&f, "tpc_auth_denied_total"), 10);
    teardown(&f);
}
END_TEST

START_TEST(a_count_of_failures_that_must_make_room_is_counted_itself)
{
    struct flow f;
    char peer[24];
    setup(&f);
    for (int i = 0; i < 1000; i++) {
        snprintf(peer, sizeof(peer), "10.0.%d.%d", i / 200, i % 200);
        tk_fails(TPC_EDENIED, check_peer(&f, "nobody", "guess", peer));
    }
    double few = flow_metric(&f, "tpc_auth_limit_evicted_total");
    ck_assert_double_lt(few, 500); /* sets of four are full before the table is */
    for (int i = 0; i < 5000; i++) {
        snprintf(peer, sizeof(peer), "10.1.%d.%d", i / 200, i % 200);
        tk_fails(TPC_EDENIED, check_peer(&f, "nobody", "guess", peer));
    }
    /* 12,000 counts, room for 4,096. */
    ck_assert_double_ge(flow_metric(&f, "tpc_auth_limit_evicted_total"), 12000 - 4096);
    tk_clock_advance(&f.e.clock, MINUTE_MS);
    double before = flow_metric(&f, "tpc_auth_limit_evicted_total");
    tk_fails(TPC_EDENIED, check_peer(&f, "nobody", "guess", "10.2.0.1"));
    ck_assert_double_eq(flow_metric(&f, "tpc_auth_limit_evicted_total"), before);
    teardown(&f);
}
END_TEST

START_TEST(an_address_that_guesses_many_names_is_not_looked_at)
{
    struct flow f;
    setup(&f);
    char name[20];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "u%d", i);
        tk_fails(TPC_EDENIED, check_peer(&f, name, "guess", "10.0.0.1"));
    }
    tk_fails(TPC_EAGAIN, check_peer(&f, "other", "guess", "10.0.0.1"));
    tk_fails(TPC_EDENIED, check_peer(&f, "other", "guess", "10.0.0.2"));
    /* A flood of names and addresses takes no memory, and ends with the clock. */
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof(name), "10.1.%d.%d", i / 250, i % 250);
        (void) check_peer(&f, name, "guess", name);
    }
    tk_clock_advance(&f.e.clock, MINUTE_MS);
    tk_fails(TPC_EDENIED, check_peer(&f, "other", "guess", "10.0.0.1"));
    teardown(&f);
}
END_TEST

/* ---- tokens ---- */

static int issue(struct flow *f, char *text, size_t cap)
{
    struct tpc_buf buf = { (uint8_t *) text, cap - 1, 0 };
    int rc = tpc_token_issue(f->core, none, TPC_STR("dev01"), 10 * MINUTE_MS, &buf);
    if (rc == 0) {
        text[buf.need] = '\0';
    }
    return rc;
}

START_TEST(a_token_serves_until_it_is_over)
{
    struct flow f;
    char token[500];
    setup(&f);
    put(&f, "device", "{\"key\":\"dev01\",\"product\":\"pk01\"}");
    tk_ok(issue(&f, token, sizeof(token)));
    tk_ok(check(&f, "", token));
    ck_assert_str_eq(who.key, "dev01");
    ck_assert_uint_eq(who.method, TPC_AUTH_JWT);
    tk_ok(tpc_auth_recheck(f.core, &who));
    struct tpc_identity session = who;
    tk_ok(check(&f, "whatever", token));
    char *dot = strrchr(token, '.');
    dot[1] ^= 1;
    refused(&f, "signature", "", token);
    dot[1] ^= 1;
    char *middle = strchr(token, '.') + 5;
    *middle ^= 1;
    refused(&f, "signature", "", token);
    *middle ^= 1;
    put(&f, "device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"enabled\":false}");
    refused(&f, "disabled", "", token);
    tk_fails(TPC_EDENIED, tpc_auth_recheck(f.core, &session));
    tk_fails(TPC_EDENIED, issue(&f, token + 400, 100));
    put(&f, "device", "{\"key\":\"dev01\",\"product\":\"pk01\"}");
    tk_clock_advance(&f.e.clock, 10 * MINUTE_MS);
    refused(&f, "over", "", token);
    tk_fails(TPC_EDENIED, tpc_auth_recheck(f.core, &session));
    tk_fails(TPC_ETOOBIG, issue(&f, token, 20));
    teardown(&f);
}
END_TEST

/* Signs a token of any header and payload, as another issuer with the key would. */
static void sign_token(const char *header, const char *payload, char *ret)
{
    uint8_t mac[32];
    size_t n = tpi_base64url_encode(header, strlen(header), ret);
    ret[n++] = '.';
    n += tpi_base64url_encode(payload, strlen(payload), ret + n);
    tk_ok(tpi_hmac_sha256(token_key, sizeof(token_key), ret, n, mac));
    ret[n++] = '.';
    tpi_base64url_encode(mac, sizeof(mac), ret + n);
}

static const struct {
    const char *header, *payload, *why;
} tokens[] = {
    { "{\"alg\":\"HS256\"}",
      "{\"productKey\":\"pk01\",\"deviceName\":\"dev01\",\"exp\":1795176660}", NULL },
    { "{\"alg\":\"HS256\",\"kid\":\"1\"}",
      "{\"exp\":1795176660.5,\"nbf\":1,\"deviceName\":\"dev01\",\"productKey\":\"pk01\"}", NULL },
    { "{\"alg\":\"none\"}", "{\"productKey\":\"pk01\",\"deviceName\":\"dev01\",\"exp\":1795176660}",
      "HS256" },
    { "{\"alg\":\"HS256\",\"crit\":[\"x\"]}",
      "{\"productKey\":\"pk01\",\"deviceName\":\"dev01\",\"exp\":1795176660}", "critical" },
    { "{\"alg\":\"HS256\"}", "{\"productKey\":\"pk01\",\"deviceName\":\"dev01\"}", "lacks" },
    { "{\"alg\":\"HS256\"}",
      "{\"productKey\":\"pk01\",\"deviceName\":\"dev01\",\"exp\":\"1795176660\"}", "lacks" },
    { "{\"alg\":\"HS256\"}", "{\"productKey\":\"pk01\",\"deviceName\":\"dev01\",\"exp\":1}",
      "over" },
    { "{\"alg\":\"HS256\"}",
      "{\"productKey\":\"pk01\",\"deviceName\":\"dev01\",\"exp\":1795176660,\"nbf\":1795176650}",
      "not valid yet" },
    { "{\"alg\":\"HS256\"}",
      "{\"productKey\":\"panel\",\"deviceName\":\"dev01\",\"exp\":1795176660}", "no device" },
    { "{\"alg\":\"HS256\"}", "{\"productKey\":\"pk01\",\"deviceName\":\"x\",\"exp\":1795176660}",
      "no device" },
    { "{\"alg\":\"HS256\"}",
      "{\"productKey\":\"pk01\",\"deviceName\":\"dev01\",\"exp\":1795176660,\"tenant\":\"b\"}",
      "another tenant" },
    { "{\"alg\":\"HS256\"}", "[1]", "no object" },
    { "{\"alg\":\"HS256\"}", "{\"productKey\":", "no object" },
};

START_TEST(a_token_of_another_issuer_is_checked_claim_by_claim)
{
    struct flow f;
    char token[600];
    setup(&f);
    f.e.clock.unix_ms = INT64_C(1795176000000);
    put(&f, "device", "{\"key\":\"dev01\",\"product\":\"pk01\"}");
    sign_token(tokens[_i].header, tokens[_i].payload, token);
    if (tokens[_i].why == NULL) {
        tk_ok(check(&f, "", token));
    } else {
        refused(&f, tokens[_i].why, "", token);
    }
    teardown(&f);
}
END_TEST

/* A broker that names only the user when it asks about a topic would take him for that one. */
START_TEST(a_token_serves_under_no_other_users_name)
{
    struct flow f;
    char token[500];
    setup(&f);
    put(&f, "device", "{\"key\":\"dev01\",\"product\":\"pk01\",\"secret\":\"" SECRET "\"}");
    put(&f, "device", "{\"key\":\"dev02\",\"product\":\"pk01\",\"secret\":\"" SECRET "\"}");
    put(&f, "service_user", "{\"key\":\"root\",\"password\":\"pw\"}");
    tk_ok(issue(&f, token, sizeof(token)));
    tk_ok(check(&f, "dev01&pk01", token));
    refused(&f, "somebody else's", "root", token);
    refused(&f, "somebody else's", "dev02&pk01", token);
    teardown(&f);
}
END_TEST

START_TEST(without_a_token_key_a_token_is_only_a_password)
{
    struct flow f;
    char token[600];
    setup(&f);
    sign_token("{\"alg\":\"HS256\"}",
               "{\"productKey\":\"pk01\",\"deviceName\":\"dev01\",\"exp\":1795176660}", token);
    flow_destroy(&f);
    f.o.token_key.len = 0;
    flow_create(&f);
    put(&f, "product", "{\"key\":\"pk01\"," MODEL "}");
    put(&f, "device", "{\"key\":\"dev01\",\"product\":\"pk01\"}");
    refused(&f, "unknown", "u", token);
    tk_fails(TPC_ESTATE, issue(&f, token, sizeof(token)));
    teardown(&f);
}
END_TEST

/* ---- registration ---- */

static struct tpc_registration made;

static int enroll(struct flow *f, const char *product, const char *device, const char *sign,
                  const char *secret)
{
    struct tpc_register_request q = TPC_REGISTER_REQUEST_INIT;
    memset(&made, 0, sizeof(made));
    q.product = tpc_str_from(product);
    q.device = tpc_str_from(device);
    q.sign = tpc_str_from(sign);
    q.secret = tpc_str_from(secret);
    return tpc_auth_register(f->core, &q, &made);
}

static int check_register(struct flow *f, const char *username, const char *sign)
{
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    q.client_id = TPC_STR("pk01.dev01|authType=register|");
    q.username = tpc_str_from(username);
    q.password = (struct tpc_bytes){ (const uint8_t *) sign, strlen(sign) };
    return tpc_auth_check(f->core, &q, &who);
}

START_TEST(a_device_registers_once_with_the_contracts_vector)
{
    struct flow f;
    char password[65], text[300];
    uint8_t mac[32];
    setup(&f);
    tk_fails(TPC_EDENIED, enroll(&f, "pk01", "dev01", SIGN, ""));
    tk_fails(TPC_EDENIED, check_register(&f, "dev01&pk01", SIGN));
    put(&f, "product", "{\"key\":\"pk01\",\"auto_register\":true," MODEL "}");
    tk_fails(TPC_EDENIED, enroll(&f, "pk01", "dev02", SIGN, ""));
    tk_fails(TPC_EDENIED, check_register(&f, "dev02&pk01", SIGN));
    tk_ok(check_register(&f, "dev01&pk01", SIGN));
    ck_assert_uint_eq(who.role, TPC_ROLE_REGISTER);
    tk_ok(tpc_acl_check(f.core, &who, TPC_ACCESS_SUBSCRIBE,
                        TPC_STR("/sys/pk01/dev01/thing/auth/register_reply")));
    tk_fails(TPC_EDENIED, tpc_acl_check(f.core, &who, TPC_ACCESS_PUBLISH,
                                        TPC_STR("/sys/pk01/dev01/thing/property/post")));
    tk_ok(enroll(&f, "pk01", "dev01", SIGN, ""));
    ck_assert_uint_eq(strlen(made.secret), 32);
    ck_assert_str_eq(made.product, "pk01");
    ck_assert_str_eq(made.device, "dev01");
    snprintf(text, sizeof(text), "clientIdpk01.dev01deviceNamedev01deviceSecret%sproductKeypk01",
             made.secret);
    tk_ok(tpi_hmac_sha256(made.secret, 32, text, strlen(text), mac));
    tpi_hex(mac, 32, password);
    tk_ok(check(&f, "dev01&pk01", password));
    /* The one that was overheard is worth nothing. */
    tk_fails(TPC_EEXIST, enroll(&f, "pk01", "dev01", SIGN, ""));
    tk_fails(TPC_EDENIED, check_register(&f, "dev01&pk01", SIGN));
    teardown(&f);
}
END_TEST

START_TEST(a_thingspanel_device_registers_with_the_template_secret)
{
    struct flow f;
    static const char *const types[] = { "BASIC", "ACCESSTOKEN", "OTHER" };
    static const char *const starts[] = { "{\"username\":\"", "{\"username\":\"",
                                          "{\"voucher\":\"" };
    char json[300];
    setup(&f);
    for (int i = 0; i < 3; i++) {
        snprintf(json, sizeof(json),
                 "{\"key\":\"t%d\",\"auto_register\":true,\"voucher_type\":\"%s\",\"secret\":"
                 "\"template-%d\"," MODEL "}",
                 i, types[i], i);
        put(&f, "product", json);
        snprintf(json, sizeof(json), "template-%d", i);
        char device[8];
        snprintf(device, sizeof(device), "d%d", i);
        tk_ok(enroll(&f, "", device, "", json));
        ck_assert_int_eq(strncmp(made.voucher, starts[i], strlen(starts[i])), 0);
        ck_assert_int_eq(strstr(made.voucher, "\"password\":") != NULL, i == 0);
        struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
        q.voucher = tpc_str_from(made.voucher);
        tk_ok(tpc_auth_check(f.core, &q, &who));
        ck_assert_str_eq(who.key, device);
        tk_fails(TPC_EEXIST, enroll(&f, "", device, "", json));
    }
    tk_fails(TPC_EDENIED, enroll(&f, "", "d9", "", "template-9"));
    tk_fails(TPC_EDENIED, enroll(&f, "t1", "d9", "", "template-0"));
    tk_fails(TPC_EINVAL, enroll(&f, "", "", "", "template-0"));
    put(&f, "product",
        "{\"key\":\"sub\",\"type\":\"sub\",\"auto_register\":true,\"secret\":\"s\"," MODEL "}");
    tk_fails(TPC_EINVAL, enroll(&f, "", "d9", "", "s"));
    teardown(&f);
}
END_TEST

START_TEST(registrations_are_limited_like_logins)
{
    struct flow f;
    setup(&f);
    put(&f, "product", "{\"key\":\"pk01\",\"auto_register\":true," MODEL "}");
    for (int i = 0; i < 10; i++) {
        tk_fails(TPC_EDENIED, enroll(&f, "pk01", "dev01", "guess", ""));
    }
    tk_fails(TPC_EAGAIN, enroll(&f, "pk01", "dev01", SIGN, ""));
    /* Over a broker there is no address: one device must not hold up the others of its product. */
    tk_fails(TPC_EDENIED, enroll(&f, "pk01", "dev02", "guess", ""));
    teardown(&f);
}
END_TEST

/* ---- without memory ---- */

static int use_without_memory(const struct tpc_allocator *a, void *user)
{
    struct tpc_core_options o = TPC_CORE_OPTIONS_INIT;
    struct tpc_core *core = NULL;
    static const char *const docs[][2] = {
        { "product", "{\"key\":\"pk01\",\"auto_register\":true,\"secret\":\"s\"," MODEL "}" },
        { "device", "{\"key\":\"d\",\"product\":\"pk01\",\"secret\":\"x\",\"credentials\":{"
                    "\"username\":\"u\",\"password\":\"p\",\"voucher\":\"{\\\"username\\\":"
                    "\\\"t\\\"}\"}}" },
        { "device", "{\"key\":\"d\",\"product\":\"pk01\",\"secret\":\"y\",\"credentials\":{"
                    "\"username\":\"u\"}}" },
        { "service_user", "{\"key\":\"s\",\"password\":\"p\"}" },
        { "service_user", "{\"key\":\"s\",\"password\":\"q\"}" },
    };
    (void) user;
    o.allocator = a;
    int rc = tpc_core_create(&o, &core);
    for (size_t i = 0; rc == 0 && i < COUNT(docs); i++) {
        rc = tpc_entity_put(core, NULL, docs[i][0], tpc_str_from(docs[i][1]), TPC_ANY_REV, NULL);
    }
    struct tpc_auth_request q = TPC_AUTH_REQUEST_INIT;
    q.voucher = TPC_STR("{\"username\":\"t\"}");
    rc = rc != 0 ? rc : tpc_auth_check(core, &q, &who);
    tpc_core_destroy(core);
    return rc;
}

START_TEST(running_out_of_memory_leaks_nothing)
{
    ck_assert_uint_gt(tk_each_alloc_fails(use_without_memory, NULL), 10);
}
END_TEST

Suite *auth_flow_suite(void)
{
    Suite *s = suite_create("auth");
    TCase *tc = tcase_create("auth");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, an_alink_device_logs_in_with_the_contracts_vector);
    tcase_add_test(tc, thingspanel_devices_log_in_with_vouchers_or_members);
    tcase_add_test(tc, while_a_credential_is_changed_both_are_valid);
    tcase_add_test(tc, a_certificate_is_known_by_its_fingerprint);
    tcase_add_test(tc, a_disabled_or_deleted_device_is_refused_and_does_not_stay);
    tcase_add_test(tc, two_devices_never_share_a_credential);
    tcase_add_test(tc, tenants_do_not_know_each_others_devices);
    tcase_add_test(tc, oversized_and_odd_fields_are_refused);
    tcase_add_test(tc, service_users_log_in_and_use_any_topic);
    tcase_add_test(tc, after_ten_failures_of_a_name_from_an_address_it_is_not_looked_at);
    tcase_add_test(tc, a_count_of_failures_that_must_make_room_is_counted_itself);
    tcase_add_test(tc, an_address_that_guesses_many_names_is_not_looked_at);
    tcase_add_test(tc, a_token_serves_until_it_is_over);
    tcase_add_loop_test(tc, a_token_of_another_issuer_is_checked_claim_by_claim, 0,
                        (int) COUNT(tokens));
    tcase_add_test(tc, without_a_token_key_a_token_is_only_a_password);
    tcase_add_test(tc, a_device_registers_once_with_the_contracts_vector);
    tcase_add_test(tc, a_thingspanel_device_registers_with_the_template_secret);
    tcase_add_test(tc, a_token_serves_under_no_other_users_name);
    tcase_add_test(tc, registrations_are_limited_like_logins);
    tcase_add_test(tc, running_out_of_memory_leaks_nothing);
    suite_add_tcase(s, tc);
    return s;
}
