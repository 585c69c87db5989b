/*
 * From a next hop to a connection: kept ones first, then the destination's hosts in their order (RFC 5321 section 5.1),
 * each address once. Called by smtpc.c to begin, by smtpc_txn.c when a host was of no use. Waits on DNS and dialling.
 */
#include "delivery/smtpc_int.h"

#include "lookup/dns_mx.h"
#include "lookup/maps.h"

static void try_host(struct smtpc_job *);

static struct arena *arena_of(struct smtpc_job *job)
{
    return &job->job.delivery->arena;
}

/* ---- connections that are kept ---- */

/* Everything that must be the same for a connection to serve: the way there, who the server is taken for, who we are.
 */
static const char *hop_key(struct smtpc_job *job)
{
    return arena_printf(arena_of(job), "%s %s:%d\n%s\n%s", job->job.transport->conf->name, job->hop.domain,
                        job->hop.port, job->tls_key, smtpc_auth_key(job));
}

static const char *host_key(struct smtpc_job *job, const char *host, const char *address)
{
    const char *taken_for = job->policy.level >= TLS_LEVEL_FINGERPRINT ? job->hop.domain : "";

    return arena_printf(arena_of(job), "%s =%s %s:%d %s\n%s\n%s", job->job.transport->conf->name, host, address,
                        job->hop.port, taken_for, job->tls_key, smtpc_auth_key(job));
}

static bool use_kept(struct smtpc_job *job, const char *key)
{
    struct conn_idle *idle = conn_cache_take(job->job.transport->conns, key);

    if (idle == NULL)
        return false;
    delivery_connecting(job->job.delivery, false);
    job->conn = CONTAINER_OF(idle, struct smtpc_conn, idle);
    job->job.link_to.relay = arena_strdup(arena_of(job), job->conn->relay);
    job->used = arena_strdup(arena_of(job), job->conn->address);
    smtpc_conn_use(job->conn, job);
    smtpc_txn(job);
    return true;
}

/* Is the next hop in connection_cache_destinations? */
static bool always_kept(const struct smtpc_job *job)
{
    struct slice rest = slice_str(job->conf->connection_cache_destinations);

    for (struct slice item; (item = maps_list_item(&rest)).n > 0;)
        if (slice_ieq(item, slice_str(job->hop.domain)) || slice_ieq(item, slice_str(job->hop.host)))
            return true;
    return false;
}

static bool worth_keeping(const struct smtpc_job *job)
{
    const struct conf_client *conf = job->conf;
    const struct smtpc_conn *c = job->conn;
    bool wanted = c->uses > 1 || delivery_has_company(job->job.delivery);

    if (conf->connection_cache_time_limit_ms == 0 || !transport_current(job->job.transport) || job->plain)
        return false;
    if (conf->connection_reuse_count_limit > 0 && c->uses >= (uint64_t)conf->connection_reuse_count_limit)
        return false;
    if (loop_now_ms(c->loop) - c->opened_ms >= conf->connection_reuse_time_limit_ms)
        return false;
    return (conf->connection_cache_on_demand && wanted) || always_kept(job);
}

void smtpc_hosts_release(struct smtpc_job *job, bool reset)
{
    const char *first, *second;

    op_scope_cancel(&job->job.scope);
    smtpc_token_cancel(job);
    if (job->conn == NULL)
        return;
    if (job->out_of_step) {
        smtpc_conn_close(&job->conn);
    } else if ((reset && !(job->conn->features & SMTPC_PIPELINING)) || !worth_keeping(job)) {
        smtpc_conn_quit(&job->conn);
    } else {
        first = hop_key(job);
        second = job->hop.path == NULL ? host_key(job, job->conn->host, job->conn->address) : NULL;
        smtpc_conn_keep(&job->conn, job->job.transport->conns, first, second, reset,
                        job->conf->connection_cache_time_limit_ms);
    }
    job->out_of_step = false;
}

/* ---- hosts ---- */

static void next_hop(struct smtpc_job *);
static void look(struct smtpc_job *);

/* Nobody is left: what the last one said counts. */
static void give_up(struct smtpc_job *job)
{
    job->final = true;
    smtpc_end(job);
}

