/* Connecting: addresses, names and paths; refused, timed out, cancelled, not taken. */
#include "unit/cmocka_all.h"

#include "core/loop/dial.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct world {
    struct loop *loop;
    struct listener *listener;
    struct stream *accepted, *stream;
    struct op_scope scope;
    bool done, leave; /* leave: do not take the stream */
    enum op_status status;
    char error[100];
    unsigned data, ends;
};

static void on_data(void *arg)
{
    ((struct world *)arg)->data++;
}

static void on_end(void *arg, const char *error)
{
    (void)error;
    ((struct world *)arg)->ends++;
}

static const struct stream_events events = {.on_data = on_data, .on_end = on_end};

static void on_accept(void *arg, struct stream *s)
{
    struct world *w = arg;

    stream_close(&w->accepted);
    w->accepted = s;
    stream_set_events(s, &events, w, 1000);
    stream_write(s, SLICE_LIT("hello"));
}

static void on_done(void *owner, enum op_status status, const void *result)
{
    struct world *w = owner;

    assert_false(w->done);
    w->done = true;
    w->status = status;
    if (status == OP_OK && !w->leave)
        w->stream = dial_take(result);
    else if (status == OP_TEMPFAIL)
        snprintf(w->error, sizeof w->error, "%s", dial_error(result));
}

static void open_world(struct world *w)
{
    char err[100];

    *w = (struct world){.loop = loop_new()};
    op_scope_init(&w->scope, "test");
    w->listener = listener_open(w->loop, "127.0.0.1", 0, on_accept, w, err, sizeof err);
    assert_non_null(w->listener);
}

static void close_world(struct world *w)
{
    op_scope_close(&w->scope);
    stream_close(&w->stream);
    stream_close(&w->accepted);
    listener_close(&w->listener);
    loop_run(w->loop);
    assert_int_equal(op_live(w->loop), 0);
    loop_free(&w->loop);
}

static void dial(struct world *w, struct dial_target to, uint64_t timeout_ms)
{
    dial_start(w->loop, &w->scope, &to, timeout_ms, on_done, w);
    assert_false(w->done); /* never inside the start call */
}

static void wait_done(struct world *w)
{
    while (!w->done)
        loop_turn(w->loop);
}

static void talk(struct world *w)
{
    assert_int_equal(w->status, OP_OK);
    stream_set_events(w->stream, &events, w, 1000);
    while (stream_input(w->stream).n < 5)
        loop_turn(w->loop);
    stream_write(w->stream, SLICE_LIT("back"));
    while (stream_input(w->accepted).n < 4)
        loop_turn(w->loop);
    stream_close(&w->accepted);
    while (w->ends == 0)
        loop_turn(w->loop);
}

static void addresses_and_names(void **unused)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "::ffff:127.0.0.1"};

    (void)unused;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct world w;

        open_world(&w);
        dial(&w, (struct dial_target){.host = hosts[i], .port = listener_port(w.listener)}, 10000);
        wait_done(&w);
        talk(&w);
        close_world(&w);
    }
}

static void tick(void *arg)
{
    (void)arg;
}

static void turns(struct world *w, int n)
{
    struct timer t = {0};

    while (n-- > 0) {
        timer_start(w->loop, &t, 1, tick, NULL);
        loop_turn(w->loop);
    }
    timer_stop(&t);
}

/* What the peer does between the connection and the callback is not lost, though nobody had set events. */
static void closed_before_the_callback(void **unused)
{
    struct world w;

    (void)unused;
    open_world(&w);
    dial(&w, (struct dial_target){.host = "127.0.0.1", .port = listener_port(w.listener)}, 10000);
    wait_done(&w);
    while (w.accepted == NULL)
        loop_turn(w.loop);
    turns(&w, 3);
    stream_close(&w.accepted);
    turns(&w, 10);
    w.data = 0;
    stream_set_events(w.stream, &events, &w, 1000);
    while (w.ends == 0)
        loop_turn(w.loop);
    assert_int_equal(stream_input(w.stream).n, 5);
    close_world(&w);
}

static int listen_at(const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof sun), 0);
    assert_int_equal(listen(fd, 5), 0);
    return fd;
}

