/*
 * The scheduler on a real queue, with made-up routes and transports. An address says what becomes of it:
 * WHAT[-ANYTHING]@TRANSPORT.NEXTHOP, where WHAT is ok, defer, bounce, down, noroute, slow (a route that takes long) or
 * srs (a route with a sender of its own).
 */
#ifndef TEST_QUEUE_WORLD_H
#define TEST_QUEUE_WORLD_H

#include "unit/core/queue/fixture.h"

#include "core/queue/scheduler_int.h"

#define MAX_RUNNING 512
#define MAX_STARTS  20000

struct start {
    uint64_t qid;
    char nexthop[32];
    size_t nrcpts;
    uint32_t attempts;
    char sender[32];
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

static inline void route_release(struct op *op)
{
    struct fake_route *r = CONTAINER_OF(op, struct fake_route, op);

    timer_stop(&r->timer);
    mem_free(r);
}

static inline void route_now(void *arg)
{
    struct fake_route *r = arg;

    op_finish(&r->op, OP_OK, &r->route);
}

static inline void fake_route(void *ctx, struct op_scope *scope, const char *sender, const struct envelope_rcpt *rcpt,
                              op_done_fn *done, void *owner)
{
    struct world *w = ctx;
    struct fake_route *r = NEW(struct fake_route);

    (void)sender;
    op_start(&r->op, w->f.loop, scope, "route", 0, done, owner, route_release);
    assert_int_equal(sscanf(strchr(rcpt->addr, '@'), "@%31[^.].%31s", r->transport, r->nexthop), 2);
    r->route = (struct scheduler_route){.transport = r->transport, .nexthop = r->nexthop};
    if (strncmp(rcpt->addr, "srs", 3) == 0)
        r->route.sender = "srs@us.example";
    if (strncmp(rcpt->addr, "noroute", 7) == 0)
        op_finish(&r->op, OP_TEMPFAIL, NULL);
    else if (strncmp(rcpt->addr, "slow", 4) == 0)
        timer_start(w->f.loop, &r->timer, 50, route_now, r);
    else
        op_finish(&r->op, OP_OK, &r->route);
}

static inline bool fake_limits(void *ctx, const char *transport, struct scheduler_limits *limits)
{
    *limits = ((struct world *)ctx)->limits;
    return strcmp(transport, "missing") != 0;
}

static inline struct delivery_result result_for(const char *address)
{
    struct delivery_result r = {.status = status_ok(), .relay = "fake", .destination_ok = true};

    if (strncmp(address, "defer", 5) == 0)
        r.status = status_reply(STATUS_DELIVERY_DEFERRED, 450, "4.2.2", "come back later");
    else if (strncmp(address, "relay", 5) == 0)
        r.relayed = true;
    else if (strncmp(address, "bounce", 6) == 0)
        r.status = status_reply(STATUS_USER_UNKNOWN, 550, "5.1.1", "no such user");
    else if (strncmp(address, "down", 4) == 0)
        r = (struct delivery_result){.status = status_reply(STATUS_TIMEOUT, 451, "4.4.1", "Connection refused"),
                                     .relay = "none"};
    return r;
}

static inline void end_delivery(struct world *w, struct delivery *d)
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

static inline void on_end(void *arg)
{
    struct ending *e = arg;

    end_delivery(e->world, e->delivery);
    mem_free(e);
}

static inline void check_memory(struct world *w)
{
    size_t n = w->scheduler->fresh + w->scheduler->loaded;

    if (n > w->most_in_memory)
        w->most_in_memory = n;
}

static inline void fake_deliver(void *ctx, struct delivery *d)
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
    snprintf(s->sender, sizeof s->sender, "%s", d->message->sender);
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

static inline void fake_report(void *ctx, uint64_t qid)
{
    struct world *w = ctx;

    assert_true(w->nreports < ARRAY_LEN(w->reports));
    w->reports[w->nreports++] = qid;
    if (w->report_answer >= 0)
        scheduler_report_done(w->scheduler, qid, w->report_answer > 0);
}

static inline void fake_log_result(void *ctx, const struct delivery *d, const struct envelope_rcpt *r,
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

static inline void start(struct world *w)
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

static inline int setup(void **state)
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
        .recipient_limit = 50,
        .concurrency_limit = 20,
        .initial_concurrency = 5,
        .process_limit = 100,
        .cohort_limit = 1,
        .positive = {1, BACKOFF_PER_CONCURRENCY},
        .negative = {1, BACKOFF_PER_RESULT},
    };
    w->take_ms = 1;
    w->report_answer = 1;
    *state = w;
    return 0;
}

static inline void drop_running(struct world *w)
{
    while (w->nrunning > 0)
        end_delivery(w, w->running[0]);
}

static inline int teardown(void **state)
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

static inline void ignore(void *owner, enum op_status status, const void *result)
{
    (void)owner;
    (void)status;
    (void)result;
}

/* Queues a message with these recipients ("ok@disk.a ok@disk.b"), without waiting. */
static inline uint64_t send_from(struct world *w, const char *sender, const char *recipients)
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

static inline uint64_t mail(struct world *w, const char *recipients)
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

static inline long long queued(struct world *w)
{
    return fixture_sql(&w->f, "SELECT count(*) FROM message");
}

static inline void fill_queue(struct world *w, int n, const char *next_us)
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

#endif
