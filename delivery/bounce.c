/*
 * Delivery reports: see bounce.h. Called by the scheduler through main; bounce_kind.c says what kinds there are.
 *
 * A report is made in these steps, each of which waits: load what there is to report; expand aliases of the address the
 * report goes to; copy the original's content, or its header section, behind the text of proto/grammar/dsn.c; commit,
 * which changes the reported recipients too. What is left, if anything, is the next report. Whatever goes wrong leaves
 * the queue as it was, and the report is tried again later.
 *
 * As in Postfix an original larger than bounce_size_limit is returned as its header section. A message from the null
 * sender is itself a report: nobody but the postmaster is told of its failure, which stops two mail systems from
 * bouncing for ever (RFC 5321 section 6.1); what tells the postmaster comes from double_bounce_sender, and nobody at
 * all is told of its failure.
 */
#include "delivery/bounce.h"

#include "core/base/addr.h"
#include "core/base/alloc.h"
#include "core/base/id.h"
#include "core/base/log.h"
#include "delivery/bounce_kind.h"
#include "delivery/bounce_original.h"
#include "delivery/bounce_remote.h"
#include "proto/grammar/received.h"

struct bounce {
    struct loop *loop;
    struct queue *queue;
    struct rules *rules;
    const struct conf *conf;
    void (*done)(void *arg, uint64_t qid, bool ok);
    void *arg;
    struct list jobs;
};

/* The reports about one message; from `arena` on, the one that is being made. */
struct job {
    struct list link;
    struct bounce *bounce;
    uint64_t qid;
    const struct conf *conf;
    struct op_scope scope;
    struct arena arena;
    const struct bounce_kind *kind;
    struct queue_reported reported;
    bool more; /* there is something else to report then */
    struct envelope *message;
    struct envelope report; /* the report's own envelope; no recipients: none is made */
    struct dsn_report text;
    struct queue_writer *writer;
    struct bounce_original original;
};

static void load(struct job *j);

/* ---- the end ---- */

static void clear_report(struct job *j)
{
    if (j->writer != NULL)
        queue_abort(&j->writer);
    bounce_original_clear(&j->original);
    arena_clear(&j->arena);
}

static void job_free(struct job *j)
{
    list_remove(&j->link);
    op_scope_close(&j->scope);
    clear_report(j);
    conf_unref(&j->conf);
    loop_free_later(j->bounce->loop, j);
}

static void finish(struct job *j, bool ok)
{
    struct bounce *b = j->bounce;
    uint64_t qid = j->qid;

    job_free(j);
    b->done(b->arg, qid, ok);
}

static void warn(const struct job *j, const char *text, const char *what, const char *why)
{
    char qid[ID_TEXT];
    const struct log_ctx ctx = {.agent = "bounce", .qid = id_format(qid, j->qid)};

    log_event(LOG_DELIVERY_WARNING, &ctx, "%s%s%s", text, what, why);
}

/* Tried again later. */
static void give_up(struct job *j, const char *what, const struct status *why)
{
    warn(j, "no delivery report yet: ", what, why != NULL ? why->text : "no answer");
    finish(j, false);
}

static void log_report(const struct job *j)
{
    char qid[ID_TEXT], report[ID_TEXT];
    const struct log_ctx ctx = {.qid = id_format(qid, j->qid)}, own = {.qid = id_format(report, j->report.qid)};

    log_event(LOG_MESSAGE_ID, &own, "message-id=%s", j->text.message_id);
    log_event(LOG_BOUNCE, &ctx, "%s: %s", j->kind->log, report);
}

static void on_committed(void *owner, enum op_status status, const void *result)
{
    struct job *j = owner;

    if (status != OP_OK) {
        give_up(j, "the queue: ", result);
        return;
    }
    if (j->report.nrcpts > 0)
        log_report(j);
    if (j->more)
        load(j);
    else
        finish(j, true);
}

static void commit(struct job *j)
{
    queue_commit_report(j->bounce->queue, &j->scope, &j->reported, &j->writer, &j->report, on_committed, j);
}

/* ---- the report's content ---- */

static void on_copied(void *owner, const struct status *why)
{
    struct job *j = owner;
    struct buf tail = {0};

    if (why != NULL) {
        give_up(j, "the original's content: ", why);
        return;
    }
    dsn_write_tail(&tail, &j->text);
    queue_write(j->writer, buf_slice(&tail));
    buf_release(&tail);
    commit(j);
}

static void copy_original(struct job *j)
{
    const struct bounce_original_how how = {
        .queue = j->bounce->queue,
        .qid = j->qid,
        .to = j->writer,
        .headers_only = j->text.headers_only,
        .limit = (uint64_t)j->conf->bounce_size_limit,
        .done = on_copied,
        .owner = j,
    };

    bounce_original_copy(&j->original, &how, &j->scope);
}

