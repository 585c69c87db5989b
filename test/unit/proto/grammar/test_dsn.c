/* dsn.h: reports as text; read back with header.h. */
#include "core/base/assert.h"
#include "core/base/codec.h"
#include "proto/grammar/dsn.h"
#include "proto/grammar/header.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NOON 1795367363000000u /* 2026-11-22 17:09:23 UTC */

static const struct dsn_recipient one = {
    .addr = "box@b.test",
    .orig = "alias@b.test",
    .orcpt = "rfc822;first@b.test",
    .action = DSN_ACTION_FAILED,
    .status = "5.1.1",
    .text = "User unknown in virtual mailbox table, which is said at some length so that it needs more than a line",
};

static const struct dsn_report plain = {
    .kind = DSN_KIND_FAILURE,
    .origin = "origin.test",
    .myhostname = "mx.test",
    .mail_name = "Postfix",
    .message_id = "<20261122170923.2@mx.test>",
    .boundary = "B0UND",
    .now_us = NOON,
    .qid = "65D3F",
    .sender = "a@s.test",
    .envid = "env id",
    .arrival_us = NOON - 60000000,
    .rcpts = &one,
    .nrcpts = 1,
};

static int set_up(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    return 0;
}

static void test_whole(void **state)
{
    static const char want[] = "From: Mail Delivery System <MAILER-DAEMON@origin.test>\n"
                               "To: <a@s.test>\n"
                               "Subject: Undelivered Mail Returned to Sender\n"
                               "Date: Sun, 22 Nov 2026 17:09:23 +0000 (UTC)\n"
                               "Message-Id: <20261122170923.2@mx.test>\n"
                               "Auto-Submitted: auto-replied\n"
                               "MIME-Version: 1.0\n"
                               "Content-Type: multipart/report; report-type=delivery-status;\n"
                               "\tboundary=\"B0UND\"\n"
                               "\n"
                               "This is a delivery report in MIME format.\n"
                               "\n"
                               "--B0UND\n"
                               "Content-Description: Notification\n"
                               "Content-Type: text/plain; charset=us-ascii\n"
                               "\n"
                               "Your message could not be delivered to the recipients listed here, and no\n"
                               "further attempt will be made. What was sent is attached.\n"
                               "\n"
                               "This report comes from the mail system at mx.test.\n"
                               "\n"
                               " <box@b.test> (sent to <alias@b.test>): User unknown in virtual mailbox table,\n"
                               "    which is said at some length so that it needs more than a line\n"
                               "\n"
                               "--B0UND\n"
                               "Content-Description: Delivery report\n"
                               "Content-Type: message/delivery-status\n"
                               "\n"
                               "Reporting-MTA: dns; mx.test\n"
                               "Original-Envelope-Id: env id\n"
                               "X-Postfix-Queue-ID: 65D3F\n"
                               "X-Postfix-Sender: rfc822; a@s.test\n"
                               "Arrival-Date: Sun, 22 Nov 2026 17:08:23 +0000 (UTC)\n"
                               "\n"
                               "Final-Recipient: rfc822; box@b.test\n"
                               "Original-Recipient: rfc822; first@b.test\n"
                               "Action: failed\n"
                               "Status: 5.1.1\n"
                               "Diagnostic-Code: X-Postfix; User unknown in virtual mailbox table, which is\n"
                               "    said at some length so that it needs more than a line\n"
                               "\n"
                               "--B0UND\n"
                               "Content-Description: Undelivered Message\n"
                               "Content-Type: message/rfc822\n"
                               "\n";
    struct buf out = {.max = 0};

    (void)state;
    dsn_write_head(&out, &plain);
    assert_string_equal(buf_cstr(&out), want);
    buf_clear(&out);
    dsn_write_tail(&out, &plain);
    assert_string_equal(buf_cstr(&out), "\n--B0UND--\n");
    buf_release(&out);
}

