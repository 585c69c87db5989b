/* Child processes: exit, signals, time limit, output bound, refused input, grandchildren. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "core/base/alloc.h"
#include "core/loop/spawn.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

struct run {
    struct spawn *spawn;
    size_t to_write;
    int status, signal;
    bool started, timed_out, refused;
    char output[256];
    size_t output_n;
    bool over;
};

static void on_writable(void *arg)
{
    struct run *r = arg;
    static char block[65536];

    if (r->to_write == 0) {
        spawn_end_input(r->spawn);
        return;
    }
    memset(block, 'x', sizeof block);
    spawn_write(r->spawn, slice_make(block, r->to_write < sizeof block ? r->to_write : sizeof block));
    r->to_write -= r->to_write < sizeof block ? r->to_write : sizeof block;
}

static void on_exit_event(void *arg, const struct spawn_result *res)
{
    struct run *r = arg;

    r->over = true;
    r->started = res->started;
    r->status = res->exit_status;
    r->signal = res->term_signal;
    r->timed_out = res->timed_out;
    r->refused = res->input_refused;
    r->output_n = res->output.n;
    if (res->output.n > 0)
        memcpy(r->output, res->output.p, res->output.n < 255 ? res->output.n : 255);
    spawn_free(&r->spawn);
}

static struct run run_limited(const char *script, size_t input, uint64_t limit_ms)
{
    static const struct spawn_events ev = {on_writable, on_exit_event};
    const char *const argv[] = {"/bin/sh", "-c", script, NULL}, *const env[] = {"PATH=/usr/bin:/bin", NULL};
    struct spawn_opts o = {.argv = argv, .env = env, .output_max = 200, .time_limit_ms = limit_ms};
    struct run r = {.to_write = input};
    struct loop *l = loop_new();

    r.spawn = spawn_start(l, &o, &ev, &r);
    assert_false(r.over);
    loop_run(l);
    assert_true(r.over);
    loop_free(&l);
    return r;
}

static struct run run(const char *script, size_t input)
{
    return run_limited(script, input, 20000);
}

static void exit_status_and_both_outputs_are_collected(void **unused)
{
    struct run r = run("echo out; echo err >&2; exit 67", 0);

    (void)unused;
    assert_true(r.started);
    assert_int_equal(r.status, 67);
    assert_string_equal(r.output, "out\nerr\n");
}

static void input_arrives_whole(void **unused)
{
    struct run r = run("wc -c", 3000001);

    (void)unused;
    assert_string_equal(r.output, "3000001\n");
    assert_false(r.refused);
}

static void dev_stdin_can_be_opened(void **unused)
{
    struct run r = run("wc -c </dev/stdin", 10);

    (void)unused;
    assert_string_equal(r.output, "10\n");
}

static void closed_input_is_noticed_and_does_not_kill_us(void **unused)
{
    struct run r = run("exec <&-; sleep 0.2; exit 0", 3000000);

    (void)unused;
    assert_int_equal(r.status, 0);
    assert_true(r.refused);
}

static void output_is_bounded(void **unused)
{
    struct run r = run("head -c 5000000 /dev/zero | tr '\\0' x", 0);

    (void)unused;
    assert_int_equal(r.status, 0);
    assert_int_equal(r.output_n, 200);
}

static void signal_is_told(void **unused)
{
    struct run r = run("kill -SEGV $$", 0);

    (void)unused;
    assert_int_equal(r.signal, SIGSEGV);
}

/* Its own exit was in time: that something keeps the output open makes no time-out of it. */
static void time_limit_ends_with_the_command(void **unused)
{
    struct run r = {.timed_out = true};

    (void)unused;
    for (int i = 0; i < 10 && r.timed_out; i++) /* a busy machine may need more for the shell alone */
        r = run_limited("sleep 60 & exit 3", 0, 400);
    assert_false(r.timed_out);
    assert_int_equal(r.status, 3);
}

static void time_limit_kills_the_group(void **unused)
{
    struct run r = run_limited("sleep 60 & sleep 60", 0, 100);

    (void)unused;
    assert_true(r.timed_out);
    assert_int_equal(r.signal, SIGTERM);
}

static void grandchild_with_the_output_open_does_not_hold_us_up(void **unused)
{
    struct run r = run("sleep 60 & echo done; exit 0", 0);

    (void)unused;
    assert_int_equal(r.status, 0);
    assert_string_equal(r.output, "done\n");
}

static void missing_program_is_an_error_from_the_loop(void **unused)
{
    static const struct spawn_events ev = {on_writable, on_exit_event};
    const char *const argv[] = {"/nonexistent/program", NULL}, *const env[] = {NULL};
    struct spawn_opts o = {.argv = argv, .env = env};
    struct run r = {0};
    struct loop *l = loop_new();

    (void)unused;
    r.spawn = spawn_start(l, &o, &ev, &r);
    assert_false(r.over);
    loop_run(l);
    assert_true(r.over);
    assert_false(r.started);
    loop_free(&l);
}

static void letting_go_kills_and_calls_nothing(void **unused)
{
    static const struct spawn_events ev = {on_writable, on_exit_event};
    const char *const argv[] = {"/bin/sleep", "60", NULL}, *const env[] = {NULL};
    struct spawn_opts o = {.argv = argv, .env = env};
    struct run r = {0};
    struct loop *l = loop_new();

    (void)unused;
    r.spawn = spawn_start(l, &o, &ev, &r);
    spawn_free(&r.spawn);
    loop_run(l);
    assert_false(r.over);
    loop_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_status_and_both_outputs_are_collected),
        cmocka_unit_test(input_arrives_whole),
        cmocka_unit_test(dev_stdin_can_be_opened),
        cmocka_unit_test(closed_input_is_noticed_and_does_not_kill_us),
        cmocka_unit_test(output_is_bounded),
        cmocka_unit_test(signal_is_told),
        cmocka_unit_test(time_limit_kills_the_group),
        cmocka_unit_test(time_limit_ends_with_the_command),
        cmocka_unit_test(grandchild_with_the_output_open_does_not_hold_us_up),
        cmocka_unit_test(missing_program_is_an_error_from_the_loop),
        cmocka_unit_test(letting_go_kills_and_calls_nothing),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
