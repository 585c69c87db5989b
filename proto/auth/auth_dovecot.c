/*
 * smtpd_sasl_type = dovecot: passwords are checked by Dovecot's auth service. A back end of auth.c; what Dovecot's
 * answers mean is decided here, the connection is auth_dovecot_conn.c's. Owns the exchanges; waits for answers.
 */
#include "proto/auth/auth_dovecot_conn.h"

#include "core/base/alloc.h"
#include "core/base/codec.h"
#include "lookup/remote.h"

/* What of an AUTH line is neither the response nor the service, whose every byte may have to be escaped. */
#define LINE_OVERHEAD 512

struct dovecot {
    struct loop *loop;
    struct dovecot_conn *conn;
    char *service;
};

struct exchange {
    struct dovecot_request request;
    struct loop *loop;
    char *mechanism, *service, *lip, *rip, *initial, *response;
    struct step *step; /* what the client waits for, or waited for last; NULL: released */
};

/* One answer. */
struct step {
    struct op op;
    struct exchange *exchange; /* NULL: it has another step, or has ended */
    struct auth_answer answer;
    char *text, *user, *reason; /* what is in it */
};

/* ---- opening ---- */

static bool take_prefix(struct slice *text, const char *prefix)
{
    if (!slice_starts(*text, slice_str(prefix)))
        return false;
    *text = slice_from(*text, strlen(prefix));
    return true;
}

static bool parse_inet(struct slice text, struct dial_target *to, struct buf *err)
{
    struct buf why = {0};
    char *host = NULL;
    bool ok = remote_parse_inet(text, &host, &to->port, &why);

    if (!ok)
        buf_printf(err, "smtpd_sasl_path: %s", buf_cstr(&why));
    to->host = host;
    buf_release(&why);
    return ok;
}

/* "inet:host:port", "unix:path", "path". Its strings are to be freed. */
static bool parse_path(const struct conf *c, struct dial_target *to, struct buf *err)
{
    struct slice text = slice_str(c->smtpd_sasl_path);

    *to = (struct dial_target){0};
    if (take_prefix(&text, "inet:"))
        return parse_inet(text, to, err);
    take_prefix(&text, "unix:");
    if (text.n == 0) {
        buf_add_str(err, "smtpd_sasl_path: is empty, but has to name the socket of Dovecot's auth service");
        return false;
    }
    if (text.p[0] == '/')
        to->path = mem_dup(text.p, text.n);
    else
        to->path = mem_printf("%s/%.*s", c->queue_directory, (int)text.n, text.p);
    return true;
}

static void *dovecot_open(struct loop *loop, struct tables *tables, const struct conf *c, struct buf *err)
{
    struct dial_target to;
    struct dovecot *d;

    (void)tables;
    if (!parse_path(c, &to, err))
        return NULL;
    d = NEW(struct dovecot);
    d->loop = loop;
    d->service = mem_strdup(c->smtpd_sasl_service);
    d->conn = dovecot_conn_get(loop, c->smtpd_sasl_path, &to);
    mem_free((char *)to.path);
    mem_free((char *)to.host);
    return d;
}

static void dovecot_close(void *arg)
{
    struct dovecot *d = arg;

    dovecot_conn_unref(&d->conn);
    mem_free(d->service);
    mem_free(d);
}

static size_t dovecot_mechanisms(void *arg, const struct auth_mechanism **items)
{
    return dovecot_conn_mechanisms(((struct dovecot *)arg)->conn, items);
}

/* ---- answers ---- */

static void step_release(struct op *op)
{
    struct step *s = (struct step *)op;

    if (s->exchange != NULL)
        s->exchange->step = NULL;
    mem_free(s->text);
    mem_free(s->user);
    mem_free(s->reason);
    mem_free(s);
}

static void step_start(struct exchange *x, struct op_scope *scope, op_done_fn *done, void *owner)
{
    if (x->step != NULL)
        x->step->exchange = NULL;
    x->step = NEW(struct step);
    x->step->exchange = x;
    op_start(&x->step->op, x->loop, scope, "dovecot", 0, done, owner, step_release);
}

static void finish(struct exchange *x, enum auth_outcome outcome, struct slice text, struct slice user,
                   struct slice reason)
{
    struct step *s = x->step;

    s->text = mem_dup(text.p, text.n);
    s->user = mem_dup(user.p, user.n);
    s->reason = mem_dup(reason.p, reason.n);
    s->answer = (struct auth_answer){.outcome = outcome, .text = s->text, .user = s->user, .reason = s->reason};
    op_finish(&s->op, OP_OK, &s->answer);
}

static void finish_failed(struct exchange *x, enum auth_outcome outcome, struct slice user, const char *reason)
{
    finish(x, outcome, SLICE_EMPTY, user, slice_str(reason));
}

/* A login goes into tables, headers and the log: one with a control character in it, or a NUL, is not one. */
static bool good_user(struct slice user)
{
    for (size_t i = 0; i < user.n; i++) {
        if ((unsigned char)user.p[i] < ' ' || user.p[i] == 0x7f)
            return false;
    }
    return user.n > 0;
}

