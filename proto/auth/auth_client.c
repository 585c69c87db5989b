/*
 * SASL in the SMTP client: see auth_client.h. Used by outbound SMTP. Chooses who does it: libsasl2, whose steps run on
 * a thread (sasl_exchange.c), or for a token auth_bearer.c, at once. RFC 4954.
 */
#include "proto/auth/auth_client.h"

#include "core/base/alloc.h"
#include "proto/auth/auth_client_choice.h"
#include "proto/auth/sasl_exchange.h"
#include "proto/auth/sasl_lib.h"

#include <sasl/sasl.h>
#include <string.h>

/* What a thread works on. */
struct client_job {
    struct sasl_job job;
    sasl_conn_t *conn; /* made by the first step */
    sasl_callback_t callbacks[5];
    char *mechanisms; /* those to choose from */
    char *host, *local, *remote, *user, *password;
    sasl_secret_t *secret; /* as it was given to libsasl2 last */
    unsigned security;     /* SASL_SEC_* */
    bool authzid;
    struct buf in, out; /* the server's words, decoded; ours, base64 */
    bool has_out;
    unsigned steps;
    int code;
    char mechanism[SASL_MECHNAMEMAX + 12];
    char *detail;    /* of an error */
    struct buf said; /* by libsasl2, for the log */
};

struct client_result {
    struct auth_client_answer answer;
    char mechanism[SASL_MECHNAMEMAX + 12];
    struct buf text, reason;
};

struct auth_client_exchange {
    struct sasl_exchange *exchange;
    enum auth_bearer bearer;
    char *token;
    bool refused; /* it was, by the challenge that was acknowledged */
};

/* ---- what libsasl2 asks for, on a thread ---- */

static int on_name(void *context, int id, const char **result, unsigned *n)
{
    struct client_job *j = context;

    *result = id == SASL_CB_AUTHNAME || j->authzid ? j->user : "";
    if (n != NULL)
        *n = (unsigned)strlen(*result);
    return SASL_OK;
}

static void wipe_secret(struct client_job *j)
{
    if (j->secret != NULL)
        explicit_bzero(j->secret->data, j->secret->len);
    mem_free(j->secret);
    j->secret = NULL;
}

static int on_password(sasl_conn_t *conn, void *context, int id, sasl_secret_t **secret)
{
    struct client_job *j = context;
    size_t n = strlen(j->password);

    (void)conn;
    (void)id;
    wipe_secret(j);
    j->secret = mem_new(sizeof *j->secret + n);
    j->secret->len = n;
    memcpy(j->secret->data, j->password, n);
    *secret = j->secret;
    return SASL_OK;
}

/* DIGEST-MD5 of a server with several realms: the login's own when it is one of them, else the first. */
static int on_realm(void *context, int id, const char **realms, const char **result)
{
    const struct client_job *j = context;
    const char *at = strrchr(j->user, '@');

    (void)id;
    *result = realms == NULL || realms[0] == NULL ? "" : realms[0];
    for (; realms != NULL && *realms != NULL; realms++)
        if (at != NULL && strcasecmp(at + 1, *realms) == 0)
            *result = *realms;
    return SASL_OK;
}

/* libsasl2 declares callbacks as functions without parameters, and calls them as what their id says. */
static sasl_callback_t callback(unsigned long id, void (*fn)(void), struct client_job *j)
{
    return (sasl_callback_t){.id = id, .proc = (int (*)(void))fn, .context = j};
}

static void set_callbacks(struct client_job *j)
{
    j->callbacks[0] = callback(SASL_CB_USER, (void (*)(void))on_name, j);
    j->callbacks[1] = callback(SASL_CB_AUTHNAME, (void (*)(void))on_name, j);
    j->callbacks[2] = callback(SASL_CB_PASS, (void (*)(void))on_password, j);
    j->callbacks[3] = callback(SASL_CB_GETREALM, (void (*)(void))on_realm, j);
    j->callbacks[4].id = SASL_CB_LIST_END;
}

/* ---- a step, on a thread ---- */

