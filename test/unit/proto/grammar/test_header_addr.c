/* Addresses in header values: proto/grammar/header_addr. */
#include "unit/cmocka_all.h"

#include "core/base/assert.h"
#include "proto/grammar/header_addr.h"

static void values(void **state)
{
    static const struct {
        const char *value, *want; /* each address in internal form, with <> where it was bracketed */
    } cases[] = {
        {"a@b.example", "a@b.example "},
        {" a@b.example , c@d.example", "a@b.example c@d.example "},
        {"Name <a@b.example>", "<a@b.example> "},
        {"\"A, B <x@y>\" <a@b.example>, c", "<a@b.example> c "},
        {"a@b.example (A, B (x) \\) ), (c) d@e.example (f)", "a@b.example d@e.example "},
        {"Group: a@b.example, N <c@d.example>;, e", "a@b.example <c@d.example> e "},
        {"undisclosed-recipients:;", ""},
        {"<>", ""},
        {"<@x.example,@y.example:a@b.example>", "<a@b.example> "},
        {"\"odd one\"@b.example", "odd one@b.example "},
        {"\"a\\\"b\"@[IPv6:2001:db8::1]", "a\"b@[IPv6:2001:db8::1] "},
        {"a @ b.example", ""}, /* two words: not written as an address */
        {"Two Words", ""},
        {"<a@b.example", ""},
        {"a@b.example\n c@d.example", ""},
        {"a@b.example,\n\tc@d.example", "a@b.example c@d.example "},
        {"\"never closed", "never closed "},
        {"(never closed", ""},
        {"Name <a@b.example> trailing <x@y>, c@d.example", "<a@b.example> c@d.example "},
        {",,;; ,", ""},
        {"", ""},
        {"\\", " "},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice v = slice_str(cases[i].value);
        struct header_addr a;
        struct buf got = {0};
        size_t at = 0;

        while (header_addr_next(v, &at, &a)) {
            assert_true(a.start < a.end && a.end <= v.n);
            if (a.bracketed)
                buf_add_char(&got, '<');
            header_addr_internal(&got, slice_make(v.p + a.start, a.end - a.start));
            buf_add_str(&got, a.bracketed ? "> " : " ");
        }
        if (strcmp(buf_cstr(&got), cases[i].want) != 0)
            fail_msg("\"%s\": %s, wanted %s", cases[i].value, buf_cstr(&got), cases[i].want);
        buf_release(&got);
    }
}

static void kinds(void **state)
{
    (void)state;
    assert_int_equal(header_addr_kind(SLICE_LIT("fROM")), HEADER_ADDR_SENDER);
    assert_int_equal(header_addr_kind(SLICE_LIT("Resent-Cc")), HEADER_ADDR_RECIPIENT);
    assert_int_equal(header_addr_kind(SLICE_LIT("Subject")), HEADER_ADDR_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(values), cmocka_unit_test(kinds)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
