/*
 * The handshake, of either role: an op that moves raw bytes between the stream and Mbed TLS, which works in slices on
 * threads of the pool (tls_conn.h says how that is safe): public-key arithmetic takes a millisecond and more, and a
 * storm of clients must not delay the replies of other sessions. A slice begins when whole records have come. Called by
 * tls_accept.c and tls_connect.c; waits for the peer, for threads, and for what `prepare` asks.
 */
#include "tls/tls_handshake.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "tls/tls_error.h"

#include <stdio.h>

#define INPUT_MAX    32768 /* more than a record */
#define RECORD_MAX   (16384 + 2048)
#define HEADER_BYTES 5

/* What the caller waits for. */
struct tls_op {
    struct op op;
    struct tls_conn *conn; /* NULL: finished */
    char error[TLS_ERROR_MAX];
};

struct tls_handshake {
    struct tls_job job; /* the first: a job is a handshake */
    struct tls_conn *conn;
    struct tls_op *op; /* NULL: nobody waits for the end of it */
    struct op_scope scope;
    void (*prepare)(struct tls_conn *);
    void (*work)(struct tls_conn *);
    void (*done)(struct tls_conn *);
    struct buf from, to;
    struct loop_task begin;
    char lost[TLS_ERROR_MAX]; /* the connection failed: why */
    bool speaks_first;
    bool eof, prepared, ready, begun;
    bool fed; /* the slice has input */
};

const char *tls_error(const void *result)
{
    return result == NULL ? "timed out" : result;
}

struct op_scope *tls_handshake_scope(const struct tls_conn *c)
{
    return &c->handshake->scope;
}

struct slice tls_handshake_input(const struct tls_conn *c)
{
    return buf_slice(&c->handshake->from);
}

/* ---- the end ---- */

static void op_release(struct op *op)
{
    mem_free(op);
}

static void dispose(struct tls_conn *c)
{
    struct tls_handshake *h = c->handshake;

    MTA_ASSERT(!c->busy && h->op == NULL);
    c->handshake = NULL;
    c->from = c->to = NULL;
    loop_defer_cancel(&h->begin);
    op_scope_close(&h->scope);
    buf_release(&h->from);
    buf_release(&h->to);
    mem_free(h);
}

/* Takes the answer to who waits for it, if anyone. */
static void finish(struct tls_handshake *h, enum op_status status, const char *why)
{
    struct tls_op *op = h->op;

    if (op == NULL)
        return;
    h->op = NULL;
    op->conn = NULL;
    snprintf(op->error, sizeof op->error, "%s", why);
    op_finish(&op->op, status, op->error);
}

/* Ends it now, or when the thread that is at work has given the connection back. */
static void end_early(struct tls_conn *c, const char *why)
{
    struct tls_handshake *h = c->handshake;

    if (c->hooks != NULL)
        c->hooks->failed(c);
    finish(h, OP_TEMPFAIL, why);
    op_scope_close(&h->scope);
    if (c->busy && tls_pool_cancel(&h->job))
        c->busy = false;
    if (!c->busy)
        dispose(c);
}

void tls_handshake_fail(struct tls_conn *c, const char *why)
{
    end_early(c, why);
}

void tls_handshake_closed(struct tls_conn *c)
{
    end_early(c, "the connection was closed");
}

static void abandoned(struct op *op)
{
    struct tls_conn *c = ((struct tls_op *)op)->conn;

    end_early(c, "nobody waits");
}

static void succeed(struct tls_conn *c)
{
    struct tls_handshake *h = c->handshake;

    c->info = tls_info_make(c);
    if (c->hooks != NULL)
        c->hooks->shaken(c);
    tls_conn_trim(c);
    finish(h, OP_OK, "");
    stream_filter_start(c->stream, buf_slice(&h->from));
    dispose(c);
}

/* ---- slices ---- */

/* How much of the input is whole records; all of it when it is no TLS, which Mbed TLS finds out as well. */
static size_t whole_records(struct slice in)
{
    size_t at = 0;

    while (in.n - at >= HEADER_BYTES) {
        const unsigned char *p = (const unsigned char *)in.p + at;
        size_t body = (size_t)p[3] << 8 | p[4];

        if (p[0] < MBEDTLS_SSL_MSG_CHANGE_CIPHER_SPEC || p[0] > MBEDTLS_SSL_MSG_APPLICATION_DATA || body > RECORD_MAX)
            return in.n;
        if (in.n - at - HEADER_BYTES < body)
            break;
        at += HEADER_BYTES + body;
    }
    return at;
}

static void on_thread(struct tls_job *job)
{
    struct tls_handshake *h = (struct tls_handshake *)job;

    h->work(h->conn);
}

