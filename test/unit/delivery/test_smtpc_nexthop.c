/* Next hops taken apart. */
#include "unit/cmocka_all.h"

#include "delivery/smtpc_nexthop.h"

static const struct {
    const char *in;
    bool lmtp;
    int found, port; /* the default port is 25 */
    const char *host, *domain;
    bool by_mx;
} cases[] = {
    {"example.com", false, 1, 25, "example.com", "example.com", true},
    {"example.com:587", false, 1, 587, "example.com", "example.com", true},
    {"example.com:smtp", false, 1, 25, "example.com", "example.com", true},
    {"[mx.example.com]", false, 1, 25, "mx.example.com", "[mx.example.com]", false},
    {"[mx.example.com]:26", false, 1, 26, "mx.example.com", "[mx.example.com]", false},
    {"[192.0.2.1]", false, 1, 25, "192.0.2.1", "[192.0.2.1]", false},
    {"192.0.2.1:26", false, 1, 26, "192.0.2.1", "192.0.2.1", false},
    {"[2001:db8::1]:26", false, 1, 26, "2001:db8::1", "[2001:db8::1]", false},
    {"[ipv6:2001:db8::1]", false, 1, 25, "2001:db8::1", "[ipv6:2001:db8::1]", false},
    {"2001:db8::1", false, 1, 25, "2001:db8::1", "2001:db8::1", false},
    {"inet:127.0.0.1:24", true, 1, 24, "127.0.0.1", "127.0.0.1", false},
    {"mail.example.com", true, 1, 25, "mail.example.com", "mail.example.com", false},
    {"unix:private/lmtp", true, 1, 25, "private/lmtp", "private/lmtp", false},
    {"unix:", true, -1, 0, NULL, NULL, false},
    {"unix:x", false, -1, 0, NULL, NULL, false},
    {"example.com:0", false, -1, 0, NULL, NULL, false},
    {"example.com:70000", false, -1, 0, NULL, NULL, false},
    {"example.com:nosuchservice", false, -1, 0, NULL, NULL, false},
    {"[example.com", false, -1, 0, NULL, NULL, false},
    {"example.com]", false, -1, 0, NULL, NULL, false},
    {":25", false, -1, 0, NULL, NULL, false},
    {"[]", false, -1, 0, NULL, NULL, false},
    {"", false, 0, 0, NULL, NULL, false},
    {" , ", false, 0, 0, NULL, NULL, false},
};

static void one(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice rest = slice_str(cases[i].in);
        struct smtpc_nexthop h = {0};
        struct arena arena = {0};
        int found = smtpc_nexthop_next(&rest, cases[i].lmtp, 25, &arena, &h);

        if (found != cases[i].found)
            fail_msg("\"%s\": %d", cases[i].in, found);
        if (found > 0) {
            assert_string_equal(h.host, cases[i].host);
            assert_string_equal(h.domain, cases[i].domain);
            assert_int_equal(h.port, cases[i].port);
            assert_int_equal(h.by_mx, cases[i].by_mx);
            assert_int_equal(h.path != NULL, cases[i].in[0] == 'u');
        }
        arena_clear(&arena);
    }
}

static void several(void **state)
{
    struct slice rest = SLICE_LIT("[a.example], b.example:26");
    struct smtpc_nexthop h;
    struct arena arena = {0};

    (void)state;
    assert_int_equal(smtpc_nexthop_next(&rest, false, 25, &arena, &h), 1);
    assert_string_equal(h.host, "a.example");
    assert_int_equal(smtpc_nexthop_next(&rest, false, 25, &arena, &h), 1);
    assert_string_equal(h.host, "b.example");
    assert_int_equal(h.port, 26);
    assert_int_equal(smtpc_nexthop_next(&rest, false, 25, &arena, &h), 0);
    arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one), cmocka_unit_test(several)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
