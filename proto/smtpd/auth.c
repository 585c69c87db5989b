/*
 * AUTH: RFC 4954. The command starts an exchange of proto/auth; a challenge makes the client's next line a response
 * (SESSION_PHASE_AUTH), which dispatch.c brings here, until the exchange has come to an end. Nothing but its success
 * sets session.login. What is in the lines is wiped and never logged; who guesses passwords meets
 * proto/auth/auth_guard.
 */
#include "core/base/alloc.h"
#include "core/base/codec.h"
#include "lookup/matchlist.h"
#include "proto/smtpd/smtpd_int.h"

#define MECHANISM_MOST 20 /* characters of a mechanism's name: RFC 4422 section 3.1 */

/* ---- is there AUTH? ---- */

/* Enabled, and allowed where the session is now; whether there is a mechanism is another matter. */
static bool enabled(const struct session *s)
{
    return s->service->auth != NULL && session_offers(s, EHLO_AUTH) && session_may_auth(s);
}

const char *session_auth_offer(const struct session *s)
{
    if (!enabled(s) || matchlist_match_now(s->service->auth_hidden, slice_str(s->addr.host)) == 1)
        return "";
    return auth_mechanisms(s->service->auth, s->tls != NULL);
}

void session_auth_forget(struct session *s)
{
    auth_end(&s->exchange);
    mem_free(s->login);
    mem_free(s->login_method);
    s->login = s->login_method = NULL;
}

/* ---- guessing ---- */

/* With a table in the list, what was found out of mynetworks for the session holds, if that is what the list is. */
static bool is_exempt(const struct session *s)
{
    int now = matchlist_match_now(s->service->ban_exceptions, slice_str(s->addr.host));

    if (now >= 0)
        return now > 0;
    return s->in_mynetworks && strcmp(s->conf->smtpd_auth_ban_exceptions, s->conf->mynetworks) == 0;
}

static struct auth_guard *guard_of(const struct session *s)
{
    return s->service->auth == NULL || s->probe != NULL || is_exempt(s) ? NULL : s->server->guard;
}

bool session_auth_banned(const struct session *s, const char *login)
{
    struct auth_guard *guard = guard_of(s);

    return guard != NULL && auth_guard_ask(guard, s->conf, s->addr.host, login).refused;
}

enum step session_auth_refuse(struct session *s)
{
    session_reply(s, 421, "4.7.0", "%s Error: too many failed authentications from %s", s->conf->myhostname,
                  s->addr.host);
    return STEP_CLOSE;
}

/* ---- how an exchange ends ---- */

/* As Postfix words it, which is what fail2ban looks for. */
static void log_failure(struct session *s, const char *reason, const char *user)
{
    struct log_ctx log = session_log(s, false);

    log_event(LOG_SESSION_WARNING, &log, "%s[%s]: SASL %s authentication failed: %s, sasl_username=%.100s", s->name,
              s->addr.host, s->mechanism, reason, user[0] != '\0' ? user : "(unavailable)");
}

static enum step succeeded(struct session *s, const struct auth_answer *a)
{
    struct auth_guard *guard = guard_of(s);

    if (a->user[0] == '\0') {
        log_failure(s, "the login is not known", "");
        session_reply(s, 535, "5.7.8", "Error: authentication failed: (reason unavailable)");
        return STEP_DONE;
    }
    if (session_auth_banned(s, a->user)) {
        log_failure(s, "too many failed authentications", a->user);
        return session_auth_refuse(s);
    }
    if (guard != NULL)
        auth_guard_succeeded(guard, s->conf, s->addr.host, a->user);
    s->login = mem_strdup(a->user);
    s->login_method = mem_strdup(s->mechanism);
    session_reply(s, 235, "2.7.0", "Authentication successful");
    return STEP_DONE;
}

static enum step failed(struct session *s, const struct auth_answer *a)
{
    char *reason = arena_strdup(&s->cmd_arena, a->reason[0] != '\0' ? a->reason : "(reason unavailable)");
    struct auth_guard *guard = guard_of(s);

    codec_printable(reason, strlen(reason), true);
    log_failure(s, reason, a->user);
    if (guard != NULL) {
        struct auth_guard_verdict v = auth_guard_failed(guard, s->conf, s->addr.host, a->user);

        if (v.refused)
            return session_auth_refuse(s);
        s->reply_delay_ms = v.delay_ms;
    }
    session_reply(s, 535, "5.7.8", "Error: authentication failed: %s", reason);
    return STEP_DONE;
}

/* No fault of the client's: fail2ban's filter passes over the line. What is broken is not for the client to know. */
static enum step unavailable(struct session *s, const struct auth_answer *a)
{
    static const char lost[] = "Connection lost to authentication server";
    bool known = a->reason[0] == '\0' || slice_starts(slice_str(a->reason), SLICE_LIT(lost));

    log_failure(s, known ? lost : arena_printf(&s->cmd_arena, "%s: %s", lost, a->reason), a->user);
    session_reply(s, 454, "4.7.0", "Temporary authentication failure: %s", lost);
    return STEP_DONE;
}

static enum step malformed(struct session *s, const struct auth_answer *a)
{
    log_failure(s, a->reason, a->user);
    session_reply(s, 501, "5.5.2", "Error: authentication failed: malformed response");
    return STEP_DONE;
}

