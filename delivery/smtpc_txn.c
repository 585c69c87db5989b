/*
 * The mail transaction: RFC 5321 section 3.3; PIPELINING RFC 2920, CHUNKING RFC 3030, LMTP RFC 2033. Called by
 * smtpc_hello.c and smtpc_hosts.c with a session in which a transaction may begin, by smtpc_conn.c for replies.
 *
 * The commands of a transaction are numbered: 0 is MAIL, 1 to n are RCPT, n + 1 is DATA. `sent` and `received` count
 * them; without PIPELINING one is sent when the one before is answered. With CHUNKING there may be no DATA.
 */
#include "delivery/smtpc_int.h"

#include "core/base/codec.h"

#define SEND_MOST  32768 /* bytes of commands on their way, after which more wait */
#define UNANSWERED 500   /* commands */
#define BDAT_LEAST 65536 /* bytes of a message that is worth BDAT */

static const struct envelope *message_of(const struct smtpc_job *job)
{
    return job->job.delivery->message;
}

static bool offers(const struct smtpc_job *job, enum smtpc_feature feature)
{
    return (job->conn->features & feature) != 0;
}

/* ---- the end ---- */

/* All replies that matter have come. */
static void end_transaction(struct smtpc_job *job, bool reset)
{
    bool again = smtpc_rcpts_any(job, SMTPC_RCPT_AGAIN) && !job->out_of_step;

    smtpc_body_release(job);
    op_scope_cancel(&job->job.scope);
    smtpc_rcpts_turn(job, SMTPC_RCPT_AGAIN, SMTPC_RCPT_TODO);
    if (again) {
        smtpc_txn(job);
        return;
    }
    smtpc_hosts_release(job, reset);
    smtpc_hosts_next(job, NULL);
}

/* Before the end of the message was sent: nobody has it. The whole of it is refused. */
static void refuse(struct smtpc_job *job, const struct outcome *o)
{
    if (!job->refused)
        job->refusal = *o;
    job->refused = true;
    job->last = job->refusal;
    if (job->received < job->sent)
        return; /* the replies to what was sent already are not of interest, but come */
    smtpc_rcpts_turn(job, SMTPC_RCPT_AGAIN, SMTPC_RCPT_TODO);
    smtpc_rcpts_turn(job, SMTPC_RCPT_SENT, SMTPC_RCPT_TODO);
    smtpc_rcpts_turn(job, SMTPC_RCPT_ACCEPTED, SMTPC_RCPT_TODO);
    smtpc_rcpts_results(job, SMTPC_RCPT_TODO, &job->refusal);
    end_transaction(job, true);
}

void smtpc_unreadable(struct smtpc_job *job, const struct outcome *o)
{
    job->final = true; /* no other host can help */
    job->out_of_step = true;
    job->received = job->sent;
    refuse(job, o);
}

void smtpc_lost(struct smtpc_job *job, enum outcome_loss loss)
{
    bool kept = job->conn->uses > 1 && job->received == 0 && job->conn->step == SMTPC_MAIL;
    const struct outcome o = outcome_lost(job->conn->peer, loss, smtpc_doing(job->conn->step), job->body.end_sent);

    if (smtpc_tls_lost(job))
        return;
    job->out_of_step = true;
    job->received = job->sent;
    if (kept && loss != OUTCOME_LOSS_TIMEOUT) { /* it died while it was idle: nothing has happened */
        smtpc_body_release(job);
        smtpc_rcpts_turn(job, SMTPC_RCPT_SENT, SMTPC_RCPT_TODO);
        smtpc_hosts_release(job, false);
        smtpc_hosts_again(job);
    } else if (job->body.end_sent) {
        job->last = o;
        smtpc_rcpts_results(job, SMTPC_RCPT_ACCEPTED, &o);
        end_transaction(job, false);
    } else {
        refuse(job, &o);
    }
}

/* ---- commands ---- */

/* The step of command number `at`. */
static enum smtpc_step step_of(const struct smtpc_job *job, size_t at)
{
    return at == 0 ? SMTPC_MAIL : at <= job->n ? SMTPC_RCPT : SMTPC_DATA;
}

static bool may_send(const struct smtpc_job *job, size_t unsent)
{
    bool data = job->sent == job->n + 1;

    if (job->refused || job->sent > job->n + 1 || (data && job->body.bdat))
        return false;
    if (!offers(job, SMTPC_PIPELINING))
        return job->received == job->sent;
    return stream_pending(job->conn->stream) + unsent < SEND_MOST && job->sent - job->received < UNANSWERED;
}