static void off_thread(struct tls_job *job)
{
    struct tls_handshake *h = (struct tls_handshake *)job;
    struct tls_conn *c = h->conn;

    c->busy = false;
    if (h->op != NULL) {
        h->done(c);
        return;
    }
    dispose(c);
    if (c->stream == NULL)
        tls_conn_free(c);
}

void tls_handshake_run(struct tls_conn *c, void (*work)(struct tls_conn *), void (*done)(struct tls_conn *))
{
    struct tls_handshake *h = c->handshake;

    h->work = work;
    h->done = done;
    h->job.work = on_thread;
    h->job.done = off_thread;
    c->busy = true;
    tls_pool_submit(c->loop, &h->job, h->begun);
    h->begun = true;
}

static void advance(struct tls_conn *c);

static void stepped(struct tls_conn *c)
{
    struct tls_handshake *h = c->handshake;
    bool first = c->first;
    char why[TLS_ERROR_MAX];

    stream_write(c->stream, buf_slice(&h->to));
    buf_release(&h->to);
    c->first = c->first && !h->fed;
    if (c->result == MBEDTLS_ERR_SSL_WANT_READ) {
        buf_release(&h->from);
        advance(c);
    } else if (c->result == 0 && h->lost[0] == '\0') {
        succeed(c);
    } else if (c->result == 0) {
        end_early(c, h->lost);
    } else {
        tls_error_words(&c->ssl, c->result, first, why, sizeof why);
        end_early(c, why);
    }
}

/* Is there something to go on with? Takes it from the stream. */
static bool take_input(struct tls_conn *c)
{
    struct tls_handshake *h = c->handshake;
    struct slice in = stream_input(c->stream);
    size_t n = h->eof ? in.n : whole_records(in);

    buf_add_slice(&h->from, slice_head(in, n));
    stream_consume(c->stream, n);
    return buf_len(&h->from) > 0 || h->eof || (h->speaks_first && !h->begun);
}

/* Goes on if there is something to go on with and nothing to wait for. */
static void advance(struct tls_conn *c)
{
    struct tls_handshake *h = c->handshake;

    if (c->busy || (h->prepared && !h->ready))
        return;
    if (h->lost[0] != '\0') {
        end_early(c, h->lost);
        return;
    }
    if (!take_input(c))
        return;
    if (h->eof && buf_len(&h->from) == 0) {
        end_early(c, "lost connection");
        return;
    }
    if (!h->prepared) {
        h->prepared = true;
        h->prepare(c);
        return;
    }
    h->fed = buf_len(&h->from) > 0;
    c->from = &h->from;
    c->to = &h->to;
    c->eof = h->eof;
    tls_handshake_run(c, tls_conn_step, stepped);
}

void tls_handshake_go(struct tls_conn *c)
{
    c->handshake->ready = true;
    advance(c);
}

/* ---- the stream's events ---- */

static void on_data(void *arg)
{
    struct tls_conn *c = arg;

    if (c->handshake != NULL && c->handshake->op != NULL)
        advance(c);
}

static void on_end(void *arg, const char *error)
{
    struct tls_conn *c = arg;
    struct tls_handshake *h = c->handshake;

    if (h == NULL || h->op == NULL)
        return;
    h->eof = true;
    if (error != NULL)
        snprintf(h->lost, sizeof h->lost, "lost connection (%s)", error);
    advance(c);
}

static const struct stream_events events = {on_data, on_end, NULL};

static void begin(void *arg)
{
    on_data(arg);
}

struct tls_conn *tls_handshake_start(struct stream *s, bool speaks_first, uint64_t timeout_ms,
                                     void (*prepare)(struct tls_conn *), struct op_scope *scope, op_done_fn *done,
                                     void *owner)
{
    struct tls_conn *c = NEW(struct tls_conn);
    struct tls_handshake *h = NEW(struct tls_handshake);

    mbedtls_ssl_init(&c->ssl);
    c->loop = stream_loop(s);
    c->stream = s;
    c->first = true;
    c->handshake = h;
    h->conn = c;
    h->speaks_first = speaks_first;
    h->prepare = prepare;
    op_scope_init(&h->scope, "TLS handshake");
    h->op = NEW(struct tls_op);
    h->op->conn = c;
    op_start(&h->op->op, c->loop, scope, "TLS handshake", timeout_ms, done, owner, op_release);
    h->op->op.abandoned = abandoned;
    stream_filter_attach(s, &tls_filter, c, &events, INPUT_MAX);
    loop_defer(c->loop, &h->begin, begin, c);
    return c;
}
