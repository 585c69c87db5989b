/*
 * A buffered connection over TCP or a UNIX socket: see stream.h. The server's sessions own one each. Output is corked
 * until the end of the loop's turn and then given to the kernel in one piece; what the kernel does not take is written
 * by libuv. The object lives on after stream_close until libuv has closed the handle.
 */
#include "core/loop/stream.h"

#include "core/base/alloc.h"
#include "core/loop/stream_int.h"
#include "core/loop/timer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b);
static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *b);

static bool has_room(const struct stream *s)
{
    return stream_filtered(s) ? stream_filter_wants(s) : buf_room(&s->in) > 0;
}

void stream_read_or_not(struct stream *s)
{
    bool wanted = s->finishing || (s->events != NULL && !s->paused && has_room(s));
    bool want = wanted && !s->closing && !s->ended;

    if (want == s->reading)
        return;
    s->reading = want;
    if (want)
        uv_read_start(&s->uv.stream, on_alloc, on_read);
    else
        uv_read_stop(&s->uv.stream);
}

static void on_closed(uv_handle_t *h)
{
    struct stream *s = h->data;

    s->magic = 0;
    if (s->layer != NULL)
        stream_filter_free(s);
    buf_release(&s->in);
    buf_release(&s->out);
    buf_release(&s->writing);
    mem_free(s);
}

static void close_now(struct stream *s)
{
    if (s->closing)
        return;
    s->closing = true;
    s->events = NULL;
    timer_stop(&s->linger);
    loop_defer_cancel(&s->flush);
    if (s->layer != NULL)
        stream_filter_closing(s);
    uv_close(&s->uv.handle, on_closed);
}

void stream_end(struct stream *s, const char *error)
{
    s->ended = true;
    s->failed = s->failed || error != NULL;
    stream_read_or_not(s);
    if (s->finishing) {
        if (s->failed || stream_pending(s) == 0)
            close_now(s);
    } else if (s->events != NULL)
        s->events->on_end(s->arg, error);
}

/* libuv's texts are fine for a log line. */
static void fail(struct stream *s, int err)
{
    if (s->ended) {
        s->failed = true;
        if (s->finishing)
            close_now(s);
        return;
    }
    if (stream_filter_delays(s, uv_strerror(err)))
        s->failed = true;
    else
        stream_end(s, uv_strerror(err));
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
    struct stream *s = h->data;
    const struct buf *to = stream_filtered(s) ? &s->layer->raw_in : &s->in;
    size_t room = s->finishing ? LOOP_READ_MAX : buf_room(to);

    (void)hint;
    *b = uv_buf_init(s->loop->read_buf, (unsigned)(room < LOOP_READ_MAX ? room : LOOP_READ_MAX));
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *b)
{
    struct stream *s = h->data;

    if (n == 0)
        return;
    if (n < 0) {
        if (n == UV_EOF && stream_filtered(s) && !s->finishing)
            stream_filter_input(s, SLICE_EMPTY);
        else if (n == UV_EOF)
            stream_end(s, NULL);
        else
            fail(s, (int)n);
        return;
    }
    if (s->finishing)
        return; /* thrown away */
    if (stream_filtered(s)) {
        stream_filter_input(s, slice_make(b->base, (size_t)n));
        return;
    }
    MTA_ASSERT(buf_add(&s->in, b->base, (size_t)n));
    stream_read_or_not(s);
    if (s->events != NULL)
        s->events->on_data(s->arg);
}

static void flush_now(void *arg);

static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct stream *s = req->data;

    (void)status;
    if (!s->closing && s->ended)
        close_now(s);
}

/* All output is with the kernel. */
static void drained(struct stream *s)
{
    if (!s->finishing) {
        if (s->events != NULL && s->events->on_drain != NULL)
            s->events->on_drain(s->arg);
        return;
    }
    if (!s->failed && stream_filtered(s) && stream_filter_finish(s)) {
        flush_now(s);
        return;
    }
    if (s->ended || s->shut) {
        if (s->ended)
            close_now(s);
        return;
    }
    s->shut = true; /* tell the peer, then wait for its end, so that unread input does not reset the connection */
    s->shutdown.data = s;
    if (uv_shutdown(&s->shutdown, &s->uv.stream, on_shutdown) != 0)
        close_now(s);
}

