/*
 * One client: made when a connection is accepted, gone when it is closed. Owns the stream, the scope of everything it
 * waits for, the transaction. Closing is immediate for callbacks (scope, timer, stream) and the memory goes when the
 * current callback has returned.
 */
#include "core/base/alloc.h"
#include "lookup/dns_peer.h"
#include "lookup/matchlist.h"
#include "proto/smtpd/smtpd_int.h"

#include <stdio.h>

#define SESSION_MAGIC      0x53455353u
#define SESSION_INPUT_MAX  65536
#define SESSION_LINGER_MS  5000
#define SESSION_OUTPUT_MAX 65536 /* replies that a client does not read */

struct client_count {
    unsigned sessions;
};

/* ---- log ---- */

struct log_ctx session_log(const struct session *s, bool noqueue)
{
    return (struct log_ctx){.syslog_name = s->conf->syslog_name,
                            .qid = s->txn.qid[0] ? s->txn.qid
                                   : noqueue     ? "NOQUEUE"
                                                 : NULL,
                            .quiet = s->probe != NULL};
}

static struct log_ctx plain_log(const struct session *s)
{
    return (struct log_ctx){.syslog_name = s->conf->syslog_name, .quiet = s->probe != NULL};
}

const char *session_peer(struct session *s)
{
    return arena_printf(&s->cmd_arena, "%s[%s]", s->name, s->addr.host);
}

void session_log_reject(struct session *s, const char *what, const struct status *st)
{
    struct log_ctx log = session_log(s, true);
    struct buf line = {0};

    buf_printf(&line, "reject: %s from %s[%s]: %d %s %s;", what, s->name, s->addr.host, st->code, st->dsn, st->text);
    if (s->txn.open)
        buf_printf(&line, " from=<%s>", s->txn.env.sender);
    else if (s->mail != NULL)
        buf_printf(&line, " from=<%s>", s->mail);
    if (s->rcpt != NULL)
        buf_printf(&line, " to=<%s>", s->rcpt);
    buf_printf(&line, " proto=%s", s->esmtp ? "ESMTP" : "SMTP");
    if (s->helo != NULL)
        buf_printf(&line, " helo=<%s>", s->helo);
    log_event(LOG_REJECT, &log, "%s", buf_cstr(&line));
    buf_release(&line);
}

/* "disconnect from localhost[127.0.0.1] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4" */
static void log_disconnect(struct session *s)
{
    static const char *const names[CMD_COUNT] = {
#define SMTPD_CMD(verb, check, stage, act, flags, doing) #verb,
#include "proto/smtpd/cmds.def"
#undef SMTPD_CMD
    };
    struct log_ctx log = plain_log(s);
    struct buf line = {0};
    unsigned ok = 0, all = 0;

    for (size_t i = 0; i <= CMD_COUNT; i++) {
        unsigned k = i < CMD_COUNT ? s->count[i].ok : s->unknown.ok,
                 n = i < CMD_COUNT ? s->count[i].all : s->unknown.all;
        const char *name = i < CMD_COUNT ? names[i] : "unknown";

        if (n == 0)
            continue;
        buf_add_char(&line, ' ');
        for (; *name; name++)
            buf_add_char(&line, ascii_lower(*name));
        if (k == n)
            buf_printf(&line, "=%u", n);
        else
            buf_printf(&line, "=%u/%u", k, n);
        ok += k;
        all += n;
    }
    if (ok == all)
        buf_printf(&line, " commands=%u", all);
    else
        buf_printf(&line, " commands=%u/%u", ok, all);
    log_event(LOG_DISCONNECT, &log, "disconnect from %s[%s]%s", s->name, s->addr.host, buf_cstr(&line));
    buf_release(&line);
}

/* ---- replies ---- */

static void count_error(struct session *s, int code)
{
    if (code >= 400) {
        s->errors++;
        s->erred = true;
    }
}

void session_reply(struct session *s, int code, const char *dsn, const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    smtp_reply(&s->reply, code, dsn, buf_cstr(&text));
    buf_release(&text);
    count_error(s, code);
}

void session_reply_status(struct session *s, const struct status *st)
{
    smtp_reply_status(&s->reply, st);
    count_error(s, st->code);
}

enum step session_421(struct session *s, const char *dsn, const char *text)
{
    session_reply(s, 421, dsn, "%s Error: %s", s->conf->myhostname, text);
    return STEP_CLOSE;
}

