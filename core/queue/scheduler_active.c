/*
 * One message in memory: its recipients are routed, wait for their destinations, get results; results go to the
 * database in as few transactions as the loop's turns allow; at the end what is to be reported is. Called by
 * scheduler.c and scheduler_dest.c; waits on routes, on the queue, on the report.
 *
 * Reports are made when the last recipient of this round has its result, so that those that fail together, or are
 * delayed or delivered together, share one.
 *
 * A recipient that is deferred when its message is too old has failed, with the text of its last deferral, as in
 * Postfix. Results that the database does not take are kept and offered again: nothing is delivered twice because a
 * disk was full.
 */
#include "core/base/alloc.h"
#include "core/base/id.h"
#include "core/base/log.h"
#include "core/queue/scheduler_int.h"

#include <inttypes.h>
#include <stdio.h>

#define ROUTES_AT_ONCE 100  /* of one message */
#define RELOAD_MS      1000 /* after a message with deferred recipients: some others may be due since */

static void log_message(const struct active *m, enum log_event event, const char *text)
{
    char id[ID_TEXT];
    struct log_ctx ctx = {.syslog_name = m->scheduler->syslog_name, .qid = id_format(id, m->qid)};

    log_event(event, &ctx, "from=<%s>, %s", m->envelope->sender, text);
}

/* ---- the end ---- */

static void active_free(struct active *m)
{
    op_scope_close(&m->scope);
    loop_defer_cancel(&m->flush);
    list_remove(&m->stuck);
    arena_clear(&m->arena);
    mem_free(m->results);
    mem_free(m);
}

void active_drop(struct active *m)
{
    m->scheduler = NULL;
    op_scope_close(&m->scope);
    loop_defer_cancel(&m->flush);
    list_remove(&m->stuck);
    if (m->running == 0)
        active_free(m);
}

static void leave(struct active *m)
{
    struct scheduler *s = m->scheduler;
    size_t *counted = m->fresh ? &s->fresh : &s->loaded;

    map_remove(&s->messages, slice_make(&m->qid, sizeof m->qid));
    *counted -= m->nrcpts;
    for (size_t i = 0; i < m->nrcpts; i++)
        crowd_leave(s, m->rcpts[i].rcpt->addr);
    if (!m->removed)
        scheduler_wake(s, m->deferred ? RELOAD_MS : 0);
    active_free(m);
    scheduler_feed(s);
    scheduler_check_drained(s);
}

static void report(struct active *m)
{
    struct scheduler *s = m->scheduler;

    m->reporting = true;
    s->reporting++;
    s->hooks.report(s->hooks.ctx, m->qid);
}

void scheduler_report_done(struct scheduler *s, uint64_t qid, bool ok)
{
    struct active *m = scheduler_find(s, qid);

    (void)ok; /* what was not reported is found again by a later queue run */
    if (m == NULL || !m->reporting)
        return;
    s->reporting--;
    leave(m);
}

/* Ends a message when every recipient has its result, in the database, and every attempt has ended. */
static void settle(struct active *m)
{
    if (m->recorded < m->nrcpts || m->running > 0)
        return;
    if (m->report && !m->scheduler->draining)
        report(m);
    else
        leave(m);
}

void active_attempt_done(struct active *m)
{
    m->running--;
    if (m->scheduler != NULL)
        settle(m);
    else if (m->running == 0)
        active_free(m);
}

/* ---- results ---- */

static void flush(void *arg);

static void on_retry(void *arg)
{
    active_unstick(arg);
}

void active_unstick(struct scheduler *s)
{
    LIST_FOREACH(it, &s->stuck)
    {
        struct active *m = LIST_ITEM(it, struct active, stuck);

        list_remove(it);
        loop_defer(s->loop, &m->flush, flush, m);
    }
}

static void not_recorded(struct active *m)
{
    struct scheduler *s = m->scheduler;

    if (s->draining) { /* it is delivered once more after the restart */
        s->unrecorded -= m->nresults;
        m->nresults = 0;
        scheduler_check_drained(s);
        return;
    }
    list_append(&s->stuck, &m->stuck);
    if (!timer_active(&s->retry))
        timer_start(s->loop, &s->retry, s->retry_ms, on_retry, s);
}

static void on_recorded(void *owner, enum op_status status, const void *result)
{
    struct active *m = owner;
    size_t n = m->recording;

    (void)result; /* whether the message was removed: scheduler.c's hook heard it */
    m->recording = 0;
    if (status != OP_OK) {
        not_recorded(m);
        return;
    }
    m->nresults -= n;
    if (m->nresults > 0)
        memmove(m->results, m->results + n, m->nresults * sizeof *m->results);
    m->scheduler->unrecorded -= n;
    m->recorded += n;
    flush(m);
    scheduler_check_drained(m->scheduler);
    settle(m);
}

