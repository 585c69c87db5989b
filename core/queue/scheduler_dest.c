/*
 * Transports, destinations and attempts: who is next. Called by scheduler_active.c when a message is routed and by the
 * transports when an attempt ends; dispatches from a deferred task, never inside those calls.
 *
 * A destination has its messages in turn and a window of attempts at once (backoff.h); a transport has its
 * destinations that could start something in turn, and its process limit. So neither a large message nor a destination
 * with many messages keeps another waiting for more than one attempt. A destination whose window closes is dead for
 * minimal_backoff: its recipients are deferred unseen.
 */
#include "core/base/alloc.h"
#include "core/queue/scheduler_int.h"

#define PATIENCE_MS 250 /* most servers that are there have answered a connection by then */
#define ASIDE_MOST  10  /* times the process limit */

struct transport {
    struct list link;
    struct scheduler *scheduler;
    char *name;
    struct scheduler_limits limits;
    struct map dests;
    struct list ready; /* destinations with something to start and room in their window */
    uint32_t running;
    uint32_t aside;    /* attempts that have looked for a connection for long, which are not in `running` */
    struct timer pace; /* transport_rate_delay */
};

struct dest {
    struct transport *transport;
    char *nexthop;
    struct slice key;    /* next hop, and the recipient when each is a destination of its own */
    struct list waiting; /* entries */
    struct list ready;
    struct backoff_window window;
    uint32_t running;
    size_t refs; /* recipients */
    struct timer dead;
    struct timer pace;          /* destination_rate_delay */
    struct status *why;         /* the last failure of the destination; NULL: none yet */
    struct entry *gathering[2]; /* of the message that is being assigned: with its sender, with one of the route */
};

struct attempt {
    struct delivery delivery;
    struct list link;
    struct active *message;
    struct dest *dest;          /* NULL: the scheduler is gone */
    struct active_rcpt **rcpts; /* NULL where the result was told */
    size_t told;
    bool failed; /* the destination did */
    bool aside;
    struct timer patience; /* it looks for a connection */
};

/* ---- transports and destinations ---- */

static struct transport *transport_get(struct scheduler *s, const char *name)
{
    struct transport *t;

    LIST_FOREACH(it, &s->transports)
    {
        t = LIST_ITEM(it, struct transport, link);
        if (strcmp(t->name, name) == 0)
            return t;
    }
    t = NEW(struct transport);
    t->scheduler = s;
    t->name = mem_strdup(name);
    list_init(&t->ready);
    list_append(&s->transports, &t->link);
    return t;
}

static struct slice dest_key(struct arena *a, const struct transport *t, const char *nexthop, const char *addr)
{
    size_t n = strlen(nexthop);

    if (t->limits.recipient_limit != 1)
        return slice_make(nexthop, n);
    return slice_make(arena_printf(a, "%s %s", nexthop, addr), n + 1 + strlen(addr));
}

/* As configured now; the window keeps its size. */
static void take_limits(struct dest *d)
{
    const struct scheduler_limits *limits = &d->transport->limits;

    d->window.initial = limits->initial_concurrency;
    d->window.limit = limits->rate_delay_ms > 0 ? 1 : limits->concurrency_limit;
    d->window.cohort_limit = limits->cohort_limit;
    d->window.positive = limits->positive;
    d->window.negative = limits->negative;
}

static struct dest *dest_new(struct transport *t, const char *nexthop, struct slice key)
{
    struct dest *d = NEW(struct dest);

    d->transport = t;
    d->nexthop = mem_strdup(nexthop);
    d->key = slice_make(mem_dup(key.p, key.n), key.n);
    list_init(&d->waiting);
    take_limits(d);
    backoff_window_open(&d->window);
    map_put(&t->dests, d->key, d);
    return d;
}

static void dest_free(struct dest *d)
{
    timer_stop(&d->dead);
    timer_stop(&d->pace);
    list_remove(&d->ready);
    mem_free((void *)d->key.p);
    mem_free(d->nexthop);
    mem_free(d->why);
    mem_free(d);
}

