/* Replies of name servers: what is read of good ones, and that bad ones are told from those that say no. */
#include "support/dns_reply.h"

#include "core/base/alloc.h"

static struct dns_set *parse(const struct wire *w, enum dns_type type, const char *name)
{
    /* In memory of its own size, so that a sanitizer sees a step past the end. */
    unsigned char *copy = mem_new(w->n > 0 ? w->n : 1);
    struct dns_set *set;

    memcpy(copy, w->p, w->n);
    set = dns_set_parse(copy, w->n, type, name);
    mem_free(copy);
    return set;
}

static void test_addresses(void **state)
{
    struct wire w;
    struct dns_set *set;

    (void)state;
    wire_begin(&w, 0, "host.example", DNS_TYPE_A);
    wire_address(&w, "HOST.Example", "192.0.2.1", 300);
    wire_address(&w, "host.example", "192.0.2.2", 200);
    wire_address(&w, "host.example", "2001:db8::1", 100); /* nobody asked for these */
    wire_address(&w, "other.example", "192.0.2.3", 50);
    set = parse(&w, DNS_TYPE_A, "host.example");
    assert_int_equal(set->status, OP_OK);
    assert_int_equal(set->answer.naddresses, 2);
    assert_string_equal(set->answer.addresses[0].text, "192.0.2.1");
    assert_string_equal(set->answer.addresses[1].text, "192.0.2.2");
    assert_int_equal(set->answer.addresses[1].family, 4);
    assert_int_equal(set->ttl_s, 200);
    dns_set_unref(&set);
    assert_null(set);
    set = parse(&w, DNS_TYPE_AAAA, "host.example");
    assert_int_equal(set->answer.naddresses, 1);
    assert_string_equal(set->answer.addresses[0].text, "2001:db8::1");
    assert_int_equal(set->answer.addresses[0].family, 6);
    dns_set_unref(&set);
}

static void test_mx_and_compression(void **state)
{
    struct wire w;
    struct dns_set *set;
    size_t start;

    (void)state;
    wire_begin(&w, 0, "a.example", DNS_TYPE_MX);
    wire_names(&w, "a.example", DNS_TYPE_MX, 65535, "MX1.a.example", 60);
    start = wire_record(&w, "a.example", DNS_TYPE_MX, 60);
    wire_u16(&w, 7);
    wire_u8(&w, 3);
    memcpy(w.p + w.n, "mx2", 3);
    w.n += 3;
    wire_u16(&w, 0xc000 | 12); /* the name in the question */
    wire_end(&w, start);
    set = parse(&w, DNS_TYPE_MX, "a.example");
    assert_int_equal(set->answer.nmx, 2);
    assert_string_equal(set->answer.mx[0].name, "mx1.a.example");
    assert_int_equal(set->answer.mx[0].preference, 65535);
    assert_string_equal(set->answer.mx[1].name, "mx2.a.example");
    assert_int_equal(set->answer.mx[1].preference, 7);
    dns_set_unref(&set);
}

static void test_names_that_are_none(void **state)
{
    static const char *const bad[] = {"a b.example", "\"@x", "-x.example", "x\n.example", "\x01", ""};
    struct wire w;
    struct dns_set *set;

    (void)state;
    wire_begin(&w, 0, "x.example", DNS_TYPE_PTR);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        wire_names(&w, "x.example", DNS_TYPE_PTR, 0, bad[i], 60);
    set = parse(&w, DNS_TYPE_PTR, "x.example");
    assert_int_equal(set->status, OP_NOTFOUND);
    assert_true(set->answer.unusable);
    dns_set_unref(&set);
    wire_names(&w, "x.example", DNS_TYPE_PTR, 0, "good_1.example", 60);
    set = parse(&w, DNS_TYPE_PTR, "x.example");
    assert_int_equal(set->status, OP_OK);
    assert_int_equal(set->answer.nnames, 1);
    assert_string_equal(set->answer.names[0], "good_1.example");
    dns_set_unref(&set);
}

static void test_null_mx(void **state)
{
    struct wire w;
    struct dns_set *set;

    (void)state;
    wire_begin(&w, 0, "x.example", DNS_TYPE_MX);
    wire_names(&w, "x.example", DNS_TYPE_MX, 0, "", 60);
    set = parse(&w, DNS_TYPE_MX, "x.example");
    assert_int_equal(set->status, OP_OK);
    assert_string_equal(set->answer.mx[0].name, "");
    dns_set_unref(&set);
}

static void test_nothing(void **state)
{
    static const struct {
        unsigned rcode;
        bool soa;
        uint32_t ttl, least, expected;
    } cases[] = {{0, true, 300, 20, 20}, {0, true, 10, 20, 10}, {3, true, 300, 20, 20},
                 {0, false, 0, 0, 0},    {3, false, 0, 0, 0},   {3, true, 0x80000000u, 20, 0}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire w;
        struct dns_set *set;

        wire_begin(&w, cases[i].rcode, "x.example", DNS_TYPE_MX);
        if (cases[i].soa)
            wire_soa(&w, "example", cases[i].ttl, cases[i].least);
        set = parse(&w, DNS_TYPE_MX, "x.example");
        assert_int_equal(set->status, OP_NOTFOUND);
        assert_int_equal(set->answer.no_domain, cases[i].rcode == 3);
        assert_int_equal(set->ttl_s, cases[i].expected);
        assert_null(set->alias);
        dns_set_unref(&set);
    }
}

