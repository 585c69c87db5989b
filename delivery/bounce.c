/*
 * Failure reports: see bounce.h. Called by the scheduler through main.
 *
 * A report is made in these steps, each of which waits: load what failed; expand aliases of the sender's address; copy
 * the original's content, or its header section, behind the text of proto/grammar/dsn.c; commit. Whatever goes wrong
 * leaves the queue as it was, and the report is tried again later.
 *
 * As in Postfix an original larger than bounce_size_limit is returned as its header section. A message from the null
 * sender is itself a report: nobody is told of its failure, which stops two mail systems from bouncing for ever (RFC
 * 5321 section 6.1).
 */
#include "delivery/bounce.h"

#include "core/base/addr.h"
#include "core/base/alloc.h"
#include "core/base/id.h"
#include "core/base/log.h"
#include "delivery/content.h"
#include "proto/grammar/dsn.h"
#include "proto/grammar/header.h"
#include "proto/grammar/received.h"

#define WRITE_AHEAD (256u << 10) /* bytes that may wait for the queue's writer */

struct bounce {
    struct loop *loop;
    struct queue *queue;
    struct rules *rules;
    const struct conf *conf;
    void (*done)(void *arg, uint64_t qid, bool ok);
    void *arg;
    struct list jobs;
};

struct job {
    struct list link;
    struct bounce *bounce;
    uint64_t qid;
    struct op_scope scope;
    struct arena arena;
    const struct conf *conf;
    uint64_t *ids; /* of all that failed */
    size_t nids;
    struct envelope *message;
    struct envelope report; /* the report's own envelope */
    struct dsn_report text;
    struct queue_writer *writer;
    struct content content;
    struct header_scan scan; /* headers only */
    uint64_t written;        /* of the original */
    struct buf part;         /* of the header section, not settled yet */
    bool in_line;            /* the last byte written was not the end of a line */
};

/* ---- the end ---- */

static void job_free(struct job *j)
{
    list_remove(&j->link);
    op_scope_close(&j->scope);
    if (j->writer != NULL)
        queue_abort(&j->writer);
    buf_release(&j->part);
    arena_clear(&j->arena);
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

/* Tried again later. */
static void give_up(struct job *j, const char *what, const struct status *why)
{
    char qid[ID_TEXT];
    const struct log_ctx ctx = {.agent = "bounce", .qid = id_format(qid, j->qid)};

    log_event(LOG_DELIVERY_WARNING, &ctx, "no delivery report yet: %s: %s", what,
              why != NULL ? why->text : "no answer");
    finish(j, false);
}

static void log_report(const struct job *j)
{
    char qid[ID_TEXT], report[ID_TEXT];
    const struct log_ctx ctx = {.qid = id_format(qid, j->qid)}, own = {.qid = id_format(report, j->report.qid)};

    log_event(LOG_MESSAGE_ID, &own, "message-id=%s", j->text.message_id);
    log_event(LOG_BOUNCE, &ctx, "sender non-delivery notification: %s", report);
}

static void on_committed(void *owner, enum op_status status, const void *result)
{
    struct job *j = owner;

    if (status != OP_OK) {
        give_up(j, "the queue", result);
        return;
    }
    if (j->report.nrcpts > 0)
        log_report(j);
    finish(j, true);
}

static void commit(struct job *j)
{
    queue_commit_report(j->bounce->queue, &j->scope, j->qid, j->ids, j->nids, &j->writer, &j->report, on_committed, j);
}

/* ---- the original's content ---- */

static void end_content(struct job *j)
{
    struct buf tail = {0};

    if (j->in_line)
        queue_write(j->writer, SLICE_LIT("\n"));
    dsn_write_tail(&tail, &j->text);
    queue_write(j->writer, buf_slice(&tail));
    buf_release(&tail);
    commit(j);
}

static void write_original(struct job *j, struct slice bytes)
{
    if (bytes.n == 0)
        return;
    queue_write(j->writer, bytes);
    j->in_line = bytes.p[bytes.n - 1] != '\n';
    j->written += bytes.n;
}

/* Writes what is header for sure; false when that becomes too much to be returned. */
static bool write_settled(struct job *j)
{
    const uint64_t limit = (uint64_t)j->conf->bounce_size_limit;
    size_t settled = (size_t)(j->scan.settled - j->written);

    if (j->scan.settled > limit || buf_len(&j->part) > limit)
        return false;
    if (settled > 0) {
        write_original(j, slice_head(buf_slice(&j->part), settled));
        buf_consume(&j->part, settled);
    }
    return true;
}

/* Copies the header section, which ends between two headers when it is too large. True at its end. */
static bool take_headers(struct job *j, struct slice bytes, bool last)
{
    while (bytes.n > 0 && !j->scan.ended) {
        size_t nl = slice_find(bytes, '\n');
        struct slice line = slice_head(bytes, nl == SLICE_NOT_FOUND ? nl : nl + 1);

        buf_add_slice(&j->part, line);
        header_scan_feed(&j->scan, line);
        if (!write_settled(j))
            return true;
        bytes = slice_from(bytes, line.n);
    }
    if (last) {
        header_scan_finish(&j->scan);
        write_settled(j);
    }
    return j->scan.ended;
}

static void read_more(void *arg)
{
    struct job *j = arg;

    content_next(&j->content);
}

static void on_piece(void *owner, struct slice bytes, bool last)
{
    struct job *j = owner;
    bool over = last;

    if (j->text.headers_only)
        over = take_headers(j, bytes, last) || last;
    else
        write_original(j, bytes);
    if (over)
        end_content(j);
    else if (queue_write_pending(j->writer) > WRITE_AHEAD)
        queue_write_wait(j->writer, WRITE_AHEAD, read_more, j);
    else
        read_more(j);
}

static void on_content_failure(void *owner, const struct status *why)
{
    give_up(owner, "the original's content", why);
}

/* ---- the report ---- */

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
    static const struct content_events events = {on_piece, on_content_failure};
    struct job *j = owner;
    const struct status *why = result;

    if (status != OP_OK || why == NULL || !status_is_ok(why)) {
        give_up(j, "alias expansion of the sender", why);
        return;
    }
    if (j->report.nrcpts == 0) { /* an alias that leads nowhere */
        commit(j);
        return;
    }
    j->writer = queue_begin(j->bounce->queue, j->report.qid);
    write_head(j);
    content_init(&j->content, j->bounce->queue, j->qid, &j->scope, &events, j);
    content_next(&j->content);
}

