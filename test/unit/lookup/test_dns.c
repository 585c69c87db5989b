/*
 * Questions to DNS against a scripted server on the same loop: what is asked how often, what becomes of askers that
 * leave, of a resolver that ends or changes, of servers that fail.
 */
#include "support/dns_reply.h"

#include "core/base/alloc.h"
#include "core/loop/fdwatch.h"
#include "core/loop/timer.h"
#include "lookup/dns.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#define ASKERS 3000

struct server {
    struct loop *loop;
    int fd;
    struct fdwatch watch;
    char resolver[40];
    unsigned asked;
    bool silent;
};

struct asker {
    enum op_status status;
    struct dns_answer answer;
    char first[300]; /* item of the answer */
    unsigned called;
};

static struct asker askers[ASKERS];
static bool in_start; /* nobody is called back now */

/* ---- the server ---- */

/* The name of a question as text; answers its type. */
static enum dns_type question(const unsigned char *p, size_t n, char *name)
{
    size_t at = 12, out = 0;

    while (at < n && p[at] != 0) {
        memcpy(name + out, p + at + 1, p[at]);
        out += p[at];
        name[out++] = '.';
        at += 1u + p[at];
    }
    name[out > 0 ? out - 1 : 0] = '\0';
    return (enum dns_type)(p[at + 1] << 8 | p[at + 2]);
}

/* What the first label says is the answer. */
static void answer(struct wire *w, const char *name, enum dns_type type)
{
    unsigned number;

    wire_begin(w, 0, name, type);
    if (strncmp(name, "broken", 6) == 0 || (strncmp(name, "half", 4) == 0 && type == DNS_TYPE_AAAA)) {
        w->p[3] |= 2;
    } else if (strncmp(name, "none", 4) == 0) {
        w->p[3] |= 3;
    } else if (strncmp(name, "only6", 5) == 0) {
        if (type == DNS_TYPE_AAAA)
            wire_address(w, name, "2001:db8::1", 60);
        else
            w->p[3] |= 2;
    } else if (sscanf(name, "endless%u", &number) == 1) {
        char next[40];

        snprintf(next, sizeof next, "endless%u.example", number + 1);
        wire_names(w, name, DNS_TYPE_CNAME, 0, next, 60);
    } else if (strncmp(name, "far", 3) == 0) {
        wire_names(w, name, DNS_TYPE_CNAME, 0, "near.example", 60);
    } else if (type == DNS_TYPE_A) {
        wire_address(w, name, "192.0.2.1", strncmp(name, "brief", 5) == 0 ? 0 : 60);
    } else if (type == DNS_TYPE_MX) {
        wire_names(w, name, DNS_TYPE_MX, 10, "mx.example", 60);
    } else if (type == DNS_TYPE_PTR) {
        wire_names(w, name, DNS_TYPE_PTR, 0, "host.example", 60);
    }
}

static void on_question(void *arg, int events)
{
    struct server *s = arg;
    unsigned char p[600];
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    ssize_t n;

    (void)events;
    while ((n = recvfrom(s->fd, p, sizeof p, MSG_DONTWAIT, (struct sockaddr *)&from, &len)) > 0) {
        char name[300];
        struct wire w;
        enum dns_type type = question(p, (size_t)n, name);

        s->asked++;
        if (s->silent)
            continue;
        answer(&w, name, type);
        memcpy(w.p, p, 2);
        sendto(s->fd, w.p, w.n, 0, (struct sockaddr *)&from, len);
    }
}

static void server_open(struct server *s, struct loop *loop)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;

    *s = (struct server){.loop = loop, .fd = socket(AF_INET, SOCK_DGRAM, 0)};
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
    getsockname(s->fd, (struct sockaddr *)&at, &len);
    snprintf(s->resolver, sizeof s->resolver, "127.0.0.1:%u", ntohs(at.sin_port));
    assert_true(fdwatch_start(loop, &s->watch, s->fd, FDWATCH_READ, on_question, s));
}

static void server_close(struct server *s)
{
    fdwatch_stop(&s->watch);
    close(s->fd);
}

/* ---- asking ---- */

struct world {
    struct loop *loop;
    struct server server;
    struct dns *dns;
    struct op_scope scope;
};

static struct dns *dns_at(struct world *w, const char *resolver)
{
    struct conf conf = {.resolver = resolver};
    struct buf err = {0};
    struct dns *d = dns_new(w->loop, &conf, &err);

    assert_int_equal(buf_len(&err), 0);
    assert_non_null(d);
    return d;
}

static void world_open(struct world *w)
{
    w->loop = loop_new();
    server_open(&w->server, w->loop);
    w->dns = dns_at(w, w->server.resolver);
    op_scope_init(&w->scope, "test");
    memset(askers, 0, sizeof askers);
}

static void world_close(struct world *w)
{
    op_scope_close(&w->scope);
    dns_free(&w->dns);
    assert_null(w->dns);
    server_close(&w->server);
    loop_run(w->loop);
    assert_int_equal(op_live(w->loop), 0);
    loop_free(&w->loop);
}

