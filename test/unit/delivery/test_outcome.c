/* What each end of a command, each error and each text means for a recipient. */
#include "unit/cmocka_all.h"

#include "core/base/buf.h"
#include "core/base/codec.h"
#include "delivery/outcome.h"

#include <errno.h>

static struct spawn_result ended(int exit_status, const char *output)
{
    return (struct spawn_result){.started = true, .exit_status = exit_status, .output = slice_str(output)};
}

static void check(struct outcome o, enum status_class cls, const char *dsn, const char *text)
{
    assert_string_equal(o.status.text, text);
    assert_string_equal(o.status.dsn, dsn);
    assert_int_equal(o.status.cls, cls);
}

static const struct {
    int exit_status;
    const char *output;
    enum status_class cls;
    const char *dsn, *text;
} exits[] = {
    {0, "", STATUS_OK, "2.0.0", "delivered via p service"},
    {0, "out of x\nsecond line\n", STATUS_OK, "2.0.0", "delivered via p service (out of x second line)"},
    {0, "5.7.3 ignored\n", STATUS_OK, "2.0.0", "delivered via p service (5.7.3 ignored)"},
    {0, " \n\n", STATUS_OK, "2.0.0", "delivered via p service"},
    {64, "", STATUS_PERMFAIL, "5.3.0", "command line usage error"},
    {65, "", STATUS_PERMFAIL, "5.6.0", "data format error"},
    {66, "", STATUS_PERMFAIL, "5.3.0", "cannot open input"},
    {67, "", STATUS_PERMFAIL, "5.1.1", "user unknown"},
    {68, "", STATUS_PERMFAIL, "5.1.2", "host name unknown"},
    {69, "", STATUS_PERMFAIL, "5.3.0", "service unavailable"},
    {70, "", STATUS_PERMFAIL, "5.3.0", "internal software error"},
    {71, "", STATUS_TEMPFAIL, "4.3.0", "system resource problem"},
    {72, "", STATUS_PERMFAIL, "5.3.0", "critical OS file missing"},
    {73, "", STATUS_PERMFAIL, "5.2.0", "can't create user output file"},
    {74, "", STATUS_PERMFAIL, "5.3.0", "input/output error"},
    {75, "", STATUS_TEMPFAIL, "4.3.0", "temporary failure"},
    {76, "", STATUS_PERMFAIL, "5.5.0", "remote error in protocol"},
    {77, "", STATUS_PERMFAIL, "5.7.0", "permission denied"},
    {78, "", STATUS_PERMFAIL, "5.3.5", "local configuration error"},
    {67, "out of x\nsecond line\n", STATUS_PERMFAIL, "5.1.1", "user unknown. Command output: out of x second line"},
    /* D.S.N at the start of the output decides */
    {67, "4.2.2 mailbox full\n", STATUS_TEMPFAIL, "4.2.2", "mailbox full"},
    {75, "5.7.3 policy no\n", STATUS_PERMFAIL, "5.7.3", "policy no"},
    {1, "5.7.3 policy no\n", STATUS_PERMFAIL, "5.7.3", "policy no"},
    {75, "5.123.123\ttext", STATUS_PERMFAIL, "5.123.123", "text"},
    {75, "5.7.3", STATUS_PERMFAIL, "5.7.3", "command failed"},
    {75, "5.7.3\n", STATUS_PERMFAIL, "5.7.3", "command failed"},
    /* and what is none does not */
    {67, "2.0.0 odd", STATUS_PERMFAIL, "5.1.1", "user unknown. Command output: 2.0.0 odd"},
    {75, "2.0.0 odd", STATUS_TEMPFAIL, "4.3.0", "temporary failure. Command output: 2.0.0 odd"},
    {67, "4.2.2x mailbox", STATUS_PERMFAIL, "5.1.1", "user unknown. Command output: 4.2.2x mailbox"},
    {67, "4.1234.3 x", STATUS_PERMFAIL, "5.1.1", "user unknown. Command output: 4.1234.3 x"},
    {67, "4.2.1234 x", STATUS_PERMFAIL, "5.1.1", "user unknown. Command output: 4.2.1234 x"},
    {67, "4.2", STATUS_PERMFAIL, "5.1.1", "user unknown. Command output: 4.2"},
    {67, "4.2.", STATUS_PERMFAIL, "5.1.1", "user unknown. Command output: 4.2."},
    {67, "4..2 x", STATUS_PERMFAIL, "5.1.1", "user unknown. Command output: 4..2 x"},
    {67, "44.2.2 x", STATUS_PERMFAIL, "5.1.1", "user unknown. Command output: 44.2.2 x"},
    {67, " 4.2.2 x", STATUS_PERMFAIL, "5.1.1", "user unknown. Command output: 4.2.2 x"},
    /* unknown statuses are deferred, other than in Postfix */
    {1, "", STATUS_TEMPFAIL, "4.3.0", "Command died with status 1: \"/bin/t\""},
    {63, "", STATUS_TEMPFAIL, "4.3.0", "Command died with status 63: \"/bin/t\""},
    {79, "", STATUS_TEMPFAIL, "4.3.0", "Command died with status 79: \"/bin/t\""},
    {89, "x\n", STATUS_TEMPFAIL, "4.3.0", "Command died with status 89: \"/bin/t\". Command output: x"},
    {127, "", STATUS_TEMPFAIL, "4.3.0", "Command died with status 127: \"/bin/t\""},
    {255, "", STATUS_TEMPFAIL, "4.3.0", "Command died with status 255: \"/bin/t\""},
    /* untrusted output */
    {67, "tab\there \001\002 \303\251 \377 (x)\r\nnext\n\n", STATUS_PERMFAIL, "5.1.1",
     "user unknown. Command output: tab here ?? \303\251 ? (x) next"},
    {67, "\033[31mred\177", STATUS_PERMFAIL, "5.1.1", "user unknown. Command output: ?[31mred?"},
};

