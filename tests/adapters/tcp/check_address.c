/* URLs of sockets, and peers as text. */
#include <arpa/inet.h>
#include <string.h>

#include "address.h"
#include "tcp_suites.h"

START_TEST(url_is_scheme_host_and_port_and_nothing_else)
{
    static const struct {
        const char *text, *scheme, *host;
        int port;
    } good[] = {
        { "tcp://127.0.0.1:7000", "tcp", "127.0.0.1", 7000 },
        { "tls://[::1]:0", "tls", "::1", 0 },
        { "udp://meter-1.example:65535", "udp", "meter-1.example", 65535 },
    };
    static const char *const bad[] = {
        "",
        "tcp://",
        "tcp://x",
        "tcp://x:",
        "tcp://:1",
        "://x:1",
        "x:1",
        "tcp://x:65536",
        "tcp://x:-1",
        "tcp://x:000001",
        "tcp://x:1/",
        "tcp://u@x:1",
        "tcp://x y:1",
        "tcp://x\n:1",
        "tcp://::1:7", /* could end anywhere */
        "tcp://[::1:7",
        "tcp://[::1]7",
        "tcp://[]:7",
        "longscheme://x:1",
        "tcp://a:1:2",
    };
    struct net_url u;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        tk_ok(net_url_parse(tpc_str_from(good[i].text), &u));
        ck_assert_str_eq(u.scheme, good[i].scheme);
        ck_assert_str_eq(u.host, good[i].host);
        ck_assert_int_eq(u.port, good[i].port);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(net_url_parse(tpc_str_from(bad[i]), &u) == TPC_EINVAL, "%s", bad[i]);
    }
    char endless[400];
    memset(endless, 'x', sizeof(endless));
    memcpy(endless, "tcp://", 6);
    ck_assert_int_eq(net_url_parse((struct tpc_str){ endless, sizeof(endless) }, &u), TPC_EINVAL);
}
END_TEST

START_TEST(one_peer_has_one_key_and_one_text_over_ipv4_and_ipv6)
{
    struct net_url u;
    struct sockaddr_storage a, b;
    uint8_t key_a[NET_ADDRESS_BYTES], key_b[NET_ADDRESS_BYTES];
    char text[NET_PEER_BYTES];
    tk_ok(net_url_parse(TPC_STR("tcp://192.0.2.7:99"), &u));
    tk_ok(net_url_numeric(&u, &a));
    tk_ok(net_url_parse(TPC_STR("tcp://[::ffff:192.0.2.7]:99"), &u));
    tk_ok(net_url_numeric(&u, &b));
    net_address_key((struct sockaddr *) &a, key_a);
    net_address_key((struct sockaddr *) &b, key_b);
    ck_assert_mem_eq(key_a, key_b, sizeof(key_a));
    ck_assert_uint_eq(net_peer_port((struct sockaddr *) &a), 99);
    ck_assert_uint_eq(net_peer_port((struct sockaddr *) &b), 99);
    ck_assert_uint_eq(net_peer_text(key_a, 99, text), strlen("192.0.2.7:99"));
    ck_assert_str_eq(text, "192.0.2.7:99");
    tk_ok(net_url_parse(TPC_STR("tcp://[2001:db8::1]:7"), &u));
    tk_ok(net_url_numeric(&u, &b));
    net_address_key((struct sockaddr *) &b, key_b);
    (void) net_peer_text(key_b, 7, text);
    ck_assert_str_eq(text, "[2001:db8::1]:7");
    tk_ok(net_url_parse(TPC_STR("tcp://localhost:7"), &u));
    tk_fails(TPC_EINVAL, net_url_numeric(&u, &b));
}
END_TEST

Suite *tcp_address_suite(void)
{
    Suite *s = suite_create("tcp addresses");
    TCase *c = tcase_create("addresses");
    tcase_add_test(c, url_is_scheme_host_and_port_and_nothing_else);
    tcase_add_test(c, one_peer_has_one_key_and_one_text_over_ipv4_and_ipv6);
    suite_add_tcase(s, c);
    return s;
}
