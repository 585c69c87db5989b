/*
 * A connection of the client: replies come in, each goes to the handler of the step that waits for it; a step's time is
 * up, or the connection ends. Called by the other smtpc files. Owns the stream; belongs to a job while it has one, and
 * to the cache (conn_cache.h) when it is idle.
 */
#include "delivery/smtpc_int.h"

#include "core/base/alloc.h"

#define INPUT_MAX      4096
#define QUIT_LINGER_MS 5000 /* for what is still to be written, and for the server's end */

static const struct {
    size_t timeout; /* field of struct conf_client */
    const char *command, *doing;
    void (*handler)(struct smtpc_job *, const struct outcome_reply *, const struct smtp_answer *);
} steps[] = {
#define SMTPC_STEP(id, timeout, command, doing, handler)                                                               \
    {offsetof(struct conf_client, timeout), command, doing, handler},
#include "delivery/smtpc_steps.def"
#undef SMTPC_STEP
};

const char *smtpc_command(enum smtpc_step step)
{
    return steps[step].command;
}

const char *smtpc_doing(enum smtpc_step step)
{
    return steps[step].doing;
}

/* ---- closing ---- */

/* What is left of it goes when the callbacks that may still look at it have returned. */
static void discard(struct smtpc_conn *c)
{
    MTA_ASSERT(c->stream == NULL);
    timer_stop(&c->timer);
    conn_cache_remove(&c->idle);
    mem_free(c->host);
    mem_free(c->address);
    mem_free(c->peer);
    mem_free(c->relay);
    mem_free(c->mechanisms);
    auth_client_end(&c->auth);
    loop_free_later(c->loop, c);
}

void smtpc_conn_close(struct smtpc_conn **cp)
{
    struct smtpc_conn *c = *cp;

    *cp = NULL;
    if (c == NULL)
        return;
    stream_close(&c->stream);
    discard(c);
}

void smtpc_conn_quit(struct smtpc_conn **cp)
{
    struct smtpc_conn *c = *cp;

    *cp = NULL;
    stream_write(c->stream, SLICE_LIT("QUIT\r\n"));
    stream_finish(&c->stream, QUIT_LINGER_MS);
    discard(c);
}

static void on_expire(struct conn_idle *idle)
{
    struct smtpc_conn *c = CONTAINER_OF(idle, struct smtpc_conn, idle);

    smtpc_conn_quit(&c);
}

/* ---- events ---- */

static void lost(struct smtpc_conn *c, enum outcome_loss loss)
{
    if (c->job != NULL)
        smtpc_lost(c->job, loss);
    else
        smtpc_conn_close(&c);
}

static void on_reply(struct smtpc_conn *c)
{
    const struct outcome_reply r = {c->answer.code, c->answer.dsn, c->answer.text};

    if (c->unasked > 0 && r.code / 100 == 2)
        c->unasked--;
    else if (c->unasked > 0 || c->job == NULL)
        lost(c, OUTCOME_LOSS_CLOSED); /* "421 Idle for too long" */
    else
        steps[c->step].handler(c->job, &r, &c->answer);
}

static void on_data(void *arg)
{
    struct smtpc_conn *c = arg;

    while (c->stream != NULL && stream_input(c->stream).n > 0) {
        size_t used;
        enum smtp_answer_state state = smtp_answer_feed(&c->answer, stream_input(c->stream), &used);

        stream_consume(c->stream, used);
        if (state == SMTP_ANSWER_BAD)
            lost(c, OUTCOME_LOSS_GARBAGE);
        else if (state == SMTP_ANSWER_DONE)
            on_reply(c);
    }
}

static void on_end(void *arg, const char *error)
{
    (void)error;
    lost(arg, OUTCOME_LOSS_CLOSED);
}

static void on_drain(void *arg)
{
    struct smtpc_conn *c = arg;

    if (c->job == NULL)
        return;
    if (c->job->body.go)
        smtpc_body_push(c->job);
    else
        smtpc_txn_pump(c->job);
}

static void on_timer(void *arg)
{
    lost(arg, OUTCOME_LOSS_TIMEOUT);
}

/* ---- use ---- */

struct smtpc_conn *smtpc_conn_new(struct smtpc_job *job, struct stream *stream, const char *host, const char *address,
                                  int port)
{
    static const struct stream_events events = {on_data, on_end, on_drain};
    struct smtpc_conn *c = NEW(struct smtpc_conn);

    c->loop = job->job.transport->loop;
    c->stream = stream;
    c->job = job;
    c->host = mem_strdup(host);
    c->address = mem_strdup(address);
    c->port = port;
    c->peer = mem_printf("%s[%s]", host, address);
    c->relay = port > 0 ? mem_printf("%s:%d", c->peer, port) : mem_strdup(c->peer);
    c->opened_ms = loop_now_ms(c->loop);
    c->uses = 1;
    c->idle.expire = on_expire;
    stream_set_events(stream, &events, c, INPUT_MAX);
    return c;
}

void smtpc_conn_step(struct smtpc_conn *c, enum smtpc_step step)
{
    const char *conf = (const char *)c->job->conf;

    smtpc_conn_step_for(c, step, *(const uint64_t *)(conf + steps[step].timeout));
}

void smtpc_conn_step_for(struct smtpc_conn *c, enum smtpc_step step, uint64_t timeout_ms)
{
    c->step = step;
    timer_start(c->loop, &c->timer, timeout_ms, on_timer, c);
}

void smtpc_conn_send(struct smtpc_conn *c, struct slice text)
{
    stream_write(c->stream, text);
}

void smtpc_conn_use(struct smtpc_conn *c, struct smtpc_job *job)
{
    MTA_ASSERT(c->job == NULL);
    c->job = job;
    c->uses++;
}

void smtpc_conn_keep(struct smtpc_conn **cp, struct conn_cache *cache, const char *first, const char *second,
                     bool reset, uint64_t idle_ms)
{
    struct smtpc_conn *c = *cp;

    *cp = NULL;
    if (reset) {
        stream_write(c->stream, SLICE_LIT("RSET\r\n"));
        c->unasked++;
    }
    timer_stop(&c->timer);
    c->job = NULL;
    c->step = SMTPC_IDLE;
    conn_cache_put(cache, &c->idle, first, second, idle_ms);
}
