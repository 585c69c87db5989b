/*
 * The content on its way from the queue to the server. Reading begins with MAIL, so that the first piece is there when
 * the server wants it; from then on one piece is read ahead of the one that is being written, and no more than that is
 * in memory. A piece goes through the editor (smtpc_edit.c), the conversion to 7 bits and the encoding for the wire.
 * Called by smtpc_txn.c, and by smtpc_conn.c when more can be written.
 */
#include "delivery/smtpc_int.h"

#include "core/base/codec.h"

#include <stdio.h>

static void read_on(struct smtpc_job *job)
{
    job->body.reading = true;
    content_next(&job->body.content);
}

/* ---- pieces ---- */

/* Is there anything but ASCII in the header section, as far as the piece has it? */
static bool header_is_utf8(struct slice bytes)
{
    const char *end = memmem(bytes.p, bytes.n, "\n\n", 2);

    return codec_has_8bit(end != NULL ? slice_head(bytes, (size_t)(end - bytes.p)) : bytes);
}

static void encode(struct smtpc_body *b, struct slice bytes, bool last)
{
    struct buf converted = {0};

    if (b->mime != NULL) {
        mime_encode_feed(b->mime, bytes, &converted);
        if (last)
            mime_encode_end(b->mime, &converted);
        bytes = buf_slice(&converted);
    }
    smtp_content_feed(&b->wire, bytes, &b->out);
    if (last)
        smtp_content_end(&b->wire, &b->out);
    buf_release(&converted);
}

/* What was read is encoded. */
static void piece_done(struct smtpc_job *job)
{
    struct smtpc_body *b = &job->body;
    bool looking = b->looking;

    b->reading = b->looking = false;
    b->last = b->all_read;
    if (b->last)
        encode(b, SLICE_EMPTY, true);
    if (looking)
        smtpc_txn_looked(job, false);
    else
        smtpc_body_push(job);
}

/* What was read is with the editor; false: it waits for a table. */
static bool edited(struct smtpc_body *b)
{
    if (!b->all_read || b->edit_ended)
        return true;
    b->edit_ended = true;
    return content_edit_end(b->edit);
}

static void on_edited(void *arg, struct slice bytes)
{
    encode(&((struct smtpc_job *)arg)->body, bytes, false);
}

static void on_ready(void *arg)
{
    struct smtpc_job *job = arg;

    if (edited(&job->body))
        piece_done(job);
}

static void on_unanswered(void *arg, const char *why)
{
    struct smtpc_job *job = arg;
    const struct status status = status_make(STATUS_TABLE_TEMPFAIL, "header or body checks failure");
    const struct outcome o = outcome_deferred(&status);

    transport_job_warn(&job->job, "content: %s", why);
    smtpc_unreadable(job, &o);
}

static void on_piece(void *owner, struct slice bytes, bool last)
{
    struct smtpc_job *job = owner;
    struct smtpc_body *b = &job->body;

    if (b->looking && header_is_utf8(bytes)) {
        b->reading = b->looking = false;
        smtpc_txn_looked(job, true);
        return;
    }
    b->all_read = last;
    if (b->edit == NULL)
        encode(b, bytes, false);
    else if (!content_edit_feed(b->edit, bytes) || !edited(b))
        return; /* on_ready */
    piece_done(job);
}

static void on_failure(void *owner, const struct status *why)
{
    const struct outcome o = outcome_deferred(why);

    smtpc_unreadable(owner, &o);
}

/* ---- sending ---- */

void smtpc_body_begin(struct smtpc_job *job, bool look)
{
    static const struct content_events events = {on_piece, on_failure};
    static const struct content_edit_events edit_events = {on_edited, smtpc_edit_action, on_ready, on_unanswered};
    const struct delivery *d = job->job.delivery;
    struct smtpc_body *b = &job->body;
    bool convert = d->message->body_8bit && !(job->conn->features & SMTPC_8BITMIME) &&
                   !job->job.transport->set->conf->disable_mime_output_conversion;

    b->begun = true;
    b->looking = look;
    b->wire = (struct smtp_content){.bare = b->bdat, .line_limit = (size_t)job->conf->line_length_limit};
    if (convert)
        b->mime = mime_encode_new();
    b->edit = smtpc_edit_content(job, &edit_events);
    content_init(&b->content, d->queue, d->message->qid, &job->job.scope, &events, job);
    read_on(job);
}

static void send_chunk(struct smtpc_job *job)
{
    struct smtpc_body *b = &job->body;
    char line[60];
    int n = snprintf(line, sizeof line, "BDAT %zu%s\r\n", buf_len(&b->out), b->last ? " LAST" : "");

    smtpc_conn_send(job->conn, slice_make(line, (size_t)n));
    b->chunks++;
}

void smtpc_body_progress(struct smtpc_job *job)
{
    uint64_t now_ms = loop_now_ms(job->conn->loop), until_ms = job->body.until_ms;

    if (job->conf->per_request_deadline)
        smtpc_conn_step_for(job->conn, SMTPC_BODY, until_ms > now_ms ? until_ms - now_ms : 0);
    else
        smtpc_conn_step(job->conn, SMTPC_BODY);
}

void smtpc_body_push(struct smtpc_job *job)
{
    struct smtpc_body *b = &job->body;

    if (!b->go || b->end_sent || stream_pending(job->conn->stream) > 0)
        return;
    b->until_ms += buf_len(&b->out) * 1000 / (uint64_t)job->conf->min_data_rate;
    if (!b->reading || buf_len(&b->out) > 0)
        smtpc_body_progress(job);
    if (!b->reading && b->bdat)
        send_chunk(job);
    smtpc_conn_send(job->conn, buf_slice(&b->out));
    buf_release(&b->out);
    if (b->reading)
        return;
    if (b->last) {
        b->end_sent = true;
        smtpc_conn_step(job->conn, SMTPC_DOT);
    } else {
        read_on(job);
    }
}

void smtpc_body_go(struct smtpc_job *job)
{
    job->body.go = true;
    job->body.until_ms = loop_now_ms(job->conn->loop) + job->conf->data_xfer_timeout_ms;
    smtpc_body_progress(job);
    smtpc_body_push(job);
}

void smtpc_body_release(struct smtpc_job *job)
{
    content_edit_free(&job->body.edit);
    mime_encode_free(&job->body.mime);
    buf_release(&job->body.out);
    job->body = (struct smtpc_body){0};
}
