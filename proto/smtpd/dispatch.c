/*
 * The pump: input becomes command lines or content; a command goes through its stations. Called by session.c when
 * there is input and when a command is over. One command at a time; replies of a pipelining client are corked by the
 * stream until the end of the loop's turn, which is RFC 2920's grouping.
 */
#include "core/base/alloc.h"
#include "proto/smtpd/smtpd_int.h"

#define DISPATCH_BURST 100 /* commands a session may do in one turn of the loop */

#define SMTPD_CMD(verb, check, stage, act, flags, doing) {#verb, check, RESTRICT_STAGE_##stage, act, flags, doing},
static const struct cmd_row rows[CMD_COUNT] = {
#include "proto/smtpd/cmds.def"
};
#undef SMTPD_CMD

enum station {
    STATION_CHECK,
    STATION_RESTRICT,
    STATION_ACT,
    /* for content that has come */
    STATION_CONTENT_END,
    STATION_END_OF_DATA,
    STATION_COMMIT,
};

/* ---- one command ---- */

static enum step gate(struct session *s)
{
    const struct cmd_row *row = s->cmd;

    if (row->flags & CMD_JUNK && ++s->junk > (unsigned)s->conf->smtpd_junk_command_limit)
        s->errors++;
    if (!(row->flags & CMD_PRE_TLS) && session_needs_tls(s)) {
        session_reply(s, 530, "5.7.0", "Must issue a STARTTLS command first");
        return STEP_DONE;
    }
    if (row->flags & CMD_NEED_TXN && !s->txn.open) {
        session_reply(s, 503, "5.5.1", "Error: need %s command", row->act == rcpt_act ? "MAIL" : "RCPT");
        return STEP_DONE;
    }
    if (row->flags & CMD_NO_ARG && s->args.n > 0) {
        session_reply(s, 501, "5.5.4", "Syntax: %s", row->verb);
        return STEP_DONE;
    }
    return row->check ? row->check(s) : STEP_NEXT;
}

static enum step restrictions(struct session *s, enum restrict_stage stage)
{
    if (stage == RESTRICT_STAGE_NONE || s->bdat_state == BDAT_OPEN)
        return STEP_NEXT;
    switch (restrict_start(s, stage)) {
    case RESTRICT_WAIT: return STEP_WAIT;
    case RESTRICT_REJECT: session_reply_status(s, &s->verdict); return STEP_DONE;
    default: return STEP_NEXT;
    }
}

static enum step at_station(struct session *s)
{
    switch (s->station) {
    case STATION_CHECK: return gate(s);
    case STATION_RESTRICT: return restrictions(s, s->cmd->stage);
    case STATION_ACT: return s->cmd->act(s);
    case STATION_CONTENT_END: return txn_content_end(s);
    case STATION_END_OF_DATA: return restrictions(s, RESTRICT_STAGE_END_OF_DATA);
    default: return txn_commit(s);
    }
}

/* Refusals by policy are logged where the reply was made: the reply begins with its code. */
static void account(struct session *s, enum step step)
{
    bool ok = step == STEP_SENT || buf_slice(&s->reply).p[0] < '4';
    ptrdiff_t id = s->cmd - rows;

    s->count[id].all++;
    if (ok)
        s->count[id].ok++;
    else if (s->station == STATION_RESTRICT)
        session_log_reject(s, s->cmd->doing, &s->verdict);
    else if (s->station == STATION_END_OF_DATA) {
        session_log_reject(s, "END-OF-MESSAGE", &s->verdict);
        txn_reset(s);
    }
}

void dispatch_continue(struct session *s, enum step step)
{
    while (step == STEP_NEXT) {
        s->station++;
        step = at_station(s);
    }
    if (step == STEP_WAIT) {
        MTA_ASSERT(!op_scope_idle(&s->scope) || cleanup_busy(s));
        session_waits(s);
        return;
    }
    if (step == STEP_CONTENT) {
        session_flush(s);
        return;
    }
    MTA_ASSERT(step == STEP_SENT || buf_len(&s->reply) > 0);
    account(s, step);
    session_command_over(s, step);
}

