/* Borrowed text: comparison, search, tokens, numbers. */
#include "unit/cmocka_all.h"

#include "core/base/slice.h"

static void comparisons_fold_ascii_only(void **unused)
{
    (void)unused;
    assert_true(slice_ieq(SLICE_LIT("Post-Master"), SLICE_LIT("pOST-mASTER")));
    assert_false(slice_ieq(SLICE_LIT("\xc3\x84"), SLICE_LIT("\xc3\xa4")));
    assert_false(slice_eq(SLICE_LIT("a"), SLICE_LIT("A")));
    assert_true(slice_eq(SLICE_EMPTY, SLICE_LIT("")));
    assert_true(slice_istarts(SLICE_LIT("FROM:<x>"), SLICE_LIT("from:")));
    assert_false(slice_istarts(SLICE_LIT("FRO"), SLICE_LIT("from")));
    assert_true(slice_starts(SLICE_LIT("abc"), SLICE_EMPTY));
}

static void finding(void **unused)
{
    (void)unused;
    assert_int_equal(slice_find(SLICE_LIT("a@b@c"), '@'), 1);
    assert_int_equal(slice_rfind(SLICE_LIT("a@b@c"), '@'), 3);
    assert_true(slice_find(SLICE_EMPTY, '@') == SLICE_NOT_FOUND);
    assert_int_equal(slice_from(SLICE_LIT("abc"), 7).n, 0);
    assert_int_equal(slice_trim(SLICE_LIT(" \t\r\n")).n, 0);
    assert_true(slice_eq(slice_trim(SLICE_LIT(" a b\r\n")), SLICE_LIT("a b")));
}

static void tokens(void **unused)
{
    struct slice rest = SLICE_LIT(", a,b  c ,");

    (void)unused;
    assert_true(slice_eq(slice_token(&rest, ", "), SLICE_LIT("a")));
    assert_true(slice_eq(slice_token(&rest, ", "), SLICE_LIT("b")));
    assert_true(slice_eq(slice_token(&rest, ", "), SLICE_LIT("c")));
    assert_int_equal(slice_token(&rest, ", ").n, 0);
    assert_int_equal(slice_token(&rest, ", ").n, 0);
    rest = slice_make("a\0b c", 5); /* a NUL is no separator */
    assert_int_equal(slice_token(&rest, ", ").n, 3);
}

static void numbers_are_bounded(void **unused)
{
    static const struct {
        const char *text;
        uint64_t max, value;
        int ok;
    } rows[] = {
        {"0", 0, 0, 1},
        {"1", 0, 0, 0},
        {"", 10, 0, 0},
        {"12a", 100, 0, 0},
        {"-1", 100, 0, 0},
        {" 1", 100, 0, 0},
        {"100", 100, 100, 1},
        {"101", 100, 0, 0},
        {"5", 7, 5, 1},
        {"8", 7, 0, 0},
        {"00012", 100, 12, 1},
        {"18446744073709551615", UINT64_MAX, UINT64_MAX, 1},
        {"18446744073709551616", UINT64_MAX, 0, 0},
        {"99999999999999999999999", UINT64_MAX, 0, 0},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t v = 0;

        assert_int_equal(slice_u64(slice_str(rows[i].text), rows[i].max, &v), rows[i].ok);
        assert_true(v == rows[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparisons_fold_ascii_only),
        cmocka_unit_test(finding),
        cmocka_unit_test(tokens),
        cmocka_unit_test(numbers_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