void smtpc_hosts_next(struct smtpc_job *job, const struct outcome *o)
{
    if (o != NULL)
        job->last = *o;
    smtpc_rcpts_turn(job, SMTPC_RCPT_ELSEWHERE, SMTPC_RCPT_TODO);
    if (!smtpc_rcpts_any(job, SMTPC_RCPT_TODO)) {
        smtpc_end(job);
    } else if (job->hosts == NULL) { /* a kept connection was asked first */
        look(job);
    } else {
        job->at++;
        try_host(job);
    }
}

static void failed(struct smtpc_job *job, const struct outcome *o)
{
    smtpc_rcpts_results(job, SMTPC_RCPT_TODO, o);
    smtpc_hosts_next(job, o);
}

static bool was_used(const struct smtpc_job *job, size_t at)
{
    return job->used != NULL && strcmp(job->used, job->hosts[at].address) == 0;
}

static bool is_last(const struct smtpc_job *job)
{
    struct slice rest = job->hops;

    for (size_t i = job->at + 1; i < job->nhosts; i++)
        if (!was_used(job, i))
            return false;
    return slice_token(&rest, " \t\r\n,").n == 0;
}

static void on_dialled(void *owner, enum op_status status, const void *result)
{
    struct smtpc_job *job = owner;
    const struct smtpc_host *h = &job->hosts[job->at];
    const char *where = job->hop.path != NULL
                            ? arena_printf(arena_of(job), "%s[%s]", h->name, h->address)
                            : arena_printf(arena_of(job), "%s[%s]:%d", h->name, h->address, job->hop.port);

    if (status != OP_OK) {
        const struct outcome o =
            outcome_unreachable(where, status == OP_TIMEOUT ? "Connection timed out" : dial_error(result));

        job->job.link_to.relay = NULL;
        failed(job, &o);
        return;
    }
    job->conn = smtpc_conn_new(job, dial_take(result), h->name, h->address, job->hop.path != NULL ? 0 : job->hop.port);
    job->job.link_to.relay = where;
    delivery_connecting(job->job.delivery, false);
    job->sessions++;
    if (job->conf->mx_session_limit > 0 && job->sessions >= (uint64_t)job->conf->mx_session_limit) {
        job->nhosts = job->at + 1; /* the next hop's other hosts are left out */
        job->final = is_last(job);
    }
    smtpc_tls_begin(job);
}

static void dial(struct smtpc_job *job)
{
    const struct smtpc_host *h = &job->hosts[job->at];
    const char *source = h->family == 6 ? job->conf->bind_address6 : job->conf->bind_address;
    const struct dial_target target = {
        .path = job->hop.path != NULL ? h->address : NULL,
        .host = h->address,
        .port = job->hop.port,
        .source = source[0] != '\0' ? source : NULL,
        .source_or_fail = job->conf->bind_address_enforce,
    };

    delivery_connecting(job->job.delivery, true);
    dial_start(job->job.transport->loop, &job->job.scope, &target, job->conf->connect_timeout_ms, on_dialled, job);
}

void smtpc_hosts_plain(struct smtpc_job *job)
{
    job->plain = true;
    job->sessions--;
    dial(job);
}

static void try_host(struct smtpc_job *job)
{
    const struct smtpc_host *h;

    job->plain = false;
    while (job->at < job->nhosts && was_used(job, job->at))
        job->at++;
    if (job->at >= job->nhosts) {
        next_hop(job);
        return;
    }
    h = &job->hosts[job->at];
    job->final = is_last(job);
    if (job->hop.path == NULL && use_kept(job, host_key(job, h->name, h->address)))
        return;
    dial(job);
}

void smtpc_hosts_unusable(struct smtpc_job *job, const struct outcome *o)
{
    job->final = slice_trim(job->hops).n == 0;
    job->nhosts = 0;
    job->hosts = (struct smtpc_host *)arena_new(arena_of(job), sizeof *job->hosts);
    failed(job, o);
}

