/* What is counted for whom and for how long; the delays; what goes when there is too much. The time is the test's. */
#include "unit/cmocka_all.h"

#include "core/base/assert.h"
#include "proto/auth/auth_counts.h"

#include <stdio.h>

#define S 1000ull

static const struct auth_limits limits = {.limit = 10, .window_ms = 600 * S, .ban_ms = 900 * S};

static struct auth_counts counts;
static uint64_t now;

static int begin(void **unused)
{
    (void)unused;
    auth_counts_init(&counts);
    now = 1;
    return 0;
}

static int end(void **unused)
{
    (void)unused;
    auth_counts_clear(&counts);
    return 0;
}

static struct auth_counts_verdict wrong(const char *addr, const char *login)
{
    return auth_counts_failed(&counts, &limits, now, auth_net_parse(addr), login);
}

static struct auth_counts_verdict wrong_often(int n, const char *addr, const char *login)
{
    struct auth_counts_verdict v = {0};

    while (n-- > 0)
        v = wrong(addr, login);
    return v;
}

static struct auth_counts_verdict ask(const char *addr, const char *login)
{
    return auth_counts_ask(&counts, now, auth_net_parse(addr), login);
}

static bool succeed(const char *addr, const char *login)
{
    return auth_counts_succeeded(&counts, now, auth_net_parse(addr), login);
}

/* A failure of each login comes from an address of its own. */
static void attack_login(const char *login, int n)
{
    char addr[32];

    for (int i = 0; i < n; i++) {
        snprintf(addr, sizeof addr, "198.51.%d.%d", 100 + i / 250, 1 + i % 250);
        wrong(addr, login);
    }
}

static void each_failure_is_answered_later(void **unused)
{
    static const uint64_t delays[] = {0, 0, 1 * S, 2 * S, 4 * S, 8 * S, 15 * S, 15 * S, 15 * S};
    struct auth_counts_verdict v;

    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(delays); i++) {
        v = wrong("192.0.2.1", NULL);
        assert_int_equal(v.delay_ms, delays[i]);
        assert_int_equal(ask("192.0.2.1", NULL).delay_ms, delays[i]);
        assert_int_equal(v.banned_ms, 0);
    }
    v = wrong("192.0.2.1", NULL);
    assert_true(v.address_begins);
    assert_int_equal(v.banned_ms, 900 * S);
    assert_int_equal(ask("192.0.2.2", NULL).delay_ms, 0);
}

static void a_window_ends_with_what_was_counted_in_it(void **unused)
{
    (void)unused;
    wrong_often(9, "192.0.2.1", "u");
    now += 600 * S - 1;
    assert_int_equal(ask("192.0.2.1", NULL).delay_ms, 15 * S);
    now += 1;
    assert_int_equal(ask("192.0.2.1", "u").delay_ms, 0);
    assert_int_equal(wrong_often(9, "192.0.2.1", "u").banned_ms, 0);
    assert_true(wrong("192.0.2.1", "u").address_begins);
}

static void a_ban_ends_with_what_led_to_it(void **unused)
{
    (void)unused;
    wrong_often(10, "192.0.2.1", NULL);
    now += 100 * S;
    assert_int_equal(ask("192.0.2.1", NULL).banned_ms, 800 * S);
    assert_false(wrong("192.0.2.1", NULL).address_begins);
    assert_int_equal(ask("192.0.2.1", NULL).banned_ms, 800 * S);
    now += 800 * S;
    assert_int_equal(ask("192.0.2.1", NULL).banned_ms, 0);
    assert_int_equal(wrong_often(2, "192.0.2.1", NULL).delay_ms, 0);
}

static void addresses_that_are_one(void **unused)
{
    static const struct {
        const char *failed, *asked;
        bool same;
    } cases[] = {
        {"2001:db8::1", "2001:db8::ffff:2", true},
        {"2001:db8:0:1::1", "2001:db8:0:2::1", false},
        {"192.0.2.1", "::ffff:192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"fe80::1%eth0", "fe80::2", true},
        {"unknown", "unknown", false},
        {"", "", false},
        {"192.0.2.1", "c000:201::", false},
    };

    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        begin(NULL);
        wrong_often(10, cases[i].failed, NULL);
        assert_int_equal(ask(cases[i].asked, NULL).banned_ms > 0, cases[i].same);
        end(NULL);
    }
}

