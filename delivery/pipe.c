/*
 * The pipe transport: a command for each attempt, the message on its standard input (section 1.5 of postfix-semantics,
 * Postfix's pipe(8)). Called through transport.c.
 *
 * An attempt reads the message once up to the end of its header when loops must be looked for (flag D), starts the
 * command, and feeds it a piece at a time, each read when the command has taken the one before. It ends when the
 * command does; outcome.c decides what that means. A message that cannot be read to its end kills the command: it must
 * not take a part for the whole.
 *
 * A job owns its buffers and the command; it waits on the queue and on the command.
 */
#include "delivery/transport_int.h"

#include "core/base/alloc.h"
#include "delivery/content.h"
#include "delivery/copy.h"
#include "delivery/delivered.h"
#include "delivery/pipe_args.h"
#include "lookup/maps.h"

#include <stdlib.h>

#define OUTPUT_MAX 2048 /* bytes of a command's output that are kept */
#define PATH_ENV   "PATH=/usr/bin:/bin"

/* A pipe transport, prepared. */
struct pipe {
    const struct pipe_args *args;
    const char **env;
};

struct pipe_job {
    struct transport_job job;
    const struct pipe *pipe;
    struct content content;
    struct delivered seen;
    bool checked;  /* no loop */
    bool finished; /* all of the content is in `out` or behind */
    bool writable; /* the command waits for input */
    struct copy copy;
    struct buf out; /* not given to the command yet */
    struct spawn *spawn;
    const char **argv;
};

/* ---- preparing ---- */

/* One item of export_environment: NAME, NAME=VALUE or { NAME = VALUE }. NULL when there is no such variable. */
static const char *environment_item(struct arena *arena, struct slice item)
{
    size_t equals;
    const char *name, *value;

    if (item.n >= 2 && item.p[0] == '{' && item.p[item.n - 1] == '}')
        item = slice_trim(slice_make(item.p + 1, item.n - 2));
    equals = slice_find(item, '=');
    name = arena_slice_dup(arena, slice_trim(slice_head(item, equals)));
    value = equals == SLICE_NOT_FOUND ? getenv(name) : arena_slice_dup(arena, slice_trim(slice_from(item, equals + 1)));
    return value != NULL && name[0] != '\0' ? arena_printf(arena, "%s=%s", name, value) : NULL;
}

/* The whole environment: PATH, and what export_environment names. */
static const char **make_environment(struct arena *arena, const char *names)
{
    struct slice rest = slice_str(names), item;
    size_t n = 1, room = strlen(names) / 2 + 4;
    const char **env = arena_new_array(arena, room, sizeof *env);

    env[0] = arena_strdup(arena, PATH_ENV);
    while ((item = maps_list_item(&rest)).n > 0) {
        const char *text = environment_item(arena, item);

        if (text != NULL && slice_starts(slice_str(text), SLICE_LIT("PATH=")))
            env[0] = arena_strdup(arena, text);
        else if (text != NULL)
            env[n++] = arena_strdup(arena, text);
    }
    MTA_ASSERT(n < room);
    return env;
}

static void *pipe_open(struct transport *t, struct buf *err)
{
    struct arena *arena = &t->set->arena;
    struct pipe *pipe = ARENA_NEW(arena, struct pipe);
    struct buf why = {0};

    pipe->args = pipe_args_compile(arena, t->conf->argv, &why);
    if (pipe->args == NULL)
        transport_complain(t, err, buf_cstr(&why));
    pipe->env = make_environment(arena, t->set->conf->export_environment);
    buf_release(&why);
    return pipe;
}

/* ---- the command ---- */

static void pipe_stop(struct transport_job *job)
{
    struct pipe_job *p = (struct pipe_job *)job;

    spawn_free(&p->spawn);
    delivered_release(&p->seen);
    buf_release(&p->out);
}

/* Gives the command what there is, or asks for more, or says that there is no more. */
static void feed(struct pipe_job *p)
{
    if (buf_len(&p->out) > 0) {
        p->writable = false;
        spawn_write(p->spawn, buf_slice(&p->out));
        buf_clear(&p->out);
    } else if (p->finished) {
        p->writable = false;
        spawn_end_input(p->spawn);
    } else {
        content_next(&p->content);
    }
}

static void on_writable(void *arg)
{
    struct pipe_job *p = arg;

    p->writable = true;
    feed(p);
}

static void on_exit_of_command(void *arg, const struct spawn_result *result)
{
    struct pipe_job *p = arg;
    const struct outcome o = outcome_command(p->job.transport->conf->name, p->argv[0], result);

    transport_job_end(&p->job, &o);
}

static void start_command(struct pipe_job *p)
{
    static const struct spawn_events events = {on_writable, on_exit_of_command};
    const struct transport *t = p->job.transport;
    const struct spawn_opts opts = {
        .argv = p->argv,
        .env = p->pipe->env,
        .cwd = t->conf->directory[0] != '\0' ? t->conf->directory : t->set->conf->queue_directory,
        .switch_user = t->conf->has_user,
        .uid = t->conf->uid,
        .gid = t->conf->gid,
        .output_max = OUTPUT_MAX,
        .time_limit_ms = t->conf->time_limit_ms,
    };

    p->spawn = spawn_start(t->loop, &opts, &events, p);
}

