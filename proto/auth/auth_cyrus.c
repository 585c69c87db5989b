/*
 * smtpd_sasl_type = cyrus: passwords are checked by libsasl2, by saslauthd or a database of its own (sasldb, SQL,
 * LDAP), as the file of the application that smtpd_sasl_path names says. Called by auth.c. A step runs on a thread
 * (sasl_exchange.c), to which the sasl_conn_t belongs meanwhile. RFC 4422.
 */
#include "core/base/alloc.h"
#include "core/base/codec.h"
#include "proto/auth/auth_int.h"
#include "proto/auth/sasl_exchange.h"
#include "proto/auth/sasl_lib.h"

#include <sasl/sasl.h>
#include <sasl/saslplug.h>
#include <string.h>

#define MECHANISMS_MAX 32

struct cyrus {
    struct loop *loop;
    char *service, *realm; /* realm: NULL is none */
    struct auth_mechanism mechanisms[MECHANISMS_MAX];
    size_t n;
};

/* What a thread works on. */
struct cyrus_job {
    struct sasl_job job;
    sasl_conn_t *conn; /* made by the first step */
    char *service, *realm, *host;
    char mechanism[32];
    bool plaintext; /* the mechanism says user and password */
    bool has_in;
    struct buf in;  /* the client's words of this step, decoded */
    struct buf out; /* ours, base64 */
    int code;
    char *user;
    struct buf said; /* by libsasl2, for the log */
};

struct cyrus_result {
    struct auth_answer answer;
    char *user;
    struct buf text;
};

/* ---- the back end ---- */

static unsigned properties(unsigned flags)
{
    static const struct {
        unsigned flag, present, absent;
    } rows[] = {
        {SASL_SEC_NOPLAINTEXT, 0, AUTH_PLAINTEXT},           {SASL_SEC_NOACTIVE, 0, AUTH_ACTIVE},
        {SASL_SEC_NODICTIONARY, 0, AUTH_DICTIONARY},         {SASL_SEC_NOANONYMOUS, 0, AUTH_ANONYMOUS},
        {SASL_SEC_FORWARD_SECRECY, AUTH_FORWARD_SECRECY, 0}, {SASL_SEC_MUTUAL_AUTH, AUTH_MUTUAL, 0},
    };
    unsigned p = 0;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        p |= flags & rows[i].flag ? rows[i].present : rows[i].absent;
    return p;
}

static void on_plugin(server_sasl_mechanism_t *m, sasl_info_callback_stage_t stage, void *arg)
{
    struct cyrus *b = arg;

    if (stage != SASL_INFO_LIST_MECH)
        return;
    for (size_t i = 0; i < b->n; i++)
        if (slice_ieq(slice_str(b->mechanisms[i].name), slice_str(m->plug->mech_name)))
            b->mechanisms[i].properties = properties(m->plug->security_flags);
}

/* What the application's mech_list and the plug-ins leave; it does not change while libsasl2 is loaded. */
static void list_mechanisms(struct cyrus *b)
{
    sasl_conn_t *conn = NULL;
    const char *names = "";
    struct slice rest, name;

    if (sasl_server_new(b->service, "localhost", b->realm, NULL, NULL, NULL, 0, &conn) == SASL_OK)
        sasl_listmech(conn, NULL, "", " ", "", &names, NULL, NULL);
    rest = slice_str(names);
    while (b->n < MECHANISMS_MAX && (name = slice_token(&rest, " ")).n > 0)
        if (name.n < sizeof b->mechanisms[0].name)
            memcpy(b->mechanisms[b->n++].name, name.p, name.n);
    sasl_dispose(&conn);
    sasl_server_plugin_info(NULL, on_plugin, b);
}

static void cyrus_close(void *backend)
{
    struct cyrus *b = backend;

    mem_free(b->service);
    mem_free(b->realm);
    mem_free(b);
}

