/*
 * Connecting to a server: see dial.h. Used by the tables that ask a server. The stream is made first and is connected
 * in place; closing it makes libuv call on_connected with an error, which goes on to the next address or ends the op.
 */
#include "core/loop/dial.h"

#include "core/base/alloc.h"
#include "core/loop/stream_int.h"
#include "core/loop/work.h"

#include <netdb.h>
#include <string.h>
#include <sys/un.h>

#define ADDRESSES_MAX 8

struct addresses {
    struct sockaddr_storage items[ADDRESSES_MAX];
    unsigned count;
};

struct dial {
    struct op op;
    uv_connect_t connect;
    struct stream *stream; /* NULL: failed, given up or taken */
    const char *error;
    struct op_scope scope; /* the resolver */
    bool resolving;
    struct addresses addresses;
    unsigned at;       /* the address that is tried next */
    uint64_t share_ms; /* time for each; 0: no limit of its own */
    struct timer attempt;
    bool late;                      /* it fired */
    struct sockaddr_storage source; /* ss_family AF_UNSPEC: none */
    bool source_or_fail;
};

struct stream *dial_take(const void *result)
{
    struct dial *d = (struct dial *)result;
    struct stream *s = d->stream;

    d->stream = NULL;
    return s;
}

const char *dial_error(const void *result)
{
    return ((const struct dial *)result)->error;
}

static void release(struct op *op)
{
    struct dial *d = (struct dial *)op;

    stream_close(&d->stream);
    mem_free(d);
}

/* `error` is a text that stays, NULL for none. */
static void finish(struct dial *d, const char *error)
{
    timer_stop(&d->attempt);
    op_scope_close(&d->scope);
    if (error != NULL)
        stream_close(&d->stream);
    d->error = error;
    op_finish(&d->op, error != NULL ? OP_TEMPFAIL : OP_OK, d);
}

static void on_abandoned(struct op *op)
{
    struct dial *d = (struct dial *)op;

    timer_stop(&d->attempt);
    if (d->resolving)
        finish(d, uv_strerror(UV_ECANCELED));
    else
        stream_close(&d->stream); /* on_connected follows */
}

/* ---- connecting ---- */

static void try_next(struct dial *d, int error);

static void on_connected(uv_connect_t *req, int status)
{
    struct dial *d = req->data;

    timer_stop(&d->attempt);
    if (status == 0 && d->stream != NULL)
        finish(d, NULL);
    else if (op_detached(&d->op))
        finish(d, uv_strerror(UV_ECANCELED));
    else
        try_next(d, d->late ? UV_ETIMEDOUT : status);
}

static void on_late(void *arg)
{
    struct dial *d = arg;

    d->late = true;
    stream_close(&d->stream); /* on_connected follows */
}

static int bind_source(struct dial *d, uv_tcp_t *handle, sa_family_t family)
{
    int error = d->source.ss_family == family ? uv_tcp_bind(handle, (const struct sockaddr *)&d->source, 0) : 0;

    return d->source_or_fail ? error : 0;
}

static void set_source(struct dial *d, const struct dial_target *to)
{
    d->source_or_fail = to->source_or_fail;
    if (to->source == NULL || uv_ip4_addr(to->source, 0, (struct sockaddr_in *)&d->source) == 0 ||
        uv_ip6_addr(to->source, 0, (struct sockaddr_in6 *)&d->source) == 0)
        return;
    d->source.ss_family = AF_UNSPEC;
}

/* The next address that can be tried; `error` is what became of the last one. */
static void try_next(struct dial *d, int error)
{
    stream_close(&d->stream);
    while (d->at < d->addresses.count) {
        const struct sockaddr *to = (const struct sockaddr *)&d->addresses.items[d->at++];
        uv_stream_t *handle;

        d->late = false;
        d->stream = stream_unconnected(d->op.loop, UV_TCP, &handle);
        error = bind_source(d, (uv_tcp_t *)handle, to->sa_family);
        if (error == 0)
            error = uv_tcp_connect(&d->connect, (uv_tcp_t *)handle, to, on_connected);
        if (error == 0) {
            if (d->share_ms > 0 && d->at < d->addresses.count)
                timer_start(d->op.loop, &d->attempt, d->share_ms, on_late, d);
            return;
        }
        stream_close(&d->stream);
    }
    finish(d, uv_strerror(error));
}

static void connect_path(struct dial *d, const char *path)
{
    struct sockaddr_un sun;
    uv_stream_t *handle;

    if (strlen(path) >= sizeof sun.sun_path) { /* libuv would cut it off */
        finish(d, uv_strerror(UV_ENAMETOOLONG));
        return;
    }
    d->stream = stream_unconnected(d->op.loop, UV_NAMED_PIPE, &handle);
    uv_pipe_connect(&d->connect, (uv_pipe_t *)handle, path, on_connected);
}

/* ---- names ---- */

struct resolving {
    char *host;
    char port[8];
    struct addresses addresses;
    int error;
};

/* On a pool thread. */
static enum op_status resolve(void *arg)
{
    struct resolving *r = arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG}, *list = NULL;

    r->error = getaddrinfo(r->host, r->port, &hints, &list);
    for (struct addrinfo *a = list; a != NULL && r->addresses.count < ADDRESSES_MAX; a = a->ai_next)
        memcpy(&r->addresses.items[r->addresses.count++], a->ai_addr, a->ai_addrlen);
    if (list != NULL)
        freeaddrinfo(list);
    return r->error == 0 ? OP_OK : OP_TEMPFAIL;
}

static void resolving_free(void *arg)
{
    struct resolving *r = arg;

    mem_free(r->host);
    mem_free(r);
}

static void on_resolved(void *owner, enum op_status status, const void *result)
{
    struct dial *d = owner;
    const struct resolving *r = result;

    d->resolving = false;
    if (status != OP_OK) {
        finish(d, gai_strerror(r->error));
        return;
    }
    d->addresses = r->addresses;
    d->share_ms /= r->addresses.count > 0 ? r->addresses.count : 1;
    try_next(d, UV_EADDRNOTAVAIL);
}

static void connect_name(struct dial *d, const struct dial_target *to)
{
    struct resolving *r = NEW(struct resolving);

    r->host = mem_strdup(to->host);
    snprintf(r->port, sizeof r->port, "%d", to->port);
    d->resolving = true;
    work_run(d->op.loop, &d->scope, "resolve", 0, resolve, r, resolving_free, on_resolved, d);
}

void dial_start(struct loop *loop, struct op_scope *scope, const struct dial_target *to, uint64_t timeout_ms,
                op_done_fn *done, void *owner)
{
    struct dial *d = NEW(struct dial);
    struct sockaddr_storage *first = &d->addresses.items[0];

    d->connect.data = d;
    d->share_ms = timeout_ms;
    op_scope_init(&d->scope, "dial");
    op_start(&d->op, loop, scope, "dial", timeout_ms, done, owner, release);
    d->op.abandoned = on_abandoned;
    set_source(d, to);
    if (to->path != NULL) {
        connect_path(d, to->path);
    } else if (uv_ip4_addr(to->host, to->port, (struct sockaddr_in *)first) == 0 ||
               uv_ip6_addr(to->host, to->port, (struct sockaddr_in6 *)first) == 0) {
        d->addresses.count = 1;
        try_next(d, 0);
    } else {
        connect_name(d, to);
    }
}
