/* Failure reports, from the failed recipient to the report in the sender's mailbox. */
#include "fixture.h"

#define CONTENT "Subject: the original\nX-A: b\n c\n\nbody line\nFrom me\n"

/* s@w.test has a mailbox (a file); everybody @v.test fails. */
#define CONF                                                                                                           \
    "transport_maps = inline:{{v.test = error:5.1.1 no such user here} {d.test = discard:}}\n"                         \
    "virtual_alias_maps = inline:{{alias@w.test = s@w.test, t@w.test}}\n"

static const char *conf_with(const char *main)
{
    static char text[1000];

    snprintf(text, sizeof text, CONF "%s", main);
    return pipe_conf(text, "flags = R\nargv = %DIR%/command ${user}\n");
}

static void start(struct fixture *f, const char *main)
{
    make_command(f, "cat >report.$1");
    fixture_start(f, conf_with(main));
}

static void fail_for(struct fixture *f, struct envelope *e, const char *content)
{
    static struct envelope_rcpt to;

    if (e->rcpts == NULL) {
        to = (struct envelope_rcpt){.addr = "a@v.test"};
        e->rcpts = &to;
        e->nrcpts = 1;
    }
    queue_message(f, e, slice_str(content));
}

static char *report(const struct fixture *f, const char *user)
{
    char name[50];
    char *text;

    snprintf(name, sizeof name, "out/report.%s", user);
    text = read_file(path_in(f, name), NULL);
    assert_non_null(text);
    return text;
}

static void has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in\n%s", part, text);
}

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

/* The queue is empty afterwards: run again, nothing comes. */
static void check_nothing_left(struct fixture *f)
{
    fixture_stop(f);
    f->nresults = 0;
    fixture_start(f, conf_with(""));
    queue_text(f, "", "x@d.test", CONTENT);
    run_until(f, 1);
    assert_string_equal(f->results[0].addr, "x@d.test");
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
    assert_true(was_logged("no delivery report yet: alias expansion of the sender: "));
    assert_false(was_logged("removed"));
    fixture_stop(f);
    /* the next start finds it */
    fixture_start(f, conf_with(""));
    run_until(f, 2);
    text = report(f, "s");
    has(text, "Final-Recipient: rfc822; a@v.test\n");
    mem_free(text);
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
        TEST(test_alias_table_fails),
        TEST(test_cut_off),
    };

    umask(022);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