void smtpc_txn_pump(struct smtpc_job *job)
{
    struct buf out = {0};

    if (job->n == 0 || job->body.looking)
        return; /* no transaction yet */
    while (may_send(job, buf_len(&out))) {
        size_t at = job->sent++;

        if (at == 0) {
            smtpc_put_mail(job, &out);
        } else if (at <= job->n) {
            job->rcpts[job->order[at - 1]].state = SMTPC_RCPT_SENT;
            smtpc_put_rcpt(job, job->order[at - 1], &out);
        } else {
            buf_add_str(&out, "DATA\r\n");
        }
    }
    smtpc_conn_send(job->conn, buf_slice(&out));
    buf_release(&out);
}

/* ---- the beginning ---- */

static bool addresses_need_utf8(const struct smtpc_job *job)
{
    bool needed = codec_has_8bit(slice_str(job->sender));

    for (size_t i = 0; i < job->n && !needed; i++)
        needed = codec_has_8bit(slice_str(job->rcpts[job->order[i]].address));
    return needed;
}

static void begin(struct smtpc_job *job)
{
    smtpc_conn_step(job->conn, SMTPC_MAIL);
    smtpc_txn_pump(job);
}

/* The transaction cannot be begun with this server. */
static void refuse_unsent(struct smtpc_job *job, const struct outcome *o)
{
    smtpc_rcpts_results(job, SMTPC_RCPT_TODO, o);
    job->last = *o;
    end_transaction(job, false);
}

void smtpc_txn_looked(struct smtpc_job *job, bool needs_utf8)
{
    if (needs_utf8) {
        const struct outcome o = outcome_needs_utf8(job->conn->peer);

        refuse_unsent(job, &o);
    } else {
        begin(job);
    }
}

static void reset(struct smtpc_job *job)
{
    job->sent = job->received = job->accepted = job->finished = job->n = 0;
    job->refused = false;
    for (size_t i = 0; i < job->job.delivery->nrcpts; i++)
        if (job->rcpts[i].state == SMTPC_RCPT_TODO)
            job->order[job->n++] = i;
}

void smtpc_txn(struct smtpc_job *job)
{
    const struct envelope *m = message_of(job);
    struct smtpc_conn *c = job->conn;
    bool look = m->smtputf8 && !offers(job, SMTPC_SMTPUTF8);

    reset(job);
    job->job.link_to.conn_use = c->uses;
    job->job.link_to.reports_itself = offers(job, SMTPC_DSN);
    job->job.link_to.relayed = !job->conf->assume_final;
    c->step = SMTPC_IDLE;
    if (c->size_limit > 0 && m->size > c->size_limit) {
        const struct outcome o = outcome_too_large_for(c->peer, m->size, c->size_limit);

        refuse_unsent(job, &o);
    } else if (look && addresses_need_utf8(job)) {
        smtpc_txn_looked(job, true);
    } else {
        job->body.bdat =
            offers(job, SMTPC_CHUNKING) && offers(job, SMTPC_PIPELINING) && !job->lmtp && m->size > BDAT_LEAST;
        smtpc_body_begin(job, look);
        if (!look)
            begin(job);
    }
}

/* ---- replies ---- */

/* All replies to RCPT are there, and that to DATA if it was sent. */
static void decide(struct smtpc_job *job)
{
    bool all = job->received > job->n;

    if (!all)
        return;
    if (job->accepted == 0 && job->received == job->sent)
        end_transaction(job, true); /* everybody has been told, or is to be tried elsewhere */
    else if (job->accepted > 0 && job->body.bdat)
        smtpc_body_go(job);
}

static void next(struct smtpc_job *job)
{
    smtpc_conn_step(job->conn, step_of(job, job->received));
    smtpc_txn_pump(job);
}

/* A reply to one of the commands of a refused transaction. */
static bool is_over(struct smtpc_job *job)
{
    if (!job->refused)
        return false;
    if (job->received < job->sent)
        smtpc_conn_step(job->conn, step_of(job, job->received));
    else
        refuse(job, &job->refusal);
    return true;
}

