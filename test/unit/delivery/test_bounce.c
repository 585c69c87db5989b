/* Delivery reports, from the recipient's result to the report in the sender's mailbox. */
#include "bounce_fixture.h"

static void test_report(void **state)
{
    struct envelope_rcpt to[] = {
        {.addr = "a@v.test", .orig = "aka@v.test"},
        {.addr = "b@v.test", .orcpt = "rfc822;other@x.test", .notify = ENVELOPE_NOTIFY_FAILURE},
        {.addr = "never@v.test", .notify = ENVELOPE_NOTIFY_NEVER},
        {.addr = "success@v.test", .notify = ENVELOPE_NOTIFY_SUCCESS},
        {.addr = "fine@d.test"},
    };
    struct envelope e = {.sender = "s@w.test", .envid = "QQ314", .ret = ENVELOPE_RET_FULL, .rcpts = to, .nrcpts = 5};
    struct fixture *f = *state;
    char qid[ID_TEXT], line[100], *text;

    start(f, "");
    fail_for(f, &e, CONTENT);
    run_until(f, 6);
    assert_int_equal(f->results[5].r.status.cls, STATUS_OK);
    text = report(f, "s");
    assert_memory_equal(text, "Return-Path: <MAILER-DAEMON>\nReceived: by mx.example.org (Postfix)\n\tid ", 70);
    has(text, "\nTo: <s@w.test>\n");
    has(text, "Content-Type: multipart/report; report-type=delivery-status;");
    has(text,
        "Final-Recipient: rfc822; a@v.test\nOriginal-Recipient: rfc822; aka@v.test\nAction: failed\nStatus: 5.1.1\n");
    has(text,
        "Final-Recipient: rfc822; b@v.test\nOriginal-Recipient: rfc822; other@x.test\nAction: failed\nStatus: 5.1.1\n");
    has(text, "no such user here");
    has(text, "Original-Envelope-Id: QQ314\n");
    has(text, "Content-Type: message/rfc822\n");
    has(text, "\n\nReturn-Path: <s@w.test>\n" CONTENT "\n--");
    assert_null(strstr(text, "never@"));
    assert_null(strstr(text, "success@"));
    assert_null(strstr(text, "fine@"));
    mem_free(text);
    snprintf(line, sizeof line, "postfix/bounce[%d]: %s: sender non-delivery notification: ", (int)getpid(),
             id_format(qid, f->last_qid));
    assert_true(was_logged(line));
    assert_true(was_logged(": message-id=<"));
    assert_true(was_logged(": from=<>, size="));
    snprintf(line, sizeof line, "%s: removed\n", qid);
    assert_true(was_logged(line));
    assert_true(f->reports_ok);
}

static void test_no_report(void **state)
{
    struct fixture *f = *state;
    struct envelope_rcpt to[] = {{.addr = "a@v.test", .notify = ENVELOPE_NOTIFY_NEVER},
                                 {.addr = "b@v.test", .notify = ENVELOPE_NOTIFY_DELAY | ENVELOPE_NOTIFY_SUCCESS}};
    struct envelope null_sender = {.sender = ""}, never = {.sender = "s@w.test", .rcpts = to, .nrcpts = 2};

    start(f, "");
    fail_for(f, &null_sender, CONTENT);
    fail_for(f, &never, CONTENT);
    run_for(f, 500);
    assert_int_equal(f->nresults, 3);
    assert_false(was_logged("non-delivery"));
    assert_true(was_logged("status=bounced (no such user here)"));
    assert_true(was_logged(": removed\n"));
    assert_true(f->reports_ok);
    check_nothing_left(f);
}

/* A report that cannot be delivered ends there. */
static void test_report_fails(void **state)
{
    struct envelope e = {.sender = "b@v.test"};
    struct fixture *f = *state;

    start(f, "");
    fail_for(f, &e, CONTENT);
    run_until(f, 2);
    assert_string_equal(f->results[1].addr, "b@v.test");
    assert_int_equal(f->results[1].r.status.cls, STATUS_PERMFAIL);
    check_nothing_left(f);
    assert_null(strstr(strstr(logged, "non-delivery") + 1, "non-delivery"));
}

