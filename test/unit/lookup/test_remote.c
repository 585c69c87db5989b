/*
 * tcp: and socketmap: against a scripted server on the same loop: replies in pieces of every size, too much of them,
 * connections that are closed when it hurts, tables that are closed in the middle.
 */
#include "support/tables.h"

#include "core/loop/stream.h"

#define PEERS_MAX 32

struct server {
    struct bench bench;
    struct listener *listener;
    struct peer {
        struct server *server;
        struct stream *stream;
        const char *pending; /* what is still to be sent, a piece a turn */
        struct timer timer;
    } peers[PEERS_MAX];
    size_t npeers;
    unsigned nrequests;
    const char *reply; /* to every request; NULL: close; "": none */
    size_t piece;      /* bytes of it at a time; 0: all at once */
    bool close_after;  /* the reply */
    char last[256];    /* request */
};

static void send_piece(void *arg)
{
    struct peer *p = arg;
    size_t n = strlen(p->pending);

    if (p->server->piece > 0 && n > p->server->piece)
        n = p->server->piece;
    stream_write(p->stream, slice_make(p->pending, n));
    p->pending += n;
    if (p->pending[0] != '\0')
        timer_start(p->server->bench.loop, &p->timer, 1, send_piece, p);
    else if (p->server->close_after)
        stream_finish(&p->stream, 1000);
}

static void on_data(void *arg)
{
    struct peer *p = arg;
    struct server *s = p->server;
    struct slice in = stream_input(p->stream);

    if (in.p[in.n - 1] != '\n' && in.p[in.n - 1] != ',')
        return;
    s->nrequests++;
    snprintf(s->last, sizeof s->last, "%.*s", (int)in.n, in.p);
    stream_consume(p->stream, in.n);
    if (s->reply == NULL) {
        stream_close(&p->stream);
        return;
    }
    p->pending = s->reply;
    if (p->pending[0] != '\0')
        send_piece(p);
}

static void on_end(void *arg, const char *error)
{
    struct peer *p = arg;

    (void)error;
    timer_stop(&p->timer);
    stream_close(&p->stream);
}

static const struct stream_events events = {.on_data = on_data, .on_end = on_end};

static void on_accept(void *arg, struct stream *stream)
{
    struct server *s = arg;
    struct peer *p = &s->peers[s->npeers++];

    assert_true(s->npeers <= PEERS_MAX);
    *p = (struct peer){.server = s, .stream = stream};
    stream_set_events(stream, &events, p, 10000);
}

static void close_peers(struct server *s)
{
    for (size_t i = 0; i < s->npeers; i++) {
        timer_stop(&s->peers[i].timer);
        stream_close(&s->peers[i].stream);
    }
}

static void server_open(struct server *s)
{
    char err[100];

    *s = (struct server){0};
    bench_open(&s->bench);
    s->listener = listener_open(s->bench.loop, "127.0.0.1", 0, on_accept, s, err, sizeof err);
    assert_non_null(s->listener);
}

static void server_close(struct server *s)
{
    close_peers(s);
    listener_close(&s->listener);
    bench_close(&s->bench);
}

static struct table *server_table(struct server *s, bool socketmap)
{
    char *spec =
        mem_printf(socketmap ? "socketmap:inet:127.0.0.1:%d:name" : "tcp:127.0.0.1:%d", listener_port(s->listener));
    struct table *t = bench_table_spec(&s->bench, spec);

    mem_free(spec);
    return t;
}

static const struct {
    bool socketmap;
    const char *reply;
    enum op_status status;
    const char *text;
} rows[] = {
    {false, "200 a%20value\n", OP_OK, "a value"},
    {false, "200 a value\r\n", OP_OK, "a value"},
    {false, "500 none\n", OP_NOTFOUND, NULL},
    {false, "400 sorry %25\n", OP_TEMPFAIL, "the server says: sorry %"},
    {false, "200 a%0\n", OP_TEMPFAIL, "malformed"},
    {false, "nonsense\n", OP_TEMPFAIL, "malformed"},
    {true, "8:OK value,", OP_OK, "value"},
    {true, "3:OK ,", OP_OK, ""},
    {true, "9:NOTFOUND ,", OP_NOTFOUND, NULL},
    {true, "9:TEMP busy,", OP_TEMPFAIL, "the server says: TEMP busy"},
    {true, "4:PERM,", OP_TEMPFAIL, "the server says: PERM"},
    {true, "3:abc,", OP_TEMPFAIL, "malformed"},
    {true, "3:abcd", OP_TEMPFAIL, "malformed"},
    {true, "x", OP_TEMPFAIL, "malformed"},
    {true, "00000000008:OK value,", OP_TEMPFAIL, "malformed"},
};

/* Each reply in pieces of every size. */
static void replies_in_pieces(void **state)
{
    struct server s;

    (void)state;
    server_open(&s);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct table *t = server_table(&s, rows[i].socketmap);

        s.reply = rows[i].reply;
        for (s.piece = 0; s.piece < strlen(s.reply); s.piece += 3)
            bench_expect(&s.bench, t, "Key", rows[i].status, rows[i].text);
        assert_string_equal(s.last, rows[i].socketmap ? "8:name Key," : "get Key\n");
        assert_false(table_is_fixed(t));
        if (rows[i].status == OP_TEMPFAIL) { /* so as not to run out of peers */
            server_close(&s);
            server_open(&s);
        }
    }
    server_close(&s);
}

