/* What the postmaster hears of failures and delays, and where reports of reports end. */
#include "bounce_fixture.h"

#define CLASSES(classes)                                                                                               \
    "notify_classes = " classes "\nbounce_notice_recipient = pm@w.test\n2bounce_notice_recipient = pm2@w.test\n"

static void test_postmaster_copy(void **state)
{
    struct envelope_rcpt to[] = {{.addr = "a@v.test"}, {.addr = "never@v.test", .notify = ENVELOPE_NOTIFY_NEVER}};
    struct envelope e = {.sender = "s@w.test", .rcpts = to, .nrcpts = 2};
    struct fixture *f = *state;
    char *text;

    start(f, CLASSES("bounce"));
    fail_for(f, &e, CONTENT);
    run_until(f, 4);
    text = report(f, "s");
    assert_null(strstr(text, "never@v.test"));
    has(text, "body line");
    mem_free(text);
    text = report(f, "pm");
    assert_memory_equal(text, "Return-Path: <double-bounce@mx.example.org>\n", 44);
    has(text, "\nTo: <pm@w.test>\nSubject: Postmaster Copy: Undelivered Mail\n");
    has(text, "Final-Recipient: rfc822; a@v.test\n");
    has(text, "Final-Recipient: rfc822; never@v.test\n");
    has(text, "Action: failed\n");
    assert_null(strstr(text, "body line"));
    mem_free(text);
    assert_true(was_logged(": postmaster non-delivery notification: "));
    check_nothing_left(f);
}

/* The null sender's mail: only with 2bounce (or bounce) does somebody hear of it. */
static void test_double_bounce(void **state)
{
    static const struct {
        const char *conf;
        size_t results;
    } rows[] = {{CLASSES("2bounce"), 2}, {CLASSES("bounce"), 2}, {CLASSES("delay"), 1}};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct envelope e = {.sender = ""};
        char *text;

        start(f, rows[i].conf);
        fail_for(f, &e, CONTENT);
        run_until(f, rows[i].results);
        if (rows[i].results > 1) {
            text = report(f, "pm2");
            has(text, "\nSubject: Postmaster Copy: Undelivered Mail\n");
            has(text, "body line");
            mem_free(text);
        }
        check_nothing_left(f);
        fixture_stop(f);
        fixture_forget_queue(f);
    }
}

static void test_double_bounce_fails(void **state)
{
    struct envelope e = {.sender = "Double-Bounce@mx.example.org"};
    struct fixture *f = *state;

    start(f, CLASSES("bounce, 2bounce, delay"));
    fail_for(f, &e, CONTENT);
    run_for(f, 300);
    assert_true(was_logged("undeliverable postmaster notification discarded\n"));
    assert_false(was_logged("notification: "));
    assert_true(was_logged(": removed\n"));
    check_nothing_left(f);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_postmaster_copy),
        TEST(test_double_bounce),
        TEST(test_double_bounce_fails),
    };

    umask(022);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
