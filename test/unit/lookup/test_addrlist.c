/* The address lists of alias tables: lookup/addrlist. */
#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "lookup/addrlist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#define NO_LIMIT 1000

/* The addresses joined by '|', or what went wrong. */
static const char *parsed(struct arena *arena, struct slice text, size_t max)
{
    struct addrlist list;
    enum addrlist_result result = addrlist_parse(text, max, arena, &list);
    const char *out = "";

    if (result != ADDRLIST_OK)
        return result == ADDRLIST_MALFORMED ? "malformed" : "too many";
    for (size_t i = 0; i < list.count; i++)
        out = arena_printf(arena, "%s%s%s", out, i ? "|" : "", list.items[i]);
    return out;
}

static void takes_lists_apart(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"a@x", "a@x"},
        {"a@x, b@y", "a@x|b@y"},
        {"a@x,b@y,c", "a@x|b@y|c"},
        {" a@x ,\t b@y \r\n", "a@x|b@y"},
        {"a@x; b@y", "a@x|b@y"},
        {"", ""},
        {" , ,, ", ""},
        {",a@x,,b@y,", "a@x|b@y"},
        /* names and angle brackets */
        {"<a@x>", "a@x"},
        {"John Doe <a@x>", "a@x"},
        {"\"Doe, John\" <a@x>, b@y", "a@x|b@y"},
        {"J. Q. Doe <a@x>", "a@x"},
        {"<a@x> <b@y>", "a@x|b@y"},
        {"c@z, John <a@x> b@y", "c@z|a@x|b@y"},
        {"< a @ x >", "a@x"},
        {"<@r1,@r2:a@x>", "a@x"},
        {"<@r1:a@x>, b", "a@x|b"},
        /* comments and white space */
        {"a@x (home), b@y", "a@x|b@y"},
        {"a (one (two) \\) three) @ x", "a@x"},
        {"(nothing)", ""},
        {"a . b @ x . y", "a.b@x.y"},
        /* a missing comma */
        {"a@x b@y", "a@x|b@y"},
        {"a b", "a|b"},
        {"a \"b c\"", "a|b c"},
        /* quoting */
        {"\"john doe\"@x", "john doe@x"},
        {"\"a@b\"@x", "a@b@x"},
        {"\"a\\\"b\\\\c\"@x", "a\"b\\c@x"},
        {"\"a,b\"@x, c", "a,b@x|c"},
        {"\"<a>\"@x", "<a>@x"},
        {"a\\ b@x", "a b@x"},
        {"a\\,b@x", "a,b@x"},
        /* address literals, 8-bit, odd but usual local parts */
        {"a@[192.0.2.1]", "a@[192.0.2.1]"},
        {"a@[IPv6:2001:db8::1], b", "a@[IPv6:2001:db8::1]|b"},
        {"m\xc3\xbcller@m\xc3\xbcnchen.example", "m\xc3\xbcller@m\xc3\xbcnchen.example"},
        {"a+b=c/d!e%f@x", "a+b=c/d!e%f@x"},
        {"-a@x", "-a@x"},
        /* only the first may lack its local part */
        {"@other", "@other"},
        {"@other, a@x", "@other|a@x"},
        {"a@", "a@"},
        {"a@x, @other", "malformed"},
        {"@", "malformed"},
        {"\"\"@x, \"\"@x", "malformed"},
        /* refused */
        {"\"a@x", "malformed"},
        {"<a@x", "malformed"},
        {"a@x>", "malformed"},
        {"<>", "malformed"},
        {"a, <>", "malformed"},
        {"<a@x b@y>", "malformed"},
        {"<a@x, b@y>", "malformed"},
        {"<<a@x>>", "malformed"},
        {"(a@x", "malformed"},
        {"a@x)", "malformed"},
        {"a@[192.0.2.1", "malformed"},
        {"a@x]", "malformed"},
        {"friends: a@x, b@y;", "malformed"},
        {":include:/etc/list", "malformed"},
        {"a\\", "malformed"},
        {"\"a\\", "malformed"},
        {"a\x01@x", "malformed"},
        {"\"a\nb\"@x", "malformed"},
        {"\"a\\\nb\"@x", "malformed"},
        {"a\x7f@x", "malformed"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena arena = {0};
        const char *got = parsed(&arena, slice_str(cases[i].text), NO_LIMIT);

        if (strcmp(got, cases[i].want) != 0)
            fail_msg("%s: got %s, wanted %s", cases[i].text, got, cases[i].want);
        arena_clear(&arena);
    }
}

static void counts_addresses_not_names(void **state)
{
    struct arena arena = {0};

    (void)state;
    assert_string_equal(parsed(&arena, slice_str("a,b,c"), 3), "a|b|c");
    assert_string_equal(parsed(&arena, slice_str("a,b,c"), 2), "too many");
    assert_string_equal(parsed(&arena, slice_str("a b c"), 2), "too many");
    assert_string_equal(parsed(&arena, slice_str("A Long Name <a@x>"), 1), "a@x");
    assert_string_equal(parsed(&arena, slice_str("A Name <a@x>, b"), 1), "too many");
    assert_string_equal(parsed(&arena, slice_str("a"), 0), "too many");
    arena_clear(&arena);
}

static void a_nul_is_malformed(void **state)
{
    struct arena arena = {0};

    (void)state;
    assert_string_equal(parsed(&arena, slice_make("a\0b", 3), NO_LIMIT), "malformed");
    assert_string_equal(parsed(&arena, slice_make("\0", 1), NO_LIMIT), "malformed");
    assert_string_equal(parsed(&arena, slice_make("\"\0\"", 3), NO_LIMIT), "malformed");
    arena_clear(&arena);
}

/* Whatever comes: no address that is accepted holds a control character or lacks a local part, except the first. */
static void survives_noise(void **state)
{
    static const char alphabet[] = "ab@@..,;<>()[]\"\\: \t\n\x01\xc3\xbc";
    char noise[40];

    (void)state;
    srand(20240229);
    for (int round = 0; round < 20000; round++) {
        size_t n = (size_t)rand() % sizeof noise;
        struct arena arena = {0};
        struct addrlist list;

        for (size_t i = 0; i < n; i++)
            noise[i] = alphabet[(size_t)rand() % (sizeof alphabet - 1)];
        /* a copy of just that size, so that ASan sees a step too far */
        char *copy = mem_new(n + 1);

        memcpy(copy, noise, n);
        if (addrlist_parse(slice_make(copy, n), 5, &arena, &list) == ADDRLIST_OK) {
            assert_true(list.count <= 5);
            for (size_t i = 0; i < list.count; i++) {
                assert_true(list.items[i][0] != '\0' &&
                            (i == 0 || list.items[i][0] != '@' || strchr(list.items[i] + 1, '@')));
                assert_null(strpbrk(list.items[i], "\x01\n"));
            }
        }
        mem_free(copy);
        arena_clear(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_lists_apart),
        cmocka_unit_test(counts_addresses_not_names),
        cmocka_unit_test(a_nul_is_malformed),
        cmocka_unit_test(survives_noise),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