static void write_head(struct job *j)
{
    char own[ID_TEXT];
    const struct received trace = {
        .myhostname = j->conf->myhostname,
        .mail_name = j->conf->mail_name,
        .qid = id_format(own, j->report.qid),
        .time_us = j->text.now_us,
    };
    struct buf head = {0};

    received_write(&head, &trace);
    dsn_write_head(&head, &j->text);
    buf_add_str(&head, "Return-Path: <");
    addr_quote(&head, slice_str(j->message->sender));
    buf_add_str(&head, ">\n");
    queue_write(j->writer, buf_slice(&head));
    buf_release(&head);
}

static void on_expanded(void *owner, enum op_status status, const void *result)
{
    struct job *j = owner;
    const struct status *why = result;

    if (status != OP_OK || why == NULL || !status_is_ok(why)) {
        give_up(j, "alias expansion of the recipient: ", why);
        return;
    }
    if (j->report.nrcpts == 0) { /* an alias that leads nowhere */
        commit(j);
        return;
    }
    j->writer = queue_begin(j->bounce->queue, j->report.qid);
    write_head(j);
    copy_original(j);
}

/* ---- what the report is about ---- */

static enum dsn_action dsn_action_of(enum envelope_action action)
{
    static const enum dsn_action actions[] = {
        [ENVELOPE_ACTION_FAILED] = DSN_ACTION_FAILED,        [ENVELOPE_ACTION_FAILED_COPY] = DSN_ACTION_FAILED,
        [ENVELOPE_ACTION_DOUBLE_BOUNCE] = DSN_ACTION_FAILED, [ENVELOPE_ACTION_DELAYED] = DSN_ACTION_DELAYED,
        [ENVELOPE_ACTION_DELAYED_COPY] = DSN_ACTION_DELAYED, [ENVELOPE_ACTION_DELIVERED] = DSN_ACTION_DELIVERED,
        [ENVELOPE_ACTION_RELAYED] = DSN_ACTION_RELAYED,      [ENVELOPE_ACTION_EXPANDED] = DSN_ACTION_EXPANDED,
    };

    return (size_t)action < ARRAY_LEN(actions) ? actions[action] : DSN_ACTION_FAILED;
}

static struct dsn_recipient copy_report(struct arena *a, const struct queue_report *r)
{
    struct dsn_recipient copy = {
        .addr = arena_strdup(a, r->rcpt.addr),
        .orig = arena_strdup(a, r->rcpt.orig),
        .orcpt = arena_strdup(a, r->rcpt.orcpt),
        .action = dsn_action_of(r->rcpt.action),
        .status = arena_strdup(a, r->dsn),
        .text = arena_strdup(a, r->text),
    };

    bounce_remote(a, copy.text, &copy.remote_mta, &copy.remote_reply);
    return copy;
}

/* Takes the recipients of the first one's kind. */
static void take_reports(struct job *j, const struct queue_reports *due)
{
    struct dsn_recipient *rcpts = arena_new_array(&j->arena, due->count, sizeof *rcpts);
    uint64_t *ids = arena_new_array(&j->arena, due->count, sizeof *ids);

    j->kind = bounce_kind_of(due->reports[0].rcpt.action);
    for (size_t i = 0; i < due->count; i++) {
        const struct queue_report *r = &due->reports[i];

        if (bounce_kind_of(r->rcpt.action) != j->kind)
            continue;
        ids[j->reported.count++] = r->rcpt.id;
        if (bounce_kind_wanted(j->kind, r->rcpt.notify))
            rcpts[j->text.nrcpts++] = copy_report(&j->arena, r);
    }
    j->text.rcpts = rcpts;
    j->reported.ids = ids;
    j->more = j->reported.count < due->count || due->count == QUEUE_REPORT_RCPTS;
}

/* ---- who gets it ---- */

static const char *double_bounce_address(struct job *j)
{
    return arena_printf(&j->arena, "%s@%s", j->conf->double_bounce_sender, j->conf->myhostname);
}

static bool from_double_bounce(struct job *j)
{
    return slice_ieq(slice_str(j->message->sender), slice_str(double_bounce_address(j)));
}

/* Nobody at all hears of it. */
static void discard(struct job *j)
{
    if (bounce_kind_has(j->kind, ENVELOPE_ACTION_FAILED))
        warn(j, "undeliverable postmaster notification discarded", "", "");
    commit(j);
}

static const char *postmaster_of(struct job *j)
{
    const char *name = bounce_kind_postmaster(j->kind, j->conf);

    return strchr(name, '@') != NULL ? name : arena_printf(&j->arena, "%s@%s", name, j->conf->myorigin);
}

/* The address the report goes to; NULL: nobody is told. */
static const char *recipient_of(struct job *j)
{
    if (j->text.nrcpts == 0)
        return NULL;
    if (j->kind->classes != 0)
        return bounce_kind_enabled(j->kind, j->conf) ? postmaster_of(j) : NULL;
    return j->message->sender[0] != '\0' ? j->message->sender : NULL;
}

