/* Log lines have Postfix's shape, and nothing untrusted can begin a new one. Every reason has sound codes. */
#include "unit/cmocka_all.h"

#include "core/base/log.h"
#include "core/base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char line[8192];
static size_t line_n;

static void keep(enum log_level level, const char *text, size_t n)
{
    (void)level;
    assert_true(n < sizeof line);
    memcpy(line, text, n);
    line[n] = '\0';
    line_n = n;
}

static void lines_look_like_postfix(void **unused)
{
    struct log_ctx ctx = {.syslog_name = "postfix/submission", .qid = "65D3F0A1B2C3D"};
    char want[100];

    (void)unused;
    log_setup("postfix", "mail", LOG_LEVEL_INFO, keep);
    log_event(LOG_CONNECT, NULL, "connect from %s[%s]", "unknown", "192.0.2.1");
    snprintf(want, sizeof want, " mail postfix/smtpd[%d]: connect from unknown[192.0.2.1]\n", (int)getpid());
    assert_string_equal(line + 15, want);
    assert_int_equal(line[6], ' ');
    assert_int_equal(line[9], ':');
    log_event(LOG_SESSION_WARNING, &ctx, "x");
    snprintf(want, sizeof want, " mail postfix/submission/smtpd[%d]: warning: 65D3F0A1B2C3D: x\n", (int)getpid());
    assert_string_equal(line + 15, want);
}

static void untrusted_text_stays_on_its_line(void **unused)
{
    static char big[10000];

    (void)unused;
    log_setup("postfix", "mail", LOG_LEVEL_INFO, keep);
    log_event(LOG_CONNECT, NULL, "%s", "a\nNov 22 17:09:23 mail postfix/smtpd[1]: b\r\x1b[2J");
    assert_ptr_equal(strchr(line, '\n'), line + line_n - 1);
    assert_null(strchr(line, '\r'));
    assert_null(strchr(line, '\x1b'));
    memset(big, 'x', sizeof big - 1);
    log_event(LOG_CONNECT, NULL, "%s", big);
    assert_int_equal(line[line_n - 1], '\n');
    assert_true(line_n < 5000);
}

static void levels_below_the_threshold_are_not_written(void **unused)
{
    (void)unused;
    log_setup("postfix", "mail", LOG_LEVEL_WARNING, keep);
    line_n = 0;
    log_event(LOG_CONNECT, NULL, "x");
    assert_int_equal(line_n, 0);
    log_event(LOG_SESSION_WARNING, NULL, "x");
    assert_true(line_n > 0);
}

static void every_reason_has_codes_of_its_class(void **unused)
{
    (void)unused;
    for (int i = 0; i < STATUS_REASON_COUNT; i++) {
        struct status s = status_of((enum status_reason)i);
        int digit = s.cls == STATUS_OK ? 2 : s.cls == STATUS_TEMPFAIL ? 4 : 5;

        assert_int_equal(s.code / 100, digit);
        assert_int_equal(s.dsn[0] - '0', digit);
        assert_true(s.text[0] != '\0');
        assert_non_null(status_reason_name((enum status_reason)i));
    }
    assert_int_equal(status_reply(STATUS_SYSTEM, 450, "4.1.1", "x").cls, STATUS_TEMPFAIL);
    assert_int_equal(status_reply(STATUS_SYSTEM, 550, "5.1.1", "x").cls, STATUS_PERMFAIL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_look_like_postfix),
        cmocka_unit_test(untrusted_text_stays_on_its_line),
        cmocka_unit_test(levels_below_the_threshold_are_not_written),
        cmocka_unit_test(every_reason_has_codes_of_its_class),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    log_setup(NULL, NULL, LOG_LEVEL_INFO, NULL);
    return failed;
}
