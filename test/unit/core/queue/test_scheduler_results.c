/* The scheduler's results: due times, failure, expiry, reports, a broken database, shutdown. */
#include "unit/core/queue/world.h"

/* ---- time ---- */

static void nothing_is_tried_before_its_time(void **state)
{
    struct world *w = *state;

    fill_queue(w, 10, "(strftime('%s') + 300) * 1000000");
    start(w);
    fixture_sleep(&w->f, 300);
    assert_int_equal(w->nstarts, 0);
}

static void a_clock_that_was_ahead_is_forgiven(void **state)
{
    struct world *w = *state;

    fill_queue(w, 10, "(strftime('%s') + 86400) * 1000000");
    start(w);
    WAIT_FOR(w, w->results == 10);
}

static void it_wakes_when_the_next_one_is_due(void **state)
{
    struct world *w = *state;

    start(w);
    mail(w, "defer@disk.a");
    WAIT_FOR(w, w->deferred == 1);
    WAIT_FOR(w, w->scheduler->messages.count == 0);
    fixture_sql(&w->f, "UPDATE rcpt SET addr = 'ok@disk.a', next_us = (strftime('%s') + 2) * 1000000");
    WAIT_FOR(w, queued(w) == 0);
    assert_int_equal(w->nstarts, 2);
}

/* ---- failure, expiry, reports ---- */

static void failed_recipients_are_reported_when_the_others_are_done(void **state)
{
    struct world *w = *state;
    uint64_t qid;

    w->take_ms = 0;
    w->report_answer = -1;
    start(w);
    qid = mail(w, "bounce@disk.a ok@disk.b bounce@disk.c");
    WAIT_FOR(w, w->nrunning == 3);
    end_delivery(w, w->running[0]);
    end_delivery(w, w->running[0]);
    fixture_sleep(&w->f, 50);
    assert_int_equal(w->nreports, 0);
    end_delivery(w, w->running[0]);
    WAIT_FOR(w, w->nreports == 1);
    assert_int_equal(w->reports[0], qid);
    assert_int_equal(w->scheduler->messages.count, 1); /* busy until then */
    scheduler_report_done(w->scheduler, qid, true);
    assert_int_equal(w->scheduler->messages.count, 0);
    scheduler_report_done(w->scheduler, qid, true); /* nothing to it any more */
    assert_int_equal(w->nreports, 1);
}

static void a_report_that_failed_is_tried_by_a_later_run(void **state)
{
    struct world *w = *state;

    w->config.queue_run_delay_ms = 300;
    w->report_answer = 0;
    start(w);
    mail(w, "bounce@disk.a");
    WAIT_FOR(w, w->nreports == 1);
    fixture_sleep(&w->f, 100);
    assert_int_equal(w->nreports, 1);
    WAIT_FOR(w, w->nreports == 3);
    assert_int_equal(w->nstarts, 1);
}

static void reports_left_by_a_crash_are_made_at_start(void **state)
{
    struct world *w = *state;
    struct queue_result failed = {1, QUEUE_FAILED, ENVELOPE_ACTION_FAILED, .dsn = "5.1.1", .text = "unknown"};
    uint64_t alone = mail(w, "bounce@disk.a"), with_others = mail(w, "bounce@disk.a ok@disk.b");

    record(&w->f, alone, &failed, 1);
    record(&w->f, with_others, &failed, 1);
    w->take_ms = 0;
    start(w);
    WAIT_FOR(w, w->nreports == 1 && w->nrunning == 1);
    assert_int_equal(w->reports[0], alone);
    drop_running(w);
    WAIT_FOR(w, w->nreports == 2);
    assert_int_equal(w->reports[1], with_others);
}

static void many_left_reports_come_in_parts(void **state)
{
    struct world *w = *state;

    fill_queue(w, 250, "NULL");
    fixture_sql(&w->f, "UPDATE rcpt SET report_us = 1, action = 1, dsn = '5.1.1', text = 'unknown'");
    w->report_answer = -1;
    start(w);
    WAIT_FOR(w, w->nreports == QUEUE_REPORTS_MOST);
    WAIT_FOR(w, w->nreports == 250);
    for (size_t i = 0; i < w->nreports; i++)
        for (size_t k = 0; k < i; k++)
            assert_true(w->reports[i] != w->reports[k]);
}

