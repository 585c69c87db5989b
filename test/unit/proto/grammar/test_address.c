/* address.h: paths, splitting, quoting, domains. */
#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "core/base/addr.h"
#include "proto/grammar/address.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

static void check_path(struct slice in, unsigned flags, enum address_result want, const char *addr, const char *rest)
{
    struct arena arena = {NULL, 0};
    const char *got = NULL;
    struct slice after = SLICE_EMPTY;
    char *copy = mem_dup(in.p, in.n); /* so that ASan sees any read beyond it */
    enum address_result result = address_parse_path(slice_make(copy, in.n), flags, &arena, &got, &after);

    if (result != want)
        fail_msg("<%.*s> flags %u: result %d, not %d", (int)in.n, in.p, flags, result, want);
    if (result != ADDRESS_OK) {
        assert_null(got);
    } else {
        assert_string_equal(got, addr);
        if (!slice_eq(after, slice_str(rest)))
            fail_msg("<%.*s>: rest is [%.*s]", (int)in.n, in.p, (int)after.n, after.p);
    }
    mem_free(copy);
    arena_clear(&arena);
}

static void test_path_good(void **state)
{
    static const struct {
        const char *in, *addr, *rest;
    } rows[] = {
        {"<a@b.c>", "a@b.c", ""},
        {" <a@b.c>", "a@b.c", ""},
        {"<a@b.c>  ", "a@b.c", ""},
        {"< a@b.c >", "a@b.c", ""},
        {"<a@b.c> SIZE=1 BODY=7BIT", "a@b.c", "SIZE=1 BODY=7BIT"},
        {"<a@b.c>\tSIZE=1", "a@b.c", "SIZE=1"},
        {"a@b.c", "a@b.c", ""},
        {"a@b.c SIZE=2", "a@b.c", "SIZE=2"},
        {"\"a b\"@c.d X", "a b@c.d", "X"},
        {"<\"a b\"@c.d>", "a b@c.d", ""},
        {"<\"a>b\"@c.d>", "a>b@c.d", ""},
        {"<\"a\\\"b\\\\c\"@c.d>", "a\"b\\c@c.d", ""},
        {"<\"a\".\"b\"@foo>", "a.b@foo", ""},
        {"<\"a\".b@foo>", "a.b@foo", ""},
        {"<a\\@b@c.d>", "a@b@c.d", ""},
        {"<a@b@c.d>", "a@b@c.d", ""},
        {"<\"a@b\"@c.d>", "a@b@c.d", ""},
        {"<@x.y:u@z>", "u@z", ""},
        {"<@x,@y.z:u@z> S", "u@z", "S"},
        {"<@[IPv6:::1],@y:u@z>", "u@z", ""},
        {"<@x:u>", "u", ""},
        {"<u@[127.0.0.1]>", "u@[127.0.0.1]", ""},
        {"<u@[IPv6:::1]>", "u@[IPv6:::1]", ""},
        {"u@[IPv6:2001:db8::1] X", "u@[IPv6:2001:db8::1]", "X"},
        {"<u@foo.>", "u@foo", ""},
        {"<u@fo_o>", "u@fo_o", ""},
        {"<.u..v.@foo>", ".u..v.@foo", ""},
        {"<postmaster>", "postmaster", ""},
        {"postmaster", "postmaster", ""},
        {"Joe <u@foo>", "Joe", "<u@foo>"},
        {"<u%d@foo>", "u%d@foo", ""},
        {"<d!u>", "d!u", ""},
        {"<!#$%&'*+-/=?^_`{|}~@foo>", "!#$%&'*+-/=?^_`{|}~@foo", ""},
        {"<a+b@Example.COM>", "a+b@Example.COM", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_path(slice_str(rows[i].in), 0, ADDRESS_OK, rows[i].addr, rows[i].rest);
}

static void test_path_bad(void **state)
{
    static const char *const rows[] = {
        "",
        "  ",
        "<>",
        "< >",
        "<",
        ">",
        "<a@b.c",
        "a@b.c>",
        "<<a@b.c>>",
        "<a@b.c>x",
        "<a@b.c>SIZE=1",
        "<a b@c>",
        "<a @b>",
        "<a@>",
        "<@x>",
        "<@x:>",
        "<@x,y:u@z>",
        "<@x,:u@z>",
        "<@:u@z>",
        "<@x y:u@z>",
        "<u@[]>",
        "<u@[999.1.1.1]>",
        "<u@[x y]>",
        "<u@[foo:bar]>",
        "<u@[IPv6:1.2.3.4]>",
        "<u@-foo>",
        "<u@foo->",
        "<u@foo..bar>",
        "<u@foo..>",
        "<u@.foo>",
        "<u@.>",
        "<u@fo$o>",
        "<u@1.2.3.4>",
        "<u(c)@foo>",
        "<u,v@foo>",
        "<u;v@foo>",
        "<u:v@foo>",
        "<\"a\"b@foo>",
        "<a\"b\"@foo>",
        "<\"a\"\"b\"@foo>",
        "<\"a\"\\b@foo>",
        "<\"unterminated@foo>",
        "<\"a\\",
        "<a\\",
        "<a\\>",
        "\"",
        "<\"\"@foo>",
        "<\"\">",
        "<\"a@b\">",
        "<a\\@b>",
        "<a\tb@c>",
        "<\"a\tb\"@c>",
        "<a\001b@c>",
        "<a\177b@c>",
        "<\"a\rb\"@c>",
        "<a\nb@c>",
        "<a\\\x01@c>",
        "<u@foo\x01>",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_path(slice_str(rows[i]), 0, ADDRESS_SYNTAX, NULL, NULL);
    check_path(SLICE_LIT("<a\0b@c>"), 0, ADDRESS_SYNTAX, NULL, NULL);
    check_path(SLICE_LIT("<\"a\0b\"@c>"), 0, ADDRESS_SYNTAX, NULL, NULL);
    check_path(SLICE_LIT("<a@b\0c>"), 0, ADDRESS_SYNTAX, NULL, NULL);
    check_path(SLICE_LIT("<a@[127.0.0.1\0]>"), 0, ADDRESS_SYNTAX, NULL, NULL);
    check_path(SLICE_LIT("<@x\0:a@b>"), 0, ADDRESS_SYNTAX, NULL, NULL);
    check_path(SLICE_LIT("<a@b>\0"), 0, ADDRESS_SYNTAX, NULL, NULL);
}

static void test_path_flags(void **state)
{
    (void)state;
    check_path(SLICE_LIT("<>"), ADDRESS_ALLOW_NULL, ADDRESS_OK, "", "");
    check_path(SLICE_LIT("<> RET=HDRS"), ADDRESS_ALLOW_NULL, ADDRESS_OK, "", "RET=HDRS");
    check_path(SLICE_LIT("< >"), ADDRESS_ALLOW_NULL, ADDRESS_OK, "", "");
    check_path(SLICE_LIT("<>x"), ADDRESS_ALLOW_NULL, ADDRESS_SYNTAX, NULL, NULL);
    check_path(SLICE_LIT("<@x:>"), ADDRESS_ALLOW_NULL, ADDRESS_SYNTAX, NULL, NULL);
    check_path(SLICE_LIT(""), ADDRESS_ALLOW_NULL, ADDRESS_SYNTAX, NULL, NULL);
    check_path(SLICE_LIT("<a@b>"), ADDRESS_STRICT, ADDRESS_OK, "a@b", "");
    check_path(SLICE_LIT("a@b"), ADDRESS_STRICT, ADDRESS_SYNTAX, NULL, NULL);
}

static void test_path_utf8(void **state)
{
    (void)state;
    check_path(SLICE_LIT("<\xc3\xa9@foo>"), ADDRESS_UTF8, ADDRESS_OK, "\xc3\xa9@foo", "");
    check_path(SLICE_LIT("<\xc3\xa9@foo>"), 0, ADDRESS_NEEDS_UTF8, NULL, NULL);
    check_path(SLICE_LIT("<\"\xc3\xa9\"@foo>"), 0, ADDRESS_NEEDS_UTF8, NULL, NULL);
    check_path(SLICE_LIT("<u@\xc3\xa9.fr>"), ADDRESS_UTF8, ADDRESS_OK, "u@\xc3\xa9.fr", "");
    check_path(SLICE_LIT("<u@\xc3\xa9.fr>"), 0, ADDRESS_NEEDS_UTF8, NULL, NULL);
    check_path(SLICE_LIT("<u@\xf0\x9f\x98\x80.fr>"), ADDRESS_UTF8, ADDRESS_OK, "u@\xf0\x9f\x98\x80.fr", "");
    check_path(SLICE_LIT("<\xff@foo>"), ADDRESS_UTF8, ADDRESS_SYNTAX, NULL, NULL);
    check_path(SLICE_LIT("<\xff@foo>"), 0, ADDRESS_SYNTAX, NULL, NULL);
    check_path(SLICE_LIT("<\xc3@foo>"), ADDRESS_UTF8, ADDRESS_SYNTAX, NULL, NULL);
    check_path(SLICE_LIT("<u@\xc3.fr>"), ADDRESS_UTF8, ADDRESS_SYNTAX, NULL, NULL);
    check_path(SLICE_LIT("<a\xc3"), ADDRESS_UTF8, ADDRESS_SYNTAX, NULL, NULL);
    check_path(SLICE_LIT("<\xed\xa0\x80@foo>"), ADDRESS_UTF8, ADDRESS_SYNTAX, NULL, NULL);
}

static void test_path_length(void **state)
{
    static const struct {
        int local;
        enum address_result want;
    } lengths[] = {
        {64, ADDRESS_OK},        {300, ADDRESS_OK},       {994, ADDRESS_OK},
        {995, ADDRESS_TOO_LONG}, {996, ADDRESS_TOO_LONG}, {4000, ADDRESS_TOO_LONG},
    };
    struct buf text = {.max = 0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct buf addr = {.max = 0};

        buf_printf(&addr, "%0*d@foo", lengths[i].local, 0);
        buf_clear(&text);
        buf_printf(&text, "<%s> A", buf_cstr(&addr));
        check_path(buf_slice(&text), 0, lengths[i].want, buf_cstr(&addr), "A");
        buf_release(&addr);
    }
    /* A long source route counts, though nothing is kept of it. */
    buf_clear(&text);
    buf_add_char(&text, '<');
    for (int i = 0; i < 400; i++)
        buf_add_str(&text, "@a,");
    buf_add_str(&text, "@a:u@z>");
    check_path(buf_slice(&text), 0, ADDRESS_TOO_LONG, NULL, NULL);
    buf_release(&text);
}

/* Every prefix of a long path is read without going beyond it, and only the whole one is an address. */
static void test_path_prefixes(void **state)
{
    struct slice in = SLICE_LIT("<@x.y,@[1.2.3.4]:\"a\\\"\xc3\xa9 b\".c@[IPv6:2001:db8::1]>");

    (void)state;
    for (size_t n = 0; n < in.n; n++)
        check_path(slice_head(in, n), ADDRESS_UTF8, ADDRESS_SYNTAX, NULL, NULL);
    check_path(in, ADDRESS_UTF8, ADDRESS_OK, "a\"\xc3\xa9 b.c@[IPv6:2001:db8::1]", "");
}

/* What addr_quote writes, address_parse_path reads back. */
static void test_quote_round_trip(void **state)
{
    static const char *const rows[] = {"a@b", "a b@c", "a\"\\>@c", "a@b@c.d", ".a..b.@c", "x", "a,b;c:d(e)@f"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out = {.max = 0};

        buf_add_char(&out, '<');
        addr_quote(&out, slice_str(rows[i]));
        buf_add_char(&out, '>');
        check_path(buf_slice(&out), ADDRESS_STRICT, ADDRESS_OK, rows[i], "");
        buf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path_good),        cmocka_unit_test(test_path_bad),
        cmocka_unit_test(test_path_flags),       cmocka_unit_test(test_path_utf8),
        cmocka_unit_test(test_path_length),      cmocka_unit_test(test_path_prefixes),
        cmocka_unit_test(test_quote_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
