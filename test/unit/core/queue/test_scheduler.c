/*
 * The scheduler on a real queue, with made-up routes and transports. An address says what becomes of it:
 * WHAT[-ANYTHING]@TRANSPORT.NEXTHOP, where WHAT is ok, defer, bounce, down, noroute or slow (a route that takes long).
 */
#include "unit/core/queue/fixture.h"

#include "core/queue/scheduler_int.h"

#define MAX_RUNNING 512
#define MAX_STARTS  20000

struct start {
    uint64_t qid;
    char nexthop[32];
    size_t nrcpts;
    uint32_t attempts;
};

struct world {
    struct fixture f;
    struct scheduler *scheduler;
    struct scheduler_config config;
    struct scheduler_limits limits;
    uint64_t take_ms; /* an attempt takes; 0: until the test ends it */
    struct delivery *running[MAX_RUNNING];
    size_t nrunning, most_running, most_in_memory;
    struct start starts[MAX_STARTS];
    size_t nstarts;
    size_t results, deferred, suspended, by_error_transport;
    char last_text[440];
    uint64_t reports[256];
    size_t nreports;
    int report_answer; /* 1: ok, 0: not, -1: none */
    bool drained;
};

/* ---- what main would give it ---- */

struct fake_route {
    struct op op;
    struct timer timer;
    struct scheduler_route route;
    char transport[32], nexthop[32];
};

static void route_release(struct op *op)
{
    struct fake_route *r = CONTAINER_OF(op, struct fake_route, op);

    timer_stop(&r->timer);
    mem_free(r);
}

static void route_now(void *arg)
{
    struct fake_route *r = arg;

    op_finish(&r->op, OP_OK, &r->route);
}

static void fake_route(void *ctx, struct op_scope *scope, const char *address, op_done_fn *done, void *owner)
{
    struct world *w = ctx;
    struct fake_route *r = NEW(struct fake_route);

    op_start(&r->op, w->f.loop, scope, "route", 0, done, owner, route_release);
    assert_int_equal(sscanf(strchr(address, '@'), "@%31[^.].%31s", r->transport, r->nexthop), 2);
    r->route = (struct scheduler_route){.transport = r->transport, .nexthop = r->nexthop};
    if (strncmp(address, "noroute", 7) == 0)
        op_finish(&r->op, OP_TEMPFAIL, NULL);
    else if (strncmp(address, "slow", 4) == 0)
        timer_start(w->f.loop, &r->timer, 50, route_now, r);
    else
        op_finish(&r->op, OP_OK, &r->route);
}

static bool fake_limits(void *ctx, const char *transport, struct scheduler_limits *limits)
{
    *limits = ((struct world *)ctx)->limits;
    return strcmp(transport, "missing") != 0;
}

static struct delivery_result result_for(const char *address)
{
    struct delivery_result r = {.status = status_ok(), .relay = "fake", .destination_ok = true};

    if (strncmp(address, "defer", 5) == 0)
        r.status = status_reply(STATUS_DELIVERY_DEFERRED, 450, "4.2.2", "come back later");
    else if (strncmp(address, "bounce", 6) == 0)
        r.status = status_reply(STATUS_USER_UNKNOWN, 550, "5.1.1", "no such user");
    else if (strncmp(address, "down", 4) == 0)
        r = (struct delivery_result){.status = status_reply(STATUS_TIMEOUT, 451, "4.4.1", "Connection refused"),
                                     .relay = "none"};
    return r;
}

static void end_delivery(struct world *w, struct delivery *d)
{
    for (size_t i = 0; i < w->nrunning; i++)
        if (w->running[i] == d)
            w->running[i] = w->running[--w->nrunning];
    for (size_t i = 0; i < d->nrcpts; i++) {
        struct delivery_result r = result_for(d->rcpts[i].addr);

        delivery_rcpt(d, i, &r);
    }
    delivery_done(d);
}

struct ending {
    struct timer timer;
    struct world *world;
    struct delivery *delivery;
};

static void on_end(void *arg)
{
    struct ending *e = arg;

    end_delivery(e->world, e->delivery);
    mem_free(e);
}

static void check_memory(struct world *w)
{
    size_t n = w->scheduler->fresh + w->scheduler->loaded;

    if (n > w->most_in_memory)
        w->most_in_memory = n;
}

