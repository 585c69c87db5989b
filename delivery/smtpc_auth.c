/*
 * AUTH in the client (RFC 4954): whose password goes to which server (smtp_sasl_password_maps), and the exchange, which
 * proto/auth has the mechanisms of. Called by smtpc.c for a transport, by smtpc_tls.c when a session is ready for it;
 * goes on to smtpc_txn.c. Owns the transport's table; waits on tables, mechanisms (threads), a command for a token
 * (smtpc_token.c) and the server. Passwords are wiped as soon as the mechanism has them, and are in no text.
 */
#include "delivery/smtpc_int.h"

#include "core/base/alloc.h"
#include "lookup/maps.h"
#include "proto/auth/auth_client_choice.h"
#include "proto/auth/sasl_lib.h"

#define ROUNDS_MOST 30

/* ---- a transport ---- */

/* Words in filter and options that nobody knows. */
static void check_words(const struct transport *t, struct buf *why)
{
    const struct conf_client *c = t->conf->client;
    const struct {
        const char *name, *options;
    } rows[] = {{"security_options", c->sasl_security_options},
                {"tls_security_options", c->sasl_tls_security_options},
                {"tls_verified_security_options", c->sasl_tls_verified_security_options}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct auth_client_opts opts = {
            .mechanisms = "PLAIN", .filter = c->sasl_mechanism_filter, .security_options = rows[i].options};
        struct auth_client_choice choice;
        const char *reason;

        if (!auth_client_choose(&opts, &choice, &reason))
            buf_printf(why, "%s_sasl_%s: %s\n", smtpc_prefix(t), rows[i].name, reason);
        buf_release(&choice.mechanisms);
    }
}

void smtpc_auth_open(struct transport *t, struct smtpc_own *own, struct buf *err)
{
    const struct conf_client *c = t->conf->client;
    struct buf why = {0};

    if (!c->sasl_auth_enable)
        return;
    if (strcmp(c->sasl_type, "cyrus") != 0)
        buf_printf(&why, "%s_sasl_type = %s is a type for servers: to log in at another server there is only cyrus\n",
                   smtpc_prefix(t), c->sasl_type);
    if (c->sasl_password_maps[0] == '\0')
        buf_printf(&why, "%s_sasl_auth_enable = yes needs %s_sasl_password_maps\n", smtpc_prefix(t), smtpc_prefix(t));
    own->passwords = smtpc_maps(t, "sasl_password_maps", c->sasl_password_maps, &why);
    check_words(t, &why);
    smtpc_token_open(t, own);
    smtpc_complain(t, err, &why);
}

void smtpc_auth_close(struct smtpc_own *own)
{
    maps_free(&own->passwords);
    smtpc_token_close(own);
}

/* ---- whose password ---- */

static const struct smtpc_own *own_of(const struct smtpc_job *job)
{
    return job->job.transport->own;
}

static const char *text_of(struct smtpc_job *job, const char *fmt, const char *a, const char *b)
{
    struct arena *arena = &job->job.delivery->arena;

    return b != NULL ? arena_printf(arena, "%s%s: %s", fmt, a, b) : arena_printf(arena, "%s%s", fmt, a);
}

const char *smtpc_auth_key(struct smtpc_job *job)
{
    if (own_of(job)->passwords == NULL)
        return "";
    return arena_printf(&job->job.delivery->arena, "%s\n%s", job->destination,
                        job->conf->sender_dependent_authentication ? job->job.delivery->message->sender : "");
}

void smtpc_auth_release(struct smtpc_job *job)
{
    smtpc_token_cancel(job);
    sasl_lib_wipe(&job->auth.user);
    sasl_lib_wipe(&job->auth.password);
}

static void found(struct smtpc_job *job, enum op_status status)
{
    job->auth.found(job, status);
}