static void old_mail_expires(void **state)
{
    struct world *w = *state;
    uint64_t qid;

    w->config.maximal_queue_lifetime_ms = 0;
    start(w);
    qid = mail(w, "defer-1@disk.a ok@disk.a defer-2@disk.b");
    WAIT_FOR(w, w->nreports == 1);
    assert_int_equal(w->reports[0], qid);
    assert_int_equal(w->deferred, 2); /* so they are logged */
    assert_int_equal(log_count("from=<sender@example.org>, status=expired, returned to sender\n"), 1);
    assert_int_equal(fixture_sql(&w->f, "SELECT count(*) FROM rcpt WHERE report_us > 0 AND next_us IS NULL"
                                        " AND dsn = '4.2.2' AND text = 'come back later'"),
                     2);
    send_from(w, "", "defer@disk.a"); /* a bounce has a lifetime of its own */
    WAIT_FOR(w, w->deferred == 3);
    fixture_sleep(&w->f, 50);
    assert_int_equal(w->nreports, 1);
}

/* A message with these recipients, and NOTIFY for each of them. */
static uint64_t mail_notify(struct world *w, const char *sender, const char *recipients, unsigned notify)
{
    struct slice rest = slice_str(recipients), token;
    struct envelope *e = sample(&w->f, sender, 64);

    e->nrcpts = 0;
    while ((token = slice_token(&rest, " ")).n > 0)
        e->rcpts[e->nrcpts++] = (struct envelope_rcpt){.addr = arena_slice_dup(&w->f.arena, token), .notify = notify};
    commit(&w->f, e, "body\n");
    return e->qid;
}

#define ACTIONS(w, action_) fixture_sql(&(w)->f, "SELECT count(*) FROM rcpt WHERE action = " #action_)

static void success_is_reported_to_who_asked(void **state)
{
    struct world *w = *state;

    w->report_answer = -1;
    start(w);
    mail_notify(w, "s@example.org", "ok@disk.a", ENVELOPE_NOTIFY_FAILURE);
    mail_notify(w, "", "ok@disk.a", ENVELOPE_NOTIFY_SUCCESS);
    WAIT_FOR(w, queued(w) == 0);
    assert_int_equal(w->nreports, 0);
    mail_notify(w, "s@example.org", "ok@disk.a relay@disk.a", ENVELOPE_NOTIFY_SUCCESS);
    WAIT_FOR(w, w->nreports == 1);
    assert_int_equal(ACTIONS(w, 3), 1); /* delivered */
    assert_int_equal(ACTIONS(w, 4), 1); /* relayed */
}

static void a_delay_is_told_once(void **state)
{
    struct world *w = *state;

    w->config.delay_warning_ms = 60000;
    start(w);
    mail(w, "defer@disk.a");
    WAIT_FOR(w, w->deferred == 1);
    WAIT_FOR(w, w->scheduler->messages.count == 0);
    assert_int_equal(w->nreports, 0);
    fixture_sql(&w->f, "UPDATE message SET arrival_us = arrival_us - 60000000");
    for (size_t attempt = 2; attempt < 5; attempt++) {
        fixture_sql(&w->f, "UPDATE rcpt SET next_us = 1, report_us = NULL"); /* as if that was reported */
        scheduler_free(&w->scheduler);
        start(w);
        WAIT_FOR(w, w->deferred == attempt);
        WAIT_FOR(w, w->scheduler->messages.count == 0);
        assert_int_equal(w->nreports, 1);
        assert_int_equal(ACTIONS(w, 2), 1);
    }
}

/* Recipients that are deferred in one round come back together, so that they share reports. */
static void recipients_stay_together(void **state)
{
    struct world *w = *state;

    w->take_ms = 0;
    start(w);
    mail(w, "defer@disk.a defer@disk.b defer@disk.c");
    WAIT_FOR(w, w->nrunning == 3);
    for (int i = 0; i < 3; i++) {
        end_delivery(w, w->running[0]);
        fixture_sleep(&w->f, 20);
    }
    WAIT_FOR(w, w->scheduler->messages.count == 0);
    assert_int_equal(fixture_sql(&w->f, "SELECT count(DISTINCT next_us) FROM rcpt"), 1);
}