void session_forget(struct session *s)
{
    session_auth_forget(s);
    txn_reset(s);
    mem_free(s->helo);
    s->helo = NULL;
    s->esmtp = false;
}

/* ---- the end ---- */

static void forget_client(struct session *s)
{
    struct slice key = slice_str(s->addr.host);
    struct client_count *c = s->probe == NULL ? map_get(&s->server->per_client, key) : NULL;

    if (c != NULL && --c->sessions == 0)
        mem_free(map_remove(&s->server->per_client, key));
}

static void server_drained(void *arg)
{
    struct smtpd *d = arg;

    if (d->drained != NULL && d->nsessions == 0) {
        void (*fn)(void *) = d->drained;

        d->drained = NULL;
        timer_stop(&d->grace);
        fn(d->drained_arg);
    }
}

/* Everything but the stream, which is closed or lingers by then. */
static void session_end(struct session *s)
{
    log_disconnect(s);
    op_scope_close(&s->scope);
    timer_stop(&s->timer);
    loop_defer_cancel(&s->pump_task);
    session_forget(s);
    forget_client(s);
    list_remove(&s->link);
    s->server->nsessions--;
    session_drop_line(s);
    buf_release(&s->reply);
    arena_clear(&s->cmd_arena);
    mem_free(s->own_name);
    mem_free(s->own_reverse_name);
    if (s->probe != NULL)
        s->probe->ended(s->probe->arg);
    smtpd_service_unref(&s->service);
    s->magic = 0;
    server_drained(s->server);
    loop_free_later(s->server->loop, s);
}

void session_close(struct session *s)
{
    stream_close(&s->stream);
    session_end(s);
}

/* The last reply is written: let it reach the client, then close. */
static void finish(struct session *s)
{
    stream_finish(&s->stream, SESSION_LINGER_MS);
    session_end(s);
}

/* ---- time ---- */

/* "RCPT", "DATA (1234 bytes)" */
static const char *where(struct session *s)
{
    if (s->phase == SESSION_PHASE_COMMAND || s->phase == SESSION_PHASE_AUTH)
        return s->doing;
    return arena_printf(&s->cmd_arena, "%s (%llu bytes)", s->doing, (unsigned long long)s->txn.size);
}

static void on_timeout(void *arg)
{
    struct session *s = OBJ_FROM(struct session, arg, SESSION_MAGIC);
    struct log_ctx log = plain_log(s);

    log_event(LOG_SESSION_LOST, &log, "timeout after %s from %s[%s]", where(s), s->name, s->addr.host);
    session_421(s, "4.4.2", "timeout exceeded");
    session_flush(s);
    finish(s);
}

static void restart_timer(struct session *s)
{
    timer_start(s->server->loop, &s->timer, s->conf->smtpd_timeout_ms, on_timeout, s);
}

/* ---- flow ---- */

void session_flush(struct session *s)
{
    stream_write(s->stream, buf_slice(&s->reply));
    buf_release(&s->reply);
    restart_timer(s);
}

void session_waits(struct session *s)
{
    s->waiting = true;
    timer_stop(&s->timer);
}

void session_drop_line(struct session *s)
{
    if (s->line.data != NULL)
        explicit_bzero(s->line.data, s->line.cap);
    buf_release(&s->line);
    s->args = SLICE_EMPTY;
}

/* Hands the reply to the stream and goes on with the next command. */
static void reply_out(void *arg)
{
    struct session *s = OBJ_FROM(struct session, arg, SESSION_MAGIC);

    s->waiting = s->delayed = false;
    session_flush(s);
    if (s->closing) {
        finish(s);
        return;
    }
    if (s->ended || s->shutdown || stream_input(s->stream).n > 0)
        dispatch_later(s);
}

/*
 * How long the reply waits: smtpd_soft_error_limit, for a client that makes many errors, unless it is only a probe or
 * sends no more; and what is said of somebody who guesses passwords, who does not get around it by sending no more.
 */
static uint64_t reply_delay(const struct session *s)
{
    unsigned before = s->errors - (s->erred && s->errors > 0);
    bool slow = before >= (unsigned)s->conf->smtpd_soft_error_limit && s->probe == NULL && !s->ended;
    uint64_t delay_ms = slow ? s->conf->smtpd_error_sleep_time_ms : 0;

    return delay_ms > s->reply_delay_ms ? delay_ms : s->reply_delay_ms;
}