static int start(struct client_job *j, const char **out, unsigned *n)
{
    sasl_security_properties_t wanted = {.security_flags = j->security};
    const char *mechanism = NULL;
    int code = sasl_client_new("smtp", j->host, j->local, j->remote, j->callbacks, 0, &j->conn);

    if (code == SASL_OK)
        code = sasl_setprop(j->conn, SASL_SEC_PROPS, &wanted);
    if (code == SASL_OK)
        code = sasl_client_start(j->conn, j->mechanisms, NULL, out, n, &mechanism);
    if (mechanism != NULL)
        memcpy(j->mechanism, mechanism, strnlen(mechanism, sizeof j->mechanism - 1));
    return code;
}

static void client_work(struct sasl_job *job)
{
    struct client_job *j = (struct client_job *)job;
    const char *out = NULL;
    unsigned n = 0;

    sasl_lib_listen(&j->said);
    j->steps++;
    j->code = SASL_NOTINIT;
    j->has_out = false;
    sasl_lib_wipe_buf(&j->out);
    if (sasl_lib_client_enter()) {
        if (j->conn == NULL)
            j->code = start(j, &out, &n);
        else
            j->code = sasl_client_step(j->conn, buf_cstr(&j->in), (unsigned)buf_len(&j->in), NULL, &out, &n);
        /* DIGEST-MD5 begins with "", and means that it waits for the server. */
        j->has_out = out != NULL && (n > 0 || j->code == SASL_OK || j->steps > 1);
        if (j->has_out && (j->code == SASL_OK || j->code == SASL_CONTINUE))
            sasl_lib_encode(&j->out, out, n);
        else if (j->code < 0 && j->conn != NULL)
            j->detail = mem_strdup(sasl_errdetail(j->conn));
        sasl_lib_client_leave();
    }
    sasl_lib_listen(NULL);
    sasl_lib_wipe_buf(&j->in);
}

static void client_free_job(struct sasl_job *job)
{
    struct client_job *j = (struct client_job *)job;

    sasl_dispose(&j->conn);
    sasl_lib_wipe_buf(&j->in);
    sasl_lib_wipe_buf(&j->out);
    buf_release(&j->said);
    sasl_lib_wipe(&j->password);
    wipe_secret(j);
    mem_free(j->mechanisms);
    mem_free(j->host);
    mem_free(j->local);
    mem_free(j->remote);
    mem_free(j->user);
    mem_free(j->detail);
    mem_free(j);
}

/* ---- results ---- */

static struct client_result *result_new(enum auth_client_outcome outcome, const char *reason)
{
    struct client_result *r = NEW(struct client_result);

    buf_add_str(&r->reason, reason);
    r->answer.outcome = outcome;
    r->answer.mechanism = r->mechanism;
    r->answer.reason = buf_cstr(&r->reason);
    return r;
}

static void *client_failure(const char *reason)
{
    return result_new(AUTH_CLIENT_ERROR, reason);
}

static void *client_result(struct sasl_job *job)
{
    struct client_job *j = (struct client_job *)job;
    struct client_result *r;

    sasl_lib_say(&j->said, "smtp");
    if (j->code == SASL_NOMECH && j->steps == 1)
        return result_new(AUTH_CLIENT_NONE, "no mechanism of the server's can be used");
    if (j->code != SASL_OK && j->code != SASL_CONTINUE)
        return client_failure(j->detail != NULL ? j->detail : sasl_errstring(j->code, NULL, NULL));
    r = result_new(AUTH_CLIENT_SEND, "");
    memcpy(r->mechanism, j->mechanism, sizeof r->mechanism);
    r->text = j->out;
    j->out = (struct buf){0};
    r->answer.text = j->has_out ? buf_cstr(&r->text) : j->steps == 1 ? NULL : "";
    r->answer.complete = j->code == SASL_OK;
    return r;
}

static void client_free_result(void *result)
{
    struct client_result *r = result;

    sasl_lib_wipe_buf(&r->text);
    buf_release(&r->reason);
    mem_free(r);
}

static const struct sasl_exchange_kind kind = {
    .name = "sasl",
    .work = client_work,
    .result = client_result,
    .failure = client_failure,
    .free_result = client_free_result,
    .free_job = client_free_job,
};

/* ---- a token ---- */

