/*
 * The connection to a Dovecot auth service: see auth_dovecot_conn.h. Used by auth_dovecot.c; owns the registry of
 * connections, the connections, and which request an answer belongs to. Waits for the connection to be made
 * (auth_dovecot_greet.c) and for answers, in any order.
 *
 * When a connection is lost that was of use it is made anew at once, and what was asked on it is asked once more,
 * unless the client has answered a challenge of it already. When that fails everybody who waits hears of it, and the
 * connection is away: tried again after 1 s, 2 s, ... up to RETRY_MAX_MS, or when somebody wants it.
 *
 * An auth process outlives a restart or a reload of Dovecot by half a minute, in which it keeps its connections and
 * answers nothing. So after a silence a second connection is made, to see whether the same process is behind the
 * socket: another one gets the requests.
 */
#include "proto/auth/auth_dovecot_conn.h"

#include "core/base/alloc.h"
#include "core/base/log.h"
#include "core/base/map.h"
#include "proto/auth/auth_dovecot_greet.h"

#define RETRY_MS     1000 /* between two attempts, at the least */
#define RETRY_MAX_MS 30000
#define SILENCE_MS   5000 /* Dovecot's usual delay after a wrong password is 2 s */
#define SENT_MAX     1000 /* further ones wait */

enum conn_state {
    CONN_AWAY,     /* `timer`: the next attempt */
    CONN_GREETING, /* `greet` is at work */
    CONN_UP,       /* `timer`: silence, while something was sent; then `greet` looks after it */
};

struct dovecot_conn {
    struct list link; /* in `conns` */
    unsigned refs;
    struct loop *loop;
    char *path, *host, *socket; /* what target points to */
    struct dial_target target;
    enum conn_state state;
    struct dovecot_greet greet;
    struct stream *stream; /* CONN_UP */
    struct timer timer;
    uint64_t attempt_ms, up_ms, heard_ms, look_ms;
    unsigned failures;          /* attempts since it was of use */
    bool failed;                /* and the last one is among them */
    bool useful;                /* this connection has brought an answer */
    struct dovecot_hello hello; /* the last one */
    struct list waiting, sent;
    size_t nsent;
    struct map ids; /* id -> request: those that were sent, and those that are challenged */
    uint32_t last_id;
    struct buf words, out;
};

static struct list conns; /* all there are; loop thread only */

static void connect_now(struct dovecot_conn *c);
static void on_silence(void *arg);

/* ---- requests ---- */

static struct slice key_of(const uint32_t *id)
{
    return slice_make(id, sizeof *id);
}

static void forget_id(struct dovecot_request *r)
{
    if (r->id != 0)
        map_remove(&r->conn->ids, key_of(&r->id));
    r->id = 0;
}

/* It waits for nothing any more. */
static void settle(struct dovecot_request *r)
{
    list_remove(&r->link);
    timer_stop(&r->timer);
    if (r->sent)
        r->conn->nsent--;
    r->sent = false;
}

static void fail(struct dovecot_request *r, const char *why)
{
    settle(r);
    forget_id(r);
    r->on_answer(r, NULL, why);
}

static void write_out(struct dovecot_conn *c)
{
    stream_write(c->stream, buf_slice(&c->out));
    if (c->out.data != NULL)
        explicit_bzero(c->out.data, c->out.cap); /* passwords */
    buf_clear(&c->out);
}

/* Tells Dovecot to forget it. */
static void cancel(struct dovecot_request *r)
{
    if (r->id == 0)
        return; /* else the connection is up */
    dovecot_write_cancel(&r->conn->out, r->id);
    write_out(r->conn);
}

static uint32_t fresh_id(struct dovecot_conn *c)
{
    do
        c->last_id++;
    while (c->last_id == 0 || map_get(&c->ids, key_of(&c->last_id)) != NULL);
    return c->last_id;
}