static void command_over(struct session *s)
{
    uint64_t delay_ms = reply_delay(s);

    auth_end(&s->exchange);
    s->reply_delay_ms = 0;
    s->erred = s->bare_lf = false;
    s->cmd = NULL;
    s->rcpt = NULL;
    s->mail = NULL;
    session_drop_line(s);
    arena_clear(&s->cmd_arena);
    if (delay_ms > 0 && !s->broken && !s->shutdown) {
        s->waiting = s->delayed = true;
        timer_start(s->server->loop, &s->timer, delay_ms, reply_out, s);
    } else
        reply_out(s);
}

void session_shut_down(struct session *s)
{
    s->shutdown = true;
    if (s->handshaking)
        session_close(s);
    else if (s->delayed)
        reply_out(s);
    else
        dispatch_pump(s);
}

void session_resume(struct session *s, enum step step)
{
    OBJ_CHECK(s, SESSION_MAGIC);
    s->waiting = false;
    dispatch_continue(s, step);
}

void session_room(struct session *s)
{
    OBJ_CHECK(s, SESSION_MAGIC);
    s->waiting = false;
    restart_timer(s);
    dispatch_pump(s);
}

void session_command_over(struct session *s, enum step step)
{
    if (step == STEP_CLOSE)
        s->closing = true;
    command_over(s);
}

/* ---- events of the stream ---- */

static void on_data(void *arg)
{
    struct session *s = OBJ_FROM(struct session, arg, SESSION_MAGIC);

    if (s->phase != SESSION_PHASE_COMMAND && s->phase != SESSION_PHASE_AUTH && !s->waiting)
        restart_timer(s); /* a command line must be complete in time, content must go on */
    dispatch_pump(s);
}

static void on_drain(void *arg)
{
    struct session *s = OBJ_FROM(struct session, arg, SESSION_MAGIC);

    if (!s->waiting && stream_input(s->stream).n > 0)
        dispatch_later(s);
}

static void on_end(void *arg, const char *error)
{
    struct session *s = OBJ_FROM(struct session, arg, SESSION_MAGIC);

    s->ended = true;
    s->broken = error != NULL;
    if (s->broken || !s->waiting)
        dispatch_pump(s); /* what came before the end is still worked on; then "lost connection" */
}

static const struct stream_events session_events = {on_data, on_end, on_drain};

void session_lost(struct session *s)
{
    struct log_ctx log = plain_log(s);

    if (!s->closing)
        log_event(LOG_SESSION_LOST, &log, "lost connection after %s from %s[%s]", where(s), s->name, s->addr.host);
    if (s->broken)
        session_close(s);
    else
        finish(s); /* it may still read the replies to what it sent */
}

bool session_may_work(const struct session *s)
{
    return !s->waiting && stream_pending(s->stream) < SESSION_OUTPUT_MAX;
}

/* ---- the beginning ---- */

static void count_client(struct session *s)
{
    struct slice key = slice_str(s->addr.host);
    struct client_count *c = map_get(&s->server->per_client, key);

    if (s->probe != NULL)
        return;
    if (c == NULL) {
        c = NEW(struct client_count);
        map_put(&s->server->per_client, key, c);
    }
    c->sessions++;
}

/* Has the client too many sessions, this one among them? */
static bool too_many(const struct session *s)
{
    struct slice key = slice_str(s->addr.host);
    const struct client_count *c = s->probe == NULL ? map_get(&s->server->per_client, key) : NULL;
    int64_t limit = s->conf->smtpd_client_connection_count_limit;

    return c != NULL && limit > 0 && c->sessions > limit && matchlist_match_now(s->service->exceptions, key) != 1;
}

/* local_header_rewrite_clients: whose missing headers are added. Tables of the list match nobody; smtpd_service_new has
 * said so. */
bool session_is_local(const struct session *s)
{
    struct slice rest = slice_str(s->conf->local_header_rewrite_clients), word;

    while ((word = slice_token(&rest, ", \t\r\n")).n > 0)
        if ((slice_ieq(word, SLICE_LIT("permit_inet_interfaces")) && conf_is_own_address(s->conf, s->addr.host)) ||
            (slice_ieq(word, SLICE_LIT("permit_mynetworks")) && s->in_mynetworks) ||
            (slice_ieq(word, SLICE_LIT("permit_sasl_authenticated")) && s->login != NULL))
            return true;
    return false;
}

void session_welcome(struct session *s)
{
    if (s->unwelcome != NULL) {
        session_command_over(s, session_421(s, "4.7.1", s->unwelcome));
        return;
    }
    session_reply(s, 220, NULL, "%s", s->conf->smtpd_banner);
    command_over(s);
}

