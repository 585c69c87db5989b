/*
 * What became of whom: the recipients of a job. Called by the other smtpc files. outcome.h decides whether another host
 * is to be tried; here that is done for as long as there is one.
 */
#include "delivery/smtpc_int.h"

#include "core/base/id.h"
#include "core/base/log.h"

bool smtpc_rcpts_any(const struct smtpc_job *job, enum smtpc_rcpt_state state)
{
    for (size_t i = 0; i < job->job.delivery->nrcpts; i++)
        if (job->rcpts[i].state == state)
            return true;
    return false;
}

void smtpc_rcpts_turn(struct smtpc_job *job, enum smtpc_rcpt_state from, enum smtpc_rcpt_state to)
{
    for (size_t i = 0; i < job->job.delivery->nrcpts; i++)
        if (job->rcpts[i].state == from)
            job->rcpts[i].state = to;
}

static void tell(struct smtpc_job *job, size_t index, const struct outcome *o)
{
    job->rcpts[index].state = SMTPC_RCPT_DONE;
    transport_job_result(&job->job, index, o);
}

/* That one host failed is worth a line: the result that is logged in the end may be success. */
static void log_trouble(const struct smtpc_job *job, const struct outcome *o)
{
    char qid[ID_TEXT];
    const struct log_ctx ctx = {
        .agent = job->job.transport->agent->name,
        .syslog_name = job->conf->syslog_name,
        .qid = id_format(qid, job->job.delivery->message->qid),
    };

    log_event(LOG_CLIENT_TROUBLE, &ctx, "%s", o->status.text);
}

static void result(struct smtpc_job *job, size_t index, const struct outcome *o)
{
    struct smtpc_rcpt *r = &job->rcpts[index];

    if (job->final || !o->other_host) {
        tell(job, index, o);
        return;
    }
    if (r->why == NULL)
        r->why = arena_new(&job->job.delivery->arena, sizeof *r->why);
    *r->why = *o;
    r->state = SMTPC_RCPT_ELSEWHERE;
}

void smtpc_rcpts_result(struct smtpc_job *job, size_t index, const struct outcome *o)
{
    if (!job->final && o->other_host)
        log_trouble(job, o);
    result(job, index, o);
}

void smtpc_rcpts_results(struct smtpc_job *job, enum smtpc_rcpt_state state, const struct outcome *o)
{
    if (!job->final && o->other_host && smtpc_rcpts_any(job, state))
        log_trouble(job, o);
    for (size_t i = 0; i < job->job.delivery->nrcpts; i++)
        if (job->rcpts[i].state == state)
            result(job, i, o);
}

void smtpc_rcpts_close(struct smtpc_job *job)
{
    for (size_t i = 0; i < job->job.delivery->nrcpts; i++)
        if (job->rcpts[i].state != SMTPC_RCPT_DONE)
            tell(job, i, job->rcpts[i].why != NULL ? job->rcpts[i].why : &job->last);
}