static void on_answer(void *owner, enum op_status status, const void *result)
{
    struct asker *a = owner;
    const struct dns_answer *r = result;
    const char *first = r->naddresses > 0 ? r->addresses[0].text
                        : r->nmx > 0      ? r->mx[0].name
                        : r->nnames > 0   ? r->names[0]
                                          : r->why;

    assert_false(in_start);
    a->called++;
    a->status = status;
    a->answer = *r;
    snprintf(a->first, sizeof a->first, "%s", first);
}

static struct asker *ask(struct world *w, unsigned i, enum dns_type type, const char *name)
{
    in_start = true;
    if (type == DNS_TYPE_MX)
        dns_ask_mx(w->dns, name, &w->scope, on_answer, &askers[i]);
    else if (type == DNS_TYPE_PTR)
        dns_ask_ptr(w->dns, name, &w->scope, on_answer, &askers[i]);
    else
        dns_ask_addresses(w->dns, name, type == DNS_TYPE_A, true, &w->scope, on_answer, &askers[i]);
    in_start = false;
    return &askers[i];
}

static void ask_ipv4(struct world *w, unsigned i, const char *name)
{
    dns_ask_addresses(w->dns, name, true, false, &w->scope, on_answer, &askers[i]);
}

static void run(struct world *w)
{
    while (!op_scope_idle(&w->scope))
        loop_turn(w->loop);
}

static void tick(void *arg)
{
    (void)arg;
}

static void turns(struct world *w, unsigned n)
{
    while (n-- > 0) {
        struct timer t = {0};

        timer_start(w->loop, &t, 1, tick, NULL);
        loop_turn(w->loop);
        timer_stop(&t);
    }
}

/* ---- tests ---- */

static void test_answers(void **state)
{
    static const struct {
        enum dns_type type; /* A: addresses of both versions */
        const char *name;
        enum op_status status;
        const char *first;
        size_t n;
        bool no_domain;
    } cases[] = {
        {DNS_TYPE_MX, "a.example", OP_OK, "mx.example", 1, false},
        {DNS_TYPE_A, "a.example", OP_OK, "192.0.2.1", 1, false},
        {DNS_TYPE_A, "half.example", OP_OK, "192.0.2.1", 1, false},
        {DNS_TYPE_A, "only6.example", OP_OK, "2001:db8::1", 1, false},
        {DNS_TYPE_A, "none.example", OP_NOTFOUND, "Host not found", 0, true},
        {DNS_TYPE_AAAA, "a.example", OP_NOTFOUND, "Host found but no data record of requested type", 0, false},
        {DNS_TYPE_A, "broken.example", OP_TEMPFAIL, "Host not found, try again", 0, false},
        {DNS_TYPE_PTR, "192.0.2.1", OP_OK, "host.example", 1, false},
        {DNS_TYPE_PTR, "not an address", OP_NOTFOUND, "invalid host or domain name", 0, false},
        {DNS_TYPE_MX, "a..example", OP_NOTFOUND, "invalid host or domain name", 0, false},
        {DNS_TYPE_A, "localhost", OP_OK, "127.0.0.1", 2, false},
        {DNS_TYPE_AAAA, "LocalHost", OP_OK, "::1", 1, false},
        {DNS_TYPE_A, "far.example", OP_OK, "192.0.2.1", 1, false},
        {DNS_TYPE_MX, "endless0.example", OP_NOTFOUND, "Name server loop", 0, false},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct world w;
        struct asker *a;

        world_open(&w);
        a = ask(&w, 0, cases[i].type, cases[i].name);
        run(&w);
        assert_int_equal(a->called, 1);
        if (a->status != cases[i].status || strcmp(a->first, cases[i].first) != 0)
            fail_msg("case %u: %d %s", i, a->status, a->first);
        assert_int_equal(a->answer.naddresses + a->answer.nmx + a->answer.nnames, cases[i].n);
        assert_int_equal(a->answer.no_domain, cases[i].no_domain);
        assert_true(w.server.asked <= DNS_CHAIN_MAX + 1);
        world_close(&w);
    }
}

static void test_asked_once(void **state)
{
    struct world w;

    (void)state;
    world_open(&w);
    for (unsigned i = 0; i < 100; i++)
        ask(&w, i, DNS_TYPE_MX, i % 2 ? "a.example" : "A.Example");
    run(&w);
    for (unsigned i = 0; i < 100; i++)
        assert_string_equal(askers[i].first, "mx.example");
    assert_int_equal(w.server.asked, 1);
    ask(&w, 100, DNS_TYPE_MX, "a.example"); /* from the cache */
    run(&w);
    assert_string_equal(askers[100].first, "mx.example");
    assert_int_equal(w.server.asked, 1);
    ask_ipv4(&w, 101, "a.example"); /* another type */
    run(&w);
    assert_int_equal(w.server.asked, 2);
    world_close(&w);
}

static void test_nothing_is_kept_without_time(void **state)
{
    struct world w;

    (void)state;
    world_open(&w);
    for (unsigned i = 0; i < 3; i++) {
        ask_ipv4(&w, i, "brief.example");
        run(&w);
        assert_int_equal(w.server.asked, i + 1);
    }
    world_close(&w);
}

