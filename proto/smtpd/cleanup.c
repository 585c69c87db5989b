/*
 * See cleanup.h. What the tables say of a message (REJECT, DISCARD, REDIRECT, ...) is kept in the transaction and takes
 * effect at the end of the content, as in Postfix. Waits on tables and rules.
 */
#include "core/base/addr.h"
#include "core/base/alloc.h"
#include "proto/smtpd/smtpd_int.h"

#include <stdio.h>

/* ---- tables ---- */

bool cleanup_tables_open(struct cleanup_tables *t, struct tables *tables, const struct conf *c, struct buf *err)
{
    const struct {
        const char *parameter, *list;
        struct maps **to;
    } rows[] = {
        {"header_checks", c->header_checks, &t->header_checks},
        {"mime_header_checks", c->mime_header_checks, &t->mime_header_checks},
        {"nested_header_checks", c->nested_header_checks, &t->nested_header_checks},
        {"body_checks", c->body_checks, &t->body_checks},
    };
    bool ok = true;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf complaints = {0};
        struct slice rest, line;

        *rows[i].to = maps_new(tables, rows[i].list, &complaints);
        ok = ok && *rows[i].to != NULL;
        rest = buf_len(&complaints) > 0 ? buf_slice(&complaints) : SLICE_EMPTY;
        while ((line = slice_token(&rest, "\n")).n > 0)
            buf_printf(err, "%s: %.*s\n", rows[i].parameter, (int)line.n, line.p);
        buf_release(&complaints);
    }
    return ok;
}

void cleanup_tables_close(struct cleanup_tables *t)
{
    maps_free(&t->header_checks);
    maps_free(&t->mime_header_checks);
    maps_free(&t->nested_header_checks);
    maps_free(&t->body_checks);
}

/* ---- what tables say ---- */

/* "reject: header Subject: x from name[addr]; from=<> to=<> proto=ESMTP helo=<>: text" */
static void log_action(struct session *s, const char *name, const char *where, struct slice unit, const char *text)
{
    const struct envelope *e = &s->txn.env;
    struct log_ctx log = session_log(s, false);
    struct buf line = {0};
    size_t shown = unit.n < 200 ? unit.n : 200;

    buf_printf(&line, "%s: %s %.*s from %s[%s]; from=<%s>", name, where, (int)shown, unit.p, s->name, s->addr.host,
               e->sender);
    if (e->nrcpts > 0)
        buf_printf(&line, " to=<%s>", e->rcpts[0].addr);
    buf_printf(&line, " proto=%s helo=<%s>: %s", e->protocol, s->helo != NULL ? s->helo : "", text);
    log_event(LOG_CLEANUP_REJECT, &log, "%s", buf_cstr(&line));
    buf_release(&line);
}

/* "5.7.1 text", "text": 550, or 450 when the code says so. */
static struct status reject_status(const char *text)
{
    struct slice rest = slice_str(text), word = slice_token(&rest, " ");
    char dsn[12] = "5.7.1";
    unsigned a, b, c;
    int used = 0;

    if (word.n > 0 && word.n < sizeof dsn) {
        char copy[12];

        memcpy(copy, word.p, word.n);
        copy[word.n] = '\0';
        if (sscanf(copy, "%1u.%3u.%3u%n", &a, &b, &c, &used) == 3 && used == (int)word.n && (a == 4 || a == 5)) {
            memcpy(dsn, copy, sizeof dsn);
            text = rest.n > 0 ? slice_trim(rest).p : "";
        }
    }
    return status_reply(STATUS_CONTENT_REJECTED, dsn[0] == '4' ? 450 : 550, dsn, "%s",
                        text[0] != '\0' ? text : "message content rejected");
}

static void add_bcc(struct session *s, const char *text)
{
    struct txn *t = &s->txn;
    const char *keep = s->rcpt;
    struct smtp_rcpt_params params = s->rcpt_params;

    s->rcpt = arena_strdup(&t->arena, session_qualify(s, text));
    s->rcpt_params = (struct smtp_rcpt_params){.notify = ENVELOPE_NOTIFY_NEVER};
    txn_add_rcpt(s);
    s->rcpt = keep;
    s->rcpt_params = params;
}

