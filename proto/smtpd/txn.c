/*
 * One mail transaction: the envelope under construction and the content on its way into the queue. Content is never
 * whole in memory: what is decoded is scanned while it is header, and written. Headers that we add stand above the
 * client's (Received:) or, for local clients that left them out, at the end of the header section.
 *
 * 250 goes out from on_committed and from nowhere else: the queue calls it after fdatasync.
 */
#include "core/base/addr.h"
#include "core/base/alloc.h"
#include "lookup/matchlist.h"
#include "proto/grammar/received.h"
#include "proto/smtpd/smtpd_int.h"

#include <stdio.h>

#define TXN_PENDING_HIGH (256u << 10) /* bytes on their way to disk at which the client has to wait */
#define TXN_PENDING_LOW  (128u << 10)

void txn_begin(struct session *s)
{
    struct txn *t = &s->txn;
    const struct smtp_mail_params *p = &s->mail_params;

    txn_reset(s);
    t->open = true;
    s->local_client = session_is_local(s);
    t->env = (struct envelope){
        .arrival_us = clock_wall_us(),
        .sender = arena_strdup(&t->arena, s->mail),
        .client_name = s->name,
        .client_addr = s->addr.host,
        .helo = arena_strdup(&t->arena, s->helo),
        .protocol = s->esmtp ? "ESMTP" : "SMTP",
        .envid = arena_strdup(&t->arena, p->envid),
        .ret = (enum envelope_ret)p->ret,
        .body_8bit = p->body == SMTP_BODY_TYPE_8BITMIME,
        .smtputf8 = p->smtputf8,
    };
}

void txn_reset(struct session *s)
{
    struct txn *t = &s->txn;

    if (t->writer != NULL)
        queue_abort(&t->writer);
    cleanup_release(&t->cleanup);
    buf_release(&t->held);
    arena_clear(&t->arena);
    *t = (struct txn){0};
    s->bdat_state = BDAT_NONE;
}

static void log_client(const struct session *s, const struct log_ctx *log)
{
    if (s->login == NULL)
        log_event(LOG_CLIENT, log, "client=%s[%s]", s->name, s->addr.host);
    else
        log_event(LOG_CLIENT, log, "client=%s[%s], sasl_method=%s, sasl_username=%s", s->name, s->addr.host,
                  s->login_method, s->login);
}

void txn_add_rcpt(struct session *s)
{
    struct txn *t = &s->txn;
    struct envelope *e = &t->env;

    if (t->qid[0] == '\0') {
        struct log_ctx log;

        e->qid = id_next();
        id_format(t->qid, e->qid);
        log = session_log(s, false);
        log_client(s, &log);
    }
    if (e->nrcpts == t->rcpt_cap) {
        struct envelope_rcpt *more;

        t->rcpt_cap = t->rcpt_cap ? t->rcpt_cap * 2 : 1;
        more = arena_new_array(&t->arena, t->rcpt_cap, sizeof *more);
        if (e->nrcpts > 0)
            memcpy(more, e->rcpts, e->nrcpts * sizeof *more);
        e->rcpts = more;
    }
    e->rcpts[e->nrcpts++] = (struct envelope_rcpt){
        .addr = arena_strdup(&t->arena, s->rcpt),
        .orcpt = arena_strdup(&t->arena, s->rcpt_params.orcpt),
        .notify = s->rcpt_params.notify,
    };
}

/* ---- content ---- */

/* RFC 3848: "ESMTPSA" under TLS and after AUTH; RFC 6531 section 4.3: SMTPUTF8 mail has names of its own. */
static const char *with_protocol(struct session *s)
{
    if (!s->esmtp)
        return s->txn.env.protocol;
    return arena_printf(&s->txn.arena, "%s%s%s", s->txn.env.smtputf8 ? "UTF8SMTP" : "ESMTP", s->tls ? "S" : "",
                        s->login ? "A" : "");
}

void txn_content_begin(struct session *s)
{
    struct txn *t = &s->txn;
    struct received r = {
        .helo = s->helo,
        .client_name = s->name,
        .client_addr = s->addr.host,
        .myhostname = s->conf->myhostname,
        .mail_name = s->conf->mail_name,
        .protocol = with_protocol(s),
        .qid = t->qid,
        .tls = session_tls_received(s),
        .login = s->conf->smtpd_sasl_authenticated_header ? s->login : NULL,
        .rcpt = t->env.nrcpts == 1 ? t->env.rcpts[0].addr : NULL,
        .time_us = t->env.arrival_us,
    };
    struct buf head = {0};

    t->writer = queue_begin(s->server->queue, t->env.qid);
    received_write(&head, &r);
    cleanup_begin(s);
    if (t->cleanup.edit != NULL) {
        buf_add_slice(&t->cleanup.raw, buf_slice(&head)); /* header_checks may want to see it, or to take it away */
        t->own_received = 1;
    } else {
        queue_write(t->writer, buf_slice(&head));
    }
    buf_release(&head);
    smtp_body_init(&t->body);
}

