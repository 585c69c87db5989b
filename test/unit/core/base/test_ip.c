/* Numeric addresses and blocks: core/base/ip. */
#include "core/base/assert.h"
#include "core/base/ip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void parses_addresses(void **state)
{
    static const struct {
        const char *text;
        int family; /* 0: refused */
    } cases[] = {
        {"192.0.2.1", 4},
        {"2001:db8::1", 6},
        {"::1", 6},
        {"::ffff:192.0.2.1", 4},
        {"::FFFF:c000:201", 4},
        {"::192.0.2.1", 6},
        {"", 0},
        {"192.0.2", 0},
        {"192.0.2.256", 0},
        {"1.2.3.4.5", 0},
        {"[::1]", 0},
        {"fe80::1%eth0", 0},
        {"host", 0},
        {"192.0.2.1/32", 0},
        {" 192.0.2.1", 0},
        {"1111:2222:3333:4444:5555:6666:7777:8888:9999:0000:1111:2222", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ip ip;
        bool ok = ip_parse(slice_str(cases[i].text), &ip);

        if (ok != (cases[i].family != 0) || (ok && ip.family != cases[i].family))
            fail_msg("\"%s\"", cases[i].text);
    }
}

static void a_mapped_address_is_its_ipv4_address(void **state)
{
    struct ip mapped, plain;

    (void)state;
    assert_true(ip_parse(slice_str("::ffff:192.0.2.1"), &mapped));
    assert_true(ip_parse(slice_str("192.0.2.1"), &plain));
    assert_true(ip_eq(&mapped, &plain));
    assert_true(ip_parse(slice_str("192.0.2.2"), &plain));
    assert_false(ip_eq(&mapped, &plain));
}

static void takes_brackets_off(void **state)
{
    static const struct {
        const char *written, *plain; /* NULL: refused */
    } cases[] = {
        {"192.0.2.0/24", "192.0.2.0/24"},
        {"[2001:db8::]/32", "2001:db8::/32"},
        {"[2001:db8::/32]", "2001:db8::/32"},
        {"[192.0.2.1]", "192.0.2.1"},
        {"[]", ""},
        {"", ""},
        {"[192.0.2.1", NULL},
        {"[192.0.2.1]5", NULL},
        {"[::1]x", NULL},
    };
    char plain[IP_BLOCK_WRITTEN], long_text[IP_BLOCK_WRITTEN + 1];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool ok = ip_block_unbracket(slice_str(cases[i].written), plain);

        if (ok != (cases[i].plain != NULL) || (ok && strcmp(plain, cases[i].plain) != 0))
            fail_msg("\"%s\"", cases[i].written);
    }
    memset(long_text, '1', sizeof long_text);
    assert_false(ip_block_unbracket(slice_make(long_text, IP_BLOCK_WRITTEN), plain));
    assert_true(ip_block_unbracket(slice_make(long_text, IP_BLOCK_WRITTEN - 1), plain));
}

static void parses_blocks(void **state)
{
    static const struct {
        const char *text;
        enum ip_block_error error;
        const char *printed;
    } cases[] = {
        {"127.0.0.0/8", IP_BLOCK_OK, "127.0.0.0/8"},
        {"192.0.2.1", IP_BLOCK_OK, "192.0.2.1/32"},
        {"0.0.0.0/0", IP_BLOCK_OK, "0.0.0.0/0"},
        {"192.0.2.128/25", IP_BLOCK_OK, "192.0.2.128/25"},
        {"::1", IP_BLOCK_OK, "::1/128"},
        {"2001:db8::/32", IP_BLOCK_OK, "2001:db8::/32"},
        {"::/0", IP_BLOCK_OK, "::/0"},
        {"::ffff:127.0.0.0/104", IP_BLOCK_OK, "::ffff:127.0.0.0/104"},
        {"10.0.0.1/8", IP_BLOCK_HOST_BITS, "10.0.0.0/8"},
        {"192.0.2.129/25", IP_BLOCK_HOST_BITS, "192.0.2.128/25"},
        {"2001:db8::1/32", IP_BLOCK_HOST_BITS, "2001:db8::/32"},
        {"1.2.3.4/0", IP_BLOCK_HOST_BITS, "0.0.0.0/0"},
        {"10.0.0.0/33", IP_BLOCK_SYNTAX, NULL},
        {"::/129", IP_BLOCK_SYNTAX, NULL},
        {"10.0.0.0/", IP_BLOCK_SYNTAX, NULL},
        {"10.0.0.0/-1", IP_BLOCK_SYNTAX, NULL},
        {"10.0.0.0/8/8", IP_BLOCK_SYNTAX, NULL},
        {"10/8", IP_BLOCK_SYNTAX, NULL},
        {"/8", IP_BLOCK_SYNTAX, NULL},
        {"", IP_BLOCK_SYNTAX, NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ip_block block;
        char printed[IP_BLOCK_TEXT];

        assert_int_equal(ip_block_parse(slice_str(cases[i].text), &block), cases[i].error);
        if (cases[i].printed != NULL)
            assert_string_equal(ip_block_format(printed, &block), cases[i].printed);
    }
}

static void blocks_contain_addresses(void **state)
{
    static const struct {
        const char *block, *ip;
        bool inside;
    } cases[] = {
        {"127.0.0.0/8", "127.255.255.255", true},
        {"127.0.0.0/8", "128.0.0.0", false},
        {"192.0.2.128/25", "192.0.2.255", true},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"192.0.2.7", "192.0.2.7", true},
        {"192.0.2.7", "192.0.2.6", false},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "192.0.2.1", false},
        {"::/0", "2001:db8::1", true},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"::ffff:127.0.0.0/104", "::ffff:127.0.0.1", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ip_block block;
        struct ip ip;

        assert_int_equal(ip_block_parse(slice_str(cases[i].block), &block), IP_BLOCK_OK);
        assert_true(ip_parse(slice_str(cases[i].ip), &ip));
        if (ip_block_contains(&block, &ip) != cases[i].inside)
            fail_msg("%s in %s", cases[i].ip, cases[i].block);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_addresses),         cmocka_unit_test(a_mapped_address_is_its_ipv4_address),
        cmocka_unit_test(takes_brackets_off),       cmocka_unit_test(parses_blocks),
        cmocka_unit_test(blocks_contain_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
