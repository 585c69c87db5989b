/*
 * The maildir transport: mailboxes named by tables, as Postfix's virtual(8) has them. Called through transport.c.
 *
 * An attempt takes its recipients one after the other. For each it asks virtual_mailbox_maps, virtual_uid_maps and
 * virtual_gid_maps at the same time, then writes the message on a pool thread (maildir_file.c): all in one go when it
 * is a single piece, which is kept for the other recipients, else piece by piece. Mailbox files (a path that does not
 * end in a slash) are not supported: such mail is deferred.
 *
 * A job owns its buffers and the file, except while a thread has the file; it waits on tables, queue and threads.
 */
#include "delivery/transport_int.h"

#include "core/base/addr.h"
#include "core/base/alloc.h"
#include "core/loop/work.h"
#include "delivery/content.h"
#include "delivery/copy.h"
#include "delivery/maildir_file.h"
#include "lookup/maps.h"

#include <errno.h>

#define ID_MAX 4294967294u /* the greatest is no user: setresuid has a meaning for it */

enum asked {
    ASKED_MAILBOX,
    ASKED_UID,
    ASKED_GID,
    ASKED_COUNT,
};
static const char *const table_names[] = {"virtual_mailbox_maps", "virtual_uid_maps", "virtual_gid_maps"};

/* A maildir transport, prepared. */
struct maildir {
    struct maps *maps[ASKED_COUNT];
    char *host;
};

/* What a table said about the recipient. */
struct found {
    struct maildir_job *job;
    enum op_status status;
    const char *text; /* the value, or why it failed */
};

struct maildir_job {
    struct transport_job job;
    const struct maildir *own;
    struct content content;
    struct buf first; /* the first piece */
    bool first_is_all, have_first;
    size_t at;        /* the recipient */
    unsigned waiting; /* answers before its file can be begun */
    struct found found[ASKED_COUNT];
    struct copy copy;
    struct buf out;            /* to be written next */
    bool last;                 /* and nothing after it */
    struct maildir_file *file; /* NULL: none, or a thread has it */
};

static void next_recipient(struct maildir_job *m);

static const struct envelope_rcpt *rcpt_of(const struct maildir_job *m)
{
    return &m->job.delivery->rcpts[m->at];
}

static const struct conf *conf_of(const struct maildir_job *m)
{
    return m->job.transport->set->conf;
}

/* ---- preparing ---- */

/* Opens what one parameter lists; complaints, a line each, are about the parameter. */
static struct maps *open_maps(const struct transport *t, const char *name, const char *list, struct buf *err)
{
    struct buf why = {0};
    struct maps *maps = maps_new(t->tables, list, &why);
    struct slice rest, line;

    rest = buf_len(&why) > 0 ? buf_slice(&why) : SLICE_EMPTY;
    while ((line = slice_token(&rest, "\n")).n > 0)
        buf_printf(err, "%s: %.*s\n", name, (int)line.n, line.p);
    buf_release(&why);
    return maps;
}

static void *maildir_open(struct transport *t, struct buf *err)
{
    const struct conf *conf = t->set->conf;
    const char *const lists[] = {conf->virtual_mailbox_maps, conf->virtual_uid_maps, conf->virtual_gid_maps};
    struct maildir *own = ARENA_NEW(&t->set->arena, struct maildir);

    own->host = maildir_file_host();
    for (int i = 0; i < ASKED_COUNT; i++)
        own->maps[i] = open_maps(t, table_names[i], lists[i], err);
    return own;
}

static void maildir_close(struct transport *t)
{
    struct maildir *own = t->own;

    for (int i = 0; i < ASKED_COUNT; i++)
        if (own->maps[i] != NULL)
            maps_free(&own->maps[i]);
    mem_free(own->host);
}

/* ---- results ---- */

static void maildir_stop(struct transport_job *job)
{
    struct maildir_job *m = (struct maildir_job *)job;

    maildir_file_free(&m->file);
    buf_release(&m->first);
    buf_release(&m->out);
}

static void rcpt_done(struct maildir_job *m, struct outcome o)
{
    maildir_file_free(&m->file);
    transport_job_result(&m->job, m->at, &o);
    m->at++;
    next_recipient(m);
}

/* ---- writing, on a thread ---- */

/* What a thread works with; its own until the callback. */
struct step {
    struct maildir_file *file;
    struct buf bytes;
    bool last, ok;
};

