/* smtp_reply.h: what goes back to the client. */
#include "core/base/assert.h"
#include "proto/grammar/smtp_reply.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

static void check(struct buf *out, const char *want)
{
    assert_string_equal(buf_cstr(out), want);
    buf_release(out);
}

static void test_single(void **state)
{
    struct buf out = {.max = 0};

    (void)state;
    smtp_reply(&out, 250, "2.1.0", "Ok");
    check(&out, "250 2.1.0 Ok\r\n");
    smtp_reply(&out, 220, NULL, "mx ESMTP");
    smtp_reply(&out, 354, "", "End data with <CR><LF>.<CR><LF>");
    check(&out, "220 mx ESMTP\r\n354 End data with <CR><LF>.<CR><LF>\r\n");
    smtp_reply(&out, 250, NULL, "");
    check(&out, "250 \r\n");
    smtp_reply_printf(&out, 550, "5.1.1", "<%s>: no %d", "a@b", 7);
    check(&out, "550 5.1.1 <a@b>: no 7\r\n");
}

static void test_multi(void **state)
{
    struct buf out = {.max = 0};

    (void)state;
    smtp_reply(&out, 250, NULL, "mx.test\nPIPELINING\nSIZE 10");
    check(&out, "250-mx.test\r\n250-PIPELINING\r\n250 SIZE 10\r\n");
    smtp_reply(&out, 554, "5.7.1", "one\ntwo");
    check(&out, "554-5.7.1 one\r\n554 5.7.1 two\r\n");
    smtp_reply_line(&out, 214, false, "2.0.0", SLICE_LIT("a"));
    smtp_reply_line(&out, 214, true, "2.0.0", SLICE_LIT("b"));
    check(&out, "214-2.0.0 a\r\n214 2.0.0 b\r\n");
}

static void test_clean(void **state)
{
    struct buf out = {.max = 0};
    struct status status = status_reply(STATUS_ACCESS_DENIED, 554, "5.7.1", "no\r\n250 fine");

    (void)state;
    smtp_reply(&out, 501, "5.1.3",
               "a\rb\tc\x01"
               "d\x7f"
               "e");
    check(&out, "501 5.1.3 a b c d e\r\n");
    smtp_reply(&out, 501, NULL, "\xc3\xa9 \xff\xc3 x");
    check(&out, "501 \xc3\xa9    x\r\n");
    smtp_reply_line(&out, 501, true, NULL, SLICE_LIT("a\0b\r\n250 ok"));
    check(&out, "501 a b  250 ok\r\n");
    smtp_reply_status(&out, &status);
    check(&out, "554 5.7.1 no  250 fine\r\n");
}

static void test_status(void **state)
{
    struct buf out = {.max = 0};
    struct status status = status_of(STATUS_TABLE_TEMPFAIL);

    (void)state;
    smtp_reply_status(&out, &status);
    check(&out, "451 4.3.0 Temporary lookup failure\r\n");
}

/* No line exceeds 512 bytes with its CRLF, and none is cut within a character. */
static void test_cut(void **state)
{
    struct buf text = {.max = 0};

    (void)state;
    for (int n = 490; n < 530; n++) {
        struct buf out = {.max = 0};
        size_t whole = (size_t)n + strlen("550 5.1.1 ");

        buf_clear(&text);
        buf_printf(&text, "%0*d", n, 0);
        smtp_reply(&out, 550, "5.1.1", buf_cstr(&text));
        assert_int_equal(buf_len(&out), (whole > SMTP_REPLY_LINE_MAX ? SMTP_REPLY_LINE_MAX : whole) + 2);
        assert_memory_equal(buf_slice(&out).p + buf_len(&out) - 2, "\r\n", 2);
        buf_release(&out);
    }
    for (int pad = 1; pad < 5; pad++) {
        struct buf out = {.max = 0};

        buf_clear(&text);
        buf_printf(&text, "%0*d", pad, 0);
        for (int i = 0; i < 600; i++)
            buf_add_str(&text, "\xe2\x82\xac");
        smtp_reply(&out, 550, "5.1.1", buf_cstr(&text));
        assert_true(buf_len(&out) <= SMTP_REPLY_LINE_MAX + 2 && buf_len(&out) > SMTP_REPLY_LINE_MAX - 2);
        assert_memory_equal(buf_slice(&out).p + buf_len(&out) - 5, "\xe2\x82\xac\r\n", 5);
        buf_release(&out);
    }
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single), cmocka_unit_test(test_multi), cmocka_unit_test(test_clean),
        cmocka_unit_test(test_status), cmocka_unit_test(test_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