static const struct cmd_row *find(struct slice verb)
{
    for (size_t i = 0; i < CMD_COUNT; i++)
        if (slice_ieq(verb, slice_str(rows[i].verb)))
            return &rows[i];
    return NULL;
}

/* A web browser or the like, sent here by somebody who wants to talk SMTP through it; or a mail header. */
static bool not_smtp(struct slice verb)
{
    static const char *const verbs[] = {"GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS"};

    if (verb.n > 1 && verb.p[verb.n - 1] == ':')
        return true;
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (slice_ieq(verb, slice_str(verbs[i])))
            return true;
    return false;
}

static void unknown_command(struct session *s, enum smtp_cmd_result parsed, struct slice verb)
{
    enum step step = STEP_DONE;
    struct log_ctx log = session_log(s, false);

    s->doing = "UNKNOWN";
    s->unknown.all++;
    if (parsed == SMTP_CMD_EMPTY)
        session_reply(s, 500, "5.5.2", "Error: bad syntax");
    else if (parsed == SMTP_CMD_BAD_BYTES && slice_istarts(slice_trim(buf_slice(&s->line)), SLICE_LIT("BDAT")))
        step = bdat_unclear(s);
    else if (parsed == SMTP_CMD_OK && not_smtp(verb)) {
        log_event(LOG_SESSION_WARNING, &log, "non-SMTP command from %s[%s]: %.*s", s->name, s->addr.host,
                  (int)buf_len(&s->line), s->line.data);
        session_reply(s, 221, "2.7.0", "Error: I can break rules, too. Goodbye.");
        step = STEP_CLOSE;
    } else
        session_reply(s, 500, "5.5.2", "Error: command not recognized");
    session_command_over(s, step);
}

/* smtpd_forbid_bare_newline: the line was answered, and is the last. */
static bool refuse_bare_lf(struct session *s)
{
    if (!s->bare_lf || !txn_refuses_bare_lf(s))
        return false;
    session_reply(s, (int)s->conf->smtpd_forbid_bare_newline_reject_code, "5.5.2", "%s Error: bare <LF> received",
                  s->conf->myhostname);
    session_command_over(s, STEP_CLOSE);
    return true;
}

static void command(struct session *s)
{
    struct smtp_cmd cmd;
    enum smtp_cmd_result parsed = smtp_cmd_parse(buf_slice(&s->line), &cmd);
    struct log_ctx log = session_log(s, false);

    if (refuse_bare_lf(s))
        return;
    if (s->errors >= (unsigned)s->conf->smtpd_hard_error_limit) {
        log_event(LOG_SESSION_LOST, &log, "too many errors after %s from %s[%s]", s->doing, s->name, s->addr.host);
        session_command_over(s, session_421(s, "4.7.0", "too many errors"));
        return;
    }
    if (s->unwelcome != NULL) {
        session_command_over(s, session_421(s, "4.7.1", s->unwelcome));
        return;
    }
    s->cmd = parsed == SMTP_CMD_OK ? find(cmd.verb) : NULL;
    if (s->cmd == NULL) {
        unknown_command(s, parsed, cmd.verb);
        return;
    }
    s->doing = s->cmd->doing;
    s->args = cmd.args;
    s->station = STATION_CHECK;
    dispatch_continue(s, at_station(s));
}

/* ---- lines ---- */

/* RFC 4954 section 4: what belongs to AUTH may be longer than other lines. */
static size_t line_limit(const struct session *s, struct slice in)
{
    size_t plain = (size_t)s->conf->line_length_limit, sasl = (size_t)s->conf->smtpd_sasl_response_limit;
    struct slice begin = buf_len(&s->line) > 0 ? buf_slice(&s->line) : in;
    bool is_auth =
        s->phase == SESSION_PHASE_AUTH || (s->service->auth != NULL && slice_istarts(begin, SLICE_LIT("AUTH ")));

    return is_auth && sasl > plain ? sasl : plain;
}

/*
 * Takes the next line off the input into s->line, without its end. A line longer than line_length_limit is cut and the
 * rest of it thrown away, as Postfix does. False: it is not complete yet.
 */
