/*
 * The server object and its services: see smtpd.h. main makes one server, and a service for each listener of the
 * configuration in force.
 */
#include "proto/smtpd/smtpd.h"

#include "core/base/alloc.h"
#include "lookup/maps.h"
#include "lookup/matchlist.h"
#include "proto/smtpd/smtpd_int.h"

struct smtpd *smtpd_new(struct loop *loop, struct queue *queue)
{
    struct smtpd *d = NEW(struct smtpd);

    d->loop = loop;
    d->queue = queue;
    list_init(&d->sessions);
    return d;
}

void smtpd_use_dns(struct smtpd *d, struct dns *dns)
{
    d->dns = dns;
}

void smtpd_set_auth_guard(struct smtpd *d, struct auth_guard *guard)
{
    d->guard = guard;
}

struct smtpd_sessions smtpd_count(const struct smtpd *d, const char *listener)
{
    struct smtpd_sessions n = {0};

    LIST_FOREACH(it, &d->sessions)
    {
        const struct session *s = LIST_ITEM(it, const struct session, link);

        if (s->probe != NULL || strcmp(s->service->listener, listener) != 0)
            continue;
        n.open++;
        n.tls += s->tls != NULL;
        n.authenticated += s->login != NULL;
    }
    return n;
}

static void grace_over(void *arg)
{
    struct smtpd *d = arg;

    LIST_FOREACH(it, &d->sessions)
    session_close(LIST_ITEM(it, struct session, link));
}

static void already_drained(void *arg)
{
    struct smtpd *d = arg;

    d->drained(d->drained_arg);
}

void smtpd_drain(struct smtpd *d, uint64_t grace_ms, void (*drained)(void *arg), void *arg)
{
    d->draining = true;
    d->drained_arg = arg;
    if (d->nsessions == 0) {
        d->drained = drained;
        timer_start(d->loop, &d->grace, 0, already_drained, d);
        return;
    }
    timer_start(d->loop, &d->grace, grace_ms, grace_over, d);
    d->drained = drained;
    LIST_FOREACH(it, &d->sessions)
    session_shut_down(LIST_ITEM(it, struct session, link));
}

void smtpd_free(struct smtpd **dp)
{
    struct smtpd *d = *dp;

    if (d == NULL)
        return;
    *dp = NULL;
    d->drained = NULL;
    grace_over(d);
    timer_stop(&d->grace);
    map_clear(&d->per_client);
    loop_free_later(d->loop, d);
}

/* ---- services ---- */

/* Which parameter a list is; the built-in one has its text here. */
static const char *list_text(const struct conf *c, enum restrict_list_id id, const char **parameter)
{
    const struct {
        const char *parameter, *text;
    } lists[RESTRICT_LIST_COUNT] = {
        [RESTRICT_LIST_CLIENT] = {"smtpd_client_restrictions", c->smtpd_client_restrictions},
        [RESTRICT_LIST_HELO] = {"smtpd_helo_restrictions", c->smtpd_helo_restrictions},
        [RESTRICT_LIST_SENDER] = {"smtpd_sender_restrictions", c->smtpd_sender_restrictions},
        [RESTRICT_LIST_RELAY] = {"smtpd_relay_restrictions", c->smtpd_relay_restrictions},
        [RESTRICT_LIST_RECIPIENT] = {"smtpd_recipient_restrictions", c->smtpd_recipient_restrictions},
        [RESTRICT_LIST_UNLISTED] = {"smtpd_reject_unlisted_recipient", "reject_unlisted_recipient"},
        [RESTRICT_LIST_DATA] = {"smtpd_data_restrictions", c->smtpd_data_restrictions},
        [RESTRICT_LIST_END_OF_DATA] = {"smtpd_end_of_data_restrictions", c->smtpd_end_of_data_restrictions},
    };

    *parameter = lists[id].parameter;
    return lists[id].text;
}

/* Says which words of local_header_rewrite_clients match nobody: see session_is_local in session.c. */
static void check_local_clients(const struct conf *c, struct buf *err)
{
    static const char *const known[] = {"permit_inet_interfaces", "permit_mynetworks", "permit_sasl_authenticated"};
    struct slice rest = slice_str(c->local_header_rewrite_clients), word;

    while ((word = slice_token(&rest, ", \t\r\n")).n > 0) {
        size_t i = 0;

        while (i < ARRAY_LEN(known) && !slice_ieq(word, slice_str(known[i])))
            i++;
        if (i == ARRAY_LEN(known))
            buf_printf(err, "warning: local_header_rewrite_clients: \"%.*s\" is not known or not supported yet\n",
                       (int)word.n, word.p);
    }
}