/* One connection serves one lookup after the other; a key of any bytes stays one request. */
static void connection_is_kept(void **state)
{
    struct server s;
    struct table *t;

    (void)state;
    server_open(&s);
    t = server_table(&s, false);
    s.reply = "200 x\n";
    for (int i = 0; i < 20; i++)
        bench_expect(&s.bench, t, "k", OP_OK, "x");
    assert_int_equal(s.npeers, 1);
    bench_expect(&s.bench, t, "a\nb \x7f\xc3\xbc%", OP_OK, "x");
    assert_string_equal(s.last, "get a%0Ab%20%7F%C3%BC%25\n");
    server_close(&s);
}

/* A second reply that nobody asked for is never taken for the answer to the next lookup. */
static void too_much(void **state)
{
    struct server s;
    struct table *t;

    (void)state;
    server_open(&s);
    t = server_table(&s, false);
    s.reply = "200 first\n200 second\n";
    for (int i = 0; i < 3; i++)
        bench_expect(&s.bench, t, "k", OP_OK, "first");
    assert_int_equal(s.npeers, 3);
    s.reply = "200 x\n";
    bench_expect(&s.bench, t, "k", OP_OK, "x");
    stream_write(s.peers[3].stream, SLICE_LIT("200 late\n"));
    bench_sleep(&s.bench, 20);
    bench_expect(&s.bench, t, "k", OP_OK, "x");
    assert_int_equal(s.npeers, 5);
    server_close(&s);
}

/* A connection that has worked and is closed: the lookup is asked once more on a new one; a new one: a failure. */
static void closed_connections(void **state)
{
    struct server s;
    struct table *t;

    (void)state;
    server_open(&s);
    t = server_table(&s, false);
    s.reply = "200 x\n";
    s.close_after = true;
    for (int i = 0; i < 5; i++)
        bench_expect(&s.bench, t, "k", OP_OK, "x");
    s.close_after = false;
    bench_expect(&s.bench, t, "k", OP_OK, "x");
    s.reply = NULL;
    s.nrequests = 0;
    bench_expect(&s.bench, t, "k", OP_TEMPFAIL, "the server closed the connection");
    assert_int_equal(s.nrequests, 2);
    bench_expect(&s.bench, t, "k", OP_TEMPFAIL, "the server closed the connection");
    assert_int_equal(s.nrequests, 3);
    server_close(&s);
}

/* A server that is not there: a failure at once; no attempt more than once a second; back again when it is there. */
static void not_there(void **state)
{
    struct server s;
    struct table *t;
    char err[100];
    int port;

    (void)state;
    server_open(&s);
    t = server_table(&s, true);
    port = listener_port(s.listener);
    listener_close(&s.listener);
    bench_sleep(&s.bench, 5);
    bench_expect(&s.bench, t, "k", OP_TEMPFAIL, "cannot connect to the server: connection refused");
    s.listener = listener_open(s.bench.loop, "127.0.0.1", port, on_accept, &s, err, sizeof err);
    assert_non_null(s.listener);
    s.reply = "8:OK value,";
    bench_expect(&s.bench, t, "k", OP_TEMPFAIL, "connection refused"); /* it is left alone for a moment */
    assert_int_equal(s.npeers, 0);
    bench_sleep(&s.bench, 1100);
    bench_expect(&s.bench, t, "k", OP_OK, "value");
    assert_int_equal(bench_logged("connection refused"), 1);
    assert_int_equal(bench_logged("works again"), 1);
    server_close(&s);
}

/* Many at once share a few connections. */
static void many_at_once(void **state)
{
    static struct bench_answer a[100];
    struct server s;
    struct table *t;

    (void)state;
    server_open(&s);
    t = server_table(&s, true);
    s.reply = "8:OK value,";
    s.piece = 5;
    memset(a, 0, sizeof a);
    for (size_t i = 0; i < ARRAY_LEN(a); i++)
        table_lookup(t, &s.bench.scope, SLICE_LIT("k"), bench_on_answer, &a[i]);
    while (!op_scope_idle(&s.bench.scope))
        loop_turn(s.bench.loop);
    for (size_t i = 0; i < ARRAY_LEN(a); i++)
        assert_int_equal(a[i].status, OP_OK);
    assert_true(s.npeers > 1 && s.npeers <= 8);
    assert_int_equal(s.nrequests, 100);
    server_close(&s);
}

static void closed_in_the_middle(void **state)
{
    (void)state;
    for (uint64_t wait = 0; wait < 8; wait++) {
        struct bench_answer a[20] = {{0}};
        struct server s;

        server_open(&s);
        s.reply = "";
        for (size_t i = 0; i < ARRAY_LEN(a); i++)
            table_lookup(server_table(&s, i % 2 == 0), &s.bench.scope, SLICE_LIT("k"), bench_on_answer, &a[i]);
        if (wait > 0)
            bench_sleep(&s.bench, wait);
        tables_free(&s.bench.tables);
        close_peers(&s);
        listener_close(&s.listener);
        loop_run(s.bench.loop);
        for (size_t i = 0; i < ARRAY_LEN(a); i++) {
            assert_true(a[i].done);
            assert_int_equal(a[i].status, OP_TEMPFAIL);
        }
        bench_close(&s.bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_in_pieces),    cmocka_unit_test(connection_is_kept), cmocka_unit_test(too_much),
        cmocka_unit_test(closed_connections),   cmocka_unit_test(not_there),          cmocka_unit_test(many_at_once),
        cmocka_unit_test(closed_in_the_middle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
