/* What the queue keeps for reports: what is to be said of which recipient, for how long, and in which transaction. */
#include "unit/core/queue/content.h"

/* ---- the hooks ---- */

static size_t offered, removed_n;
static uint64_t offered_qid, removed_qid;

static void on_offer(void *arg, const struct envelope *e)
{
    (void)arg;
    offered++;
    offered_qid = e->qid;
}

static void on_remove(void *arg, uint64_t qid)
{
    (void)arg;
    removed_n++;
    removed_qid = qid;
}

/* ---- reports ---- */

struct reports {
    struct answer answer;
    size_t count;
    char text[64], dsn[16], addr[64], sender[64];
    uint64_t ids[8], at_us;
    enum envelope_action actions[8];
};

static void on_reports(void *owner, enum op_status status, const void *result)
{
    struct reports *x = owner;
    const struct queue_reports *reports = result;

    x->count = 0;
    if (status == OP_OK && reports->count > 0) {
        x->count = reports->count;
        snprintf(x->sender, sizeof x->sender, "%s", reports->message->sender);
        for (size_t i = 0; i < reports->count && i < ARRAY_LEN(x->ids); i++) {
            x->ids[i] = reports->reports[i].rcpt.id;
            x->actions[i] = reports->reports[i].rcpt.action;
        }
        snprintf(x->text, sizeof x->text, "%s", reports->reports[0].text);
        snprintf(x->dsn, sizeof x->dsn, "%s", reports->reports[0].dsn);
        snprintf(x->addr, sizeof x->addr, "%s", reports->reports[0].rcpt.addr);
        x->at_us = reports->reports[0].at_us;
    }
    stop_waiting(&x->answer, status);
}

static struct reports load_reports(struct fixture *f, uint64_t qid)
{
    struct reports x = {.answer.f = f};

    queue_load_reports(f->queue, &f->scope, qid, on_reports, &x);
    await(&x.answer);
    assert_int_equal(x.answer.status, OP_OK);
    return x;
}

/* Ends what was loaded, or goes on to `then`, with `e` as the report. */
static struct answer end_reports(struct fixture *f, uint64_t qid, const struct reports *x, enum envelope_action then,
                                 struct envelope *e)
{
    const struct queue_reported reported = {.qid = qid, .ids = x->ids, .count = x->count, .then = then};
    struct queue_writer *w = e != NULL ? queue_begin(f->queue, e->qid) : NULL;
    struct answer a = {.f = f};

    if (w != NULL)
        queue_write(w, SLICE_LIT("dsn"));
    queue_commit_report(f->queue, &f->scope, &reported, &w, e, on_status, &a);
    assert_null(w);
    await(&a);
    return a;
}

static uint64_t message_with_two_failures(struct fixture *f)
{
    uint64_t qid = commit_sample(f, 3);
    struct queue_result results[] = {
        {1, QUEUE_FAILED, ENVELOPE_ACTION_FAILED, .dsn = "5.1.1", .text = "no such user"},
        {.rcpt_id = 2, .outcome = QUEUE_DELIVERED},
        {3, QUEUE_FAILED, ENVELOPE_ACTION_FAILED, .dsn = "5.2.2", .text = "full"},
    };

    assert_false(record(f, qid, results, 3).removed);
    return qid;
}

static void failed_recipients_wait_for_their_report(void **state)
{
    struct fixture *f = *state;
    uint64_t before = NOW(), qid = message_with_two_failures(f);
    struct reports x;
    struct due d;

    fixture_reopen(f);
    d = load(f, NOW());
    assert_int_equal(d.count, 0);
    assert_int_equal(d.nreports, 1);
    x = load_reports(f, qid);
    assert_int_equal(x.count, 2);
    assert_int_equal(x.actions[0], ENVELOPE_ACTION_FAILED);
    assert_string_equal(x.dsn, "5.1.1");
    assert_string_equal(x.text, "no such user");
    assert_string_equal(x.addr, "user0@example.com");
    assert_string_equal(x.sender, "sender@example.org");
    assert_true(x.at_us >= before && x.at_us <= NOW());
    assert_int_equal(load_reports(f, qid + 1).count, 0);
}