static const char *head(struct buf *out, const struct dsn_report *r)
{
    buf_clear(out);
    dsn_write_head(out, r);
    return buf_cstr(out);
}

#define assert_has(text, part)   assert_non_null(strstr((text), (part)))
#define assert_hasnt(text, part) assert_null(strstr((text), (part)))

static void test_variants(void **state)
{
    struct buf out = {.max = 0};
    struct dsn_recipient to = one;
    struct dsn_report r = plain;
    const char *text;

    (void)state;
    r.rcpts = &to;
    r.headers_only = true;
    text = head(&out, &r);
    assert_has(text, "\nContent-Description: Undelivered Message Headers\nContent-Type: text/rfc822-headers\n\n");
    assert_hasnt(text, "8bit");
    r.body_8bit = true;
    text = head(&out, &r);
    assert_has(text, "\"\nContent-Transfer-Encoding: 8bit\n\n");
    assert_has(text, "\nContent-Type: text/rfc822-headers\nContent-Transfer-Encoding: 8bit\n\n");
    assert_has(text, "\nContent-Type: message/delivery-status\n\n");
    r.envid = NULL;
    r.to = "postmaster@mx.test";
    r.sender = "";
    text = head(&out, &r);
    assert_hasnt(text, "Original-Envelope-Id");
    assert_hasnt(text, "-Sender:");
    assert_has(text, "\nTo: <postmaster@mx.test>\n");
    r.to = NULL;
    assert_has(head(&out, &r), "\nTo: undisclosed-recipients:;\n");
    to.orcpt = NULL;
    assert_has(head(&out, &r), "\nOriginal-Recipient: rfc822; alias@b.test\n");
    to.orig = NULL;
    text = head(&out, &r);
    assert_hasnt(text, "Original-Recipient");
    assert_has(text, "\n <box@b.test>: User unknown");
    to.remote_mta = "mx.remote.test";
    to.remote_reply = "550 5.1.1 no";
    to.text = "host mx.remote.test[192.0.2.1] said: 550 5.1.1 no (in reply to RCPT TO command)";
    text = head(&out, &r);
    assert_has(text, "\n <box@b.test>: host mx.remote.test[192.0.2.1] said: 550 5.1.1 no");
    assert_has(text, "\nRemote-MTA: dns; mx.remote.test\nDiagnostic-Code: smtp; 550 5.1.1 no\n");
    r.mail_name = "My Mail\r\n";
    assert_has(head(&out, &r), "\nX-My-Mail---Queue-ID: 65D3F\n");
    buf_release(&out);
}