static void *cyrus_open(struct loop *loop, struct tables *tables, const struct conf *c, struct buf *err)
{
    const char *slash = strrchr(c->path, '/');
    char *dir = slash == NULL ? mem_strdup(".") : mem_dup(c->path, (size_t)(slash - c->path));
    bool ok = sasl_lib_server(c->smtpd_sasl_path, c->cyrus_sasl_config_path, dir, err);
    struct cyrus *b;

    (void)tables;
    mem_free(dir);
    if (!ok)
        return NULL;
    b = NEW(struct cyrus);
    b->loop = loop;
    b->service = mem_strdup(c->smtpd_sasl_service);
    b->realm = c->smtpd_sasl_local_domain[0] != '\0' ? mem_strdup(c->smtpd_sasl_local_domain) : NULL;
    list_mechanisms(b);
    if (b->n > 0)
        return b;
    buf_printf(err, "smtpd_sasl_type: libsasl2 has no mechanism; is its package of modules installed, and what does "
                    "mech_list say?\n");
    cyrus_close(b);
    return NULL;
}

static size_t cyrus_mechanisms(void *backend, const struct auth_mechanism **list)
{
    struct cyrus *b = backend;

    *list = b->mechanisms;
    return b->n;
}

/* ---- a step, on a thread ---- */

static int start(struct cyrus_job *j, const char **out, unsigned *n)
{
    static const sasl_security_properties_t no_layers;
    int code = sasl_server_new(j->service, j->host, j->realm, NULL, NULL, NULL, 0, &j->conn);

    if (code == SASL_OK) /* which mechanisms there may be was decided by auth.c; SMTP has no security layers */
        code = sasl_setprop(j->conn, SASL_SEC_PROPS, &no_layers);
    if (code != SASL_OK)
        return code;
    return sasl_server_start(j->conn, j->mechanism, j->has_in ? buf_cstr(&j->in) : NULL, (unsigned)buf_len(&j->in), out,
                             n);
}

/* The name is known once the mechanism has said it, whether it was right or not. */
static void note_user(struct cyrus_job *j)
{
    const void *user = NULL;

    if (sasl_getprop(j->conn, SASL_USERNAME, &user) != SASL_OK || user == NULL)
        return;
    mem_free(j->user);
    j->user = mem_strdup(user);
    codec_printable(j->user, strlen(j->user), true);
}

static void cyrus_work(struct sasl_job *job)
{
    struct cyrus_job *j = (struct cyrus_job *)job;
    const char *out = NULL;
    unsigned n = 0;

    sasl_lib_listen(&j->said);
    if (j->conn == NULL)
        j->code = start(j, &out, &n);
    else
        j->code = sasl_server_step(j->conn, buf_cstr(&j->in), (unsigned)buf_len(&j->in), &out, &n);
    sasl_lib_wipe_buf(&j->in);
    buf_clear(&j->out);
    if (j->code == SASL_CONTINUE)
        sasl_lib_encode(&j->out, out, out == NULL ? 0 : n);
    if (j->conn != NULL)
        note_user(j);
    sasl_lib_listen(NULL);
}

static void cyrus_free_job(struct sasl_job *job)
{
    struct cyrus_job *j = (struct cyrus_job *)job;

    sasl_dispose(&j->conn);
    sasl_lib_wipe_buf(&j->in);
    buf_release(&j->out);
    buf_release(&j->said);
    mem_free(j->user);
    mem_free(j->service);
    mem_free(j->realm);
    mem_free(j->host);
    mem_free(j);
}

/* ---- its result ---- */

/*
 * What is not in the table is a failure of what libsasl2 asks: SASL_FAIL is a saslauthd or an SQL server that is not
 * there, SASL_NOMECH a pwcheck_method that it does not know.
 */
static enum auth_outcome outcome(const struct cyrus_job *j)
{
    static const struct {
        int code;
        enum auth_outcome outcome;
    } rows[] = {
        {SASL_OK, AUTH_SUCCEEDED},       {SASL_CONTINUE, AUTH_CHALLENGE}, {SASL_BADAUTH, AUTH_FAILED},
        {SASL_NOUSER, AUTH_FAILED},      {SASL_NOAUTHZ, AUTH_FAILED},     {SASL_NOVERIFY, AUTH_FAILED},
        {SASL_EXPIRED, AUTH_FAILED},     {SASL_DISABLED, AUTH_FAILED},    {SASL_PWLOCK, AUTH_FAILED},
        {SASL_TOOWEAK, AUTH_FAILED},     {SASL_ENCRYPT, AUTH_FAILED},     {SASL_TRANS, AUTH_FAILED},
        {SASL_BADMAC, AUTH_FAILED},      {SASL_BADBINDING, AUTH_FAILED},  {SASL_BADPROT, AUTH_MALFORMED},
        {SASL_BADPARAM, AUTH_MALFORMED}, {SASL_BUFOVER, AUTH_MALFORMED},
    };