static void test_headers_only(void **state)
{
    struct fixture *f = *state;
    struct envelope asked = {.sender = "s@w.test", .ret = ENVELOPE_RET_HDRS},
                    large = {.sender = "t@w.test", .ret = ENVELOPE_RET_FULL};
    char *content = make_content(300000), *text;

    start(f, "");
    fail_for(f, &asked, CONTENT);
    fail_for(f, &large, content);
    run_until(f, 4);
    text = report(f, "s");
    has(text, "Content-Type: text/rfc822-headers\n");
    has(text, "Return-Path: <s@w.test>\nSubject: the original\nX-A: b\n c\n\n--");
    assert_null(strstr(text, "body line"));
    mem_free(text);
    text = report(f, "t");
    has(text, "Return-Path: <t@w.test>\nSubject: large\n\n--");
    mem_free(text);
    mem_free(content);
}

static void test_large_original(void **state)
{
    struct fixture *f = *state;
    struct envelope e = {.sender = "s@w.test"};
    char *content = make_content(900000), *text, *part;

    start(f, "bounce_size_limit = 1000000\n");
    fail_for(f, &e, content);
    run_until(f, 2);
    text = report(f, "s");
    part = strstr(text, "Subject: large\n");
    assert_non_null(part);
    assert_memory_equal(part, content, strlen(content));
    assert_memory_equal(part + strlen(content), "\n--", 3);
    mem_free(text);
    mem_free(content);
}

/* A header section that is too large to be returned is cut between two headers. */
static void test_large_headers(void **state)
{
    struct fixture *f = *state;
    struct envelope e = {.sender = "s@w.test", .ret = ENVELOPE_RET_HDRS},
                    one = {.sender = "t@w.test", .ret = ENVELOPE_RET_HDRS};
    struct buf b = {0}, long_one = {0};
    char *text;

    for (int i = 0; i < 5000; i++)
        buf_printf(&b, "X-Header-%d: something to fill the line\n", i);
    buf_add_str(&long_one, "X-First: x\nX-Long: x\n");
    while (buf_len(&long_one) < 400000)
        buf_add_str(&long_one, " continued, and so on\n");
    buf_add_str(&b, "\nbody line\n");
    start(f, "");
    fail_for(f, &e, buf_cstr(&b));
    fail_for(f, &one, buf_cstr(&long_one));
    run_until(f, 4);
    text = report(f, "s");
    assert_true(strlen(text) < 60000);
    has(text, "X-Header-0: something to fill the line\n");
    assert_null(strstr(text, "body line"));
    mem_free(text);
    text = report(f, "t");
    assert_true(strlen(text) < 60000);
    has(text, "\n--");
    mem_free(text);
    buf_release(&b);
    buf_release(&long_one);
}

static void test_no_last_newline(void **state)
{
    struct fixture *f = *state;
    struct envelope e = {.sender = "s@w.test"};
    char *text;

    start(f, "");
    fail_for(f, &e, "A: b\n\nno end");
    run_until(f, 2);
    text = report(f, "s");
    has(text, "\nA: b\n\nno end\n\n--");
    mem_free(text);
}

static void test_smtputf8(void **state)
{
    struct fixture *f = *state;
    struct envelope e = {.sender = "s@w.test", .smtputf8 = true};
    char *text;

    start(f, "");
    fail_for(f, &e, "Subject: \303\251\n\nx\n");
    run_until(f, 2);
    text = report(f, "s");
    has(text, "message/global-delivery-status");
    has(text, "Content-Type: message/global\n");
    has(text, "Subject: \303\251\n");
    mem_free(text);
}

static void test_sender_is_an_alias(void **state)
{
    struct fixture *f = *state;
    struct envelope e = {.sender = "alias@w.test"};
    char *text;

    start(f, "");
    fail_for(f, &e, CONTENT);
    run_until(f, 3);
    text = report(f, "s");
    has(text, "To: <alias@w.test>\n");
    mem_free(text);
    text = report(f, "t");
    mem_free(text);
}