static void prepare_envelope(struct job *j, const char *recipient, uint64_t now_us)
{
    struct envelope_rcpt *to = ARENA_NEW(&j->arena, struct envelope_rcpt);

    to->addr = recipient;
    j->report = (struct envelope){
        .qid = id_next(),
        .arrival_us = now_us,
        .sender = j->kind->classes != 0 ? double_bounce_address(j) : "",
        .body_8bit = true,
        .smtputf8 = j->message->smtputf8,
        .rcpts = to,
        .nrcpts = 1,
    };
}

static void prepare_text(struct job *j, const char *recipient, uint64_t now_us)
{
    const struct envelope *m = j->message;
    struct dsn_report *r = &j->text;
    char qid[ID_TEXT], own[ID_TEXT];
    struct buf work = {0};

    r->kind = j->kind->text;
    r->myhostname = j->conf->myhostname;
    r->mail_name = j->conf->mail_name;
    r->origin = j->conf->myorigin;
    r->now_us = now_us;
    r->qid = arena_strdup(&j->arena, id_format(qid, m->qid));
    r->sender = m->sender;
    r->to = recipient;
    r->envid = m->envid;
    r->arrival_us = m->arrival_us;
    r->retry_until_us = m->arrival_us + j->conf->maximal_queue_lifetime_ms * 1000;
    r->headers_only =
        j->kind->headers_only || m->ret == ENVELOPE_RET_HDRS || m->size > (uint64_t)j->conf->bounce_size_limit;
    r->body_8bit = true; /* whatever was announced */
    r->smtputf8 = m->smtputf8;
    received_message_id(&work, now_us, id_format(own, j->report.qid), r->myhostname);
    r->message_id = arena_strdup(&j->arena, buf_cstr(&work));
    buf_clear(&work);
    dsn_boundary(&work, own, now_us, r->myhostname);
    r->boundary = arena_strdup(&j->arena, buf_cstr(&work));
    buf_release(&work);
}

/* ---- one report ---- */

static void make(struct job *j)
{
    const uint64_t now_us = clock_wall_us();
    const char *recipient;

    if (from_double_bounce(j)) {
        discard(j);
        return;
    }
    j->reported.then = bounce_kind_then(j->kind, j->conf, j->message->sender[0] == '\0');
    j->more = j->more || j->reported.then != ENVELOPE_ACTION_NONE;
    recipient = recipient_of(j);
    if (recipient == NULL) {
        commit(j);
        return;
    }
    prepare_envelope(j, recipient, now_us);
    prepare_text(j, recipient, now_us);
    rules_expand(j->bounce->rules, &j->scope, &j->report, &j->arena, on_expanded, j);
}

static void on_loaded(void *owner, enum op_status status, const void *result)
{
    struct job *j = owner;
    const struct queue_reports *due = result;

    if (status != OP_OK) {
        give_up(j, "the queue: ", status == OP_TEMPFAIL ? result : NULL);
        return;
    }
    if (due->count == 0) {
        finish(j, true);
        return;
    }
    j->message = envelope_copy(&j->arena, due->message);
    take_reports(j, due);
    make(j);
}

static void load(struct job *j)
{
    clear_report(j);
    j->reported = (struct queue_reported){.qid = j->qid};
    j->report = (struct envelope){0};
    j->text = (struct dsn_report){0};
    queue_load_reports(j->bounce->queue, &j->scope, j->qid, on_loaded, j);
}

void bounce_report(struct bounce *b, uint64_t qid)
{
    struct job *j = NEW(struct job);

    j->bounce = b;
    j->qid = qid;
    j->conf = conf_ref(b->conf);
    list_append(&b->jobs, &j->link);
    op_scope_init(&j->scope, "bounce");
    load(j);
}

/* ---- life ---- */

struct bounce *bounce_new(struct loop *loop, struct queue *queue, struct rules *rules, const struct conf *conf,
                          void (*done)(void *arg, uint64_t qid, bool ok), void *arg)
{
    struct bounce *b = NEW(struct bounce);

    b->loop = loop;
    b->queue = queue;
    b->rules = rules;
    b->conf = conf_ref(conf);
    b->done = done;
    b->arg = arg;
    list_init(&b->jobs);
    return b;
}

void bounce_reload(struct bounce *b, struct rules *rules, const struct conf *conf)
{
    conf_unref(&b->conf);
    b->rules = rules;
    b->conf = conf_ref(conf);
}

void bounce_free(struct bounce **bp)
{
    struct bounce *b = *bp;

    if (b == NULL)
        return;
    *bp = NULL;
    LIST_FOREACH(it, &b->jobs)
    job_free(LIST_ITEM(it, struct job, link));
    conf_unref(&b->conf);
    mem_free(b);
}