static bool offers(const struct dovecot_conn *c, const char *mechanism)
{
    for (size_t i = 0; i < c->hello.nmechanisms; i++) {
        if (strcmp(c->hello.mechanisms[i].name, mechanism) == 0)
            return true;
    }
    return false;
}

static void send_request(struct dovecot_conn *c, struct dovecot_request *r)
{
    /* Dovecot cuts the connection of a client that asks for another one; it may have been configured anew. */
    if (!offers(c, r->auth.mechanism)) {
        fail(r, "the mechanism is not offered any more");
        return;
    }
    list_append(&c->sent, &r->link);
    r->sent = true;
    c->nsent++;
    if (r->response != NULL) {
        dovecot_write_cont(&c->out, r->id, r->response);
    } else {
        r->id = fresh_id(c);
        map_put(&c->ids, key_of(&r->id), r);
        dovecot_write_auth(&c->out, r->id, &r->auth, c->hello.minor);
    }
    write_out(c);
    if (!timer_active(&c->timer))
        timer_start(c->loop, &c->timer, SILENCE_MS, on_silence, c);
}

static void pump(struct dovecot_conn *c)
{
    struct list *it;

    while (c->state == CONN_UP && c->nsent < SENT_MAX && (it = list_shift(&c->waiting)) != NULL)
        send_request(c, LIST_ITEM(it, struct dovecot_request, link));
}

static void fail_all(struct list *requests, const char *why)
{
    struct list *it;

    while ((it = list_shift(requests)) != NULL)
        fail(LIST_ITEM(it, struct dovecot_request, link), why);
}

/* After the connection was lost: what was sent on it waits to be sent again, or has failed. */
static void take_back(struct dovecot_conn *c, const char *why)
{
    struct list again;
    struct list *it;
    struct slice key;
    void *r;

    for (size_t at = 0; map_next(&c->ids, &at, &key, &r);)
        ((struct dovecot_request *)r)->id = 0;
    map_clear(&c->ids);
    list_init(&again);
    while ((it = list_shift(&c->sent)) != NULL) {
        struct dovecot_request *q = LIST_ITEM(it, struct dovecot_request, link);

        if (q->challenged || q->repeated) {
            fail(q, why);
            continue;
        }
        q->repeated = true;
        q->sent = false;
        c->nsent--;
        list_append(&again, &q->link);
    }
    /* in front of those that wait, save responses to challenges, whose challenge is gone */
    LIST_FOREACH(waiting, &c->waiting)
    {
        struct dovecot_request *q = LIST_ITEM(waiting, struct dovecot_request, link);

        if (q->challenged)
            fail(q, why);
    }
    list_splice(&again, &c->waiting);
    list_splice(&c->waiting, &again);
}

/* ---- the connection ends ---- */

static void on_retry(void *arg)
{
    connect_now(arg);
}

static uint64_t backoff_ms(const struct dovecot_conn *c)
{
    uint64_t ms = RETRY_MS;

    for (unsigned i = 1; i < c->failures && ms < RETRY_MAX_MS; i++)
        ms *= 2;
    return ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
}

/* It cannot be had now. */
static void go_away(struct dovecot_conn *c, const char *why)
{
    dovecot_greet_stop(&c->greet);
    stream_close(&c->stream);
    c->state = CONN_AWAY;
    take_back(c, why);
    if (!c->failed)
        log_event(LOG_AUTH_WARNING, NULL, "SASL: Connect to Dovecot auth socket '%s' failed: %s", c->path, why);
    c->failed = true;
    c->failures++;
    timer_start(c->loop, &c->timer, backoff_ms(c), on_retry, c);
    fail_all(&c->waiting, why);
}

