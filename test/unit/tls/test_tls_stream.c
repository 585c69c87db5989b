/* Records under a stream: large transfers with back pressure, orderly and other ends, renegotiation, pauses. */
#include "unit/tls/tls_fixture.h"

#define BULK (3u << 20)

static const int versions[] = {MBEDTLS_SSL_VERSION_TLS1_2, MBEDTLS_SSL_VERSION_TLS1_3};

static char *pattern(size_t n)
{
    char *p = mem_new(n);

    for (size_t i = 0; i < n; i++)
        p[i] = (char)(i * 7 + i / 251);
    return p;
}

/* Sends a lot and reads it back meanwhile, in pieces that are no whole records. */
static void echo_bulk(struct client *c)
{
    char *sent = pattern(BULK), *back = mem_new(BULK);
    size_t out = 0, in = client_read(c, c->got, 7);

    for (in = 0; in < BULK && (out < BULK || in < out);) {
        size_t part = BULK - out < 50000 ? BULK - out : 50000;

        if (part > 0 && !client_write(c, sent + out, part))
            break;
        out += part;
        in += client_read(c, back + in, out - in);
    }
    c->bulk = memcmp(sent, back, BULK) == 0 ? in : 0;
    mem_free(sent);
    mem_free(back);
    client_write(c, "bye\r\n", 5);
    client_read(c, c->got, 5);
    client_read(c, c->got, 1);
    mbedtls_ssl_close_notify(&c->ssl);
}

static void large_transfers_arrive_whole(void **unused)
{
    static const size_t input_max[] = {100, 4096, 60000};

    (void)unused;
    for (size_t i = 0; i < 6; i++) {
        struct world w = world_make(certs(""));
        struct client c = {.max_version = versions[i % 2], .then = echo_bulk};
        struct served s;

        w.input_max = input_max[i / 2];
        s = session(&w, &c);
        assert_string_equal(s.error, "");
        assert_int_equal(c.bulk, BULK);
        assert_int_equal(s.got, BULK + 5);
        assert_true(c.ended);
        mbedtls_ssl_session_free(&c.session);
        world_end(&w);
    }
}

/* ---- bounded input ---- */

static atomic_bool may_go;

static void send_and_wait(struct client *c)
{
    char *sent = pattern(BULK);

    client_write(c, sent, BULK);
    atomic_store(&may_go, true);
    mem_free(sent);
    client_write(c, "bye\r\n", 5);
    client_read(c, c->got, 8);
}

static void input_is_bounded_until_it_is_consumed(void **unused)
{
    struct world w = world_make(certs(""));
    struct client c = {.then = send_and_wait};
    struct served s = {.keep = true, .sink = true};

    (void)unused;
    w.input_max = 5000;
    atomic_store(&may_go, false);
    serve(&w, &s, &c);
    timer_start(w.loop, &w.tick, 5, wake, &w);
    for (int turns = 0; turns < 100;) {
        loop_turn(w.loop);
        if (s.answered && stream_input(s.stream).n == 5000)
            turns++;
        assert_true(!s.answered || stream_input(s.stream).n <= 5000);
    }
    assert_false(atomic_load(&may_go)); /* the client is held up */
    stream_pause(s.stream);
    stream_consume(s.stream, 5000);
    s.got += 5000;
    for (int turns = 0; turns < 20; turns++)
        loop_turn(w.loop);
    assert_int_equal(stream_input(s.stream).n, 0);
    s.keep = false;
    stream_resume(s.stream);
    while (s.stream != NULL && s.got < BULK + 5)
        loop_turn(w.loop);
    run(&w, &s, &c);
    assert_int_equal(s.got, BULK + 5);
    mbedtls_ssl_session_free(&c.session);
    world_end(&w);
}

/* ---- output before and after ---- */

static size_t drained_with;

static void on_drain(void *arg)
{
    struct served *s = arg;

    if (s->answered && s->stream != NULL && s->got == 0)
        drained_with = stream_pending(s->stream) + 1;
}

