/* Names for DNS: what is asked, what is no name, and what PTR is asked for. */
#include "unit/cmocka_all.h"

#include "core/base/assert.h"
#include "lookup/dns_name.h"

#define L63 "a23456789012345678901234567890123456789012345678901234567890123"

static void test_ascii(void **state)
{
    static const struct {
        const char *name, *expected; /* NULL: no name */
    } cases[] = {
        {"Example.COM", "example.com"},
        {"a_b.example", "a_b.example"},
        {"b\xc3\xbc"
         "cher.example",
         "xn--bcher-kva.example"},
        {"B\xc3\x9c"
         "CHER.Example",
         "xn--bcher-kva.example"},
        {"bu\xcc\x88"
         "cher.example",
         "xn--bcher-kva.example"},
        {"fa\xc3\x9f.de", "xn--fa-hia.de"}, /* not "fass": IDNA 2008, not transitional */
        {"xn--bcher-kva.example", "xn--bcher-kva.example"},
        {L63 ".example", L63 ".example"},
        {"", NULL},
        {".", NULL},
        {"a..b", NULL},
        {"a.", NULL},
        {"-a.example", NULL},
        {"a-.example", NULL},
        {"a b", NULL},
        {"a\x01", NULL},
        {"1.2.3.4", NULL},
        {"[1.2.3.4]", NULL},
        {L63 "4.example", NULL},
        {L63 "." L63 "." L63 "." L63, NULL},
        {"\xff\xfe.example", NULL},
        {"\xc2\xad.example", NULL},
        {"a\xe2\x80\xae"
         "b.example",
         NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char out[DNS_NAME_MAX] = "";
        bool ok = dns_name_ascii(cases[i].name, out);

        if (ok != (cases[i].expected != NULL) || (ok && strcmp(out, cases[i].expected) != 0))
            fail_msg("%s: %s", cases[i].name, ok ? out : "no name");
    }
}

static void test_long_names(void **state)
{
    char name[5000], out[DNS_NAME_MAX];

    (void)state;
    for (size_t n = 200; n < sizeof name; n += 300) {
        memset(name, 'a', n);
        name[n] = '\0';
        for (size_t i = 50; i < n; i += 51)
            name[i] = '.';
        assert_int_equal(dns_name_ascii(name, out), n < DNS_NAME_MAX);
        memcpy(name, "\xc3\xbc", 2);
        dns_name_ascii(name, out); /* with no more than out has room for */
    }
}

static void test_reverse(void **state)
{
    static const struct {
        const char *address, *expected;
    } cases[] = {
        {"192.0.2.1", "1.2.0.192.in-addr.arpa"},
        {"::ffff:192.0.2.1", "1.2.0.192.in-addr.arpa"},
        {"2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"},
        {"unknown", NULL},
        {"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char out[DNS_NAME_MAX];
        bool ok = dns_name_reverse(cases[i].address, out);

        assert_int_equal(ok, cases[i].expected != NULL);
        if (ok)
            assert_string_equal(out, cases[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ascii),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_reverse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
