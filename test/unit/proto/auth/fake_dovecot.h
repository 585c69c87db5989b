/*
 * A scripted Dovecot auth service on the test's own loop, at a port or a UNIX socket, and authentications that ask it
 * through the back end.
 */
#ifndef MTA_TEST_FAKE_DOVECOT_H
#define MTA_TEST_FAKE_DOVECOT_H

#include "unit/cmocka_all.h"

#include "core/base/alloc.h"
#include "core/base/log.h"
#include "core/loop/fdwatch.h"
#include "core/loop/stream.h"
#include "proto/auth/auth_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HELLO                                                                                                          \
    "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nMECH\tCRAM-MD5\tdictionary\tactive\n"              \
    "SPID\t42\nCUID\t7\nCOOKIE\t00112233445566778899aabbccddeeff\nDONE\n"

/* What world_begin has sent of PLAIN with AHUAcA==. */
#define AUTH_LINE(id)                                                                                                  \
    "AUTH\t" id "\tPLAIN\tservice=smtp\tnologin\tlip=192.0.2.1\tlport=587\trip=192.0.2.7\trport=1234\tsecured=tls"     \
    "\tresp=AHUAcA==\n"

struct world {
    struct loop *loop;
    struct listener *listener;
    struct fdwatch watch; /* of `fd`, the UNIX socket that listens */
    int fd;
    char dir[64], path[128]; /* what smtpd_sasl_path says */
    struct peer {
        struct world *world;
        struct stream *stream; /* NULL: closed */
    } peers[16];
    unsigned naccepted, nclosed; /* nclosed: by the back end */
    const char *hello;           /* sent to each connection; NULL: nothing */
    struct buf got;              /* what has come */
    char log[8192];
    struct conf conf;
    void *backend;
    struct timer tick;
};

static struct world *logging;

static inline void world_sink(enum log_level level, const char *line, size_t n)
{
    size_t have = strlen(logging->log);

    (void)level;
    assert_true(have + n < sizeof logging->log);
    memcpy(logging->log + have, line, n);
}

static inline size_t count_of(const char *text, const char *what)
{
    size_t n = 0;

    for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
        n++;
    return n;
}

static inline void world_on_data(void *arg)
{
    struct peer *p = arg;
    struct slice in = stream_input(p->stream);

    buf_add_slice(&p->world->got, in);
    stream_consume(p->stream, in.n);
}

static inline void world_on_end(void *arg, const char *error)
{
    struct peer *p = arg;

    (void)error;
    stream_close(&p->stream);
    p->world->nclosed++;
}

static inline void world_on_accept(void *arg, struct stream *s)
{
    static const struct stream_events events = {.on_data = world_on_data, .on_end = world_on_end};
    struct world *w = arg;
    struct peer *p = &w->peers[w->naccepted++];

    assert_true(w->naccepted <= ARRAY_LEN(w->peers));
    *p = (struct peer){.world = w, .stream = s};
    stream_set_events(s, &events, p, 1 << 20);
    if (w->hello != NULL)
        stream_write(s, slice_str(w->hello));
}

static inline void world_on_readable(void *arg, int events)
{
    struct world *w = arg;
    int fd = accept(w->fd, NULL, NULL);

    (void)events;
    assert_true(fd >= 0);
    world_on_accept(w, stream_from_fd(w->loop, fd));
}

/* The service begins to listen, where it did before. */
static inline void world_listen(struct world *w, bool inet)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    char err[100];
    int port = 0;

    if (inet) {
        if (w->path[0] != '\0')
            port = (int)strtol(strrchr(w->path, ':') + 1, NULL, 10);
        w->listener = listener_open(w->loop, "127.0.0.1", port, world_on_accept, w, err, sizeof err);
        assert_non_null(w->listener);
        snprintf(w->path, sizeof w->path, "inet:127.0.0.1:%d", listener_port(w->listener));
        return;
    }
    snprintf(sun.sun_path, sizeof sun.sun_path, "%s/auth", w->dir);
    unlink(sun.sun_path);
    w->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(w->fd, (struct sockaddr *)&sun, sizeof sun), 0);
    assert_int_equal(listen(w->fd, 5), 0);
    assert_true(fdwatch_start(w->loop, &w->watch, w->fd, FDWATCH_READ, world_on_readable, w));
}

static inline void world_unlisten(struct world *w)
{
    char path[80];

    listener_close(&w->listener);
    if (w->fd >= 0) {
        fdwatch_stop(&w->watch);
        close(w->fd);
        snprintf(path, sizeof path, "%s/auth", w->dir);
        unlink(path);
    }
    w->fd = -1;
}

static inline void *world_backend(struct world *w)
{
    struct buf err = {0};
    void *backend = auth_backend_dovecot.open(w->loop, NULL, &w->conf, &err);

    if (backend == NULL)
        fail_msg("%s", buf_cstr(&err));
    return backend;
}

