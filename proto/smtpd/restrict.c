/*
 * The restriction engine. A list is an array of rows; where a session is in it is an index in the session, so that a
 * check which asks a table waits without a thread and goes on where it was. Called by dispatch.c between `check` and
 * `act` of a command; the replies are those of Postfix (access(5), smtpd_check.c's texts are what fail2ban reads).
 */
#include "proto/smtpd/restrict.h"

#include "core/base/addr.h"
#include "core/base/alloc.h"
#include "proto/smtpd/smtpd_int.h"

struct restrict_check {
    const char *name;
    unsigned lists;
    restrict_check_fn *fn;
    bool guards;
};

struct restrict_list {
    enum restrict_list_id id;
    const char *parameter;
    size_t n;
    const struct restrict_check *items[];
};

/* ---- how a list speaks: addresses in internal form, as in Postfix's replies and logs ---- */

static const char *who_helo(struct session *s)
{
    return s->helo ? s->helo : "";
}
const char *restrict_sender(struct session *s)
{
    return s->txn.open ? s->txn.env.sender : s->mail ? s->mail : "";
}
static const char *who_rcpt(struct session *s)
{
    return s->rcpt;
}
static const char *who_data(struct session *s)
{
    (void)s;
    return "DATA";
}
static const char *who_message(struct session *s)
{
    (void)s;
    return "END-OF-MESSAGE";
}

/* What a list says of whom: "<client[addr]>: Client host rejected: Access denied". */
static const struct {
    const char *what;
    const char *(*who)(struct session *);
} voices[RESTRICT_LIST_COUNT] = {
    [RESTRICT_LIST_CLIENT] = {"Client host", session_peer},
    [RESTRICT_LIST_HELO] = {"Helo command", who_helo},
    [RESTRICT_LIST_SENDER] = {"Sender address", restrict_sender},
    [RESTRICT_LIST_RELAY] = {"Recipient address", who_rcpt},
    [RESTRICT_LIST_RECIPIENT] = {"Recipient address", who_rcpt},
    [RESTRICT_LIST_UNLISTED] = {"Recipient address", who_rcpt},
    [RESTRICT_LIST_DATA] = {"Data command", who_data},
    [RESTRICT_LIST_END_OF_DATA] = {"End-of-data", who_message},
};

static enum restrict_list_id current(const struct session *s)
{
    return *s->restrict_run.lists;
}

enum restrict_verdict restrict_refuse(struct session *s, enum status_reason reason, int64_t code, const char *dsn,
                                      const char *text)
{
    enum restrict_list_id id = current(s);

    s->verdict =
        status_reply(reason, (int)code, dsn, "<%s>: %s rejected: %s", voices[id].who(s), voices[id].what, text);
    return RESTRICT_REJECT;
}

enum restrict_verdict restrict_table_failed(struct session *s, const char *why)
{
    struct log_ctx log = session_log(s, true);

    log_event(LOG_SESSION_WARNING, &log, "%s: table lookup problem: %s", voices[current(s)].who(s),
              why ? why : "timed out");
    s->verdict =
        status_reply(STATUS_TABLE_TEMPFAIL, 451, "4.3.0", "<%s>: Temporary lookup failure", voices[current(s)].who(s));
    return RESTRICT_REJECT;
}

/* ---- going on after a wait ---- */

static enum restrict_verdict run(struct session *);
static bool next_list(struct session *);

/* For `mta explain`: what the current entry came to. */
static void tell(struct session *s, enum restrict_verdict v)
{
    const struct restrict_list *l = s->service->lists[current(s)];
    const char *said = v == RESTRICT_PERMIT    ? "permit"
                       : v != RESTRICT_REJECT  ? "-"
                       : s->verdict.code < 500 ? "defer"
                                               : "reject";

    if (s->probe != NULL && v != RESTRICT_WAIT && s->restrict_run.index < l->n)
        s->probe->verdict(s->probe->arg, l->parameter, l->items[s->restrict_run.index]->name, said);
}

void restrict_answer(struct session *s, enum restrict_verdict v)
{
    tell(s, v);
    if (v == RESTRICT_DUNNO) {
        s->restrict_run.index++;
        v = run(s);
    } else if (v == RESTRICT_PERMIT)
        v = next_list(s) ? run(s) : RESTRICT_PERMIT;
    if (v == RESTRICT_WAIT)
        return;
    if (v == RESTRICT_REJECT) {
        session_reply_status(s, &s->verdict);
        session_resume(s, STEP_DONE);
    } else
        session_resume(s, STEP_NEXT);
}

/* ---- the checks ---- */

static enum restrict_verdict check_permit(struct session *s)
{
    (void)s;
    return RESTRICT_PERMIT;
}

static enum restrict_verdict check_reject(struct session *s)
{
    return restrict_refuse(s, STATUS_ACCESS_DENIED, s->conf->reject_code, "5.7.1", "Access denied");
}

