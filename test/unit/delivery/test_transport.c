/* The registry, and the transports that only say something. The others have tests of their own. */
#include "fixture.h"

#define CONTENT "Subject: t\n\nhello\n"
#define MORE    "virtual_mailbox_maps = static:x/\nvirtual_uid_maps = static:5000\nvirtual_gid_maps = static:5000\n"

static void test_said(void **state)
{
    static const struct {
        const char *transport;
        enum status_class cls;
        const char *dsn, *text, *agent;
    } rows[] = {
        {"discard:some text", STATUS_OK, "2.0.0", "some text", "postfix/discard["},
        {"error:5.7.9 custom error text", STATUS_PERMFAIL, "5.7.9", "custom error text", "postfix/error["},
        {"error:plain", STATUS_PERMFAIL, "5.0.0", "plain", "postfix/error["},
        {"retry:4.4.9 retry text", STATUS_TEMPFAIL, "4.4.9", "retry text", "postfix/error["},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char conf[300], relay[] = "relay=none, ";

        logged_n = 0;
        logged[0] = '\0';
        snprintf(conf, sizeof conf, "transport_maps = inline:{{a@v.test = %s}}\n" MORE, rows[i].transport);
        check_result(deliver(f, conf, CONTENT), rows[i].cls, rows[i].dsn, rows[i].text);
        assert_true(was_logged(rows[i].agent));
        assert_true(was_logged(relay));
    }
}

/* A type that is not supported yet, and a name that nobody declared. */
static void test_missing(void **state)
{
    struct fixture *f = *state;

    check_result(
        deliver(f, "transport_maps = inline:{{a@v.test = later:}}\n" MORE "[transport later]\ntype = local\n", CONTENT),
        STATUS_TEMPFAIL, "4.3.0", "mail transport unavailable");
    check_result(deliver(f, "transport_maps = inline:{{a@v.test = nosuch:}}\n" MORE, CONTENT), STATUS_TEMPFAIL, "4.3.0",
                 "mail transport unavailable");
}

static void test_all_recipients(void **state)
{
    struct envelope_rcpt to[] = {{.addr = "a@v.test"}, {.addr = "b@v.test"}, {.addr = "c@v.test"}};
    struct envelope e = {.sender = "", .rcpts = to, .nrcpts = 3};
    struct fixture *f = *state;

    fixture_start(f, "transport_maps = inline:{{v.test = discard:gone}}\n" MORE);
    queue_message(f, &e, slice_str(CONTENT));
    run_until(f, 3);
    for (size_t i = 0; i < 3; i++)
        check_result(&f->results[i], STATUS_OK, "2.0.0", "gone");
}

static void test_limits(void **state)
{
    struct fixture *f = *state;
    struct scheduler_limits l;

    fixture_start(f, MORE "default_destination_recipient_limit = 7\nq_destination_recipient_limit = 1\n"
                          "q_destination_concurrency_limit = 3\nq_initial_destination_concurrency = 2\n"
                          "[transport q]\ntype = discard\nmaxproc = 4\n");
    assert_true(transports_limits(f->transports, "q", &l));
    assert_int_equal(l.recipient_limit, 1);
    assert_int_equal(l.concurrency_limit, 3);
    assert_int_equal(l.initial_concurrency, 2);
    assert_int_equal(l.process_limit, 4);
    assert_true(transports_limits(f->transports, "virtual", &l));
    assert_int_equal(l.recipient_limit, 7);
    assert_false(transports_limits(f->transports, "nosuch", &l));
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_said),
        TEST(test_missing),
        TEST(test_all_recipients),
        TEST(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
