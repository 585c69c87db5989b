/* The scheduler at work: the way of a message, windows, limits, fairness, memory. */
#include "unit/core/queue/world.h"

/* ---- the way of one message ---- */

static void a_fresh_message_is_delivered_and_removed(void **state)
{
    struct world *w = *state;
    char line[100], id[ID_TEXT];
    uint64_t qid;

    start(w);
    qid = mail(w, "ok@disk.a ok@disk.b");
    id_format(id, qid);
    snprintf(line, sizeof line, "postfix/qmgr[%d]: %s: removed\n", (int)getpid(), id);
    WAIT_FOR(w, log_count(line) == 1);
    snprintf(line, sizeof line, "%s: from=<sender@example.org>, size=5, nrcpt=2 (queue active)\n", id);
    assert_int_equal(log_count(line), 1);
    assert_int_equal(queued(w), 0);
    assert_int_equal(w->nstarts, 2);
    assert_int_equal(w->results, 2);
    assert_int_equal(w->scheduler->fresh, 0);
    assert_int_equal(w->scheduler->messages.count, 0);
}

static void recipients_of_a_destination_go_together(void **state)
{
    static const struct {
        uint32_t limit;
        const char *recipients;
        size_t sizes[8];
    } cases[] = {
        {3, "ok-1@disk.a ok-2@disk.a ok-3@disk.a ok-4@disk.a ok-5@disk.a ok-6@disk.a ok-7@disk.a", {3, 3, 1}},
        {0, "ok-1@disk.a ok-2@disk.a ok-3@disk.b ok-4@disk.a", {3, 1}},
        {2, "ok-1@disk.a slow-2@disk.a ok-3@disk.b", {2, 1}},
        {1, "ok-1@disk.a ok-2@disk.a ok-3@disk.a", {1, 1, 1}},
    };
    struct world *w = *state;

    start(w);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        w->limits.recipient_limit = cases[i].limit;
        w->nstarts = 0;
        mail(w, cases[i].recipients);
        WAIT_FOR(w, log_count(": removed") == i + 1);
        for (size_t k = 0; k < w->nstarts; k++)
            assert_int_equal(w->starts[k].nrcpts, cases[i].sizes[k]);
        assert_int_equal(cases[i].sizes[w->nstarts], 0);
    }
}

static void with_limit_one_each_recipient_is_a_destination(void **state)
{
    struct world *w = *state;

    w->limits = (struct scheduler_limits){.recipient_limit = 1, .concurrency_limit = 1, .initial_concurrency = 1};
    w->take_ms = 0;
    start(w);
    mail(w, "ok-1@disk.a ok-2@disk.a ok-3@disk.a");
    mail(w, "ok-1@disk.a ok-4@disk.a");
    WAIT_FOR(w, w->nrunning == 4);
    fixture_sleep(&w->f, 20);
    assert_int_equal(w->nrunning, 4); /* the second one to ok-1 waits */
    drop_running(w);
    WAIT_FOR(w, w->nrunning == 1);
    drop_running(w);
    WAIT_FOR(w, log_count(": removed") == 2);
}

static void what_cannot_be_routed_is_deferred(void **state)
{
    struct world *w = *state;

    start(w);
    mail(w, "noroute@disk.a");
    WAIT_FOR(w, w->results == 1);
    assert_string_equal(w->last_text, "4.3.0 address resolver failure");
    mail(w, "ok@missing.a");
    WAIT_FOR(w, w->results == 2);
    assert_string_equal(w->last_text, "4.3.0 mail transport unavailable");
    assert_int_equal(w->by_error_transport, 2);
    assert_int_equal(w->nstarts, 0);
    WAIT_FOR(w, w->scheduler->messages.count == 0);
    assert_int_equal(fixture_sql(&w->f, "SELECT count(*) FROM rcpt WHERE attempts = 1 AND next_us > 0"), 2);
}

static void deferred_recipients_are_tried_again(void **state)
{
    struct world *w = *state;

    w->config.minimal_backoff_ms = w->config.maximal_backoff_ms = 100;
    start(w);
    mail(w, "ok@disk.a defer@disk.a");
    WAIT_FOR(w, w->nstarts == 3);
    assert_int_equal(w->starts[0].nrcpts, 2);
    assert_int_equal(w->starts[0].attempts, 0);
    assert_int_equal(w->starts[1].nrcpts, 1);
    assert_int_equal(w->starts[1].attempts, 1);
    assert_int_equal(w->starts[2].attempts, 2);
    assert_int_equal(queued(w), 1);
    assert_int_equal(log_count("(queue active)"), 3);
}

