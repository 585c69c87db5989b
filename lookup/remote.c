/*
 * Servers that answer each request with one reply: see remote.h. Owned by a tcp: or socketmap: table; waits for
 * connections and for replies. What a server sends is untrusted: a reply is bounded, and one that was not asked for
 * ends the connection.
 *
 * A server that cannot be reached is not tried for RETRY_MS; lookups fail at once meanwhile.
 */
#include "lookup/remote.h"

#include "core/base/alloc.h"

#include <arpa/inet.h>
#include <netdb.h>

#define CONNECTIONS_MAX 8
#define IDLE_MS         10000  /* Postfix's numbers for socketmap: */
#define LIFE_MS         100000 /* then a connection that is free is closed */
#define RETRY_MS        1000

struct remote {
    struct table *table;
    struct loop *loop;
    const struct remote_protocol *protocol;
    struct dial_target target;
    struct list connections;
    unsigned nconnections, ndialing;
    struct list waiting; /* query.link: not sent */
    uint64_t retry_ms;   /* no connection is tried before */
    char *why;           /* what came of the last attempt */
};

struct connection {
    struct list link;
    struct remote *remote;
    struct op_scope scope; /* dialing */
    struct stream *stream; /* NULL: dialing */
    struct query *query;   /* NULL: dialing or idle */
    uint64_t since_ms;
    bool used; /* it has brought a reply */
    struct timer idle;
};

struct query {
    struct list link;
    struct remote *remote;
    struct connection *on; /* NULL: in `waiting` */
    struct table_op *o;
    struct timer timer;
    bool again; /* it was sent before, on a connection that was closed */
};

static void pump(struct remote *r);

/* ---- connections ---- */

static void connection_free(struct connection *c)
{
    struct remote *r = c->remote;

    if (c->stream == NULL)
        r->ndialing--;
    r->nconnections--;
    list_remove(&c->link);
    op_scope_close(&c->scope);
    timer_stop(&c->idle);
    stream_close(&c->stream);
    mem_free(c);
}

static void query_free(struct query *q)
{
    list_remove(&q->link);
    timer_stop(&q->timer);
    mem_free(q);
}

/* Takes the query off its connection, which is closed. */
static struct query *take_query(struct connection *c)
{
    struct query *q = c->query;

    q->on = NULL;
    connection_free(c);
    return q;
}

static void query_fail(struct query *q, const char *why)
{
    table_failed(q->o, why);
    query_free(q);
}

/* After one that has worked was closed the others are likely to be closed too: the server has restarted. */
static void close_idle(struct remote *r)
{
    LIST_FOREACH(it, &r->connections)
    {
        struct connection *c = LIST_ITEM(it, struct connection, link);

        if (c->stream != NULL && c->query == NULL)
            connection_free(c);
    }
}

/* The connection is of no use any more. */
static void broken(struct connection *c, const char *why)
{
    struct remote *r = c->remote;
    bool used = c->used;
    struct query *q;

    if (c->query == NULL) {
        connection_free(c);
        return;
    }
    q = take_query(c);
    if (used && !q->again) {
        q->again = true;
        close_idle(r);
        list_prepend(&r->waiting, &q->link);
    } else {
        query_fail(q, why);
    }
    pump(r);
}

static void on_idle(void *arg)
{
    connection_free(arg);
}

static void become_idle(struct connection *c)
{
    struct remote *r = c->remote;

    c->query = NULL;
    if (c->used && loop_now_ms(r->loop) - c->since_ms > LIFE_MS)
        connection_free(c);
    else
        timer_start(r->loop, &c->idle, IDLE_MS, on_idle, c);
    pump(r);
}

/* ---- replies ---- */

static void on_reply(struct connection *c, struct slice reply, size_t size)
{
    struct query *q = c->query;
    bool more = size < stream_input(c->stream).n;

    if (!c->remote->protocol->answer(q->o, reply)) {
        query_fail(take_query(c), "malformed reply");
    } else {
        stream_consume(c->stream, size);
        query_free(q);
        c->query = NULL;
        c->used = true;
        if (!more) {
            become_idle(c);
            return;
        }
        connection_free(c); /* who knows what the rest is an answer to */
    }
}

static void on_data(void *arg)
{
    struct connection *c = arg;
    struct remote *r = c->remote;
    struct slice in = stream_input(c->stream), reply;
    size_t size;

    if (c->query == NULL) {
        connection_free(c); /* nothing was asked */
        return;
    }
    size = r->protocol->frame(in, &reply);
    if (size == 0 && in.n < r->protocol->reply_max)
        return;
    if (size == 0 || size == REMOTE_MALFORMED)
        query_fail(take_query(c), size == 0 ? "the reply is too long" : "malformed reply");
    else
        on_reply(c, reply, size);
    pump(r);
}

static void on_end(void *arg, const char *error)
{
    broken(arg, error != NULL ? error : "the server closed the connection");
}

static const struct stream_events events = {.on_data = on_data, .on_end = on_end};

/* ---- asking ---- */

static void send_query(struct connection *c, struct query *q)
{
    struct buf request = {0};

    timer_stop(&c->idle);
    c->query = q;
    q->on = c;
    c->remote->protocol->request(&request, c->remote->table, q->o->key);
    stream_write(c->stream, buf_slice(&request));
    buf_release(&request);
}