static enum restrict_verdict check_defer(struct session *s)
{
    return restrict_refuse(s, STATUS_ACCESS_DEFERRED, s->conf->defer_code, "4.3.2", "Try again later");
}

static enum restrict_verdict check_mynetworks(struct session *s)
{
    return s->in_mynetworks ? RESTRICT_PERMIT : RESTRICT_DUNNO;
}

static enum restrict_verdict check_sasl_authenticated(struct session *s)
{
    return s->login != NULL ? RESTRICT_PERMIT : RESTRICT_DUNNO;
}

/*
 * Which class is the recipient's domain in? `done` makes a verdict of it. Without a recipient, in a list that runs
 * before RCPT, such a restriction says nothing, as in Postfix.
 */
static enum restrict_verdict ask_destination(struct session *s, op_done_fn *done)
{
    if (s->rcpt == NULL)
        return RESTRICT_DUNNO;
    rules_classify(s->service->rules, &s->scope, addr_split(slice_str(s->rcpt)).domain, done, s);
    return RESTRICT_WAIT;
}

/* Ours, and no second routing operator as in "user%elsewhere@ours": section 1.8. */
static bool is_ours(const struct session *s, enum op_status st, const void *result)
{
    return st == OP_OK && *(const enum rules_class *)result != RULES_CLASS_OTHER &&
           !addr_has_routing(slice_str(s->rcpt));
}

static const char *lookup_error(enum op_status st, const void *result)
{
    const struct table_answer *a = result;

    return st == OP_TEMPFAIL && a ? a->why : NULL;
}

static void on_permit_destination(void *owner, enum op_status st, const void *result)
{
    struct session *s = owner;

    if (st != OP_OK)
        restrict_answer(s, restrict_table_failed(s, lookup_error(st, result)));
    else
        restrict_answer(s, is_ours(s, st, result) ? RESTRICT_PERMIT : RESTRICT_DUNNO);
}

/* `minus` and `dsn`: defer_unauth_destination says 454 4.7.1 where reject_ says 554 5.7.1. */
static void unauth(struct session *s, enum op_status st, const void *result, int minus, const char *dsn)
{
    if (st != OP_OK)
        restrict_answer(s, restrict_table_failed(s, lookup_error(st, result)));
    else if (is_ours(s, st, result))
        restrict_answer(s, RESTRICT_DUNNO);
    else {
        s->verdict = status_reply(STATUS_RELAY_DENIED, (int)s->conf->relay_domains_reject_code - minus, dsn,
                                  "<%s>: Relay access denied", who_rcpt(s));
        restrict_answer(s, RESTRICT_REJECT);
    }
}

static void on_reject_destination(void *owner, enum op_status st, const void *result)
{
    unauth(owner, st, result, 0, "5.7.1");
}

static void on_defer_destination(void *owner, enum op_status st, const void *result)
{
    unauth(owner, st, result, 100, "4.7.1");
}

static enum restrict_verdict check_permit_destination(struct session *s)
{
    return ask_destination(s, on_permit_destination);
}

static enum restrict_verdict check_reject_destination(struct session *s)
{
    return ask_destination(s, on_reject_destination);
}

static enum restrict_verdict check_defer_destination(struct session *s)
{
    return ask_destination(s, on_defer_destination);
}

static void on_unlisted(void *owner, enum op_status st, const void *result)
{
    struct session *s = owner;
    const struct status *said = result;

    if (st == OP_TIMEOUT || said == NULL || said->reason == STATUS_TABLE_TEMPFAIL)
        restrict_answer(s, restrict_table_failed(s, said ? said->text : NULL));
    else if (status_is_ok(said))
        restrict_answer(s, RESTRICT_DUNNO);
    else
        restrict_answer(s, restrict_refuse(s, said->reason, said->code, said->dsn,
                                           s->conf->show_user_unknown_table_name ? said->text : "User unknown"));
}

static enum restrict_verdict check_unlisted_recipient(struct session *s)
{
    if (s->rcpt == NULL)
        return RESTRICT_DUNNO;
    rules_check_recipient(s->service->rules, &s->scope, s->rcpt, on_unlisted, s);
    return RESTRICT_WAIT;
}

/* ---- compiling ---- */

#define ANY (~0u)
#define RECIPIENT                                                                                                      \
    (1u << RESTRICT_LIST_CLIENT | 1u << RESTRICT_LIST_HELO | 1u << RESTRICT_LIST_SENDER | 1u << RESTRICT_LIST_RELAY |  \
     1u << RESTRICT_LIST_RECIPIENT | 1u << RESTRICT_LIST_UNLISTED)

static const struct restrict_check rows[] = {
#define RESTRICT_CHECK(name, lists, fn, guards, meaning) {name, lists, fn, guards},
#include "proto/smtpd/restrict_checks.def"
#undef RESTRICT_CHECK
};