void smtpc_got_mail(struct smtpc_job *job, const struct outcome_reply *r, const struct smtp_answer *a)
{
    (void)a;
    if (r->code == 421 && job->conn->uses > 1) { /* it ended the session before it saw MAIL */
        smtpc_lost(job, OUTCOME_LOSS_CLOSED);
        return;
    }
    job->received++;
    if (r->code / 100 != 2) {
        const struct outcome o = outcome_refused(job->conn->peer, r, smtpc_command(SMTPC_MAIL));

        job->refused = true;
        job->refusal = o;
        job->out_of_step = r->code == 421;
        if (job->out_of_step)
            job->received = job->sent; /* there is nothing more to come */
        is_over(job);
        return;
    }
    next(job);
}

/* RFC 5321 section 4.5.3.1.10: the rest may be sent in another transaction, if this one does not come to nothing. */
static bool too_many(const struct smtpc_job *job, const struct outcome_reply *r, const struct smtp_answer *a)
{
    return r->code == 452 && job->accepted > 0 && (!a->has_dsn || strcmp(r->dsn, "4.5.3") == 0);
}

void smtpc_got_rcpt(struct smtpc_job *job, const struct outcome_reply *r, const struct smtp_answer *a)
{
    size_t index = job->order[job->received - 1];

    job->received++;
    if (is_over(job))
        return;
    if (r->code / 100 == 2) {
        job->rcpts[index].state = SMTPC_RCPT_ACCEPTED;
        job->accepted++;
    } else if (too_many(job, r, a)) {
        job->rcpts[index].state = SMTPC_RCPT_AGAIN;
    } else {
        const struct outcome o = outcome_refused(job->conn->peer, r, smtpc_command(SMTPC_RCPT));

        job->last = o;
        smtpc_rcpts_result(job, index, &o);
    }
    if (job->received <= job->n)
        next(job);
    else if (job->accepted > 0 || job->sent > job->received)
        job->body.bdat ? decide(job) : next(job);
    else
        decide(job);
}

void smtpc_got_data(struct smtpc_job *job, const struct outcome_reply *r, const struct smtp_answer *a)
{
    (void)a;
    job->received++;
    if (r->code / 100 == 3 && (job->refused || job->accepted == 0))
        job->out_of_step = true; /* it would take a message for nobody: without its end there is none */
    if (is_over(job))
        return;
    if (job->accepted == 0) {
        decide(job);
    } else if (r->code / 100 == 3) {
        smtpc_body_go(job);
    } else {
        const struct outcome o = outcome_refused(job->conn->peer, r, smtpc_command(SMTPC_DATA));

        job->out_of_step = r->code == 421 || r->code / 100 == 2;
        refuse(job, &o);
    }
}

/* A verdict before the end of the message; what was not sent of it stays unsent. */
static void refuse_early(struct smtpc_job *job, const struct outcome_reply *r)
{
    const struct outcome o = outcome_refused(job->conn->peer, r, smtpc_command(SMTPC_BODY));

    job->out_of_step = true;
    refuse(job, &o);
}

/* Chunks are answered while others are on their way. */
static bool is_chunk(struct smtpc_job *job)
{
    struct smtpc_body *b = &job->body;

    return b->bdat && b->answers + (b->end_sent ? 1 : 0) < b->chunks && ++b->answers > 0;
}

void smtpc_got_early(struct smtpc_job *job, const struct outcome_reply *r, const struct smtp_answer *a)
{
    (void)a;
    if (is_chunk(job) && r->code / 100 == 2)
        smtpc_body_progress(job);
    else
        refuse_early(job, r);
}

/* In LMTP the accepted recipients have their replies in their order. */
static size_t next_accepted(const struct smtpc_job *job)
{
    size_t i = 0;

    while (job->rcpts[job->order[i]].state != SMTPC_RCPT_ACCEPTED)
        i++;
    return job->order[i];
}

void smtpc_got_end(struct smtpc_job *job, const struct outcome_reply *r, const struct smtp_answer *a)
{
    bool sent = r->code / 100 == 2;

    (void)a;
    if (is_chunk(job)) {
        if (sent)
            smtpc_conn_step(job->conn, SMTPC_DOT);
        else
            refuse_early(job, r);
        return;
    }
    job->finished++;
    job->last = sent ? outcome_sent(r) : outcome_refused(job->conn->peer, r, smtpc_command(SMTPC_DOT));
    job->out_of_step = r->code == 421;
    if (!job->lmtp) {
        smtpc_rcpts_results(job, SMTPC_RCPT_ACCEPTED, &job->last);
    } else {
        smtpc_rcpts_result(job, next_accepted(job), &job->last);
        if (job->finished < job->accepted) {
            smtpc_conn_step(job->conn, SMTPC_DOT);
            return;
        }
    }
    end_transaction(job, false);
}