static void unix_sockets(void **unused)
{
    char dir[] = "/tmp/mta-dial-XXXXXX", path[64], byte;
    struct world w;
    int fd, peer;

    (void)unused;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    fd = listen_at(path);
    open_world(&w);
    dial(&w, (struct dial_target){.path = path}, 10000);
    wait_done(&w);
    assert_int_equal(w.status, OP_OK);
    peer = accept(fd, NULL, NULL);
    stream_set_events(w.stream, &events, &w, 1000);
    stream_write(w.stream, SLICE_LIT("x"));
    while (stream_pending(w.stream) > 0)
        loop_turn(w.loop);
    assert_int_equal(read(peer, &byte, 1), 1);
    assert_int_equal(stream_peer(w.stream).family, 0);
    close(peer);
    close(fd);
    close_world(&w);
    unlink(path);
    rmdir(dir);
}

/* A port of ours on which nobody listens. */
static int refused_port(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof to;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&to, &n), 0);
    close(fd);
    return ntohs(to.sin_port);
}

static void failures(void **unused)
{
    static char long_path[200];
    const struct {
        struct dial_target to;
        const char *error;
    } rows[] = {
        {{.host = "127.0.0.1", .port = refused_port()}, "refused"},
        {{.host = "localhost", .port = refused_port()}, "refused"},
        {{.path = "/tmp/no/such/socket"}, "no such file"},
        {{.path = "/tmp"}, "refused"},
        {{.path = long_path}, "name too long"},
        {{.host = "no-such-host.invalid", .port = 25}, ""},
        {{.host = "", .port = 25}, ""},
        {{.host = "127.0.0.1.", .port = 1}, ""},
    };

    (void)unused;
    memset(long_path, 'x', sizeof long_path - 1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct world w;

        open_world(&w);
        dial(&w, rows[i].to, 60000);
        wait_done(&w);
        assert_int_equal(w.status, OP_TEMPFAIL);
        if (strstr(w.error, rows[i].error) == NULL)
            fail_msg("row %zu: \"%s\"", i, w.error);
        assert_true(w.error[0] != '\0');
        close_world(&w);
    }
}

/* A listener whose queue is full: the kernel drops what more comes, as a host that is not there does. */
static int full_listener(int *port, int fill[4])
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof to;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&to, &n), 0);
    *port = ntohs(to.sin_port);
    for (int i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fill[i], (struct sockaddr *)&to, sizeof to);
    }
    return fd;
}

static void time_outs(void **unused)
{
    struct world w;
    int port, fill[4], fd = full_listener(&port, fill);
    uint64_t begun;

    (void)unused;
    open_world(&w);
    begun = loop_now_ms(w.loop);
    dial(&w, (struct dial_target){.host = "127.0.0.1", .port = port}, 100);
    wait_done(&w);
    assert_int_equal(w.status, OP_TIMEOUT);
    assert_true(loop_now_ms(w.loop) - begun >= 90);
    while (op_live(w.loop) > 0)
        loop_turn(w.loop);
    assert_true(loop_now_ms(w.loop) - begun < 30000); /* the attempt does not go on for the kernel's minutes */
    /* the same when whoever waited is gone */
    w.done = false;
    dial(&w, (struct dial_target){.host = "127.0.0.1", .port = port}, 600000);
    turns(&w, 2);
    op_scope_cancel(&w.scope);
    while (op_live(w.loop) > 0)
        loop_turn(w.loop);
    assert_false(w.done);
    close_world(&w);
    for (int i = 0; i < 4; i++)
        close(fill[i]);
    close(fd);
}

/* Cancelled at each stage, and connections that nobody takes: nothing is left open. */
static void given_up(void **unused)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost"};

    (void)unused;
    for (int stage = 0; stage < 10; stage++) {
        struct world w;

        open_world(&w);
        dial(&w, (struct dial_target){.host = hosts[stage % 2], .port = listener_port(w.listener)}, 10000);
        turns(&w, stage / 2);
        op_scope_cancel(&w.scope);
        close_world(&w);
    }
    for (int i = 0; i < 2; i++) {
        struct world w;

        open_world(&w);
        w.leave = true;
        dial(&w, (struct dial_target){.host = hosts[i], .port = listener_port(w.listener)}, 10000);
        wait_done(&w);
        while (w.ends == 0) /* the peer sees the end */
            loop_turn(w.loop);
        close_world(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_and_names), cmocka_unit_test(closed_before_the_callback),
        cmocka_unit_test(unix_sockets),        cmocka_unit_test(failures),
        cmocka_unit_test(time_outs),           cmocka_unit_test(given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