static void an_attempt_may_end_after_its_results(void **state)
{
    struct world *w = *state;
    struct delivery_result ok = {.status = status_ok(), .relay = "fake", .destination_ok = true};
    struct delivery *d;

    w->take_ms = 0;
    start(w);
    mail(w, "ok-1@disk.a ok-2@disk.a");
    WAIT_FOR(w, w->nrunning == 1);
    d = w->running[--w->nrunning];
    delivery_rcpt(d, 1, &ok);
    WAIT_FOR(w, fixture_sql(&w->f, "SELECT count(*) FROM rcpt") == 1); /* recorded as they come */
    delivery_rcpt(d, 0, &ok);
    WAIT_FOR(w, log_count(": removed") == 1);
    assert_string_equal(d->message->sender, "sender@example.org");
    assert_string_equal(d->rcpts[1].addr, "ok-2@disk.a");
    delivery_done(d);
    assert_int_equal(w->scheduler->messages.count, 0);
}

/* Recipients of one message and destination that have another sender go on their own, within the same limits. */
static void a_route_may_have_a_sender_of_its_own(void **state)
{
    struct world *w = *state;

    start(w);
    mail(w, "ok-1@disk.a srs-1@disk.a ok-2@disk.a srs-2@disk.a ok-3@disk.b");
    WAIT_FOR(w, log_count(": removed") == 1);
    assert_int_equal(w->nstarts, 3);
    for (size_t i = 0; i < 3; i++) {
        bool other = strcmp(w->starts[i].sender, "srs@us.example") == 0;

        assert_true(other || strcmp(w->starts[i].sender, "sender@example.org") == 0);
        assert_int_equal(w->starts[i].nrcpts, strcmp(w->starts[i].nexthop, "b") == 0 ? 1 : 2);
    }
}

/* ---- windows, limits, fairness ---- */

static void the_window_opens_with_success(void **state)
{
    struct world *w = *state;

    w->limits.recipient_limit = 10;
    w->limits.concurrency_limit = 6;
    w->limits.initial_concurrency = 2;
    w->take_ms = 0;
    start(w);
    for (int i = 0; i < 60; i++)
        mail(w, "ok@disk.a");
    WAIT_FOR(w, w->nrunning == 2);
    fixture_sleep(&w->f, 20);
    assert_int_equal(w->most_running, 2);
    for (size_t most = 2; most < 6; most++) {
        for (int i = 0; i < 3; i++) {
            drop_running(w);
            WAIT_FOR(w, w->nrunning >= most);
        }
    }
    WAIT_FOR(w, w->nrunning == 6);
    while (log_count(": removed") < 60) {
        drop_running(w);
        fixture_sleep(&w->f, 2);
    }
    assert_int_equal(w->most_running, 6);
}

static void a_destination_that_is_down_is_left_alone(void **state)
{
    struct world *w = *state;

    w->limits.initial_concurrency = 3;
    w->config.minimal_backoff_ms = w->config.maximal_backoff_ms = 500;
    w->take_ms = 0;
    start(w);
    for (int i = 0; i < 20; i++)
        mail(w, "down@disk.a");
    WAIT_FOR(w, w->scheduler->fresh == 20 && w->nrunning == 3);
    drop_running(w);
    assert_int_equal(w->suspended, 17);
    assert_int_equal(w->nstarts, 3);
    assert_string_equal(w->last_text, "4.4.1 delivery temporarily suspended: Connection refused");
    mail(w, "ok@disk.a"); /* while it is dead */
    WAIT_FOR(w, w->suspended == 18);
    mail(w, "ok@disk.b"); /* others are unhurt */
    WAIT_FOR(w, w->nrunning == 1);
    drop_running(w);
    WAIT_FOR(w, w->nstarts > 4); /* after its time it gets another chance */
    assert_true(w->nrunning <= 3);
    assert_string_equal(w->starts[4].nexthop, "a");
}

