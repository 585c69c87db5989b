/*
 * The registry of transports and the life of attempts: see transport.h. Main gives transports_limits, _deliver and
 * _log to the scheduler; agents are in files of their own behind struct transport_agent.
 *
 * Owns one transport_set for the configuration in force, and older ones for as long as attempts that began with them
 * run. Waits on nothing itself.
 */
#include "delivery/transport_int.h"

#include "core/base/alloc.h"
#include "core/base/id.h"
#include "core/base/log.h"
#include "delivery/conn_cache.h"
#include "delivery/dlog.h"

struct transports {
    struct loop *loop;
    struct tables *tables;
    struct dns *dns;
    struct conn_cache *conns;
    struct transport_set *set;
    struct list jobs;
};

/* What delivers for each type; those that are not there are not supported yet. */
static const struct transport_agent *const agents[] = {
    [CONF_TRANSPORT_TYPE_PIPE] = &transport_pipe,       [CONF_TRANSPORT_TYPE_MAILDIR] = &transport_maildir,
    [CONF_TRANSPORT_TYPE_DISCARD] = &transport_discard, [CONF_TRANSPORT_TYPE_ERROR] = &transport_error,
    [CONF_TRANSPORT_TYPE_RETRY] = &transport_retry,     [CONF_TRANSPORT_TYPE_SMTP] = &transport_smtp,
    [CONF_TRANSPORT_TYPE_LMTP] = &transport_lmtp,
};

static const struct transport_agent *agent_of(const struct conf_transport *t)
{
    const struct transport_agent *agent = (size_t)t->type < ARRAY_LEN(agents) ? agents[t->type] : NULL;

    return t->usable && agent != NULL ? agent : &transport_missing;
}

/* ---- sets ---- */

static void set_unref(struct transport_set **setp)
{
    struct transport_set *set = *setp;

    *setp = NULL;
    if (set == NULL || --set->users > 0)
        return;
    for (size_t i = 0; i < set->conf->ntransports; i++)
        if (set->transports[i].agent->close != NULL)
            set->transports[i].agent->close(&set->transports[i]);
    arena_clear(&set->arena);
    rules_unref(&set->rules);
    conf_unref(&set->conf);
    mem_free(set);
}

static void read_feedback(struct transport *t, struct buf *err)
{
    const struct {
        const char *what, *text;
        struct backoff_feedback *to;
    } rows[] = {{"positive", t->conf->destination_concurrency_positive_feedback, &t->positive},
                {"negative", t->conf->destination_concurrency_negative_feedback, &t->negative}};
    char text[200];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (!backoff_feedback_parse(rows[i].text, rows[i].to)) {
            snprintf(
                text, sizeof text,
                "destination_concurrency_%s_feedback is a number from 0 to 1, perhaps followed by \"/ concurrency\" "
                "or \"/ sqrt_concurrency\", not \"%.40s\"",
                rows[i].what, rows[i].text);
            transport_complain(t, err, text);
        }
}

/* NULL when something was added to `err`. */
static struct transport_set *set_new(struct transports *all, const struct conf *conf, struct rules *rules,
                                     struct buf *err)
{
    struct transport_set *set = NEW(struct transport_set);
    size_t complaints = buf_len(err);

    set->all = all;
    set->conf = conf_ref(conf);
    set->rules = rules != NULL ? rules_ref(rules) : NULL;
    set->users = 1;
    set->missing = (struct transport){.agent = &transport_missing, .set = set, .loop = all->loop};
    set->transports = arena_new_array(&set->arena, conf->ntransports, sizeof *set->transports);
    for (size_t i = 0; i < conf->ntransports; i++) {
        struct transport *t = &set->transports[i];

        t->conf = &conf->transports[i];
        t->agent = agent_of(t->conf);
        t->set = set;
        t->tables = all->tables;
        t->dns = all->dns;
        t->conns = all->conns;
        t->loop = all->loop;
        read_feedback(t, err);
        if (t->agent->open != NULL)
            t->own = t->agent->open(t, err);
    }
    if (buf_len(err) > complaints)
        set_unref(&set);
    return set;
}

void transport_complain(const struct transport *t, struct buf *err, const char *what)
{
    buf_add_str(err, t->conf->file);
    if (t->conf->line > 0) /* else it is built in */
        buf_printf(err, ":%d", t->conf->line);
    buf_printf(err, ": transport %s: %s\n", t->conf->name, what);
}

struct transports *transports_new(struct loop *loop, struct tables *tables, struct dns *dns, const struct conf *conf,
                                  struct rules *rules, struct buf *err)
{
    struct transports *all = NEW(struct transports);

    all->loop = loop;
    all->tables = tables;
    all->dns = dns;
    all->conns = conn_cache_new(loop);
    list_init(&all->jobs);
    if (!transports_reload(all, conf, rules, err))
        transports_free(&all);
    return all;
}

bool transports_reload(struct transports *all, const struct conf *conf, struct rules *rules, struct buf *err)
{
    struct transport_set *set = set_new(all, conf, rules, err);

    if (set == NULL)
        return false;
    conn_cache_close_all(all->conns); /* they were opened with other settings */
    set_unref(&all->set);
    all->set = set;
    return true;
}