static const struct stream_events draining = {served_on_data, served_on_end, on_drain};

static void read_bulk(struct client *c)
{
    char *back = mem_new(BULK), *want = pattern(BULK);

    for (size_t i = 0; i < BULK; i++)
        want[i] = want[i] == 0 ? 1 : want[i];
    c->bulk = client_read(c, back, BULK);
    c->bulk = memcmp(back, want, BULK) == 0 ? c->bulk : 0;
    mem_free(back);
    mem_free(want);
    client_write(c, "bye\r\n", 5);
    client_read(c, c->got, 5);
    client_read(c, c->got, 1);
}

static void output_drains_once_the_kernel_has_it(void **unused)
{
    char *text = mem_new(BULK + 1);

    (void)unused;
    for (size_t i = 0; i < BULK; i++)
        text[i] = (char)(i * 7 + i / 251) == 0 ? 1 : (char)(i * 7 + i / 251);
    for (size_t i = 0; i < 2; i++) {
        struct world w = world_make(certs(""));
        struct client c = {.max_version = versions[i], .then = read_bulk};
        struct served s = {.greeting = text};

        drained_with = 0;
        serve(&w, &s, &c);
        stream_set_events(s.stream, &draining, &s, w.input_max);
        run(&w, &s, &c);
        assert_int_equal(c.bulk, BULK);
        assert_int_equal(drained_with, 1);
        assert_true(c.ended);
        mbedtls_ssl_session_free(&c.session);
        world_end(&w);
    }
    mem_free(text);
}

/* ---- ends ---- */

static void leave_in_order(struct client *c)
{
    client_read(c, c->got, 7);
    mbedtls_ssl_close_notify(&c->ssl);
    client_read(c, c->got, 1);
}

static void leave(struct client *c)
{
    client_read(c, c->got, 7);
    client_write(c, "last words", 10);
}

static void half_a_record(struct client *c)
{
    client_read(c, c->got, 7);
    c->cut = c->sent + 9;
    client_write(c, "last words", 10);
}

static void each_end_is_told_apart(void **unused)
{
    static const struct {
        void (*then)(struct client *);
        const char *error;
        size_t got;
        bool answered;
    } cases[] = {
        {leave_in_order, "", 0, true},
        {leave, "TLS connection was truncated", 10, false},
        {half_a_record, "TLS connection was truncated", 0, false},
    };
    struct world w = world_make(certs(""));

    (void)unused;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        struct client c = {.max_version = versions[i % 2], .then = cases[i / 2].then};
        struct served s = {.sink = true};

        serve(&w, &s, &c);
        run(&w, &s, &c);
        assert_true(s.ended);
        assert_string_equal(s.end_error, cases[i / 2].error);
        assert_int_equal(s.got, cases[i / 2].got);
        assert_int_equal(c.ended, cases[i / 2].answered);
        mbedtls_ssl_session_free(&c.session);
    }
    world_end(&w);
}

/* ---- renegotiation ---- */

static void renegotiate(struct client *c)
{
    client_read(c, c->got, 7);
    c->bulk = (size_t)(mbedtls_ssl_renegotiate(&c->ssl) != 0);
    mbedtls_ssl_close_notify(&c->ssl);
}

static void renegotiation_is_refused(void **unused)
{
    struct world w = world_make(certs(""));
    struct client c = {.max_version = MBEDTLS_SSL_VERSION_TLS1_2, .then = renegotiate};
    struct served s = session(&w, &c);

    (void)unused;
    assert_int_equal(c.bulk, 1);
    assert_int_equal(s.status, OP_OK);
    assert_true(s.ended);
    mbedtls_ssl_session_free(&c.session);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_transfers_arrive_whole),
        cmocka_unit_test(input_is_bounded_until_it_is_consumed),
        cmocka_unit_test(output_drains_once_the_kernel_has_it),
        cmocka_unit_test(each_end_is_told_apart),
        cmocka_unit_test(renegotiation_is_refused),
    };

    return cmocka_run_group_tests(tests, make_files, remove_files);
}
