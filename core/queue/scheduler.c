/*
 * The scheduler's outside (see scheduler.h), and what is in memory: fresh messages are taken as they are committed, the
 * others are loaded when they are due and there is room. Called by main and by the queue's hooks; waits on loads and
 * timers.
 *
 * Half of active_limit at the most is for loaded recipients, and while a backlog waits in the database, half for
 * fresh ones: neither a flood of new mail nor a large backlog shuts the other out. What a load found is never trusted
 * about messages that were in memory, or came, while it ran.
 */
#include "core/queue/scheduler.h"

#include "core/base/alloc.h"
#include "core/base/id.h"
#include "core/base/log.h"
#include "core/queue/scheduler_int.h"

#include <stdlib.h>

#define RETRY_MOST_MS   10000 /* after the database failed */
#define MORE_REPORTS_MS 1000  /* until the next part of many messages that wait for reports */
#define LEAST_PAUSE_MS  200 /* between two loads without backlog: recipients due soon after each other come together */
#define LOOK_BACK_US    10000000 /* what is committed later may have come so much earlier */
#define CLOCK_SLACK_US  60000000 /* a clock set back by less than this is no reason to try again early */

static struct slice qid_key(const uint64_t *qid)
{
    return slice_make(qid, sizeof *qid);
}

struct active *scheduler_find(struct scheduler *s, uint64_t qid)
{
    return map_get(&s->messages, qid_key(&qid));
}

uint64_t scheduler_now_us(struct scheduler *s)
{
    uint64_t now_us = clock_wall_us();
    int64_t jump_us = backoff_clock_look(&s->clock, now_us, loop_now_ms(s->loop));

    if (jump_us != 0)
        log_event(LOG_QUEUE_WARNING, NULL,
                  "the clock was set %s by %lld s: mail in the queue does not grow older by it",
                  jump_us > 0 ? "ahead" : "back", llabs(jump_us) / 1000000);
    return now_us;
}

/* ---- room ---- */

static size_t loaded_quota(const struct scheduler *s)
{
    return s->config.active_limit > 1 ? s->config.active_limit / 2 : 1;
}

static bool room_for_fresh(const struct scheduler *s, size_t nrcpts)
{
    if (s->fresh + s->loaded + (s->loading ? s->load_room : 0) + nrcpts > s->config.active_limit)
        return false;
    return !s->backlog || s->fresh + nrcpts <= s->config.active_limit / 2;
}

static size_t room_for_loaded(const struct scheduler *s)
{
    size_t quota = loaded_quota(s), used = s->fresh + s->loaded, room;

    if (used >= s->config.active_limit || s->loaded >= quota)
        return 0;
    room = s->config.active_limit - used;
    return room < quota - s->loaded ? room : quota - s->loaded;
}

/* ---- loading ---- */

static void on_due(void *arg)
{
    struct scheduler *s = arg;

    s->wanted = true;
    scheduler_feed(s);
}

void scheduler_wake(struct scheduler *s, uint64_t delay_ms)
{
    if (!s->started || s->draining)
        return;
    if (delay_ms < LEAST_PAUSE_MS)
        delay_ms = LEAST_PAUSE_MS;
    if (!timer_active(&s->due) || s->due.due_ms > loop_now_ms(s->loop) + delay_ms)
        timer_start(s->loop, &s->due, delay_ms, on_due, s);
}

static void on_run(void *arg)
{
    struct scheduler *s = arg;

    timer_start(s->loop, &s->run, s->config.queue_run_delay_ms, on_run, s);
    scheduler_now_us(s);
    s->due_from_us = 0;
    s->reports_wanted = true;
    s->wanted = true;
    scheduler_feed(s);
}

static bool came_since(const struct scheduler *s, uint64_t qid)
{
    return map_get(&s->since, qid_key(&qid)) != NULL;
}

static void take_batch(struct scheduler *s, const struct queue_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        if (!came_since(s, batch->messages[i]->qid))
            active_new(s, batch->messages[i], false);
    for (size_t i = 0; i < batch->nreports; i++) {
        struct active *m = scheduler_find(s, batch->reports[i]);

        if (came_since(s, batch->reports[i]))
            continue;
        if (m != NULL)
            m->report = true; /* one of this batch: the report waits for its recipients that are due */
        else
            active_report_only(s, batch->reports[i]);
    }
    if (batch->nreports == QUEUE_REPORTS_MOST) {
        s->reports_wanted = true;
        scheduler_wake(s, MORE_REPORTS_MS);
    }
}

static void set_due_timer(struct scheduler *s, uint64_t next_us)
{
    uint64_t now_us = clock_wall_us(), delay_ms;

    if (next_us == 0)
        return;
    delay_ms = next_us > now_us ? (next_us - now_us) / 1000 + 1 : 0;
    if (delay_ms < s->config.queue_run_delay_ms) /* else a queue run comes before */
        scheduler_wake(s, delay_ms);
}

static void on_loaded(void *owner, enum op_status status, const void *result)
{
    struct scheduler *s = owner;
    const struct queue_batch *batch = result;

    s->loading = false;
    if (status == OP_OK) {
        s->backlog = batch->next_due_us != 0 && batch->next_due_us <= clock_wall_us();
        s->wanted = s->wanted || s->backlog;
        if (batch->passed_over)
            s->due_from_us = batch->looked_to_us > LOOK_BACK_US ? batch->looked_to_us - LOOK_BACK_US : 0;
        take_batch(s, batch);
        if (!s->backlog)
            set_due_timer(s, batch->next_due_us);
    } else {
        scheduler_wake(s, s->retry_ms);
    }
    map_clear(&s->since);
    scheduler_feed(s);
}