static void test_aliases(void **state)
{
    struct wire w;
    struct dns_set *set;

    (void)state;
    wire_begin(&w, 0, "a.example", DNS_TYPE_A);
    wire_address(&w, "c.example", "192.0.2.1", 300); /* in any order */
    wire_names(&w, "b.example", DNS_TYPE_CNAME, 0, "c.example", 7);
    wire_names(&w, "a.example", DNS_TYPE_CNAME, 0, "b.example", 100);
    set = parse(&w, DNS_TYPE_A, "a.example");
    assert_int_equal(set->status, OP_OK);
    assert_string_equal(set->answer.addresses[0].text, "192.0.2.1");
    assert_int_equal(set->ttl_s, 7);
    assert_int_equal(set->chain, 2);
    dns_set_unref(&set);
    /* Only as far as this server knows, or up to a name that has no such record. */
    set = parse(&w, DNS_TYPE_AAAA, "a.example");
    assert_string_equal(set->alias, "c.example");
    dns_set_unref(&set);
    wire_soa(&w, "example", 60, 60);
    set = parse(&w, DNS_TYPE_AAAA, "a.example");
    assert_null(set->alias);
    assert_int_equal(set->status, OP_NOTFOUND);
    dns_set_unref(&set);
}

static void test_aliases_without_end(void **state)
{
    struct wire w;
    struct dns_set *set;

    (void)state;
    wire_begin(&w, 0, "a.example", DNS_TYPE_A);
    wire_names(&w, "a.example", DNS_TYPE_CNAME, 0, "b.example", 100);
    wire_names(&w, "b.example", DNS_TYPE_CNAME, 0, "a.example", 100);
    set = parse(&w, DNS_TYPE_A, "a.example");
    assert_int_equal(set->status, OP_NOTFOUND);
    assert_true(set->answer.unusable);
    assert_string_equal(set->answer.why, "Name server loop");
    dns_set_unref(&set);
}

static void test_many_records(void **state)
{
    struct wire w;
    struct dns_set *set;

    (void)state;
    wire_begin(&w, 0, "x", DNS_TYPE_A);
    for (int i = 0; i < 200; i++)
        wire_address(&w, "x", "192.0.2.1", 60);
    set = parse(&w, DNS_TYPE_A, "x");
    assert_int_equal(set->answer.naddresses, DNS_SET_MAX);
    dns_set_unref(&set);
}

/* A reply that is cut off anywhere, or in which any byte is another one, is read without harm. */
static void test_damage(void **state)
{
    struct wire w, bad;

    (void)state;
    wire_begin(&w, 0, "a.example", DNS_TYPE_MX);
    wire_names(&w, "a.example", DNS_TYPE_CNAME, 0, "b.example", 60);
    wire_names(&w, "b.example", DNS_TYPE_MX, 10, "mx.example", 60);
    wire_soa(&w, "example", 60, 60);
    for (size_t n = 0; n <= w.n; n++) {
        struct dns_set *set;

        bad = w;
        bad.n = n;
        set = parse(&bad, DNS_TYPE_MX, "a.example");
        assert_true(set->status == OP_TEMPFAIL || (set->status == OP_OK && set->answer.nmx == 1));
        dns_set_unref(&set);
    }
    for (size_t at = 0; at < w.n; at++)
        for (unsigned v = 0; v < 256; v++) {
            struct dns_set *set;

            bad = w;
            bad.p[at] = (unsigned char)v;
            set = parse(&bad, DNS_TYPE_MX, "a.example");
            assert_int_equal(set->status == OP_OK, set->answer.nmx > 0);
            dns_set_unref(&set);
        }
}

/* Pointers of names that lead forwards, or to themselves. */
static void test_circles(void **state)
{
    static const unsigned targets[] = {0xc000 | 27, 0xc000 | 28, 0xc000 | 40, 0xffff, 0xc000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct wire w;
        struct dns_set *set;

        wire_begin(&w, 0, "a.example", DNS_TYPE_A); /* 27 bytes */
        assert_int_equal(w.n, 27);
        w.p[7] = 1;
        wire_u16(&w, targets[i]);
        wire_u16(&w, 1);
        wire_u16(&w, 1);
        wire_u32(&w, 60);
        wire_u16(&w, 4);
        wire_u32(&w, 0x01020304);
        set = parse(&w, DNS_TYPE_A, "a.example");
        assert_int_not_equal(set->status, OP_OK);
        dns_set_unref(&set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_mx_and_compression),
        cmocka_unit_test(test_names_that_are_none),
        cmocka_unit_test(test_null_mx),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_aliases_without_end),
        cmocka_unit_test(test_many_records),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_circles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