void transports_free(struct transports **allp)
{
    const struct outcome cut_off = {
        .status = status_make(STATUS_DELIVERY_DEFERRED, "the mail system shuts down"),
        .destination_ok = true,
    };
    struct transports *all = *allp;

    if (all == NULL)
        return;
    *allp = NULL;
    LIST_FOREACH(it, &all->jobs)
    transport_job_end(LIST_ITEM(it, struct transport_job, link), &cut_off);
    conn_cache_free(&all->conns);
    set_unref(&all->set);
    mem_free(all);
}

bool transport_current(const struct transport *t)
{
    return t->set == t->set->all->set;
}

static struct transport *find(const struct transports *all, const char *name)
{
    const struct conf *conf = all->set->conf;
    const struct conf_transport *t = conf_transport_find(conf, name);

    return t != NULL ? &all->set->transports[t - conf->transports] : NULL;
}

/* ---- the scheduler's hooks ---- */

bool transports_limits(const struct transports *all, const char *name, struct scheduler_limits *limits)
{
    const struct transport *t = find(all, name);

    if (t == NULL)
        return false;
    limits->recipient_limit = (uint32_t)t->conf->destination_recipient_limit;
    limits->concurrency_limit = (uint32_t)t->conf->destination_concurrency_limit;
    limits->initial_concurrency = (uint32_t)t->conf->initial_destination_concurrency;
    limits->process_limit = (uint32_t)t->conf->maxproc;
    limits->cohort_limit = (uint32_t)t->conf->destination_concurrency_failed_cohort_limit;
    limits->positive = t->positive;
    limits->negative = t->negative;
    limits->rate_delay_ms = t->conf->destination_rate_delay_ms;
    limits->transport_rate_delay_ms = t->conf->transport_rate_delay_ms;
    return true;
}

void transports_deliver(struct transports *all, struct delivery *d)
{
    struct transport *t = find(all, d->transport);

    if (t == NULL) /* a reload came between the scheduler's question and this */
        t = &all->set->missing;
    t->agent->deliver(t, d);
}

void transports_describe(const struct transports *all, const char *name, const struct envelope *e, const char *nexthop,
                         struct buf *out)
{
    const struct transport *t = find(all, name);

    if (t != NULL && t->agent->describe != NULL)
        t->agent->describe(t, e, nexthop, out);
}

void transports_log(const struct transports *all, const struct delivery *d, const struct envelope_rcpt *rcpt,
                    const struct delivery_result *result)
{
    const struct transport_job *job = d->agent;
    const char *agent = job != NULL ? job->transport->agent->name : transport_error.name;

    dlog_result(agent, all->set->conf->enable_original_recipient, d, rcpt, result, clock_wall_us());
}

/* ---- jobs ---- */

void *transport_job_new(struct transport *t, struct delivery *d, size_t size, void (*stop)(struct transport_job *))
{
    struct transport_job *job = arena_new(&d->arena, size);

    job->transport = t;
    job->delivery = d;
    job->stop = stop;
    job->told = arena_new_array(&d->arena, d->nrcpts, sizeof *job->told);
    op_scope_init(&job->scope, t->agent->name);
    t->set->users++;
    list_append(&t->set->all->jobs, &job->link);
    d->agent = job;
    return job;
}

void transport_job_result(struct transport_job *job, size_t index, const struct outcome *o)
{
    const struct transport *t = job->transport;
    struct delivery_result result = {
        .status = o->status,
        .relayed = job->link_to.relayed || (t->agent->hands_over && (t->conf->pipe_flags & CONF_PIPE_FLAG_FINAL) == 0),
        .reports_itself = job->link_to.reports_itself,
        .relay = t->agent->relays ? t->conf->name : "none",
        .connected_us = job->link_to.connected_us,
        .conn_use = job->link_to.conn_use,
        .log_name = job->link_to.log_name,
        .destination_ok = o->destination_ok,
    };

    if (job->link_to.relay != NULL)
        result.relay = job->link_to.relay;
    MTA_ASSERT(!job->told[index]);
    job->told[index] = true;
    delivery_rcpt(job->delivery, index, &result);
}

void transport_job_end(struct transport_job *job, const struct outcome *rest)
{
    struct delivery *d = job->delivery;
    struct transport_set *set = job->transport->set;

    list_remove(&job->link);
    loop_defer_cancel(&job->end_task);
    op_scope_close(&job->scope);
    if (job->stop != NULL)
        job->stop(job);
    for (size_t i = 0; i < d->nrcpts; i++)
        if (!job->told[i])
            transport_job_result(job, i, rest);
    delivery_done(d);
    set_unref(&set);
}

static void end_now(void *arg)
{
    struct transport_job *job = arg;

    transport_job_end(job, &job->ending);
}

void transport_job_end_later(struct transport_job *job, const struct outcome *rest)
{
    job->ending = *rest;
    loop_defer(job->transport->loop, &job->end_task, end_now, job);
}

void transport_job_warn(const struct transport_job *job, const char *fmt, ...)
{
    char qid[ID_TEXT];
    const struct log_ctx ctx = {
        .agent = job->transport->agent->name,
        .qid = id_format(qid, job->delivery->message->qid),
    };
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    log_event(LOG_DELIVERY_WARNING, &ctx, "%s", buf_cstr(&text));
    buf_release(&text);
}