static void fake_deliver(void *ctx, struct delivery *d)
{
    struct world *w = ctx;
    struct start *s;

    assert_true(w->nstarts < MAX_STARTS && w->nrunning < MAX_RUNNING);
    assert_int_equal(d->message->nrcpts, 0);
    assert_true(d->nrcpts > 0 && d->start_us >= d->active_us && d->active_us > 0);
    assert_ptr_equal(d->queue, w->f.queue);
    s = &w->starts[w->nstarts++];
    s->qid = d->message->qid;
    s->nrcpts = d->nrcpts;
    s->attempts = d->rcpts[0].attempts;
    snprintf(s->nexthop, sizeof s->nexthop, "%s", d->nexthop);
    w->running[w->nrunning++] = d;
    if (w->nrunning > w->most_running)
        w->most_running = w->nrunning;
    check_memory(w);
    if (w->take_ms > 0) {
        struct ending *e = NEW(struct ending);

        e->world = w;
        e->delivery = d;
        timer_start(w->f.loop, &e->timer, w->take_ms, on_end, e);
    }
}

static void fake_report(void *ctx, uint64_t qid)
{
    struct world *w = ctx;

    assert_true(w->nreports < ARRAY_LEN(w->reports));
    w->reports[w->nreports++] = qid;
    if (w->report_answer >= 0)
        scheduler_report_done(w->scheduler, qid, w->report_answer > 0);
}

static void fake_log_result(void *ctx, const struct delivery *d, const struct envelope_rcpt *r,
                            const struct delivery_result *result)
{
    struct world *w = ctx;

    assert_non_null(r->addr);
    w->results++;
    w->deferred += result->status.cls == STATUS_TEMPFAIL;
    w->suspended += strstr(result->status.text, "delivery temporarily suspended: ") != NULL;
    w->by_error_transport += strcmp(d->transport, "error") == 0;
    snprintf(w->last_text, sizeof w->last_text, "%s %s", result->status.dsn, result->status.text);
}

/* ---- the world ---- */

static void start(struct world *w)
{
    struct scheduler_hooks hooks = {
        .ctx = w,
        .route = fake_route,
        .limits = fake_limits,
        .deliver = fake_deliver,
        .report = fake_report,
        .log_result = fake_log_result,
    };

    w->scheduler = scheduler_new(w->f.loop, w->f.queue, &w->config, &hooks);
    scheduler_start(w->scheduler);
}

static int setup(void **state)
{
    struct world *w = NEW(struct world);

    log_setup("test", "host", LOG_LEVEL_INFO, log_to_memory);
    log_forget();
    fault_errno = 0;
    fixture_directory(&w->f);
    fixture_open(&w->f);
    w->config = (struct scheduler_config){
        .queue_run_delay_ms = 60000,
        .minimal_backoff_ms = 60000,
        .maximal_backoff_ms = 600000,
        .maximal_queue_lifetime_ms = 432000000,
        .bounce_queue_lifetime_ms = 432000000,
        .active_limit = 1000,
        .syslog_name = "postfix",
    };
    w->limits = (struct scheduler_limits){
        .recipient_limit = 50, .concurrency_limit = 20, .initial_concurrency = 5, .process_limit = 100};
    w->take_ms = 1;
    w->report_answer = 1;
    *state = w;
    return 0;
}

static void drop_running(struct world *w)
{
    while (w->nrunning > 0)
        end_delivery(w, w->running[0]);
}

static int teardown(void **state)
{
    struct world *w = *state;

    fault_errno = 0;
    scheduler_free(&w->scheduler);
    if (w->take_ms == 0)
        drop_running(w);
    while (w->nrunning > 0)
        fixture_sleep(&w->f, 5);
    fixture_sleep(&w->f, 60); /* slow routes */
    assert_int_equal(op_live(w->f.loop), 0);
    fixture_close(&w->f);
    fixture_remove(&w->f);
    arena_clear(&w->f.arena);
    mem_free(w);
    log_setup(NULL, NULL, LOG_LEVEL_INFO, NULL);
    return 0;
}

static void ignore(void *owner, enum op_status status, const void *result)
{
    (void)owner;
    (void)status;
    (void)result;
}

/* Queues a message with these recipients ("ok@disk.a ok@disk.b"), without waiting. */
static uint64_t send_from(struct world *w, const char *sender, const char *recipients)
{
    struct slice rest = slice_str(recipients), token;
    struct envelope *e = sample(&w->f, sender, 64);
    struct queue_writer *writer = queue_begin(w->f.queue, e->qid);

    e->nrcpts = 0;
    while ((token = slice_token(&rest, " ")).n > 0)
        e->rcpts[e->nrcpts++].addr = arena_slice_dup(&w->f.arena, token);
    queue_write(writer, SLICE_LIT("body\n"));
    queue_commit(&writer, &w->f.scope, e, ignore, NULL);
    return e->qid;
}

