/*
 * A filter below a stream: a toy that turns the case of letters and passes on only whole lines of raw input; "." alone
 * on a line is an orderly end, "!" breaks it. What it says at the end is "bye".
 */
#include "unit/cmocka_all.h"

#include "core/base/alloc.h"
#include "core/loop/stream_filter.h"
#include "core/loop/timer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

struct side {
    struct loop *loop;
    struct stream *stream;
    int fd; /* the other end */
    char got[400], held[200], error[100];
    unsigned ends, drains, held_ends, closed, starts;
    bool keep, pause_after, done;
    struct loop_task task;
    struct timer tick;
};

static char turned(char c)
{
    return ascii_alpha(c) ? (char)(c ^ 32) : c;
}

static enum stream_filter_state decode(void *arg, struct buf *raw, bool eof, struct buf *plain, struct buf *reply,
                                       const char **error)
{
    (void)arg;
    for (;;) {
        struct slice in = buf_slice(raw);
        size_t end = slice_find(in, '\n');

        if (end == SLICE_NOT_FOUND) {
            *error = "truncated";
            return eof ? STREAM_FILTER_BROKEN : STREAM_FILTER_MORE;
        }
        if (in.p[0] == '.')
            return STREAM_FILTER_END;
        *error = "broken";
        if (in.p[0] == '!')
            return STREAM_FILTER_BROKEN;
        if (end + 1 > buf_room(plain))
            return STREAM_FILTER_FULL;
        if (in.p[0] == '?')
            buf_add_str(reply, "yes\n");
        for (size_t i = 0; i <= end; i++)
            buf_add_char(plain, turned(in.p[i]));
        buf_consume(raw, end + 1);
    }
}

static void encode(void *arg, struct slice plain, struct buf *raw)
{
    (void)arg;
    for (size_t i = 0; i < plain.n; i++)
        buf_add_char(raw, turned(plain.p[i]));
}

static void finish(void *arg, struct buf *raw)
{
    (void)arg;
    buf_add_str(raw, "bye\n");
}

static void closed(void *arg)
{
    ((struct side *)arg)->closed++;
}

static const struct stream_filter toy = {decode, encode, finish, closed};

/* ---- the owner ---- */

static void on_data(void *arg)
{
    struct side *s = arg;
    struct slice in = stream_input(s->stream);

    assert_true(s->done); /* not before what was deferred before */
    if (s->keep)
        return;
    strncat(s->got, in.p, in.n);
    if (s->pause_after)
        stream_pause(s->stream);
    stream_consume(s->stream, in.n);
}

static void on_end(void *arg, const char *error)
{
    struct side *s = arg;

    s->ends++;
    strcpy(s->error, error == NULL ? "" : error);
}

static void on_drain(void *arg)
{
    ((struct side *)arg)->drains++;
}

static const struct stream_events events = {on_data, on_end, on_drain};

/* ---- the hold: until a line "go" ---- */

static void set_done(void *arg)
{
    ((struct side *)arg)->done = true;
}

static void held_data(void *arg)
{
    struct side *s = arg;
    struct slice in = stream_input(s->stream);

    if (in.n < 3 || memcmp(in.p, "go\n", 3) != 0)
        return;
    stream_consume(s->stream, 3);
    stream_write(s->stream, SLICE_LIT("gone\n"));
    loop_defer(s->loop, &s->task, set_done, s);
    stream_filter_start(s->stream, slice_str(s->held));
    s->starts++;
}

static void held_end(void *arg, const char *error)
{
    (void)error;
    ((struct side *)arg)->held_ends++;
}

static const struct stream_events held = {held_data, held_end, NULL};

/* ---- tools ---- */

static void wake(void *arg)
{
    (void)arg;
}

static void turns(struct side *s, int n)
{
    while (n-- > 0) {
        timer_start(s->loop, &s->tick, 1, wake, NULL);
        loop_turn(s->loop);
    }
    timer_stop(&s->tick);
}

static void say(struct side *s, const char *text)
{
    assert_int_equal(write(s->fd, text, strlen(text)), strlen(text));
    turns(s, 10);
}