static void test_an_asker_that_leaves(void **state)
{
    struct world w;
    struct op_scope other;

    (void)state;
    world_open(&w);
    op_scope_init(&other, "other");
    ask_ipv4(&w, 0, "a.example");
    dns_ask_addresses(w.dns, "a.example", true, false, &other, on_answer, &askers[1]);
    op_scope_close(&w.scope);
    while (!op_scope_idle(&other))
        loop_turn(w.loop);
    assert_int_equal(askers[0].called, 0);
    assert_string_equal(askers[1].first, "192.0.2.1");
    assert_int_equal(w.server.asked, 1);
    world_close(&w);
}

/* The question goes on, so the next one finds its answer. */
static void test_all_askers_leave(void **state)
{
    struct world w;

    (void)state;
    world_open(&w);
    ask_ipv4(&w, 0, "a.example");
    op_scope_cancel(&w.scope);
    while (w.server.asked < 1)
        loop_turn(w.loop);
    turns(&w, 20);
    ask_ipv4(&w, 1, "a.example");
    run(&w);
    assert_int_equal(askers[0].called, 0);
    assert_string_equal(askers[1].first, "192.0.2.1");
    assert_int_equal(w.server.asked, 1);
    world_close(&w);
}

static void test_the_resolver_ends(void **state)
{
    struct world w;

    (void)state;
    world_open(&w);
    w.server.silent = true;
    for (unsigned i = 0; i < 200; i++) { /* so many that some have not been asked yet */
        char name[40];

        snprintf(name, sizeof name, "n%u.example", i);
        ask(&w, i, DNS_TYPE_A, name);
    }
    turns(&w, 5);
    dns_free(&w.dns);
    run(&w);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(askers[i].called, 1);
        assert_int_equal(askers[i].status, OP_TEMPFAIL);
    }
    world_close(&w);
}

static void test_another_server(void **state)
{
    struct world w;
    struct server fresh;
    struct buf err = {0};

    (void)state;
    world_open(&w);
    server_open(&fresh, w.loop);
    w.server.silent = true;
    for (unsigned i = 0; i < 150; i++) {
        char name[40];

        snprintf(name, sizeof name, "n%u.example", i);
        ask_ipv4(&w, i, name);
    }
    while (w.server.asked == 0)
        loop_turn(w.loop);
    assert_false(dns_reload(w.dns, &(struct conf){.resolver = "nonsense"}, &err));
    assert_string_equal(buf_cstr(&err), "resolver: \"nonsense\" is not an address, or address:port\n");
    assert_true(dns_reload(w.dns, &(struct conf){.resolver = fresh.resolver}, &err));
    run(&w);
    for (unsigned i = 0; i < 150; i++)
        assert_int_equal(askers[i].status, OP_OK);
    assert_int_equal(fresh.asked, 150);
    buf_release(&err);
    server_close(&fresh);
    world_close(&w);
}

static void test_a_flood(void **state)
{
    struct world w;

    (void)state;
    world_open(&w);
    for (unsigned i = 0; i < ASKERS; i++) {
        char name[40];

        snprintf(name, sizeof name, "n%u.example", i);
        ask_ipv4(&w, i, name);
    }
    on_question(&w.server, FDWATCH_READ);
    assert_int_equal(w.server.asked, 100); /* not more at once than a socket's buffer holds */
    run(&w);
    for (unsigned i = 0; i < ASKERS; i++)
        assert_int_equal(askers[i].status, OP_OK);
    world_close(&w);
}

static void test_resolvers(void **state)
{
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {
        {"", true},
        {"192.0.2.1", true},
        {"192.0.2.1:5353, [2001:db8::1]:53 2001:db8::2 [2001:db8::3]", true},
        {"[192.0.2.1]:53", true},
        {"192.0.2.1:", false},
        {"192.0.2.1:0", false},
        {"192.0.2.1:65536", false},
        {"192.0.2.1:domain", false},
        {"ns.example", false},
        {"[2001:db8::1", false},
        {"2001:db8::1]:53", false},
        {"[2001:db8::1]53", false},
        {":53", false},
        {"[]:53", false},
        {"192.0.2.1 x", false},
    };
    struct loop *loop = loop_new();

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf err = {0};
        struct dns *d = dns_new(loop, &(struct conf){.resolver = cases[i].text}, &err);

        if ((d != NULL) != cases[i].ok || (buf_len(&err) == 0) != cases[i].ok)
            fail_msg("\"%s\": %s", cases[i].text, buf_cstr(&err));
        dns_free(&d);
        buf_release(&err);
    }
    loop_run(loop);
    loop_free(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_asked_once),
        cmocka_unit_test(test_nothing_is_kept_without_time),
        cmocka_unit_test(test_an_asker_that_leaves),
        cmocka_unit_test(test_all_askers_leave),
        cmocka_unit_test(test_the_resolver_ends),
        cmocka_unit_test(test_another_server),
        cmocka_unit_test(test_a_flood),
        cmocka_unit_test(test_resolvers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