static void a_failing_message_does_not_close_the_window(void **state)
{
    struct world *w = *state;

    w->limits.initial_concurrency = 2;
    start(w);
    for (int i = 0; i < 10; i++)
        mail(w, "defer@disk.a");
    WAIT_FOR(w, w->deferred == 10);
    assert_int_equal(w->suspended, 0);
    assert_int_equal(w->nstarts, 10);
}

static void the_process_limit_holds(void **state)
{
    struct world *w = *state;

    w->limits.process_limit = 3;
    w->limits.recipient_limit = 1;
    start(w);
    for (int i = 0; i < 10; i++)
        mail(w, "ok@disk.a ok@disk.b ok@disk.c ok@disk.d ok@disk.e");
    WAIT_FOR(w, log_count(": removed") == 10);
    assert_int_equal(w->most_running, 3);
    assert_int_equal(w->nstarts, 50);
}

/* Those who look for a connection for long make room for others, and take it again when they have one. */
static void who_finds_no_connection_is_not_counted(void **state)
{
    struct world *w = *state;

    w->limits.process_limit = 2;
    w->limits.recipient_limit = 1;
    w->take_ms = 0;
    start(w);
    mail(w, "ok@disk.a ok@disk.b ok@disk.c ok@disk.d ok@disk.e ok@disk.f");
    WAIT_FOR(w, w->nrunning == 2);
    delivery_connecting(w->running[0], true);
    delivery_connecting(w->running[1], true);
    delivery_connecting(w->running[1], true);
    fixture_sleep(&w->f, 20);
    assert_int_equal(w->nrunning, 2);
    WAIT_FOR(w, w->nrunning == 4);
    delivery_connecting(w->running[0], false);
    delivery_connecting(w->running[2], true);
    delivery_connecting(w->running[2], false);
    fixture_sleep(&w->f, 300);
    assert_int_equal(w->nrunning, 4);
    w->take_ms = 1;
    drop_running(w);
    WAIT_FOR(w, log_count(": removed") == 1);
    assert_true(w->most_running <= 4);
}

static void destinations_take_turns(void **state)
{
    struct world *w = *state;
    size_t at = 0;

    w->limits.process_limit = 1;
    w->take_ms = 0;
    start(w);
    for (int i = 0; i < 30; i++)
        mail(w, "ok@disk.busy");
    WAIT_FOR(w, w->scheduler->fresh == 30 && w->nrunning == 1);
    mail(w, "ok@disk.rare");
    WAIT_FOR(w, w->scheduler->fresh == 31);
    fixture_sleep(&w->f, 10);
    for (int i = 0; i < 5; i++) {
        drop_running(w);
        WAIT_FOR(w, w->nrunning == 1);
    }
    for (size_t i = 0; i < w->nstarts; i++)
        if (strcmp(w->starts[i].nexthop, "rare") == 0)
            at = i;
    assert_true(at == 1 || at == 2);
}

/* However much waits for one destination that takes nothing, another's first message goes at once. */
static void a_crowd_does_not_take_all_memory(void **state)
{
    struct world *w = *state;

    w->config.active_limit = 40;
    w->limits.concurrency_limit = 2;
    w->limits.process_limit = 0;
    w->take_ms = 0;
    start(w);
    for (int i = 0; i < 400; i++)
        mail(w, "ok@disk.busy");
    fixture_sleep(&w->f, 50);
    assert_in_range(w->scheduler->fresh + w->scheduler->loaded, 1, 20);
    assert_int_equal(w->nrunning, 2);
    mail(w, "ok@disk.rare");
    WAIT_FOR(w, w->nrunning == 3);
    assert_string_equal(w->starts[2].nexthop, "rare");
    while (queued(w) > 0) { /* and the crowd gets its turn */
        drop_running(w);
        fixture_sleep(&w->f, 1);
        assert_in_range(w->scheduler->fresh + w->scheduler->loaded, 0, 40);
    }
    WAIT_FOR(w, w->scheduler->crowds.count == 0);
}

/* The same when they all come from the database, as after a restart. */
static void a_crowd_in_the_database_is_passed_over(void **state)
{
    struct world *w = *state;
    int rare = 0;

    w->config.active_limit = 40;
    w->limits.concurrency_limit = 2;
    w->take_ms = 0;
    for (int i = 0; i < 400; i++)
        mail(w, "ok@disk.busy");
    mail(w, "ok@disk.rare");
    start(w);
    WAIT_FOR(w, w->nrunning == 3);
    for (size_t i = 0; i < 3; i++)
        rare += strcmp(w->running[i]->nexthop, "rare") == 0;
    assert_int_equal(rare, 1);
    while (queued(w) > 0) {
        drop_running(w);
        fixture_sleep(&w->f, 1);
    }
}

