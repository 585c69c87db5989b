/*
 * The SMTP and LMTP client (RFC 5321, RFC 2033; Postfix's smtp(8)): transports of type smtp and lmtp. Called through
 * transport.c. A delivery is a job (smtpc_int.h says which file has which part of it); it begins in the loop's next
 * turn, since it may be over at once, and ends here.
 *
 * A job owns what is in its body and the connection it uses; it waits on DNS, dialling, the server and the queue.
 */
#include "delivery/smtpc_int.h"

#include "lookup/maps.h"

static void smtpc_stop(struct transport_job *tj)
{
    struct smtpc_job *job = (struct smtpc_job *)tj;

    loop_defer_cancel(&job->start);
    smtpc_conn_close(&job->conn);
    smtpc_auth_release(job);
    smtpc_body_release(job);
}

void smtpc_end(struct smtpc_job *job)
{
    smtpc_rcpts_close(job);
    transport_job_end(&job->job, NULL);
}

static void start(void *arg)
{
    smtpc_edit_envelope(arg);
}

static void deliver(struct transport *t, struct delivery *d)
{
    struct smtpc_job *job = transport_job_new(t, d, sizeof *job, smtpc_stop);

    job->conf = t->conf->client;
    job->lmtp = t->conf->type == CONF_TRANSPORT_TYPE_LMTP;
    job->rcpts = arena_new_array(&d->arena, d->nrcpts, sizeof *job->rcpts);
    job->order = arena_new_array(&d->arena, d->nrcpts, sizeof *job->order);
    job->job.link_to.log_name = job->conf->syslog_name;
    loop_defer(t->loop, &job->start, start, job);
}

static void describe(const struct transport *t, const struct envelope *e, const char *nexthop, struct buf *out)
{
    struct arena arena = {0};
    struct slice rest = slice_str(smtpc_hosts_hops(&arena, t->conf->client, nexthop));
    struct smtpc_nexthop hop;
    uint16_t port = 25;
    int more;

    (void)e;
    conf_port_parse(slice_str(t->conf->client->tcp_port), &port);
    while ((more = smtpc_nexthop_next(&rest, t->conf->type == CONF_TRANSPORT_TYPE_LMTP, port, &arena, &hop)) != 0) {
        buf_add_str(out, buf_len(out) > 0 ? ", then " : "");
        if (more < 0)
            buf_printf(out, "nobody: \"%s\" is no destination", hop.text);
        else if (hop.path != NULL)
            buf_printf(out, "connect to the socket %s", hop.path);
        else if (hop.by_mx)
            buf_printf(out, "connect to the mail hosts of %s, port %d", hop.host, hop.port);
        else
            buf_printf(out, "connect to %s, port %d", hop.host, hop.port);
    }
    arena_clear(&arena);
}

const char *smtpc_prefix(const struct transport *t)
{
    return t->conf->type == CONF_TRANSPORT_TYPE_LMTP ? "lmtp" : "smtp";
}

struct maps *smtpc_maps(const struct transport *t, const char *name, const char *list, struct buf *lines)
{
    struct buf said = {0};
    struct maps *maps = maps_new(t->tables, list, &said);
    struct slice rest = buf_slice(&said);

    for (struct slice line; (line = slice_token(&rest, "\n")).n > 0;)
        buf_printf(lines, "%s_%s: %.*s\n", smtpc_prefix(t), name, (int)line.n, line.p);
    buf_release(&said);
    return maps;
}

void smtpc_complain(const struct transport *t, struct buf *err, struct buf *lines)
{
    struct slice rest = buf_slice(lines);
    struct arena arena = {0};

    for (struct slice line; (line = slice_token(&rest, "\n")).n > 0;)
        transport_complain(t, err, arena_slice_dup(&arena, line));
    arena_clear(&arena);
    buf_release(lines);
}

static void *open_client(struct transport *t, struct buf *err)
{
    const struct conf_client *c = t->conf->client;
    struct smtpc_own *own;
    uint16_t port;

    if (!conf_port_parse(slice_str(c->tcp_port), &port) || port == 0)
        transport_complain(t, err, "tcp_port is neither a port nor the name of a service");
    own = smtpc_edit_open(t, err);
    smtpc_tls_open(t, own, err);
    smtpc_auth_open(t, own, err);
    return own;
}

static void close_client(struct transport *t)
{
    smtpc_auth_close(t->own);
    smtpc_tls_close(t->own);
    smtpc_edit_close(t);
}

const struct transport_agent transport_smtp = {
    .name = "smtp",
    .open = open_client,
    .close = close_client,
    .deliver = deliver,
    .describe = describe,
};
const struct transport_agent transport_lmtp = {
    .name = "lmtp",
    .open = open_client,
    .close = close_client,
    .deliver = deliver,
    .describe = describe,
};