static void a_login_is_counted_without_regard_to_case_or_address(void **unused)
{
    (void)unused;
    attack_login("User@Example.com", 9);
    assert_int_equal(ask("192.0.2.9", "user@example.COM").delay_ms, 15 * S);
    assert_true(wrong("192.0.2.1", "USER@example.com").login_begins);
    assert_int_equal(ask("192.0.2.9", "user@example.com").banned_ms, 900 * S);
    assert_int_equal(ask("192.0.2.9", NULL).banned_ms, 0);
    assert_int_equal(ask("192.0.2.9", "other@example.com").banned_ms, 0);
    assert_int_equal(ask("192.0.2.9", "").banned_ms, 0);
}

static void a_known_place_stays_open_to_its_login(void **unused)
{
    (void)unused;
    assert_true(succeed("192.0.2.1", "u"));
    attack_login("u", 10);
    assert_int_equal(ask("192.0.2.9", "u").banned_ms, 900 * S);
    assert_int_equal(ask("192.0.2.1", "U").banned_ms, 0);
    assert_int_equal(ask("192.0.2.1", "U").delay_ms, 0);
    /* the address counts there all the same */
    assert_true(wrong_often(10, "192.0.2.1", "u").address_begins);
    assert_int_equal(ask("192.0.2.1", "u").banned_ms, 900 * S);
    /* for a month */
    now += 30 * 86400 * S;
    attack_login("u", 10);
    assert_int_equal(ask("192.0.2.1", "u").banned_ms, 900 * S);
}

static void what_fails_at_a_known_place_is_not_counted_for_the_login(void **unused)
{
    (void)unused;
    succeed("192.0.2.1", "u");
    wrong_often(10, "192.0.2.1", "u");
    assert_int_equal(ask("192.0.2.9", "u").banned_ms, 0);
    assert_int_equal(ask("192.0.2.9", "u").delay_ms, 0);
}

static void success_forgives_the_login_what_failed_there_and_nothing_else(void **unused)
{
    (void)unused;
    wrong_often(5, "192.0.2.1", "u");
    attack_login("u", 4);
    assert_int_equal(ask("192.0.2.9", "u").delay_ms, 15 * S);
    assert_true(succeed("192.0.2.1", "u"));
    assert_int_equal(ask("192.0.2.9", "u").delay_ms, 2 * S);  /* 4 of others */
    assert_int_equal(ask("192.0.2.1", NULL).delay_ms, 4 * S); /* 5 of the address */
    assert_int_equal(wrong("192.0.2.1", "x").delay_ms, 8 * S);
}

static void only_news_are_to_be_kept(void **unused)
{
    (void)unused;
    assert_true(succeed("192.0.2.1", "u"));
    assert_false(succeed("192.0.2.1", "u"));
    assert_true(succeed("192.0.2.2", "u"));
    now += 86401 * S;
    assert_true(succeed("192.0.2.1", "u"));
    assert_false(succeed("unknown", "u"));
    assert_false(succeed("192.0.2.1", ""));
}

static void a_login_knows_sixteen_places(void **unused)
{
    char addr[32];

    (void)unused;
    for (int i = 1; i <= 17; i++) {
        snprintf(addr, sizeof addr, "192.0.2.%d", i);
        succeed(addr, "u");
        succeed("192.0.2.1", "u"); /* used often: stays */
    }
    wrong_often(3, "203.0.113.1", "u"); /* displaces none */
    attack_login("u", 10);
    assert_int_equal(ask("192.0.2.1", "u").banned_ms, 0);
    assert_int_equal(ask("192.0.2.2", "u").banned_ms, 900 * S);
    assert_int_equal(ask("192.0.2.3", "u").banned_ms, 0);
    assert_int_equal(ask("192.0.2.17", "u").banned_ms, 0);
}

