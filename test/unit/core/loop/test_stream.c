/* Streams and listeners: bounded input, output larger than the kernel takes, closing and finishing. */
#include "unit/cmocka_all.h"

#include "core/base/alloc.h"
#include "core/loop/stream.h"
#include "core/loop/timer.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct side {
    struct loop *loop;
    struct stream *stream;
    int fd; /* the other end */
    size_t most_input, got;
    unsigned ends, drains;
    bool keep; /* do not consume */
    const char *error;
    struct timer tick;
};

static void on_data(void *arg)
{
    struct side *s = arg;
    struct slice in = stream_input(s->stream);

    if (in.n > s->most_input)
        s->most_input = in.n;
    if (!s->keep) {
        s->got += in.n;
        stream_consume(s->stream, in.n);
    }
}

static void on_end(void *arg, const char *error)
{
    struct side *s = arg;

    s->ends++;
    s->error = error;
}

static void on_drain(void *arg)
{
    struct side *s = arg;

    s->drains++;
}

static const struct stream_events events = {on_data, on_end, on_drain};

static void tick(void *arg)
{
    (void)arg;
}

static void turns(struct side *s, int n)
{
    while (n-- > 0) {
        timer_start(s->loop, &s->tick, 1, tick, NULL);
        loop_turn(s->loop);
    }
    timer_stop(&s->tick);
}

static struct side side_make(void)
{
    struct side s = {.loop = loop_new()};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    s.fd = fds[1];
    fcntl(s.fd, F_SETFL, O_NONBLOCK);
    s.stream = stream_from_fd(s.loop, fds[0]);
    return s;
}

static void side_end(struct side *s)
{
    stream_close(&s->stream);
    if (s->fd >= 0)
        close(s->fd);
    loop_run(s->loop);
    loop_free(&s->loop);
}

static void input_is_bounded_and_goes_on_when_consumed(void **unused)
{
    struct side s = side_make();
    static char block[200000];
    ssize_t sent;

    (void)unused;
    stream_set_events(s.stream, &events, &s, 1000);
    s.keep = true;
    sent = write(s.fd, block, sizeof block);
    assert_true(sent > 50000);
    turns(&s, 20);
    assert_int_equal(stream_input(s.stream).n, 1000);
    s.keep = false;
    s.got = 1000;
    stream_consume(s.stream, 1000);
    for (int i = 0; i < 2000 && s.got < (size_t)sent; i++)
        turns(&s, 1);
    assert_int_equal(s.got, sent);
    assert_int_equal(s.most_input, 1000);
    side_end(&s);
}

static size_t read_all(struct side *s, size_t want)
{
    static char block[65536];
    size_t got = 0;

    for (int i = 0; i < 20000 && got < want; i++) {
        ssize_t n = read(s->fd, block, sizeof block);

        if (n > 0)
            got += (size_t)n;
        else if (n == 0)
            break;
        turns(s, 1);
    }
    return got;
}

static void large_output_arrives_whole_and_drains_once_it_is_out(void **unused)
{
    struct side s = side_make();
    static char block[100000];

    (void)unused;
    stream_set_events(s.stream, &events, &s, 1000);
    for (int i = 0; i < 50; i++)
        stream_write(s.stream, slice_make(block, sizeof block));
    assert_int_equal(stream_pending(s.stream), 5000000);
    turns(&s, 5);
    assert_int_equal(s.drains, 0);
    assert_int_equal(read_all(&s, 5000000), 5000000);
    turns(&s, 5);
    assert_int_equal(stream_pending(s.stream), 0);
    assert_int_equal(s.drains, 1);
    side_end(&s);
}

static void end_and_error_are_told_once(void **unused)
{
    struct side s = side_make();

    (void)unused;
    stream_set_events(s.stream, &events, &s, 1000);
    close(s.fd);
    s.fd = -1;
    turns(&s, 5);
    assert_int_equal(s.ends, 1);
    assert_null(s.error);
    stream_write(s.stream, SLICE_LIT("into the void"));
    turns(&s, 5);
    assert_int_equal(s.ends, 1);
    side_end(&s);
}