/* What is to be written is of no more use. */
static void drop_output(struct stream *s)
{
    buf_release(&s->out);
    if (s->layer != NULL)
        buf_release(&s->layer->raw_out);
}

static void on_written(uv_write_t *req, int status)
{
    struct stream *s = req->data;

    req->data = NULL;
    buf_release(&s->writing);
    if (s->closing)
        return;
    if (status < 0) {
        drop_output(s);
        fail(s, status);
    } else if (stream_pending(s) > 0)
        flush_now(s);
    else
        drained(s);
}

/* Hands to libuv what the kernel did not take. */
static void write_rest(struct stream *s, struct buf *out)
{
    uv_buf_t b;
    int n;

    s->writing = *out;
    *out = (struct buf){0};
    s->write.data = s;
    b = uv_buf_init(s->writing.data + s->writing.start, (unsigned)buf_len(&s->writing));
    n = uv_write(&s->write, &s->uv.stream, &b, 1, on_written);
    if (n < 0) {
        s->write.data = NULL;
        fail(s, n);
    }
}

static void flush_now(void *arg)
{
    struct stream *s = arg;

    if (s->closing || s->write.data != NULL)
        return;
    if (s->failed)
        drop_output(s);
    while (stream_pending(s) > 0) {
        struct buf *out = stream_filtered(s) ? stream_filter_output(s) : &s->out;
        uv_buf_t b = uv_buf_init((char *)buf_slice(out).p, (unsigned)buf_len(out));
        int n = uv_try_write(&s->uv.stream, &b, 1);

        if (n < 0 && n != UV_EAGAIN) {
            drop_output(s);
            fail(s, n);
            return;
        }
        if (n > 0)
            buf_consume(out, (size_t)n);
        if (buf_len(out) > 0) {
            write_rest(s, out);
            return;
        }
        buf_release(out);
    }
    drained(s);
}

void stream_flush_later(struct stream *s)
{
    loop_defer(s->loop, &s->flush, flush_now, s);
}

/* ---- making ---- */

static struct stream *stream_new(struct loop *l)
{
    struct stream *s = NEW(struct stream);

    s->magic = STREAM_MAGIC;
    s->loop = l;
    s->in.max = LOOP_READ_MAX;
    s->uv.handle.data = s;
    return s;
}

struct stream *stream_accept(struct loop *l, uv_stream_t *server, int *fd)
{
    struct stream *s = stream_new(l);

    uv_tcp_init(&l->uv, &s->uv.tcp);
    s->uv.handle.data = s;
    if (uv_accept(server, &s->uv.stream) != 0) {
        close_now(s);
        return NULL;
    }
    uv_fileno(&s->uv.handle, fd);
    uv_tcp_nodelay(&s->uv.tcp, 1);
    stream_read_or_not(s);
    return s;
}

struct stream *stream_unconnected(struct loop *l, uv_handle_type type, uv_stream_t **handle)
{
    struct stream *s = stream_new(l);

    if (type == UV_TCP) {
        uv_tcp_init(&l->uv, &s->uv.tcp);
        uv_tcp_nodelay(&s->uv.tcp, 1);
    } else {
        uv_pipe_init(&l->uv, &s->uv.pipe, 0);
    }
    s->uv.handle.data = s;
    *handle = &s->uv.stream;
    return s;
}

struct stream *stream_from_fd(struct loop *l, int fd)
{
    struct stream *s = stream_new(l);
    struct sockaddr_storage ss = {0};
    socklen_t n = sizeof ss;

    MTA_ASSERT(getsockname(fd, (struct sockaddr *)&ss, &n) == 0);
    if (ss.ss_family == AF_UNIX) {
        uv_pipe_init(&l->uv, &s->uv.pipe, 0);
        MTA_ASSERT(uv_pipe_open(&s->uv.pipe, fd) == 0);
    } else {
        uv_tcp_init(&l->uv, &s->uv.tcp);
        MTA_ASSERT(uv_tcp_open(&s->uv.tcp, fd) == 0);
    }
    s->uv.handle.data = s;
    stream_read_or_not(s);
    return s;
}