static const char *heard(struct side *s)
{
    static char text[1000];
    ssize_t n;

    turns(s, 10);
    n = read(s->fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void side_make(struct side *s, size_t input_max)
{
    int fds[2];

    *s = (struct side){.loop = loop_new()};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    s->fd = fds[1];
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    s->stream = stream_from_fd(s->loop, fds[0]);
    stream_set_events(s->stream, &events, s, input_max);
    stream_filter_attach(s->stream, &toy, s, &held, 1000);
}

static void side_end(struct side *s)
{
    stream_close(&s->stream);
    if (s->fd >= 0)
        close(s->fd);
    loop_run(s->loop);
    assert_int_equal(s->closed, 1);
    loop_free(&s->loop);
}

/* ---- tests ---- */

static void the_hold_is_in_clear_and_then_all_is_filtered(void **unused)
{
    struct side s;

    (void)unused;
    side_make(&s, 100);
    assert_null(stream_filter_arg(s.stream, &toy));
    strcpy(s.held, "unread ");
    say(&s, "go\nfirst\nsec");
    assert_int_equal(s.starts, 1);
    assert_ptr_equal(stream_filter_arg(s.stream, &toy), &s);
    assert_string_equal(heard(&s), "gone\n");
    assert_string_equal(s.got, "UNREAD FIRST\n");
    say(&s, "ond\n?\n");
    assert_string_equal(s.got, "UNREAD FIRST\nSECOND\n?\n");
    assert_string_equal(heard(&s), "yes\n");
    s.drains = 0;
    stream_write(s.stream, SLICE_LIT("Hello\n"));
    assert_int_equal(stream_pending(s.stream), 6);
    assert_string_equal(heard(&s), "hELLO\n");
    assert_int_equal(stream_pending(s.stream), 0);
    assert_int_equal(s.drains, 1);
    stream_write(s.stream, SLICE_LIT("Last\n"));
    stream_finish(&s.stream, 1000);
    assert_string_equal(heard(&s), "lAST\nbye\n");
    side_end(&s);
}

static void events_set_during_the_hold_count_afterwards(void **unused)
{
    struct side s;

    (void)unused;
    side_make(&s, 1);
    stream_set_events(s.stream, &events, &s, 8);
    stream_pause(s.stream);
    say(&s, "go\nabc\ndefg\n");
    assert_string_equal(s.got, "");
    stream_resume(s.stream);
    turns(&s, 10);
    assert_string_equal(s.got, "ABC\nDEFG\n");
    side_end(&s);
}

static void input_is_bounded_and_pauses(void **unused)
{
    struct side s;

    (void)unused;
    side_make(&s, 8);
    s.keep = true;
    say(&s, "go\none\ntwo\nthree\n");
    assert_int_equal(stream_input(s.stream).n, 8);
    s.keep = false;
    s.pause_after = true;
    stream_consume(s.stream, 8);
    turns(&s, 10);
    assert_string_equal(s.got, "THREE\n");
    say(&s, "four\n");
    assert_string_equal(s.got, "THREE\n");
    shutdown(s.fd, SHUT_WR);
    turns(&s, 10);
    assert_int_equal(s.ends, 0);
    stream_resume(s.stream);
    turns(&s, 10);
    assert_string_equal(s.got, "THREE\nFOUR\n");
    assert_int_equal(s.ends, 0); /* paused again */
    stream_resume(s.stream);
    turns(&s, 10);
    assert_int_equal(s.ends, 1);
    assert_string_equal(s.error, "truncated");
    side_end(&s);
}

static void ends_are_told_once(void **unused)
{
    static const struct {
        const char *said, *error;
    } cases[] = {{"go\nlast\n.\n", ""}, {"go\nlast\n!\n", "broken"}, {"go\nlast\nhal", "truncated"}};

    (void)unused;
    for (size_t i = 0; i < 3; i++) {
        struct side s;

        side_make(&s, 100);
        say(&s, cases[i].said);
        shutdown(s.fd, SHUT_WR);
        turns(&s, 10);
        assert_string_equal(s.got, "LAST\n");
        assert_int_equal(s.ends, 1);
        assert_int_equal(s.held_ends, 0);
        assert_string_equal(s.error, cases[i].error);
        side_end(&s);
    }
}

static void an_end_during_the_hold_is_told_after_the_input(void **unused)
{
    struct side s;

    (void)unused;
    side_make(&s, 100);
    assert_int_equal(write(s.fd, "g", 1), 1);
    turns(&s, 5);
    assert_int_equal(write(s.fd, "o\nrest\n", 7), 7);
    shutdown(s.fd, SHUT_WR);
    turns(&s, 10);
    assert_string_equal(s.got, "REST\n");
    assert_int_equal(s.ends, 1);
    side_end(&s);
    side_make(&s, 100);
    shutdown(s.fd, SHUT_WR);
    turns(&s, 10);
    assert_int_equal(s.held_ends, 1);
    assert_int_equal(s.ends, 0);
    side_end(&s);
}

static void an_end_before_the_hold_is_told_in_it(void **unused)
{
    struct side s = {.loop = loop_new()};
    int fds[2];

    (void)unused;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    s.fd = fds[1];
    s.stream = stream_from_fd(s.loop, fds[0]);
    stream_set_events(s.stream, &events, &s, 100);
    shutdown(s.fd, SHUT_WR);
    turns(&s, 10);
    assert_int_equal(s.ends, 1);
    stream_filter_attach(s.stream, &toy, &s, &held, 1000);
    assert_int_equal(s.held_ends, 0);
    turns(&s, 10);
    assert_int_equal(s.held_ends, 1);
    assert_int_equal(s.ends, 1);
    side_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hold_is_in_clear_and_then_all_is_filtered),
        cmocka_unit_test(events_set_during_the_hold_count_afterwards),
        cmocka_unit_test(input_is_bounded_and_pauses),
        cmocka_unit_test(ends_are_told_once),
        cmocka_unit_test(an_end_during_the_hold_is_told_after_the_input),
        cmocka_unit_test(an_end_before_the_hold_is_told_in_it),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