static void lost(struct dovecot_conn *c, const char *why)
{
    uint64_t now = loop_now_ms(c->loop);

    /* One that has done nothing would be made and lost in a circle. */
    if (c->state != CONN_UP || (!c->useful && now - c->up_ms < RETRY_MS)) {
        go_away(c, why);
        return;
    }
    stream_close(&c->stream);
    dovecot_greet_stop(&c->greet);
    c->failures = 0;
    take_back(c, why);
    connect_now(c);
}

/* ---- what Dovecot says ---- */

/* An id that nobody asked with belongs to somebody who has gone. */
static void on_answer(struct dovecot_conn *c, const struct dovecot_line *line)
{
    struct dovecot_request *r = map_get(&c->ids, key_of(&line->id));

    c->useful = true;
    if (r == NULL)
        return;
    if (!r->sent) { /* it is the client's turn: nothing but the end of it has a meaning here, which respond finds */
        if (line->kind != DOVECOT_CONT)
            forget_id(r);
        return;
    }
    settle(r);
    if (line->kind == DOVECOT_CONT)
        r->challenged = true;
    else
        forget_id(r);
    r->on_answer(r, line, NULL);
    pump(c);
}

static void on_data(void *arg)
{
    struct dovecot_conn *c = arg;
    struct slice in;
    size_t eol;

    c->heard_ms = loop_now_ms(c->loop);
    while ((eol = slice_find(in = stream_input(c->stream), '\n')) != SLICE_NOT_FOUND) {
        struct dovecot_line line;

        dovecot_line_read(&line, slice_head(in, eol), &c->words);
        stream_consume(c->stream, eol + 1);
        if (line.kind == DOVECOT_OK || line.kind == DOVECOT_FAIL || line.kind == DOVECOT_CONT)
            on_answer(c, &line);
    }
    if (in.n >= DOVECOT_LINE_MAX) {
        lost(c, "it sends a line without an end");
        return;
    }
    timer_stop(&c->timer);
    if (c->nsent > 0)
        timer_start(c->loop, &c->timer, SILENCE_MS, on_silence, c);
}

static void on_end(void *arg, const char *error)
{
    lost(arg, error != NULL ? error : "it closed the connection");
}

static const struct stream_events events = {.on_data = on_data, .on_end = on_end};

/* ---- connecting ---- */

/* The service is there: `greet` has its connection. */
static void become_up(struct dovecot_conn *c)
{
    c->stream = dovecot_greet_take(&c->greet);
    c->hello = c->greet.hello;
    dovecot_greet_stop(&c->greet);
    timer_stop(&c->timer);
    c->state = CONN_UP;
    c->up_ms = c->heard_ms = loop_now_ms(c->loop);
    c->useful = false;
    if (c->failed)
        log_event(LOG_AUTH_INFO, NULL, "SASL: Dovecot auth socket '%s' is back", c->path);
    c->failed = false;
    stream_set_events(c->stream, &events, c, DOVECOT_LINE_MAX);
    pump(c);
}

static void on_greeted(void *arg, const char *why)
{
    struct dovecot_conn *c = arg;

    if (why != NULL)
        go_away(c, why);
    else
        become_up(c);
}

static void connect_now(struct dovecot_conn *c)
{
    timer_stop(&c->timer);
    c->state = CONN_GREETING;
    c->attempt_ms = loop_now_ms(c->loop);
    dovecot_greet_start(&c->greet, c->loop, &c->target, on_greeted, c);
}

/* What the look at the socket has shown. */
static void on_looked(void *arg, const char *why)
{
    struct dovecot_conn *c = arg;

    if (why == NULL && strcmp(c->greet.hello.spid, c->hello.spid) != 0) {
        stream_close(&c->stream);
        take_back(c, "it was restarted");
        become_up(c);
    } else if (why != NULL && c->heard_ms < c->look_ms) {
        go_away(c, why);
    } else {
        dovecot_greet_stop(&c->greet);
    }
}