/* ---- pace ---- */

static void a_destination_gets_its_pause(void **state)
{
    struct world *w = *state;
    uint64_t began = loop_now_ms(w->f.loop);

    w->limits.rate_delay_ms = 60;
    start(w);
    for (int i = 0; i < 4; i++)
        mail(w, "ok@disk.a");
    for (int i = 0; i < 3; i++)
        mail(w, "ok@disk.b"); /* has a pace of its own */
    WAIT_FOR(w, log_count(": removed") == 7);
    assert_in_range(w->most_running, 1, 2);
    assert_in_range(loop_now_ms(w->f.loop) - began, 180, 60000);
}

static void a_transport_gets_its_pause(void **state)
{
    struct world *w = *state;
    uint64_t began = loop_now_ms(w->f.loop);

    w->limits.transport_rate_delay_ms = 50;
    start(w);
    mail(w, "ok@disk.a ok@disk.b ok@disk.c ok@disk.d");
    WAIT_FOR(w, log_count(": removed") == 1);
    assert_int_equal(w->nstarts, 4);
    assert_in_range(loop_now_ms(w->f.loop) - began, 150, 60000);
}

static void messages_of_a_destination_take_turns(void **state)
{
    struct world *w = *state;
    uint64_t small;
    size_t at = 0;

    w->limits = (struct scheduler_limits){.recipient_limit = 2, .concurrency_limit = 1, .initial_concurrency = 1};
    w->take_ms = 0;
    start(w);
    mail(w, "ok-1@disk.a ok-2@disk.a ok-3@disk.a ok-4@disk.a ok-5@disk.a ok-6@disk.a ok-7@disk.a ok-8@disk.a "
            "ok-9@disk.a");
    small = mail(w, "ok@disk.a");
    WAIT_FOR(w, w->scheduler->fresh == 10 && w->nrunning == 1);
    for (int i = 0; i < 4; i++) {
        drop_running(w);
        WAIT_FOR(w, w->nrunning == 1);
    }
    for (size_t i = 0; i < w->nstarts; i++)
        if (w->starts[i].qid == small)
            at = i;
    assert_true(at == 1 || at == 2);
}

/* ---- memory ---- */

static void a_large_queue_does_not_sit_in_memory(void **state)
{
    struct world *w = *state;
    static bool seen[11001];

    w->config.active_limit = 100;
    fill_queue(w, 10000, "qid");
    start(w);
    WAIT_FOR(w, log_count(": removed") > 0);
    for (int i = 0; i < 4000 && queued(w) > 0; i++)
        fixture_sleep(&w->f, 10);
    assert_int_equal(queued(w), 0);
    assert_true(w->most_in_memory <= 100);
    assert_int_equal(w->nstarts, 10000);
    for (size_t i = 0; i < w->nstarts; i++) {
        assert_false(seen[w->starts[i].qid]);
        seen[w->starts[i].qid] = true;
    }
}

static void a_flood_of_fresh_mail_is_delivered_once_each(void **state)
{
    struct world *w = *state;

    w->config.active_limit = 10;
    start(w);
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 100; i++)
            mail(w, i % 3 == 0 ? "ok@disk.a" : "ok@disk.b ok@disk.c");
        fixture_sleep(&w->f, 3);
    }
    WAIT_FOR(w, w->results >= 6 * (34 + 66 * 2) && queued(w) == 0);
    assert_true(w->most_in_memory <= 10);
    assert_int_equal(w->results, 6 * (34 + 66 * 2));
    for (size_t i = 0; i < w->nstarts; i++) {
        size_t same = 0;

        for (size_t k = 0; k < w->nstarts; k++)
            same += w->starts[k].qid == w->starts[i].qid && strcmp(w->starts[k].nexthop, w->starts[i].nexthop) == 0;
        assert_int_equal(same, 1);
    }
}

