/*
 * The rules of one configuration snapshot: what they are compiled from, what their questions have in common, and the
 * class of a domain. See rules.h; addresses, recipients, aliases and routes are in files of their own. The server and
 * delivery ask; every question is one op that waits, in a scope of its own, for the look-ups it needs.
 *
 * A question ends with its asker, and the rules live until their last question is answered: after a reload, mail on its
 * way goes on by the rules it began with.
 */
#include "lookup/rules_int.h"

#include "core/base/alloc.h"

/* ---- requests ---- */

static void request_release(struct op *op)
{
    struct rules_request *r = (struct rules_request *)op;

    op_scope_close(&r->scope);
    if (r->clear != NULL)
        r->clear(r);
    arena_clear(&r->arena);
    rules_unref(&r->rules);
    mem_free(r);
}

/* Nobody waits any more: neither does the question. */
static void request_abandoned(struct op *op)
{
    op_scope_close(&((struct rules_request *)op)->scope);
    op_finish(op, OP_NOTFOUND, NULL);
}

void *rules_request_new(struct rules *rules, size_t size, struct op_scope *scope, const char *name, op_done_fn *done,
                        void *owner)
{
    struct rules_request *r = mem_new(size);

    r->rules = rules_ref(rules);
    op_scope_init_within(&r->scope, name, scope);
    op_start(&r->op, rules->loop, scope, name, 0, done, owner, request_release);
    r->op.abandoned = request_abandoned;
    return r;
}

void rules_request_finish(struct rules_request *r, enum op_status status, const void *result)
{
    op_scope_close(&r->scope);
    op_finish(&r->op, status, result);
}

const char *rules_why(struct rules_request *r, const void *table_answer)
{
    const struct table_answer *answer = table_answer;

    return arena_strdup(&r->arena, answer != NULL && answer->why != NULL ? answer->why : "timed out");
}

/* ---- compiling ---- */

/* Does parent_domain_matches_subdomains name this parameter? */
static bool parents_match(const struct conf *conf, const char *parameter)
{
    struct slice rest = slice_str(conf->parent_domain_matches_subdomains), item;

    while ((item = slice_token(&rest, ", \t\r\n")).n > 0)
        if (slice_ieq(item, slice_str(parameter)))
            return true;
    return false;
}

static bool propagates(const struct conf *conf, const char *kind)
{
    struct slice rest = slice_str(conf->propagate_unmatched_extensions), item;

    while ((item = slice_token(&rest, ", \t\r\n")).n > 0)
        if (slice_ieq(item, slice_str(kind)))
            return true;
    return false;
}

/* Copies the complaints of one parameter, each with its name before it. */
static void complain(struct buf *err, const char *parameter, struct buf *complaints)
{
    struct slice rest = buf_slice(complaints), line;

    while ((line = slice_token(&rest, "\n")).n > 0)
        buf_printf(err, "%s: %.*s\n", parameter, (int)line.n, line.p);
    buf_release(complaints);
}

static struct maps *open_maps(struct tables *tables, const char *parameter, const char *list, struct buf *err)
{
    struct buf complaints = {0};
    struct maps *maps = maps_new(tables, list, &complaints);

    complain(err, parameter, &complaints);
    return maps;
}

static struct matchlist *open_list(struct tables *tables, const char *parameter, const char *list,
                                   enum matchlist_kind kind, struct buf *err)
{
    struct buf complaints = {0};
    struct matchlist *m = matchlist_new(tables, list, kind, &complaints);

    complain(err, parameter, &complaints);
    return m;
}

static const char *const domain_parameters[RULES_CLASS_OTHER] = {
    [RULES_CLASS_LOCAL] = "mydestination",
    [RULES_CLASS_VIRTUAL_ALIAS] = "virtual_alias_domains",
    [RULES_CLASS_VIRTUAL_MAILBOX] = "virtual_mailbox_domains",
    [RULES_CLASS_RELAY] = "relay_domains",
};

struct rules *rules_new(struct loop *loop, struct tables *tables, const struct conf *conf, struct buf *err)
{
    struct rules *r = NEW(struct rules);
    const char *lists[RULES_CLASS_OTHER] = {conf->mydestination, conf->virtual_alias_domains,
                                            conf->virtual_mailbox_domains, conf->relay_domains};
    const struct {
        const char *name, *list;
    } maps[RULES_CLASS_OTHER] = {{"local_recipient_maps", conf->local_recipient_maps},
                                 {"virtual_alias_maps", conf->virtual_alias_maps},
                                 {"virtual_mailbox_maps", conf->virtual_mailbox_maps},
                                 {"relay_recipient_maps", conf->relay_recipient_maps}};
    bool ok = true;