/* A destination is forgotten when nothing refers to it, unless it is dead or to be left alone for a time. */
static void dest_forget(struct dest *d)
{
    if (d->refs > 0 || d->running > 0 || timer_active(&d->dead) || timer_active(&d->pace))
        return;
    map_remove(&d->transport->dests, d->key);
    dest_free(d);
}

struct dest *dest_ref(struct scheduler *s, const struct scheduler_route *route, const struct active_rcpt *r)
{
    struct scheduler_limits limits;
    struct arena scratch = {0};
    struct transport *t;
    struct dest *d;
    struct slice key;

    if (!s->hooks.limits(s->hooks.ctx, route->transport, &limits))
        return NULL;
    t = transport_get(s, route->transport);
    t->limits = limits; /* as configured now */
    key = dest_key(&scratch, t, route->nexthop, r->rcpt->addr);
    d = map_get(&t->dests, key);
    if (d == NULL)
        d = dest_new(t, route->nexthop, key);
    take_limits(d);
    d->refs++;
    arena_clear(&scratch);
    return d;
}

void dest_unref(struct dest *d)
{
    MTA_ASSERT(d->refs > 0);
    d->refs--;
    dest_forget(d);
}

/* ---- waiting ---- */

static void dispatch(void *arg);

static bool can_start(const struct dest *d)
{
    uint32_t window =
        d->window.limit > 0 && d->window.size > d->window.limit ? d->window.limit : backoff_window_size(&d->window);

    return !list_empty(&d->waiting) && d->running < window && !timer_active(&d->pace);
}

/* Puts a destination where its transport finds it, if it can start something. */
static void make_ready(struct dest *d)
{
    struct scheduler *s = d->transport->scheduler;

    if (!can_start(d))
        return;
    if (!list_linked(&d->ready))
        list_append(&d->transport->ready, &d->ready);
    if (!s->draining)
        loop_defer(s->loop, &s->dispatch, dispatch, s);
}

static void suspend(struct active_rcpt *r, const struct status *why)
{
    struct status status = status_reply(STATUS_DELIVERY_DEFERRED, 451, why->dsn[0] == '4' ? why->dsn : "4.3.0",
                                        "delivery temporarily suspended: %s", why->text);

    active_defer(r, &status);
}

static struct entry *gather(struct active *m, struct dest *d, const char *sender)
{
    struct entry **gathering = &d->gathering[sender != NULL], *e = *gathering;

    if (e != NULL && (sender == NULL || strcmp(e->sender, sender) == 0))
        return e;
    e = ARENA_NEW(&m->arena, struct entry);
    e->message = m;
    e->sender = sender;
    e->end = &e->first;
    list_append(&d->waiting, &e->link);
    *gathering = e;
    return e;
}

void dest_assign(struct active *m)
{
    for (size_t i = 0; i < m->nrcpts; i++) {
        struct active_rcpt *r = &m->rcpts[i];
        struct dest *d = r->dest;
        struct entry *e;

        if (d == NULL)
            continue;
        if (timer_active(&d->dead)) {
            suspend(r, d->why);
            continue;
        }
        e = gather(m, d, r->sender);
        *e->end = r;
        e->end = &r->next;
    }
    for (size_t i = 0; i < m->nrcpts; i++) {
        struct dest *d = m->rcpts[i].dest;

        if (d != NULL) {
            d->gathering[0] = d->gathering[1] = NULL;
            make_ready(d);
        }
    }
}

/* ---- starting ---- */

/* Takes the recipients of the next attempt off the entry; the entry is unlinked when none is left. */
static size_t take_rcpts(struct entry *e, uint32_t limit, struct active_rcpt **to)
{
    size_t n = 0;

    while (e->first != NULL && (limit == 0 || n < limit)) {
        to[n++] = e->first;
        e->first = e->first->next;
    }
    list_remove(&e->link);
    return n;
}

static size_t count_rcpts(const struct entry *e, uint32_t limit)
{
    size_t n = 0;

    for (const struct active_rcpt *r = e->first; r != NULL && (limit == 0 || n < limit); r = r->next)
        n++;
    return n;
}

static const struct envelope *from_sender(struct arena *a, const struct envelope *bare, const char *sender)
{
    struct envelope *copy = ARENA_NEW(a, struct envelope);

    *copy = *bare;
    copy->sender = arena_strdup(a, sender);
    return copy;
}