static void flush(void *arg)
{
    struct active *m = arg;

    if (m->recording > 0 || list_linked(&m->stuck) || m->nresults == 0)
        return;
    m->recording = m->nresults;
    queue_record(m->scheduler->queue, &m->scope, m->qid, m->results, m->nresults, on_recorded, m);
}

static uint64_t lifetime_ms(const struct active *m)
{
    const struct scheduler_config *c = &m->scheduler->config;

    return m->envelope->sender[0] == '\0' ? c->bounce_queue_lifetime_ms : c->maximal_queue_lifetime_ms;
}

static enum queue_outcome outcome_of(struct active *m, const struct status *status, uint64_t now_us)
{
    if (status->cls == STATUS_OK)
        return QUEUE_DELIVERED;
    if (status->cls == STATUS_PERMFAIL)
        return QUEUE_FAILED;
    if (!backoff_expired(now_us, backoff_clock_arrival_us(&m->scheduler->clock, m->envelope->arrival_us),
                         lifetime_ms(m)))
        return QUEUE_DEFERRED;
    if (!m->expired)
        log_message(m, LOG_QUEUE_EXPIRED, "status=expired, returned to sender");
    m->expired = true;
    return QUEUE_FAILED;
}

/* Is the sender to be told that this one, which was deferred, waits? */
static bool is_late(const struct active *m, const struct envelope_rcpt *rcpt, uint64_t now_us)
{
    const struct scheduler *s = m->scheduler;

    return s->config.delay_warning_ms > 0 && rcpt->action == ENVELOPE_ACTION_NONE &&
           backoff_expired(now_us, backoff_clock_arrival_us(&s->clock, m->envelope->arrival_us),
                           s->config.delay_warning_ms);
}

/*
 * What is to be reported of a result. Nobody tells the null sender of a delay or of success; who hears of failures, the
 * report knows.
 */
static enum envelope_action action_of(const struct active *m, const struct envelope_rcpt *rcpt,
                                      enum queue_outcome outcome, const struct delivery_result *result, uint64_t now_us)
{
    if (outcome == QUEUE_FAILED)
        return ENVELOPE_ACTION_FAILED;
    if (m->envelope->sender[0] == '\0')
        return ENVELOPE_ACTION_NONE;
    if (outcome == QUEUE_DEFERRED)
        return is_late(m, rcpt, now_us) ? ENVELOPE_ACTION_DELAYED : ENVELOPE_ACTION_NONE;
    if ((rcpt->notify & ENVELOPE_NOTIFY_SUCCESS) == 0 || result->reports_itself)
        return ENVELOPE_ACTION_NONE;
    return result->relayed ? ENVELOPE_ACTION_RELAYED : ENVELOPE_ACTION_DELIVERED;
}

/*
 * When to try again: together with those that were deferred before, so that recipients of one message stay together and
 * share reports, unless that is much sooner than their turn.
 */
static uint64_t next_attempt_us(struct active *m, uint64_t now_us)
{
    const struct scheduler_config *c = &m->scheduler->config;
    uint64_t next_us = backoff_next_us(now_us, m->envelope->arrival_us, c->minimal_backoff_ms, c->maximal_backoff_ms);

    if (m->next_us < now_us || next_us - m->next_us > (next_us - now_us) / 4)
        m->next_us = next_us;
    return m->next_us;
}

void active_result(struct active_rcpt *r, const struct delivery *delivery, const struct delivery_result *result)
{
    struct active *m = r->message;
    struct scheduler *s = m->scheduler;
    struct queue_result *to;
    uint64_t now_us = scheduler_now_us(s);

    s->hooks.log_result(s->hooks.ctx, delivery, r->rcpt, result);
    if (m->results == NULL)
        m->results = mem_new_array(m->nrcpts, sizeof *m->results);
    MTA_ASSERT(m->recorded + m->nresults < m->nrcpts);
    to = &m->results[m->nresults++];
    to->rcpt_id = r->rcpt->id;
    to->outcome = outcome_of(m, &result->status, now_us);
    if (to->outcome == QUEUE_DEFERRED)
        to->next_us = next_attempt_us(m, now_us);
    to->action = action_of(m, r->rcpt, to->outcome, result, now_us);
    if (to->outcome == QUEUE_DEFERRED || to->action != ENVELOPE_ACTION_NONE) {
        to->dsn = arena_strdup(&m->arena, result->status.dsn);
        to->text = arena_strdup(&m->arena, result->status.text);
    }
    m->report = m->report || to->action != ENVELOPE_ACTION_NONE;
    m->deferred = m->deferred || to->outcome == QUEUE_DEFERRED;
    s->unrecorded++;
    if (r->dest != NULL)
        dest_unref(r->dest);
    r->dest = NULL;
    loop_defer(s->loop, &m->flush, flush, m);
}