static void on_silence(void *arg)
{
    struct dovecot_conn *c = arg;

    if (c->nsent == 0)
        return;
    timer_start(c->loop, &c->timer, SILENCE_MS, on_silence, c);
    if (c->greet.active)
        return;
    c->look_ms = loop_now_ms(c->loop);
    dovecot_greet_start(&c->greet, c->loop, &c->target, on_looked, c);
}

/* Somebody wants it. */
static void want(struct dovecot_conn *c)
{
    if (c->state == CONN_AWAY && loop_now_ms(c->loop) - c->attempt_ms >= RETRY_MS)
        connect_now(c);
}

/* ---- for the back end ---- */

static bool same_target(const struct dial_target *a, const struct dial_target *b)
{
    if (a->path != NULL || b->path != NULL)
        return a->path != NULL && b->path != NULL && strcmp(a->path, b->path) == 0;
    return strcmp(a->host, b->host) == 0 && a->port == b->port;
}

struct dovecot_conn *dovecot_conn_get(struct loop *loop, const char *path, const struct dial_target *to)
{
    struct dovecot_conn *c;

    if (conns.next == NULL)
        list_init(&conns);
    LIST_FOREACH(it, &conns)
    {
        c = LIST_ITEM(it, struct dovecot_conn, link);
        if (c->loop == loop && same_target(&c->target, to))
            return dovecot_conn_ref(c);
    }
    c = NEW(struct dovecot_conn);
    c->refs = 1;
    c->loop = loop;
    c->path = mem_strdup(path);
    c->target = (struct dial_target){
        .path = c->socket = mem_strdup(to->path), .host = c->host = mem_strdup(to->host), .port = to->port};
    list_init(&c->waiting);
    list_init(&c->sent);
    list_append(&conns, &c->link);
    connect_now(c);
    return c;
}

struct dovecot_conn *dovecot_conn_ref(struct dovecot_conn *c)
{
    c->refs++;
    return c;
}

/* Every request that is not over has a reference, so that nothing waits here. */
void dovecot_conn_unref(struct dovecot_conn **cp)
{
    struct dovecot_conn *c = *cp;

    *cp = NULL;
    if (c == NULL || --c->refs > 0)
        return;
    MTA_ASSERT(list_empty(&c->waiting) && list_empty(&c->sent) && c->ids.count == 0);
    list_remove(&c->link);
    dovecot_greet_stop(&c->greet);
    timer_stop(&c->timer);
    stream_close(&c->stream);
    map_clear(&c->ids);
    buf_release(&c->words);
    buf_release(&c->out);
    mem_free(c->path);
    mem_free(c->host);
    mem_free(c->socket);
    mem_free(c);
}

size_t dovecot_conn_mechanisms(struct dovecot_conn *c, const struct auth_mechanism **items)
{
    want(c);
    *items = c->hello.mechanisms;
    return c->failed ? 0 : c->hello.nmechanisms;
}

static void on_answer_late(void *arg)
{
    struct dovecot_request *r = arg;
    struct dovecot_conn *c = r->conn;

    cancel(r);
    fail(r, "it does not answer");
    pump(c);
}

static void ask(struct dovecot_request *r)
{
    struct dovecot_conn *c = r->conn;

    want(c);
    if (c->state == CONN_AWAY) {
        fail(r, "it is not there");
        return;
    }
    timer_start(c->loop, &r->timer, DOVECOT_ANSWER_MS, on_answer_late, r);
    list_append(&c->waiting, &r->link);
    pump(c);
}

void dovecot_conn_begin(struct dovecot_request *r)
{
    ask(r);
}

void dovecot_conn_respond(struct dovecot_request *r, const char *response)
{
    MTA_ASSERT(!r->sent && !list_linked(&r->link));
    r->response = response;
    if (r->id == 0)
        fail(r, "it did not wait for the client");
    else
        ask(r);
}

void dovecot_conn_end(struct dovecot_request *r)
{
    cancel(r);
    settle(r);
    forget_id(r);
    pump(r->conn);
}