static void test_exits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof exits / sizeof exits[0]; i++) {
        struct spawn_result r = ended(exits[i].exit_status, exits[i].output);
        struct outcome o = outcome_command("p", "/bin/t", &r);

        check(o, exits[i].cls, exits[i].dsn, exits[i].text);
        assert_true(o.destination_ok);
    }
}

static void test_other_ends(void **state)
{
    struct spawn_result r = ended(0, "dying\n");
    struct outcome o;

    (void)state;
    r.term_signal = 9;
    check(outcome_command("p", "/bin/t", &r), STATUS_TEMPFAIL, "4.3.0",
          "Command died with signal 9: \"/bin/t\". Command output: dying");
    r.output = slice_str("5.7.1 said before it died");
    assert_int_equal(outcome_command("p", "/bin/t", &r).status.cls, STATUS_TEMPFAIL);

    r = ended(0, "started\n");
    r.timed_out = true;
    o = outcome_command("p", "/bin/t", &r);
    check(o, STATUS_TEMPFAIL, "4.3.0", "Command time limit exceeded: \"/bin/t\". Command output: started");
    assert_false(o.destination_ok);

    r = (struct spawn_result){.error = "no such file or directory"};
    o = outcome_command("p", "/bin/t", &r);
    check(o, STATUS_TEMPFAIL, "4.3.0", "temporary failure: cannot run \"/bin/t\": no such file or directory");
    assert_false(o.destination_ok);

    r = ended(0, "");
    r.input_refused = true; /* it knew what it did */
    check(outcome_command("p", "/bin/t", &r), STATUS_OK, "2.0.0", "delivered via p service");
}

/* Whatever comes fits, and no character is cut in two. */
static void test_long_output(void **state)
{
    static const char *const fill[] = {"x", "\303\251", "\342\202\254", "x \303\251\n"};
    static const int statuses[] = {0, 1, 67};

    (void)state;
    for (size_t i = 0; i < sizeof fill / sizeof fill[0]; i++)
        for (size_t j = 0; j < sizeof statuses / sizeof statuses[0]; j++)
            for (size_t shift = 0; shift < 4; shift++) {
                struct buf b = {0};
                struct spawn_result r;
                struct outcome o;

                buf_add(&b, "abcd", shift);
                while (buf_len(&b) < 2000)
                    buf_add_str(&b, fill[i]);
                r = ended(statuses[j], buf_cstr(&b));
                o = outcome_command("p", "/bin/t", &r);
                assert_true(strlen(o.status.text) > 300);
                assert_true(codec_utf8_valid(slice_str(o.status.text)));
                assert_null(strchr(o.status.text, '?'));
                if (statuses[j] == 0)
                    assert_int_equal(o.status.text[strlen(o.status.text) - 1], ')');
                buf_release(&b);
            }
}