void active_defer(struct active_rcpt *r, const struct status *status)
{
    struct active *m = r->message;
    struct envelope_rcpt rcpt = *r->rcpt;
    struct delivery none = {
        .message = &m->bare,
        .rcpts = &rcpt,
        .nrcpts = 1,
        .transport = "error",
        .nexthop = "",
        .active_us = m->active_us,
        .start_us = clock_wall_us(),
        .queue = m->scheduler->queue,
        .loop = m->scheduler->loop,
    };
    struct delivery_result result = {.status = *status, .relay = "none", .destination_ok = true};

    active_result(r, &none, &result);
}

/* ---- routing ---- */

static void ask_routes(struct active *m);

static void defer_unrouted(struct active_rcpt *r, bool routed)
{
    struct status why =
        routed ? status_of(STATUS_TRANSPORT_MISSING) : status_make(STATUS_TABLE_TEMPFAIL, "address resolver failure");

    active_defer(r, &why);
}

/* Is it one of defer_transports? */
static bool waits(const struct scheduler *s, const struct scheduler_route *route)
{
    struct slice rest = s->defer_transports != NULL ? slice_str(s->defer_transports) : SLICE_EMPTY, name;

    while ((name = slice_token(&rest, ", \t\r\n")).n > 0)
        if (slice_eq(name, slice_str(route->transport)))
            return true;
    return false;
}

static void on_route(void *owner, enum op_status status, const void *result)
{
    struct active_rcpt *r = owner;
    const struct scheduler_route *route = result;
    struct active *m = r->message;

    m->routed++;
    if (status == OP_OK && waits(m->scheduler, route)) {
        const struct status why = status_reply(STATUS_DELIVERY_DEFERRED, 451, "4.3.2", "deferred transport");

        active_defer(r, &why);
    } else {
        if (status == OP_OK) {
            r->dest = dest_ref(m->scheduler, route, r);
            r->sender = arena_strdup(&m->arena, route->sender);
        }
        if (r->dest == NULL)
            defer_unrouted(r, status == OP_OK);
    }
    if (m->routed == m->nrcpts)
        dest_assign(m);
    else
        ask_routes(m);
}

static void ask_routes(struct active *m)
{
    struct scheduler_hooks *hooks = &m->scheduler->hooks;

    while (m->asked < m->nrcpts && m->asked - m->routed < ROUTES_AT_ONCE) {
        struct active_rcpt *r = &m->rcpts[m->asked++];

        hooks->route(hooks->ctx, &m->scope, m->envelope->sender, r->rcpt, on_route, r);
    }
}

/* ---- the beginning ---- */

static struct active *enter(struct scheduler *s, uint64_t qid)
{
    struct active *m = NEW(struct active);

    m->scheduler = s;
    m->qid = qid;
    m->active_us = clock_wall_us();
    op_scope_init(&m->scope, "message");
    MTA_ASSERT(map_put(&s->messages, slice_make(&qid, sizeof qid), m) == NULL);
    return m;
}

static void copy_in(struct active *m, const struct envelope *e)
{
    m->envelope = envelope_copy(&m->arena, e);
    m->bare = *m->envelope;
    m->bare.rcpts = NULL;
    m->bare.nrcpts = 0;
    m->rcpts = arena_new_array(&m->arena, e->nrcpts, sizeof *m->rcpts);
    for (size_t i = 0; i < e->nrcpts; i++) {
        struct active_rcpt *r = &m->rcpts[m->nrcpts];

        if (e->rcpts[i].action == ENVELOPE_ACTION_EXPANDED) {
            m->report = true;
            continue;
        }
        m->nrcpts++;
        r->message = m;
        r->rcpt = &m->envelope->rcpts[i];
    }
    MTA_ASSERT(m->nrcpts > 0); /* an alias has results */
}

void active_new(struct scheduler *s, const struct envelope *e, bool fresh)
{
    struct active *m;
    char text[80];

    if (e->nrcpts == 0 || scheduler_find(s, e->qid) != NULL)
        return;
    m = enter(s, e->qid);
    copy_in(m, e);
    m->fresh = fresh;
    *(fresh ? &s->fresh : &s->loaded) += m->nrcpts;
    for (size_t i = 0; i < m->nrcpts; i++)
        crowd_enter(s, m->rcpts[i].rcpt->addr);
    snprintf(text, sizeof text, "size=%" PRIu64 ", nrcpt=%zu (queue active)", e->size, m->nrcpts);
    log_message(m, LOG_QUEUE_ACTIVE, text);
    ask_routes(m);
}

void active_report_only(struct scheduler *s, uint64_t qid)
{
    report(enter(s, qid));
}