static void no_event_after_close(void **unused)
{
    struct side s = side_make();

    (void)unused;
    stream_set_events(s.stream, &events, &s, 1000);
    assert_int_equal(write(s.fd, "x", 1), 1);
    stream_write(s.stream, SLICE_LIT("dropped"));
    stream_close(&s.stream);
    assert_null(s.stream);
    turns(&s, 5);
    assert_int_equal(s.got + s.ends + s.drains, 0);
    side_end(&s);
}

static void a_finished_stream_still_writes_and_then_goes(void **unused)
{
    struct side s = side_make();
    char text[16] = "";

    (void)unused;
    stream_set_events(s.stream, &events, &s, 1000);
    assert_int_equal(write(s.fd, "unread input", 12), 12);
    stream_write(s.stream, SLICE_LIT("bye"));
    stream_finish(&s.stream, 2000);
    turns(&s, 5);
    assert_int_equal(read(s.fd, text, sizeof text), 3);
    assert_string_equal(text, "bye");
    assert_int_equal(read(s.fd, text, sizeof text), 0); /* told the end, not reset */
    close(s.fd);
    s.fd = -1;
    assert_int_equal(s.ends, 0);
    loop_run(s.loop); /* ends: nothing is alive any more */
    side_end(&s);
}

static void a_finished_stream_does_not_wait_for_ever(void **unused)
{
    struct side s = side_make();
    static char block[1 << 20];

    (void)unused;
    stream_set_events(s.stream, &events, &s, 1000);
    stream_write(s.stream, slice_make(block, sizeof block));
    stream_finish(&s.stream, 30);
    loop_run(s.loop);
    side_end(&s);
}

static void on_accept(void *arg, struct stream *st)
{
    struct side *s = arg;
    struct stream_addr peer = stream_peer(st);

    s->got++;
    assert_string_equal(peer.host, "127.0.0.1");
    assert_int_equal(peer.family, 4);
    stream_close(&st);
}

static void listeners_accept_and_say_why_they_cannot(void **unused)
{
    struct side s = {.loop = loop_new(), .fd = -1};
    char err[100];
    struct listener *l = listener_open(s.loop, "127.0.0.1", 0, on_accept, &s, err, sizeof err), *taken;
    struct listener *client_side;

    (void)unused;
    assert_non_null(l);
    assert_true(listener_port(l) > 0);
    taken = listener_open(s.loop, "127.0.0.1", listener_port(l), on_accept, &s, err, sizeof err);
    assert_null(taken);
    assert_non_null(strstr(err, "in use"));
    client_side = listener_open(s.loop, "not an address", 0, on_accept, &s, err, sizeof err);
    assert_null(client_side);
    s.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    {
        struct sockaddr_storage at = {.ss_family = AF_INET};
        unsigned char *bytes = (unsigned char *)&at;

        bytes[2] = (unsigned char)(listener_port(l) >> 8);
        bytes[3] = (unsigned char)listener_port(l);
        bytes[4] = 127;
        bytes[7] = 1;
        connect(s.fd, (struct sockaddr *)&at, 16);
    }
    for (int i = 0; i < 100 && s.got == 0; i++)
        turns(&s, 1);
    assert_int_equal(s.got, 1);
    listener_close(&l);
    assert_null(l);
    side_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input_is_bounded_and_goes_on_when_consumed),
        cmocka_unit_test(large_output_arrives_whole_and_drains_once_it_is_out),
        cmocka_unit_test(end_and_error_are_told_once),
        cmocka_unit_test(no_event_after_close),
        cmocka_unit_test(a_finished_stream_still_writes_and_then_goes),
        cmocka_unit_test(a_finished_stream_does_not_wait_for_ever),
        cmocka_unit_test(listeners_accept_and_say_why_they_cannot),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