static void on_hosts(void *owner, enum op_status status, const void *result)
{
    struct smtpc_job *job = owner;
    const struct dns_mail_answer *answer = result;
    struct smtpc_host *hosts;

    if (answer != NULL && answer->self) /* the fallback is for others: it might bring the mail back */
        job->hops = SLICE_EMPTY;
    if (status != OP_OK || answer == NULL) {
        const struct status why = answer != NULL ? answer->status : status_of(STATUS_TIMEOUT);
        const struct outcome o = outcome_no_host(&why);

        smtpc_hosts_unusable(job, &o);
        return;
    }
    hosts = arena_new_array(arena_of(job), answer->n, sizeof *hosts);
    for (size_t i = 0; i < answer->n; i++)
        hosts[i] = (struct smtpc_host){arena_strdup(arena_of(job), answer->hosts[i].name),
                                       arena_strdup(arena_of(job), answer->hosts[i].address), answer->hosts[i].family};
    job->hosts = hosts;
    job->nhosts = answer->n;
    job->at = 0;
    try_host(job);
}

/* ---- next hops ---- */

static void look_for_hosts(struct smtpc_job *job)
{
    static const char *const preferences[] = {
        [CONF_ADDRESS_PREFERENCE_ANY] = "any",
        [CONF_ADDRESS_PREFERENCE_IPV4] = "ipv4",
        [CONF_ADDRESS_PREFERENCE_IPV6] = "ipv6",
    };
    const struct conf *conf = job->job.transport->set->conf;
    const struct conf_client *client = job->conf;
    const struct dns_mail_opts opts = {
        .host_lookup = client->host_lookup,
        .address_preference = preferences[client->address_preference],
        .balance_protocols = client->balance_inet_protocols,
        .randomize = client->randomize_addresses,
        .mx_address_limit = (int)client->mx_address_limit,
        .ignore_mx_lookup_error = conf->ignore_mx_lookup_error,
        .defer_if_no_mx_address_found = client->defer_if_no_mx_address_found,
        .by_mx = job->hop.by_mx,
        .detect_loop = job->hop.by_mx && job->hop.port == 25,
    };

    dns_mail_hosts(job->job.transport->dns, conf, &opts, job->hop.host, &job->job.scope, on_hosts, job);
}

static void look_for_socket(struct smtpc_job *job)
{
    const struct conf *conf = job->job.transport->set->conf;
    struct smtpc_host *host = arena_new(arena_of(job), sizeof *host);

    host->name = conf->myhostname;
    host->address = job->hop.path[0] == '/'
                        ? job->hop.path
                        : arena_printf(arena_of(job), "%s/%s", conf->queue_directory, job->hop.path);
    job->hosts = host;
    job->nhosts = 1;
    job->at = 0;
    try_host(job);
}

static void look(struct smtpc_job *job)
{
    delivery_connecting(job->job.delivery, true);
    if (job->hop.path != NULL)
        look_for_socket(job);
    else
        look_for_hosts(job);
}

void smtpc_hosts_again(struct smtpc_job *job)
{
    job->used = NULL;
    if (use_kept(job, hop_key(job)))
        return;
    if (job->hosts != NULL) /* it was this host's */
        dial(job);
    else
        look(job);
}

/* As it is written, without "inet:". */
static const char *destination(const struct smtpc_job *job)
{
    struct slice prefix = SLICE_LIT("inet:");

    if (job->hop.path != NULL)
        return job->hop.path;
    return job->hop.text + (slice_istarts(slice_str(job->hop.text), prefix) ? prefix.n : 0);
}

static void next_hop(struct smtpc_job *job)
{
    uint16_t port = 0;
    int found;

    conf_port_parse(slice_str(job->conf->tcp_port), &port);
    found = smtpc_nexthop_next(&job->hops, job->lmtp, port, arena_of(job), &job->hop);
    job->hosts = NULL;
    job->nhosts = 0;
    job->sessions = 0;
    job->final = false;
    if (found == 0) {
        give_up(job);
    } else if (found < 0) {
        job->last = outcome_bad_nexthop(job->hop.text);
        next_hop(job);
    } else {
        job->destination = destination(job);
        smtpc_tls_find(job);
    }
}

const char *smtpc_hosts_hops(struct arena *arena, const struct conf_client *conf, const char *nexthop)
{
    return conf->fallback_relay[0] == '\0' ? nexthop : arena_printf(arena, "%s,%s", nexthop, conf->fallback_relay);
}

void smtpc_hosts_begin(struct smtpc_job *job)
{
    job->hops = slice_str(smtpc_hosts_hops(arena_of(job), job->conf, job->job.delivery->nexthop));
    job->last = outcome_bad_nexthop(job->job.delivery->nexthop);
    next_hop(job);
}