static struct attempt *attempt_new(struct dest *d, struct entry *e)
{
    struct transport *t = d->transport;
    struct attempt *a = NEW(struct attempt);
    struct delivery *v = &a->delivery;
    size_t n = count_rcpts(e, t->limits.recipient_limit);

    a->message = e->message;
    a->dest = d;
    a->rcpts = arena_new_array(&v->arena, n, sizeof(struct active_rcpt *));
    v->nrcpts = take_rcpts(e, t->limits.recipient_limit, a->rcpts);
    v->rcpts = arena_new_array(&v->arena, n, sizeof *v->rcpts);
    for (size_t i = 0; i < n; i++)
        v->rcpts[i] = *a->rcpts[i]->rcpt;
    v->message = e->sender == NULL ? &e->message->bare : from_sender(&v->arena, &e->message->bare, e->sender);
    v->transport = arena_strdup(&v->arena, t->name);
    v->nexthop = arena_strdup(&v->arena, d->nexthop);
    v->active_us = e->message->active_us;
    v->start_us = clock_wall_us();
    v->queue = t->scheduler->queue;
    v->loop = t->scheduler->loop;
    return a;
}

static void start_one(struct dest *d)
{
    struct transport *t = d->transport;
    struct scheduler *s = t->scheduler;
    struct entry *e = LIST_ITEM(d->waiting.next, struct entry, link);
    struct attempt *a = attempt_new(d, e);

    if (e->first != NULL)
        list_append(&d->waiting, &e->link); /* the others first */
    a->message->running++;
    d->running++;
    t->running++;
    list_append(&s->attempts, &a->link);
    s->hooks.deliver(s->hooks.ctx, &a->delivery);
}

static void on_transport_paced(void *arg)
{
    struct scheduler *s = ((struct transport *)arg)->scheduler;

    if (!s->draining)
        loop_defer(s->loop, &s->dispatch, dispatch, s);
}

/* May it start another delivery now? */
static bool transport_may(const struct transport *t)
{
    uint32_t limit = t->limits.process_limit;

    return (limit == 0 || (t->running < limit && t->aside / ASIDE_MOST < limit)) && !timer_active(&t->pace);
}

static void dispatch(void *arg)
{
    struct scheduler *s = arg;

    LIST_FOREACH(it, &s->transports)
    {
        struct transport *t = LIST_ITEM(it, struct transport, link);

        while (!s->draining && !list_empty(&t->ready) && transport_may(t)) {
            struct dest *d = LIST_ITEM(list_shift(&t->ready), struct dest, ready);

            if (can_start(d)) {
                start_one(d);
                if (t->limits.transport_rate_delay_ms > 0)
                    timer_start(s->loop, &t->pace, t->limits.transport_rate_delay_ms, on_transport_paced, t);
            }
            if (can_start(d))
                list_append(&t->ready, &d->ready);
        }
    }
}

/* ---- connecting ---- */

static void on_no_connection(void *arg)
{
    struct attempt *a = arg;
    struct transport *t = a->dest->transport;
    struct scheduler *s = t->scheduler;

    a->aside = true;
    t->running--;
    t->aside++;
    if (!list_empty(&t->ready) && !s->draining)
        loop_defer(s->loop, &s->dispatch, dispatch, s);
    scheduler_check_drained(s);
}

static void come_back(struct attempt *a)
{
    timer_stop(&a->patience);
    if (!a->aside)
        return;
    a->aside = false;
    a->dest->transport->aside--;
    a->dest->transport->running++;
}

bool attempts_may_be_cut_off(const struct scheduler *s)
{
    LIST_FOREACH(it, &s->attempts)
    if (!LIST_ITEM(it, const struct attempt, link)->aside)
        return false;
    return true;
}

void delivery_connecting(struct delivery *v, bool connecting)
{
    struct attempt *a = CONTAINER_OF(v, struct attempt, delivery);

    if (a->dest == NULL)
        return;
    if (!connecting)
        come_back(a);
    else if (!a->aside && !timer_active(&a->patience))
        timer_start(a->dest->transport->scheduler->loop, &a->patience, PATIENCE_MS, on_no_connection, a);
}

