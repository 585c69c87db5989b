/*
 * Making a connection to a Dovecot auth service: see auth_dovecot_greet.h. Used by auth_dovecot_conn.c, for its
 * connection and for a look whether that one is still with the right process. Waits for the connection and for the
 * service's half of the handshake; both sides speak at once.
 */
#include "proto/auth/auth_dovecot_greet.h"

#include <unistd.h>

#define STEP_MS 10000

static void finish(struct dovecot_greet *g, const char *why)
{
    timer_stop(&g->timer);
    if (why != NULL)
        stream_close(&g->stream);
    g->done(g->arg, why);
}

/* Handlers answer NULL, or why the service is of no use. */
typedef const char *line_fn(struct dovecot_greet *, const struct dovecot_line *);

static const char *on_version(struct dovecot_greet *g, const struct dovecot_line *line)
{
    if (line->major != DOVECOT_MAJOR)
        return "it speaks another version of the protocol";
    g->version = true;
    g->hello.minor = line->minor;
    return NULL;
}

static bool good_name(struct slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        if (!ascii_alnum(name.p[i]) && name.p[i] != '-' && name.p[i] != '_')
            return false;
    }
    return name.n < sizeof((struct auth_mechanism *)0)->name; /* RFC 4422 section 3.1: at most 20 */
}

static const struct {
    unsigned theirs, ours;
} properties[] = {
    {DOVECOT_PROPERTY_PLAINTEXT, AUTH_PLAINTEXT}, {DOVECOT_PROPERTY_DICTIONARY, AUTH_DICTIONARY},
    {DOVECOT_PROPERTY_ACTIVE, AUTH_ACTIVE},       {DOVECOT_PROPERTY_ANONYMOUS, AUTH_ANONYMOUS},
    {DOVECOT_PROPERTY_MUTUAL, AUTH_MUTUAL},       {DOVECOT_PROPERTY_FORWARD_SECRECY, AUTH_FORWARD_SECRECY},
    {DOVECOT_PROPERTY_PRIVATE, AUTH_PRIVATE},     {DOVECOT_PROPERTY_CHANNEL_BINDING, AUTH_PRIVATE}, /* we cannot */
};

static const char *on_mech(struct dovecot_greet *g, const struct dovecot_line *line)
{
    struct auth_mechanism *m = &g->hello.mechanisms[g->hello.nmechanisms];

    if (g->hello.nmechanisms == DOVECOT_MECHANISMS_MAX || !good_name(line->text))
        return NULL;
    *m = (struct auth_mechanism){0};
    for (size_t i = 0; i < line->text.n; i++)
        m->name[i] = ascii_upper(line->text.p[i]);
    for (size_t i = 0; i < ARRAY_LEN(properties); i++)
        m->properties |= line->properties & properties[i].theirs ? properties[i].ours : 0;
    g->hello.nmechanisms++;
    return NULL;
}

/* Clients hear of the mechanisms first; the socket for Dovecot's own master users has none. */
static const char *on_spid(struct dovecot_greet *g, const struct dovecot_line *line)
{
    snprintf(g->hello.spid, sizeof g->hello.spid, "%.*s", (int)line->text.n, line->text.p);
    return g->hello.nmechanisms == 0 ? "it is the wrong socket (auth-master?)" : NULL;
}

static const char *on_done(struct dovecot_greet *g, const struct dovecot_line *line)
{
    (void)line;
    if (!g->version)
        return "it does not say its version";
    return g->hello.nmechanisms == 0 ? "it offers no mechanism" : NULL;
}

static line_fn *const handlers[DOVECOT_MALFORMED + 1] = {
    [DOVECOT_VERSION] = on_version,
    [DOVECOT_MECH] = on_mech,
    [DOVECOT_SPID] = on_spid,
    [DOVECOT_DONE] = on_done,
};

static void on_data(void *arg)
{
    struct dovecot_greet *g = arg;
    const char *why = NULL;
    struct slice in;
    size_t eol;

    while ((eol = slice_find(in = stream_input(g->stream), '\n')) != SLICE_NOT_FOUND) {
        struct dovecot_line line;

        dovecot_line_read(&line, slice_head(in, eol), &g->words);
        stream_consume(g->stream, eol + 1);
        if (handlers[line.kind] != NULL)
            why = handlers[line.kind](g, &line);
        if (why != NULL || line.kind == DOVECOT_DONE) {
            finish(g, why);
            return;
        }
    }
    if (in.n >= DOVECOT_LINE_MAX)
        finish(g, "it sends a line without an end");
}

static void on_end(void *arg, const char *error)
{
    finish(arg, error != NULL ? error : "it closed the connection");
}

static const struct stream_events events = {.on_data = on_data, .on_end = on_end};

static void on_late(void *arg)
{
    finish(arg, "it does not greet");
}

static void on_dialed(void *owner, enum op_status status, const void *result)
{
    struct dovecot_greet *g = owner;
    struct buf out = {0};

    if (status != OP_OK) {
        finish(g, status == OP_TEMPFAIL ? dial_error(result) : "timed out");
        return;
    }
    g->stream = dial_take(result);
    timer_start(g->loop, &g->timer, STEP_MS, on_late, g);
    stream_set_events(g->stream, &events, g, DOVECOT_LINE_MAX);
    dovecot_write_hello(&out, (unsigned long)getpid());
    stream_write(g->stream, buf_slice(&out));
    buf_release(&out);
}

void dovecot_greet_start(struct dovecot_greet *g, struct loop *loop, const struct dial_target *to,
                         dovecot_greet_fn *done, void *arg)
{
    dovecot_greet_stop(g);
    *g = (struct dovecot_greet){.loop = loop, .active = true, .done = done, .arg = arg};
    op_scope_init(&g->scope, "dovecot");
    dial_start(loop, &g->scope, to, STEP_MS, on_dialed, g);
}

struct stream *dovecot_greet_take(struct dovecot_greet *g)
{
    struct stream *s = g->stream;

    g->stream = NULL;
    return s;
}

void dovecot_greet_stop(struct dovecot_greet *g)
{
    if (!g->active)
        return;
    g->active = false;
    op_scope_close(&g->scope);
    timer_stop(&g->timer);
    stream_close(&g->stream);
    buf_release(&g->words);
}