static uint64_t mail(struct world *w, const char *recipients)
{
    return send_from(w, "sender@example.org", recipients);
}

#define WAIT_FOR(w, condition)                                                                                         \
    do {                                                                                                               \
        bool came_ = false;                                                                                            \
                                                                                                                       \
        for (int i_ = 0; i_ < 4000 && !(came_ = (condition)); i_++)                                                    \
            fixture_sleep(&(w)->f, 2);                                                                                 \
        if (!came_)                                                                                                    \
            fail_msg("line %d: never came: %s", __LINE__, #condition);                                                 \
    } while (0)

static long long queued(struct world *w)
{
    return fixture_sql(&w->f, "SELECT count(*) FROM message");
}

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

/* ---- windows, limits, fairness ---- */

static void the_window_opens_with_success(void **state)
{
    struct world *w = *state;

    w->limits = (struct scheduler_limits){.recipient_limit = 10, .concurrency_limit = 6, .initial_concurrency = 2};
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

static void fill_queue(struct world *w, int n, const char *next_us)
{
    char text[600];

    snprintf(text, sizeof text,
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             " INSERT INTO message SELECT 1000 + i, %s, %s, 5, 0, 0, 0, 's@example.org', NULL, NULL, NULL, NULL, NULL"
             " FROM n",
             n, "strftime('%s') * 1000000", "strftime('%s') * 1000000");
    fixture_sql(&w->f, text);
    snprintf(text, sizeof text,
             "INSERT INTO rcpt(qid, id, next_us, attempts, notify, addr)"
             " SELECT qid, 1, %s, 0, 0, 'ok@disk.d' || (qid %% 37) FROM message",
             next_us);
    fixture_sql(&w->f, text);
}

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
    for (int i = 0; i < 30; i++)
        mail(w, "ok@disk.fresh");
    WAIT_FOR(w, queued(w) == 531);
    fixture_sleep(&w->f, 50);
    assert_int_equal(w->scheduler->fresh, 10); /* and the backlog keeps its half */
    assert_int_equal(w->scheduler->loaded, 10);
}

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
    struct queue_result failed = {.rcpt_id = 1, .outcome = QUEUE_FAILED, .dsn = "5.1.1", .text = "unknown"};
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
    assert_int_equal(fixture_sql(&w->f, "SELECT count(*) FROM rcpt WHERE failed_us > 0 AND next_us IS NULL"
                                        " AND dsn = '4.2.2' AND text = 'come back later'"),
                     2);
    send_from(w, "", "defer@disk.a"); /* a bounce has a lifetime of its own */
    WAIT_FOR(w, w->deferred == 3);
    fixture_sleep(&w->f, 50);
    assert_int_equal(w->nreports, 1);
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
        TEST(a_fresh_message_is_delivered_and_removed),
        TEST(recipients_of_a_destination_go_together),
        TEST(with_limit_one_each_recipient_is_a_destination),
        TEST(what_cannot_be_routed_is_deferred),
        TEST(deferred_recipients_are_tried_again),
        TEST(the_window_opens_with_success),
        TEST(a_destination_that_is_down_is_left_alone),
        TEST(a_failing_message_does_not_close_the_window),
        TEST(the_process_limit_holds),
        TEST(destinations_take_turns),
        TEST(messages_of_a_destination_take_turns),
        TEST(a_large_queue_does_not_sit_in_memory),
        TEST(a_flood_of_fresh_mail_is_delivered_once_each),
        TEST(more_recipients_than_fit_come_in_parts),
        TEST(fresh_mail_passes_a_backlog),
        TEST(nothing_is_tried_before_its_time),
        TEST(a_clock_that_was_ahead_is_forgiven),
        TEST(it_wakes_when_the_next_one_is_due),
        TEST(failed_recipients_are_reported_when_the_others_are_done),
        TEST(a_report_that_failed_is_tried_by_a_later_run),
        TEST(reports_left_by_a_crash_are_made_at_start),
        TEST(old_mail_expires),
        TEST(a_result_that_cannot_be_recorded_is_kept),
        TEST(results_of_one_turn_share_a_transaction),
        TEST(draining_ends_what_runs_and_starts_nothing),
        TEST(an_idle_scheduler_is_drained_at_once),
        TEST(draining_waits_for_reports),
        TEST(draining_gives_up_on_a_broken_database),
        TEST(it_can_go_while_everything_is_under_way),
    };

    faults_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
