/* Logical lines of tables and query files. */
#include "unit/cmocka_all.h"

#include "core/base/assert.h"
#include "lookup/text_lines.h"

/* Each line as "number:text|". */
static void expect(const char *text, const char *lines)
{
    struct text_lines t;
    struct slice line;
    struct buf out = {0};

    text_lines_start(&t, slice_str(text));
    while (text_lines_next(&t, &line))
        buf_printf(&out, "%d:%.*s|", t.line, (int)line.n, line.p);
    assert_string_equal(buf_cstr(&out), lines);
    buf_release(&out);
    text_lines_end(&t);
}

static void lines(void **state)
{
    static const struct {
        const char *text, *lines;
    } rows[] = {
        {"", ""},
        {"\n\n", ""},
        {"a", "1:a|"},
        {"a\n", "1:a|"},
        {"a\r\nb\r\n", "1:a|2:b|"},
        {"a\n b\n\tc\nd\n", "1:a b\tc|4:d|"},
        {"# c\n\na b\n", "3:a b|"},
        {"a\n# c\n  # d\n\n   \n e\nf", "1:a e|7:f|"}, /* comments and blanks do not end a line */
        {"a # b\n", "1:a # b|"},
        {" a\nb\n", "1: a|2:b|"},
        {"a\n b", "1:a b|"},
        {"a\n\n", "1:a|"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(rows[i].text, rows[i].lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
