/* received.h: Received:, dates and message ids, as Postfix 3.7 writes them. */
#include "core/base/assert.h"
#include "proto/grammar/header.h"
#include "proto/grammar/received.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <time.h>

/* The fields that there always are; tls and login may follow by their names. */
#define CLIENT(helo_, name, addr, protocol_, rcpt_, host, mail, id)                                                    \
    .helo = helo_, .client_name = name, .client_addr = addr, .protocol = protocol_, .rcpt = rcpt_, .myhostname = host, \
    .mail_name = mail, .qid = id, .time_us = NOON
#define NOON 1795367363000000u /* 2026-11-22 17:09:23 UTC */

static void zone(const char *tz)
{
    setenv("TZ", tz, 1);
    tzset();
}

static void test_date(void **state)
{
    static const struct {
        const char *tz;
        uint64_t us;
        const char *want;
    } rows[] = {
        {"UTC", NOON, "Sun, 22 Nov 2026 17:09:23 +0000 (UTC)"},
        {"UTC", NOON + 999999, "Sun, 22 Nov 2026 17:09:23 +0000 (UTC)"},
        {"UTC", 0, "Thu,  1 Jan 1970 00:00:00 +0000 (UTC)"},
        {"CET-1CEST,M3.5.0,M10.5.0/3", NOON, "Sun, 22 Nov 2026 18:09:23 +0100 (CET)"},
        {"CET-1CEST,M3.5.0,M10.5.0/3", NOON - 15552000000000u, "Tue, 26 May 2026 19:09:23 +0200 (CEST)"},
        {"NST3:30", NOON, "Sun, 22 Nov 2026 13:39:23 -0330 (NST)"},
        {"<+0545>-5:45", NOON, "Sun, 22 Nov 2026 22:54:23 +0545 (+0545)"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out = {.max = 0};

        zone(rows[i].tz);
        received_date(&out, rows[i].us);
        assert_string_equal(buf_cstr(&out), rows[i].want);
        buf_release(&out);
    }
    zone("UTC");
}

static void test_message_id(void **state)
{
    struct buf out = {.max = 0};

    (void)state;
    zone("CET-1");
    received_message_id(&out, NOON, "65D3F0A1B2C3D", "mx.test");
    assert_string_equal(buf_cstr(&out), "<20261122170923.65D3F0A1B2C3D@mx.test>");
    buf_release(&out);
    zone("UTC");
}

#define DATE "Sun, 22 Nov 2026 17:09:23 +0000 (UTC)\n"

static void test_write(void **state)
{
    static const struct {
        struct received in;
        const char *want;
    } rows[] = {
        {{CLIENT("x.test", "localhost", "127.0.0.1", "ESMTP", "a@b.c", "mx.test", "Postfix", "65D3F")},
         "Received: from x.test (localhost [127.0.0.1])\n\tby mx.test (Postfix) with ESMTP id 65D3F\n\tfor "
         "<a@b.c>; " DATE},
        {{CLIENT("x.test", "localhost", "127.0.0.1", "ESMTPSA", "a@b.c", "mx.test", "Postfix", "65D3F"),
          .tls = "(using TLSv1.3 with cipher X (256/256 bits))\n\t(No client certificate requested)", .login = "u@b.c"},
         "Received: from x.test (localhost [127.0.0.1])\n\t(using TLSv1.3 with cipher X (256/256 bits))\n\t(No client "
         "certificate requested)\n\t(Authenticated sender: u@b.c)\n\tby mx.test (Postfix) with ESMTPSA id 65D3F\n\tfor "
         "<a@b.c>; " DATE},
        {{CLIENT("x.test", "localhost", "127.0.0.1", "SMTP", NULL, "mx.test", "Postfix", "65D3F")},
         "Received: from x.test (localhost [127.0.0.1])\n\tby mx.test (Postfix) with SMTP id 65D3F;\n\t" DATE},
        {{CLIENT(NULL, "a.b", "::1", "ESMTP", "a b@c", "mx.test", "M", "1")},
         "Received: from a.b (a.b [IPv6:::1])\n\tby mx.test (M) with ESMTP id 1\n\tfor <\"a b\"@c>; " DATE},
        {{CLIENT("[1.2.3.4]", NULL, "1.2.3.4", "UTF8SMTP", "\xc3\xa9@c", "mx.test", "M", "1")},
         "Received: from [1.2.3.4] (unknown [1.2.3.4])\n\tby mx.test (M) with UTF8SMTP id 1\n\tfor "
         "<\xc3\xa9@c>; " DATE},
        {{CLIENT(NULL, NULL, NULL, NULL, NULL, "mx.test", "Postfix", "65D3F")},
         "Received: by mx.test (Postfix)\n\tid 65D3F; " DATE},
        {{CLIENT("x", "localhost", "127.0.0.1", "ESMTPSA", NULL, "mx.test", "M", "1"), .tls = "(TLS)",
          .login = "a@b.c"},
         "Received: from x (localhost [127.0.0.1])\n\t(TLS)\n\t(Authenticated sender: a@b.c)\n\tby mx.test (M) with "
         "ESMTPSA id 1;\n\t" DATE},
        {{CLIENT("x", "localhost", "127.0.0.1", "ESMTPA", NULL, "mx.test", "M", "1"), .login = "a\\)(\nb \xc3\xa9"},
         "Received: from x (localhost [127.0.0.1])\n\t(Authenticated sender: a???\?b ?\?)\n\tby mx.test (M) with "
         "ESMTPA id 1;\n\t" DATE},
        {{CLIENT("a)\r\nX: y (<b>", "n)\nm", "127.0.0.1", "SMTP", "a\r\nb@c", "mx.test", "M", "1")},
         "Received: from a???X:?y???b? (n??m [127.0.0.1])\n\tby mx.test (M) with SMTP id 1\n\tfor "
         "<\"a?\?b\"@c>; " DATE},
    };

    (void)state;
    zone("UTC");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out = {.max = 0};

        received_write(&out, &rows[i].in);
        assert_string_equal(buf_cstr(&out), rows[i].want);
        buf_release(&out);
    }
}

