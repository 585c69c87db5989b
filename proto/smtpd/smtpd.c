/*
 * The server object and its services: see smtpd.h. main makes one server, and a service for each listener of the
 * configuration in force.
 */
#include "proto/smtpd/smtpd.h"

#include "core/base/alloc.h"
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
    {
        struct session *s = LIST_ITEM(it, struct session, link);

        s->shutdown = true;
        dispatch_pump(s);
    }
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

/* Says which words of local_header_rewrite_clients match nobody: see is_local_client in session.c. */
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
    ok = compile_lists(sv, err);
    sv->mynetworks = matchlist_new(tables, sv->conf->mynetworks, MATCHLIST_NETWORK, err);
    sv->exceptions = matchlist_new(tables, sv->conf->smtpd_client_event_limit_exceptions, MATCHLIST_NETWORK, err);
    sv->bare_newline_exclusions =
        matchlist_new(tables, sv->conf->smtpd_forbid_bare_newline_exclusions, MATCHLIST_NETWORK, err);
    check_local_clients(sv->conf, err);
    sv->ehlo = ehlo_offered(sv->conf, err);
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
    matchlist_free(&sv->bare_newline_exclusions);
    rules_unref(&sv->rules);
    conf_unref(&sv->conf);
    mem_free(sv);
}
