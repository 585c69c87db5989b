/* Addresses taken apart: core/base/addr. */
#include "core/base/addr.h"
#include "core/base/alloc.h"
#include "core/base/assert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void assert_slice(struct slice got, const char *want)
{
    if (!slice_eq(got, slice_str(want)))
        fail_msg("got \"%.*s\", wanted \"%s\"", (int)got.n, got.n ? got.p : "", want);
}

static void splits_at_the_last_at_sign(void **state)
{
    static const struct {
        const char *address, *local, *domain;
        bool has_domain;
    } cases[] = {
        {"user@example.com", "user", "example.com", true},
        {"a@b@example.com", "a@b", "example.com", true},
        {"user", "user", "", false},
        {"user@", "user", "", true},
        {"@example.com", "", "example.com", true},
        {"@", "", "", true},
        {"", "", "", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct addr_parts parts = addr_split(slice_str(cases[i].address));

        assert_slice(parts.local, cases[i].local);
        assert_slice(parts.domain, cases[i].domain);
        assert_int_equal(parts.has_domain, cases[i].has_domain);
    }
}

static void splits_extensions_as_postfix(void **state)
{
    static const struct {
        const char *local, *delimiters, *user, *extension;
    } cases[] = {
        {"user+ext", "+", "user", "+ext"},
        {"user+a+b", "+", "user", "+a+b"},
        {"user", "+", "user", ""},
        {"user+", "+", "user", "+"},
        {"user+ext", "", "user+ext", ""},
        {"user-a+b", "+-", "user", "-a+b"},
        {"user+a-b", "+-", "user", "+a-b"},
        /* never an empty user */
        {"+foo", "+", "+foo", ""},
        {"+", "+", "+", ""},
        {"", "+", "", ""},
        /* reserved names, when a delimiter is in them */
        {"mailer-daemon", "-", "mailer-daemon", ""},
        {"Double-Bounce", "-", "Double-Bounce", ""},
        {"POSTMASTER", "t", "POSTMASTER", ""},
        {"postmaster", "t", "postmaster", ""},
        {"postmaster+x", "+", "postmaster", "+x"},
        /* lists, only where '-' splits */
        {"owner-list", "-", "owner-list", ""},
        {"Owner-list+x", "-+", "Owner-list+x", ""},
        {"owner-list+x", "+", "owner-list", "+x"},
        {"list-request", "-", "list-request", ""},
        {"list-REQUEST", "+-", "list-REQUEST", ""},
        {"list-requests", "-", "list", "-requests"},
        {"-request", "-", "-request", ""},
        {"list-bounce", "-", "list", "-bounce"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice user, extension;
        bool split = addr_split_extension(slice_str(cases[i].local), cases[i].delimiters, &user, &extension);

        assert_slice(user, cases[i].user);
        assert_slice(extension, cases[i].extension);
        assert_int_equal(split, cases[i].extension[0] != '\0');
    }
}

static void a_nul_is_no_delimiter(void **state)
{
    struct slice user, extension;

    (void)state;
    assert_false(addr_split_extension(slice_make("a\0b", 3), "+", &user, &extension));
    assert_int_equal(user.n, 3);
}

static void folds_ascii_only(void **state)
{
    char text[] = "User+EXT@Example.COM \xc3\x84";

    (void)state;
    addr_fold(text);
    assert_string_equal(text, "user+ext@example.com \xc3\x84");
}

static void quotes_what_is_no_dot_string(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"user@example.com", "user@example.com"},
        {"a.b-c+d=e/f@example.com", "a.b-c+d=e/f@example.com"},
        {"!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~@x"},
        {"m\xc3\xbcller@example.com", "m\xc3\xbcller@example.com"},
        {"john doe@example.com", "\"john doe\"@example.com"},
        {"a@b@example.com", "\"a@b\"@example.com"},
        {".a@x", "\".a\"@x"},
        {"a.@x", "\"a.\"@x"},
        {"a..b@x", "\"a..b\"@x"},
        {"say \"hi\\\"@x", "\"say \\\"hi\\\\\\\"\"@x"},
        {"two words", "\"two words\""},
        {"@x", "\"\"@x"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = {0};

        assert_true(addr_quote(&out, slice_str(cases[i].in)));
        assert_string_equal(buf_cstr(&out), cases[i].out);
        assert_int_equal(addr_needs_quotes(slice_str(cases[i].in)), strcmp(cases[i].in, cases[i].out) != 0);
        buf_release(&out);
    }
}

static void quoting_stops_at_the_limit(void **state)
{
    struct buf out = {.max = 6};

    (void)state;
    assert_false(addr_quote(&out, slice_str("john doe@example.com")));
    buf_release(&out);
}

static void knows_domains_mail_could_go_to(void **state)
{
    static const char *const good[] = {"example.com",
                                       "localhost",
                                       "a_b.example",
                                       "xn--bcher-kva.example",
                                       "a-b.c",
                                       "1.example",
                                       "m\xc3\xbcnchen.example",
                                       "[192.0.2.1]",
                                       "[IPv6:2001:db8::1]",
                                       "[ipv6:::1]"};
    static const char *const bad[] = {"",
                                      ".",
                                      "a.",
                                      ".a",
                                      "a..b",
                                      "-a.b",
                                      "a-.b",
                                      "a.-b",
                                      "a.b-",
                                      "a b",
                                      "a@b",
                                      "a/b",
                                      "192.0.2.1",
                                      "12",
                                      "[",
                                      "[]",
                                      "[192.0.2]",
                                      "[2001:db8::1]",
                                      "[IPv6:192.0.2.1]",
                                      "[192.0.2.1",
                                      "192.0.2.1]",
                                      "[IPv6:]",
                                      "a\tb",
                                      "a[b]"};
    char label[65], domain[300];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (!addr_domain_valid(slice_str(good[i])))
            fail_msg("%s is valid", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (addr_domain_valid(slice_str(bad[i])))
            fail_msg("%s is not valid", bad[i]);
    memset(label, 'a', sizeof label);
    assert_true(addr_domain_valid(slice_make(label, 63)));
    assert_false(addr_domain_valid(slice_make(label, 64)));
    for (size_t i = 0; i < sizeof domain; i++)
        domain[i] = i % 2 ? '.' : 'a';
    assert_true(addr_domain_valid(slice_make(domain, 255)));
    assert_false(addr_domain_valid(slice_make(domain, 257)));
}

static void routing_operators_are_seen(void **state)
{
    static const char *const yes[] = {"a%b@c", "b!a@c", "a@b@c", "b!a", "a%b"}, *const no[] = {"a@b.c", "a", "",
                                                                                               "@x%y"};
    struct buf empty = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        assert_true(addr_has_routing(slice_str(yes[i])));
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_false(addr_has_routing(slice_str(no[i])));
    assert_true(addr_quote(&empty, SLICE_EMPTY)); /* the null sender */
    assert_int_equal(buf_len(&empty), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routing_operators_are_seen),
        cmocka_unit_test(splits_at_the_last_at_sign),
        cmocka_unit_test(splits_extensions_as_postfix),
        cmocka_unit_test(a_nul_is_no_delimiter),
        cmocka_unit_test(folds_ascii_only),
        cmocka_unit_test(quotes_what_is_no_dot_string),
        cmocka_unit_test(quoting_stops_at_the_limit),
        cmocka_unit_test(knows_domains_mail_could_go_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