/* What a local client left out: RFC 5322 section 3.6, RFC 6409 section 8. */
static void write_missing(struct session *s)
{
    struct txn *t = &s->txn;
    const struct header_scan *scan = &t->scan;
    struct buf add = {0};

    if (s->local_client || s->conf->always_add_missing_headers) {
        const char *resent = scan->has_resent ? "Resent-" : "";

        if (!(scan->has_resent ? scan->has_resent_message_id : scan->has_message_id)) {
            struct buf id = {0};

            received_message_id(&id, t->env.arrival_us, t->qid, s->conf->myhostname);
            buf_printf(&add, "%sMessage-Id: %s\n", resent, buf_cstr(&id));
            if (!scan->has_resent)
                snprintf(t->scan.message_id, sizeof t->scan.message_id, "%s", buf_cstr(&id)); /* for the log */
            buf_release(&id);
        }
        if (!(scan->has_resent ? scan->has_resent_date : scan->has_date)) {
            buf_printf(&add, "%sDate: ", resent);
            received_date(&add, t->env.arrival_us);
            buf_add_char(&add, '\n');
        }
        if (!(scan->has_resent ? scan->has_resent_from : scan->has_from)) {
            buf_printf(&add, "%sFrom: ", resent);
            if (t->env.sender[0])
                addr_quote(&add, slice_str(t->env.sender));
            else
                buf_printf(&add, "MAILER-DAEMON@%s", s->conf->myorigin);
            buf_add_char(&add, '\n');
        }
    }
    if (scan->no_separator)
        buf_add_char(&add, '\n');
    queue_write(t->writer, buf_slice(&add));
    buf_release(&add);
}

static bool is_dropped(const struct conf *c, struct slice name)
{
    struct slice rest = slice_str(c->message_drop_headers), word;

    while ((word = slice_token(&rest, ", \t\r\n")).n > 0)
        if (slice_ieq(word, name))
            return true;
    return false;
}

/*
 * message_drop_headers: what is not for the recipients' eyes (Bcc:), or not for a client to say (Return-Path:). Headers
 * may come in pieces: one that goes on here was judged where it began, and its name is always in one piece.
 */
static void write_kept_headers(struct session *s, struct slice headers)
{
    struct txn *t = &s->txn;

    while (headers.n > 0) {
        size_t lf = slice_find(headers, '\n');
        struct slice line = slice_head(headers, lf == SLICE_NOT_FOUND ? lf : lf + 1);
        bool goes_on = t->in_line || line.p[0] == ' ' || line.p[0] == '\t';

        if (!goes_on)
            t->dropping = is_dropped(s->conf, slice_trim(slice_head(line, slice_find(line, ':'))));
        if (!t->dropping)
            queue_write(t->writer, line);
        t->in_line = lf == SLICE_NOT_FOUND;
        headers = slice_from(headers, line.n);
    }
}

static void write_held(struct session *s, uint64_t n)
{
    struct txn *t = &s->txn;

    if (t->written == 0 && t->scan.mbox_line && n > 0)
        queue_write(t->writer, SLICE_LIT("X-Mailbox-Line: ")); /* an mbox "From " line is no header */
    if (t->headers_written)
        queue_write(t->writer, slice_head(buf_slice(&t->held), (size_t)n));
    else
        write_kept_headers(s, slice_head(buf_slice(&t->held), (size_t)n));
    buf_consume(&t->held, (size_t)n);
    t->written += n;
}

/*
 * The header section: what is surely header is written, the rest is held until it is known where the section ends. A
 * single header longer than header_size_limit is not waited for; nothing of it is lost.
 */
static void write_headers(struct session *s)
{
    struct txn *t = &s->txn;

    write_held(s, t->scan.settled - t->written);
    if (t->scan.ended) {
        write_missing(s);
        t->headers_written = true;
    } else if (buf_len(&t->held) > (size_t)s->conf->header_size_limit) {
        t->headers_written = true;
        write_held(s, buf_len(&t->held));
    }
}

void txn_content(struct session *s)
{
    struct txn *t = &s->txn;
    int64_t limit = s->conf->message_size_limit;

    t->too_big = t->too_big || (limit > 0 && t->size > (uint64_t)limit);
    cleanup_feed(s);
}

void txn_store(struct session *s)
{
    struct txn *t = &s->txn;

    if (t->too_big) {
        buf_release(&t->held);
        return;
    }
    if (!t->headers_written) {
        header_scan_feed(&t->scan, slice_from(buf_slice(&t->held), (size_t)(t->fed - t->written)));
        t->fed = t->written + buf_len(&t->held);
        write_headers(s);
    }
    if (t->headers_written)
        write_held(s, buf_len(&t->held));
    if (buf_len(&t->held) == 0)
        buf_release(&t->held);
}

static void on_room(void *arg)
{
    session_room(arg);
}

bool txn_must_wait(struct session *s)
{
    struct txn *t = &s->txn;

    if (cleanup_busy(s))
        return true;
    if (t->writer == NULL || queue_write_pending(t->writer) < TXN_PENDING_HIGH)
        return false;
    queue_write_wait(t->writer, TXN_PENDING_LOW, on_room, s);
    return true;
}

