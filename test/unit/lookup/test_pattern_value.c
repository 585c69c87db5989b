/* Results of pattern rules: what $1, ${1}, $(1) and $$ are, and what is malformed. */
#include "unit/cmocka_all.h"

#include "lookup/pattern_value.h"

static void values(void **state)
{
    static const struct {
        const char *value, *expanded; /* NULL: malformed */
        unsigned largest;
    } rows[] = {
        {"", "", 0},
        {"plain", "plain", 0},
        {"a $$ b $$$$", "a $ b $$", 0},
        {"$1", "one", 1},
        {"<$1>", "<one>", 1},
        {"$1 ${2} $(1)", "one two one", 2},
        {"${1}a$(2)b", "oneatwob", 2},
        {"$01.$001", "one.one", 1},
        {"$$1", "$1", 0},
        {"$$$1", "$one", 1},
        {"$3$2$1", "twoone", 3}, /* the third took no part */
        {"$1$", NULL, 0},
        {"$", NULL, 0},
        {"$ 1", NULL, 0},
        {"$0", NULL, 0},
        {"${0}", NULL, 0},
        {"$1a", NULL, 0},
        {"$a", NULL, 0},
        {"$_1", NULL, 0},
        {"${1", NULL, 0},
        {"${1)", NULL, 0},
        {"$(1}", NULL, 0},
        {"${}", NULL, 0},
        {"${ 1}", NULL, 0},
        {"${1?a:b}", NULL, 0},
        {"${{1}}", NULL, 0},
        {"$-1", NULL, 0},
        {"$65536", NULL, 0},
        {"$99999999999999999999999", NULL, 0},
        {"\xc3\xbc$1", "\xc3\xbcone", 1},
    };
    struct pattern_span spans[] = {{0, 0}, {0, 3}, {4, 7}, {0, 0}};
    struct pattern_subject subject = {.key = SLICE_LIT("one-two"), .spans = spans};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf literal = {0}, out = {0}, why = {0};
        unsigned largest;
        bool ok = pattern_value_scan(slice_str(rows[i].value), &largest, &literal, &why);

        if (ok != (rows[i].expanded != NULL) || ok == (buf_len(&why) > 0))
            fail_msg("\"%s\": %d \"%s\"", rows[i].value, ok, buf_cstr(&why));
        if (ok) {
            assert_int_equal(largest, rows[i].largest);
            assert_true(pattern_value_expand(slice_str(rows[i].value), &subject, &out));
            assert_string_equal(buf_cstr(&out), rows[i].expanded);
            if (largest == 0)
                assert_string_equal(buf_cstr(&literal), rows[i].expanded);
        }
        buf_release(&literal);
        buf_release(&out);
        buf_release(&why);
    }
}

static void bounded(void **state)
{
    struct pattern_span spans[] = {{0, 0}, {0, 7}};
    struct pattern_subject subject = {.key = SLICE_LIT("one-two"), .spans = spans};
    struct buf out = {.max = 20};

    (void)state;
    assert_true(pattern_value_expand(SLICE_LIT("$1,$1"), &subject, &out));
    buf_clear(&out);
    assert_false(pattern_value_expand(SLICE_LIT("$1 $1 $1"), &subject, &out));
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
