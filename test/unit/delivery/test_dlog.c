/* The log line of a recipient, and how delays are printed. */
#include "unit/cmocka_all.h"

#include "core/base/log.h"
#include "delivery/dlog.h"

static char logged[8192];

static void sink(enum log_level level, const char *line, size_t n)
{
    (void)level;
    assert_true(n < sizeof logged);
    memcpy(logged, line, n);
    logged[n] = '\0';
}

/* From the first ": " on, which ends the tag. */
static const char *text_of_line(void)
{
    const char *at = strstr(logged, "]: ");

    assert_non_null(at);
    return at + 3;
}

static void test_delays(void **state)
{
    static const struct {
        uint64_t us;
        const char *text;
    } rows[] = {
        {0, "0"},          {4999, "0"},        {5000, "0.01"},     {10000, "0.01"},          {99999, "0.1"},
        {100000, "0.1"},   {124999, "0.12"},   {125000, "0.13"},   {994999, "0.99"},         {995000, "1"},
        {1000000, "1"},    {1049999, "1"},     {1050000, "1.1"},   {2100000, "2.1"},         {9949999, "9.9"},
        {9950000, "10"},   {10000000, "10"},   {10400000, "10"},   {10500000, "11"},         {99499999, "99"},
        {99500000, "100"}, {100000000, "100"}, {123456789, "123"}, {432000000000, "432000"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = {0};

        dlog_put_delay(&b, rows[i].us);
        assert_string_equal(buf_cstr(&b), rows[i].text);
        buf_release(&b);
    }
}

#define T0 1795369906000000ull

static const struct envelope message = {.qid = 0x8DC4FA8626E, .arrival_us = T0, .sender = "s@x"};

static void log_it(const struct envelope_rcpt *rcpt, struct status status, uint64_t connected_us, bool show_original)
{
    const struct delivery d = {.message = &message, .active_us = T0 + 50000, .start_us = T0 + 60000};
    const struct delivery_result r = {.status = status, .relay = "dovecot", .connected_us = connected_us};

    dlog_result("pipe", show_original, &d, rcpt, &r, T0 + 120000);
}

static void test_lines(void **state)
{
    const struct envelope_rcpt plain = {.addr = "a b@x.test"}, alias = {.addr = "a@x.test", .orig = "o p@y.test"},
                               same = {.addr = "a@x.test", .orig = "a@x.test"};

    (void)state;
    log_it(&plain, status_make(STATUS_NONE, "delivered via dovecot service"), 0, true);
    assert_string_equal(text_of_line(),
                        "8DC4FA8626E: to=<\"a b\"@x.test>, relay=dovecot, delay=0.12, "
                        "delays=0.05/0.01/0/0.06, dsn=2.0.0, status=sent (delivered via dovecot service)\n");
    assert_non_null(strstr(logged, "postfix/pipe["));
    log_it(&alias, status_reply(STATUS_COMMAND_FAILED, 554, "5.1.1", "user unknown"), T0 + 80000, true);
    assert_string_equal(text_of_line(),
                        "8DC4FA8626E: to=<a@x.test>, orig_to=<\"o p\"@y.test>, relay=dovecot, delay=0.12, "
                        "delays=0.05/0.01/0.02/0.04, dsn=5.1.1, status=bounced (user unknown)\n");
    log_it(&alias, status_of(STATUS_TRANSPORT_MISSING), 0, false);
    assert_string_equal(text_of_line(),
                        "8DC4FA8626E: to=<a@x.test>, relay=dovecot, delay=0.12, delays=0.05/0.01/0/0.06, "
                        "dsn=4.3.0, status=deferred (mail transport unavailable)\n");
    log_it(&same, status_ok(), 0, true);
    assert_null(strstr(logged, "orig_to"));
}

/* A clock that was set back makes no enormous numbers. */
static void test_clock_jumps(void **state)
{
    const struct envelope_rcpt rcpt = {.addr = "a@x.test"};
    const struct delivery d = {.message = &message, .active_us = T0 - 5000000, .start_us = T0 - 4000000};
    const struct delivery_result r = {.status = status_ok()};

    (void)state;
    dlog_result("error", true, &d, &rcpt, &r, T0 - 6000000);
    assert_non_null(strstr(logged, "relay=none, delay=0, delays=0/1/0/0, dsn=2.0.0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delays),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_clock_jumps),
    };

    log_setup("postfix", "host", LOG_LEVEL_INFO, sink);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