/* "user:password"; the password may have colons in it. */
static void take_value(struct smtpc_job *job, const char *value)
{
    size_t user = strcspn(value, ":");

    smtpc_auth_release(job);
    if (user == 0) {
        transport_job_warn(&job->job, "%s_sasl_password_maps: there is no user in the entry for %s",
                           smtpc_prefix(job->job.transport), job->destination);
        found(job, OP_TEMPFAIL);
        return;
    }
    job->auth.user = mem_dup(value, user);
    job->auth.password = mem_strdup(value[user] == ':' ? value + user + 1 : "");
    found(job, OP_OK);
}

static void ask(struct smtpc_job *job);

static void not_found(struct smtpc_job *job, enum op_status status, const char *why)
{
    if (status == OP_NOTFOUND) {
        ask(job);
        return;
    }
    transport_job_warn(&job->job, "%s_sasl_password_maps, %s: %s", smtpc_prefix(job->job.transport), job->destination,
                       why != NULL ? why : "timed out");
    found(job, OP_TEMPFAIL);
}

static void on_sender(void *owner, enum op_status status, const void *result)
{
    const struct maps_address_answer *a = result;

    if (status == OP_OK)
        take_value(owner, a->value);
    else
        not_found(owner, status, a != NULL ? a->why : NULL);
}

static void on_name(void *owner, enum op_status status, const void *result)
{
    const struct table_answer *a = result;

    if (status == OP_OK)
        take_value(owner, a->value);
    else
        not_found(owner, status, a != NULL ? a->why : NULL);
}

/* The sender, the host, the destination as it is written. */
static void ask(struct smtpc_job *job)
{
    const struct maps_address_opts opts = {
        .recipient_delimiter = job->job.transport->set->conf->recipient_delimiter,
    };
    const char *sender = job->job.delivery->message->sender;
    const struct maps *maps = own_of(job)->passwords;
    unsigned stage = job->auth.asked++;

    if (stage == 0 && (!job->conf->sender_dependent_authentication || sender[0] == '\0'))
        stage = job->auth.asked++;
    switch (stage) {
    case 0: maps_find_address(maps, &job->job.scope, sender, &opts, on_sender, job); break;
    case 1: maps_find(maps, &job->job.scope, slice_str(job->hosts[job->at].name), on_name, job); break;
    case 2: maps_find(maps, &job->job.scope, slice_str(job->destination), on_name, job); break;
    default: found(job, OP_NOTFOUND); break;
    }
}

void smtpc_auth_find(struct smtpc_job *job, void (*done)(struct smtpc_job *, enum op_status))
{
    job->auth.found = done;
    job->auth.asked = 0;
    if (own_of(job)->passwords == NULL)
        done(job, OP_NOTFOUND);
    else
        ask(job);
}

/* ---- the exchange ---- */

static void give_up(struct smtpc_job *job, const char *dsn, const char *text)
{
    const struct outcome o = outcome_session(dsn, text, false);

    smtpc_hello_refuse(job, &o, true);
}

static void cannot(struct smtpc_job *job, const char *why)
{
    give_up(job, "4.7.0",
            text_of(job, "SASL authentication failed; cannot authenticate to server ", job->conn->peer, why));
}

static void send_line(struct smtpc_job *job, const struct auth_client_answer *a)
{
    struct buf line = {0};

    if (job->auth.rounds == 1) {
        buf_printf(&line, "AUTH %s", a->mechanism);
        if (a->text != NULL)
            buf_printf(&line, " %s", a->text[0] != '\0' ? a->text : "=");
    } else if (a->text != NULL) {
        buf_add_str(&line, a->text);
    }
    buf_add_str(&line, "\r\n");
    smtpc_conn_send(job->conn, buf_slice(&line));
    sasl_lib_wipe_buf(&line);
    job->auth.busy = false;
    smtpc_conn_step(job->conn, SMTPC_SASL);
}

static void on_answer(void *owner, enum op_status status, const void *result)
{
    struct smtpc_job *job = owner;
    const struct auth_client_answer *a = result;

    (void)status;
    if (a->outcome == AUTH_CLIENT_NONE) {
        give_up(job, "4.7.0",
                arena_printf(&job->job.delivery->arena,
                             "SASL authentication failed: server %s offered no compatible authentication mechanisms "
                             "for this type of connection security",
                             job->conn->peer));
    } else if (a->outcome == AUTH_CLIENT_ERROR) {
        cannot(job, a->reason);
    } else {
        job->auth.complete = a->complete;
        job->auth.rounds++;
        if (a->reason[0] != '\0')
            transport_job_warn(&job->job, "%s refuses the token: %s", job->conn->peer, a->reason);
        send_line(job, a);
    }
}