/* Whatever a client says, it is one header of lines that are not too long. */
static void test_write_hostile(void **state)
{
    char helo[2001], rcpt[1001];
    struct received in = {CLIENT(helo, helo, "1.2.3.4", "ESMTP", rcpt, "mx.test", "M", "1"), .login = helo};

    (void)state;
    for (int c = 1; c < 256; c++) {
        struct buf out = {.max = 0};
        struct slice rest, name, value, raw;

        memset(helo, c, 2000);
        memset(rcpt, c, c % 2 ? 1000 : 400);
        helo[2000] = rcpt[1000] = rcpt[c % 2 ? 1000 : 400] = '\0';
        received_write(&out, &in);
        rest = buf_slice(&out);
        assert_true(header_next(&rest, &name, &value, &raw));
        assert_int_equal(rest.n, 0);
        for (rest = raw; rest.n > 0;) {
            size_t lf = slice_find(rest, '\n');

            assert_true(lf <= 998);
            rest = slice_from(rest, lf + 1);
        }
        buf_release(&out);
    }
}

static void test_sanitize(void **state)
{
    static const struct {
        const char *in, *want;
    } rows[] = {
        {"mail.example.com", "mail.example.com"},
        {"[IPv6:::1]", "[IPv6:::1]"},
        {"(foo)", "?foo?"},
        {"a b", "a?b"},
        {"a\\b\"c", "a?b?c"},
        {"a<b>c@d;e", "a?b?c?d?e"},
        {"\xc3\xa9", "??"},
        {"a\tb\x7f", "a?b?"},
        {"", "unknown"},
        {NULL, "unknown"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out = {.max = 0};

        received_sanitize(&out, rows[i].in);
        assert_string_equal(buf_cstr(&out), rows[i].want);
        buf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_date),          cmocka_unit_test(test_message_id), cmocka_unit_test(test_write),
        cmocka_unit_test(test_write_hostile), cmocka_unit_test(test_sanitize),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