static void many_addresses_and_logins_displace_neither_bans_nor_what_is_known(void **unused)
{
    char addr[64], login[64];

    (void)unused;
    succeed("192.0.2.1", "owner");
    wrong_often(10, "192.0.2.9", "victim");
    attack_login("owner", 10);
    for (int i = 0; i < 100000; i++) {
        snprintf(addr, sizeof addr, "2001:db8:%x:%x::1", i >> 16, i & 0xffff);
        snprintf(login, sizeof login, "user%d", i);
        wrong(addr, login);
    }
    assert_true(counts.entries.count <= 50000);
    assert_int_equal(counts.n[AUTH_CLASS_COUNTED], counts.most[AUTH_CLASS_COUNTED]);
    assert_int_equal(ask("192.0.2.9", NULL).banned_ms, 900 * S);
    assert_int_equal(ask("192.0.2.8", "victim").banned_ms, 900 * S);
    assert_int_equal(ask("192.0.2.8", "owner").banned_ms, 900 * S);
    assert_int_equal(ask("192.0.2.1", "owner").banned_ms, 0);
    now += 86400 * S;
    auth_counts_sweep(&counts, now);
    assert_int_equal(counts.entries.count, 1);
}

static void with_too_many_bans_the_oldest_goes(void **unused)
{
    (void)unused;
    counts.most[AUTH_CLASS_BANNED] = 2;
    wrong_often(10, "192.0.2.1", NULL);
    wrong_often(10, "192.0.2.2", NULL);
    wrong_often(10, "192.0.2.3", NULL);
    assert_int_equal(ask("192.0.2.1", NULL).banned_ms, 0);
    assert_int_equal(ask("192.0.2.2", NULL).banned_ms, 900 * S);
    assert_int_equal(ask("192.0.2.3", NULL).banned_ms, 900 * S);
}

static void a_ban_can_be_ended(void **unused)
{
    (void)unused;
    wrong_often(10, "2001:db8::1", "User");
    assert_false(auth_counts_unban(&counts, now, "192.0.2.1"));
    assert_true(auth_counts_unban(&counts, now, "2001:db8::/64"));
    assert_false(auth_counts_unban(&counts, now, "2001:db8::/64"));
    assert_int_equal(ask("2001:db8::1", NULL).banned_ms, 0);
    assert_int_equal(ask("192.0.2.1", "user").banned_ms, 900 * S);
    assert_true(auth_counts_unban(&counts, now, "USER"));
    assert_int_equal(ask("192.0.2.1", "user").banned_ms, 0);
    assert_int_equal(counts.entries.count, 0);
}

/* A limit below the first delay; a login that is longer than what counts of it. */
static void the_edges(void **unused)
{
    static const struct auth_limits one = {.limit = 1, .window_ms = 1, .ban_ms = 5};
    char login[5000];

    (void)unused;
    assert_int_equal(auth_counts_failed(&counts, &one, now, auth_net_parse("192.0.2.1"), NULL).banned_ms, 5);
    memset(login, 'x', sizeof login - 1);
    login[sizeof login - 1] = '\0';
    wrong_often(10, "192.0.2.2", login);
    assert_int_equal(ask("192.0.2.3", login).banned_ms, 900 * S);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(each_failure_is_answered_later),
        TEST(a_window_ends_with_what_was_counted_in_it),
        TEST(a_ban_ends_with_what_led_to_it),
        TEST(addresses_that_are_one),
        TEST(a_login_is_counted_without_regard_to_case_or_address),
        TEST(a_known_place_stays_open_to_its_login),
        TEST(what_fails_at_a_known_place_is_not_counted_for_the_login),
        TEST(success_forgives_the_login_what_failed_there_and_nothing_else),
        TEST(only_news_are_to_be_kept),
        TEST(a_login_knows_sixteen_places),
        TEST(many_addresses_and_logins_displace_neither_bans_nor_what_is_known),
        TEST(with_too_many_bans_the_oldest_goes),
        TEST(a_ban_can_be_ended),
        TEST(the_edges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