static void report_and_removal_are_one_transaction(void **state)
{
    struct fixture *f = *state;
    uint64_t qid = message_with_two_failures(f);
    struct reports x = load_reports(f, qid);
    struct envelope *e = sample(f, "", 2);

    offered = removed_n = 0;
    queue_on_commit(f->queue, on_offer, f);
    queue_on_remove(f->queue, on_remove, NULL);
    assert_int_equal(end_reports(f, qid, &x, ENVELOPE_ACTION_NONE, e).status, OP_OK);
    assert_int_equal(offered, 1);
    assert_int_equal(offered_qid, e->qid);
    assert_int_equal(removed_n, 1);
    assert_int_equal(removed_qid, qid);
    assert_int_equal(load(f, NOW()).count, 1);
    assert_int_equal(load(f, NOW()).nreports, 0);
}

static void without_a_report_they_are_just_removed(void **state)
{
    struct fixture *f = *state;
    uint64_t qid = message_with_two_failures(f);
    struct reports one = {.ids = {3}, .count = 1};

    assert_int_equal(end_reports(f, qid, &one, ENVELOPE_ACTION_NONE, NULL).status, OP_OK);
    assert_int_equal(load_reports(f, qid).count, 1);
    one.ids[0] = 1;
    assert_int_equal(end_reports(f, qid, &one, ENVELOPE_ACTION_NONE, NULL).status, OP_OK);
    assert_int_equal(rows(f), 0);
}

static void a_report_that_fails_changes_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t qid = message_with_two_failures(f);
    struct reports x = load_reports(f, qid);

    fault_countdown = 0;
    fault_errno = EIO;
    assert_int_equal(end_reports(f, qid, &x, ENVELOPE_ACTION_NONE, sample(f, "", 1)).status, OP_TEMPFAIL);
    fault_errno = 0;
    assert_int_equal(load_reports(f, qid).count, 2);
    assert_int_equal(load(f, NOW()).count, 0);
}

static void a_report_may_be_followed_by_another(void **state)
{
    struct fixture *f = *state;
    uint64_t qid = message_with_two_failures(f);
    struct reports x = load_reports(f, qid);

    assert_int_equal(end_reports(f, qid, &x, ENVELOPE_ACTION_FAILED_COPY, sample(f, "", 1)).status, OP_OK);
    fixture_reopen(f);
    assert_int_equal(load(f, NOW()).nreports, 1);
    x = load_reports(f, qid);
    assert_int_equal(x.count, 2);
    assert_int_equal(x.actions[0], ENVELOPE_ACTION_FAILED_COPY);
    assert_int_equal(x.actions[1], ENVELOPE_ACTION_FAILED_COPY);
    assert_string_equal(x.text, "no such user");
    assert_int_equal(end_reports(f, qid, &x, ENVELOPE_ACTION_NONE, NULL).status, OP_OK);
    assert_int_equal(load_reports(f, qid).count, 0);
}

/* What was delivered stays only for as long as somebody is to hear of it. */
static void a_delivery_may_be_reported(void **state)
{
    struct fixture *f = *state;
    uint64_t qid = commit_sample(f, 2);
    struct queue_result results[] = {
        {1, QUEUE_DELIVERED, ENVELOPE_ACTION_RELAYED, .dsn = "2.0.0", .text = "handed over"},
        {.rcpt_id = 2, .outcome = QUEUE_DELIVERED},
    };
    struct reports x;

    assert_false(record(f, qid, results, 2).removed);
    assert_int_equal(fixture_sql(f, "SELECT count(*) FROM rcpt"), 1);
    assert_int_equal(load(f, NOW() + 1000000).count, 0);
    fixture_reopen(f);
    x = load_reports(f, qid);
    assert_int_equal(x.count, 1);
    assert_int_equal(x.actions[0], ENVELOPE_ACTION_RELAYED);
    assert_string_equal(x.text, "handed over");
    end_reports(f, qid, &x, ENVELOPE_ACTION_NONE, NULL);
    assert_int_equal(rows(f), 0);
}

