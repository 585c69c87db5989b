/* Content as it goes to a server, in whatever pieces it comes: line ends, dots, long lines. */
#include "unit/cmocka_all.h"

#include "proto/grammar/smtp_content.h"

#include <string.h>

static const struct {
    const char *in, *out;
    size_t limit;
    bool bare;
} cases[] = {
    {"", ".\r\n", 0, false},
    {"\n", "\r\n.\r\n", 0, false},
    {"a\nb\n", "a\r\nb\r\n.\r\n", 0, false},
    {"a", "a\r\n.\r\n", 0, false},
    {".\n", "..\r\n.\r\n", 0, false},
    {".", "..\r\n.\r\n", 0, false},
    {"..\n.x\n", "...\r\n..x\r\n.\r\n", 0, false},
    {"a.\n.", "a.\r\n..\r\n.\r\n", 0, false},
    {"\n.\n", "\r\n..\r\n.\r\n", 0, false},
    {"a\r\n", "a\r\r\n.\r\n", 0, false},
    {"", "", 0, true},
    {".\n.a", ".\r\n.a\r\n", 0, true},
    {"123456\n", "12345\r\n 6\r\n.\r\n", 5, false},
    {"12345\n", "12345\r\n.\r\n", 5, false},
    {"1234567890abc\n", "12345\r\n 6789\r\n 0abc\r\n.\r\n", 5, false},
    {".2345\n", "..2345\r\n.\r\n", 5, false},
    {"12345.\n", "12345\r\n .\r\n.\r\n", 5, false},
    {"1234\xc3\xa4z\n", "1234\r\n \xc3\xa4z\r\n.\r\n", 5, false},
    {"abc\n", "ab\r\n c\r\n.\r\n", 1, false},
};

static void check(const char *what, struct buf *out, size_t i)
{
    if (strcmp(buf_cstr(out), cases[i].out) != 0)
        fail_msg("%s %zu: \"%s\" became \"%s\"", what, i, cases[i].in, buf_cstr(out));
    buf_release(out);
}

static void content(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct smtp_content whole = {.bare = cases[i].bare, .line_limit = cases[i].limit};
        struct smtp_content bytes = whole;
        struct buf out = {0};

        smtp_content_feed(&whole, slice_str(cases[i].in), &out);
        smtp_content_end(&whole, &out);
        check("whole", &out, i);
        if (strchr(cases[i].out, (char)0xc3) != NULL)
            continue; /* a sequence that is cut apart is not recognised */
        for (const char *p = cases[i].in; *p != '\0'; p++)
            smtp_content_feed(&bytes, slice_make(p, 1), &out);
        smtp_content_end(&bytes, &out);
        check("bytes", &out, i);
    }
}

/* The room that is reserved is enough for the worst there is, at every limit. */
static void worst(void **state)
{
    static const char *const texts[] = {".\n", "\n", ".", "\xbf", "x", "\xc3\xa4"};

    (void)state;
    for (size_t limit = 0; limit < 12; limit++)
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
            struct smtp_content c = {.line_limit = limit};
            struct buf in = {0}, out = {0};

            while (buf_len(&in) < 3000)
                buf_add_str(&in, texts[t]);
            smtp_content_feed(&c, buf_slice(&in), &out);
            assert_true(buf_len(&out) >= buf_len(&in));
            buf_release(&in);
            buf_release(&out);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(content), cmocka_unit_test(worst)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