/* ---- the end of the content ---- */

static enum step refuse(struct session *s, const struct status *why)
{
    struct log_ctx log = session_log(s, true);

    log_event(LOG_CLEANUP_REJECT, &log, "reject: END-OF-MESSAGE from %s[%s]: %d %s %s; from=<%s> proto=%s helo=<%s>",
              s->name, s->addr.host, why->code, why->dsn, why->text, s->txn.env.sender, s->txn.env.protocol,
              s->helo ? s->helo : "");
    session_reply_status(s, why);
    txn_reset(s);
    return STEP_DONE;
}

bool txn_refuses_bare_lf(const struct session *s)
{
    return s->conf->smtpd_forbid_bare_newline == CONF_BARE_NEWLINE_REJECT &&
           matchlist_match_now(s->service->bare_newline_exclusions, slice_str(s->addr.host)) != 1;
}

enum step txn_content_end(struct session *s)
{
    struct txn *t = &s->txn;
    struct status why = status_ok();
    struct log_ctx log = session_log(s, true);

    if (!cleanup_end(s))
        return STEP_WAIT;
    if (t->too_big)
        why = status_of(STATUS_MESSAGE_TOO_BIG);
    else if (t->body.seen_bare_lf && txn_refuses_bare_lf(s))
        why = status_reply(STATUS_BARE_NEWLINE, (int)s->conf->smtpd_forbid_bare_newline_reject_code, "5.5.2",
                           "%s Error: bare <LF> received", s->conf->myhostname);
    else if (t->scan.received + 1 - t->own_received >= s->conf->hopcount_limit) /* ours is one of them */
        why = status_of(STATUS_TOO_MANY_HOPS);
    else
        why = t->cleanup.verdict;
    if (!status_is_ok(&why))
        return refuse(s, &why);
    if (!t->headers_written) {
        header_scan_finish(&t->scan);
        write_headers(s);
        write_held(s, buf_len(&t->held));
    }
    log_event(LOG_MESSAGE_ID, &log, "message-id=%s", t->scan.message_id);
    return STEP_NEXT;
}

static void on_committed(void *owner, enum op_status st, const void *result)
{
    struct session *s = owner;
    const struct status *why = result;

    if (st != OP_OK) {
        struct status lost = status_of(STATUS_QUEUE_WRITE);

        refuse(s, why ? why : &lost);
    } else {
        if (s->cmd->act == bdat_act)
            session_reply(s, 250, "2.0.0", "Ok: %llu bytes queued as %s", (unsigned long long)s->txn.size, s->txn.qid);
        else
            session_reply(s, 250, "2.0.0", "Ok: queued as %s", s->txn.qid);
        s->errors = s->junk = 0;
        txn_reset(s);
    }
    session_resume(s, STEP_DONE);
}

static void on_expanded(void *owner, enum op_status st, const void *result)
{
    struct session *s = owner;
    const struct status *why = result;
    struct status lost = status_of(STATUS_TABLE_TEMPFAIL);

    if (st != OP_OK || (why != NULL && !status_is_ok(why))) {
        struct log_ctx log = session_log(s, true);

        if (why == NULL)
            why = &lost;
        log_event(LOG_CLEANUP_WARNING, &log, "addresses of the envelope: %s", why->text);
        lost = status_reply(why->reason, 451, why->dsn, "Error: %s",
                            why->reason == STATUS_ALIAS_ERROR ? "alias expansion error" : "temporary lookup failure");
        refuse(s, &lost);
        session_resume(s, STEP_DONE);
        return;
    }
    queue_commit(&s->txn.writer, &s->scope, &s->txn.env, on_committed, s);
    session_resume(s, STEP_WAIT);
}

static void on_rewritten(void *owner, enum op_status st, const void *result)
{
    struct session *s = owner;
    const struct status *why = result;

    if (st != OP_OK || !status_is_ok(why)) {
        on_expanded(owner, st, result);
        return;
    }
    rules_expand(s->service->rules, &s->scope, &s->txn.env, &s->txn.arena, on_expanded, s);
    session_resume(s, STEP_WAIT);
}

/* header_checks and body_checks have said that nobody gets it: the client hears that all is well. */
static enum step discard(struct session *s)
{
    session_reply(s, 250, "2.0.0", "Ok: queued as %s", s->txn.qid);
    txn_reset(s);
    return STEP_DONE;
}

static void redirect(struct session *s)
{
    struct envelope *e = &s->txn.env;

    e->rcpts[0] = (struct envelope_rcpt){.addr = s->txn.cleanup.redirect};
    e->nrcpts = 1;
}

enum step txn_commit(struct session *s)
{
    if (s->txn.cleanup.discard)
        return discard(s);
    if (s->txn.cleanup.redirect != NULL)
        redirect(s);
    rules_rewrite_envelope(s->service->rules, &s->scope, &s->txn.env, &s->txn.arena, on_rewritten, s);
    return STEP_WAIT;
}