/* ---- ending ---- */

static void on_revived(void *arg)
{
    struct dest *d = arg;

    take_limits(d);
    backoff_window_open(&d->window);
    dest_forget(d);
}

static void on_paced(void *arg)
{
    struct dest *d = arg;

    make_ready(d);
    dest_forget(d);
}

/* All that waits for it is deferred; so is what comes while the timer runs. */
static void die(struct dest *d)
{
    struct scheduler *s = d->transport->scheduler;
    struct list *it;

    timer_start(s->loop, &d->dead, s->config.minimal_backoff_ms, on_revived, d);
    list_remove(&d->ready);
    while ((it = list_shift(&d->waiting)) != NULL) {
        struct entry *e = LIST_ITEM(it, struct entry, link);

        for (struct active_rcpt *r = e->first, *next; r != NULL; r = next) {
            next = r->next;
            suspend(r, d->why);
        }
    }
}

static void feed_back(struct dest *d, bool failed)
{
    if (timer_active(&d->dead))
        return;
    if (!failed) {
        backoff_window_success(&d->window, d->running);
        return;
    }
    backoff_window_failure(&d->window);
    if (backoff_window_size(&d->window) == 0)
        die(d);
}

static void dest_attempt_done(struct dest *d, bool failed)
{
    struct transport *t = d->transport;
    struct scheduler *s = t->scheduler;

    feed_back(d, failed);
    d->running--;
    t->running--;
    if (t->limits.rate_delay_ms > 0)
        timer_start(s->loop, &d->pace, t->limits.rate_delay_ms, on_paced, d);
    make_ready(d);
    if (!list_empty(&t->ready) && !s->draining)
        loop_defer(s->loop, &s->dispatch, dispatch, s);
    dest_forget(d);
    scheduler_check_drained(s);
}

void delivery_rcpt(struct delivery *v, size_t index, const struct delivery_result *result)
{
    struct attempt *a = CONTAINER_OF(v, struct attempt, delivery);
    struct active_rcpt *r;

    MTA_ASSERT(index < v->nrcpts && a->rcpts[index] != NULL);
    r = a->rcpts[index];
    a->rcpts[index] = NULL;
    a->told++;
    if (a->dest == NULL)
        return;
    if (!result->destination_ok && result->status.cls != STATUS_OK) {
        a->failed = true;
        if (a->dest->why == NULL)
            a->dest->why = NEW(struct status);
        *a->dest->why = result->status;
    }
    active_result(r, v, result);
}

static void attempt_free(struct attempt *a)
{
    list_remove(&a->link);
    arena_clear(&a->delivery.arena);
    mem_free(a);
}

bool delivery_has_company(const struct delivery *v)
{
    const struct dest *d = CONTAINER_OF(v, const struct attempt, delivery)->dest;

    return d != NULL && (d->running > 1 || !list_empty(&d->waiting));
}

void delivery_done(struct delivery *v)
{
    struct attempt *a = CONTAINER_OF(v, struct attempt, delivery);
    struct active *m = a->message;
    struct dest *d = a->dest;
    bool failed = a->failed;

    MTA_ASSERT(a->told == v->nrcpts);
    if (d != NULL)
        come_back(a);
    attempt_free(a);
    if (d != NULL)
        dest_attempt_done(d, failed);
    active_attempt_done(m);
}

static void transport_free(struct transport *t)
{
    size_t at = 0;
    struct slice key;
    void *value;

    while (map_next(&t->dests, &at, &key, &value))
        dest_free(value);
    map_clear(&t->dests);
    timer_stop(&t->pace);
    mem_free(t->name);
    mem_free(t);
}

size_t dest_attempts(const struct scheduler *s)
{
    size_t n = 0;

    LIST_FOREACH(it, &s->attempts)
    n++;
    return n;
}

void dest_drop_all(struct scheduler *s)
{
    struct list *it;

    while ((it = list_shift(&s->attempts)) != NULL) {
        struct attempt *a = LIST_ITEM(it, struct attempt, link);

        timer_stop(&a->patience);
        a->dest = NULL;
    }
    while ((it = list_shift(&s->transports)) != NULL)
        transport_free(LIST_ITEM(it, struct transport, link));
}
