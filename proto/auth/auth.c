/*
 * SASL in the server: see auth.h. Called by the SMTP server. This file chooses the back end, decides what is offered
 * (auth_policy.c) and keeps what is not base64 from the back ends; what checks the passwords is behind the functions of
 * struct auth_backend. Waits for nothing itself. RFC 4422, RFC 4954 section 4.
 */
#include "proto/auth/auth.h"

#include "core/base/alloc.h"
#include "core/base/codec.h"
#include "proto/auth/auth_int.h"
#include "proto/auth/auth_policy.h"

static const struct auth_backend *const backends[] = {
    [CONF_SASL_TYPE_DOVECOT] = &auth_backend_dovecot,
    [CONF_SASL_TYPE_CYRUS] = &auth_backend_cyrus,
    [CONF_SASL_TYPE_TABLE] = &auth_backend_table,
};

struct auth {
    unsigned refs;
    struct loop *loop;
    const struct conf *conf;
    const struct auth_backend *backend;
    void *state; /* the back end's */
    struct auth_policy *policy;
    struct buf offer[2]; /* what was answered last, in clear and under TLS */
};

/* An answer that needs no back end. */
struct own_answer {
    struct op op;
    struct auth_exchange *exchange; /* NULL once it is over */
    struct auth_answer answer;
};

struct auth_exchange {
    struct auth *auth; /* a reference */
    void *exchange;    /* the back end's; NULL: it was not asked */
    struct own_answer *own;
};

struct auth *auth_new(struct loop *loop, struct tables *tables, const struct conf *c, struct buf *err)
{
    struct auth *a = NEW(struct auth);

    a->refs = 1;
    a->loop = loop;
    a->conf = conf_ref(c);
    a->backend = backends[c->smtpd_sasl_type];
    a->policy = auth_policy_new(tables, c, err);
    if (a->policy != NULL)
        a->state = a->backend->open(loop, tables, c, err);
    if (a->state == NULL)
        auth_unref(&a);
    else
        auth_mechanisms(a, false); /* has the filter's tables asked */
    return a;
}

struct auth *auth_ref(struct auth *a)
{
    a->refs++;
    return a;
}

void auth_unref(struct auth **ap)
{
    struct auth *a = *ap;

    *ap = NULL;
    if (a == NULL || --a->refs > 0)
        return;
    if (a->state != NULL)
        a->backend->close(a->state);
    auth_policy_free(&a->policy);
    buf_release(&a->offer[false]);
    buf_release(&a->offer[true]);
    conf_unref(&a->conf);
    mem_free(a);
}

const char *auth_mechanisms(struct auth *a, bool tls)
{
    const struct auth_mechanism *all;
    size_t n = a->backend->mechanisms(a->state, &all);
    struct buf *offer = &a->offer[tls];

    buf_clear(offer);
    for (size_t i = 0; i < n; i++)
        if (auth_policy_allows(a->policy, &all[i], tls))
            buf_printf(offer, "%s%s", buf_len(offer) > 0 ? " " : "", all[i].name);
    return buf_cstr(offer);
}

/* ---- answers that need no back end ---- */

static void own_answer_release(struct op *op)
{
    struct own_answer *o = (struct own_answer *)op;

    if (o->exchange != NULL)
        o->exchange->own = NULL;
    mem_free(o);
}

static void answer(struct auth_exchange *x, enum auth_outcome outcome, const char *reason, struct op_scope *scope,
                   op_done_fn *done, void *owner)
{
    struct own_answer *o = NEW(struct own_answer);

    o->answer = (struct auth_answer){.outcome = outcome, .text = "", .user = "", .reason = reason};
    o->exchange = x;
    x->own = o;
    op_start(&o->op, x->auth->loop, scope, "auth", 0, done, owner, own_answer_release);
    op_finish(&o->op, OP_OK, &o->answer);
}

/* Decoded and thrown away: the back ends get it as it is. */
static bool is_base64(const char *text)
{
    struct buf decoded = {0};
    bool ok;

    buf_reserve(&decoded, strlen(text)); /* in one place, so that nothing is left anywhere else */
    ok = codec_base64_decode(&decoded, slice_str(text));
    if (decoded.data != NULL)
        explicit_bzero(decoded.data, decoded.cap);
    buf_release(&decoded);
    return ok;
}

/* ---- exchanges ---- */

/* The mechanism as the back end knows it; NULL: it is not offered. */
static const struct auth_mechanism *find(struct auth *a, const char *name, bool tls)
{
    const struct auth_mechanism *all;
    size_t n = a->backend->mechanisms(a->state, &all);

    for (size_t i = 0; i < n; i++)
        if (slice_ieq(slice_str(name), slice_str(all[i].name)))
            return auth_policy_allows(a->policy, &all[i], tls) ? &all[i] : NULL;
    return NULL;
}

struct auth_exchange *auth_begin(struct auth *a, const struct auth_client *client, const char *mechanism,
                                 const char *initial, struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct auth_exchange *x = NEW(struct auth_exchange);
    const struct auth_mechanism *all, *m = find(a, mechanism, client->tls);

    x->auth = auth_ref(a);
    if (initial != NULL && strcmp(initial, "=") == 0)
        initial = ""; /* RFC 4954 section 4 */
    else if (initial != NULL && initial[0] == '\0')
        initial = NULL;
    if (a->backend->mechanisms(a->state, &all) == 0)
        answer(x, AUTH_UNAVAILABLE, "no mechanism is available", scope, done, owner);
    else if (m == NULL)
        answer(x, AUTH_NO_MECHANISM, "unknown mechanism", scope, done, owner);
    else if (initial != NULL && !is_base64(initial))
        answer(x, AUTH_MALFORMED, "the initial response is not base64", scope, done, owner);
    else
        x->exchange = a->backend->begin(a->state, client, m->name, initial, scope, done, owner);
    return x;
}

void auth_respond(struct auth_exchange *x, const char *response, struct op_scope *scope, op_done_fn *done, void *owner)
{
    if (!is_base64(response))
        answer(x, AUTH_MALFORMED, "the response is not base64", scope, done, owner);
    else
        x->auth->backend->respond(x->exchange, response, scope, done, owner);
}

void auth_end(struct auth_exchange **xp)
{
    struct auth_exchange *x = *xp;

    *xp = NULL;
    if (x == NULL)
        return;
    if (x->own != NULL) {
        x->own->exchange = NULL;
        if (!op_detached(&x->own->op))
            op_abandon(&x->own->op);
    }
    if (x->exchange != NULL)
        x->auth->backend->end(x->exchange);
    auth_unref(&x->auth);
    mem_free(x);
}