static void on_action(void *arg, enum content_action action, const char *where, struct slice unit, const char *text)
{
    struct session *s = arg;
    struct cleanup *c = &s->txn.cleanup;
    struct log_ctx log = session_log(s, false);

    switch (action) {
    case CONTENT_REJECT: c->verdict = reject_status(text); break;
    case CONTENT_DISCARD: c->discard = true; break;
    case CONTENT_REDIRECT: c->redirect = arena_strdup(&s->txn.arena, session_qualify(s, text)); break;
    case CONTENT_BCC: add_bcc(s, text); break;
    case CONTENT_HOLD:
    case CONTENT_FILTER: /* delivered as if nothing were to be done it must not be */
        c->verdict = status_reply(STATUS_CONTENT_REJECTED, 451, "4.3.5", "Server configuration error");
        log_event(LOG_CLEANUP_WARNING, &log, "%s_checks: %s is not supported: message not accepted, try again later",
                  where, content_action_name(action));
        break;
    case CONTENT_BAD: log_event(LOG_CLEANUP_WARNING, &log, "unknown command in %s checks: %s", where, text); return;
    default: break;
    }
    log_action(s, content_action_name(action), where, unit, text);
}

/* ---- addresses of headers ---- */

static enum rules_rewrite kind_of(bool sender)
{
    return sender ? RULES_REWRITE_HEADER_SENDER : RULES_REWRITE_HEADER_RECIPIENT;
}

/* An address that nothing would change needs no question. */
static bool leaves(void *arg, const char *address, bool sender)
{
    const struct session *s = arg;
    struct slice domain = addr_split(slice_str(address)).domain;

    return domain.n > 0 && !rules_rewrites(s->service->rules, kind_of(sender)) &&
           (!s->conf->append_dot_mydomain || slice_find(domain, '.') != SLICE_NOT_FOUND || domain.p[0] == '[');
}

static void rewrite(void *arg, struct op_scope *scope, const char *address, bool sender, op_done_fn *done, void *owner)
{
    struct session *s = arg;

    if (!s->local_client && !addr_split(slice_str(address)).has_domain)
        address = arena_printf(&s->txn.arena, "%s@%s", address, s->conf->remote_header_rewrite_domain);
    rules_rewrite(s->service->rules, scope, address, kind_of(sender), done, owner);
}

/* ---- flow ---- */

static void on_write(void *arg, struct slice bytes)
{
    struct session *s = arg;

    buf_add_slice(&s->txn.held, bytes);
    txn_store(s);
}

/* After a wait. */
static void on_ready(void *arg)
{
    struct session *s = arg;

    if (!s->txn.cleanup.ending)
        session_room(s);
    else if (cleanup_end(s))
        session_resume(s, txn_content_end(s));
}

static void on_failed(void *arg, const char *why)
{
    struct session *s = arg;
    struct log_ctx log = session_log(s, false);

    log_event(LOG_CLEANUP_WARNING, &log, "content: %s -- message not accepted, try again later", why);
    s->txn.cleanup.verdict = status_of(STATUS_TABLE_TEMPFAIL);
    on_ready(arg);
}

static const struct content_edit_events events = {on_write, on_action, on_ready, on_failed};

void cleanup_begin(struct session *s)
{
    const struct conf *conf = s->conf;
    const struct cleanup_tables *t = &s->service->cleanup;
    struct cleanup *c = &s->txn.cleanup;

    c->verdict = status_ok();
    c->config = (struct content_edit_config){
        .header_checks = t->header_checks,
        .mime_header_checks = t->mime_header_checks,
        .nested_header_checks = t->nested_header_checks,
        .body_checks = t->body_checks,
        .header_size_limit = (size_t)conf->header_size_limit,
        .body_checks_size_limit = (size_t)conf->body_checks_size_limit,
        .line_length_limit = (size_t)conf->line_length_limit,
        .mime_nesting_limit = (unsigned)conf->mime_nesting_limit,
    };
    if (s->local_client || conf->remote_header_rewrite_domain[0] != '\0') {
        c->config.rewrite = rewrite;
        c->config.leaves = leaves;
    }
    if (content_edit_wanted(&c->config))
        c->edit = content_edit_new(&c->config, &events, s, &s->scope);
}

struct buf *cleanup_input(struct session *s)
{
    return s->txn.cleanup.edit != NULL ? &s->txn.cleanup.raw : &s->txn.held;
}

void cleanup_feed(struct session *s)
{
    struct cleanup *c = &s->txn.cleanup;

    if (c->edit == NULL) {
        txn_store(s);
        return;
    }
    if (!s->txn.too_big && buf_len(&c->raw) > 0)
        content_edit_feed(c->edit, buf_slice(&c->raw));
    buf_release(&c->raw);
}

bool cleanup_busy(const struct session *s)
{
    return s->txn.cleanup.edit != NULL && content_edit_busy(s->txn.cleanup.edit);
}

bool cleanup_end(struct session *s)
{
    struct cleanup *c = &s->txn.cleanup;

    c->ending = true;
    if (c->edit == NULL || c->ended)
        return true;
    if (content_edit_busy(c->edit)) /* with what came before */
        return false;
    c->ended = true;
    return content_edit_end(c->edit);
}

void cleanup_release(struct cleanup *c)
{
    content_edit_free(&c->edit);
    buf_release(&c->raw);
}