/* "192.0.2.1;587" */
static unsigned port_of(const char *addr)
{
    const char *semicolon = addr == NULL ? NULL : strchr(addr, ';');
    uint64_t port = 0;

    return semicolon != NULL && slice_u64(slice_str(semicolon + 1), 65535, &port) ? (unsigned)port : 0;
}

static struct client_result *first_token(struct auth_client_exchange *x, const struct auth_client_opts *o)
{
    struct client_result *r;
    const char *name = auth_bearer_name(x->bearer);
    struct buf text = {0};

    if (!auth_bearer_initial(x->bearer, o->user, o->password, o->host, port_of(o->remote_addr), &text))
        return client_failure("the user or the token has a control character in it");
    x->token = mem_strdup(o->password);
    r = result_new(AUTH_CLIENT_SEND, "");
    memcpy(r->mechanism, name, strlen(name));
    sasl_lib_encode(&r->text, buf_cstr(&text), buf_len(&text));
    sasl_lib_wipe_buf(&text);
    r->answer.text = buf_cstr(&r->text);
    r->answer.complete = true;
    return r;
}

static struct client_result *token_refused(struct auth_client_exchange *x, const char *challenge)
{
    struct slice say = auth_bearer_acknowledge(x->bearer);
    struct client_result *r;
    struct buf why = {0};

    if (x->refused)
        return client_failure("the server goes on after it has refused the token");
    x->refused = true;
    r = result_new(AUTH_CLIENT_SEND, "");
    if (!sasl_lib_decode(&why, challenge))
        buf_clear(&why);
    auth_bearer_refusal(buf_slice(&why), x->token, &r->reason);
    buf_release(&why);
    sasl_lib_encode(&r->text, say.p, say.n);
    memcpy(r->mechanism, auth_bearer_name(x->bearer), strlen(auth_bearer_name(x->bearer)));
    r->answer.text = buf_cstr(&r->text);
    r->answer.reason = buf_cstr(&r->reason);
    return r;
}

/* ---- exchanges ---- */

static struct client_job *job_new(const struct auth_client_opts *o, struct auth_client_choice *c)
{
    struct client_job *j = NEW(struct client_job);

    j->mechanisms = mem_strdup(buf_cstr(&c->mechanisms));
    j->security = c->security;
    j->host = mem_strdup(o->host);
    j->local = mem_strdup(o->local_addr);
    j->remote = mem_strdup(o->remote_addr);
    j->user = mem_strdup(o->user);
    j->password = mem_strdup(o->password);
    j->authzid = o->authzid;
    set_callbacks(j);
    return j;
}

struct auth_client_exchange *auth_client_begin(struct loop *loop, const struct auth_client_opts *o,
                                               struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct auth_client_exchange *x = NEW(struct auth_client_exchange);
    struct auth_client_choice c;
    const char *reason;
    bool ok = auth_client_choose(o, &c, &reason);

    x->exchange = sasl_exchange_new(loop, &kind, &job_new(o, &c)->job);
    x->bearer = c.bearer;
    if (!ok)
        sasl_exchange_say(x->exchange, client_failure(reason), scope, done, owner);
    else if (x->bearer != AUTH_BEARER_NONE)
        sasl_exchange_say(x->exchange, first_token(x, o), scope, done, owner);
    else
        sasl_exchange_ask(x->exchange, scope, done, owner);
    buf_release(&c.mechanisms);
    return x;
}

void auth_client_respond(struct auth_client_exchange *x, const char *challenge, struct op_scope *scope,
                         op_done_fn *done, void *owner)
{
    struct client_job *j = (struct client_job *)sasl_exchange_job(x->exchange);

    if (x->bearer != AUTH_BEARER_NONE)
        sasl_exchange_say(x->exchange, token_refused(x, challenge), scope, done, owner);
    else if (j != NULL && !sasl_lib_decode(&j->in, challenge))
        sasl_exchange_say(x->exchange, client_failure("the server's challenge is not base64"), scope, done, owner);
    else
        sasl_exchange_ask(x->exchange, scope, done, owner);
}

void auth_client_end(struct auth_client_exchange **xp)
{
    struct auth_client_exchange *x = *xp;

    *xp = NULL;
    if (x == NULL)
        return;
    sasl_exchange_end(x->exchange);
    sasl_lib_wipe(&x->token);
    mem_free(x);
}