/* But not at the price of trying one again at once. */
static void a_late_recipient_gets_its_pause(void **state)
{
    struct world *w = *state;

    w->config.minimal_backoff_ms = w->config.maximal_backoff_ms = 200;
    w->take_ms = 0;
    start(w);
    mail(w, "defer@disk.a defer@disk.b");
    WAIT_FOR(w, w->nrunning == 2);
    end_delivery(w, w->running[0]);
    fixture_sleep(&w->f, 120);
    end_delivery(w, w->running[0]);
    WAIT_FOR(w, w->scheduler->messages.count == 0 || w->nrunning > 0);
    assert_true(fixture_sql(&w->f, "SELECT max(next_us) - min(next_us) FROM rcpt") >= 100000);
    drop_running(w);
}

static void nobody_is_told_of_delays(void **state)
{
    struct world *w = *state;

    start(w); /* delay_warning_time = 0 */
    mail(w, "defer@disk.a");
    WAIT_FOR(w, w->deferred == 1);
    WAIT_FOR(w, w->scheduler->messages.count == 0);
    assert_int_equal(w->nreports, 0);
    scheduler_free(&w->scheduler);
    fixture_sql(&w->f, "UPDATE message SET arrival_us = 1, sender = ''");
    fixture_sql(&w->f, "UPDATE rcpt SET next_us = 1");
    w->config.delay_warning_ms = 1;
    w->config.bounce_queue_lifetime_ms = UINT64_MAX / 2000;
    start(w);
    WAIT_FOR(w, w->deferred == 2);
    WAIT_FOR(w, w->scheduler->messages.count == 0);
    assert_int_equal(w->nreports, 0);
}

static void an_alias_is_reported_and_not_delivered(void **state)
{
    struct world *w = *state;
    struct envelope *e = sample(&w->f, "s@example.org", 2);

    e->rcpts[0] = (struct envelope_rcpt){.addr = "alias@disk.a", .action = ENVELOPE_ACTION_EXPANDED};
    e->rcpts[1] = (struct envelope_rcpt){.addr = "ok@disk.a"};
    start(w);
    commit(&w->f, e, "body\n");
    WAIT_FOR(w, w->nreports == 1);
    assert_int_equal(w->results, 1);
    assert_int_equal(log_count("nrcpt=1 (queue active)"), 1);
    assert_int_equal(w->scheduler->fresh, 0);
}

/* ---- faults and the end ---- */

static void a_result_that_cannot_be_recorded_is_kept(void **state)
{
    struct world *w = *state;

    w->config.minimal_backoff_ms = 100;
    w->take_ms = 0;
    start(w);
    mail(w, "ok@disk.a ok@disk.b");
    WAIT_FOR(w, w->nrunning == 2);
    fault_countdown = 0;
    fault_errno = ENOSPC;
    drop_running(w);
    fixture_sleep(&w->f, 300);
    assert_int_equal(log_count(": removed"), 0);
    assert_int_equal(w->scheduler->messages.count, 1);
    fault_errno = 0;
    WAIT_FOR(w, log_count(": removed") == 1);
    assert_int_equal(w->nstarts, 2); /* nothing was delivered twice */
}

static void results_of_one_turn_share_a_transaction(void **state)
{
    struct world *w = *state;
    unsigned before;

    w->limits.recipient_limit = 1;
    w->take_ms = 0;
    start(w);
    mail(w, "ok-1@disk.a ok-2@disk.a ok-3@disk.a ok-4@disk.a ok-5@disk.a ok-6@disk.a ok-7@disk.a ok-8@disk.a");
    WAIT_FOR(w, w->nrunning == 8);
    before = syncs;
    drop_running(w);
    WAIT_FOR(w, log_count(": removed") == 1);
    assert_int_equal(syncs - before, 1);
}

static void on_drained(void *arg)
{
    ((struct world *)arg)->drained = true;
}

static void draining_ends_what_runs_and_starts_nothing(void **state)
{
    struct world *w = *state;

    w->limits.process_limit = 2;
    w->take_ms = 0;
    start(w);
    for (int i = 0; i < 5; i++)
        mail(w, "ok@disk.a");
    WAIT_FOR(w, w->scheduler->fresh == 5 && w->nrunning == 2);
    scheduler_drain(w->scheduler, on_drained, w);
    mail(w, "ok@disk.b");
    fixture_sleep(&w->f, 30);
    assert_false(w->drained);
    drop_running(w);
    assert_false(w->drained); /* not before the results are recorded */
    WAIT_FOR(w, w->drained);
    assert_int_equal(w->nstarts, 2);
    assert_int_equal(queued(w), 4);
    scheduler_free(&w->scheduler);
    w->take_ms = 1;
    w->limits.process_limit = 0;
    start(w); /* the rest is still there */
    WAIT_FOR(w, queued(w) == 0);
    assert_int_equal(w->nstarts, 6);
}