    r->loop = loop;
    r->refs = 1;
    r->conf = conf_ref(conf);
    for (size_t i = 0; i < RULES_CLASS_OTHER; i++) {
        enum matchlist_kind kind = i != RULES_CLASS_RELAY                      ? MATCHLIST_STRING
                                   : parents_match(conf, domain_parameters[i]) ? MATCHLIST_DOMAIN
                                                                               : MATCHLIST_DOTTED;

        r->domains[i] = open_list(tables, domain_parameters[i], lists[i], kind, err);
        r->recipients[i] = open_maps(tables, maps[i].name, maps[i].list, err);
        ok = ok && r->domains[i] != NULL && r->recipients[i] != NULL;
    }
    r->transport_maps = open_maps(tables, "transport_maps", conf->transport_maps, err);
    r->sender_transports = open_maps(tables, "sender_dependent_default_transport_maps",
                                     conf->sender_dependent_default_transport_maps, err);
    r->sender_relayhosts =
        open_maps(tables, "sender_dependent_relayhost_maps", conf->sender_dependent_relayhost_maps, err);
    r->canonical = open_maps(tables, "canonical_maps", conf->canonical_maps, err);
    r->sender_canonical = open_maps(tables, "sender_canonical_maps", conf->sender_canonical_maps, err);
    r->recipient_canonical = open_maps(tables, "recipient_canonical_maps", conf->recipient_canonical_maps, err);
    r->sender_bcc = open_maps(tables, "sender_bcc_maps", conf->sender_bcc_maps, err);
    r->recipient_bcc = open_maps(tables, "recipient_bcc_maps", conf->recipient_bcc_maps, err);
    r->relocated = open_maps(tables, "relocated_maps", conf->relocated_maps, err);
    ok = rules_rewrite_open(r, err) && ok;
    r->transport_parents = parents_match(conf, "transport_maps");
    r->propagate_extensions = propagates(conf, "virtual");
    r->propagate_canonical = propagates(conf, "canonical");
    r->propagate_generic = propagates(conf, "generic");
    if (!ok || r->transport_maps == NULL || r->sender_transports == NULL || r->sender_relayhosts == NULL ||
        r->canonical == NULL || r->sender_canonical == NULL || r->recipient_canonical == NULL ||
        r->sender_bcc == NULL || r->recipient_bcc == NULL || r->relocated == NULL)
        rules_unref(&r);
    return r;
}

struct rules *rules_ref(struct rules *r)
{
    r->refs++;
    return r;
}

void rules_unref(struct rules **rp)
{
    struct rules *r = *rp;

    *rp = NULL;
    if (r == NULL || --r->refs > 0)
        return;
    for (size_t i = 0; i < RULES_CLASS_OTHER; i++) {
        matchlist_free(&r->domains[i]);
        maps_free(&r->recipients[i]);
    }
    maps_free(&r->transport_maps);
    maps_free(&r->sender_transports);
    maps_free(&r->sender_relayhosts);
    maps_free(&r->canonical);
    maps_free(&r->sender_canonical);
    maps_free(&r->recipient_canonical);
    maps_free(&r->sender_bcc);
    maps_free(&r->recipient_bcc);
    maps_free(&r->relocated);
    mem_free(r->srs_secrets);
    conf_unref(&r->conf);
    mem_free(r);
}

/* ---- the class of a domain ---- */

struct classify {
    struct rules_request q;
    struct slice domain;
    int at; /* the class whose list is asked */
    enum rules_class answer;
    struct table_answer failure;
};

static void on_match(void *owner, enum op_status status, const void *result);

static void classify_finish(struct classify *c, enum rules_class cls)
{
    c->answer = cls;
    rules_request_finish(&c->q, OP_OK, &c->answer);
}

static void classify_next(struct classify *c)
{
    for (; c->at < RULES_CLASS_OTHER; c->at++) {
        const struct matchlist *list = c->q.rules->domains[c->at];
        int now = matchlist_match_now(list, c->domain);

        if (now < 0) {
            matchlist_match(list, &c->q.scope, c->domain, on_match, c);
            return;
        }
        if (now > 0)
            break;
    }
    /* What comes back to the senders that we made is ours, though no list names their domain. */
    if (c->at == RULES_CLASS_OTHER && rules_is_srs_domain(c->q.rules, c->domain))
        c->at = RULES_CLASS_VIRTUAL_ALIAS;
    classify_finish(c, (enum rules_class)c->at);
}

static void on_match(void *owner, enum op_status status, const void *result)
{
    struct classify *c = owner;

    if (status == OP_OK) {
        classify_finish(c, (enum rules_class)c->at);
    } else if (status == OP_NOTFOUND) {
        c->at++;
        classify_next(c);
    } else {
        c->failure.why = rules_why(&c->q, result);
        rules_request_finish(&c->q, OP_TEMPFAIL, &c->failure);
    }
}

void rules_classify(struct rules *r, struct op_scope *scope, struct slice domain, op_done_fn *done, void *owner)
{
    struct classify *c = rules_request_new(r, sizeof *c, scope, "classify", done, owner);

    domain = rules_domain(domain);
    c->domain = slice_make(arena_slice_dup(&c->q.arena, domain), domain.n);
    if (rules_is_own_literal(r, c->domain))
        classify_finish(c, RULES_CLASS_LOCAL);
    else
        classify_next(c);
}