static uint64_t *list_busy(struct scheduler *s)
{
    uint64_t *busy = mem_new_array(s->messages.count, sizeof *busy);
    size_t at = 0, n = 0;
    struct slice key;
    void *value;

    while (map_next(&s->messages, &at, &key, &value))
        busy[n++] = ((struct active *)value)->qid;
    return busy;
}

static void load(struct scheduler *s, size_t room)
{
    struct arena scratch = {0};
    struct queue_due due = {.now_us = clock_wall_us(), .limit = room, .reports = s->reports_wanted};
    uint64_t *busy = list_busy(s);

    due.horizon_us = due.now_us + s->config.maximal_backoff_ms * 1000 + CLOCK_SLACK_US;
    due.busy = busy;
    due.nbusy = s->messages.count;
    due.ncrowded = crowd_list(s, &scratch, &due.crowded);
    due.from_us = due.ncrowded > 0 ? s->due_from_us : 0;
    s->loading = true;
    s->load_room = room;
    s->wanted = s->reports_wanted = false;
    queue_load_due(s->queue, &s->scope, &due, on_loaded, s);
    mem_free(busy);
    arena_clear(&scratch);
}

void scheduler_feed(struct scheduler *s)
{
    size_t room = room_for_loaded(s), worthwhile = loaded_quota(s) / 2;

    if (!s->started || !s->wanted || s->loading || s->draining || room == 0)
        return;
    /* Many at a time: each load looks past all that is in memory. */
    if (room >= worthwhile || s->loaded == 0)
        load(s, room);
}

/* ---- the queue's hooks ---- */

static void on_commit(void *arg, const struct envelope *e)
{
    struct scheduler *s = arg;

    if (s->draining || crowd_turns_away(s, e))
        return;
    if (room_for_fresh(s, e->nrcpts)) {
        active_new(s, e, true);
        if (s->loading)
            map_put(&s->since, qid_key(&e->qid), s);
        return;
    }
    s->backlog = s->wanted = true;
    scheduler_feed(s);
}

static void on_remove(void *arg, uint64_t qid)
{
    struct scheduler *s = arg;
    struct active *m = scheduler_find(s, qid);
    char id[ID_TEXT];
    struct log_ctx ctx = {.syslog_name = s->syslog_name, .qid = id_format(id, qid)};

    log_event(LOG_QUEUE_REMOVED, &ctx, "removed");
    if (m != NULL)
        m->removed = true;
}

/* ---- life ---- */

void scheduler_reload(struct scheduler *s, const struct scheduler_config *config)
{
    mem_free(s->syslog_name);
    mem_free(s->defer_transports);
    s->config = *config;
    s->config.syslog_name = s->syslog_name = mem_strdup(config->syslog_name);
    s->config.defer_transports = s->defer_transports = mem_strdup(config->defer_transports);
    if (s->config.active_limit == 0)
        s->config.active_limit = 1;
    s->retry_ms = config->minimal_backoff_ms < RETRY_MOST_MS ? config->minimal_backoff_ms : RETRY_MOST_MS;
}

struct scheduler *scheduler_new(struct loop *loop, struct queue *queue, const struct scheduler_config *config,
                                const struct scheduler_hooks *hooks)
{
    struct scheduler *s = NEW(struct scheduler);

    s->loop = loop;
    s->queue = queue;
    scheduler_reload(s, config);
    s->hooks = *hooks;
    op_scope_init(&s->scope, "scheduler");
    list_init(&s->transports);
    list_init(&s->attempts);
    list_init(&s->stuck);
    return s;
}

void scheduler_start(struct scheduler *s)
{
    MTA_ASSERT(!s->started);
    s->started = true;
    queue_on_commit(s->queue, on_commit, s);
    queue_on_remove(s->queue, on_remove, s);
    on_run(s);
}

static void tell_drained(void *arg)
{
    struct scheduler *s = arg;
    void (*fn)(void *) = s->drained;

    s->drained = NULL;
    if (fn != NULL)
        fn(s->drained_arg);
}

void scheduler_check_drained(struct scheduler *s)
{
    if (s->draining && s->drained != NULL && attempts_may_be_cut_off(s) && s->unrecorded == 0 && s->reporting == 0)
        loop_defer(s->loop, &s->drained_task, tell_drained, s);
}

void scheduler_drain(struct scheduler *s, void (*drained)(void *arg), void *arg)
{
    s->draining = true;
    s->drained = drained;
    s->drained_arg = arg;
    timer_stop(&s->due);
    timer_stop(&s->run);
    timer_stop(&s->retry);
    op_scope_close(&s->scope);
    active_unstick(s);
    scheduler_check_drained(s);
}

static void drop_messages(struct scheduler *s)
{
    size_t at = 0;
    struct slice key;
    void *value;

    while (map_next(&s->messages, &at, &key, &value))
        active_drop(value);
    map_clear(&s->messages);
}

void scheduler_free(struct scheduler **sp)
{
    struct scheduler *s = *sp;

    if (s == NULL)
        return;
    *sp = NULL;
    queue_on_commit(s->queue, NULL, NULL);
    queue_on_remove(s->queue, NULL, NULL);
    timer_stop(&s->due);
    timer_stop(&s->run);
    timer_stop(&s->retry);
    loop_defer_cancel(&s->dispatch);
    loop_defer_cancel(&s->drained_task);
    op_scope_close(&s->scope);
    dest_drop_all(s);
    drop_messages(s);
    map_clear(&s->since);
    crowd_clear(s);
    mem_free(s->defer_transports);
    mem_free(s->syslog_name);
    mem_free(s);
}

struct scheduler_counts scheduler_count(const struct scheduler *s)
{
    return (struct scheduler_counts){
        .messages = s->messages.count, .rcpts = s->fresh + s->loaded, .deliveries = dest_attempts(s)};
}