/* Only that the password is right; the user may be one who is served elsewhere, or not at all. */
static void on_ok(struct exchange *x, const struct dovecot_line *line)
{
    if (!good_user(line->user))
        finish_failed(x, AUTH_FAILED, SLICE_EMPTY, "Dovecot gives no user name that can be used");
    else if (line->nologin)
        finish_failed(x, AUTH_FAILED, line->user, "Dovecot says that the user may not log in here (nologin or proxy)");
    else
        finish(x, AUTH_SUCCEEDED, SLICE_EMPTY, line->user, SLICE_EMPTY);
}

static const struct {
    const char *code, *reason;
} codes[] = {
    {"user_disabled", "the user is disabled"},
    {"pass_expired", "the password has expired"},
};

static struct slice reason_of(const struct dovecot_line *line)
{
    if (line->reason.n > 0)
        return line->reason;
    if (line->authz)
        return SLICE_LIT("the user may not act as that one");
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (slice_eq(line->code, slice_str(codes[i].code)))
            return slice_str(codes[i].reason);
    }
    return SLICE_EMPTY;
}

static void on_fail(struct exchange *x, const struct dovecot_line *line)
{
    struct slice user = good_user(line->user) ? line->user : SLICE_EMPTY;

    if (line->temp)
        finish(x, AUTH_UNAVAILABLE, SLICE_EMPTY, user,
               line->reason.n > 0 ? line->reason : SLICE_LIT("it reports a temporary failure"));
    else
        finish(x, AUTH_FAILED, SLICE_EMPTY, user, reason_of(line));
}

/* It goes to the client as it is. */
static void on_challenge(struct exchange *x, const struct dovecot_line *line)
{
    struct buf decoded = {0};

    if (codec_base64_decode(&decoded, line->text))
        finish(x, AUTH_CHALLENGE, line->text, SLICE_EMPTY, SLICE_EMPTY);
    else
        finish_failed(x, AUTH_UNAVAILABLE, SLICE_EMPTY, "its challenge is not base64");
    buf_release(&decoded);
}

static void on_answer(struct dovecot_request *r, const struct dovecot_line *line, const char *why)
{
    struct exchange *x = CONTAINER_OF(r, struct exchange, request);

    if (line == NULL)
        finish_failed(x, AUTH_UNAVAILABLE, SLICE_EMPTY, why);
    else if (line->kind == DOVECOT_OK)
        on_ok(x, line);
    else if (line->kind == DOVECOT_FAIL)
        on_fail(x, line);
    else
        on_challenge(x, line);
}

/* ---- exchanges ---- */

/* Dovecot would cut the connection, that of all others too. */
static bool fits(const struct exchange *x, const char *response)
{
    return strlen(response) + 2 * strlen(x->service) + LINE_OVERHEAD <= DOVECOT_LINE_MAX;
}

static void *dovecot_begin(void *arg, const struct auth_client *client, const char *mechanism, const char *initial,
                           struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct dovecot *d = arg;
    struct exchange *x = NEW(struct exchange);

    x->loop = d->loop;
    x->mechanism = mem_strdup(mechanism);
    x->service = mem_strdup(d->service);
    x->lip = mem_strdup(client->local_addr);
    x->rip = mem_strdup(client->addr);
    x->initial = mem_strdup(initial != NULL && initial[0] == '\0' ? "=" : initial); /* Dovecot's way to say it, too */
    x->request = (struct dovecot_request){
        .conn = dovecot_conn_ref(d->conn),
        .auth = {.mechanism = x->mechanism,
                 .service = x->service,
                 .lip = x->lip,
                 .rip = x->rip,
                 .lport = client->local_port,
                 .rport = client->port,
                 .tls = client->tls,
                 .initial = x->initial},
        .on_answer = on_answer,
    };
    step_start(x, scope, done, owner);
    if (initial != NULL && !fits(x, initial))
        finish_failed(x, AUTH_MALFORMED, SLICE_EMPTY, "the initial response is too long");
    else
        dovecot_conn_begin(&x->request);
    return x;
}

/* There may be a password in it. */
static void free_secret(char *secret)
{
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    mem_free(secret);
}

static void dovecot_respond(void *arg, const char *response, struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct exchange *x = arg;

    step_start(x, scope, done, owner);
    free_secret(x->response);
    x->response = mem_strdup(response);
    if (!fits(x, response))
        finish_failed(x, AUTH_MALFORMED, SLICE_EMPTY, "the response is too long");
    else
        dovecot_conn_respond(&x->request, x->response);
}

static void dovecot_end(void *arg)
{
    struct exchange *x = arg;
    struct step *s = x->step;

    dovecot_conn_end(&x->request);
    if (s != NULL) {
        s->exchange = NULL;
        if (!op_detached(&s->op))
            op_abandon(&s->op);
        if (!s->op.finished)
            op_finish(&s->op, OP_OK, &s->answer);
    }
    dovecot_conn_unref(&x->request.conn);
    mem_free(x->mechanism);
    mem_free(x->service);
    mem_free(x->lip);
    mem_free(x->rip);
    free_secret(x->initial);
    free_secret(x->response);
    mem_free(x);
}

const struct auth_backend auth_backend_dovecot = {
    .name = "dovecot",
    .open = dovecot_open,
    .close = dovecot_close,
    .mechanisms = dovecot_mechanisms,
    .begin = dovecot_begin,
    .respond = dovecot_respond,
    .end = dovecot_end,
};