static enum step no_mechanism(struct session *s)
{
    log_failure(s, "Invalid authentication mechanism", "");
    session_reply(s, 504, "5.5.4", "Error: authentication mechanism not supported");
    return STEP_DONE;
}

/* ---- the exchange ---- */

/* A challenge may be longer than other replies: RFC 4954 section 4. */
static void challenge(struct session *s, const char *text)
{
    s->phase = SESSION_PHASE_AUTH;
    buf_printf(&s->reply, "334 %s\r\n", text);
    session_resume(s, STEP_CONTENT);
    if (s->shutdown || s->ended || stream_input(s->stream).n > 0)
        dispatch_later(s);
}

static bool is_base64(const char *text)
{
    return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") == strlen(text);
}

static enum step outcome(struct session *s, const struct auth_answer *a)
{
    switch (a->outcome) {
    case AUTH_SUCCEEDED: return succeeded(s, a);
    case AUTH_FAILED: return failed(s, a);
    case AUTH_MALFORMED: return malformed(s, a);
    case AUTH_NO_MECHANISM: return no_mechanism(s);
    case AUTH_CHALLENGE:
    case AUTH_UNAVAILABLE: break;
    }
    return unavailable(s, a);
}

static void on_answer(void *owner, enum op_status st, const void *result)
{
    struct session *s = owner;
    const struct auth_answer *a = result;

    (void)st; /* always OP_OK */
    if (a->outcome == AUTH_CHALLENGE && is_base64(a->text))
        challenge(s, a->text);
    else
        session_resume(s, outcome(s, a));
}

static enum step too_long(struct session *s)
{
    struct log_ctx log = session_log(s, false);

    log_event(LOG_SESSION_WARNING, &log, "%s[%s]: request longer than %lld", s->name, s->addr.host,
              (long long)s->conf->smtpd_sasl_response_limit);
    session_reply(s, 500, "5.5.6", "SASL response limit exceeded");
    return STEP_DONE;
}

static bool is_too_long(const struct session *s)
{
    return buf_len(&s->line) >= (size_t)s->conf->smtpd_sasl_response_limit;
}

enum step auth_response(struct session *s)
{
    struct log_ctx log = session_log(s, false);

    s->phase = SESSION_PHASE_COMMAND;
    if (is_too_long(s)) {
        session_drop_line(s);
        return too_long(s);
    }
    if (slice_eq(buf_slice(&s->line), SLICE_LIT("*"))) {
        log_event(LOG_SESSION_WARNING, &log, "%s[%s]: SASL %s authentication aborted", s->name, s->addr.host,
                  s->mechanism);
        session_reply(s, 501, "5.7.0", "Authentication aborted");
        return STEP_DONE;
    }
    /* A NUL would end the text early, and is no base64. */
    for (size_t i = 0; i < buf_len(&s->line); i++)
        if (buf_slice(&s->line).p[i] == '\0')
            s->line.data[s->line.start + i] = '?';
    auth_respond(s->exchange, buf_cstr(&s->line), &s->scope, on_answer, s);
    session_drop_line(s);
    return STEP_WAIT;
}

/* ---- the command ---- */

static enum step refuse(struct session *s, int code, const char *dsn, const char *text)
{
    session_reply(s, code, dsn, "%s", text);
    return STEP_DONE;
}

/* In Postfix's order. */
enum step auth_check(struct session *s)
{
    struct slice rest = s->args, mechanism = slice_token(&rest, " \t"), initial = slice_token(&rest, " \t");

    (void)initial;
    if (s->helo == NULL && s->conf->smtpd_helo_required)
        return refuse(s, 503, "5.5.1", "Error: send HELO/EHLO first");
    if (!enabled(s))
        return refuse(s, 503, "5.5.1", "Error: authentication not enabled");
    if (s->txn.open)
        return refuse(s, 503, "5.5.1", "Error: MAIL transaction in progress");
    if (s->login != NULL)
        return refuse(s, 503, "5.5.1", "Error: already authenticated");
    if (is_too_long(s))
        return too_long(s);
    if (mechanism.n == 0 || slice_trim(rest).n > 0)
        return refuse(s, 501, "5.5.4", "Syntax: AUTH mechanism");
    return session_auth_banned(s, NULL) ? session_auth_refuse(s) : STEP_NEXT;
}

enum step auth_act(struct session *s)
{
    struct stream_addr local = stream_local(s->stream);
    struct auth_client client = {
        .addr = s->addr.host,
        .port = s->addr.port,
        .local_addr = local.host,
        .local_port = local.port,
        .host = s->conf->myhostname,
        .tls = s->tls != NULL,
    };
    struct slice rest = s->args, mechanism = slice_head(slice_token(&rest, " \t"), MECHANISM_MOST), initial;
    char *name = arena_slice_dup(&s->cmd_arena, mechanism), *response = NULL;

    for (char *c = name; *c != '\0'; c++)
        *c = ascii_upper(*c);
    codec_printable(name, strlen(name), false);
    s->mechanism = name;
    initial = slice_trim(rest);
    if (initial.n > 0)
        response = mem_dup(initial.p, initial.n);
    session_drop_line(s);
    s->exchange = auth_begin(s->service->auth, &client, name, response, &s->scope, on_answer, s);
    if (response != NULL)
        explicit_bzero(response, strlen(response));
    mem_free(response);
    return STEP_WAIT;
}