/* One report for all that was delivered together; to the mailbox of a command it is "relayed". */
static void test_success(void **state)
{
    struct envelope_rcpt to[] = {
        {.addr = "fine@d.test", .notify = ENVELOPE_NOTIFY_SUCCESS, .orcpt = "rfc822;f@x.test"},
        {.addr = "u@w.test", .notify = ENVELOPE_NOTIFY_SUCCESS},
        {.addr = "x@d.test", .notify = ENVELOPE_NOTIFY_FAILURE},
        {.addr = "aka@w.test", .notify = ENVELOPE_NOTIFY_SUCCESS, .action = ENVELOPE_ACTION_EXPANDED},
    };
    struct envelope e = {.sender = "s@w.test", .rcpts = to, .nrcpts = 4};
    struct fixture *f = *state;
    char *text;

    start(f, "");
    fail_for(f, &e, CONTENT);
    run_until(f, 4);
    text = report(f, "s");
    has(text, "\nSubject: Successful Mail Delivery Report\n");
    has(text, "Final-Recipient: rfc822; fine@d.test\nOriginal-Recipient: rfc822; f@x.test\nAction: delivered\n"
              "Status: 2.0.0\n");
    has(text, "Final-Recipient: rfc822; u@w.test\nAction: relayed\nStatus: 2.0.0\n");
    has(text, "Final-Recipient: rfc822; aka@w.test\nAction: expanded\nStatus: 2.0.0\n");
    assert_int_equal(count(text, "Final-Recipient:"), 3);
    has(text, "text/rfc822-headers");
    assert_null(strstr(text, "body line"));
    mem_free(text);
    assert_true(was_logged(": sender delivery status notification: "));
    check_nothing_left(f);
}

/* Failed and delivered are told in a report each. */
static void test_two_kinds(void **state)
{
    struct envelope_rcpt to[] = {
        {.addr = "a@v.test"},
        {.addr = "fine@d.test", .notify = ENVELOPE_NOTIFY_SUCCESS},
        {.addr = "b@v.test"},
    };
    struct envelope e = {.sender = "s@d.test", .rcpts = to, .nrcpts = 3};
    struct fixture *f = *state;

    start(f, "");
    fail_for(f, &e, CONTENT);
    run_until(f, 5);
    assert_int_equal(count(logged, "sender non-delivery notification: "), 1);
    assert_int_equal(count(logged, "sender delivery status notification: "), 1);
    check_nothing_left(f);
}

/* delay_warning_time is the scheduler's: see fixture.h. */
static void test_delay(void **state)
{
    struct envelope_rcpt to[] = {
        {.addr = "a@l.test"},
        {.addr = "b@l.test", .notify = ENVELOPE_NOTIFY_DELAY},
        {.addr = "c@l.test", .notify = ENVELOPE_NOTIFY_FAILURE},
    };
    struct envelope e = {.sender = "s@w.test", .ret = ENVELOPE_RET_FULL, .rcpts = to, .nrcpts = 3};
    struct fixture *f = *state;
    char *text;

    f->delay_warning_ms = 30000;
    f->age_us = 60000000;
    start(f, "notify_classes = delay\ndelay_notice_recipient = pm@w.test\n");
    fail_for(f, &e, CONTENT);
    run_until(f, 5);
    text = report(f, "s");
    has(text, "\nSubject: Delayed Mail (still being retried)\n");
    has(text, "Final-Recipient: rfc822; a@l.test\nAction: delayed\nStatus: 4.");
    has(text, "\nWill-Retry-Until: ");
    assert_int_equal(count(text, "Final-Recipient:"), 2);
    assert_null(strstr(text, "c@l.test"));
    assert_null(strstr(text, "body line"));
    mem_free(text);
    text = report(f, "pm");
    assert_memory_equal(text, "Return-Path: <double-bounce@mx.example.org>\n", 44);
    has(text, "\nSubject: Postmaster Warning: Delayed Mail\n");
    assert_int_equal(count(text, "Final-Recipient:"), 3);
    mem_free(text);
    assert_true(was_logged(": sender delay notification: "));
    assert_true(was_logged(": postmaster delay notification: "));
    assert_false(was_logged("removed\npostfix"));
    fixture_stop(f);
    f->nresults = 0;
    fixture_start(f, conf_with(""));
    run_for(f, 300);
    assert_int_equal(f->nresults, 0); /* all is said, and they wait for their time */
}