/* The owner can take more, or less, than before. */
static void wants_input(struct stream *s)
{
    if (stream_filtered(s))
        stream_filter_kick(s);
    stream_read_or_not(s);
}

void stream_set_events(struct stream *s, const struct stream_events *ev, void *arg, size_t input_max)
{
    OBJ_CHECK(s, STREAM_MAGIC);
    if (s->layer != NULL && s->layer->holding) {
        s->layer->owner_events = ev;
        s->layer->owner_arg = arg;
        s->layer->owner_input_max = input_max;
        return;
    }
    s->events = ev;
    s->arg = arg;
    s->in.max = input_max;
    wants_input(s);
}

/* ---- the owner's calls ---- */

struct slice stream_input(const struct stream *s)
{
    return buf_len(&s->in) == 0 ? SLICE_EMPTY : buf_slice(&s->in);
}

void stream_consume(struct stream *s, size_t n)
{
    buf_consume(&s->in, n);
    if (buf_len(&s->in) == 0)
        buf_release(&s->in); /* an idle session holds no buffer */
    wants_input(s);
}

void stream_pause(struct stream *s)
{
    if (s->layer != NULL && s->layer->holding)
        s->layer->owner_paused = true;
    else
        s->paused = true;
    wants_input(s);
}

void stream_resume(struct stream *s)
{
    if (s->layer != NULL && s->layer->holding)
        s->layer->owner_paused = false;
    else
        s->paused = false;
    wants_input(s);
}

void stream_write(struct stream *s, struct slice text)
{
    OBJ_CHECK(s, STREAM_MAGIC);
    if (s->closing || s->failed || text.n == 0)
        return;
    buf_add_slice(&s->out, text);
    stream_flush_later(s);
}

size_t stream_pending(const struct stream *s)
{
    size_t raw = s->layer == NULL ? 0 : buf_len(&s->layer->raw_out);

    return buf_len(&s->out) + buf_len(&s->writing) + raw;
}

struct loop *stream_loop(const struct stream *s)
{
    return s->loop;
}

void stream_close(struct stream **sp)
{
    struct stream *s = *sp;

    if (s == NULL)
        return;
    OBJ_CHECK(s, STREAM_MAGIC);
    *sp = NULL;
    close_now(s);
}

static void linger_over(void *arg)
{
    close_now(arg);
}

void stream_finish(struct stream **sp, uint64_t linger_ms)
{
    struct stream *s = *sp;

    if (s == NULL)
        return;
    OBJ_CHECK(s, STREAM_MAGIC);
    *sp = NULL;
    s->events = NULL;
    s->finishing = true;
    buf_release(&s->in);
    if (s->failed) {
        close_now(s);
        return;
    }
    timer_start(s->loop, &s->linger, linger_ms, linger_over, s);
    stream_read_or_not(s);
    stream_flush_later(s);
}

/* ---- addresses ---- */

static struct stream_addr addr_text(const struct sockaddr_storage *ss)
{
    struct stream_addr a = {.host = "unknown"};
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)ss;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ss;

    if (ss->ss_family == AF_INET) {
        a.family = 4;
        a.port = ntohs(v4->sin_port);
        inet_ntop(AF_INET, &v4->sin_addr, a.host, sizeof a.host);
    } else if (ss->ss_family == AF_INET6) {
        bool mapped = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);

        a.family = mapped ? 4 : 6;
        a.port = ntohs(v6->sin6_port);
        inet_ntop(mapped ? AF_INET : AF_INET6, (const char *)&v6->sin6_addr + (mapped ? 12 : 0), a.host, sizeof a.host);
    }
    return a;
}

struct stream_addr stream_peer(const struct stream *s)
{
    struct sockaddr_storage ss = {0};
    int n = sizeof ss;

    if (s->uv.handle.type == UV_TCP)
        uv_tcp_getpeername(&s->uv.tcp, (struct sockaddr *)&ss, &n);
    return addr_text(&ss);
}

struct stream_addr stream_local(const struct stream *s)
{
    struct sockaddr_storage ss = {0};
    int n = sizeof ss;

    if (s->uv.handle.type == UV_TCP)
        uv_tcp_getsockname(&s->uv.tcp, (struct sockaddr *)&ss, &n);
    return addr_text(&ss);
}