static void test_kinds(void **state)
{
    static const struct {
        enum dsn_kind kind;
        const char *subject, *submitted, *attached;
    } rows[] = {
        {DSN_KIND_FAILURE, "Undelivered Mail Returned to Sender", "auto-replied", "Undelivered Message"},
        {DSN_KIND_DELAY, "Delayed Mail (still being retried)", "auto-replied", "Delayed Message"},
        {DSN_KIND_SUCCESS, "Successful Mail Delivery Report", "auto-replied", "Delivered Message"},
        {DSN_KIND_FAILURE_COPY, "Postmaster Copy: Undelivered Mail", "auto-generated", "Undelivered Message"},
        {DSN_KIND_DELAY_COPY, "Postmaster Warning: Delayed Mail", "auto-generated", "Delayed Message"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct dsn_report r = plain;
        struct buf out = {.max = 0};
        char line[200];

        r.kind = rows[i].kind;
        snprintf(line, sizeof line, "\nSubject: %s\n", rows[i].subject);
        assert_has(head(&out, &r), line);
        snprintf(line, sizeof line, "\nAuto-Submitted: %s\n", rows[i].submitted);
        assert_has(buf_cstr(&out), line);
        snprintf(line, sizeof line, "\nContent-Description: %s\n", rows[i].attached);
        assert_has(buf_cstr(&out), line);
        buf_release(&out);
    }
}

static void test_actions(void **state)
{
    static const char *const actions[] = {"failed", "delayed", "delivered", "relayed", "expanded"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        struct dsn_recipient to = one;
        struct dsn_report r = plain;
        struct buf out = {.max = 0};
        char action[100];

        to.action = (enum dsn_action)i;
        r.rcpts = &to;
        r.retry_until_us = NOON + 3600000000;
        snprintf(action, sizeof action, "\nAction: %s\n", actions[i]);
        assert_has(head(&out, &r), action);
        if (to.action == DSN_ACTION_DELAYED)
            assert_has(buf_cstr(&out), "\nWill-Retry-Until: Sun, 22 Nov 2026 18:09:23 +0000 (UTC)\n");
        else
            assert_hasnt(buf_cstr(&out), "Will-Retry-Until");
        buf_release(&out);
    }
}

static void test_utf8(void **state)
{
    struct buf out = {.max = 0};
    struct dsn_recipient to = one;
    struct dsn_report r = plain;
    const char *text;

    (void)state;
    to.addr = "b\xc3\xa9+\xf0\x9f\x98\x80@b.test";
    to.orcpt = "utf-8;\xe2\x82\xac\\@b.test";
    to.text = "n\xc3\xa9 \xff";
    r.rcpts = &to;
    text = head(&out, &r);
    assert_has(text, "\nFinal-Recipient: utf-8; b\\x{E9}\\x{2B}\\x{1F600}@b.test\n");
    assert_has(text, "\nOriginal-Recipient: utf-8; \\x{20AC}\\x{5C}@b.test\n");
    assert_has(text, "\nDiagnostic-Code: X-Postfix; n? ?\n");
    assert_false(codec_has_8bit(buf_slice(&out)));
    r.smtputf8 = true;
    text = head(&out, &r);
    assert_has(text, "\nFinal-Recipient: utf-8; b\xc3\xa9+\xf0\x9f\x98\x80@b.test\n");
    assert_has(text, "\nOriginal-Recipient: utf-8; \xe2\x82\xac\\@b.test\n");
    assert_has(text, "\nDiagnostic-Code: X-Postfix; n\xc3\xa9 ?\n");
    assert_has(text, "\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n");
    assert_has(text, "\nContent-Type: message/global-delivery-status\nContent-Transfer-Encoding: 8bit\n");
    assert_has(text, "\nContent-Type: message/global\nContent-Transfer-Encoding: 8bit\n");
    assert_true(codec_utf8_valid(buf_slice(&out)));
    r.headers_only = true;
    assert_has(head(&out, &r), "\nContent-Type: message/global-headers\n");
    buf_release(&out);
}

/* The shape of a report: per part, the names at the starts of lines; folded lines are left out. */
static void shape(struct buf *out, struct slice text)
{
    while (text.n > 0) {
        size_t lf = slice_find(text, '\n'), colon;
        struct slice line = slice_head(text, lf);

        assert_true(lf <= 998);
        colon = slice_find(line, ':');
        if (line.n == 0 || line.p[0] != ' ') {
            buf_add_slice(out, slice_head(line, colon));
            buf_add_char(out, '\n');
        }
        text = slice_from(text, lf == SLICE_NOT_FOUND ? lf : lf + 1);
    }
}

/* No text from outside changes the shape. */
static void test_injection(void **state)
{
    static const char *const evil[] = {
        "x\nBcc: y@z\n\n--B0UND\nContent-Type: text/html\n\nz",
        "x\r\n--B0UND--\r\n",
        "\n.\n",
        "\n\n\n",
        "x\rAction: delivered\r",
        "\x01\x7f\x80\xff\xc3",
        "y;\nStatus: 2.0.0",
        ">\n",
    };
    struct buf want = {.max = 0}, out = {.max = 0};
    struct dsn_recipient to = one;
    struct dsn_report r = plain;

    (void)state;
    to.remote_mta = "h";
    r.rcpts = &to;
    head(&out, &r);
    shape(&want, buf_slice(&out));
    for (size_t i = 0; i < 2 * ARRAY_LEN(evil); i++) {
        struct buf got = {.max = 0};
        char orcpt[200];

        snprintf(orcpt, sizeof orcpt, "%s;%s", evil[i / 2], evil[i / 2]);
        to.addr = to.orig = to.text = to.remote_mta = to.status = evil[i / 2];
        to.orcpt = orcpt;
        r.sender = r.envid = evil[i / 2];
        r.smtputf8 = i % 2;
        head(&out, &r);
        shape(&got, buf_slice(&out));
        for (const char *c = buf_cstr(&out); *c != '\0'; c++)
            assert_true((unsigned char)*c >= 32 ? *c != 127 : *c == '\n' || *c == '\t');
        if (!r.smtputf8)
            assert_string_equal(buf_cstr(&got), buf_cstr(&want));
        assert_hasnt(buf_cstr(&out), "\nBcc");
        assert_hasnt(buf_cstr(&out), "\n--B0UND--");
        buf_release(&got);
    }
    buf_release(&out);
    buf_release(&want);
}

/* Long words are broken, between characters. */
static void test_long(void **state)
{
    struct buf addr = {.max = 0}, text = {.max = 0};
    struct buf out = {.max = 0}, names = {.max = 0};
    struct dsn_recipient to = one;
    struct dsn_report r = plain;

    (void)state;
    for (int i = 0; i < 498; i++)
        buf_add_str(&addr, "\xc3\xa9");
    buf_add_str(&addr, "@b.c");
    for (int i = 0; i < 5000; i++)
        buf_add_char(&text, '"');
    to.addr = to.orig = buf_cstr(&addr);
    to.text = buf_cstr(&text);
    r.rcpts = &to;
    r.sender = to.text;
    for (int utf8 = 0; utf8 < 2; utf8++) {
        r.smtputf8 = utf8;
        head(&out, &r);
        shape(&names, buf_slice(&out));
        assert_true(codec_utf8_valid(buf_slice(&out)));
    }
    buf_release(&addr);
    buf_release(&text);
    buf_release(&names);
    buf_release(&out);
}

/* What is nothing but spaces, and what is nothing at all, makes no line that looks empty. */
static void test_spaces(void **state)
{
    struct buf orcpt = {.max = 0}, out = {.max = 0};
    struct dsn_recipient to = one;
    struct dsn_report r = plain;

    (void)state;
    r.rcpts = &to;
    buf_printf(&orcpt, "rfc822;%200s", "");
    to.orcpt = buf_cstr(&orcpt);
    assert_null(strstr(head(&out, &r), "\n     "));
    buf_clear(&orcpt);
    for (int i = 0; i < 100; i++)
        buf_add_char(&orcpt, 'x');
    buf_add_char(&orcpt, ';');
    to.orcpt = buf_cstr(&orcpt);
    assert_null(strstr(head(&out, &r), "\n    \n"));
    buf_release(&orcpt);
    buf_release(&out);
}

static void test_boundary(void **state)
{
    struct buf out = {.max = 0};

    (void)state;
    dsn_boundary(&out, "65D3F0A1B2C3D", NOON, "mx.test");
    assert_string_equal(buf_cstr(&out), "65D3F0A1B2C3D.1795367363/mx.test");
    buf_clear(&out);
    dsn_boundary(&out, "65D3F0A1B2C3D", NOON,
                 "a-very-long-host-name.with-many-labels.of-some-length.that-goes-on.example.com");
    assert_int_equal(buf_len(&out), 70);
    buf_clear(&out);
    dsn_boundary(&out, "1", 0, "a b\"c");
    assert_string_equal(buf_cstr(&out), "1.0/a-b-c");
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),   cmocka_unit_test(test_variants), cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_actions), cmocka_unit_test(test_utf8),     cmocka_unit_test(test_injection),
        cmocka_unit_test(test_long),    cmocka_unit_test(test_spaces),   cmocka_unit_test(test_boundary),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
