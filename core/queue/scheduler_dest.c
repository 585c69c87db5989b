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

struct transport {
    struct list link;
    struct scheduler *scheduler;
    char *name;
    struct scheduler_limits limits;
    struct map dests;
    struct list ready; /* destinations with something to start and room in their window */
    uint32_t running;
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
    struct status *why;      /* the last failure of the destination; NULL: none yet */
    struct entry *gathering; /* of the message that is being assigned */
};

struct attempt {
    struct delivery delivery;
    struct list link;
    struct active *message;
    struct dest *dest;          /* NULL: the scheduler is gone */
    struct active_rcpt **rcpts; /* NULL where the result was told */
    size_t told;
    bool failed; /* the destination did */
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

static struct dest *dest_new(struct transport *t, const char *nexthop, struct slice key)
{
    struct dest *d = NEW(struct dest);

    d->transport = t;
    d->nexthop = mem_strdup(nexthop);
    d->key = slice_make(mem_dup(key.p, key.n), key.n);
    list_init(&d->waiting);
    backoff_window_open(&d->window, t->limits.initial_concurrency, t->limits.concurrency_limit);
    map_put(&t->dests, d->key, d);
    return d;
}

static void dest_free(struct dest *d)
{
    timer_stop(&d->dead);
    list_remove(&d->ready);
    mem_free((void *)d->key.p);
    mem_free(d->nexthop);
    mem_free(d->why);
    mem_free(d);
}

/* A destination is forgotten when nothing refers to it, unless it is dead: that is remembered for its time. */
static void dest_forget(struct dest *d)
{
    if (d->refs > 0 || d->running > 0 || timer_active(&d->dead))
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
    d->window.limit = limits.concurrency_limit;
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
    return !list_empty(&d->waiting) && d->running < backoff_window_size(&d->window);
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

static struct entry *gather(struct active *m, struct dest *d)
{
    struct entry *e = d->gathering;

    if (e != NULL && e->message == m)
        return e;
    e = ARENA_NEW(&m->arena, struct entry);
    e->message = m;
    e->end = &e->first;
    list_append(&d->waiting, &e->link);
    d->gathering = e;
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
        e = gather(m, d);
        *e->end = r;
        e->end = &r->next;
    }
    for (size_t i = 0; i < m->nrcpts; i++) {
        struct dest *d = m->rcpts[i].dest;

        if (d != NULL) {
            d->gathering = NULL;
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
    v->message = &e->message->bare;
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

static void dispatch(void *arg)
{
    struct scheduler *s = arg;

    LIST_FOREACH(it, &s->transports)
    {
        struct transport *t = LIST_ITEM(it, struct transport, link);

        while (!s->draining && !list_empty(&t->ready) &&
               (t->limits.process_limit == 0 || t->running < t->limits.process_limit)) {
            struct dest *d = LIST_ITEM(list_shift(&t->ready), struct dest, ready);

            if (can_start(d))
                start_one(d);
            if (can_start(d))
                list_append(&t->ready, &d->ready);
        }
    }
}

/* ---- ending ---- */

static void on_revived(void *arg)
{
    struct dest *d = arg;

    backoff_window_open(&d->window, d->transport->limits.initial_concurrency, d->transport->limits.concurrency_limit);
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

void delivery_done(struct delivery *v)
{
    struct attempt *a = CONTAINER_OF(v, struct attempt, delivery);
    struct active *m = a->message;
    struct dest *d = a->dest;
    bool failed = a->failed;

    MTA_ASSERT(a->told == v->nrcpts);
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
    mem_free(t->name);
    mem_free(t);
}

void dest_drop_all(struct scheduler *s)
{
    struct list *it;

    while ((it = list_shift(&s->attempts)) != NULL)
        LIST_ITEM(it, struct attempt, link)->dest = NULL;
    while ((it = list_shift(&s->transports)) != NULL)
        transport_free(LIST_ITEM(it, struct transport, link));
}