/* Which parameter's list has this restriction; NULL: none. */
static const char *list_with(const struct conf *c, const char *restriction)
{
    for (int i = 0; i < RESTRICT_LIST_COUNT; i++) {
        const char *parameter, *text = list_text(c, (enum restrict_list_id)i, &parameter);
        struct slice rest = slice_str(text), word;

        while ((word = slice_token(&rest, ", \t\r\n")).n > 0)
            if (slice_ieq(word, slice_str(restriction)))
                return parameter;
    }
    return NULL;
}

/* Says what cannot work together, or lets in more people than it seems to. */
static void check_contradictions(const struct smtpd_service *sv, struct buf *err)
{
    static const char *const owned[] = {"reject_sender_login_mismatch", "reject_known_sender_login_mismatch",
                                        "reject_authenticated_sender_login_mismatch",
                                        "reject_unauthenticated_sender_login_mismatch"};
    const struct conf *c = sv->conf;
    const char *list;

    for (size_t i = 0; i < ARRAY_LEN(owned) && !c->smtpd_sasl_auth_enable; i++)
        if ((list = list_with(c, owned[i])) != NULL)
            buf_printf(err, "warning: %s: %s does nothing without smtpd_sasl_auth_enable = yes\n", list, owned[i]);
    if (c->tls_append_default_CA && (list = list_with(c, "permit_tls_all_clientcerts")) != NULL)
        buf_printf(err,
                   "warning: %s: permit_tls_all_clientcerts together with tls_append_default_CA permits everybody who "
                   "has a certificate of any public authority\n",
                   list);
    if (tls_server_required(c) && !tls_server_wrapped(c) && !(sv->ehlo >> EHLO_STARTTLS & 1))
        buf_add_str(err, "warning: smtpd_discard_ehlo_keywords: TLS is mandatory, and without STARTTLS nobody can "
                         "send anything\n");
}

/* "PARAMETER: " before the complaints of a list. */
static struct matchlist *network_list(struct tables *tables, const char *parameter, const char *text, struct buf *err)
{
    struct buf complaints = {0};
    struct matchlist *m = matchlist_new(tables, text, MATCHLIST_NETWORK, &complaints);

    if (buf_len(&complaints) > 0)
        buf_printf(err, "%s: %s", parameter, buf_cstr(&complaints));
    buf_release(&complaints);
    return m;
}

static struct maps *table_list(struct tables *tables, const char *parameter, const char *text, struct buf *err)
{
    struct buf complaints = {0};
    struct maps *m = maps_new(tables, text, &complaints);

    if (buf_len(&complaints) > 0)
        buf_printf(err, "%s: %s", parameter, buf_cstr(&complaints));
    buf_release(&complaints);
    return m;
}

/* Of lists that are looked at where nobody can wait. */
static void check_for_tables(const char *parameter, const struct matchlist *m, struct buf *err)
{
    if (m != NULL && matchlist_has_tables(m))
        buf_printf(err, "warning: %s: tables are not asked here: from the first one on the list matches no client\n",
                   parameter);
}

/* What AUTH needs; false when something is wrong with it. */
static bool build_auth(struct smtpd_service *sv, struct tables *tables, struct buf *err)
{
    const struct conf *c = sv->conf;

    sv->auth_hidden = network_list(tables, "smtpd_sasl_exceptions_networks", c->smtpd_sasl_exceptions_networks, err);
    sv->ban_exceptions = network_list(tables, "smtpd_auth_ban_exceptions", c->smtpd_auth_ban_exceptions, err);
    sv->login_maps = table_list(tables, "smtpd_sender_login_maps", c->smtpd_sender_login_maps, err);
    check_for_tables("smtpd_sasl_exceptions_networks", sv->auth_hidden, err);
    if (strcmp(c->smtpd_auth_ban_exceptions, c->mynetworks) != 0) /* else the session knows */
        check_for_tables("smtpd_auth_ban_exceptions", sv->ban_exceptions, err);
    if (c->smtpd_sasl_auth_enable)
        sv->auth = auth_new(sv->server->loop, tables, c, err);
    return sv->auth_hidden && sv->ban_exceptions && sv->login_maps && (sv->auth || !c->smtpd_sasl_auth_enable);
}

static bool is_file(const char *value)
{
    return value[0] != '\0' && strcmp(value, "none") != 0;
}

/* TLS without a certificate: as in Postfix nobody is offered it; where it is mandatory nobody could come in. */
static bool certified(const struct conf *c, struct buf *err)
{
    const char *why = c->smtpd_tls_wrappermode ? "smtpd_tls_wrappermode" : "smtpd_tls_security_level";

    if (is_file(c->smtpd_tls_cert_file) || is_file(c->smtpd_tls_eccert_file) || is_file(c->smtpd_tls_chain_files))
        return true;
    if (tls_server_required(c))
        buf_printf(err, "%s: TLS is mandatory, and there is no certificate: set smtpd_tls_cert_file\n", why);
    else
        buf_printf(err, "warning: %s: no certificate, so that STARTTLS is not offered: set smtpd_tls_cert_file\n", why);
    return false;
}