static enum op_status step_on_thread(void *arg)
{
    struct step *s = arg;

    s->ok = maildir_file_put(s->file, buf_slice(&s->bytes), s->last);
    return OP_OK;
}

static void step_free(void *arg)
{
    struct step *s = arg;

    maildir_file_free(&s->file);
    buf_release(&s->bytes);
    mem_free(s);
}

static void on_step(void *owner, enum op_status status, const void *result)
{
    struct maildir_job *m = owner;
    struct step *s = (struct step *)result; /* ours again: the op is over */
    const char *doing;
    int err;

    if (status != OP_OK) {
        rcpt_done(m, outcome_mailbox("start a thread", EAGAIN));
        return;
    }
    m->file = s->file;
    s->file = NULL;
    if (!s->ok) {
        err = maildir_file_error(m->file, &doing);
        rcpt_done(m, outcome_mailbox(doing, err));
    } else if (m->last) {
        rcpt_done(m, outcome_mailbox_delivered());
    } else {
        content_next(&m->content);
    }
}

static void write_out(struct maildir_job *m)
{
    struct step *s = NEW(struct step);

    s->file = m->file;
    m->file = NULL;
    s->bytes = m->out;
    m->out = (struct buf){0};
    s->last = m->last;
    work_run(m->job.transport->loop, &m->job.scope, "maildir", 0, step_on_thread, s, step_free, on_step, m);
}

static void take_piece(struct maildir_job *m, struct slice bytes, bool last)
{
    copy_piece(&m->copy, bytes, &m->out);
    m->last = last;
    if (last)
        copy_end(&m->copy, &m->out);
    write_out(m);
}

/* ---- one recipient's mailbox ---- */

/* The user or group a table gave; on failure false, and the administrator is told. */
static bool parse_id(struct maildir_job *m, enum asked table, uint64_t least, uint64_t *id)
{
    const struct found *f = &m->found[table];
    const char *addr = rcpt_of(m)->addr;

    if (f->status == OP_NOTFOUND) {
        transport_job_warn(&m->job, "recipient %s: not found in %s", addr, table_names[table]);
        return false;
    }
    if (slice_u64(slice_trim(slice_str(f->text)), ID_MAX, id) && *id >= least)
        return true;
    transport_job_warn(&m->job, "recipient %s: bad %s \"%s\" in %s", addr, table == ASKED_UID ? "uid" : "gid", f->text,
                       table_names[table]);
    return false;
}

static bool leaves_base(struct slice path)
{
    struct slice part;

    while ((part = slice_token(&path, "/")).n > 0)
        if (slice_eq(part, SLICE_LIT("..")))
            return true;
    return false;
}

/* Is the table's path one that can be delivered to? If not, `why` is the outcome. */
static bool check_path(struct maildir_job *m, const char *path, struct outcome *why)
{
    size_t n = strlen(path);

    if (n > 0 && path[n - 1] == '/' && !leaves_base(slice_str(path)))
        return true;
    transport_job_warn(&m->job,
                       "recipient %s: virtual_mailbox_maps gives \"%s\", which is no maildir below "
                       "virtual_mailbox_base",
                       rcpt_of(m)->addr, path);
    *why = outcome_config(
        n > 0 && path[n - 1] != '/' ? "mailbox path does not end in a slash: only maildirs are supported" : NULL);
    return false;
}

/* Reads what the tables said. True with file and copy begun; false with the outcome in `why`. */
static bool begin_file(struct maildir_job *m, struct outcome *why)
{
    const struct found *box = &m->found[ASKED_MAILBOX];
    uint64_t uid, gid;
    size_t n;

    for (int i = 0; i < ASKED_COUNT; i++)
        if (m->found[i].status != OP_OK && m->found[i].status != OP_NOTFOUND) {
            const struct status failed = status_of(STATUS_TABLE_TEMPFAIL);

            transport_job_warn(&m->job, "recipient %s: %s: %s", rcpt_of(m)->addr, table_names[i], m->found[i].text);
            *why = outcome_deferred(&failed);
            return false;
        }
    if (box->status == OP_NOTFOUND) {
        *why = outcome_user_unknown(rcpt_of(m)->addr);
        return false;
    }
    if (!check_path(m, box->text, why))
        return false;
    *why = outcome_config(NULL);
    if (!parse_id(m, ASKED_UID, (uint64_t)conf_of(m)->virtual_minimum_uid, &uid) ||
        !parse_id(m, ASKED_GID, conf_of(m)->virtual_minimum_uid > 0, &gid))
        return false;
    n = strlen(box->text);
    while (n > 0 && box->text[n - 1] == '/')
        n--;
    m->file = maildir_file_new(
        arena_printf(&m->job.delivery->arena, "%s/%.*s", conf_of(m)->virtual_mailbox_base, (int)n, box->text),
        m->own->host, (uid_t)uid, (gid_t)gid);
    return true;
}