    if (j->code == SASL_FAIL && j->plaintext && j->user == NULL)
        return AUTH_MALFORMED; /* an empty user name: nothing was asked yet */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].code == j->code)
            return rows[i].outcome;
    return AUTH_UNAVAILABLE;
}

static void *cyrus_result(struct sasl_job *job)
{
    struct cyrus_job *j = (struct cyrus_job *)job;
    struct cyrus_result *r = NEW(struct cyrus_result);
    enum auth_outcome what = outcome(j);

    sasl_lib_say(&j->said, NULL);
    if (what == AUTH_SUCCEEDED && j->user == NULL)
        what = AUTH_UNAVAILABLE;
    r->text = j->out;
    j->out = (struct buf){0};
    r->user = mem_strdup(j->user);
    r->answer.outcome = what;
    r->answer.text = buf_cstr(&r->text);
    r->answer.user = r->user != NULL ? r->user : "";
    r->answer.reason = j->code == SASL_OK || j->code == SASL_CONTINUE
                           ? ""
                           : sasl_errstring(j->code == SASL_NOUSER ? SASL_BADAUTH : j->code, NULL, NULL);
    return r;
}

static void *cyrus_failure(const char *reason)
{
    struct cyrus_result *r = NEW(struct cyrus_result);

    r->answer = (struct auth_answer){.outcome = AUTH_UNAVAILABLE, .text = "", .user = "", .reason = reason};
    return r;
}

static void cyrus_free_result(void *result)
{
    struct cyrus_result *r = result;

    buf_release(&r->text);
    mem_free(r->user);
    mem_free(r);
}

/* ---- exchanges ---- */

static const struct sasl_exchange_kind kind = {
    .name = "cyrus",
    .work = cyrus_work,
    .result = cyrus_result,
    .failure = cyrus_failure,
    .free_result = cyrus_free_result,
    .free_job = cyrus_free_job,
};

static void answer(struct sasl_exchange *x, enum auth_outcome what, const char *reason, struct op_scope *scope,
                   op_done_fn *done, void *owner)
{
    struct cyrus_result *r = cyrus_failure(reason);

    r->answer.outcome = what;
    sasl_exchange_say(x, r, scope, done, owner);
}

static void *cyrus_begin(void *backend, const struct auth_client *client, const char *mechanism, const char *initial,
                         struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct cyrus *b = backend;
    struct cyrus_job *j = NEW(struct cyrus_job);
    struct sasl_exchange *x = sasl_exchange_new(b->loop, &kind, &j->job);

    for (size_t i = 0; i < b->n; i++)
        if (slice_ieq(slice_str(mechanism), slice_str(b->mechanisms[i].name))) {
            memcpy(j->mechanism, b->mechanisms[i].name, sizeof j->mechanism);
            j->plaintext = b->mechanisms[i].properties & AUTH_PLAINTEXT;
        }
    j->service = mem_strdup(b->service);
    j->realm = mem_strdup(b->realm);
    j->host = mem_strdup(client->host);
    j->has_in = initial != NULL;
    if (j->mechanism[0] == '\0')
        answer(x, AUTH_NO_MECHANISM, "unknown mechanism", scope, done, owner);
    else if (j->has_in && !sasl_lib_decode(&j->in, initial))
        answer(x, AUTH_MALFORMED, "the initial response is not base64", scope, done, owner);
    else
        sasl_exchange_ask(x, scope, done, owner);
    return x;
}

static void cyrus_respond(void *exchange, const char *response, struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct cyrus_job *j = (struct cyrus_job *)sasl_exchange_job(exchange);

    if (j != NULL && !sasl_lib_decode(&j->in, response))
        answer(exchange, AUTH_MALFORMED, "the response is not base64", scope, done, owner);
    else
        sasl_exchange_ask(exchange, scope, done, owner);
}

static void cyrus_end(void *exchange)
{
    sasl_exchange_end(exchange);
}

const struct auth_backend auth_backend_cyrus = {
    .name = "cyrus",
    .open = cyrus_open,
    .close = cyrus_close,
    .mechanisms = cyrus_mechanisms,
    .begin = cyrus_begin,
    .respond = cyrus_respond,
    .end = cyrus_end,
};