/* What TLS needs; false when something is wrong with it. */
static bool build_tls(struct smtpd_service *sv, struct tables *tables, struct buf *err)
{
    const struct conf *c = sv->conf;

    sv->sni_maps = table_list(tables, "tls_server_sni_maps", c->tls_server_sni_maps, err);
    sv->clientcerts = table_list(tables, "relay_clientcerts", c->relay_clientcerts, err);
    if (tls_server_wanted(c) && certified(c, err)) {
        sv->tls = tls_server_new(sv->server->loop, c, sv->listener, err);
        return sv->sni_maps && sv->clientcerts && sv->tls;
    }
    if (c->smtpd_sasl_auth_enable && c->smtpd_tls_auth_only)
        buf_add_str(err, "warning: smtpd_tls_auth_only: there is no TLS here, so that AUTH is never offered\n");
    return sv->sni_maps && sv->clientcerts && !tls_server_required(c);
}

static bool compile_lists(struct smtpd_service *sv, struct buf *err)
{
    bool ok = true;

    for (int i = 0; i < RESTRICT_LIST_COUNT; i++) {
        const char *parameter, *text = list_text(sv->conf, (enum restrict_list_id)i, &parameter);

        sv->lists[i] = restrict_compile(parameter, text, (enum restrict_list_id)i, err);
        ok = ok && sv->lists[i] != NULL;
    }
    if (ok && !restrict_list_guards_relay(sv->lists[RESTRICT_LIST_RELAY]) &&
        !restrict_list_guards_relay(sv->lists[RESTRICT_LIST_RECIPIENT])) {
        buf_printf(err, "smtpd_relay_restrictions: this server would relay mail for everybody: add "
                        "reject_unauth_destination to smtpd_relay_restrictions or smtpd_recipient_restrictions\n");
        ok = false;
    }
    return ok;
}

struct smtpd_service *smtpd_service_new(struct smtpd *d, struct tables *tables, struct rules *rules,
                                        const struct conf_listener *l, struct buf *err)
{
    struct smtpd_service *sv = NEW(struct smtpd_service);
    bool ok;

    sv->refs = 1;
    sv->server = d;
    sv->rules = rules_ref(rules);
    sv->conf = conf_ref(l->conf);
    sv->listener = l->name;
    ok = compile_lists(sv, err);
    sv->mynetworks = matchlist_new(tables, sv->conf->mynetworks, MATCHLIST_NETWORK, err);
    sv->exceptions = matchlist_new(tables, sv->conf->smtpd_client_event_limit_exceptions, MATCHLIST_NETWORK, err);
    sv->bare_newline_exclusions =
        matchlist_new(tables, sv->conf->smtpd_forbid_bare_newline_exclusions, MATCHLIST_NETWORK, err);
    ok = build_auth(sv, tables, err) && ok;
    ok = build_tls(sv, tables, err) && ok;
    check_local_clients(sv->conf, err);
    sv->ehlo = ehlo_offered(sv->conf, err);
    ok = cleanup_tables_open(&sv->cleanup, tables, sv->conf, err) && ok;
    check_contradictions(sv, err);
    if (!ok || !sv->mynetworks || !sv->exceptions || !sv->bare_newline_exclusions)
        smtpd_service_unref(&sv);
    return sv;
}

struct smtpd_service *smtpd_service_ref(struct smtpd_service *sv)
{
    sv->refs++;
    return sv;
}

void smtpd_service_unref(struct smtpd_service **svp)
{
    struct smtpd_service *sv = *svp;

    *svp = NULL;
    if (sv == NULL || --sv->refs > 0)
        return;
    for (int i = 0; i < RESTRICT_LIST_COUNT; i++)
        restrict_list_free(&sv->lists[i]);
    matchlist_free(&sv->mynetworks);
    matchlist_free(&sv->exceptions);
    matchlist_free(&sv->auth_hidden);
    matchlist_free(&sv->ban_exceptions);
    maps_free(&sv->login_maps);
    auth_unref(&sv->auth);
    maps_free(&sv->sni_maps);
    maps_free(&sv->clientcerts);
    tls_server_unref(&sv->tls);
    matchlist_free(&sv->bare_newline_exclusions);
    cleanup_tables_close(&sv->cleanup);
    rules_unref(&sv->rules);
    conf_unref(&sv->conf);
    mem_free(sv);
}