/* ---- faults ---- */

/* While the alias table does not answer there is no report, and nothing is lost. */
static void test_alias_table_fails(void **state)
{
    struct fixture *f = *state;
    struct envelope e = {.sender = "s@w.test"};
    char *text;

    start(f, "virtual_alias_domains =\nvirtual_alias_maps = texthash:%DIR%/nosuch\n");
    fail_for(f, &e, CONTENT);
    run_for(f, 500);
    assert_int_equal(f->nresults, 1);
    assert_false(f->reports_ok);
    assert_true(was_logged("warning: "));
    assert_true(was_logged("no delivery report yet: alias expansion of the recipient: "));
    assert_false(was_logged("removed"));
    fixture_stop(f);
    /* the next start finds it */
    fixture_start(f, conf_with(""));
    run_until(f, 2);
    text = report(f, "s");
    has(text, "Final-Recipient: rfc822; a@v.test\n");
    mem_free(text);
}

/* Stopped at any moment, each report of a message is made once. */
static void test_cut_off_between(void **state)
{
    struct fixture *f = *state;

    for (unsigned ms = 0; ms < 12; ms += 2) {
        struct envelope_rcpt to[] = {{.addr = "a@v.test"}, {.addr = "x@d.test", .notify = ENVELOPE_NOTIFY_SUCCESS}};
        struct envelope e = {.sender = "s@d.test", .rcpts = to, .nrcpts = 2};
        size_t reports = 0;

        start(f, "notify_classes = bounce\nbounce_notice_recipient = pm@d.test\n");
        fail_for(f, &e, CONTENT);
        while (f->committing > 0)
            run_for(f, 1);
        run_for(f, ms);
        fixture_stop(f);
        fixture_start(f, conf_with("notify_classes = bounce\nbounce_notice_recipient = pm@d.test\n"));
        run_for(f, 300);
        fixture_stop(f);
        for (size_t i = 0; i < f->nresults; i++)
            reports += strcmp(f->results[i].addr, "s@d.test") == 0 || strcmp(f->results[i].addr, "pm@d.test") == 0;
        assert_int_equal(reports, 3);
        fixture_forget_queue(f);
    }
}

/* Stopped at any moment: the report is made once, now or later. */
static void test_cut_off(void **state)
{
    struct fixture *f = *state;
    char *content = make_content(300000);

    for (unsigned ms = 0; ms < 30; ms += 3) {
        struct envelope e = {.sender = "s@w.test"};
        size_t reports = 0;

        start(f, "bounce_size_limit = 1000000\n");
        fail_for(f, &e, content);
        while (f->committing > 0)
            run_for(f, 1);
        run_for(f, ms);
        fixture_stop(f);
        fixture_start(f, conf_with("bounce_size_limit = 1000000\n"));
        run_for(f, 500);
        fixture_stop(f);
        for (size_t i = 0; i < f->nresults; i++)
            reports += f->results[i].r.status.cls == STATUS_OK;
        assert_int_equal(reports, 1);
        fixture_forget_queue(f);
    }
    mem_free(content);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_report),
        TEST(test_no_report),
        TEST(test_report_fails),
        TEST(test_headers_only),
        TEST(test_large_original),
        TEST(test_large_headers),
        TEST(test_no_last_newline),
        TEST(test_smtputf8),
        TEST(test_sender_is_an_alias),
        TEST(test_success),
        TEST(test_two_kinds),
        TEST(test_delay),
        TEST(test_alias_table_fails),
        TEST(test_cut_off),
        TEST(test_cut_off_between),
    };

    umask(022);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
