/* The order of mail hosts: preference first, whatever else; then IP version; then chance; and which are cut off. */
#include "unit/cmocka_all.h"

#include "core/base/assert.h"
#include "lookup/dns_mx_order.h"

#include <stdio.h>

/* Hosts as "10/4 10/6 20/4": preference and IP version; the address is the place in the text. */
static size_t hosts_of(const char *text, struct dns_mail_host *hosts)
{
    static const char *const places[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    struct slice rest = slice_str(text), word;
    size_t n = 0;

    while ((word = slice_token(&rest, " ")).n > 0) {
        hosts[n] = (struct dns_mail_host){.name = "x", .address = places[n]};
        assert_int_equal(sscanf(word.p, "%d/%d", &hosts[n].preference, &hosts[n].family), 2);
        n++;
    }
    return n;
}

static const char *order_of(const struct dns_mail_host *hosts, size_t n)
{
    static char out[32];

    out[0] = '\0';
    for (size_t i = 0; i < n; i++)
        strcat(out, hosts[i].address);
    return out;
}

static void test_orders(void **state)
{
    static const struct {
        const char *hosts;
        struct dns_mx_order how;
        const char *expected;
    } cases[] = {
        {"", {0}, ""},
        {"10/4", {.limit = 5}, "0"},
        {"30/4 10/4 20/4", {0}, "120"},
        {"10/4 10/4 10/4", {0}, "012"}, /* not at random: as they came */
        {"10/4 10/6 5/4", {.family_first = 6}, "210"},
        {"10/4 10/6 5/4", {.family_first = 4}, "201"},
        {"10/4 10/6 5/4", {0}, "201"},
        {"1/4 2/4 3/4", {.limit = 2}, "01"},
        {"1/4 1/4 1/4 1/4 1/4 1/4 1/6", {.limit = 5}, "01234"},
        {"1/4 1/4 1/4 1/4 1/4 1/4 1/6", {.limit = 5, .balance = true}, "01236"},
        {"1/4 1/4 1/4 1/4 1/6 1/6 1/6", {.limit = 5, .balance = true}, "01245"},
        {"1/6 1/6 1/6 1/6 1/4 1/4 1/4", {.limit = 4, .balance = true}, "0145"},
        {"1/6 1/4 1/4 1/4 1/4 1/4 1/4", {.limit = 5, .balance = true}, "01234"},
        {"1/4 1/4 1/4 1/6 1/6", {.limit = 1, .balance = true}, "0"},
        {"1/4 1/4 1/4 1/4 1/4 1/4", {.limit = 5, .balance = true}, "01234"},
        {"1/4 1/4 1/6", {.limit = 3, .balance = true}, "012"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dns_mail_host hosts[10];
        size_t n = dns_mx_order(hosts, hosts_of(cases[i].hosts, hosts), &cases[i].how);

        if (strcmp(order_of(hosts, n), cases[i].expected) != 0)
            fail_msg("case %zu: %s", i, order_of(hosts, n));
    }
}

static void test_chance_is_fair(void **state)
{
    unsigned first[4] = {0};

    (void)state;
    for (int i = 0; i < 4000; i++) {
        struct dns_mail_host hosts[10];
        size_t n = hosts_of("10/4 10/6 10/4 5/4", hosts);

        dns_mx_order(hosts, n, &(struct dns_mx_order){.randomize = true});
        assert_string_equal(hosts[0].address, "3");
        first[hosts[1].address[0] - '0']++;
    }
    for (int i = 0; i < 3; i++)
        assert_in_range(first[i], 1000, 1700);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_chance_is_fair),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