static void begin_copy(struct pipe_job *p)
{
    const struct transport *t = p->job.transport;
    const struct delivery *d = p->job.delivery;
    const struct envelope_rcpt *rcpt = &d->rcpts[0];
    const char *original = rcpt->orig != NULL ? rcpt->orig : rcpt->addr;
    const struct copy_opts opts = {
        .flags = t->conf->pipe_flags,
        .eol = slice_make(t->conf->pipe_eol, t->conf->pipe_eol_len),
        .sender = d->message->sender[0] != '\0' ? d->message->sender : t->conf->null_sender,
        .original_to = t->set->conf->enable_original_recipient ? original : NULL,
        .delivered_to = rcpt->addr,
        .now_us = clock_wall_us(),
    };

    copy_begin(&p->copy, &opts, &p->out);
}

/* ---- the content ---- */

/*
 * Looks for a loop in the header section. True when there is none: the message may go to the command. Else more is
 * read before, or the attempt has ended.
 */
static bool check_loop(struct pipe_job *p, struct slice bytes, bool last)
{
    delivered_feed(&p->seen, bytes);
    if (p->seen.found) {
        const struct outcome o = outcome_loop(p->job.delivery->rcpts[0].addr);

        transport_job_end(&p->job, &o);
        return false;
    }
    p->checked = p->seen.over || last;
    if (p->checked && p->content.next == 1)
        return true;
    if (p->checked) /* a header of more than one piece: from the start again */
        content_seek(&p->content, 0);
    content_next(&p->content);
    return false;
}

static void on_piece(void *owner, struct slice bytes, bool last)
{
    struct pipe_job *p = owner;

    if (!p->checked && !check_loop(p, bytes, last))
        return;
    if (p->spawn == NULL) {
        begin_copy(p);
        start_command(p);
    }
    copy_piece(&p->copy, bytes, &p->out);
    if (last) {
        copy_end(&p->copy, &p->out);
        p->finished = true;
    }
    if (p->writable)
        feed(p);
}

static void on_failure(void *owner, const struct status *why)
{
    struct pipe_job *p = owner;
    const struct outcome o = outcome_deferred(why);

    transport_job_end(&p->job, &o);
}

/* ---- starting ---- */

/* Is there a reason not to run the command at all? */
static bool refused(struct pipe_job *p, struct outcome *why)
{
    const struct conf_transport *conf = p->job.transport->conf;
    const struct delivery *d = p->job.delivery;

    if (conf->size > 0 && d->message->size > (uint64_t)conf->size) {
        *why = outcome_too_large();
        return true;
    }
    /* Headers that name the recipient need a single one; a reload may have changed the limit under this attempt. */
    if (conf->pipe_flags & (CONF_PIPE_FLAG_DELIVERED_TO | CONF_PIPE_FLAG_ORIGINAL_TO) && d->nrcpts > 1) {
        transport_job_warn(&p->job, "flags D and O need %s_destination_recipient_limit = 1", conf->name);
        *why = outcome_config(NULL);
        return true;
    }
    return false;
}

static struct pipe_facts facts_of(const struct transport *t, const struct envelope *message,
                                  const struct envelope_rcpt *rcpts, size_t nrcpts, const char *nexthop)
{
    return (struct pipe_facts){
        .message = message,
        .rcpts = rcpts,
        .nrcpts = nrcpts,
        .nexthop = nexthop,
        .null_sender = t->conf->null_sender,
        .recipient_delimiter = t->set->conf->recipient_delimiter,
        .flags = t->conf->pipe_flags,
        .allow_options = t->set->conf->allow_min_user,
    };
}

/* False when something in the message would become an option of the command. */
static bool expand_args(struct pipe_job *p)
{
    struct delivery *d = p->job.delivery;
    const struct pipe_facts facts = facts_of(p->job.transport, d->message, d->rcpts, d->nrcpts, d->nexthop);

    p->argv = pipe_args_expand(p->pipe->args, &facts, &d->arena);
    return p->argv != NULL;
}

/* The arguments with spaces between them; those that would be misread so are in quotes. */
static void pipe_describe(const struct transport *t, const struct envelope *e, const char *nexthop, struct buf *out)
{
    const struct pipe *pipe = t->own;
    const struct pipe_facts facts = facts_of(t, e, e->rcpts, e->nrcpts, nexthop);
    struct arena arena = {0};
    const char **argv = pipe_args_expand(pipe->args, &facts, &arena);

    if (argv == NULL)
        buf_add_str(out, "none: what begins with \"-\" would be an option of it");
    for (size_t i = 0; argv != NULL && argv[i] != NULL; i++) {
        const char *quote = argv[i][strcspn(argv[i], " \t\"'")] != '\0' || argv[i][0] == '\0' ? "'" : "";

        buf_printf(out, "%s%s%s%s", i > 0 ? " " : "", quote, argv[i], quote);
    }
    arena_clear(&arena);
}

static void pipe_deliver(struct transport *t, struct delivery *d)
{
    static const struct content_events events = {on_piece, on_failure};
    struct pipe_job *p = transport_job_new(t, d, sizeof *p, pipe_stop);
    struct outcome why;

    p->pipe = t->own;
    if (refused(p, &why)) {
        transport_job_end_later(&p->job, &why);
        return;
    }
    if (!expand_args(p)) {
        why = outcome_said(OUTCOME_KIND_ERROR, "5.1.3 what begins with \"-\" would be an option of the command");
        transport_job_end_later(&p->job, &why);
        return;
    }
    p->checked = !(t->conf->pipe_flags & CONF_PIPE_FLAG_DELIVERED_TO);
    if (!p->checked)
        delivered_init(&p->seen, d->rcpts[0].addr);
    content_init(&p->content, d->queue, d->message->qid, &p->job.scope, &events, p);
    content_next(&p->content);
}

const struct transport_agent transport_pipe = {
    .name = "pipe",
    .relays = true,
    .hands_over = true,
    .open = pipe_open,
    .deliver = pipe_deliver,
    .describe = pipe_describe,
};
