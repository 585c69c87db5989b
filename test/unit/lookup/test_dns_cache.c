/* The cache of DNS: how long it keeps what, and that it does not grow. */
#include "support/dns_reply.h"

#include "lookup/dns_cache.h"

static struct dns_set *some_set(enum op_status status, uint32_t ttl)
{
    struct dns_set *set = dns_set_failed("why");

    set->status = status;
    set->ttl_s = ttl;
    return set;
}

static bool has(struct dns_cache *c, const char *key, uint64_t now_ms)
{
    struct dns_set *set = dns_cache_get(c, slice_str(key), now_ms);
    bool found = set != NULL;

    dns_set_unref(&set);
    return found;
}

static void put(struct dns_cache *c, const char *key, enum op_status status, uint32_t ttl, uint64_t now_ms)
{
    struct dns_set *set = some_set(status, ttl);

    dns_cache_put(c, slice_str(key), set, now_ms);
    dns_set_unref(&set);
}

static void test_times(void **state)
{
    static const struct {
        enum op_status status;
        uint32_t ttl;
        uint64_t life_ms;
    } cases[] = {
        {OP_OK, 10, 10000},       {OP_OK, 0, 0},       {OP_OK, 1000000, 3600000},
        {OP_NOTFOUND, 10, 10000}, {OP_NOTFOUND, 0, 0}, {OP_NOTFOUND, 600, 60000},
        {OP_TEMPFAIL, 0, 1000},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dns_cache *c = dns_cache_new(10, 100000);

        put(c, "key", cases[i].status, cases[i].ttl, 5000);
        if (cases[i].life_ms > 0)
            assert_true(has(c, "key", 5000 + cases[i].life_ms - 1));
        assert_false(has(c, "key", 5000 + cases[i].life_ms));
        assert_int_equal(dns_cache_count(c), 0);
        dns_cache_free(&c);
        assert_null(c);
    }
}

static void test_the_longest_unused_goes(void **state)
{
    struct dns_cache *c = dns_cache_new(3, 1000000);

    (void)state;
    put(c, "a", OP_OK, 100, 0);
    put(c, "b", OP_OK, 100, 0);
    put(c, "c", OP_OK, 100, 0);
    assert_true(has(c, "a", 1));
    put(c, "d", OP_OK, 100, 1);
    assert_int_equal(dns_cache_count(c), 3);
    assert_true(has(c, "a", 1) && has(c, "c", 1) && has(c, "d", 1));
    assert_false(has(c, "b", 1));
    put(c, "a", OP_OK, 0, 1); /* an answer that is not to be kept takes the old one's place */
    assert_false(has(c, "a", 1));
    dns_cache_free(&c);
}

static void test_memory_is_bounded(void **state)
{
    struct dns_cache *c = dns_cache_new(10000, 50000);
    struct wire w;

    (void)state;
    wire_begin(&w, 0, "x.example", DNS_TYPE_MX);
    for (int i = 0; i < 50; i++)
        wire_names(&w, "x.example", DNS_TYPE_MX, i, "a-rather-long-name-for-a-host.x.example", 60);
    for (int i = 0; i < 1000; i++) {
        struct dns_set *set = dns_set_parse(w.p, w.n, DNS_TYPE_MX, "x.example");
        char key[20];

        snprintf(key, sizeof key, "%d", i);
        dns_cache_put(c, slice_str(key), set, 0);
        dns_set_unref(&set);
    }
    assert_in_range(dns_cache_count(c), 5, 50);
    assert_true(has(c, "999", 1));
    dns_cache_free(&c);
}

static void test_a_set_outlives_its_place(void **state)
{
    struct dns_cache *c = dns_cache_new(1, 100000);
    struct dns_set *held;

    (void)state;
    put(c, "a", OP_OK, 100, 0);
    held = dns_cache_get(c, SLICE_LIT("a"), 1);
    put(c, "b", OP_OK, 100, 0);
    dns_cache_free(&c);
    assert_string_equal(held->answer.why, "why");
    dns_set_unref(&held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_the_longest_unused_goes),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_a_set_outlives_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
