/*
 * What is changed on the way out, while the queue keeps it as it is: addresses of the envelope and of headers by
 * smtp_generic_maps, headers and lines by smtp_header_checks and its like. smtpc.c asks for the envelope before the
 * first connection, smtpc_body.c for an editor of the content. Waits on tables; when one cannot be asked, the mail is
 * deferred.
 */
#include "delivery/smtpc_int.h"

#include "core/base/addr.h"
#include "core/base/id.h"
#include "core/base/log.h"

/* ---- tables ---- */

static const struct tables_row {
    const char *name;
    size_t list, maps; /* fields of struct conf_client and struct smtpc_own */
} rows[] = {
#define ROW(name, own)                                                                                                 \
    {                                                                                                                  \
#name, offsetof(struct conf_client, name), offsetof(struct smtpc_own, own)                                     \
    }
    ROW(generic_maps, generic),
    ROW(header_checks, header_checks),
    ROW(mime_header_checks, mime_header_checks),
    ROW(nested_header_checks, nested_header_checks),
    ROW(body_checks, body_checks),
    ROW(discard_ehlo_keyword_address_maps, discard_keywords),
#undef ROW
};

static struct maps **maps_of(struct smtpc_own *own, const struct tables_row *row)
{
    return (struct maps **)(void *)((char *)own + row->maps);
}

struct smtpc_own *smtpc_edit_open(struct transport *t, struct buf *err)
{
    struct smtpc_own *own = arena_new(&t->set->arena, sizeof *own);

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *list = *(const char *const *)(const void *)((const char *)t->conf->client + rows[i].list);
        struct buf complaints = {0};
        struct slice rest, line;

        *maps_of(own, &rows[i]) = maps_new(t->tables, list, &complaints);
        rest = buf_slice(&complaints);
        while ((line = slice_token(&rest, "\n")).n > 0)
            transport_complain(t, err, arena_printf(&t->set->arena, "%s: %.*s", rows[i].name, (int)line.n, line.p));
        buf_release(&complaints);
    }
    return own;
}

void smtpc_edit_close(struct transport *t)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        maps_free(maps_of(t->own, &rows[i]));
}

static const struct smtpc_own *own_of(const struct smtpc_job *job)
{
    return job->job.transport->own;
}

/* ---- the envelope ---- */

static void ask(struct smtpc_job *job);

static const char **address_at(struct smtpc_job *job, size_t at)
{
    return at == 0 ? &job->sender : &job->rcpts[at - 1].address;
}

static void on_address(void *owner, enum op_status status, const void *result)
{
    struct smtpc_job *job = owner;
    const struct table_answer *answer = result;
    struct status why;

    if (status == OP_OK) {
        *address_at(job, job->next_address++) = arena_strdup(&job->job.delivery->arena, result);
        ask(job);
        return;
    }
    transport_job_warn(&job->job, "generic_maps: %s", answer != NULL ? answer->why : "timed out");
    why = status_make(STATUS_TABLE_TEMPFAIL, "address rewriting failure");
    job->last = outcome_deferred(&why);
    smtpc_end(job);
}

static void ask(struct smtpc_job *job)
{
    const struct transport *t = job->job.transport;

    while (job->next_address <= job->job.delivery->nrcpts && (*address_at(job, job->next_address))[0] == '\0')
        job->next_address++;
    if (job->next_address > job->job.delivery->nrcpts)
        smtpc_hosts_begin(job);
    else
        rules_generic(t->set->rules, &job->job.scope, own_of(job)->generic, *address_at(job, job->next_address),
                      on_address, job);
}

void smtpc_edit_envelope(struct smtpc_job *job)
{
    const struct delivery *d = job->job.delivery;

    job->sender = d->message->sender;
    for (size_t i = 0; i < d->nrcpts; i++)
        job->rcpts[i].address = d->rcpts[i].addr;
    if (maps_empty(own_of(job)->generic))
        smtpc_hosts_begin(job);
    else
        ask(job);
}

/* ---- the content ---- */

/* generic(5) is about addresses with a domain. */
static bool leaves(void *arg, const char *address, bool sender)
{
    (void)arg;
    (void)sender;
    return addr_split(slice_str(address)).domain.n == 0;
}

static void rewrite(void *arg, struct op_scope *scope, const char *address, bool sender, op_done_fn *done, void *owner)
{
    struct smtpc_job *job = arg;

    (void)sender;
    rules_generic(job->job.transport->set->rules, scope, own_of(job)->generic, address, done, owner);
}

/* "warning: header Subject: x: text" */
void smtpc_edit_action(void *arg, enum content_action action, const char *where, struct slice unit, const char *text)
{
    const struct smtpc_job *job = arg;
    char qid[ID_TEXT];
    const struct log_ctx ctx = {
        .agent = job->job.transport->agent->name,
        .syslog_name = job->conf->syslog_name,
        .qid = id_format(qid, job->job.delivery->message->qid),
    };

    if (action == CONTENT_BAD)
        transport_job_warn(&job->job, "unsupported command in %s checks of outgoing mail: %s", where, text);
    else
        log_event(LOG_CLIENT_EDIT, &ctx, "%s: %s %.*s%s%s", content_action_name(action), where,
                  (int)slice_head(unit, 200).n, unit.p, text[0] != '\0' ? ": " : "", text);
}

struct content_edit *smtpc_edit_content(struct smtpc_job *job, const struct content_edit_events *events)
{
    const struct conf *conf = job->job.transport->set->conf;
    const struct smtpc_own *own = own_of(job);
    struct content_edit_config *c = &job->body.checks;

    *c = (struct content_edit_config){
        .header_checks = own->header_checks,
        .mime_header_checks = own->mime_header_checks,
        .nested_header_checks = own->nested_header_checks,
        .body_checks = own->body_checks,
        .header_size_limit = (size_t)conf->header_size_limit,
        .body_checks_size_limit = (size_t)conf->body_checks_size_limit,
        .line_length_limit = (size_t)conf->line_length_limit,
        .mime_nesting_limit = (unsigned)conf->mime_nesting_limit,
        .changes_only = true,
    };
    if (!maps_empty(own->generic)) {
        c->rewrite = rewrite;
        c->leaves = leaves;
    }
    return content_edit_wanted(c) ? content_edit_new(c, events, job, &job->job.scope) : NULL;
}