static const struct restrict_check *find_row(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (slice_ieq(name, slice_str(rows[i].name)))
            return &rows[i];
    return NULL;
}

struct restrict_list *restrict_compile(const char *parameter, const char *text, enum restrict_list_id id,
                                       struct buf *err)
{
    struct slice rest = slice_str(text), word;
    struct restrict_list *l = mem_new(sizeof *l + (rest.n / 2 + 1) * sizeof l->items[0]);
    bool ok = true;

    l->id = id;
    l->parameter = parameter;
    while ((word = slice_token(&rest, ", \t\r\n")).n > 0) {
        const struct restrict_check *row = find_row(word);

        if (row == NULL || !(row->lists & 1u << id)) {
            buf_printf(err, "%s: restriction \"%.*s\" %s\n", parameter, (int)word.n, word.p,
                       row ? "does not belong in this list" : "is not known");
            ok = false;
            continue;
        }
        l->items[l->n++] = row;
    }
    if (!ok)
        restrict_list_free(&l);
    return l;
}

void restrict_list_free(struct restrict_list **lp)
{
    mem_free(*lp);
    *lp = NULL;
}

bool restrict_list_guards_relay(const struct restrict_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->items[i]->guards)
            return true;
    return false;
}

/* ---- running ---- */

/* Lists of a stage: with smtpd_delay_reject everything about the client runs at RCPT. */
#define END RESTRICT_LIST_NONE
static const enum restrict_list_id delayed_rcpt[2][6] = {
    {RESTRICT_LIST_CLIENT, RESTRICT_LIST_HELO, RESTRICT_LIST_SENDER, RESTRICT_LIST_RECIPIENT, RESTRICT_LIST_RELAY, END},
    {RESTRICT_LIST_CLIENT, RESTRICT_LIST_HELO, RESTRICT_LIST_SENDER, RESTRICT_LIST_RELAY, RESTRICT_LIST_RECIPIENT, END},
};
static const enum restrict_list_id none[] = {END};
static const enum restrict_list_id client[] = {RESTRICT_LIST_CLIENT, END};
static const enum restrict_list_id helo[] = {RESTRICT_LIST_HELO, END};
static const enum restrict_list_id sender[] = {RESTRICT_LIST_SENDER, END};
static const enum restrict_list_id data[] = {RESTRICT_LIST_DATA, END};
static const enum restrict_list_id end_of_data[] = {RESTRICT_LIST_END_OF_DATA, END};
static const enum restrict_list_id unlisted[] = {RESTRICT_LIST_UNLISTED, END};

static const enum restrict_list_id *lists_of(const struct conf *c, enum restrict_stage stage)
{
    bool delay = c->smtpd_delay_reject;

    switch (stage) {
    case RESTRICT_STAGE_CONNECT: return delay ? none : client;
    case RESTRICT_STAGE_HELO: return delay ? none : helo;
    case RESTRICT_STAGE_MAIL: return delay ? none : sender;
    case RESTRICT_STAGE_RCPT: return delayed_rcpt[c->smtpd_relay_before_recipient_restrictions] + (delay ? 0 : 3);
    case RESTRICT_STAGE_DATA: return data;
    case RESTRICT_STAGE_END_OF_DATA: return end_of_data;
    case RESTRICT_STAGE_NONE: break;
    }
    return none;
}

/* After the recipient lists have passed: "unlisted recipients" (section 1.7: it runs after the lists). */
static bool next_list(struct session *s)
{
    struct restrict_run *r = &s->restrict_run;
    bool was_rcpt = r->lists[0] == RESTRICT_LIST_RECIPIENT || r->lists[0] == RESTRICT_LIST_RELAY;

    r->index = 0;
    r->lists++;
    if (*r->lists == END && was_rcpt && s->conf->smtpd_reject_unlisted_recipient)
        r->lists = unlisted;
    return *r->lists != END;
}

static enum restrict_verdict run(struct session *s)
{
    struct restrict_run *r = &s->restrict_run;

    if (*r->lists == END)
        return RESTRICT_PERMIT;
    for (;;) {
        const struct restrict_list *l = s->service->lists[*r->lists];
        enum restrict_verdict v = r->index < l->n ? l->items[r->index]->fn(s) : RESTRICT_PERMIT;

        tell(s, v);
        if (v == RESTRICT_DUNNO)
            r->index++;
        else if (v != RESTRICT_PERMIT)
            return v;
        else if (!next_list(s))
            return RESTRICT_PERMIT;
    }
}

enum restrict_verdict restrict_start(struct session *s, enum restrict_stage stage)
{
    s->restrict_run.lists = lists_of(s->conf, stage);
    s->restrict_run.index = 0;
    return run(s);
}