static const char *address_text(struct smtpc_job *job, struct stream_addr a)
{
    return a.family == 0 ? NULL : arena_printf(&job->job.delivery->arena, "%s;%d", a.host, a.port);
}

static void begin(struct smtpc_job *job)
{
    struct smtpc_conn *c = job->conn;
    bool verified = c->tls != NULL && c->tls->trust == TLS_PEER_VERIFIED;
    const struct auth_client_opts opts = {
        .mechanisms = c->mechanisms != NULL ? c->mechanisms : "",
        .filter = job->conf->sasl_mechanism_filter,
        .security_options = verified         ? job->conf->sasl_tls_verified_security_options
                            : c->tls != NULL ? job->conf->sasl_tls_security_options
                                             : job->conf->sasl_security_options,
        .host = c->host,
        .local_addr = address_text(job, stream_local(c->stream)),
        .remote_addr = address_text(job, stream_peer(c->stream)),
        .user = job->auth.user,
        .password = job->auth.password,
        .authzid = job->job.transport->set->conf->send_cyrus_sasl_authzid,
    };

    job->auth.rounds = 0;
    c->auth = auth_client_begin(c->loop, &opts, &job->job.scope, on_answer, job);
    sasl_lib_wipe(&job->auth.password);
}

static void on_token(struct smtpc_job *job, const char *why)
{
    if (why == NULL)
        begin(job);
    else
        cannot(job, why);
}

static void on_found(struct smtpc_job *job, enum op_status status)
{
    if (status == OP_NOTFOUND)
        smtpc_hello_ready(job); /* as strangers */
    else if (status != OP_OK)
        give_up(job, "4.3.0", text_of(job, "local data error while talking to ", job->conn->peer, NULL));
    else if (job->auth.password[0] == '\0' && own_of(job)->token_argv != NULL)
        smtpc_token_ask(job, on_token);
    else
        begin(job);
}

void smtpc_auth(struct smtpc_job *job)
{
    if (own_of(job)->passwords == NULL || !(job->conn->features & SMTPC_AUTH)) {
        smtpc_hello_ready(job);
        return;
    }
    job->auth.busy = true;
    smtpc_conn_step(job->conn, SMTPC_SASL);
    smtpc_auth_find(job, on_found);
}

static void respond(struct smtpc_job *job, const struct smtp_answer *a)
{
    struct slice rest = slice_make(a->text, a->text_n), line = {0};
    char *challenge;

    if (job->auth.rounds > ROUNDS_MOST) {
        give_up(job, "4.3.0",
                text_of(job, "SASL authentication failed; authentication protocol loop with server ", job->conn->peer,
                        NULL));
        return;
    }
    smtp_answer_line(&rest, &line);
    challenge = mem_dup(line.p, line.n);
    job->auth.busy = true;
    auth_client_respond(job->conn->auth, challenge, &job->job.scope, on_answer, job);
    mem_free(challenge);
}

void smtpc_got_auth(struct smtpc_job *job, const struct outcome_reply *r, const struct smtp_answer *a)
{
    struct outcome o;

    if (job->auth.busy) { /* it was not asked */
        smtpc_lost(job, OUTCOME_LOSS_GARBAGE);
    } else if (r->code / 100 == 3) {
        respond(job, a);
    } else if (r->code / 100 != 2) {
        o = outcome_no_auth(job->conn->peer, r, job->conf->sasl_auth_soft_bounce);
        smtpc_token_forget(job);
        smtpc_hello_refuse(job, &o, r->code != 421);
    } else if (!job->auth.complete) {
        cannot(job, "the server has not proved that it knows the password");
    } else {
        auth_client_end(&job->conn->auth);
        smtpc_hello_ready(job);
    }
}