static void more_recipients_than_fit_come_in_parts(void **state)
{
    struct world *w = *state;

    w->config.active_limit = 4;
    start(w);
    mail(w, "ok-1@disk.a ok-2@disk.a ok-3@disk.a ok-4@disk.a ok-5@disk.a ok-6@disk.a ok-7@disk.a");
    WAIT_FOR(w, log_count(": removed") == 1);
    assert_int_equal(w->results, 7);
    assert_true(w->most_in_memory <= 4);
}

static void fresh_mail_passes_a_backlog(void **state)
{
    struct world *w = *state;

    w->config.active_limit = 20;
    w->limits.process_limit = 0;
    w->take_ms = 0;
    fill_queue(w, 500, "qid");
    start(w);
    WAIT_FOR(w, w->scheduler->loaded == 10);
    mail(w, "ok@disk.fresh");
    WAIT_FOR(w, w->scheduler->fresh == 1);
    WAIT_FOR(w, strcmp(w->starts[w->nstarts - 1].nexthop, "fresh") == 0);
    for (int i = 0; i < 30; i++) {
        char to[32];

        snprintf(to, sizeof to, "ok@disk.fresh%d", i);
        mail(w, to);
    }
    WAIT_FOR(w, queued(w) == 531);
    fixture_sleep(&w->f, 50);
    assert_int_equal(w->scheduler->fresh, 10); /* and the backlog keeps its half */
    assert_int_equal(w->scheduler->loaded, 10);
}

static void on_first_load(void *owner, enum op_status status, const void *result)
{
    (void)result;
    assert_int_equal(status, OP_OK);
    stop_waiting(owner, status);
}

/* What a load shows of a message that came, was delivered and recorded while it ran is out of date. */
static void a_load_does_not_bring_back_what_was_delivered_meanwhile(void **state)
{
    struct world *w = *state;
    struct queue_due slow = {.now_us = NOW(), .horizon_us = NOW() * 2, .limit = 20000};
    struct answer first = {.f = &w->f};
    uint64_t qid;
    char text[100];

    w->config.active_limit = 50000;
    w->take_ms = 0;
    fill_queue(w, 20000, "qid");
    queue_load_due(w->f.queue, &w->f.scope, &slow, on_first_load, &first);
    fixture_sleep(&w->f, 2); /* the reader is at work: the scheduler's own load waits */
    qid = mail(w, "ok@disk.fresh");
    usleep(20000); /* committed, but the loop has not heard of it */
    start(w);
    WAIT_FOR(w, w->nrunning == 1);
    await(&first); /* now that load begins, and sees the message as due */
    usleep(5000);
    drop_running(w);
    snprintf(text, sizeof text, "SELECT count(*) FROM message WHERE qid = %llu", (unsigned long long)qid);
    WAIT_FOR(w, fixture_sql(&w->f, text) == 0);
    WAIT_FOR(w, w->scheduler->loaded == 20000);
    fixture_sleep(&w->f, 20);
    for (size_t i = 1; i < w->nstarts; i++)
        assert_true(w->starts[i].qid != qid);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_fresh_message_is_delivered_and_removed),
        TEST(recipients_of_a_destination_go_together),
        TEST(with_limit_one_each_recipient_is_a_destination),
        TEST(what_cannot_be_routed_is_deferred),
        TEST(deferred_recipients_are_tried_again),
        TEST(an_attempt_may_end_after_its_results),
        TEST(the_window_opens_with_success),
        TEST(a_destination_that_is_down_is_left_alone),
        TEST(a_failing_message_does_not_close_the_window),
        TEST(the_process_limit_holds),
        TEST(who_finds_no_connection_is_not_counted),
        TEST(destinations_take_turns),
        TEST(a_route_may_have_a_sender_of_its_own),
        TEST(a_crowd_does_not_take_all_memory),
        TEST(a_crowd_in_the_database_is_passed_over),
        TEST(a_destination_gets_its_pause),
        TEST(a_transport_gets_its_pause),
        TEST(messages_of_a_destination_take_turns),
        TEST(a_large_queue_does_not_sit_in_memory),
        TEST(a_flood_of_fresh_mail_is_delivered_once_each),
        TEST(more_recipients_than_fit_come_in_parts),
        TEST(fresh_mail_passes_a_backlog),
        TEST(a_load_does_not_bring_back_what_was_delivered_meanwhile),
    };

    faults_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