static void fail_waiting(struct remote *r)
{
    struct list *it;

    while ((it = list_shift(&r->waiting)) != NULL)
        query_fail(LIST_ITEM(it, struct query, link), r->why);
}

static void on_dialed(void *owner, enum op_status status, const void *result)
{
    struct connection *c = owner;
    struct remote *r = c->remote;

    if (status == OP_OK) {
        c->stream = dial_take(result);
        r->ndialing--;
        stream_set_events(c->stream, &events, c, r->protocol->reply_max);
        become_idle(c);
        return;
    }
    mem_free(r->why);
    r->why = mem_printf("cannot connect to the server: %s", status == OP_TEMPFAIL ? dial_error(result) : "timed out");
    r->retry_ms = loop_now_ms(r->loop) + RETRY_MS;
    connection_free(c);
    if (r->nconnections == 0)
        fail_waiting(r);
}

static void dial(struct remote *r)
{
    struct connection *c = NEW(struct connection);

    c->remote = r;
    c->since_ms = loop_now_ms(r->loop);
    op_scope_init(&c->scope, "remote");
    list_append(&r->connections, &c->link);
    r->nconnections++;
    r->ndialing++;
    dial_start(r->loop, &c->scope, &r->target, REMOTE_TIMEOUT_MS, on_dialed, c);
}

static struct connection *idle_connection(const struct remote *r)
{
    LIST_FOREACH(it, &r->connections)
    {
        struct connection *c = LIST_ITEM(it, struct connection, link);

        if (c->stream != NULL && c->query == NULL)
            return c;
    }
    return NULL;
}

/* Do more queries wait than connections are being made? */
static bool needs_connection(const struct remote *r)
{
    unsigned waiting = 0;

    LIST_FOREACH(it, &r->waiting)
    if (++waiting > r->ndialing)
        return true;
    return false;
}

/* Gives connections to those who wait. */
static void pump(struct remote *r)
{
    struct connection *c;

    while (!list_empty(&r->waiting) && (c = idle_connection(r)) != NULL)
        send_query(c, LIST_ITEM(list_shift(&r->waiting), struct query, link));
    if (loop_now_ms(r->loop) >= r->retry_ms) {
        while (needs_connection(r) && r->nconnections < CONNECTIONS_MAX)
            dial(r);
    } else if (r->nconnections == 0) {
        fail_waiting(r);
    }
}

static void on_timeout(void *arg)
{
    struct query *q = arg;
    struct remote *r = q->remote;

    if (q->on != NULL)
        take_query(q->on);
    query_fail(q, "the server does not answer");
    pump(r);
}

void remote_ask(struct remote *r, struct table_op *o)
{
    struct query *q = NEW(struct query);

    q->remote = r;
    q->o = o;
    timer_start(r->loop, &q->timer, REMOTE_TIMEOUT_MS, on_timeout, q);
    list_append(&r->waiting, &q->link);
    pump(r);
}

/* ---- making ---- */

struct remote *remote_new(struct table *table, const struct remote_protocol *protocol, const struct dial_target *target)
{
    struct remote *r = NEW(struct remote);

    r->table = table;
    r->loop = table->tables->loop;
    r->protocol = protocol;
    r->target = *target;
    list_init(&r->connections);
    list_init(&r->waiting);
    return r;
}

void remote_free(struct remote **rp)
{
    struct remote *r = *rp;

    if (r == NULL)
        return;
    *rp = NULL;
    LIST_FOREACH(it, &r->connections)
    {
        struct connection *c = LIST_ITEM(it, struct connection, link);

        if (c->query != NULL)
            query_free(c->query);
        connection_free(c);
    }
    LIST_FOREACH(it, &r->waiting)
    query_free(LIST_ITEM(it, struct query, link));
    mem_free(r->why);
    mem_free(r);
}

static int port_of(struct slice text)
{
    char *name = mem_dup(text.p, text.n);
    const struct servent *service;
    uint64_t number;
    int port = 0;

    if (slice_u64(text, 65535, &number))
        port = (int)number;
    else if ((service = getservbyname(name, "tcp")) != NULL)
        port = ntohs((uint16_t)service->s_port);
    mem_free(name);
    return port;
}

bool remote_parse_inet(struct slice text, char **host, int *port, struct buf *why)
{
    size_t colon = slice_rfind(text, ':');
    struct slice name = slice_head(text, colon);

    if (colon == SLICE_NOT_FOUND || name.n == 0) {
        buf_printf(why, "\"%.*s\" is not host:port", (int)text.n, text.p);
        return false;
    }
    *port = port_of(slice_from(text, colon + 1));
    if (name.n > 2 && name.p[0] == '[' && name.p[name.n - 1] == ']')
        name = slice_make(name.p + 1, name.n - 2);
    if (*port == 0)
        buf_printf(why, "\"%.*s\" is neither a port nor the name of a service", (int)(text.n - colon - 1),
                   text.p + colon + 1);
    else
        *host = mem_dup(name.p, name.n);
    return *port != 0;
}