/* A recipient that is delayed is due at its time and reported as well; afterwards it remembers that it was. */
static void a_delay_is_reported_and_remembered(void **state)
{
    struct fixture *f = *state;
    uint64_t qid = commit_sample(f, 1), soon = NOW() + 1000;
    struct queue_result delayed = {1, QUEUE_DEFERRED, ENVELOPE_ACTION_DELAYED, soon, "4.2.2", "later"},
                        again = {1, QUEUE_DEFERRED, ENVELOPE_ACTION_NONE, soon, "4.2.3", "still later"};
    struct reports x;

    record(f, qid, &delayed, 1);
    assert_int_equal(load(f, soon).count, 1);
    record(f, qid, &again, 1); /* the report is still due */
    fixture_reopen(f);
    x = load_reports(f, qid);
    assert_int_equal(x.count, 1);
    assert_int_equal(x.actions[0], ENVELOPE_ACTION_DELAYED);
    assert_string_equal(x.text, "still later");
    end_reports(f, qid, &x, ENVELOPE_ACTION_NONE, NULL);
    assert_int_equal(load_reports(f, qid).count, 0);
    assert_int_equal(load(f, soon).nreports, 0);
    assert_int_equal(load(f, soon).count, 1);
    assert_int_equal(load(f, soon).first->rcpts[0].action, ENVELOPE_ACTION_DELAYED);
    assert_int_equal(fixture_sql(f, "SELECT attempts FROM rcpt"), 2);
}

static void an_end_overrides_a_delay(void **state)
{
    static const struct {
        struct queue_result end;
        size_t reports;
    } rows_of[] = {
        {{1, QUEUE_FAILED, ENVELOPE_ACTION_FAILED, .dsn = "5.1.1", .text = "no"}, 1},
        {{1, QUEUE_DELIVERED, ENVELOPE_ACTION_DELIVERED, .dsn = "2.0.0", .text = "yes"}, 1},
        {{.rcpt_id = 1, .outcome = QUEUE_DELIVERED}, 0},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows_of); i++) {
        uint64_t qid = commit_sample(f, 1);
        struct queue_result delayed = {1, QUEUE_DEFERRED, ENVELOPE_ACTION_DELAYED, NOW(), "4.2.2", "later"};
        struct reports x;

        record(f, qid, &delayed, 1);
        record(f, qid, &rows_of[i].end, 1);
        x = load_reports(f, qid);
        assert_int_equal(x.count, rows_of[i].reports);
        if (x.count > 0)
            assert_int_equal(x.actions[0], rows_of[i].end.action);
        assert_int_equal(load(f, NOW() + 1000000).count, 0);
    }
}

/* An alias comes with its message, over before it began. */
static void an_alias_is_committed_with_its_results(void **state)
{
    struct fixture *f = *state;
    struct envelope *e = sample(f, "s@example.org", 2);
    struct reports x;

    e->rcpts[0].action = ENVELOPE_ACTION_EXPANDED;
    e->rcpts[0].notify = ENVELOPE_NOTIFY_SUCCESS;
    commit(f, e, "body");
    assert_int_equal(load(f, NOW()).nrcpts, 1);
    assert_int_equal(load(f, NOW()).nreports, 1);
    x = load_reports(f, e->qid);
    assert_int_equal(x.count, 1);
    assert_int_equal(x.actions[0], ENVELOPE_ACTION_EXPANDED);
    assert_string_equal(x.addr, "user0@example.com");
    assert_string_equal(x.dsn, "2.0.0");
    assert_string_equal(x.text, "alias expanded");
}

/* What a report says is bounded; the rest comes next. */
static void many_come_in_parts(void **state)
{
    struct fixture *f = *state;
    uint64_t qid = commit_sample(f, 1);
    char text[400];

    snprintf(text, sizeof text,
             "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i <= %d)"
             " INSERT INTO rcpt(qid, id, report_us, action, attempts, notify, addr, dsn, text)"
             " SELECT %llu, i, 1, 1, 1, 0, 'a@b', '5.1.1', 'no' FROM n",
             QUEUE_REPORT_RCPTS + 10, (unsigned long long)qid);
    fixture_sql(f, text);
    assert_int_equal(load_reports(f, qid).count, QUEUE_REPORT_RCPTS);
    fixture_sql(f, "DELETE FROM rcpt WHERE id BETWEEN 2 AND 5001");
    assert_int_equal(load_reports(f, qid).count, 10);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(failed_recipients_wait_for_their_report), TEST(report_and_removal_are_one_transaction),
        TEST(without_a_report_they_are_just_removed),  TEST(a_report_that_fails_changes_nothing),
        TEST(a_report_may_be_followed_by_another),     TEST(a_delivery_may_be_reported),
        TEST(a_delay_is_reported_and_remembered),      TEST(an_end_overrides_a_delay),
        TEST(an_alias_is_committed_with_its_results),  TEST(many_come_in_parts),
    };

    faults_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
