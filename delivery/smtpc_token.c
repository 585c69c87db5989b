/*
 * Tokens for XOAUTH2 and OAUTHBEARER: smtp_sasl_token_command, for a user whose entry in smtp_sasl_password_maps has no
 * password. The command gets the user as its last argument and writes the token on its first line; there is no shell,
 * and it runs as whom mta runs. Tokens are kept for a while, and forgotten when a server refuses one. Called by
 * smtpc_auth.c; owns the kept tokens of a transport; waits on the command.
 */
#include "delivery/smtpc_int.h"

#include "core/base/alloc.h"
#include "lookup/maps.h"
#include "proto/auth/sasl_lib.h"

#define KEPT_MOST     100
#define TOKEN_MOST    8192
#define COMMAND_MS    30000
#define PATH_VARIABLE "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct smtpc_token {
    struct list link;
    char *user, *token;
    uint64_t until_ms;
};

static struct smtpc_own *own_of(const struct smtpc_job *job)
{
    return job->job.transport->own;
}

/* ---- kept tokens ---- */

static void drop(struct smtpc_own *own, struct smtpc_token *t)
{
    list_remove(&t->link);
    own->ntokens--;
    mem_free(t->user);
    sasl_lib_wipe(&t->token);
    mem_free(t);
}

static struct smtpc_token *find(struct smtpc_own *own, const char *user)
{
    LIST_FOREACH(it, &own->tokens)
    {
        struct smtpc_token *t = LIST_ITEM(it, struct smtpc_token, link);

        if (strcmp(t->user, user) == 0)
            return t;
    }
    return NULL;
}

static void keep(struct smtpc_job *job, const char *token)
{
    struct smtpc_own *own = own_of(job);
    struct smtpc_token *t = find(own, job->auth.user);

    if (t != NULL)
        drop(own, t);
    if (job->conf->sasl_token_cache_time_ms == 0)
        return;
    if (own->ntokens == KEPT_MOST)
        drop(own, LIST_ITEM(own->tokens.next, struct smtpc_token, link));
    t = NEW(struct smtpc_token);
    t->user = mem_strdup(job->auth.user);
    t->token = mem_strdup(token);
    t->until_ms = loop_now_ms(job->job.transport->loop) + job->conf->sasl_token_cache_time_ms;
    list_append(&own->tokens, &t->link);
    own->ntokens++;
}

void smtpc_token_forget(struct smtpc_job *job)
{
    struct smtpc_own *own = own_of(job);
    struct smtpc_token *t = own->token_argv != NULL && job->auth.user != NULL ? find(own, job->auth.user) : NULL;

    if (t != NULL)
        drop(own, t);
}

/* ---- the command ---- */

void smtpc_token_open(struct transport *t, struct smtpc_own *own)
{
    struct arena *arena = &t->set->arena;
    const char *command = t->conf->client->sasl_token_command;
    struct slice rest = slice_str(command);
    size_t n = 0;

    list_init(&own->tokens);
    if (slice_trim(rest).n == 0)
        return;
    own->token_argv = arena_new_array(arena, strlen(command) / 2 + 3, sizeof *own->token_argv);
    for (struct slice item; (item = maps_list_item(&rest)).n > 0;) {
        if (item.n >= 2 && item.p[0] == '{' && item.p[item.n - 1] == '}')
            item = slice_make(item.p + 1, item.n - 2);
        own->token_argv[n++] = arena_slice_dup(arena, item);
    }
    own->token_argc = n;
}

void smtpc_token_close(struct smtpc_own *own)
{
    while (own->ntokens > 0)
        drop(own, LIST_ITEM(own->tokens.next, struct smtpc_token, link));
}

static void take(struct smtpc_job *job, struct slice token)
{
    sasl_lib_wipe(&job->auth.password);
    job->auth.password = mem_dup(token.p, token.n);
}

static const char *trouble(struct smtpc_job *job, const struct spawn_result *r)
{
    struct arena *arena = &job->job.delivery->arena;

    if (!r->started)
        return arena_printf(arena, "%s", r->error);
    if (r->timed_out)
        return "it took too long";
    if (r->term_signal != 0)
        return arena_printf(arena, "it was ended by signal %d", r->term_signal);
    return arena_printf(arena, "its exit status is %d", r->exit_status);
}

static void on_exit_of_command(void *arg, const struct spawn_result *r)
{
    struct smtpc_job *job = arg;
    struct slice rest = r->output, line = slice_trim(slice_token(&rest, "\r\n"));
    const char *why = NULL;

    if (!r->started || r->timed_out || r->term_signal != 0 || r->exit_status != 0)
        why = trouble(job, r);
    else if (line.n == 0 || line.n > TOKEN_MOST)
        why = "its first line is no token";
    else
        take(job, line);
    spawn_free(&job->auth.command);
    if (why != NULL) {
        transport_job_warn(&job->job, "the command %s for a token of %s: %s", own_of(job)->token_argv[0],
                           job->auth.user, why);
        job->auth.token(job, "there is no token");
        return;
    }
    keep(job, job->auth.password);
    job->auth.token(job, NULL);
}

static void on_writable(void *arg)
{
    struct smtpc_job *job = arg;

    spawn_end_input(job->auth.command);
}

static void run(struct smtpc_job *job)
{
    static const struct spawn_events events = {on_writable, on_exit_of_command};
    static const char *const env[] = {PATH_VARIABLE, NULL};
    const struct smtpc_own *own = own_of(job);
    const char **argv = arena_new_array(&job->job.delivery->arena, own->token_argc + 2, sizeof *argv);
    const struct spawn_opts opts = {
        .argv = argv,
        .env = env,
        .cwd = job->job.transport->set->conf->queue_directory,
        .output_max = TOKEN_MOST + 1000,
        .time_limit_ms = COMMAND_MS,
    };

    for (size_t i = 0; i < own->token_argc; i++)
        argv[i] = own->token_argv[i];
    argv[own->token_argc] = arena_strdup(&job->job.delivery->arena, job->auth.user);
    job->auth.command = spawn_start(job->job.transport->loop, &opts, &events, job);
}

void smtpc_token_ask(struct smtpc_job *job, void (*done)(struct smtpc_job *, const char *why))
{
    struct smtpc_token *kept = find(own_of(job), job->auth.user);

    job->auth.token = done;
    if (kept != NULL && kept->until_ms > loop_now_ms(job->job.transport->loop)) {
        take(job, slice_str(kept->token));
        done(job, NULL);
    } else {
        run(job);
    }
}

void smtpc_token_cancel(struct smtpc_job *job)
{
    if (job->auth.command != NULL)
        spawn_free(&job->auth.command);
}