static void greet(struct session *s)
{
    struct log_ctx log = plain_log(s);

    log_event(LOG_CONNECT, &log, "connect from %s[%s]", s->name, s->addr.host);
    if (s->server->draining) {
        s->shutdown = true;
        dispatch_pump(s);
        return;
    }
    if (too_many(s)) {
        log_event(LOG_SESSION_WARNING, &log, "Connection concurrency limit exceeded: %u from %s[%s] for service smtpd",
                  (unsigned)s->conf->smtpd_client_connection_count_limit + 1, s->name, s->addr.host);
        session_reply(s, 421, "4.7.0", "%s Error: too many connections from %s", s->conf->myhostname, s->addr.host);
        session_command_over(s, STEP_CLOSE);
        return;
    }
    if (session_auth_banned(s, NULL)) {
        session_command_over(s, session_auth_refuse(s));
        return;
    }
    if (!session_wrap(s))
        session_welcome(s);
}

static void on_mynetworks(void *owner, enum op_status st, const void *result)
{
    struct session *s = owner;

    (void)result;
    s->in_mynetworks = st == OP_OK; /* a table that fails makes nobody trusted */
    s->waiting = false;
    greet(s);
}

static void check_mynetworks(struct session *s)
{
    struct slice addr = slice_str(s->addr.host);
    int trusted = matchlist_match_now(s->service->mynetworks, addr);

    s->in_mynetworks = trusted == 1;
    if (trusted < 0) {
        s->waiting = true;
        matchlist_match(s->service->mynetworks, &s->scope, addr, on_mynetworks, s);
    } else
        greet(s);
}

static void on_peer(void *owner, enum op_status st, const void *result)
{
    struct session *s = owner;
    const struct dns_peer *peer = result;
    struct log_ctx log = plain_log(s);

    (void)st;
    s->name = s->own_name = mem_strdup(peer->name);
    s->reverse_name = s->own_reverse_name = mem_strdup(peer->reverse_name);
    s->name_status = peer->name_status;
    s->reverse_status = peer->reverse_status;
    if (peer->warning != NULL)
        log_event(LOG_SESSION_WARNING, &log, "%s", peer->warning);
    s->waiting = false;
    check_mynetworks(s);
}

/* Who is it, as far as that is known without asking? */
static void identify(struct session *s)
{
    struct dns_peer peer;

    s->addr = stream_peer(s->stream);
    if (s->probe != NULL)
        snprintf(s->addr.host, sizeof s->addr.host, "%s", s->probe->client_addr);
    peer = dns_peer_unasked(s->addr.host);
    s->name = s->probe != NULL ? s->probe->client_name : peer.name;
    s->reverse_name = s->probe != NULL ? s->probe->client_name : peer.reverse_name;
    s->name_status = peer.name_status;
    s->reverse_status = peer.reverse_status;
    count_client(s);
}

/* smtpd_peername_lookup; not for those who are sent away, nor for who is known already. */
static bool wants_name(const struct session *s)
{
    return s->server->dns != NULL && s->probe == NULL && s->conf->smtpd_peername_lookup &&
           s->name_status != DNS_PEER_OK && !s->server->draining && !too_many(s);
}

static void session_begin(struct smtpd_service *service, struct stream *stream, const struct smtpd_probe *probe)
{
    struct session *s = NEW(struct session);

    s->magic = SESSION_MAGIC;
    s->server = service->server;
    s->service = smtpd_service_ref(service);
    s->conf = service->conf;
    s->stream = stream;
    s->probe = probe;
    s->doing = "CONNECT";
    op_scope_init(&s->scope, "smtpd session");
    if (probe != NULL)
        s->scope.trace = probe->trace;
    list_append(&s->server->sessions, &s->link);
    s->server->nsessions++;
    identify(s);
    stream_set_events(stream, &session_events, s, SESSION_INPUT_MAX);
    if (wants_name(s)) {
        s->waiting = true;
        dns_peer_ask(s->server->dns, s->addr.host, &s->scope, on_peer, s);
    } else
        check_mynetworks(s);
}

void smtpd_accept(void *service, struct stream *stream)
{
    session_begin(service, stream, NULL);
}

void smtpd_probe(struct smtpd_service *service, struct stream *stream, const struct smtpd_probe *probe)
{
    session_begin(service, stream, probe);
}
