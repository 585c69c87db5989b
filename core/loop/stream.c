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

#define STREAM_MAGIC 0x5354524du

struct stream {
    uint32_t magic;
    struct loop *loop;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    const struct stream_events *events; /* NULL: the owner has let go */
    void *arg;
    struct buf in, out;
    struct buf writing; /* with libuv, while write.data is set */
    uv_write_t write;
    uv_shutdown_t shutdown;
    struct loop_task flush;
    struct timer linger;
    bool reading, paused, ended, failed, closing;
    bool finishing, shut; /* given up by stream_finish; shutdown sent */
};

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b);
static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *b);

static void read_or_not(struct stream *s)
{
    bool wanted = s->finishing || (s->events != NULL && !s->paused && buf_room(&s->in) > 0);
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
    uv_close(&s->uv.handle, on_closed);
}

static void end(struct stream *s, const char *error)
{
    s->ended = true;
    s->failed = s->failed || error != NULL;
    read_or_not(s);
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
    end(s, uv_strerror(err));
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
    struct stream *s = h->data;
    size_t room = s->finishing ? LOOP_READ_MAX : buf_room(&s->in);

    (void)hint;
    *b = uv_buf_init(s->loop->read_buf, (unsigned)(room < LOOP_READ_MAX ? room : LOOP_READ_MAX));
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *b)
{
    struct stream *s = h->data;

    if (n == 0)
        return;
    if (n < 0) {
        if (n == UV_EOF)
            end(s, NULL);
        else
            fail(s, (int)n);
        return;
    }
    if (s->finishing)
        return; /* thrown away */
    MTA_ASSERT(buf_add(&s->in, b->base, (size_t)n));
    read_or_not(s);
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

static void on_written(uv_write_t *req, int status)
{
    struct stream *s = req->data;

    req->data = NULL;
    buf_release(&s->writing);
    if (s->closing)
        return;
    if (status < 0) {
        buf_release(&s->out);
        fail(s, status);
    } else if (buf_len(&s->out) > 0)
        flush_now(s);
    else
        drained(s);
}

static void flush_now(void *arg)
{
    struct stream *s = arg;
    uv_buf_t b;
    int n;

    if (s->closing || s->write.data != NULL)
        return;
    b = uv_buf_init((char *)buf_slice(&s->out).p, (unsigned)buf_len(&s->out));
    n = buf_len(&s->out) > 0 && !s->failed ? uv_try_write(&s->uv.stream, &b, 1) : 0;
    if (n < 0 && n != UV_EAGAIN) {
        buf_release(&s->out);
        fail(s, n);
        return;
    }
    if (n > 0)
        buf_consume(&s->out, (size_t)n);
    if (buf_len(&s->out) == 0) {
        buf_release(&s->out);
        drained(s);
        return;
    }
    s->writing = s->out;
    s->out = (struct buf){0};
    s->write.data = s;
    b = uv_buf_init(s->writing.data + s->writing.start, (unsigned)buf_len(&s->writing));
    n = uv_write(&s->write, &s->uv.stream, &b, 1, on_written);
    if (n < 0) {
        s->write.data = NULL;
        fail(s, n);
    }
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
    read_or_not(s);
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
    read_or_not(s);
    return s;
}

void stream_set_events(struct stream *s, const struct stream_events *ev, void *arg, size_t input_max)
{
    OBJ_CHECK(s, STREAM_MAGIC);
    s->events = ev;
    s->arg = arg;
    s->in.max = input_max;
    read_or_not(s);
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
    read_or_not(s);
}

void stream_pause(struct stream *s)
{
    s->paused = true;
    read_or_not(s);
}

void stream_resume(struct stream *s)
{
    s->paused = false;
    read_or_not(s);
}

void stream_write(struct stream *s, struct slice text)
{
    OBJ_CHECK(s, STREAM_MAGIC);
    if (s->closing || s->failed || text.n == 0)
        return;
    buf_add_slice(&s->out, text);
    loop_defer(s->loop, &s->flush, flush_now, s);
}

size_t stream_pending(const struct stream *s)
{
    return buf_len(&s->out) + buf_len(&s->writing);
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
    read_or_not(s);
    loop_defer(s->loop, &s->flush, flush_now, s);
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
