/* Replies of servers: what is understood, in whatever pieces it comes, and what is refused. */
#include "unit/cmocka_all.h"

#include "core/base/buf.h"
#include "core/base/slice.h"
#include "proto/grammar/smtp_answer.h"

#include <string.h>

static const struct {
    const char *in;
    enum smtp_answer_state state;
    int code;
    const char *dsn, *text;
} cases[] = {
    {"250 2.1.0 Ok\r\n", SMTP_ANSWER_DONE, 250, "2.1.0", "250 2.1.0 Ok"},
    {"250 Ok\r\n", SMTP_ANSWER_DONE, 250, "2.0.0", "250 Ok"},
    {"250\r\n", SMTP_ANSWER_DONE, 250, "2.0.0", "250"},
    {"250 \r\n", SMTP_ANSWER_DONE, 250, "2.0.0", "250 "},
    {"354 go on\n", SMTP_ANSWER_DONE, 354, "3.0.0", "354 go on"},
    {"250-a\r\n250-SIZE 5\r\n250 DSN\r\n", SMTP_ANSWER_DONE, 250, "2.0.0", "250-a\n250-SIZE 5\n250 DSN"},
    {"550-5.1.1 No\r\n550 5.1.1 such\r\n", SMTP_ANSWER_DONE, 550, "5.1.1", "550-5.1.1 No\n550 5.1.1 such"},
    {"250-2.1.0 first\r\n550 no\r\n", SMTP_ANSWER_DONE, 550, "5.0.0", NULL},
    {"550 5.123.456 far\r\n", SMTP_ANSWER_DONE, 550, "5.123.456", "550 5.123.456 far"},
    {"550 4.1.1 a code of another class\r\n", SMTP_ANSWER_DONE, 550, "5.0.0", NULL},
    {"550 5.1 short\r\n", SMTP_ANSWER_DONE, 550, "5.0.0", NULL},
    {"550 5.1.1.1 long\r\n", SMTP_ANSWER_DONE, 550, "5.0.0", NULL},
    {"550 5.1234.1 wide\r\n", SMTP_ANSWER_DONE, 550, "5.0.0", NULL},
    {"421 4.3.2\r\n", SMTP_ANSWER_DONE, 421, "4.3.2", NULL},
    {"250-a\r\n", SMTP_ANSWER_MORE, 0, NULL, NULL},
    {"25", SMTP_ANSWER_MORE, 0, NULL, NULL},
    {"\r\n", SMTP_ANSWER_BAD, 0, NULL, NULL},
    {"ok\r\n", SMTP_ANSWER_BAD, 0, NULL, NULL},
    {"25\r\n", SMTP_ANSWER_BAD, 0, NULL, NULL},
    {"2500 ok\r\n", SMTP_ANSWER_BAD, 0, NULL, NULL},
    {"150 ok\r\n", SMTP_ANSWER_BAD, 0, NULL, NULL},
    {"650 ok\r\n", SMTP_ANSWER_BAD, 0, NULL, NULL},
    {"25x ok\r\n", SMTP_ANSWER_BAD, 0, NULL, NULL},
    {"250-a\r\nHTTP/1.1 200\r\n", SMTP_ANSWER_BAD, 0, NULL, NULL},
};

static void check(const struct smtp_answer *a, size_t i)
{
    if (a->state != cases[i].state)
        fail_msg("%s: state %d", cases[i].in, a->state);
    if (a->state != SMTP_ANSWER_DONE)
        return;
    assert_int_equal(a->code, cases[i].code);
    assert_string_equal(a->dsn, cases[i].dsn);
    if (cases[i].text != NULL)
        assert_string_equal(a->text, cases[i].text);
}

static void replies(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct slice in = slice_str(cases[i].in);
        struct smtp_answer whole = {0}, bytes = {0};
        size_t used;

        smtp_answer_feed(&whole, in, &used);
        check(&whole, i);
        for (size_t at = 0; at < in.n && bytes.state == SMTP_ANSWER_MORE; at++) {
            smtp_answer_feed(&bytes, slice_make(in.p + at, 1), &used);
            assert_int_equal(used, 1);
        }
        check(&bytes, i);
    }
}

/* Two replies in one piece are taken one after the other. */
static void one_at_a_time(void **state)
{
    struct smtp_answer a = {0};
    struct slice in = SLICE_LIT("250 2.1.0 one\r\n550 two\r\n");
    size_t used;

    (void)state;
    assert_int_equal(smtp_answer_feed(&a, in, &used), SMTP_ANSWER_DONE);
    assert_int_equal(used, 15);
    in = slice_from(in, used);
    assert_int_equal(smtp_answer_feed(&a, in, &used), SMTP_ANSWER_DONE);
    assert_int_equal(a.code, 550);
    assert_string_equal(a.dsn, "5.0.0");
    assert_string_equal(a.text, "550 two");
}

/* However long a reply is, what is kept of it is bounded, and at some length it is an error. */
static void floods(void **state)
{
    struct smtp_answer a = {0};
    struct buf line = {0};
    size_t used, total = 0;

    (void)state;
    buf_add_str(&line, "250-");
    for (int i = 0; i < 500; i++)
        buf_add_char(&line, 'x');
    buf_add_str(&line, "\r\n");
    while (smtp_answer_feed(&a, buf_slice(&line), &used) == SMTP_ANSWER_MORE)
        assert_true((total += used) <= SMTP_ANSWER_MOST);
    assert_int_equal(a.state, SMTP_ANSWER_BAD);
    assert_int_equal(a.text_n, SMTP_ANSWER_KEPT);

    /* one line of 20,000 bytes is cut, and good */
    a = (struct smtp_answer){0};
    smtp_answer_feed(&a, SLICE_LIT("550 "), &used);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(smtp_answer_feed(&a, SLICE_LIT("0123456789"), &used), SMTP_ANSWER_MORE);
    assert_int_equal(smtp_answer_feed(&a, SLICE_LIT("\r\n"), &used), SMTP_ANSWER_DONE);
    assert_int_equal(a.code, 550);
    assert_int_equal(a.text_n, SMTP_ANSWER_KEPT);
    buf_release(&line);
}

static void lines(void **state)
{
    struct smtp_answer a = {0};
    struct slice rest, line;
    size_t used;

    (void)state;
    smtp_answer_feed(&a, SLICE_LIT("250-peer\r\n250-SIZE 100\r\n250\r\n"), &used);
    rest = slice_make(a.text, a.text_n);
    assert_true(smtp_answer_line(&rest, &line) && slice_eq(line, SLICE_LIT("peer")));
    assert_true(smtp_answer_line(&rest, &line) && slice_eq(line, SLICE_LIT("SIZE 100")));
    assert_true(smtp_answer_line(&rest, &line) && line.n == 0);
    assert_false(smtp_answer_line(&rest, &line));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies),
        cmocka_unit_test(one_at_a_time),
        cmocka_unit_test(floods),
        cmocka_unit_test(lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