static bool take_line(struct session *s)
{
    struct slice in = stream_input(s->stream);
    size_t eol = slice_find(in, '\n'), max = line_limit(s, in), take = eol == SLICE_NOT_FOUND ? in.n : eol;
    size_t have = buf_len(&s->line);
    bool cr = s->line_cr;

    if (eol == SLICE_NOT_FOUND && in.n < max && have == 0)
        return false; /* leave it where it is */
    buf_add(&s->line, in.p, have < max ? (take < max - have ? take : max - have) : 0);
    if (take > 0)
        cr = in.p[take - 1] == '\r';
    s->line_cr = cr && eol == SLICE_NOT_FOUND;
    stream_consume(s->stream, eol == SLICE_NOT_FOUND ? in.n : eol + 1);
    if (eol == SLICE_NOT_FOUND)
        return false;
    s->bare_lf = !cr;
    if (buf_len(&s->line) > 0 && s->line.data[s->line.end - 1] == '\r')
        s->line.end--;
    return true;
}

static bool next_command(struct session *s)
{
    if (stream_input(s->stream).n == 0 || !take_line(s))
        return false;
    command(s);
    return true;
}

/* The client's answer to a challenge of AUTH. */
static bool next_response(struct session *s)
{
    if (stream_input(s->stream).n == 0 || !take_line(s))
        return false;
    if (!refuse_bare_lf(s))
        dispatch_continue(s, auth_response(s));
    return true;
}

/* ---- content ---- */

/* After a piece of content: stop reading while the disk is behind. */
static bool go_on(struct session *s)
{
    s->waiting = txn_must_wait(s);
    return true;
}

static bool next_data(struct session *s)
{
    struct slice in = stream_input(s->stream);
    enum smtp_body_result r;
    size_t used;

    if (in.n == 0)
        return false;
    r = smtp_body_feed(&s->txn.body, in, cleanup_input(s), &used);
    stream_consume(s->stream, used);
    s->txn.size += used;
    txn_content(s);
    if (r != SMTP_BODY_END)
        return go_on(s);
    s->phase = SESSION_PHASE_COMMAND;
    dispatch_continue(s, STEP_NEXT);
    return true;
}

static bool next_chunk(struct session *s)
{
    struct slice in = slice_head(stream_input(s->stream), (size_t)s->bdat_left);

    if (in.n == 0 && s->bdat_left > 0)
        return false;
    if (s->cmd != NULL && in.n > 0) { /* else it was refused already: thrown away */
        smtp_body_chunk(&s->txn.body, in, cleanup_input(s));
        s->txn.size += in.n;
        txn_content(s);
    }
    s->bdat_left -= in.n;
    stream_consume(s->stream, in.n);
    if (s->bdat_left > 0 || (s->cmd != NULL && cleanup_busy(s)))
        return s->cmd == NULL || go_on(s);
    s->phase = SESSION_PHASE_COMMAND;
    if (s->cmd != NULL)
        dispatch_continue(s, bdat_end(s));
    return true;
}

/* ---- the pump ---- */

static bool more(struct session *s)
{
    switch (s->phase) {
    case SESSION_PHASE_COMMAND: return next_command(s);
    case SESSION_PHASE_AUTH: return next_response(s);
    case SESSION_PHASE_DATA: return next_data(s);
    default: return next_chunk(s);
    }
}

static void stop(struct session *s)
{
    session_command_over(s, session_421(s, "4.3.2", "the server is shutting down"));
}

static void pump_again(void *arg)
{
    dispatch_pump(arg);
}

void dispatch_later(struct session *s)
{
    loop_defer(s->server->loop, &s->pump_task, pump_again, s);
}

/*
 * A session may be freed by what it does here only after this has returned (loop_free_later), so that `closing` and
 * the magic can be looked at.
 */
void dispatch_pump(struct session *s)
{
    for (int n = 0; s->magic != 0 && session_may_work(s) && !s->closing; n++) {
        if (s->shutdown) {
            stop(s);
            return;
        }
        if (n == DISPATCH_BURST) {
            dispatch_later(s);
            return;
        }
        if (!more(s)) {
            if (s->ended)
                session_lost(s);
            return;
        }
    }
}
