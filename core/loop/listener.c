/*
 * Listening sockets: see stream.h. Opened by main for each address of each [listener].
 *
 * Clients must not take the last descriptors: deliveries and tables need some to get rid of what is there. When few are
 * left, new connections wait in the system's backlog. libuv stops listening while a connection that it has is not
 * accepted, so one of each listener waits inside.
 */
#include "core/loop/stream.h"

#include "core/base/alloc.h"
#include "core/base/log.h"
#include "core/loop/stream_int.h"

#include <stdio.h>

#define LISTENER_BACKLOG  1024
#define LISTENER_PAUSE_MS 250

struct listener {
    uv_tcp_t tcp;
    struct loop *loop;
    bool few;           /* the last connection got one of the last descriptors */
    bool waiting;       /* connections wait for descriptors */
    struct timer pause; /* until the next look while they do */
    void (*accept)(void *arg, struct stream *);
    void *arg;
};

static void on_connection(uv_stream_t *, int status);

static void on_pause_over(void *arg)
{
    struct listener *l = arg;

    on_connection((uv_stream_t *)&l->tcp, 0);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct listener *l = server->data;
    struct stream *s;
    int fd = -1;

    if (status < 0)
        return; /* out of descriptors after all: libuv has shed the connection, the next try is its own */
    if (l->few && !loop_fds_left(l->loop, -1, LOOP_FDS_FOR_WORK)) {
        if (!l->waiting)
            log_event(LOG_SESSION_WARNING, NULL, "file descriptors are running out: new connections wait");
        l->waiting = true;
        timer_start(l->loop, &l->pause, LISTENER_PAUSE_MS, on_pause_over, l);
        return;
    }
    if (l->waiting)
        log_event(LOG_SESSION_WARNING, NULL, "file descriptors are free again: connections go on");
    l->waiting = false;
    s = stream_accept(l->loop, server, &fd);
    l->few = fd >= 0 && !loop_fds_left(l->loop, fd, LOOP_FDS_FOR_WORK);
    if (s != NULL)
        l->accept(l->arg, s);
}

static int open_at(struct listener *l, const char *host, int port)
{
    struct sockaddr_in6 v6;
    struct sockaddr_in v4;
    int err;

    if (host[0] == '\0' || strcmp(host, "*") == 0)
        host = "0.0.0.0";
    if (uv_ip4_addr(host, port, &v4) == 0)
        err = uv_tcp_bind(&l->tcp, (struct sockaddr *)&v4, 0);
    else if (uv_ip6_addr(host, port, &v6) == 0)
        err = uv_tcp_bind(&l->tcp, (struct sockaddr *)&v6, UV_TCP_IPV6ONLY);
    else
        err = UV_EINVAL;
    return err != 0 ? err : uv_listen((uv_stream_t *)&l->tcp, LISTENER_BACKLOG, on_connection);
}

struct listener *listener_open(struct loop *loop, const char *host, int port, void (*accept)(void *, struct stream *),
                               void *arg, char *err, size_t err_size)
{
    struct listener *l = NEW(struct listener);
    int failed;

    l->loop = loop;
    l->accept = accept;
    l->arg = arg;
    uv_tcp_init(&loop->uv, &l->tcp);
    l->tcp.data = l;
    failed = open_at(l, host, port);
    if (failed != 0) {
        snprintf(err, err_size, "%s", uv_strerror(failed));
        listener_close(&l);
    }
    return l;
}

void listener_set_arg(struct listener *l, void *arg)
{
    l->arg = arg;
}

int listener_port(const struct listener *l)
{
    struct sockaddr_storage ss = {0};
    int n = sizeof ss;

    uv_tcp_getsockname(&l->tcp, (struct sockaddr *)&ss, &n);
    return ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
                                          : ((struct sockaddr_in *)&ss)->sin_port);
}

void listener_close(struct listener **lp)
{
    struct listener *l = *lp;

    if (l == NULL)
        return;
    *lp = NULL;
    timer_stop(&l->pause);
    loop_close_handle((uv_handle_t *)&l->tcp);
}
