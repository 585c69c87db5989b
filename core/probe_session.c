/*
 * A session with ourselves: see probe_session.h. Waits for what the session waits for, tables most of all; owns its end
 * of the pair of sockets.
 */
#include "core/probe_session.h"

#include <sys/socket.h>

#define REPLY_MOST 65536

/* The length of the reply that `in` begins with, all its lines; 0: it is not complete. */
static size_t reply_length(struct slice in)
{
    for (size_t at = 0;;) {
        struct slice rest = slice_from(in, at);
        size_t nl = slice_find(rest, '\n');

        if (rest.n == 0 || nl == SLICE_NOT_FOUND)
            return 0;
        at += nl + 1;
        if (nl < 4 || rest.p[3] != '-')
            return at;
    }
}

static void say_next(struct probe_session *p)
{
    stream_write(p->client, slice_str(p->said < p->nlines ? p->lines[p->said] : "QUIT"));
    stream_write(p->client, SLICE_LIT("\r\n"));
    p->said++;
}

static void on_data(void *arg)
{
    struct probe_session *p = arg;
    struct slice in = stream_input(p->client);
    size_t n = reply_length(in);

    if (n == 0 || p->said > p->nlines)
        return;
    p->replied(p->arg, p->said == 0 ? PROBE_GREETING : p->said - 1, slice_trim(slice_head(in, slice_find(in, '\n'))));
    stream_consume(p->client, n);
    say_next(p);
}

static void on_end(void *arg, const char *error)
{
    (void)arg;
    (void)error; /* the session ends too, and says so */
}

static void on_session_over(void *arg)
{
    struct probe_session *p = arg;

    stream_close(&p->client);
    p->ended(p->arg);
}

static void on_verdict(void *arg, const char *list, const char *restriction, const char *verdict)
{
    struct probe_session *p = arg;

    if (p->verdict != NULL)
        p->verdict(p->arg, list, restriction, verdict);
}

bool probe_session_start(struct probe_session *p, struct loop *loop, struct smtpd_service *service)
{
    static const struct stream_events events = {on_data, on_end, NULL};
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
        return false;
    p->said = 0;
    p->probe = (struct smtpd_probe){
        .client_name = slice_eq(slice_str(p->client_addr), SLICE_LIT("127.0.0.1")) ? "localhost" : "unknown",
        .client_addr = p->client_addr,
        .trace = p->trace,
        .verdict = on_verdict,
        .ended = on_session_over,
        .arg = p,
    };
    p->client = stream_from_fd(loop, fds[0]);
    stream_set_events(p->client, &events, p, REPLY_MOST);
    smtpd_probe(service, stream_from_fd(loop, fds[1]), &p->probe);
    return true;
}