static void begin_copy(struct maildir_job *m)
{
    const struct envelope *message = m->job.delivery->message;
    const struct envelope_rcpt *rcpt = rcpt_of(m);
    const char *original = rcpt->orig != NULL ? rcpt->orig : rcpt->addr;
    const struct copy_opts opts = {
        .flags = CONF_PIPE_FLAG_RETURN_PATH | CONF_PIPE_FLAG_ORIGINAL_TO | CONF_PIPE_FLAG_DELIVERED_TO,
        .eol = SLICE_LIT("\n"),
        .sender = message->sender,
        .original_to = conf_of(m)->enable_original_recipient ? original : NULL,
        .delivered_to = rcpt->addr,
        .now_us = clock_wall_us(),
    };

    buf_clear(&m->out);
    copy_begin(&m->copy, &opts, &m->out);
}

/* All that was asked for has come. */
static void begin_delivery(struct maildir_job *m)
{
    const uint64_t limit = (uint64_t)conf_of(m)->virtual_mailbox_limit;
    struct outcome why;

    if (!begin_file(m, &why)) {
        rcpt_done(m, why);
        return;
    }
    begin_copy(m);
    if (limit > 0 && m->job.delivery->message->size + buf_len(&m->out) > limit) {
        rcpt_done(m, outcome_mailbox("error writing message", EFBIG));
        return;
    }
    content_seek(&m->content, 1);
    take_piece(m, buf_slice(&m->first), m->first_is_all);
}

/* ---- asking ---- */

static void one_less(struct maildir_job *m)
{
    if (--m->waiting == 0)
        begin_delivery(m);
}

static void on_found(void *owner, enum op_status status, const void *result)
{
    struct found *f = owner;
    const struct maps_address_answer *answer = result;
    const char *text = NULL;

    f->status = status;
    if (answer != NULL)
        text = status == OP_OK ? answer->value : answer->why;
    f->text = arena_strdup(&f->job->job.delivery->arena, text != NULL ? text : "timed out");
    one_less(f->job);
}

static void ask_tables(struct maildir_job *m)
{
    const struct maps_address_opts opts = {.recipient_delimiter = conf_of(m)->recipient_delimiter};
    char *address = arena_strdup(&m->job.delivery->arena, rcpt_of(m)->addr);

    addr_fold(address);
    for (int i = 0; i < ASKED_COUNT; i++) {
        m->found[i].job = m;
        m->waiting++;
        maps_find_address(m->own->maps[i], &m->job.scope, address, &opts, on_found, &m->found[i]);
    }
}

static void next_recipient(struct maildir_job *m)
{
    if (m->at < m->job.delivery->nrcpts)
        ask_tables(m);
    else
        transport_job_end(&m->job, NULL);
}

static void on_piece(void *owner, struct slice bytes, bool last)
{
    struct maildir_job *m = owner;

    if (m->have_first) {
        take_piece(m, bytes, last);
        return;
    }
    buf_add_slice(&m->first, bytes);
    m->first_is_all = last;
    m->have_first = true;
    one_less(m);
}

static void on_failure(void *owner, const struct status *why)
{
    struct maildir_job *m = owner;
    const struct outcome o = outcome_deferred(why);

    transport_job_end(&m->job, &o);
}

static void maildir_deliver(struct transport *t, struct delivery *d)
{
    static const struct content_events events = {on_piece, on_failure};
    struct maildir_job *m = transport_job_new(t, d, sizeof *m, maildir_stop);

    m->own = t->own;
    content_init(&m->content, d->queue, d->message->qid, &m->job.scope, &events, m);
    m->waiting = 1; /* the first piece, asked for along with the tables */
    content_next(&m->content);
    ask_tables(m);
}

const struct transport_agent transport_maildir = {
    .name = "virtual",
    .relays = true,
    .open = maildir_open,
    .close = maildir_close,
    .deliver = maildir_deliver,
};