static void test_mailbox_errors(void **state)
{
    (void)state;
    check(outcome_mailbox("create maildir file /x", EACCES), STATUS_TEMPFAIL, "4.2.0",
          "maildir delivery failed: create maildir file /x: Permission denied");
    check(outcome_mailbox("error writing message", ENOSPC), STATUS_TEMPFAIL, "4.3.0",
          "maildir delivery failed: error writing message: No space left on device");
    check(outcome_mailbox("error writing message", EDQUOT), STATUS_PERMFAIL, "5.2.2",
          "maildir delivery failed: error writing message: Disk quota exceeded");
    check(outcome_mailbox("error writing message", EFBIG), STATUS_PERMFAIL, "5.2.2",
          "maildir delivery failed: error writing message: File too large");
    check(outcome_mailbox("x", EIO), STATUS_TEMPFAIL, "4.2.0", "maildir delivery failed: x: Input/output error");
}

static void test_said(void **state)
{
    static const struct {
        enum outcome_kind kind;
        const char *nexthop;
        enum status_class cls;
        const char *dsn, *text;
    } said[] = {
        {OUTCOME_KIND_DISCARD, "some text", STATUS_OK, "2.0.0", "some text"},
        {OUTCOME_KIND_DISCARD, "", STATUS_OK, "2.0.0", "discarded"},
        {OUTCOME_KIND_DISCARD, "2.1.5 gone", STATUS_OK, "2.1.5", "gone"},
        {OUTCOME_KIND_DISCARD, "5.1.1 gone", STATUS_OK, "2.0.0", "gone"},
        {OUTCOME_KIND_ERROR, "5.7.9 custom error text", STATUS_PERMFAIL, "5.7.9", "custom error text"},
        {OUTCOME_KIND_ERROR, "plain text", STATUS_PERMFAIL, "5.0.0", "plain text"},
        {OUTCOME_KIND_ERROR, "4.2.1 is temp in error", STATUS_PERMFAIL, "5.0.0", "is temp in error"},
        {OUTCOME_KIND_ERROR, "", STATUS_PERMFAIL, "5.0.0", "Address is undeliverable"},
        {OUTCOME_KIND_RETRY, "4.4.9 retry text", STATUS_TEMPFAIL, "4.4.9", "retry text"},
        {OUTCOME_KIND_RETRY, "plain retry", STATUS_TEMPFAIL, "4.0.0", "plain retry"},
        {OUTCOME_KIND_RETRY, "5.2.1 is perm in retry", STATUS_TEMPFAIL, "4.0.0", "is perm in retry"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
        check(outcome_said(said[i].kind, said[i].nexthop), said[i].cls, said[i].dsn, said[i].text);
}

static void test_fixed(void **state)
{
    const struct status perm = status_of(STATUS_MAIL_LOOP), temp = status_make(STATUS_TABLE_TEMPFAIL, "no answer");

    (void)state;
    check(outcome_too_large(), STATUS_PERMFAIL, "5.2.3", "message too large");
    check(outcome_loop("a@b"), STATUS_PERMFAIL, "5.4.6", "mail forwarding loop for a@b");
    check(outcome_missing(), STATUS_TEMPFAIL, "4.3.0", "mail transport unavailable");
    check(outcome_config(NULL), STATUS_TEMPFAIL, "4.3.5", "mail system configuration error");
    check(outcome_config("why"), STATUS_TEMPFAIL, "4.3.5", "why");
    check(outcome_user_unknown("a@b"), STATUS_PERMFAIL, "5.1.1", "unknown user: \"a@b\"");
    check(outcome_mailbox_delivered(), STATUS_OK, "2.0.0", "delivered to maildir");
    check(outcome_deferred(&temp), STATUS_TEMPFAIL, "4.3.0", "no answer");
    /* the queue or a table failing is never a verdict on the message */
    check(outcome_deferred(&perm), STATUS_TEMPFAIL, "4.3.0", "mail forwarding loop");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exits),          cmocka_unit_test(test_other_ends), cmocka_unit_test(test_long_output),
        cmocka_unit_test(test_mailbox_errors), cmocka_unit_test(test_said),       cmocka_unit_test(test_fixed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
