/*
 * The beginning of a session: greeting, EHLO with HELO as the way out (RFC 5321 section 3.2), LHLO (RFC 2033), what the
 * server offers. Called by smtpc_tls.c with a fresh connection; goes on to smtpc_tls.c, and when all is settled to
 * smtpc_txn.c.
 */
#include "delivery/smtpc_int.h"

#include "core/base/alloc.h"
#include "lookup/maps.h"

static const struct {
    const char *keyword; /* as servers have it */
    enum smtpc_feature feature;
} keywords[] = {
    {"PIPELINING", SMTPC_PIPELINING}, {"SIZE", SMTPC_SIZE},         {"8BITMIME", SMTPC_8BITMIME}, {"DSN", SMTPC_DSN},
    {"SMTPUTF8", SMTPC_SMTPUTF8},     {"CHUNKING", SMTPC_CHUNKING}, {"STARTTLS", SMTPC_STARTTLS}, {"AUTH", SMTPC_AUTH},
};

void smtpc_hello_refuse(struct smtpc_job *job, const struct outcome *o, bool polite)
{
    smtpc_rcpts_results(job, SMTPC_RCPT_TODO, o);
    if (polite)
        smtpc_conn_quit(&job->conn);
    else
        smtpc_conn_close(&job->conn);
    smtpc_hosts_next(job, o);
}

static void unwelcome(struct smtpc_job *job, const struct outcome_reply *r, bool skip_5xx)
{
    const struct outcome o = outcome_unwelcome(job->conn->peer, r, skip_5xx);

    smtpc_hello_refuse(job, &o, r->code != 421);
}

static void send_hello(struct smtpc_job *job, enum smtpc_step step, const char *verb)
{
    const char *line = arena_printf(&job->job.delivery->arena, "%s %s\r\n", verb, job->conf->helo_name);

    smtpc_conn_send(job->conn, slice_str(line));
    smtpc_conn_step(job->conn, step);
}

void smtpc_hello(struct smtpc_job *job)
{
    smtpc_conn_step(job->conn, SMTPC_GREETING);
}

static bool says_esmtp(struct slice greeting)
{
    for (struct slice word; (word = slice_token(&greeting, " \r\n\t")).n > 0;)
        if (slice_ieq(word, SLICE_LIT("ESMTP")))
            return true;
    return false;
}

static void introduce(struct smtpc_job *job)
{
    if (job->lmtp)
        send_hello(job, SMTPC_LHLO, "LHLO");
    else if (job->esmtp)
        send_hello(job, SMTPC_EHLO, "EHLO");
    else
        send_hello(job, SMTPC_HELO, "HELO");
}

void smtpc_hello_again(struct smtpc_job *job)
{
    job->conn->features = 0;
    job->conn->size_limit = 0;
    introduce(job);
}

/* What is not used with this server. */
static void on_discards(void *owner, enum op_status status, const void *result)
{
    struct smtpc_job *job = owner;
    const struct table_answer *answer = result;
    struct status why;

    if (status == OP_OK || status == OP_NOTFOUND) {
        if (status == OP_OK)
            job->discards = arena_strdup(&job->job.delivery->arena, answer->value);
        introduce(job);
        return;
    }
    transport_job_warn(&job->job, "discard_ehlo_keyword_address_maps: %s", answer != NULL ? answer->why : "timed out");
    why = status_make(STATUS_TABLE_TEMPFAIL, "lookup of what to expect of %s failed", job->conn->peer);
    job->last = outcome_deferred(&why);
    smtpc_conn_quit(&job->conn);
    smtpc_end(job);
}

void smtpc_got_greeting(struct smtpc_job *job, const struct outcome_reply *r, const struct smtp_answer *a)
{
    const struct conf_client *conf = job->conf;
    const struct smtpc_own *own = job->job.transport->own;

    if (r->code / 100 != 2) {
        unwelcome(job, r, conf->skip_5xx_greeting);
        return;
    }
    job->esmtp = !conf->never_send_ehlo && (conf->always_send_ehlo || says_esmtp(slice_make(a->text, a->text_n)));
    job->discards = conf->discard_ehlo_keywords;
    if (maps_empty(own->discard_keywords)) {
        introduce(job);
    } else {
        job->conn->step = SMTPC_IDLE; /* the server has nothing to say */
        maps_find(own->discard_keywords, &job->job.scope, slice_str(job->conn->address), on_discards, job);
    }
}

/* Is the keyword one of those that are not used? */
static bool discarded(const struct smtpc_job *job, struct slice keyword)
{
    struct slice rest = slice_str(job->discards);

    for (struct slice item; (item = maps_list_item(&rest)).n > 0;)
        if (slice_ieq(item, keyword))
            return true;
    return false;
}

static void take_keyword(struct smtpc_job *job, struct slice line)
{
    struct smtpc_conn *c = job->conn;
    struct slice keyword = slice_token(&line, " \t="), mechanisms = line;
    struct slice argument = slice_token(&line, " \t");

    for (size_t i = 0; i < ARRAY_LEN(keywords); i++) {
        if (!slice_ieq(keyword, slice_str(keywords[i].keyword)) || discarded(job, keyword))
            continue;
        c->features |= keywords[i].feature;
        if (keywords[i].feature == SMTPC_AUTH) {
            mem_free(c->mechanisms);
            c->mechanisms = mem_dup(mechanisms.p, mechanisms.n);
        }
        if (keywords[i].feature == SMTPC_SIZE && !slice_u64(argument, UINT64_MAX / 2, &c->size_limit))
            c->size_limit = 0;
    }
}

void smtpc_hello_ready(struct smtpc_job *job)
{
    job->job.link_to.connected_us = clock_wall_us();
    smtpc_txn(job);
}

void smtpc_got_ehlo(struct smtpc_job *job, const struct outcome_reply *r, const struct smtp_answer *a)
{
    struct slice rest = slice_make(a->text, a->text_n), line;

    if (r->code / 100 == 2) {
        smtp_answer_line(&rest, &line); /* who the server is */
        while (smtp_answer_line(&rest, &line))
            take_keyword(job, line);
        smtpc_tls_after_hello(job);
    } else if (job->lmtp || r->code == 421) {
        unwelcome(job, r, false);
    } else {
        send_hello(job, SMTPC_HELO, "HELO");
    }
}

void smtpc_got_helo(struct smtpc_job *job, const struct outcome_reply *r, const struct smtp_answer *a)
{
    (void)a;
    if (r->code / 100 == 2)
        smtpc_tls_after_hello(job);
    else
        unwelcome(job, r, false);
}

void smtpc_got_unasked(struct smtpc_job *job, const struct outcome_reply *r, const struct smtp_answer *a)
{
    (void)r;
    (void)a;
    smtpc_lost(job, OUTCOME_LOSS_GARBAGE);
}