static bool wanted(const struct queue_failure *f)
{
    return f->rcpt.notify == 0 || (f->rcpt.notify & ENVELOPE_NOTIFY_FAILURE) != 0;
}

/* Copies the failures that the sender wants to hear of; answers how many. */
static size_t take_failures(struct job *j, const struct queue_failed *failed)
{
    struct dsn_recipient *rcpts = arena_new_array(&j->arena, failed->count, sizeof *rcpts);
    size_t n = 0;

    j->ids = arena_new_array(&j->arena, failed->count, sizeof *j->ids);
    for (size_t i = 0; i < failed->count; i++) {
        const struct queue_failure *f = &failed->failures[i];

        j->ids[j->nids++] = f->rcpt.id;
        if (!wanted(f))
            continue;
        rcpts[n++] = (struct dsn_recipient){
            .addr = arena_strdup(&j->arena, f->rcpt.addr),
            .orig = arena_strdup(&j->arena, f->rcpt.orig),
            .orcpt = arena_strdup(&j->arena, f->rcpt.orcpt),
            .action = DSN_ACTION_FAILED,
            .status = arena_strdup(&j->arena, f->dsn),
            .text = arena_strdup(&j->arena, f->text),
        };
    }
    j->text.rcpts = rcpts;
    j->text.nrcpts = n;
    return n;
}

static void prepare_envelope(struct job *j, uint64_t now_us)
{
    struct envelope_rcpt *to = ARENA_NEW(&j->arena, struct envelope_rcpt);

    to->addr = j->message->sender;
    j->report = (struct envelope){
        .qid = id_next(),
        .arrival_us = now_us,
        .sender = "",
        .body_8bit = true,
        .smtputf8 = j->message->smtputf8,
        .rcpts = to,
        .nrcpts = 1,
    };
}

static void prepare_text(struct job *j, uint64_t now_us)
{
    const struct envelope *m = j->message;
    struct dsn_report *r = &j->text;
    char qid[ID_TEXT], own[ID_TEXT];
    struct buf work = {0};

    r->myhostname = j->conf->myhostname;
    r->mail_name = j->conf->mail_name;
    r->now_us = now_us;
    r->qid = arena_strdup(&j->arena, id_format(qid, m->qid));
    r->sender = m->sender;
    r->envid = m->envid;
    r->arrival_us = m->arrival_us;
    r->headers_only = m->ret == ENVELOPE_RET_HDRS || m->size > (uint64_t)j->conf->bounce_size_limit;
    r->body_8bit = true; /* whatever was announced */
    r->smtputf8 = m->smtputf8;
    received_message_id(&work, now_us, id_format(own, j->report.qid), r->myhostname);
    r->message_id = arena_strdup(&j->arena, buf_cstr(&work));
    buf_clear(&work);
    dsn_boundary(&work, own, now_us, r->myhostname);
    r->boundary = arena_strdup(&j->arena, buf_cstr(&work));
    buf_release(&work);
}

static void on_loaded(void *owner, enum op_status status, const void *result)
{
    struct job *j = owner;
    const struct queue_failed *failed = result;
    const uint64_t now_us = clock_wall_us();

    if (status != OP_OK) {
        give_up(j, "the queue", status == OP_TEMPFAIL ? result : NULL);
        return;
    }
    j->message = envelope_copy(&j->arena, failed->message);
    if (failed->count == 0) {
        finish(j, true);
        return;
    }
    if (take_failures(j, failed) == 0 || j->message->sender[0] == '\0') {
        commit(j);
        return;
    }
    prepare_envelope(j, now_us);
    prepare_text(j, now_us);
    rules_expand(j->bounce->rules, &j->scope, &j->report, &j->arena, on_expanded, j);
}

void bounce_report(struct bounce *b, uint64_t qid)
{
    struct job *j = NEW(struct job);

    j->bounce = b;
    j->qid = qid;
    j->conf = conf_ref(b->conf);
    list_append(&b->jobs, &j->link);
    op_scope_init(&j->scope, "bounce");
    queue_load_failed(b->queue, &j->scope, qid, on_loaded, j);
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