static inline void world_open(struct world *w, const char *hello, bool inet)
{
    *w = (struct world){.loop = loop_new(), .fd = -1, .hello = hello};
    logging = w;
    log_setup("mta", "host", LOG_LEVEL_INFO, world_sink);
    strcpy(w->dir, "/tmp/mta-dovecot-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    world_listen(w, inet);
    if (!inet)
        snprintf(w->path, sizeof w->path, "auth");
    w->conf.queue_directory = w->dir;
    w->conf.smtpd_sasl_path = w->path;
    w->conf.smtpd_sasl_service = "smtp";
    w->backend = world_backend(w);
}

static inline void world_close(struct world *w)
{
    timer_stop(&w->tick);
    if (w->backend != NULL)
        auth_backend_dovecot.close(w->backend);
    world_unlisten(w);
    for (unsigned i = 0; i < w->naccepted; i++)
        stream_close(&w->peers[i].stream);
    loop_run(w->loop);
    assert_int_equal(op_live(w->loop), 0);
    loop_free(&w->loop);
    buf_release(&w->got);
    rmdir(w->dir);
    log_setup(NULL, NULL, LOG_LEVEL_INFO, NULL);
}

static inline void world_on_tick(void *arg)
{
    (void)arg;
}

/* One turn of the loop that does not last. */
static inline void world_turn(struct world *w)
{
    timer_start(w->loop, &w->tick, 10, world_on_tick, w);
    loop_turn(w->loop);
}

/* Turns the loop until it is so. */
#define UNTIL(w, condition)                                                                                            \
    do {                                                                                                               \
        uint64_t until_ms = loop_now_ms((w)->loop) + 60000;                                                            \
        while (!(condition)) {                                                                                         \
            if (loop_now_ms((w)->loop) > until_ms)                                                                     \
                fail_msg("never: %s; log: %s; got: %s", #condition, (w)->log, buf_cstr(&(w)->got));                    \
            world_turn(w);                                                                                             \
        }                                                                                                              \
    } while (0)

static inline size_t world_mechanisms(struct world *w)
{
    const struct auth_mechanism *items;

    return auth_backend_dovecot.mechanisms(w->backend, &items);
}

static inline void world_up(struct world *w)
{
    UNTIL(w, world_mechanisms(w) > 0);
}

static inline bool world_got(struct world *w, const char *text)
{
    return strstr(buf_cstr(&w->got), text) != NULL;
}

/* The last connection that is open. */
static inline struct peer *world_peer(struct world *w)
{
    for (unsigned i = w->naccepted; i > 0; i--) {
        if (w->peers[i - 1].stream != NULL)
            return &w->peers[i - 1];
    }
    return NULL;
}

static inline void world_say(struct world *w, const char *text)
{
    stream_write(world_peer(w)->stream, slice_str(text));
}

/* The service drops it. */
static inline void world_drop(struct world *w)
{
    if (world_peer(w) != NULL)
        stream_close(&world_peer(w)->stream);
}

/* An authentication; `x` NULL: none. */
struct exchange_of {
    void *x;
    struct op_scope scope;
    unsigned answers;
    struct auth_answer last; /* its strings are those below */
    char text[256], user[256], reason[256];
};

static inline void world_on_answer(void *owner, enum op_status status, const void *result)
{
    struct exchange_of *e = owner;
    const struct auth_answer *a = result;

    assert_int_equal(status, OP_OK);
    e->answers++;
    e->last = *a;
    snprintf(e->text, sizeof e->text, "%s", a->text);
    snprintf(e->user, sizeof e->user, "%s", a->user);
    snprintf(e->reason, sizeof e->reason, "%s", a->reason);
}

static inline void world_begin(struct world *w, struct exchange_of *e, const char *mechanism, const char *initial)
{
    struct auth_client client = {
        .addr = "192.0.2.7", .port = 1234, .local_addr = "192.0.2.1", .local_port = 587, .host = "mail", .tls = true};

    *e = (struct exchange_of){0};
    op_scope_init(&e->scope, "test");
    e->x = auth_backend_dovecot.begin(w->backend, &client, mechanism, initial, &e->scope, world_on_answer, e);
    assert_int_equal(e->answers, 0); /* never inside the start call */
}

static inline void world_respond(struct exchange_of *e, const char *response)
{
    unsigned before = e->answers;

    auth_backend_dovecot.respond(e->x, response, &e->scope, world_on_answer, e);
    assert_int_equal(e->answers, before);
}

static inline void world_end(struct exchange_of *e)
{
    auth_backend_dovecot.end(e->x);
    e->x = NULL;
    assert_true(op_scope_idle(&e->scope));
    op_scope_close(&e->scope);
}

/* Waits for the answer and compares. */
static inline void world_expect(struct world *w, struct exchange_of *e, enum auth_outcome outcome, const char *user)
{
    UNTIL(w, e->answers == 1);
    e->answers = 0;
    if (e->last.outcome != outcome)
        fail_msg("outcome %d, reason %s", (int)e->last.outcome, e->reason);
    assert_string_equal(e->user, user);
}

#endif