/* What only looks for a connection has delivered nothing yet: nobody waits for it. */
static void draining_does_not_wait_for_connections(void **state)
{
    struct world *w = *state;

    w->take_ms = 0;
    start(w);
    mail(w, "ok@disk.a");
    mail(w, "ok@disk.b");
    WAIT_FOR(w, w->nrunning == 2);
    delivery_connecting(w->running[0], true);
    scheduler_drain(w->scheduler, on_drained, w);
    fixture_sleep(&w->f, 300);
    assert_false(w->drained); /* for the other */
    end_delivery(w, w->running[1]);
    WAIT_FOR(w, w->drained);
    assert_int_equal(queued(w), 1);
}

static void an_idle_scheduler_is_drained_at_once(void **state)
{
    struct world *w = *state;

    start(w);
    scheduler_drain(w->scheduler, on_drained, w);
    assert_false(w->drained); /* but not inside the call */
    WAIT_FOR(w, w->drained);
}

static void draining_waits_for_reports(void **state)
{
    struct world *w = *state;
    uint64_t qid;

    w->report_answer = -1;
    start(w);
    qid = mail(w, "bounce@disk.a");
    WAIT_FOR(w, w->nreports == 1);
    scheduler_drain(w->scheduler, on_drained, w);
    fixture_sleep(&w->f, 20);
    assert_false(w->drained);
    scheduler_report_done(w->scheduler, qid, true);
    WAIT_FOR(w, w->drained);
}

static void draining_gives_up_on_a_broken_database(void **state)
{
    struct world *w = *state;

    w->take_ms = 0;
    start(w);
    mail(w, "ok@disk.a");
    WAIT_FOR(w, w->nrunning == 1);
    fault_countdown = 0;
    fault_errno = EIO;
    drop_running(w);
    fixture_sleep(&w->f, 20);
    scheduler_drain(w->scheduler, on_drained, w);
    WAIT_FOR(w, w->drained);
}

static void it_can_go_while_everything_is_under_way(void **state)
{
    struct world *w = *state;

    w->take_ms = 0;
    start(w);
    mail(w, "ok@disk.a bounce@disk.b");
    mail(w, "slow@disk.a ok@disk.c");
    WAIT_FOR(w, w->nrunning == 2 && w->scheduler->messages.count == 2);
    end_delivery(w, w->running[0]); /* its result is about to be recorded */
    mail(w, "ok@disk.d");           /* about to be committed */
    scheduler_free(&w->scheduler);
    drop_running(w);
    fixture_sleep(&w->f, 80);
    assert_int_equal(queued(w), 3);
    start(w); /* what had no result that was recorded is delivered again */
    w->take_ms = 1;
    drop_running(w);
    WAIT_FOR(w, queued(w) <= 1 && w->nreports == 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_tried_before_its_time),
        TEST(a_clock_that_was_ahead_is_forgiven),
        TEST(it_wakes_when_the_next_one_is_due),
        TEST(failed_recipients_are_reported_when_the_others_are_done),
        TEST(a_report_that_failed_is_tried_by_a_later_run),
        TEST(reports_left_by_a_crash_are_made_at_start),
        TEST(many_left_reports_come_in_parts),
        TEST(old_mail_expires),
        TEST(success_is_reported_to_who_asked),
        TEST(a_delay_is_told_once),
        TEST(recipients_stay_together),
        TEST(a_late_recipient_gets_its_pause),
        TEST(nobody_is_told_of_delays),
        TEST(an_alias_is_reported_and_not_delivered),
        TEST(a_result_that_cannot_be_recorded_is_kept),
        TEST(results_of_one_turn_share_a_transaction),
        TEST(draining_ends_what_runs_and_starts_nothing),
        TEST(draining_does_not_wait_for_connections),
        TEST(an_idle_scheduler_is_drained_at_once),
        TEST(draining_waits_for_reports),
        TEST(draining_gives_up_on_a_broken_database),
        TEST(it_can_go_while_everything_is_under_way),
    };

    faults_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
